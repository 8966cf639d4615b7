-- Blobs as JSON, in the form of kv-toolbox, and as large objects.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('k'), kms.set_key(1, 'k');

-- The contents as JSON; what is none is not shown.
SELECT kms.blob_put(1, convert_to('{"a": [1, "\u0065"]}', 'UTF8')) AS id \gset
SELECT kms.blob_get_json(:'id');
SELECT kms.blob_put(1, 'secret') AS text, kms.blob_put(1, '\xff') AS bytes, kms.blob_put(1, '') AS nothing \gset
\set VERBOSITY sqlstate
SELECT kms.blob_get_json(:'text');
SELECT kms.blob_get_json(:'bytes');
SELECT kms.blob_get_json(:'nothing');
SELECT kms.blob_get_json(NULL);
SELECT kms.blob_get_json('00000000-0000-0000-0000-000000000000');
\set VERBOSITY default

-- The form of kv-toolbox, each kind of it, there and back.
SELECT kms.blob_put(1, 'x', 'n', 't', '{"k": 1}', last_modified => '2024-03-25 00:00:00.5Z') AS file,
    kms.blob_put(1, 'x', content_type => '') AS blob, kms.blob_put(1, 'x', complete => false) AS begun \gset
SELECT kms.blob_to_json(id) FROM unnest(ARRAY[:'file', :'blob', :'text', :'nothing']::uuid[]) id;
\set VERBOSITY sqlstate
SELECT kms.blob_to_json(:'begun');
\set VERBOSITY default
CREATE FUNCTION again(document jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    id uuid := kms.blob_from_json(1, document);
BEGIN
    RETURN kms.blob_to_json(id) = document;
END $$;
SELECT again(kms.blob_to_json(id)) FROM unnest(ARRAY[:'file', :'blob', :'text', :'nothing']::uuid[]) id;
SELECT kms.blob_from_json(1, '{"meta": {"kind": "file", "type": "application/octet-stream", "lastModified": 1711349710546, "name": "test.bin"}, "parts": ["AQID", "", "-_8"]}') AS id \gset
SELECT kms.blob_get(:'id'), name, content_type, size, last_modified AT TIME ZONE 'UTC' AS last_modified FROM kms.blob_meta(:'id');
SELECT kms.blob_put(1, string_agg(sha256(n::text::bytea), '')) AS id FROM generate_series(1, 5000) n \gset
SELECT again(kms.blob_to_json(:'id')), jsonb_array_length(kms.blob_to_json(:'id') -> 'parts');
SELECT kms.blob_from_json(1, '{"meta": {"kind": "buffer"}, "parts": []}', expire_in => '1 hour') AS id \gset
SELECT expires_at - created BETWEEN '59 minutes' AND '61 minutes' FROM kms.blob_meta(:'id');

-- What is not that form.
\set VERBOSITY sqlstate
SELECT kms.blob_from_json(1, NULL);
SELECT kms.blob_from_json(NULL, '{"meta": {"kind": "buffer"}, "parts": []}');
SELECT kms.blob_from_json(9, '{"meta": {"kind": "buffer"}, "parts": []}');
CREATE FUNCTION state_of(document jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM kms.blob_from_json(1, document);
    RETURN 'taken';
EXCEPTION WHEN others THEN
    RETURN sqlstate || ' ' || sqlerrm;
END $$;
SELECT state_of(json), left(json::text, 90) AS json FROM unnest(ARRAY[
    'null', '[]', '"x"', '{}', '{"meta": {"kind": "buffer"}}', '{"meta": {"kind": "buffer"}, "parts": "AQID"}', '{"parts": []}',
    '{"meta": {"kind": "other"}, "parts": []}', '{"meta": {"kind": 1}, "parts": []}', '{"meta": [], "parts": []}', '{"meta": {"kind": "blob"}, "parts": []}',
    '{"meta": {"kind": "blob", "type": 1}, "parts": []}', '{"meta": {"kind": "file", "type": "t", "name": "n"}, "parts": []}',
    '{"meta": {"kind": "file", "type": "t", "name": "n", "lastModified": "1"}, "parts": []}', '{"meta": {"kind": "file", "type": "t", "name": "n", "lastModified": 1e300}, "parts": []}',
    '{"meta": {"kind": "file", "type": "t", "lastModified": 1}, "parts": []}', '{"meta": {"kind": "buffer"}, "parts": ["AQ*D"]}',
    '{"meta": {"kind": "buffer"}, "parts": ["A"]}', '{"meta": {"kind": "buffer"}, "parts": ["AQ=="]}', '{"meta": {"kind": "buffer"}, "parts": ["A Q"]}', '{"meta": {"kind": "buffer"}, "parts": ["AQ+/"]}',
    '{"meta": {"kind": "buffer"}, "parts": ["AQ", 3]}', '{"meta": {"kind": "buffer"}, "parts": [null]}', '{"meta": {"kind": "buffer"}, "parts": [["AQ"]]}',
    '{"meta": {"kind": "buffer", "size": 2}, "parts": ["AQ"]}', '{"meta": {"kind": "buffer", "size": "1"}, "parts": ["AQ"]}']::jsonb[]) json;

-- Large objects: several pieces, exactly one, none.
BEGIN;
CREATE TEMP TABLE large AS SELECT length, lo_from_bytea(0, substr(convert_to(repeat('0123456789abcdef', 2100000), 'UTF8'), 1, length)) AS lo
    FROM unnest('{0, 1, 16777215, 16777216, 16777217, 33554432}'::int[]) length;
ALTER TABLE large ADD id uuid, ADD back oid;
UPDATE large SET id = kms.blob_from_lo(1, lo, 'lo ' || length, 'text/plain', '{}', last_modified => '2024-01-01Z');
UPDATE large SET back = kms.blob_to_lo(id);
SELECT length, name, content_type, metadata, size, complete, last_modified = '2024-01-01Z' AS dated, kms.blob_get(id) = lo_get(lo) AS same, lo_get(back) = lo_get(lo) AS back
FROM large, kms.blob_meta(id) ORDER BY length;
COMMIT;
SELECT kms.blob_from_lo(1, NULL);
SELECT kms.blob_from_lo(1, 0);
SELECT kms.blob_to_lo(NULL);
SELECT kms.blob_to_lo(:'begun');
SELECT count(lo_unlink(lo)), count(lo_unlink(back)) FROM large;
DROP TABLE large;
DROP FUNCTION again, state_of;
SELECT DISTINCT kms.blob_delete(id) FROM kms.blob_list();
