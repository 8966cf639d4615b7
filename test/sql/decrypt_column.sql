-- decrypt_column: back to plaintext, the way encrypt_column came; a column that was encrypted could not go back.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kms_writer, regress_kms_reader;
RESET client_min_messages;
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('pii'), kms.create_key('other');

CREATE TABLE back (id int PRIMARY KEY, born date NOT NULL, note text);
COMMENT ON COLUMN back.born IS 'the birthday';
INSERT INTO back SELECT n, date '2000-01-01' + n FROM generate_series(1, 300) n;
CREATE TEMP TABLE was AS SELECT * FROM back;
CALL kms.encrypt_column('back', 'born', 'pii', context_expression => 'id::text::bytea');
CALL kms.decrypt_column('back', 'born_encrypted', 'date');
SELECT kms.switch_column('back', 'born');
INSERT INTO back (id, born_encrypted) VALUES (1001, kms.encode_with('pii', '2024-02-29', '1001'));

SET DateStyle = 'German, DMY';
CALL kms.decrypt_column('back', 'born_encrypted', 'date', batch => 70);
SELECT relation, column_name, phase, rows_done, rows_total FROM kms.reencrypt_progress ORDER BY column_name;
SELECT count(*), count(*) FILTER (WHERE b.born = w.born) FROM back b JOIN was w USING (id);
SELECT born FROM back WHERE id = 1001;

-- In step from now on: what is sealed counts.
INSERT INTO back (id, born_encrypted) VALUES (1002, kms.encode_with('pii', '2001-12-31', '1002'));
INSERT INTO back (id, born_encrypted, born) VALUES (1003, kms.encode_with('pii', '2001-12-30', '1003'), '1999-01-01');
UPDATE back SET born_encrypted = kms.encode_with('pii', '2010-10-10', '1') WHERE id = 1;
UPDATE back SET born = NULL WHERE id = 3;
UPDATE back SET note = 'touched' WHERE id = 4;
UPDATE back SET born = '1999-01-01' WHERE id = 2;
UPDATE back SET id = 2005 WHERE id = 5;
UPDATE back SET id = 2006, born_encrypted = kms.encode_with('pii', '2016-06-06', '2006') WHERE id = 6;
SELECT id, born, note FROM back WHERE id IN (1, 2, 3, 4, 5, 2006) OR id BETWEEN 1002 AND 1004 ORDER BY id;
RESET DateStyle;
SELECT id, born, note FROM back WHERE id IN (1, 2, 3, 4, 5, 2006) OR id BETWEEN 1002 AND 1004 ORDER BY id;

BEGIN;
ALTER TABLE back ALTER born_encrypted DROP NOT NULL;
SAVEPOINT s;
INSERT INTO back (id, born_encrypted, born) VALUES (1004, NULL, '1999-01-01');
ROLLBACK TO s;
INSERT INTO back (id, born_encrypted, born) VALUES (1004, NULL, NULL);
UPDATE back SET born_encrypted = NULL WHERE id = 2;
SELECT id, born FROM back WHERE id IN (2, 1004) ORDER BY id;
ROLLBACK;

-- A rotation and a re-encryption meanwhile.
SELECT kms.rotate_key('pii');
CALL kms.reencrypt('back', 'born_encrypted');
CALL kms.decrypt_column('back', 'born_encrypted', 'date');
CALL kms.decrypt_column('back', 'born_encrypted', 'timestamp');
CALL kms.decrypt_column('back', 'born_encrypted', 'date', plain_column => 'another');

-- The switch: what does not agree is found.
ALTER TABLE back DISABLE TRIGGER zzz_kms_born;
UPDATE back SET born = '1999-01-01' WHERE id = 7;
ALTER TABLE back ENABLE ALWAYS TRIGGER zzz_kms_born;
SELECT kms.switch_column('back', 'born_encrypted');
UPDATE back SET born = NULL WHERE id = 7;
ALTER TABLE back ALTER born_encrypted SET DEFAULT '\x00';
CREATE VIEW sealed AS SELECT born_encrypted FROM back;
SELECT kms.switch_column('back', 'born_encrypted', dry_run => true);
SELECT kms.switch_column('back', 'born_encrypted');
DROP VIEW sealed;
SELECT kms.switch_column('back', 'born_encrypted');
SELECT kms.switch_column('back', 'born_encrypted', drop_constraints => true);
\d back
SELECT col_description('back'::regclass, attnum) FROM pg_attribute WHERE attrelid = 'back'::regclass AND attname = 'born';
SELECT count(*) FROM kms.registered_columns;
SELECT count(*), count(*) FILTER (WHERE b.born = w.born) FROM back b JOIN was w USING (id);
DROP TABLE back;

-- Who may read sealed values does not read what is in them after the switch.
CREATE ROLE regress_kms_reader;
CREATE TABLE granted (id int, c bytea);
INSERT INTO granted VALUES (1, kms.encode_with('pii', 'secret'));
SELECT kms.register_column('granted', 'c', 'pii');
GRANT SELECT (id, c) ON granted TO regress_kms_reader;
CALL kms.decrypt_column('granted', 'c', 'text');
SELECT kms.switch_column('granted', 'c', dry_run => true);
SELECT kms.switch_column('granted', 'c');
SELECT kms.switch_column('granted', 'c', drop_constraints => true);
SELECT c, has_column_privilege('regress_kms_reader', 'granted', c, 'SELECT') FROM unnest('{id,c_plain}'::text[]) c ORDER BY c COLLATE "C" DESC;
DROP TABLE granted;
DROP ROLE regress_kms_reader;

-- Any type, in partitions, in remote mode.
SET kms.mode = 'remote';
CREATE TABLE parted (id int, b bytea, x numeric(10,2), v varchar(5), a int[], j jsonb, t timestamptz) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE parted_2 (t timestamptz, a int[], v varchar(5), x numeric(10,2), id int, j jsonb, b bytea);
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (100) TO (1000);
INSERT INTO parted SELECT n, int4send(n), n / 3::numeric, n, ARRAY[n, NULL], jsonb_build_object('n', n), timestamptz '2000-01-01 12:00:00+00' + n * interval '1 hour' FROM generate_series(50, 150) n;
CREATE TEMP TABLE parted_was AS SELECT * FROM parted;
SET client_min_messages = warning;
DO $$ DECLARE c name; BEGIN
    FOREACH c IN ARRAY '{b,x,v,a,j,t}'::name[] LOOP
        CALL kms.encrypt_column('parted', c, 'pii', context_expression => 'int4send(id)');
        PERFORM kms.switch_column('parted', c);
    END LOOP;
END $$;
SET TimeZone = 'Asia/Kathmandu';
DO $$ DECLARE c text[]; BEGIN
    FOREACH c SLICE 1 IN ARRAY '{{b,bytea},{x,"numeric(10,2)"},{v,varchar(5)},{a,int[]},{j,jsonb},{t,timestamptz}}'::text[] LOOP
        CALL kms.decrypt_column('parted', (c[1] || '_encrypted')::name, c[2]);
        PERFORM kms.switch_column('parted', (c[1] || '_encrypted')::name);
    END LOOP;
END $$;
RESET client_min_messages;
RESET TimeZone;
RESET kms.mode;
\d parted
SELECT count(*), count(*) FILTER (WHERE (p.b, p.x, p.v, p.a, p.j, p.t) IS NOT DISTINCT FROM (w.b, w.x, w.v, w.a, w.j, w.t)) FROM parted p JOIN parted_was w USING (id);
DROP TABLE parted;

-- What is no value of the type, without a word of what it is; and what cannot be opened.
CREATE TABLE t (id int, c bytea, plain text);
SELECT kms.register_column('t', 'c', 'pii');
INSERT INTO t VALUES (1, kms.encode_with('pii', 'secret')), (2, kms.encode_with('pii', '\x00'::bytea));
CALL kms.decrypt_column('t', 'c', 'int');
INSERT INTO t VALUES (3, kms.encode_with('pii', 'secret'));
DROP TRIGGER zzz_kms_c_plain ON t;
ALTER TABLE t DROP c_plain;
-- The types' own errors are of other classes than those of data: 42704 and 42601.
CALL kms.decrypt_column('t', 'c', 'regrole');
DROP TRIGGER zzz_kms_c_plain ON t;
ALTER TABLE t DROP c_plain;
-- Nor do notices and warnings of the type's show anything: this one is cut, and says so.
SELECT current_setting('log_min_messages') AS level \gset
INSERT INTO t VALUES (3, kms.encode_with('pii', repeat('secret', 12)));
CALL kms.decrypt_column('t', 'c', 'regtype');
SHOW client_min_messages;
SELECT current_setting('log_min_messages') = :'level' AS same;
DROP TRIGGER zzz_kms_c_plain ON t;
ALTER TABLE t DROP c_plain;
UPDATE t SET c = kms.encode_with('pii', 'se cret') WHERE id = 3;
CALL kms.decrypt_column('t', 'c', 'tsquery');
INSERT INTO t VALUES (4, kms.encode_with('pii', 'se cret'));
DROP TRIGGER zzz_kms_c_plain ON t;
ALTER TABLE t DROP c_plain;
DELETE FROM t WHERE id = 3;
-- What takes the text and keeps less of it: the rest was lost with the switch.
CREATE TABLE less (id int, c bytea);
INSERT INTO less SELECT n, kms.encode_with('pii', v) FROM unnest('{hello,1.234,2024-05-01 13:45:00.123456+00,1.23456789012345,"{\"b\":1,\"b\":2}"}'::text[]) WITH ORDINALITY v (v, n);
INSERT INTO less VALUES (6, kms.encode_with('pii', repeat('x', 80))), (7, kms.encode_with('pii', '12.50'));
SELECT kms.register_column('less', 'c', 'pii');
CREATE FUNCTION into_type(row_id int, name text, OUT state text, OUT message text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE less ADD p %s', name);
    CREATE TRIGGER opens BEFORE INSERT OR UPDATE ON less FOR EACH ROW EXECUTE FUNCTION kms_internal.keep_in_step('c', 'p', 'open', 'pii', '');
    INSERT INTO less SELECT 0, c FROM less WHERE id = row_id;
    ALTER TABLE less DROP p CASCADE;
    DROP TRIGGER opens ON less;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
END $$;
SELECT n, t, i.* FROM (VALUES (1, '"char"'), (2, 'numeric(10,2)'), (3, 'date'), (4, 'float4'), (5, 'jsonb'), (6, 'name'), (7, 'numeric(10,2)'), (1, 'text'), (5, 'json')) v (n, t),
    LATERAL into_type(n, t) i;
DELETE FROM less WHERE id <> 2;
CALL kms.decrypt_column('less', 'c', 'numeric(10,2)');
DROP TABLE less;
CALL kms.decrypt_column('t', 'c', 'varchar(3)');
DROP TRIGGER zzz_kms_c_plain ON t;
ALTER TABLE t DROP c_plain;
DELETE FROM t WHERE id = 1;
CALL kms.decrypt_column('t', 'c', 'text');
DROP TRIGGER zzz_kms_c_plain ON t;
ALTER TABLE t DROP c_plain;
INSERT INTO t VALUES (4, '\x00'), (5, kms.encode_with('other', 'x'));
CALL kms.decrypt_column('t', 'c', 'bytea');
SELECT id, c_plain FROM t ORDER BY id;
INSERT INTO t VALUES (6, '\x00');
SELECT kms.switch_column('t', 'c');
UPDATE t SET c = NULL WHERE id IN (4, 5);
SELECT kms.switch_column('t', 'c');
\d t

-- In the middle of a move values are sealed in two ways.
CREATE TABLE moving (id int, c bytea);
SELECT kms.register_column('moving', 'c', 'pii');
INSERT INTO moving VALUES (1, kms.encode_with('pii', 'x')), (2, '\x00');
CALL kms.reencrypt('moving', 'c', new_key => 'other');
CALL kms.decrypt_column('moving', 'c', 'text');
DELETE FROM moving WHERE id = 2;
CALL kms.reencrypt('moving', 'c', new_key => 'other');
CALL kms.decrypt_column('moving', 'c', 'text');
SELECT c_plain FROM moving;
DROP TABLE moving;

-- The trigger opened whatever somebody wrote: for those alone who may open by themselves.
CREATE ROLE regress_kms_writer;
CREATE TABLE opened (ctx text, c bytea);
GRANT INSERT, UPDATE, SELECT ON opened TO regress_kms_writer;
INSERT INTO opened SELECT n::text, kms.encode_with('pii', 'v' || n, n::text::bytea) FROM generate_series(1, 3) n;
CREATE TEMP TABLE secret AS SELECT 'a' AS ctx, kms.encode_with('pii', 'secret', 'a') AS pii, kms.encode_with('other', 'secret', 'a') AS other;
GRANT SELECT ON secret TO regress_kms_writer;
SELECT kms.register_column('opened', 'c', 'pii'::text, $$convert_to(ctx, 'UTF8')$$);
CALL kms.decrypt_column('opened', 'c', 'text');
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'opened'::regclass;
SET ROLE regress_kms_writer;
INSERT INTO opened SELECT ctx, pii FROM secret;
UPDATE opened SET c = (SELECT pii FROM secret), ctx = 'a' WHERE ctx = '1';
INSERT INTO opened VALUES ('empty', NULL);
UPDATE opened SET c = NULL WHERE ctx = '2';
RESET ROLE;
GRANT EXECUTE ON FUNCTION kms.decode_with(text, bytea, bytea) TO regress_kms_writer;
SET ROLE regress_kms_writer;
INSERT INTO opened SELECT ctx, pii FROM secret;
RESET ROLE;
REVOKE EXECUTE ON FUNCTION kms.decode_with(text, bytea, bytea) FROM regress_kms_writer;
GRANT EXECUTE ON FUNCTION kms.decode_with_text(text, bytea, bytea) TO regress_kms_writer;
SET ROLE regress_kms_writer;
UPDATE opened SET c = (SELECT pii FROM secret), ctx = 'a' WHERE ctx = '1';
RESET ROLE;
SELECT ctx, c_plain FROM opened ORDER BY ctx, c_plain;
SELECT kms.register_column('opened', 'c_plain', 'pii'::text);
ALTER TABLE opened ADD over_it bytea;
SELECT kms.register_column('opened', 'over_it', 'pii'::text, $$convert_to(c_plain, 'UTF8')$$);
ALTER TABLE opened DROP over_it;
-- And under the key and context alone that it began with, whatever is registered since.
CALL kms.reencrypt('opened', 'c', new_key => 'other');
SELECT kms.unregister_column('opened', 'c'), kms.register_column('opened', 'c', 'other'::text, $$convert_to(ctx, 'UTF8')$$);
INSERT INTO opened SELECT ctx, other FROM secret;
CALL kms.decrypt_column('opened', 'c', 'text');
SELECT kms.switch_column('opened', 'c');
SELECT kms.unregister_column('opened', 'c'), kms.register_column('opened', 'c', 'pii'::text, $$'a'::text::bytea$$);
INSERT INTO opened SELECT 'mine', pii FROM secret;
SELECT kms.unregister_column('opened', 'c'), kms.register_column('opened', 'c', 'pii'::text, $$convert_to(ctx, 'UTF8')$$);
-- Nor another column that has got the name.
ALTER TABLE opened ADD d bytea;
SELECT kms.register_column('opened', 'd', 'other'::text, $$convert_to(ctx, 'UTF8')$$);
ALTER TABLE opened RENAME c TO e;
ALTER TABLE opened RENAME d TO c;
INSERT INTO opened (ctx, c) SELECT ctx, other FROM secret;
ALTER TABLE opened RENAME c TO d;
ALTER TABLE opened RENAME e TO c;
SELECT kms.unregister_column('opened', 'd');
SELECT kms.switch_column('opened', 'c');
SELECT * FROM opened ORDER BY ctx, c_plain;
DROP TABLE opened;
REVOKE EXECUTE ON FUNCTION kms.decode_with_text(text, bytea, bytea) FROM regress_kms_writer;

-- The owner of a table registers what he likes, also a key that he is not served: a superuser who is asked to decrypt the column opened its
-- values for him.
CREATE TABLE owned (id int, c bytea);
INSERT INTO owned VALUES (1, kms.encode_with('pii', 'v1', '1'));
SELECT kms.register_column('owned', 'c', 'pii'::text, 'id::text::bytea');
ALTER TABLE owned OWNER TO regress_kms_writer;
CALL kms.decrypt_column('owned', 'c', 'text');
CALL kms.decrypt_column('owned', 'c', 'text', was_key => 'other');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'owned'::regclass;
CALL kms.decrypt_column('owned', 'c', 'text', was_key => 'pii');
SELECT id, c_plain FROM owned;
GRANT regress_kms_writer TO CURRENT_USER;
CALL kms.decrypt_column('owned', 'c', 'text');
REVOKE regress_kms_writer FROM CURRENT_USER;
DROP TABLE owned;

-- Whoever updated another column of a row that was not filled yet had the trigger open its value, and so could not where he may not open it
-- or where it does not open.
CREATE TABLE unfilled (id int, c bytea, hits int DEFAULT 0);
INSERT INTO unfilled SELECT n, kms.encode_with('pii', v, n::text::bytea) FROM (VALUES (1, '2020-01-01'), (2, '2020-01-02'), (3, 'no date')) r (n, v);
SELECT kms.register_column('unfilled', 'c', 'pii'::text, 'id::text::bytea');
GRANT SELECT (id, hits), UPDATE (hits) ON unfilled TO regress_kms_writer;
\set VERBOSITY terse
CALL kms.decrypt_column('unfilled', 'c', 'date');
\set VERBOSITY default
SET ROLE regress_kms_writer;
UPDATE unfilled SET hits = hits + 1;
RESET ROLE;
UPDATE unfilled SET hits = hits + 1;
SELECT id, hits, c_plain FROM unfilled ORDER BY id;
\set VERBOSITY terse
SELECT kms.switch_column('unfilled', 'c');
\set VERBOSITY default
-- A filled one is opened anew where its context changes, and so is each whose sealed value does.
UPDATE unfilled SET id = 4 WHERE id = 1;
UPDATE unfilled SET id = 4, c = kms.encode_with('pii', '2020-01-04', '4') WHERE id = 1;
UPDATE unfilled SET c = kms.encode_with('pii', '2020-01-03', '3') WHERE id = 3;
SELECT id, hits, c_plain FROM unfilled ORDER BY id;
SELECT kms.switch_column('unfilled', 'c', drop_constraints => true);
DROP TABLE unfilled;

-- What is generated is not there yet when a trigger sees the row: writes failed, and an update opened with the value of before.
CREATE TABLE gained (id int, twice int GENERATED ALWAYS AS (id * 2) STORED, c bytea);
INSERT INTO gained (id, c) SELECT n, kms.encode_with('pii', 'v' || n, int4send(n * 2)) FROM generate_series(1, 2) n;
SELECT kms.register_column('gained', 'c', 'pii'::text, 'int4send(twice)');
CALL kms.decrypt_column('gained', 'c', 'text');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'gained'::regclass;
CALL kms.reencrypt('gained', 'c', new_context => 'int4send(id * 2)');
CALL kms.decrypt_column('gained', 'c', 'text');
SELECT id, c_plain FROM gained ORDER BY id;
DROP TABLE gained;

-- A number that was sealed as text, with the zeros that its column gives it.
CREATE TABLE amounts (id int PRIMARY KEY, amount bytea);
INSERT INTO amounts VALUES (1, kms.encode_with('pii', '133.50')), (2, kms.encode_with('pii', '8')), (3, kms.encode_with('pii', '7.25')), (4, NULL);
SELECT kms.register_column('amounts', 'amount', 'pii');
CALL kms.decrypt_column('amounts', 'amount', 'numeric(10,2)');
INSERT INTO amounts VALUES (5, kms.encode_with('pii', '0.10'));
ALTER TABLE amounts DISABLE TRIGGER USER;
UPDATE amounts SET amount = kms.encode_with('pii', '133.500') WHERE id = 1;
ALTER TABLE amounts ENABLE TRIGGER USER;
\set VERBOSITY terse
SELECT kms.switch_column('amounts', 'amount');
\set VERBOSITY default
UPDATE amounts SET amount = kms.encode_with('pii', '133.50') WHERE id = 1;
SELECT kms.switch_column('amounts', 'amount');
TABLE amounts ORDER BY id;
DROP TABLE amounts;

-- Whatever the default isolation level is.
CREATE TABLE isolated (id int, c bytea);
INSERT INTO isolated VALUES (1, kms.encode_with('pii', 'v1'));
SELECT kms.register_column('isolated', 'c', 'pii');
SET default_transaction_isolation = 'serializable';
CALL kms.decrypt_column('isolated', 'c', 'text');
CALL kms.reencrypt('isolated', 'c');
RESET default_transaction_isolation;
SELECT id, c_plain FROM isolated;
DROP TABLE isolated;
DROP OWNED BY regress_kms_writer;
DROP ROLE regress_kms_writer;

-- Refused.
CALL kms.decrypt_column('t', 'plain', 'text');
ALTER TABLE t ADD c bytea;
CALL kms.decrypt_column('t', 'c', 'text');
SELECT kms.register_column('t', 'c', 'pii');
CALL kms.decrypt_column('t', 'c', NULL);
CALL kms.decrypt_column('t', 'c', 'nonsense');
CALL kms.decrypt_column('t', 'c', 'information_schema.cardinal_number');
CALL kms.decrypt_column('t', 'c', 'text', plain_column => 'plain');
CALL kms.decrypt_column('t', 'c', 'text', published => NULL);
CALL kms.encrypt_column('t', 'plain', 'pii');
CALL kms.decrypt_column('t', 'plain_encrypted', 'text');
BEGIN;
CALL kms.decrypt_column('t', 'c', 'text');
ROLLBACK;
DROP TABLE t;
-- What the action of a foreign key writes is of whoever has changed the other table.
SELECT kms.create_key('det', 'aes-256-siv');
CREATE TABLE above (k bytea PRIMARY KEY);
CREATE TABLE below (id int PRIMARY KEY, s bytea REFERENCES above ON UPDATE CASCADE);
INSERT INTO above VALUES (kms.encode_with('det', 'one'));
INSERT INTO below SELECT 1, k FROM above;
SELECT kms.register_column('below', 's', 'det');
CALL kms.decrypt_column('below', 's', 'text');
UPDATE above SET k = kms.encode_with('det', 'of another table');
SELECT s_plain FROM below;
DROP TABLE below, above;
