-- What would lose values, or make wrong ones, when a column is encrypted, and is not recorded as
-- depending on it.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('one'), kms.create_key('two');
CREATE TABLE t (id int PRIMARY KEY, p text);
INSERT INTO t VALUES (1, 'secret 1'), (2, 'secret 2');

-- Rows that other tables hold as one value.
CREATE TABLE history (row_was t, many t[]);
CREATE DOMAIN checked_row AS t CHECK ((VALUE).id > 0);
CREATE TYPE within AS (n int, of_row checked_row);
CREATE TABLE nested (w within[]);
CREATE MATERIALIZED VIEW kept AS SELECT t FROM t;
CREATE TYPE of_rows_range AS RANGE (subtype = t, multirange_type_name = of_rows_ranges);
CREATE TABLE ranges (r of_rows_ranges);
-- What is over the whole row.
CREATE VIEW shown AS SELECT to_jsonb(t) FROM t;
CREATE VIEW counted AS SELECT count(*) FROM t;
-- PostgreSQL records of these that they depend on columns alone.
CREATE TABLE other (n int, c text);
CREATE VIEW with_id AS SELECT id, to_jsonb(t) FROM t;
CREATE VIEW joined AS SELECT o.c, j.row FROM other o, LATERAL (SELECT to_jsonb(t) AS row FROM t WHERE t.id = o.n) j;
CREATE VIEW of_join AS SELECT to_jsonb(j) FROM (t JOIN other o ON o.n = t.id) j;
CREATE VIEW of_other AS SELECT t.id, to_jsonb(o) FROM t JOIN other o ON o.n = t.id;
CREATE MATERIALIZED VIEW kept_as_json AS SELECT id, to_jsonb(t) FROM t;
CREATE FUNCTION of_one() RETURNS jsonb LANGUAGE sql BEGIN ATOMIC SELECT to_jsonb(t) FROM t WHERE id = 1; END;
CREATE POLICY of_t ON other USING (NOT EXISTS (SELECT FROM t WHERE t.id = other.n AND to_jsonb(t)->>'p' = 'secret 1'));
CREATE RULE logs AS ON DELETE TO t WHERE OLD.id = 99 DO ALSO SELECT OLD;
ALTER TABLE t ADD CONSTRAINT whole CHECK (to_jsonb(t) ? 'p');
CREATE INDEX of_whole ON t ((t IS NOT NULL));
CREATE POLICY whole ON t USING (t IS NOT NULL);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER whole BEFORE INSERT ON t FOR EACH ROW WHEN (NEW IS NOT NULL) EXECUTE FUNCTION nothing();
CREATE FUNCTION of_rows() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(t) FROM t; END;
INSERT INTO history SELECT t, ARRAY[t] FROM t;
SELECT kms.switch_column('t', 'p', dry_run => true);
CALL kms.encrypt_column('t', 'p', 'one', triggers => 'fire');
SELECT kms.switch_column('t', 'p', drop_constraints => true);
SELECT * FROM history;
SET client_min_messages = warning;
DROP TABLE history, nested, ranges;
DROP MATERIALIZED VIEW kept, kept_as_json;
DROP TYPE within, checked_row, of_rows_range;
DROP VIEW shown, with_id, joined, of_join;
DROP POLICY of_t ON other;
DROP RULE logs ON t;
ALTER TABLE t DROP CONSTRAINT whole;
DROP INDEX of_whole;
DROP POLICY whole ON t;
DROP TRIGGER whole ON t;
DROP FUNCTION of_rows, of_one;
RESET client_min_messages;
SELECT kms.switch_column('t', 'p');
SELECT * FROM counted;
DROP VIEW of_other;
DROP TABLE t, other CASCADE;

-- A column that one trigger makes, and another would seal.
CREATE TABLE chained (id int PRIMARY KEY, e bytea);
INSERT INTO chained SELECT n, kms.encode_with('one', 'v' || n) FROM generate_series(1, 3) n;
SELECT kms.register_column('chained', 'e', 'one');
CALL kms.decrypt_column('chained', 'e', 'text', plain_column => 'q');
CALL kms.encrypt_column('chained', 'q', 'two');
SELECT kms.switch_column('chained', 'e');
CALL kms.encrypt_column('chained', 'q', 'two');
SELECT kms.switch_column('chained', 'q');
SELECT id, kms.decode_with_text('two', q_encrypted) FROM chained ORDER BY id;
DROP TABLE chained;

-- A trigger of the user's that fires behind that of kms: in a partition too.
CREATE TABLE last (id int PRIMARY KEY, p text) PARTITION BY RANGE (id);
CREATE TABLE last_1 PARTITION OF last FOR VALUES FROM (0) TO (10);
INSERT INTO last VALUES (1, 'a');
CREATE FUNCTION marks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.p := NEW.p || '!'; RETURN NEW; END $$;
CREATE TRIGGER zzz_z BEFORE INSERT OR UPDATE ON last_1 FOR EACH ROW EXECUTE FUNCTION marks();
CALL kms.encrypt_column('last', 'p', 'one', triggers => 'fire');
ALTER TRIGGER zzz_z ON last_1 RENAME TO marks;
CALL kms.encrypt_column('last', 'p', 'one', triggers => 'fire');
INSERT INTO last VALUES (2, 'b');
ALTER TRIGGER marks ON last_1 RENAME TO "zzz_über";
SELECT kms.switch_column('last', 'p');
ALTER TRIGGER "zzz_über" ON last_1 RENAME TO marks;
SELECT kms.switch_column('last', 'p');
SELECT id, kms.decode_with_text('one', p_encrypted) FROM last ORDER BY id;
DROP TABLE last;
DROP FUNCTION marks, nothing;
