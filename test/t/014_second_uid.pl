# The agent under another uid: the server's user can neither read the keyring nor signal the agent.
# Who that is comes from test/check: KMS_TEST_SUDO, KMS_TEST_KEYS_USER, KMS_TEST_KEYS_DIR.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run ();
use KmsKeys;
use KmsTest;
use Test::More;

plan skip_all => 'no second user: KMS_TEST_SUDO and KMS_TEST_KEYS_DIR are not set (see test/check)'
  unless $ENV{KMS_TEST_SUDO} && $ENV{KMS_TEST_KEYS_DIR};

my $keys_uid = getpwnam $ENV{KMS_TEST_KEYS_USER};
my $as_keys_user = "$ENV{KMS_TEST_SUDO} " . kms_agent_path();
my $ring = "$ENV{KMS_TEST_KEYS_DIR}/ring.$$";
my @where = ('--keyring', $ring, '--key-file', "$ring.kek");
my $command = "$as_keys_user serve @where";

sub run_as_keys_user {
    my ($out, $err);
    IPC::Run::run([ split(/ /, $as_keys_user), @_ ], '<', \'', '>', \$out, '2>', \$err) or die $err;
    return $out;
}

run_as_keys_user('init', @where);
run_as_keys_user('create', @where, 'theirs');
run_as_keys_user('init', '--keyring', "$ring.slow", '--passphrase-command', 'echo known to this test');

isnt($keys_uid, $>, 'the keys have another owner than the server');
foreach my $file ($ring, "$ring.kek", $ENV{KMS_TEST_KEYS_DIR}) {
    ok(!open(my $in, '<', $file), "$file cannot be read here") && ok($!{EACCES}, '... for want of the right');
    ok(!open(my $out, '>>', $file), '... nor written');
}

my $node = kms_node('second_uid', 'kms.command' => $command);
my $session = keys_session($node, { 'kms.keys' => '1=theirs' });

# The agents under a session: what it started, and what that has started.
sub agents_of {
    my ($pid) = @_;
    return map { ($_, agents_of($_)) } children_of($pid);
}

sub all_end {
    return becomes(sub { !grep { is_alive($_) } @_ });
}

sub owner_of { return (split /\s+/, process_status($_[0])->{Uid} // 'none')[1] }

# --- it works as any other

my $sealed = $session->get("SELECT kms.encode(1, 'locally'::text)");
is($session->get("SELECT kms.decode_text(1, '$sealed')"), 'locally', 'local mode');
$session->get("SET kms.mode = 'remote'");
is($session->get("SELECT kms.decode_text(1, '$sealed')"), 'locally', 'remote mode opens what local mode sealed');
is($session->get("SELECT count(*) FROM generate_series(1, 500) i
    WHERE kms.decode_text(1, kms.encode(1, i::text, 'c'), 'c') = i::text"), 500, '... and many values');
is($session->get("SELECT kms.rotate_key('theirs')"), 2, 'a key is rotated');
my @agents = agents_of($session->pid);
is(scalar(grep { owner_of($_) eq $keys_uid } @agents), 1, 'one process runs as the other user');
my ($agent) = grep { owner_of($_) eq $keys_uid } @agents;
ok(!kill(0, $agent) && $!{EPERM}, '... which may not be signalled from here');
ok(!-r "/proc/$agent/mem" && !-r "/proc/$agent/environ", '... nor looked into');

$session->get("RESET kms.mode; SET kms.command = " . sql_quote("$command "));
is($session->get("SELECT kms.decode_text(1, '$sealed')"), 'locally', 'another command starts another agent');
ok(all_end(@agents), '... and the first one ends by itself');
@agents = agents_of($session->pid);
is(scalar(grep { owner_of($_) eq $keys_uid } @agents), 1, '... and one is there again');
$session->quit;
ok(all_end(@agents), 'the end of a session ends its agent');

# --- cancel, deadline and end while such an agent does not answer

my $slow = "$as_keys_user serve --keyring $ring.slow --passphrase-command 'sleep 3; echo known to this test'";

sub slow_session {
    return keys_session($node, { 'kms.keys' => '1=theirs', 'kms.command' => $slow, 'kms.start_timeout' => '60s', @_ });
}

sub waits {
    my ($pid) = @_;
    return becomes(sub { scalar grep { owner_of($_) eq $keys_uid } agents_of($pid) });
}

my $encode = "SELECT kms.encode(1, 'x'::text)";
$session = slow_session();
$session->send($encode);
ok(waits($session->pid), 'an agent that starts slowly');
@agents = agents_of($session->pid);
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
is($session->answer->{state}, '57014', '... is no hindrance to a cancel');
ok((grep { is_alive($_) } @agents), '... which it has outlived');
is($session->get('SELECT 1'), 1, '... and the session goes on');
is($session->get('SET kms.command = ' . sql_quote($command) . "; SELECT kms.decode_text(1, '$sealed')"), 'locally',
    '... with another agent');
ok(all_end(@agents), 'the slow one ends by itself');

fails_with($session, 'SET kms.command = ' . sql_quote($slow) . "; SET statement_timeout = '300ms'; $encode", '57014',
    'statement_timeout');
end_timeout($session);
fails_with($session, "SET kms.start_timeout = '300ms'; $encode", 'KM008', 'kms.start_timeout');
@agents = agents_of($session->pid);
$session->quit;
ok(becomes(sub { !is_alive($session->pid) }, 2), 'a session does not wait for agents that do not end');
ok(all_end(@agents), '... which do in time');

$session = slow_session();
$session->send($encode);
ok(waits($session->pid), 'an agent that starts slowly');
@agents = agents_of($session->pid);
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . $session->pid . ')');
is($session->answer->{state}, '57P01', '... is no hindrance to pg_terminate_backend');
ok(all_end(@agents), '... and ends by itself');

$session = slow_session();
$session->send($encode);
ok(waits($session->pid), 'an agent that starts slowly');
@agents = agents_of($session->pid);
$node->stop('fast');
ok(all_end(@agents), 'after the server\'s end no agent is left');
no_crash($node);
done_testing();
