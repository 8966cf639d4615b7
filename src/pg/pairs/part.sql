-- From a plaintext column to an encrypted one

CREATE FUNCTION kms_internal.keep_in_step()
RETURNS trigger LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'kms_keep_in_step';

CREATE PROCEDURE kms.encrypt_column(
    relation regclass, column_name name, key_identifier text DEFAULT NULL, context_expression text DEFAULT NULL,
    encrypted_column name DEFAULT NULL, batch int DEFAULT 10000, pause interval DEFAULT '0',
    triggers text DEFAULT 'refuse', published bool DEFAULT false, key_expression text DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'kms_encrypt_column';

-- And back.
CREATE PROCEDURE kms.decrypt_column(
    relation regclass, column_name name, plain_type text, plain_column name DEFAULT NULL,
    batch int DEFAULT 10000, pause interval DEFAULT '0', triggers text DEFAULT 'refuse',
    published bool DEFAULT false, was_key text DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'kms_decrypt_column';

CREATE FUNCTION kms.switch_column(
    relation regclass, column_name name, drop_constraints bool DEFAULT false,
    dry_run bool DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_switch_column';
