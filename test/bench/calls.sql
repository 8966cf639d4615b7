-- Functions side by side in one backend. Variables: `fewer` (rows are divided by it), `rounds`, `pipes`.
--
-- What is timed is `SELECT count(f(d)) FROM t` over rows of random bytes, or of what the contestant
-- made of them: scan, detoasting, call and aggregate are the same for all, nothing is subtracted.
-- Within a round contestants follow each other, every other round in the opposite order.
SET client_min_messages = warning;

-- Slow contestants see a few rows only, so that no run lasts long; `elements` are those of an array.
CREATE TABLE size (bytes int, many int, few int, fewest int, repeats int, elements int);
INSERT INTO size
SELECT bytes, many / :fewer, few / :fewer, fewest / :fewer, repeats, elements
FROM (VALUES
    (32, 200000, 10000, 500, 1, 1000),
    (64, 10000, 10000, 500, 1, 1000),
    (1024, 40000, 5000, 400, 2, 1000),
    (65536, 256, 128, 64, 8, 16),
    (1048576, 16, 16, 8, 8, 4)) AS full_run (bytes, many, few, fewest, repeats, elements);

CREATE FUNCTION random_bytes(length int) RETURNS bytea LANGUAGE sql VOLATILE AS $$
SELECT string_agg(gen_random_bytes(least(length, 1024)), '') FROM generate_series(1, (length + 1023) / 1024)
$$;

CREATE FUNCTION key_256() RETURNS bytea LANGUAGE sql IMMUTABLE AS
$$SELECT '\x000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f'::bytea$$;
CREATE FUNCTION iv() RETURNS bytea LANGUAGE sql IMMUTABLE AS
$$SELECT '\x000102030405060708090a0b0c0d0e0f'::bytea$$;

CREATE PROCEDURE make_tables(s size) LANGUAGE plpgsql AS $$
DECLARE
    made record;
BEGIN
    FOR made IN SELECT * FROM (VALUES
        ('plain', format('SELECT random_bytes(%s) AS d FROM generate_series(1, %s)', s.bytes, s.many)),
        ('sealed', format('SELECT kms.encode(1, d) AS d FROM plain_%s', s.bytes)),
        ('floor', format('SELECT floor_encrypt(d) AS d FROM plain_%s', s.bytes)),
        ('iv', format($q$SELECT encrypt_iv(d, key_256(), iv(), 'aes-cbc') AS d FROM plain_%s$q$, s.bytes)),
        ('pgp', format($q$SELECT pgp_sym_encrypt_bytea(d, 'a passphrase', 'cipher-algo=aes256') AS d
            FROM plain_%s LIMIT %s$q$, s.bytes, s.fewest)),
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

-- In `query`, %1$s is the size and %2$s the number of calls.
CREATE TABLE contestant (place int, subject text, name text, mode text, calls text, sizes int[], query text);
INSERT INTO contestant
SELECT row_number() OVER (), subject, name, mode, calls, sizes,
    CASE form
        WHEN 'scalar' THEN format('SELECT count(%s) FROM %s_%%1$s', call, source)
        WHEN 'few' THEN format('SELECT count(%s) FROM (SELECT d FROM %s_%%1$s LIMIT %%2$s) AS t', call, source)
        WHEN 'window' THEN format('SELECT count(x) FROM (SELECT %s OVER () AS x FROM %s_%%1$s) AS t', call, source)
        WHEN 'array' THEN format('SELECT sum(cardinality(%s)) FROM %s_array_%%1$s', call, source)
    END
FROM (VALUES
    ('encode', 'read', 'local', 'many', 'scalar', 'floor_read(d)', 'plain'),
    ('encode', 'floor', 'local', 'many', 'scalar', 'floor_encrypt(d)', 'plain'),
    ('encode', 'local', 'local', 'many', 'scalar', 'kms.encode(1, d)', 'plain'),
    ('encode', 'encrypt_iv', 'local', 'many', 'scalar', $$encrypt_iv(d, key_256(), iv(), 'aes-cbc')$$, 'plain'),
    ('encode', 'local array', 'local', 'many', 'array', 'kms.encode_array(1, d)', 'plain'),
    ('encode', 'local window', 'local', 'many', 'window', 'kms.encode_batch(1, d)', 'plain'),
    ('encode', 'remote array', 'remote', 'many', 'array', 'kms.encode_array(1, d)', 'plain'),
    ('encode', 'remote window', 'remote', 'many', 'window', 'kms.encode_batch(1, d)', 'plain'),
    ('encode', 'remote', 'remote', 'few', 'few', 'kms.encode(1, d)', 'plain'),
    ('encode', 'ping-pong', 'local', 'few', NULL, NULL, NULL),
    ('decode', 'remote', 'remote', 'few', 'few', 'kms.decode(1, d)', 'sealed'),
    ('decode', 'remote window', 'remote', 'many', 'window', 'kms.decode_batch(1, d)', 'sealed'),
    ('decode', 'remote array', 'remote', 'many', 'array', 'kms.decode_array(1, d)', 'sealed'),
    ('decode', 'local window', 'local', 'many', 'window', 'kms.decode_batch(1, d)', 'sealed'),
    ('decode', 'local array', 'local', 'many', 'array', 'kms.decode_array(1, d)', 'sealed'),
    ('decode', 'decrypt_iv', 'local', 'many', 'scalar', $$decrypt_iv(d, key_256(), iv(), 'aes-cbc')$$, 'iv'),
    ('decode', 'local', 'local', 'many', 'scalar', 'kms.decode(1, d)', 'sealed'),
    ('decode', 'floor', 'local', 'many', 'scalar', 'floor_decrypt(d)', 'floor'),
    ('decode', 'read', 'local', 'many', 'scalar', 'floor_read(d)', 'plain'),
    ('encode', 'pgp_sym_encrypt', 'local', 'fewest', 'few',
        $$pgp_sym_encrypt_bytea(d, 'a passphrase', 'cipher-algo=aes256')$$, 'plain'),
    ('decode', 'pgp_sym_decrypt', 'local', 'fewest', 'few', $$pgp_sym_decrypt_bytea(d, 'a passphrase')$$, 'pgp')
) AS c (subject, name, mode, calls, form, call, source),
LATERAL (SELECT CASE WHEN name = 'ping-pong' THEN '{64}' WHEN name = 'remote' THEN '{32,64,1024,65536,1048576}'
    ELSE '{32,1024,65536,1048576}' END::int[]) AS s (sizes);

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

-- Microseconds a call. The mode's key is there before the clock starts.
CREATE FUNCTION time_call(c contestant, s size, pipes text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    calls int := CASE c.calls WHEN 'many' THEN s.many WHEN 'few' THEN s.few ELSE s.fewest END;
    query text := format(c.query, s.bytes, calls);
    began timestamptz;
    ignored bigint;
BEGIN
    IF query IS NULL THEN
        RETURN ping_pong(pipes, calls);
    END IF;
    PERFORM set_config('kms.mode', c.mode, false), kms.encode(1, ''::bytea);
    began := clock_timestamp();
    FOR i IN 1 .. s.repeats LOOP
        EXECUTE query INTO ignored;
    END LOOP;
    RETURN extract(epoch FROM clock_timestamp() - began) * 1e6 / calls / s.repeats;
END
$$;

-- Round 0 warms up and is not counted.
CREATE PROCEDURE run_rounds(rounds int, pipes text) LANGUAGE plpgsql AS $$
DECLARE
    turn record;
BEGIN
    FOR this_round IN 0 .. rounds LOOP
        FOR turn IN
            SELECT c, s FROM contestant c JOIN size s ON s.bytes = ANY (c.sizes)
            ORDER BY (s.bytes * 100::bigint + c.place) * CASE this_round % 2 WHEN 0 THEN 1 ELSE -1 END
        LOOP
            INSERT INTO measured VALUES ((turn.c).subject, (turn.c).name, (turn.s).bytes, this_round,
                time_call(turn.c, turn.s, pipes));
        END LOOP;
        DELETE FROM measured WHERE round = 0;
        COMMIT;
    END LOOP;
END
$$;
CALL run_rounds(:rounds, :'pipes');
