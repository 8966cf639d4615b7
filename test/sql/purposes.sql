-- A KEK could be fetched: a key has a purpose, which the agent enforces.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
\set VERBOSITY default
SELECT kms.create_key('seals'), kms.create_key('stays', exportable => false), kms.create_key('wraps', purpose => 'wrap');
SELECT kms.create_key('seals too', 'aes-256-siv', true, 'seal'), kms.create_key('wraps too'::bytea, 'aes-128-gcm', exportable => false, purpose => 'wrap');
SELECT key_identifier, version, algorithm, state, purpose, exportable FROM kms.list_keys() ORDER BY 1;
SELECT kms.rotate_key('wraps'), kms.rotate_key('stays');
SELECT key_identifier, version, purpose, exportable FROM kms.list_keys() WHERE version = 2 ORDER BY 1;

-- What cannot be.
SELECT kms.create_key('x', purpose => 'sign');
SELECT kms.create_key('x', purpose => '');
SELECT kms.create_key('x', purpose => NULL);
SELECT kms.create_key('x', exportable => true, purpose => 'wrap');
SELECT count(*) FROM kms.list_keys('x');

-- A key that wraps is not fetched, and seals nothing.
\set VERBOSITY terse
SELECT kms.set_key(1, 'wraps');
SELECT kms.encode_with('wraps', 'x'::text);
SET kms.mode = 'remote';
SELECT kms.encode_with('wraps', 'x'::text);
SELECT convert_from(kms.unwrap('wraps', kms.wrap('wraps', 'a secret', 'ctx'), 'ctx'), 'UTF8');
SELECT kms.create_data_key('under wraps', 'wraps');

-- A key that seals wraps nothing but the keys of blobs.
SELECT kms.wrap('seals', 'a secret');
SELECT kms.wrap('stays', 'a secret');
SELECT kms.unwrap('seals', kms.wrap('wraps', 'a secret'));
SELECT kms.create_data_key('under seals', 'seals');
\set VERBOSITY default
SELECT kms.wrap('seals', 'a secret');
\set VERBOSITY terse
-- What seals is no KEK, and stays at its version.
SELECT kms.rotate_kek('seals');
SELECT count(*) FROM kms.list_keys('seals');
SELECT kms.rotate_kek('wraps');
SELECT kms.create_key('unused', purpose => 'wrap'), kms.rotate_kek('unused');
SELECT kms.create_key('under wraps');
SELECT kms.set_key(2, 'stays');
SELECT kms.decode_text(2, kms.encode(2, 'x'));
SELECT kms.blob_put(2, 'contents', 'b') AS b \gset
SELECT convert_from(kms.blob_get(:'b'), 'UTF8');
SELECT kms.rotate_key('stays'), kms.rewrap_blobs(2), convert_from(kms.blob_get(:'b'), 'UTF8');
SELECT kms.blob_delete(:'b');
SET kms.mode = 'local';
SELECT kms.encode(2, 'x');
SELECT kms.decode_text(1, kms.encode(1, 'x')) FROM kms.set_key(1, 'seals');

-- Data keys need a key that wraps, in whatever mode they are made.
SET kms.mode = 'envelope';
SELECT kms.decode_with_text('under wraps', kms.encode_with('under wraps', 'x'::text));
CALL kms.destroy_data_key('under wraps', 1);
DELETE FROM kms.data_key;
RESET kms.mode;
RESET kms.keys;
