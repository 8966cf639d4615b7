-- Keys at the agent, their versions, and what each state does.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';

SELECT a, kms.create_key('key of ' || a, a) FROM unnest(ARRAY['xaes-256-gcm', 'aes-256-siv', 'aes-128-gcm', 'aes-192-gcm', 'aes-256-gcm']) a;
SELECT key_identifier, version, algorithm, length(key_tag), state, created > now() - interval '1 day' AS fresh FROM kms.list_keys() ORDER BY algorithm;
SELECT key_identifier FROM kms.list_keys('key of aes') ORDER BY 1;
SELECT key_identifier FROM kms.list_keys('none such');
SELECT kms.create_key('key of aes-128-gcm');
SELECT kms.create_key('rot13', 'rot13');
SELECT kms.create_key('', 'aes-128-gcm');
SELECT kms.create_key(NULL::text);
SELECT kms.create_key('k', NULL);
SELECT kms.list_keys(NULL);

-- Every algorithm seals and opens; SIV is deterministic, the others are not.
SELECT kms.set_key(1, 'key of xaes-256-gcm'), kms.set_key(2, 'key of aes-256-siv'), kms.set_key(3, 'key of aes-128-gcm'),
       kms.set_key(4, 'key of aes-192-gcm'), kms.set_key(5, 'key of aes-256-gcm');
SELECT local_id, algorithm FROM kms.session_keys;
SELECT id, suite, length(nonce) AS nonce, plaintext_length, length(sealed) - 5 AS overhead,
       kms.decode_text(id, sealed, 'c') AS opened, sealed = kms.encode(id, 'hello', 'c') AS deterministic
FROM generate_series(1, 5) id, LATERAL (SELECT kms.encode(id, 'hello', 'c') AS sealed OFFSET 0) s, LATERAL kms.inspect(sealed) i;
SELECT a, b, coalesce(kms.try_decode(b, kms.encode(a, 'x')) IS NOT NULL, false) AS opened
FROM generate_series(1, 5) a, generate_series(1, 5) b WHERE kms.try_decode(b, kms.encode(a, 'x')) IS NOT NULL;

-- The mode may change: the same bytes come out of either.
CREATE TEMP TABLE t AS SELECT id, kms.encode(id, 'local', 'c') AS sealed FROM generate_series(1, 5) id;
SET kms.mode = 'remote';
INSERT INTO t SELECT id, kms.encode(id, 'remote', 'c') FROM generate_series(1, 5) id;
SELECT id, kms.decode_text(id, sealed, 'c') FROM t ORDER BY 1, 2;
SELECT kms.decode_text(2, kms.recode(1, 2, sealed, 'c'), 'c') FROM t WHERE id = 1;
\set VERBOSITY sqlstate
SELECT kms.decode(2, sealed, 'c') FROM t WHERE id = 1;
SELECT kms.decode(1, sealed) FROM t WHERE id = 1;
SELECT kms.decode(1, '\x00');
SELECT kms.decode(1, '\x');
SELECT kms.decode(9, '\x');
SELECT kms.encode(9, 'x');
SELECT kms.try_decode(2, sealed, 'c') IS NULL, kms.try_decode(1, sealed) IS NULL FROM t WHERE id = 1;
SELECT kms.encode(1, NULL::text) IS NULL, kms.decode(1, NULL) IS NULL;
\set VERBOSITY default
SELECT version, key_tag, algorithm, fetched_at, expires_at FROM kms.session_keys WHERE local_id = 1;
RESET kms.mode;
SELECT id, kms.decode_text(id, sealed, 'c') FROM t ORDER BY 1, 2;

-- Rotation: encode uses the new version at once, decode reads both.
SELECT kms.encode(1, 'of version 1') AS v1 \gset
SELECT kms.rotate_key('key of xaes-256-gcm');
SELECT kms.encode(1, 'of version 2') AS v2 \gset
SELECT (kms.inspect(:'v1')).key_tag <> (kms.inspect(:'v2')).key_tag AS rotated;
SELECT kms.decode_text(1, :'v1'), kms.decode_text(1, :'v2');
SELECT version FROM kms.session_keys WHERE local_id = 1;
SELECT version, state FROM kms.list_keys('key of xaes') ORDER BY 1;
SELECT kms.decode_text(1, kms.recode(1, 1, :'v1')), (kms.inspect(kms.recode(1, 1, :'v1'))).key_tag = (kms.inspect(:'v2')).key_tag AS renewed;
SELECT kms.rotate_key('none such');

-- States of a version.
SELECT kms.disable_key('key of xaes-256-gcm', 1);
SELECT kms.decode_text(1, :'v1');
SELECT kms.try_decode(1, :'v1');
SELECT kms.decode_text(1, :'v2');
SELECT kms.enable_key('key of xaes-256-gcm', 1);
SELECT kms.decode_text(1, :'v1');
SELECT kms.disable_key('key of xaes-256-gcm', 2);
SELECT kms.encode(1, 'x');
SELECT kms.set_key(1, 'key of xaes-256-gcm');
SELECT kms.decode_text(1, :'v1');
SELECT kms.enable_key('key of xaes-256-gcm', 2);
SELECT kms.destroy_key('key of xaes-256-gcm', 1);
SELECT kms.destroy_key('key of xaes-256-gcm', 1, force => true);
SELECT kms.decode_text(1, :'v1');
SELECT kms.enable_key('key of xaes-256-gcm', 1);
SELECT version, state FROM kms.list_keys('key of xaes') ORDER BY 1;
SELECT kms.disable_key('key of xaes-256-gcm', 9);
SELECT kms.disable_key('key of xaes-256-gcm', 0);
SELECT kms.disable_key('key of xaes-256-gcm', -1);
SELECT kms.disable_key('key of xaes-256-gcm', NULL);
SELECT kms.destroy_key('none such', 1);

-- What the agent did is not undone.
BEGIN;
SELECT kms.create_key('stays');
ROLLBACK;
SELECT key_identifier FROM kms.list_keys('stays');

-- Identifiers of any bytes.
SELECT kms.create_key(i), kms.set_key(7, i), kms.decode_text(7, kms.encode(7, 'x')) FROM
  unnest(ARRAY['\x00', '\x0a', '%', '=', ',', ' ', '1=a,2=b', '"''', '\xd0bad0bbd18ed18720e98db5', convert_to(repeat('k', 1000), 'UTF8'),
  decode(repeat('ff', 1024), 'hex')]::bytea[]) i;
SELECT substr(key_identifier, 1, 40) FROM kms.list_keys() WHERE key_identifier !~ '^(key|stays)' ORDER BY key_identifier COLLATE "C";

-- Fresh keys.
SELECT bits, length(kms.generate_key(bits)), kms.generate_key(bits) ~ '^[0-9a-f]+$' AS hex, kms.generate_key(bits) <> kms.generate_key(bits) AS fresh
FROM unnest(ARRAY[128, 192, 256, 512]) bits;
SELECT length(kms.generate_key());
SELECT kms.generate_key(129);
SELECT kms.generate_key(NULL);

SELECT mode, running, agent_pid > 0 AS has_pid, agent ~ '^kms-agent' AS product, capabilities @> '{get,encrypt,decrypt,create}' AS capable,
       starts, requests > 10 AS requests, errors > 0 AS errors, bytes > 1000 AS bytes, mean_latency_ms > 0 AS latency, last_error
FROM kms.status();
