-- A blob's chunks could be opened and forged as values: no context of a user's is one of kms itself.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SET kms.mode = 'remote';
SET kms.blob_keys = 'agent';
SELECT kms.create_key('k'), kms.set_key(1, 'k');

-- What a query says: its value, or its SQLSTATE and message.
CREATE FUNCTION said(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE query INTO result;
    RETURN coalesce(result, 'NULL');
EXCEPTION WHEN others THEN
    RETURN sqlstate || ' ' || sqlerrm;
END $$;

-- The contents of a blob, by the context that its chunk has; and another chunk in its place.
SELECT kms.blob_put(1, 'the contents') AS id \gset
SELECT convert_to('kms/1 blob chunk', 'UTF8') || '\x00' || uuid_send(blob_id) || int8send(segment) || int8send(chunk) || '\x01' AS context
FROM kms.blob_chunk WHERE blob_id = :'id' \gset
SELECT kms.decode_text(1, data, :'context') FROM kms.blob_chunk WHERE blob_id = :'id';
UPDATE kms.blob_chunk SET data = kms.encode(1, 'forged words', :'context') WHERE blob_id = :'id';
SELECT convert_from(kms.blob_get(:'id'), 'UTF8');
-- Nor its manifest, and so its name.
SELECT said(format('SELECT kms.decode(1, manifest, convert_to(''kms/1 blob manifest'', ''UTF8'') || ''\x00'' || uuid_send(id) || int8send(version)) FROM kms.blob WHERE id = %L', :'id'));

-- Every function that takes a context, and whatever its data is. None may be missing here.
CREATE FUNCTION call_of(function oid, context bytea, data text) RETURNS text LANGUAGE sql AS $$
SELECT format('SELECT kms.%I(%s)%s', proname, string_agg(CASE
        WHEN name IN ('context', 'was_context', 'new_context') THEN format('%L::bytea', context)
        WHEN name LIKE '%contexts' THEN format('ARRAY[%L::bytea]', context)
        WHEN name IN ('data', 'secret', 'wrapped') THEN format(CASE WHEN type::regtype::text LIKE '%[]' THEN 'ARRAY[%L]::%s' ELSE '%L::%s' END, data, type::regtype)
        WHEN type::regtype::text LIKE '%[]' THEN format('ARRAY[%L]::%s', 'k', type::regtype)
        WHEN type IN ('anyelement'::regtype, 'anynonarray'::regtype) THEN '''x''::text'
        WHEN type = 'int'::regtype THEN '1'
        WHEN type = 'bool'::regtype THEN 'true'
        ELSE format('%L::%s', 'k', type::regtype) END, ', ' ORDER BY place), CASE prokind WHEN 'w' THEN ' OVER ()' ELSE '' END)
FROM pg_proc, unnest(proargnames, proargtypes) WITH ORDINALITY argument (name, type, place)
WHERE pg_proc.oid = function AND place <= pronargs
GROUP BY proname, prokind $$;
CREATE VIEW takers AS SELECT oid FROM pg_proc WHERE pronamespace = 'kms'::regnamespace AND prokind IN ('f', 'w') AND proargnames && '{context, contexts}';
SELECT count(*) > 40 AS many FROM takers;
SELECT oid::regprocedure, context, data, said(call_of(oid, context, data)) FROM takers, unnest(ARRAY['kms/1 ', 'kms/1 x', 'kms/1 blob chunk']::bytea[]) context, unnest(ARRAY['x', NULL]) data
WHERE said(call_of(oid, context, data)) NOT LIKE '22023 a context must not begin with "kms/1 "' AND NOT (data IS NULL AND 'contexts' = ANY ((SELECT proargnames FROM pg_proc p WHERE p.oid = takers.oid)::text[]));
-- In every mode; and what only looks like it is taken.
SET kms.mode = 'local';
SELECT count(*) FROM takers WHERE said(call_of(oid, 'kms/1 x', 'x')) NOT LIKE '22023 a context must not begin with "kms/1 "';
SELECT count(*) FROM takers, unnest(ARRAY['kms/1', 'kms/2 x', 'KMS/1 x', ' kms/1 x', '\x00']::bytea[]) context WHERE said(call_of(oid, context, 'x')) LIKE '22023 a context%';
SET kms.mode = 'remote';

-- A row that is read ahead fails in its place.
CREATE TABLE ahead AS SELECT n, CASE WHEN n = 5 THEN 'kms/1 x' ELSE 'c' END::bytea AS context FROM generate_series(1, 9) n;
BEGIN;
DECLARE rows CURSOR FOR SELECT n, kms.encode_batch(1, n::text, context) OVER (ORDER BY n) IS NOT NULL FROM ahead;
FETCH 4 FROM rows;
FETCH 1 FROM rows;
ROLLBACK;
-- One that stands outside of its row, too.
CREATE TABLE toasted (context bytea);
ALTER TABLE toasted ALTER context SET STORAGE EXTERNAL;
INSERT INTO toasted VALUES (convert_to('kms/1 ' || repeat('x', 100000), 'UTF8'));
SELECT kms.encode_batch(1, 'x', context) OVER () FROM toasted;
SELECT kms.encode(1, 'x', context) FROM toasted;

-- What an expression makes of a row.
SET client_min_messages = warning;
SET kms.mode = 'local';
CREATE TABLE person (id int PRIMARY KEY, place text, note text);
INSERT INTO person VALUES (1, 'here', 'first');
CALL kms.encrypt_column('person', 'note', 'k', context_expression => 'convert_to(place, ''UTF8'')');
INSERT INTO person VALUES (2, 'kms/1 blob chunk', 'second');
UPDATE person SET place = 'kms/1 x';
SELECT kms.blob_delete(:'id');
DROP VIEW takers;
DROP FUNCTION call_of;
DROP FUNCTION said;
SELECT kms.unregister_column('person', 'note_encrypted');
DROP TABLE person, toasted, ahead;
