-- kms.blob_keys = agent: in remote mode no key of a blob enters PostgreSQL.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SET kms.mode = 'remote';
SELECT kms.create_key('k'), kms.create_key('other'), kms.create_key('siv', 'aes-256-siv'), kms.create_key('gcm', 'aes-128-gcm');
SELECT kms.set_key(1, 'k'), kms.set_key(2, 'other'), kms.set_key(3, 'siv'), kms.set_key(4, 'gcm');
SELECT kms.blob_put(1, 'with a key of its own') AS own \gset
SET kms.blob_keys = 'agent';
\set VERBOSITY sqlstate
SELECT kms.blob_get(:'own');
SELECT count(*) FROM kms.blob_list() WHERE id = :'own';
SELECT kms.blob_put(9, 'x');
\set VERBOSITY default

-- Sizes, and ranges over every boundary, with each algorithm.
CREATE TEMP TABLE plain AS SELECT length, substr(string_agg(sha256(n::text::bytea), ''), 1, length) AS data
FROM generate_series(1, 17000) n, unnest('{0, 1, 16383, 16384, 16385, 140000, 262143, 262144, 262145, 300000, 524288}'::int[]) length GROUP BY length;
CREATE TEMP TABLE stored AS SELECT key, length, kms.blob_put(key, data, 'n' || length) AS id FROM plain, generate_series(1, 4) key;
CREATE FUNCTION differing() RETURNS TABLE (key int, length int) LANGUAGE sql AS $$
SELECT key, length FROM stored JOIN plain USING (length) WHERE kms.blob_get(id) <> data
OR EXISTS (SELECT FROM unnest('{0, 1, 16383, 16384, 262143, 262144, 299999}'::int[]) at, unnest('{0, 1, 16384, 16386, 400000}'::int[]) many
           WHERE kms.blob_read(id, at, many) <> substr(data, at + 1, many))
OR (kms.blob_verify(id)).sha256 <> sha256(data) $$;
SELECT count(*), count(wrapped) AS wrapped FROM kms.blob JOIN stored USING (id);
SELECT * FROM differing();
SET kms.mode = 'local';
SELECT * FROM differing();
SELECT kms.blob_put(1, 'x') AS own2, kms.blob_put(2, 'of another key, with a key of its own') AS others \gset
SELECT wrapped IS NOT NULL AS its_own FROM kms.blob WHERE id = :'own2';
SET kms.mode = 'remote';

-- Changes. All of a blob is under one version of its key.
SELECT id AS blob FROM stored WHERE key = 1 AND length = 300000 \gset
SELECT kms.blob_append(:'blob', 'more');
SELECT kms.rotate_key('k');
SELECT kms.blob_append(:'blob', ' and more', if_version => 2), kms.blob_compact(:'blob'), kms.blob_set_meta(:'blob', name => 'm');
SELECT kms.blob_get(:'blob') = data || 'more and more', (kms.blob_verify(:'blob')).size, (kms.blob_meta(:'blob')).segments FROM plain WHERE length = 300000;
SELECT count(DISTINCT substr(data, 1, 9)) FROM kms.blob_chunk WHERE blob_id = :'blob';
-- The row tells the version that the chunks need: also where there is nothing to compact, and where nothing stays.
CREATE FUNCTION of_other_versions(blob uuid) RETURNS bigint LANGUAGE sql AS $$
SELECT count(*) FROM kms.blob b JOIN kms.blob_chunk c ON c.blob_id = b.id WHERE b.id = blob AND substr(data, 2, 8) <> key_tag $$;
SELECT kms.blob_put(1, 'compact') AS compact, kms.blob_put(1, 'replaced') AS replaced \gset
SELECT kms.rotate_key('k');
SELECT kms.blob_compact(:'compact'), kms.blob_replace(:'replaced', 'otherwise');
SELECT of_other_versions(:'compact'), of_other_versions(:'replaced'), kms.blob_get(:'compact') = 'compact' AND kms.blob_get(:'replaced') = 'otherwise' AS same;
SELECT count(DISTINCT key_tag) FROM kms.blob WHERE id IN (:'compact', :'replaced');
SELECT kms.blob_delete(:'compact'), kms.blob_delete(:'replaced');
DROP FUNCTION of_other_versions;
\set VERBOSITY sqlstate
SELECT kms.rewrap_blobs(1);
\set VERBOSITY default
SET kms.blob_keys = 'session';
SELECT kms.blob_delete(:'own'), kms.blob_delete(:'own2');
SET kms.blob_keys = 'agent';
SELECT kms.rewrap_blobs(1, 3), kms.rewrap_blobs(1), kms.rewrap_blobs(1), kms.rewrap_blobs(2);
SELECT kms.blob_delete(:'others');
SELECT key, length FROM stored WHERE id <> :'blob' INTERSECT SELECT * FROM differing();
SELECT count(DISTINCT key_tag) FROM kms.blob JOIN stored USING (id) WHERE key = 1;
SELECT kms.disable_key('k', 1);
SELECT kms.blob_recode(:'blob', 3);
SELECT kms.unset_key(1);
SELECT kms.blob_get(:'blob') = data || 'more and more' FROM plain WHERE length = 300000;
SELECT kms.blob_replace(:'blob', 'short');
SELECT kms.blob_get(:'blob');
SELECT kms.blob_copy(:'blob', 2) AS copy \gset
SELECT kms.blob_get(:'copy'), (SELECT wrapped IS NULL AND manifest <> '' FROM kms.blob WHERE id = :'copy');

-- Damage.
\set VERBOSITY sqlstate
CREATE FUNCTION state_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'nothing is wrong';
EXCEPTION WHEN others THEN
    RETURN sqlstate;
END $$;
SELECT id AS blob FROM stored WHERE key = 2 AND length = 140000 \gset
CREATE FUNCTION damaged(damage text, id uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
BEGIN
    EXECUTE damage;
    state := state_of(format('SELECT kms.blob_get(%L)', id)) || ' ' || state_of(format('SELECT kms.blob_read(%L, 0, 10)', id)) || ' ' || state_of(format('SELECT kms.blob_verify(%L)', id));
    RAISE EXCEPTION USING ERRCODE = 'P0001', MESSAGE = state;
EXCEPTION WHEN raise_exception THEN
    RETURN sqlerrm;
END $$;
SELECT id AS large FROM stored WHERE key = 2 AND length = 300000 \gset
SELECT what, damaged(format(what, :'blob'), :'blob') FROM unnest(ARRAY[
    'UPDATE kms.blob SET manifest = set_byte(manifest, 40, 255 - get_byte(manifest, 40)) WHERE id = %L',
    'UPDATE kms.blob SET manifest = '''' WHERE id = %L',
    'UPDATE kms.blob SET manifest = (SELECT manifest FROM kms.blob b JOIN stored s USING (id) WHERE key = 2 AND length = 262145) WHERE id = %L',
    'UPDATE kms.blob SET version = version + 1 WHERE id = %L',
    'UPDATE kms.blob SET key_tag = ''\x0102030405060708'' WHERE id = %L',
    'UPDATE kms.blob SET wrapped = ''\x01'' WHERE id = %L',
    'UPDATE kms.blob_chunk SET data = set_byte(data, 0, 3) WHERE chunk = 0 AND blob_id = %L',
    'UPDATE kms.blob_chunk SET data = set_byte(data, 17000, 255 - get_byte(data, 17000)) WHERE chunk = 0 AND blob_id = %L',
    'UPDATE kms.blob_chunk SET data = substr(data, 1, length(data) - 1) WHERE blob_id = %L',
    'UPDATE kms.blob_chunk SET data = data || data WHERE blob_id = %L',
    'UPDATE kms.blob_chunk SET data = substr(data, 16434, 16433) || substr(data, 1, 16433) || substr(data, 32867) WHERE chunk = 0 AND blob_id = %L',
    'UPDATE kms.blob_chunk SET segment = segment + 1 WHERE blob_id = %L',
    'UPDATE kms.blob_chunk c SET data = o.data FROM kms.blob_chunk o JOIN stored s ON o.blob_id = s.id WHERE s.key = 2 AND s.length = 524288 AND o.chunk = 0 AND c.chunk = 0 AND c.blob_id = %L']) what;
SELECT what, damaged(format(what, :'large'), :'large') FROM unnest(ARRAY[
    'UPDATE kms.blob_chunk SET data = set_byte(data, 5, 255 - get_byte(data, 5)) WHERE chunk = 16 AND blob_id = %L',
    'DELETE FROM kms.blob_chunk WHERE chunk = 16 AND blob_id = %L',
    'INSERT INTO kms.blob_chunk SELECT blob_id, segment, chunk + 16, data FROM kms.blob_chunk WHERE chunk = 16 AND blob_id = %L']) what;
SELECT state_of(format('SELECT kms.blob_get(%L)', :'blob'));
-- Of many chunks at once the first is wrong.
SELECT damaged(format('UPDATE kms.blob_chunk SET data = set_byte(data, 100, 255 - get_byte(data, 100)) WHERE chunk = 0 AND blob_id = %L', :'large'), :'large'), starts FROM kms.status();
DROP FUNCTION differing, state_of, damaged;
SELECT DISTINCT kms.blob_delete(id) FROM kms.blob;

-- Damage that only reading all of a blob shows: neither does it keep others under an old version.
SELECT kms.set_key(1, 'k');
CREATE TEMP TABLE kept AS SELECT n, kms.blob_put(1, decode(repeat(md5(n::text), 1500), 'hex')) AS id FROM generate_series(1, 5) n;
UPDATE kms.blob_chunk SET data = set_byte(data, 100, 255 - get_byte(data, 100)) WHERE blob_id = (SELECT id FROM kept WHERE n = 1);
UPDATE kms.blob_chunk SET data = set_byte(data, 5, 255 - get_byte(data, 5)) WHERE blob_id = (SELECT id FROM kept WHERE n = 2);
DELETE FROM kms.blob_chunk WHERE blob_id = (SELECT id FROM kept WHERE n = 3);
SELECT kms.rotate_key('k') > 1;
\set VERBOSITY terse
SELECT kms.rewrap_blobs(1), kms.rewrap_blobs(1, 1);
SELECT kms.rotate_key('k') > 1;
SET kms.mode = 'local';
SELECT kms.rewrap_blobs(1);
SET kms.mode = 'remote';
\set VERBOSITY default
SELECT n FROM kept JOIN kms.blob USING (id) WHERE key_tag = (SELECT key_tag FROM kms.list_keys('k') ORDER BY version DESC LIMIT 1) ORDER BY n;
SELECT count(*) FROM kept WHERE n > 3 AND kms.blob_get(id) = decode(repeat(md5(n::text), 1500), 'hex');
SELECT count(kms.blob_delete(id)) FROM kept;
