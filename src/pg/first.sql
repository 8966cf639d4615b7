-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION kms" to load this file. \quit

-- Nothing of anybody else's is found by a name here.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Whoever owns the schema can put functions beside ours, which would be called with plaintexts; and
-- so can whoever could create something in it before. A dump brings the schema empty.
DO $$
DECLARE
    owner pg_roles;
    others text;
BEGIN
    SELECT * INTO owner FROM pg_roles
    WHERE oid = (SELECT nspowner FROM pg_namespace WHERE nspname = 'kms');
    IF NOT owner.rolsuper THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('schema "kms" belongs to %s, who is not a superuser', owner.rolname),
            HINT = 'Drop it where it is empty, and CREATE EXTENSION makes its own. A dump of such an owner is restored by pg_restore -O, into an empty database.';
    END IF;
    SELECT string_agg(pg_describe_object(classid, objid, objsubid), ', ' ORDER BY classid, objid)
    INTO others FROM pg_depend
    WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'kms'::regnamespace
        AND (classid, objid)
            <> ('pg_extension'::regclass, (SELECT oid FROM pg_extension WHERE extname = 'kms'));
    IF others IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = 'schema "kms" is not empty', DETAIL = format('It holds %s.', others),
            HINT = 'Move that elsewhere, and drop the schema: CREATE EXTENSION makes its own.';
    END IF;
END $$;

-- What triggers, event triggers and the planner call, and nobody by hand: out of reach of
-- GRANT ... ON ALL FUNCTIONS IN SCHEMA kms, and of whoever may use that schema. Nobody needs USAGE of
-- it. Triggers on users' tables name keep_in_step, and dumps with them: that name stays.
CREATE SCHEMA kms_internal;

-- Nothing is STRICT: only data may be NULL. Nothing that touches a key is IMMUTABLE, so that the
-- planner never folds a secret into a plan.
