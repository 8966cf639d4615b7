-- Registered columns: who may register what, what a context expression may be, and how the registry follows the tables.
LOAD 'kms';
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kms_owner, regress_kms_member, regress_kms_other;
DROP SCHEMA IF EXISTS kms_test, kms_renamed CASCADE;
RESET client_min_messages;
CREATE ROLE regress_kms_owner;
CREATE ROLE regress_kms_member IN ROLE regress_kms_owner;
CREATE ROLE regress_kms_other;
GRANT USAGE ON SCHEMA kms TO PUBLIC;
GRANT EXECUTE ON FUNCTION kms.register_column(regclass, name, text, text, text), kms.unregister_column(regclass, name), kms.registered_columns() TO PUBLIC;
GRANT SELECT ON kms.registered_columns TO PUBLIC;
CREATE SCHEMA kms_test AUTHORIZATION regress_kms_owner;
SET search_path = kms_test;

SET ROLE regress_kms_owner;
CREATE DOMAIN kms_test.sealed AS bytea CHECK (length(VALUE) > 8);
CREATE TYPE of_name AS (x regclass);
CREATE TABLE person (id int, name text, ssn bytea, note sealed, tags bytea[], made bytea GENERATED ALWAYS AS (ssn) STORED);
CREATE FUNCTION kms_test.of_row(int) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT $1::text::bytea $$;
CREATE FUNCTION kms_test.dice(int) RETURNS bytea LANGUAGE sql VOLATILE AS $$ SELECT $1::text::bytea $$;
CREATE FUNCTION kms_test.by_default(int, float = random()) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT ($1 + $2)::text::bytea $$;
CREATE FUNCTION kms_test.many(int) RETURNS SETOF bytea LANGUAGE sql IMMUTABLE AS $$ SELECT $1::text::bytea $$;

SELECT kms.register_column('person', 'ssn', 'customer pii', 'id::text::bytea');
SELECT kms.register_column('person', 'note', 'other');
SELECT relation, column_name, key_identifier, context_expression, registered > now() - interval '1 day' AS fresh, full_name FROM kms.registered_columns;
\set VERBOSITY sqlstate
SELECT kms.register_column('person', 'ssn', 'other');
SELECT kms.unregister_column('person', 'note');
SELECT kms.unregister_column('person', 'note');
SELECT kms.unregister_column('person', 'no such');
\set VERBOSITY default
RESET ROLE;
SELECT kms.register_column('kms_test.person', 'note', '\xff00'::bytea);
SELECT full_name, key_identifier FROM kms.registered_columns;
SELECT kms.unregister_column('kms_test.person', 'note');

-- Owners only, whatever else they may.
GRANT ALL ON SCHEMA kms_test TO regress_kms_other;
GRANT ALL ON ALL TABLES IN SCHEMA kms_test TO regress_kms_other;
SET ROLE regress_kms_other;
\set VERBOSITY sqlstate
SELECT kms.register_column('kms_test.person', 'note', 'k');
SELECT kms.unregister_column('kms_test.person', 'ssn');
SELECT * FROM kms.registered_column;
SELECT kms.register_column('pg_class', 'relname', 'k');
SET ROLE regress_kms_member;
SELECT kms.register_column('kms_test.person', 'note', 'k');
SELECT kms.unregister_column('kms_test.person', 'note');
DELETE FROM kms.registered_column;
SET ROLE regress_kms_owner;

-- What cannot be registered.
CREATE VIEW shown AS SELECT * FROM person;
CREATE TEMP TABLE fleeting (c bytea);
CREATE TABLE parted (id int, c bytea) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
CREATE TABLE part_of_part PARTITION OF part FOR VALUES FROM (0) TO (10);
\set VERBOSITY default
SELECT kms.register_column('shown', 'ssn', 'k');
SELECT kms.register_column('fleeting', 'c', 'k');
SELECT kms.register_column('part_of_part', 'c', 'k');
SELECT kms.register_column('person', 'name', 'k');
SELECT kms.register_column('person', 'tags', 'k');
SELECT kms.register_column('person', 'made', 'k');
SELECT kms.register_column('person', 'ctid', 'k');
SELECT kms.register_column('person', 'SSN', 'k');
SELECT kms.register_column('person', 'note', '');
\set VERBOSITY sqlstate
SELECT kms.register_column('shown', 'ssn', 'k');
SELECT kms.register_column('fleeting', 'c', 'k');
SELECT kms.register_column('part_of_part', 'c', 'k');
SELECT kms.register_column('person', 'name', 'k');
SELECT kms.register_column('person', 'made', 'k');
SELECT kms.register_column('person', 'ctid', 'k');
SELECT kms.register_column('person', 'SSN', 'k');
SELECT kms.register_column('person', 'note', '');
SELECT kms.register_column('nothing', 'c', 'k');
SELECT kms.register_column(2147483647::regclass, 'c', 'k');
SELECT kms.register_column(NULL, 'c', 'k');
SELECT kms.register_column('person', NULL, 'k');
SELECT kms.register_column('person', 'note', NULL::text);
SELECT kms.unregister_column(NULL, 'c');
RESET ROLE;
SELECT kms.register_column('pg_catalog.pg_class', 'relname', 'k');
SELECT kms.register_column('pg_catalog.pg_statistic', 'staattnum', 'k');
SET ROLE regress_kms_owner;
SELECT kms.register_column('parted', 'c', 'k');
SELECT kms.unregister_column('parted', 'c');

-- Context expressions.
\set VERBOSITY default
CREATE FUNCTION try(expression text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM kms.register_column('kms_test.person', 'note', 'k', expression);
    expression := context_expression FROM kms.registered_columns WHERE column_name = 'note';
    PERFORM kms.unregister_column('kms_test.person', 'note');
    RETURN expression;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
SELECT expression, try(expression) FROM unnest(ARRAY[
    'ssn', '''\x00''', '''plain''', 'NULL', '''kms/1 x''', 'of_row(id)', 'of_row(person.id)', '(id::text || name)::bytea', 'convert_to(name, ''UTF8'')', 'name::bytea', 'name::text::varchar::bytea', '(name::bytea[])[1]', '(ARRAY[name]::bytea[])[1]', '(id::text::bytea[])[1]',
    'id::text::bytea', '(id = 1)::text::bytea', '''name''::text::bytea', '''person''::regclass::text::bytea', '''{person}''::regclass[]::text::bytea', 'convert_to((''{}''::aclitem[])::text, ''UTF8'')', 'convert_to((ROW(''person'')::kms_test.of_name)::text, ''UTF8'')', 'convert_to(''int''::regtype::text, ''UTF8'')',
    'tags[1]', 'CASE WHEN id > 0 THEN of_row(id) END', 'note || ''\x00''', 'ctid::text::bytea', 'tableoid::text::bytea', 'person::text::bytea',
    'person.*', '*', 'id', 'name', 'id::text', 'dice(id)', 'many(id)', 'random()::text::bytea', 'clock_timestamp()::text::bytea', 'now()::text::bytea',
    '(SELECT ssn)', '(SELECT string_agg(ssn, '''') FROM person)', 'EXISTS (SELECT)::text::bytea', '(SELECT ''x''::bytea)', 'convert_to(ARRAY(SELECT 1::int)::text, ''UTF8'')', 'convert_to((id = ANY (SELECT 1::int))::text, ''UTF8'')', 'convert_to((WITH w AS (SELECT ''x''::text) SELECT * FROM w), ''UTF8'')', 'CASE WHEN id IN (SELECT 1::int) THEN ''''::bytea END', 'max(id)::text::bytea', 'string_agg(ssn, '''')', 'grouping(ssn)::text::bytea', 'by_default(id)', 'string_agg(ssn, ''''), ssn', 'first_value(ssn) OVER ()',
    'ssn, note', 'ssn FROM person', 'ssn AS s', 'DISTINCT ssn', 'ssn WHERE true', 'ssn ORDER BY id', 'ssn LIMIT 1', 'ssn FOR UPDATE', 'ssn GROUP BY ssn',
    'ssn UNION SELECT ssn', 'ssn; DROP TABLE person', 'ssn) FROM person; DROP TABLE person; --', 'of_row(id) -- ) comment', 'ssn /* comment', '', ' ', '(', '''', '$1', 'DEFAULT',
    'no_such', 'id + ''x''', 'no_such(id)', 'ssn || 1', 'other.ssn', '"NAME"::bytea', 'ssn COLLATE "C"', 'note', 'note::bytea'
]) WITH ORDINALITY e(expression, n) ORDER BY n;
SELECT kms.register_column('person', 'note', 'k', 'ssn || nosuch');
SELECT try('convert_to(''' || repeat('x', 8192) || ''', ''UTF8'')');
-- A cast that somebody makes takes no part in what an expression means.
CREATE TYPE kind AS ENUM ('a', 'b');
CREATE TABLE of_kind (k kind, c bytea);
SELECT kms.register_column('of_kind', 'c', 'k', $$convert_to(k::text, 'UTF8')$$);
CREATE FUNCTION shown(kind) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'forged' $$;
CREATE CAST (kind AS text) WITH FUNCTION shown(kind);
SELECT kms.unregister_column('of_kind', 'c');
SELECT kms.register_column('of_kind', 'c', 'k', $$convert_to(k::text, 'UTF8')$$);
DROP TABLE of_kind;
DROP TYPE kind CASCADE;
-- After every command that changes a definition its columns are compared with what they were.
DO $$
BEGIN
    EXECUTE (SELECT 'CREATE TABLE wide (c bytea, ' || string_agg('n' || n || ' bytea', ', ') || ')'
        FROM generate_series(1, 33) n);
    PERFORM kms.register_column('wide', 'c', 'k',
        (SELECT string_agg('n' || n, ' || ') FROM generate_series(1, 32) n));
    PERFORM kms.unregister_column('wide', 'c');
END $$;
SELECT kms.register_column('wide', 'c', 'k', (SELECT string_agg('n' || n, ' || ') FROM generate_series(1, 33) n));
DROP TABLE wide;
RESET ROLE;
SELECT count(*) FROM kms.registered_columns;

-- Names that need quotes, in the dump's form: without the caller's search_path.
SET ROLE regress_kms_owner;
CREATE TABLE "Odd ""table""" ("the id" int, "Sealed." bytea, "order" sealed);
SELECT kms.register_column('"Odd ""table"""', 'Sealed.', 'k', 'of_row("the id") || "order"::sealed');
SELECT relation, column_name, context_expression, full_name FROM kms.registered_columns WHERE column_name = 'Sealed.';
ALTER TABLE "Odd ""table""" RENAME "the id" TO "another id";
ALTER TABLE "Odd ""table""" RENAME "order" TO "by";
ALTER TABLE "Odd ""table""" RENAME "Sealed." TO "Sealed, again";
SELECT relation, column_name, context_expression, full_name FROM kms.registered_columns WHERE key_identifier = 'k';
DROP TABLE "Odd ""table""";

-- Renames.
CREATE VIEW registered AS SELECT full_name, relation::regclass::text = (parse_ident(full_name))[2] AS found, context_expression FROM kms.registered_columns ORDER BY full_name COLLATE "C";
CREATE TABLE other (id int, ssn bytea);
SELECT kms.register_column('other', 'ssn', 'k', 'id::text::bytea');
ALTER TABLE person RENAME TO people;
SELECT * FROM registered;
ALTER TABLE people RENAME ssn TO number;
ALTER TABLE people RENAME id TO pid;
ALTER TABLE people RENAME name TO id;
SELECT * FROM registered;
ALTER INDEX people RENAME TO person;
ALTER TABLE person RENAME id TO name;
ALTER TABLE person RENAME pid TO id;
ALTER TABLE person RENAME number TO ssn;
SELECT * FROM registered;
BEGIN;
ALTER TABLE person RENAME TO never;
ROLLBACK;
-- Names that change places.
ALTER TABLE person RENAME TO third;
ALTER TABLE other RENAME TO person;
ALTER TABLE third RENAME TO other;
SELECT * FROM registered;
ALTER TABLE person RENAME TO third; ALTER TABLE other RENAME TO person; ALTER TABLE third RENAME TO other;
RESET ROLE;
ALTER SCHEMA kms_test RENAME TO kms_renamed;
SELECT full_name FROM kms.registered_columns ORDER BY 1;
ALTER SCHEMA kms_renamed RENAME TO kms_test;
CREATE SCHEMA kms_renamed AUTHORIZATION regress_kms_owner;
ALTER TABLE person SET SCHEMA kms_renamed;
SELECT full_name, relation FROM kms.registered_columns ORDER BY 1;
ALTER TABLE kms_renamed.person SET SCHEMA kms_test;
SET ROLE regress_kms_owner;

-- A column that the expression needs is dropped: the table's owner is not kept from it, and the next use says so.
ALTER TABLE other DROP COLUMN id;
SELECT * FROM registered;
ALTER TABLE other RENAME ssn TO number;
ALTER TABLE other ADD COLUMN more int;
ALTER TABLE other RENAME more TO less;
SELECT * FROM registered;
ALTER TABLE other RENAME less TO id;
ALTER TABLE other RENAME id TO pid;
SELECT * FROM registered;
DROP TABLE other;

-- A child's column is renamed with its parent's.
CREATE TABLE parent (id int, ssn bytea);
CREATE TABLE child (more int, id int, ssn bytea);
ALTER TABLE child DROP COLUMN more;
ALTER TABLE child INHERIT parent;
SELECT kms.register_column('child', 'ssn', 'k', 'id::text::bytea');
ALTER TABLE parent RENAME ssn TO number;
ALTER TABLE parent RENAME id TO pid;
SELECT * FROM registered;

-- What other tables do is nothing to it.
ALTER TABLE parent ADD COLUMN more int;
ALTER TABLE parent DROP COLUMN more;
DROP TABLE part;
SELECT count(*) FROM registered;

-- Drops.
ALTER TABLE parent DROP COLUMN number;
SELECT * FROM registered;
ALTER TABLE child DROP COLUMN number;
SELECT * FROM registered;
SELECT kms.register_column('person', 'note', 'k'), kms.register_column('parted', 'c', 'k');
BEGIN;
DROP DOMAIN sealed CASCADE;
SELECT * FROM registered;
DROP TABLE person CASCADE;
SELECT full_name FROM kms.registered_columns;
ROLLBACK;
SELECT * FROM registered;
-- A session that replays others' changes is not exempt.
RESET ROLE;
SET session_replication_role = replica;
ALTER TABLE kms_test.person RENAME TO people;
SET session_replication_role = origin;
SELECT full_name FROM kms.registered_columns ORDER BY 1;
ALTER TABLE kms_test.people RENAME TO person;

-- A row of elsewhere: it is found by its names.
INSERT INTO kms.registered_column (relation_schema, relation_name, column_name, key_identifier)
VALUES ('gone', 'with', 'the_wind', 'k'), ('kms_test', 'child', 'pid', 'k');
SELECT relation_name, column_name, relation::regclass, attribute > 0 AS found FROM kms.registered_place JOIN kms.registered_column USING (id) WHERE relation_name IN ('with', 'child');
SELECT relation, column_name, full_name FROM kms.registered_columns WHERE column_name IN ('the_wind', 'pid');
-- ... even where triggers were off, from the next command on.
ALTER TABLE kms.registered_column DISABLE TRIGGER ALL;
DELETE FROM kms.registered_place p USING kms.registered_column r WHERE r.id = p.id AND r.column_name = 'pid';
DELETE FROM kms.registered_column WHERE column_name = 'pid';
INSERT INTO kms.registered_column (relation_schema, relation_name, column_name, key_identifier) VALUES ('kms_test', 'child', 'pid', 'k');
ALTER TABLE kms.registered_column ENABLE TRIGGER ALL;
ALTER TABLE kms.registered_column ENABLE ALWAYS TRIGGER placed, ENABLE ALWAYS TRIGGER guarded, ENABLE ALWAYS TRIGGER guarded_all;
ALTER TABLE kms_test.child RENAME TO grandchild;
SELECT relation_schema, relation_name, column_name FROM kms.registered_place JOIN kms.registered_column USING (id) ORDER BY 1, 2, 3;
DELETE FROM kms.registered_column WHERE relation_schema <> 'kms_test';
-- A column has one registration that counts, wherever a second one comes from.
\set VERBOSITY sqlstate
INSERT INTO kms.registered_column SELECT * FROM kms.registered_column;
INSERT INTO kms.registered_column (relation_schema, relation_name, column_name, key_identifier) VALUES ('kms_test', 'grandchild', 'pid', 'k');
\set VERBOSITY default
SELECT relation, full_name FROM kms.registered_columns WHERE column_name = 'pid' ORDER BY 1;
DELETE FROM kms.registered_column r WHERE NOT EXISTS (SELECT FROM kms.registered_place p WHERE p.id = r.id);
-- ... which is of the column that was noted, whatever its row says.
UPDATE kms.registered_column SET column_name = 'ssn', is_moving = true WHERE column_name = 'pid';
SELECT column_name, full_name FROM kms.registered_columns WHERE full_name ~ 'grandchild';
COMMENT ON TABLE grandchild IS 'any command';
SELECT relation_name, column_name FROM kms.registered_column WHERE relation_name = 'grandchild';

-- Whoever writes what is registered says what is evaluated as a table's owner: no privilege on the tables is enough for it.
GRANT ALL ON ALL TABLES IN SCHEMA kms TO regress_kms_other;
GRANT pg_write_all_data, pg_read_all_data TO regress_kms_other;
SET ROLE regress_kms_other;
UPDATE kms.registered_column SET context_expression = 'now()::text::bytea';
\set VERBOSITY sqlstate
INSERT INTO kms.registered_column (relation_schema, relation_name, column_name, key_identifier) VALUES ('gone', 'with', 'the_wind', 'k');
INSERT INTO kms.registered_column SELECT * FROM kms.registered_column ON CONFLICT (id) DO UPDATE SET context_expression = '';
DELETE FROM kms.registered_column;
TRUNCATE kms.registered_column;
COPY kms.registered_column (relation_schema, relation_name, column_name, key_identifier) FROM stdin;
gone	with	the_wind	k
\.
UPDATE kms.registered_place SET relation = 'pg_class'::regclass;
DELETE FROM kms.registered_place;
TRUNCATE kms.registered_place;
INSERT INTO kms.registered_place SELECT * FROM kms.registered_place;
RESET ROLE;
SET session_replication_role = replica;
SET ROLE regress_kms_other;
UPDATE kms.registered_column SET context_expression = 'now()::text::bytea';
RESET ROLE;
RESET session_replication_role;
\set VERBOSITY default
REVOKE ALL ON ALL TABLES IN SCHEMA kms FROM regress_kms_other;
REVOKE pg_write_all_data, pg_read_all_data FROM regress_kms_other;
SELECT relation_schema, relation_name, column_name, context_expression FROM kms.registered_column ORDER BY 1, 2, 3;

-- What runs while an expression is read, a domain's CHECK or a function that planning calls, dropped what it names.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('k');
SET ROLE regress_kms_owner;
CREATE TABLE kms_test.vanishing (id int, c bytea);
CREATE TABLE kms_test.is_due (n int);
CREATE OPERATOR kms_test.|+| (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = byteacat);
CREATE FUNCTION kms_test.f(int) RETURNS bytea LANGUAGE sql IMMUTABLE AS 'SELECT int4send($1)';
CREATE FUNCTION kms_test.drop_both() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM kms_test.is_due) THEN
        DROP OPERATOR kms_test.|+| (bytea, bytea);
        DROP FUNCTION kms_test.f(int);
    END IF;
END $$;
CREATE FUNCTION kms_test.constant() RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM kms_test.drop_both(); RETURN ''; END $$;
CREATE FUNCTION kms_test.passes(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM kms_test.drop_both(); RETURN true; END $$;
CREATE DOMAIN kms_test.checked AS text CHECK (kms_test.passes(VALUE));
CREATE FUNCTION kms_test.g(kms_test.checked[]) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT ''::bytea $$;
INSERT INTO kms_test.is_due VALUES (1);
SELECT kms.register_column('kms_test.vanishing', 'c', 'k', 'int4send(id) OPERATOR(kms_test.|+|) kms_test.constant()');
SELECT kms.register_column('kms_test.vanishing', 'c', 'k', $$kms_test.f(id) || kms_test.g('{x}'::kms_test.checked[])$$);
-- Or gave another name to the column that is being registered.
CREATE FUNCTION kms_test.rename_it() RETURNS void LANGUAGE plpgsql AS $$ BEGIN ALTER TABLE kms_test.vanishing RENAME c TO d; END $$;
CREATE FUNCTION kms_test.renames() RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM kms_test.rename_it(); RETURN ''; END $$;
CREATE FUNCTION kms_test.change_places() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE kms_test.vanishing RENAME c TO d;
    ALTER TABLE kms_test.vanishing RENAME id TO c;
END $$;
CREATE FUNCTION kms_test.changes() RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM kms_test.change_places(); RETURN ''; END $$;
SELECT kms.register_column('kms_test.vanishing', 'c', 'k', 'kms_test.renames()');
SELECT kms.register_column('kms_test.vanishing', 'c', 'k', 'kms_test.changes()');
TRUNCATE kms_test.is_due;
SELECT kms.register_column('kms_test.vanishing', 'c', 'k', $$kms_test.f(id) || kms_test.g('{x}'::kms_test.checked[])$$);
INSERT INTO kms_test.vanishing VALUES (1, '\x00');
INSERT INTO kms_test.is_due VALUES (1);
RESET ROLE;
CALL kms.reencrypt('kms_test.vanishing', 'c');
SELECT kms.unregister_column('kms_test.vanishing', 'c');

-- As text, these forms do not say the schema of the operator that they compare with, and meant another one where they were read.
CREATE TYPE kms_test.word AS (t text);
CREATE FUNCTION kms_test.alike(kms_test.word, kms_test.word) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT lower($1.t) = lower($2.t)';
CREATE FUNCTION kms_test.unlike(kms_test.word, kms_test.word) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT lower($1.t) <> lower($2.t)';
CREATE OPERATOR kms_test.= (LEFTARG = kms_test.word, RIGHTARG = kms_test.word, FUNCTION = kms_test.alike, NEGATOR = OPERATOR(kms_test.<>));
CREATE OPERATOR kms_test.<> (LEFTARG = kms_test.word, RIGHTARG = kms_test.word, FUNCTION = kms_test.unlike);
CREATE TYPE kms_test.loose AS ENUM ('a', 'A');
CREATE FUNCTION kms_test.alike(kms_test.loose, text) RETURNS bool LANGUAGE sql STABLE AS 'SELECT lower($1::text) = lower($2)';
CREATE OPERATOR kms_test.= (LEFTARG = kms_test.loose, RIGHTARG = text, FUNCTION = kms_test.alike);
SET ROLE regress_kms_owner;
CREATE TABLE compared (who word, kind loose, name varchar(10), c bytea);
SELECT kms.register_column('compared', 'c', 'k', $$CASE who WHEN ROW('ada')::word THEN 'A'::bytea ELSE 'other'::bytea END$$);
\set VERBOSITY sqlstate
SELECT kms.register_column('compared', 'c', 'k', $$CASE kind WHEN 'a'::text THEN 'A'::bytea ELSE 'other'::bytea END$$);
\set VERBOSITY default
\set VERBOSITY sqlstate
SELECT kms.register_column('compared', 'c', 'k', $$(NULLIF(who, ROW('ada')::word)).t::bytea$$);
SELECT kms.register_column('compared', 'c', 'k', $$NULLIF(kind, 'a'::text)::text::bytea$$);
SELECT kms.register_column('compared', 'c', 'k', $$(who IS DISTINCT FROM ROW('ada')::word)::text::bytea$$);
SELECT kms.register_column('compared', 'c', 'k', $$(who IS NOT DISTINCT FROM ROW('ada')::word)::text::bytea$$);
SELECT kms.register_column('compared', 'c', 'k', $$(who IN (ROW('ada')::word, ROW('bob')::word))::text::bytea$$);
SELECT kms.register_column('compared', 'c', 'k', $$(who = ANY (ARRAY[ROW('ada')::word]))::text::bytea$$);
SELECT kms.register_column('compared', 'c', 'k', $$((who, name) = (ROW('ada')::word, 'x'))::text::bytea$$), kms.unregister_column('compared', 'c');
\set VERBOSITY default
SELECT kms.register_column('compared', 'c', 'k', $$CASE WHEN who = ROW('ada')::word OR name IN ('a', 'b') OR name IS DISTINCT FROM 'c' THEN 'A'::bytea ELSE 'other'::bytea END$$);
SELECT context_expression FROM kms.registered_columns WHERE relation = 'compared'::regclass;
DROP TABLE compared;
RESET ROLE;

-- An expression is stored as text: another function of the name, which fits better, could take the place of one that is given other
-- types than it declares. So the casts that are made are stored with it, and what takes any type, or has defaults, is refused.
CREATE TABLE named (id int, name varchar(10), n numeric(10, 2), c bytea);
CREATE FUNCTION of_any(anyelement) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT convert_to($1::text, 'UTF8') $$;
CREATE FUNCTION of_more(int, text DEFAULT 'x') RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT convert_to($2 || $1, 'UTF8') $$;
CREATE FUNCTION of_many(VARIADIC int[]) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT convert_to($1::text, 'UTF8') $$;
CREATE FUNCTION of_big(bigint) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT convert_to($1::text, 'UTF8') $$;
CREATE FUNCTION of_two(a int, b text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT convert_to($2 || $1, 'UTF8') $$;
CREATE FUNCTION joined(anyelement, bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT $2 $$;
CREATE OPERATOR ### (LEFTARG = anyelement, RIGHTARG = bytea, FUNCTION = joined);
SELECT kms.register_column('named', 'c', 'k', 'of_any(id)');
SELECT kms.register_column('named', 'c', 'k', 'of_more(id)');
SELECT kms.register_column('named', 'c', 'k', 'of_many(id, 1)');
SELECT kms.register_column('named', 'c', 'k', $$of_two(b => 'x', a => id)$$);
SELECT kms.register_column('named', 'c', 'k', $$id ### ''::bytea$$);
SELECT kms.register_column('named', 'c', 'k', $$of_big(id) || of_two(id, name) || CASE WHEN of_any(id) = '' THEN '' ELSE ''::bytea END$$);
SELECT kms.register_column('named', 'c', 'k', $$of_big(id) || of_two(id, name)$$);
SELECT context_expression FROM kms.registered_columns WHERE relation = 'named'::regclass;
INSERT INTO named VALUES (1, 'n', 1, kms.encode_with('k', 'v', of_big(1) || of_two(1, 'n')));
CREATE FUNCTION of_big(int) RETURNS bytea LANGUAGE sql VOLATILE AS $$ SELECT 'another'::bytea $$;
CREATE FUNCTION of_two(int, varchar) RETURNS bytea LANGUAGE sql VOLATILE AS $$ SELECT 'another'::bytea $$;
SELECT kms.rotate_key('k') > 1;
CALL kms.reencrypt('named', 'c');
SELECT kms.decode_with_text('k', c, of_big(1::bigint) || of_two(1, 'n'::text)) FROM named;
-- What has become volatile since is not used.
ALTER FUNCTION of_big(bigint) VOLATILE;
SELECT kms.rotate_key('k') > 1;
CALL kms.reencrypt('named', 'c');
ALTER FUNCTION of_big(bigint) IMMUTABLE;
-- Another type of a column makes other contexts; not another length of a text.
ALTER TABLE named ALTER name TYPE text, ALTER n TYPE numeric(10, 3);
SELECT broken FROM kms.registered_columns WHERE relation = 'named'::regclass;
ALTER TABLE named ALTER id TYPE bigint;
SELECT broken FROM kms.registered_columns WHERE relation = 'named'::regclass;
CALL kms.reencrypt('named', 'c');
DROP TABLE named;
DROP OPERATOR ### (anyelement, bytea);
DROP FUNCTION of_any, of_more, of_many, of_big(int), of_big(bigint), of_two(int, text), of_two(int, varchar), joined;
RESET kms.command;

-- A cast of a user's type that is looked up as a function runs, and what another session does not have.
CREATE TYPE shade AS ENUM ('light', 'dark');
CREATE TYPE pg_temp.passing AS ENUM ('a');
CREATE FUNCTION pg_temp.passing(int) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT ''::bytea $$;
CREATE DOMAIN shades AS shade[];
CREATE TABLE shaded (k shade, many shades, n int, t text, c bytea);
CREATE FUNCTION taken(context text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM kms.register_column('shaded', 'c', 'k', context);
    PERFORM kms.unregister_column('shaded', 'c');
    RETURN 'taken';
EXCEPTION WHEN others THEN
    RETURN sqlstate || ' ' || sqlerrm;
END $$;
SELECT context, taken(context) FROM unnest(ARRAY[
    $$convert_to(k || 'x', 'UTF8')$$, $$convert_to('x' || k, 'UTF8')$$, $$convert_to(quote_literal(k), 'UTF8')$$, $$convert_to(quote_nullable(k), 'UTF8')$$,
    $$convert_to(to_json(k)::text, 'UTF8')$$, $$convert_to(to_jsonb(many)::text, 'UTF8')$$, $$convert_to(json_build_object('k', k)::text, 'UTF8')$$,
    $$convert_to(jsonb_build_array(n, ROW(k))::text, 'UTF8')$$, $$convert_to(array_to_json(ARRAY[k])::text, 'UTF8')$$, $$convert_to(row_to_json(ROW(k))::text, 'UTF8')$$,
    $$convert_to(format('%s', VARIADIC ARRAY[k]), 'UTF8')$$, $$convert_to(array_to_string(many, ','), 'UTF8')$$,
    $$passing(n)$$, $$pg_temp.passing(n)$$, $$convert_to((t::pg_temp.passing)::text, 'UTF8')$$, $$convert_to(ARRAY[t]::pg_temp.passing[]::text, 'UTF8')$$,
    $$convert_to(k::text, 'UTF8')$$, $$convert_to(CASE WHEN k = 'dark' THEN 'x' ELSE 'y' END, 'UTF8')$$, $$convert_to(many::text, 'UTF8')$$,
    $$convert_to(quote_literal(n), 'UTF8')$$, $$convert_to(to_json(t)::text, 'UTF8')$$, $$convert_to(n || ':' || t, 'UTF8')$$]) AS context;
DROP TABLE shaded;
DROP FUNCTION taken;
DROP DOMAIN shades;
DROP TYPE shade, pg_temp.passing CASCADE;
DROP FUNCTION pg_temp.passing(int);

-- A snapshot of before the table would note no place of it.
BEGIN ISOLATION LEVEL REPEATABLE READ;
CREATE TABLE late (c bytea);
SELECT kms.register_column('late', 'c', 'k');
ROLLBACK;

-- A registered table that becomes a partition: what the others hold is nobody's, and no version goes.
CREATE TABLE events_old (id int, c bytea);
SELECT kms.register_column('events_old', 'c', 'k');
CREATE TABLE events (id int, c bytea) PARTITION BY RANGE (id);
ALTER TABLE events ATTACH PARTITION events_old FOR VALUES FROM (0) TO (100);
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
SELECT kms.register_column('events', 'c', 'k');
ALTER TABLE events ADD COLUMN more int;
SELECT kms.unregister_column('events_old', 'c');
SELECT full_name FROM kms.registered_columns WHERE full_name ~ 'events';
DROP TABLE events;

-- What has been renamed is told of who names it, and nobody else; nothing is shown of another's expression.
CREATE SCHEMA kms_other;
CREATE TYPE kms_other.kind AS ENUM ('a', 'b');
CREATE TYPE kms_other.pair AS (k kms_other.kind, n int);
CREATE DOMAIN kms_other.kinds AS kms_other.kind[];
CREATE FUNCTION kms_other.of_int(int) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT int4send($1) $$;
CREATE TABLE told (id int, one kms_other.kind, many kms_other.kinds, p kms_other.pair, t text, c1 bytea, c2 bytea, c3 bytea, c4 bytea, c5 bytea);
SELECT kms.register_column('told', 'c1', 'k', 'kms_other.of_int(id)'), kms.register_column('told', 'c2', 'k', $$convert_to(one::text, 'UTF8')$$),
    kms.register_column('told', 'c3', 'k', $$convert_to(many::text, 'UTF8')$$), kms.register_column('told', 'c4', 'k', $$convert_to(p::text, 'UTF8')$$),
    kms.register_column('told', 'c5', 'k', $$CASE WHEN t::kms_other.kind = 'a' THEN 'x'::bytea ELSE 'y' END$$);
ALTER TYPE kms_other.kind RENAME VALUE 'b' TO 'c';
ALTER TYPE kms_other.kind ADD VALUE 'd';
CREATE FUNCTION of_int() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION of_int() RENAME TO of_int_2;
CREATE TABLE of_int (kind int);
ALTER TABLE of_int RENAME TO of_int_2;
CREATE AGGREGATE kms_other.of_int(float8) (SFUNC = float8pl, STYPE = float8);
ALTER AGGREGATE kms_other.of_int(float8) RENAME TO of_int_3;
CREATE COLLATION kms_other.of_int FROM "C";
ALTER COLLATION kms_other.of_int RENAME TO of_int_3;
CREATE TYPE kind AS ENUM ('a');
ALTER TYPE kind RENAME VALUE 'a' TO 'b';
DROP TABLE of_int_2;
DROP FUNCTION of_int_2();
DROP TYPE kind;
SET search_path = kms_other;
ALTER FUNCTION of_int(int) RENAME TO of_int_2;
ALTER FUNCTION of_int_2(int) RENAME TO of_int;
SET search_path = kms_test;
SET client_min_messages = error;
DROP SCHEMA kms_other CASCADE;
DROP TABLE told;
RESET client_min_messages;

-- A row that a context is made of gets other attributes, at any depth: its text is not the same any more.
CREATE TYPE inner_row AS (n int, t varchar(10));
CREATE DOMAIN inner_rows AS inner_row[];
CREATE TABLE outer_row (many inner_rows, other int);
CREATE TABLE made_of (id int, o outer_row, c1 bytea, c2 bytea);
SELECT kms.register_column('made_of', 'c1', 'k', $$convert_to(o::text, 'UTF8')$$), kms.register_column('made_of', 'c2', 'k', 'id::text::bytea');
ALTER TYPE inner_row RENAME ATTRIBUTE n TO m;
ALTER TABLE outer_row RENAME TO outer_row_2;
ALTER TABLE outer_row_2 ADD CHECK (other > 0);
SELECT column_name, broken FROM kms.registered_columns WHERE relation = 'made_of'::regclass ORDER BY 1;
ALTER TYPE inner_row ADD ATTRIBUTE k int CASCADE;
SELECT column_name, broken FROM kms.registered_columns WHERE relation = 'made_of'::regclass ORDER BY 1;
SELECT kms.unregister_column('made_of', 'c1'), kms.register_column('made_of', 'c1', 'k', $$convert_to(o::text, 'UTF8')$$);
ALTER TABLE outer_row_2 DROP COLUMN other;
SELECT column_name, broken FROM kms.registered_columns WHERE relation = 'made_of'::regclass ORDER BY 1;
DROP TABLE made_of, outer_row_2;
DROP DOMAIN inner_rows;
DROP TYPE inner_row;

-- What anybody's command looks at has bounds.
DO $$ BEGIN
    FOR i IN 1..101 LOOP
        EXECUTE format('CREATE DOMAIN part_%s AS int', i);
    END LOOP;
    EXECUTE (SELECT format('CREATE TYPE many_parts AS (%s)', string_agg(format('a%1$s part_%1$s', i), ', ')) FROM generate_series(1, 101) i);
END $$;
CREATE TYPE few_parts AS (a part_1, b int);
CREATE TABLE parted_type (m many_parts, f few_parts, c bytea);
SELECT kms.register_column('parted_type', 'c', 'k', $$convert_to(m::text, 'UTF8')$$);
SELECT kms.register_column('parted_type', 'c', 'k', $$convert_to(f::text, 'UTF8')$$);
ALTER TYPE few_parts ADD ATTRIBUTE m many_parts;
DROP TABLE parted_type;
DROP TYPE few_parts, many_parts;
DO $$ BEGIN
    FOR i IN 1..101 LOOP
        EXECUTE format('DROP DOMAIN part_%s', i);
    END LOOP;
END $$;

-- Text that gets another collation, in a row too, may give another context.
CREATE TYPE with_text AS (t text);
CREATE TABLE collated (t text, r with_text, other text, c1 bytea, c2 bytea);
SELECT kms.register_column('collated', 'c1', 'k', $$convert_to(lower(t), 'UTF8')$$), kms.register_column('collated', 'c2', 'k', $$convert_to(lower((r).t), 'UTF8')$$);
ALTER TABLE collated ALTER other TYPE text COLLATE "C", ALTER t TYPE varchar(30);
ALTER TABLE collated ALTER t TYPE text COLLATE "C";
DROP TABLE collated;
DROP TYPE with_text;

-- A context over what is sealed itself would be another one when that is sealed again.
CREATE TABLE nested (id int PRIMARY KEY, a bytea, b bytea);
CREATE TABLE nested_heir (own bytea) INHERITS (nested);
SELECT kms.register_column('nested', 'a', 'k', 'id::text::bytea');
SELECT kms.register_column('nested', 'b', 'k', 'a');
SELECT kms.register_column('nested_heir', 'own', 'k', 'int4send(id) || a');
SELECT kms.unregister_column('nested', 'a'), kms.register_column('nested_heir', 'own', 'k', 'int4send(id) || a');
SELECT kms.register_column('nested', 'a', 'k');
SELECT kms.register_column('nested_heir', 'a', 'k');
DROP TABLE nested CASCADE;

-- The extension goes and comes like any other.
DROP SCHEMA kms_test CASCADE;
SELECT * FROM kms.registered_columns;
BEGIN;
CREATE TABLE public.kms_last (c bytea);
SELECT kms.register_column('public.kms_last', 'c', 'k');
SET LOCAL kms.allow_drop = on;
DROP EXTENSION kms CASCADE;
SELECT evtname FROM pg_event_trigger;
DROP TABLE public.kms_last;
CREATE EXTENSION kms;
SELECT evtname, evtenabled, evtevent FROM pg_event_trigger ORDER BY 1;
ROLLBACK;
REVOKE ALL ON SCHEMA kms FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA kms FROM PUBLIC;
REVOKE ALL ON kms.registered_columns FROM PUBLIC;
DROP SCHEMA kms_renamed;
DROP OWNED BY regress_kms_owner, regress_kms_member, regress_kms_other;
DROP ROLE regress_kms_owner, regress_kms_member, regress_kms_other;

-- What is registered of no column here is taken back by its name: it keeps every key from being retired.
RESET search_path;
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
CREATE TABLE twofold (c bytea);
SELECT kms.create_key('of twofold');
SELECT kms.register_column('twofold', 'c', 'of twofold');
INSERT INTO kms.registered_column (relation_schema, relation_name, column_name, key_identifier) VALUES ('public', 'twofold', 'c', 'other'), ('gone', 'staff', 'c', 'other');
SELECT relation, full_name, key_identifier FROM kms.registered_columns WHERE key_identifier IN ('of twofold', 'other') ORDER BY 2, 3;
SELECT kms.disable_key('of twofold', 1);
SELECT kms.forget_column('public.twofold.c'), kms.forget_column('gone.staff.c');
SELECT kms.forget_column('gone.staff.c');
SELECT kms.forget_column(NULL);
SELECT kms.disable_key('of twofold', 1);
CREATE ROLE regress_kms_forgets;
GRANT USAGE ON SCHEMA kms TO regress_kms_forgets;
GRANT EXECUTE ON FUNCTION kms.forget_column TO regress_kms_forgets;
SET ROLE regress_kms_forgets;
SELECT kms.forget_column('gone.staff.c');
RESET ROLE;
DROP TABLE twofold;
DROP OWNED BY regress_kms_forgets;
DROP ROLE regress_kms_forgets;
-- A part that leaves the table by which it is registered is not counted any more.
CREATE TABLE whole (id int, c bytea) PARTITION BY RANGE (id);
CREATE TABLE whole_1 PARTITION OF whole FOR VALUES FROM (1) TO (2) PARTITION BY RANGE (id);
CREATE TABLE whole_1_1 PARTITION OF whole_1 DEFAULT;
CREATE TABLE whole_2 PARTITION OF whole FOR VALUES FROM (2) TO (3);
CREATE TABLE above (id int, c bytea);
CREATE TABLE below (more int) INHERITS (above);
SELECT kms.register_column('whole', 'c', 'pii'), kms.register_column('above', 'c', 'pii');
ALTER TABLE whole_1 DETACH PARTITION whole_1_1;
ALTER TABLE whole DETACH PARTITION whole_2;
ALTER TABLE below NO INHERIT above;
ALTER TABLE whole ATTACH PARTITION whole_2 FOR VALUES FROM (2) TO (3);
CREATE TABLE plain (id int) PARTITION BY RANGE (id);
CREATE TABLE plain_1 PARTITION OF plain DEFAULT;
ALTER TABLE plain DETACH PARTITION plain_1;
DROP TABLE whole, whole_1_1, above, below, plain, plain_1;
-- A column that is there, and of another type, is not forgotten: what was sealed may be there in another form.
CREATE DOMAIN sealed AS bytea;
CREATE TABLE retyped (id int, c bytea);
SELECT kms.register_column('retyped', 'c', 'k');
ALTER TABLE retyped ALTER c TYPE sealed;
ALTER TABLE retyped ALTER c TYPE text USING encode(c, 'hex');
SELECT relation, column_name, full_name FROM kms.registered_columns WHERE full_name = 'public.retyped.c';
SELECT kms.forget_column('public.retyped.c');
SELECT kms.disable_key('k', 1);
ALTER TABLE retyped ALTER c TYPE bytea USING decode(c, 'hex');
SELECT relation, column_name FROM kms.registered_columns WHERE full_name = 'public.retyped.c';
ALTER TABLE retyped ALTER c TYPE text USING encode(c, 'hex');
SELECT kms.unregister_column('retyped', 'c');
ALTER TABLE retyped ADD more int;
DROP TABLE retyped;
DROP DOMAIN sealed;
