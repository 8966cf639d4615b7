-- reencrypt: every row of a registered column comes to the current version of its key.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kms_owner, regress_kms_other, regress_kms_watcher;
RESET client_min_messages;
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('pii'), kms.create_key('same', 'aes-256-siv');

CREATE SCHEMA "Over There";
CREATE TABLE "Over There"."The People" (id int, "The SSN" bytea, note text DEFAULT 'n') WITH (autovacuum_enabled = off);
INSERT INTO "Over There"."The People" (id, "The SSN")
SELECT n, CASE WHEN n % 10 > 0 THEN kms.encode_with('pii', 'ssn ' || n, n::text::bytea) END FROM generate_series(1, 1000) n;

-- Rows by how many versions behind they are, and whether each opens.
CREATE FUNCTION public.versions() RETURNS TABLE (behind int, count bigint, opens bool) LANGUAGE sql AS $$
    SELECT (SELECT max(version) FROM kms.list_keys('pii')) - k.version, count(*),
        bool_and(kms.decode_with_text('pii', "The SSN", id::text::bytea) = 'ssn ' || id)
    FROM "Over There"."The People" p LEFT JOIN kms.list_keys('pii') k ON k.key_tag = substring("The SSN", 2, 8)
    GROUP BY k.version ORDER BY 1
$$;

-- It must be registered.
CALL kms.reencrypt('"Over There"."The People"', 'The SSN');
SELECT * FROM kms.reencrypt_progress;
SELECT kms.register_column('"Over There"."The People"', 'The SSN', 'pii'::text, 'id::text::bytea');
CALL kms.reencrypt('"Over There"."The People"', 'The SSN');
SELECT * FROM versions();

SELECT kms.rotate_key('pii');
SELECT * FROM versions();
CALL kms.reencrypt('"Over There"."The People"', 'The SSN');
SELECT * FROM versions();
SELECT relation, column_name, phase, rows_done, rows_total, rows_skipped, rate > 0 AS has_rate, started > now() - interval '1 hour' AS has_started, estimated_end, running
FROM kms.reencrypt_progress;

-- Again, in small batches; by position, by name, in a DO block that may commit; in remote mode.
CALL kms.reencrypt('"Over There"."The People"', 'The SSN', 10);
SELECT kms.rotate_key('pii');
CALL kms.reencrypt('"Over There"."The People"'::regclass, column_name => 'The SSN', batch => 1, pause => '100 microseconds');
SELECT * FROM versions();
SELECT kms.rotate_key('pii');
DO $$ BEGIN CALL kms.reencrypt('"Over There"."The People"', 'The SSN', 7); END $$;
SELECT * FROM versions();
SELECT kms.rotate_key('pii');
SET kms.mode = 'remote';
CALL kms.reencrypt('"Over There"."The People"', 'The SSN', batch => 300);
SELECT * FROM versions();
RESET kms.mode;

-- Whatever the session's settings are, which it has again afterwards.
SELECT kms.rotate_key('pii');
SET search_path = "Over There";
SET default_transaction_isolation = serializable;
SET enable_tidscan = off;
CALL kms.reencrypt('"The People"', 'The SSN');
SELECT current_setting('search_path'), current_setting('transaction_isolation'), current_setting('enable_tidscan'), current_setting('row_security'),
    current_setting('session_replication_role');
RESET default_transaction_isolation;
RESET enable_tidscan;
RESET search_path;
SELECT * FROM versions();
SET default_transaction_read_only = on;
CALL kms.reencrypt('"Over There"."The People"', 'The SSN');
RESET default_transaction_read_only;

-- Not where it cannot commit.
BEGIN;
CALL kms.reencrypt('"Over There"."The People"', 'The SSN');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
CREATE PROCEDURE public.with_setting() LANGUAGE plpgsql SET work_mem = '4MB' AS $$ BEGIN CALL kms.reencrypt('"Over There"."The People"', 'The SSN'); END $$;
CALL with_setting();
DO $$ BEGIN CALL kms.reencrypt('"Over There"."The People"', 'The SSN'); EXCEPTION WHEN active_sql_transaction THEN RAISE NOTICE '%', sqlerrm; END $$;
DROP PROCEDURE with_setting;

-- Arguments.
CALL kms.reencrypt(NULL, 'c');
CALL kms.reencrypt(1, 'c');
CALL kms.reencrypt('"Over There"."The People"', NULL);
CALL kms.reencrypt('"Over There"."The People"', 'none');
CALL kms.reencrypt('"Over There"."The People"', 'ctid');
CALL kms.reencrypt('"Over There"."The People"', 'note');
CALL kms.reencrypt('"Over There"."The People"', 'The SSN', 0);
CALL kms.reencrypt('"Over There"."The People"', 'The SSN', 1000001);
CALL kms.reencrypt('"Over There"."The People"', 'The SSN', NULL);
CALL kms.reencrypt('"Over There"."The People"', 'The SSN', pause => '-1 s');
CALL kms.reencrypt('"Over There"."The People"', 'The SSN', pause => '1 month');
CALL kms.reencrypt('"Over There"."The People"', 'The SSN', pause => NULL);
CALL kms.reencrypt('"Over There"."The People"', 'The SSN', triggers => 'ignore');
CALL kms.reencrypt('"Over There"."The People"', 'The SSN', triggers => NULL);

-- Rows that cannot be re-encrypted stay as they are, and are reported when all others are done.
SELECT kms.rotate_key('pii');
UPDATE "Over There"."The People" SET "The SSN" = '\x00' WHERE id = 1;
UPDATE "Over There"."The People" SET "The SSN" = '' WHERE id = 2;
UPDATE "Over There"."The People" SET "The SSN" = set_byte("The SSN", 40, get_byte("The SSN", 40) # 1) WHERE id = 3;
UPDATE "Over There"."The People" SET "The SSN" = kms.encode_with('same', 'x') WHERE id = 4;
UPDATE "Over There"."The People" SET id = 55555 WHERE id = 5;
UPDATE "Over There"."The People" SET id = NULL WHERE id = 6;
CALL kms.reencrypt('"Over There"."The People"', 'The SSN');
\echo :LAST_ERROR_SQLSTATE
SELECT phase, rows_done, rows_total, rows_skipped, rows_failed FROM kms.reencrypt_progress;
SELECT id FROM "Over There"."The People" p LEFT JOIN kms.list_keys('pii') k ON k.key_tag = substring("The SSN", 2, 8)
WHERE "The SSN" IS NOT NULL AND k.version IS DISTINCT FROM (SELECT max(version) FROM kms.list_keys('pii')) ORDER BY 1;
SET kms.mode = 'remote';
\set VERBOSITY terse
CALL kms.reencrypt('"Over There"."The People"', 'The SSN', 5);
\set VERBOSITY default
RESET kms.mode;
UPDATE "Over There"."The People" SET "The SSN" = NULL WHERE id IN (1, 2, 3, 4, 6, 55555) OR id IS NULL;

-- A version that is destroyed, and a key that cannot be used at all.
INSERT INTO "Over There"."The People" VALUES (7000, kms.encode_with('pii', 'ssn 7000', '7000')), (7001, kms.encode_with('pii', 'ssn 7001', '7001'));
SELECT kms.rotate_key('pii') - 1 AS previous \gset
SELECT kms.disable_key('pii', :previous, force => true);
\set VERBOSITY terse
CALL kms.reencrypt('"Over There"."The People"', 'The SSN', 100);
\set VERBOSITY default
SELECT kms.disable_key('pii', :previous + 1, force => true);
CALL kms.reencrypt('"Over There"."The People"', 'The SSN');
SELECT kms.enable_key('pii', :previous), kms.enable_key('pii', :previous + 1);
SET kms.command = 'exit 3';
CALL kms.reencrypt('"Over There"."The People"', 'The SSN');
SET kms.command = :'command';
DROP TABLE "Over There"."The People";
DROP FUNCTION versions;
DROP SCHEMA "Over There";
SELECT count(*) FROM kms.reencrypt_progress;

-- From here on the agent is another, with keys of its own.
SELECT kms.create_key('k');

-- Partitions of partitions, one attached with its columns in another order; and inheritance.
CREATE TABLE parted (id int, c bytea, kind text) PARTITION BY LIST (kind);
CREATE TABLE parted_a PARTITION OF parted FOR VALUES IN ('a') PARTITION BY RANGE (id);
CREATE TABLE parted_a1 PARTITION OF parted_a FOR VALUES FROM (0) TO (100);
CREATE TABLE parted_a2 PARTITION OF parted_a FOR VALUES FROM (100) TO (1000);
CREATE TABLE parted_b (gone text, c bytea, kind text, id int);
ALTER TABLE parted_b DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_b FOR VALUES IN ('b');
INSERT INTO parted SELECT n, kms.encode_with('k', 'v' || n, n::text::bytea), CASE WHEN n < 150 THEN 'a' ELSE 'b' END FROM generate_series(1, 300) n;
SELECT kms.register_column('parted', 'c', 'k'::text, 'id::text::bytea');
CREATE TABLE parent (id int, c bytea);
CREATE TABLE child (more int) INHERITS (parent);
INSERT INTO parent SELECT n, kms.encode_with('k', 'v' || n) FROM generate_series(1, 50) n;
INSERT INTO child SELECT n, kms.encode_with('k', 'v' || n), 1 FROM generate_series(51, 120) n;
SELECT kms.register_column('parent', 'c', 'k'::text);
SELECT kms.rotate_key('k');
CALL kms.reencrypt('parted', 'c', 20);
CALL kms.reencrypt('parent', 'c', 20);
SELECT tableoid::regclass, count(*), count(*) FILTER (WHERE substring(c, 2, 8) = (SELECT key_tag FROM kms.list_keys('k') WHERE version = 2)) AS current,
    bool_and(kms.decode_with_text('k', c, id::text::bytea) = 'v' || id) AS opens
FROM parted GROUP BY 1 ORDER BY 1;
SELECT tableoid::regclass, count(*), count(*) FILTER (WHERE substring(c, 2, 8) = (SELECT key_tag FROM kms.list_keys('k') WHERE version = 2)) AS current
FROM parent GROUP BY 1 ORDER BY 1;
-- What is registered of a table covers its child tables: no row counts twice.
SELECT kms.register_column('child', 'c', 'k'::text);
ALTER TABLE child NO INHERIT parent;
SELECT kms.register_column('child', 'c', 'k'::text);
ALTER TABLE child INHERIT parent;
SELECT kms.disable_key('k', 2);
CALL kms.reencrypt('child', 'c');
SELECT kms.unregister_column('child', 'c');
SELECT kms.rotate_key('k');
CREATE FOREIGN DATA WRAPPER regress_kms_wrapper;
CREATE SERVER regress_kms_server FOREIGN DATA WRAPPER regress_kms_wrapper;
CREATE FOREIGN TABLE parted_c PARTITION OF parted FOR VALUES IN ('c') SERVER regress_kms_server;
CALL kms.reencrypt('parted', 'c');
DROP FOREIGN DATA WRAPPER regress_kms_wrapper CASCADE;
DROP TABLE parted, parent CASCADE;

-- Triggers.
CREATE TABLE t (id int PRIMARY KEY, c bytea, fired int DEFAULT 0, other int) WITH (autovacuum_enabled = off);
INSERT INTO t SELECT n, kms.encode_with('k', 'v' || n) FROM generate_series(1, 30) n;
SELECT kms.register_column('t', 'c', 'k'::text);
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.fired := NEW.fired + 1; RETURN NEW; END $$;
CREATE TRIGGER of_insert BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fire();
CREATE TRIGGER of_other BEFORE UPDATE OF other ON t FOR EACH ROW EXECUTE FUNCTION fire();
SELECT kms.rotate_key('k');
CALL kms.reencrypt('t', 'c');
CREATE TRIGGER of_c BEFORE UPDATE OF id, c ON t FOR EACH ROW EXECUTE FUNCTION fire();
CALL kms.reencrypt('t', 'c');
ALTER TABLE t DISABLE TRIGGER of_c;
CALL kms.reencrypt('t', 'c');
ALTER TABLE t ENABLE TRIGGER of_c;
SELECT kms.rotate_key('k');
CALL kms.reencrypt('t', 'c', triggers => 'skip');
SELECT DISTINCT fired FROM t;
SHOW session_replication_role;
SELECT kms.rotate_key('k');
CALL kms.reencrypt('t', 'c', triggers => 'fire');
SELECT DISTINCT fired FROM t;
ALTER TABLE t ENABLE ALWAYS TRIGGER of_c;
CALL kms.reencrypt('t', 'c', triggers => 'skip');
ALTER TABLE t ENABLE REPLICA TRIGGER of_c;
CALL kms.reencrypt('t', 'c');
DROP TRIGGER of_c ON t;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER refusal BEFORE UPDATE ON t FOR EACH ROW WHEN (OLD.id = 7) EXECUTE FUNCTION refuse();
CREATE TRIGGER statement AFTER UPDATE ON t FOR EACH STATEMENT EXECUTE FUNCTION refuse();
SELECT kms.rotate_key('k');
CALL kms.reencrypt('t', 'c');
CALL kms.reencrypt('t', 'c', triggers => 'fire');
SELECT phase, rows_done, rows_total, rows_skipped, rows_failed FROM kms.reencrypt_progress WHERE relation = 't'::regclass;
DROP TRIGGER refusal ON t;
DROP TRIGGER statement ON t;

-- Each kind of trigger fires once for what it is about, but for those that want to see all rows at once.
CREATE TABLE fired (name text, rows bigint);
CREATE FUNCTION count_rows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.fired VALUES (TG_NAME, (SELECT count(*) FROM public.t)); RETURN NULL; END $$;
CREATE TRIGGER before_statement BEFORE UPDATE OF c ON t FOR EACH STATEMENT EXECUTE FUNCTION count_rows();
CREATE TRIGGER after_statement AFTER UPDATE OF c ON t FOR EACH STATEMENT EXECUTE FUNCTION count_rows();
CREATE TRIGGER of_other_statement AFTER UPDATE OF other ON t FOR EACH STATEMENT EXECUTE FUNCTION count_rows();
CREATE TRIGGER after_row AFTER UPDATE OF c ON t FOR EACH ROW WHEN (OLD.c <> NEW.c AND OLD.id = NEW.id) EXECUTE FUNCTION count_rows();
CREATE CONSTRAINT TRIGGER at_commit AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_rows();
SELECT kms.rotate_key('k');
CALL kms.reencrypt('t', 'c', 10, triggers => 'fire');
SELECT name, count(*), min(rows) FROM fired GROUP BY name ORDER BY name;
CREATE TRIGGER all_rows AFTER UPDATE ON t REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION count_rows();
CALL kms.reencrypt('t', 'c', triggers => 'fire');
ALTER TABLE t DISABLE TRIGGER all_rows;
CALL kms.reencrypt('t', 'c', triggers => 'fire');
DROP FUNCTION count_rows CASCADE;
DROP TABLE fired;

-- What else is refused.
CREATE RULE others AS ON UPDATE TO t DO ALSO SELECT 1;
CALL kms.reencrypt('t', 'c');
DROP RULE others ON t;
ALTER TABLE t ADD sum text GENERATED ALWAYS AS (md5(c)) STORED;
CALL kms.reencrypt('t', 'c');
ALTER TABLE t DROP COLUMN sum, ADD sum int GENERATED ALWAYS AS (other + 1) STORED;
CALL kms.reencrypt('t', 'c');
CREATE TABLE at_key (id int, c bytea) PARTITION BY HASH (c);
SELECT kms.register_column('at_key', 'c', 'k'::text);
CALL kms.reencrypt('at_key', 'c');
DROP TABLE at_key;
CREATE TABLE referred (c bytea PRIMARY KEY);
CREATE TABLE referring (c bytea REFERENCES referred);
SELECT kms.register_column('referred', 'c', 'k'::text), kms.register_column('referring', 'c', 'k'::text);
CALL kms.reencrypt('referred', 'c');
CALL kms.reencrypt('referring', 'c');
DROP TABLE referred, referring;
CREATE VIEW v AS SELECT * FROM t;
CALL kms.reencrypt('v', 'c');
DROP VIEW v;
CALL kms.reencrypt('pg_authid', 'rolname');
SET client_min_messages = error;
CREATE PUBLICATION regress_kms_publication FOR TABLE t;
RESET client_min_messages;
ALTER TABLE t REPLICA IDENTITY NOTHING;
CALL kms.reencrypt('t', 'c');
\echo :LAST_ERROR_SQLSTATE
DROP PUBLICATION regress_kms_publication;

-- Unique indexes are no obstacle, and rows whose key is encrypted are locked as such an update needs.
ALTER TABLE t ADD UNIQUE (c);
SELECT kms.rotate_key('k');
CALL kms.reencrypt('t', 'c', 10);
SELECT count(*), count(DISTINCT kms.decode_with_text('k', c)) FROM t;

-- Values of all lengths, larger than what is in memory at once.
CREATE TABLE large (id int, c bytea);
INSERT INTO large SELECT n, kms.encode_with('k', repeat(chr(64 + n), (ARRAY[0, 1, 126, 127, 2000, 100000, 3000000])[1 + n % 7])) FROM generate_series(1, 28) n;
SELECT kms.register_column('large', 'c', 'k'::text);
SELECT kms.rotate_key('k');
CALL kms.reencrypt('large', 'c');
SELECT bool_and(kms.decode_with_text('k', c) = repeat(chr(64 + id), (ARRAY[0, 1, 126, 127, 2000, 100000, 3000000])[1 + id % 7])), count(*),
    count(DISTINCT substring(c, 2, 8)) FROM large;
DROP TABLE large;

-- All else in a row stays as it is, and what holds for an UPDATE holds here.
CREATE DOMAIN sealed AS bytea CHECK (length(VALUE) > 40);
CREATE TABLE whole (gone text, id int GENERATED ALWAYS AS IDENTITY, large text, c sealed NOT NULL, twice int GENERATED ALWAYS AS (length(large) * 2) STORED,
    UNIQUE (id) DEFERRABLE INITIALLY DEFERRED, CHECK (octet_length(c) < 100), EXCLUDE USING hash (c WITH =)) WITH (fillfactor = 50);
ALTER TABLE whole ALTER large SET STORAGE EXTERNAL;
INSERT INTO whole (gone, large, c) SELECT 'gone', repeat(n::text, 3000), kms.encode_with('k', 'v' || n) FROM generate_series(1, 20) n;
ALTER TABLE whole DROP COLUMN gone, ADD later int DEFAULT 7;
CREATE INDEX ON whole (md5(c)) WHERE id > 5;
CREATE TEMP TABLE before AS SELECT id, large, twice, later FROM whole;
SELECT kms.register_column('whole', 'c', 'k'::text), kms.rotate_key('k');
CALL kms.reencrypt('whole', 'c', 3);
SELECT count(*), bool_and((b.large, b.twice, b.later) = (w.large, w.twice, w.later)), bool_and(kms.decode_with_text('k', c) = 'v' || id),
    count(DISTINCT substring(c, 2, 8)) FROM whole w JOIN before b USING (id);
SET enable_seqscan = off;
SELECT count(*) FROM whole a JOIN whole b ON md5(a.c) = md5(b.c) AND a.id > 5 AND b.id > 5;
RESET enable_seqscan;
ALTER DOMAIN sealed ADD CONSTRAINT not_so_long CHECK (length(VALUE) < 40) NOT VALID;
SELECT kms.rotate_key('k');
\set VERBOSITY terse
CALL kms.reencrypt('whole', 'c');
\set VERBOSITY default
ALTER DOMAIN sealed DROP CONSTRAINT not_so_long;
ALTER TABLE whole ADD CHECK (length(c) < 40) NOT VALID;
\set VERBOSITY terse
CALL kms.reencrypt('whole', 'c');
\set VERBOSITY default
DROP TABLE whole, before;
DROP DOMAIN sealed;

-- Who may: EXECUTE is not enough, owning the table is what counts.
CREATE ROLE regress_kms_owner;
CREATE ROLE regress_kms_other;
CREATE ROLE regress_kms_watcher;
GRANT USAGE ON SCHEMA kms TO regress_kms_owner, regress_kms_other, regress_kms_watcher;
SET ROLE regress_kms_owner;
CALL kms.reencrypt('t', 'c');
RESET ROLE;
GRANT EXECUTE ON PROCEDURE kms.reencrypt TO regress_kms_owner, regress_kms_other;
SELECT kms.rotate_key('k');
SET ROLE regress_kms_owner;
CALL kms.reencrypt('t', 'c');
RESET ROLE;
ALTER TABLE t OWNER TO regress_kms_owner;
SET ROLE regress_kms_owner;
CALL kms.reencrypt('t', 'c');
CALL kms.reencrypt('t', 'c', triggers => 'skip');
SELECT * FROM kms.reencrypt_progress;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CALL kms.reencrypt('t', 'c');
ALTER TABLE t FORCE ROW LEVEL SECURITY;
CALL kms.reencrypt('t', 'c');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT SELECT ON kms.reencrypt_progress TO regress_kms_watcher;
SET ROLE regress_kms_watcher;
SELECT relation, column_name, phase, rows_done FROM kms.reencrypt_progress;
SELECT * FROM kms.reencryption;
RESET ROLE;
REVOKE SELECT ON kms.reencrypt_progress FROM regress_kms_watcher;

DROP TABLE t;
DROP FUNCTION fire, refuse;
REVOKE EXECUTE ON PROCEDURE kms.reencrypt FROM regress_kms_owner, regress_kms_other;
REVOKE USAGE ON SCHEMA kms FROM regress_kms_owner, regress_kms_other, regress_kms_watcher;
DROP ROLE regress_kms_owner, regress_kms_other, regress_kms_watcher;
-- No key is bound to a local id while what the table's owner has written runs: the HINT says what to do instead.
SELECT kms.create_key('by id');
CREATE TABLE by_id (id int PRIMARY KEY, c bytea, other bytea);
INSERT INTO by_id VALUES (1, kms.encode_with('by id', 'x'));
CREATE FUNCTION seals_other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.other := kms.encode(1, 'y'::text); RETURN NEW; END $$;
CREATE TRIGGER seals_other BEFORE UPDATE ON by_id FOR EACH ROW EXECUTE FUNCTION seals_other();
SELECT kms.register_column('by_id', 'c', 'by id'), kms.rotate_key('by id'), kms.set_key(1, 'by id');
CALL kms.reencrypt('by_id', 'c', triggers => 'fire');
ALTER FUNCTION seals_other() SET kms.keys = '1=by%20id';
CALL kms.reencrypt('by_id', 'c', triggers => 'fire');
SELECT kms.decode_with_text('by id', other) FROM by_id;
DROP TABLE by_id;
DROP FUNCTION seals_other();
SELECT kms.unset_key(1);
