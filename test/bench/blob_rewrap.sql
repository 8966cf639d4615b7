-- Rewrapping blobs of 1 MiB against re-encrypting some of them. Variables: `blobs`, `reencrypted`, `rounds`.
SET client_min_messages = warning;
TRUNCATE kms.blob, kms.blob_chunk;
SELECT count(kms.blob_put(1, substr(d, 1, 1048576))) FROM piece, generate_series(1, :blobs) WHERE bytes = 8388608
\g /dev/null

\o /dev/null
-- A run that leaves out blobs fails.
SELECT statement
FROM generate_series(0, :rounds) AS round,
    unnest(ARRAY[$$SELECT kms.rotate_key('bench')$$, 'VACUUM kms.blob, kms.blob_chunk', 'CHECKPOINT',
        format('CALL take_time(%L, %L, 1048576, %s, %s, true, %L)', 'blob rewrap', 'rewrap', round, :blobs,
            format('SELECT 1 / (kms.rewrap_blobs(1) = %s)::int', :blobs)),
        'VACUUM kms.blob', 'CHECKPOINT',
        format('CALL take_time(%L, %L, 1048576, %s, %s, false, %L)', 'blob rewrap', 're-encrypt', round, :reencrypted,
            format('SELECT count(kms.blob_copy(id)) FROM (SELECT id FROM kms.blob LIMIT %s) AS b', :reencrypted))])
    WITH ORDINALITY AS s (statement, step)
ORDER BY round, step
\gexec
\o
DELETE FROM measured WHERE subject = 'blob rewrap' AND round = 0;
