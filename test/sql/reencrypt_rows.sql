-- reencrypt, row by row: what fails for one row's sake, what a row must not take along, and what a constraint must still see.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('k'), kms.create_key('siv', 'aes-256-siv');

-- One bad row stopped a re-encryption for ever: a duplicate under a deterministic key, found only when both are under one version.
CREATE TABLE uq (id int, c bytea UNIQUE) WITH (autovacuum_enabled = off);
SELECT kms.register_column('uq', 'c', 'siv'::text);
INSERT INTO uq SELECT n, kms.encode_with('siv', 'u' || n) FROM generate_series(1, 500) n;
SELECT kms.rotate_key('siv');
INSERT INTO uq VALUES (501, kms.encode_with('siv', 'u77'));
CALL kms.reencrypt('uq', 'c');
\echo :LAST_ERROR_SQLSTATE
SELECT phase, rows_done, rows_total, rows_skipped, rows_failed, running FROM kms.reencrypt_progress WHERE relation = 'uq'::regclass;
SELECT version, rows FROM kms.census('uq', 'c') ORDER BY version;
SELECT count(DISTINCT kms.decode_with_text('siv', c)), count(*) FROM uq;
DELETE FROM uq WHERE id = 501;
CALL kms.reencrypt('uq', 'c');
-- In small batches, and where the constraint puts its check off.
SELECT kms.rotate_key('siv');
INSERT INTO uq VALUES (501, kms.encode_with('siv', 'u77'));
ALTER TABLE uq DROP CONSTRAINT uq_c_key, ADD UNIQUE (c) DEFERRABLE INITIALLY DEFERRED;
\set VERBOSITY terse
CALL kms.reencrypt('uq', 'c', 50);
\set VERBOSITY default
SELECT version, rows FROM kms.census('uq', 'c') ORDER BY version;
DROP TABLE uq;

-- A trigger that raises, before or after, at once or put off; a context that cannot be had; a constraint. Errors of each kind are told once all else is done.
CREATE TABLE t (id int, c bytea, note text) WITH (autovacuum_enabled = off);
SELECT kms.register_column('t', 'c', 'k'::text, '(100 / (id - 300))::text::bytea');
INSERT INTO t SELECT n, kms.encode_with('k', 'v' || n, (100 / (n - 300))::text::bytea) FROM generate_series(1, 299) n;
INSERT INTO t VALUES (300, kms.encode_with('k', 'v'));
CREATE FUNCTION raise_it() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.id = TG_ARGV[0]::int THEN
        RAISE EXCEPTION '% says no', TG_NAME USING ERRCODE = TG_ARGV[1];
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER before_row BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION raise_it(17, 'P0001');
CREATE TRIGGER after_row AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION raise_it(170, '42501');
CREATE CONSTRAINT TRIGGER put_off AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION raise_it(233, '38000');
ALTER TABLE t ADD CHECK (id <> 5) NOT VALID;
SELECT kms.rotate_key('k');
CALL kms.reencrypt('t', 'c', triggers => 'fire');
\echo :LAST_ERROR_SQLSTATE
SELECT phase, rows_done, rows_total, rows_skipped, rows_failed FROM kms.reencrypt_progress WHERE relation = 't'::regclass;
SELECT id FROM t WHERE substring(c, 2, 8) <> (SELECT key_tag FROM kms.list_keys('k') WHERE version = 2) ORDER BY id;
SELECT bool_and(kms.decode_with_text('k', c, (100 / (id - 300))::text::bytea) = 'v' || id) FROM t WHERE id < 300;
-- Row by row, and more subtransactions than one transaction has.
SELECT kms.rotate_key('k');
\set VERBOSITY terse
CALL kms.reencrypt('t', 'c', 1, triggers => 'fire');
CALL kms.reencrypt('t', 'c', 7, triggers => 'fire');
\set VERBOSITY default
SELECT count(*) FROM t WHERE substring(c, 2, 8) <> (SELECT key_tag FROM kms.list_keys('k') WHERE version = 3);
DELETE FROM t WHERE id IN (5, 17, 170, 233, 300);

-- What is no row's fault ends the run at once.
DROP TRIGGER before_row ON t;
CREATE TRIGGER before_row BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION raise_it(18, '53100');
SELECT kms.rotate_key('k');
CALL kms.reencrypt('t', 'c', 50, triggers => 'fire');
DROP TRIGGER before_row ON t;
CREATE TRIGGER before_row BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION raise_it(18, 'KM008');
CALL kms.reencrypt('t', 'c', 50, triggers => 'fire');
SELECT phase FROM kms.reencrypt_progress WHERE relation = 't'::regclass;
-- But codes of a trigger's own are, whatever they are, and so is what is wrong with the row in its code.
CREATE FUNCTION raise_all() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    codes CONSTANT text[] := '{0A000,20000,2F005,42601,54000,54001,99ABC,U0001,XX000,KM006}';
BEGIN
    IF OLD.id <= array_length(codes, 1) THEN
        RAISE EXCEPTION 'as it may' USING ERRCODE = codes[OLD.id];
    END IF;
    RETURN NEW;
END $$;
CREATE TABLE own AS SELECT n AS id, kms.encode_with('k', 'v' || n) AS c FROM generate_series(1, 200) n;
CREATE TRIGGER before_row BEFORE UPDATE ON own FOR EACH ROW EXECUTE FUNCTION raise_all();
SELECT kms.register_column('own', 'c', 'k'::text), kms.rotate_key('k');
\set VERBOSITY terse
CALL kms.reencrypt('own', 'c', triggers => 'fire');
\set VERBOSITY default
SELECT phase, rows_failed, rows_total - rows_done AS left FROM kms.reencrypt_progress WHERE relation = 'own'::regclass;
SELECT string_agg(id::text, ' ' ORDER BY id) FROM own WHERE substring(c, 2, 8) <> (SELECT key_tag FROM kms.list_keys('k') ORDER BY version DESC LIMIT 1);
SET client_min_messages = error;
DROP TABLE own;
RESET client_min_messages;
DROP FUNCTION raise_all;

-- And what is every row's fault soon does.
DROP TRIGGER before_row ON t;
ALTER TABLE t ADD CHECK (length(c) < 9) NOT VALID;
\set VERBOSITY terse
CALL kms.reencrypt('t', 'c', 100, triggers => 'fire');
\set VERBOSITY default
SELECT phase, rows_done, rows_failed, running FROM kms.reencrypt_progress WHERE relation = 't'::regclass;
ALTER TABLE t DROP CONSTRAINT t_c_check;
CALL kms.reencrypt('t', 'c', triggers => 'fire');
SELECT phase, rows_failed FROM kms.reencrypt_progress WHERE relation = 't'::regclass;
DROP TABLE t;
CREATE TABLE many (id int, c bytea, CHECK (id % 20 <> 0) NOT VALID);
ALTER TABLE many DROP CONSTRAINT many_id_check;
INSERT INTO many SELECT n, kms.encode_with('k', 'v') FROM generate_series(1, 3000) n;
ALTER TABLE many ADD CHECK (id % 20 <> 0) NOT VALID;
SELECT kms.register_column('many', 'c', 'k'::text), kms.rotate_key('k');
\set VERBOSITY terse
CALL kms.reencrypt('many', 'c', 500);
\set VERBOSITY default
SELECT phase, rows_done, rows_failed FROM kms.reencrypt_progress WHERE relation = 'many'::regclass;
SELECT count(*) FROM many WHERE substring(c, 2, 8) <> (SELECT key_tag FROM kms.list_keys('k') ORDER BY version DESC LIMIT 1);
DROP TABLE many;
DROP FUNCTION raise_it;

-- A row that an index or a page does not take, since the other key's values are longer, kept those behind it from being moved.
CREATE TABLE long (id int, c bytea) WITH (autovacuum_enabled = off);
CREATE INDEX ON long (c);
ALTER TABLE long ALTER c SET STORAGE PLAIN;
INSERT INTO long SELECT n, kms.encode_with('siv', CASE n WHEN 11 THEN repeat('x', 2655) ELSE 'v' || n END) FROM generate_series(1, 40) n;
SELECT kms.register_column('long', 'c', 'siv'::text);
\set VERBOSITY sqlstate
CALL kms.reencrypt('long', 'c', 5, new_key => 'k');
\set VERBOSITY default
SELECT rows_done, rows_failed FROM kms.reencrypt_progress WHERE relation = 'long'::regclass;
SELECT key_identifier, rows FROM kms.census('long', 'c') ORDER BY 1;
SET client_min_messages = error;
DROP TABLE long;
RESET client_min_messages;
CREATE TABLE long (id int, c text);
ALTER TABLE long ALTER c SET STORAGE PLAIN;
INSERT INTO long SELECT n, CASE n WHEN 11 THEN repeat('x', 8120) ELSE 'v' END FROM generate_series(1, 40) n;
CALL kms.encrypt_column('long', 'c', 'k', batch => 5);
SELECT count(c_encrypted) FROM long;
SET client_min_messages = error;
DROP TABLE long;
RESET client_min_messages;

-- encrypt_column too.
CREATE TABLE plain AS SELECT n AS id, 'v' || n AS v FROM generate_series(1, 50) n;
ALTER TABLE plain ADD CHECK (id <> 20) NOT VALID;
CALL kms.encrypt_column('plain', 'v', 'k');
SELECT id FROM plain WHERE v_encrypted IS NULL;
DROP TABLE plain;

-- Duplicates in a deferrable UNIQUE: the system's trigger that finds them is one that a replica has not.
CREATE TABLE dq (id int, c bytea, other bytea, UNIQUE (c) DEFERRABLE INITIALLY DEFERRED);
SELECT kms.register_column('dq', 'c', 'siv'::text), kms.register_column('dq', 'other', 'siv'::text);
INSERT INTO dq SELECT 1, v, v FROM kms.encode_with('siv', 'u1') v;
SELECT kms.rotate_key('siv');
INSERT INTO dq SELECT 2, v, v FROM kms.encode_with('siv', 'u1') v;
CALL kms.reencrypt('dq', 'c', triggers => 'skip');
\echo :LAST_ERROR_SQLSTATE
SET session_replication_role = replica;
CALL kms.reencrypt('dq', 'c');
RESET session_replication_role;
SELECT count(DISTINCT c) FROM dq;
CALL kms.reencrypt('dq', 'c');
SELECT count(DISTINCT c) FROM dq;
CALL kms.reencrypt('dq', 'other', triggers => 'skip');
ALTER TABLE dq DROP CONSTRAINT dq_c_key, ADD EXCLUDE USING btree (md5(c) WITH =) WHERE (id < 9) DEFERRABLE;
CALL kms.reencrypt('dq', 'c', triggers => 'skip');
ALTER TABLE dq DROP CONSTRAINT dq_md5_excl, ADD EXCLUDE USING btree (id WITH =) WHERE (c <> '') DEFERRABLE;
CALL kms.reencrypt('dq', 'c', triggers => 'skip');
ALTER TABLE dq DROP CONSTRAINT dq_id_excl, ADD UNIQUE (id) INCLUDE (c) DEFERRABLE, ADD UNIQUE (c);
CALL kms.reencrypt('dq', 'c', triggers => 'skip');
\echo :LAST_ERROR_SQLSTATE
DROP TABLE dq;

-- Dropped columns' plaintext was copied into the new row versions: an UPDATE leaves it behind, and so it stands in the old one alone.
CREATE TABLE d (id int, plain text, c bytea);
INSERT INTO d VALUES (1, repeat('PLAINTEXT', 20), kms.encode_with('k', 'v'));
SELECT kms.register_column('d', 'c', 'k'::text), kms.rotate_key('k');
ALTER TABLE d DROP COLUMN plain;
CALL kms.reencrypt('d', 'c');
CHECKPOINT;
SELECT array_length(string_to_array(encode(pg_read_binary_file(pg_relation_filepath('d')), 'escape'), 'PLAINTEXT'), 1) - 1 AS times;

-- What looks at the whole row, or at the table that it is in, finds both.
DROP TABLE d;
CREATE TABLE d (gone text, id int, c bytea, twice int GENERATED ALWAYS AS (id * 2) STORED);
ALTER TABLE d DROP COLUMN gone, ADD CHECK (tableoid = 'd'::regclass), ADD CHECK (to_jsonb(d) ?& '{id,c,twice}' AND d IS NOT NULL);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% % %', TG_NAME, OLD.tableoid::regclass, to_jsonb(NEW) - 'c'; RETURN NEW; END $$;
CREATE TRIGGER see_before BEFORE UPDATE ON d FOR EACH ROW WHEN (OLD.tableoid = 'd'::regclass) EXECUTE FUNCTION see();
CREATE TRIGGER see_after AFTER UPDATE ON d FOR EACH ROW WHEN (NEW.tableoid = 'd'::regclass AND OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION see();
INSERT INTO d (id, c) VALUES (1, kms.encode_with('k', 'v'));
SELECT kms.register_column('d', 'c', 'k'::text), kms.rotate_key('k');
CALL kms.reencrypt('d', 'c', triggers => 'fire');
SELECT id, twice, kms.decode_with_text('k', c) FROM d;
DROP TABLE d;
DROP FUNCTION see;

-- A trigger that changes what the context is made of, or the value itself, left values that nobody opens.
CREATE TABLE touched (id int, touched timestamptz DEFAULT '2000-01-01 00:00:00+00', c bytea);
INSERT INTO touched (id, c) SELECT n, kms.encode_with('k', 'v' || n, timestamptz_send('2000-01-01 00:00:00+00')) FROM generate_series(1, 5) n;
SELECT kms.register_column('touched', 'c', 'k'::text, 'timestamptz_send(touched)'), kms.rotate_key('k');
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.id <> 2 THEN NEW.touched := clock_timestamp(); END IF; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON touched FOR EACH ROW EXECUTE FUNCTION touch();
CALL kms.reencrypt('touched', 'c', triggers => 'fire');
SELECT count(kms.try_decode(1, c, timestamptz_send(touched))) FROM touched, LATERAL kms.set_key(1, 'k');
CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.c := kms.encode_with('k', NEW.c, ''); RETURN NEW; END $$;
CALL kms.reencrypt('touched', 'c', triggers => 'fire');
CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.c := NULL; RETURN NEW; END $$;
CALL kms.reencrypt('touched', 'c', triggers => 'fire');
CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := NEW.id; RETURN NEW; END $$;
CALL kms.reencrypt('touched', 'c', triggers => 'fire');
SELECT count(kms.try_decode(1, c, timestamptz_send(touched))) FROM touched;
DROP TABLE touched;
DROP FUNCTION touch;
