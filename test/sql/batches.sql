-- encode_batch, decode_batch and decode_batch_text, the window forms, in both modes.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('k'), kms.create_key('other');
SELECT kms.set_key(1, 'k'), kms.set_key(2, 'other');
\pset null (null)

-- What a call is found for.
SELECT kms.decode_text(1, kms.encode_batch(1, 'literal') OVER ());
SELECT kms.decode_text(1, kms.encode_batch(1, 'literal', 'c') OVER (), 'c');
SELECT kms.decode(1, kms.encode_batch(1, '\x00ff'::bytea) OVER ());
SELECT kms.decode_text(1, kms.encode_batch(1, 'varchar'::varchar) OVER ());
SELECT kms.decode_text(1, kms.encode_batch(context => 'c', data => 'named', local_id => 1) OVER (), 'c');
SELECT kms.decode_batch(1, kms.encode(1, '\x0102'::bytea)) OVER ();
SELECT kms.decode_batch_text(1, kms.encode(1, 'text', 'c'), 'c') OVER ();
SELECT kms.encode_batch(1, NULL) OVER (), kms.decode_batch(1, NULL) OVER (), kms.decode_batch_text(1, NULL, '') OVER ();
PREPARE e AS SELECT kms.encode_batch($1, $2, $3) OVER ();
PREPARE eb(bytea) AS SELECT kms.encode_batch(1, $1) OVER ();
PREPARE d AS SELECT kms.decode_batch(1, $1) OVER ();
PREPARE dt AS SELECT kms.decode_batch_text($1, $2, $3) OVER ();
SELECT name, parameter_types FROM pg_prepared_statements ORDER BY name;
EXECUTE e(1, 'prepared', 'c') \gset
EXECUTE dt(1, :'encode_batch', 'c');
EXECUTE eb('\x00ff') \gset
EXECUTE d(:'encode_batch');
DEALLOCATE ALL;
\set VERBOSITY sqlstate
SELECT kms.encode_batch(1, 'x');
SELECT kms.decode_batch(1, '\x') FILTER (WHERE true) OVER ();
SELECT 1 WHERE kms.decode_batch(1, '\x') OVER () IS NULL;
\set VERBOSITY default

-- What comes of a query: its rows, or its error.
CREATE FUNCTION pg_temp.outcome(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
BEGIN
  EXECUTE 'SELECT string_agg(each::text, '' '') FROM (' || query || ') each' INTO result;
  RETURN CASE WHEN length(result) > 200 THEN 'md5 ' || md5(result) ELSE result END;
EXCEPTION WHEN OTHERS THEN
  RETURN sqlstate || ' ' || sqlerrm;
END $$;
CREATE TEMP TABLE cases (n int GENERATED ALWAYS AS IDENTITY, query text, like_scalar text);
CREATE TEMP VIEW outcomes AS
SELECT n, query, pg_temp.outcome(query) AS outcome, pg_temp.outcome(like_scalar) AS scalar FROM cases ORDER BY n;

-- id, its group, a local id and a context of its own, the plaintext, and sealed in three ways.
CREATE TEMP TABLE person AS
SELECT *, kms.encode(1, plain) AS sealed, kms.encode(1, plain, context) AS bound, kms.encode(key, plain, context) AS mixed
FROM (SELECT id, id % 7 AS team, 1 + id % 2 AS key, ('row ' || id)::bytea AS context,
      CASE WHEN id % 5 > 0 THEN 'person ' || id END AS plain FROM generate_series(1, 3000) id) person;
CREATE TEMP TABLE few AS SELECT * FROM person WHERE id <= 6;

-- What a window form gives is what the scalar form gives.
INSERT INTO cases (query, like_scalar) VALUES
  ('SELECT kms.decode_batch_text(1, sealed) OVER () FROM few',
   'SELECT plain FROM few'),
  ('SELECT kms.decode_batch(1, sealed) OVER () FROM few',
   'SELECT plain::bytea FROM few'),
  ('SELECT id, kms.decode_batch_text(1, sealed) OVER () FROM person',
   'SELECT id, plain FROM person'),
  ('SELECT id, kms.decode_batch_text(1, bound, context) OVER () FROM person',
   'SELECT id, plain FROM person'),
  ('SELECT id, kms.decode_batch_text(key, mixed, context) OVER () FROM person',
   'SELECT id, plain FROM person'),
  ('SELECT id, kms.decode_batch_text(1 + id % 2, mixed, (''row '' || id)::bytea) OVER () FROM person',
   'SELECT id, plain FROM person'),
  ('SELECT id, kms.decode_batch_text(1, sealed) OVER (PARTITION BY team) FROM person ORDER BY id',
   'SELECT id, plain FROM person'),
  ('SELECT id, kms.decode_batch_text(1, sealed) OVER (PARTITION BY id) FROM person',
   'SELECT id, plain FROM person ORDER BY id'),
  ('SELECT id, kms.decode_batch_text(1, sealed) OVER (PARTITION BY id / 2, team) FROM person ORDER BY 1',
   'SELECT id, plain FROM person ORDER BY id'),
  ('SELECT id, kms.decode_batch_text(1, sealed) OVER (ORDER BY id DESC) FROM person',
   'SELECT id, plain FROM person ORDER BY id DESC'),
  ('SELECT id, kms.decode_batch_text(1, sealed) OVER (PARTITION BY team ORDER BY id DESC) FROM person',
   'SELECT id, plain FROM person ORDER BY team, id DESC'),
  ('SELECT id, kms.decode_batch_text(1, sealed) OVER (ORDER BY id ROWS CURRENT ROW) FROM person',
   'SELECT id, plain FROM person'),
  ('SELECT id, kms.decode_batch_text(1, sealed) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING) FROM person',
   'SELECT id, plain FROM person'),
  ('SELECT id, kms.decode_batch_text(1, sealed) OVER (ORDER BY id ROWS BETWEEN 2 FOLLOWING AND 1 FOLLOWING) FROM person',
   'SELECT id, plain FROM person'),
  ('SELECT id, kms.decode_batch_text(1, sealed) OVER (ORDER BY team, id RANGE UNBOUNDED PRECEDING EXCLUDE CURRENT ROW) FROM person',
   'SELECT id, plain FROM person ORDER BY team, id'),
  ('SELECT id, kms.decode_batch_text(1, sealed) OVER (PARTITION BY team ORDER BY id GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING EXCLUDE TIES) FROM person',
   'SELECT id, plain FROM person ORDER BY team, id'),
  ('SELECT kms.decode_batch_text(1, sealed) OVER w, kms.decode_batch_text(1, bound, context) OVER w, kms.decode_batch(key, mixed, context) OVER w FROM person WINDOW w AS (ORDER BY id)',
   'SELECT plain, plain, plain::bytea FROM person'),
  ('SELECT kms.decode_batch_text(1, sealed) OVER (ORDER BY id), kms.decode_batch_text(1, bound, context) OVER (PARTITION BY team ORDER BY id) FROM person ORDER BY id',
   'SELECT plain, plain FROM person'),
  ('SELECT kms.decode_batch_text(1, sealed) OVER w, row_number() OVER w, lag(id, 20, 0) OVER w, lead(id, 2000, 0) OVER w, count(plain) OVER w, sum(id) OVER (ORDER BY id ROWS 3 PRECEDING), ntile(9) OVER w FROM person WINDOW w AS (ORDER BY id)',
   'SELECT plain, row_number() OVER w, lag(id, 20, 0) OVER w, lead(id, 2000, 0) OVER w, count(plain) OVER w, sum(id) OVER (ORDER BY id ROWS 3 PRECEDING), ntile(9) OVER w FROM person WINDOW w AS (ORDER BY id)'),
  ('SELECT * FROM (SELECT kms.decode_batch_text(1, sealed) OVER w, rank() OVER w AS rank FROM person WINDOW w AS (PARTITION BY team ORDER BY id)) ranked WHERE rank < 3',
   'SELECT * FROM (SELECT plain, rank() OVER w AS rank FROM person WINDOW w AS (PARTITION BY team ORDER BY id)) ranked WHERE rank < 3'),
  ('SELECT kms.decode_text(key, kms.encode_batch(key, plain, context) OVER (), context) FROM person',
   'SELECT plain FROM person'),
  ('SELECT kms.decode_batch_text(1, kms.encode(1, plain)) OVER () FROM person',
   'SELECT plain FROM person'),
  ('SELECT kms.decode_batch_text(1, kms.recode(key, 1, mixed, context), context) OVER () FROM person',
   'SELECT plain FROM person'),
  ('SELECT kms.decode_batch_text(1, s) OVER () FROM (SELECT kms.encode_batch(1, plain) OVER () AS s FROM person) inner_one',
   'SELECT plain FROM person'),
  -- The result of a subquery is gone when it is run for the next row.
  ('SELECT kms.decode_text(1, kms.encode_batch(1, (SELECT p.plain FROM person p WHERE p.id = f.id)) OVER ()) FROM person f WHERE id < 200',
   'SELECT plain FROM person WHERE id < 200'),
  ('SELECT kms.decode_batch_text((SELECT p.key FROM person p WHERE p.id = f.id), (SELECT p.mixed FROM person p WHERE p.id = f.id), (SELECT p.context FROM person p WHERE p.id = f.id)) OVER () FROM person f WHERE id < 200',
   'SELECT plain FROM person WHERE id < 200'),
  ('SELECT kms.decode_batch_text(1, sealed, (SELECT ''''::bytea)) OVER () FROM person f',
   'SELECT plain FROM person'),
  ('SELECT count(DISTINCT s) FROM (SELECT kms.encode_batch(1, ''same'') OVER () AS s FROM person) sealed',
   'SELECT 3000'),
  ('SELECT bool_and(a <> b) FROM (SELECT kms.encode_batch(1, ''same'') OVER () AS a, kms.encode_batch(1, ''same'') OVER () AS b FROM person) sealed',
   'SELECT true'),
  ('SELECT min(kms.decode_text(1, s)), max(kms.decode_text(1, s)), count(*) FROM (SELECT kms.encode_batch(1, plain) OVER (PARTITION BY plain) AS s FROM person) sealed',
   'SELECT min(plain), max(plain), count(*) FROM person'),
  ('SELECT DISTINCT length(kms.decode_batch_text(1, sealed) OVER ()) FROM person ORDER BY 1',
   'SELECT DISTINCT length(plain) FROM person ORDER BY 1'),
  ('SELECT team, count(*) OVER (), kms.decode_batch_text(1, min(sealed::text)::bytea) OVER () FROM few GROUP BY team ORDER BY team',
   'SELECT team, 6, plain FROM few ORDER BY team'),
  ('SELECT kms.decode_batch_text(1, sealed) OVER () FROM person LIMIT 3 OFFSET 2000',
   'SELECT plain FROM person LIMIT 3 OFFSET 2000'),
  ('SELECT kms.decode_batch_text(1, sealed) OVER () FROM person WHERE false',
   'SELECT plain FROM person WHERE false'),
  ('SELECT kms.decode_batch_text(1, NULL) OVER () IS NULL FROM few',
   'SELECT true FROM few'),
  ('SELECT kms.decode_batch_text(9, NULL) OVER () IS NULL FROM few',
   'SELECT kms.decode_text(9, NULL) IS NULL FROM few'),
  -- Rescans.
  ('SELECT f.id, p.opened FROM few f, LATERAL (SELECT kms.decode_batch_text(1, p.sealed) OVER (ORDER BY id) AS opened FROM person p WHERE p.team = f.id LIMIT 2) p',
   'SELECT f.id, p.plain FROM few f, LATERAL (SELECT plain FROM person p WHERE p.team = f.id ORDER BY id LIMIT 2) p'),
  ('SELECT f.id, (SELECT string_agg(opened, '','' ORDER BY id) FROM (SELECT p.id, kms.decode_batch_text(f.key, p.mixed, p.context) OVER () AS opened FROM person p WHERE p.team = f.team AND p.key = f.key) o WHERE id < 30) FROM few f',
   'SELECT f.id, (SELECT string_agg(plain, '','' ORDER BY id) FROM person p WHERE p.team = f.team AND p.key = f.key AND id < 30) FROM few f'),
  ('SELECT f.id, (SELECT kms.decode_batch_text(1, f.sealed) OVER () FROM few LIMIT 1) FROM few f',
   'SELECT f.id, f.plain FROM few f'),
  ('SELECT id, opened FROM few JOIN (SELECT id AS other, kms.decode_batch_text(1, sealed) OVER () AS opened FROM few) o ON other >= id ORDER BY id, other',
   'SELECT f.id, o.plain FROM few f JOIN few o ON o.id >= f.id ORDER BY f.id, o.id');
CREATE TEMP TABLE locally AS SELECT n, outcome FROM outcomes;
SELECT count(*) FROM locally;
SELECT query, outcome, scalar FROM outcomes WHERE outcome IS DISTINCT FROM scalar;
SET enable_material = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT query, outcome, scalar FROM outcomes WHERE outcome IS DISTINCT FROM scalar;
SET kms.mode = 'remote';
SELECT query, outcome, scalar FROM outcomes WHERE outcome IS DISTINCT FROM scalar;
SET work_mem = '64kB';
SELECT query, outcome, scalar FROM outcomes WHERE outcome IS DISTINCT FROM scalar;
RESET work_mem;
RESET enable_material;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET kms.mode;

-- An error comes when its row is reached. Of 100 rows one is b, tampered with; c, under another key; d, no ciphertext; t, no text.
TRUNCATE cases;
CREATE TEMP TABLE bad AS
SELECT n, i, CASE WHEN i <> 61 THEN a WHEN n = 'b' THEN set_byte(a, length(a) - 1, get_byte(a, length(a) - 1) # 1) WHEN n = 'c' THEN kms.encode(2, 'a')
       WHEN n = 'd' THEN '\x00' WHEN n = 't' THEN kms.encode(1, '\xff00fe'::bytea) ELSE a END AS sealed,
       CASE WHEN n <> 'l' OR i <> 61 THEN 1 END AS key, CASE WHEN n <> 'x' OR i <> 61 THEN ''::bytea END AS context,
       CASE WHEN n = 'u' AND i = 61 THEN 9 ELSE 1 END AS unbound
FROM kms.encode(1, 'a') a, unnest('{b,c,d,t,l,x,u}'::text[]) n, generate_series(1, 100) i;
INSERT INTO cases (query)
SELECT format('SELECT count(opened) FROM (SELECT kms.decode_batch_text(%s, sealed, context) OVER () AS opened FROM bad WHERE n = %L LIMIT %s) o',
  CASE n WHEN 'u' THEN 'unbound' ELSE 'key' END, n, limit_) FROM unnest('{b,c,d,t,l,x,u}'::text[]) n, unnest('{60,61,100}'::int[]) limit_;
INSERT INTO cases (query) VALUES
  ('SELECT kms.decode_batch(NULL, sealed) OVER () FROM few'), ('SELECT kms.decode_batch(1, sealed, NULL) OVER () FROM few'),
  ('SELECT kms.decode_batch(NULL, NULL) OVER () FROM few'), ('SELECT kms.encode_batch(1, NULL::text, NULL) OVER () FROM few'),
  ('SELECT kms.decode_batch(9, sealed) OVER () FROM few'), ('SELECT kms.encode_batch(0, plain) OVER () FROM few'),
  ('SELECT kms.encode_batch((-1), plain) OVER () FROM few'), ('SELECT kms.encode_batch(1, (1 / (id - 5))::text) OVER () FROM few'),
  -- Behind a row that fails is another that does.
  ('SELECT kms.decode_batch(1, CASE WHEN id < 3 THEN sealed WHEN id = 3 THEN ''\x00'' END, CASE WHEN id < 4 THEN '''' END::bytea) OVER () FROM few');
TRUNCATE locally;
INSERT INTO locally SELECT n, outcome FROM outcomes;
SELECT substr(query, 8) AS "SELECT", locally.outcome FROM cases JOIN locally USING (n) ORDER BY n;
SET kms.mode = 'remote';
SELECT query, remotely.outcome AS remotely, locally.outcome AS locally FROM outcomes remotely JOIN locally USING (n)
WHERE remotely.outcome IS DISTINCT FROM locally.outcome;

-- Rows before it come out of a cursor.
BEGIN;
DECLARE c CURSOR FOR SELECT i, kms.decode_batch_text(1, sealed) OVER () FROM bad WHERE n = 'b';
MOVE 55 FROM c;
FETCH 5 FROM c;
FETCH c;
ROLLBACK;

-- What a source of rows may be used for.
CREATE TEMP TABLE target (id int, sealed bytea, plain text);
INSERT INTO target SELECT id, kms.encode_batch(1, plain) OVER () FROM person;
SELECT count(*), count(p.plain) FROM target t JOIN person p USING (id) WHERE kms.decode_text(1, t.sealed) IS NOT DISTINCT FROM p.plain;
CREATE TEMP TABLE opened AS SELECT id, kms.decode_batch_text(1, sealed) OVER (ORDER BY id) AS plain FROM target;
SELECT count(*), count(o.plain) FROM opened o JOIN person p USING (id) WHERE o.plain IS NOT DISTINCT FROM p.plain;
UPDATE target SET plain = o.plain, sealed = o.again
FROM (SELECT id, kms.decode_batch_text(1, sealed) OVER () AS plain, kms.encode_batch(2, id::text) OVER () AS again FROM target) o WHERE o.id = target.id;
SELECT count(*), count(t.plain), bool_and(kms.decode_text(2, t.sealed) = id::text)
FROM target t JOIN person p USING (id) WHERE t.plain IS NOT DISTINCT FROM p.plain;
WITH o AS MATERIALIZED (SELECT id, kms.decode_batch_text(1, sealed) OVER () AS plain FROM person)
SELECT count(*) FROM o JOIN person p USING (id) WHERE o.plain = p.plain;
DO $$
DECLARE
  person record;
  rows int := 0;
BEGIN
  FOR person IN SELECT id, plain, kms.decode_batch_text(1, sealed) OVER () AS opened FROM person LOOP
    ASSERT person.opened IS NOT DISTINCT FROM person.plain AND kms.decode_text(1, kms.encode(1, 'in between')) = 'in between';
    rows := rows + 1;
  END LOOP;
  RAISE NOTICE '% rows', rows;
  rows := 0;
  FOR person IN SELECT kms.decode_batch_text(1, sealed) OVER () FROM person LOOP
    rows := rows + 1;
    IF rows % 1000 = 1 THEN
      COMMIT;
    END IF;
  END LOOP;
  RAISE NOTICE '% rows', rows;
  rows := 0;
  BEGIN
    FOR person IN SELECT kms.decode_batch_text(1, sealed) OVER () FROM bad WHERE n = 'b' LOOP
      rows := rows + 1;
    END LOOP;
  EXCEPTION WHEN SQLSTATE 'KM005' THEN
    RAISE NOTICE '% rows before %', rows, sqlerrm;
  END;
  RAISE NOTICE 'and then %', (SELECT count(opened) FROM (SELECT kms.decode_batch(1, sealed) OVER () AS opened FROM person) o);
END $$;

-- A function in an argument, which uses keys and windows itself.
CREATE FUNCTION pg_temp.nested(id int) RETURNS bytea LANGUAGE sql AS
$$ SELECT kms.encode(1, kms.decode_batch_text(1, sealed) OVER ()) FROM person WHERE person.id = $1 $$;
SELECT id, kms.decode_batch_text(1, pg_temp.nested(id)) OVER () FROM few;
CREATE FUNCTION pg_temp.nested(id int, own_key int) RETURNS bytea LANGUAGE plpgsql SET kms.keys = '1=other' AS
$$ BEGIN RETURN kms.encode(own_key, 'nested ' || id); END $$;
SELECT id, kms.decode_batch_text(2, pg_temp.nested(id, 1)) OVER () FROM few;

-- How far is read ahead: little for a LIMIT, and what was read for one query is not for another.
SELECT requests FROM kms.status() \gset
SELECT kms.decode_batch_text(1, sealed) OVER () FROM person LIMIT 4;
SELECT requests - :requests < 20 AS few FROM kms.status();
SELECT requests FROM kms.status() \gset
SELECT count(o.opened) FROM (SELECT kms.decode_batch_text(1, sealed) OVER () AS opened FROM person) o;
SELECT requests - :requests AS requests FROM kms.status();
SELECT starts FROM kms.status();
