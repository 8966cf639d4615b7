-- kms.mode = envelope: data keys that the database stores, unwrapped by the agent.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SET kms.mode = 'envelope';
SELECT kms.create_key('kek', purpose => 'wrap'), kms.create_key('other kek', purpose => 'wrap');
SELECT kms.create_data_key('orders', 'kek'), kms.create_data_key('siv', 'other kek', 'aes-256-siv'), kms.create_data_key('\x00ff'::bytea, 'kek'::bytea);

-- A KEK is no data key, and a data key is none of the agent's.
\set VERBOSITY terse
SELECT kms.set_key(1, 'kek');
SELECT kms.encode_with('kek', 'x');
SET kms.mode = 'local';
SELECT kms.set_key(1, 'orders');
SET kms.mode = 'remote';
SELECT kms.encode_with('orders', 'x');
SET kms.mode = 'envelope';
\set VERBOSITY default
SELECT kms.encode_with('none such', 'x');

-- Values.
SELECT kms.set_key(1, 'orders'), kms.set_key(2, 'siv'), kms.set_key(3, '\x00ff'::bytea);
SELECT local_id, key_identifier, mode, s.version, s.key_tag = d.key_tag AS same_tag, s.algorithm = d.algorithm AS same_algorithm
FROM kms.session_keys s JOIN kms.data_keys d ON d.name = key_identifier ORDER BY 1;
SELECT id, kms.decode_text(id, kms.encode(id, 'plain ' || id, 'c'), 'c') FROM generate_series(1, 3) id;
SELECT kms.decode_text(2, kms.recode(1, 2, kms.encode(1, 'recoded')));
SELECT kms.decode_text_array(1, kms.encode_array(1, ARRAY['a', NULL, 'b']));
SELECT kms.decode_with_text_array(ARRAY['orders', 'siv'], kms.encode_with_array(ARRAY['orders', 'siv'], ARRAY['a', 'b']));
SELECT id, kms.decode_batch_text(1, sealed) OVER () FROM (SELECT id, kms.encode_batch(1, 'row ' || id) OVER () AS sealed FROM generate_series(1, 3) id) s;
CREATE TABLE t AS SELECT 1 AS version, kms.encode(1, 'of version 1') AS sealed;
SELECT running, mode FROM kms.status();

-- Rotation: at once in this session; older versions open.
SELECT kms.rotate_data_key('orders');
INSERT INTO t SELECT 2, kms.encode(1, 'of version 2');
SELECT t.version, d.version, kms.decode_text(1, sealed), kms.decode_with_text('orders', sealed)
FROM t JOIN kms.data_keys d ON d.key_tag = (kms.inspect(sealed)).key_tag ORDER BY 1;
SELECT version FROM kms.session_keys WHERE local_id = 1;

-- Rolled back, a version is used no more: not after the transaction, nor after a savepoint. A value that
-- was sealed under it could be stored all the same: such a transaction does not commit.
BEGIN;
SELECT kms.rotate_data_key('orders');
SELECT d.version FROM kms.data_keys d WHERE d.key_tag = (kms.inspect(kms.encode(1, 'x'))).key_tag;
ROLLBACK;
SELECT d.version FROM kms.data_keys d WHERE d.key_tag = (kms.inspect(kms.encode(1, 'x'))).key_tag;
BEGIN;
SAVEPOINT s;
SELECT kms.rotate_data_key('orders'), kms.create_data_key('brief', 'kek');
SELECT kms.encode_with('brief', 'lost') AS lost, d.version FROM kms.data_keys d WHERE d.key_tag = (kms.inspect(kms.encode_with('orders', 'x'))).key_tag \gset
SELECT :version;
ROLLBACK TO s;
SELECT d.version FROM kms.data_keys d WHERE d.key_tag = (kms.inspect(kms.encode_with('orders', 'x'))).key_tag;
\set VERBOSITY terse
SELECT kms.decode_with('brief', :'lost');
ROLLBACK;
DO $$
BEGIN
  PERFORM kms.rotate_data_key('orders'), kms.encode(1, 'x');
  RAISE EXCEPTION 'undone';
EXCEPTION WHEN raise_exception THEN
  RAISE NOTICE '% data key', (SELECT count(*) FROM kms.data_keys d WHERE d.key_tag = (kms.inspect(kms.encode(1, 'x'))).key_tag);
END $$;

-- States.
SELECT kms.disable_data_key('orders', 1, force => true);
SELECT version, kms.decode_text(1, sealed) FROM t WHERE version = 2;
SELECT kms.decode(1, sealed) FROM t WHERE version = 1;
SELECT kms.disable_data_key('orders', 2, force => true);
SELECT kms.encode(1, 'x');
SELECT kms.encode_with('orders', 'x');
SELECT kms.set_key(9, 'orders');
SELECT kms.enable_data_key('orders', 1);
SELECT version, kms.decode_text(1, sealed) FROM t WHERE version = 1;
SELECT kms.encode(1, 'x');
SELECT kms.enable_data_key('orders', 2);
SELECT version, kms.decode_text(1, sealed) FROM t ORDER BY 1;

-- What somebody has done to the table.
SELECT kms.decode_text(2, kms.encode(2, 'is held'));
CREATE TABLE kept AS SELECT * FROM kms.data_key;
\set VERBOSITY default
UPDATE kms.data_key SET wrapped = set_byte(wrapped, 60, get_byte(wrapped, 60) # 1) WHERE name = 'siv';
SELECT kms.decode_text(2, kms.encode(2, 'is held'));
SET kms.cache_ttl = 299;
SET kms.mode = 'remote';
SELECT kms.encode_with('kek', 'of another agent') IS NULL;
SET kms.mode = 'envelope';
SELECT kms.encode(2, 'x');
UPDATE kms.data_key d SET wrapped = k.wrapped FROM kept k WHERE d.name = 'siv' AND k.name = 'orders' AND k.version = 1;
\set VERBOSITY terse
SELECT kms.encode(2, 'x');
\set VERBOSITY default
UPDATE kms.data_key d SET wrapped = '' WHERE name = 'siv';
SELECT kms.encode(2, 'x');
-- No fault of the value's.
SELECT kms.try_decode(2, '\x02' || key_tag || decode(repeat('00', 16), 'hex')) FROM kms.data_key WHERE name = 'siv';
UPDATE kms.data_key d SET wrapped = k.wrapped, algorithm = 'rot13' FROM kept k WHERE d.name = 'siv' AND k.name = 'siv';
SELECT kms.encode(2, 'x');
UPDATE kms.data_key SET algorithm = 'xaes-256-gcm' WHERE name = 'siv';
SELECT kms.encode(2, 'x');
UPDATE kms.data_key SET algorithm = 'aes-256-siv', kek = 'kek' WHERE name = 'siv';
\set VERBOSITY terse
SELECT kms.encode(2, 'x');
-- Another key, well wrapped, in its place.
\set VERBOSITY default
DELETE FROM kms.data_key WHERE name = 'siv';
SELECT kms.encode(2, 'x');
SELECT kms.create_data_key('siv', 'kek');
UPDATE kms.data_key d SET key_tag = k.key_tag FROM kept k WHERE d.name = 'siv' AND k.name = 'siv';
SELECT kms.encode(2, 'x');
\set VERBOSITY terse
UPDATE kms.data_key SET state = 'lost' WHERE name = 'siv';
UPDATE kms.data_key SET wrapped = NULL WHERE name = 'siv';
TRUNCATE kms.data_key;
SELECT kms.encode(1, 'x');
-- The second form is tried where the first cannot be had.
INSERT INTO kms.data_key SELECT * FROM kept;
SELECT kms.rotate_key('kek');
UPDATE kms.data_key SET kek_version_before = kek_version, wrapped_before = wrapped, kek_version = 2, wrapped = set_byte(wrapped, 1, get_byte(wrapped, 1) # 1) WHERE name = 'orders';
SELECT version, kms.decode_text(1, sealed) FROM t ORDER BY 1;
\set VERBOSITY terse
UPDATE kms.data_key SET wrapped_before = set_byte(wrapped, 1, get_byte(wrapped, 1) # 2) WHERE name = 'orders';
-- An error in a transaction block has keys forgotten.
BEGIN;
SELECT 1 / 0;
ROLLBACK;
SELECT kms.decode(1, sealed) FROM t WHERE version = 1;
DROP TABLE t, kept;
DELETE FROM kms.data_key;
