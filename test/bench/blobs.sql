-- Blobs against plain bytea of the same bytes in rows of the same length, in the server.
-- It leaves a large blob and small plain chunks of the same bytes, for reads of ranges.
-- Variables: `pieces` of 8 MiB that the large blob has, `rounds`.
SET client_min_messages = warning;

CREATE TABLE plain_blob (id uuid PRIMARY KEY, d bytea);
CREATE TABLE plain_chunk (id uuid, chunk int, d bytea, PRIMARY KEY (id, chunk));
CREATE TABLE piece (bytes int PRIMARY KEY, d bytea);
ALTER TABLE plain_blob ALTER d SET STORAGE EXTERNAL;
ALTER TABLE plain_chunk ALTER d SET STORAGE EXTERNAL;
ALTER TABLE piece ALTER d SET STORAGE EXTERNAL;
CREATE TABLE plain_small_chunk (LIKE plain_chunk INCLUDING ALL);
INSERT INTO piece SELECT bytes, random_bytes(bytes) FROM unnest(ARRAY[65536, 8388608]) AS bytes;

CREATE FUNCTION nil() RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$SELECT '00000000-0000-0000-0000-000000000000'::uuid$$;

CREATE FUNCTION put_blob(stored bytea, pieces int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    piece bytea := floor_read(stored);
    id uuid := kms.blob_put(1, piece, complete => pieces = 1);
BEGIN
    FOR n IN 2 .. pieces LOOP
        PERFORM kms.blob_append(id, piece, complete => n = pieces);
    END LOOP;
END
$$;

CREATE FUNCTION put_plain(stored bytea, pieces int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    piece bytea := floor_read(stored);
BEGIN
    FOR n IN 0 .. pieces - 1 LOOP
        INSERT INTO plain_chunk
        SELECT nil(), n * 32 + i, substr(piece, i * 262144 + 1, 262144) FROM generate_series(0, 31) AS i;
    END LOOP;
END
$$;

CREATE FUNCTION get_blob(pieces int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    id uuid := (SELECT b.id FROM kms.blob b);
BEGIN
    FOR n IN 0 .. pieces - 1 LOOP
        PERFORM length(kms.blob_read(id, n * 8388608::bigint, 8388608));
    END LOOP;
END
$$;

CREATE FUNCTION get_plain(pieces int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 0 .. pieces - 1 LOOP
        PERFORM count(floor_read(d)) FROM plain_chunk WHERE id = nil() AND chunk BETWEEN n * 32 AND n * 32 + 31;
    END LOOP;
END
$$;

CREATE FUNCTION put_and_get_blob(stored bytea, count int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    data bytea := floor_read(stored);
    new_id uuid;
BEGIN
    FOR n IN 1 .. count LOOP
        new_id := kms.blob_put(1, data);
        PERFORM length(kms.blob_get(new_id));
    END LOOP;
END
$$;

CREATE FUNCTION put_and_get_plain(stored bytea, count int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    data bytea := floor_read(stored);
    new_id uuid;
BEGIN
    FOR n IN 1 .. count LOOP
        INSERT INTO plain_blob VALUES (gen_random_uuid(), data) RETURNING id INTO new_id;
        PERFORM length(floor_read(d)) FROM plain_blob WHERE id = new_id;
    END LOOP;
END
$$;

-- Microseconds for each of `count`; what is not kept is rolled back.
CREATE PROCEDURE take_time(subject text, contestant text, at int, round int, count int, keep bool, query text)
LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz := clock_timestamp();
    microseconds float8;
BEGIN
    EXECUTE query;
    microseconds := extract(epoch FROM clock_timestamp() - began) * 1e6;
    IF keep THEN COMMIT; ELSE ROLLBACK; END IF;
    INSERT INTO measured VALUES (subject, contestant, at, round, microseconds / count);
END
$$;

-- Round 0 warms up and is not counted. Who gets has just put, and nobody finds another's pages in memory.
SELECT statement
FROM generate_series(0, :rounds) AS round, (VALUES ('blob', 1), ('plain', -1)) AS c (contestant, place),
    unnest(ARRAY['TRUNCATE kms.blob, kms.blob_chunk, plain_blob, plain_chunk', 'CHECKPOINT',
        format('CALL take_time(%L, %L, 65536, %s, 1000, true, %L)', 'blob put+get, one transaction', contestant, round,
            format('SELECT put_and_get_%s(d, 1000) FROM piece WHERE bytes = 65536', contestant)),
        'TRUNCATE kms.blob, kms.blob_chunk, plain_blob, plain_chunk', 'CHECKPOINT',
        format('CALL take_time(%L, %L, %s, %s, 1, true, %L)', 'blob put', contestant, :pieces * 8388608, round,
            format('SELECT put_%s(d, %s) FROM piece WHERE bytes = 8388608', contestant, :pieces)),
        'CHECKPOINT',
        format('CALL take_time(%L, %L, %s, %s, 1, true, %L)', 'blob get', contestant, :pieces * 8388608, round,
            format('SELECT get_%s(%s)', contestant, :pieces))]) WITH ORDINALITY AS s (statement, step)
ORDER BY round, place * (-1) ^ round, step
\gexec
DELETE FROM measured WHERE subject LIKE 'blob %' AND round = 0;

TRUNCATE kms.blob, kms.blob_chunk, plain_chunk;
SELECT put_blob(d, :pieces) FROM piece WHERE bytes = 8388608 \g /dev/null
INSERT INTO plain_small_chunk
SELECT nil(), i, substr(d, i % 512 * 16384 + 1, 16384)
FROM piece, generate_series(0, :pieces * 512 - 1) AS i WHERE bytes = 8388608;
VACUUM ANALYZE plain_small_chunk;
CHECKPOINT;
