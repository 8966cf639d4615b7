-- The keys of blobs: any algorithm, rotation, one tenant's blobs made another's, the three modes; and who may do what.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key(algorithm, algorithm) FROM unnest('{xaes-256-gcm,aes-256-siv,aes-128-gcm,aes-192-gcm,aes-256-gcm}'::text[]) algorithm;
SET kms.keys = '1=xaes-256-gcm,2=aes-256-siv,3=aes-128-gcm,4=aes-192-gcm,5=aes-256-gcm';
CREATE TABLE kept (key int, mode text, id uuid);
CREATE FUNCTION text_of(id uuid) RETURNS text LANGUAGE sql AS $$ SELECT convert_from(kms.blob_get(id), 'UTF8') $$;
CREATE FUNCTION state_of(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    RETURN 'done';
EXCEPTION WHEN others THEN
    RETURN sqlstate;
END $$;

-- Local and remote mode read each other's, under keys of every algorithm.
INSERT INTO kept SELECT n, 'local', kms.blob_put(n, 'of key ' || n::text::bytea, n::text) FROM generate_series(1, 5) n;
SET kms.mode = 'remote';
INSERT INTO kept SELECT n, 'remote', kms.blob_put(n, 'of key ' || n::text::bytea, n::text) FROM generate_series(1, 5) n;
SELECT mode, string_agg(text_of(id), ', ' ORDER BY key) FROM kept GROUP BY 1 ORDER BY 1;
SELECT count(kms.blob_append(id, ', from afar')) FROM kept;
SET kms.mode = 'local';
SELECT mode, string_agg(text_of(id), ', ' ORDER BY key) FROM kept GROUP BY 1 ORDER BY 1;
SELECT mode, count(*), bool_and(b.key_tag = (kms.inspect(kms.encode(key, 'x'))).key_tag) AS same_tags, bool_and(substr(wrapped, 1, 9) = '\x01'::bytea || b.key_tag) AS same_form, count(DISTINCT length(wrapped)) AS lengths
FROM kept JOIN kms.blob b USING (id) GROUP BY 1 ORDER BY 1;
-- Each key opens its own and no other's.
SET kms.keys = '7=aes-128-gcm,9=aes-256-siv';
SELECT name, count(*) FROM kms.blob_list() GROUP BY 1 ORDER BY 1;
SELECT key, mode, state_of(format('SELECT kms.blob_get(%L)', id)) FROM kept ORDER BY 1, 2;
SET kms.keys = '1=xaes-256-gcm,2=aes-256-siv,3=aes-128-gcm,4=aes-192-gcm,5=aes-256-gcm';

-- From one tenant to another: the contents stay as they are.
SELECT id, key_tag, wrapped, manifest, version FROM kms.blob JOIN kept USING (id) WHERE key = 1 AND mode = 'local' \gset was_
SELECT kms.blob_recode(:'was_id', 2);
SELECT text_of(:'was_id'), version = :was_version AS same_version, manifest = :'was_manifest' AS same_manifest, wrapped <> :'was_wrapped' AS rewrapped FROM kms.blob WHERE id = :'was_id';
SET kms.keys = '1=xaes-256-gcm';
SELECT state_of(format('SELECT kms.blob_get(%L)', :'was_id')), state_of(format('SELECT kms.blob_recode(%L, 1)', :'was_id')), state_of(format('SELECT kms.blob_delete(%L)', :'was_id'::uuid)) AS deleted_by_the_owner;
SELECT id FROM kept WHERE key = 1 AND mode = 'remote' \gset
SET kms.keys = '1=xaes-256-gcm,2=aes-256-siv';
SELECT kms.blob_copy(:'id', 2) AS copy \gset
SET kms.keys = '2=aes-256-siv';
SELECT text_of(:'copy'), state_of(format('SELECT kms.blob_get(%L)', :'id'));
SELECT kms.blob_delete(:'copy');
SET kms.keys = '1=xaes-256-gcm,2=aes-256-siv,3=aes-128-gcm,4=aes-192-gcm,5=aes-256-gcm';
DELETE FROM kept WHERE id = :'was_id';

-- Rotation: blobs of every version open; rewrap_blobs brings them to the newest, a few at a time.
CREATE TABLE many AS SELECT kms.blob_put(1, 'blob ' || n::text::bytea, 'many') AS id, n FROM generate_series(1, 1205) n;
SELECT kms.rotate_key('xaes-256-gcm');
INSERT INTO many SELECT kms.blob_put(1, 'blob ' || n::text::bytea, 'many') AS id, n FROM generate_series(1206, 1210) n;
SELECT kms.rotate_key('xaes-256-gcm');
CREATE FUNCTION by_version() RETURNS TABLE (blobs bigint, current bool) LANGUAGE sql AS
$$ SELECT count(*), key_tag = (SELECT (kms.inspect(kms.encode(1, 'x'))).key_tag) FROM kms.blob JOIN many USING (id) GROUP BY key_tag ORDER BY 1 $$;
SELECT * FROM by_version();
SELECT count(*) FROM many WHERE kms.blob_get(id) = 'blob ' || n::text::bytea;
SELECT count(kms.blob_append(id, '')) FROM many WHERE n IN (1, 1206);
SELECT * FROM by_version();
SELECT kms.rewrap_blobs(1, 1);
SELECT kms.rewrap_blobs(1, 3);
SELECT kms.rewrap_blobs(1, 1000);
SELECT kms.rewrap_blobs(1, 100);
SELECT current, sum(blobs) FROM by_version() GROUP BY current ORDER BY current;
CREATE TABLE manifests AS SELECT id, manifest, version FROM kms.blob;
SELECT kms.rewrap_blobs(1, 9223372036854775807);
SELECT kms.rewrap_blobs(1), kms.rewrap_blobs(1, 1);
SELECT * FROM by_version();
SELECT count(*) AS changed FROM kms.blob b JOIN manifests m USING (id) WHERE b.manifest <> m.manifest OR b.version <> m.version;
SELECT count(*) FROM many WHERE kms.blob_get(id) = 'blob ' || n::text::bytea;
-- Rolled back; and of one key alone.
SELECT kms.rotate_key('xaes-256-gcm'), kms.rotate_key('aes-256-siv');
BEGIN;
SELECT kms.rewrap_blobs(1);
ROLLBACK;
SELECT * FROM by_version();
SELECT kms.rewrap_blobs(2);
SET kms.mode = 'remote';
SELECT kms.rewrap_blobs(2), kms.rewrap_blobs(1, 300);
SET kms.mode = 'local';
SELECT kms.rewrap_blobs(1) > 900, kms.rewrap_blobs(1);
SELECT count(*) FROM many WHERE kms.blob_get(id) = 'blob ' || n::text::bytea;
-- A row that says it is of another version is told of, and so is one that is damaged, wherever it stands. Neither keeps the others.
SELECT kms.rotate_key('xaes-256-gcm');
BEGIN;
UPDATE kms.blob SET key_tag = '\x0102030405060708' WHERE id = (SELECT id FROM many WHERE n = 1);
UPDATE kms.blob b SET wrapped = set_byte(b.wrapped, length(b.wrapped) - 1, 255 - get_byte(b.wrapped, length(b.wrapped) - 1)) WHERE id IN (SELECT id FROM many WHERE n IN (7, 700))
    OR id = (SELECT id FROM kms.blob JOIN many USING (id) WHERE n NOT IN (1, 7, 700) ORDER BY wrapped LIMIT 1);
\set VERBOSITY terse
SET client_min_messages = error;
SELECT kms.rewrap_blobs(1, 1000);
RESET client_min_messages;
SELECT kms.rewrap_blobs(1) > 200;
\set VERBOSITY default
SELECT count(*) FILTER (WHERE NOT current) FROM (SELECT key_tag = (SELECT (kms.inspect(kms.encode(1, 'x'))).key_tag) AS current FROM kms.blob JOIN many USING (id)) b;
ROLLBACK;
SELECT kms.rewrap_blobs(1) > 900;
-- Whose they are is told by any that is not damaged, however many are.
SELECT kms.rotate_key('xaes-256-gcm');
BEGIN;
DELETE FROM kms.blob WHERE id NOT IN (SELECT id FROM many);
UPDATE kms.blob b SET wrapped = set_byte(b.wrapped, length(b.wrapped) - 1, 255 - get_byte(b.wrapped, length(b.wrapped) - 1)) WHERE id <> (SELECT id FROM many WHERE n = 700);
\set VERBOSITY terse
SELECT kms.rewrap_blobs(1);
\set VERBOSITY default
ROLLBACK;
SELECT kms.rewrap_blobs(1) > 900;
-- A version that is disabled.
SELECT id FROM kept WHERE key = 3 AND mode = 'local' \gset
SELECT kms.rotate_key('aes-128-gcm'), kms.disable_key('aes-128-gcm', 1, force => true);
\set VERBOSITY terse
SELECT state_of(format('SELECT kms.blob_get(%L)', :'id')), state_of('SELECT kms.rewrap_blobs(3)'), state_of('SELECT * FROM kms.blob_list()');
\set VERBOSITY default
SELECT count(*) FROM kms.blob_list() WHERE id = :'id';
SELECT kms.enable_key('aes-128-gcm', 1);
SELECT count(*) FROM kms.blob_list() WHERE id = :'id';
SELECT kms.rewrap_blobs(3), text_of(:'id');
SELECT kms.disable_key('aes-128-gcm', 1);
SELECT kms.blob_append(:'id', '!'), text_of(:'id');
-- Which key a blob has is found anew, whatever was found before.
SELECT count(text_of(id)) FROM kept;
SET kms.keys = '1=aes-256-gcm,2=aes-192-gcm,3=aes-128-gcm,4=aes-256-siv,5=xaes-256-gcm';
SELECT count(text_of(id)) FROM kept;
-- A binding that the agent knows nothing of does no harm.
SET kms.keys = '1=none%20such,2=aes-192-gcm,3=aes-128-gcm,4=aes-256-siv,5=xaes-256-gcm,6=aes-256-gcm';
SELECT count(text_of(id)) FROM kept;
SELECT state_of('SELECT kms.rewrap_blobs(1)'), state_of('SELECT kms.blob_put(1, ''x'')');
SET kms.mode = 'remote';
SELECT count(text_of(id)) FROM kept;
SELECT count(*) FROM kms.blob_list();

-- Blobs of keys that are not bound cost questions for each version, not for each blob.
CREATE FUNCTION asked_by_list() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    before bigint := (SELECT requests FROM kms.status());
BEGIN
    PERFORM FROM kms.blob_list();
    RETURN (SELECT requests FROM kms.status()) - before;
END $$;
SET kms.keys = '1=xaes-256-gcm,3=aes-128-gcm,6=aes-256-gcm';
SELECT asked_by_list() AS remote \gset
SET kms.keys = '2=aes-192-gcm';
CREATE TABLE of_other AS SELECT kms.blob_put(2, 'x', 'foreign ' || n) AS id FROM generate_series(1, 300) n;
SET kms.keys = '1=xaes-256-gcm,3=aes-128-gcm,6=aes-256-gcm';
SELECT asked_by_list() - :remote < 10;
SET kms.mode = 'local';
SELECT asked_by_list() < 30;
SET kms.keys = '2=aes-192-gcm';
SELECT count(*) FROM kms.blob_list('foreign');
SELECT count(kms.blob_delete(id)) FROM of_other;
DROP TABLE of_other;
DROP FUNCTION asked_by_list;

-- Envelope mode: under data keys.
SET kms.mode = 'envelope';
SELECT kms.create_key('kek', purpose => 'wrap'), kms.create_data_key('data', 'kek'), kms.create_data_key('siv', 'kek', 'aes-256-siv');
SET kms.keys = '1=data,2=siv';
SELECT kms.blob_put(1, 'in an envelope', 'e1') AS e1, kms.blob_put(2, 'in another', 'e2') AS e2 \gset
SELECT text_of(:'e1'), text_of(:'e2'), kms.blob_append(:'e1', '!');
SELECT count(*) FROM kms.blob b JOIN kms.data_keys d USING (key_tag) WHERE b.id IN (:'e1', :'e2');
SELECT kms.rotate_data_key('data'), kms.rotate_data_key('siv');
SELECT kms.rewrap_blobs(1), kms.rewrap_blobs(2, 1);
SELECT d.name, d.version, text_of(b.id) FROM kms.blob b JOIN kms.data_keys d USING (key_tag) WHERE b.id IN (:'e1', :'e2') ORDER BY 1;
SELECT kms.blob_recode(:'e1', 2);
SELECT name, count(*) FROM kms.blob_list('e') GROUP BY 1 ORDER BY 1;
SELECT state_of(format('SELECT kms.blob_get(%L)', id)), count(*) FROM kept GROUP BY 1;
SET kms.mode = 'local';
SET kms.keys = '1=xaes-256-gcm';
SELECT state_of(format('SELECT kms.blob_get(%L)', :'e1'));

-- Who may what: EXECUTE is all that it takes, and a key.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kms_blobs, regress_kms_none;
RESET client_min_messages;
CREATE ROLE regress_kms_blobs;
CREATE ROLE regress_kms_none;
GRANT USAGE ON SCHEMA kms TO regress_kms_blobs, regress_kms_none;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA kms TO regress_kms_blobs;
SELECT id FROM kept WHERE key = 1 AND mode = 'remote' \gset
SELECT id AS other FROM kept WHERE key = 2 AND mode = 'remote' \gset
SET ROLE regress_kms_none;
SELECT state_of(query), query FROM unnest(ARRAY['SELECT kms.blob_get(NULL)', 'SELECT kms.blob_put(1, ''x'')', 'SELECT kms.blob_read(NULL, 0, 1)', 'SELECT kms.blob_append(NULL, ''x'')', 'SELECT kms.blob_replace(NULL, ''x'')',
    'SELECT kms.blob_compact(NULL)', 'SELECT kms.blob_meta(NULL)', 'SELECT kms.blob_set_meta(NULL)', 'SELECT kms.blob_list()', 'SELECT kms.blob_copy(NULL)', 'SELECT kms.blob_delete(NULL)', 'SELECT kms.blob_verify(NULL)',
    'SELECT kms.blob_expire()', 'SELECT kms.blob_recode(NULL, 1)', 'SELECT kms.rewrap_blobs(1)', 'SELECT FROM kms.blob', 'SELECT FROM kms.blob_chunk']) query;
SET ROLE regress_kms_blobs;
SELECT state_of(query), query FROM unnest(ARRAY['SELECT FROM kms.blob', 'SELECT FROM kms.blob_chunk', 'DELETE FROM kms.blob', 'DELETE FROM kms.blob_chunk', 'TRUNCATE kms.blob', 'UPDATE kms.blob SET version = 9',
    'INSERT INTO kms.blob_chunk VALUES (NULL, 1, 1, ''x'')']) query;
SELECT text_of(:'id'), size FROM kms.blob_verify(:'id');
SELECT kms.blob_put(1, 'of the role', 'role') AS own \gset
SELECT kms.blob_append(:'own', '.'), kms.blob_compact(:'own'), kms.blob_set_meta(:'own', 'role 2'), kms.blob_replace(:'own', 'again'), kms.rewrap_blobs(1), kms.blob_expire();
SELECT kms.blob_recode(:'own', 1), kms.blob_delete(kms.blob_copy(:'own')), text_of(:'own'), (SELECT count(*) FROM kms.blob_list('role'));
-- Without its key it cannot even be deleted.
SELECT state_of(format('SELECT kms.blob_delete(%L)', :'other')), state_of(format('SELECT kms.blob_append(%L, ''x'')', :'other')), state_of(format('SELECT kms.blob_recode(%L, 1)', :'other'));
-- Whatever the caller's search_path finds, and whatever stands in the way of its name.
RESET ROLE;
CREATE SCHEMA regress_kms_evil;
GRANT ALL ON SCHEMA regress_kms_evil TO regress_kms_blobs;
SET ROLE regress_kms_blobs;
CREATE FUNCTION regress_kms_evil.hook(uuid, uuid) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called'; END $$;
CREATE FUNCTION regress_kms_evil.hook(bigint, bigint) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called'; END $$;
CREATE FUNCTION regress_kms_evil.hook(bytea, bytea) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called'; END $$;
CREATE FUNCTION regress_kms_evil.hook(timestamptz, timestamptz) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called'; END $$;
CREATE OPERATOR regress_kms_evil.= (FUNCTION = regress_kms_evil.hook, LEFTARG = uuid, RIGHTARG = uuid);
CREATE OPERATOR regress_kms_evil.= (FUNCTION = regress_kms_evil.hook, LEFTARG = bytea, RIGHTARG = bytea);
CREATE OPERATOR regress_kms_evil.<> (FUNCTION = regress_kms_evil.hook, LEFTARG = bytea, RIGHTARG = bytea);
CREATE OPERATOR regress_kms_evil.< (FUNCTION = regress_kms_evil.hook, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR regress_kms_evil.<= (FUNCTION = regress_kms_evil.hook, LEFTARG = timestamptz, RIGHTARG = timestamptz);
CREATE TABLE regress_kms_evil.blob (id uuid);
CREATE TEMP TABLE blob (id uuid);
CREATE TEMP TABLE blob_chunk (blob_id uuid);
DISCARD PLANS;
SET search_path = regress_kms_evil, pg_temp, pg_catalog, public;
SET row_security = off;
SELECT kms.blob_put(1, 'x', expire_in => '1 hour') AS evil \gset
SELECT kms.blob_append(:'evil', 'y'), kms.blob_compact(:'evil'), kms.blob_get(:'evil'), kms.blob_replace(:'evil', 'z'), kms.rewrap_blobs(1), kms.blob_expire(), kms.blob_recode(:'evil', 1), kms.blob_delete(:'evil');
RESET search_path;
RESET row_security;
RESET ROLE;
-- The same in a new session, whose plans are made under such a path.
\c -
SET kms.command = :'command';
SELECT kms.create_key('k');
SET kms.keys = '1=k';
SET ROLE regress_kms_blobs;
SET search_path = regress_kms_evil, pg_temp, pg_catalog, public;
SELECT kms.blob_put(1, 'x', expire_in => '1 hour') AS evil \gset
SELECT kms.blob_append(:'evil', 'y'), kms.blob_compact(:'evil'), kms.blob_get(:'evil'), kms.blob_replace(:'evil', 'z'), kms.rewrap_blobs(1), kms.blob_expire(), kms.blob_recode(:'evil', 1);
SELECT kms.blob_delete(:'evil');
RESET search_path;
RESET ROLE;

SELECT count(kms.blob_delete(id)) > 1000 FROM kms.blob;
SELECT count(*) FROM kms.blob_chunk;
DELETE FROM kms.data_key;
DROP TABLE kept, many, manifests;
DROP FUNCTION text_of, state_of, by_version;
SET client_min_messages = warning;
DROP SCHEMA regress_kms_evil CASCADE;
DROP OWNED BY regress_kms_blobs, regress_kms_none;
DROP ROLE regress_kms_blobs, regress_kms_none;
