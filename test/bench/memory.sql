-- What a backend and its agent hold before and after many calls. Variables: `calls`, `remote_calls`.
SET client_min_messages = warning;

-- Shared buffers that were looked at do not count: anonymous memory only.
CREATE FUNCTION kilobytes(pid text) RETURNS float8 LANGUAGE sql VOLATILE AS
$$SELECT substring(pg_read_file('/proc/' || pid || '/status') FROM 'RssAnon:\s*([0-9]+)')::float8$$;

CREATE UNLOGGED TABLE thousand AS SELECT substr(sha512(int8send(i)), 1, 32) AS d FROM generate_series(1, 1000) i;
CREATE UNLOGGED TABLE thousand_array AS SELECT array_agg(d) AS d FROM thousand;

-- In `query`, %s is thousands of rows, each of which is encoded and decoded: two calls.
CREATE TABLE memory_contestant (place int, name text, mode text, calls int, query text);
INSERT INTO memory_contestant
SELECT row_number() OVER (), mode || form, mode, calls, query
FROM (VALUES
    ('local', :calls), ('remote', :calls)) AS m (mode, calls),
(VALUES
    ('', 'SELECT count(kms.decode(1, kms.encode(1, d))) FROM thousand, generate_series(1, %s)'),
    (' array', 'SELECT sum(cardinality(kms.decode_array(1, kms.encode_array(1, d))))
        FROM thousand_array, generate_series(1, %s)'),
    (' window', 'SELECT count(y) FROM (SELECT kms.decode_batch(1, x) OVER () AS y
        FROM (SELECT kms.encode_batch(1, d) OVER () AS x FROM thousand, generate_series(1, %s)) AS e) AS d')
) AS f (form, query);
UPDATE memory_contestant SET calls = :remote_calls WHERE name = 'remote';

CREATE PROCEDURE note_memory(contestant text, calls int, moment text) LANGUAGE sql AS $$
INSERT INTO measured VALUES
    ('memory', format('backend, %s %s', contestant, moment), calls, 1, kilobytes('self')),
    ('memory', format('agent, %s %s', contestant, moment), calls, 1,
        kilobytes((SELECT agent_pid::text FROM kms.status())))
$$;

-- A fifth of the calls warms up, and a first look at the memory.
CREATE PROCEDURE run_memory() LANGUAGE plpgsql AS $$
DECLARE
    c memory_contestant;
BEGIN
    FOR c IN SELECT * FROM memory_contestant ORDER BY place LOOP
        PERFORM set_config('kms.mode', c.mode, false);
        EXECUTE format(c.query, c.calls / 10000);
        PERFORM kilobytes(agent_pid::text) FROM kms.status();
        CALL note_memory(c.name, c.calls, 'before');
        EXECUTE format(c.query, c.calls / 2000);
        CALL note_memory(c.name, c.calls, 'after');
    END LOOP;
END
$$;
CALL run_memory();
