-- The extension as a whole: made without preloading, nothing for PUBLIC, nothing folded by the planner.
LOAD 'kms';
SELECT extversion, extnamespace::regnamespace, extrelocatable FROM pg_extension WHERE extname = 'kms';

SELECT count(*) > 20 AS has_functions FROM pg_proc WHERE pronamespace = 'kms'::regnamespace;

-- No function is executable by PUBLIC.
SELECT p.oid::regprocedure
FROM pg_proc p, LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE p.pronamespace IN ('kms'::regnamespace, 'kms_internal'::regnamespace) AND a.grantee = 0;

SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kms_nobody;
RESET client_min_messages;
CREATE ROLE regress_kms_nobody;
SET ROLE regress_kms_nobody;
\set VERBOSITY sqlstate
SELECT kms.encode(1, 'x');
SHOW kms.command;
SET kms.command = 'true';
SET kms.mode = 'remote';
SET kms.keys = '1=mine';
SHOW kms.keys;
RESET kms.keys;
\set VERBOSITY default
RESET ROLE;

-- None is STRICT, and none that touches a key is IMMUTABLE.
SELECT proname FROM pg_proc WHERE pronamespace IN ('kms'::regnamespace, 'kms_internal'::regnamespace) AND proisstrict;
SELECT proname FROM pg_proc WHERE pronamespace = 'kms'::regnamespace AND provolatile = 'i' ORDER BY 1;

-- What triggers, event triggers and the planner call is out of reach of a GRANT on all functions of
-- the schema kms, and nothing else is in a schema of its own.
SELECT oid::regprocedure, prorettype::regtype FROM pg_proc
WHERE pronamespace = 'kms'::regnamespace AND ('internal'::regtype = ANY (proargtypes)
    OR 'pg_ddl_command'::regtype = ANY (proargtypes)
    OR prorettype IN ('internal'::regtype, 'trigger'::regtype, 'event_trigger'::regtype));
SELECT oid::regprocedure, prorettype::regtype FROM pg_proc
WHERE pronamespace = 'kms_internal'::regnamespace ORDER BY proname;
SELECT r.rolname FROM pg_roles r
WHERE NOT r.rolsuper AND r.rolname !~ '^pg_' AND has_schema_privilege(r.oid, 'kms_internal', 'USAGE');
SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid = 'pg_namespace'::regclass;

-- Values may be made and read by parallel workers; session_keys and status are their leader's.
SELECT proname, provolatile, proparallel FROM pg_proc
WHERE pronamespace = 'kms'::regnamespace GROUP BY 1, 2, 3 ORDER BY 1;

-- Each function, view and table says what it is for.
SELECT p.oid::regprocedure FROM pg_proc p WHERE pronamespace = 'kms'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL;
SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'kms'::regnamespace AND relkind IN ('r', 'v') AND obj_description(oid, 'pg_class') IS NULL;
SELECT name FROM pg_settings WHERE name LIKE 'kms.%' AND coalesce(short_desc, '') = '';

-- Arguments are named in declarations and calls: by no word that is a keyword of some version.
SELECT DISTINCT word FROM pg_proc, unnest(proargnames) word
WHERE pronamespace IN ('kms'::regnamespace, 'kms_internal'::regnamespace)
    AND (word IN (SELECT k.word FROM pg_get_keywords() k WHERE catcode IN ('C', 'R'))
        OR word IN ('json', 'json_exists', 'json_query', 'json_scalar', 'json_serialize', 'json_table',
            'json_value', 'merge_action', 'graph_table'));

-- Settings and what they stand at by themselves.
SELECT name, boot_val, unit, context, vartype FROM pg_settings WHERE name LIKE 'kms.%' ORDER BY name;
\set VERBOSITY sqlstate
SET kms.start_timeout = 0;
SET kms.cache_ttl = -2;
\set VERBOSITY default
SET kms.mode = 'envelope';
\echo :LAST_ERROR_SQLSTATE
SHOW kms.mode;
DROP ROLE regress_kms_nobody;
