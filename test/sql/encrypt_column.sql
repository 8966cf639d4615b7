-- encrypt_column and switch_column: from a plaintext column to an encrypted one.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kms_keeper, regress_kms_writer, regress_kms_other;
RESET client_min_messages;
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('pii'), kms.create_key('other');

CREATE TABLE person (id int PRIMARY KEY, ssn text, born date, note text);
INSERT INTO person SELECT n, CASE WHEN n % 5 > 0 THEN 'ssn ' || n END, date '2000-01-01' + n FROM generate_series(1, 500) n;
CALL kms.encrypt_column('person', 'ssn', 'pii', context_expression => 'id::text::bytea', batch => 70);
SELECT relation, column_name, key_identifier, context_expression FROM kms.registered_columns;
SELECT count(*), count(ssn_encrypted), bool_and(kms.decode_with_text('pii', ssn_encrypted, id::text::bytea) = ssn) FROM person;
SELECT relation, column_name, phase, rows_done, rows_total, rows_skipped, running FROM kms.reencrypt_progress;

-- In step from now on, whatever is written.
INSERT INTO person VALUES (1001, 'new', '2001-01-01'), (1002, NULL, NULL);
UPDATE person SET ssn = 'changed' WHERE id = 1;
UPDATE person SET ssn = NULL WHERE id = 2;
UPDATE person SET ssn = 'was null' WHERE id = 5;
UPDATE person SET id = 2003 WHERE id = 3;
UPDATE person SET ssn_encrypted = NULL WHERE id = 4;
INSERT INTO person (id, ssn, ssn_encrypted) VALUES (1003, NULL, '\x00');
INSERT INTO person (id, ssn, ssn_encrypted) VALUES (1003, NULL, NULL), (1004, 'mine', '\x00');
UPDATE person SET ssn_encrypted = '\x00' WHERE id = 1003;
-- Who moves the value by hand would lose both.
UPDATE person SET ssn_encrypted = kms.encode_with('pii', 'moved', id::text::bytea), ssn = NULL WHERE id = 1004;
INSERT INTO person (id, ssn) VALUES (1004, 'x') ON CONFLICT (id) DO UPDATE SET ssn = NULL, ssn_encrypted = '\x00';
SELECT id, ssn, ssn_encrypted IS NULL FROM person WHERE id = 1004;
SELECT id, ssn, kms.decode_with_text('pii', ssn_encrypted, id::text::bytea) FROM person WHERE id IN (1, 2, 4, 5, 2003) OR id BETWEEN 1001 AND 1004 ORDER BY id;
SELECT ssn_encrypted AS before FROM person WHERE id = 6 \gset
UPDATE person SET note = 'touched', ssn = ssn WHERE id = 6;
SELECT ssn_encrypted = :'before' AS untouched FROM person WHERE id = 6;
UPDATE person SET ssn_encrypted = '\x00' WHERE id = 8;
SELECT kms.decode_with_text('pii', ssn_encrypted, id::text::bytea) AS overwritten FROM person WHERE id = 8;

-- Called again: nothing is left, or what is missing.
CALL kms.encrypt_column('person', 'ssn', 'pii', context_expression => 'id::text::bytea');
ALTER TABLE person DISABLE TRIGGER zzz_kms_ssn_encrypted;
UPDATE person SET ssn_encrypted = NULL WHERE id BETWEEN 10 AND 12;
ALTER TABLE person ENABLE ALWAYS TRIGGER zzz_kms_ssn_encrypted;
SELECT kms.switch_column('person', 'ssn');
CALL kms.encrypt_column('person', 'ssn', 'pii', context_expression => 'id::text::bytea');
CALL kms.encrypt_column('person', 'ssn', 'other');
CALL kms.encrypt_column('person', 'ssn', 'pii', encrypted_column => 'another');

-- What does not agree is found.
ALTER TABLE person DISABLE TRIGGER zzz_kms_ssn_encrypted;
UPDATE person SET ssn = 'sly' WHERE id = 7;
ALTER TABLE person ENABLE ALWAYS TRIGGER zzz_kms_ssn_encrypted;
SELECT kms.switch_column('person', 'ssn');
UPDATE person SET ssn_encrypted = NULL WHERE id = 7;

-- A rotation before the switch: the trigger is no obstacle, and leaves alone what is in step.
SELECT kms.rotate_key('pii');
CALL kms.encrypt_column('person', 'ssn', 'pii', context_expression => 'id::text::bytea');
CALL kms.reencrypt('person', 'ssn_encrypted', batch => 100);
SELECT count(DISTINCT substring(ssn_encrypted, 2, 8)), bool_and(kms.decode_with_text('pii', ssn_encrypted, id::text::bytea) = ssn) FROM person;

-- A date is text of one form, whatever a session shows.
SET DateStyle = 'German';
CALL kms.encrypt_column('person', 'born', 'pii', encrypted_column => 'born_sealed', batch => 499);
SET DateStyle = 'SQL, DMY';
INSERT INTO person VALUES (3001, 'x', '2003-12-31');
SELECT kms.decode_with_text('pii', born_sealed), born FROM person WHERE id IN (10, 3001) ORDER BY id;
SHOW DateStyle;
RESET DateStyle;

-- The switch: in a transaction, and for good.
BEGIN;
SELECT kms.switch_column('person', 'born');
ROLLBACK;
SET DateStyle = 'German';
SELECT kms.switch_column('person', 'born');
RESET DateStyle;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT kms.switch_column('person', 'ssn');
ROLLBACK;
SELECT kms.switch_column('person', 'ssn');
\d person
INSERT INTO person (id, ssn_encrypted) VALUES (4001, kms.encode_with('pii', 'after', '4001'));
SELECT kms.decode_with_text('pii', ssn_encrypted, id::text::bytea) FROM person WHERE id IN (1, 10, 4001) ORDER BY 1;
SELECT kms.rotate_key('pii');
CALL kms.reencrypt('person', 'ssn_encrypted');
SELECT kms.switch_column('person', 'note');
DROP TABLE person;

-- bytea, in partitions; numbers; remote mode.
SET kms.mode = 'remote';
CREATE TABLE parted (id int, b bytea, x float8, j jsonb) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE parted_2 (x float8, id int, j jsonb, b bytea);
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (100) TO (1000);
INSERT INTO parted SELECT n, int4send(n), 1 / n::float8, jsonb_build_object('n', n) FROM generate_series(1, 200) n;
CALL kms.encrypt_column('parted', 'b', 'pii', context_expression => 'int4send(id)');
CALL kms.encrypt_column('parted', 'x', 'pii');
CALL kms.encrypt_column('parted', 'j', 'pii');
INSERT INTO parted VALUES (50, 'fifty', 1e100, '[]'), (500, '', 'NaN', 'null');
UPDATE parted SET id = id + 100 WHERE id = 51;
SELECT count(*), bool_and(kms.decode_with('pii', b_encrypted, int4send(id)) = b), bool_and(kms.decode_with_text('pii', x_encrypted)::float8 = x),
    bool_and(kms.decode_with_text('pii', j_encrypted)::jsonb = j) FROM parted;
RESET kms.mode;
SELECT kms.switch_column('parted', 'b'), kms.switch_column('parted', 'x'), kms.switch_column('parted', 'j');
SELECT tgname FROM pg_trigger WHERE tgrelid IN ('parted'::regclass, 'parted_1'::regclass);
DROP TABLE parted;

-- Refused.
CREATE TABLE t (id int, c text, taken bytea, g text GENERATED ALWAYS AS (repeat('g', 2)) STORED);
INSERT INTO t VALUES (1, 'x');
CALL kms.encrypt_column('t', 'c', NULL);
CALL kms.encrypt_column('t', 'c', '');
CALL kms.encrypt_column('t', NULL, 'pii');
CALL kms.encrypt_column('t', 'none', 'pii');
CALL kms.encrypt_column('t', 'g', 'pii');
CALL kms.encrypt_column('t', 'c', 'no such key');
CALL kms.encrypt_column('t', 'c', 'pii', encrypted_column => 'taken');
ALTER TABLE t ADD a_column_whose_name_is_as_long_as_sixty_characters_or_almost text;
CALL kms.encrypt_column('t', 'a_column_whose_name_is_as_long_as_sixty_characters_or_almost', 'pii');
CALL kms.encrypt_column('t', 'c', 'pii', context_expression => $$convert_to(c, 'UTF8')$$);
CALL kms.encrypt_column('t', 'c', 'pii', context_expression => $$convert_to(g, 'UTF8') || int4send(id)$$);
CALL kms.encrypt_column('t', 'c', 'pii', context_expression => 'nonsense');
CALL kms.encrypt_column('t', 'c', 'pii', batch => 0);
BEGIN;
CALL kms.encrypt_column('t', 'c', 'pii');
ROLLBACK;
CREATE TABLE child () INHERITS (t);
CALL kms.encrypt_column('t', 'c', 'pii');
CALL kms.encrypt_column('child', 'c', 'pii');
DROP TABLE child;
CREATE VIEW v AS SELECT * FROM t;
CALL kms.encrypt_column('v', 'c', 'pii');
SELECT kms.switch_column('v', 'c');
CREATE TRIGGER nonsense BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION kms_internal.keep_in_step();
CREATE TRIGGER nonsense AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION kms_internal.keep_in_step('c', 'd');
INSERT INTO t VALUES (2, 'y');
DROP TRIGGER nonsense ON t;
CREATE TRIGGER nonsense BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION kms_internal.keep_in_step('c', 'taken');
INSERT INTO t VALUES (2, 'y');
DROP TRIGGER nonsense ON t;
SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0;
SELECT count(*) FROM kms.registered_columns;

-- A view on the plaintext is in the way of the switch; a key that is gone, of writes.
CALL kms.encrypt_column('t', 'c', 'pii');
SELECT kms.switch_column('t', 'c');
DROP VIEW v;
SELECT kms.unregister_column('t', 'c_encrypted');
INSERT INTO t VALUES (2, 'y');
INSERT INTO t VALUES (2, NULL);
SELECT kms.switch_column('t', 'c');
SELECT kms.register_column('t', 'c_encrypted', 'gone'::text);
INSERT INTO t VALUES (3, 'z');
SELECT kms.unregister_column('t', 'c_encrypted'), kms.register_column('t', 'c_encrypted', 'pii'::text);
ALTER TABLE t RENAME c TO d;
INSERT INTO t VALUES (4, 'a');
ALTER TABLE t RENAME d TO c;

-- Nor when the encrypted column is no longer one.
BEGIN;
ALTER TABLE t ALTER c_encrypted TYPE int USING 1;
SAVEPOINT changed;
INSERT INTO t VALUES (4, 'a');
ROLLBACK TO changed;
SELECT kms.switch_column('t', 'c');
ROLLBACK TO changed;
ALTER TABLE t RENAME c_encrypted TO elsewhere;
SELECT kms.switch_column('t', 'c');
ROLLBACK;

-- A second call with another context expression kept the first without a word.
CREATE TABLE twice (id int, c text, d text, born timestamptz);
INSERT INTO twice VALUES (1, 'x', 'y', '2000-01-01 00:00:00+00');
CALL kms.encrypt_column('twice', 'c', 'pii', context_expression => 'id::text::bytea');
CALL kms.encrypt_column('twice', 'c', 'pii', context_expression => 'int4send(id)');
CALL kms.encrypt_column('twice', 'c', 'pii');
CALL kms.encrypt_column('twice', 'c', 'other', context_expression => 'id::text::bytea');
CALL kms.encrypt_column('twice', 'c', 'pii', context_expression => 'CAST((id::text) AS bytea)');
CALL kms.encrypt_column('twice', 'd', 'pii');
CALL kms.encrypt_column('twice', 'd', 'pii', context_expression => 'id::text::bytea');
SELECT kms.decode_with_text('pii', c_encrypted, '1'), kms.decode_with_text('pii', d_encrypted) FROM twice;

-- Its trigger's name was cut, and could be that of another column's.
SELECT repeat('a', 63) AS a, repeat('a', 62) || 'b' AS b \gset
CALL kms.encrypt_column('twice', 'born', 'pii', encrypted_column => :'a');
ALTER TABLE twice ADD e text DEFAULT 'e';
CALL kms.encrypt_column('twice', 'e', 'pii', encrypted_column => :'b');
SELECT tgname, length(tgname::text) FROM pg_trigger WHERE tgrelid = 'twice'::regclass ORDER BY tgname COLLATE "C";

-- Users' triggers saw TimeZone, DateStyle and the rest as the conversion to text has them.
DROP TABLE twice;
CREATE TABLE seen (id int, born timestamptz, zone text, saw text);
INSERT INTO seen VALUES (1, '2000-01-01 00:00:00+00');
CREATE FUNCTION note_settings() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.saw := concat_ws(', ', current_setting('TimeZone'), current_setting('DateStyle'), current_setting('IntervalStyle'), current_setting('bytea_output'),
        current_setting('extra_float_digits'));
    RETURN NEW;
END $$;
CREATE TRIGGER noted BEFORE INSERT OR UPDATE ON seen FOR EACH ROW EXECUTE FUNCTION note_settings();
SET TimeZone = 'America/New_York';
SET DateStyle = 'German, DMY';
SET IntervalStyle = 'sql_standard';
SET bytea_output = 'escape';
SET extra_float_digits = 3;
CALL kms.encrypt_column('seen', 'born', 'pii', context_expression => 'convert_to(coalesce(zone, current_setting(''TimeZone'')), ''UTF8'')', triggers => 'fire');
SELECT saw, kms.decode_with_text('pii', born_encrypted, 'America/New_York') FROM seen;
INSERT INTO seen VALUES (2, '2000-01-01 12:00:00+00');
SELECT saw, kms.decode_with_text('pii', born_encrypted, 'America/New_York') FROM seen WHERE id = 2;
SELECT kms.switch_column('seen', 'born');
RESET TimeZone;
RESET DateStyle;
RESET IntervalStyle;
RESET bytea_output;
RESET extra_float_digits;
DROP TABLE seen;
DROP FUNCTION note_settings();

-- Who writes needs no privilege of kms.
CREATE ROLE regress_kms_writer;
CREATE ROLE regress_kms_keeper;
GRANT INSERT ON t TO regress_kms_writer;
SET ROLE regress_kms_writer;
INSERT INTO t VALUES (5, 'by another');
CALL kms.encrypt_column('t', 'c', 'pii');
RESET ROLE;
GRANT USAGE ON SCHEMA kms TO regress_kms_keeper;
GRANT EXECUTE ON PROCEDURE kms.encrypt_column TO regress_kms_keeper;
GRANT EXECUTE ON FUNCTION kms.switch_column TO regress_kms_keeper;
SET ROLE regress_kms_keeper;
CALL kms.encrypt_column('t', 'c', 'pii');
SELECT kms.switch_column('t', 'c');
RESET ROLE;
ALTER TABLE t OWNER TO regress_kms_keeper;
SET ROLE regress_kms_keeper;
CALL kms.encrypt_column('t', 'c', 'pii');
-- Whether a value is what one guesses is for whoever may open it.
SELECT kms.switch_column('t', 'c');
RESET ROLE;
GRANT EXECUTE ON FUNCTION kms.decode_with_text(text, bytea, bytea) TO regress_kms_keeper;
SET ROLE regress_kms_keeper;
SELECT kms.switch_column('t', 'c');
RESET ROLE;
SELECT id, kms.decode_with_text('pii', c_encrypted) FROM t ORDER BY 1;
DROP TABLE t;

-- PostgreSQL asks a table's owner for EXECUTE on the trigger's function when a partition is made. Another owner gets it by the next call.
CREATE TABLE given (id int, p text) PARTITION BY LIST (id);
CREATE TABLE given_1 PARTITION OF given FOR VALUES IN (1);
INSERT INTO given VALUES (1, 'x');
CALL kms.encrypt_column('given', 'p', 'pii');
CREATE ROLE regress_kms_other;
GRANT CREATE ON SCHEMA public TO regress_kms_other;
ALTER TABLE given OWNER TO regress_kms_other;
ALTER TABLE given_1 OWNER TO regress_kms_other;
SET ROLE regress_kms_other;
\set VERBOSITY sqlstate
CREATE TABLE given_2 PARTITION OF given FOR VALUES IN (2);
\set VERBOSITY default
RESET ROLE;
CALL kms.encrypt_column('given', 'p', 'pii');
SET ROLE regress_kms_other;
CREATE TABLE given_2 PARTITION OF given FOR VALUES IN (2);
CREATE TABLE given_3 (p_encrypted bytea, p text, id int);
ALTER TABLE given ATTACH PARTITION given_3 FOR VALUES IN (3);
INSERT INTO given VALUES (2, 'y'), (3, 'z');
RESET ROLE;
SELECT kms.switch_column('given', 'p');
SELECT id, kms.decode_with_text('pii', p_encrypted) FROM given ORDER BY id;
DROP TABLE given;
DROP OWNED BY regress_kms_other;
DROP ROLE regress_kms_other;

-- Whoever updated another column of a row that was not filled yet had the trigger seal its plaintext, and so could not where that cannot be
-- sealed.
CREATE TABLE unfilled (id int, tenant text, p text, hits int DEFAULT 0);
INSERT INTO unfilled VALUES (1, 'a', 'x'), (2, NULL, 'y');
CALL kms.encrypt_column('unfilled', 'p', 'pii', context_expression => $$convert_to(tenant, 'UTF8')$$);
UPDATE unfilled SET hits = hits + 1;
SELECT id, hits, kms.decode_with_text('pii', p_encrypted, tenant::bytea) FROM unfilled ORDER BY id;
SELECT kms.switch_column('unfilled', 'p');
-- It is sealed where the plaintext changes, and a filled one where its context does.
UPDATE unfilled SET p = 'z' WHERE id = 2;
UPDATE unfilled SET tenant = 'b' WHERE id = 2;
UPDATE unfilled SET tenant = 'c' WHERE id = 1;
SELECT id, hits, kms.decode_with_text('pii', p_encrypted, tenant::bytea) FROM unfilled ORDER BY id;
CALL kms.encrypt_column('unfilled', 'p', 'pii', context_expression => $$convert_to(tenant, 'UTF8')$$);
SELECT kms.switch_column('unfilled', 'p');
SELECT id, kms.decode_with_text('pii', p_encrypted, tenant::bytea) FROM unfilled ORDER BY id;
DROP TABLE unfilled;

-- What is generated is not there yet when the trigger sees the row, whenever the context has come to be over it.
CREATE TABLE late (id int, p text);
INSERT INTO late VALUES (1, 'x');
CALL kms.encrypt_column('late', 'p', 'pii', context_expression => 'int4send(id)');
ALTER TABLE late ADD twice int GENERATED ALWAYS AS (id * 2) STORED;
INSERT INTO late VALUES (2, 'y');
CALL kms.reencrypt('late', 'p_encrypted', new_context => 'int4send(twice)');
SELECT kms.unregister_column('late', 'p_encrypted'), kms.register_column('late', 'p_encrypted', 'pii', 'int4send(twice)');
INSERT INTO late VALUES (3, 'z');
UPDATE late SET id = 4, p = 'z' WHERE id = 2;
SELECT kms.switch_column('late', 'p');
DROP TABLE late;

-- Whatever the default isolation level is: it was refused in the name of a function that nobody had called.
CREATE TABLE isolated (id int, p text);
INSERT INTO isolated VALUES (1, 'x');
SET default_transaction_isolation = 'repeatable read';
CALL kms.encrypt_column('isolated', 'p', 'pii');
CALL kms.encrypt_column('isolated', 'p', 'pii');
RESET default_transaction_isolation;
SELECT kms.switch_column('isolated', 'p');
SELECT id, kms.decode_with_text('pii', p_encrypted) FROM isolated;
DROP TABLE isolated;

-- What is sealed already is not sealed once more: the key inside was forgotten with the switch.
CREATE TABLE once (id int, c text);
INSERT INTO once VALUES (1, 'x');
CALL kms.encrypt_column('once', 'c', 'pii');
CALL kms.encrypt_column('once', 'c_encrypted', 'other');
SELECT kms.switch_column('once', 'c');
CALL kms.encrypt_column('once', 'c_encrypted', 'other', encrypted_column => 'twice');
CREATE TABLE later (id int, c bytea);
CALL kms.encrypt_column('later', 'c', 'pii');
SELECT kms.register_column('later', 'c', 'other');
SELECT kms.switch_column('later', 'c');
DROP TABLE once, later;

-- A column that was added with a DEFAULT is not in the rows of before: the trigger read it as NULL.
CREATE TABLE short (id int);
INSERT INTO short SELECT generate_series(1, 3);
ALTER TABLE short ADD tenant text NOT NULL DEFAULT 'acme', ADD c text DEFAULT 'value';
CALL kms.encrypt_column('short', 'c', 'pii', context_expression => $$convert_to(tenant, 'UTF8')$$);
UPDATE short SET id = id + 10 WHERE id = 2;
SELECT id, kms.decode_with_text('pii', c_encrypted, 'acme') FROM short ORDER BY id;
SELECT kms.switch_column('short', 'c', drop_constraints => true);
DROP TABLE short;

-- Floating-point numbers were rounded as the session shows them, since their output is IMMUTABLE and depends on a setting all the same;
-- NULLs of arrays became text; names of objects depended on who wrote them. And what a cast of somebody's leaves out was lost.
CREATE TYPE pair AS (a int, b int);
CREATE FUNCTION shown(pair) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1.a::text';
CREATE CAST (pair AS text) WITH FUNCTION shown(pair);
CREATE TABLE exact (id int, f8 float8, f4 float4, p point, a text[], r regclass, c pair, fs float8[], b bpchar);
INSERT INTO exact SELECT n, sqrt(n), sqrt(n)::float4, point(sqrt(n), 1 / sqrt(n)), ARRAY['a', NULL, 'NULL'], 'exact', ROW(n, -n)::pair, ARRAY[sqrt(n)], 'xyz   ' FROM generate_series(1, 20) n;
CREATE TEMP TABLE was AS SELECT * FROM exact;
SET extra_float_digits = -9;
SET array_nulls = off;
SET quote_all_identifiers = on;
SET client_min_messages = warning;
DO $$
DECLARE
    c name;
BEGIN
    FOR c IN SELECT attname FROM pg_attribute WHERE attrelid = 'exact'::regclass AND attnum > 1 LOOP
        EXECUTE format('ALTER TABLE exact ALTER %I SET DEFAULT NULL', c);
    END LOOP;
END $$;
ALTER TABLE exact ALTER f8 SET DEFAULT 1 / 3.0::float8;
CALL kms.encrypt_column('exact', 'f8', 'pii');
CALL kms.encrypt_column('exact', 'f4', 'pii');
CALL kms.encrypt_column('exact', 'p', 'pii');
CALL kms.encrypt_column('exact', 'a', 'pii');
CALL kms.encrypt_column('exact', 'r', 'pii');
CALL kms.encrypt_column('exact', 'c', 'pii');
CALL kms.encrypt_column('exact', 'fs', 'pii');
CALL kms.encrypt_column('exact', 'b', 'pii');
INSERT INTO exact SELECT 20 + id, f8, f4, p, a, r, c, fs, b FROM was;
SELECT kms.decode_with_text('pii', f8_encrypted) AS f8, kms.decode_with_text('pii', f4_encrypted) AS f4, kms.decode_with_text('pii', p_encrypted) AS p,
    kms.decode_with_text('pii', a_encrypted) AS a, kms.decode_with_text('pii', r_encrypted) AS r, kms.decode_with_text('pii', c_encrypted) AS c
FROM exact WHERE id IN (3, 23);
SELECT kms.switch_column('exact', c) FROM unnest('{f8,f4,p,a,r,c,fs,b}'::name[]) c;
INSERT INTO exact (id) VALUES (100);
CALL kms.decrypt_column('exact', 'f8_encrypted', 'float8');
CALL kms.decrypt_column('exact', 'f4_encrypted', 'float4');
CALL kms.decrypt_column('exact', 'p_encrypted', 'point');
CALL kms.decrypt_column('exact', 'a_encrypted', 'text[]');
CALL kms.decrypt_column('exact', 'r_encrypted', 'regclass');
CALL kms.decrypt_column('exact', 'c_encrypted', 'public.pair');
CALL kms.decrypt_column('exact', 'fs_encrypted', 'float8[]');
CALL kms.decrypt_column('exact', 'b_encrypted', 'bpchar');
SELECT kms.switch_column('exact', c || '_encrypted', drop_constraints => true) FROM unnest('{f8,f4,p,a,r,c,fs,b}'::name[]) c;
RESET extra_float_digits;
RESET array_nulls;
RESET quote_all_identifiers;
RESET client_min_messages;
SELECT count(*), count(*) FILTER (WHERE e.f8 = w.f8 AND e.f4 = w.f4 AND e.p ~= w.p AND e.a = w.a AND e.a[2] IS NULL AND e.r = w.r AND e.c = w.c AND e.fs = w.fs AND octet_length(e.b) = 6)
FROM exact e JOIN was w ON e.id IN (w.id, w.id + 20);
SELECT f8 FROM exact WHERE id = 100;
DROP TABLE exact;
DROP TYPE pair CASCADE;

REVOKE ALL ON ALL ROUTINES IN SCHEMA kms FROM regress_kms_keeper;
REVOKE USAGE ON SCHEMA kms FROM regress_kms_keeper;
REVOKE EXECUTE ON FUNCTION kms_internal.keep_in_step() FROM regress_kms_keeper;
DROP ROLE regress_kms_keeper, regress_kms_writer;
-- What a trigger keeps as it was is not filled, which is told of the row; and is once it no longer does.
CREATE TABLE kept (id int PRIMARY KEY, closed bool, c text);
INSERT INTO kept SELECT n, n = 2, 'value ' || n FROM generate_series(1, 3) n;
CREATE FUNCTION keep_closed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN OLD.closed THEN OLD ELSE NEW END; END $$;
CREATE TRIGGER a_keeper BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION keep_closed();
CALL kms.encrypt_column('kept', 'c', 'pii', triggers => 'fire');
SELECT id, c_encrypted IS NOT NULL AS filled FROM kept ORDER BY id;
DROP TRIGGER a_keeper ON kept;
CALL kms.encrypt_column('kept', 'c', 'pii');
SELECT kms.switch_column('kept', 'c');
CREATE TRIGGER a_keeper BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION keep_closed();
CALL kms.decrypt_column('kept', 'c_encrypted', 'text', plain_column => 'c', triggers => 'fire');
SELECT id, c FROM kept ORDER BY id;
DROP TABLE kept;
DROP FUNCTION keep_closed;
-- A row of which the value was erased where no trigger saw it keeps no others from another version.
CREATE TABLE erased (id int PRIMARY KEY, c text);
INSERT INTO erased SELECT n, 'value ' || n FROM generate_series(1, 3) n;
CALL kms.encrypt_column('erased', 'c', 'pii');
ALTER TABLE erased DISABLE TRIGGER ALL;
UPDATE erased SET c = NULL WHERE id = 1;
ALTER TABLE erased ENABLE ALWAYS TRIGGER zzz_kms_c_encrypted;
SELECT kms.rotate_key('pii') > 0;
CALL kms.reencrypt('erased', 'c_encrypted');
SELECT kms.switch_column('erased', 'c');
UPDATE erased SET c_encrypted = NULL WHERE id = 1;
SELECT kms.switch_column('erased', 'c');
DROP TABLE erased;
-- A statement that names no columns would store a plaintext in the column that is left.
CREATE TABLE positional (id int PRIMARY KEY, c text);
CALL kms.encrypt_column('positional', 'c', 'pii');
ALTER TABLE positional ADD CONSTRAINT sealed CHECK (kms.looks_sealed(c_encrypted)) NOT VALID;
INSERT INTO positional VALUES (1, 'value');
SELECT kms.switch_column('positional', 'c');
INSERT INTO positional VALUES (2, 'plaintext');
INSERT INTO positional VALUES (2, kms.encode_with('pii', 'value'));
DROP TABLE positional;
-- Money is another amount elsewhere.
CREATE DOMAIN price AS money[];
CREATE TABLE shop (id int PRIMARY KEY, prices price);
CALL kms.encrypt_column('shop', 'prices', 'pii');
DROP TABLE shop;
DROP DOMAIN price;

-- A trigger that writes whole rows elsewhere fails from the first call on, as after any new column; once it names its columns it goes on.
CREATE TABLE audited (id int PRIMARY KEY, c text);
CREATE TABLE audit (operation text, id int, c text);
INSERT INTO audited VALUES (1, 'v');
CREATE FUNCTION note_whole() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit SELECT TG_OP, NEW.*; RETURN NEW; END $$;
CREATE TRIGGER audited AFTER INSERT OR UPDATE ON audited FOR EACH ROW EXECUTE FUNCTION note_whole();
CALL kms.encrypt_column('audited', 'c', 'pii');
CALL kms.encrypt_column('audited', 'c', 'pii', triggers => 'skip');
UPDATE audited SET c = 'v 2';
CREATE OR REPLACE FUNCTION note_whole() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit SELECT TG_OP, NEW.id; RETURN NEW; END $$;
UPDATE audited SET c = 'v 2';
SELECT operation, id, kms.decode_with_text('pii', c_encrypted) FROM audit JOIN audited USING (id);
DROP TABLE audited, audit;
DROP FUNCTION note_whole();
