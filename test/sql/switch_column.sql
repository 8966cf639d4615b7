-- switch_column lost NOT NULL, DEFAULT, CHECK, UNIQUE, foreign keys, privileges and the comment without a word.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_kms_grantor, regress_kms_reader;
RESET client_min_messages;
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('pii'), kms.create_key(E'a\tkey');
CREATE ROLE regress_kms_grantor;
CREATE ROLE regress_kms_reader;

-- Handed on: NOT NULL, a DEFAULT that says the same, privileges with their grantors, the comment.
CREATE TABLE heir (id int PRIMARY KEY, p varchar(20) NOT NULL DEFAULT 'dflt');
COMMENT ON COLUMN heir.p IS 'the diagnosis';
GRANT SELECT (id, p), UPDATE (p) ON heir TO regress_kms_grantor WITH GRANT OPTION;
SET ROLE regress_kms_grantor;
GRANT SELECT (p) ON heir TO regress_kms_reader;
RESET ROLE;
INSERT INTO heir VALUES (1, 'a'), (2, 'b');
SELECT kms.switch_column('heir', 'p', dry_run => true);
CALL kms.encrypt_column('heir', 'p', 'pii');
GRANT INSERT (p_encrypted) ON heir TO regress_kms_reader;
SELECT translate(replace(attacl::text, current_user, 'owner'), '"\\', '') AS attacl FROM pg_attribute WHERE attrelid = 'heir'::regclass AND attname = 'p';
SELECT kms.switch_column('heir', 'p', dry_run => true);
SELECT kms.switch_column('heir', 'p');
\d heir
SELECT translate(replace(attacl::text, current_user, 'owner'), '"\\', '') AS attacl FROM pg_attribute WHERE attrelid = 'heir'::regclass AND attname = 'p_encrypted';
SELECT col_description('heir'::regclass, attnum) FROM pg_attribute WHERE attrelid = 'heir'::regclass AND attname = 'p_encrypted';
INSERT INTO heir (id) VALUES (3);
INSERT INTO heir VALUES (4, NULL);
SELECT id, kms.decode_with_text('pii', p_encrypted) FROM heir ORDER BY id;
REVOKE ALL (p_encrypted) ON heir FROM regress_kms_grantor CASCADE;
DROP OWNED BY regress_kms_reader;
SELECT translate(replace(attacl::text, current_user, 'owner'), '"\\', '') AS attacl FROM pg_attribute WHERE attrelid = 'heir'::regclass AND attname = 'p_encrypted';
DROP TABLE heir;

-- Which defaults are the same sealed: constants whose text depends on settings are, what is computed is not. A serial goes on.
CREATE DOMAIN regress_kms_never AS text NOT NULL DEFAULT 'of the type';
CREATE TABLE defaults (id serial, born date DEFAULT '2001-12-31', at timestamptz DEFAULT now(), n serial, b bytea DEFAULT '\x00ff', d regress_kms_never, none text DEFAULT NULL,
    lower text DEFAULT lower('ABC'), mine text DEFAULT 'theirs');
INSERT INTO defaults DEFAULT VALUES;
SET DateStyle = 'German, DMY';
SELECT kms.switch_column('defaults', c, dry_run => true) FROM unnest('{born,at,n,b,d,none,lower}'::name[]) c;
CALL kms.encrypt_column('defaults', 'born', 'pii');
CALL kms.encrypt_column('defaults', 'n', 'pii');
CALL kms.encrypt_column('defaults', 'at', 'pii');
DO $$ BEGIN CALL kms.encrypt_column('defaults', 'b', 'pii'); CALL kms.encrypt_column('defaults', 'd', 'pii'); CALL kms.encrypt_column('defaults', 'mine', 'pii'); END $$;
ALTER TABLE defaults ALTER mine_encrypted SET DEFAULT '\x00';
SELECT kms.switch_column('defaults', c) FROM unnest('{born,n,b,d,mine}'::name[]) c;
SELECT kms.switch_column('defaults', 'at');
SELECT kms.switch_column('defaults', 'at', drop_constraints => true);
\d defaults
ALTER TABLE defaults ALTER mine_encrypted DROP DEFAULT;
INSERT INTO defaults DEFAULT VALUES;
SELECT kms.decode_with_text('pii', born_encrypted), kms.decode_with_text('pii', n_encrypted), kms.decode_with('pii', b_encrypted), kms.decode_with_text('pii', d_encrypted), at_encrypted IS NULL AS none FROM defaults ORDER BY id;
RESET DateStyle;
DROP TABLE defaults;
DROP DOMAIN regress_kms_never;

-- A context that depends on the row; a key whose identifier is not printable.
CREATE TABLE contexts (id int, p text DEFAULT 'x', q text DEFAULT 'it''s');
INSERT INTO contexts VALUES (1);
CALL kms.encrypt_column('contexts', 'p', 'pii', context_expression => 'id::text::bytea');
SELECT kms.switch_column('contexts', 'p');
SELECT kms.switch_column('contexts', 'p', drop_constraints => true);
CALL kms.encrypt_column('contexts', 'q', E'a\tkey');
SELECT kms.switch_column('contexts', 'q');
INSERT INTO contexts VALUES (2);
SELECT kms.decode_with_text(E'a\tkey', q_encrypted) FROM contexts;
SELECT column_name, column_default FROM information_schema.columns WHERE table_name = 'contexts' ORDER BY 1;
DROP TABLE contexts;

-- Named, and lost where drop_constraints says so.
CREATE DOMAIN regress_kms_checked AS text CHECK (length(VALUE) < 30);
CREATE TABLE parent (id int PRIMARY KEY, name text UNIQUE);
CREATE TABLE lossy (id int GENERATED ALWAYS AS IDENTITY, p regress_kms_checked UNIQUE CHECK (p <> 'no'), q text REFERENCES parent (name), r text, CHECK (r IS NOT NULL OR p IS NOT NULL));
CREATE INDEX lossy_lower ON lossy (lower(p));
CREATE INDEX lossy_part ON lossy (id) WHERE p > 'a';
CREATE STATISTICS lossy_both ON p, q FROM lossy;
INSERT INTO parent VALUES (1, 'one');
INSERT INTO lossy (p, q) VALUES ('a', 'one');
CALL kms.encrypt_column('lossy', 'p', 'pii');
SELECT kms.switch_column('lossy', 'p', dry_run => true);
SELECT kms.switch_column('lossy', 'p');
\d lossy
SELECT kms.switch_column('lossy', 'p', drop_constraints => true);
SELECT kms.switch_column('lossy', 'id', dry_run => true);
CALL kms.encrypt_column('lossy', 'q', 'pii');
SELECT kms.switch_column('lossy', 'q');
SELECT kms.switch_column('lossy', 'q', drop_constraints => true);
\d lossy
DROP TABLE lossy;
DROP DOMAIN regress_kms_checked;

-- In the way, which encrypt_column tells: a view, a policy, a foreign key to it, a generated column, a trigger, a function, another column's context.
ALTER TABLE parent ADD loud text GENERATED ALWAYS AS (upper(name)) STORED, ADD c bytea;
CREATE VIEW names AS SELECT name FROM parent;
CREATE POLICY mine ON parent USING (name = current_user);
CREATE TABLE child (name text REFERENCES parent (name));
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER renamed AFTER UPDATE OF name ON parent FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE FUNCTION first_name() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT min(name) FROM parent; END;
SELECT kms.register_column('parent', 'c', 'pii', $$convert_to(name, 'UTF8')$$);
CALL kms.encrypt_column('parent', 'name', 'pii');
SELECT kms.switch_column('parent', 'name');
SELECT kms.switch_column('parent', 'name', drop_constraints => true);
DROP TABLE parent CASCADE;
DROP TABLE child;
DROP FUNCTION nothing();

-- While a column is being moved, there are values of the context of before too.
CREATE TABLE moved (id int, p text, c bytea);
INSERT INTO moved VALUES (1, 'p', kms.encode_with('pii', 'x', 'p')), (2, 'q', '\x00');
SELECT kms.register_column('moved', 'c', 'pii', $$convert_to(p, 'UTF8')$$);
CALL kms.reencrypt('moved', 'c', new_context => 'id::text::bytea');
CALL kms.encrypt_column('moved', 'p', 'pii');
SELECT kms.switch_column('moved', 'p');
DELETE FROM moved WHERE id = 2;
CALL kms.reencrypt('moved', 'c', new_context => 'id::text::bytea');
SELECT kms.switch_column('moved', 'p');
SELECT kms.decode_with_text('pii', c, id::text::bytea) FROM moved;
DROP TABLE moved;

-- A partition key can never go; what belongs to partitions alone is theirs, and goes on with them.
CREATE TABLE parted (id int, k text, p text DEFAULT 'root' CHECK (p <> 'x'), q text) PARTITION BY LIST (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN ('a') PARTITION BY LIST (upper(q));
CREATE TABLE parted_11 PARTITION OF parted_1 DEFAULT;
CREATE TABLE parted_2 PARTITION OF parted (p DEFAULT 'two', CHECK (p <> 'y')) FOR VALUES IN ('b');
CREATE INDEX ON parted (p);
ALTER TABLE parted_2 ALTER p SET NOT NULL;
GRANT SELECT (p) ON parted_2 TO regress_kms_reader;
INSERT INTO parted VALUES (1, 'a', 'v'), (2, 'b', 'w');
CALL kms.encrypt_column('parted', 'k', 'pii');
CALL kms.encrypt_column('parted', 'q', 'pii');
CALL kms.encrypt_column('parted', 'p', 'pii');
SELECT kms.switch_column('parted', 'p');
SELECT kms.switch_column('parted', 'p', drop_constraints => true);
SELECT attrelid::regclass, attnotnull, translate(replace(attacl::text, current_user, 'owner'), '"\\', '') AS attacl, pg_get_expr(adbin, adrelid) AS default
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attname = 'p_encrypted' ORDER BY 1;
INSERT INTO parted_2 (id, k) VALUES (3, 'b');
SELECT id, kms.decode_with_text('pii', p_encrypted) FROM parted ORDER BY 1;
DROP TABLE parted;
DROP ROLE regress_kms_grantor, regress_kms_reader;

-- Errors of the arguments.
CREATE TABLE t (c text);
SELECT kms.switch_column('t', 'c', drop_constraints => NULL);
SELECT kms.switch_column('t', 'c', dry_run => NULL);
SELECT kms.switch_column('t', 'none', dry_run => true);
SELECT kms.switch_column('t', 'c', dry_run => true);
DROP TABLE t;
-- A DEFAULT means the same when a dump is read.
CREATE TABLE defaults (id int PRIMARY KEY, i int DEFAULT 7 / 2.0, n numeric(6, 2) DEFAULT 1.005, v varchar(5) DEFAULT repeat('z', 3), c char(6) DEFAULT 'ab', b bpchar DEFAULT 'ab  ', s int DEFAULT length('abc') / 2.0::float8);
CALL kms.encrypt_column('defaults', 'i', 'pii');
CALL kms.encrypt_column('defaults', 'n', 'pii');
CALL kms.encrypt_column('defaults', 'v', 'pii');
CALL kms.encrypt_column('defaults', 'c', 'pii');
CALL kms.encrypt_column('defaults', 'b', 'pii');
CALL kms.encrypt_column('defaults', 's', 'pii');
INSERT INTO defaults (id) VALUES (1);
SELECT kms.switch_column('defaults', column_name) FROM unnest('{i,n,c,b,s}'::name[]) column_name;
SELECT kms.switch_column('defaults', 'v');
SELECT format('SELECT %L AS of, kms.decode_with_text(''pii'', %s) AS again, kms.decode_with_text(''pii'', %1$I) AS was FROM defaults', a.attname, pg_get_expr(d.adbin, d.adrelid))
FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE d.adrelid = 'defaults'::regclass AND a.attname LIKE '%encrypted' ORDER BY a.attnum \gexec
ALTER TABLE defaults ADD w varchar(5) DEFAULT repeat('z', (random() * 0 + 3)::int);
SELECT kms.switch_column('defaults', 'w', dry_run => true);
DROP TABLE defaults;
-- A sequence that the column owns goes on where the new one has a DEFAULT of its own, which may use it.
CREATE TABLE numbered (id int PRIMARY KEY, n serial, m serial);
INSERT INTO numbered (id) VALUES (1);
CREATE FUNCTION next_n() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN nextval('numbered_n_seq'); END $$;
CALL kms.encrypt_column('numbered', 'n', 'pii');
CALL kms.encrypt_column('numbered', 'm', 'pii');
ALTER TABLE numbered ALTER n_encrypted SET DEFAULT kms.encode_with('pii', next_n()::text), ALTER m_encrypted SET DEFAULT kms.encode_with('pii', nextval('numbered_m_seq')::text);
SELECT kms.switch_column('numbered', 'n', dry_run => true);
\set VERBOSITY terse
SELECT kms.switch_column('numbered', column_name) FROM unnest('{n,m}'::name[]) column_name;
\set VERBOSITY default
INSERT INTO numbered (id) VALUES (2);
SELECT id, kms.decode_with_text('pii', n_encrypted) AS n, kms.decode_with_text('pii', m_encrypted) AS m FROM numbered ORDER BY id;
SELECT pg_get_serial_sequence('numbered', 'n_encrypted') AS n, pg_get_serial_sequence('numbered', 'm_encrypted') AS m;
DROP TABLE numbered;
DROP FUNCTION next_n();
