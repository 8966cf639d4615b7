# Blobs that several sessions change and read at once, a dump that is restored elsewhere, a standby,
# and workers.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $keys = test_folder('keys');
my $node = PostgreSQL::Test::Cluster->new('blob_concurrency');
my %conf = ('kms.command' => make_keyring($keys, 'a', 'b'), 'kms.keys' => '1=a,2=b', autovacuum => 'off', deadlock_timeout => '50ms');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', join "\n", map { "$_ = " . sql_quote($conf{$_}) } sort keys %conf);
$node->append_conf('postgresql.conf', "fsync = off\nshared_buffers = '64MB'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION kms');
my ($one, $two, $watch) = map { kms_session($node) } 1 .. 3;
$watch->get("CREATE TABLE blobs (name text PRIMARY KEY, id uuid); CREATE FUNCTION id_of(called text) RETURNS uuid LANGUAGE sql AS 'SELECT id FROM blobs WHERE name = called'");
$watch->get("CREATE FUNCTION text_of(called text) RETURNS text LANGUAGE sql AS \$\$ SELECT convert_from(kms.blob_get(id), 'UTF8') FROM blobs WHERE name = called \$\$");

sub put {
    my ($name, $text) = @_;
    $watch->get("INSERT INTO blobs VALUES ('$name', kms.blob_put(1, '$text', '$name'))");
    return;
}

# The session runs this and waits for a lock that another one has.
sub waits {
    my ($session, $sql) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $session->send($sql);
    my $waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = " . $session->pid;
    return ok(becomes(sub { eval { $session->{run}->pump_nb }; $watch->get($waiting) > 0 }), "waits: $sql");
}

# --- one after another

put('shared', '0');
$one->get("BEGIN; SELECT kms.blob_append(id_of('shared'), '1')");
waits($two, "SELECT kms.blob_append(id_of('shared'), '2')");
is($watch->get("SELECT text_of('shared')"), '0', 'nobody else sees what is not committed');
$one->get('COMMIT');
is($two->answer->{out}, '3', 'the second append is that of the next version');
is($watch->get("SELECT text_of('shared'), segments FROM kms.blob_meta(id_of('shared'))"), '012|3', '... and both are there');

$one->get("BEGIN; SELECT kms.blob_append(id_of('shared'), 'x')");
waits($two, "SELECT kms.blob_append(id_of('shared'), '3')");
$one->get('ROLLBACK');
is($two->answer->{out}, '4', 'an append after one that was rolled back');
is($watch->get("SELECT text_of('shared')"), '0123', '... follows what was before');

$one->get("BEGIN; SELECT kms.blob_append(id_of('shared'), '4')");
waits($two, "SELECT kms.blob_append(id_of('shared'), 'x', if_version => 4)");
$one->get('COMMIT');
my $late = $two->answer;
is($late->{state}, 'KM014', 'two appends to the same version: the second is refused');
like($late->{detail}, qr/version is 5/, '... and told which version there is');
is($watch->get("SELECT text_of('shared')"), '01234', '... and only the first is there');

foreach my $change ("kms.blob_append(id_of('shared'), 'x')", "kms.blob_replace(id_of('shared'), 'x')", "kms.blob_set_meta(id_of('shared'), 'x')", "kms.blob_compact(id_of('shared'))", "kms.blob_delete(id_of('shared'))", "kms.blob_recode(id_of('shared'), 1)") {
    foreach my $level ('REPEATABLE READ', 'SERIALIZABLE') {
        $two->get("BEGIN ISOLATION LEVEL $level; SELECT text_of('shared')");
        $one->get("SELECT kms.blob_append(id_of('shared'), '')");
        fails_with($two, "SELECT $change", '40001', "$level: $change after another's change");
        $two->get('ROLLBACK');
    }
}
$two->get('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$one->get("SELECT kms.blob_replace(id_of('shared'), 'after')");
is($two->get("SELECT text_of('shared'), (kms.blob_verify(id_of('shared'))).size"), '01234|5', 'REPEATABLE READ: a blob as it was');
$two->get('COMMIT');
is($two->get("SELECT text_of('shared')"), 'after', '... until its end');

$one->get("BEGIN; SELECT kms.blob_delete(id_of('shared'))");
waits($two, "SELECT kms.blob_append(id_of('shared'), 'x')");
$one->get('COMMIT');
is($two->answer->{state}, 'KM013', 'an append to what is deleted meanwhile');
is($watch->get('SELECT count(*) FROM kms.blob_chunk'), '0', '... leaves nothing');

# What each has read the other changes: one after another that cannot have been.
put('left', 'l');
put('right', 'r');
$one->get("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT text_of('left')");
$two->get("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT text_of('right')");
$one->get("SELECT kms.blob_append(id_of('right'), '+'); COMMIT");
my $answer = $two->ask("SELECT kms.blob_append(id_of('left'), '+')");
$answer = $two->ask('COMMIT') if $answer->{state} eq '';
is($answer->{state}, '40001', 'SERIALIZABLE: reads count');
$two->get('ROLLBACK');
is($watch->get("SELECT text_of('left'), text_of('right')"), 'l|r+', '... and one of both has been');

# Locks.
$one->get("BEGIN; SELECT kms.blob_append(id_of('left'), '+')");
$two->get("SET lock_timeout = '50ms'");
fails_with($two, "SELECT kms.blob_append(id_of('left'), '-')", '55P03', 'lock_timeout');
$two->get("RESET lock_timeout; BEGIN; SELECT kms.blob_append(id_of('right'), '-')");
waits($two, "SELECT kms.blob_append(id_of('left'), '-')");
my $deadlock = $one->ask("SELECT kms.blob_append(id_of('right'), '+')");
my $other = $two->answer;
is(join(' ', sort map { $_->{state} } $deadlock, $other), ' 40P01', 'a deadlock: one of both fails');
$_->get('ROLLBACK') for $one, $two;
is($two->get("SELECT kms.blob_append(id_of('left'), '.'), text_of('left')"), '2|l.', 'and the sessions go on');

# --- readers see one version whole

my $length = 4 * 1048576;
$watch->get("CREATE TABLE versions AS SELECT n, decode(repeat(md5(n::text), $length / 16), 'hex') AS bytes FROM generate_series(0, 9) n");
$watch->get("INSERT INTO blobs SELECT 'changing', kms.blob_put(1, bytes, 'changing') FROM versions WHERE n = 0");
$two->send(<<'SQL');
DO $$ BEGIN
FOR i IN 1 .. 40 LOOP
    IF i % 4 = 0 THEN PERFORM kms.blob_append(id_of('changing'), substr(bytes, 1, 1048576)) FROM versions WHERE n = i % 10; COMMIT; PERFORM kms.blob_compact(id_of('changing')); ELSE PERFORM kms.blob_replace(id_of('changing'), bytes) FROM versions WHERE n = i % 10; END IF;
    COMMIT;
END LOOP; END $$
SQL
$one->get(<<'SQL');
CREATE TEMP TABLE seen (md5 text, size bigint);
DO $$ BEGIN
FOR i IN 1 .. 40 LOOP
    INSERT INTO seen SELECT md5(kms.blob_get(id_of('changing'))), size FROM kms.blob_verify(id_of('changing')); COMMIT;
END LOOP; END $$
SQL
is($two->answer->{state}, '', 'a blob is changed 40 times');
my $possible = "SELECT md5(bytes) FROM versions UNION SELECT md5(a.bytes || substr(b.bytes, 1, 1048576)) FROM versions a, versions b WHERE b.n = (a.n + 1) % 10";
is($one->get("SELECT count(*) FROM seen WHERE md5 NOT IN ($possible)"), '0', '... and is read as it was at some time');
is($one->get('SELECT count(*) FROM seen'), '40', '... each time');
is($watch->get("SELECT count(*) FROM kms.blob_chunk c WHERE blob_id = id_of('changing') AND segment < (SELECT version FROM kms.blob WHERE id = c.blob_id) << 32"), '0', 'nothing is left of older versions');

# A cursor goes on reading what was there.
$one->get("BEGIN; DECLARE c CURSOR FOR SELECT md5(kms.blob_read(id_of('changing'), n * 1048576, 1048576)) FROM generate_series(0, 3) n; FETCH c");
my $was = $watch->get("SELECT string_agg(md5(kms.blob_read(id_of('changing'), n * 1048576, 1048576)), E'\\n' ORDER BY n) FROM generate_series(1, 3) n");
$two->get("SELECT kms.blob_delete(id_of('changing'))");
is($one->get('FETCH ALL FROM c'), $was, 'a cursor on a blob that is deleted meanwhile');
$one->get('COMMIT');

# --- expiry and rewrapping pass by what others have locked

$watch->get("DELETE FROM blobs; SELECT kms.blob_delete(id) FROM kms.blob; INSERT INTO blobs SELECT 'e' || n, kms.blob_put(1, 'x', expire_in => '900 ms') FROM generate_series(1, 20) n");
$one->get("BEGIN; SELECT kms.blob_append(id_of('e1'), '+'), kms.blob_set_meta(id_of('e2'), clear => '{expires_at}')");
sleep 1;
is($two->get('SELECT kms.blob_expire()'), '18', 'blob_expire while others change two of 20');
$one->get('COMMIT');
is($two->get('SELECT kms.blob_expire(), (SELECT count(*) FROM kms.blob)'), '1|2', '... later the one that has expired');
is($two->get("SELECT text_of('e2'), (SELECT count(*) FROM kms.blob_chunk)"), 'x|1', '... and the other stays');
$watch->get("SELECT kms.blob_put(1, 'x', expire_in => '1 ms') FROM generate_series(1, 300)");
sleep 0.05;
my @counts = map { $_->send('SELECT sum(kms.blob_expire(10)) FROM generate_series(1, 40)'); $_ } $one, $two;
is($counts[0]->answer->{out} + $counts[1]->answer->{out}, 300, 'blob_expire in two sessions at once');
is($watch->get('SELECT count(*), (SELECT count(*) FROM kms.blob_chunk) FROM kms.blob'), '1|1', '... and all is gone');

# An append that is committed while its blob, which has expired meanwhile, waits to be deleted: it
# comes last of many.
foreach my $try (1 .. 3) {
    $watch->get("INSERT INTO kms.blob SELECT gen_random_uuid(), key_tag, wrapped, manifest, version, created, '2000-01-01', size_class FROM (SELECT * FROM kms.blob LIMIT 1) b, generate_series(1, 50000)");
    my $id = $watch->get("SELECT kms.blob_put(1, 'x', expire_in => '600 ms')");
    $one->get("BEGIN; SELECT kms.blob_append('$id', repeat('y', 100000)::bytea)");
    sleep 0.65;
    $two->send('SELECT kms.blob_expire(100000)');
    my $is_active = "SELECT state = 'active' AND query ~ 'blob_expire' FROM pg_stat_activity WHERE pid = " . $two->pid;
    becomes(sub { eval { $two->{run}->pump_nb }; $watch->get($is_active) eq 't' });
    sleep 0.01 * $try;
    $one->get('COMMIT');
    cmp_ok($two->answer->{out} + $watch->get('SELECT kms.blob_expire(100000)'), '==', 50001, 'an append in the middle of blob_expire');
}
is($watch->get('SELECT count(*) FROM kms.blob_chunk WHERE blob_id NOT IN (SELECT id FROM kms.blob)'), '0', 'no chunks are left of blobs that have expired');

$watch->get("DELETE FROM blobs; INSERT INTO blobs SELECT 'r' || n, kms.blob_put(1, convert_to('r' || n, 'UTF8')) FROM generate_series(1, 50) n");
kms_admin($keys, 'rotate', 'a');
$_->quit for $one, $two;
($one, $two) = map { kms_session($node) } 1 .. 2;
$one->get("BEGIN; SELECT kms.blob_append(id_of('r7'), '+')");
is($two->get('SELECT kms.rewrap_blobs(1)'), '50', 'rewrap_blobs while another one changes a blob: all but that');
$one->get('COMMIT');
is($two->get("SELECT kms.rewrap_blobs(1), text_of('r7'), (SELECT count(DISTINCT key_tag) FROM kms.blob)"), '1|r7+|2', '... which comes later');
is($watch->get('SELECT count(*) FROM blobs WHERE text_of(name) LIKE name || \'%\''), '50', '... and all read');
$watch->get("INSERT INTO blobs SELECT 's' || n, kms.blob_put(2, convert_to('s' || n, 'UTF8')) FROM generate_series(1, 2000) n");
kms_admin($keys, 'rotate', 'b');
$_->quit for $one, $two;
($one, $two) = map { kms_session($node) } 1 .. 2;
$_->get('SELECT kms.encode(2, \'x\')') for $one, $two;
@counts = map { $_->send('SELECT kms.rewrap_blobs(2)'); eval { $_->{run}->pump_nb }; $_ } $one, $two;
my @done = map { $_->answer } @counts;
is(join('', map { $_->{state} } @done), '', 'rewrap_blobs in two sessions at once');
is($done[0]{out} + $done[1]{out} + $watch->get('SELECT kms.rewrap_blobs(2)'), 2000, '... each blob once');
is($watch->get('SELECT count(*) FROM blobs WHERE text_of(name) LIKE name || \'%\''), '2050', '... and all read');

# What others bring to another version or key after the statement's snapshot was taken: it waits for
# a lock meanwhile. Nothing of that is damaged.
my %remote = (PGOPTIONS => '-c kms.mode=remote');
$_->quit for $one, $two;
($one, $two) = map { kms_session($node, env => {%remote}) } 1 .. 2;

sub rewraps_after {
    my ($local_id, $change) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $watch->get('SELECT pg_advisory_lock(1)');
    new_log($node);
    waits($one, "SELECT pg_advisory_xact_lock_shared(1) IS NULL, kms.rewrap_blobs($local_id)");
    $change->();
    $watch->get('SELECT pg_advisory_unlock(1)');
    return $one->answer->{out} =~ s/.*\|//r;
}
my $empty = 'DELETE FROM blobs; SELECT kms.blob_delete(id) FROM kms.blob';
my $under = sub { $watch->get("SELECT count(*) FROM kms.blob WHERE key_tag = (SELECT key_tag FROM kms.list_keys('$_[0]') ORDER BY version DESC LIMIT 1)") };
foreach my $others (0, 3) {
    $two->get($empty);
    $two->get("SELECT kms.blob_put(2, 'moves', 'b' || n) FROM generate_series(1, 5) n");
    $two->get("SELECT kms.blob_put(1, 'stays', 'a' || n) FROM generate_series(1, $others) n");
    is(rewraps_after(2, sub { $two->get("SELECT kms.blob_recode(id, 1) FROM kms.blob_list('b')") }), '0', "rewrap_blobs while blobs go over to another key that $others are under");
    unlike(new_log($node), qr/WARNING/, '... does not call them damaged');
    is($under->('a'), 5 + $others, '... which they are under then');
}
$two->get($empty);
$two->get("SELECT kms.blob_put(1, 'old')");
my $old = kms_session($node);    # in local mode, and holds what is the current version now
$old->get("SELECT kms.encode(1, 'x')");
$two->get("SELECT kms.rotate_key('a')");
is(rewraps_after(1, sub { $old->get("SELECT kms.blob_put(1, 'new') FROM generate_series(1, 40)") }), '41', 'rewrap_blobs while blobs are put under the old version: those, too');
is($under->('a'), '41', '... and none is left there');
$old->quit;

# A version that is disabled in the middle: the first update waits.
$two->get($empty);
$two->get("SELECT kms.blob_put(1, 'whole', 'w' || n) FROM generate_series(1, 20) n");
my $last = $two->get("SELECT max(version) FROM kms.list_keys('a')");
$two->get("SELECT kms.rotate_key('a')");
$watch->get("CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(2); RETURN NEW; END'; CREATE TRIGGER waits BEFORE UPDATE ON kms.blob FOR EACH ROW EXECUTE FUNCTION waits()");
$watch->get('SELECT pg_advisory_lock(2)');
new_log($node);
waits($one, 'SELECT kms.rewrap_blobs(1)');
kms_admin($keys, 'disable', 'a', $last);
$watch->get('SELECT pg_advisory_unlock(2)');
is($one->answer->{out}, '1', 'rewrap_blobs when the old version is disabled after one of 20');
my $told = new_log($node);
unlike($told, qr/damaged|kms\.blob_delete/, '... does not call the others damaged');
like($told, qr/WARNING:.*passed over.*: 19$/m, '... but says how many it has passed over');
is($one->get('SELECT kms.rewrap_blobs(1)'), '0', '... as it does later');
kms_admin($keys, 'enable', 'a', $last);
is($one->get('SELECT kms.rewrap_blobs(1)'), '19', '... until it is enabled again');
is($one->get("SELECT count(*) FROM kms.blob_list('w') l WHERE kms.blob_get(l.id) = 'whole'"), '20', '... and all read');
$watch->get('DROP TRIGGER waits ON kms.blob; DROP FUNCTION waits()');
$watch->get("$empty; INSERT INTO blobs SELECT 's' || n, kms.blob_put(2, convert_to('s' || n, 'UTF8')) FROM generate_series(1, 2050) n");

# --- elsewhere

$watch->get("SELECT kms.blob_put(1, decode(repeat(md5('large'), 100000), 'hex'), 'large', 'type', '{\"k\": 1}', expire_in => '1 day'), kms.blob_put(1, '', 'empty'), kms.blob_put(1, 'begun', 'begun', complete => false)");
my $all = "SELECT md5(string_agg(m::text || encode(v.sha256, 'hex'), ',' ORDER BY id)), count(*), sum(m.size) FROM kms.blob_list() m, kms.blob_verify(id) v";
my $here = $watch->get("SET timezone = 'UTC'; $all");
my $there = kms_node('restored', %conf, fsync => 'off');
my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ], 'a dump');
$there->safe_psql('postgres', 'CREATE DATABASE again');
$there->command_ok([ 'pg_restore', '--exit-on-error', '-d', $there->connstr('again'), $dump ], '... is restored in another cluster with the same keyring');
my $restored = kms_session($there, dbname => 'again');
is($restored->get("SET timezone = 'UTC'; $all"), $here, '... where every blob is the same');
is($restored->get("SELECT kms.blob_append(id, '!') IS NOT NULL, kms.blob_read(id, 0, 2) FROM kms.blob_list('empty')"), 't|\x', '... and may be changed');
is($restored->get("SELECT kms.blob_get(id) FROM kms.blob_list('empty')"), '\x21', '... and is');
$restored->quit;
$there->stop;

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('blob_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$watch->get("SELECT kms.blob_put(1, 'after the backup', 'late')");
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
my $reader = kms_session($standby);
is($reader->get("SET timezone = 'UTC'; $all"), $watch->get($all), 'a standby reads every blob');
is($reader->get("SELECT convert_from(kms.blob_get(id), 'UTF8') FROM kms.blob_list('late')"), 'after the backup', '... the newest, too');
my $late_id = $watch->get("SELECT id FROM kms.blob_list('late')");
fails_with($reader, "SELECT $_", '25006', "... and refuses $_") for "kms.blob_put(1, 'x')", "kms.blob_append('$late_id', 'x')", "kms.blob_replace('$late_id', 'x')", "kms.blob_compact('$late_id')",
    "kms.blob_set_meta('$late_id', 'x')", "kms.blob_copy('$late_id')", "kms.blob_delete('$late_id')", "kms.blob_recode('$late_id', 1)", 'kms.rewrap_blobs(1)', 'kms.blob_expire()';
$reader->quit;
$standby->stop;

# --- workers

$watch->get("SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; ALTER TABLE blobs SET (parallel_workers = 2); ANALYZE blobs");
my $query = "SELECT count(*), bool_and(convert_from(kms.blob_get(id), 'UTF8') LIKE name || '%') FROM blobs WHERE length(name) > 1";
like($watch->get("EXPLAIN (COSTS off) $query"), qr/Parallel Seq Scan/, 'a plan with workers');
is($watch->get($query), '2050|t', '... reads blobs');
is($watch->get("SELECT count(*) FROM (SELECT kms.blob_put(1, convert_to(name, 'UTF8')) FROM blobs WHERE length(name) > 1) s"), '2050', '... and puts them');
like($watch->get("EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT (SELECT kms.blob_get(id)) FROM blobs WHERE length(name) > 1"), qr/Workers Launched: 2/, 'below a subquery, too');

$_->quit for $one, $two, $watch;
$node->stop;
no_crash($_) for $node, $there, $standby;
done_testing();
