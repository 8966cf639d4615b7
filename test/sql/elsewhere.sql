-- A table that Citus distributes has its rows in other tables: nothing takes it for empty. The list
-- that Citus keeps is made by hand here.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('pii') AS created;
CREATE TABLE person (id int, name text, ssn bytea);
CREATE TABLE parts (id int, ssn bytea) PARTITION BY LIST (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
SELECT kms.register_column(t, 'ssn', 'pii'::text) FROM unnest('{person, parts}'::regclass[]) t;

-- A list of that name elsewhere, or of another shape, is nobody's.
CREATE TABLE pg_dist_partition (logicalrelid regclass);
INSERT INTO pg_dist_partition VALUES ('person');
CALL kms.reencrypt('person', 'ssn');
DROP TABLE pg_dist_partition;
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid text);
INSERT INTO pg_catalog.pg_dist_partition VALUES ('person');
CALL kms.reencrypt('person', 'ssn');
DROP TABLE pg_catalog.pg_dist_partition;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod "char");

INSERT INTO pg_catalog.pg_dist_partition VALUES ('person', 'n'), ('parts_1', 'h');
SELECT kms.rotate_key('pii') AS rotated;
CALL kms.reencrypt('person', 'ssn');
CALL kms.reencrypt('parts', 'ssn');
CALL kms.encrypt_column('person', 'name', 'pii'::text);
SELECT kms.census('person', 'ssn');
SELECT kms.disable_key('pii', 1);
SELECT key_identifier, version, rows FROM kms.key_age();
SELECT kms.disable_key('pii', 1, force => true);
SELECT kms.enable_key('pii', 1);

-- Distributed between encrypt_column and switch_column.
DELETE FROM pg_catalog.pg_dist_partition WHERE logicalrelid = 'person'::regclass;
CALL kms.encrypt_column('person', 'name', 'pii'::text);
INSERT INTO pg_catalog.pg_dist_partition VALUES ('person', 'n');
SELECT kms.switch_column('person', 'name');

DROP TABLE pg_catalog.pg_dist_partition, person, parts;
RESET allow_system_table_mods;
SELECT kms.disable_key('pii', 1);
