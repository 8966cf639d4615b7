# What the server refuses: descriptors beyond those that a backend may have, among which the agent's
# pipes are counted, and logins that bring a superuser's settings where the library is preloaded.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use Test::More;

my $keys = test_folder('keys');
my $node = kms_node('refusals', 'kms.command' => make_keyring($keys, 'k'), 'kms.keys' => '1=k',
    max_files_per_process => 64, shared_preload_libraries => 'kms');

SKIP: {
    skip 'there is no dblink, which counts its connections alike', 9
      if $node->psql('postgres', 'CREATE EXTENSION dblink') != 0;
    my $session = kms_session($node);
    my $connection = sql_quote($node->connstr('postgres'));
    my $connect = sub { $session->ask("SELECT dblink_connect('c$_[0]', $connection)") };
    my $opened = 0;
    ++$opened while $opened < 60 && $connect->($opened)->{state} eq '';
    cmp_ok($opened, '<', 60, 'a backend has descriptors for a few connections');

    my $answer = fails_with($session, "SELECT kms.encode(1, 'x')", '53000', 'none is left for an agent');
    like($answer->{hint}, qr/max_files_per_process/, '... and the hint says what to raise');
    is(scalar children_of($session->pid), 0, '... nor is one started');

    # How many descriptors a connection has differs by the server's version.
    my $closed = 0;
    my @refusals;
    while ($closed < $opened) {
        $session->get("SELECT dblink_disconnect('c" . ++$closed . "')");
        my $state = $session->ask("SELECT kms.encode(1, 'x')")->{state};
        last if $state eq '';
        push @refusals, $state;
        ok(becomes(sub { !children_of($session->pid) }), "with descriptors of $closed none is left");
    }
    is(join(' ', @refusals), join(' ', ('53000') x ($closed - 1)), '... since it cannot be started, or not awaited');
    cmp_ok(scalar @refusals, '>', 0, '... with too few');
    is($session->get("SELECT kms.decode_text(1, kms.encode(1, 'x'))"), 'x', 'with enough it is started and awaited');
    my $agent = agent_pid($session);
    my $again = 0;
    ++$again while $again < $closed && $connect->("again$again")->{state} eq '';
    cmp_ok($again, '<', $closed, '... which has them');
    kill KILL => $agent;
    ok(becomes(sub { !is_alive($agent) }), 'an agent ends');
    is($session->get("SELECT kms.decode_text(1, kms.encode(1, 'y'))"), 'y', '... and the next takes its place');
    $session->quit;
}

$node->safe_psql('postgres', 'CREATE ROLE plain LOGIN');
foreach my $setting ('kms.command=true', 'kms.mode=remote', 'kms.cache_ttl=-1') {
    my ($name, $value) = split /=/, $setting;
    ok(!eval { keys_session($node, { $name => $value }, user => 'plain') }, "a plain role's login that brings $name is refused");
    like($@, qr/permission denied to set parameter "\Q$name\E"/, '... for that');
}

$node->stop;
no_crash($node);
done_testing();
