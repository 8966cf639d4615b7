# What writes names itself where nothing can be written: on a standby, and where data keys come from another server.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my %settings = ('kms.command' => make_keyring(test_folder('keys'), 'main:wrap', 'plain'), 'kms.mode' => 'envelope');
my $node = kms_node('primary', %settings, 'wal_level' => 'logical', 'max_wal_senders' => 8);
$node->append_conf('pg_hba.conf', 'local replication all trust');
$node->reload;
$node->safe_psql('postgres', <<'SQL');
SELECT kms.create_data_key('orders', 'main'), kms.rotate_data_key('orders');
CREATE TABLE sealed (id int PRIMARY KEY, c bytea, plain text);
SELECT kms.register_column('sealed', 'c', 'orders');
INSERT INTO sealed VALUES (1, kms.encode_with('orders', 'x'), 'y');
CALL kms.encrypt_column('sealed', 'plain', 'orders');
SQL

# --- on a standby: a lock or a DELETE was named, and what only looks was refused

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
my $reader = keys_session($standby);
my %writes = (
    switch_column => q{SELECT kms.switch_column('sealed', 'plain')},
    register_column => q{SELECT kms.register_column('sealed', 'c', 'orders')},
    unregister_column => q{SELECT kms.unregister_column('sealed', 'c')},
    encrypt_column => q{CALL kms.encrypt_column('sealed', 'plain', 'orders')},
    decrypt_column => q{CALL kms.decrypt_column('sealed', 'c', 'text')},
    reencrypt => q{CALL kms.reencrypt('sealed', 'c')},
    create_data_key => q{SELECT kms.create_data_key('new', 'main')},
    rotate_data_key => q{SELECT kms.rotate_data_key('orders')},
    enable_data_key => q{SELECT kms.enable_data_key('orders', 1)},
    disable_data_key => q{SELECT kms.disable_data_key('orders', 1)},
    destroy_data_key => q{CALL kms.destroy_data_key('orders', 1)},
    rotate_kek => q{SELECT kms.rotate_kek('main')},
);
foreach my $function (sort keys %writes) {
    my $answer = fails_with($reader, $writes{$function}, '25006', "on a standby $function is refused");
    like($answer->{message}, qr/cannot execute kms\.$function(\(\))? in a read-only transaction|cannot execute kms\.$function(\(\))? during recovery/, '... by its name');
}
is($reader->get(q{CALL kms.destroy_data_key('orders', 2, dry_run => true)}), 2, 'on a standby a destruction is rehearsed');
is($reader->get(q{CALL kms.destroy_data_key('orders', 1, dry_run => true, shred => true)}), 0, '... and a shredding');
fails_with($reader, q{BEGIN; SET TRANSACTION READ ONLY; SELECT kms.switch_column('sealed', 'plain')}, '25006', 'so it is in a read-only transaction');
$reader->get('ROLLBACK');
# What a standby counts is behind what the primary has.
foreach my $key ('main', 'plain') {
    my $refused = fails_with($reader, "SELECT kms.disable_key('$key', 1)", '25006', "no version of $key is disabled by what a standby has");
    like($refused->{hint}, qr/on the primary/, '... which says where');
}
# Nor has it the rows of an unlogged table.
$node->safe_psql('postgres', q{CREATE UNLOGGED TABLE fleeting (c bytea); INSERT INTO fleeting VALUES (kms.encode_with('orders', 'x')); SELECT kms.register_column('fleeting', 'c', 'orders')});
$node->wait_for_catchup($standby);
fails_with($reader, q{SELECT * FROM kms.census('fleeting', 'c')}, '0A000', 'an unlogged table has no census on a standby');
my $rehearsed = $reader->ask(q{CALL kms.destroy_data_key('orders', 2, dry_run => true)});
is($rehearsed->{out}, 2, '... and keeps nobody from those of others');
like($rehearsed->{err}, qr/fleeting\.c: its part "fleeting" is unlogged/, '... but is named');
is($reader->get('SELECT count(*) > 0 FROM kms.key_age()'), 't', '... as key_age() names it');
$node->safe_psql('postgres', 'DROP TABLE fleeting');
is($reader->get("SELECT kms.disable_key('plain', 1, force => true), kms.enable_key('plain', 1)"), '|', '... unless by force');
$reader->quit;
$standby->stop;

# --- where a subscription fills kms.data_key: a rotation was made there, and the next one of the publisher's ended it

my $subscriber = kms_node('subscriber', %settings);
$node->safe_psql('postgres', 'CREATE PUBLICATION keys FOR TABLE kms.data_key');
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION theirs CONNECTION '" . $node->connstr . " dbname=postgres' PUBLICATION keys");
$subscriber->wait_for_subscription_sync($node, 'theirs');
my $session = keys_session($subscriber);
is($session->get(q{SELECT length(kms.encode_with('orders', 'x')), kms.decode_with_text('orders', kms.encode_with('orders', 'x'))}), '50|x', 'a subscriber uses data keys that it was sent');
foreach my $function (grep { /data_key|kek/ } sort keys %writes) {
    my $answer = fails_with($session, $writes{$function}, '55000', "... and does not change them: $function");
    like($answer->{err}, qr/cannot execute kms\.$function\(\) where kms\.data_key is filled by a subscription\n.*"theirs".*\n.*Call it at the publisher/s, '... which it says, and what to do');
}
is($session->get(q{CALL kms.destroy_data_key('orders', 1, dry_run => true)}), 0, '... but rehearses');
$node->safe_psql('postgres', $writes{rotate_data_key});
$node->wait_for_catchup('theirs');
is($session->get(q{SELECT max(version) FROM kms.data_keys WHERE name = 'orders'}), 3, '... and follows the rotation of the publisher');
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION theirs');
is($session->get($writes{rotate_data_key}), 4, 'without the subscription data keys are its own');
$session->quit;

# --- a publication of all tables has the registry too: numbers of the publisher's tables took the place of the subscriber's, or the copy failed

my ($publisher, $all) = map { kms_node($_, 'kms.command' => $settings{'kms.command'}, 'wal_level' => 'logical', 'max_wal_senders' => 8) } 'publisher', 'all';
$all->safe_psql('postgres', 'CREATE TABLE other (id int); CREATE TABLE another (id int)');
$_->safe_psql('postgres', 'CREATE TABLE sealed (id int PRIMARY KEY, a text, c bytea, d bytea)') foreach $publisher, $all;
$publisher->safe_psql('postgres', q{SELECT kms.register_column('sealed', 'c', 'plain', $$convert_to(a, 'UTF8')$$); CREATE PUBLICATION everything FOR ALL TABLES});
$all->safe_psql('postgres', q{SELECT kms.register_column('sealed', 'd', 'plain')});
$all->safe_psql('postgres', "CREATE SUBSCRIPTION everything CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION everything");
$all->wait_for_subscription_sync($publisher, 'everything');
my $registered = q{SELECT string_agg(format('%s %s %s', relation, column_name, context_expression), ', ' ORDER BY column_name) FROM kms.registered_columns};
is($all->safe_psql('postgres', $registered), q{sealed c convert_to(a, 'UTF8'::name), sealed d }, 'a registration arrives, and is of the subscriber\'s column');
$publisher->safe_psql('postgres', q{ALTER TABLE sealed RENAME a TO b; SELECT kms.register_column('sealed', 'd', 'plain')});
$all->safe_psql('postgres', 'ALTER TABLE sealed RENAME a TO b');
$publisher->safe_psql('postgres', q{INSERT INTO sealed VALUES (1, 'b', kms.encode_with('plain', 'x', 'b'))});
$publisher->wait_for_catchup('everything');
is($all->safe_psql('postgres', 'SELECT id, b FROM sealed'), '1|b', 'what comes behind a registration that is there already arrives');
$all->safe_psql('postgres', 'COMMENT ON TABLE sealed IS NULL');
is($all->safe_psql('postgres', $registered) =~ /sealed c convert_to\(b, 'UTF8'::name\)/, 1, '... and registrations hold');
is($all->safe_psql('postgres', q{SELECT count(*) FROM kms.registered_place WHERE relation <> 'sealed'::regclass}), 0, '... by numbers of the subscriber');
$all->safe_psql('postgres', 'DROP SUBSCRIPTION everything');

# --- a registry that is emptied leaves no place behind

$all->safe_psql('postgres', q{TRUNCATE kms.registered_column; SELECT kms.register_column('sealed', 'c', 'plain')});
is($all->safe_psql('postgres', 'SELECT count(*) FROM kms.registered_place'), 1, 'TRUNCATE empties the places too');

$_->stop foreach $subscriber, $node, $publisher, $all;
no_crash($_) foreach $subscriber, $standby, $node, $publisher, $all;
done_testing();
