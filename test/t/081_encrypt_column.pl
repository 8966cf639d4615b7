# encrypt_column and what comes after: a dump that restores, whatever the column is called, and subscribers that go on.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $agent = make_keyring(test_folder('keys'), 'pii');
my $node = kms_node('publisher', 'kms.command' => $agent, 'wal_level' => 'logical', 'max_wal_senders' => 8);

# --- a switch that meets who reads and then writes: it says how to keep them out

{
    my ($switch, $application) = map { kms_session($node) } 1 .. 2;
    $switch->get("CREATE TABLE busy (id int, c text); INSERT INTO busy VALUES (1, 'x'); SET kms.mode = remote; CALL kms.encrypt_column('busy', 'c', 'pii'); SET deadlock_timeout = '300ms'");
    $application->get("SET deadlock_timeout = '1min'; BEGIN; SELECT count(*) FROM busy");
    my $agent = agent_pid($switch);
    kill STOP => $agent;
    $switch->send("SELECT kms.switch_column('busy', 'c')");
    my $pid = $switch->pid;
    ok(becomes(sub { $node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE mode = 'ShareRowExclusiveLock' AND granted AND pid = $pid") > 0 }), 'a switch has begun');
    $application->send("UPDATE busy SET c = 'y'");
    my $writer = $application->pid;
    ok(becomes(sub { $node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $writer") > 0 }), '... and keeps a writer waiting');
    kill CONT => $agent;
    my $failed = $switch->answer;
    is($failed->{state}, '40P01', '... and cannot end beside who has read the table and now writes to it');
    like($failed->{hint}, qr/LOCK TABLE public\.busy IN ACCESS EXCLUSIVE MODE before the switch/, '... which says what to do');
    $application->answer;
    $application->get('COMMIT; BEGIN; SELECT count(*) FROM busy');
    $switch->send("BEGIN; LOCK TABLE busy IN ACCESS EXCLUSIVE MODE; SELECT kms.switch_column('busy', 'c'); COMMIT");
    $application->get("UPDATE busy SET c = 'z'; COMMIT");
    is($switch->answer->{state}, '', '... and it ends so');
    is($switch->get("SELECT kms.decode_with_text('pii', c_encrypted) FROM busy"), 'z', '... with what the other has written');
    $_->quit foreach $switch, $application;
}

# --- who asks a key agent that hangs keeps nobody from the table

{
    my $waiting = keys_session($node, { 'kms.command' => 'exec sleep 1000', 'kms.start_timeout' => '60s' });
    $node->safe_psql('postgres', 'CREATE TABLE asked (id int, c text)');
    $waiting->send("CALL kms.encrypt_column('asked', 'c', 'pii')");
    my $awaits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND pid = " . $waiting->pid;
    ok(becomes(sub { $node->safe_psql('postgres', $awaits) == 1 }), 'encrypt_column awaits its agent');
    is($node->safe_psql('postgres', "SET lock_timeout = '10s'; INSERT INTO asked VALUES (1, 'x'); SELECT count(*) FROM asked"), 1, '... and others write and read');
    $node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $waiting->pid . ')');
    is($waiting->answer->{state}, '57014', '... until it is cancelled');
    is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'asked'::regclass AND attname = 'c_encrypted'}), 0, '... and has made nothing');
    $waiting->quit;
}

# --- the trigger's name was cut inside a character: the dump did not restore

my $name = "\xc3\xa4" x 31;
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE long_named (id int, c text);
INSERT INTO long_named SELECT n, 'value ' || n FROM generate_series(1, 10) n;
CALL kms.encrypt_column('long_named', 'c', 'pii', encrypted_column => '$name');
CREATE TABLE by_row (id int PRIMARY KEY, tenant text, c text);
INSERT INTO by_row VALUES (1, 'pii', 'x');
CALL kms.encrypt_column('by_row', 'c', key_expression => 'tenant');
SQL
my $dump = test_folder('dump') . '/all.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'a table between two columns is dumped, with a long name of letters of two bytes');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], '... and restored');
$node->safe_psql('restored', q{INSERT INTO long_named VALUES (11, 'value 11'); SELECT kms.switch_column('long_named', 'c')});
is($node->safe_psql('restored', qq{SELECT count(*) FILTER (WHERE kms.decode_with_text('pii', "$name") = 'value ' || id), count(*) FROM long_named}),
    '11|11', '... where the trigger goes on, and the switch is made');

$node->safe_psql('restored', q{INSERT INTO by_row VALUES (2, 'pii', 'y'); SELECT kms.rotate_key('pii')});
$node->safe_psql('restored', q{CALL kms.reencrypt('by_row', 'c_encrypted')});
is($node->safe_psql('restored', q{SELECT string_agg(kms.decode_with_text(tenant, c_encrypted), ' ' ORDER BY id) FROM by_row}), 'x y', '... and so does one whose rows name their keys');
is($node->safe_psql('restored', q{SELECT count(DISTINCT version), sum(rows) FROM kms.census('by_row', 'c_encrypted')}), '1|2', '... which reencrypt goes by');

# --- what is generated and not stored is NULL in the row itself

SKIP: {
    skip 'virtual columns are of PostgreSQL 18 and later', 1 if $node->pg_version < 18;
    $node->safe_psql('postgres', 'CREATE TABLE made (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (2 * id) VIRTUAL, c bytea)');
    my (undef, undef, $error) = $node->psql('postgres', q{SELECT kms.register_column('made', 'c', 'pii', 'int4send(twice)')});
    like($error, qr/registered expression is over columns that are stored, and "twice" is a virtual generated column/, 'a context over a virtual column is refused');
}

# --- in parts, the rows before the registration: tables whose schema comes before "kms" were lost

$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA app;
CREATE TABLE app.early (id int, c text);
INSERT INTO app.early SELECT n, 'value ' || n FROM generate_series(1, 1000) n;
CALL kms.encrypt_column('app.early', 'c', 'pii');
CREATE TABLE app.back (id int, c bytea);
INSERT INTO app.back SELECT n, kms.encode_with('pii', 'value ' || n) FROM generate_series(1, 1000) n;
SELECT kms.register_column('app.back', 'c', 'pii');
CALL kms.decrypt_column('app.back', 'c', 'text');
SQL
my $folder = test_folder('parts');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$folder/all", $node->connstr('postgres') ], 'a dump');
$node->command_ok([ 'pg_dump', '--data-only', '-f', "$folder/data.sql", $node->connstr('postgres') ], '... and one of the data alone');
my %restores = (
    'psql' => [ [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$folder/data.sql" ] ],
    'pg_restore -j2' => [ [ 'pg_restore', '-e', '--data-only', '-j2', "$folder/all" ] ],
    'pg_restore in two steps' => [ [ 'pg_restore', '-e', '--data-only', '-n', 'kms', "$folder/all" ], [ 'pg_restore', '-e', '--data-only', '-n', 'app', "$folder/all" ] ],
    'pg_restore --disable-triggers' => [ [ 'pg_restore', '-e', '--data-only', '--disable-triggers', "$folder/all" ] ],
);
my $always = q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'zzz_kms_%' AND tgrelid::regclass::text LIKE 'app.%' AND tgenabled = 'A'};
foreach my $way (sort keys %restores) {
    my $database = $way =~ s/\W+/_/gr;
    $node->safe_psql('postgres', "CREATE DATABASE $database");
    $node->command_ok([ 'pg_restore', '-e', '--schema-only', '-d', $node->connstr($database), "$folder/all" ], "$way: the tables");
    $node->command_ok([ @$_, '-d', $node->connstr($database) ], '... and the data') foreach @{ $restores{$way} };
    is($node->safe_psql($database, q{SELECT count(*), count(c), bool_and(kms.decode_with_text('pii', c_encrypted) = c) FROM app.early}), '1000|1000|t', '... which is all there');
    is($node->safe_psql($database, q{SELECT count(*), count(c), bool_and(kms.decode_with_text('pii', c) = c_plain) FROM app.back}), '1000|1000|t', '... opened too');
    is($node->safe_psql($database, $always), $way =~ /disable/ ? 0 : 2, '... with triggers as they are left');
    $node->safe_psql($database, q{CALL kms.encrypt_column('app.early', 'c', 'pii'); CALL kms.decrypt_column('app.back', 'c', 'text')});
    is($node->safe_psql($database, $always), 2, '... and fire in replicas when the procedures have been called again');
    $node->safe_psql($database, q{INSERT INTO app.early VALUES (1001, 'value 1001')});
    $node->safe_psql($database, "SELECT kms.switch_column('app.early', 'c'), kms.switch_column('app.back', 'c')");
}
my $rows = keys_session($node);
$rows->get(q{BEGIN; DELETE FROM kms.registered_column; SAVEPOINT unregistered});
foreach my $values (q{(id, c) VALUES (1, 'alone')}, q{(id, c_encrypted) VALUES (1, 'alone')}) {
    my $refused = fails_with($rows, "INSERT INTO app.early $values", '55000', 'a row that is not whole');
    like($refused->{hint}, qr/Restore the data of schema kms first/, '... says what to restore first');
    $rows->get('ROLLBACK TO unregistered');
}
fails_with($rows, 'UPDATE app.early SET id = id', '55000', 'nor is one changed without the registration');
$rows->quit;

# --- a published table: its subscribers stopped at a column that they had not

my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->start;
my $plain_rows = 'CREATE TABLE published (id int PRIMARY KEY, c text)';
my $parts = 'CREATE TABLE parted (id int PRIMARY KEY, c text) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000)';
$_->safe_psql('postgres', "$plain_rows; $parts") foreach $node, $subscriber;
$node->safe_psql('postgres', q{INSERT INTO published SELECT n, 'value ' || n FROM generate_series(1, 50) n; CREATE PUBLICATION rows_of_it FOR TABLE published, parted_1});
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION of_it CONNECTION '" . $node->connstr . " dbname=postgres' PUBLICATION rows_of_it");
$subscriber->wait_for_subscription_sync($node, 'of_it');

my $session = keys_session($node);
my $call = q{CALL kms.encrypt_column('published', 'c', 'pii', batch => 10};
my $answer = fails_with($session, "$call)", '55000', 'a published table is refused');
like($answer->{err}, qr/"published" is published by rows_of_it\n.*stop at the first row.*\n.*published => true/s, '... with what to do first');
fails_with($session, q{CALL kms.encrypt_column('parted', 'c', 'pii')}, '55000', '... and so is one of which a partition is');
is($session->get(q{SELECT count(*) FROM pg_attribute WHERE attname = 'c_encrypted' AND attrelid IN ('published'::regclass, 'parted'::regclass)}), 0, '... with nothing changed');
$subscriber->safe_psql('postgres', 'ALTER TABLE published ADD c_encrypted bytea');
is($session->ask("$call, published => true)")->{state}, '', 'published => true, when the subscriber has the column');
is($session->ask("$call)")->{state}, '', '... and need not be said again');
$node->wait_for_catchup('of_it');
is($subscriber->safe_psql('postgres', 'SELECT count(*), count(c_encrypted) FROM published'), '50|50', '... which has all values');
$session->get(q{SET client_min_messages = error});
fails_with($session, q{SELECT kms.switch_column('published', 'c')}, '2BP01', 'the switch says that subscribers lose the plaintext');
$session->get(q{SELECT kms.switch_column('published', 'c', drop_constraints => true)});
$call = q{CALL kms.decrypt_column('published', 'c_encrypted', 'text'};
fails_with($session, "$call)", '55000', 'on the way back a published table is refused as well');
$subscriber->safe_psql('postgres', 'UPDATE published SET c = NULL');
is($session->ask("$call, published => true)")->{state}, '', '... but where the subscriber has the column, as it has here');
$node->wait_for_catchup('of_it');
is($subscriber->safe_psql('postgres', q{SELECT count(*) FILTER (WHERE c = 'value ' || id) FROM published}), 50, '... which has all values');
$session->quit;

# --- a published table whose rows subscribers find by all of their columns

$session = keys_session($node);
$subscriber->safe_psql('postgres', 'CREATE TABLE by_all (id int PRIMARY KEY, c text, c_encrypted bytea)');
$session->get(q{CREATE TABLE by_all (id int PRIMARY KEY, c text); ALTER TABLE by_all REPLICA IDENTITY FULL; INSERT INTO by_all VALUES (1, 'x'); ALTER PUBLICATION rows_of_it ADD TABLE by_all});
my $by_all = q{CALL kms.encrypt_column('by_all', 'c', 'pii', published => true)};
my $lossy = fails_with($session, $by_all, '55000', 'REPLICA IDENTITY FULL');
like($lossy->{err}, qr/subscribers find rows of public\.by_all by column "c"/, '... is refused with why');
$session->get(q{ALTER TABLE by_all REPLICA IDENTITY DEFAULT});
is($session->ask($by_all)->{state}, '', '... and a key is not');
$session->get(q{ALTER TABLE by_all REPLICA IDENTITY FULL});
fails_with($session, q{SELECT kms.switch_column('by_all', 'c', drop_constraints => true)}, '55000', '... nor does the switch lose what comes then');
$session->get(q{ALTER TABLE by_all REPLICA IDENTITY DEFAULT; SELECT kms.switch_column('by_all', 'c', drop_constraints => true); ALTER PUBLICATION rows_of_it DROP TABLE by_all});

$session->get(q{CREATE TABLE by_it (c text PRIMARY KEY, n int); INSERT INTO by_it VALUES ('x', 1); CREATE PUBLICATION of_it FOR TABLE by_it});
fails_with($session, q{CALL kms.encrypt_column('by_it', 'c', 'pii', published => true)}, '55000', 'a column that subscribers find rows by');
$session->get('DROP PUBLICATION of_it; DROP TABLE by_it');

# A publication of other columns alone is none of it.
if ($node->pg_version >= 15) {
    $session->get(q{CREATE TABLE listed (id int PRIMARY KEY, c text); INSERT INTO listed VALUES (1, 'x'); CREATE PUBLICATION listing FOR TABLE listed (id)});
    is($session->ask(q{CALL kms.encrypt_column('listed', 'c', 'pii')})->{state}, '', 'a publication of other columns');
    is($session->ask(q{SELECT kms.switch_column('listed', 'c')})->{state}, '', '... loses nothing');
}
$session->quit;

# --- a column of a subscriber's: without a key its rows are found by all of their columns

my $keyless = q{CREATE TABLE keyless (id int, c text); ALTER TABLE keyless REPLICA IDENTITY FULL};
$_->safe_psql('postgres', $keyless) foreach $node, $subscriber;
$subscriber->safe_psql('postgres', 'CREATE EXTENSION kms');
$node->safe_psql('postgres', q{INSERT INTO keyless SELECT n, 'value ' || n FROM generate_series(1, 3) n; ALTER PUBLICATION rows_of_it ADD TABLE keyless});
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION of_it REFRESH PUBLICATION');
$subscriber->wait_for_subscription_sync($node, 'of_it');
$subscriber->append_conf('postgresql.conf', "kms.command = '$agent'\n");
$subscriber->reload;
my $there = kms_session($subscriber);
my $refused = fails_with($there, q{CALL kms.encrypt_column('keyless', 'c', 'pii')}, '55000', 'a table that a subscription changes without a key');
like($refused->{err}, qr/Subscription "of_it" changes rows of "keyless"/, '... which is named');
is($there->get(q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'keyless'::regclass AND attname = 'c_encrypted'}), 0, '... and nothing is changed');
$subscriber->safe_psql('postgres', 'ALTER TABLE keyless ADD PRIMARY KEY (id)');
$there->get(q{CALL kms.encrypt_column('keyless', 'c', 'pii')});
$node->safe_psql('postgres', q{UPDATE keyless SET c = 'changed' WHERE id = 2; DELETE FROM keyless WHERE id = 3; INSERT INTO keyless VALUES (4, 'new')});
$node->wait_for_catchup('of_it');
is($there->get(q{SELECT string_agg(c, ' ' ORDER BY id) FROM keyless}), 'value 1 changed new', '... with a key, changes arrive');
my $stops = fails_with($there, q{SELECT kms.switch_column('keyless', 'c')}, '2BP01', 'the switch would end the subscription');
like($stops->{err}, qr/subscription "of_it", which stops where it brings the column/, '... which is told');
# The trigger came first, and the subscription later.
$there->get(q{CREATE TABLE later (id int, c text); CALL kms.encrypt_column('later', 'c', 'pii')});
$node->safe_psql('postgres', q{CREATE TABLE later (id int, c text); ALTER TABLE later REPLICA IDENTITY FULL; INSERT INTO later VALUES (1, 'x'); ALTER PUBLICATION rows_of_it ADD TABLE later});
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION of_it REFRESH PUBLICATION');
ok(becomes(sub { new_log($subscriber) =~ /"later" has no key without column "c_encrypted"/ }), 'the subscription stops at a table without a key');
is($there->get('SELECT count(*) FROM later'), 0, '... and loses no row');
$subscriber->safe_psql('postgres', 'ALTER TABLE later ADD PRIMARY KEY (id)');
$subscriber->wait_for_subscription_sync($node, 'of_it');
is($there->get(q{SELECT count(c_encrypted) FROM later}), 1, '... which come once it has one');
$there->get(q{CREATE TABLE keyed_by_it (c bytea PRIMARY KEY); SELECT kms.register_column('keyed_by_it', 'c', 'pii')});
$node->safe_psql('postgres', 'CREATE TABLE keyed_by_it (c bytea PRIMARY KEY); ALTER PUBLICATION rows_of_it ADD TABLE keyed_by_it');
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION of_it REFRESH PUBLICATION');
fails_with($there, q{CALL kms.reencrypt('keyed_by_it', 'c')}, '55000', 'a table whose key is the column itself');
$there->quit;

# --- both ends go the same way, and the publisher's switch comes first: what it wrote then was lost without a word

$node->safe_psql('postgres', q{CREATE TABLE at_both (id int PRIMARY KEY, c text, large text, o text); INSERT INTO at_both SELECT n, 'old', string_agg(md5(m::text || n), ''), 'o' FROM generate_series(1, 3) n, generate_series(1, 500) m GROUP BY n; ALTER TABLE at_both ALTER large SET STORAGE EXTERNAL});
$subscriber->safe_psql('postgres', 'CREATE TABLE at_both (id int PRIMARY KEY, c text, large text, o text)');
$node->safe_psql('postgres', 'ALTER PUBLICATION rows_of_it ADD TABLE at_both') if $node->safe_psql('postgres', "SELECT count(*) FROM pg_publication_tables WHERE tablename = 'at_both'") == 0;
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION of_it REFRESH PUBLICATION');
$subscriber->wait_for_subscription_sync($node, 'of_it');
foreach my $column ('c', 'large') {
    $subscriber->safe_psql('postgres', "CALL kms.encrypt_column('at_both', '$column', 'pii')");
    $node->safe_psql('postgres', "CALL kms.encrypt_column('at_both', '$column', 'pii', published => true)");
}
$node->safe_psql('postgres', q{SELECT kms.rotate_key('pii')});
$node->safe_psql('postgres', q{CALL kms.reencrypt('at_both', 'large_encrypted'); UPDATE at_both SET c = 'newer', o = 'first' WHERE id = 1});
$node->wait_for_catchup('of_it');
my $agrees = q{SELECT string_agg(c || o, ' ' ORDER BY id) FROM at_both WHERE kms.decode_with_text('pii', c_encrypted) = c AND kms.decode_with_text('pii', large_encrypted) = large};
is($subscriber->safe_psql('postgres', $agrees), 'newerfirst oldo oldo', 'while both have both columns they stay in step, large values that are not sent again too');
$node->safe_psql('postgres', q{SELECT kms.switch_column('at_both', 'c', drop_constraints => true)});
new_log($subscriber);
$node->safe_psql('postgres', q{UPDATE at_both SET o = 'second' WHERE id = 2; UPDATE at_both SET c_encrypted = kms.encode_with('pii', 'newest'), o = 'third' WHERE id = 3; UPDATE at_both SET c_encrypted = NULL WHERE id = 2});
ok(becomes(sub { new_log($subscriber) =~ /the publisher has written column "c_encrypted" of "at_both", and not column "c"/ }), 'after the publisher\'s switch the subscription stops at a value');
is($subscriber->safe_psql('postgres', q{SELECT o FROM at_both WHERE id = 2}), 'second', '... and not before');
$subscriber->safe_psql('postgres', q{SELECT kms.switch_column('at_both', 'c', drop_constraints => true)});
$node->wait_for_catchup('of_it');
is($subscriber->safe_psql('postgres', q{SELECT string_agg(coalesce(kms.decode_with_text('pii', c_encrypted), 'none') || o, ' ' ORDER BY id) FROM at_both}), 'newerfirst nonesecond newestthird', '... and goes on when it is made here');

$_->stop foreach $subscriber, $node;
no_crash($_) foreach $subscriber, $node;
done_testing();
