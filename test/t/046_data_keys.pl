# Data keys between sessions and servers: concurrent rotation, retirement while others seal, and what a dump brings along.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $ring = test_folder('ring');
my $agent = make_keyring($ring, 'main:wrap');
my %settings = ('kms.command' => $agent, 'kms.mode' => 'envelope');
my $node = kms_node('data_keys', %settings, 'max_prepared_transactions' => 2);
my ($one, $two) = map { keys_session($node) } 1 .. 2;

my %lock = (version => 'objsubid = 27510', all => 'objsubid = 27489', name => "locktype = 'transactionid'",
    transaction => "locktype = 'virtualxid'");

sub waits_for {
    my ($session, $what, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(becomes(sub { $node->safe_psql('postgres',
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND $lock{$what} AND pid = " . $session->pid) == 1 }), $name);
}

# --- the same data key, at once

$one->get(q{BEGIN; SELECT kms.create_data_key('orders', 'main')});
$two->send(q{SELECT kms.create_data_key('orders', 'main')});
waits_for($two, 'name', 'one who creates the same data key waits');
$one->get('COMMIT');
is($two->answer->{state}, '22023', '... and is told that it is there');

$one->get(q{BEGIN; SELECT kms.rotate_data_key('orders')});
$two->send(q{SELECT kms.rotate_data_key('orders')});
waits_for($two, 'name', 'one who rotates the same data key waits');
is($node->safe_psql('postgres', q{SELECT kms.decode_with_text('orders', kms.encode_with('orders', 'x'))}), 'x', '... while others use it');
is($node->safe_psql('postgres', q{SELECT kms.create_data_key('free', 'main')}), 1, '... or create another');
$one->get('COMMIT');
is($two->answer->{out}, 3, '... and comes after');
$one->get(q{BEGIN; SELECT kms.rotate_data_key('orders')});
$two->send(q{SELECT kms.rotate_data_key('orders')});
waits_for($two, 'name', 'one who waits for a rotation');
$one->get('ROLLBACK');
is($two->answer->{out}, 4, '... that is rolled back takes its version');

$two->get(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1});
$one->get(q{SELECT kms.rotate_data_key('orders')});
is($two->get(q{SELECT kms.rotate_data_key('orders'); }), 6, 'an older snapshot loses no version');
$two->get(q{SELECT kms.disable_data_key('orders', 5); SELECT kms.rotate_kek('main'); COMMIT});
is($node->safe_psql('postgres', q{SELECT state FROM kms.data_keys WHERE name = 'orders' AND version = 5}), 'disabled', '... and changes what it does not show');

my @sessions = map { keys_session($node) } 1 .. 4;
$_->send(q{DO $$ BEGIN FOR i IN 1..25 LOOP PERFORM kms.rotate_data_key('free'); COMMIT; END LOOP; END $$}) foreach @sessions;
is($_->answer->{state}, '', 'a session rotates 25 times') foreach @sessions;
is($node->safe_psql('postgres', q{SELECT count(*), max(version), count(DISTINCT key_tag) FROM kms.data_keys WHERE name = 'free'}), '101|101|101', '... and no version is lost');
$_->quit foreach @sessions;

# --- an agent that fails, or wraps what does not open: nothing is stored

my $folder = test_folder('relay');
my $relay = 'exec /usr/bin/python3 ' . example_agent('relay.py') . " $folder " . ($agent =~ s/^exec //r);
my %state = (
    'wrap 1 fail denied' => 'KM003', 'wrap 1 spoil' => 'KM005', 'wrap 1 repeat' => 'KM009', 'wrap 1 die' => 'KM007', 'wrap 1 hang' => 'KM008',
    'unwrap 1 fail denied' => 'KM003', 'unwrap 1 spoil' => 'KM009', 'unwrap 1 repeat' => 'KM009', 'unwrap 1 die' => 'KM007');
foreach my $plan (sort keys %state) {
    write_text("$folder/plan", $plan);
    foreach my $sql (q{SELECT kms.create_data_key('new', 'main')}, q{SELECT kms.rotate_data_key('orders')}) {
        my $session = keys_session($node, { 'kms.command' => $relay, 'kms.request_timeout' => '1s' });
        fails_with($session, $sql, $state{$plan}, "$plan: $sql");
        $session->quit;
    }
}
is($node->safe_psql('postgres', q{SELECT count(*) FILTER (WHERE name = 'new'), max(version) FILTER (WHERE name = 'orders') FROM kms.data_keys}), '0|6', 'nothing of it is stored');

# A transaction may make more data keys than the server's lock table has room for.
my $many = kms_node('many', %settings, 'max_locks_per_transaction' => 10, 'max_connections' => 10);
is($many->safe_psql('postgres', q{SELECT count(kms.create_data_key('tenant ' || n, 'main')) FROM generate_series(1, 3000) n}), 3000, 'one transaction makes 3,000 data keys');
is($many->safe_psql('postgres', q{SELECT count(kms.rotate_data_key('tenant ' || n)) FROM generate_series(1, 3000) n}), 3000, '... and one rotates them');
is($many->safe_psql('postgres', q{SELECT count(kms.encode_with('tenant ' || n, 'x')) FROM generate_series(1, 3000) n}), 3000, '... and one seals under all');
$many->stop;

# --- retirement waits for those who have sealed

$node->safe_psql('postgres', q{SELECT kms.create_data_key('k' || n, 'main') FROM generate_series(1, 100) n});
$one->get(q{BEGIN; SELECT kms.encode_with('k1', 'x')});
$two->send(q{CALL kms.destroy_data_key('k1', 1)});
waits_for($two, 'version', 'destruction waits for one who has sealed under the version');
$one->get(q{SELECT kms.encode_with('k1', 'y')});
$one->get('COMMIT');
is($two->answer->{state}, '', '... until the transaction is over');
fails_with($one, q{SELECT kms.encode_with('k1', 'x')}, 'KM011', '... and then nothing is sealed under it');

$node->safe_psql('postgres', q{CREATE TABLE registered (value bytea); SELECT kms.register_column('registered', 'value', 'k1'), kms.create_data_key('counted', 'main')});
$one->get(q{BEGIN; INSERT INTO registered SELECT kms.encode_with('counted', 'x')});
$two->send(q{CALL kms.destroy_data_key('counted', 1)});
waits_for($two, 'transaction', 'destruction waits for a row that is not committed');
$one->get('COMMIT');
like($two->answer->{err}, qr/KM012: could not destroy data key "counted": rows need its version 1\nDETAIL:  public.registered.value: 1 row$/m, '... and counts it');

# Whoever locks a registered table keeps nobody from sealing.
$node->safe_psql('postgres', q{SELECT kms.create_data_key('idle', 'main')});
$one->get(q{BEGIN; LOCK TABLE registered});
$two->send(q{SELECT kms.disable_data_key('idle', 1)});
ok(becomes(sub { $node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'registered'::regclass AND pid = } . $two->pid) == 1 }),
    'disabling waits for a table that somebody has locked');
is($node->safe_psql('postgres', q{SET statement_timeout = '30s'; SELECT length(kms.encode_with('idle', 'x'))}), 50, '... and others seal under the version meanwhile');
is($node->safe_psql('postgres', q{SET statement_timeout = '30s'; SELECT kms.rotate_kek('main') > 0, kms.create_data_key('busy', 'main')}), 't|1', '... and rotate its KEK, and make keys');
$one->get('COMMIT');
is($two->answer->{state}, '', '... until the table is free');
$node->safe_psql('postgres', q{SELECT kms.enable_data_key('idle', 1)});
my $three = keys_session($node);
$one->get(q{BEGIN; SELECT kms.encode_with('idle', 'x')});
$two->send(q{SELECT kms.disable_data_key('idle', 1)});
waits_for($two, 'version', 'disabling waits for one who has sealed');
$three->get(q{BEGIN; LOCK TABLE registered});
$one->get('COMMIT');
is($two->answer->{state}, '55P03', '... and behind its lock for no table that somebody has locked since');
my $forced = $two->ask(q{BEGIN; CALL kms.destroy_data_key('idle', 1, force => true); ROLLBACK});
is($forced->{state}, '', '... nor does who destroys it by force');
like($forced->{err}, qr/WARNING: .*rows that become unreadable are not counted\n/, '... who is told that nothing was counted');
$three->get('COMMIT');
$three->quit;
$node->safe_psql('postgres', 'DROP TABLE registered');

# What there was nothing of to be counted may be there when the wait is over.
$node->safe_psql('postgres', q{CREATE TABLE unknown (value bytea); CREATE TABLE late (value bytea); SELECT kms.create_data_key('late', 'main')});
$node->safe_psql('postgres', q{INSERT INTO unknown VALUES (kms.encode_with('late', 'x'))});
$one->get(q{BEGIN; SELECT kms.encode_with('late', 'y')});
$two->send(q{CALL kms.destroy_data_key('late', 1)});
waits_for($two, 'version', 'destruction waits, where no column is registered');
my $writer = keys_session($node);
$writer->get(q{BEGIN; INSERT INTO late SELECT * FROM unknown});
$node->safe_psql('postgres', q{SELECT kms.register_column('late', 'value', 'late'); DELETE FROM unknown});
$one->get('COMMIT');
is($two->answer->{state}, '40001', '... and begins anew where one was registered meanwhile');
$writer->get('COMMIT');
is($writer->get(q{SELECT kms.decode_with_text('late', value) FROM late}), 'x', '... whose rows open');
fails_with($two, q{CALL kms.destroy_data_key('late', 1)}, 'KM012', '... and count');
$writer->quit;
$node->safe_psql('postgres', 'DROP TABLE late');

# Who waits for one tenant keeps nobody from making another's key.
$node->safe_psql('postgres', q{SELECT kms.create_data_key('leaving', 'main'), kms.create_data_key('staying', 'main')});
foreach my $retires (q{CALL kms.destroy_data_key('leaving', 1, shred => true, force => true)}, q{SELECT kms.disable_data_key('leaving', 1)}) {
    $one->get(q{BEGIN; SELECT kms.encode_with('leaving', 'x')});
    $two->send($retires);
    waits_for($two, 'version', "waits for one who has sealed: $retires");
    is($node->safe_psql('postgres', q{SET lock_timeout = '10s'; SELECT kms.rotate_data_key('staying') > 1, kms.rotate_kek('main') > 0}), 't|t', '... and others change keys of the KEK meanwhile');
    $node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $two->pid . ')');
    is($two->answer->{state}, '57014', '... until it is cancelled');
    $one->get('COMMIT');
}

$one->get(q{BEGIN; SELECT kms.encode_with('late', 'mine')});
fails_with($one, q{SELECT kms.disable_data_key('late', 1)}, '25001', 'who has sealed under a version does not disable it in that transaction');
$one->get(q{ROLLBACK; BEGIN; SELECT kms.encode_with('late', 'mine')});
fails_with($one, q{CALL kms.destroy_data_key('late', 1)}, '25001', 'who has sealed under a version does not destroy it in that transaction');
$one->get(q{ROLLBACK; CALL kms.destroy_data_key('late', 1)});

$one->get(q{BEGIN; SAVEPOINT s; SELECT kms.encode_with('k2', 'x'); ROLLBACK TO s});
fails_with($two, q{SET statement_timeout = '100ms'; CALL kms.destroy_data_key('k2', 1)}, '57014', 'what was sealed before a rollback to a savepoint may be stored yet');
end_timeout($two);
$one->get(q{SELECT kms.encode_with('k3', 'x'); SAVEPOINT s; SELECT kms.encode_with('k4', 'x'); RELEASE s; SAVEPOINT t; SELECT kms.encode_with('k3', 'x'); ROLLBACK TO t});
foreach my $key ('k3', 'k4') {
    fails_with($two, "SET statement_timeout = '100ms'; CALL kms.destroy_data_key('$key', 1)", '57014', "what lives on after savepoints does: $key");
}
end_timeout($two);
$one->get('SAVEPOINT s');
fails_with($one, q{SELECT kms.encode_with('k5', 'x'), 1 / 0}, '22012', 'an error');
$one->get(q{ROLLBACK TO s; SELECT kms.encode_with('k5', 'x')});
$two->send(q{CALL kms.destroy_data_key('k5', 1)});
waits_for($two, 'version', '... after which the lock is taken again');
$one->get('ROLLBACK');
is($two->answer->{state}, '', '... and let go of');

$two->get(q{BEGIN; CALL kms.destroy_data_key('k6', 1)});
$one->send(q{SELECT kms.encode_with('k6', 'x')});
waits_for($one, 'version', 'one who would seal waits for a destruction');
$two->get('COMMIT');
is($one->answer->{state}, 'KM011', '... and seals nothing under what is destroyed');
$two->get(q{BEGIN; CALL kms.destroy_data_key('k7', 1)});
$one->send(q{SELECT length(kms.encode_with('k7', 'x'))});
waits_for($one, 'version', 'one who would seal waits for a destruction');
$two->get('ROLLBACK');
is($one->answer->{out}, 50, '... and seals where it was rolled back');

# A prepared transaction keeps what it has locked.
$one->get(q{SELECT kms.create_data_key('p', 'main'); BEGIN; SELECT kms.encode_with('p', 'x'), kms.create_data_key('prepared', 'main'); PREPARE TRANSACTION 'kms'});
fails_with($two, "SET statement_timeout = '100ms'; CALL kms.destroy_data_key('p', 1)", '57014', 'destruction waits for a prepared transaction');
fails_with($two, q{SELECT kms.rotate_kek('main')}, '57014', '... and so does a rotation of the KEK under which it has created a data key');
end_timeout($two);
$one->get(q{COMMIT PREPARED 'kms'});
is($two->get(q{CALL kms.destroy_data_key('p', 1); SELECT kms.decode_with_text('prepared', kms.encode_with('prepared', 'x'))}), "0\nx", '... until it is committed, and its data key is there');

# More versions than a transaction has locks for.
$one->get(q{BEGIN; SELECT count(kms.encode_with('k' || n, 'x')) FROM generate_series(8, 100) n});
is($one->get('SELECT count(*), count(*) FILTER (WHERE objsubid = 27489) FROM pg_locks WHERE objsubid IN (27510, 27489) AND pid = pg_backend_pid()'), '65|1',
    'a transaction that seals under many versions holds a lock on all of them');
$two->send(q{CALL kms.destroy_data_key('k100', 1)});
waits_for($two, 'all', '... for which destruction waits too');
$one->get('COMMIT');
is($two->answer->{state}, '', '... until it is over');

# --- a value that was sealed under a version that a subtransaction has made

my $lost = 'a value was sealed under version 2 of data key "sub", which was rolled back to a savepoint';
$one->get(q{CREATE TABLE sub (id int PRIMARY KEY, v bytea); SELECT kms.create_data_key('sub', 'main')});
my $kept_aside = q{DO $$ DECLARE v bytea; BEGIN
    BEGIN
        PERFORM kms.rotate_data_key('sub');
        v := kms.encode_with('sub', 'the only copy');
        INSERT INTO sub VALUES (1, v), (1, v);
    EXCEPTION WHEN unique_violation THEN
        INSERT INTO sub VALUES (2, v);
    END; END $$};
is(fails_with($one, $kept_aside, '55000', 'rolled back, and stored in another block')->{message}, $lost, '... is told at the commit');
$one->get(q{BEGIN; SAVEPOINT s; SAVEPOINT t; SELECT kms.rotate_data_key('sub'); RELEASE t});
my $copy = $one->get(q{SELECT kms.encode_with('sub', 'x')});
$one->get("ROLLBACK TO s; INSERT INTO sub VALUES (3, '$copy')");
is(fails_with($one, 'COMMIT', '55000', 'rolled back with an outer savepoint, and stored by the client')->{message}, $lost, '... is told at the commit');
$one->get("BEGIN; SAVEPOINT s; SELECT kms.rotate_data_key('sub'), kms.encode_with('sub', 'x'); ROLLBACK TO s");
fails_with($one, q{PREPARE TRANSACTION 'sub'}, '55000', '... or when the transaction is prepared');
is($one->get('SELECT count(*) FROM sub'), 0, '... and nothing is stored');
$one->get(q{BEGIN; SAVEPOINT s; SELECT kms.rotate_data_key('sub'); INSERT INTO sub VALUES (4, kms.encode_with('sub', 'kept')); RELEASE s; COMMIT});
$one->get(q{BEGIN; SELECT kms.encode_with('sub', 'x'); SAVEPOINT s; SELECT kms.rotate_data_key('sub'); ROLLBACK TO s; INSERT INTO sub VALUES (5, kms.encode_with('sub', 'kept')); COMMIT});
is($one->get(q{SELECT string_agg(id || kms.decode_with_text('sub', v), ' ' ORDER BY id) FROM sub}), '4kept 5kept', 'what is not rolled back is stored, and what was rolled back unused is no matter');

my $parallel = $node->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
$one->get("SET $parallel = on; BEGIN; SAVEPOINT s; SELECT kms.rotate_data_key('sub')");
like(fails_with($one, q{SELECT kms.encode_with('sub', 'x')}, '55000', 'a worker seals under no such version')->{message}, qr/^a parallel worker does not seal under version \d+ of data key "sub"/, '... and says so');
$one->get("ROLLBACK; RESET $parallel");

# What is made to be looked for may be stored, too.
$one->get(q{SELECT kms.create_data_key('terms', 'main', 'hmac-sha-256'), kms.create_data_key('siv', 'main', 'aes-256-siv'); SET kms.keys = '1=terms,2=siv'});
foreach my $made ("kms.blind_index(1, 'x')", "kms.blind_indexes(1, 'x')", "kms.encode_all(2, 'x')") {
    $one->get("BEGIN; SAVEPOINT s; SELECT kms.rotate_data_key('terms'), kms.rotate_data_key('siv'), $made; ROLLBACK TO s");
    fails_with($one, 'COMMIT', '55000', "$made under a version that is rolled back");
}
$one->get(q{BEGIN; SELECT kms.blind_index(1, 'x')});
$two->send(q{SELECT kms.disable_data_key('terms', 1, force => true)});
waits_for($two, 'version', 'disabling waits for one who has made a search term');
$one->get('COMMIT');
is($two->answer->{state}, '', '... until the transaction is over');
$one->get('RESET kms.keys');

# --- dump and restore, to where the agent knows the KEK

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE sealed AS SELECT name, kms.encode_with(name, 'value of ' || name) AS value FROM unnest('{orders,free,k7}'::text[]) name;
SQL
$node->safe_psql('postgres', q{SET kms.keys = '1=orders'; CREATE TABLE attachment AS SELECT kms.blob_put(1, repeat('0123456789', 30000)::bytea, 'a file') AS id});
my $blob = q{SET kms.keys = '1=orders'; SELECT name, size, convert_from(kms.blob_read(id, 299995, 9), 'UTF8'), (kms.blob_verify(id)).complete FROM attachment, kms.blob_meta(id)};
my $opened = q{SELECT string_agg(kms.decode_with_text(name, value), ', ' ORDER BY name) FROM sealed};
my $rows = q{SELECT md5(string_agg(k::text, ' ' ORDER BY name, version)) FROM kms.data_key k};
my $dump = test_folder('dump') . '/all.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'the database is dumped');
my $other = PostgreSQL::Test::Cluster->new('restored');
$other->init;
$other->append_conf('postgresql.conf', "$_ = '$settings{$_}'") foreach sort keys %settings;
$other->start;
$other->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $other->connstr('postgres') ], '... and restored in another cluster');
is($other->safe_psql('postgres', $rows), $node->safe_psql('postgres', $rows), 'all data keys are there');
is($other->safe_psql('postgres', $opened), 'value of free, value of k7, value of orders', '... and open what they have sealed');
is($other->safe_psql('postgres', $blob), 'a file|300000|56789|t', '... and so do blobs');
is($other->safe_psql('postgres', q{SELECT kms.rotate_data_key('orders')}), 7, '... and are rotated');
is($other->safe_psql('postgres', q{SELECT kms.rotate_kek('main')}), 6, '... and so is the KEK, for both clusters');
is($_->safe_psql('postgres', $opened), 'value of free, value of k7, value of orders', '... where all opens') foreach $node, $other;

# --- a standby

$node->append_conf('postgresql.conf', 'max_wal_senders = 3');
$node->append_conf('postgresql.conf', 'wal_level = replica');
$node->append_conf('pg_hba.conf', 'local replication all trust');
$_->quit foreach $one, $two;
$node->restart;
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', $opened), 'value of free, value of k7, value of orders', 'data keys are used on a standby');
is($standby->safe_psql('postgres', q{SELECT length(kms.encode_with('orders', 'x'))}), 50, '... for sealing too');
is($standby->safe_psql('postgres', $blob), 'a file|300000|56789|t', '... and for reading blobs');
my $reader = keys_session($standby);
fails_with($reader, $_, '25006', 'but not changed') foreach q{SELECT kms.create_data_key('new', 'main')}, q{SELECT kms.rotate_kek('main')}, q{CALL kms.destroy_data_key('free', 1)},
    q{SELECT kms.blob_put(1, 'x')}, q{SELECT kms.blob_append(id, 'x') FROM attachment}, q{SELECT kms.blob_expire()};
$node->safe_psql('postgres', q{SELECT kms.disable_data_key('free', 101)});
$node->wait_for_catchup($standby);
fails_with($reader, q{SELECT kms.encode_with('free', 'x')}, 'KM011', 'what changes on the primary counts there');
$reader->quit;
$standby->stop;

my $stranger = test_folder('stranger');
my $strange_agent = make_keyring($stranger, 'main:wrap');
my $session = keys_session($other, { 'kms.command' => $strange_agent });
fails_with($session, $opened, 'KM002', 'with another keyring nothing opens');
$session->quit;

$_->stop foreach $node, $other;
no_crash($_) foreach $node, $other;
done_testing();
