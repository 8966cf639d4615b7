# Envelope mode between sessions: who hears of a change and when, workers, replicas, roles, and
# retirement that waits for those who seal.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $folder = PostgreSQL::Test::Utils::tempdir;
my $node = PostgreSQL::Test::Cluster->new('envelope');
$node->init(allows_streaming => 'logical');
my $serve = make_keyring($folder, 'kek:wrap');
$node->append_conf('postgresql.conf', "kms.command = '$serve'\nkms.mode = 'envelope'\n");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION kms;
CREATE TABLE person (id int, ssn bytea);
CREATE ROLE app LOGIN;
GRANT USAGE ON SCHEMA kms TO app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kms TO app;
GRANT ALL ON person TO app;
SELECT kms.create_data_key('orders', 'kek');
-- The version of the data key that has sealed a value.
CREATE FUNCTION sealed_by(value bytea) RETURNS int LANGUAGE sql SECURITY DEFINER AS
    'SELECT version FROM kms.data_key WHERE key_tag = (kms.inspect(value)).key_tag';
SQL

my $seal = "SELECT sealed_by(kms.encode(1, 'x'))";
my ($one, $other) = map { kms_session($node) } 1 .. 2;
$_->get("SELECT kms.set_key(1, 'orders')") foreach $one, $other;

# --- who hears of a rotation

is($other->get($seal), 1, 'the first version seals');
is($one->get("SELECT kms.rotate_data_key('orders')"), 2, 'a session rotates');
is($_->get($seal), 2, '... and seals under the new version, as another does at once') foreach $one, $other;
$one->get("BEGIN; SELECT kms.rotate_data_key('orders')");
is($one->get($seal), 3, 'a rotation that is not committed is seen by its session');
my $early = $one->get("SELECT kms.encode(1, 'too early')");
is($other->get($seal), 2, '... and by no other');
fails_with($other, "SELECT kms.decode_text(1, '$early')", 'KM004', '... which cannot open what it has sealed');
$one->get('COMMIT');
is($other->get($seal), 3, '... until it is committed');
is($other->get("SELECT kms.decode_text(1, '$early')"), 'too early', '... and then opens it too');
$one->get("BEGIN; SELECT kms.rotate_data_key('orders')");
$one->get('ROLLBACK');
is($_->get($seal), 3, 'one that is rolled back has never been') foreach $one, $other;

$other->get('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM person');
$one->get("SELECT kms.rotate_data_key('orders')");
my $late = $one->get("SELECT kms.encode(1, 'late')");
is($other->get("SELECT kms.decode_text(1, '$late')"), 'late', 'a transaction with an old snapshot opens what is new');
$other->get('COMMIT');
is($other->get($seal), 4, '... and seals under it');

# --- states

my $old = $one->get("SELECT kms.encode(1, 'old')");
$one->get("SELECT kms.rotate_data_key('orders')");
$one->get("SELECT kms.disable_data_key('orders', 4, force => true)");
fails_with($other, "SELECT kms.decode_text(1, '$old')", 'KM011', 'a version that another session has disabled does not open');
is($other->get($seal), 5, '... while the current one seals');
$one->get("SELECT kms.enable_data_key('orders', 4)");
is($other->get("SELECT kms.decode_text(1, '$old')"), 'old', '... and opens once it is enabled');

# What is held expires as in local mode: the KEK is asked for again.
$other->get("SET kms.cache_ttl = 1; SELECT kms.decode_text(1, '$old')");
my $requests = $other->get('SELECT requests FROM kms.status()');
ok(becomes(sub { $other->get("SELECT kms.decode_text(1, '$old')"); $other->get('SELECT requests FROM kms.status()') > $requests }),
    'a data key is unwrapped again after its time');
$other->get('RESET kms.cache_ttl');

# --- roles

my $app = kms_session($node, user => 'app');
$app->get("SELECT kms.set_key(1, 'orders')");
is($app->get("SELECT kms.decode_text(1, kms.encode(1, 'for app'))"), 'for app', 'who may execute the functions uses data keys');
fails_with($app, $_, '42501', "... but cannot: $_") foreach 'SELECT * FROM kms.data_key', 'DELETE FROM kms.data_key',
    "UPDATE kms.data_key SET wrapped = ''", 'TRUNCATE kms.data_key', 'INSERT INTO kms.data_key SELECT',
    'COPY kms.data_key TO STDOUT', 'ALTER TABLE kms.data_key DISABLE TRIGGER changed';
$app->quit;

# --- workers of a parallel query

$one->get("INSERT INTO person SELECT n, kms.encode(1, 'person ' || n) FROM generate_series(1, 2000) n; ANALYZE person; ALTER TABLE person SET (parallel_workers = 2)");
$one->get('SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off');
my $all = "SELECT count(*) FROM person WHERE kms.decode_text(1, ssn) = 'person ' || id";
like($one->get("EXPLAIN (ANALYZE, COSTS OFF) $all"), qr/Workers Launched: [12]/, 'a query has workers');
is($one->get($all), 2000, '... which unwrap the data keys that they need');
is($one->get("SELECT count(DISTINCT sealed_by(kms.encode(1, id::text))) || ' ' || max(sealed_by(kms.encode(1, id::text))) FROM person"),
    '1 5', '... and seal');
$one->get("BEGIN; SELECT kms.rotate_data_key('orders'); UPDATE person SET ssn = kms.recode_with('orders', ssn)");
is($one->get($all), 2000, '... and see a version of their own transaction');
is($one->get('SELECT DISTINCT sealed_by(ssn) FROM person'), 6, '... that is not committed');
$one->get('ROLLBACK');
is($one->get($all), 2000, '... and is rolled back');

# --- retirement waits for those who have sealed, and may still commit

sub waits { return $one->get("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = " . $_[0]->pid) }

my $retirer = kms_session($node);
$other->get("BEGIN; INSERT INTO person VALUES (0, kms.encode(1, 'sealed in time'))");
$retirer->send("SELECT kms.disable_data_key('orders', 5, force => true)");
ok(becomes(sub { waits($retirer) }), 'who disables a version waits for a transaction that has sealed under it');
is($other->get($seal), 5, '... which goes on to seal');
ok(waits($retirer), '... while it waits');
$other->get('COMMIT');
is($retirer->answer->{out}, '', '... until it has committed');
fails_with($other, $seal, 'KM011', '... and nobody seals under the version any more');
is($one->get("SELECT kms.enable_data_key('orders', 5); $seal"), "\n5", 'it is enabled again');

$other->get("BEGIN; SAVEPOINT s; SELECT kms.encode(1, 'x'); ROLLBACK TO s");
$retirer->send("SELECT kms.disable_data_key('orders', 5, force => true)");
ok(becomes(sub { waits($retirer) }), 'a sealing that was rolled back to a savepoint is waited for, since its value may have been kept');
is($other->get($seal), 5, '... and its transaction goes on to seal');
$other->get('ROLLBACK');
is($retirer->answer->{state}, '', '... until it is over');
$retirer->get("BEGIN; SELECT kms.enable_data_key('orders', 5); COMMIT; BEGIN; SELECT kms.disable_data_key('orders', 5, force => true)");
$other->send($seal);
ok(becomes(sub { waits($other) }), 'who would seal waits for one who disables');
$retirer->get('ROLLBACK');
is($other->answer->{out}, 5, '... and seals if that is rolled back');
$retirer->get("BEGIN; SELECT kms.disable_data_key('orders', 5, force => true)");
$other->send($seal);
ok(becomes(sub { waits($other) }), '... or waits');
$retirer->get('COMMIT');
is($other->answer->{state}, 'KM011', '... and finds the version disabled');
$retirer->get("SELECT kms.enable_data_key('orders', 5)");

# A cancel while the lock is awaited.
$retirer->get("BEGIN; SELECT kms.disable_data_key('orders', 5, force => true)");
$other->send($seal);
ok(becomes(sub { waits($other) }), 'who would seal waits');
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $other->pid . ')');
is($other->answer->{state}, '57014', '... and can be cancelled');
$retirer->get('ROLLBACK');
is($other->get($seal), 5, '... and seals afterwards');

# --- more tenants than are held

$one->get("SELECT count(kms.create_data_key('tenant/' || n, 'kek')) FROM generate_series(1, 500) n");
$one->get('CREATE TABLE document (tenant text, body bytea)');
$one->get('SET kms.max_cached_keys = 50');
$one->get("INSERT INTO document SELECT 'tenant/' || n, kms.encode_with('tenant/' || n, 'of ' || n) FROM generate_series(1, 500) n");
my $readable = "SELECT count(*) FROM document WHERE kms.decode_with_text(tenant, body) = 'of ' || substr(tenant, 8)";
is($one->get($readable), 500, 'a key a row, more than are held');
is($one->get("SELECT bool_and(plain = 'of ' || substr(tenant, 8)) FROM (SELECT unnest(t) AS tenant, unnest(kms.decode_with_text_array(t, b)) AS plain
    FROM (SELECT array_agg(tenant) AS t, array_agg(body) AS b FROM document) d) u"), 't', '... and in one array');
my $peak = sub { process_status($one->pid)->{VmHWM} =~ s/ kB//r / 1024 };
my $many = sub { "SELECT cardinality(kms.encode_with_array(array_agg('tenant/' || n % 500 + 1), array_agg('x'::text))) FROM generate_series(1, $_[0]) n" };
$one->get($many->(1000));
my $before = $peak->();
is($one->get($many->(60000)), 60000, '... and in a long array');
takes_less($peak->() - $before, 40, '... where what is read of keys does not pile up');
$one->get('RESET kms.max_cached_keys');
is($one->get($readable), 500, '... and when all are held');
$requests = $one->get('SELECT requests FROM kms.status()');
is($one->get("$readable; $readable"), "500\n500", '... again');
is($one->get('SELECT requests FROM kms.status()'), $requests, '... without asking for any');
$one->get("CALL kms.destroy_data_key('tenant/7', 1, force => true)");
is($other->get("SELECT count(kms.decode_with(tenant, body)) FROM document WHERE tenant <> 'tenant/7'"), 499, 'of a tenant whose key is destroyed');
fails_with($other, "SELECT kms.decode_with(tenant, body) FROM document WHERE tenant = 'tenant/7'", 'KM011', '... exactly the rows are unreadable');

# --- a replica

$node->backup('base');
my $replica = PostgreSQL::Test::Cluster->new('replica');
$replica->init_from_backup($node, 'base', has_streaming => 1);
$replica->start;
my $reader = kms_session($replica);
$reader->get("SET kms.keys = '1=orders'");
is($reader->get($all), 2000, 'a replica reads');
is($reader->get($seal), 5, '... and seals');
$one->get("SELECT kms.rotate_data_key('orders')");
$one->get("UPDATE person SET ssn = kms.recode_with('orders', ssn) WHERE id > 0");
$node->wait_for_catchup($replica, 'replay');
is($reader->get($all), 2000, '... and reads on after a rotation');
is($reader->get($seal), 6, '... under whose version it seals');
fails_with($reader, $_, '25006', "... but cannot: $_") foreach "SELECT kms.rotate_data_key('orders')", "SELECT kms.create_data_key('new', 'kek')";
$reader->quit;
$replica->stop;

# --- a database that subscribes to the table

$node->safe_psql('postgres', q{CREATE DATABASE subscriber; CREATE PUBLICATION keys FOR TABLE kms.data_key});
$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('keys', 'pgoutput')});
my $connection = $node->connstr('postgres') =~ s/'/''/gr;
$node->safe_psql('subscriber', qq{CREATE EXTENSION kms;
    CREATE SUBSCRIPTION keys CONNECTION '$connection' PUBLICATION keys WITH (create_slot = false)});
$node->wait_for_subscription_sync($node, 'keys', 'subscriber');
my $subscriber = kms_session($node, dbname => 'subscriber');
my $current = sub { return $subscriber->get("SELECT version FROM kms.data_keys WHERE key_tag = (kms.inspect(kms.encode(1, 'x'))).key_tag") };
$subscriber->get("SELECT kms.set_key(1, 'orders')");
is($current->(), 6, 'a database that subscribes to the table seals under its data keys');
$one->get("SELECT kms.rotate_data_key('orders')");
$node->wait_for_catchup('keys');
is($current->(), 7, '... and follows a rotation at once');
$one->get("SELECT kms.disable_data_key('orders', 7, force => true)");
$node->wait_for_catchup('keys');
fails_with($subscriber, "SELECT kms.encode(1, 'x')", 'KM011', '... and a version that is disabled');
$one->get("SELECT kms.enable_data_key('orders', 7)");
$node->safe_psql('subscriber', 'ALTER SUBSCRIPTION keys DISABLE');
$node->safe_psql('subscriber', 'ALTER SUBSCRIPTION keys SET (slot_name = NONE)');
$node->safe_psql('subscriber', 'DROP SUBSCRIPTION keys');
$subscriber->quit;

# --- a crash of the server leaves every version that has sealed

$one->get("SELECT kms.rotate_data_key('orders')");
my $last = $one->get("SELECT kms.encode(1, 'before the crash')");
$_->quit foreach $one, $other, $retirer;
$node->stop('immediate');
$node->start;
my $after = kms_session($node);
$after->get("SET kms.keys = '1=orders'");
is($after->get("SELECT kms.decode_text(1, '$last')"), 'before the crash', 'a version that has sealed outlives a crash');
$after->quit;

$node->stop;
no_crash($node);
done_testing();
