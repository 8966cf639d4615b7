-- Values

-- What the calls below cost in the session's mode, for the planner.
CREATE FUNCTION kms_internal.cost_support(internal)
RETURNS internal LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_cost_support';

CREATE FUNCTION kms.encode(local_id int, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode';

CREATE FUNCTION kms.encode(local_id int, data text, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode';

CREATE FUNCTION kms.encode(local_id int, data anynonarray, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_value';

CREATE FUNCTION kms.decode(local_id int, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode';

CREATE FUNCTION kms.decode_text(local_id int, data bytea, context bytea DEFAULT '')
RETURNS text LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_text';

-- A domain's CHECK runs in it.
CREATE FUNCTION kms.decode_as(local_id int, data bytea, as_type anyelement, context bytea DEFAULT '')
RETURNS anyelement LANGUAGE C STABLE PARALLEL RESTRICTED SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_as';

CREATE FUNCTION kms.try_decode(local_id int, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_try_decode';

CREATE FUNCTION kms.try_decode_text(local_id int, data bytea, context bytea DEFAULT '')
RETURNS text LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_try_decode_text';

CREATE FUNCTION kms.is_sealed(data bytea, local_id int, context bytea DEFAULT '')
RETURNS bool LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_is_sealed';

CREATE FUNCTION kms.looks_sealed(data bytea)
RETURNS bool LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_looks_sealed';

CREATE FUNCTION kms.recode(from_id int, to_id int, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_recode';

CREATE FUNCTION kms.inspect(
    data bytea, OUT suite int, OUT key_tag bytea, OUT nonce bytea, OUT plaintext_length int)
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_inspect';

-- Searches: what a query compares a stored column with

CREATE FUNCTION kms.encode_all(
    local_id int, data bytea, context bytea DEFAULT '', skip_disabled bool DEFAULT false)
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_all';

CREATE FUNCTION kms.encode_all(
    local_id int, data text, context bytea DEFAULT '', skip_disabled bool DEFAULT false)
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_all';

CREATE FUNCTION kms.blind_index(local_id int, data bytea, bits int DEFAULT 64, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_blind_index';

CREATE FUNCTION kms.blind_index(local_id int, data text, bits int DEFAULT 64, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_blind_index';

CREATE FUNCTION kms.blind_indexes(local_id int, data bytea, bits int DEFAULT 64, context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_blind_indexes';

CREATE FUNCTION kms.blind_indexes(local_id int, data text, bits int DEFAULT 64, context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_blind_indexes';

-- Many values at once

CREATE FUNCTION kms.encode_array(local_id int, data bytea[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_array';

CREATE FUNCTION kms.encode_array(local_id int, data bytea[], contexts bytea[])
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_array_contexts';

CREATE FUNCTION kms.encode_array(local_id int, data text[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_array';

CREATE FUNCTION kms.encode_array(local_id int, data text[], contexts bytea[])
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_array_contexts';

CREATE FUNCTION kms.decode_array(local_id int, data bytea[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_array';

CREATE FUNCTION kms.decode_array(local_id int, data bytea[], contexts bytea[])
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_array_contexts';

CREATE FUNCTION kms.decode_text_array(local_id int, data bytea[], context bytea DEFAULT '')
RETURNS text[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_text_array';

CREATE FUNCTION kms.decode_text_array(local_id int, data bytea[], contexts bytea[])
RETURNS text[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_text_array_contexts';

-- Values whose keys are named a row

CREATE FUNCTION kms.encode_with(key_identifier text, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with';

CREATE FUNCTION kms.encode_with(key_identifier text, data text, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with';

CREATE FUNCTION kms.encode_with(key_identifier bytea, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with';

CREATE FUNCTION kms.encode_with(key_identifier bytea, data text, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with';

CREATE FUNCTION kms.decode_with(key_identifier text, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with';

CREATE FUNCTION kms.decode_with_text(key_identifier text, data bytea, context bytea DEFAULT '')
RETURNS text LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_text';

CREATE FUNCTION kms.try_decode_with(key_identifier text, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_try_decode_with';

CREATE FUNCTION kms.try_decode_with(key_identifier bytea, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_try_decode_with';

CREATE FUNCTION kms.try_decode_with_text(key_identifier text, data bytea, context bytea DEFAULT '')
RETURNS text LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_try_decode_with_text';

CREATE FUNCTION kms.try_decode_with_text(key_identifier bytea, data bytea, context bytea DEFAULT '')
RETURNS text LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_try_decode_with_text';

CREATE FUNCTION kms.recode_with(key_identifier text, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_recode_with';

CREATE FUNCTION kms.decode_with(key_identifier bytea, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with';

CREATE FUNCTION kms.decode_with_text(key_identifier bytea, data bytea, context bytea DEFAULT '')
RETURNS text LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_text';

CREATE FUNCTION kms.recode_with(key_identifier bytea, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_recode_with';

CREATE FUNCTION kms.encode_with_array(key_identifiers text[], data bytea[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array';

CREATE FUNCTION kms.encode_with_array(key_identifiers text[], data bytea[], contexts bytea[])
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array_contexts';

CREATE FUNCTION kms.encode_with_array(key_identifiers text[], data text[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array';

CREATE FUNCTION kms.encode_with_array(key_identifiers text[], data text[], contexts bytea[])
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array_contexts';

CREATE FUNCTION kms.encode_with_array(key_identifiers bytea[], data bytea[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array';

CREATE FUNCTION kms.encode_with_array(key_identifiers bytea[], data bytea[], contexts bytea[])
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array_contexts';

CREATE FUNCTION kms.encode_with_array(key_identifiers bytea[], data text[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array';

CREATE FUNCTION kms.encode_with_array(key_identifiers bytea[], data text[], contexts bytea[])
RETURNS bytea[] LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_with_array_contexts';

CREATE FUNCTION kms.decode_with_array(key_identifiers text[], data bytea[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_array';

CREATE FUNCTION kms.decode_with_array(key_identifiers text[], data bytea[], contexts bytea[])
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_array_contexts';

CREATE FUNCTION kms.decode_with_text_array(key_identifiers text[], data bytea[], context bytea DEFAULT '')
RETURNS text[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_text_array';

CREATE FUNCTION kms.decode_with_text_array(key_identifiers text[], data bytea[], contexts bytea[])
RETURNS text[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_text_array_contexts';

CREATE FUNCTION kms.decode_with_array(key_identifiers bytea[], data bytea[], context bytea DEFAULT '')
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_array';

CREATE FUNCTION kms.decode_with_array(key_identifiers bytea[], data bytea[], contexts bytea[])
RETURNS bytea[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_array_contexts';

CREATE FUNCTION kms.decode_with_text_array(key_identifiers bytea[], data bytea[], context bytea DEFAULT '')
RETURNS text[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_text_array';

CREATE FUNCTION kms.decode_with_text_array(key_identifiers bytea[], data bytea[], contexts bytea[])
RETURNS text[] LANGUAGE C STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_with_text_array_contexts';

-- The same for the rows of a query: fn(...) OVER ()

CREATE FUNCTION kms.encode_batch(local_id int, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C WINDOW VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_batch';

CREATE FUNCTION kms.encode_batch(local_id int, data text, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C WINDOW VOLATILE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_encode_batch';

CREATE FUNCTION kms.decode_batch(local_id int, data bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C WINDOW STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_batch';

CREATE FUNCTION kms.decode_batch_text(local_id int, data bytea, context bytea DEFAULT '')
RETURNS text LANGUAGE C WINDOW STABLE PARALLEL SAFE SUPPORT kms_internal.cost_support
AS 'MODULE_PATHNAME', 'kms_decode_batch_text';

-- Secrets of the user's own

CREATE FUNCTION kms.wrap(kek text, secret bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_wrap';

CREATE FUNCTION kms.wrap(kek bytea, secret bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_wrap';

CREATE FUNCTION kms.unwrap(kek text, wrapped bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_unwrap';

CREATE FUNCTION kms.unwrap(kek bytea, wrapped bytea, context bytea DEFAULT '')
RETURNS bytea LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_unwrap';
