-- Values in local mode, in every form of call.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('k'), kms.create_key('other');
SELECT kms.set_key(1, 'k'), kms.set_key(2, 'other');

CREATE TEMP TABLE person (id int, ssn bytea);
INSERT INTO person VALUES (7, kms.encode(1, '078-05-1120'));
SELECT kms.decode_text(1, ssn) FROM person;

-- Every literal form.
SELECT kms.decode(1, kms.encode(1, '\x00ff'::bytea));
SELECT kms.decode_text(1, kms.encode(1, 'text'::text));
SELECT kms.decode_text(1, kms.encode(1, 'varchar'::varchar));
SELECT kms.decode_text(1, kms.encode(1, 'unknown', 'context'), 'context');
SELECT kms.decode(1, kms.encode(1, '\x01'::bytea, '\x02'), '\x02');
SELECT kms.decode_text(1, kms.encode(local_id => 1, data => 'named', context => 'c'), context => 'c');
SELECT kms.try_decode(1, kms.encode(1, '\x0102'::bytea));
SELECT kms.try_decode(1, kms.encode(1, '\x0102'::bytea, 'c'), 'c');
SELECT kms.decode_text(2, kms.recode(1, 2, kms.encode(1, 'recoded')));
SELECT kms.decode_text(2, kms.recode(1, 2, kms.encode(1, 'recoded', 'c'), 'c'), 'c');
SELECT suite, length(key_tag), length(nonce), plaintext_length FROM kms.inspect(kms.encode(1, 'abc'));
SELECT suite, length(key_tag), length(nonce), plaintext_length FROM kms.inspect('\x010000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000');

-- Every prepared form.
PREPARE e AS SELECT kms.encode(1, $1);
PREPARE ec AS SELECT kms.encode($1, $2, $3);
PREPARE d AS SELECT kms.decode(1, $1);
PREPARE dt AS SELECT kms.decode_text($1, $2, $3);
PREPARE td AS SELECT kms.try_decode(1, $1, $2);
PREPARE r AS SELECT kms.recode($1, $2, $3);
PREPARE i AS SELECT kms.inspect($1);
PREPARE sk AS SELECT kms.set_key($1, $2);
PREPARE skb(int, bytea) AS SELECT kms.set_key($1, $2);
PREPARE uk AS SELECT kms.unset_key($1);
PREPARE eb(bytea) AS SELECT kms.encode(1, $1);
PREPARE d2 AS SELECT kms.decode(2, $1, $2);
PREPARE dt1 AS SELECT kms.decode_text(1, $1);
PREPARE td1 AS SELECT kms.try_decode(1, $1);
PREPARE rc AS SELECT kms.recode($1, $2, $3, $4);
SELECT name, parameter_types FROM pg_prepared_statements ORDER BY name;
EXECUTE skb(4, 'k');
EXECUTE uk(4);
EXECUTE sk(3, 'k');
SELECT kms.encode(3, 'prepared', 'c') AS sealed \gset
EXECUTE dt(3, :'sealed', 'c');
EXECUTE td(:'sealed', 'c');
EXECUTE ec(3, 'prepared as well', 'c') \gset
EXECUTE dt(3, :'encode', 'c');
EXECUTE e('prepared') \gset
EXECUTE d(:'encode');
EXECUTE dt1(:'encode');
EXECUTE td1(:'encode');
EXECUTE r(1, 2, :'encode') \gset
EXECUTE d2(:'recode', '');
EXECUTE rc(2, 1, :'recode', '') \gset
EXECUTE dt1(:'recode');
EXECUTE eb('\x00ff') \gset
EXECUTE d(:'encode');
EXECUTE i('\x010000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000');
DEALLOCATE ALL;

-- NULLs: data gives NULL, anything else is an error.
\pset null (null)
SELECT kms.encode(1, NULL::text), kms.encode(1, NULL::bytea), kms.encode(1, NULL), kms.decode(1, NULL),
       kms.decode_text(1, NULL), kms.try_decode(1, NULL), kms.recode(1, 2, NULL);
SELECT * FROM kms.inspect(NULL);
\set VERBOSITY sqlstate
SELECT kms.encode(NULL, 'x');
SELECT kms.encode(1, 'x', NULL);
SELECT kms.encode(1, NULL::text, NULL);
SELECT kms.decode(NULL, '\x');
SELECT kms.decode(1, '\x', NULL);
SELECT kms.decode_text(1, '\x', NULL);
SELECT kms.try_decode(1, '\x', NULL);
SELECT kms.recode(NULL, 2, '\x');
SELECT kms.recode(1, NULL, '\x');
SELECT kms.recode(1, 2, '\x', NULL);
\set VERBOSITY default

-- Empty data, long data, a short header, an inline compressed and a toasted value.
SELECT length(kms.encode(1, '')), kms.decode_text(1, kms.encode(1, '')) = '' AS empty;
SELECT n, kms.decode(1, kms.encode(1, decode(repeat('ab', n), 'hex'))) = decode(repeat('ab', n), 'hex') AS same
FROM unnest(ARRAY[1, 15, 16, 17, 126, 127, 128, 8191, 8192, 100000, 10000000]) n;
CREATE TEMP TABLE note (id int, plain text, sealed bytea);
INSERT INTO note SELECT n, repeat(md5(n::text), n), NULL FROM generate_series(1, 1000, 111) n;
UPDATE note SET sealed = kms.encode(1, plain, id::text::bytea);
SELECT bool_and(kms.decode_text(1, sealed, id::text::bytea) = plain) FROM note;

-- The same plaintext is never sealed alike, and the overhead is what the format says.
SELECT count(DISTINCT kms.encode(1, 'same')) FROM generate_series(1, 5000);
SELECT DISTINCT length(kms.encode(1, 'same')) - 4 AS overhead FROM generate_series(1, 10);

-- Local ids that no key can be bound to are as unbound as any other.
\set VERBOSITY sqlstate
SELECT kms.encode(0, 'x');
SELECT kms.encode(-1, 'x');
SELECT kms.encode(2147483647, 'x');
SELECT kms.decode((-2147483648), '\x00');
SELECT kms.try_decode(65536, '\x00');
SELECT kms.recode(1, 0, kms.encode(1, 'x'));

-- What a ciphertext is not: KM004, KM005, KM006; and their message.
\set VERBOSITY terse
SELECT kms.encode(1, 'secret', 'context') AS sealed \gset
SELECT kms.decode(2, :'sealed', 'context');
SELECT kms.decode(1, :'sealed', 'other context');
SELECT kms.decode(1, :'sealed');
SELECT kms.decode(1, '\x');
SELECT kms.decode(1, '\x00');
SELECT kms.decode(1, set_byte(:'sealed', 0, 9), 'context');
SELECT kms.inspect('\xff00');
SELECT kms.try_decode(2, :'sealed', 'context') IS NULL, kms.try_decode(1, :'sealed') IS NULL, kms.try_decode(1, '\x00') IS NULL;
SELECT kms.recode(2, 1, :'sealed', 'context');
SELECT kms.recode(1, 2, :'sealed', 'x');
SELECT kms.recode(1, 9, :'sealed', 'context');

\set VERBOSITY default

-- Truncated at every byte, and flipped at every bit.
CREATE FUNCTION pg_temp.outcome(sealed bytea, context bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM kms.decode(1, sealed, context);
  RETURN 'decoded';
EXCEPTION WHEN OTHERS THEN
  RETURN sqlstate;
END $$;
SELECT pg_temp.outcome(substr(:'sealed'::bytea, 1, n), 'context'), count(*), min(n), max(n)
FROM generate_series(0, length(:'sealed'::bytea)) n GROUP BY 1 ORDER BY 3;
SELECT pg_temp.outcome(set_bit(:'sealed'::bytea, n, 1 - get_bit(:'sealed'::bytea, n)), 'context'), count(*), min(n), max(n)
FROM generate_series(0, length(:'sealed'::bytea) * 8 - 1) n GROUP BY 1 ORDER BY 3, 1;
SELECT count(kms.try_decode(1, set_bit(:'sealed'::bytea, n, 1 - get_bit(:'sealed'::bytea, n)), 'context')) AS decoded
FROM generate_series(0, length(:'sealed'::bytea) * 8 - 1) n;

-- Text that is none in this database's encoding; the message does not show it.
DO $$
BEGIN
  PERFORM kms.decode_text(1, kms.encode(1, '\xff00fe'::bytea));
EXCEPTION WHEN character_not_in_repertoire THEN
  RAISE NOTICE '%', sqlerrm;
END $$;

-- A value that is used where rows are, and as a trigger stores it; no index and no generated column can hold one.
CREATE TABLE regress_kms_card (id int PRIMARY KEY, number bytea);
CREATE FUNCTION regress_kms_seal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.number := kms.encode(1, NEW.number, NEW.id::text::bytea);
  RETURN NEW;
END $$;
CREATE TRIGGER seal BEFORE INSERT ON regress_kms_card FOR EACH ROW EXECUTE FUNCTION regress_kms_seal();
INSERT INTO regress_kms_card VALUES (1, '4111111111111111'), (2, '5500000000000004');
SELECT id, kms.decode_text(1, number, id::text::bytea) FROM regress_kms_card ORDER BY id;
\set VERBOSITY sqlstate
CREATE INDEX ON regress_kms_card (kms.decode(1, number));
\set VERBOSITY default
CREATE TABLE regress_kms_opened (number bytea, opened bytea GENERATED ALWAYS AS (kms.decode(1, number)) STORED);

-- The planner may evaluate a STABLE call: EXPLAIN raises the error of a value that does not open.
EXPLAIN (COSTS off) SELECT FROM regress_kms_card WHERE number = kms.decode(1, '\x00');
DROP TABLE regress_kms_card;
DROP FUNCTION regress_kms_seal();
