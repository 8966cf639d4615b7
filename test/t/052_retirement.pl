# Destroying a version of a key at the agent outlasts whoever may still seal under it, and keeps
# nobody from the tables meanwhile.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $ring = test_folder('ring');
my $node = kms_node('retirement', 'kms.command' => make_keyring($ring, 'k', 'kek:wrap'), 'kms.keys' => '1=k', 'kms.cache_ttl' => '1s', max_prepared_transactions => 3);
my $keeper = kms_session($node);
my $writer = kms_session($node);
my $third = kms_session($node);
$keeper->get(q{CREATE TABLE person (id int, ssn bytea); SELECT kms.register_column('person', 'ssn', 'k')});

# A newer version seals from now on; that of before has no rows.
my $version = 0;
sub replace_version {
    $keeper->get(q{TRUNCATE person; SELECT kms.rotate_key('k')});
    ++$version;
    return;
}

sub state_of { return $keeper->get("SELECT state FROM kms.list_keys('k') WHERE key_identifier = 'k' AND version = $_[0]") }

# The keeper awaits another's transaction, and not the clock any more.
sub awaits_transaction {
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(becomes(sub {
        $node->safe_psql('postgres', 'SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = \'Lock\' AND pid = ' . $keeper->pid) == 1;
    }), $_[0]);
}

# --- a value that is sealed, and not yet stored

$writer->get('BEGIN');
my $sealed = $writer->get(q{SELECT kms.encode(1, 'sealed in time')});
replace_version();
$keeper->get("SELECT kms.disable_key('k', 1)");
$keeper->send("SELECT kms.destroy_key('k', 1)");
awaits_transaction('destroying waits for a transaction that may have sealed');
is($third->ask(q{SET lock_timeout = '2s'; ALTER TABLE person ADD COLUMN more int; ALTER TABLE person DROP COLUMN more})->{state}, '', '... and keeps nobody from the table');
$writer->get("INSERT INTO person VALUES (1, '$sealed'); COMMIT");
my $refused = $keeper->answer;
is($refused->{state}, 'KM012', '... which has stored what it sealed');
like($refused->{err}, qr/^DETAIL:  public\.person\.ssn: 1 row$/m, '... as is told');
is(state_of(1), 'disabled', '... and the version lives');

# --- a cursor of the session itself, which could write back what it sees

$third->get('BEGIN; SELECT txid_current()');  # the oldest transaction for all snapshots
$keeper->get("SELECT kms.enable_key('k', 1); BEGIN; DECLARE before CURSOR FOR SELECT id, ssn FROM person; FETCH 0 FROM before");
$writer->get(q{CALL kms.reencrypt('person', 'ssn')});
$keeper->get('DECLARE after CURSOR FOR SELECT id, ssn FROM person; FETCH 0 FROM after');
$refused = fails_with($keeper, "SELECT kms.disable_key('k', 1)", '25001', 'a cursor sees rows of before');
like($refused->{err}, qr/a cursor of this session still sees rows that need its version 1/, '... which is told');
$_->get('ROLLBACK') foreach $keeper, $third;
my $retires_all = q{DO $$ DECLARE each record; BEGIN
    FOR each IN SELECT key_identifier, version FROM kms.list_keys('k') WHERE key_identifier = 'k' AND version = 1 LOOP
        PERFORM kms.disable_key(each.key_identifier, each.version);
    END LOOP; END $$};
is($keeper->ask($retires_all)->{state}, '', 'a loop over keys sees none');
is(state_of(1), 'disabled', '... and retires them');

# --- prepared, and rolled back or committed later

$keeper->get("SELECT kms.enable_key('k', 1)");
foreach my $end (qw(COMMIT ROLLBACK)) {
    $keeper->get('TRUNCATE person');
    $writer->get("BEGIN; INSERT INTO person VALUES (1, '$sealed'); PREPARE TRANSACTION 'p'");
    $keeper->get("SELECT kms.disable_key('k', 1)");
    $keeper->send("SELECT kms.destroy_key('k', 1)");
    awaits_transaction('destroying waits for a prepared transaction');
    $writer->get("$end PREPARED 'p'");
    is($keeper->answer->{state}, $end eq 'COMMIT' ? 'KM012' : '', "... and its $end tells");
}
is(state_of(1), 'destroyed', '... after which it is destroyed');

# --- who is not waited for, and what ends the wait

replace_version();
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
my $elsewhere = kms_session($node, dbname => 'elsewhere');
$elsewhere->get('BEGIN; SELECT 1');
$keeper->get("SELECT kms.disable_key('k', 2)");
is($keeper->ask("SELECT kms.destroy_key('k', 2)")->{state}, '', 'a transaction of another database is not waited for');
$elsewhere->quit;

replace_version();
$writer->get('BEGIN; SELECT 1');
$keeper->get("SELECT kms.disable_key('k', 3)");
is($keeper->ask(q{SET lock_timeout = '200ms'; SELECT kms.destroy_key('k', 3)})->{state}, '55P03', 'lock_timeout ends the wait');
$keeper->get('RESET lock_timeout');
is($keeper->ask(q{SET statement_timeout = '300ms'; SELECT kms.destroy_key('k', 3)})->{state}, '57014', 'statement_timeout ends it');
end_timeout($keeper);
$keeper->send("SELECT kms.destroy_key('k', 3)");
awaits_transaction('a wait');
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $keeper->pid . ')');
is($keeper->answer->{state}, '57014', '... is cancelled');
is(state_of(3), 'disabled', '... and the version lives');
is($keeper->ask("SELECT kms.destroy_key('k', 3, force => true)")->{state}, '', 'who is in a hurry forces it');
$writer->get('COMMIT');

# --- a session of remote mode, which holds no key, and others that do

replace_version();
$writer->get(q{SELECT kms.encode(1, 'it holds the key')});
$keeper->get(q{SELECT kms.rotate_key('k'); SELECT kms.disable_key('k', 5)});
$keeper->get(q{SET kms.mode = 'remote'});
$keeper->send(q{SELECT kms.destroy_key('k', 5)});
my $in_time = $writer->ask(q{INSERT INTO person VALUES (9, kms.encode(1, 'sealed with what it holds'))});
is($in_time->{state}, '', 'another session seals under a version that it holds');
is($keeper->answer->{state}, 'KM012', '... and who destroys it in remote mode has waited for that');
$keeper->get(q{RESET kms.mode; SELECT kms.enable_key('k', 5); TRUNCATE person; SELECT kms.disable_key('k', 5)});
is($keeper->ask(q{SELECT kms.destroy_key('k', 5)})->{state}, '', '... until no row needs it');
$version = 5;

# --- what a ROLLBACK would bring back

replace_version();
$keeper->get(q{INSERT INTO person VALUES (1, kms.encode(1, 'x')); SELECT kms.rotate_key('k'); SELECT kms.disable_key('k', 7, force => true)});
my $destroy = q{SELECT kms.destroy_key('k', 7)};
foreach my $statement ("BEGIN; TRUNCATE person; $destroy", "BEGIN; SAVEPOINT here; DELETE FROM person; $destroy", "BEGIN; $destroy",
    "DO \$\$ BEGIN DELETE FROM person; PERFORM kms.destroy_key('k', 7); ROLLBACK; END \$\$",
    "WITH gone AS (DELETE FROM person RETURNING id) SELECT kms.destroy_key('k', 7) FROM gone") {
    is($keeper->ask($statement)->{state}, '25001', "refused: $statement");
    $keeper->ask('ROLLBACK');
    is(state_of(7), 'disabled', '... and the version lives');
}
is($keeper->ask($destroy)->{state}, 'KM012', '... and by itself it sees the row');
$keeper->get(q{SET kms.mode = 'envelope'; SELECT kms.create_key('main', purpose => 'wrap'); SELECT kms.create_data_key('under main', 'main'); SELECT kms.rotate_key('main')});
is($keeper->ask(q{BEGIN; SELECT kms.rotate_kek('main'); SELECT kms.disable_key('main', 1, force => true); SELECT kms.destroy_key('main', 1)})->{state}, '25001', 'and so is a KEK\'s');
$keeper->get('ROLLBACK');
is($keeper->get(q{SELECT kms.enable_key('main', 1) IS NULL, length(kms.encode_with('under main', 'x')) > 0}), 'f|t', '... which the data key still has');
$keeper->get(q{RESET kms.mode; SELECT kms.enable_key('k', 7)});

# --- what a crash would bring back

$keeper->get(q{SET synchronous_commit = off; SELECT kms.encode_with('k', 'x') IS NULL; DELETE FROM person; SELECT kms.disable_key('k', 7)});
$keeper->get($destroy);
is($keeper->get('SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() - 65536 AND (SELECT count(*) FROM person) = 0'), 't', 'all is destroyed');
$node->stop('immediate');
$node->start;
$_->quit foreach $keeper, $writer, $third;
($keeper, $writer, $third) = map { kms_session($node) } 1 .. 3;
is($keeper->get('SELECT count(*) FROM person'), 0, '... and no row of it is back after a crash');

# --- within a block that goes on after the refusal

replace_version();
$keeper->get(q{INSERT INTO person VALUES (1, kms.encode(1, 'x')); SELECT kms.rotate_key('k')});
my $caught = $keeper->ask(<<'SQL');
DO $$ BEGIN
    PERFORM kms.disable_key('k', 9);
EXCEPTION WHEN SQLSTATE 'KM012' THEN RAISE NOTICE 'caught as %', current_user;
END $$;
SELECT count(*) FROM person;
SQL
is($caught->{state}, '', 'a refusal that is caught');
is($caught->{out}, '1', '... leaves the transaction to go on');

# --- a data key's version, whose values a transaction copies without sealing any

$keeper->get(q{TRUNCATE person; SET kms.mode = 'envelope'; CREATE TABLE archive (ssn bytea); SELECT kms.register_column('archive', 'ssn', 'of persons')});
$keeper->get(q{SELECT kms.create_data_key('of persons', 'kek'); INSERT INTO person VALUES (1, kms.encode_with('of persons', 'x'))});
my $old = 0;
foreach my $shred ('', ', shred => true') {
    foreach my $end ('COMMIT', 'ROLLBACK') {
        $writer->get('BEGIN; INSERT INTO archive SELECT ssn FROM person');
        $keeper->get(q{SELECT kms.rotate_data_key('of persons'); UPDATE person SET ssn = kms.recode_with('of persons', ssn)});
        $keeper->send(sprintf "CALL kms.destroy_data_key('of persons', %d%s)", ++$old, $shred);
        awaits_transaction("$old$shred: destroying waits for a transaction that copies");
        $writer->get($end);
        is($keeper->answer->{state}, $end eq 'COMMIT' ? 'KM012' : '', "... and its $end tells");
        $keeper->get('TRUNCATE archive');
    }
}
is($keeper->get(q{SELECT convert_from(kms.decode_with('of persons', ssn), 'UTF8') FROM person}), 'x', 'what was brought along opens');
# What others have deleted is still there for a transaction of before, which could copy it.
foreach my $retire ("CALL kms.destroy_data_key('of persons', 5)", "SELECT kms.disable_data_key('of persons', 5)") {
    $keeper->get('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM person');
    $writer->get(q{SET kms.mode = 'envelope'; SELECT kms.rotate_data_key('of persons'); UPDATE person SET ssn = kms.recode_with('of persons', ssn); RESET kms.mode});
    fails_with($keeper, $retire, '25001', 'nobody retires a version for which rows of before are there');
    $keeper->get('ROLLBACK');
}
$keeper->get(q{DROP TABLE archive; DELETE FROM person});

# --- a registration, or a part of a registered table, that comes while others are waited for

$keeper->get(q{CREATE TABLE whole (id int, ssn bytea) PARTITION BY RANGE (id); SELECT kms.register_column('whole', 'ssn', 'of persons'); CREATE TABLE above (id int, ssn bytea); SELECT kms.register_column('above', 'ssn', 'of persons')});
foreach my $brings (q{SELECT kms.register_column('late', 'ssn', 'of persons')}, q{ALTER TABLE whole ATTACH PARTITION late FOR VALUES FROM (1) TO (9)}, q{ALTER TABLE late INHERIT above}) {
    my $sealed_under = $keeper->get(q{CREATE TABLE late (id int, ssn bytea); INSERT INTO late VALUES (1, kms.encode_with('of persons', 'x')); SELECT max(version) FROM kms.data_keys WHERE name = 'of%20persons'});
    $keeper->get(q{SELECT kms.rotate_data_key('of persons')});
    $writer->get('BEGIN; SELECT 1');
    $keeper->send("CALL kms.destroy_data_key('of persons', $sealed_under)");
    awaits_transaction('destroying waits for a transaction');
    $third->get("BEGIN; $brings");
    $writer->get('COMMIT');
    awaits_transaction("... and for one that has begun since: $brings");
    $third->get('COMMIT');
    is($keeper->answer->{state}, 'KM012', '... which brings a row');
    $keeper->get(q{DROP TABLE late});
}
$keeper->get(q{DROP TABLE whole, above; RESET kms.mode; INSERT INTO person VALUES (1, kms.encode(1, 'x'))});

# --- agents that do not list their keys

write_text("$ring/plain", 'k' x 32);
my $plain = kms_session($node);
$plain->get("SET kms.command = 'sh @{[ example_agent('agent.sh') ]} $ring'; SET kms.keys = '1=plain'");
my $unlisted = fails_with($plain, "SELECT kms.disable_key('plain', 1)", 'KM010', 'an agent that does not list its keys');
like($unlisted->{detail}, qr/force => true/, '... is told of force');
is($plain->get(q{SELECT key_identifier, rows FROM kms.census('person', 'ssn')}), '|1', '... and makes no difference to a census');
is($plain->get(q{SELECT key_identifier, version, rows FROM kms.key_age() WHERE key_identifier = 'k'}), 'k||', '... and key_age says what it knows');
$plain->get("SET kms.command = 'exec sleep 1000'; SET kms.start_timeout = '200ms'");
is($plain->get(q{SELECT key_identifier, rows FROM kms.census('person', 'ssn')}), '|1', 'nor does one that hangs');

$_->quit foreach $keeper, $writer, $third, $plain;
$node->stop;
no_crash($node);
done_testing();
