# The postmaster as process 1, as in a container: it inherits what has lost its parent, and takes an
# unknown child's end for a crash. No agent of any kind ends others' sessions.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run ();
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils qw(system_or_bail);
use Test::More;

my @as_process_one = qw(unshare --map-current-user --pid --fork --kill-child);
plan skip_all => 'this user may not make a namespace of processes' if system("@as_process_one true 2>/dev/null") != 0;

my $folder = test_folder('folder');
write_text("$folder/k", 'k' x 32);
my $serve = 'sh ' . example_agent('agent.sh') . " $folder";

my $node = kms_node('process_one', 'kms.keys' => '1=k', 'kms.command' => "exec $serve");
my $log = $node->logfile;
$node->stop;
my $server = IPC::Run::start([ @as_process_one, 'postgres', '-D', $node->data_dir ], '<', '/dev/null', '>>', $log, '2>>', $log);
ok(becomes(sub { server_is_up($node) }), 'a server that is process 1');

my $unshare = $server->{KIDS}[0]{PID};

my ($postmaster) = children_of($unshare);

# Whatever is called otherwise than the server's own processes.
sub agents_under {
    my ($pid) = @_;
    my $own = process_status($postmaster)->{Name};
    return map { ((process_status($_)->{Name} // $own) ne $own ? $_ : (), agents_under($_)) } children_of($pid);
}

my $standing = kms_session($node);
is($standing->get("SELECT kms.decode_text(1, kms.encode(1, 'x'::text))"), 'x', 'encodes and decodes');

sub passphrase_agent {
    my ($command) = @_;
    my @where = ('--keyring', "$folder/ring", '--passphrase-command', $command);
    system_or_bail(kms_agent_path(), $_ eq 'create' ? ($_, @where, 'k') : ($_, @where)) foreach qw(init create);
    return kms_agent_path() . " serve --keyring $folder/ring --passphrase-command '$command'";
}

# An agent whose session ends.
my %agents = (
    'ends with its input' => "exec $serve",
    'fails at its end' => "$serve; exit 3",
    'fails late' => "$serve; sleep 0.3; exit 3",
    'is to be terminated' => "$serve; exec sleep 1000",
    'is to be killed' => "trap '' TERM; $serve; while :; do sleep 0.1; done",
    'has a passphrase command that leaves something behind' => passphrase_agent('sleep 60 >/dev/null 2>&1 & echo secret'),
    'leaves another behind' => "(sleep 0.3; exit 3) & exec $serve",
    'leaves one to be killed behind' => "(trap '' TERM; while :; do sleep 0.1; done) & exec $serve",
);
foreach my $kind (sort keys %agents) {
    my $session = kms_session($node);
    $session->get("SET kms.command = \$\$$agents{$kind}\$\$");
    is($session->get("SELECT kms.decode_text(1, kms.encode(1, 'x'::text))"), 'x', "an agent that $kind");
    my $backend = $session->get('SELECT pg_backend_pid()');
    $session->quit;
    ok(becomes(sub { $standing->get("SELECT count(*) FROM pg_stat_activity WHERE pid = $backend") == 0 }), '... and its session ends');
}
foreach my $case ([ "an agent that cannot open its keyring", kms_agent_path() . " serve --keyring $folder/none --key-file $folder/none", '1min' ],
    [ 'an agent that is just starting', $agents{'has a passphrase command that leaves something behind'}, '3ms' ])
{
    my ($kind, $command, $time) = @$case;
    for my $i (1 .. 10) {
        my $session = kms_session($node);
        $session->get("SET kms.command = \$\$$command\$\$; SET statement_timeout = '$time'");
        $session->ask(q{SELECT kms.encode(1, 'x')});
        $session->quit;
    }
    is($standing->get("SELECT kms.decode_text(1, kms.encode(1, 'x'::text))"), 'x', "ten sessions with $kind");
}
my $hanging = kms_session($node);
$hanging->get("SET kms.command = 'trap \"\" TERM; while :; do sleep 0.1; done'");
my $waiting = $hanging->get('SELECT pg_backend_pid()');
$hanging->send("SELECT kms.encode(1, 'x');");
ok(becomes(sub { $standing->get("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $waiting") eq 'Extension' }), 'one that never says anything');
$standing->get("SELECT pg_terminate_backend($waiting)");
ok($hanging->answer->{closed}, '... is awaited no longer');

is($standing->get("SELECT kms.decode_text(1, kms.encode(1, 'x'::text))"), 'x', 'a session from before lives on');
$standing->quit;
ok(becomes(sub { !agents_under($unshare) }), 'in the end no agent is left, nor what one has started');
unlike(new_log($node), qr/reinitializing|terminated by signal|outlives/, '... and the postmaster has seen none end');
kill INT => $postmaster;
$server->finish;
done_testing();
