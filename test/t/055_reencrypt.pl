# reencrypt while others read, write, lock and rotate: nobody waits, no row is lost, none stays
# behind, and what was interrupted goes on. KMS_ROWS: how large the table is, 1000000 for hours.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run ();
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $rows = $ENV{KMS_ROWS} // 20000;
my $folder = test_folder('keys');
my $node = kms_node('reencrypt', 'kms.command' => make_keyring($folder, 'local', 'remote', 'kek:wrap'), 'restart_after_crash' => 'on',
    'max_connections' => 30, 'autovacuum_naptime' => '1s');
my $calm = 8;    # seconds in which a run among locks has ended

my %mode = (local => 'local', remote => 'remote', envelope => 'envelope');
my $admin = keys_session($node, { 'kms.mode' => 'envelope' });
$admin->get("SELECT kms.create_data_key('envelope', 'kek')");

sub rotate {
    my ($session, $key) = @_;
    return $session->get($key eq 'envelope' ? "SELECT kms.rotate_data_key('$key')" : "SELECT kms.rotate_key('$key')");
}

# A table of the key's own: each row has its plaintext beside it.
sub make_table {
    my ($session, $key, $count) = @_;
    $session->get(<<"SQL");
DROP TABLE IF EXISTS t;
CREATE TABLE t (id int PRIMARY KEY, v text, c bytea) WITH (fillfactor = 80);
INSERT INTO t SELECT n, v, kms.encode_with('$key', v, n::text::bytea) FROM generate_series(1, $count) n, LATERAL (SELECT 'value ' || n AS v) s;
SELECT kms.register_column('t', 'c', '$key'::text, 'id::text::bytea');
SQL
    return;
}

# How many rows open to what they should, and under how many versions they are.
sub state_of {
    my ($session, $key) = @_;
    return $session->get("SELECT count(*), count(*) FILTER (WHERE kms.decode_with_text('$key', c, id::text::bytea) = v), count(DISTINCT substring(c, 2, 8)) FROM t");
}

sub all_current {
    my ($session, $key, $count, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $newest = $session->get("SELECT encode(substring(kms.encode_with('$key', ''::text), 2, 8), 'hex')");
    is(state_of($session, $key), "$count|$count|1", $name);
    return is($session->get("SELECT count(*) FROM t WHERE encode(substring(c, 2, 8), 'hex') = '$newest'"), $count, '... under the newest version');
}

# A run on the table has done more than so many rows.
sub has_come {
    my ($watcher, $table, $done) = @_;
    return becomes(sub { $watcher->get("SELECT count(*) FROM kms.reencrypt_progress WHERE relation = '$table'::regclass AND running AND phase = 'rewriting' AND rows_done > $done") });
}

sub progress { return $_[0]->get('SELECT phase, running FROM kms.reencrypt_progress') }

# The notice of a run's end.
sub rewritten { return $_[0]{err} =~ /(\d+) rows re-encrypted/ ? $1 : "nothing: $_[0]{err}" }

# --- what another has written and not committed may be a duplicate

{
    my ($session, $other) = map { keys_session($node, { 'kms.mode' => 'local' }) } 1 .. 2;
    $session->get(<<'SQL');
SELECT kms.create_key('unique', 'aes-256-siv');
CREATE TABLE once (id int PRIMARY KEY, c bytea UNIQUE);
INSERT INTO once SELECT n, kms.encode_with('unique', 'v' || n) FROM generate_series(1, 500) n;
SELECT kms.register_column('once', 'c', 'unique');
SELECT kms.rotate_key('unique');
SQL
    $other->get("BEGIN; INSERT INTO once VALUES (1001, kms.encode_with('unique', 'v300')), (1002, kms.encode_with('unique', 'v301'))");
    my $answer = $session->ask("SET statement_timeout = '60s'; CALL kms.reencrypt('once', 'c', batch => 100)");
    is(rewritten($answer), 498, 'a UNIQUE waits for nobody');
    like($answer->{err}, qr/WARNING:.*: 2 rows are left/, '... which is said');
    is(rewritten($session->ask("SET lock_timeout = '10ms'; CALL kms.reencrypt('once', 'c')")), 0, 'nor where the caller waits for less');
    is($session->get('SHOW lock_timeout'), '10ms', '... whose setting stays');
    $other->get('ROLLBACK');
    is(rewritten($session->ask("SET lock_timeout = '1h'; CALL kms.reencrypt('once', 'c')")), 2, 'they are done when they are let go');
    $other->get("SELECT kms.rotate_key('unique')");
    $other->get("BEGIN; INSERT INTO once VALUES (1002, kms.encode_with('unique', 'v300'))");
    $session->send("CALL kms.reencrypt('once', 'c')");
    ok(becomes(sub { $admin->get(q{SELECT count(*) FROM kms.reencrypt_progress WHERE relation = 'once'::regclass AND running AND rows_done = 499}) }), 'while a run tries once more');
    $other->get("SET lock_timeout = '10s'; UPDATE once SET id = -id WHERE id < 300");
    pass('... it keeps no other row from being changed');
    $other->get('COMMIT');
    is($session->answer->{state}, '23505', '... and a duplicate is one when it is there');
    $session->get('DROP TABLE once');
    $_->quit foreach $session, $other;
}

foreach my $key (sort keys %mode) {
    my $session = keys_session($node, { 'kms.mode' => $mode{$key} });
    my $other = keys_session($node, { 'kms.mode' => $mode{$key} });
    my $count = 2000;
    make_table($session, $key, $count);

    # --- rows that others hold

    rotate($session, $key);
    $other->get("BEGIN; UPDATE t SET v = v WHERE id = 5; SELECT FROM t WHERE id IN (700, 701) FOR UPDATE; SELECT FROM t WHERE id = 702 FOR KEY SHARE");
    my $began = time;
    my $answer = $session->ask("CALL kms.reencrypt('t', 'c', batch => 100)");
    cmp_ok(time - $began, '<', $calm, "$key: no row is waited for");
    is(rewritten($answer), $count - 3, '... and all others are done');
    like($answer->{err}, qr/WARNING:.*: 3 rows are left/, '... which it says');
    is($admin->get('SELECT phase, rows_done, rows_skipped, running FROM kms.reencrypt_progress'), 'finished|' . ($count - 3) . '|3|f', '... in the view too');
    $other->get('COMMIT');
    is(rewritten($session->ask("CALL kms.reencrypt('t', 'c')")), 3, '... and the next run has them');
    all_current($session, $key, $count, 'every row is there');

    rotate($session, $key);
    $other->get("BEGIN; UPDATE t SET v = 'changed', c = kms.encode_with('$key', 'changed', id::text::bytea) WHERE id BETWEEN 1 AND 300");
    $session->send("CALL kms.reencrypt('t', 'c', batch => 50)");
    ok(becomes(sub { $admin->get('SELECT rows_done FROM kms.reencrypt_progress') >= $count - 300 }), "$key: a run comes to rows that are being changed");
    $other->get('ROLLBACK');
    $answer = $session->answer;
    is(rewritten($answer), $count, '... and has them when they are let go');
    unlike($answer->{err}, qr/WARNING/, '... with nothing left');
    all_current($session, $key, $count, 'every row is there');

    # --- in the middle: watched, not alone, cancelled, and once more

    rotate($session, $key);
    $session->send("CALL kms.reencrypt('t', 'c', batch => 20, pause => '30 ms')");
    ok(has_come($admin, 't', 100), "$key: a run is watched");
    is($admin->get("SELECT phase, rows_total, rate > 0, estimated_end > now() - interval '1 minute' FROM kms.reencrypt_progress"), "rewriting|$count|t|t", '... with its rate and its end');
    my $second = fails_with($other, "CALL kms.reencrypt('t', 'c')", '55006', '... and no other may begin');
    like($second->{message}, qr/column "c" of "t" is being rewritten by another session/, '... which is told so');
    $other->get("UPDATE t SET v = 'meanwhile', c = kms.encode_with('$key', 'meanwhile', id::text::bytea) WHERE id % 50 = 0;
        UPDATE t SET id = id + 100000, c = kms.recode_with('$key', c, id::text::bytea) WHERE false; DELETE FROM t WHERE id = 1999;
        INSERT INTO t VALUES (1999, 'again', kms.encode_with('$key', 'again', '1999'))");
    is(state_of($other, $key) =~ s/\|\d+$//r, "$count|$count", '... while rows are read and written');
    $admin->get('SELECT pg_cancel_backend(' . $session->pid . ')');
    is($session->answer->{state}, '57014', '... until it is cancelled');
    is(progress($admin), 'interrupted|f', '... which the view shows');
    $answer = $session->ask("CALL kms.reencrypt('t', 'c')");
    cmp_ok(rewritten($answer), '<', $count - 50, '... and the next goes on with what is left');
    all_current($session, $key, $count, 'every row is there');

    # --- a rotation in the middle, by somebody else

    rotate($session, $key);
    $session->send("CALL kms.reencrypt('t', 'c', batch => 100, pause => '20 ms')");
    ok(has_come($admin, 't', 200), "$key: a run has come some way");
    rotate($other, $key);
    cmp_ok(rewritten($session->answer), '>', $count + 200, '... and begins anew when the key is rotated');
    all_current($session, $key, $count, 'every row is there');
    $_->quit foreach $session, $other;
}

# --- under load, and killed

my $session = keys_session($node, { 'kms.mode' => 'envelope' });
make_table($session, 'envelope', $rows);
my $script = write_text(test_folder('load') . '/load.sql', <<"SQL");
\\set id random(1, $rows)
\\set other random(1, $rows)
UPDATE t SET v = 'new :id', c = kms.encode_with('envelope', 'new :id', id::text::bytea) WHERE id = :id;
SELECT 1 / (kms.decode_with_text('envelope', c, id::text::bytea) = v)::int FROM t WHERE id = :other;
DELETE FROM t WHERE id = :other;
INSERT INTO t VALUES (:other, 'back', kms.encode_with('envelope', 'back', ':other'::bytea)) ON CONFLICT (id) DO NOTHING;
SQL

sub start_load {
    my ($seconds) = @_;
    local $ENV{PGOPTIONS} = '-c kms.mode=envelope';
    my %load = (out => '', err => '');
    $load{run} = IPC::Run::start([ $node->installed_command('pgbench'), '-n', '-c', 2, '-T', $seconds, '-f', $script, $node->connstr('postgres') ],
        '>', \$load{out}, '2>', \$load{err});
    return \%load;
}

my $load = start_load(600);
foreach my $round (1, 2) {
    rotate($admin, 'envelope');
    my $answer = $session->ask("CALL kms.reencrypt('t', 'c', batch => 1000)");
    is($answer->{state}, '', "rotation $round under load") or diag $answer->{err};
    ok($load->{run}->pumpable, '... which goes on');
    is($session->get("SELECT bool_and(kms.decode_with_text('envelope', c, id::text::bytea) = v) FROM t"), 't', '... and every row opens');
}
$load->{run}->signal('INT');
$load->{run}->finish;
unlike($load->{err}, qr/error|aborted/i, 'no statement of the load has failed') or diag $load->{err};
like($session->ask("CALL kms.reencrypt('t', 'c')")->{err}, qr/rows re-encrypted/, 'a last run');
my $count = $session->get('SELECT count(*) FROM t');
cmp_ok($count, '>=', $rows - 2, 'no row is lost');
all_current($session, 'envelope', $count, 'every row is there');

rotate($session, 'envelope');
$session->quit;
$admin->quit;
foreach my $kill (1 .. 3) {
    my $victim = keys_session($node, { 'kms.mode' => 'envelope' });
    my $watcher = kms_session($node);
    $victim->send("CALL kms.reencrypt('t', 'c', batch => 200, pause => '5 ms')");
    ok(has_come($watcher, 't', 400), "kill $kill: a run has come some way");
    kill KILL => $victim->pid;
    ok($victim->answer->{closed}, '... and is killed');
    ok(becomes(sub { $watcher->ask('SELECT 1')->{closed} }), '... the server with it');
    ok(server_is_up($node), '... which recovers');
    $_->quit foreach $watcher, $victim;
    is($node->safe_psql('postgres', 'SELECT phase, running FROM kms.reencrypt_progress WHERE relation = $$t$$::regclass'), 'interrupted|f', '... and shows what has become of the run');
}
$session = keys_session($node, { 'kms.mode' => 'envelope' });
cmp_ok(rewritten($session->ask("CALL kms.reencrypt('t', 'c')")), '<=', $count - 3 * 400, 'the next run goes on with what is left');
all_current($session, 'envelope', $count, 'every row is there');

# --- a partition comes and goes meanwhile

$session->get(<<'SQL');
CREATE TABLE parted (id int, c bytea) PARTITION BY RANGE (id);
SELECT format('CREATE TABLE parted_%s PARTITION OF parted FOR VALUES FROM (%s) TO (%s)', n, n * 100, n * 100 + 100) FROM generate_series(0, 5) n \gexec
INSERT INTO parted SELECT n, kms.encode_with('envelope', 'v' || n) FROM generate_series(0, 599) n;
CREATE TABLE parted_6 AS SELECT n AS id, kms.encode_with('envelope', 'v' || n) AS c FROM generate_series(600, 699) n;
SELECT kms.register_column('parted', 'c', 'envelope'::text), kms.rotate_data_key('envelope');
SQL
my $other = kms_session($node);
$session->send("CALL kms.reencrypt('parted', 'c', batch => 10, pause => '10 ms')");
ok(has_come($other, 'parted', 20), 'a run over partitions');
$other->get('DROP TABLE parted_4; ALTER TABLE parted ATTACH PARTITION parted_6 FOR VALUES FROM (600) TO (700); ALTER TABLE parted_5 RENAME TO renamed');
is(rewritten($session->answer), 600, '... one of which is dropped, one renamed, and one attached');
is($session->get("SELECT count(*), count(DISTINCT substring(c, 2, 8)), bool_and(kms.decode_with_text('envelope', c) = 'v' || id) FROM parted"), '600|1|t', '... and all rows are done');

# --- the column is no longer what it was

my %changes = (
    'ALTER TABLE parted ALTER c TYPE int USING 1' => qr/what is registered of public.parted.c does not hold any more/,
    'ALTER TABLE parted DROP COLUMN c' => qr/has been dropped while kms.reencrypt was running/,
    "SELECT kms.unregister_column('parted', 'c')" => qr/is not registered/,
    'DROP TABLE parted' => qr/is not registered/,
);
foreach my $change (sort keys %changes) {
    $session->get(<<"SQL");
DROP TABLE IF EXISTS parted;
CREATE TABLE parted (id int, c bytea) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10000);
INSERT INTO parted SELECT n, kms.encode_with('envelope', 'v' || n) FROM generate_series(0, 599) n;
SELECT kms.register_column('parted', 'c', 'envelope'::text), kms.rotate_data_key('envelope');
SQL
    $session->send("CALL kms.reencrypt('parted', 'c', batch => 10, pause => '10 ms')");
    ok(has_come($other, 'parted', 20), 'a run in whose middle somebody says:');
    $other->get($change);
    like($session->answer->{err}, $changes{$change}, $change);
}

# --- a column is encrypted while it is written

$session->get('CREATE TABLE plain AS SELECT n AS id, $$v$$ || n AS v FROM generate_series(1, 3000) n');
$session->send("CALL kms.encrypt_column('plain', 'v', 'envelope', context_expression => 'id::text::bytea', batch => 50, pause => '5 ms')");
$other->quit;
$other = keys_session($node, { 'kms.mode' => 'envelope' });
ok(has_come($other, 'plain', 100), 'a column is being encrypted');
$other->get("UPDATE plain SET v = 'changed ' || id WHERE id % 7 = 0; INSERT INTO plain VALUES (4000, 'new'); DELETE FROM plain WHERE id = 3000; UPDATE plain SET id = -id WHERE id % 11 = 0");
$other->get('BEGIN; UPDATE plain SET v = $$held$$ WHERE id = 2999');
$session->answer;
$other->get('COMMIT');
$session->ask("CALL kms.encrypt_column('plain', 'v', 'envelope', context_expression => 'id::text::bytea')");
is($session->get("SELECT count(*), bool_and(kms.decode_with_text('envelope', v_encrypted, id::text::bytea) = v) FROM plain"), '3000|t', '... and agrees with what was written meanwhile');
like($session->ask("SELECT kms.switch_column('plain', 'v')")->{err}, qr/3000 rows of "plain" have their values in column "v_encrypted" alone/, '... before the plaintext goes');

# --- values that are small in the table and large as text: a batch of them is 225 MB

$session->get("CREATE TABLE wide AS SELECT n AS id, array_fill(n, ARRAY[300000]) AS v FROM generate_series(1000, 1149) n");
$session->get("CALL kms.encrypt_column('wide', 'v', 'envelope')");
my ($most) = slurp_if_there('/proc/' . $session->pid . '/status') =~ /VmHWM:\s+(\d+) kB/;
takes_less($most, 300_000, 'a batch is never in memory as a whole');
is($session->get("SELECT count(*), bool_and(length(v_encrypted) > 1500000) FROM wide"), '150|t', '... and all of it is encrypted');

$_->quit foreach $session, $other;
$node->stop;
no_crash($node);
done_testing();
