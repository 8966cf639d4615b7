# Rows that others move while they are counted, or whose place another takes while they are sealed
# anew.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use Test::More;

my $command = make_keyring(test_folder('ring'), 'pii', 'kek:wrap');
my $node = kms_node('moving', 'kms.command' => $command, 'kms.cache_ttl' => '1s', autovacuum => 'off');
my ($admin, $mover, $holder) = map { kms_session($node) } 1 .. 3;

sub waits_for_lock {
    my ($session) = @_;
    my $pid = $session->pid;
    return becomes(sub { $node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $pid") > 0 });
}

# --- from one registered table to another that was counted before

$admin->get(<<'SQL');
CREATE TABLE done (id int, ssn bytea);
CREATE TABLE todo (id int, ssn bytea) PARTITION BY LIST (id);
CREATE TABLE todo_1 PARTITION OF todo FOR VALUES IN (1);
CREATE TABLE todo_2 PARTITION OF todo FOR VALUES IN (2);
SELECT kms.create_data_key('person', 'kek');
SET kms.mode = envelope;
INSERT INTO todo VALUES (2, kms.encode_with('person', 'the only one'));
SELECT kms.register_column('done', 'ssn', 'person'), kms.register_column('todo', 'ssn', 'person');
SELECT kms.rotate_data_key('person');
SQL
$holder->get('BEGIN; LOCK TABLE todo_1');
$admin->send("CALL kms.destroy_data_key('person', 1, dry_run => true)");
ok(waits_for_lock($admin), 'a partition is locked while rows are counted');
$mover->get('WITH gone AS (DELETE FROM todo_2 RETURNING *) INSERT INTO done SELECT * FROM gone');
$holder->get('COMMIT');
is($admin->answer->{out}, 1, '... and the row that has moved to another table meanwhile is not missed');
$holder->get('BEGIN; LOCK TABLE todo_1');
$admin->send('SELECT sum(rows) FROM kms.key_age()');
ok(waits_for_lock($admin), '... nor by key_age()');
$mover->get('WITH gone AS (DELETE FROM done RETURNING *) INSERT INTO todo SELECT * FROM gone');
$holder->get('COMMIT');
$admin->answer;
$admin->get("CALL kms.reencrypt('todo', 'ssn')");
is($admin->get('SELECT kms.decode_with_text($$person$$, ssn) FROM todo'), 'the only one', '... and opens');

# --- by whoever has seen it before it was deleted, or sees it still

$admin->get('DROP TABLE todo, done; SET kms.mode = envelope; CREATE TABLE inbox (ssn bytea); CREATE TABLE archive (ssn bytea)');
$admin->get("SELECT kms.register_column(t, 'ssn', 'person') FROM unnest('{inbox, archive}'::regclass[]) t");
my $versions = 2;

# A version whose only row is in the table inbox; returns its number and the row.
sub begin_version {
    $admin->get('ROLLBACK; DELETE FROM inbox; DELETE FROM archive');
    $admin->get("INSERT INTO inbox VALUES (kms.encode_with('person', 'the only one'))");
    my $sealed = $admin->get('SELECT ssn FROM inbox');
    $admin->get("SELECT kms.rotate_data_key('person')");
    return ($versions++, $sealed);
}

sub opens {
    my ($name) = @_;
    return is($admin->get(q{SELECT string_agg(kms.decode_with_text('person', ssn), ' ') FROM (TABLE inbox UNION ALL TABLE archive) v}), 'the only one', $name);
}

# What the session commits, whom the destruction waits for meanwhile.
sub copy_keeps_version {
    my ($session, $commit, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(!becomes(sub { !waits_for_lock($admin) }, 1), $name);
    $session->get($commit);
    is($admin->answer->{state}, 'KM012', '... whose copy keeps the version');
    return opens('... and opens');
}

my ($version) = begin_version();
my $changed = 'DELETE FROM inbox';
foreach my $call ("CALL kms.destroy_data_key('person', $version)", "SELECT kms.disable_data_key('person', $version)") {
    $admin->get("BEGIN; $changed");
    fails_with($admin, $call, '25001', 'what the transaction has deleted itself is still seen by others');
    $admin->get('ROLLBACK');
}
fails_with($admin, "DO \$\$ DECLARE lost bigint; BEGIN $changed; CALL kms.destroy_data_key('person', $version, shred => true, rows_lost => lost); END \$\$", '25001', '... in a DO block too');
opens('... and is kept');

my ($first, $second) = map { kms_session($node) } 1 .. 2;
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
my $elsewhere = kms_session($node, dbname => 'elsewhere');

# Where a transaction of another database runs, all snapshots are of one age.
foreach my $age ('older', 'as old') {
    ($version) = begin_version();
    $elsewhere->get('BEGIN; SELECT pg_current_xact_id() IS NULL') if $age eq 'as old';
    my $snapshot = $first->get('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot()');
    $mover->get('DELETE FROM inbox');
    $admin->send("CALL kms.destroy_data_key('person', $version)");
    ok(waits_for_lock($admin), "$age: a transaction that still sees a row is waited for");
    $second->get("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'; SELECT count(*) FROM inbox");
    $first->get('COMMIT');
    copy_keeps_version($second, 'INSERT INTO archive TABLE inbox; COMMIT', '... and so is one that has its snapshot');
}
$elsewhere->quit;

# A table that is registered no more when rows are counted again.
($version) = begin_version();
$first->get('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM inbox');
$second->get('BEGIN; SELECT 1');
$mover->get('DELETE FROM inbox');
$admin->send("CALL kms.destroy_data_key('person', $version)");
ok(waits_for_lock($admin), 'a table is registered while others are waited for');
$first->get('INSERT INTO inbox TABLE inbox; COMMIT; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM inbox');
$mover->get(q{DELETE FROM inbox; SELECT kms.unregister_column('inbox', 'ssn')});
$second->get('COMMIT');
copy_keeps_version($first, 'INSERT INTO archive TABLE inbox; COMMIT', '... and then no more, and one that still sees a row of it is waited for too');
$admin->get(q{SELECT kms.register_column('inbox', 'ssn', 'person')});

my $sealed;
($version, $sealed) = begin_version();
$first->get("BEGIN; INSERT INTO archive SELECT ssn FROM inbox");
$second->get('BEGIN; SELECT 1');
$mover->get('DELETE FROM inbox');
$admin->send("CALL kms.destroy_data_key('person', $version)");
ok(waits_for_lock($admin), 'two transactions are waited for');
$first->get('COMMIT; BEGIN; INSERT INTO inbox TABLE archive');
$mover->get('DELETE FROM archive');
$second->get('COMMIT');
copy_keeps_version($first, 'COMMIT', '... and then one that has copied what the first has left, and another has deleted');
$mover->get('DELETE FROM inbox');
is($admin->ask("CALL kms.destroy_data_key('person', $version)")->{state}, '', 'where nobody has it any more the version goes');
$_->quit foreach $first, $second;

# --- of a column that somebody is about to register, the first of all

$node->safe_psql('postgres', 'CREATE DATABASE first');
my ($registrar, $destroyer) = map { kms_session($node, dbname => 'first') } 1 .. 2;
$registrar->get(q{CREATE EXTENSION kms; CREATE TABLE t (v bytea); SELECT kms.create_data_key('first', 'kek')});
$registrar->get(q{SET kms.mode = envelope; INSERT INTO t VALUES (kms.encode_with('first', 'x'))});
$registrar->get(q{BEGIN; SELECT kms.register_column('t', 'v', 'first')});
$destroyer->send(q{CALL kms.destroy_data_key('first', 1)});
ok(waits_for_lock($destroyer), 'a registration that is not committed yet is waited for');
$registrar->get('COMMIT');
is($destroyer->answer->{state}, 'KM012', '... and its rows keep the version');
$_->quit foreach $registrar, $destroyer;

# --- into the place of one that is being sealed anew: where old_snapshot_threshold is set, snapshots
# do not keep what they see for ever

$admin->get(<<'SQL');
CREATE EXTENSION pg_surgery;
CREATE TABLE person (id int, ssn bytea);
SET kms.mode = remote;
INSERT INTO person SELECT n, kms.encode_with('pii', 'of ' || n) FROM generate_series(1, 20) n;
SELECT kms.register_column('person', 'ssn', 'pii');
SELECT kms.rotate_key('pii');
SET kms.request_timeout = '10min';
SQL
$sealed = $admin->get(q{SELECT kms.encode_with('pii', 'of another')});
my $relayed = test_folder('relayed');
write_text("$relayed/plan", 'encrypt 20 await');
$admin->get("SET kms.command = 'exec /usr/bin/python3 @{[ example_agent('relay.py') ]} $relayed @{[ $command =~ s/^exec //r ]}'");
$admin->send("CALL kms.reencrypt('person', 'ssn')");
ok(becomes(sub { -e "$relayed/reached" }), 'rows are read, and their values awaited');
my $place = $mover->get('SELECT ctid FROM person WHERE id = 5');
$mover->get("SELECT heap_force_kill('person', ARRAY['$place'::tid])");
$mover->get('VACUUM person');
$mover->get("INSERT INTO person VALUES (1000, '$sealed')");
is($mover->get('SELECT ctid FROM person WHERE id = 1000'), $place, '... while another row takes the place of one');
write_text("$relayed/go", '');
is($admin->answer->{state}, '', '... which is passed over');
is($admin->get(q{SELECT string_agg(kms.decode_with_text('pii', ssn), ' ' ORDER BY id DESC) FROM person WHERE id IN (1, 5, 1000)}), 'of another of 1', '... and keeps its own value');

$node->stop;
no_crash($node);
done_testing();
