-- Bindings

CREATE FUNCTION kms.set_key(local_id int, key_identifier text, is_local bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_set_key';

CREATE FUNCTION kms.set_key(local_id int, key_identifier bytea, is_local bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_set_key';

CREATE FUNCTION kms.unset_key(local_id int)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_unset_key';

CREATE FUNCTION kms.session_keys(
    OUT local_id int, OUT key_identifier text, OUT mode text, OUT version int, OUT key_tag bytea,
    OUT algorithm text, OUT fetched_at timestamptz, OUT expires_at timestamptz)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'kms_session_keys';

CREATE VIEW kms.session_keys AS SELECT * FROM kms.session_keys();

-- Keys at the agent

-- exportable: NULL is what the purpose has, true to seal and false to wrap.
CREATE FUNCTION kms.create_key(
    key_identifier text, algorithm text DEFAULT 'xaes-256-gcm', exportable bool DEFAULT NULL,
    purpose text DEFAULT 'seal')
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_create_key';

CREATE FUNCTION kms.create_key(
    key_identifier bytea, algorithm text DEFAULT 'xaes-256-gcm', exportable bool DEFAULT NULL,
    purpose text DEFAULT 'seal')
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_create_key';

CREATE FUNCTION kms.rotate_key(key_identifier text)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_rotate_key';

CREATE FUNCTION kms.rotate_key(key_identifier bytea)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_rotate_key';

CREATE FUNCTION kms.enable_key(key_identifier text, version int)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_enable_key';

CREATE FUNCTION kms.enable_key(key_identifier bytea, version int)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_enable_key';

CREATE FUNCTION kms.disable_key(key_identifier text, version int, force bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_disable_key';

CREATE FUNCTION kms.disable_key(key_identifier bytea, version int, force bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_disable_key';

CREATE FUNCTION kms.destroy_key(key_identifier text, version int, force bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_destroy_key';

CREATE FUNCTION kms.destroy_key(key_identifier bytea, version int, force bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_destroy_key';

CREATE FUNCTION kms.list_keys(
    prefix text DEFAULT '', OUT key_identifier text, OUT version int, OUT algorithm text,
    OUT key_tag bytea, OUT state text, OUT created timestamptz, OUT purpose text,
    OUT exportable bool)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_list_keys';

CREATE FUNCTION kms.generate_key(bits int DEFAULT 256)
RETURNS text LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kms_generate_key';

-- Data keys, wrapped by a KEK that stays with the agent

CREATE FUNCTION kms.create_data_key(
    name text, kek text, algorithm text DEFAULT 'xaes-256-gcm', force bool DEFAULT false)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_create_data_key';

CREATE FUNCTION kms.create_data_key(
    name bytea, kek bytea, algorithm text DEFAULT 'xaes-256-gcm', force bool DEFAULT false)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_create_data_key';

CREATE FUNCTION kms.rotate_data_key(name text)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_rotate_data_key';

CREATE FUNCTION kms.rotate_data_key(name bytea)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_rotate_data_key';

CREATE FUNCTION kms.enable_data_key(name text, version int)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_enable_data_key';

CREATE FUNCTION kms.enable_data_key(name bytea, version int)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_enable_data_key';

CREATE FUNCTION kms.disable_data_key(name text, version int, force bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_disable_data_key';

CREATE FUNCTION kms.disable_data_key(name bytea, version int, force bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_disable_data_key';

-- Without SECURITY DEFINER or SET, which would forbid the COMMIT that shredding needs.
CREATE PROCEDURE kms.destroy_data_key(
    name text, version int, dry_run bool DEFAULT false, shred bool DEFAULT false,
    force bool DEFAULT false, INOUT rows_lost bigint DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'kms_destroy_data_key';

CREATE PROCEDURE kms.destroy_data_key(
    name bytea, version int, dry_run bool DEFAULT false, shred bool DEFAULT false,
    force bool DEFAULT false, INOUT rows_lost bigint DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'kms_destroy_data_key';

-- A new version of a KEK at the agent, and every data key that it wraps brought to it.
CREATE FUNCTION kms.rotate_kek(kek text)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_rotate_kek';

CREATE FUNCTION kms.rotate_kek(kek bytea)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_rotate_kek';

-- Every version of a key of the agent becomes one of a data key of the same name; and the way back.
-- How many there were.
CREATE FUNCTION kms.adopt_key(name text, kek text)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_adopt_key';

CREATE FUNCTION kms.adopt_key(name bytea, kek bytea)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_adopt_key';

CREATE FUNCTION kms.hand_back_key(name text)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_hand_back_key';

CREATE FUNCTION kms.hand_back_key(name bytea)
RETURNS int LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_hand_back_key';

CREATE FUNCTION kms.data_keys(
    OUT name text, OUT version int, OUT algorithm text, OUT key_tag bytea, OUT state text,
    OUT created timestamptz, OUT kek text, OUT kek_version int)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'kms_data_keys';

CREATE VIEW kms.data_keys AS SELECT * FROM kms.data_keys();

-- How old the versions are that rows need

CREATE FUNCTION kms.key_age(
    OUT key_identifier text, OUT version int, OUT created timestamptz, OUT age interval,
    OUT rows bigint)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_key_age';
