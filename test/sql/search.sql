-- Searches by equality: ciphertexts of a deterministic key under all its versions, and blind indexes.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('email', 'aes-256-siv'), kms.create_key('pii'), kms.create_key('index', 'hmac-sha-256');
SELECT kms.set_key(1, 'pii'), kms.set_key(2, 'email'), kms.set_key(3, 'index');

CREATE TABLE account (id int, email bytea, term bytea);
INSERT INTO account SELECT n, kms.encode(2, 'user' || n || '@example.org'), kms.blind_index(3, 'user' || n || '@example.org')
FROM generate_series(1, 2000) n;
CREATE INDEX account_email ON account (email);
CREATE INDEX account_term ON account (term);
ANALYZE account;

-- The queries of the documentation use the index, and prepared ones do with whatever plan.
CREATE FUNCTION plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        RETURN NEXT substring(line from '(?:Index|Bitmap|Seq|Index Only) Scan.*');
    END LOOP;
END $$;
SELECT line FROM plan_of($$SELECT id FROM account WHERE email = ANY (kms.encode_all(2, 'user7@example.org'))$$) line WHERE line IS NOT NULL;
SELECT line FROM plan_of($$SELECT id FROM account WHERE term = kms.blind_index(3, 'user7@example.org')$$) line WHERE line IS NOT NULL;
SELECT line FROM plan_of($$SELECT id FROM account WHERE term = ANY (kms.blind_indexes(3, 'user7@example.org'))$$) line WHERE line IS NOT NULL;
SELECT line FROM plan_of($$SELECT id FROM account WHERE email = kms.encode(2, 'user7@example.org')$$) line WHERE line IS NOT NULL;
PREPARE by_email(text) AS SELECT id FROM account WHERE email = ANY (kms.encode_all(2, $1)) ORDER BY id;
PREPARE by_term(text) AS SELECT id FROM account WHERE term = ANY (kms.blind_indexes(3, $1)) ORDER BY id;
SET plan_cache_mode = force_generic_plan;
SELECT line FROM plan_of($$EXECUTE by_email('user7@example.org')$$) line WHERE line IS NOT NULL;
SELECT line FROM plan_of($$EXECUTE by_term('user7@example.org')$$) line WHERE line IS NOT NULL;
EXECUTE by_email('user7@example.org');
EXECUTE by_term('user7@example.org');
EXECUTE by_email('nobody');

-- After a rotation the same statements find the rows of both versions.
SELECT kms.rotate_key('email'), kms.rotate_key('index');
INSERT INTO account VALUES (2007, kms.encode(2, 'user7@example.org'), kms.blind_index(3, 'user7@example.org'));
EXECUTE by_email('user7@example.org');
EXECUTE by_term('user7@example.org');
SELECT cardinality(kms.encode_all(2, 'x')), cardinality(kms.blind_indexes(3, 'x')), kms.encode(2, 'x') = ANY (kms.encode_all(2, 'x')) AS has_current,
    kms.blind_index(3, 'x') = ANY (kms.blind_indexes(3, 'x')) AS has_current_term;
SELECT count(*) FROM unnest(kms.encode_all(2, 'x', 'c')) c WHERE kms.decode_text(2, c, 'c') = 'x';

-- A row where no index is used, and what is asked for changes with it.
SET enable_indexscan = off;
SET enable_bitmapscan = off;
SELECT count(*) FROM account WHERE email = ANY (kms.encode_all(2, 'user7@example.org'));
SELECT count(*) FROM account a WHERE email = ANY (kms.encode_all(2, 'user' || (a.id % 2000) || '@example.org'));
SELECT count(DISTINCT kms.blind_index(3, 'c', 64, n::text::bytea)), count(DISTINCT kms.blind_index(3, 'c', n)) FROM generate_series(33, 256) n;
RESET enable_indexscan;
RESET enable_bitmapscan;

-- The same in every mode.
CREATE TABLE same AS SELECT kms.encode_all(2, 'v', 'c') AS e, kms.blind_index(3, 'v', 100, 'c') AS i, kms.blind_indexes(3, '\x00ff'::bytea, 256) AS s;
SET kms.mode = remote;
SELECT kms.encode_all(2, 'v', 'c') = e, kms.blind_index(3, 'v', 100, 'c') = i, kms.blind_indexes(3, '\x00ff'::bytea, 256) = s FROM same;
EXECUTE by_email('user7@example.org');
EXECUTE by_term('user7@example.org');
SET kms.mode = local;

-- Bits: the leftmost, and no term is the beginning of another.
SELECT n, length(kms.blind_index(3, 'x', n)) FROM unnest('{1, 7, 8, 9, 64, 255, 256}'::int[]) n;
SELECT bool_and(get_byte(t, length(t) - 1) & ((1 << (8 * length(t) - n)) - 1) = 0) FROM generate_series(1, 256) n, kms.blind_index(3, 'x', n) t;
SELECT substr(kms.blind_index(3, 'x', 128), 1, 8) = kms.blind_index(3, 'x') AS is_beginning;
SELECT kms.blind_index(3, 'x', 0);
SELECT kms.blind_index(3, 'x', 257);
SELECT kms.blind_index(3, 'x', -2147483648);

-- Only data may be NULL.
SELECT kms.encode_all(2, NULL::text) IS NULL, kms.blind_index(3, NULL::bytea) IS NULL, kms.blind_indexes(3, NULL::text) IS NULL;
SELECT kms.encode_all(NULL, 'x');
SELECT kms.encode_all(2, 'x', NULL);
SELECT kms.encode_all(2, 'x', '', NULL);
SELECT kms.blind_index(3, 'x', NULL);
SELECT kms.blind_index(3, 'x', 64, NULL);
SELECT kms.blind_index(3, 'x', 64, 'kms/1 x');
SELECT kms.encode_all(9, 'x');

-- Every literal and prepared form.
SELECT kms.encode_all(2, 'x') = kms.encode_all(2, 'x'::bytea), kms.encode_all(2, 'x') = kms.encode_all(2, 'x'::varchar);
PREPARE ea AS SELECT cardinality(kms.encode_all($1, $2, $3, $4));
EXECUTE ea(2, 'x', 'c', true);
PREPARE bi AS SELECT length(kms.blind_index($1, $2, $3, $4));
EXECUTE bi(3, 'x', 9, 'c');
PREPARE bs AS SELECT cardinality(kms.blind_indexes($1, $2));
EXECUTE bs(3, 'x');

-- Each key for what it is.
SELECT kms.encode_all(1, 'x');
SELECT kms.encode_all(3, 'x');
SELECT kms.encode(3, 'x');
\set VERBOSITY sqlstate
SELECT kms.decode(3, kms.encode(1, 'x'));
\set VERBOSITY default
\set VERBOSITY sqlstate
SELECT kms.blob_put(3, 'x');
\set VERBOSITY default
SELECT kms.blind_index(2, 'x');
SELECT kms.create_key('no', 'hmac-sha-256', purpose => 'wrap');
SET kms.mode = remote;
SELECT kms.encode_all(1, 'x');
SELECT kms.encode(3, 'x');
SELECT kms.blind_index(2, 'x');
\set VERBOSITY sqlstate
SELECT kms.blob_put(3, 'x');
\set VERBOSITY default
SET kms.mode = local;

-- A version that is disabled would not be found.
SELECT kms.disable_key('email', 1);
SELECT kms.encode_all(2, 'x');
SELECT cardinality(kms.encode_all(2, 'x', skip_disabled => true));
SELECT kms.destroy_key('email', 1, force => true);
SELECT cardinality(kms.encode_all(2, 'x'));
EXECUTE by_email('user7@example.org');
SELECT kms.disable_key('email', 2);
SELECT kms.encode_all(2, 'x', skip_disabled => true);
SELECT kms.enable_key('email', 2);

-- Nothing counts search terms.
SELECT kms.disable_key('index', 1);
SELECT kms.disable_key('index', 1, force => true);
EXECUTE by_term('user7@example.org');
SELECT kms.destroy_key('index', 1);
SELECT kms.destroy_key('index', 1, force => true);
SELECT cardinality(kms.blind_indexes(3, 'x'));

-- Envelope mode.
SELECT kms.create_key('searched kek', purpose => 'wrap');
SET kms.mode = envelope;
SELECT kms.create_data_key('t', 'searched kek', 'aes-256-siv'), kms.create_data_key('ti', 'searched kek', 'hmac-sha-256');
SELECT kms.set_key(2, 't'::text), kms.set_key(3, 'ti'::text);
CREATE TABLE enveloped AS SELECT kms.encode(2, 'a') AS email, kms.blind_index(3, 'a') AS term;
SELECT kms.rotate_data_key('t'), kms.rotate_data_key('ti');
SELECT count(*), (SELECT count(*) FROM enveloped WHERE term = kms.blind_index(3, 'a')) AS by_current, cardinality(kms.encode_all(2, 'a')) AS versions
FROM enveloped WHERE email = ANY (kms.encode_all(2, 'a')) AND term = ANY (kms.blind_indexes(3, 'a'));
SELECT kms.disable_data_key('ti', 1);
CALL kms.destroy_data_key('ti', 1, dry_run => true);
CALL kms.destroy_data_key('ti', 1);
SELECT kms.disable_data_key('t', 1);
SELECT kms.encode_all(2, 'a');
SELECT kms.encode(3, 'a');
SELECT kms.encode_all(2, 'a', skip_disabled => true) = ARRAY[kms.encode(2, 'a')] AS current_alone;

DROP TABLE account, same, enveloped;
DROP FUNCTION plan_of;
SET kms.allow_drop = on;
DELETE FROM kms.data_key WHERE name IN ('t', 'ti');
