-- The age of keys, and how many rows their current versions have sealed.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS kms_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA kms_test;
SET search_path = kms_test;
SELECT * FROM kms.key_age();
SELECT kms.create_key('kek', purpose => 'wrap'), kms.create_key('held'), kms.create_key('held long'), kms.create_key('gone'), kms.create_key('unused');
SELECT kms.create_data_key('orders', 'kek'), kms.create_data_key('spent', 'kek');
CREATE TABLE person (id int, ssn bytea, note bytea);
SELECT kms.set_key(1, 'held'), kms.set_key(2, 'gone');
SELECT kms.register_column('person', 'ssn', 'held'), kms.register_column('person', 'note', 'orders');
INSERT INTO person SELECT i, kms.encode(1, 'x'), kms.encode(2, 'y') FROM generate_series(1, 5) i;
SELECT kms.rotate_key('held'), kms.rotate_data_key('orders'), kms.rotate_data_key('orders');
INSERT INTO person SELECT i, kms.encode(1, 'x'), '\x01' || (SELECT key_tag FROM kms.data_key WHERE version = 3) || decode(repeat('00', 40), 'hex') FROM generate_series(1, 2) i;
INSERT INTO person SELECT 9, NULL, kms.encode(1, 'x');
SET kms.max_age = '1d';
SELECT key_identifier, version, created > now() - interval '1 hour' AS fresh, age BETWEEN '0' AND interval '1 hour' AS young, rows FROM kms.key_age() ORDER BY 1;

-- Old ones are warned about.
UPDATE kms.data_key SET created = created - interval '100 days' WHERE name IN ('orders') AND version = 3;
SELECT key_identifier, version, age > interval '99 days' AS old, rows FROM kms.key_age() ORDER BY 1;
SET kms.mode = 'envelope';
SELECT kms.set_key(3, 'orders'), kms.set_key(4, 'spent');
SET kms.mode = 'local';
SELECT kms.set_key(1, 'held');
SELECT pg_sleep(2.1);
SET kms.max_age = 1;
SELECT kms.set_key(1, 'held');
SET kms.mode = 'remote';
SELECT kms.set_key(1, 'held');
RESET kms.mode;
RESET kms.max_age;
SELECT count(*) FROM kms.key_age();
SET kms.max_age = '101d';
SELECT count(*) FROM kms.key_age();
INSERT INTO kms.data_key (name, version, algorithm, key_tag, created, kek, kek_version, wrapped, kek_version_first)
SELECT convert_to('tenant ' || lpad(i::text, 2, '0'), 'UTF8'), 1, 'xaes-256-gcm', decode(lpad(to_hex(i), 16, '0'), 'hex'), '2020-01-01', 'kek', 1, '\x00', 1 FROM generate_series(1, 12) i;
SELECT count(*) FROM kms.key_age();
DELETE FROM kms.data_key WHERE name LIKE 'tenant%';

-- What is destroyed is not in use; what the agent does not say is not known.
UPDATE kms.data_key SET state = 'destroyed', wrapped = NULL WHERE name = 'spent';
SELECT kms.unregister_column('person', 'note'), kms.register_column('person', 'note', 'gone'), kms.destroy_key('gone', 1, force => true);
SELECT kms.unregister_column('person', 'ssn'), kms.register_column('person', 'ssn', 'never heard of');
INSERT INTO kms.registered_column (relation_schema, relation_name, column_name, key_identifier) VALUES ('not', 'here', 'any_more', 'held');
SELECT key_identifier, version, rows FROM kms.key_age() ORDER BY 1;
RESET kms.command;
SELECT key_identifier, version, rows FROM kms.key_age() ORDER BY 1;

DELETE FROM kms.registered_column;
DELETE FROM kms.data_key;
SET client_min_messages = warning;
DROP SCHEMA kms_test CASCADE;
