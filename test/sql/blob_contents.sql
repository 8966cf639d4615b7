-- What blobs contain: lengths around every boundary, ranges of them, and whatever is done to them.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('k'), kms.set_key(1, 'k');

-- 3,000,000 bytes that do not compress.
CREATE TABLE plain AS SELECT string_agg(sha256(n::text::bytea), '') AS bytes FROM generate_series(1, 93750) n;
CREATE TABLE blobs (what text, id uuid, bytes bytea);

-- Lengths around chunks of 16 KiB and rows of 16 chunks.
INSERT INTO blobs SELECT 'put ' || n, kms.blob_put(1, substr(bytes, 1, n)), substr(bytes, 1, n)
FROM plain, unnest('{0,1,2,100,16383,16384,16385,32767,32768,32769,245759,245760,245761,262143,262144,262145,278527,278528,278529,524287,524288,524289,540671,540672,540673,3000000}'::int[]) n;
-- Segments of such lengths, one after another.
CREATE FUNCTION put_parts(lengths int[]) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    id uuid := kms.blob_put(1, '', complete => false);
    at int := 1;
    length int;
BEGIN
    FOREACH length IN ARRAY lengths LOOP
        PERFORM kms.blob_append(id, substr(bytes, at, length)) FROM plain;
        at := at + length;
    END LOOP;
    PERFORM kms.blob_append(id, '', complete => true);
    RETURN id;
END $$;
INSERT INTO blobs SELECT 'parts ' || lengths::text, put_parts(lengths), substr(bytes, 1, (SELECT sum(n)::int FROM unnest(lengths) n))
FROM plain, unnest(ARRAY['1,1,1', '0,5,0', '16384,16384', '16383,2,16384,1', '262144,262144,1', '262143,1,262145,16384', '1,524288,3,278529', '300000,1000000,7']::text[]) list, LATERAL (SELECT string_to_array(list, ',')::int[] AS lengths) l;

CREATE FUNCTION wrong() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT what FROM blobs b, kms.blob_meta(b.id) m, kms.blob_verify(b.id) v
    WHERE kms.blob_get(b.id) IS DISTINCT FROM bytes OR m.size <> length(bytes) OR v.size <> length(bytes) OR v.sha256 <> sha256(bytes) OR NOT v.complete
$$;
SELECT * FROM wrong();

-- Its rows: 16 chunks each, and none for an empty final chunk.
SELECT what, count(*) AS rows, array_agg(chunk ORDER BY chunk), array_agg(length(data) ORDER BY chunk) FROM blobs b JOIN kms.blob_chunk c ON c.blob_id = b.id
WHERE what ~ 'put (0|1|16384|262143|262144|262145|278528|524288)$' GROUP BY what ORDER BY min(length(bytes));
SELECT what, array_agg(DISTINCT segment >> 32 ORDER BY segment >> 32) AS versions FROM blobs b JOIN kms.blob_chunk c ON c.blob_id = b.id WHERE what ~ 'parts' GROUP BY what, id ORDER BY what LIMIT 3;

-- Ranges over every boundary, against those of the plain bytes.
CREATE TABLE edges AS SELECT DISTINCT at FROM unnest('{0,1,8192,16384,32768,245760,262144,278528,300000,524288,540672,3000000}'::int[]) edge, generate_series(-1, 1) step, LATERAL (SELECT edge + step AS at) s WHERE edge + step >= 0;
SELECT count(*) AS ranges, count(*) FILTER (WHERE kms.blob_read(id, at, n) IS DISTINCT FROM substr(bytes, at + 1, n)) AS wrong
FROM blobs, edges, unnest('{0,1,2,16383,16384,16385,40000}'::int[]) n WHERE at <= length(bytes) + 2;
SELECT count(*) AS ranges, count(*) FILTER (WHERE kms.blob_read(id, a.at, b.at - a.at) IS DISTINCT FROM substr(bytes, a.at + 1, b.at - a.at)) AS wrong
FROM blobs, edges a, edges b WHERE a.at < b.at AND b.at - a.at > 200000 AND a.at < length(bytes) AND what ~ 'parts|540673|262144$';
-- Every byte of a blob in parts, in turns of 1,000.
SELECT count(*), string_agg(kms.blob_read(id, at, 1000), '' ORDER BY at) = bytes AS same FROM blobs, generate_series(0, length(bytes), 1000) at WHERE what = 'parts {1,524288,3,278529}' GROUP BY id, bytes;

-- Beyond the end there is nothing; what is negative is refused.
SELECT what, at, n, length(kms.blob_read(id, at, n)) FROM blobs,
    unnest('{0,1,16383,16384,16385,9223372036854775807}'::bigint[]) at, unnest('{0,1,1073741824,9223372036854775807}'::bigint[]) n WHERE what = 'put 16384' ORDER BY 2, 3;
SELECT max(length(kms.blob_read(id, at, n))) FROM blobs, unnest('{0,1,9223372036854775807}'::bigint[]) at, unnest('{0,1,9223372036854775807}'::bigint[]) n WHERE what = 'put 0';
\set VERBOSITY sqlstate
SELECT kms.blob_read(id, -1, 1) FROM blobs WHERE what = 'put 0';
SELECT kms.blob_read(id, (-9223372036854775808)::bigint, 1) FROM blobs WHERE what = 'put 0';
SELECT kms.blob_read(id, 0, -9223372036854775808) FROM blobs WHERE what = 'put 0';
SELECT kms.blob_read(id, 9223372036854775808, 1) FROM blobs WHERE what = 'put 0';
\set VERBOSITY default

-- Copied, compacted, replaced by one another, appended to.
CREATE TABLE copies AS SELECT what, kms.blob_copy(id) AS id, bytes FROM blobs;
SELECT count(*) AS copies, count(*) FILTER (WHERE kms.blob_get(id) IS DISTINCT FROM bytes) AS wrong, max(segments) AS segments FROM copies, kms.blob_meta(id);
SELECT count(*), sum((kms.blob_compact(id) > version)::int) AS made_less FROM blobs, kms.blob_meta(id);
SELECT max(segments) FROM blobs, kms.blob_meta(id);
SELECT * FROM wrong();
SELECT count(kms.blob_append(id, substr(p.bytes, 7, 20000))) FROM blobs, plain p;
UPDATE blobs SET bytes = blobs.bytes || substr(p.bytes, 7, 20000) FROM plain p;
SELECT * FROM wrong();
SELECT count(kms.blob_append(id, '')) FROM blobs;
SELECT * FROM wrong();
SELECT count(kms.blob_replace(id, reverse(what)::bytea)) FROM blobs;
UPDATE blobs SET bytes = reverse(what)::bytea;
SELECT * FROM wrong();
SELECT count(kms.blob_replace(id, '')) FROM blobs;
SELECT count(*) AS rows FROM kms.blob_chunk JOIN blobs ON blobs.id = blob_id;
UPDATE blobs SET bytes = '';
SELECT * FROM wrong();
SELECT count(*) AS copies, count(*) FILTER (WHERE kms.blob_get(id) IS DISTINCT FROM bytes) AS wrong FROM copies;

-- The same bytes twice are two blobs that have nothing in common.
SELECT kms.blob_put(1, bytes) AS a, kms.blob_put(1, bytes) AS b FROM copies WHERE what = 'put 16385' \gset
SELECT count(*), count(DISTINCT data), count(DISTINCT substr(data, 60, 20)) FROM kms.blob_chunk WHERE blob_id IN (:'a', :'b');
SELECT count(*), count(DISTINCT wrapped), count(DISTINCT manifest) FROM kms.blob WHERE id IN (:'a', :'b');

-- Rows stand uncompressed, and outside of their table.
SELECT attname, attstorage FROM pg_attribute WHERE attrelid IN ('kms.blob'::regclass, 'kms.blob_chunk'::regclass) AND attnum > 0 AND attlen = -1 ORDER BY 1;

SELECT count(kms.blob_delete(id)) FROM kms.blob;
SELECT count(*) FROM kms.blob_chunk;
DROP TABLE blobs, copies, plain, edges;
DROP FUNCTION put_parts, wrong;
