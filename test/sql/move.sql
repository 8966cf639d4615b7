-- A column could not be moved to another key, algorithm or context: reencrypt(new_key, new_context, was_context).
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kms_owner;
RESET client_min_messages;
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('old'), kms.create_key('new', 'aes-256-siv'), kms.create_key('third');
CREATE TABLE t (id int, tenant text, c bytea);
INSERT INTO t SELECT n, 't' || n % 3, CASE WHEN n <> 7 THEN kms.encode_with('old', 'v' || n, n::text::bytea) END FROM generate_series(1, 100) n;
SELECT kms.register_column('t', 'c', 'old'::text, 'id::text::bytea');
CREATE VIEW registration AS SELECT key_identifier, context_expression, was_key_identifier, was_context_expression, is_moving FROM kms.registered_columns;
CREATE VIEW state AS
    SELECT count(*), count(kms.try_decode(1, c, id::text::bytea)) AS old, count(kms.try_decode(2, c, (tenant || ':' || id)::bytea)) AS new FROM t WHERE c IS NOT NULL;
SELECT kms.set_key(1, 'old'), kms.set_key(2, 'new');

-- What cannot be is refused before anything is changed.
CALL kms.reencrypt('t', 'c', new_key => 'none');
CALL kms.reencrypt('t', 'c', new_key => '');
CALL kms.reencrypt('t', 'c', new_context => 'none::bytea');
CALL kms.reencrypt('t', 'c', new_context => 'random()::text::bytea');
CALL kms.reencrypt('t', 'c', was_context => 'c');
SELECT * FROM registration;

-- In the middle of it: a disk that is full at the second batch.
CREATE SEQUENCE rows_written;
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('public.rows_written') = 50 THEN RAISE disk_full; END IF; RETURN NEW; END $$;
CREATE TRIGGER full_disk BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION full_disk();
\set VERBOSITY terse
CALL kms.reencrypt('t', 'c', 20, triggers => 'fire', new_key => 'new', new_context => $$convert_to(tenant || ':' || id, 'UTF8')$$);
\set VERBOSITY default
SELECT * FROM registration;
SELECT * FROM state;
SELECT key_identifier, version, rows FROM kms.census('t', 'c') ORDER BY key_identifier;
SELECT key_identifier, rows FROM kms.key_age() ORDER BY 1;
-- The key that it leaves is needed yet.
SELECT kms.rotate_key('old');
SELECT kms.disable_key('old', 1);
-- Another move does not begin, and the same goes on.
DROP TRIGGER full_disk ON t;
CALL kms.reencrypt('t', 'c', new_key => 'third');
CALL kms.reencrypt('t', 'c', new_context => $$convert_to(tenant, 'UTF8')$$);
-- Whoever writes meanwhile may write either way; both keys may be rotated.
INSERT INTO t VALUES (101, 't1', kms.encode(1, 'v101', '101')), (102, 't1', kms.encode(2, 'v102', 't1:102'));
SELECT kms.rotate_key('new');
INSERT INTO t VALUES (103, 't1', kms.encode(1, 'v103', '103')), (104, 't1', kms.encode(2, 'v104', 't1:104'));
-- Whoever goes on says what with: a routine's call opens nothing of one key for another.
CALL kms.reencrypt('t', 'c', 20);
CALL kms.reencrypt('t', 'c', 20, new_key => 'new');
SELECT * FROM registration;
SELECT * FROM state;
SELECT bool_and(kms.decode_text(2, c, (tenant || ':' || id)::bytea) = 'v' || id) FROM t;
SELECT key_identifier, version, rows FROM kms.census('t', 'c') ORDER BY key_identifier, version;
SELECT kms.disable_key('old', 1), kms.disable_key('old', 2);
SELECT kms.enable_key('old', 1), kms.enable_key('old', 2);
CALL kms.reencrypt('t', 'c');
SELECT rows_total, rows_failed FROM kms.reencrypt_progress WHERE relation = 't'::regclass;

-- One that was written the old way behind it is found by the next that is told so.
INSERT INTO t VALUES (105, 't1', kms.encode(1, 'v105', '105'));
\set VERBOSITY terse
CALL kms.reencrypt('t', 'c');
\set VERBOSITY default
CALL kms.reencrypt('t', 'c', new_key => 'new');
SELECT * FROM state;

-- There and back again, in the middle of it.
ALTER SEQUENCE rows_written RESTART;
CREATE TRIGGER full_disk BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION full_disk();
\set VERBOSITY terse
CALL kms.reencrypt('t', 'c', 20, triggers => 'fire', new_key => 'old', new_context => 'id::text::bytea');
SELECT * FROM state;
CALL kms.reencrypt('t', 'c', 20, triggers => 'fire', new_key => 'new', new_context => $$convert_to(tenant || ':' || id, 'UTF8')$$);
\set VERBOSITY default
DROP TRIGGER full_disk ON t;
SELECT * FROM state;
SELECT * FROM registration;

-- Another context under the same key: what has been moved is known by opening it. Here and at the agent; to and from the empty context.
ALTER SEQUENCE rows_written RESTART;
CREATE TRIGGER full_disk BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION full_disk();
\set VERBOSITY terse
CALL kms.reencrypt('t', 'c', 20, triggers => 'fire', new_context => '');
\set VERBOSITY default
DROP TRIGGER full_disk ON t;
SELECT * FROM registration;
SELECT count(kms.try_decode(2, c)) > 20 AS new, count(kms.try_decode(2, c, (tenant || ':' || id)::bytea)) > 20 AS old FROM t;
SELECT kms.rotate_key('new');
INSERT INTO t VALUES (106, 't1', kms.encode(2, 'v106', 't1:106')), (107, 't1', kms.encode(2, 'v107'));
SET kms.mode = 'remote';
CALL kms.reencrypt('t', 'c', 20, new_context => '');
SELECT * FROM registration;
SELECT count(*), bool_and(kms.decode_text(2, c) = 'v' || id) FROM t WHERE c IS NOT NULL;
CALL kms.reencrypt('t', 'c', 20, new_key => 'third', new_context => $$convert_to(tenant, 'UTF8')$$);
SELECT count(*), bool_and(kms.decode_with_text('third', c, tenant::bytea) = 'v' || id) FROM t WHERE c IS NOT NULL;
RESET kms.mode;

-- Rows that open neither way are told; the move is not over before they are mended.
UPDATE t SET c = kms.encode_with('third', 'v9', 'another') WHERE id = 9;
UPDATE t SET tenant = NULL WHERE id = 10;
\set VERBOSITY terse
CALL kms.reencrypt('t', 'c', new_context => '');
\set VERBOSITY default
SELECT * FROM registration;
UPDATE t SET tenant = 't1' WHERE id = 10;
UPDATE t SET c = kms.encode_with('third', 'v9') WHERE id = 9;
CALL kms.reencrypt('t', 'c', new_context => '');
SELECT * FROM registration;
SELECT count(*), bool_and(kms.decode_with_text('third', c) = 'v' || id) FROM t WHERE c IS NOT NULL;

-- Where the registration never was right.
SELECT kms.unregister_column('t', 'c');
SELECT kms.register_column('t', 'c', 'third'::text, $$convert_to(tenant, 'UTF8')$$);
CALL kms.reencrypt('t', 'c', was_context => '');
SELECT * FROM registration;
SELECT count(*), bool_and(kms.decode_with_text('third', c, tenant::bytea) = 'v' || id) FROM t WHERE c IS NOT NULL;
CALL kms.reencrypt('t', 'c', was_context => '');

-- The owner may, who is no superuser, if he may open values: under another key it may show what they are. And in
-- between, an encrypted column and its plaintext stay in step.
CREATE ROLE regress_kms_owner;
GRANT USAGE ON SCHEMA kms TO regress_kms_owner;
GRANT EXECUTE ON PROCEDURE kms.reencrypt TO regress_kms_owner;
DROP TABLE t CASCADE;
CREATE TABLE t AS SELECT n AS id, 'v' || n AS v FROM generate_series(1, 50) n;
CALL kms.encrypt_column('t', 'v', 'old', context_expression => 'id::text::bytea');
ALTER TABLE t OWNER TO regress_kms_owner;
ALTER TABLE t ADD CHECK (id <> 30) NOT VALID;
SET ROLE regress_kms_owner;
CALL kms.reencrypt('t', 'v_encrypted', 10, new_key => 'third');
CALL kms.reencrypt('t', 'v_encrypted', 10, new_context => '');
RESET ROLE;
GRANT EXECUTE ON FUNCTION kms.decode_with(text, bytea, bytea) TO regress_kms_owner;
SET ROLE regress_kms_owner;
CALL kms.reencrypt('t', 'v_encrypted', 10, new_key => 'third');
RESET ROLE;
SELECT is_moving FROM registration;
SELECT kms.switch_column('t', 'v');
UPDATE t SET v = 'w' || id WHERE id < 5;
INSERT INTO t VALUES (51, 'v51');
ALTER TABLE t DROP CONSTRAINT t_id_check;
CALL kms.reencrypt('t', 'v_encrypted', new_key => 'third', was_key => 'old');
SELECT is_moving FROM registration;
SELECT count(*), bool_and(kms.decode_with_text('third', v_encrypted, id::text::bytea) = v) FROM t;

REVOKE EXECUTE ON FUNCTION kms.decode_with(text, bytea, bytea) FROM regress_kms_owner;
REVOKE EXECUTE ON PROCEDURE kms.reencrypt FROM regress_kms_owner;
REVOKE USAGE ON SCHEMA kms FROM regress_kms_owner;
-- A context says nothing of the key: a move to another one goes on, and what it has left behind is taken along, for those alone who name
-- that key.
DROP TABLE t;
CREATE TABLE t (id int, c bytea);
INSERT INTO t SELECT n, kms.encode_with('old', 'v' || n, n::text::bytea) FROM generate_series(1, 3) n;
SELECT kms.register_column('t', 'c', 'old'::text, 'id::text::bytea');
ALTER TABLE t ADD CHECK (id <> 3) NOT VALID;
\set VERBOSITY terse
CALL kms.reencrypt('t', 'c', new_key => 'third', new_context => $$convert_to('t:' || id, 'UTF8')$$);
\set VERBOSITY default
ALTER TABLE t DROP CONSTRAINT t_id_check;
CALL kms.reencrypt('t', 'c', new_context => $$convert_to('t:' || id, 'UTF8')$$);
CALL kms.reencrypt('t', 'c', new_context => 'id::text::bytea');
CALL kms.reencrypt('t', 'c', was_context => 'id::text::bytea');
SELECT key_identifier, rows FROM kms.census('t', 'c') ORDER BY 1;
CALL kms.reencrypt('t', 'c', new_key => 'third');
INSERT INTO t VALUES (4, kms.encode_with('old', 'v4', '4'));
\set VERBOSITY sqlstate
CALL kms.reencrypt('t', 'c', new_context => $$convert_to('t:' || id, 'UTF8')$$);
CALL kms.reencrypt('t', 'c', was_context => 'id::text::bytea');
\set VERBOSITY default
SELECT key_identifier, rows FROM kms.census('t', 'c') ORDER BY 1;
SELECT * FROM registration;

-- Neither to a context over what is sealed itself, nor such a one under what was restored.
CREATE TABLE nested (id int, a bytea, b bytea);
SELECT kms.register_column('nested', 'a', 'new'::text), kms.register_column('nested', 'b', 'new'::text);
CALL kms.reencrypt('nested', 'b', new_context => 'a');
UPDATE kms.registered_column SET context_expression = 'a' WHERE relation_name = 'nested' AND column_name = 'b';
CALL kms.reencrypt('nested', 'a');
CALL kms.reencrypt('nested', 'a', new_key => 'third');
CALL kms.reencrypt('nested', 'b', new_context => 'id::text::bytea');
CALL kms.reencrypt('nested', 'a');
DROP TABLE nested;
-- Nor do triggers that are fired change what another value is sealed under.
CREATE TABLE counted (id int, a bytea, b bytea, ver int DEFAULT 1);
INSERT INTO counted SELECT n, kms.encode_with('old', 'a' || n), kms.encode_with('old', 'b' || n, '1') FROM generate_series(1, 2) n;
SELECT kms.register_column('counted', 'a', 'old'::text), kms.register_column('counted', 'b', 'old'::text, 'ver::text::bytea');
CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 1 THEN NEW.ver := NEW.ver + 1; END IF; RETURN NEW; END $$;
CREATE TRIGGER counting BEFORE UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION count_up();
\set VERBOSITY terse
CALL kms.reencrypt('counted', 'a', triggers => 'fire', new_key => 'new');
\set VERBOSITY default
SELECT id, kms.decode_with_text('old', b, ver::text::bytea), ver FROM counted ORDER BY id;
DROP TRIGGER counting ON counted;
CALL kms.reencrypt('counted', 'a', new_key => 'new');
SELECT kms.rotate_key('new') > 0 AS rotated;
CREATE FUNCTION count_up_after() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE public.counted SET ver = ver + 1 WHERE id = 2 AND id = NEW.id AND a <> OLD.a; RETURN NULL; END $$;
CREATE TRIGGER counting AFTER UPDATE OF a ON counted FOR EACH ROW EXECUTE FUNCTION count_up_after();
\set VERBOSITY terse
CALL kms.reencrypt('counted', 'a', triggers => 'fire');
\set VERBOSITY default
SELECT id, kms.decode_with_text('old', b, ver::text::bytea), ver FROM counted ORDER BY id;
DROP TABLE counted;
DROP FUNCTION count_up, count_up_after;

-- The owner of a table registers what he likes, also a key that he is not served: a superuser who is asked to move the column opened its
-- values for him.
DROP TABLE t;
CREATE TABLE t (id int, c bytea);
INSERT INTO t SELECT n, kms.encode_with('old', 'v' || n, n::text::bytea) FROM generate_series(1, 3) n;
SELECT kms.register_column('t', 'c', 'old'::text, 'id::text::bytea');
ALTER TABLE t OWNER TO regress_kms_owner;
SELECT kms.rotate_key('old');
CALL kms.reencrypt('t', 'c');
CALL kms.reencrypt('t', 'c', new_key => 'third');
\set VERBOSITY terse
CALL kms.reencrypt('t', 'c', new_context => '');
CALL kms.reencrypt('t', 'c', was_context => $$(id + 1)::text::bytea$$);
\set VERBOSITY default
CALL kms.reencrypt('t', 'c', new_key => 'third', was_key => 'new');
\set VERBOSITY terse
CALL kms.reencrypt('t', 'c', was_key => 'new');
CALL kms.reencrypt('t', 'c', was_key => '');
\set VERBOSITY default
SELECT * FROM registration;
-- What stays where it is needs nothing said.
CALL kms.reencrypt('t', 'c', new_key => 'old');
-- In the middle of it, on the way back, and of what was left behind it is the key that values come from.
ALTER TABLE t ADD CHECK (id <> 3) NOT VALID;
\set VERBOSITY terse
CALL kms.reencrypt('t', 'c', new_key => 'third', was_key => 'old');
CALL kms.reencrypt('t', 'c', new_key => 'third');
CALL kms.reencrypt('t', 'c', new_key => 'third', was_key => 'third');
CALL kms.reencrypt('t', 'c', new_key => 'old', was_key => 'old');
\set VERBOSITY default
ALTER TABLE t DROP CONSTRAINT t_id_check;
CALL kms.reencrypt('t', 'c', new_key => 'third', was_key => 'old');
INSERT INTO t VALUES (4, kms.encode_with('old', 'v4', '4'));
\set VERBOSITY terse
CALL kms.reencrypt('t', 'c', new_key => 'third');
\set VERBOSITY default
CALL kms.reencrypt('t', 'c', new_key => 'third', was_key => 'old');
-- To be a member of the owning role is not enough: its owner makes members.
GRANT regress_kms_owner TO CURRENT_USER;
CALL kms.reencrypt('t', 'c', new_key => 'old');
REVOKE regress_kms_owner FROM CURRENT_USER;
CALL kms.reencrypt('t', 'c', new_key => 'old', was_key => 'third');
SELECT * FROM registration;
SELECT count(*), bool_and(kms.decode_with_text('old', c, id::text::bytea) = 'v' || id) FROM t;

-- The way back does without a context of before that raises an error: no value is sealed under it.
CREATE TABLE raises (id int PRIMARY KEY, c bytea);
INSERT INTO raises SELECT n, kms.encode_with('old', 'v' || n) FROM generate_series(1, 20) n;
SELECT kms.register_column('raises', 'c', 'old');
\set VERBOSITY terse
CALL kms.reencrypt('raises', 'c', new_context => $$convert_to((100 / (id - 5))::text, 'UTF8')$$);
CALL kms.reencrypt('raises', 'c', new_context => '');
SELECT is_moving FROM kms.registered_columns WHERE relation = 'raises'::regclass;
CALL kms.reencrypt('raises', 'c', new_context => $$convert_to('kms/1 ' || id, 'UTF8')$$);
SELECT kms.rotate_key('old') > 0 AS rotated;
CALL kms.reencrypt('raises', 'c', new_context => '');
\set VERBOSITY default
SELECT is_moving FROM kms.registered_columns WHERE relation = 'raises'::regclass;
SELECT count(*), bool_and(kms.decode_with_text('old', c) = 'v' || id) FROM raises;
SELECT rows FROM kms.census('raises', 'c');
DROP TABLE raises;

DROP VIEW registration;
DROP TABLE t;
DROP FUNCTION full_disk;
DROP SEQUENCE rows_written;
DROP ROLE regress_kms_owner;

-- In the middle of a move: nobody undoes it without a word.
CREATE TABLE half (id int, c bytea);
INSERT INTO half SELECT n, kms.encode_with('old', 'v' || n) FROM generate_series(1, 2) n;
SELECT kms.register_column('half', 'c', 'old'::text);
INSERT INTO half VALUES (3, '\x00');
\set VERBOSITY terse
CALL kms.reencrypt('half', 'c', new_context => 'int4send(id)', was_key => 'old');
\set VERBOSITY default
SELECT kms.register_column('half', 'c', 'old'::text, 'int4send(id)');
SELECT kms.unregister_column('half', 'c');
DROP TABLE half;
-- What a value was sealed under before is to stay until it is moved: who calls is told of columns that may change.
CREATE TABLE account (id int PRIMARY KEY, tenant text, s bytea, v text);
INSERT INTO account SELECT n, 't' || n, kms.encode_with('old', 's' || n, ('t' || n)::bytea), 'v' || n FROM generate_series(1, 3) n;
SELECT kms.register_column('account', 's', 'old'::text, $$convert_to(tenant, 'UTF8')$$);
INSERT INTO account VALUES (4, 't4', '\x00', 'v4');
CALL kms.reencrypt('account', 's', new_context => 'id::text::bytea');
UPDATE account SET s = kms.encode_with('old', 's4', 't4') WHERE id = 4;
UPDATE account SET tenant = 'other' WHERE id = 4;
CALL kms.reencrypt('account', 's', new_context => 'id::text::bytea');
UPDATE account SET tenant = 't4' WHERE id = 4;
CALL kms.reencrypt('account', 's', new_context => 'id::text::bytea');
SELECT id, kms.decode_with_text('old', s, id::text::bytea) FROM account ORDER BY id;
-- The trigger that keeps two columns in step seals such a value anew.
CALL kms.encrypt_column('account', 'v', 'old', context_expression => $$convert_to(tenant, 'UTF8')$$);
BEGIN;
ALTER TABLE account DISABLE TRIGGER zzz_kms_v_encrypted;
UPDATE account SET v_encrypted = '\x00' WHERE id = 1;
ALTER TABLE account ENABLE ALWAYS TRIGGER zzz_kms_v_encrypted;
COMMIT;
CALL kms.reencrypt('account', 'v_encrypted', new_context => 'id::text::bytea');
BEGIN;
ALTER TABLE account DISABLE TRIGGER zzz_kms_v_encrypted;
UPDATE account SET v_encrypted = kms.encode_with('old', v, tenant::bytea) WHERE id = 2;
ALTER TABLE account ENABLE ALWAYS TRIGGER zzz_kms_v_encrypted;
COMMIT;
UPDATE account SET tenant = 'other' WHERE id = 2;
UPDATE account SET v_encrypted = NULL WHERE id = 1;
CALL kms.reencrypt('account', 'v_encrypted', new_context => 'id::text::bytea');
SELECT kms.switch_column('account', 'v');
SELECT id, kms.decode_with_text('old', v_encrypted, id::text::bytea) FROM account ORDER BY id;
-- A move that is over is repeated when the columns of the context of before are not what they were.
ALTER TABLE account ALTER tenant TYPE char(9);
CALL kms.reencrypt('account', 's', new_context => 'id::text::bytea');
CREATE FUNCTION tenant_of(id int) RETURNS bytea IMMUTABLE LANGUAGE sql AS $$ SELECT int4send(id) $$;
CREATE TABLE elsewhere (id int PRIMARY KEY, s bytea);
INSERT INTO elsewhere SELECT n, kms.encode_with('old', 's' || n, int4send(n)) FROM generate_series(1, 2) n;
SELECT kms.register_column('elsewhere', 's', 'old'::text, 'tenant_of(id)');
ALTER FUNCTION tenant_of RENAME TO renter_of;
CALL kms.reencrypt('elsewhere', 's', new_context => 'id::text::bytea');
ALTER FUNCTION renter_of RENAME TO tenant_of;
CALL kms.reencrypt('elsewhere', 's', new_context => 'id::text::bytea');
DROP TABLE elsewhere;
DROP FUNCTION tenant_of;
ALTER TABLE account DROP tenant;
CALL kms.reencrypt('account', 's', new_context => 'id::text::bytea');
SELECT is_moving, broken FROM kms.registered_columns WHERE full_name = 'public.account.s';
CALL kms.reencrypt('account', 's', new_context => 'id::text::bytea', was_context => '');
SELECT is_moving, broken FROM kms.registered_columns WHERE full_name = 'public.account.s';
DROP TABLE account;
-- A DEFAULT goes on to seal as it was written: nobody would look for what it makes.
CREATE TABLE account (id int PRIMARY KEY, v text DEFAULT 'none');
CALL kms.encrypt_column('account', 'v', 'old');
SELECT kms.switch_column('account', 'v');
CALL kms.reencrypt('account', 'v_encrypted', new_context => 'int4send(id)');
INSERT INTO account (id) VALUES (1);
ALTER TABLE account ALTER v_encrypted DROP DEFAULT;
CALL kms.reencrypt('account', 'v_encrypted', new_context => 'int4send(id)');
SELECT kms.decode_with_text('old', v_encrypted, int4send(id)) FROM account;
DROP TABLE account;
