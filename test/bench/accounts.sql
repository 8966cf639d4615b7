-- Tables for tpcb.sql, as pgbench's own but with fewer accounts to a branch. The note is as long as
-- pgbench's filler. Variable: `accounts`.
SET client_min_messages = warning;
CREATE TABLE branch (bid int PRIMARY KEY, balance int);
CREATE TABLE teller (tid int PRIMARY KEY, bid int, balance int);
CREATE TABLE history (tid int, bid int, aid int, delta int, at timestamp);
CREATE TABLE plain_account (aid int PRIMARY KEY, bid int, balance int, note text);
CREATE TABLE sealed_account (aid int PRIMARY KEY, bid int, balance int, note bytea);
INSERT INTO branch SELECT i, 0 FROM generate_series(1, 50) i;
INSERT INTO teller SELECT i, (i - 1) / 10 + 1, 0 FROM generate_series(1, 500) i;
INSERT INTO plain_account
SELECT i, i % 50 + 1, 0, rpad('opened on ' || current_date, 84) FROM generate_series(1, :accounts) i;
INSERT INTO sealed_account SELECT aid, bid, balance, kms.encode(1, note) FROM plain_account;
VACUUM ANALYZE;
