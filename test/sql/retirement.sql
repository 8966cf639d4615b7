-- A version of a key is not retired while rows of registered columns need it.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SET kms.cache_ttl = '1s';
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kms_owner, regress_kms_keeper;
DROP SCHEMA IF EXISTS kms_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA kms_test;
SET search_path = kms_test;
SELECT kms.create_key('k'), kms.create_key('other'), kms.set_key(1, 'k'), kms.set_key(2, 'other');
CREATE TABLE person (id int, ssn bytea, "Odd" bytea);
INSERT INTO person SELECT i, kms.encode(1, 'x'), kms.encode(2, 'y') FROM generate_series(1, 3) i;

-- Nothing is registered: nothing is asked.
SELECT kms.disable_key('other', 1);
SELECT kms.enable_key('other', 1);
SELECT kms.register_column('person', 'ssn', 'k'), kms.register_column('person', 'Odd', 'other');
SELECT kms.rotate_key('k');
INSERT INTO person SELECT i, kms.encode(1, 'z') FROM generate_series(1, 5) i;

SELECT kms.disable_key('k', 1);
\echo :LAST_ERROR_SQLSTATE
SELECT kms.destroy_key('k', 1);
\echo :LAST_ERROR_SQLSTATE
SELECT kms.disable_key('k', 1, force => true);
SELECT kms.destroy_key('k', 1);
\echo :LAST_ERROR_SQLSTATE
SELECT version, state FROM kms.list_keys('k') ORDER BY 1;
-- Whatever column they are in.
UPDATE person SET "Odd" = ssn WHERE id = 2;
SELECT kms.enable_key('k', 1);
SELECT kms.disable_key('k', 1);
SELECT kms.enable_key('k', 1);
UPDATE person SET ssn = kms.recode(1, 1, ssn);
SELECT kms.disable_key('k', 1);
UPDATE person SET "Odd" = NULL WHERE id = 2;
SET kms.cache_ttl = '100s';
SELECT kms.disable_key('k', 1);
SET kms.cache_ttl = '1s';
SELECT kms.disable_key('k', 1);
SELECT clock_timestamp() AS began \gset
SELECT kms.destroy_key('k', 1);
SELECT clock_timestamp() - :'began' >= '1s' AS waited;
SELECT version, state FROM kms.list_keys('k') ORDER BY 1;
-- What is not there, or destroyed, is the agent's to refuse.
SELECT kms.disable_key('k', 1);
SELECT kms.destroy_key('k', 7);
SELECT kms.disable_key('none', 1);
SELECT kms.disable_key('k', 2, NULL);
SELECT kms.destroy_key('k', 2, NULL);

-- Rows that a transaction has written itself, and rows in partitions.
CREATE TABLE parted (id int, c bytea) PARTITION BY LIST (id);
CREATE TABLE part PARTITION OF parted DEFAULT;
SELECT kms.register_column('parted', 'c', 'k');
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO parted SELECT i, kms.encode(1, 'x') FROM generate_series(1, 7) i;
SELECT kms.disable_key('k', 2);
ROLLBACK;

-- Who retires a key need not be allowed to read the tables, and sees names and numbers only.
CREATE ROLE regress_kms_keeper;
GRANT USAGE ON SCHEMA kms TO regress_kms_keeper;
GRANT EXECUTE ON FUNCTION kms.disable_key(text, int, bool) TO regress_kms_keeper;
SET ROLE regress_kms_keeper;
SELECT kms.disable_key('k', 2);
SELECT count(*) FROM kms_test.person;
SELECT current_user;
RESET ROLE;

-- A column that is not found stands in the way of every key.
INSERT INTO kms.registered_column (relation_schema, relation_name, column_name, key_identifier) VALUES ('gone', 'with', 'the_wind', 'k');
SELECT kms.create_key('fresh'), kms.disable_key('fresh', 1);
SELECT kms.disable_key('fresh', 1, true);
DELETE FROM kms.registered_column WHERE relation_schema = 'gone';

-- Many columns.
DO $$ BEGIN
    FOR i IN 1..30 LOOP
        EXECUTE format('ALTER TABLE person ADD COLUMN c%s bytea', i);
        EXECUTE format('UPDATE person SET c%s = ssn WHERE id = 1', i);
        PERFORM kms.register_column('person', ('c' || i)::name, 'k');
    END LOOP;
END $$;
SELECT kms.disable_key('k', 2);

SET client_min_messages = warning;
DROP SCHEMA kms_test CASCADE;
SELECT count(*) FROM kms.registered_columns;
DROP OWNED BY regress_kms_keeper;
DROP ROLE regress_kms_keeper;

-- Blobs need the version that wraps their keys, where no column is registered too: at the agent, and
-- in the database.
RESET client_min_messages;
SELECT kms.create_key('of blobs'), kms.set_key(3, 'of blobs'), kms.create_key('kek', purpose => 'wrap');
SELECT count(kms.blob_put(3, '')) FROM generate_series(1, 2);
SELECT kms.disable_key('of blobs', 1);
SELECT kms.rotate_key('of blobs'), kms.rewrap_blobs(3, 1), kms.rewrap_blobs(3);
SELECT kms.blob_put(3, 'x') IS NULL;
SET kms.cache_ttl = '100s';
SELECT kms.disable_key('of blobs', 1);
SET kms.cache_ttl = '1s';
SELECT kms.destroy_key('of blobs', 1);
SELECT kms.disable_key('of blobs', 2);
SET kms.mode = 'envelope';
SELECT kms.create_data_key('of blobs', 'kek', force => true);
SELECT kms.blob_put(3, 'y') IS NULL, kms.rotate_data_key('of blobs');
SELECT kms.disable_data_key('of blobs', 1);
CALL kms.destroy_data_key('of blobs', 1, dry_run => true);
SELECT kms.rewrap_blobs(3), kms.rewrap_blobs(3);
SELECT version, rows FROM kms.key_age() WHERE key_identifier = 'of%20blobs';
CALL kms.destroy_data_key('of blobs', 1);
SELECT count(*), count(kms.blob_get(id)) FROM kms.blob_list();
CALL kms.destroy_data_key('of blobs', 3, force => true);
SELECT count(*) FROM kms.blob_list();
\set VERBOSITY sqlstate
SELECT kms.blob_get(id) FROM kms.blob WHERE key_tag = (SELECT key_tag FROM kms.data_keys WHERE name = 'of%20blobs' AND version = 3);
RESET kms.mode;
SELECT DISTINCT kms.blob_delete(id) FROM kms.blob;
-- What changes the agent's keys is a change, in a transaction that is to make none.
SET default_transaction_read_only = on;
SELECT kms.create_key('read only');
SELECT kms.rotate_key('k');
SELECT kms.enable_key('k', 2);
SELECT kms.disable_key('k', 2, force => true);
SELECT kms.destroy_key('k', 2, force => true);
RESET default_transaction_read_only;
