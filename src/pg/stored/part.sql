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
