-- encode_array, decode_array and decode_text_array, in both modes.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('k'), kms.create_key('other');
SELECT kms.set_key(1, 'k'), kms.set_key(2, 'other');
\pset null (null)

-- What a call is found for. Literals of text[] and bytea[], and of one context and many, look alike.
SELECT kms.decode_text_array(1, kms.encode_array(1, ARRAY['a', 'b']));
SELECT kms.decode_array(1, kms.encode_array(1, ARRAY['\x00ff', NULL]::bytea[]));
SELECT kms.decode_text_array(1, kms.encode_array(1, '{a,b}'::text[]));
SELECT kms.decode_text_array(1, kms.encode_array(1, ARRAY['a', 'b']::varchar[]));
SELECT kms.decode_text_array(1, kms.encode_array(1, ARRAY['a', 'b']::varchar(1)[]));
SELECT kms.decode_text_array(1, kms.encode_array(1, ARRAY['a'], 'c'::bytea), 'c'::bytea);
SELECT kms.decode_text_array(1, kms.encode_array(1, ARRAY['a'], context => 'c'), context => 'c');
SELECT kms.decode_text_array(1, kms.encode_array(1, ARRAY['a'], contexts => '{c}'), contexts => '{c}');
SELECT kms.decode_text_array(1, kms.encode_array(1, ARRAY['a'], ARRAY['c'::bytea]), ARRAY['c']::bytea[]);
SELECT kms.decode_text_array(local_id => 1, data => kms.encode_array(data => ARRAY['a'], local_id => 1));
SELECT kms.decode_array(1, '{}'), kms.decode_text_array(1, NULL);
\set VERBOSITY sqlstate
SELECT kms.encode_array(1, '{a,b}');
SELECT kms.encode_array(1, NULL);
SELECT kms.encode_array(1, ARRAY['a'], 'c');
SELECT kms.decode_array(1, '{}', 'c');
SELECT kms.encode_array(1, ARRAY[1]);
SELECT kms.encode_array(1, 'a'::text);
PREPARE unclear AS SELECT kms.encode_array(1, $1);
PREPARE unclear AS SELECT kms.decode_array(1, $1, $2);
\set VERBOSITY default
PREPARE e(text[]) AS SELECT kms.encode_array(1, $1);
PREPARE eb(bytea[]) AS SELECT kms.encode_array(1, $1);
PREPARE ec AS SELECT kms.encode_array($1, $2::text[], context => $3);
PREPARE ecs AS SELECT kms.encode_array($1, $2::text[], contexts => $3);
PREPARE d AS SELECT kms.decode_array(1, $1);
PREPARE dc AS SELECT kms.decode_array(1, $1, context => $2);
PREPARE dt AS SELECT kms.decode_text_array($1, $2);
PREPARE dcs AS SELECT kms.decode_text_array($1, $2, contexts => $3);
SELECT name, parameter_types FROM pg_prepared_statements ORDER BY name;
EXECUTE e('{a,NULL,"b c"}') \gset
EXECUTE dt(1, :'encode_array');
EXECUTE eb('{"\\x00ff",NULL}') \gset
EXECUTE d(:'encode_array');
EXECUTE ec(1, '{{a},{b}}', 'c') \gset
EXECUTE dc(:'encode_array', 'c');
EXECUTE ecs(1, '{{a},{b}}', '{{c},{d}}') \gset
EXECUTE dcs(1, :'encode_array', '{{c},{d}}');
DEALLOCATE ALL;

-- What comes of a query: its value, or its error and the element that it is about.
CREATE FUNCTION pg_temp.outcome(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
  place text;
BEGIN
  EXECUTE query INTO result;
  RETURN result;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS place = PG_EXCEPTION_CONTEXT;
  RETURN sqlstate || ' ' || sqlerrm || coalesce(' AT ' || substring(place FROM '^array element (\S+)'), '');
END $$;

-- Shapes.
CREATE TEMP TABLE shape (plain text[]);
INSERT INTO shape VALUES (NULL), ('{}'), ('{NULL}'), ('{a}'), ('{a,NULL,"","b c"}'), ('{NULL,NULL,NULL}'),
  ('{{a,b},{c,NULL}}'), ('{{{a},{b}},{{c},{d}}}'), ('{{{{{{a,b}}}}}}'), ('[5:7]={a,b,c}'), ('[-1:0][2:4]={{a,b,c},{d,NULL,f}}'),
  (('[3:3]={a}'::text[])[4:9]), (array_fill('x'::text, ARRAY[2, 3], ARRAY[-2147483648, 2147483644]));
CREATE TEMP VIEW shapes AS
SELECT plain, kms.decode_text_array(1, kms.encode_array(1, plain)) IS NOT DISTINCT FROM plain AS text,
       kms.decode_array(1, kms.encode_array(1, plain::bytea[])) IS NOT DISTINCT FROM plain::bytea[] AS bytea,
       kms.decode_text_array(1, kms.encode_array(1, plain, context => 'c'), context => 'c') IS NOT DISTINCT FROM plain AS context,
       kms.decode_text_array(1, kms.encode_array(1, plain, plain::bytea[]), plain::bytea[]) IS NOT DISTINCT FROM plain AS contexts
FROM shape WHERE plain IS NOT NULL;
TABLE shapes;
SET kms.mode = 'remote';
TABLE shapes;
RESET kms.mode;

-- Arrays in a table, whose elements and whose whole are stored in every form.
CREATE TEMP TABLE bag AS
SELECT n, array_agg(CASE WHEN length % 7 <> 3 THEN repeat(chr(65 + n), length) END ORDER BY length) AS plain
FROM generate_series(1, 3) n, unnest('{0,1,2,3,15,16,17,125,126,127,128,1999,2001,9000,100000,500000}'::int[]) length GROUP BY n;
ALTER TABLE bag ADD sealed bytea[], ALTER plain SET STORAGE external;
INSERT INTO bag SELECT n + 3, plain FROM bag;
UPDATE bag SET sealed = kms.encode_array(1, plain) WHERE n % 2 = 0;
SET kms.mode = 'remote';
UPDATE bag SET sealed = kms.encode_array(1, plain) WHERE n % 2 = 1;
SELECT bool_and(kms.decode_text_array(1, sealed) = plain), bool_and(array_dims(sealed) = array_dims(plain)) FROM bag;
RESET kms.mode;
SELECT bool_and(kms.decode_text_array(1, sealed) = plain) FROM bag;
-- The elements are what encode makes and decode takes.
SELECT bool_and(kms.decode_text(1, sealed[i]) = plain[i]), count(sealed[i]) FROM bag, generate_subscripts(plain, 1) i;
SELECT kms.decode_text_array(1, array_agg(kms.encode(1, n::text) ORDER BY n)) FROM generate_series(1, 20) n;
SELECT bool_and(kms.decode_text_array(1, (sealed)[2:4]) = plain[2:4]) FROM bag;

-- An array that PL/pgSQL holds in its own form.
DO $$
DECLARE
  plain text[];
  sealed bytea[];
BEGIN
  FOR n IN 1..20 LOOP
    plain[n] := n;
  END LOOP;
  sealed := kms.encode_array(1, plain);
  sealed[3] := NULL;
  RAISE NOTICE '%', kms.decode_text_array(1, sealed);
END $$;

-- Errors. a is sealed, b tampered with, c under another key, d no ciphertext, t no text.
CREATE TEMP TABLE cases (n int GENERATED ALWAYS AS IDENTITY, query text);
CREATE TEMP TABLE sealed AS
SELECT a, set_byte(a, length(a) - 1, get_byte(a, length(a) - 1) # 1) AS b, kms.encode(2, 'a') AS c, '\x00'::bytea AS d,
       kms.encode(1, '\xff00fe'::bytea) AS t
FROM kms.encode(1, 'a') a;
INSERT INTO cases (query) VALUES
  ('SELECT kms.decode_text_array(1, ARRAY[a, NULL, a]) FROM sealed'),
  ('SELECT kms.decode_text_array(1, ARRAY[a, NULL, a, b, a]) FROM sealed'),
  ('SELECT kms.decode_array(1, ARRAY[b, c, d]) FROM sealed'),
  ('SELECT kms.decode_array(1, ARRAY[a, c, b]) FROM sealed'),
  ('SELECT kms.decode_array(1, ARRAY[NULL, NULL, d]) FROM sealed'),
  ('SELECT kms.decode_array(1, ARRAY[[a, a, NULL], [a, NULL, b]]) FROM sealed'),
  ('SELECT kms.decode_array(1, ARRAY[[[a], [a]], [[c], [NULL]]]) FROM sealed'),
  ('SELECT kms.decode_array(1, array_fill(d, ARRAY[2, 3], ARRAY[-7, 2147483640])) FROM sealed'),
  ('SELECT kms.decode_array(1, ARRAY[a, a], context => ''x'') FROM sealed'),
  ('SELECT kms.decode_array(1, ARRAY[NULL, a], contexts => ''{x,x}'') FROM sealed'),
  ('SELECT kms.decode_text_array(1, ARRAY[a, t, b]) FROM sealed'),
  ('SELECT kms.decode_text_array(1, ARRAY[a, t, t]) FROM sealed'),
  ('SELECT kms.decode_text_array(1, ARRAY[a, NULL, a], contexts => ARRAY['''', NULL, '''']::bytea[]) FROM sealed'),
  ('SELECT kms.decode_text_array(1, ARRAY[a, NULL, a], contexts => ARRAY['''', '''', NULL]::bytea[]) FROM sealed'),
  ('SELECT kms.decode_text_array(1, ARRAY[a, a], contexts => ''{""}'') FROM sealed'),
  ('SELECT kms.decode_text_array(1, ARRAY[a, a], contexts => ''{}'') FROM sealed'),
  ('SELECT kms.decode_text_array(1, ARRAY[a, a], contexts => ''{{"",""}}'') FROM sealed'),
  ('SELECT kms.decode_text_array(1, ARRAY[[a, a]], contexts => ''{{""},{""}}'') FROM sealed'),
  ('SELECT kms.decode_text_array(1, ''{}'', contexts => ''{""}'')'),
  ('SELECT kms.decode_text_array(1, ''{}'', contexts => ''{}'')'),
  ('SELECT kms.decode_text_array(1, ARRAY[a, a], contexts => ''[7:8]={"",""}'') FROM sealed'),
  ('SELECT kms.encode_array(1, ARRAY[''a''], contexts => NULL)'),
  ('SELECT kms.encode_array(1, NULL::text[], contexts => NULL)'),
  ('SELECT kms.encode_array(1, NULL::text[], contexts => ''{a,b}'')'),
  ('SELECT kms.encode_array(1, ARRAY[''a''], context => NULL)'),
  ('SELECT kms.encode_array(NULL, ARRAY[''a''])'),
  ('SELECT kms.encode_array(NULL, NULL::bytea[])'),
  ('SELECT kms.decode_text_array(9, ARRAY[a]) FROM sealed'),
  ('SELECT kms.decode_text_array(9, ARRAY[NULL::bytea])'),
  ('SELECT kms.decode_text_array(9, ''{}'')'),
  ('SELECT kms.encode_array(0, ARRAY[''a''])'),
  ('SELECT kms.encode_array(-1, ARRAY[''a''])'),
  ('SELECT array_length(kms.encode_array(1, array_fill(NULL::text, ARRAY[1000000])), 1)');
CREATE TEMP TABLE locally AS SELECT n, pg_temp.outcome(query) FROM cases;
SELECT substr(query, 8) AS "SELECT", outcome FROM cases JOIN locally USING (n) ORDER BY n;
SET kms.mode = 'remote';
SELECT query, pg_temp.outcome(query) AS remotely, outcome AS locally FROM cases JOIN locally USING (n)
WHERE pg_temp.outcome(query) IS DISTINCT FROM outcome;
\set VERBOSITY terse
SELECT kms.decode_text_array(1, ARRAY[a, t]) FROM sealed;
\set VERBOSITY default

-- An array is as many requests; an array of none, or of NULLs, is none.
SELECT requests FROM kms.status() \gset
SELECT kms.decode_text_array(1, ARRAY[a, a, NULL, a]) FROM sealed;
SELECT requests - :requests AS requests FROM kms.status();
SELECT kms.encode_array(1, '{}'::text[]), kms.encode_array(1, '{NULL,NULL}'::text[]), kms.encode_array(1, NULL::text[]);
SELECT requests - :requests AS requests FROM kms.status();
SELECT starts, errors > 0 AS errors FROM kms.status();
