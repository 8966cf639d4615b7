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
