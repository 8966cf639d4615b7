# A synchronous standby that is away: whoever is cancelled while it is waited for has committed, and goes no further.
# What is destroyed at the agent after such a commit would be missed by a standby that takes over.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = kms_node('synchronous', wal_level => 'replica', max_wal_senders => 2, 'kms.command' => make_keyring(test_folder('ring'), 'main:wrap', 'pii'), 'kms.mode' => 'envelope');
my $session = keys_session($node);
my $on_looker = keys_session($node);
$session->get(q{SELECT kms.create_data_key(name, 'main') FROM unnest('{gone, stays, more}'::text[]) name});
$session->get(q{CREATE TABLE t (id int, p text, c bytea); SELECT kms.register_column('t', 'c', 'stays'); INSERT INTO t SELECT n, 'p' || n, kms.encode_with('stays', 'x' || n) FROM generate_series(1, 20) n});

sub standby_is {
    my ($name) = @_;
    $on_looker->get("SET synchronous_commit = local; ALTER SYSTEM SET synchronous_standby_names = '$name'");
    return $node->reload;
}

sub waits_for_standby {
    return $on_looker->get('SELECT count(*) FROM pg_stat_activity WHERE pid = ' . $session->pid . q{ AND wait_event = 'SyncRep'}) == 1;
}

# It waits for a standby that there is none of, and is cancelled.
sub cancelled {
    my ($sql, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    standby_is('away');
    ok(becomes(sub { $on_looker->get('SHOW synchronous_standby_names') eq 'away' }), "$name: a standby is to confirm");
    $session->send($sql);
    ok(becomes(\&waits_for_standby), '... and is waited for');
    $on_looker->get('SELECT pg_cancel_backend(' . $session->pid . ')');
    my $answer = $session->answer;
    is($answer->{state}, '57014', '... until somebody cancels');
    like($answer->{err}, qr/standby was waited for/, '... which is said');
    standby_is('');
    return ok(becomes(sub { $session->get('SHOW synchronous_standby_names') eq '' }), '... and then it is not waited for');
}

sub kek_versions {
    return $on_looker->get(q{SELECT string_agg(version || ' ' || state, ', ' ORDER BY version) FROM kms.list_keys('main')});
}

cancelled(q{CALL kms.destroy_data_key('gone', 1, shred => true)}, 'shredding');
is(kek_versions(), '1 enabled, 2 enabled', '... destroys no KEK version');
is($session->get(q{SELECT kms.decode_with_text('stays', c) FROM t WHERE id = 1}), 'x1', 'the other data keys open');
$session->get(q{CALL kms.destroy_data_key('gone', 1, shred => true)});
is(kek_versions(), '1 destroyed, 2 enabled', 'a repeated call finishes');
is($session->get(q{SELECT kms.decode_with_text('stays', c) FROM t WHERE id = 1}), 'x1', '... and the other data keys still open');

$session->get(q{SELECT kms.rotate_data_key('stays')});
cancelled(q{CALL kms.reencrypt('t', 'c', batch => 5)}, 'reencrypt');
$session->get(q{CALL kms.reencrypt('t', 'c', batch => 5)});
is($session->get(q{SELECT version, rows FROM kms.census('t', 'c')}), '2|20', 'a repeated call finishes');
cancelled(q{CALL kms.encrypt_column('t', 'p', 'stays', batch => 5)}, 'encrypt_column');
$session->get(q{CALL kms.encrypt_column('t', 'p', 'stays', batch => 5)});
is($session->get('SELECT count(*) FROM t WHERE p_encrypted IS NULL'), 0, 'a repeated call finishes');

# Who waits for no standby is not kept by what one has not confirmed.
standby_is('away');
$session->get('SET synchronous_commit = local');
$session->get(q{SELECT kms.rotate_data_key('stays'); CALL kms.reencrypt('t', 'c', batch => 5)});
is($session->get(q{SELECT version, rows FROM kms.census('t', 'c')}), '3|20', 'with synchronous_commit = local nobody waits');
standby_is('');

$_->quit foreach $session, $on_looker;
$node->stop;
no_crash($node);
done_testing();
