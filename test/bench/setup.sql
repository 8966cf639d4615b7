-- What all measurements share: the functions of floor.so, and where results go. Variable: `floor`.
SET client_min_messages = warning;
CREATE EXTENSION kms;
CREATE EXTENSION pgcrypto;
CREATE FUNCTION floor_read(bytea) RETURNS bytea LANGUAGE C STABLE AS :'floor', 'floor_read';
CREATE FUNCTION floor_encrypt(bytea) RETURNS bytea LANGUAGE C VOLATILE AS :'floor', 'floor_encrypt';
CREATE FUNCTION floor_decrypt(bytea) RETURNS bytea LANGUAGE C STABLE AS :'floor', 'floor_decrypt';
CREATE FUNCTION time_true() RETURNS float8 LANGUAGE C VOLATILE AS :'floor', 'time_true';
CREATE FUNCTION time_encode(encode regprocedure, local_id int, data bytea, context bytea)
RETURNS float8 LANGUAGE C VOLATILE AS :'floor', 'time_encode';

CREATE FUNCTION random_bytes(length int) RETURNS bytea LANGUAGE sql VOLATILE AS $$
SELECT string_agg(gen_random_bytes(least(length, 1024)), '') FROM generate_series(1, (length + 1023) / 1024)
$$;

-- `at` is a size in bytes, a number of sessions or of workers; `value` is in the subject's unit.
-- Contestants of a subject take turns in each round, and a ratio is of two values of one round.
CREATE TABLE measured (subject text, contestant text, at int, round int, value float8);

-- Key and bindings come with the login, as doc/administration.md has it.
ALTER DATABASE bench SET kms.keys = '1=bench';
ALTER DATABASE bench SET jit = off;
ALTER DATABASE bench SET max_parallel_workers_per_gather = 0;
