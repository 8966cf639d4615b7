-- KEKs: rotation with all the data keys that they wrap, and destruction of data keys with and without shredding.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SET kms.mode = envelope;
SELECT kms.create_key('main', purpose => 'wrap'), kms.create_key('other', purpose => 'wrap');
SELECT kms.create_data_key('a', 'main'), kms.rotate_data_key('a'), kms.create_data_key('b', 'main', 'aes-256-siv'), kms.create_data_key('c', 'other');
CREATE TEMP TABLE sealed AS SELECT name, kms.encode_with(name, 'value of ' || name) AS value FROM unnest('{a,b,c}'::text[]) name;
CREATE TEMP VIEW opened AS SELECT string_agg(kms.decode_with_text(name, value), ', ' ORDER BY name) AS opened FROM sealed;
CREATE VIEW pg_temp.forms AS SELECT convert_from(name, 'UTF8') AS name, version, state, convert_from(kek, 'UTF8') AS kek, kek_version_first AS first, kek_version AS now,
    kek_version_before AS before, length(wrapped) AS wrapped, length(wrapped_before) AS second FROM kms.data_key;
SELECT kms.disable_data_key('a', 1);

SELECT kms.rotate_kek('main');
SELECT * FROM pg_temp.forms ORDER BY 1, 2;
TABLE pg_temp.opened;
SELECT kms.rotate_kek('main'::bytea);
SELECT * FROM pg_temp.forms ORDER BY 1, 2;
TABLE pg_temp.opened;

-- Rolled back at the database; the agent keeps its new version, and the next rotation catches up.
BEGIN;
SELECT kms.rotate_kek('main');
TABLE pg_temp.opened;
ROLLBACK;
SELECT * FROM pg_temp.forms ORDER BY 1, 2;
TABLE pg_temp.opened;
SELECT kms.create_data_key('d', 'main');
SELECT kms.rotate_kek('main');
SELECT * FROM pg_temp.forms ORDER BY 1, 2;
TABLE pg_temp.opened;

-- A KEK version that data keys need is retired by force only.
SELECT kms.disable_key('main', 5);
SELECT kms.destroy_key('main', 5);
-- A second form serves where the KEK version of the first does not.
SELECT kms.disable_key('main', 5, force => true);
SELECT kms.rotate_kek('main');
SELECT * FROM pg_temp.forms ORDER BY 1, 2;
SELECT kms.enable_key('main', 5);
SELECT kms.rotate_kek('main');
SELECT * FROM pg_temp.forms ORDER BY 1, 2;
TABLE pg_temp.opened;

-- What is refused.
SELECT kms.rotate_kek('none such');
SELECT kms.rotate_kek('');
SELECT kms.rotate_kek(NULL::text);
BEGIN READ ONLY;
SELECT kms.rotate_kek('main');
ROLLBACK;
-- A wrapped form that does not open stops it, and says which.
BEGIN;
UPDATE kms.data_key SET wrapped = overlay(wrapped PLACING '\x00' FROM 60), kek_version_before = NULL, wrapped_before = NULL WHERE name = 'b';
SELECT kms.rotate_kek('main');
ROLLBACK;
BEGIN;
UPDATE kms.data_key b SET wrapped = a.wrapped, kek_version_before = NULL, wrapped_before = NULL FROM kms.data_key a WHERE a.name = 'a' AND a.version = 2 AND b.name = 'd';
SELECT kms.rotate_kek('main');
ROLLBACK;
BEGIN;
UPDATE kms.data_key SET key_tag = '\x0011223344556677' WHERE name = 'd';
SELECT kms.rotate_kek('main');
ROLLBACK;
BEGIN;
UPDATE kms.data_key SET algorithm = 'rot13' WHERE name = 'd';
SELECT kms.rotate_kek('main');
ROLLBACK;
TABLE pg_temp.opened;

-- Destroyed without shredding: undone by ROLLBACK, final by COMMIT.
CALL kms.destroy_data_key('a', 1, dry_run => true);
BEGIN;
CALL kms.destroy_data_key('a', 2);
SELECT kms.decode_with_text(name, value) FROM sealed WHERE name = 'a';
ROLLBACK;
TABLE pg_temp.opened;
CALL kms.destroy_data_key('a', 2);
CALL kms.destroy_data_key('a'::bytea, 2);
SELECT kms.decode_with_text(name, value) FROM sealed WHERE name = 'a';
SELECT kms.encode_with('a', 'x');
SELECT kms.enable_data_key('a', 2);
SELECT * FROM pg_temp.forms WHERE name = 'a' ORDER BY 1, 2;
SELECT kms.rotate_data_key('a');
UPDATE sealed SET value = kms.encode_with('a', 'value of a') WHERE name = 'a';
SELECT kms.rotate_kek('main');
SELECT * FROM pg_temp.forms WHERE name = 'a' ORDER BY 1, 2;

-- Shredded: the KEK versions go that ever wrapped it, and the other data keys are brought away from them before.
SELECT kms.create_data_key('e', 'main');
SELECT kms.wrap('main', 'a secret') AS secret \gset
CALL kms.destroy_data_key('e', 1, dry_run => true, shred => true);
SELECT * FROM pg_temp.forms WHERE kek = 'main' ORDER BY 1, 2;
CALL kms.destroy_data_key('e', 1, shred => true);
SELECT * FROM pg_temp.forms WHERE kek = 'main' ORDER BY 1, 2;
TABLE pg_temp.opened;
SELECT version, state FROM kms.list_keys('main') ORDER BY 1;
SELECT kms.unwrap('main', :'secret');
CALL kms.destroy_data_key('e', 1, shred => true);
CALL kms.destroy_data_key('a', 2, shred => true);
SELECT version, state FROM kms.list_keys('main') ORDER BY 1;
SELECT * FROM pg_temp.forms WHERE kek = 'main' ORDER BY 1, 2;
TABLE pg_temp.opened;

-- Where it cannot commit, it does nothing.
BEGIN;
CALL kms.destroy_data_key('b', 1, shred => true);
ROLLBACK;
DO $$ DECLARE lost bigint; BEGIN CALL kms.destroy_data_key('b', 1, false, true, false, lost); EXCEPTION WHEN no_data_found THEN NULL; END $$;
CREATE FUNCTION kms_test_shred() RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE lost bigint; BEGIN CALL kms.destroy_data_key('b', 1, false, true, false, lost); RETURN lost; END $$;
SELECT kms_test_shred();
DROP FUNCTION kms_test_shred();
TABLE pg_temp.opened;
-- It can in a procedure, whose variables live on.
DO $$ DECLARE lost bigint; name text := 'b'; BEGIN CALL kms.destroy_data_key(name, 1, false, true, false, lost); RAISE NOTICE '% rows of %', lost, name; END $$;
SELECT kms.decode_with_text(name, value) FROM sealed WHERE name = 'b';
SELECT kms.decode_with_text(name, value) FROM sealed WHERE name <> 'b';
CALL kms.destroy_data_key('none such', 1);
CALL kms.destroy_data_key('a', 9, shred => true);
CALL kms.destroy_data_key('a', 0);
CALL kms.destroy_data_key(NULL::text, 1);
CALL kms.destroy_data_key('a', NULL);
CALL kms.destroy_data_key('a', 3, dry_run => NULL);
CALL kms.destroy_data_key('a', 3, shred => NULL);
CALL kms.destroy_data_key('a', 3, force => NULL);
BEGIN READ ONLY;
CALL kms.destroy_data_key('a', 3);
ROLLBACK;
TABLE pg_temp.opened;

-- Nothing is retired while a registered column needs it, unless by force.
CREATE TABLE regress_kms_row (id int, value bytea);
SELECT kms.register_column('regress_kms_row', 'value', 'r');
SELECT kms.create_data_key('r', 'main');
INSERT INTO regress_kms_row SELECT n, kms.encode_with('r', 'x') FROM generate_series(1, 30) n;
SELECT kms.disable_data_key('r', 1);
CALL kms.destroy_data_key('r', 1);
CALL kms.destroy_data_key('r', 1, shred => true);
CALL kms.destroy_data_key('r', 1, dry_run => true);
CALL kms.destroy_data_key('r', 1, dry_run => true, shred => true, force => true);
SELECT count(*) FROM regress_kms_row WHERE kms.decode_with_text('r', value) = 'x';
SELECT kms.disable_data_key('r', 1, force => true), kms.enable_data_key('r', 1);
SELECT kms.rotate_data_key('r');
UPDATE regress_kms_row SET value = kms.recode_with('r', value) WHERE id > 10;
CALL kms.destroy_data_key('r', 1, dry_run => true);
BEGIN;
CALL kms.destroy_data_key('r', 1, force => true);
ROLLBACK;
UPDATE regress_kms_row SET value = kms.recode_with('r', value) WHERE id > 1;
CALL kms.destroy_data_key('r', 1, shred => true, force => true);
CALL kms.destroy_data_key('r', 1, shred => true);
SELECT count(*) FROM regress_kms_row WHERE id > 1 AND kms.decode_with_text('r', value) = 'x';
DELETE FROM regress_kms_row WHERE id = 1;
UPDATE regress_kms_row SET value = NULL;
SELECT kms.rotate_data_key('r');
SELECT kms.disable_data_key('r', 2);
CALL kms.destroy_data_key('r', 2);
DROP TABLE regress_kms_row;

-- What a KEK version has sealed itself goes with it: blobs of remote mode, whose keys a KEK wraps.
SELECT kms.create_key('of blobs', purpose => 'wrap');
SELECT kms.create_data_key('beside', 'of blobs'), kms.create_data_key('also beside', 'of blobs');
SET kms.mode = remote;
SELECT kms.set_key(1, 'of blobs');
SELECT kms.blob_put(1, 'precious') AS blob \gset
SET kms.mode = envelope;
CALL kms.destroy_data_key('beside', 1, dry_run => true);
CALL kms.destroy_data_key('beside', 1, dry_run => true, shred => true);
CALL kms.destroy_data_key('beside', 1, shred => true);
\echo :LAST_ERROR_SQLSTATE
SELECT name, state FROM kms.data_keys WHERE kek = 'of%20blobs' ORDER BY 1;
SELECT version, state FROM kms.list_keys('of blobs') ORDER BY 1;
-- As the HINT has it.
SET kms.mode = remote;
SELECT kms.create_key('of files'), kms.set_key(2, 'of files'), kms.blob_recode(:'blob', 2);
SET kms.mode = envelope;
CALL kms.destroy_data_key('beside', 1, shred => true);
SELECT version, state FROM kms.list_keys('of blobs') ORDER BY 1;
SET kms.mode = remote;
SELECT convert_from(kms.blob_get(:'blob'), 'UTF8');
-- Unless it is by force.
SELECT kms.blob_recode(:'blob', 1);
SET kms.mode = envelope;
CALL kms.destroy_data_key('also beside', 1, dry_run => true, shred => true, force => true);
CALL kms.destroy_data_key('also beside', 1, shred => true, force => true);
CALL kms.destroy_data_key('also beside', 1, shred => true);
SET kms.mode = remote;
\set VERBOSITY sqlstate
SELECT kms.blob_get(:'blob');
\set VERBOSITY default
SELECT kms.blob_delete(:'blob');
SET kms.mode = envelope;

-- An agent that cannot wrap, or not do the rest.
SET kms.mode = local;
SET kms.request_timeout = '200ms';
SET kms.command = 'printf ''ok 0 0 kms/1 get rotate\n''; cat > /dev/null';
\set VERBOSITY sqlstate
SELECT kms.wrap('main', 'x');
SELECT kms.unwrap('main', 'x');
SELECT kms.create_data_key('new', 'main');
SELECT kms.rotate_data_key('a');
SET kms.command = 'printf ''ok 0 0 kms/1 get rotate describe\n''; cat > /dev/null';
SELECT kms.rotate_kek('main');
CALL kms.destroy_data_key('a', 3, shred => true);
RESET kms.request_timeout;
\set VERBOSITY default
SELECT name, version, state FROM kms.data_keys ORDER BY 1, 2;
DELETE FROM kms.data_key;
