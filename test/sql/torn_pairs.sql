-- One of two columns that are kept in step is renamed or dropped between the two calls: all writes
-- are refused, and each call says how to go on. No advice takes the only copy of a value away.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('torn');
CREATE TABLE torn (id int PRIMARY KEY, c text);
INSERT INTO torn SELECT n, 'c' || n FROM generate_series(1, 3) n;
CALL kms.encrypt_column('torn', 'c', 'torn');

-- Renamed.
ALTER TABLE torn RENAME c TO d;
INSERT INTO torn VALUES (4, 'c4');
CALL kms.encrypt_column('torn', 'd', 'torn');
CALL kms.decrypt_column('torn', 'c_encrypted', 'text');
SELECT kms.switch_column('torn', 'd', dry_run => dry_run) FROM unnest('{t,f}'::bool[]) dry_run;
ALTER TABLE torn RENAME d TO c;
INSERT INTO torn VALUES (4, 'c4');

-- The column of plaintexts is dropped by hand, and then made anew.
ALTER TABLE torn DROP COLUMN c;
UPDATE torn SET id = id + 10;
CALL kms.decrypt_column('torn', 'c_encrypted', 'text');
ALTER TABLE torn ADD c text;
CALL kms.decrypt_column('torn', 'c_encrypted', 'text');
SELECT kms.switch_column('torn', 'c');
ALTER TABLE torn DROP COLUMN c;
DROP TRIGGER zzz_kms_c_encrypted ON torn;
CALL kms.decrypt_column('torn', 'c_encrypted', 'text');

-- The same on the way back, given up.
ALTER TABLE torn DROP COLUMN c;
INSERT INTO torn VALUES (5, kms.encode_with('torn', 'c5'));
CALL kms.decrypt_column('torn', 'c_encrypted', 'text');
SELECT kms.switch_column('torn', 'c_encrypted');
DROP TRIGGER zzz_kms_c ON torn;
INSERT INTO torn VALUES (5, kms.encode_with('torn', 'c5'));
CALL kms.decrypt_column('torn', 'c_encrypted', 'text', plain_column => 'c');
CALL kms.decrypt_column('torn', 'c_encrypted', 'text', plain_column => 'other');
SELECT kms.switch_column('torn', 'c_encrypted');
SELECT * FROM torn ORDER BY id;

-- The column of ciphertexts is dropped by hand: the first call can be made again.
CALL kms.encrypt_column('torn', 'c', 'torn');
ALTER TABLE torn DROP COLUMN c_encrypted;
UPDATE torn SET id = id + 10;
CALL kms.encrypt_column('torn', 'c', 'torn');
SELECT kms.switch_column('torn', 'c');
DROP TRIGGER zzz_kms_c_encrypted ON torn;
UPDATE torn SET id = id + 10;
CALL kms.encrypt_column('torn', 'c', 'torn');
CALL kms.encrypt_column('torn', 'c', 'torn', encrypted_column => 'other');

-- Registered anew with the wrong key: what to do is told of the registration, not of bindings.
SELECT kms.create_key('wrong');
SELECT kms.unregister_column('torn', 'c_encrypted'), kms.register_column('torn', 'c_encrypted', 'wrong');
CALL kms.encrypt_column('torn', 'c', 'wrong');
DO $$
DECLARE said text; hint text;
BEGIN
    PERFORM kms.switch_column('torn', 'c');
EXCEPTION WHEN SQLSTATE 'KM004' THEN
    GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RAISE NOTICE '%: %', said, hint;
END $$;
SELECT kms.unregister_column('torn', 'c_encrypted'), kms.register_column('torn', 'c_encrypted', 'torn', 'int4send(id)');
SELECT kms.switch_column('torn', 'c');
SELECT kms.unregister_column('torn', 'c_encrypted'), kms.register_column('torn', 'c_encrypted', 'torn');
SELECT kms.switch_column('torn', 'c');
DROP TABLE torn;

-- What a trigger that was dropped has left.
CREATE TABLE left_over (id int PRIMARY KEY, v text);
INSERT INTO left_over VALUES (1, 'v1');
CALL kms.encrypt_column('left_over', 'v', 'torn');
DROP TRIGGER zzz_kms_v_encrypted ON left_over;
CALL kms.encrypt_column('left_over', 'v', 'torn');
ALTER TABLE left_over DROP COLUMN v_encrypted;
CALL kms.encrypt_column('left_over', 'v', 'torn');
DROP TABLE left_over;

-- A partition that was away, and changed meanwhile: its own registration is taken back, since its parent's covers it.
CREATE TABLE whole (id int, v text) PARTITION BY LIST (id);
CREATE TABLE part PARTITION OF whole FOR VALUES IN (1);
INSERT INTO whole VALUES (1, 'v1');
CALL kms.encrypt_column('whole', 'v', 'torn');
\set VERBOSITY terse
ALTER TABLE whole DETACH PARTITION part;
SELECT kms.register_column('part', 'v_encrypted', 'torn');
UPDATE part SET v = 'v2', v_encrypted = NULL;
ALTER TABLE whole ATTACH PARTITION part FOR VALUES IN (1);
\set VERBOSITY default
SELECT kms.unregister_column('part', 'v_encrypted');
CALL kms.encrypt_column('whole', 'v', 'torn');
SELECT kms.decode_with_text('torn', v_encrypted) FROM whole;
DROP TABLE whole;
