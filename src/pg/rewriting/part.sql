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
