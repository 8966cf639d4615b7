-- Roles by what they do: what each may call, and nothing else.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kms_app, "Regress ""kms"" role";
RESET client_min_messages;
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('pii'), kms.create_key('email', 'aes-256-siv'), kms.create_key('index', 'hmac-sha-256'), kms.create_key('kek of roles', purpose => 'wrap');
SET kms.keys = '1=pii, 2=email, 3=index';
CREATE ROLE regress_kms_app;
CREATE ROLE "Regress ""kms"" role";
CREATE TABLE person (id int, ssn bytea, email bytea, term bytea);
GRANT ALL ON person TO regress_kms_app;
INSERT INTO person VALUES (1, kms.encode(1, 'x', '1'), kms.encode(2, 'a@b'), kms.blind_index(3, 'x'));
SELECT kms.register_column('person', 'ssn', 'pii'::text, 'id::text::bytea');
SELECT kms.blob_put(1, 'contents') AS blob \gset

-- Whether each works for the role, or is denied.
CREATE FUNCTION works(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    RETURN 'works';
EXCEPTION WHEN OTHERS THEN
    RETURN CASE sqlstate WHEN '42501' THEN 'denied' ELSE sqlstate || ' ' || sqlerrm END;
END $$;
CREATE TABLE use (n int GENERATED ALWAYS AS IDENTITY, query text);
GRANT SELECT ON use TO regress_kms_app;
INSERT INTO use (query) VALUES
    ($$SELECT kms.set_key(4, 'pii'), kms.unset_key(4)$$), ($$SELECT * FROM kms.session_keys$$),
    ($$INSERT INTO person VALUES (2, kms.encode(1, 'y', '2'), kms.encode(2, 'c@d'), kms.blind_index(3, 'y'))$$),
    ($$SELECT kms.encode_with('pii', 'x'), kms.encode_array(1, '{a,b}'::text[])$$), ($$SELECT kms.encode_batch(1, 'x') OVER ()$$),
    ($$UPDATE person SET ssn = kms.recode(1, 1, ssn, '1') WHERE id = 1$$), ($$SELECT kms.is_sealed(ssn, 1, '1') FROM person$$),
    ($$SELECT kms.looks_sealed(ssn), kms.inspect(ssn) FROM person$$),
    ($$SELECT kms.decode_text(1, ssn, id::text::bytea), kms.decode(1, ssn, id::text::bytea) FROM person$$),
    ($$SELECT kms.decode_batch_text(1, ssn, id::text::bytea) OVER () FROM person$$), ($$SELECT kms.decode_text_array(2, ARRAY[email]) FROM person$$),
    ($$SELECT kms.decode_with_text('pii', ssn, '1'), kms.try_decode(1, ssn), kms.try_decode_text(1, ssn), kms.try_decode_with('pii', ssn), kms.try_decode_with_text('pii', ssn), kms.decode_as(1, ssn, NULL::text, '1') FROM person WHERE id = 1$$),
    ($$SELECT FROM person WHERE email = ANY (kms.encode_all(2, 'a@b')) OR term = ANY (kms.blind_indexes(3, 'x'))$$),
    (format($$SELECT kms.blob_get(%1$L), kms.blob_to_json(%1$L)$$, :'blob')),
    (format($q$DO $x$ DECLARE copy uuid := kms.blob_copy(%1$L); json uuid := kms.blob_put(1, '{}'); BEGIN
        PERFORM kms.blob_delete(copy); PERFORM kms.blob_get_json(json); END $x$$q$, :'blob')),
    (format($$SELECT kms.blob_append(%1$L, 'x'), kms.blob_replace(%1$L, 'y'), kms.blob_set_meta(%1$L, 'n', 't', '{}'), kms.blob_verify(%1$L), kms.blob_compact(%1$L), kms.blob_read(%1$L, 0, 1)$$, :'blob')),
    (format($$SELECT lo_unlink(kms.blob_to_lo(%1$L)), (SELECT count(*) FROM kms.blob_list()), kms.blob_meta(%1$L), kms.blob_from_json(1, kms.blob_to_json(%1$L))$$, :'blob')),
    ($$SELECT kms.create_key('other'), kms.rotate_key('other'), kms.disable_key('other', 1, force => true), kms.enable_key('other', 1)$$),
    ($$SELECT kms.create_data_key('data of roles', 'kek of roles'), kms.rotate_data_key('data of roles'), kms.rotate_kek('kek of roles')$$),
    ($$SELECT kms.disable_data_key('data of roles', 1, force => true), kms.enable_data_key('data of roles', 1)$$),
    ($$SELECT kms.blob_expire(), kms.rewrap_blobs(1)$$),
    ($$SELECT kms.status(), count(*) FROM kms.list_keys()$$), ($$SELECT count(*) FROM kms.census('person', 'ssn')$$), ($$SELECT count(*) FROM kms.key_age()$$),
    ($$SELECT count(*) FROM kms.data_keys, kms.registered_columns, kms.reencrypt_progress$$),
    ($$SELECT kms.wrap('kek of roles', 'x'), kms.generate_key()$$), ($$SELECT count(*) FROM kms.data_key$$), ($$SELECT count(*) FROM kms.blob$$),
    ($$SELECT kms.grant_role('regress_kms_app', 'reader')$$);

CREATE TABLE outcome (n int, kind text, outcome text);
GRANT INSERT ON outcome TO regress_kms_app;
CREATE FUNCTION try_all(kind text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM kms.grant_role('regress_kms_app', kind), kms.grant_role('regress_kms_app', kind);
    SET ROLE regress_kms_app;
    INSERT INTO outcome SELECT n, kind, works(query) FROM use ORDER BY n;
    RESET ROLE;
    PERFORM kms.revoke_role('regress_kms_app', kind);
    SET ROLE regress_kms_app;
    INSERT INTO outcome SELECT n, 'nobody', works(query) FROM use ORDER BY n;
    RESET ROLE;
END $$;
SELECT kind, try_all(kind) FROM unnest(ARRAY['writer', 'reader', 'blob_user', 'auditor', 'key_admin']) kind;
SELECT n, left(replace(query, :'blob', 'ID'), 60) AS query, (SELECT string_agg(kind, ' ') FROM outcome o WHERE o.n = u.n AND outcome = 'works') AS works_for,
    (SELECT string_agg(DISTINCT outcome, ' ') FROM outcome o WHERE o.n = u.n AND outcome NOT IN ('works', 'denied')) AS fails FROM use u ORDER BY n;
SELECT kms.grant_role('regress_kms_app', 'key_admin');
ALTER TABLE person OWNER TO regress_kms_app;
ALTER TABLE person ADD note text;
SET ROLE regress_kms_app;
CALL kms.reencrypt('person', 'ssn');
CALL kms.encrypt_column('person', 'note', 'pii');
SELECT kms.switch_column('person', 'note');
CALL kms.reencrypt('person', 'ssn', new_key => 'other');
RESET ROLE;
SELECT kms.grant_role('regress_kms_app', 'reader');
SET ROLE regress_kms_app;
SELECT kms.switch_column('person', 'note');
SELECT kms.destroy_key('other', 1, force => true);
CALL kms.destroy_data_key('data of roles', 1, force => true);
RESET ROLE;

-- Two kinds are one apart from the other.
SELECT kms.grant_role('"Regress ""kms"" role"', 'reader'), kms.grant_role('"Regress ""kms"" role"', 'writer');
SELECT kms.revoke_role('"Regress ""kms"" role"', 'writer');
SELECT has_function_privilege('Regress "kms" role', f, 'EXECUTE') AS may, f
FROM unnest(ARRAY['kms.set_key(int, text, bool)', 'kms.encode(int, text, bytea)', 'kms.decode_text(int, bytea, bytea)', 'kms.blind_index(int, text, int, bytea)']) f;
SELECT kms.revoke_role('"Regress ""kms"" role"', 'reader');
SELECT count(*) FROM pg_proc p, aclexplode(proacl) a WHERE a.grantee = '"Regress ""kms"" role"'::regrole;
-- A kind that is made of two others is not taken for one of its own.
SELECT kms.grant_role('"Regress ""kms"" role"', kind) FROM unnest(ARRAY['writer', 'key_admin']) kind;
SELECT kms.revoke_role('"Regress ""kms"" role"', kind) FROM unnest(ARRAY['key_admin', 'writer']) kind;
SELECT count(*) FROM pg_proc p, aclexplode(proacl) a WHERE a.grantee = '"Regress ""kms"" role"'::regrole;
SELECT count(*) FROM pg_class c, aclexplode(relacl) a WHERE a.grantee = '"Regress ""kms"" role"'::regrole;
-- Nothing is given on that somebody has put beside the extension's own, and nothing may be given on.
CREATE FUNCTION kms.encode(int, person) RETURNS text LANGUAGE sql AS 'SELECT NULL::text';
REVOKE ALL ON FUNCTION kms.encode(int, person) FROM PUBLIC;
SELECT kms.grant_role('regress_kms_app', 'writer');
SELECT has_function_privilege('regress_kms_app', 'kms.encode(int, person)', 'EXECUTE'), count(*) FILTER (WHERE is_grantable)
FROM pg_proc p, aclexplode(proacl) a WHERE a.grantee = 'regress_kms_app'::regrole;
DROP FUNCTION kms.encode(int, person);

-- What cannot be.
\set SHOW_CONTEXT never
SELECT kms.grant_role('regress_kms_app', 'owner');
SELECT kms.grant_role('regress_kms_app', NULL);
SELECT kms.grant_role(NULL, 'reader');
SELECT kms.grant_role('public', 'reader');
SELECT kms.grant_role('-', 'reader');
SELECT kms.grant_role(4294967295::oid::regrole, 'reader');
SELECT kms.revoke_role('regress_kms_app', '');
-- Who is given the function alone gives nothing away.
GRANT EXECUTE ON FUNCTION kms.grant_role, kms.revoke_role TO regress_kms_app;
SET ROLE regress_kms_app;
\set VERBOSITY sqlstate
SELECT kms.grant_role('regress_kms_app', 'reader');
RESET ROLE;

DROP TABLE person;
SELECT kms.blob_delete(:'blob') AND count(*) >= 0 FROM (SELECT kms.blob_delete(id) FROM kms.blob) b;
DROP OWNED BY regress_kms_app, "Regress ""kms"" role";
DROP ROLE regress_kms_app, "Regress ""kms"" role";
