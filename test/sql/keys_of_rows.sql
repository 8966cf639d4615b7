-- Columns whose rows name their keys: what register_column takes, and that all that goes by a column's key goes by each row's.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT count(kms.create_key('tenant ' || n)) FROM generate_series(1, 3) n;
SELECT kms.create_key('pii'), kms.create_key('terms', 'hmac-sha-256');
CREATE TABLE note (id int PRIMARY KEY, tenant text, body bytea);
INSERT INTO note SELECT n, 'tenant ' || n % 3 + 1, kms.encode_with('tenant ' || n % 3 + 1, 'note ' || n, int4send(n)) FROM generate_series(1, 30) n;

-- One key, or one for each row.
SELECT kms.register_column('note', 'body');
SELECT kms.register_column('note', 'body', NULL::text);
SELECT kms.register_column('note', 'body', NULL::bytea);
SELECT kms.register_column('note', 'body', 'pii', key_expression => 'tenant');
SELECT kms.register_column('note', 'body', key_expression => 'id');
SELECT kms.register_column('note', 'body', key_expression => 'NULL');
CREATE TYPE uri;
CREATE FUNCTION uri_in(cstring) RETURNS uri LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION uri_out(uri) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE uri (INPUT = uri_in, OUTPUT = uri_out, LIKE = text, CATEGORY = 'S');
SELECT kms.register_column('note', 'body', key_expression => $$'tenant 1'::uri$$);
DROP TYPE uri CASCADE;
SELECT kms.register_column('note', 'body', key_expression => $$''$$);
SELECT kms.register_column('note', 'body', key_expression => $$repeat('x', 1025)$$);
SELECT kms.register_column('note', 'body', key_expression => 'tenant || clock_timestamp()');
SELECT kms.register_column('note', 'body', key_expression => 'body');
SELECT kms.register_column('note', 'body', key_expression => '(SELECT tenant)');
SELECT kms.register_column('note', 'body', key_expression => 'tenant', context_expression => 'int4send(id)');
SELECT column_name, key_identifier, key_expression, context_expression, broken FROM kms.registered_columns;

-- reencrypt goes by each row's key, and census tells them apart.
CALL kms.reencrypt('note', 'body');
SELECT key_identifier, version, rows FROM kms.census('note', 'body') ORDER BY 1;
SELECT kms.rotate_key('tenant 2');
CALL kms.reencrypt('note', 'body', batch => 4);
SELECT key_identifier, version, rows FROM kms.census('note', 'body') ORDER BY 1;
SELECT bool_and(kms.decode_with_text(tenant, body, int4send(id)) = 'note ' || id) FROM note;
CALL kms.reencrypt('note', 'body');
SELECT key_identifier, version, rows FROM kms.key_age() ORDER BY 1;

-- Retirement counts them, whatever they are called.
SELECT kms.disable_key('tenant 1', 1);
SELECT kms.disable_key('tenant 2', 1);

-- One tenant's key that is gone, one that never was, and rows that name none, keep nobody else's from being done.
SELECT kms.rotate_key('tenant ' || n) FROM generate_series(1, 3) n;
SELECT kms.disable_key('tenant 1', version, force => true) FROM generate_series(1, 2) version;
INSERT INTO note VALUES (31, 'nobody', kms.encode_with('tenant 3', 'of nobody', int4send(31))), (32, NULL, kms.encode_with('tenant 3', 'of none', int4send(32))),
    (33, '', kms.encode_with('tenant 3', 'of an empty name', int4send(33))), (34, 'tenant 2', kms.encode_with('tenant 3', 'of another', int4send(34))),
    (35, 'terms', kms.encode_with('tenant 3', 'of terms', int4send(35)));
\set VERBOSITY terse
CALL kms.reencrypt('note', 'body');
\set VERBOSITY default
SELECT key_identifier, version, rows FROM kms.census('note', 'body') ORDER BY 1, 2;
SELECT kms.enable_key('tenant 1', version) FROM generate_series(1, 2) version;
DELETE FROM note WHERE id > 30;
CALL kms.reencrypt('note', 'body');
SELECT bool_and(kms.decode_with_text(tenant, body, int4send(id)) = 'note ' || id) FROM note;

-- In remote mode, and in envelope mode with data keys.
SET kms.mode = remote;
SELECT kms.rotate_key('tenant 3');
CALL kms.reencrypt('note', 'body');
RESET kms.mode;

-- A key that cannot be had is asked for once and not for each row, and names that are none keep nobody else's rows from being done.
CREATE TABLE many (id int PRIMARY KEY, tenant text, body bytea);
INSERT INTO many SELECT n, CASE n % 4 WHEN 0 THEN '' WHEN 1 THEN 'nobody' WHEN 2 THEN repeat('x', 1025) ELSE 'tenant 1' END, kms.encode_with('tenant 1', 'x') FROM generate_series(1, 8000) n;
SELECT kms.register_column('many', 'body', key_expression => 'tenant');
SELECT kms.rotate_key('tenant 1');
SELECT requests AS before FROM kms.status() \gset
\set VERBOSITY terse
CALL kms.reencrypt('many', 'body');
\set VERBOSITY default
SELECT requests - :before < 100 AS asked_seldom FROM kms.status();
SELECT rows FROM kms.census('many', 'body') ORDER BY version;
SELECT kms.unregister_column('many', 'body');
ALTER TABLE many ADD plain text DEFAULT 'p', DROP body;
SELECT requests AS before FROM kms.status() \gset
\set VERBOSITY terse
CALL kms.encrypt_column('many', 'plain', key_expression => 'tenant');
\set VERBOSITY default
SELECT requests - :before < 100 AS asked_seldom FROM kms.status();
SELECT rows FROM kms.census('many', 'plain_encrypted');
DROP TABLE many;

-- What is read to find out a row's key goes with the row, and does not stay until the batch is done.
CREATE TABLE ordered (id int PRIMARY KEY, doc jsonb, body bytea);
INSERT INTO ordered SELECT n, jsonb_build_object('tenant', 'tenant 1', 'text', repeat('some order line ', 60000)), kms.encode_with('tenant 1', 'v') FROM generate_series(1, 300) n;
SELECT kms.register_column('ordered', 'body', key_expression => $$doc->>'tenant'$$);
SELECT kms.rotate_key('tenant 1');
CREATE FUNCTION most_memory() RETURNS bigint LANGUAGE sql AS $$ SELECT substring(pg_read_file('/proc/self/status') from 'VmHWM:\s*(\d+)')::bigint $$;
SELECT most_memory() AS before \gset
CALL kms.reencrypt('ordered', 'body');
CALL kms.reencrypt('ordered', 'body');
SELECT most_memory() - :before < 100000 AS took_little;
DROP FUNCTION most_memory;
DROP TABLE ordered;

-- Nothing is made where the agent has none of the keys that the first rows name.
CREATE TABLE misnamed (id int PRIMARY KEY, tenant text, plain text);
INSERT INTO misnamed SELECT n, CASE WHEN n < 5000 THEN 'tenant 1' END, 'p' FROM generate_series(1, 9000) n;
CALL kms.encrypt_column('misnamed', 'plain', key_expression => $$'tenant ' || tenant$$);
CALL kms.encrypt_column('misnamed', 'plain', key_expression => $$nullif(tenant, 'tenant 1')$$);
INSERT INTO misnamed VALUES (0, 'tenant 1', 'not there');
CALL kms.encrypt_column('misnamed', 'plain', key_expression => $$'tenant ' || CASE WHEN id = 17 THEN (1 / (id - 17))::text ELSE tenant END$$);
SELECT count(*) FROM pg_attribute WHERE attrelid = 'misnamed'::regclass AND attnum > 0;
DROP TABLE misnamed;

-- What one key is said of is not for it.
CALL kms.reencrypt('note', 'body', new_key => 'pii');
CALL kms.reencrypt('note', 'body', new_context => '');
CALL kms.reencrypt('note', 'body', was_key => 'pii');
CALL kms.decrypt_column('note', 'body', 'text');
CREATE TABLE shared (id int PRIMARY KEY, tenant text, body bytea);
INSERT INTO shared SELECT n, 'tenant ' || n, kms.encode_with('pii', 'body ' || n) FROM generate_series(1, 3) n;
SELECT kms.register_column('shared', 'body', 'pii');
CALL kms.encrypt_column('shared', 'body', key_expression => 'tenant');
BEGIN;
UPDATE shared SET body = kms.encode_with(tenant, kms.decode_with('pii', body));
SELECT kms.unregister_column('shared', 'body'), kms.register_column('shared', 'body', key_expression => 'tenant');
COMMIT;
CALL kms.encrypt_column('shared', 'body', 'pii');
SELECT key_identifier, rows FROM kms.census('shared', 'body') ORDER BY 1;

-- A value of another key than its row names, whose current version is disabled: it is not lost, and nobody's query fails for it.
UPDATE shared SET tenant = 'tenant 9' WHERE id = 2;
SELECT kms.create_key('tenant 9');
SELECT kms.disable_key('tenant 9', 1, force => true);
SELECT id, kms.try_decode_with_text(tenant, body) FROM shared ORDER BY id;
\set VERBOSITY terse
SELECT kms.decode_with_text(tenant, body) FROM shared WHERE id = 2;
\set VERBOSITY default
CALL kms.reencrypt('shared', 'body');
DROP TABLE shared;
CREATE TABLE led (id int PRIMARY KEY, tenant text, name text, body bytea);
SELECT kms.register_column('led', 'body', key_expression => 'tenant', context_expression => $$convert_to(name, 'UTF8')$$);
INSERT INTO led VALUES (1, 'tenant 1', 'n', kms.encode_with('tenant 1', 'x', 'n'));
CALL kms.encrypt_column('led', 'name', 'pii');
SELECT kms.switch_column('led', 'name', drop_constraints => true);
BEGIN;
UPDATE led SET body = kms.encode_with(tenant, kms.decode_with(tenant, body, convert_to(name, 'UTF8')), int4send(id));
SELECT kms.unregister_column('led', 'body'), kms.register_column('led', 'body', key_expression => 'tenant', context_expression => 'int4send(id)');
COMMIT;
SELECT kms.switch_column('led', 'name', drop_constraints => true);
SELECT kms.decode_with_text(tenant, body, int4send(id)), kms.decode_with_text('pii', name_encrypted) FROM led;
DROP TABLE led;

-- The names are those of today, and a column that is gone or another breaks the registration.
ALTER TABLE note RENAME tenant TO customer;
SELECT key_expression, context_expression, broken FROM kms.registered_columns;
CALL kms.reencrypt('note', 'body');
BEGIN;
ALTER TABLE note DROP customer;
SELECT key_expression, broken FROM kms.registered_columns;
CALL kms.reencrypt('note', 'body');
ROLLBACK;
BEGIN;
ALTER TABLE note ALTER customer TYPE varchar(20);
SELECT key_expression, broken FROM kms.registered_columns;
ROLLBACK;
SELECT kms.register_column('note', 'customer', 'pii');
CREATE TABLE named (id int, customer bytea, body bytea);
SELECT kms.register_column('named', 'body', key_expression => 'customer');
SELECT kms.register_column('named', 'customer', 'pii');
SELECT kms.unregister_column('named', 'body'), kms.register_column('named', 'customer', 'pii');
SELECT kms.register_column('named', 'body', key_expression => 'customer');
DROP TABLE named;

-- A trigger that changes what the key is made of would leave a value that nobody opens.
CREATE FUNCTION gives_away() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.customer := 'tenant 3'; RETURN NEW; END $$;
CREATE TRIGGER gives_away BEFORE UPDATE ON note FOR EACH ROW EXECUTE FUNCTION gives_away();
SELECT kms.rotate_key('tenant 1');
\set VERBOSITY terse
CALL kms.reencrypt('note', 'body', triggers => 'fire');
\set VERBOSITY default
DROP TRIGGER gives_away ON note;
CALL kms.reencrypt('note', 'body');

-- What the expression calls runs as the table's owner.
CREATE ROLE regress_kms_keys;
CREATE SCHEMA regress_kms_keys AUTHORIZATION regress_kms_keys;
GRANT USAGE ON SCHEMA kms TO regress_kms_keys;
GRANT EXECUTE ON FUNCTION kms.register_column(regclass, name, text, text, text) TO regress_kms_keys;
SET ROLE regress_kms_keys;
CREATE FUNCTION regress_kms_keys.says(name text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'asked as %', current_user; RETURN name; END $$;
CREATE TABLE regress_kms_keys.note (id int PRIMARY KEY, tenant text, body bytea);
SELECT kms.register_column('regress_kms_keys.note', 'body', key_expression => 'regress_kms_keys.says(tenant)');
RESET ROLE;
INSERT INTO regress_kms_keys.note VALUES (1, 'tenant 1', kms.encode_with('tenant 1', 'x'));
SELECT kms.rotate_key('tenant 1');
CALL kms.reencrypt('regress_kms_keys.note', 'body');
ALTER FUNCTION regress_kms_keys.says RENAME TO told;
DROP SCHEMA regress_kms_keys CASCADE;
DROP OWNED BY regress_kms_keys;
DROP ROLE regress_kms_keys;

-- From plaintext: the trigger, the run and the switch go by each row's key.
CREATE TABLE person (id int PRIMARY KEY, tenant text, ssn text DEFAULT 'none', born date);
INSERT INTO person SELECT n, 'tenant ' || n % 3 + 1, 'ssn ' || n, '2001-02-03' FROM generate_series(1, 9) n;
INSERT INTO person VALUES (10, NULL, 'of none');
CALL kms.encrypt_column('person', 'ssn');
CALL kms.encrypt_column('person', 'ssn', 'pii', key_expression => 'tenant');
CALL kms.encrypt_column('person', 'ssn', key_expression => 'ssn');
CALL kms.encrypt_column('person', 'ssn', key_expression => 'tenant', context_expression => 'int4send(id)');
UPDATE person SET tenant = 'tenant 3' WHERE id = 10;
CALL kms.encrypt_column('person', 'ssn', 'pii', context_expression => 'int4send(id)');
CALL kms.encrypt_column('person', 'ssn', key_expression => $$'x' || tenant$$, context_expression => 'int4send(id)');
CALL kms.encrypt_column('person', 'ssn', key_expression => 'tenant', context_expression => 'int4send(id)');
INSERT INTO person VALUES (11, 'tenant 1', 'ssn 11');
INSERT INTO person VALUES (12, NULL, 'ssn 12');
INSERT INTO person VALUES (12, 'nobody', 'ssn 12');
UPDATE person SET tenant = 'tenant 2' WHERE id = 11;
UPDATE person SET ssn = 'changed' WHERE id = 1;
SELECT id, tenant, kms.decode_with_text(tenant, ssn_encrypted, int4send(id)) AS ssn FROM person WHERE id IN (1, 2, 10, 11) ORDER BY id;
SELECT key_identifier, rows FROM kms.census('person', 'ssn_encrypted') ORDER BY 1;
SELECT kms.switch_column('person', 'ssn', dry_run => true);
ALTER TABLE person DISABLE TRIGGER ALL;
UPDATE person SET tenant = 'tenant 1' WHERE id = 10;
ALTER TABLE person ENABLE TRIGGER ALL;
ALTER TABLE person ENABLE ALWAYS TRIGGER zzz_kms_ssn_encrypted;
\set VERBOSITY terse
SELECT kms.switch_column('person', 'ssn', drop_constraints => true);
ALTER TABLE person DISABLE TRIGGER ALL;
UPDATE person SET tenant = NULL WHERE id = 2;
ALTER TABLE person ENABLE TRIGGER ALL;
ALTER TABLE person ENABLE ALWAYS TRIGGER zzz_kms_ssn_encrypted;
UPDATE person SET ssn_encrypted = NULL WHERE id = 10;
\set VERBOSITY default
SELECT kms.switch_column('person', 'ssn', drop_constraints => true);
\set VERBOSITY terse
UPDATE person SET tenant = 'tenant 3' WHERE id = 2;
SELECT kms.switch_column('person', 'ssn', drop_constraints => true);
\set VERBOSITY default
SELECT count(*), bool_and(kms.decode_with_text(tenant, ssn_encrypted, int4send(id)) IS NOT NULL) FROM person;
SELECT kms.switch_column('person', 'tenant', dry_run => true);

-- Whoever writes such a table names the key: what keeps him from others than his own, and shows him nothing that is sealed under them; and the action of a foreign key, which nothing does.
SELECT kms.create_key('tenant 8', 'aes-256-siv');
CREATE DOMAIN tenant_of_clerks AS text CHECK (VALUE <> 'tenant 8');
CREATE TABLE filed (id int PRIMARY KEY, tenant tenant_of_clerks, ssn text);
CREATE TABLE kept (id int PRIMARY KEY, tenant text, ssn text);
CALL kms.encrypt_column('filed', 'ssn', key_expression => 'tenant', context_expression => 'int4send(id)');
CALL kms.encrypt_column('kept', 'ssn', key_expression => 'tenant', context_expression => 'int4send(id)');
CREATE ROLE regress_kms_clerk;
GRANT SELECT, INSERT, UPDATE ON filed, kept TO regress_kms_clerk;
ALTER TABLE kept ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_clerks ON kept TO regress_kms_clerk USING (tenant = 'tenant 1');
SET ROLE regress_kms_clerk;
INSERT INTO filed VALUES (1, 'tenant 8', '078-05-1120');
INSERT INTO kept VALUES (1, 'tenant 8', '078-05-1120');
INSERT INTO kept VALUES (1, 'tenant 1', '078-05-1120') RETURNING id, tenant;
UPDATE kept SET tenant = 'tenant 8';
RESET ROLE;
DROP TABLE filed, kept;
CREATE TABLE customers (name text PRIMARY KEY);
INSERT INTO customers VALUES ('tenant 1');
CREATE TABLE bound (id int PRIMARY KEY, tenant text REFERENCES customers ON UPDATE CASCADE, ssn text);
INSERT INTO bound VALUES (1, 'tenant 1', '078-05-1120');
CALL kms.encrypt_column('bound', 'ssn', key_expression => 'tenant', context_expression => 'int4send(id)');
GRANT SELECT, UPDATE ON customers TO regress_kms_clerk;
SET ROLE regress_kms_clerk;
UPDATE customers SET name = 'tenant 8';
RESET ROLE;
SELECT kms.decode_with_text('tenant 8', ssn_encrypted, int4send(id)) FROM bound;
CREATE TABLE region (name text PRIMARY KEY);
INSERT INTO region VALUES ('eu');
CREATE TABLE spread (id int, region text REFERENCES region ON UPDATE CASCADE, tenant text, body text) PARTITION BY LIST (region);
CREATE TABLE spread_eu PARTITION OF spread FOR VALUES IN ('eu');
CREATE TABLE spread_others PARTITION OF spread DEFAULT;
INSERT INTO spread VALUES (1, 'eu', 'tenant 1', 'b1');
CALL kms.encrypt_column('spread', 'body', key_expression => 'tenant');
GRANT SELECT, UPDATE ON region TO regress_kms_clerk;
SET ROLE regress_kms_clerk;
UPDATE region SET name = 'emea';
RESET ROLE;
SELECT tableoid::regclass, kms.decode_with_text(tenant, body_encrypted) FROM spread;
DROP TABLE spread, region;
DROP TABLE bound, customers;
DROP DOMAIN tenant_of_clerks;
DROP ROLE regress_kms_clerk;

-- A DEFAULT that goes on to seal under one key, and a registration that does not hold any more beside a column to be moved.
CREATE TABLE shared (id int PRIMARY KEY, tenant text, body bytea DEFAULT kms.encode_with('pii', 'none yet'), remark text);
SELECT kms.register_column('shared', 'body', key_expression => 'tenant');
ALTER TABLE shared ALTER tenant TYPE int USING 1;
CALL kms.encrypt_column('shared', 'remark', 'pii');
SELECT kms.switch_column('shared', 'remark', dry_run => true);
SELECT kms.unregister_column('shared', 'body');
SELECT kms.switch_column('shared', 'remark', dry_run => true);
DROP TABLE shared;

-- A trigger that opens is none of such a column's, whoever has made it.
CREATE TABLE read_on (id int PRIMARY KEY, tenant text, body bytea, plain text);
SELECT kms.register_column('read_on', 'body', key_expression => 'tenant');
CREATE TRIGGER opens BEFORE INSERT ON read_on FOR EACH ROW EXECUTE FUNCTION kms_internal.keep_in_step('body', 'plain', 'open', '', '');
INSERT INTO read_on (id, tenant, body) VALUES (1, 'tenant 1', kms.encode_with('tenant 1', 'b'));
DROP TABLE read_on;

-- A first row for which the expression raises does not keep the others from being looked at; and none is made where it raises for all.
CREATE TABLE raises (id int PRIMARY KEY, tenant text, plain text);
INSERT INTO raises SELECT n, CASE WHEN n < 4 THEN 'x' ELSE n::text END, 'p' FROM generate_series(1, 50) n;
CALL kms.encrypt_column('raises', 'plain', key_expression => $$'none ' || tenant::int$$);
CALL kms.encrypt_column('raises', 'plain', key_expression => $$'tenant ' || left(tenant, 0)::int$$);
SELECT count(*) FROM pg_attribute WHERE attrelid = 'raises'::regclass AND attnum > 0;
CALL kms.encrypt_column('raises', 'plain', key_expression => $$'tenant ' || tenant::int % 3 + 1$$);
SELECT count(*), count(plain_encrypted) FROM raises;
DROP TABLE raises;

-- The row that breaks a constraint is the one that is told of, whatever rows there are behind it that need nothing.
CREATE TABLE told (id int PRIMARY KEY, tenant text, quantity int, body bytea);
INSERT INTO told SELECT n, 'tenant ' || n % 2 + 1, n, kms.encode_with('tenant ' || n % 2 + 1, 'b' || n) FROM generate_series(0, 9) n;
INSERT INTO told VALUES (10, 'tenant 3', -1, kms.encode_with('tenant 3', 'b10'));
INSERT INTO told SELECT n, 'tenant ' || n % 2 + 1, n, kms.encode_with('tenant ' || n % 2 + 1, 'b' || n) FROM generate_series(11, 30) n;
ALTER TABLE told ADD CONSTRAINT positive CHECK (quantity >= 0) NOT VALID;
SELECT kms.register_column('told', 'body', key_expression => 'tenant');
SELECT kms.rotate_key('tenant ' || n) FROM generate_series(1, 3) n;
CALL kms.reencrypt('told', 'body');
CALL kms.reencrypt('told', 'body');
SELECT ctid FROM told WHERE id = 10;
DROP TABLE told;

-- Data keys of the database.
SET kms.mode = envelope;
SELECT kms.create_key('main', purpose => 'wrap');
SELECT count(kms.create_data_key('customer ' || n, 'main')) FROM generate_series(1, 5) n;
CREATE TABLE orders (id int PRIMARY KEY, customer int, total bytea);
INSERT INTO orders SELECT n, n % 5 + 1, kms.encode_with('customer ' || n % 5 + 1, n::text) FROM generate_series(1, 50) n;
SELECT kms.register_column('orders', 'total', key_expression => $$'customer ' || customer$$);
SELECT count(kms.rotate_data_key('customer ' || n)) FROM generate_series(1, 3) n;
CALL kms.reencrypt('orders', 'total');
CALL kms.destroy_data_key('customer 1', 2, dry_run => true);
CALL kms.destroy_data_key('customer 1', 2, shred => true, force => true);
SELECT kms.rotate_data_key('customer 2');
CREATE TEMPORARY TABLE undamaged AS SELECT * FROM kms.data_key WHERE name = 'customer 5';
UPDATE kms.data_key SET wrapped = '\x00' WHERE name = 'customer 5';
\set VERBOSITY terse
CALL kms.reencrypt('orders', 'total');
\set VERBOSITY default
UPDATE kms.data_key d SET wrapped = u.wrapped FROM undamaged u WHERE d.name = u.name AND d.version = u.version;
DROP TABLE undamaged;
SELECT count(*), count(kms.try_decode_with(('customer ' || customer), total)) FROM orders;
SELECT key_identifier, version, rows FROM kms.census('orders', 'total') ORDER BY 1, 2;
RESET kms.mode;
DELETE FROM kms.data_key WHERE kek = 'main';

-- An agent that does not list its keys.
SELECT :'command' || ' --verbs get' AS silent \gset
SET kms.command = :'silent';
SELECT key_identifier, rows FROM kms.key_age() ORDER BY 1;
CREATE TABLE unreached (id int PRIMARY KEY, tenant text, plain text);
INSERT INTO unreached VALUES (1, 'tenant 1', 'p');
SET kms.command = '/bin/false';
\set VERBOSITY terse
CALL kms.encrypt_column('unreached', 'plain', key_expression => 'tenant');
\set VERBOSITY default
SELECT count(*) FROM pg_attribute WHERE attrelid = 'unreached'::regclass AND attnum > 0;
DROP TABLE unreached;
DROP TABLE note, person, orders;
DROP FUNCTION gives_away();
