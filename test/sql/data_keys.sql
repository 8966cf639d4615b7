-- Data keys in kms.data_key: made, rotated, retired, and how the table is kept.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('main', purpose => 'wrap'), kms.create_key('other kek', purpose => 'wrap');

-- Of every algorithm; the names of any bytes.
SELECT a, kms.create_data_key('of ' || a, 'main', a) FROM unnest(ARRAY['xaes-256-gcm', 'aes-256-siv', 'aes-128-gcm', 'aes-192-gcm', 'aes-256-gcm']) a;
SELECT kms.create_data_key('orders', 'main');
SELECT kms.create_data_key('\x00ff20'::bytea, 'other kek'::bytea);
SELECT kms.create_data_key(repeat('n', 1024), 'main');
SELECT substr(name, 1, 20) AS name, version, algorithm, length(key_tag) AS tag, state, created > now() - interval '1 day' AS fresh, kek, kek_version
FROM kms.data_keys ORDER BY name COLLATE "C";
-- Wrapped: 49 bytes longer than the key.
SELECT convert_from(name, 'UTF8') AS name, length(wrapped) FROM kms.data_key WHERE substr(name, 1, 3) = 'of ' ORDER BY 1;
SELECT suite, i.key_tag = d.key_tag AS tag_of_data_key FROM kms.data_key d, kms.inspect(d.wrapped) i WHERE name = 'orders';

-- What is refused.
SELECT kms.create_data_key('orders', 'main');
SELECT kms.create_data_key('orders', 'other kek', 'aes-256-siv');
SELECT kms.create_data_key('new', 'no such kek');
SELECT kms.create_data_key('new', 'main', 'rot13');
SELECT kms.create_data_key('', 'main');
SELECT kms.create_data_key('new', '');
SELECT kms.create_data_key(repeat('n', 1025), 'main');
SELECT kms.create_data_key(NULL::text, 'main');
SELECT kms.create_data_key('new', NULL::text);
SELECT kms.create_data_key('new', 'main', NULL);
SELECT kms.rotate_data_key('none such');
SELECT kms.rotate_data_key(repeat('%', 1024));
SELECT kms.rotate_data_key(NULL::bytea);

-- Rotation.
SELECT kms.rotate_data_key('orders'), kms.rotate_data_key('\x6f7264657273'::bytea);
SELECT version, algorithm, state, kek FROM kms.data_keys WHERE name = 'orders' ORDER BY 1;
SELECT count(DISTINCT key_tag) FROM kms.data_keys WHERE name = 'orders';
SELECT kms.rotate_data_key('of aes-128-gcm');
SELECT version, algorithm FROM kms.data_keys WHERE name LIKE 'of%aes-128-gcm' ORDER BY 1;

-- Rolled back, it has never been.
BEGIN;
SELECT kms.rotate_data_key('orders'), kms.create_data_key('never', 'main');
SAVEPOINT s;
SELECT kms.disable_data_key('orders', 1);
SELECT version, state FROM kms.data_keys WHERE name = 'orders' ORDER BY 1;
ROLLBACK TO s;
SELECT version, state FROM kms.data_keys WHERE name = 'orders' ORDER BY 1;
ROLLBACK;
SELECT name, version FROM kms.data_keys WHERE name IN ('orders', 'never') ORDER BY 1, 2;
SELECT kms.rotate_data_key('orders');

-- States.
SELECT kms.disable_data_key('orders', 1);
SELECT kms.disable_data_key('orders', 1, true);
SELECT kms.disable_data_key('orders'::bytea, 2);
SELECT kms.enable_data_key('orders', 2), kms.enable_data_key('orders', 3);
SELECT version, state FROM kms.data_keys WHERE name = 'orders' ORDER BY 1;
SELECT kms.disable_data_key('orders', 9);
SELECT kms.disable_data_key('orders', 0);
SELECT kms.disable_data_key('orders', NULL);
SELECT kms.disable_data_key('orders', 1, NULL);
SELECT kms.enable_data_key('none such', 1);
UPDATE kms.data_key SET state = 'destroyed', wrapped = NULL WHERE name = 'orders' AND version = 1;
SELECT kms.enable_data_key('orders', 1);
SELECT kms.disable_data_key('orders', 1);

-- What the table itself refuses.
\set VERBOSITY sqlstate
INSERT INTO kms.data_key SELECT 'twin', version, algorithm, key_tag, state, created, kek, kek_version, wrapped, NULL, NULL, 1 FROM kms.data_key WHERE name = 'orders' AND version = 2;
UPDATE kms.data_key SET state = 'lost' WHERE name = 'orders';
UPDATE kms.data_key SET wrapped = NULL WHERE name = 'orders' AND version = 2;
UPDATE kms.data_key SET kek_version_before = 1 WHERE name = 'orders' AND version = 2;
UPDATE kms.data_key SET name = '' WHERE name = 'orders' AND version = 2;
\set VERBOSITY default

-- Columns that a newer version of the extension has added are no matter.
BEGIN;
INSERT INTO kms.registered_column (relation_schema, relation_name, column_name, key_identifier) VALUES ('none', 'none', 'none', 'orders');
DO $$
BEGIN
    FOR n IN 1..50 LOOP
        EXECUTE format('ALTER TABLE kms.data_key ADD COLUMN new_%s text DEFAULT repeat(''A'', 100)', n);
        EXECUTE format('ALTER TABLE kms.registered_column ADD COLUMN new_%s text DEFAULT repeat(''A'', 100)', n);
    END LOOP;
END $$;
SELECT version, state FROM kms.data_keys WHERE name = 'orders' ORDER BY 1;
SELECT full_name FROM kms.registered_columns;
ROLLBACK;

-- Nothing is written where nothing can be, and the agent is not asked.
SET kms.command = 'false';
SET default_transaction_read_only = on;
SELECT kms.create_data_key('new', 'main');
SELECT kms.rotate_data_key('orders');
SELECT kms.enable_data_key('orders', 2);
SELECT kms.disable_data_key('orders', 2);
RESET default_transaction_read_only;
\set VERBOSITY sqlstate
SELECT kms.create_data_key('new', 'main');
\set VERBOSITY default
SET kms.command = :'command';

-- An agent is started anew for another command, and that one kept its keys in memory. A key that is made
-- again has a number that is not in kms.data_key.
SELECT kms.rotate_data_key('orders');
SELECT kms.create_key('main', purpose => 'wrap'), kms.create_key('second', purpose => 'wrap');

-- Under REPEATABLE READ too, a change goes by what is there now.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM kms.data_key WHERE name = 'repeatable';
SELECT kms.create_data_key('repeatable', 'main'), kms.rotate_data_key('repeatable'), kms.disable_data_key('repeatable', 1);
COMMIT;
SELECT version, state FROM kms.data_keys WHERE name = 'repeatable' ORDER BY 1;

-- Who may execute the functions uses the table, but neither reads nor writes it; and no search_path leads them astray.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kms_user;
RESET client_min_messages;
CREATE ROLE regress_kms_user;
CREATE SCHEMA regress_kms_evil;
GRANT USAGE, CREATE ON SCHEMA regress_kms_evil TO regress_kms_user;
GRANT USAGE ON SCHEMA kms TO regress_kms_user;
SET ROLE regress_kms_user;
SELECT kms.create_data_key('his', 'main');
RESET ROLE;
GRANT EXECUTE ON FUNCTION kms.create_data_key(text, text, text, bool), kms.rotate_data_key(text), kms.disable_data_key(text, int, bool), kms.enable_data_key(text, int), kms.data_keys() TO regress_kms_user;
GRANT SELECT ON kms.data_keys TO regress_kms_user;
SET ROLE regress_kms_user;
CREATE FUNCTION regress_kms_evil.as_superuser(bytea, bytea) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil runs as %', current_user; END $$;
CREATE OPERATOR regress_kms_evil.= (FUNCTION = regress_kms_evil.as_superuser, LEFTARG = bytea, RIGHTARG = bytea);
SET search_path = regress_kms_evil, pg_catalog;
SELECT kms.create_data_key('his', 'main'), kms.rotate_data_key('his'), kms.disable_data_key('his', 2), kms.enable_data_key('his', 2);
SELECT current_user, current_setting('search_path');
SELECT name, version, state FROM kms.data_keys WHERE name OPERATOR(pg_catalog.=) 'his' ORDER BY 2;
SELECT FROM kms.data_key;
INSERT INTO kms.data_key (name) VALUES ('x');
DELETE FROM kms.data_key;
SELECT kms.create_data_key('his', 'main');
SELECT current_user, current_setting('search_path');
RESET search_path;
RESET ROLE;
DROP SCHEMA regress_kms_evil CASCADE;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA kms FROM regress_kms_user;
REVOKE ALL ON kms.data_keys FROM regress_kms_user;
REVOKE ALL ON SCHEMA kms FROM regress_kms_user;
DROP ROLE regress_kms_user;

-- Secrets of the user's own.
SELECT kms.wrap('main', 'a secret') AS wrapped \gset
SELECT length(:'wrapped'::bytea), convert_from(kms.unwrap('main', :'wrapped'), 'UTF8');
SELECT kms.unwrap('main'::bytea, kms.wrap('main'::bytea, '\x00ff', 'context'), 'context');
SELECT kms.unwrap('main', kms.wrap('main', '')) AS empty;
SELECT kms.wrap('main', NULL) IS NULL, kms.unwrap('main', NULL) IS NULL;
SELECT length(kms.unwrap('main', kms.wrap('main', convert_to(repeat('s', 1000000), 'UTF8'))));
SELECT kms.unwrap('main', :'wrapped', 'another context');
\set VERBOSITY terse
SELECT kms.unwrap('second', :'wrapped');
\set VERBOSITY default
SELECT kms.unwrap('main', '\x00');
SELECT kms.unwrap('main', '');
SELECT kms.unwrap('none such', :'wrapped');
SELECT kms.wrap('none such', 'x');
SELECT kms.wrap(NULL::text, 'x');
SELECT kms.wrap('main', 'x', NULL);
-- Neither a data key nor a value is one.
SELECT kms.unwrap('main', wrapped) FROM kms.data_key WHERE name = 'repeatable' AND version = 1;
SELECT kms.unwrap('main', wrapped, substr(convert_to('kms/1 data key', 'UTF8') || '\x00' || convert_to(algorithm, 'UTF8') || '\x000000000000000001' || name, 14)) FROM kms.data_key WHERE name = 'repeatable' AND version = 1;
SELECT kms.create_key('of values'), kms.set_key(1, 'of values');
\set VERBOSITY terse
SELECT kms.unwrap('main', kms.encode(1, 'x'));
\set VERBOSITY default
-- It outlives a rotation of the KEK.
SELECT kms.rotate_key('main');
SELECT convert_from(kms.unwrap('main', :'wrapped'), 'UTF8');
SELECT kms.disable_key('main', 2, force => true);
-- What is not the agent's to retire.
SELECT kms.disable_key('repeatable', 1);
SELECT kms.destroy_key('repeatable', 1);
SELECT kms.unwrap('main', :'wrapped');
RESET kms.command;
DELETE FROM kms.data_key;
