-- Encrypted blobs of any size

-- What is in the clear of a blob, and nothing else is. The manifest says the same, and the bytes of
-- every segment.
CREATE TABLE kms.blob (
    id uuid PRIMARY KEY,
    key_tag bytea NOT NULL CHECK (length(key_tag) = 8),  -- of the key version that it needs
    wrapped bytea,  -- NULL: it has no key of its own, and its chunks are values of the key version
    manifest bytea NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    created timestamptz NOT NULL,
    expires timestamptz,
    size_class int NOT NULL  -- it has less than 2 ^ size_class bytes, and the half of that or more
);
ALTER TABLE kms.blob ALTER manifest SET STORAGE EXTERNAL;
CREATE INDEX ON kms.blob (key_tag);
CREATE INDEX ON kms.blob (expires) WHERE expires IS NOT NULL;

-- A segment's rows, one after another, are its message.
CREATE TABLE kms.blob_chunk (
    blob_id uuid NOT NULL,
    segment bigint NOT NULL,
    chunk int NOT NULL,  -- the first in the row
    data bytea NOT NULL,
    PRIMARY KEY (blob_id, segment, chunk)
);
ALTER TABLE kms.blob_chunk ALTER data SET STORAGE EXTERNAL;

SELECT pg_catalog.pg_extension_config_dump('kms.blob', '');
SELECT pg_catalog.pg_extension_config_dump('kms.blob_chunk', '');

CREATE FUNCTION kms.blob_put(
    local_id int, data bytea, name text DEFAULT NULL, content_type text DEFAULT NULL,
    metadata jsonb DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
    expire_in interval DEFAULT NULL, last_modified timestamptz DEFAULT NULL,
    complete bool DEFAULT true)
RETURNS uuid LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_blob_put';

-- Those that change a blob return its new version.
CREATE FUNCTION kms.blob_append(
    id uuid, data bytea, if_version bigint DEFAULT NULL, complete bool DEFAULT NULL,
    at bigint DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_blob_append';

CREATE FUNCTION kms.blob_replace(id uuid, data bytea, if_version bigint DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_blob_replace';

CREATE FUNCTION kms.blob_compact(id uuid, if_version bigint DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_blob_compact';

-- What is NULL stays as it is; `clear` names what shall be there no more.
CREATE FUNCTION kms.blob_set_meta(
    id uuid, name text DEFAULT NULL, content_type text DEFAULT NULL, metadata jsonb DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL, expire_in interval DEFAULT NULL,
    last_modified timestamptz DEFAULT NULL, clear text[] DEFAULT '{}',
    if_version bigint DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_blob_set_meta';

CREATE FUNCTION kms.blob_copy(id uuid, to_id int DEFAULT NULL)
RETURNS uuid LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_blob_copy';

-- False: there was none.
CREATE FUNCTION kms.blob_delete(id uuid, if_version bigint DEFAULT NULL)
RETURNS bool LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_blob_delete';

CREATE FUNCTION kms.blob_get(id uuid)
RETURNS bytea LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'kms_blob_get';

CREATE FUNCTION kms.blob_read(id uuid, start bigint, length bigint)
RETURNS bytea LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'kms_blob_read';

CREATE FUNCTION kms.blob_verify(id uuid, OUT size bigint, OUT sha256 bytea, OUT complete bool)
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'kms_blob_verify';

CREATE FUNCTION kms.blob_meta(
    id uuid, OUT name text, OUT content_type text, OUT metadata jsonb, OUT size bigint,
    OUT version bigint, OUT created timestamptz, OUT last_modified timestamptz,
    OUT expires_at timestamptz, OUT complete bool, OUT segments int)
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'kms_blob_meta';

CREATE FUNCTION kms.blob_list(
    prefix text DEFAULT '', OUT id uuid, OUT name text, OUT content_type text, OUT metadata jsonb,
    OUT size bigint, OUT version bigint, OUT created timestamptz, OUT last_modified timestamptz,
    OUT expires_at timestamptz, OUT complete bool, OUT segments int)
RETURNS SETOF record LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'kms_blob_list';

CREATE FUNCTION kms.blob_expire(most int DEFAULT 1000)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_blob_expire';

-- To another key, or to the current version of a key: the contents stay as they are.
CREATE FUNCTION kms.blob_recode(id uuid, to_id int)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_blob_recode';

CREATE FUNCTION kms.rewrap_blobs(local_id int, most bigint DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_rewrap_blobs';

-- These have contents in variables. A plan that is made for the variables' values has them in it, and
-- whoever logs plans would log them: so all plans here are generic.

-- The contents as JSON. PostgreSQL's own error would show what is no JSON.
CREATE FUNCTION kms.blob_get_json(id uuid)
RETURNS jsonb LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    data bytea := kms.blob_get(id);
BEGIN
    RETURN convert_from(data, 'UTF8')::jsonb;
EXCEPTION WHEN data_exception THEN
    RAISE EXCEPTION 'blob % is not JSON', id USING ERRCODE = '22P02';
END $$;

-- The form of kv-toolbox: parts of 63,000 bytes in base64url. What else there is of metadata comes
-- as "metadata" beside its own.
CREATE FUNCTION kms.blob_to_json(id uuid)
RETURNS jsonb LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    part_length CONSTANT int := 63000;
    about record;
    meta jsonb;
    parts jsonb;
BEGIN
    PERFORM kms.blob_read(id, 0, 0);
    about := kms.blob_meta(id);
    meta := jsonb_build_object('kind', 'buffer', 'size', about.size);
    IF about.name IS NOT NULL THEN
        meta := meta || jsonb_build_object(
            'kind', 'file', 'type', coalesce(about.content_type, ''), 'name', about.name,
            'lastModified', floor(extract(epoch FROM about.last_modified) * 1000)::bigint);
    ELSIF about.content_type IS NOT NULL THEN
        meta := meta || jsonb_build_object('kind', 'blob', 'type', about.content_type);
    END IF;
    IF about.metadata IS NOT NULL THEN
        meta := meta || jsonb_build_object('metadata', about.metadata);
    END IF;
    -- They come in their order. What is sorted, or is a set in FROM, may go to a temporary file:
    -- here that is numbers.
    SELECT coalesce(jsonb_agg(rtrim(translate(
        encode(kms.blob_read(id, at, part_length), 'base64'), E'+/\n', '-_'), '=')), '[]')
    INTO parts FROM generate_series(0, about.size - 1, part_length) at;
    RETURN jsonb_build_object('meta', meta, 'parts', parts);
END $$;

CREATE FUNCTION kms.blob_from_json(
    local_id int, document jsonb, expires_at timestamptz DEFAULT NULL, expire_in interval DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    meta jsonb := document -> 'meta';
    parts jsonb := document -> 'parts';
    kind text := meta ->> 'kind';
    modified timestamptz;
    data bytea;
BEGIN
    IF document IS NULL THEN
        RAISE EXCEPTION 'document must not be NULL' USING ERRCODE = '22004';
    END IF;
    IF jsonb_typeof(parts) IS DISTINCT FROM 'array'
        OR jsonb_path_exists(document, 'strict $.parts[*] ? (@.type() != "string")')
        OR kind IS NULL OR kind NOT IN ('buffer', 'blob', 'file')
        OR (meta ? 'size' AND jsonb_typeof(meta -> 'size') <> 'number')
        OR (kind <> 'buffer' AND jsonb_typeof(meta -> 'type') IS DISTINCT FROM 'string')
        OR (kind = 'file' AND (jsonb_typeof(meta -> 'name') IS DISTINCT FROM 'string'
            OR jsonb_typeof(meta -> 'lastModified') IS DISTINCT FROM 'number')) THEN
        RAISE EXCEPTION 'not the JSON form of a blob' USING ERRCODE = '22023';
    END IF;
    BEGIN
        -- As above, only numbers are a set here.
        SELECT coalesce(string_agg(decode(rpad(translate(parts ->> n, '-_', '+/'),
            (length(parts ->> n) + 3) / 4 * 4, '='), 'base64'), ''), '')
        INTO data FROM generate_series(0, jsonb_array_length(parts) - 1) n;
        modified := CASE WHEN kind = 'file'
            THEN to_timestamp((meta ->> 'lastModified')::numeric::float8 / 1000) END;
    EXCEPTION WHEN data_exception THEN
        RAISE EXCEPTION 'not the JSON form of a blob' USING ERRCODE = '22023';
    END;
    IF meta ? 'size' AND meta -> 'size' <> to_jsonb(length(data)) THEN
        -- Not which size that is: it may have as many digits as the document.
        RAISE EXCEPTION 'the JSON form of a blob has parts of % bytes, which is not its size',
            length(data) USING ERRCODE = '22023';
    END IF;
    RETURN kms.blob_put(
        local_id, data, CASE WHEN kind = 'file' THEN meta ->> 'name' END,
        CASE WHEN kind <> 'buffer' THEN meta ->> 'type' END, meta -> 'metadata', expires_at,
        expire_in, modified);
END $$;

-- Large objects, in pieces that become segments.
CREATE FUNCTION kms.blob_from_lo(
    local_id int, large_object oid, name text DEFAULT NULL, content_type text DEFAULT NULL,
    metadata jsonb DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
    expire_in interval DEFAULT NULL, last_modified timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    piece_length CONSTANT int := 16 * 1024 * 1024;
    for_reading CONSTANT int := x'40000'::int;
    descriptor int;
    piece bytea;
    id uuid;
BEGIN
    IF large_object IS NULL THEN
        RAISE EXCEPTION 'large_object must not be NULL' USING ERRCODE = '22004';
    END IF;
    descriptor := lo_open(large_object, for_reading);
    piece := loread(descriptor, piece_length);
    id := kms.blob_put(local_id, piece, name, content_type, metadata, expires_at, expire_in,
        last_modified, length(piece) < piece_length);
    WHILE length(piece) = piece_length LOOP
        piece := loread(descriptor, piece_length);
        PERFORM kms.blob_append(id, piece, complete => length(piece) < piece_length);
    END LOOP;
    PERFORM lo_close(descriptor);
    IF last_modified IS NOT NULL THEN
        PERFORM kms.blob_set_meta(id, last_modified => last_modified);
    END IF;
    RETURN id;
END $$;

CREATE FUNCTION kms.blob_to_lo(id uuid)
RETURNS oid LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    piece_length CONSTANT int := 4 * 1024 * 1024;
    for_writing CONSTANT int := x'20000'::int;
    large_object oid := lo_create(0);
    descriptor int := lo_open(large_object, for_writing);
    about record;
    piece bytea;
    at bigint := 0;
BEGIN
    about := kms.blob_meta(id);
    LOOP
        piece := kms.blob_read(id, at, piece_length);
        PERFORM lowrite(descriptor, piece);
        at := at + length(piece);
        EXIT WHEN length(piece) < piece_length;
    END LOOP;
    PERFORM lo_close(descriptor);
    IF about.version <> (kms.blob_meta(id)).version THEN
        RAISE EXCEPTION 'blob % has changed meanwhile', id USING ERRCODE = '40001';
    END IF;
    RETURN large_object;
END $$;
