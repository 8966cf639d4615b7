-- The extension as a whole: made without preloading, nothing for PUBLIC, nothing folded by the planner.
LOAD 'kms';
SELECT extversion, extnamespace::regnamespace, extrelocatable FROM pg_extension WHERE extname = 'kms';

SELECT count(*) > 20 AS has_functions FROM pg_proc WHERE pronamespace = 'kms'::regnamespace;

-- No function is executable by PUBLIC.
SELECT p.oid::regprocedure
FROM pg_proc p, LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE p.pronamespace = 'kms'::regnamespace AND a.grantee = 0;

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
SELECT proname FROM pg_proc WHERE pronamespace = 'kms'::regnamespace AND proisstrict;
SELECT proname FROM pg_proc WHERE pronamespace = 'kms'::regnamespace AND provolatile = 'i' ORDER BY 1;

-- Values may be made and read by parallel workers; session_keys and status are their leader's.
SELECT proname, provolatile, proparallel FROM pg_proc
WHERE pronamespace = 'kms'::regnamespace GROUP BY 1, 2, 3 ORDER BY 1;

-- Settings and what they stand at by themselves.
SELECT name, boot_val, unit, context, vartype FROM pg_settings WHERE name LIKE 'kms.%' ORDER BY name;
\set VERBOSITY sqlstate
SET kms.start_timeout = 0;
SET kms.cache_ttl = -1;
\set VERBOSITY default
SET kms.mode = 'envelope';
\echo :LAST_ERROR_SQLSTATE
SHOW kms.mode;
DROP ROLE regress_kms_nobody;
