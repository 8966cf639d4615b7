-- One transaction of pgbench, as its own but for the note. Variables: `accounts`, `sealed`.
\set aid random(1, :accounts)
\set bid random(1, 50)
\set tid random(1, 500)
\set delta random(-5000, 5000)
BEGIN;
\if :sealed
UPDATE sealed_account SET balance = balance + :delta,
    note = kms.encode(1, rpad('last moved ' || :delta, 84))
WHERE aid = :aid;
SELECT balance, kms.decode_text(1, note) FROM sealed_account WHERE aid = :aid;
\else
UPDATE plain_account SET balance = balance + :delta,
    note = rpad('last moved ' || :delta, 84)
WHERE aid = :aid;
SELECT balance, note FROM plain_account WHERE aid = :aid;
\endif
UPDATE teller SET balance = balance + :delta WHERE tid = :tid;
UPDATE branch SET balance = balance + :delta WHERE bid = :bid;
INSERT INTO history VALUES (:tid, :bid, :aid, :delta, current_timestamp);
END;
