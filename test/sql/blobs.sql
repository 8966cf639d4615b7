-- Blobs: what each function takes and gives, their versions, their expiry, and transactions.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('k'), kms.set_key(1, 'k');

-- What a statement says: its value or its error, with no id and no time.
CREATE FUNCTION said(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
    more text;
    hint text;
BEGIN
    EXECUTE query INTO result;
    RETURN coalesce(result, 'NULL');
EXCEPTION WHEN others THEN
    GET STACKED DIAGNOSTICS more = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN sqlstate || ' ' || regexp_replace(concat_ws(' | ', sqlerrm, nullif(more, ''), nullif(hint, '')), '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'ID', 'g');
END $$;
-- The same with $1 for the blob, said by many statements.
CREATE FUNCTION said_of(id uuid, VARIADIC queries text[]) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT said(replace(query, '$1', coalesce(quote_literal(id), 'NULL'))) FROM unnest(queries) query $$;
CREATE FUNCTION text_of(id uuid) RETURNS text LANGUAGE sql AS $$ SELECT convert_from(kms.blob_get(id), 'UTF8') $$;
CREATE FUNCTION rows_of(blob uuid) RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM (SELECT FROM kms.blob b WHERE b.id = blob UNION ALL SELECT FROM kms.blob_chunk c WHERE c.blob_id = blob) s $$;

-- One blob through all of it.
SELECT kms.blob_put(1, 'contents', 'a.txt', 'text/plain', '{"k": [1, "e"]}', last_modified => '2024-01-31 10:00Z') AS id \gset
SELECT text_of(:'id'), kms.blob_read(:'id', 2, 3), name, content_type, metadata, size, version, last_modified AT TIME ZONE 'UTC' AS last_modified,
    expires_at, complete, segments, created BETWEEN now() - interval '1 minute' AND clock_timestamp() AS is_new FROM kms.blob_meta(:'id');
SELECT substr(id::text, 15, 1) AS version, substr(id::text, 20, 1) IN ('8', '9', 'a', 'b') AS variant FROM kms.blob_list('a.') WHERE id = :'id';
SELECT size, sha256 = sha256('contents') AS same, complete FROM kms.blob_verify(:'id');
SELECT kms.blob_append(:'id', ' and more');
SELECT text_of(:'id'), segments, version, last_modified > now() - interval '1 minute' AS is_modified FROM kms.blob_meta(:'id');
SELECT kms.blob_compact(:'id');
SELECT text_of(:'id'), segments, version FROM kms.blob_meta(:'id');
SELECT kms.blob_compact(:'id');
SELECT kms.blob_replace(:'id', 'others');
SELECT text_of(:'id'), name, content_type, metadata, segments, version FROM kms.blob_meta(:'id');
SELECT kms.blob_copy(:'id') AS copy \gset
SELECT text_of(:'copy'), name, content_type, metadata, size, version, m.last_modified = (SELECT last_modified FROM kms.blob_meta(:'id')) AS same_time, :'id' <> :'copy' AS another
FROM kms.blob_meta(:'copy') m;
SELECT kms.blob_delete(:'id'), rows_of(:'id'), rows_of(:'copy');
SELECT kms.blob_delete(:'id'), kms.blob_delete(:'copy');

-- NULL where it may not be, and what names no blob and no key.
SELECT said_of('00000000-0000-0000-0000-000000000000',
    'SELECT kms.blob_put(NULL, ''x'')', 'SELECT kms.blob_put(1, NULL)', 'SELECT kms.blob_put(1, ''x'', complete => NULL)',
    'SELECT kms.blob_put(2, ''x'')', 'SELECT kms.blob_put(0, ''x'')', 'SELECT kms.blob_put(-1, ''x'')',
    'SELECT kms.blob_get(NULL)', 'SELECT kms.blob_get($1)',
    'SELECT kms.blob_read(NULL, 0, 1)', 'SELECT kms.blob_read($1, NULL, 1)', 'SELECT kms.blob_read($1, 0, NULL)', 'SELECT kms.blob_read($1, 0, 1)',
    'SELECT kms.blob_read($1, -1, 1)', 'SELECT kms.blob_read($1, 0, -1)',
    'SELECT kms.blob_append(NULL, ''x'')', 'SELECT kms.blob_append($1, NULL)', 'SELECT kms.blob_append($1, ''x'')',
    'SELECT kms.blob_replace(NULL, ''x'')', 'SELECT kms.blob_replace($1, NULL)', 'SELECT kms.blob_replace($1, ''x'')',
    'SELECT kms.blob_compact(NULL)', 'SELECT kms.blob_compact($1)',
    'SELECT kms.blob_meta(NULL)', 'SELECT kms.blob_meta($1)',
    'SELECT kms.blob_set_meta(NULL)', 'SELECT kms.blob_set_meta($1)',
    'SELECT kms.blob_copy(NULL)', 'SELECT kms.blob_copy($1)',
    'SELECT kms.blob_delete(NULL)', 'SELECT kms.blob_delete($1)', 'SELECT kms.blob_delete($1, 7)',
    'SELECT kms.blob_verify(NULL)', 'SELECT kms.blob_verify($1)',
    'SELECT kms.blob_recode(NULL, 1)', 'SELECT kms.blob_recode($1, NULL)', 'SELECT kms.blob_recode($1, 1)',
    'SELECT kms.blob_list(NULL)', 'SELECT kms.blob_expire(NULL)', 'SELECT kms.blob_expire(0)', 'SELECT kms.blob_expire(-1)',
    'SELECT kms.rewrap_blobs(NULL)', 'SELECT kms.rewrap_blobs(2)', 'SELECT kms.rewrap_blobs(1, 0)', 'SELECT kms.rewrap_blobs(1, -9)');
SELECT kms.blob_put(1, 'x', 'kept', 't', '{}') AS id \gset
SELECT said_of(:'id', 'SELECT kms.blob_set_meta($1, clear => NULL)', 'SELECT kms.blob_set_meta($1, clear => ''{NULL}'')',
    'SELECT kms.blob_set_meta($1, clear => ''{name,other}'')', 'SELECT kms.blob_copy($1, 2)', 'SELECT kms.blob_copy($1, 0)', 'SELECT kms.blob_recode($1, 2)');
SELECT text_of(:'id'), name, content_type, metadata, version FROM kms.blob_meta(:'id');
SELECT count(*) FROM kms.blob;

-- Descriptions.
SELECT kms.blob_set_meta(:'id', 'another name', 'application/x', '{"b": 1, "a": {"key": "value"}}', last_modified => '0099-12-31 00:00 BC');
SELECT name, content_type, metadata, last_modified AT TIME ZONE 'UTC' AS last_modified, version FROM kms.blob_meta(:'id');
SELECT kms.blob_set_meta(:'id');
SELECT name, content_type, metadata, last_modified AT TIME ZONE 'UTC' AS last_modified, version FROM kms.blob_meta(:'id');
SELECT kms.blob_set_meta(:'id', content_type => '', metadata => 'null', clear => '{name}');
SELECT name, content_type = '' AS is_empty, metadata, metadata IS NULL AS none FROM kms.blob_meta(:'id');
SELECT kms.blob_set_meta(:'id', clear => '{metadata,content_type,name,expires_at,name}');
SELECT name, content_type, metadata, expires_at FROM kms.blob_meta(:'id');
SELECT kms.blob_set_meta(:'id', 'again', expire_in => '1 day', clear => '{name,expires_at}');
SELECT name, expires_at - now() BETWEEN '23 hours' AND '25 hours' AS in_a_day FROM kms.blob_meta(:'id');
SELECT kms.blob_append(:'id', 'y');
SELECT name, expires_at - now() BETWEEN '23 hours' AND '25 hours' AS in_a_day FROM kms.blob_meta(:'id');
SELECT text_of(:'id');
-- The largest there are.
SELECT said_of(:'id', 'SELECT kms.blob_set_meta($1, repeat(''n'', 65535), repeat(''t'', 65535))', 'SELECT kms.blob_set_meta($1, repeat(''n'', 65536))',
    'SELECT kms.blob_set_meta($1, content_type => repeat(''t'', 65536))', 'SELECT kms.blob_set_meta($1, metadata => to_jsonb(repeat(''m'', 1048574)))',
    'SELECT kms.blob_set_meta($1, metadata => to_jsonb(repeat(''m'', 1048575)))', 'SELECT kms.blob_put(1, ''x'', repeat(''n'', 65536))',
    'SELECT kms.blob_put(1, ''x'', metadata => to_jsonb(repeat(''m'', 1048575)))');
SELECT length(name), length(content_type), length(metadata::text), version FROM kms.blob_meta(:'id');
-- One that is nested too deeply could not be read back by everybody who lists blobs.
SELECT kms.blob_put(1, 'x', metadata => (repeat('[', 1000) || repeat(']', 1000))::jsonb) AS nested \gset
SELECT length(metadata::text) FROM kms.blob_list() WHERE id = :'nested';
SELECT said_of(:'nested', 'SELECT kms.blob_set_meta($1, metadata => (repeat(''{"a":['', 501) || repeat('']}'', 501))::jsonb)',
    'SELECT kms.blob_put(1, ''x'', metadata => (repeat(''['', 1001) || ''1'' || repeat('']'', 1001))::jsonb)',
    'SELECT kms.blob_set_meta($1, metadata => (repeat(''[[],'', 999) || ''1'' || repeat('']'', 999))::jsonb)', 'SELECT kms.blob_delete($1)');
-- Metadata as it comes.
CREATE TABLE described AS SELECT kms.blob_put(1, '', metadata => j) AS id, j FROM unnest('{"[]","{}","\"\"","1.50","1e400","true","\"\\u0041\\n\\\\\"","[[[null]]]"}'::jsonb[]) j;
SELECT left(metadata::text, 20), metadata = j AS same FROM described d, kms.blob_meta(d.id) ORDER BY metadata;
-- The same times to the microsecond; what is in the clear is not more than this.
SELECT bool_and(m.created = last_modified AND m.created = b.created AND last_modified = m.created AND expires_at IS NULL AND expires IS NULL AND size_class = 0) FROM described d, kms.blob_meta(d.id) m, kms.blob b WHERE b.id = d.id;
SELECT kms.blob_put(1, repeat('x', n)::bytea) AS id, n INTO TEMP sizes FROM unnest('{0,1,2,3,4,7,8,1000,1024}'::int[]) n;
SELECT n, size_class FROM sizes JOIN kms.blob USING (id) ORDER BY n;
SELECT count(*) FROM kms.blob b, LATERAL (SELECT kms.blob_delete(b.id)) d;

-- Lists: by prefix, of names alone.
SELECT count(kms.blob_put(1, 'x', name)) FROM unnest('{a/1,a/2,a,A/1,b,a%2,a_2,z,e,""}'::text[]) name;
SELECT kms.blob_put(1, 'nameless') IS NOT NULL;
SELECT prefix, (SELECT string_agg(coalesce(name, '(none)'), ' ' ORDER BY name COLLATE "C") FROM kms.blob_list(prefix)) FROM unnest('{"",a,a/,a/1,a/11,A,%,_,z,c}'::text[]) prefix;
SELECT name, convert_from(kms.blob_get(id), 'UTF8'), size, version, complete, segments FROM kms.blob_list('b');
SELECT count(*), count(name), sum(size) FROM kms.blob_list();
SELECT kms.unset_key(1);
SELECT count(*) FROM kms.blob_list();
SELECT kms.set_key(1, 'k');

-- Versions: what was meant for another one changes nothing.
SELECT kms.blob_put(1, 'first') AS id \gset
SELECT said_of(:'id', 'SELECT kms.blob_append($1, ''+'', 1)', 'SELECT kms.blob_append($1, ''+'', 1)', 'SELECT kms.blob_append($1, ''+'', 3)', 'SELECT kms.blob_append($1, ''+'', -1)',
    'SELECT kms.blob_append($1, ''+'', 9223372036854775807)', 'SELECT kms.blob_compact($1, 1)', 'SELECT kms.blob_compact($1, 2)', 'SELECT kms.blob_compact($1, 2)', 'SELECT kms.blob_compact($1, 3)',
    'SELECT kms.blob_replace($1, ''x'', 2)', 'SELECT kms.blob_replace($1, ''x'', 3)', 'SELECT kms.blob_set_meta($1, ''n'', if_version => 3)', 'SELECT kms.blob_set_meta($1, ''n'', if_version => 4)',
    'SELECT kms.blob_delete($1, 4)', 'SELECT version FROM kms.blob_meta($1)', 'SELECT kms.blob_delete($1, 5)', 'SELECT kms.blob_delete($1, 5)');

-- A piece of a blob could be missing: `at` says where an append belongs.
SELECT kms.blob_put(1, 'abc', complete => false) AS id \gset
SELECT said_of(:'id', 'SELECT kms.blob_append($1, ''x'', at => 0)', 'SELECT kms.blob_append($1, ''x'', at => 4)', 'SELECT kms.blob_append($1, ''x'', at => -1)', 'SELECT kms.blob_append($1, ''x'', 7, at => 4)',
    'SELECT kms.blob_append($1, ''def'', at => 3)', 'SELECT kms.blob_append($1, ''def'', at => 3)', 'SELECT kms.blob_append($1, '''', NULL, true, 6)', 'SELECT text_of($1)', 'SELECT kms.blob_delete($1)');

-- Not complete: nothing of it is read, but what there is may be checked.
SELECT kms.blob_put(1, 'begun', 'n', complete => false) AS id \gset
SELECT said_of(:'id', 'SELECT kms.blob_get($1)', 'SELECT kms.blob_read($1, 0, 1)', 'SELECT kms.blob_copy($1)', 'SELECT kms.blob_compact($1)', 'SELECT kms.blob_set_meta($1, ''m'')');
SELECT size, complete, version FROM kms.blob_list('m');
SELECT size, sha256 = sha256('begun') AS same, complete FROM kms.blob_verify(:'id');
SELECT said_of(:'id', 'SELECT kms.blob_append($1, '', '')', 'SELECT kms.blob_get($1)', 'SELECT kms.blob_append($1, ''still'', complete => false)', 'SELECT kms.blob_get($1)',
    'SELECT kms.blob_append($1, '''', complete => true)', 'SELECT convert_from(kms.blob_get($1), ''UTF8'')', 'SELECT kms.blob_append($1, ''!'', complete => false)',
    'SELECT kms.blob_append($1, ''!'', complete => true)', 'SELECT kms.blob_append($1, ''!'')', 'SELECT convert_from(kms.blob_get($1), ''UTF8'')');
SELECT complete, segments, version FROM kms.blob_meta(:'id');
SELECT kms.blob_put(1, 'begun', complete => false) AS id \gset
SELECT said_of(:'id', 'SELECT kms.blob_replace($1, ''whole'')', 'SELECT convert_from(kms.blob_get($1), ''UTF8'')');
SELECT kms.blob_put(1, '', complete => false) AS id \gset
SELECT said_of(:'id', 'SELECT kms.blob_get($1)', 'SELECT kms.blob_read($1, 0, 0)', 'SELECT kms.blob_delete($1)');

-- Expiry. A blob that has expired is not there.
SELECT said_of(:'id', 'SELECT kms.blob_put(1, '''', expires_at => ''2000-01-01'')', 'SELECT kms.blob_put(1, '''', expires_at => ''infinity'')', 'SELECT kms.blob_put(1, '''', expires_at => ''-infinity'')',
    'SELECT kms.blob_put(1, '''', expires_at => now() + ''1 day'', expire_in => ''1 day'')', 'SELECT kms.blob_put(1, '''', expire_in => ''-1 day'')', 'SELECT kms.blob_put(1, '''', expire_in => ''0'')',
    'SELECT kms.blob_put(1, '''', expire_in => ''300000 years'')', 'SELECT kms.blob_put(1, '''', last_modified => ''infinity'')', 'SELECT kms.blob_put(1, '''', last_modified => ''-infinity'')');
-- The last times that can be told.
SELECT said_of(:'id', 'SELECT kms.blob_put(1, '''', expires_at => ''294247-01-11 UTC'')', 'SELECT kms.blob_put(1, '''', last_modified => ''294276-12-31 UTC'')', 'SELECT kms.blob_put(1, '''', expire_in => ''292240 years'')');
SELECT kms.blob_put(1, '', expires_at => '294247-01-10 04:00:54.775807 UTC', last_modified => '4714-11-24 00:00:00 UTC BC') AS id \gset
SELECT expires_at AT TIME ZONE 'UTC' AS expires_at, last_modified AT TIME ZONE 'UTC' AS last_modified FROM kms.blob_meta(:'id');
SELECT kms.blob_put(1, 'x', 'soon') AS id \gset
SELECT said_of(:'id', 'SELECT kms.blob_set_meta($1, expires_at => ''2000-01-01'')', 'SELECT kms.blob_set_meta($1, expires_at => ''infinity'')', 'SELECT kms.blob_set_meta($1, expires_at => now() + ''1 day'', expire_in => ''1 day'')',
    'SELECT kms.blob_set_meta($1, last_modified => ''infinity'')', 'SELECT version FROM kms.blob_meta($1)');
SELECT kms.blob_set_meta(:'id', expires_at => '2999-01-01 UTC');
SELECT expires_at AT TIME ZONE 'UTC' AS expires_at FROM kms.blob_meta(:'id');
SELECT kms.blob_copy(:'id') AS copy \gset
SELECT expires_at AT TIME ZONE 'UTC' AS expires_at FROM kms.blob_meta(:'copy');
SELECT kms.blob_put(1, 'x', 'stays', expire_in => '1 day') AS stays \gset
SELECT kms.blob_set_meta(:'id', expire_in => '50 ms') IS NOT NULL, count(kms.blob_put(1, 'x' || n::text::bytea, 'gone', expire_in => '50 ms')) FROM generate_series(1, 25) n;
SELECT pg_sleep(0.1);
SELECT name, expires_at > now() FROM kms.blob_list() WHERE name IN ('soon', 'gone', 'stays') ORDER BY 1;
SELECT said_of(:'id', 'SELECT kms.blob_get($1)', 'SELECT kms.blob_read($1, 0, 1)', 'SELECT kms.blob_meta($1)', 'SELECT kms.blob_verify($1)', 'SELECT kms.blob_append($1, ''x'')', 'SELECT kms.blob_replace($1, ''x'')',
    'SELECT kms.blob_compact($1)', 'SELECT kms.blob_set_meta($1, clear => ''{expires_at}'')', 'SELECT kms.blob_copy($1)', 'SELECT kms.blob_recode($1, 1)', 'SELECT kms.blob_delete($1)');
SELECT rows_of(:'id');
SELECT kms.blob_expire(10);
SELECT kms.blob_expire(1), kms.rewrap_blobs(1);
SELECT kms.blob_expire();
SELECT kms.blob_expire(), rows_of(:'id'), rows_of(:'stays');
SELECT count(*) FROM kms.blob_chunk WHERE blob_id NOT IN (SELECT id FROM kms.blob);
-- Whoever expires blobs need not have their keys.
SELECT kms.blob_put(1, 'x', expire_in => '10 ms') AS id \gset
SELECT kms.unset_key(1), pg_sleep(0.02);
SELECT kms.blob_expire(), rows_of(:'id');
-- The owner deletes without them, too.
SELECT said_of(:'stays', 'SELECT kms.blob_get($1)', 'SELECT kms.blob_meta($1)', 'SELECT kms.blob_append($1, ''x'')', 'SELECT kms.blob_append($1, ''x'', 9)', 'SELECT kms.blob_copy($1, 1)', 'SELECT kms.blob_delete($1, 9)', 'SELECT kms.blob_delete($1)');
SELECT kms.set_key(1, 'k');

-- Transactions: rolled back, nothing of it has been.
SELECT count(*) FROM kms.blob b, LATERAL (SELECT kms.blob_delete(b.id)) d;
SELECT kms.blob_put(1, 'one') AS one, kms.blob_put(1, 'two') AS two \gset
CREATE VIEW all_of_it AS SELECT (SELECT count(*) FROM kms.blob) AS blobs, (SELECT count(*) FROM kms.blob_chunk) AS rows, (SELECT string_agg(convert_from(kms.blob_get(id), 'UTF8'), ' ' ORDER BY created) FROM kms.blob) AS contents;
BEGIN;
SELECT kms.blob_put(1, 'three') IS NULL, kms.blob_append(:'one', '+'), kms.blob_replace(:'two', '2');
SELECT * FROM all_of_it;
ROLLBACK;
SELECT * FROM all_of_it;
BEGIN;
SELECT kms.blob_append(:'one', '+');
SAVEPOINT s;
SELECT kms.blob_append(:'one', '-'), kms.blob_delete(:'two'), kms.blob_put(1, 'three') IS NULL;
SELECT * FROM all_of_it;
ROLLBACK TO s;
SELECT kms.blob_append(:'one', '*');
SELECT * FROM all_of_it;
SAVEPOINT t;
\set VERBOSITY sqlstate
SELECT kms.blob_append(:'one', 'x', 1);
\set VERBOSITY default
ROLLBACK TO t;
SELECT kms.blob_compact(:'one');
COMMIT;
SELECT * FROM all_of_it;
SELECT version, segments FROM kms.blob_meta(:'one');
-- An error in the middle of a statement, and what catches it.
SELECT count(kms.blob_put(1, 'x')), 1 / (count(*) - 100) FROM generate_series(1, 100);
DO $$
BEGIN
    PERFORM kms.blob_put(1, 'lost'), kms.blob_append(id, 'lost') FROM kms.blob;
    PERFORM kms.blob_get('00000000-0000-0000-0000-000000000000');
EXCEPTION WHEN SQLSTATE 'KM013' THEN
    RAISE NOTICE 'caught %', sqlstate;
    PERFORM kms.blob_put(1, 'kept');
END $$;
SELECT * FROM all_of_it;
-- One after another within a statement, and many in one transaction.
SELECT kms.blob_append(:'two', n::text::bytea) FROM generate_series(1, 3) n;
SELECT text_of(:'two');
BEGIN;
CREATE TEMP TABLE many AS SELECT kms.blob_put(1, repeat(n::text, n)::bytea, 'many/' || n) AS id, n FROM generate_series(1, 300) n;
SELECT count(*) FROM many WHERE kms.blob_get(id) = repeat(n::text, n)::bytea;
SELECT count(kms.blob_append(id, '.')) FROM many WHERE n % 3 = 0;
SELECT count(kms.blob_delete(id)) FROM many WHERE n % 2 = 0;
COMMIT;
SELECT count(*), sum(size) = (SELECT sum(n * length(n::text) + (n % 3 = 0)::int) FROM many WHERE n % 2 = 1) AS same FROM kms.blob_list('many/');
-- What a statement has put is there for the next one.
SELECT said('SELECT kms.blob_get(kms.blob_put(1, ''x''))');

-- Prepared statements, whose plans outlive the extension's tables.
PREPARE putting(bytea, text) AS SELECT kms.blob_put(1, $1, $2) AS id;
PREPARE getting(uuid) AS SELECT convert_from(kms.blob_get($1), 'UTF8');
PREPARE reading(uuid, bigint, bigint) AS SELECT kms.blob_read($1, $2, $3);
SET plan_cache_mode = force_generic_plan;
EXECUTE putting('prepared', 'p') \gset
EXECUTE getting(:'id');
EXECUTE reading(:'id', 3, 2);
DISCARD PLANS;
EXECUTE putting('again', NULL) \gset
EXECUTE getting(:'id');
RESET plan_cache_mode;
BEGIN;
SET LOCAL kms.allow_drop = on;
DROP EXTENSION kms CASCADE;
ROLLBACK;
EXECUTE getting(:'id');
SELECT kms.blob_append(:'id', '!');
EXECUTE getting(:'id');

-- In a transaction that only reads.
BEGIN READ ONLY;
SELECT said_of(:'id', 'SELECT kms.blob_get($1)', 'SELECT kms.blob_put(1, ''x'')', 'SELECT kms.blob_append($1, ''x'')', 'SELECT kms.blob_replace($1, ''x'')', 'SELECT kms.blob_compact($1)', 'SELECT kms.blob_set_meta($1)',
    'SELECT kms.blob_copy($1)', 'SELECT kms.blob_delete($1)', 'SELECT kms.blob_recode($1, 1)', 'SELECT kms.rewrap_blobs(1)', 'SELECT kms.blob_expire()', 'SELECT size FROM kms.blob_verify($1)');
COMMIT;

SELECT count(*) > 0 FROM kms.blob b, LATERAL (SELECT kms.blob_delete(b.id)) d;
SELECT * FROM all_of_it;
DROP VIEW all_of_it;
DROP TABLE described;
DROP FUNCTION said_of, said, text_of, rows_of;
