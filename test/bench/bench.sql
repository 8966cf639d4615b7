-- Contestants side by side in one backend: variables `rows`, `remote_rows`, `rounds`, `pipes`, `floor`.
--
-- What is timed is `SELECT count(f(d)) FROM t` over rows of 32 random bytes (or of what the contestant
-- made of them): scan, call and aggregate are the same for all, nothing is subtracted. Within a round
-- contestants follow each other, every other round in the opposite order; each ratio is of two times
-- of one round, and the median of the rounds counts.
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_workers_per_gather = 0;
CREATE EXTENSION kms;
CREATE EXTENSION pgcrypto;
CREATE FUNCTION floor_encrypt(bytea) RETURNS bytea LANGUAGE C VOLATILE AS :'floor', 'floor_encrypt';
CREATE FUNCTION floor_decrypt(bytea) RETURNS bytea LANGUAGE C STABLE AS :'floor', 'floor_decrypt';

CREATE UNLOGGED TABLE plain AS
SELECT substr(sha512(int8send(i)), 1, 32) AS d FROM generate_series(1, :rows) i;
CREATE UNLOGGED TABLE plain_remote AS SELECT d FROM plain LIMIT :remote_rows;

-- The agent is ephemeral: the key lives as long as this session. In remote mode the same agent is used.
SELECT kms.create_key('bench') \g /dev/null
SELECT kms.set_key(1, 'bench') \g /dev/null
CREATE UNLOGGED TABLE sealed AS SELECT kms.encode(1, d) AS d FROM plain;
CREATE UNLOGGED TABLE sealed_floor AS SELECT floor_encrypt(d) AS d FROM plain;
VACUUM ANALYZE plain, plain_remote, sealed, sealed_floor;

CREATE TEMP TABLE contestant (place int, name text, mode text, calls int, query text);
INSERT INTO contestant VALUES
    (1, 'scan', 'local', :rows, 'SELECT count(d) FROM plain'),
    (2, 'floor_encrypt', 'local', :rows, 'SELECT count(floor_encrypt(d)) FROM plain'),
    (3, 'encode', 'local', :rows, 'SELECT count(kms.encode(1, d)) FROM plain'),
    (4, 'encrypt_iv', 'local', :rows,
     $$SELECT count(encrypt_iv(d, '\x000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f',
        '\x000102030405060708090a0b0c0d0e0f', 'aes-cbc')) FROM plain$$),
    (5, 'floor_decrypt', 'local', :rows, 'SELECT count(floor_decrypt(d)) FROM sealed_floor'),
    (6, 'decode', 'local', :rows, 'SELECT count(kms.decode(1, d)) FROM sealed'),
    (7, 'ping_pong', 'local', :remote_rows, NULL),
    (8, 'encode_remote', 'remote', :remote_rows, 'SELECT count(kms.encode(1, d)) FROM plain_remote');

CREATE TEMP TABLE result (round int, name text, microseconds float8);
CREATE TEMP TABLE pong (microseconds float8);

CREATE FUNCTION run_once(c contestant, pipes text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz;
    ignored bigint;
BEGIN
    IF c.query IS NULL THEN
        DELETE FROM pong;
        EXECUTE format('COPY pong FROM PROGRAM %L', pipes || ' ping-pong ' || c.calls);
        RETURN (SELECT microseconds FROM pong);
    END IF;
    PERFORM set_config('kms.mode', c.mode, false);
    began := clock_timestamp();
    EXECUTE c.query INTO ignored;
    RETURN extract(epoch FROM clock_timestamp() - began) * 1e6 / c.calls;
END
$$;

-- Round 0 warms up and is not counted.
CREATE PROCEDURE run_rounds(rounds int, pipes text) LANGUAGE plpgsql AS $$
DECLARE
    c contestant;
BEGIN
    FOR this_round IN 0 .. rounds LOOP
        FOR c IN SELECT * FROM contestant ORDER BY CASE this_round % 2 WHEN 0 THEN place ELSE -place END LOOP
            INSERT INTO result VALUES (this_round, c.name, run_once(c, pipes));
        END LOOP;
        DELETE FROM result WHERE result.round = 0;
    END LOOP;
END
$$;
CALL run_rounds(:rounds, :'pipes');

CREATE FUNCTION median_ratio(dividend text, divisor text) RETURNS numeric LANGUAGE sql AS $$
SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY a.microseconds / b.microseconds)::numeric, 2)
FROM result a JOIN result b USING (round) WHERE a.name = dividend AND b.name = divisor
$$;

CREATE TEMP VIEW ratio AS
SELECT what, median_ratio(dividend, divisor) AS ratio, bound, target
FROM (VALUES
    ('encode (local) / floor', 'encode', 'floor_encrypt', 'at most', 1.5),
    ('decode (local) / floor', 'decode', 'floor_decrypt', 'at most', 1.5),
    ('pgcrypto encrypt_iv / encode (local)', 'encrypt_iv', 'encode', 'at least', 2.0),
    ('encode (remote) / 64-byte ping-pong', 'encode_remote', 'ping_pong', 'at most', 1.5)
) AS asked (what, dividend, divisor, bound, target);

CREATE TEMP VIEW rate AS
SELECT name, round(percentile_cont(0.5) WITHIN GROUP (ORDER BY microseconds)::numeric, 3) AS microseconds,
    round(1e6 / percentile_cont(0.5) WITHIN GROUP (ORDER BY microseconds)::numeric) AS per_second
FROM result JOIN contestant USING (name) GROUP BY name, place ORDER BY place;

\pset footer off
\o :table
SELECT name AS "a call of", microseconds, per_second AS "a second" FROM rate;
SELECT what, ratio, bound || ' ' || target AS target,
    CASE WHEN bound = 'at most' THEN ratio <= target ELSE ratio >= target END AS met
FROM ratio;
\o
\pset format unaligned
\pset tuples_only on
\o :json
SELECT json_build_object(
    'server', current_setting('server_version'), 'rounds', :rounds, 'rows', :rows,
    'remote_rows', :remote_rows,
    'ratios', (SELECT json_object_agg(what, json_build_object('ratio', ratio, bound, target)) FROM ratio),
    'microseconds', (SELECT json_object_agg(name, microseconds) FROM rate),
    'pipelined_per_second', :pipelined);
