-- A key agent that cannot be had: each way has its own clear error, and the session lives on.
\set VERBOSITY terse
SET kms.keys = '1=k';
SELECT kms.encode(1, 'x');
\echo :LAST_ERROR_SQLSTATE
SET kms.command = '/no/such/program';
SELECT kms.encode(1, 'x');
\echo :LAST_ERROR_SQLSTATE
SELECT last_error FROM kms.status();
SET kms.command = '/etc/passwd';
SELECT kms.encode(1, 'x');
\echo :LAST_ERROR_SQLSTATE
SELECT last_error FROM kms.status();
SET kms.command = 'exit 3';
SELECT kms.decode(1, '\x010000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000');
\echo :LAST_ERROR_SQLSTATE
SELECT last_error FROM kms.status();
SET kms.command = 'echo "the keys are gone" >&2; exit 1';
SELECT kms.create_key('k');
\echo :LAST_ERROR_SQLSTATE
SELECT last_error FROM kms.status();
SET kms.command = 'kill -9 $$';
SELECT kms.list_keys();
SELECT kms.list_keys('pre fix');
\echo :LAST_ERROR_SQLSTATE
SELECT last_error FROM kms.status();
SET kms.command = 'sleep 8';
SET kms.start_timeout = '200ms';
SELECT kms.set_key(1, 'k');
\echo :LAST_ERROR_SQLSTATE
RESET kms.start_timeout;
SET kms.command = 'echo this is not kms/1; sleep 8';
SELECT kms.set_key(1, 'k');
\echo :LAST_ERROR_SQLSTATE
SELECT last_error FROM kms.status();

-- try_decode hides what is wrong with a ciphertext, not what is wrong with the agent.
SET kms.command = 'exit 3';
SELECT kms.try_decode(1, '\x010000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000');
\echo :LAST_ERROR_SQLSTATE

-- Not offered: an agent that only knows get, one that knows nothing.
SET kms.command = 'printf "ok 0 0 kms/1 get\n"; cat >/dev/null';
SELECT kms.create_key('k');
\echo :LAST_ERROR_SQLSTATE
SET kms.mode = 'remote';
SELECT kms.encode(1, 'x');
\echo :LAST_ERROR_SQLSTATE
RESET kms.mode;
SET kms.command = 'printf "ok 0 0 kms/1\n"; cat >/dev/null';
SELECT kms.encode(1, 'x');
\echo :LAST_ERROR_SQLSTATE
SET kms.command = 'printf "error 0 0 unsupported\n"; cat >/dev/null';
SELECT kms.encode(1, 'x');
\echo :LAST_ERROR_SQLSTATE

-- A right command brings the session back.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
SELECT kms.create_key('k');
SELECT kms.decode_text(1, kms.encode(1, 'at last'));
