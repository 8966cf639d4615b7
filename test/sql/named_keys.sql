-- encode_with, decode_with and their kin: a key a row, named by its identifier, in every mode.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('tenant/' || n) FROM generate_series(1, 40) n \g /dev/null
SELECT kms.create_key('siv', 'aes-256-siv'), kms.create_key('\x00ff'::bytea);
\pset null (null)

-- What a call is found for: literals, parameters, columns.
SELECT kms.decode_with_text('tenant/1', kms.encode_with('tenant/1', 'plain'));
SELECT kms.decode_with('tenant/1', kms.encode_with('tenant/1', '\x00ff'::bytea, 'c'), 'c');
SELECT kms.decode_with_text('\x00ff'::bytea, kms.encode_with('\x00ff'::bytea, 'of bytes'));
SELECT kms.decode_with_text('\x00ff'::bytea, kms.encode_with('\x00ff'::bytea, '\x61'::bytea));
SELECT kms.decode_with_text(key_identifier => 'siv', data => kms.encode_with(data => 'x'::text, key_identifier => 'siv'));
PREPARE e AS SELECT kms.encode_with($1, $2);
PREPARE d AS SELECT kms.decode_with_text($1, $2, $3);
SELECT name, parameter_types FROM pg_prepared_statements ORDER BY name;
DEALLOCATE ALL;
-- What one way of naming a key has sealed, the other opens.
SELECT kms.set_key(1, 'siv');
SELECT kms.encode(1, 'x', 'c') = kms.encode_with('siv', 'x', 'c') AS same, kms.decode_text(1, kms.encode_with('siv', 'y')) AS opened;

CREATE TABLE row (mode text, tenant text, sealed bytea, sealed_in_context bytea);
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
CREATE TABLE query (number int GENERATED ALWAYS AS IDENTITY, query text);
INSERT INTO query (query) VALUES
  ($$SELECT kms.encode_with('none such', 'x')$$),
  ($$SELECT kms.decode_with('tenant/1', sealed) FROM row WHERE tenant = 'tenant/2' LIMIT 1$$),
  ($$SELECT kms.decode_with('tenant/1', sealed, 'c') FROM row WHERE tenant = 'tenant/1' LIMIT 1$$),
  ($$SELECT kms.decode_with('tenant/1', '\x0102')$$),
  ($$SELECT kms.decode_with('tenant/1', '')$$),
  ($$SELECT kms.encode_with('', 'x')$$),
  ($$SELECT kms.encode_with(repeat('k', 1025), 'x')$$),
  ($$SELECT kms.encode_with(NULL::text, 'x')$$),
  ($$SELECT kms.encode_with('tenant/1', 'x', NULL)$$),
  ($$SELECT kms.encode_with(NULL::text, NULL::text)$$),
  ($$SELECT kms.encode_with('none such', NULL::text)$$),
  ($$SELECT kms.decode_with('tenant/1', NULL)$$),
  ($$SELECT kms.decode_with_text('tenant/1', kms.encode_with('tenant/1', '\x00'::bytea))$$),
  ($$SELECT kms.decode_with_text_array(array_agg(tenant), array_agg(sealed)) FROM (SELECT DISTINCT ON (tenant) * FROM row WHERE tenant ~ '/[1-4]$' ORDER BY tenant, mode) r$$),
  ($$SELECT kms.decode_with_text_array(array_agg(tenant), array_agg(sealed_in_context), contexts => array_agg(tenant::bytea)) FROM (SELECT DISTINCT ON (tenant) * FROM row WHERE tenant ~ '/[1-4]$' ORDER BY tenant, mode) r$$),
  ($$SELECT kms.decode_with_text_array(array_agg(tenant), array_agg(sealed_in_context)) FROM (SELECT DISTINCT ON (tenant) * FROM row WHERE tenant ~ '/[1-4]$' ORDER BY tenant, mode) r$$),
  ($$SELECT kms.decode_with_text_array(array_agg('tenant/3'::text), array_agg(sealed)) FROM (SELECT DISTINCT ON (tenant) * FROM row WHERE tenant ~ '/[1-4]$' ORDER BY tenant, mode) r$$),
  ($$SELECT array_dims(kms.encode_with_array(ARRAY[['tenant/1', 'tenant/2'], ['siv', NULL]], ARRAY[['a', 'b'], ['c', NULL]]))$$),
  ($$SELECT kms.decode_with_text_array(ARRAY['siv', 'tenant/1'], kms.encode_with_array(ARRAY['siv', 'tenant/1'], ARRAY['a', NULL]))$$),
  ($$SELECT kms.decode_with_array(ARRAY['siv', 'tenant/1']::bytea[], kms.encode_with_array(ARRAY['siv', 'tenant/1']::bytea[], ARRAY['\x00', '\x01']::bytea[], contexts => ARRAY['x', 'y']::bytea[]), contexts => ARRAY['x', 'y']::bytea[])$$),
  ($$SELECT kms.encode_with_array(ARRAY['tenant/1', 'none such', 'nor this'], ARRAY['a', 'b', 'c'])$$),
  ($$SELECT kms.encode_with_array(ARRAY['tenant/1', NULL], ARRAY['a', 'b'])$$),
  ($$SELECT kms.encode_with_array(ARRAY['tenant/1', ''], ARRAY['a', 'b'])$$),
  ($$SELECT kms.encode_with_array(ARRAY['tenant/1'], ARRAY['a', 'b'])$$),
  ($$SELECT kms.encode_with_array(ARRAY['tenant/1', 'tenant/2'], ARRAY['a', 'b'], contexts => ARRAY['c'::bytea])$$),
  ($$SELECT kms.encode_with_array(NULL::text[], ARRAY['a', 'b'])$$),
  ($$SELECT kms.encode_with_array(NULL::text[], NULL::text[])$$),
  ($$SELECT kms.encode_with_array(ARRAY['tenant/1'], NULL::text[])$$),
  ($$SELECT kms.encode_with_array('{}'::text[], '{}'::text[])$$);
-- The same in each mode, and what one has sealed the others open.
SET kms.mode = 'local';
INSERT INTO row SELECT 'local', t, kms.encode_with(t, t || ' in local mode'), kms.encode_with(t, 'in context', t::bytea) FROM (SELECT 'tenant/' || n AS t FROM generate_series(1, 40) n) t;
CREATE TABLE local_outcome AS SELECT number, query, pg_temp.outcome(query) FROM query;
SELECT number, outcome FROM local_outcome ORDER BY number;
SET kms.mode = 'remote';
INSERT INTO row SELECT 'remote', t, kms.encode_with(t, t || ' in remote mode'), kms.encode_with(t, 'in context', t::bytea) FROM (SELECT 'tenant/' || n AS t FROM generate_series(1, 40) n) t;
SELECT query, outcome, pg_temp.outcome(query) FROM local_outcome WHERE outcome IS DISTINCT FROM pg_temp.outcome(query) ORDER BY number;
SELECT mode, count(kms.decode_with_text(tenant, sealed)), count(DISTINCT kms.decode_with_text(tenant, sealed_in_context, tenant::bytea)) FROM row GROUP BY 1 ORDER BY 1;
SET kms.mode = 'local';
SELECT mode, count(kms.decode_with_text(tenant, sealed)), count(DISTINCT kms.decode_with_text(tenant, sealed_in_context, tenant::bytea)) FROM row GROUP BY 1 ORDER BY 1;

-- Fewer keys are held than are used.
SET kms.max_cached_keys = 3;
SELECT mode, count(kms.decode_with_text(tenant, sealed)) FROM row GROUP BY 1 ORDER BY 1;
SELECT array_length(kms.decode_with_text_array(array_agg(tenant), array_agg(sealed)), 1) FROM row;
SET kms.max_cached_keys = 1;
SELECT array_length(kms.decode_with_text_array(array_agg(tenant), array_agg(sealed)), 1) FROM row;
SELECT kms.decode_text(1, kms.recode_with('siv', kms.encode_with('siv', 'recoded')));
RESET kms.max_cached_keys;
SET kms.max_cached_keys = 0;

-- A key is rotated and its rows follow; to destroy it makes exactly its rows unreadable.
SELECT kms.rotate_key('tenant/1');
SELECT count(*) FILTER (WHERE (kms.inspect(kms.recode_with(tenant, sealed))).key_tag <> (kms.inspect(sealed)).key_tag) AS moved,
       count(*) FILTER (WHERE kms.decode_with_text(tenant, kms.recode_with(tenant, sealed)) LIKE tenant || ' in % mode') AS readable FROM row;
\set VERBOSITY terse
SELECT kms.recode_with('tenant/2', sealed) FROM row WHERE tenant = 'tenant/1' AND mode = 'local';
SELECT kms.recode_with('tenant/2', NULL);
SELECT kms.destroy_key('tenant/2', 1, force => true);
SELECT tenant, pg_temp.outcome(format('SELECT kms.decode_with_text(%L, %L::bytea)', tenant, sealed)) FROM row WHERE tenant IN ('tenant/1', 'tenant/2', 'tenant/3') ORDER BY 1, 2;
SET kms.mode = 'remote';
SELECT tenant, pg_temp.outcome(format('SELECT kms.decode_with_text(%L, %L::bytea)', tenant, sealed)) FROM row WHERE tenant IN ('tenant/1', 'tenant/2', 'tenant/3') ORDER BY 1, 2;
DROP TABLE row, query, local_outcome;
