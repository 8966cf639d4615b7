-- What is dropped with the extension

-- It loads the library, which refuses to let go of data keys, blobs and registered columns. Under any
-- tag, since more than DROP EXTENSION does it.
CREATE FUNCTION kms_internal.guard_drop()
RETURNS event_trigger LANGUAGE C AS 'MODULE_PATHNAME', 'kms_guard_drop';

CREATE EVENT TRIGGER kms_guard_drop ON ddl_command_start EXECUTE FUNCTION kms_internal.guard_drop();
ALTER EVENT TRIGGER kms_guard_drop ENABLE ALWAYS;

-- Roles

-- What each kind of user calls and reads, in all of its forms.
CREATE FUNCTION kms_internal.kinds_of_user(OUT kind text, OUT functions name[], OUT relations name[])
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH bound AS (
        SELECT '{set_key, unset_key, session_keys, looks_sealed, inspect}'::name[] AS functions, '{session_keys}'::name[] AS relations
    ), told AS (
        SELECT '{status, ping, list_keys, census, key_age, data_keys, registered_columns}'::name[] AS functions,
            '{data_keys, registered_columns, reencrypt_progress}'::name[] AS relations
    )
    SELECT 'writer', bound.functions || '{encode, encode_array, encode_batch, encode_with, encode_with_array, is_sealed, blind_index}'::name[], bound.relations FROM bound
    UNION ALL
    SELECT 'reader', bound.functions || '{decode, decode_text, decode_array, decode_text_array, decode_batch, decode_batch_text,
        decode_with, decode_with_text, decode_with_array, decode_with_text_array, decode_as,
        try_decode, try_decode_text, try_decode_with, try_decode_with_text, is_sealed,
        encode_all, blind_index, blind_indexes}'::name[], bound.relations FROM bound
    UNION ALL
    SELECT 'blob_user', bound.functions || '{blob_put, blob_append, blob_replace, blob_get, blob_read, blob_meta, blob_set_meta, blob_list,
        blob_copy, blob_delete, blob_compact, blob_verify, blob_get_json, blob_to_json, blob_from_json, blob_to_lo, blob_from_lo}'::name[],
        bound.relations FROM bound
    UNION ALL
    SELECT 'key_admin', told.functions || '{create_key, rotate_key, enable_key, disable_key, destroy_key,
        create_data_key, rotate_data_key, enable_data_key, disable_data_key, destroy_data_key, rotate_kek,
        adopt_key, hand_back_key,
        register_column, unregister_column, encrypt_column, switch_column, reencrypt, rewrap_blobs, blob_expire}'::name[], told.relations FROM told
    UNION ALL
    SELECT 'auditor', told.functions || '{looks_sealed, inspect}'::name[], told.relations FROM told
    UNION ALL
    SELECT 'dumper', '{}', '{data_key, blob, blob_chunk, registered_column}'
$$;

-- The extension's own alone: what somebody has put beside them is not given away.
CREATE FUNCTION kms_internal.objects_for(kind text)
RETURNS TABLE (subject text, acl aclitem[]) LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH member AS (
        SELECT d.classid, d.objid
        FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
        WHERE e.extname = 'kms' AND d.deptype = 'e'
    )
    SELECT format('EXECUTE ON ROUTINE %s', p.oid::regprocedure), p.proacl
    FROM kms_internal.kinds_of_user() k JOIN pg_proc p ON p.proname = ANY (k.functions)
        JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    WHERE k.kind = objects_for.kind
    UNION ALL
    SELECT format('SELECT ON %s', c.oid::regclass), c.relacl
    FROM kms_internal.kinds_of_user() k JOIN pg_class c ON c.relname = ANY (k.relations)
        JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
    WHERE k.kind = objects_for.kind
$$;

CREATE FUNCTION kms_internal.has_been_granted(acl aclitem[], role_name regrole)
RETURNS bool LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM pg_catalog.aclexplode(acl) WHERE grantee OPERATOR(pg_catalog.=) role_name);

CREATE FUNCTION kms_internal.require_kind(role_name regrole, kind text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF role_name IS NULL OR kind IS NULL THEN
        RAISE null_value_not_allowed USING
            MESSAGE = format('%s must not be NULL', CASE WHEN role_name IS NULL THEN 'role_name' ELSE 'kind' END);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE oid = role_name) THEN
        RAISE undefined_object USING MESSAGE = format('role "%s" does not exist', role_name);
    END IF;
    IF kind <> ALL (SELECT k.kind FROM kms_internal.kinds_of_user() k) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no kind of user "%s"', kind),
            HINT = format('There are %s.', (SELECT string_agg(k.kind, ', ' ORDER BY k.kind) FROM kms_internal.kinds_of_user() k));
    END IF;
END $$;

CREATE FUNCTION kms.grant_role(role_name regrole, kind text)
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    granted record;
BEGIN
    PERFORM kms_internal.require_kind(role_name, kind);
    EXECUTE format('GRANT USAGE ON SCHEMA kms TO %s', role_name);
    FOR granted IN SELECT subject FROM kms_internal.objects_for(kind) LOOP
        EXECUTE format('GRANT %s TO %s', granted.subject, role_name);
    END LOOP;
END $$;

-- What another kind that the role is of has too stays. Of a kind that is made of this one and of others
-- nothing tells whether the role is of it.
CREATE FUNCTION kms.revoke_role(role_name regrole, kind text)
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    granted record;
BEGIN
    PERFORM kms_internal.require_kind(role_name, kind);
    FOR granted IN
        WITH whole AS (
            SELECT k.kind AS name FROM kms_internal.kinds_of_user() k
            WHERE (SELECT bool_and(kms_internal.has_been_granted(o.acl, role_name)) FROM kms_internal.objects_for(k.kind) o)
        ), own AS (
            SELECT w.name, o.subject FROM whole w CROSS JOIN LATERAL kms_internal.objects_for(w.name) o
        )
        SELECT o.subject FROM kms_internal.objects_for(kind) o
        EXCEPT
        SELECT o.subject FROM own o
        WHERE o.name <> revoke_role.kind AND EXISTS (
            SELECT FROM own mine WHERE mine.name = o.name AND NOT EXISTS (
                SELECT FROM own others WHERE others.name <> mine.name AND others.subject = mine.subject))
    LOOP
        EXECUTE format('REVOKE %s FROM %s', granted.subject, role_name);
    END LOOP;
END $$;

-- What \df+ and \d+ say.
DO $$
DECLARE
    described record;
BEGIN
    FOR described IN
        SELECT p.oid::regprocedure AS subject, d.description
        FROM (VALUES
            ('encode', 'Seals a value under the key that is bound to the local id.'),
            ('decode', 'Opens a sealed value as bytea.'),
            ('decode_text', 'Opens a sealed value as text.'),
            ('decode_as', 'Opens a sealed value as one of the type of as_type.'),
            ('try_decode', 'Opens a sealed value as bytea; NULL for what this key does not open.'),
            ('try_decode_text', 'Opens a sealed value as text; NULL for what this key does not open.'),
            ('is_sealed', 'Whether the value opens under this key and context.'),
            ('looks_sealed', 'Whether the value has the header and length of a sealed one. Needs no key.'),
            ('recode', 'Opens a value under one key and seals it under another.'),
            ('inspect', 'What a sealed value shows without a key.'),
            ('encode_all', 'The ciphertexts of a value under every enabled version of a deterministic key, for searches.'),
            ('blind_index', 'A search term of a value under the current version of a key for search terms.'),
            ('blind_indexes', 'The search terms of a value under every enabled version of a key for search terms.'),
            ('encode_array', 'Seals the elements of an array.'),
            ('decode_array', 'Opens the elements of an array as bytea.'),
            ('decode_text_array', 'Opens the elements of an array as text.'),
            ('encode_with', 'Seals a value under the key that is named.'),
            ('decode_with', 'Opens a value as bytea with the key that is named.'),
            ('decode_with_text', 'Opens a value as text with the key that is named.'),
            ('try_decode_with', 'Opens a value as bytea with the key that is named; NULL for what it does not open.'),
            ('try_decode_with_text', 'Opens a value as text with the key that is named; NULL for what it does not open.'),
            ('recode_with', 'Seals a value anew under the current version of the key that is named.'),
            ('encode_with_array', 'Seals the elements of an array, each under its own key.'),
            ('decode_with_array', 'Opens the elements of an array as bytea, each with its own key.'),
            ('decode_with_text_array', 'Opens the elements of an array as text, each with its own key.'),
            ('encode_batch', 'Seals the values of a query''s rows, many at once.'),
            ('decode_batch', 'Opens the values of a query''s rows as bytea, many at once.'),
            ('decode_batch_text', 'Opens the values of a query''s rows as text, many at once.'),
            ('set_key', 'Binds a key to a local id, for the session or the transaction.'),
            ('unset_key', 'Takes the binding of a local id back.'),
            ('session_keys', 'The keys that are bound in this session.'),
            ('status', 'The session''s key agent, as of its last use.'),
            ('ping', 'Asks the key agent; the milliseconds that its answer took.'),
            ('create_key', 'Makes a key at the agent.'),
            ('rotate_key', 'Makes a new version of a key at the agent.'),
            ('enable_key', 'Enables a version of a key at the agent.'),
            ('disable_key', 'Disables a version of a key at the agent that no rows need.'),
            ('destroy_key', 'Destroys a disabled version of a key at the agent that no rows need.'),
            ('list_keys', 'The keys of the agent, version by version.'),
            ('generate_key', 'Random bytes for a key, as hexadecimal digits.'),
            ('wrap', 'Wraps a secret under a KEK.'),
            ('unwrap', 'Unwraps a secret.'),
            ('create_data_key', 'Makes a data key in this database, wrapped by a KEK.'),
            ('rotate_data_key', 'Makes a new version of a data key.'),
            ('enable_data_key', 'Enables a version of a data key.'),
            ('disable_data_key', 'Disables a version of a data key that no rows need.'),
            ('destroy_data_key', 'Destroys a version of a data key that no rows need; with shred, in all backups too.'),
            ('rotate_kek', 'Rotates a KEK, and wraps the data keys under it anew.'),
            ('adopt_key', 'Makes a data key of a key of the agent, with all of its versions.'),
            ('hand_back_key', 'Makes a key of the agent of a data key, with all of its versions.'),
            ('data_keys', 'The data keys of this database.'),
            ('key_age', 'Since when keys have been in use, and how many rows their current versions have.'),
            ('register_column', 'Says that a column holds values of a key.'),
            ('unregister_column', 'Takes back what register_column has said.'),
            ('forget_column', 'Takes back what is registered of a column that is not here.'),
            ('registered_columns', 'The columns that hold values of a key.'),
            ('census', 'Under which versions the values of a column are sealed.'),
            ('reencrypt', 'Brings a column to the current version of its key, or to another key or context.'),
            ('encrypt_column', 'Makes an encrypted column beside a plaintext one, and keeps them in step.'),
            ('decrypt_column', 'Makes a plaintext column beside an encrypted one, and keeps them in step.'),
            ('switch_column', 'Ends encrypt_column or decrypt_column: the old column goes.'),
            ('rewrap_blobs', 'Brings blobs to the current version of their key.'),
            ('blob_put', 'Stores an encrypted blob.'),
            ('blob_append', 'Appends to a blob.'),
            ('blob_replace', 'Replaces a blob''s contents.'),
            ('blob_get', 'A blob''s contents.'),
            ('blob_read', 'A part of a blob''s contents.'),
            ('blob_meta', 'What is known of a blob.'),
            ('blob_set_meta', 'Changes what is known of a blob.'),
            ('blob_list', 'The blobs whose keys are bound.'),
            ('blob_copy', 'Copies a blob.'),
            ('blob_recode', 'Brings a blob to another key.'),
            ('blob_compact', 'Writes a blob''s contents anew, in as few chunks as may be.'),
            ('blob_verify', 'Whether a blob is whole.'),
            ('blob_delete', 'Deletes a blob.'),
            ('blob_expire', 'Deletes the blobs that have expired.'),
            ('blob_get_json', 'A blob''s contents as JSON.'),
            ('blob_to_json', 'A blob in its JSON form.'),
            ('blob_from_json', 'Stores a blob of its JSON form.'),
            ('blob_to_lo', 'Writes a blob''s contents into a new large object.'),
            ('blob_from_lo', 'Stores a large object''s contents as a blob.'),
            ('grant_role', 'Grants a role what its kind of user needs.'),
            ('revoke_role', 'Takes back what grant_role has given.')
        ) d (name, description) JOIN pg_proc p ON p.proname = d.name AND p.pronamespace = 'kms'::regnamespace
    LOOP
        EXECUTE format('COMMENT ON ROUTINE %s IS %L', described.subject, described.description);
    END LOOP;
    FOR described IN
        SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind, c.oid::regclass AS subject, d.description
        FROM (VALUES
            ('session_keys', 'The keys that are bound in this session.'),
            ('data_keys', 'The data keys of this database.'),
            ('registered_columns', 'The columns that hold values of a key.'),
            ('reencrypt_progress', 'How far re-encryptions have come.'),
            ('data_key', 'Data keys, wrapped by KEKs.'),
            ('blob', 'Encrypted blobs: their keys, and what is known of them, sealed.'),
            ('blob_chunk', 'The contents of blobs, sealed.'),
            ('registered_column', 'What register_column has said, by names, for dumps.'),
            ('registered_place', 'The same by numbers, which are this database''s own.'),
            ('reencryption', 'What reencrypt_progress shows.')
        ) d (name, description) JOIN pg_class c ON c.relname = d.name AND c.relnamespace = 'kms'::regnamespace
    LOOP
        EXECUTE format('COMMENT ON %s %s IS %L', described.kind, described.subject, described.description);
    END LOOP;
END $$;

COMMENT ON SCHEMA kms_internal IS 'What kms calls itself: of no use to anybody else.';
COMMENT ON EVENT TRIGGER kms_follow_rename IS 'Keeps what kms has registered in step with tables that are renamed.';
COMMENT ON EVENT TRIGGER kms_guard_drop IS 'Keeps DROP EXTENSION kms from taking keys and blobs with it.';

-- Who may do what with all of this is the owner's decision, and comes after: neither default
-- privileges give anything away, nor those that PUBLIC has of routines and types, nor what was
-- granted on the schema before.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        WITH member AS (
            SELECT classid, objid FROM pg_depend
            WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
                AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'kms')
            UNION ALL
            SELECT 'pg_namespace'::regclass, 'kms'::regnamespace
        ), relation AS (
            SELECT c.oid, c.oid::regclass AS name, c.relowner, c.relacl,
                CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
                CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char" AS acl_kind
            FROM member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
            WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        ), object (subject, owner, acl) AS (
            SELECT format('ON SCHEMA %I', nspname), nspowner, coalesce(nspacl, acldefault('n', nspowner))
            FROM member m JOIN pg_namespace n
                ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid
            UNION ALL
            SELECT format('ON %s %s', kind, name), relowner, coalesce(relacl, acldefault(acl_kind, relowner))
            FROM relation
            UNION ALL
            SELECT format('(%I) ON TABLE %s', attname, name), relowner, attacl
            FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid
            UNION ALL
            SELECT format('ON ROUTINE %s', p.oid::regprocedure), proowner,
                coalesce(proacl, acldefault('f', proowner))
            FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
            UNION ALL
            SELECT format('ON TYPE %s', t.oid::regtype), typowner,
                coalesce(typacl, acldefault('T', typowner))
            FROM pg_type t
            WHERE NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)  -- arrays have their elements' own
                AND (typrelid IN (SELECT oid FROM relation)
                    OR ('pg_type'::regclass, t.oid) IN (SELECT classid, objid FROM member))
        )
        SELECT DISTINCT subject, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee
        FROM object, aclexplode(acl) WHERE grantee <> owner
    LOOP
        EXECUTE format('REVOKE ALL %s FROM %s CASCADE', granted.subject, granted.grantee);
    END LOOP;
END $$;

-- pg_dump knows no privileges of tables' row types, and would warn of each of them.
DELETE FROM pg_catalog.pg_init_privs WHERE classoid = 'pg_catalog.pg_type'::pg_catalog.regclass AND objoid IN (
    SELECT t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
    WHERE c.relnamespace IN ('kms'::pg_catalog.regnamespace, 'kms_internal'::pg_catalog.regnamespace));

-- Nor has anybody put anything beside it meanwhile.
DO $$
DECLARE
    extension oid := (SELECT oid FROM pg_extension WHERE extname = 'kms');
    others text;
BEGIN
    SELECT string_agg(pg_describe_object(classid, objid, objsubid), ', ' ORDER BY classid, objid)
    INTO others FROM pg_depend o
    WHERE refclassid = 'pg_namespace'::regclass
        AND refobjid IN ('kms'::regnamespace, 'kms_internal'::regnamespace)
        AND (classid, objid) <> ('pg_extension'::regclass, extension)
        AND NOT EXISTS (
            SELECT FROM pg_depend m
            WHERE m.refclassid = 'pg_extension'::regclass AND m.refobjid = extension
                AND m.deptype = 'e' AND (m.classid, m.objid) = (o.classid, o.objid));
    IF others IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = 'the schemas of kms hold what is no part of it', DETAIL = format('It is %s.', others),
            HINT = 'Move that elsewhere, and make the extension again.';
    END IF;
END $$;
