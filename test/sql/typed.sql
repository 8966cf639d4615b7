-- Values of any type are sealed as their text, which is the same in every session, and come back as they were; and forms that give
-- NULL where a value cannot be opened.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('k'), kms.create_key('siv', 'aes-256-siv'), kms.create_key('other');
SET kms.keys = '1=k, 2=siv, 3=other';
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE moneyrange AS RANGE (SUBTYPE = money);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE FUNCTION opened(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
    came_back bool;
BEGIN
    EXECUTE format('SELECT kms.decode_text(1, kms.encode(1, v)), kms.decode_as(1, kms.encode(1, v), v) IS NOT DISTINCT FROM v FROM (SELECT %s) s (v)', expression)
    INTO result, came_back;
    RETURN coalesce(result, 'NULL') || CASE WHEN came_back THEN '' ELSE ' and did not come back' END;
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate || ' ' || sqlerrm;
END $$;
SET TimeZone = 'America/New_York';
SET DateStyle = 'German';
SET IntervalStyle = 'iso_8601';
SET extra_float_digits = -15;
SET bytea_output = 'escape';
SELECT expression, opened(expression) FROM unnest(ARRAY['42', '-1::int2', '9223372036854775807', '1.500', '100::numeric', '1e20::numeric', '''NaN''::numeric',
    'true', '0.1::float8', '1::float4 / 3', '''-0''::float8', 'date ''2020-01-31''', 'timestamptz ''2020-01-31 10:00 UTC''', 'timestamp ''2020-01-31 10:00:00.5''',
    'interval ''1 day 2 hours''', 'time ''10:00''', '''{"b": 1, "a": [1.50]}''::jsonb', '''a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11''::uuid', 'inet ''10.0.0.1/8''',
    '''ok''::mood', '7::positive', 'int4range(1, 5)', '''text''::varchar(10)', '''pad''::char(5)', '''name''::name', 'NULL::int', '10::bit(4)', 'point ''(1,2)''',
    'ROW(1, 2)', 'ROW(1)::pg_class', 'moneyrange(1::money, 2::money)', '''pg_class''::regclass', '''int''::regtype', '12::money', '''c''::refcursor', '''{1,2}''::int[]', '''x''::"char"']) expression;
-- What equals is one ciphertext under a deterministic key, and one term.
SELECT kms.encode(2, 1.50) = kms.encode(2, 1.5), kms.encode(2, timestamptz '2020-01-31 10:00 UTC') = kms.encode(2, timestamptz '2020-01-31 05:00 -05:00');
SELECT count(DISTINCT kms.encode(2, n % 3)) FROM generate_series(1, 100) n;
SHOW TimeZone;
SHOW DateStyle;
RESET ALL;
SET kms.command = :'command';
SET kms.keys = '1=k, 2=siv, 3=other';

-- Literals, parameters and what becomes text by itself are text or bytea, as ever.
PREPARE untyped AS SELECT kms.encode(1, $1);
PREPARE typed(numeric) AS SELECT kms.encode(1, $1);
SELECT name, parameter_types FROM pg_prepared_statements ORDER BY name;
SELECT kms.decode_text(1, kms.encode(1, '1.50')), kms.encode(1, NULL), kms.decode_text(1, kms.encode(data => 5, local_id => 1, context => 'c'), 'c');
SELECT kms.encode(NULL, 1);
SELECT kms.encode(1, 1, NULL);
SELECT kms.encode(9, 1);
SELECT kms.encode(1, 1, 'kms/1 ');

-- What comes back is of the type, or an error that shows nothing of it.
SELECT kms.decode_as(1, kms.encode(1, '1.50'), NULL::numeric), kms.decode_as(1, kms.encode(1, '1.50'), 0::numeric), kms.decode_as(1, kms.encode(1, '{1,NULL}'), NULL::int[]),
    kms.decode_as(1, kms.encode(1, '\x00ff'::bytea), NULL::bytea), kms.decode_as(1, NULL, NULL::int), kms.decode_as(1, kms.encode(1, '5', 'c'), NULL::int, 'c');
SELECT pg_typeof(kms.decode_as(1, kms.encode(1, 7), NULL::positive));
SELECT kms.decode_as(1, kms.encode(1, 'secret'), NULL::numeric);
SELECT kms.decode_as(1, kms.encode(1, '99999999999'), NULL::int);
SELECT kms.decode_as(1, kms.encode(1, '{"secret'), NULL::jsonb);
SELECT kms.decode_as(1, kms.encode(1, '-5'), NULL::positive);
SELECT kms.decode_as(1, kms.encode(1, 'secret'), NULL::mood);
SELECT kms.decode_as(1, kms.encode(1, '\x00'::bytea), NULL::int);
\set VERBOSITY terse
SELECT kms.decode_as(1, kms.encode(3, '5'), NULL::int);
\set VERBOSITY default
SELECT kms.decode_as(1, 'x', NULL::int);
SELECT kms.decode_as(1, kms.encode(1, '5'), NULL::pg_class);
SELECT kms.decode_as(1, kms.encode(1, '5'), NULL);

-- NULL for what cannot be opened: damaged, another context or key, or a key that is destroyed; not for one that is disabled.
CREATE TABLE try (what text, v bytea);
INSERT INTO try VALUES ('good', kms.encode(1, 'v')), ('another context', kms.encode(1, 'v', 'c')), ('another key', kms.encode(3, 'v')), ('none', 'x'), ('NULL', NULL);
SELECT what, kms.try_decode_text(1, v), kms.try_decode_with('k', v), kms.try_decode_with_text('k', v), kms.try_decode_with('k'::bytea, v), kms.try_decode_with_text('k'::bytea, v) FROM try;
SELECT kms.try_decode_text(1, kms.encode(1, '\x00'::bytea));
SELECT kms.try_decode_text(1, v, NULL) FROM try WHERE what = 'good';
SELECT kms.try_decode_with_text('no such key', v) FROM try WHERE what = 'good';
-- A condition is no guard, CASE is one.
CREATE FUNCTION is_mine(kind text) RETURNS bool LANGUAGE plpgsql STABLE COST 1000 AS $$ BEGIN RETURN kind = 'mine'; END $$;
CREATE TABLE mixed AS SELECT 'mine' AS kind, kms.encode(1, 'v') AS v UNION ALL SELECT 'other', kms.encode(3, 'v');
\set VERBOSITY sqlstate
SELECT kind FROM mixed WHERE is_mine(kind) AND kms.decode_text(1, v) = 'v';
\set VERBOSITY default
SELECT kind FROM mixed WHERE CASE WHEN is_mine(kind) THEN kms.decode_text(1, v) END = 'v';
DROP TABLE mixed;
DROP FUNCTION is_mine;
SELECT kms.rotate_key('k');
SET kms.cache_ttl = -1;
SELECT kms.disable_key('k', 1);
SELECT kms.try_decode_text(1, v) FROM try WHERE what = 'good';
SELECT kms.try_decode_with_text('k', v) FROM try WHERE what = 'good';
SET kms.mode = 'remote';
SELECT kms.try_decode_with('k', v) FROM try WHERE what = 'good';
SELECT kms.destroy_key('k', 1);
SELECT what, kms.try_decode(1, v), kms.try_decode_with_text('k', v) FROM try WHERE what = 'good';
SET kms.mode = 'local';
SELECT what, kms.try_decode_text(1, v), kms.try_decode_with('k', v) FROM try WHERE what = 'good';
SELECT kms.decode_text(1, v) FROM try WHERE what = 'good';
SELECT kms.create_key('kek of typed', purpose => 'wrap'), kms.create_data_key('tenant of typed', 'kek of typed');
-- A domain over bytea.
CREATE DOMAIN photo AS bytea CHECK (length(VALUE) < 10);
SELECT b, kms.decode_as(1, kms.encode(1, b::photo), NULL::photo) = b AS same FROM unnest(ARRAY['\x414243', 'C:\temp', 'a\101', '']::text[]) t, convert_to(t, 'UTF8') b;
SELECT kms.decode_as(1, kms.encode(1, '\x00ff00'::bytea), NULL::photo);
SELECT kms.decode_as(1, kms.encode(1, '\x00010203040506070809'::bytea), NULL::photo);
SET kms.mode = 'envelope';
CREATE TABLE sealed AS SELECT kms.encode_with('tenant of typed', 'v') AS v;
SELECT kms.rotate_data_key('tenant of typed');
SELECT kms.disable_data_key('tenant of typed', 1);
SELECT kms.try_decode_with_text('tenant of typed', v) FROM sealed;
CALL kms.destroy_data_key('tenant of typed', 1, force => true, shred => true);
SELECT kms.try_decode_with_text('tenant of typed', v), kms.try_decode_with('tenant of typed', v) FROM sealed;
DROP TABLE try, sealed;
DROP FUNCTION opened;
DROP TYPE mood, moneyrange;
DROP DOMAIN positive, photo;
