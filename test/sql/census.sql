-- A census tells what the values of a column are sealed under, by their public bytes alone.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kms_owner, regress_kms_reader;
DROP SCHEMA IF EXISTS kms_test CASCADE;
RESET client_min_messages;
CREATE ROLE regress_kms_owner;
CREATE ROLE regress_kms_reader;
CREATE SCHEMA kms_test AUTHORIZATION regress_kms_owner;
SET search_path = kms_test;

SELECT kms.create_key('xaes'), kms.create_key('siv', 'aes-256-siv'), kms.create_key('gcm', 'aes-128-gcm'), kms.create_key('xaes and more');
SELECT kms.set_key(1, 'xaes'), kms.set_key(2, 'siv'), kms.set_key(3, 'gcm'), kms.set_key(4, 'xaes and more');
CREATE TABLE kms_test.person (id int, ssn bytea);
ALTER TABLE kms_test.person OWNER TO regress_kms_owner;
SELECT * FROM kms.census('person', 'ssn');
INSERT INTO person SELECT i, NULL FROM generate_series(1, 3) i;
SELECT * FROM kms.census('person', 'ssn');
INSERT INTO person SELECT i, kms.encode(1, repeat('x', 10 * i)) FROM generate_series(1, 10) i;
INSERT INTO person SELECT i, kms.encode(2, 'fourteen bytes') FROM generate_series(1, 4) i;
INSERT INTO person SELECT i, kms.encode(3, '') FROM generate_series(1, 5) i;

-- Names of keys that the agent holds are told where the column is registered with them.
SELECT key_identifier, version, suite, length(key_tag), rows, bytes FROM kms.census('person', 'ssn') ORDER BY suite;
SELECT kms.register_column('person', 'ssn', 'xaes');
SELECT kms.rotate_key('xaes');
INSERT INTO person VALUES (0, kms.encode(1, ''));
SELECT key_identifier, version, suite, rows, bytes FROM kms.census('person', 'ssn') ORDER BY suite, version;
SELECT count(*) FROM kms.census('person', 'ssn') c JOIN kms.list_keys() l USING (key_tag) WHERE c.version = l.version AND c.key_identifier = l.key_identifier;
-- An agent that is not there makes no difference but to names.
SET kms.command = 'exit 1';
SELECT key_identifier, version, suite, rows, bytes FROM kms.census('person', 'ssn') ORDER BY suite, rows;
RESET kms.command;
SELECT key_identifier, version, suite, rows, bytes FROM kms.census('person', 'ssn') ORDER BY suite, rows;

-- What is no sealed value: too short by a byte, no such suite, nothing.
TRUNCATE person;
INSERT INTO person SELECT 1, v FROM unnest(ARRAY['', '\x01', '\x00', '\xff', 'plain text that is long enough to be something else altogether']::bytea[]) v;
INSERT INTO person SELECT suite, set_byte(decode(repeat('ab', bytes), 'hex'), 0, suite)
FROM (VALUES (1, 48), (1, 49), (2, 24), (2, 25), (3, 36), (3, 37)) v(suite, bytes);
SELECT suite, key_tag, rows, bytes FROM kms.census('person', 'ssn') ORDER BY suite;

-- Values that are compressed, or kept elsewhere: by their whole length.
TRUNCATE person;
ALTER TABLE person ALTER ssn SET STORAGE EXTENDED;
INSERT INTO person SELECT 1, '\x01cdcdcdcdcdcdcdcd' || decode(repeat('00', 5000), 'hex') FROM generate_series(1, 3);
ALTER TABLE person ALTER ssn SET STORAGE EXTERNAL;
INSERT INTO person SELECT 2, '\x01cdcdcdcdcdcdcdcd' || decode(repeat('00', 5000), 'hex') FROM generate_series(1, 3);
ALTER TABLE person ALTER ssn SET STORAGE MAIN;
INSERT INTO person SELECT 3, '\x01cdcdcdcdcdcdcdcd' || decode(repeat('00', 5000000), 'hex');
INSERT INTO person SELECT 4, decode(repeat('00', 5000), 'hex') FROM generate_series(1, 2);
SELECT sum(pg_column_size(ssn)) BETWEEN 15000 AND 200000 AS both_ways, sum(octet_length(ssn)) FROM person;
SELECT suite, key_tag, rows, bytes FROM kms.census('person', 'ssn') ORDER BY suite;

-- Partitions and child tables count, each by itself too.
CREATE TABLE parted (id int, c bytea) PARTITION BY LIST (id);
CREATE TABLE part_1 (c bytea, more int, id int);
ALTER TABLE part_1 DROP COLUMN more;
ALTER TABLE parted ATTACH PARTITION part_1 FOR VALUES IN (1);
CREATE TABLE part_2 PARTITION OF parted FOR VALUES IN (2) PARTITION BY LIST (id);
CREATE TABLE part_2_2 PARTITION OF part_2 FOR VALUES IN (2);
INSERT INTO parted SELECT id, ('\x02' || decode(repeat('ab', 24), 'hex')) FROM (VALUES (1), (1), (2), (2), (2)) v(id);
SELECT p, (kms.census(p, 'c')).rows FROM unnest(ARRAY['parted', 'part_1', 'part_2', 'part_2_2']::regclass[]) p;
CREATE TABLE child () INHERITS (person);
INSERT INTO child SELECT 1, '\x03' || decode(repeat('ab', 36), 'hex');
SELECT suite, rows FROM kms.census('person', 'ssn') ORDER BY 1;
SELECT suite, rows FROM kms.census('child', 'ssn') ORDER BY 1;

-- By workers too.
CREATE TABLE much AS SELECT decode(lpad(to_hex(1 + i % 3), 2, '0') || repeat(lpad(to_hex(i % 100), 2, '0'), 60), 'hex') AS c FROM generate_series(1, 30000) i;
ANALYZE much;
CREATE TEMP TABLE by_one AS SELECT * FROM kms.census('much', 'c');
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
SELECT count(*), sum(rows), sum(bytes) FROM kms.census('much', 'c');
(TABLE by_one EXCEPT SELECT * FROM kms.census('much', 'c')) UNION ALL (SELECT * FROM kms.census('much', 'c') EXCEPT TABLE by_one);
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size; RESET max_parallel_workers_per_gather;

-- As many keys as rows.
CREATE TABLE tenants AS SELECT decode('01' || lpad(to_hex(i), 16, '0') || repeat('00', 40), 'hex') AS c FROM generate_series(1, 20000) i;
SELECT count(*), min(rows), max(rows), count(DISTINCT key_tag) FROM kms.census('tenants', 'c');

-- Data keys have their names, whatever column they are in.
SET kms.command = :'command';
SELECT kms.create_key('kek', purpose => 'wrap');
SELECT kms.create_data_key('orders', 'kek'), kms.rotate_data_key('orders');
TRUNCATE person;
INSERT INTO person SELECT d.version, '\x01' || d.key_tag || decode(repeat('00', 40), 'hex') FROM kms.data_key d, generate_series(1, d.version);
SELECT key_identifier, version, rows FROM kms.census('person', 'ssn') WHERE key_identifier IS NOT NULL ORDER BY 1, 2;
SELECT c.* FROM kms.census('person', 'ssn') c LEFT JOIN kms.data_key d ON (d.name, d.version, d.key_tag) = (convert_to(c.key_identifier, 'UTF8'), c.version, c.key_tag)
WHERE d.name IS NULL AND c.key_identifier IS NOT NULL;

-- In the transaction's own view: what it has done itself, and what others have committed, whatever its snapshot.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM person;
INSERT INTO person SELECT 9, '\x02' || decode(repeat('ab', 24), 'hex');
SELECT suite, rows FROM kms.census('person', 'ssn') WHERE suite = 2;
ROLLBACK;

-- Who may: who may read the column, all of its rows.
GRANT USAGE ON SCHEMA kms, kms_test TO regress_kms_reader, regress_kms_owner;
GRANT EXECUTE ON FUNCTION kms.census(regclass, name) TO regress_kms_reader, regress_kms_owner;
\set VERBOSITY sqlstate
SET ROLE regress_kms_reader;
SELECT count(*) FROM kms.census('person', 'ssn');
RESET ROLE;
GRANT SELECT (id) ON person TO regress_kms_reader;
SET ROLE regress_kms_reader;
SELECT count(*) FROM kms.census('person', 'ssn');
RESET ROLE;
GRANT SELECT (ssn) ON person TO regress_kms_reader;
SET ROLE regress_kms_reader;
SELECT count(*) FROM kms.census('person', 'ssn');
RESET ROLE;
ALTER TABLE person ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON person USING (id = 1);
\set VERBOSITY default
SET ROLE regress_kms_reader;
SELECT count(*) FROM kms.census('person', 'ssn');
SET ROLE regress_kms_owner;
SELECT count(*) FROM kms.census('person', 'ssn');
RESET ROLE;
ALTER TABLE person FORCE ROW LEVEL SECURITY;
SELECT count(*) FROM kms.census('person', 'ssn');
SET ROLE regress_kms_owner;
SELECT count(*) FROM kms.census('person', 'ssn');
RESET ROLE;
ALTER TABLE person DISABLE ROW LEVEL SECURITY;

-- Nothing that the table's owner has written is run, not even what a planner evaluates.
SET ROLE regress_kms_owner;
CREATE FUNCTION kms_test.spy(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF current_setting('kms_test.counting', true) = 'yes' THEN RAISE 'run as %', CASE current_user WHEN session_user THEN 'the caller' ELSE current_user END; END IF;
    RETURN $1;
END $$;
CREATE INDEX ON person ((id + kms_test.spy(1))) WHERE kms_test.spy(1) = 1;
CREATE STATISTICS kms_test.spied ON (id + kms_test.spy(1)), ssn FROM person;
ALTER TABLE person ADD CHECK (kms_test.spy(1) = 1) NO INHERIT, ADD CHECK (id = kms_test.spy(id)) NO INHERIT;
CREATE POLICY spied ON person USING (kms_test.spy(1) = 1);
RESET ROLE;
ANALYZE person;
\c -
SET search_path = kms_test;
SET kms_test.counting = 'yes';
SELECT id FROM person WHERE id + kms_test.spy(1) = 0;
SELECT count(*) FROM kms.census('person', 'ssn');
RESET kms_test.counting;
SELECT current_user = session_user AS back;

-- What cannot be counted.
CREATE VIEW shown AS SELECT * FROM person;
CREATE MATERIALIZED VIEW copied AS SELECT * FROM person;
SELECT count(*) FROM kms.census('copied', 'ssn');
REFRESH MATERIALIZED VIEW copied WITH NO DATA;
SELECT count(*) FROM kms.census('copied', 'ssn');
SELECT count(*) FROM kms.census('shown', 'ssn');
SELECT kms.census('person', 'id');
SELECT kms.census('person', 'none');
SELECT kms.census('person', 'ctid');
BEGIN;
CREATE FOREIGN DATA WRAPPER kms_test_wrapper;
CREATE SERVER kms_test_server FOREIGN DATA WRAPPER kms_test_wrapper;
CREATE FOREIGN TABLE part_3 PARTITION OF parted FOR VALUES IN (3) SERVER kms_test_server;
SELECT kms.census('parted', 'c');
ROLLBACK;
\set VERBOSITY sqlstate
SELECT kms.census('shown', 'ssn');
SELECT kms.census(NULL, 'ssn');
SELECT kms.census('person', NULL);
SELECT kms.census(2147483647::regclass, 'c');
\set VERBOSITY default
CREATE TEMP TABLE fleeting AS SELECT ''::bytea AS c;
SELECT rows, bytes FROM kms.census('fleeting', 'c');

SET client_min_messages = warning;
DROP SCHEMA kms_test CASCADE;
DELETE FROM kms.data_key;
DROP OWNED BY regress_kms_owner, regress_kms_reader;
DROP ROLE regress_kms_owner, regress_kms_reader;
