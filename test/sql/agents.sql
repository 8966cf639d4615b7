-- How many key agents run, in status() and in pg_locks.
SELECT setting || '/kms-agent serve --ephemeral' AS command FROM pg_config WHERE name = 'BINDIR' \gset
SET kms.command = :'command';
CREATE VIEW counted AS
SELECT running, agents, server_agents >= agents AS on_server,
    (SELECT count(*) FROM pg_locks
     WHERE locktype = 'advisory' AND objsubid = 27501 AND pid = pg_backend_pid() AND objid::bigint = agent_pid) AS locks
FROM kms.status();

TABLE counted;
SELECT kms.create_key('one');
TABLE counted;

-- Whatever becomes of transactions.
BEGIN;
SELECT 1 / 0;
ROLLBACK;
TABLE counted;
BEGIN;
SAVEPOINT a;
SELECT kms.create_key('one');
ROLLBACK TO a;
TABLE counted;
ROLLBACK;
TABLE counted;

-- Advisory locks of others are no agents, and what takes ours away is made good.
SELECT pg_advisory_lock(27501), pg_advisory_lock(0, 27501), pg_advisory_xact_lock(27501);
TABLE counted;
BEGIN;
SELECT pg_advisory_unlock_all();
COMMIT;
TABLE counted;
DISCARD ALL;
TABLE counted;

-- Another agent; none.
SELECT set_config('kms.command', :'command' || ' ', false) LIKE '% ' AS changed;
SELECT kms.create_key('one');
TABLE counted;
SET kms.command = 'exit 3';
SELECT kms.create_key('one');
TABLE counted;
SET kms.command = :'command';
SELECT kms.create_key('one');
TABLE counted;
SET kms.command = '';
SELECT kms.create_key('one');
TABLE counted;
DROP VIEW counted;
