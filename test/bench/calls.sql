-- Functions side by side in one backend. Variables: `rounds`, `pipes`.
--
-- What is timed is `SELECT count(f(d)) FROM t` over rows of random bytes, or of what the contestant
-- made of them: scan, detoasting, call and aggregate are the same for all, nothing is subtracted.
-- Within a round contestants follow each other, every other round in the opposite order.
SET client_min_messages = warning;

-- What is `fast` runs for two milliseconds at a time, and often: a process that has just slept is not
-- interrupted for that long, whatever else the machine does. What is slow takes part in every fifth
-- round. `elements` are those of an array.
CREATE TABLE size (bytes int, fast int, remote int, pgp int, elements int);
INSERT INTO size VALUES
    (32, 8000, 2000, 100, 1000),
    (64, 2000, 2000, 100, 1000),
    (1024, 3000, 2000, 100, 1000),
    (65536, 64, 32, 32, 16),
    (1048576, 4, 4, 4, 2);

CREATE FUNCTION key_256() RETURNS bytea LANGUAGE sql IMMUTABLE AS
$$SELECT '\x000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f'::bytea$$;
CREATE FUNCTION iv() RETURNS bytea LANGUAGE sql IMMUTABLE AS
$$SELECT '\x000102030405060708090a0b0c0d0e0f'::bytea$$;

CREATE PROCEDURE make_tables(s size) LANGUAGE plpgsql AS $$
DECLARE
    made record;
BEGIN
    FOR made IN SELECT * FROM (VALUES
        ('plain', format('SELECT random_bytes(%s) AS d FROM generate_series(1, %s)', s.bytes, s.fast)),
        ('sealed', format('SELECT kms.encode(1, d) AS d FROM plain_%s', s.bytes)),
        ('floor', format('SELECT floor_encrypt(d) AS d FROM plain_%s', s.bytes)),
        ('iv', format($q$SELECT encrypt_iv(d, key_256(), iv(), 'aes-cbc') AS d FROM plain_%s$q$, s.bytes)),
        ('pgp', format($q$SELECT pgp_sym_encrypt_bytea(d, 'a passphrase', 'cipher-algo=aes256') AS d
            FROM plain_%s LIMIT %s$q$, s.bytes, s.pgp)),
        ('plain_array', format('SELECT array_agg(d) AS d
            FROM (SELECT d, row_number() OVER () - 1 AS n FROM plain_%s) AS numbered GROUP BY n / %s',
            s.bytes, s.elements)),
        ('sealed_array', format('SELECT array_agg(d) AS d
            FROM (SELECT d, row_number() OVER () - 1 AS n FROM sealed_%s) AS numbered GROUP BY n / %s',
            s.bytes, s.elements))
    ) AS t (name, query) LOOP
        EXECUTE format('CREATE UNLOGGED TABLE %I AS %s', made.name || '_' || s.bytes, made.query);
    END LOOP;
END
$$;

SET work_mem = '256MB';
SELECT format('CALL make_tables(%L)', size) FROM size \gexec
RESET work_mem;
VACUUM ANALYZE;

-- In `query`, %1$s is the size and %2$s the number of calls. Read-ahead needs many rows to get going.
CREATE TABLE contestant (place int, subject text, name text, mode text, kind text, query text);
INSERT INTO contestant
SELECT row_number() OVER (), subject, name, mode, kind,
    CASE kind
        WHEN 'ping-pong' THEN NULL
        WHEN 'fast' THEN format('SELECT count(%s) FROM %s_%%1$s', call, source)
        WHEN 'fast array' THEN format('SELECT sum(cardinality(%s)) FROM %s_array_%%1$s', call, source)
        WHEN 'fast window' THEN format(
            'SELECT count(x) FROM (SELECT %s OVER () AS x FROM %s_%%1$s) AS t', call, source)
        WHEN 'array' THEN format(
            'SELECT sum(cardinality(%s)) FROM %s_array_%%1$s, generate_series(1, 5)', call, source)
        WHEN 'window' THEN format(
            'SELECT count(x) FROM (SELECT %s OVER () AS x FROM %s_%%1$s, generate_series(1, 5)) AS t', call, source)
        ELSE format('SELECT count(%s) FROM (SELECT d FROM %s_%%1$s LIMIT %%2$s) AS t', call, source)
    END
FROM (VALUES
    ('encode', 'read', 'local', 'fast', 'floor_read(d)', 'plain'),
    ('encode', 'floor', 'local', 'fast', 'floor_encrypt(d)', 'plain'),
    ('encode', 'local', 'local', 'fast', 'kms.encode(1, d)', 'plain'),
    ('encode', 'encrypt_iv', 'local', 'fast', $$encrypt_iv(d, key_256(), iv(), 'aes-cbc')$$, 'plain'),
    ('encode', 'local array', 'local', 'fast array', 'kms.encode_array(1, d)', 'plain'),
    ('encode', 'local window', 'local', 'fast window', 'kms.encode_batch(1, d)', 'plain'),
    ('encode', 'remote array', 'remote', 'array', 'kms.encode_array(1, d)', 'plain'),
    ('encode', 'remote window', 'remote', 'window', 'kms.encode_batch(1, d)', 'plain'),
    ('encode', 'remote', 'remote', 'remote', 'kms.encode(1, d)', 'plain'),
    ('encode', 'ping-pong', 'local', 'ping-pong', NULL, NULL),
    ('decode', 'remote', 'remote', 'remote', 'kms.decode(1, d)', 'sealed'),
    ('decode', 'remote window', 'remote', 'window', 'kms.decode_batch(1, d)', 'sealed'),
    ('decode', 'remote array', 'remote', 'array', 'kms.decode_array(1, d)', 'sealed'),
    ('decode', 'local window', 'local', 'fast window', 'kms.decode_batch(1, d)', 'sealed'),
    ('decode', 'local array', 'local', 'fast array', 'kms.decode_array(1, d)', 'sealed'),
    ('decode', 'decrypt_iv', 'local', 'fast', $$decrypt_iv(d, key_256(), iv(), 'aes-cbc')$$, 'iv'),
    ('decode', 'local', 'local', 'fast', 'kms.decode(1, d)', 'sealed'),
    ('decode', 'floor', 'local', 'fast', 'floor_decrypt(d)', 'floor'),
    ('decode', 'read', 'local', 'fast', 'floor_read(d)', 'plain'),
    ('encode', 'pgp_sym_encrypt', 'local', 'pgp',
        $$pgp_sym_encrypt_bytea(d, 'a passphrase', 'cipher-algo=aes256')$$, 'plain'),
    ('decode', 'pgp_sym_decrypt', 'local', 'pgp', $$pgp_sym_decrypt_bytea(d, 'a passphrase')$$, 'pgp')
) AS c (subject, name, mode, kind, call, source);

-- The bare ping-pong has messages of 64 bytes, and what is compared with it has such values.
CREATE TABLE run AS
SELECT 'run_' || place AS name, r.*
FROM (
    SELECT row_number() OVER (ORDER BY bytes, place) AS place, subject, c.name AS contestant, mode, bytes, calls,
        format(query, bytes, calls) AS query, kind LIKE 'fast%' AS is_fast
    FROM contestant c, size, LATERAL (SELECT CASE
        WHEN kind LIKE 'fast%' THEN fast
        WHEN kind IN ('array', 'window') THEN fast * 5
        WHEN kind = 'pgp' THEN pgp
        ELSE remote END) AS n (calls)
    WHERE CASE bytes WHEN 64 THEN kind IN ('remote', 'ping-pong') ELSE kind <> 'ping-pong' END
) AS r;
SELECT format('PREPARE %I AS %s', name, query) FROM run WHERE query IS NOT NULL \gexec

CREATE FUNCTION ping_pong(pipes text, calls int) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    microseconds float8;
BEGIN
    CREATE TEMP TABLE IF NOT EXISTS pong (microseconds float8);
    TRUNCATE pong;
    EXECUTE format('COPY pong FROM PROGRAM %L', pipes || ' ping-pong ' || calls);
    SELECT pong.microseconds INTO microseconds FROM pong;
    RETURN microseconds;
END
$$;

-- Microseconds a call. The mode's key is there before the clock starts; for the sleep see `size`.
CREATE FUNCTION time_run(run run, pipes text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz;
    ignored bigint;
BEGIN
    IF run.query IS NULL THEN
        RETURN ping_pong(pipes, run.calls);
    END IF;
    PERFORM set_config('kms.mode', run.mode, false), kms.encode(1, ''::bytea), pg_sleep(0.001);
    began := clock_timestamp();
    EXECUTE format('EXECUTE %I', run.name) INTO ignored;
    RETURN extract(epoch FROM clock_timestamp() - began) * 1e6 / run.calls;
END
$$;

-- Round 0 warms up and is not counted.
CREATE PROCEDURE run_rounds(rounds int, pipes text) LANGUAGE plpgsql AS $$
DECLARE
    run run;
BEGIN
    FOR this_round IN 0 .. rounds LOOP
        FOR run IN SELECT * FROM run r WHERE r.is_fast OR this_round % 5 = 0
            ORDER BY CASE this_round % 2 WHEN 0 THEN place ELSE -place END
        LOOP
            INSERT INTO measured
            VALUES (run.subject, run.contestant, run.bytes, this_round, time_run(run, pipes));
        END LOOP;
        DELETE FROM measured WHERE round = 0;
        COMMIT;
    END LOOP;
END
$$;
CALL run_rounds(:rounds, :'pipes');
