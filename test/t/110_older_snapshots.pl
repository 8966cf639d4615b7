# Whoever still sees a table as it was before encrypt_column or decrypt_column filled a column would
# read NULL where the other one is dropped: switch_column waits for nobody, and is refused.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $ring = test_folder('ring');
my $node = kms_node('older_snapshots', 'kms.command' => make_keyring($ring, 'pii'), 'client_min_messages' => 'warning');
$node->safe_psql('postgres', q{CREATE TABLE person (id int, ssn text); INSERT INTO person SELECT i, 'ssn ' || i FROM generate_series(1, 3) i; CREATE TABLE person_archive (id int, ssn text)});
my ($owner, $reader, $other) = map { kms_session($node) } 1 .. 3;

# Each way: what fills, what is switched, and what the reader copies.
foreach my $way ([ q{CALL kms.encrypt_column('person', 'ssn', 'pii')}, 'ssn', 'ssn' ],
    [ q{CALL kms.decrypt_column('person', 'ssn_encrypted', 'text')}, 'ssn_encrypted', q{kms.decode_with_text('pii', ssn_encrypted)} ])
{
    my ($fill, $column, $value) = @$way;
    my $switch = "SELECT kms.switch_column('person', '$column')";
    $reader->get('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM person_archive');
    $owner->get($fill);
    my $refused = fails_with($owner, $switch, '55006', "$column: a transaction still sees the rows of before");
    like($refused->{err}, qr/Processes: @{[ $reader->pid ]}\./, '... which is named');
    is($reader->get("INSERT INTO person_archive SELECT id, $value FROM person; SELECT string_agg(ssn, ' ' ORDER BY id) FROM person_archive"), 'ssn 1 ssn 2 ssn 3', '... and copies what it sees');
    $reader->get('ROLLBACK');
    # Whoever came later, or has no snapshot that stays, is in nobody's way.
    $reader->get('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM person_archive');
    $other->get('BEGIN; SELECT count(*) FROM person_archive');
    is($owner->ask($switch)->{state}, '', '... and then the switch is made');
    $_->get('ROLLBACK') foreach $reader, $other;
}
is($owner->get(q{SELECT string_agg(ssn, ' ' ORDER BY id) FROM person}), 'ssn 1 ssn 2 ssn 3', 'all is there');

# A snapshot that was handed on to a transaction of after the run; and a session that the server
# does not watch.
my $read_old = 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM person_archive';
my $sees = q{SELECT string_agg(ssn, ' ' ORDER BY id) FROM person};
my $switch = q{SELECT kms.switch_column('person', 'ssn')};
$other->get('BEGIN ISOLATION LEVEL REPEATABLE READ');
my $snapshot = $other->get('SELECT pg_export_snapshot()');
$owner->get(q{CALL kms.encrypt_column('person', 'ssn', 'pii')});
$reader->get("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'; $sees");
$other->get('ROLLBACK');
fails_with($owner, $switch, '55006', 'a transaction was given a snapshot of before');
$reader->get("ROLLBACK; SET track_activities = off; $read_old");
$owner->get('UPDATE person SET id = id');
is($owner->ask($switch)->{state}, '', 'what was filled before the snapshot is seen, whatever was written since');
is($reader->get(q{SELECT kms.decode_with_text('pii', ssn_encrypted) FROM person WHERE id = 1}), 'ssn 1', '... by whoever has it');
$reader->get('ROLLBACK');

$reader->get($read_old);
$owner->get(q{CALL kms.decrypt_column('person', 'ssn_encrypted', 'text')});
fails_with($owner, q{SELECT kms.switch_column('person', 'ssn_encrypted')}, '55006', 'track_activities = off hides nobody');
$reader->get('ROLLBACK; RESET track_activities');
is($owner->ask(q{SELECT kms.switch_column('person', 'ssn_encrypted')})->{state}, '', '... and then the switch is made');

# A row that the run has left, and that the trigger fills later.
sub empty {
    my ($rows) = @_;
    $owner->get("BEGIN; ALTER TABLE person DISABLE TRIGGER ALL; UPDATE person SET ssn_encrypted = NULL WHERE $rows; ALTER TABLE person ENABLE ALWAYS TRIGGER zzz_kms_ssn_encrypted; COMMIT");
}
my $encrypt = q{CALL kms.encrypt_column('person', 'ssn', 'pii')};
$owner->get($encrypt);
empty('id = 2');
$other->get('BEGIN; SELECT FROM person WHERE id = 2 FOR UPDATE');
is($owner->ask($encrypt)->{state}, '', 'a run leaves a row to another transaction');
$reader->get($read_old);
$other->get(q{UPDATE person SET ssn = 'ssn of later' WHERE id = 2; COMMIT});
fails_with($owner, $switch, '55006', 'a transaction sees a row that was filled after the run');
is($reader->get($sees), 'ssn 1 ssn 2 ssn 3', '... as it was');
$reader->get('ROLLBACK');
# What this transaction itself fills, others do not see filled.
empty('true');
$owner->get(q{BEGIN; UPDATE person SET ssn = ssn || '!'});
$reader->get($read_old);
fails_with($owner, $switch, '55006', 'a transaction fills rows and switches');
$_->get('ROLLBACK') foreach $owner, $reader;

# A cursor of its own, and a snapshot that it has exported and others may take over yet.
$owner->get(q{DROP TRIGGER zzz_kms_ssn_encrypted ON person; ALTER TABLE person DROP COLUMN ssn_encrypted});
$owner->get(q{BEGIN; DECLARE before CURSOR FOR SELECT generate_series(1, 3); FETCH 0 FROM before});
$other->get($encrypt);
my $held = fails_with($owner, $switch, '55006', 'a cursor of the same transaction sees rows of before');
like($held->{err}, qr/DETAIL: .* by an open cursor\./, '... which is told');
$owner->get('ROLLBACK; BEGIN; DECLARE after CURSOR FOR SELECT generate_series(1, 3); FETCH 0 FROM after');
is($owner->ask($switch)->{state}, '', 'a cursor that was opened later does not');
$owner->get('ROLLBACK; BEGIN; SELECT pg_export_snapshot()');
$held = fails_with($owner, $switch, '55006', 'its snapshot can be taken over');
like($held->{err}, qr/DETAIL: .* by the snapshot that it has exported\./, '... which is told');
$owner->get('ROLLBACK');

# A statement that ends soon is waited for.
$owner->get(q{UPDATE person SET ssn = 'ssn 2' WHERE id = 2});
$reader->get($read_old);
$owner->get($encrypt);
$owner->send($switch);
# A machine that is busy may let the second pass, after which the switch is refused.
my $has_lock = q{SELECT count(*) FROM pg_locks WHERE relation = 'person'::regclass AND mode = 'ShareRowExclusiveLock'};
my $is_over = q{SELECT count(*) FROM pg_stat_activity WHERE state = 'idle' AND pid = } . $owner->pid;
ok(becomes(sub { $other->get($has_lock) || $other->get($is_over) }), 'a switch that has its lock');
$reader->get('ROLLBACK');
my $waited = $owner->answer->{state};
is($waited eq '55006' ? $owner->ask($switch)->{state} : $waited, '', '... waits for a snapshot that goes');
is($owner->get(q{SELECT string_agg(kms.decode_with_text('pii', ssn_encrypted), ' ' ORDER BY id) FROM person}), 'ssn 1 ssn 2 ssn 3', 'all is there');

$_->quit foreach $owner, $reader, $other;
$node->stop;
no_crash($node);
done_testing();
