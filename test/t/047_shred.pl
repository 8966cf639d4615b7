# Shredding: what was destroyed opens nowhere any more, whatever a backup brings back, and nothing else is lost,
# wherever it is killed.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = test_folder('relay');
my $ring = test_folder('ring');
my $agent = make_keyring($ring, 'main:wrap');
my $relay = 'exec /usr/bin/python3 ' . example_agent('relay.py') . " $folder " . ($agent =~ s/^exec //r);
my $node = kms_node('shred', 'kms.command' => $agent, 'kms.mode' => 'envelope', 'restart_after_crash' => 'on', 'shared_buffers' => '16MB');

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE sealed (name text, version int, value bytea);
CREATE TABLE backup (LIKE kms.data_key);
SELECT kms.create_data_key('other ' || n, 'main') FROM generate_series(1, 20) n;
INSERT INTO sealed SELECT 'other ' || n, 1, kms.encode_with('other ' || n, 'x') FROM generate_series(1, 20) n;
SQL

my $victims = 0;

# A data key that two KEK versions have wrapped; copies of its rows are kept.
sub new_victim {
    my $name = 'victim ' . ++$victims;
    foreach my $sql ("SELECT kms.create_data_key('$name', 'main')", "INSERT INTO backup SELECT * FROM kms.data_key WHERE name = '$name'",
        "INSERT INTO sealed SELECT '$name', 1, kms.encode_with('$name', 'x')", q{SELECT kms.rotate_kek('main')},
        "INSERT INTO backup SELECT * FROM kms.data_key WHERE name = '$name'") {
        $node->safe_psql('postgres', $sql);
    }
    return $name;
}

sub others_open {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is($node->safe_psql('postgres', q{SELECT count(*) FROM sealed WHERE name LIKE 'other%' AND kms.decode_with_text(name, value) = 'x'}), 20,
        "$name: the other data keys open");
}

# The ways in which what a backup holds of a data key can be put back, and whether its value opens then.
sub opens_from_backup {
    my ($victim) = @_;
    my @answers;
    foreach my $form (0, 1) {
        my $session = keys_session($node);
        $session->get(qq{BEGIN; DELETE FROM kms.data_key WHERE name = '$victim';
            INSERT INTO kms.data_key SELECT * FROM backup WHERE name = '$victim' ORDER BY kek_version OFFSET $form LIMIT 1});
        my $answer = $session->ask("SELECT kms.decode_with_text(name, value) FROM sealed WHERE name = '$victim'");
        push @answers, $answer->{state} || $answer->{out};
        $session->quit;
    }
    return "@answers";
}

sub shred { return "CALL kms.destroy_data_key('$_[0]', 1, shred => true)" }

# --- with and without shredding

my $victim = new_victim();
is(opens_from_backup($victim), 'x x', 'a backup holds a data key');
$node->safe_psql('postgres', "CALL kms.destroy_data_key('$victim', 1)");
fails_with(my $session = keys_session($node), "SELECT kms.decode_with(name, value) FROM sealed WHERE name = '$victim'", 'KM011', 'destroyed');
is(opens_from_backup($victim), 'x x', '... but what a backup holds still opens');

my $in_second = q{SELECT kms.decode_with_text('of the second', value) FROM sealed};
$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->safe_psql('second', q{CREATE EXTENSION kms; SELECT kms.create_data_key('of the second', 'main'); CREATE TABLE sealed AS SELECT kms.encode_with('of the second', 'x') AS value});
my $secret = $session->get(q{SELECT kms.wrap('main', 'secret')});
is($session->ask(shred($victim))->{state}, '', 'shredded');
is(opens_from_backup($victim), 'KM011 KM011', '... it does not any more');
others_open('shredded');
my $second = keys_session($node, {}, dbname => 'second');
fails_with($second, $in_second, 'KM011', 'data keys of another database are lost with the KEK version, as the NOTICE says');
fails_with($session, "SELECT kms.unwrap('main', '$secret')", 'KM011', '... and so are secrets');

$second->get(q{SELECT kms.rotate_data_key('of the second'); UPDATE sealed SET value = kms.encode_with('of the second', 'x')});
$secret = $session->get(q{SELECT kms.wrap('main', 'secret')});
$session->get(q{SELECT kms.rotate_kek('main')});
$victim = new_victim();
is($session->ask(shred($victim))->{state}, '', 'another one is shredded');
is(opens_from_backup($victim), 'KM011 KM011', '... and opens no more');
is($node->safe_psql('second', $in_second), 'x', 'KEK versions that never wrapped it live on');
is($session->get("SELECT convert_from(kms.unwrap('main', '$secret'), 'UTF8')"), 'secret', '... with the secrets that they wrapped');
$_->quit foreach $second, $session;
$node->safe_psql('postgres', 'DROP DATABASE second');

# --- killed at every step

my @points = ('describe 1 kill', 'rotate 1 kill-early', 'rotate 1 kill', 'unwrap 10 kill', 'wrap 10 kill', 'unwrap 30 kill', 'unwrap 50 kill',
    'destroy 1 kill-early', 'destroy 1 kill', 'destroy 2 kill-early', 'destroy 2 kill',
    'describe 1 die', 'rotate 1 die', 'wrap 3 fail denied', 'unwrap 50 spoil', 'destroy 1 die', 'destroy 2 fail unavailable',
    'unwrap 70 kill', 'unwrap 70 fail unavailable');
foreach my $point (@points) {
    $victim = new_victim();
    write_text("$folder/plan", $point);
    my $relayed = keys_session($node, { 'kms.command' => $relay });
    my $answer = $relayed->ask(shred($victim));
    ok($answer->{closed} || $answer->{state} =~ /^KM/, "$point: it ends in the middle") or diag $answer->{err};
    $relayed->quit;
    ok(server_is_up($node), '... the server is there');
    others_open($point);
    my $state = $node->safe_psql('postgres', "SELECT state FROM kms.data_keys WHERE name = replace('$victim', ' ', '%20')");
    is($state, $point =~ /destroy|unwrap 70/ ? 'destroyed' : 'enabled', '... the data key is destroyed once all others are safe, and not before');
    $node->safe_psql('postgres', shred($victim));
    is(opens_from_backup($victim), 'KM011 KM011', '... and the repeated call finishes');
    others_open("$point, repeated");
}

# --- what the agent only says is destroyed

$session = keys_session($node);
my $ring_file = sub { join ' ', (stat "$ring/ring")[1, 9, 10] };
$victim = new_victim();
write_text("$folder/plan", 'list 0 as-destroyed');
my $believer = keys_session($node, { 'kms.command' => $relay });
is($believer->ask(shred($victim))->{state}, '', 'KEK versions that are listed as destroyed');
is(opens_from_backup($victim), 'KM011 KM011', '... are destroyed all the same');
others_open('listed as destroyed');
my $as_it_was = $ring_file->();
$session->get(q{SELECT kms.destroy_key('main', min(version), force => true) FROM kms.list_keys('main')});
is($ring_file->(), $as_it_was, '... and one that is costs no new state of the keyring');

$session->get(q{SELECT kms.create_key('believed'); CREATE TABLE believed (value bytea); SELECT kms.register_column('believed', 'value', 'believed'); SET kms.mode = local; INSERT INTO believed VALUES (kms.encode_with('believed', 'x'))});
is($believer->ask(q{SET kms.mode = local; SELECT kms.destroy_key('believed', 1)})->{state}, '', 'a version that is listed as destroyed is not destroyed by who has not counted its rows');
fails_with($believer, q{SELECT kms.disable_key('believed', 1)}, 'KM011', '... nor disabled');
is($session->get(q{SELECT kms.decode_with_text('believed', value) FROM believed}), 'x', '... and they open');
# Nobody enables a version whose rows have been counted.
$session->get(q{SELECT kms.create_key('raced'); SELECT kms.disable_key('raced', 1)});
write_text("$folder/plan", 'list 2 await');
unlink "$folder/reached", "$folder/go";
my $racer = keys_session($node, { 'kms.command' => $relay, 'kms.cache_ttl' => '1s' });
$racer->send(q{SELECT kms.destroy_key('raced', 1)});
ok(becomes(sub { -e "$folder/reached" }), 'a destruction has the version\'s state looked at once more');
$session->send(q{SELECT kms.enable_key('raced', 1)});
ok(becomes(sub { $node->safe_psql('postgres', 'SELECT count(*) FROM pg_locks WHERE NOT granted AND objsubid = 27502 AND pid = ' . $session->pid) == 1 }), '... and who would enable it waits');
write_text("$folder/go", '');
is($racer->answer->{state}, '', '... until it is destroyed');
is($session->answer->{state}, 'KM011', '... and then it is too late');
$racer->quit;
$session->get('DROP TABLE believed');
$_->quit foreach $session, $believer;

# --- a data key that comes under another KEK while a change of it waits

$session = keys_session($node);
my $adopter = keys_session($node);
$session->get(q{SELECT kms.create_key('twice'), kms.create_key('second kek', purpose => 'wrap'); SELECT kms.adopt_key('twice', 'main')});
kms_admin($ring, 'rotate', 'twice');
$adopter->get(q{BEGIN; SELECT kms.adopt_key('twice', 'second kek')});
$session->send(q{SELECT kms.rotate_data_key('twice')});
ok(becomes(sub { $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = } . $session->pid) == 1 }),
    'a rotation waits for an adoption');
$adopter->get('COMMIT');
my $moved = $session->answer;
is($moved->{state}, '40001', '... and is refused, since it holds a lock on the KEK of before');
like($moved->{err}, qr/it is under another KEK by now/, '... which is told');
is($session->ask(q{SELECT kms.rotate_data_key('twice')})->{state}, '', '... and then goes on');
$_->quit foreach $session, $adopter;

# --- blobs that another transaction is bringing in, where there are none yet

$session = keys_session($node, { 'kms.keys' => '1=of-blobs' });
$session->get(q{SELECT kms.create_data_key('of-blobs', 'main'); SELECT kms.blob_put(1, 'x'); CREATE TABLE dumped AS SELECT * FROM kms.blob; DELETE FROM kms.blob});
my $restoring = keys_session($node);
$restoring->get('BEGIN; INSERT INTO kms.blob SELECT * FROM dumped');
$session->send(shred('of-blobs'));
ok(becomes(sub { $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = } . $session->pid) == 1 }),
    'shredding waits for a transaction that brings blobs');
$restoring->get('COMMIT');
my $for_blob = $session->answer;
is($for_blob->{state}, 'KM012', '... and is refused');
like($for_blob->{err}, qr/kms\.blob: 1 row/, '... for the blob');
$session->get('DELETE FROM kms.blob');
is($session->ask(shred('of-blobs'))->{state}, '', '... until it is gone');
$_->quit foreach $session, $restoring;

# --- the agent's keys are put back in between

$victim = new_victim();
write_text("$folder/plan", 'unwrap 70 fail not-found');
my $put_back = keys_session($node, { 'kms.command' => $relay });
my $refused = fails_with($put_back, shred($victim), '55000', 'a data key is not seen to open just before KEK versions are destroyed');
like($refused->{err}, qr/does not open other data keys without its versions \d+ to \d+\n.*Versions of data keys: 1\./, '... which is told');
$put_back->quit;
is(opens_from_backup($victim), 'x x', '... and none is');
$node->safe_psql('postgres', shred($victim));
is(opens_from_backup($victim), 'KM011 KM011', '... until it does');
others_open('put back');

# --- what another transaction does in between

$session = keys_session($node);
$victim = new_victim();
my $creator = keys_session($node);
$creator->get(q{BEGIN; SELECT kms.create_data_key('other 21', 'main')});
$session->send(shred($victim));
ok(becomes(sub { $node->safe_psql('postgres', 'SELECT count(*) FROM pg_locks WHERE NOT granted AND objsubid = 27499') == 1 }),
    'shredding waits for one who creates a data key under the KEK');
$creator->get('COMMIT');
is($session->answer->{state}, '', '... and takes it along');
is($node->safe_psql('postgres', q{SELECT kms.decode_with_text('other 21', kms.encode_with('other 21', 'x'))}), 'x', '... so that it opens');
is(opens_from_backup($victim), 'KM011 KM011', '... and the other does not');

$creator->get(q{SELECT kms.create_key('held', purpose => 'wrap'); BEGIN; SELECT kms.create_data_key('of held', 'held')});
$session->get(q{SELECT kms.disable_key('held', 1, force => true)});
$session->send(q{SELECT kms.destroy_key('held', 1)});
ok(becomes(sub { $node->safe_psql('postgres', 'SELECT count(*) FROM pg_locks WHERE NOT granted AND objsubid = 27499') == 1 }),
    'who destroys a KEK waits for one who creates a data key under it');
$creator->get('COMMIT');
is($session->answer->{state}, 'KM012', '... and is refused');
$creator->quit;

# --- a blob that the KEK itself is about to seal: the first of this database

$victim = new_victim();
$creator = keys_session($node, { 'kms.mode' => 'remote' });
$creator->get(q{SELECT kms.set_key(1, 'main')});
my $blob = $creator->get(q{BEGIN; SELECT kms.blob_put(1, 'precious')});
$session->send(shred($victim));
ok(becomes(sub { $node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'virtualxid'}) == 1 }),
    'shredding waits for who may have wrapped by the old KEK versions');
$creator->get('COMMIT');
my $needed = $session->answer;
is($needed->{state}, 'KM012', '... and is refused');
like($needed->{err}, qr/kms\.blob: 1 row/, '... for a blob');
is($creator->get("SELECT convert_from(kms.blob_get('$blob'), 'UTF8')"), 'precious', '... which opens');
foreach my $case (['hello 1 hide list', 'KM010'], ['list 1 fail denied', 'KM003']) {
    my ($point, $state) = @$case;
    write_text("$folder/plan", $point);
    foreach my $call (shred($victim), shred($victim) =~ s/\)$/, dry_run => true)/r) {
        my $unlisted = keys_session($node, { 'kms.command' => $relay });
        fails_with($unlisted, $call, $state, "an agent that does not tell the tags of its KEK: $point");
        $unlisted->quit;
    }
}
write_text("$folder/plan", 'list 2 fail denied');
my $unlisted = keys_session($node, { 'kms.command' => $relay });
$needed = $unlisted->ask(shred($victim) =~ s/\)$/, dry_run => true, force => true)/r);
is($needed->{out}, 0, '... counts nothing by force');
like($needed->{err}, qr/WARNING: .*what the KEK "main" has sealed itself is not counted/, '... and says so');
$unlisted->quit;
is($creator->get("SELECT kms.blob_recode('$blob', 1)"), '', '... and is wrapped by the new version');
is($session->ask(shred($victim))->{state}, '', '... so that the repeated call finishes');
is(opens_from_backup($victim), 'KM011 KM011', '... and nothing of the data key opens');
is($creator->get("SELECT convert_from(kms.blob_get('$blob'), 'UTF8')"), 'precious', '... but the blob does');
$creator->get("SELECT kms.blob_delete('$blob')");
$creator->quit;

# --- a KEK version whose wrapping was rolled back, and is in dead rows and in WAL

$victim = new_victim();
$session->get(q{BEGIN; SELECT kms.rotate_kek('main'); ROLLBACK});
my $rolled_back = $session->get(q{SELECT max(version) FROM kms.list_keys('main')});
is($session->ask(shred($victim))->{state}, '', 'shredding a key whose last wrapping was rolled back');
is($session->get("SELECT state FROM kms.list_keys('main') WHERE key_identifier = 'main' AND version = $rolled_back"), 'destroyed', '... destroys that KEK version too');
others_open('rolled back');

# --- what another session has read before

$victim = new_victim();
my $reader = keys_session($node, { 'kms.command' => "touch $folder/starting; while [ ! -e $folder/shredded ]; do sleep 0.1; done; $agent" });
$reader->send(q{SELECT kms.decode_with_text(name, value) FROM sealed WHERE name = 'other 1'});
my $binder = keys_session($node, { 'kms.command' => "touch $folder/binding; while [ ! -e $folder/shredded ]; do sleep 0.1; done; $agent" });
$binder->send(q{SELECT kms.set_key(1, 'other 1')});
ok(becomes(sub { -e "$folder/starting" && -e "$folder/binding" }), 'two sessions have read the row of another data key, and wait for their agents');
is($session->ask(shred($victim) =~ s/\)$/, force => true)/r)->{state}, '', '... while the KEK versions of that row are destroyed, without waiting for them');
write_text("$folder/shredded", '');
is($reader->answer->{out}, 'x', '... and one opens it by its new form');
is($binder->answer->{state}, '', '... and one binds it');
$_->quit foreach $reader, $binder;

# --- what it takes of memory

$node->safe_psql('postgres', <<'SQL');
INSERT INTO kms.data_key (name, version, algorithm, key_tag, kek, kek_version, wrapped, kek_version_first)
SELECT convert_to('elsewhere ' || n, 'UTF8'), 1, 'xaes-256-gcm', int8send(n), 'another', 1, repeat('x', 81)::bytea, 1
FROM generate_series(1, 200000) n;
SQL
$victim = new_victim();
$node->safe_psql('postgres', 'CHECKPOINT');
my $peak = sub { process_status($session->pid)->{VmHWM} =~ s/ kB//r / 1024 };
$session->get("SELECT count(*) FROM kms.data_keys");
my $before = $peak->();
is($session->ask(shred($victim))->{state}, '', 'shredded among many data keys');
$session->get(q{SELECT kms.rotate_kek('main')});
takes_less($peak->() - $before, 30, '... which are not all in memory at once');

$session->quit;
$node->stop;
no_crash($node);
done_testing();
