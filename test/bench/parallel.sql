-- One scan that decodes, with 0, 1 and 2 workers beside the leader. Variables: `rows`, `rounds`.
SET client_min_messages = warning;
SET max_parallel_workers_per_gather = 2;
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;

CREATE UNLOGGED TABLE parallel_scan AS
SELECT kms.encode(1, substr(sha512(int8send(i)), 1, 32)) AS d FROM generate_series(1, :rows) i;
VACUUM ANALYZE parallel_scan;

-- Refuses to time a scan without its workers.
CREATE PROCEDURE require_workers(query text, workers int) LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT json) ' || query INTO plan;
    IF coalesce(jsonb_path_query_first(plan::jsonb, '$.**."Workers Launched"')::int, 0) <> workers THEN
        RAISE 'not % workers: %', workers, plan;
    END IF;
END
$$;

CREATE PROCEDURE run_scans(rounds int) LANGUAGE plpgsql AS $$
DECLARE
    query text := 'SELECT count(kms.decode(1, d)) FROM parallel_scan';
    workers int;
    began timestamptz;
    ignored bigint;
BEGIN
    FOR this_round IN 0 .. rounds LOOP
        FOR workers IN SELECT w FROM generate_series(0, 2) w ORDER BY w * (-1) ^ this_round LOOP
            PERFORM set_config('max_parallel_workers_per_gather', workers::text, false);
            IF this_round = 0 THEN
                CALL require_workers(query, workers);
            END IF;
            began := clock_timestamp();
            EXECUTE query INTO ignored;
            INSERT INTO measured VALUES ('parallel', 'scan', workers, this_round,
                extract(epoch FROM clock_timestamp() - began) * 1000);
        END LOOP;
    END LOOP;
    DELETE FROM measured WHERE subject = 'parallel' AND round = 0;
END
$$;
CALL run_scans(:rounds);
