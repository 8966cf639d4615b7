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

-- Data keys of envelope mode, wrapped by a KEK that stays with the agent. The newest version of a key
-- is the current one, whatever its state.
CREATE TABLE kms.data_key (
    name bytea NOT NULL CHECK (length(name) BETWEEN 1 AND 1024),
    version int NOT NULL CHECK (version > 0),
    algorithm text NOT NULL,
    key_tag bytea NOT NULL UNIQUE CHECK (length(key_tag) = 8),
    state text NOT NULL DEFAULT 'enabled' CHECK (state IN ('enabled', 'disabled', 'destroyed')),
    created timestamptz NOT NULL DEFAULT now(),
    kek bytea NOT NULL CHECK (length(kek) BETWEEN 1 AND 1024),
    kek_version int NOT NULL CHECK (kek_version > 0),
    wrapped bytea,  -- NULL once destroyed
    -- A second wrapped form, for as long as the KEK version of the first may not be known everywhere.
    kek_version_before int CHECK (kek_version_before > 0),
    wrapped_before bytea,
    -- The first KEK version that has wrapped it: a backup may hold that form.
    kek_version_first int NOT NULL CHECK (kek_version_first > 0),
    PRIMARY KEY (name, version),
    CHECK ((wrapped IS NULL) = (state = 'destroyed')),
    CHECK ((wrapped_before IS NULL) = (kek_version_before IS NULL))
);

CREATE FUNCTION kms_internal.data_key_changed()
RETURNS trigger LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'kms_data_key_changed';

-- A dump of another database may bring another key of the same name: rows that were sealed under the
-- one would be taken for those of the other.
CREATE FUNCTION kms_internal.refuse_other_key()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM kms.data_key d WHERE d.name = NEW.name AND d.version = NEW.version AND d.key_tag <> NEW.key_tag) THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('version %s of data key "%s" is another key here', NEW.version, encode(NEW.name, 'escape')),
            DETAIL = 'Values of both cannot be told apart by the name.',
            HINT = 'Restore it into a database that has no data key of that name.';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER same_key BEFORE INSERT ON kms.data_key
FOR EACH ROW EXECUTE FUNCTION kms_internal.refuse_other_key();

-- Sessions that hold keys of the table look again. For each row, since a subscription's worker fires
-- no trigger that is for each statement.
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON kms.data_key
FOR EACH ROW EXECUTE FUNCTION kms_internal.data_key_changed();
ALTER TABLE kms.data_key ENABLE ALWAYS TRIGGER changed;
CREATE TRIGGER emptied AFTER TRUNCATE ON kms.data_key
FOR EACH STATEMENT EXECUTE FUNCTION kms_internal.data_key_changed();
ALTER TABLE kms.data_key ENABLE ALWAYS TRIGGER emptied;

SELECT pg_catalog.pg_extension_config_dump('kms.data_key', '');

-- Columns that hold values of a key. The names are those that a dump brings elsewhere: here a column
-- is known by its number.
CREATE TABLE kms.registered_column (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    relation_schema name NOT NULL,
    relation_name name NOT NULL,
    column_name name NOT NULL,
    key_identifier bytea CHECK (length(key_identifier) BETWEEN 1 AND 1024),
    key_expression text,  -- over the columns of the row, where each row names its key
    context_expression text,  -- over the columns of the row; NULL: the empty context
    broken text,  -- why one of the expressions no longer says what it did; NULL: they do
    registered timestamptz NOT NULL DEFAULT now(),
    -- What values were sealed under before reencrypt moved them, or while it does.
    was_key_identifier bytea CHECK (length(was_key_identifier) BETWEEN 1 AND 1024),
    was_context_expression text,
    is_moving bool NOT NULL DEFAULT false,
    CONSTRAINT registered_column_one_key CHECK ((key_identifier IS NULL) <> (key_expression IS NULL))
);

-- Not unique: names change places, and are brought up to date one by one.
CREATE INDEX registered_column_names ON kms.registered_column (relation_schema, relation_name, column_name);

SELECT pg_catalog.pg_extension_config_dump('kms.registered_column', '');

-- What had these names when they were registered, or restored: that is what is meant, whatever it is
-- called since. Not dumped, since another database has other numbers.
CREATE TABLE kms.registered_place (
    id uuid PRIMARY KEY,
    relation oid NOT NULL,
    attribute smallint NOT NULL,
    context_names name[] NOT NULL,  -- the columns that the expressions use, as they have them
    context_attributes smallint[] NOT NULL,
    context_types text[] NOT NULL,
    CONSTRAINT registered_place_at UNIQUE (relation, attribute)
);

-- What both say is evaluated in the name of a table's owner, so a privilege on them is not enough, nor
-- is pg_write_all_data: who writes them could switch this off, too, or is a function of the owner's.
CREATE FUNCTION kms_internal.guard_registry()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT pg_has_role((SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE') THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('permission denied to write %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME),
            DETAIL = 'What is registered is evaluated in the name of tables'' owners.',
            HINT = 'Owners of tables call kms.register_column() and kms.unregister_column(); a superuser restores it.';
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;

CREATE TRIGGER guarded BEFORE INSERT OR UPDATE OR DELETE ON kms.registered_column
FOR EACH ROW EXECUTE FUNCTION kms_internal.guard_registry();
CREATE TRIGGER guarded_all BEFORE TRUNCATE ON kms.registered_column
FOR EACH STATEMENT EXECUTE FUNCTION kms_internal.guard_registry();
ALTER TABLE kms.registered_column ENABLE ALWAYS TRIGGER guarded, ENABLE ALWAYS TRIGGER guarded_all;

CREATE TRIGGER guarded BEFORE INSERT OR UPDATE OR DELETE ON kms.registered_place
FOR EACH ROW EXECUTE FUNCTION kms_internal.guard_registry();
CREATE TRIGGER guarded_all BEFORE TRUNCATE ON kms.registered_place
FOR EACH STATEMENT EXECUTE FUNCTION kms_internal.guard_registry();
ALTER TABLE kms.registered_place ENABLE ALWAYS TRIGGER guarded, ENABLE ALWAYS TRIGGER guarded_all;

-- The next two read an expression as the raw parser does, which looks up nothing and evaluates nothing.
CREATE FUNCTION kms_internal.context_columns(context_expression text)
RETURNS name[] LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_context_columns';

-- Whether the command has given a function, type, schema, label or attribute that the expression names
-- another name.
CREATE FUNCTION kms_internal.names_renamed(context_expression text, command pg_ddl_command)
RETURNS bool LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_names_renamed';

CREATE FUNCTION kms_internal.is_subscription()
RETURNS bool LANGUAGE sql VOLATILE
RETURN EXISTS (SELECT FROM pg_catalog.pg_stat_subscription WHERE pid = pg_catalog.pg_backend_pid());

-- Where things are is each database's own: a subscription of all tables brings the publisher's numbers.
CREATE FUNCTION kms_internal.keep_numbers()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_trigger_depth() = 1 AND kms_internal.is_subscription() THEN
        RETURN NULL;  -- what comes behind this one is written by triggers of what has arrived
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;

CREATE TRIGGER own_numbers BEFORE INSERT OR UPDATE OR DELETE ON kms.registered_place
FOR EACH ROW EXECUTE FUNCTION kms_internal.keep_numbers();
ALTER TABLE kms.registered_place ENABLE ALWAYS TRIGGER own_numbers;

-- Whether the command has given a label of an enum, of which values of the type may hold some, another
-- name.
CREATE FUNCTION kms_internal.label_renamed(type oid, command pg_ddl_command)
RETURNS bool LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_label_renamed';

-- The tables that the command has taken out of others, as DETACH PARTITION and NO INHERIT do.
CREATE FUNCTION kms_internal.left_parents(command pg_ddl_command, OUT child oid, OUT parent oid)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'kms_left_parents';

-- What a context is made of: by number, since a type and its schema may get other names.
CREATE FUNCTION kms_internal.context_type(type oid, modifier int, of_collation oid)
RETURNS text LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_context_type';

-- The columns that the key and the contexts use. An expression that does not parse must not keep out its row.
CREATE FUNCTION kms_internal.noted_context(
    registered kms.registered_column, relation oid, OUT names name[], OUT attributes smallint[], OUT types text[])
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    used name[] := '{}';
BEGIN
    BEGIN
        used := kms_internal.context_columns(registered.context_expression)
            || kms_internal.context_columns(registered.was_context_expression)
            || kms_internal.context_columns(registered.key_expression);
    EXCEPTION WHEN OTHERS THEN
        used := '{}';
    END;
    SELECT coalesce(array_agg(attname), '{}'), coalesce(array_agg(attnum), '{}'),
        coalesce(array_agg(kms_internal.context_type(atttypid, atttypmod, attcollation)), '{}')
    INTO names, attributes, types
    FROM pg_attribute WHERE attrelid = noted_context.relation AND attname = ANY (used);
END $$;

-- What has the names of a registered column now.
CREATE FUNCTION kms_internal.column_named(registered kms.registered_column, OUT relation oid, OUT attribute smallint)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT a.attrelid, a.attnum
FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = (registered).relation_schema AND c.relname = (registered).relation_name
    AND c.relkind IN ('r', 'p') AND a.attname = (registered).column_name
$$;

-- That the registered column is what has the names. A table that is missing after a restore must not
-- keep out the rows of the others, nor a second registration of one column, which has the name of
-- before in a dump that was taken in between: false, and it is nowhere.
CREATE FUNCTION kms_internal.note_place(registered kms.registered_column)
RETURNS bool LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO kms.registered_place
    SELECT registered.id, named.relation, named.attribute, used.*
    FROM kms_internal.column_named(registered) named
        CROSS JOIN LATERAL kms_internal.noted_context(registered, named.relation) used;
    RETURN true;
EXCEPTION WHEN unique_violation THEN
    RETURN false;
END $$;

-- The same for a command of somebody else's, which waits for nobody: NULL where another session is
-- registering what has the names.
CREATE FUNCTION kms_internal.note_place_now(registered kms.registered_column)
RETURNS bool LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '10ms' AS $$
BEGIN
    RETURN kms_internal.note_place(registered);
EXCEPTION WHEN lock_not_available THEN
    RETURN NULL;
END $$;

-- A column that is noted stays the one that is meant, and so do those of its expressions until these
-- change, which are then over the columns that have the names now.
CREATE FUNCTION kms_internal.keep_place()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM kms.registered_place;
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM kms.registered_place p WHERE p.id = OLD.id;
    ELSIF TG_OP = 'INSERT' OR NOT EXISTS (SELECT FROM kms.registered_place p WHERE p.id = NEW.id) THEN
        IF NOT kms_internal.note_place(NEW) AND NOT kms_internal.is_subscription() THEN
            RAISE WARNING USING
                MESSAGE = format('%I.%I.%I is registered already', NEW.relation_schema, NEW.relation_name, NEW.column_name),
                DETAIL = 'Another registration of it is of no effect, and no key version can be retired while there is one.',
                HINT = 'kms.unregister_column() takes back the one that is of effect, kms.forget_column() those that are not.';
        END IF;
    ELSIF (NEW.context_expression, NEW.was_context_expression, NEW.key_expression)
            IS DISTINCT FROM (OLD.context_expression, OLD.was_context_expression, OLD.key_expression) THEN
        UPDATE kms.registered_place p SET (context_names, context_attributes, context_types)
            = (SELECT used.* FROM kms_internal.noted_context(NEW, p.relation) used)
        WHERE p.id = NEW.id;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER placed AFTER INSERT OR UPDATE OR DELETE ON kms.registered_column
FOR EACH ROW EXECUTE FUNCTION kms_internal.keep_place();
CREATE TRIGGER placed_all AFTER TRUNCATE ON kms.registered_column
FOR EACH STATEMENT EXECUTE FUNCTION kms_internal.keep_place();
ALTER TABLE kms.registered_column ENABLE ALWAYS TRIGGER placed, ENABLE ALWAYS TRIGGER placed_all;

CREATE FUNCTION kms.register_column(
    relation regclass, column_name name, key_identifier text DEFAULT NULL,
    context_expression text DEFAULT NULL, key_expression text DEFAULT NULL)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_register_column';

CREATE FUNCTION kms.register_column(
    relation regclass, column_name name, key_identifier bytea,
    context_expression text DEFAULT NULL)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_register_column';

CREATE FUNCTION kms.unregister_column(relation regclass, column_name name)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_unregister_column';

CREATE FUNCTION kms.forget_column(full_name text)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_forget_column';

CREATE FUNCTION kms.registered_columns(
    OUT relation regclass, OUT column_name name, OUT key_identifier text, OUT key_expression text,
    OUT context_expression text, OUT registered timestamptz, OUT full_name text,
    OUT was_key_identifier text, OUT was_context_expression text, OUT is_moving bool,
    OUT broken text)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'kms_registered_columns';

CREATE VIEW kms.registered_columns AS SELECT * FROM kms.registered_columns();

-- What is registered of columns that are gone, or differently from what it is today: which version of
-- its row says so, and what it is.
CREATE FUNCTION kms_internal.stale_registrations(
    OUT id uuid, OUT version tid, OUT writer xid, OUT relation oid, OUT is_gone bool,
    OUT relation_schema name, OUT relation_name name, OUT column_name name, OUT context_expression text,
    OUT was_context_expression text, OUT key_expression text, OUT broken text, OUT context_names name[])
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_stale_registrations';

-- Whether the catalogs themselves say so, in a snapshot of this moment.
CREATE FUNCTION kms_internal.is_so_today(
    place kms.registered_place, is_gone bool, relation_schema name, relation_name name, column_name name,
    context_names name[], is_broken bool)
RETURNS bool LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF is_gone THEN
        RETURN NOT EXISTS (
            SELECT FROM pg_attribute a WHERE a.attrelid = place.relation AND a.attnum = place.attribute AND NOT a.attisdropped);
    END IF;
    RETURN EXISTS (
            SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = place.attribute
            WHERE c.oid = place.relation AND n.nspname = relation_schema AND c.relname = relation_name
                AND a.attname = column_name)
        AND NOT EXISTS (
            SELECT FROM unnest(context_names, place.context_attributes) u (name, attribute)
                JOIN pg_attribute b ON b.attrelid = place.relation AND b.attnum = u.attribute
            WHERE b.attname <> u.name)
        AND (NOT is_broken OR EXISTS (
            SELECT FROM unnest(place.context_names, place.context_attributes, place.context_types) u (name, attribute, type)
                JOIN pg_attribute b ON b.attrelid = place.relation AND b.attnum = u.attribute
            WHERE b.attisdropped OR b.attname <> u.name
                OR kms_internal.context_type(b.atttypid, b.atttypmod, b.attcollation) <> u.type));
END $$;

-- Brings the names up to date, which a dump is to hold: whatever uses what is registered does so by
-- number. Looks at what there is, and not at the command, of which there are many that rename.
-- Nothing of a user's is evaluated, and nobody's command fails because of this, or waits for
-- another's: what another session changes, the next command follows. A registration is forgotten only
-- with its column.
CREATE FUNCTION kms_internal.follow_rename()
RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET jit = off AS $$
DECLARE
    shown CONSTANT int := 20;
    unnoted record;
    today record;
    registered kms.registered_column;
    place kms.registered_place;
    forgotten text[] := '{}';
    is_late bool := false;
    departed record;
    other record;
BEGIN
    IF NOT EXISTS (SELECT FROM kms.registered_column) THEN
        RETURN;
    END IF;
    -- Of what is nowhere only what can be noted by now: a row that is locked here stays so until the
    -- command's transaction ends, whoever's it is.
    FOR unnoted IN
        SELECT r.id FROM kms.registered_column r
        WHERE NOT EXISTS (SELECT FROM kms.registered_place p WHERE p.id = r.id)
            AND EXISTS (
                SELECT FROM kms_internal.column_named(r) named
                WHERE NOT EXISTS (
                    SELECT FROM kms.registered_place q
                    WHERE q.relation = named.relation AND q.attribute = named.attribute))
    LOOP
        SELECT r.* INTO registered FROM kms.registered_column r WHERE r.id = unnoted.id FOR UPDATE SKIP LOCKED;
        is_late := is_late OR NOT FOUND;
        CONTINUE WHEN NOT FOUND;
        is_late := is_late OR kms_internal.note_place_now(registered) IS NULL;
    END LOOP;
    FOR today IN SELECT * FROM kms_internal.stale_registrations() LOOP
        SELECT r.* INTO registered FROM kms.registered_column r
        WHERE r.id = today.id AND r.ctid = today.version AND r.xmin = today.writer
        FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            is_late := is_late OR today.is_gone OR EXISTS (
                SELECT FROM pg_event_trigger_ddl_commands() d
                WHERE d.objid IN (today.relation, to_regnamespace(quote_ident(today.relation_schema))));
            CONTINUE;
        END IF;
        SELECT p.* INTO place FROM kms.registered_place p WHERE p.id = today.id;
        -- What a session remembers of the catalogs may be older than what it has read here: the next
        -- command looks again.
        CONTINUE WHEN NOT FOUND OR NOT kms_internal.is_so_today(place, today.is_gone, today.relation_schema,
            today.relation_name, today.column_name, today.context_names,
            today.broken IS DISTINCT FROM registered.broken);
        IF today.is_gone THEN
            DELETE FROM kms.registered_column r WHERE r.id = today.id;
            forgotten := forgotten
                || format('%I.%I.%I', today.relation_schema, today.relation_name, today.column_name);
        ELSE
            UPDATE kms.registered_column r
            SET (relation_schema, relation_name, column_name, context_expression, was_context_expression, key_expression,
                broken)
                = (today.relation_schema, today.relation_name, today.column_name, today.context_expression,
                    today.was_context_expression, today.key_expression, today.broken)
            WHERE r.id = today.id;
            -- These are the same columns still.
            UPDATE kms.registered_place p SET (context_names, context_attributes, context_types)
                = (today.context_names, place.context_attributes, place.context_types)
            WHERE p.id = today.id;
            IF today.broken IS DISTINCT FROM registered.broken THEN
                RAISE WARNING USING
                    MESSAGE = format('the %s of %I.%I.%I is not used any more',
                        CASE WHEN today.key_expression IS NULL THEN 'context expression' ELSE 'key or context expression' END,
                        today.relation_schema, today.relation_name, today.column_name),
                    DETAIL = today.broken,
                    HINT = 'Until the column is registered anew no key version can be retired.';
            END IF;
        END IF;
    END LOOP;
    IF is_late THEN
        RAISE WARNING USING
            MESSAGE = 'kms could not follow a rename or a drop of a registered column yet',
            DETAIL = 'Another session holds its registration: the next command after it follows.',
            HINT = 'Until then a dump holds the names of before.';
    END IF;
    IF forgotten <> '{}' THEN
        RAISE WARNING USING  -- for the log: pg_restore shows nothing of it
            MESSAGE = 'kms has forgotten registered columns that were dropped',
            DETAIL = array_to_string(forgotten[:shown], E'\n')
                || CASE WHEN cardinality(forgotten) > shown
                    THEN format(E'\nand %s more', cardinality(forgotten) - shown) ELSE '' END,
            HINT = 'Where another table has their values now, register its column with kms.register_column().';
    END IF;
    FOR other IN
        SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname) AS name, i.inhparent::regclass AS parent
        FROM kms.registered_place p
            JOIN pg_class c ON c.oid = p.relation AND c.relispartition
            JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.attribute
            JOIN pg_inherits i ON i.inhrelid = c.oid
        WHERE EXISTS (SELECT FROM pg_event_trigger_ddl_commands() d WHERE d.objid = i.inhparent)
            AND NOT EXISTS (
                SELECT FROM pg_partition_ancestors(c.oid) u
                    JOIN pg_attribute b ON b.attrelid = u.relid AND b.attname = a.attname
                    JOIN kms.registered_place q ON q.relation = b.attrelid AND q.attribute = b.attnum
                WHERE q.id <> p.id)
        ORDER BY 1
    LOOP
        RAISE WARNING USING
            MESSAGE = format('the table of registered column %s is a partition now', other.name),
            DETAIL = format('What other partitions of %s hold is not registered, and no key version can be retired.',
                other.parent),
            HINT = 'Register the column of the table that all are partitions of, and take this registration back.';
    END LOOP;
    FOR other IN
        SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname) AS name, format_type(a.atttypid, a.atttypmod) AS type
        FROM kms.registered_place p
            JOIN pg_class c ON c.oid = p.relation
            JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.attribute AND NOT a.attisdropped
        WHERE EXISTS (SELECT FROM pg_event_trigger_ddl_commands() d WHERE d.objid = c.oid AND d.command_tag = 'ALTER TABLE')
            AND 'bytea'::regtype NOT IN (
                WITH RECURSIVE made_of (type, base) AS (
                    SELECT t.oid, t.typbasetype FROM pg_type t WHERE t.oid = a.atttypid
                    UNION SELECT t.oid, t.typbasetype FROM made_of m JOIN pg_type t ON t.oid = m.base
                )
                SELECT type FROM made_of)
        ORDER BY 1
    LOOP
        RAISE WARNING USING
            MESSAGE = format('registered column %s is of type %s now', other.name, other.type),
            DETAIL = 'What it holds is not counted, and no key version can be retired.',
            HINT = 'Give it the type bytea again, or take it back with kms.unregister_column() where it holds nothing that needs a key.';
    END LOOP;
    FOR departed IN
        SELECT l.child, l.parent
        FROM pg_event_trigger_ddl_commands() d CROSS JOIN LATERAL kms_internal.left_parents(d.command) l
    LOOP
        FOR other IN
            WITH RECURSIVE above (relation) AS (
                SELECT departed.parent
                UNION SELECT i.inhparent FROM above a JOIN pg_inherits i ON i.inhrelid = a.relation
            )
            SELECT a.relation::regclass AS parent, b.attname
            FROM above a
                JOIN kms.registered_place q ON q.relation = a.relation
                JOIN pg_attribute p ON p.attrelid = q.relation AND p.attnum = q.attribute
                JOIN pg_attribute b ON b.attrelid = departed.child AND b.attname = p.attname
            WHERE NOT EXISTS (
                SELECT FROM kms.registered_place o WHERE o.relation = departed.child AND o.attribute = b.attnum)
            ORDER BY 1, 2
        LOOP
            RAISE WARNING USING
                MESSAGE = format('table %s is no part of %s any more, whose column %I is registered',
                    departed.child::regclass, other.parent, other.attname),
                DETAIL = 'What it holds is not counted: a key version may be retired that its values need. A trigger that kept columns in step went with the parent.',
                HINT = 'Register its column with kms.register_column(). Where columns were kept in step, set the new one to NULL in rows that change before the table is attached again.';
        END LOOP;
    END LOOP;
    FOR other IN
        SELECT r.*, d.object_identity
        FROM kms.registered_column r LEFT JOIN kms.registered_place p USING (id)
            JOIN pg_event_trigger_ddl_commands() d ON d.objid IS DISTINCT FROM p.relation
        WHERE r.broken IS NULL
            AND (kms_internal.names_renamed(r.context_expression, d.command)
                OR kms_internal.names_renamed(r.was_context_expression, d.command)
                OR kms_internal.names_renamed(r.key_expression, d.command)
                OR d.command_tag = 'ALTER TYPE' AND EXISTS (
                    SELECT FROM pg_attribute b
                    WHERE b.attrelid = p.relation AND b.attnum = ANY (p.context_attributes)
                        AND NOT b.attisdropped AND kms_internal.label_renamed(b.atttypid, d.command)))
        ORDER BY r.relation_schema, r.relation_name, r.column_name
    LOOP
        RAISE WARNING USING
            MESSAGE = format('the %s of %I.%I.%I names what has been renamed',
                CASE WHEN other.key_expression IS NULL THEN 'context expression' ELSE 'key or context expression' END,
                other.relation_schema, other.relation_name, other.column_name),
            DETAIL = format('It may use what is %s now.', other.object_identity),
            HINT = 'Undo it, or register the column anew: the next use of the expression is an error, or gives others.';
    END LOOP;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING USING
        MESSAGE = 'kms could not follow a rename or a drop of a registered column yet', DETAIL = SQLERRM;
END $$;

CREATE EVENT TRIGGER kms_follow_rename ON ddl_command_end
EXECUTE FUNCTION kms_internal.follow_rename();
ALTER EVENT TRIGGER kms_follow_rename ENABLE ALWAYS;

-- What a column's values are sealed under

CREATE FUNCTION kms.census(
    relation regclass, column_name name, OUT key_identifier text, OUT version int,
    OUT key_tag bytea, OUT suite int, OUT rows bigint, OUT bytes bigint)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_census';

CREATE FUNCTION kms.key_age(
    OUT key_identifier text, OUT version int, OUT created timestamptz, OUT age interval,
    OUT rows bigint)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_key_age';

-- Bindings

CREATE FUNCTION kms.set_key(local_id int, key_identifier text, is_local bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_set_key';

CREATE FUNCTION kms.set_key(local_id int, key_identifier bytea, is_local bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_set_key';

CREATE FUNCTION kms.unset_key(local_id int)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_unset_key';

CREATE FUNCTION kms.session_keys(
    OUT local_id int, OUT key_identifier text, OUT mode text, OUT version int, OUT key_tag bytea,
    OUT algorithm text, OUT fetched_at timestamptz, OUT expires_at timestamptz)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'kms_session_keys';

CREATE VIEW kms.session_keys AS SELECT * FROM kms.session_keys();

-- Values

-- What the calls below cost in the session's mode, for the planner.
CREATE FUNCTION kms_internal.cost_support(internal)
RETURNS internal LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_cost_support';

CREATE FUNCTION kms.encode(local_id int, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode';

CREATE FUNCTION kms.encode(local_id int, data text, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode';

CREATE FUNCTION kms.encode(local_id int, data anynonarray, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_value';

CREATE FUNCTION kms.decode(local_id int, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode';

CREATE FUNCTION kms.decode_text(local_id int, data bytea, context bytea DEFAULT '')
RETURNS text LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_text';

-- A domain's CHECK runs in it.
CREATE FUNCTION kms.decode_as(local_id int, data bytea, as_type anyelement, context bytea DEFAULT '')
RETURNS anyelement LANGUAGE C STABLE PARALLEL RESTRICTED SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_as';

CREATE FUNCTION kms.try_decode(local_id int, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_try_decode';

CREATE FUNCTION kms.try_decode_text(local_id int, data bytea, context bytea DEFAULT '')
RETURNS text LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_try_decode_text';

CREATE FUNCTION kms.is_sealed(data bytea, local_id int, context bytea DEFAULT '')
RETURNS bool LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_is_sealed';

CREATE FUNCTION kms.looks_sealed(data bytea)
RETURNS bool LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_looks_sealed';

CREATE FUNCTION kms.recode(from_id int, to_id int, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_recode';

CREATE FUNCTION kms.inspect(
    data bytea, OUT suite int, OUT key_tag bytea, OUT nonce bytea, OUT plaintext_length int)
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_inspect';

-- Searches: what a query compares a stored column with

CREATE FUNCTION kms.encode_all(
    local_id int, data bytea, context bytea DEFAULT '', skip_disabled bool DEFAULT false)
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_all';

CREATE FUNCTION kms.encode_all(
    local_id int, data text, context bytea DEFAULT '', skip_disabled bool DEFAULT false)
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_all';

CREATE FUNCTION kms.blind_index(local_id int, data bytea, bits int DEFAULT 64, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_blind_index';

CREATE FUNCTION kms.blind_index(local_id int, data text, bits int DEFAULT 64, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_blind_index';

CREATE FUNCTION kms.blind_indexes(local_id int, data bytea, bits int DEFAULT 64, context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_blind_indexes';

CREATE FUNCTION kms.blind_indexes(local_id int, data text, bits int DEFAULT 64, context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_blind_indexes';

-- Many values at once

CREATE FUNCTION kms.encode_array(local_id int, data bytea[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_array';

CREATE FUNCTION kms.encode_array(local_id int, data bytea[], contexts bytea[])
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_array_contexts';

CREATE FUNCTION kms.encode_array(local_id int, data text[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_array';

CREATE FUNCTION kms.encode_array(local_id int, data text[], contexts bytea[])
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_array_contexts';

CREATE FUNCTION kms.decode_array(local_id int, data bytea[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_array';

CREATE FUNCTION kms.decode_array(local_id int, data bytea[], contexts bytea[])
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_array_contexts';

CREATE FUNCTION kms.decode_text_array(local_id int, data bytea[], context bytea DEFAULT '')
RETURNS text[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_text_array';

CREATE FUNCTION kms.decode_text_array(local_id int, data bytea[], contexts bytea[])
RETURNS text[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_text_array_contexts';

-- Values whose keys are named a row

CREATE FUNCTION kms.encode_with(key_identifier text, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with';

CREATE FUNCTION kms.encode_with(key_identifier text, data text, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with';

CREATE FUNCTION kms.encode_with(key_identifier bytea, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with';

CREATE FUNCTION kms.encode_with(key_identifier bytea, data text, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with';

CREATE FUNCTION kms.decode_with(key_identifier text, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with';

CREATE FUNCTION kms.decode_with_text(key_identifier text, data bytea, context bytea DEFAULT '')
RETURNS text LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_text';

CREATE FUNCTION kms.try_decode_with(key_identifier text, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_try_decode_with';

CREATE FUNCTION kms.try_decode_with(key_identifier bytea, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_try_decode_with';

CREATE FUNCTION kms.try_decode_with_text(key_identifier text, data bytea, context bytea DEFAULT '')
RETURNS text LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_try_decode_with_text';

CREATE FUNCTION kms.try_decode_with_text(key_identifier bytea, data bytea, context bytea DEFAULT '')
RETURNS text LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_try_decode_with_text';

CREATE FUNCTION kms.recode_with(key_identifier text, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_recode_with';

CREATE FUNCTION kms.decode_with(key_identifier bytea, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with';

CREATE FUNCTION kms.decode_with_text(key_identifier bytea, data bytea, context bytea DEFAULT '')
RETURNS text LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_text';

CREATE FUNCTION kms.recode_with(key_identifier bytea, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_recode_with';

CREATE FUNCTION kms.encode_with_array(key_identifiers text[], data bytea[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array';

CREATE FUNCTION kms.encode_with_array(key_identifiers text[], data bytea[], contexts bytea[])
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array_contexts';

CREATE FUNCTION kms.encode_with_array(key_identifiers text[], data text[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array';

CREATE FUNCTION kms.encode_with_array(key_identifiers text[], data text[], contexts bytea[])
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array_contexts';

CREATE FUNCTION kms.encode_with_array(key_identifiers bytea[], data bytea[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array';

CREATE FUNCTION kms.encode_with_array(key_identifiers bytea[], data bytea[], contexts bytea[])
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array_contexts';

CREATE FUNCTION kms.encode_with_array(key_identifiers bytea[], data text[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array';

CREATE FUNCTION kms.encode_with_array(key_identifiers bytea[], data text[], contexts bytea[])
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array_contexts';

CREATE FUNCTION kms.decode_with_array(key_identifiers text[], data bytea[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_array';

CREATE FUNCTION kms.decode_with_array(key_identifiers text[], data bytea[], contexts bytea[])
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_array_contexts';

CREATE FUNCTION kms.decode_with_text_array(key_identifiers text[], data bytea[], context bytea DEFAULT '')
RETURNS text[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_text_array';

CREATE FUNCTION kms.decode_with_text_array(key_identifiers text[], data bytea[], contexts bytea[])
RETURNS text[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_text_array_contexts';

CREATE FUNCTION kms.decode_with_array(key_identifiers bytea[], data bytea[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_array';

CREATE FUNCTION kms.decode_with_array(key_identifiers bytea[], data bytea[], contexts bytea[])
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_array_contexts';

CREATE FUNCTION kms.decode_with_text_array(key_identifiers bytea[], data bytea[], context bytea DEFAULT '')
RETURNS text[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_text_array';

CREATE FUNCTION kms.decode_with_text_array(key_identifiers bytea[], data bytea[], contexts bytea[])
RETURNS text[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_text_array_contexts';

-- The same for the rows of a query: fn(...) OVER ()

CREATE FUNCTION kms.encode_batch(local_id int, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C WINDOW VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_batch';

CREATE FUNCTION kms.encode_batch(local_id int, data text, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C WINDOW VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_batch';

CREATE FUNCTION kms.decode_batch(local_id int, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C WINDOW STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_batch';

CREATE FUNCTION kms.decode_batch_text(local_id int, data bytea, context bytea DEFAULT '')
RETURNS text LANGUAGE C WINDOW STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_batch_text';

-- Keys at the agent

-- exportable: NULL is what the purpose has, true to seal and false to wrap.
CREATE FUNCTION kms.create_key(
    key_identifier text, algorithm text DEFAULT 'xaes-256-gcm', exportable bool DEFAULT NULL,
    purpose text DEFAULT 'seal')
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_create_key';

CREATE FUNCTION kms.create_key(
    key_identifier bytea, algorithm text DEFAULT 'xaes-256-gcm', exportable bool DEFAULT NULL,
    purpose text DEFAULT 'seal')
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_create_key';

CREATE FUNCTION kms.rotate_key(key_identifier text)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_rotate_key';

CREATE FUNCTION kms.rotate_key(key_identifier bytea)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_rotate_key';

CREATE FUNCTION kms.enable_key(key_identifier text, version int)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_enable_key';

CREATE FUNCTION kms.enable_key(key_identifier bytea, version int)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_enable_key';

CREATE FUNCTION kms.disable_key(key_identifier text, version int, force bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_disable_key';

CREATE FUNCTION kms.disable_key(key_identifier bytea, version int, force bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_disable_key';

CREATE FUNCTION kms.destroy_key(key_identifier text, version int, force bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_destroy_key';

CREATE FUNCTION kms.destroy_key(key_identifier bytea, version int, force bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_destroy_key';

CREATE FUNCTION kms.list_keys(
    prefix text DEFAULT '', OUT key_identifier text, OUT version int, OUT algorithm text,
    OUT key_tag bytea, OUT state text, OUT created timestamptz, OUT purpose text,
    OUT exportable bool)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_list_keys';

CREATE FUNCTION kms.generate_key(bits int DEFAULT 256)
RETURNS text LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_generate_key';

CREATE FUNCTION kms.status(
    OUT mode text, OUT running bool, OUT agent_pid int, OUT agent text, OUT capabilities text[],
    OUT starts bigint, OUT requests bigint, OUT errors bigint, OUT bytes bigint,
    OUT mean_latency_ms float8, OUT last_error text, OUT agents int, OUT server_agents int)
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'kms_status';

-- Milliseconds.
CREATE FUNCTION kms.ping()
RETURNS float8 LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_ping';

-- Data keys, wrapped by a KEK that stays with the agent

CREATE FUNCTION kms.create_data_key(
    name text, kek text, algorithm text DEFAULT 'xaes-256-gcm', force bool DEFAULT false)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_create_data_key';

CREATE FUNCTION kms.create_data_key(
    name bytea, kek bytea, algorithm text DEFAULT 'xaes-256-gcm', force bool DEFAULT false)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_create_data_key';

CREATE FUNCTION kms.rotate_data_key(name text)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_rotate_data_key';

CREATE FUNCTION kms.rotate_data_key(name bytea)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_rotate_data_key';

CREATE FUNCTION kms.enable_data_key(name text, version int)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_enable_data_key';

CREATE FUNCTION kms.enable_data_key(name bytea, version int)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_enable_data_key';

CREATE FUNCTION kms.disable_data_key(name text, version int, force bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_disable_data_key';

CREATE FUNCTION kms.disable_data_key(name bytea, version int, force bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_disable_data_key';

-- Without SECURITY DEFINER or SET, which would forbid the COMMIT that shredding needs.
CREATE PROCEDURE kms.destroy_data_key(
    name text, version int, dry_run bool DEFAULT false, shred bool DEFAULT false,
    force bool DEFAULT false, INOUT rows_lost bigint DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'kms_destroy_data_key';

CREATE PROCEDURE kms.destroy_data_key(
    name bytea, version int, dry_run bool DEFAULT false, shred bool DEFAULT false,
    force bool DEFAULT false, INOUT rows_lost bigint DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'kms_destroy_data_key';

-- A new version of a KEK at the agent, and every data key that it wraps brought to it.
CREATE FUNCTION kms.rotate_kek(kek text)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_rotate_kek';

CREATE FUNCTION kms.rotate_kek(kek bytea)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_rotate_kek';

-- Every version of a key of the agent becomes one of a data key of the same name; and the way back.
-- How many there were.
CREATE FUNCTION kms.adopt_key(name text, kek text)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_adopt_key';

CREATE FUNCTION kms.adopt_key(name bytea, kek bytea)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_adopt_key';

CREATE FUNCTION kms.hand_back_key(name text)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_hand_back_key';

CREATE FUNCTION kms.hand_back_key(name bytea)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_hand_back_key';

CREATE FUNCTION kms.data_keys(
    OUT name text, OUT version int, OUT algorithm text, OUT key_tag bytea, OUT state text,
    OUT created timestamptz, OUT kek text, OUT kek_version int)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'kms_data_keys';

CREATE VIEW kms.data_keys AS SELECT * FROM kms.data_keys();

-- Secrets of the user's own

CREATE FUNCTION kms.wrap(kek text, secret bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_wrap';

CREATE FUNCTION kms.wrap(kek bytea, secret bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_wrap';

CREATE FUNCTION kms.unwrap(kek text, wrapped bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_unwrap';

CREATE FUNCTION kms.unwrap(kek bytea, wrapped bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_unwrap';

-- Re-encryption of live tables

-- How far each run has come, or the last one. Not dumped: a run does not go on after a restore.
CREATE TABLE kms.reencryption (
    relation oid NOT NULL,
    attribute smallint NOT NULL,
    phase text NOT NULL DEFAULT 'counting',
    rows_done bigint NOT NULL DEFAULT 0,
    rows_total bigint,
    rows_skipped bigint NOT NULL DEFAULT 0,  -- others keep them
    rows_failed bigint NOT NULL DEFAULT 0,  -- they stay as they are, for their own sake
    started timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (relation, attribute)
);

CREATE TRIGGER own_numbers BEFORE INSERT OR UPDATE OR DELETE ON kms.reencryption
FOR EACH ROW EXECUTE FUNCTION kms_internal.keep_numbers();
ALTER TABLE kms.reencryption ENABLE ALWAYS TRIGGER own_numbers;

-- 27506 is the objsubid of the advisory lock that a run holds while it lives.
CREATE VIEW kms.reencrypt_progress AS
SELECT
    p.relation::regclass, a.attname AS column_name,
    CASE WHEN r.running OR p.phase IN ('finished', 'stopped') THEN p.phase ELSE 'interrupted' END AS phase,
    p.rows_done, p.rows_total, p.rows_skipped, p.rows_failed, s.rate, p.started,
    CASE WHEN r.running AND s.rate > 0
        THEN p.updated + make_interval(secs => greatest(p.rows_total - p.rows_done, 0) / s.rate)
    END AS estimated_end,
    r.running
FROM kms.reencryption p
JOIN pg_catalog.pg_attribute a ON a.attrelid = p.relation AND a.attnum = p.attribute AND NOT a.attisdropped
CROSS JOIN LATERAL (
    SELECT p.rows_done / nullif(extract(epoch FROM p.updated - p.started)::float8, 0) AS rate) s
CROSS JOIN LATERAL (
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_locks l
        WHERE l.locktype = 'advisory' AND l.objsubid = 27506 AND l.classid = p.relation
            AND l.objid::bigint = p.attribute
            AND l.database = (SELECT oid FROM pg_catalog.pg_database
                              WHERE datname = pg_catalog.current_database())) AS running) r;

CREATE PROCEDURE kms.reencrypt(
    relation regclass, column_name name, batch int DEFAULT 10000, pause interval DEFAULT '0',
    triggers text DEFAULT 'refuse', new_key text DEFAULT NULL, new_context text DEFAULT NULL,
    was_key text DEFAULT NULL, was_context text DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'kms_reencrypt';

-- From a plaintext column to an encrypted one

CREATE FUNCTION kms_internal.keep_in_step()
RETURNS trigger LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'kms_keep_in_step';

CREATE PROCEDURE kms.encrypt_column(
    relation regclass, column_name name, key_identifier text DEFAULT NULL, context_expression text DEFAULT NULL,
    encrypted_column name DEFAULT NULL, batch int DEFAULT 10000, pause interval DEFAULT '0',
    triggers text DEFAULT 'refuse', published bool DEFAULT false, key_expression text DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'kms_encrypt_column';

-- And back.
CREATE PROCEDURE kms.decrypt_column(
    relation regclass, column_name name, plain_type text, plain_column name DEFAULT NULL,
    batch int DEFAULT 10000, pause interval DEFAULT '0', triggers text DEFAULT 'refuse',
    published bool DEFAULT false, was_key text DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'kms_decrypt_column';

CREATE FUNCTION kms.switch_column(
    relation regclass, column_name name, drop_constraints bool DEFAULT false,
    dry_run bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_switch_column';

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
