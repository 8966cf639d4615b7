-- kms.keys is the truth about bindings; set_key and unset_key are ways to write it.
\set SHOW_CONTEXT never
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('one'), kms.create_key('two'), kms.create_key('a,b=c%d');

SELECT kms.set_key(1, 'one');
SHOW kms.keys;
SELECT kms.set_key(local_id => 2, key_identifier => 'a,b=c%d'::bytea);
SHOW kms.keys;
SELECT local_id, key_identifier, mode, version, length(key_tag), algorithm,
       expires_at - fetched_at AS ttl FROM kms.session_keys;
SELECT kms.decode_text(2, kms.encode(2, 'through the second'));
SELECT kms.set_key(1, 'two');
SELECT local_id, key_identifier FROM kms.session_keys;
SELECT kms.unset_key(2);
SHOW kms.keys;
SELECT kms.unset_key(1);
SHOW kms.keys;
SELECT kms.unset_key(1);
SELECT count(*) FROM kms.session_keys;

-- Local ids and identifiers that cannot be.
SELECT kms.set_key(0, 'one');
SELECT kms.set_key(-1, 'one');
SELECT kms.set_key(2147483647, 'one');
SELECT kms.set_key(65536, 'one');
SELECT kms.set_key(65535, 'one');
SELECT kms.unset_key(65535);
SELECT kms.set_key(1, '');
SELECT kms.set_key(1, repeat('x', 1025));
SELECT kms.set_key(NULL, 'one');
SELECT kms.set_key(1, NULL::text);
SELECT kms.set_key(1, NULL::bytea);
SELECT kms.set_key(1, 'one', NULL);
SELECT kms.unset_key(NULL);
SELECT kms.set_key(1, 'no-such-key');
SHOW kms.keys;

-- The check hook explains.
SET kms.keys = '1';
SET kms.keys = '0=a';
SET kms.keys = '1=a b';
SET kms.keys = '1=a%4';
SET kms.keys = '1=a, 1=b';
SET kms.keys = ' 2=two ,1=one';
SELECT local_id, key_identifier FROM kms.session_keys;
SELECT kms.decode_text(2, kms.encode(2, 'as set'));
RESET kms.keys;

-- Bindings follow the transaction.
BEGIN;
SELECT kms.set_key(1, 'one');
SELECT kms.set_key(2, 'two');
SHOW kms.keys;
ROLLBACK;
SHOW kms.keys;
SELECT kms.encode(1, 'x');
BEGIN;
SELECT kms.set_key(1, 'one');
SAVEPOINT s;
SELECT kms.set_key(1, 'two');
SELECT kms.set_key(3, 'two');
ROLLBACK TO s;
SHOW kms.keys;
SAVEPOINT s;
SELECT kms.set_key(3, 'two');
RELEASE s;
COMMIT;
SHOW kms.keys;
RESET kms.keys;

-- For one transaction.
BEGIN;
SELECT kms.set_key(1, 'one', is_local => true);
SELECT kms.set_key(2, 'two', true);
SHOW kms.keys;
SELECT kms.decode_text(2, kms.encode(2, 'for one transaction'));
SELECT kms.set_key(3, 'one');
ROLLBACK;
SHOW kms.keys;
BEGIN;
SET LOCAL kms.keys = '1=one';
SELECT kms.decode_text(1, kms.encode(1, 'local'));
COMMIT;
SELECT kms.encode(1, 'x');

-- A local value must not leak into the session: 55000, whichever way it came.
SET kms.keys = '9=one';
BEGIN;
SET LOCAL kms.keys = '1=one';
SELECT kms.unset_key(1);
ROLLBACK;
BEGIN;
SET LOCAL kms.keys = '1=one';
SAVEPOINT s;
SET kms.keys = '2=two';
SELECT kms.set_key(3, 'two');
ROLLBACK;
CREATE FUNCTION pg_temp.binds() RETURNS void LANGUAGE plpgsql SET kms.keys = '5=one'
AS $$ BEGIN PERFORM kms.set_key(6, 'two'); END $$;
SELECT pg_temp.binds();
CREATE FUNCTION pg_temp.reads(value bytea) RETURNS text LANGUAGE plpgsql SET kms.keys = '5=one'
AS $$ BEGIN RETURN kms.decode_text(5, value); END $$;
SELECT pg_temp.reads(kms.encode(9, 'bound inside'));
SHOW kms.keys;
DO $$
BEGIN
  PERFORM kms.set_key(1, 'one');
  RAISE EXCEPTION 'undo';
EXCEPTION WHEN raise_exception THEN
  RAISE NOTICE 'kms.keys is %', current_setting('kms.keys');
END $$;

-- Back to the login's bindings.
DISCARD ALL;
SHOW kms.keys;
-- A binding for the transaction ends with its statement where there is no more than that.
SET kms.command = :'command';
SELECT kms.set_key(9, 'one', is_local => true);
SELECT count(*) FROM kms.session_keys WHERE local_id = 9;
DO $$ BEGIN PERFORM kms.set_key(9, 'one', is_local => true), kms.encode(9, 'x'); END $$;
BEGIN;
SELECT kms.set_key(9, 'one', is_local => true);
SELECT kms.decode_text(9, kms.encode(9, 'x'));
COMMIT;
