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
my $sealed = $admin->get(q{SELECT kms.encode_with('pii', 'of another')});
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
