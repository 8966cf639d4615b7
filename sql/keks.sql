-- KEKs: rotation with all the data keys that they wrap, and destruction of data keys with and without shredding.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SET kms.mode = envelope;
SELECT kms.create_key('main'), kms.create_key('other');
SELECT kms.create_data_key('a', 'main'), kms.rotate_data_key('a'), kms.create_data_key('b', 'main', 'aes-256-siv'), kms.create_data_key('c', 'other');
CREATE TEMP TABLE sealed AS SELECT name, kms.encode_with(name, 'value of ' || name) AS value FROM unnest('{a,b,c}'::text[]) name;
CREATE VIEW pg_temp.opened AS SELECT string_agg(kms.decode_with_text(name, value), ', ' ORDER BY name) AS opened FROM sealed;
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

-- A second form serves where the KEK version of the first does not.
SELECT kms.disable_key('main', 5);
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
