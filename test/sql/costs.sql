-- What the planner knows of costs: cheap filters come first, and remote calls are worth workers.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kms_reader;
RESET client_min_messages;
CREATE ROLE regress_kms_reader;
CREATE TABLE costly (n int, sealed bytea) WITH (parallel_workers = 1);
INSERT INTO costly SELECT n, '\x00' FROM generate_series(1, 2000) n;
ANALYZE costly;
CREATE FUNCTION takes_a_while(int) RETURNS bool LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000 AS 'BEGIN RETURN $1 > 0; END';

-- A cheap filter is first, in whatever order they are written.
EXPLAIN (COSTS OFF) SELECT n FROM costly WHERE kms.decode_text(1, sealed) = 'x' AND n % 7 = 0;
EXPLAIN (COSTS OFF) SELECT n FROM costly WHERE kms.decode(1, sealed) = '\x78' AND kms.try_decode(1, sealed) IS NULL;
EXPLAIN (COSTS OFF) SELECT n FROM costly WHERE kms.recode(1, 1, sealed) <> sealed AND kms.encode(1, sealed) <> sealed;
-- A function of medium price is behind a local call, and in front of a remote one.
EXPLAIN (COSTS OFF) SELECT n FROM costly WHERE takes_a_while(n) AND kms.decode(1, sealed) = '\x78';
-- Three elements of an array cost more than two calls, but go in one round trip.
EXPLAIN (COSTS OFF) SELECT n FROM costly
WHERE kms.decode_array(1, ARRAY[sealed, sealed, sealed]) IS NULL AND kms.recode(1, 1, sealed) IS NULL;
SET kms.mode = 'remote';
EXPLAIN (COSTS OFF) SELECT n FROM costly
WHERE kms.recode(1, 1, sealed) IS NULL AND kms.decode_array(1, ARRAY[sealed, sealed, sealed]) IS NULL;
EXPLAIN (COSTS OFF) SELECT n FROM costly
WHERE kms.decode_array(1, ARRAY[sealed, sealed, sealed]) IS NULL AND kms.decode(1, sealed) IS NULL;
EXPLAIN (COSTS OFF) SELECT n FROM costly WHERE kms.decode(1, sealed) = '\x78' AND n % 7 = 0;
EXPLAIN (COSTS OFF) SELECT n FROM costly WHERE kms.decode(1, sealed) = '\x78' AND takes_a_while(n);
EXPLAIN (COSTS OFF) SELECT n FROM costly WHERE kms.recode(1, 1, sealed) <> sealed AND kms.encode(1, sealed) <> sealed;

-- Two thousand remote calls are worth a worker, as many local ones are not.
SET max_parallel_workers_per_gather = 1;
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 1000;
SET parallel_tuple_cost = 0.1;
EXPLAIN (COSTS OFF) SELECT n FROM costly WHERE kms.decode(1, sealed) = '\x78';
EXPLAIN (COSTS OFF) SELECT kms.encode(1, sealed) FROM costly;
SET kms.mode = 'local';
EXPLAIN (COSTS OFF) SELECT n FROM costly WHERE kms.decode(1, sealed) = '\x78';
EXPLAIN (COSTS OFF) SELECT kms.encode(1, sealed) FROM costly;

-- More of them are, where reading the same rows is not.
INSERT INTO costly SELECT n, '\x00' FROM generate_series(2001, 60000) n;
ANALYZE costly;
EXPLAIN (COSTS OFF) SELECT n FROM costly WHERE kms.decode(1, sealed) = '\x78';
EXPLAIN (COSTS OFF) SELECT n FROM costly WHERE sealed = '\x78';

-- A window form shares its round trips among rows.
CREATE FUNCTION price(query text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    RETURN plan->0->'Plan'->'Total Cost';
END $$;
SET max_parallel_workers_per_gather = 0;
CREATE VIEW prices AS
SELECT price('SELECT kms.decode(1, sealed) FROM costly') AS scalar,
       price('SELECT kms.decode_batch(1, sealed) OVER () FROM costly') AS batch,
       price('SELECT count(*) OVER () FROM costly') AS counting;
SELECT batch - counting BETWEEN scalar * 0.5 AND scalar AS as_dear_as_scalar FROM prices;
SET kms.mode = 'remote';
SELECT batch < scalar / 50 AS far_cheaper_than_scalar, batch > 1.5 * counting AS dearer_than_count FROM prices;
SET kms.mode = 'local';
DROP VIEW prices;
DROP FUNCTION price;
SET max_parallel_workers_per_gather = 1;

-- What is asked for prices needs no EXECUTE, and cannot be called.
GRANT USAGE ON SCHEMA kms TO regress_kms_reader;
GRANT EXECUTE ON FUNCTION kms.decode(int, bytea, bytea) TO regress_kms_reader;
GRANT SELECT ON costly TO regress_kms_reader;
SET ROLE regress_kms_reader;
EXPLAIN (COSTS OFF) SELECT n FROM costly WHERE kms.decode(1, sealed) = '\x78' AND n % 7 = 0;
RESET ROLE;
-- 42883 or 0A000, by the minor release.
DO $$
BEGIN
    PERFORM kms_internal.cost_support(NULL);
EXCEPTION WHEN undefined_function OR feature_not_supported THEN
    RAISE NOTICE 'not to be called';
END $$;

DROP TABLE costly;
DROP FUNCTION takes_a_while;
DROP OWNED BY regress_kms_reader;
DROP ROLE regress_kms_reader;
