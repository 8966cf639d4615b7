-- The session's agent

CREATE FUNCTION kms.status(
    OUT mode text, OUT running bool, OUT agent_pid int, OUT agent text, OUT capabilities text[],
    OUT starts bigint, OUT requests bigint, OUT errors bigint, OUT bytes bigint,
    OUT mean_latency_ms float8, OUT last_error text, OUT agents int, OUT server_agents int)
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'kms_status';

-- Milliseconds.
CREATE FUNCTION kms.ping()
RETURNS float8 LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kms_ping';
