-- A table of people that holds sealed values only; `handle` is public.
CREATE EXTENSION kms;

CREATE TABLE person (
    id int PRIMARY KEY,
    handle text NOT NULL,
    name bytea,
    email bytea,
    card bytea,
    note bytea
);

-- A value is sealed for its place: in another row or column it does not open.
CREATE FUNCTION place(column_name text, id int) RETURNS bytea IMMUTABLE PARALLEL SAFE
RETURN convert_to('person/' || column_name || '/' || id, 'UTF8');

CREATE VIEW person_clear AS
SELECT id, handle,
    kms.decode_text(1, name, place('name', id)) AS name,
    kms.decode_text(1, email, place('email', id)) AS email,
    kms.decode_text(1, card, place('card', id)) AS card,
    kms.decode_text(1, note, place('note', id)) AS note
FROM person;

-- Whoever writes to the view writes sealed values: plaintext is never stored, not even for a while.
CREATE FUNCTION seal_person() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO person VALUES (
        NEW.id, NEW.handle,
        kms.encode(1, NEW.name, place('name', NEW.id)),
        kms.encode(1, NEW.email, place('email', NEW.id)),
        kms.encode(1, NEW.card, place('card', NEW.id)),
        kms.encode(1, NEW.note, place('note', NEW.id)));
    RETURN NEW;
END
$$;
CREATE TRIGGER seal INSTEAD OF INSERT ON person_clear
FOR EACH ROW EXECUTE FUNCTION seal_person();

-- The binding of every new session in this database.
SELECT format('ALTER DATABASE %I SET kms.keys = %L', current_database(), '1=demo/person') \gexec
