-- Maintenance by a superuser ran the code of a table's owner as the superuser: context expressions, casts, index expressions,
-- constraints and triggers, those that are put off until the commit too. They run as the owner, restricted.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kms_owner, regress_kms_part;
RESET client_min_messages;
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('pii'), kms.set_key(7, 'pii');
CREATE ROLE regress_kms_owner;
CREATE ROLE regress_kms_part;
CREATE SCHEMA theirs;
GRANT ALL ON SCHEMA theirs TO regress_kms_owner, regress_kms_part;
GRANT USAGE ON SCHEMA kms TO regress_kms_owner;
GRANT EXECUTE ON FUNCTION kms.encode(int, bytea, bytea) TO regress_kms_owner;

SET ROLE regress_kms_owner;
CREATE TABLE theirs.log (what text, who name DEFAULT current_user, path text DEFAULT current_setting('search_path'), zone text DEFAULT current_setting('TimeZone'),
    keys text DEFAULT current_setting('kms.keys'));
GRANT ALL ON theirs.log TO PUBLIC;
CREATE FUNCTION theirs.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO theirs.log VALUES (TG_NAME); PERFORM set_config('work_mem', '77MB', false); RETURN coalesce(NEW, OLD); END $$;
CREATE FUNCTION theirs.add(what text) RETURNS void LANGUAGE sql AS 'INSERT INTO theirs.log VALUES (what)';
CREATE FUNCTION theirs.note_as(what text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM theirs.add(what); RETURN what; END $$;
CREATE FUNCTION theirs.context(id int) RETURNS bytea LANGUAGE plpgsql STABLE AS $$
BEGIN RAISE NOTICE 'context as %', current_user; RETURN int4send(id); END $$;
CREATE FUNCTION theirs.constant() RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RAISE NOTICE 'planned as %', current_user; RETURN ''; END $$;
CREATE DOMAIN theirs.sealed AS bytea CHECK (theirs.note_as('domain') = 'domain');
CREATE TABLE theirs.referred (id int PRIMARY KEY);
CREATE TABLE theirs.t (id int, c theirs.sealed, p int REFERENCES theirs.referred DEFERRABLE INITIALLY DEFERRED, UNIQUE (c) DEFERRABLE INITIALLY DEFERRED,
    CHECK (theirs.note_as('check ' || id) <> ''));
CREATE INDEX ON theirs.t (theirs.note_as('index ' || id));
CREATE INDEX ON theirs.t (id) WHERE theirs.note_as('predicate ' || id) <> '';
INSERT INTO theirs.referred VALUES (1);
INSERT INTO theirs.t SELECT n, NULL, 1 FROM generate_series(1, 3) n;
RESET ROLE;
SELECT kms.register_column('theirs.t', 'c', 'pii'::text, 'theirs.context(id) || theirs.constant()');
UPDATE theirs.t SET c = kms.encode(7, 'v' || id, int4send(id)::bytea);
SET ROLE regress_kms_owner;
CREATE TRIGGER before_row BEFORE UPDATE ON theirs.t FOR EACH ROW WHEN (theirs.note_as('when ' || OLD.id) <> '') EXECUTE FUNCTION theirs.note();
CREATE TRIGGER after_row AFTER UPDATE ON theirs.t FOR EACH ROW EXECUTE FUNCTION theirs.note();
CREATE TRIGGER after_statement AFTER UPDATE ON theirs.t EXECUTE FUNCTION theirs.note();
CREATE CONSTRAINT TRIGGER put_off AFTER UPDATE ON theirs.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION theirs.note();
RESET ROLE;
TRUNCATE theirs.log;

-- Every one of them, whatever the caller is; and the caller's settings are as they were.
SELECT kms.rotate_key('pii');
SET search_path = theirs, public;
SET TimeZone = 'Asia/Tokyo';
CALL kms.reencrypt('t', 'c', 2, triggers => 'fire');
SELECT current_user = session_user AS back, current_setting('search_path'), current_setting('work_mem'), current_setting('kms.keys');
SELECT split_part(what, ' ', 1) AS what, count(*) > 1 AS often, min(who), max(who), min(path), max(path), min(zone), max(zone), max(keys) FROM log GROUP BY 1 ORDER BY 1;
SELECT kms.decode_text(7, c, int4send(id)::bytea) FROM t ORDER BY 1;

-- Code of theirs cannot put anything off that would then run at the commit, as the superuser.
CREATE OR REPLACE FUNCTION theirs.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO theirs.log VALUES (TG_NAME); SET CONSTRAINTS ALL DEFERRED; RETURN coalesce(NEW, OLD); END $$;
TRUNCATE log;
SELECT kms.rotate_key('pii');
CALL kms.reencrypt('t', 'c', triggers => 'fire');
SELECT DISTINCT who FROM log WHERE who <> 'regress_kms_owner';

-- Nor leave the role, nor make what outlives its function.
CREATE OR REPLACE FUNCTION theirs.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; RETURN NEW; END $$;
\set VERBOSITY terse
CALL kms.reencrypt('t', 'c', triggers => 'fire');
CREATE OR REPLACE FUNCTION theirs.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE kept (); RETURN NEW; END $$;
CALL kms.reencrypt('t', 'c', triggers => 'fire');
\set VERBOSITY default

-- A name that only the caller's search_path finds: the error says what to do.
CREATE OR REPLACE FUNCTION theirs.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (TG_NAME); RETURN NEW; END $$;
CALL kms.reencrypt('t', 'c', triggers => 'fire');
\echo :LAST_ERROR_SQLSTATE
CREATE OR REPLACE FUNCTION theirs.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM note_as('x'); RETURN NEW; END $$;
\set VERBOSITY sqlstate
CALL kms.reencrypt('t', 'c', triggers => 'fire');
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
ALTER FUNCTION theirs.note() SET search_path = theirs;
CALL kms.reencrypt('t', 'c', triggers => 'fire');
ALTER FUNCTION theirs.note() RESET search_path;

-- An error in the second batch leaves the caller who it was, and SET ROLE works.
CREATE OR REPLACE FUNCTION theirs.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.id = 3 THEN RAISE disk_full; END IF; RETURN NEW; END $$;
SELECT kms.rotate_key('pii');
CALL kms.reencrypt('t', 'c', 2, triggers => 'fire');
SELECT current_user = session_user AS back, current_setting('search_path'), current_setting('kms.keys');
SET ROLE regress_kms_owner;
SELECT current_user;
RESET ROLE;
SELECT rows FROM kms.census('t', 'c') ORDER BY rows;
CREATE OR REPLACE FUNCTION theirs.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CALL kms.reencrypt('t', 'c', 2, triggers => 'fire');

-- What that code asks of kms itself is asked as the owner, and with no local id bound.
CREATE OR REPLACE FUNCTION theirs.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM kms.encode(7, 'x'::bytea); RETURN NEW; END $$;
SELECT kms.rotate_key('pii');
\set VERBOSITY terse
CALL kms.reencrypt('t', 'c', triggers => 'fire');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default
RESET search_path;

-- What a table's owner has written is inherited, and ran as the owner of a partition or a child table: by a call of the owner's
-- or a superuser's. The same the other way round. Tables of more than one owner are refused.
SET ROLE regress_kms_owner;
CREATE FUNCTION theirs.inherited(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'inherited as %', current_user; RETURN $1; END $$;
CREATE TABLE theirs.parted (id int, c bytea, d date DEFAULT theirs.inherited('2020-01-01')::date, CHECK (theirs.inherited('c') = 'c')) PARTITION BY RANGE (id);
CREATE TABLE theirs.part PARTITION OF theirs.parted FOR VALUES FROM (0) TO (10);
CREATE TABLE theirs.heired (id int, c bytea, CHECK (theirs.inherited('h') = 'h'));
CREATE TABLE theirs.heir () INHERITS (theirs.heired);
RESET ROLE;
ALTER TABLE theirs.part OWNER TO regress_kms_part;
ALTER TABLE theirs.heir OWNER TO regress_kms_part;
GRANT EXECUTE ON PROCEDURE kms.reencrypt, kms.encrypt_column, kms.decrypt_column TO regress_kms_owner, regress_kms_part;
GRANT EXECUTE ON FUNCTION kms.switch_column TO regress_kms_owner, regress_kms_part;
GRANT USAGE ON SCHEMA kms TO regress_kms_part;
SET client_min_messages = warning;
INSERT INTO theirs.parted VALUES (1, kms.encode_with('pii', 'v', int4send(1)::bytea));
INSERT INTO theirs.heired VALUES (1, kms.encode_with('pii', 'v'));
INSERT INTO theirs.heir VALUES (1, kms.encode_with('pii', 'v'));
SELECT kms.register_column('theirs.parted', 'c', 'pii'::text, 'theirs.context(id)');
SELECT kms.register_column('theirs.heir', 'c', 'pii'::text), kms.register_column('theirs.heired', 'c', 'pii'::text);
SELECT kms.rotate_key('pii');
RESET client_min_messages;
CALL kms.reencrypt('theirs.parted', 'c');
\set VERBOSITY sqlstate
CALL kms.reencrypt('theirs.part', 'c');
CALL kms.reencrypt('theirs.heired', 'c');
CALL kms.reencrypt('theirs.heir', 'c');
CALL kms.encrypt_column('theirs.parted', 'd', 'pii');
CALL kms.decrypt_column('theirs.parted', 'c', 'text');
SELECT kms.switch_column('theirs.parted', 'd', dry_run => true);
SET ROLE regress_kms_owner;
CALL kms.reencrypt('theirs.parted', 'c');
CALL kms.reencrypt('theirs.heired', 'c');
CALL kms.encrypt_column('theirs.parted', 'd', 'pii');
SELECT kms.switch_column('theirs.parted', 'd', dry_run => true);
SET ROLE regress_kms_part;
CALL kms.reencrypt('theirs.part', 'c');
CALL kms.reencrypt('theirs.heir', 'c');
RESET ROLE;
\set VERBOSITY default
-- Where both are of one owner, all of it is that owner's.
ALTER TABLE theirs.part OWNER TO regress_kms_owner;
ALTER TABLE theirs.heir OWNER TO regress_kms_owner;
CALL kms.reencrypt('theirs.parted', 'c');
CALL kms.reencrypt('theirs.heired', 'c');
SELECT kms.switch_column('theirs.parted', 'd', dry_run => true);

-- A partition key is simplified by whoever looks at it first after a change: it ran as the superuser that called, and where the
-- trigger was made as the extension's owner, whoever called.
SET client_min_messages = warning;
SET ROLE regress_kms_owner;
CREATE FUNCTION theirs.keyed() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM theirs.add('key'); RETURN 0; END $$;
CREATE TABLE theirs.keyed (id int, p text, q text) PARTITION BY LIST ((id + theirs.keyed()));
CREATE TABLE theirs.keyed_part PARTITION OF theirs.keyed DEFAULT PARTITION BY LIST ((id + theirs.keyed()));
CREATE TABLE theirs.keyed_leaf PARTITION OF theirs.keyed_part DEFAULT;
INSERT INTO theirs.keyed VALUES (1, 'a', 'b');
RESET ROLE;
-- What is kept of it is thrown away with a change of the table.
CREATE FUNCTION theirs.forget_keys() RETURNS void LANGUAGE sql AS 'GRANT SELECT ON theirs.keyed, theirs.keyed_part TO PUBLIC; REVOKE SELECT ON theirs.keyed, theirs.keyed_part FROM PUBLIC';
TRUNCATE theirs.log;
SELECT theirs.forget_keys();
CALL kms.encrypt_column('theirs.keyed', 'p', 'pii');
SELECT theirs.forget_keys();
SELECT kms.switch_column('theirs.keyed', 'p', dry_run => true);
SELECT theirs.forget_keys();
SELECT kms.switch_column('theirs.keyed', 'p');
SELECT kms.rotate_key('pii'), theirs.forget_keys();
CALL kms.reencrypt('theirs.keyed', 'p_encrypted');
SELECT theirs.forget_keys();
CALL kms.decrypt_column('theirs.keyed', 'p_encrypted', 'text', was_key => 'pii');
SELECT theirs.forget_keys();
SELECT kms.switch_column('theirs.keyed', 'p_encrypted');
RESET client_min_messages;
SELECT DISTINCT who FROM theirs.log ORDER BY 1;

-- Others' triggers were silenced for what the owner's code does while triggers were skipped.
SET client_min_messages = warning;
CREATE TABLE guarded (what text);
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'guarded'; END $$;
CREATE TRIGGER guard BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION guard();
GRANT INSERT ON guarded TO regress_kms_owner;
SET ROLE regress_kms_owner;
CREATE FUNCTION theirs.passes() RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.guarded VALUES ('forged');
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    INSERT INTO theirs.log VALUES (format('%s as %s', SQLERRM, current_setting('session_replication_role')));
    RETURN true;
END $$;
CREATE FUNCTION theirs.noisy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO theirs.log VALUES (TG_NAME); PERFORM theirs.passes(); RETURN NEW; END $$;
CREATE TABLE theirs.skipped (id int, c bytea, CHECK (theirs.passes()));
CREATE TRIGGER ordinary BEFORE UPDATE ON theirs.skipped FOR EACH ROW EXECUTE FUNCTION theirs.noisy();
CREATE TRIGGER ordinary_after AFTER UPDATE ON theirs.skipped FOR EACH ROW EXECUTE FUNCTION theirs.noisy();
CREATE TRIGGER of_replica BEFORE UPDATE ON theirs.skipped FOR EACH ROW EXECUTE FUNCTION theirs.noisy();
CREATE TRIGGER of_replica_after AFTER UPDATE ON theirs.skipped FOR EACH STATEMENT EXECUTE FUNCTION theirs.noisy();
RESET ROLE;
INSERT INTO theirs.skipped VALUES (1, kms.encode_with('pii', 'v'));
SELECT kms.register_column('theirs.skipped', 'c', 'pii'::text);
SELECT kms.rotate_key('pii');
TRUNCATE theirs.log;
CALL kms.reencrypt('theirs.skipped', 'c', triggers => 'skip');
SELECT DISTINCT what FROM theirs.log ORDER BY 1;
ALTER TABLE theirs.skipped ENABLE REPLICA TRIGGER of_replica;
ALTER TABLE theirs.skipped ENABLE REPLICA TRIGGER of_replica_after;
SELECT kms.rotate_key('pii');
RESET client_min_messages;
CALL kms.reencrypt('theirs.skipped', 'c', triggers => 'skip');
ALTER TABLE theirs.skipped DISABLE TRIGGER of_replica, DISABLE TRIGGER of_replica_after;
SET ROLE regress_kms_owner;
CALL kms.reencrypt('theirs.skipped', 'c', triggers => 'skip');
RESET ROLE;
TABLE guarded;
DROP TABLE guarded;
DROP FUNCTION guard();

-- encrypt_column: a cast of the owner's to text, which may keep less than all, is not asked; a trigger sees the caller's TimeZone, not the one of the conversion.
SET ROLE regress_kms_owner;
CREATE FUNCTION theirs.shown(theirs.referred) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO theirs.log VALUES ('cast'); RETURN $1.id; END $$;
CREATE CAST (theirs.referred AS text) WITH FUNCTION theirs.shown(theirs.referred);
CREATE TABLE theirs.plain (id int, p theirs.referred);
INSERT INTO theirs.plain VALUES (1, ROW(5));
CREATE FUNCTION theirs.note_zone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO theirs.log VALUES ('trigger'); RETURN NEW; END $$;
CREATE TRIGGER of_plain BEFORE UPDATE ON theirs.plain FOR EACH ROW EXECUTE FUNCTION theirs.note_zone();
RESET ROLE;
TRUNCATE theirs.log;
CALL kms.encrypt_column('theirs.plain', 'p', 'pii', context_expression => 'theirs.context(id) || theirs.constant()', triggers => 'fire');
SELECT * FROM theirs.log ORDER BY 1;
SELECT kms.decode_with_text('pii', p_encrypted, int4send(id)::bytea) FROM theirs.plain;

-- switch_column: the cast and the context again, the input of a DEFAULT's type, and constraints that may imply NOT NULL.
SET ROLE regress_kms_owner;
CREATE DOMAIN theirs.checked AS int CHECK (theirs.note_as('domain ' || VALUE) <> '');
CREATE TABLE theirs.switched (id int, p theirs.checked[] NOT NULL DEFAULT '{7}', CHECK (theirs.note_as('implies') = 'implies' OR p IS NOT NULL));
INSERT INTO theirs.switched VALUES (1, '{5}');
RESET ROLE;
TRUNCATE theirs.log;
SELECT kms.switch_column('theirs.plain', 'p', dry_run => true);
SELECT kms.switch_column('theirs.plain', 'p');
CALL kms.encrypt_column('theirs.switched', 'p', 'pii');
SELECT kms.switch_column('theirs.switched', 'p', dry_run => true);
SELECT kms.switch_column('theirs.switched', 'p', drop_constraints => true);
SELECT DISTINCT what, who, path, keys FROM theirs.log ORDER BY 1;
SELECT current_user = session_user AS back, current_setting('search_path');

-- decrypt_column: the input of the type.
TRUNCATE theirs.log;
CALL kms.decrypt_column('theirs.switched', 'p_encrypted', 'theirs.checked[]', was_key => 'pii');
SELECT kms.switch_column('theirs.switched', 'p_encrypted', drop_constraints => true);
SELECT DISTINCT what, who, path, keys FROM theirs.log ORDER BY 1;
TABLE theirs.switched;

-- Whoever writes between encrypt_column and the switch runs the context expression, as with a CHECK. It was planned as the owner,
-- and what the writer has in pg_temp, which a SET search_path = x finds first, ran as the owner.
SET client_min_messages = warning;
SET ROLE regress_kms_owner;
CREATE DOMAIN theirs.code AS text;
CREATE FUNCTION theirs.prefix() RETURNS bytea LANGUAGE plpgsql IMMUTABLE SET search_path = theirs AS $$ BEGIN RETURN ('cards'::code)::text::bytea; END $$;
REVOKE EXECUTE ON FUNCTION theirs.prefix() FROM PUBLIC;
CREATE TABLE theirs.written (id int, p text);
GRANT SELECT, INSERT ON theirs.written TO regress_kms_part;
RESET ROLE;
CALL kms.encrypt_column('theirs.written', 'p', 'pii', context_expression => 'theirs.prefix() || int4send(id)');
RESET client_min_messages;
SET ROLE regress_kms_part;
CREATE FUNCTION theirs.shadow(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'shadowed as %', current_user; RETURN true; END $$;
CREATE DOMAIN pg_temp.code AS text CHECK (theirs.shadow(VALUE));
INSERT INTO theirs.written VALUES (1, 'x');
RESET ROLE;
GRANT EXECUTE ON FUNCTION theirs.prefix() TO regress_kms_part;
SET ROLE regress_kms_part;
INSERT INTO theirs.written VALUES (1, 'x');
RESET ROLE;
ALTER FUNCTION theirs.prefix() SET search_path = theirs, pg_temp;
SET ROLE regress_kms_part;
INSERT INTO theirs.written VALUES (2, 'y');
DROP DOMAIN pg_temp.code;
RESET ROLE;
SELECT id, kms.decode_with_text('pii', p_encrypted, 'cards'::bytea || int4send(id)) FROM theirs.written ORDER BY id;
-- On the way back too.
SELECT kms.switch_column('theirs.written', 'p');
CALL kms.decrypt_column('theirs.written', 'p_encrypted', 'text', was_key => 'pii');
INSERT INTO theirs.written (id, p_encrypted) VALUES (3, kms.encode_with('pii', 'z', 'cards'::bytea || int4send(3)));
REVOKE EXECUTE ON FUNCTION theirs.prefix() FROM regress_kms_part;
SET ROLE regress_kms_part;
INSERT INTO theirs.written (id) VALUES (4);
RESET ROLE;
SELECT id, p FROM theirs.written ORDER BY id;

-- switch_column looked the columns up by name again, after code of the owner's had given the names to other columns: a bigint
-- was read as if it were bytea, and the server crashed. Each of the changes is found out, and nothing is lost.
SET client_min_messages = warning;
SET ROLE regress_kms_owner;
CREATE TABLE theirs.commands (command text);
CREATE FUNCTION theirs.in_between(int) RETURNS bytea LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM theirs.do_commands(); RETURN int4send($1); END $$;
CREATE FUNCTION theirs.do_commands() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    command text;
BEGIN
    FOR command IN DELETE FROM theirs.commands RETURNING commands.command LOOP
        EXECUTE command;
    END LOOP;
END $$;
CREATE TABLE theirs.renamed (id int, p bigint) PARTITION BY RANGE (id);
CREATE TABLE theirs.renamed_1 PARTITION OF theirs.renamed FOR VALUES FROM (0) TO (10);
CREATE TABLE theirs.renamed_2 PARTITION OF theirs.renamed FOR VALUES FROM (10) TO (20);
INSERT INTO theirs.renamed VALUES (1, 1), (11, 4702111234474983745);
RESET ROLE;
CALL kms.encrypt_column('theirs.renamed', 'p', 'pii', context_expression => 'theirs.in_between(id)');
CREATE PROCEDURE act_meanwhile(command text) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO theirs.commands VALUES (command);
    PERFORM kms.switch_column('theirs.renamed', 'p');
EXCEPTION WHEN OTHERS THEN
    DELETE FROM theirs.commands;
    RAISE WARNING '% %', SQLSTATE, SQLERRM;
END $$;
CALL act_meanwhile('ALTER TABLE theirs.renamed RENAME p TO x; ALTER TABLE theirs.renamed RENAME p_encrypted TO p; ALTER TABLE theirs.renamed RENAME x TO p_encrypted');
CALL act_meanwhile('ALTER TABLE theirs.renamed DETACH PARTITION theirs.renamed_2; ALTER TABLE theirs.renamed_2 ALTER p_encrypted TYPE bigint USING 4702111234474983745');
CALL act_meanwhile('ALTER TABLE theirs.renamed DETACH PARTITION theirs.renamed_2');
CALL act_meanwhile('ALTER TABLE theirs.renamed DETACH PARTITION theirs.renamed_2; DROP TABLE theirs.renamed_2');
CALL act_meanwhile('CREATE TABLE theirs.renamed_3 PARTITION OF theirs.renamed FOR VALUES FROM (20) TO (30)');
CALL act_meanwhile('ALTER TRIGGER zzz_kms_p_encrypted ON theirs.renamed RENAME TO other');
CALL act_meanwhile('DROP TRIGGER zzz_kms_p_encrypted ON theirs.renamed');
CALL act_meanwhile('ALTER TABLE theirs.renamed_1 ALTER p_encrypted TYPE text USING NULL');
SELECT id, p, kms.decode_with_text('pii', p_encrypted, int4send(id)::bytea) FROM theirs.renamed ORDER BY 1;

-- PostgreSQL looks a table's name up once more for each command, and whoever renames its schema locks no table: the columns of
-- another table were dropped. An event trigger stands for the other session, in the very moment of each of the commands.
CREATE SCHEMA blue;
CREATE SCHEMA green;
CREATE TABLE blue.t (id serial, p text NOT NULL DEFAULT 'dflt', n serial);
CREATE TABLE green.t (id serial, p text, n serial);
INSERT INTO blue.t VALUES (1, 'blue');
INSERT INTO green.t VALUES (1, 'green');
CREATE TABLE swaps (at text, left_over int);
CREATE FUNCTION swap() RETURNS event_trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    UPDATE swaps SET left_over = left_over - 1 WHERE at = TG_TAG;
    IF EXISTS (SELECT FROM swaps WHERE at = TG_TAG AND left_over = 0) THEN
        ALTER SCHEMA blue RENAME TO red;
        ALTER SCHEMA green RENAME TO blue;
    END IF;
END $$;
CREATE EVENT TRIGGER swap ON ddl_command_start WHEN TAG IN ('ALTER TABLE', 'ALTER SEQUENCE', 'DROP TRIGGER') EXECUTE FUNCTION swap();
CREATE PROCEDURE swap_at(command text, number int, call text) LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE swaps;
    INSERT INTO swaps VALUES (command, number);
    EXECUTE call;
    RAISE WARNING '% % has not been reached', number, command;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING '% % %', command, SQLSTATE, SQLERRM;
END $$;
INSERT INTO swaps VALUES ('ALTER TABLE', 1);
CALL kms.encrypt_column('blue.t', 'p', 'pii');
UPDATE swaps SET left_over = 2;
CALL kms.encrypt_column('blue.t', 'p', 'pii');
TRUNCATE swaps;
CALL kms.encrypt_column('blue.t', 'p', 'pii');
CALL kms.encrypt_column('blue.t', 'n', 'pii');
CALL kms.encrypt_column('green.t', 'p', 'pii');
CALL kms.encrypt_column('green.t', 'n', 'pii');
CALL swap_at('DROP TRIGGER', 1, $$SELECT kms.switch_column('blue.t', 'p')$$);
CALL swap_at('ALTER TABLE', 1, $$SELECT kms.switch_column('blue.t', 'p')$$);
CALL swap_at('ALTER TABLE', 2, $$SELECT kms.switch_column('blue.t', 'p')$$);
CALL swap_at('ALTER SEQUENCE', 1, $$SELECT kms.switch_column('blue.t', 'n', drop_constraints => true)$$);
SELECT p, n, num_nulls(p_encrypted, n_encrypted) FROM blue.t UNION ALL SELECT p, n, num_nulls(p_encrypted, n_encrypted) FROM green.t ORDER BY 1;
DROP EVENT TRIGGER swap;
SELECT kms.switch_column('blue.t', 'p');
DROP SCHEMA blue, green CASCADE;
DROP TABLE swaps;
DROP FUNCTION swap;
DROP PROCEDURE swap_at, act_meanwhile;
RESET client_min_messages;

RESET TimeZone;

-- What checks an expression runs the owner's code, which swaps two schemas: the registration of another's table was written over, with an
-- expression that then ran as its owner.
SELECT current_database() AS database, kms.create_key('other') \gset
GRANT CREATE ON DATABASE :"database" TO regress_kms_owner;
GRANT EXECUTE ON FUNCTION kms.register_column(regclass, name, text, text, text), kms.unregister_column TO regress_kms_owner, regress_kms_part;
SET ROLE regress_kms_owner;
CREATE SCHEMA regress_kms_a;
CREATE SCHEMA regress_kms_b;
GRANT ALL ON SCHEMA regress_kms_b TO regress_kms_part;
CREATE TABLE theirs.to_do (what text);
CREATE FUNCTION theirs.act() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    command text;
BEGIN
    FOR command IN DELETE FROM theirs.to_do RETURNING what LOOP
        EXECUTE command;
    END LOOP;
END $$;
CREATE FUNCTION theirs.acts() RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM theirs.act(); RETURN ''; END $$;
CREATE TABLE regress_kms_a.t (id int, c bytea, d bytea, e bytea);
SELECT kms.register_column('regress_kms_a.t', 'c', 'pii'::text, 'int4send(id)');
SET ROLE regress_kms_part;
CREATE TABLE regress_kms_b.t (id int, c bytea, d bytea, e bytea);
SELECT kms.register_column('regress_kms_b.t', 'c', 'pii'::text, 'int4send(id)');
SET ROLE regress_kms_owner;
CREATE FUNCTION theirs.swap() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    ALTER SCHEMA regress_kms_a RENAME TO regress_kms_c;
    ALTER SCHEMA regress_kms_b RENAME TO regress_kms_a;
    ALTER SCHEMA regress_kms_c RENAME TO regress_kms_b;
END $$;
RESET ROLE;
CREATE VIEW theirs.registered AS
    SELECT r.full_name, c.relowner::regrole, r.key_identifier, r.context_expression, r.was_context_expression, r.is_moving
    FROM kms.registered_columns r JOIN pg_class c ON c.oid = r.relation WHERE r.full_name LIKE 'regress_kms_%';
INSERT INTO theirs.to_do VALUES ('SELECT theirs.swap()');
CALL kms.reencrypt('regress_kms_a.t', 'c', new_context => 'theirs.acts() || theirs.context(id)', was_key => 'pii', was_context => 'theirs.context(id)');
SELECT * FROM theirs.registered ORDER BY 1;
INSERT INTO theirs.to_do VALUES ('SELECT theirs.swap()');
SELECT kms.register_column('regress_kms_b.t', 'd', 'pii'::text, 'theirs.acts() || theirs.context(id)');
SELECT * FROM theirs.registered ORDER BY 1;
-- Or gives another column the name, or registers it itself.
SELECT kms.unregister_column('regress_kms_a.t', 'd');
INSERT INTO theirs.to_do VALUES ('ALTER TABLE regress_kms_a.t RENAME d TO f'), ('ALTER TABLE regress_kms_a.t RENAME e TO d');
SELECT kms.register_column('regress_kms_a.t', 'd', 'pii'::text, 'theirs.acts()');
TRUNCATE theirs.to_do;
INSERT INTO theirs.to_do VALUES ($$SELECT kms.register_column('regress_kms_a.t', 'd', 'other'::text)$$);
SELECT kms.register_column('regress_kms_a.t', 'd', 'pii'::text, 'theirs.acts()');
TRUNCATE theirs.to_do;
SELECT * FROM theirs.registered ORDER BY 1;

-- A column was registered with another key in the middle of a run, which then opened values of that one, in the name of whoever had called.
SET ROLE regress_kms_owner;
CREATE FUNCTION theirs.acts_as(id int) RETURNS bytea LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM theirs.act(); RETURN int4send(id); END $$;
CREATE FUNCTION theirs.again(relation text, c text) RETURNS text LANGUAGE sql AS $$
SELECT format('SELECT kms.unregister_column(%1$L, %2$L), kms.register_column(%1$L, %2$L, ''other''::text, ''theirs.acts_as(id)'')', $1, $2) $$;
CREATE TABLE theirs.opened (id int, c bytea);
CREATE TABLE theirs.sealed_now (id int, p text);
INSERT INTO theirs.sealed_now SELECT n, 'v' || n FROM generate_series(1, 3) n;
RESET ROLE;
INSERT INTO theirs.opened SELECT n, kms.encode_with(CASE n WHEN 3 THEN 'other' ELSE 'pii' END, 'v' || n, int4send(n)) FROM generate_series(1, 3) n;
SELECT kms.register_column('theirs.opened', 'c', 'pii'::text, 'theirs.acts_as(id)');
SELECT kms.rotate_key('pii');
\set again 'INSERT INTO theirs.to_do SELECT theirs.again'
:again('theirs.opened', 'c');
CALL kms.decrypt_column('theirs.opened', 'c', 'text', batch => 1, was_key => 'pii');
SELECT id, c_plain FROM theirs.opened ORDER BY id;
DROP TRIGGER zzz_kms_c_plain ON theirs.opened;
ALTER TABLE theirs.opened DROP c_plain;
SELECT kms.unregister_column('theirs.opened', 'c'), kms.register_column('theirs.opened', 'c', 'pii'::text, 'theirs.acts_as(id)');
:again('theirs.opened', 'c');
CALL kms.reencrypt('theirs.opened', 'c', batch => 1);
SELECT kms.unregister_column('theirs.opened', 'c'), kms.register_column('theirs.opened', 'c', 'pii'::text, 'theirs.acts_as(id)');
:again('theirs.opened', 'c');
CALL kms.reencrypt('theirs.opened', 'c', batch => 1, new_context => 'theirs.acts() || theirs.context(id)', was_key => 'pii');
:again('theirs.sealed_now', 'p_encrypted');
CALL kms.encrypt_column('theirs.sealed_now', 'p', 'pii', context_expression => 'theirs.acts_as(id)', batch => 1);
SELECT kms.unregister_column('theirs.sealed_now', 'p_encrypted'), kms.register_column('theirs.sealed_now', 'p_encrypted', 'pii'::text, 'theirs.acts_as(id)');
CALL kms.encrypt_column('theirs.sealed_now', 'p', 'pii', context_expression => 'theirs.acts_as(id)', batch => 1);
:again('theirs.sealed_now', 'p_encrypted');
SELECT kms.switch_column('theirs.sealed_now', 'p');
TRUNCATE theirs.to_do;
SELECT kms.switch_column('theirs.sealed_now', 'p');
SELECT key_identifier FROM kms.registered_columns WHERE relation = 'theirs.sealed_now'::regclass;
DELETE FROM theirs.opened WHERE id = 3;
SELECT kms.unregister_column('theirs.opened', 'c'), kms.register_column('theirs.opened', 'c', 'pii'::text, 'theirs.acts_as(id)');
CALL kms.decrypt_column('theirs.opened', 'c', 'text', was_key => 'pii');
:again('theirs.opened', 'c');
SELECT kms.switch_column('theirs.opened', 'c');
TRUNCATE theirs.to_do;
SELECT kms.switch_column('theirs.opened', 'c');

-- A cast that the owner of a type makes later is not called for a table's owner, nor for who writes.
CREATE TYPE theirs.kind AS ENUM ('a', 'b');
CREATE TABLE theirs.of_kind (k theirs.kind, c bytea, p text);
INSERT INTO theirs.of_kind VALUES ('a', kms.encode(7, 'x', 'a'), 'y');
SELECT kms.register_column('theirs.of_kind', 'c', 'pii'::text, $$convert_to(k::text, 'UTF8')$$);
CALL kms.encrypt_column('theirs.of_kind', 'p', 'pii', context_expression => $$convert_to(k::text, 'UTF8')$$);
CREATE FUNCTION theirs.shown(theirs.kind) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'shown as %', current_user; RETURN 'forged'; END $$;
CREATE CAST (theirs.kind AS text) WITH FUNCTION theirs.shown(theirs.kind);
SELECT kms.rotate_key('pii');
CALL kms.reencrypt('theirs.of_kind', 'c');
INSERT INTO theirs.of_kind VALUES ('b', NULL, 'z');
DROP CAST (theirs.kind AS text);
CALL kms.reencrypt('theirs.of_kind', 'c');
SELECT kms.decode_text(7, c, 'a'), kms.decode_text(7, p_encrypted, 'a') FROM theirs.of_kind;

-- A large object that the owner's code makes is none of pg_temp's.
CREATE TABLE theirs.with_large (c bytea, lo oid);
INSERT INTO theirs.with_large VALUES (kms.encode(7, 'x'));
CREATE FUNCTION theirs.keeps_copy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.lo := lo_from_bytea(0, 'x'); RETURN NEW; END $$;
CREATE TRIGGER keeps_copy BEFORE UPDATE ON theirs.with_large FOR EACH ROW EXECUTE FUNCTION theirs.keeps_copy();
SELECT kms.register_column('theirs.with_large', 'c', 'pii'), kms.rotate_key('pii');
CALL kms.reencrypt('theirs.with_large', 'c', triggers => 'fire');
SELECT kms.decode_text(7, c), lo_get(lo) = 'x', lo_unlink(lo) FROM theirs.with_large;

SET client_min_messages = warning;
DROP SCHEMA regress_kms_a, regress_kms_b CASCADE;
DROP SCHEMA theirs CASCADE;
REVOKE CREATE ON DATABASE :"database" FROM regress_kms_owner;
REVOKE EXECUTE ON FUNCTION kms.register_column(regclass, name, text, text, text), kms.unregister_column FROM regress_kms_owner, regress_kms_part;
REVOKE EXECUTE ON FUNCTION kms.encode(int, bytea, bytea) FROM regress_kms_owner;
REVOKE USAGE ON SCHEMA kms FROM regress_kms_owner, regress_kms_part;
REVOKE ALL ON PROCEDURE kms.reencrypt, kms.encrypt_column, kms.decrypt_column FROM regress_kms_owner, regress_kms_part;
REVOKE ALL ON FUNCTION kms.switch_column FROM regress_kms_owner, regress_kms_part;
REVOKE EXECUTE ON FUNCTION kms_internal.keep_in_step() FROM regress_kms_owner;
DROP ROLE regress_kms_owner, regress_kms_part;
