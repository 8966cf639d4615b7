# The key agent as a child process of a backend: what it inherits, when it is started again, and
# that it ends, whichever way its session does.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir;
my $serve = make_keyring($folder, 'customers');
my $stage = stage_agent($folder);
my $node = kms_node('agent_process',
    'kms.command' => $serve, 'kms.keys' => '1=customers', restart_after_crash => 'on');

sub encode { return $_[0]->get("SELECT kms.encode($_[1], 'text')") }

# A session in remote mode whose agent is stage.py.
sub on_stage {
    my (@arguments) = @_;
    my $session = kms_session($node);
    my $command = stage_agent($folder, @arguments);
    $session->get("SET kms.mode = remote; SET kms.command = '$command'; SET kms.keys = '1=plain'");
    return $session;
}

# --- what the child inherits

{
    my $look = 'while read -r line; do printf "%s\n" "$line"; done < /proc/$$/status';
    my $session = kms_session($node);
    $session->get("SET kms.command = '$look > $folder/status; $serve'");
    encode($session, 1);
    my $pid = agent_pid($session);
    my %signals = PostgreSQL::Test::Utils::slurp_file("$folder/status") =~ /^(Sig\w+):\s*(\w+)$/mg;
    is($signals{SigBlk}, '0' x 16, 'the agent starts with no signal blocked');
    # 32 and 33 are the C library's own, which posix_spawn leaves ignored.
    is($signals{SigIgn} =~ s/180000000$/000000000/r, '0' x 16, 'and with none ignored');

    my $line = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/stat") =~ s/^.*\) //r;
    my (undef, $parent, $group, $own_session) = split / /, $line;
    is($parent, $session->pid, 'it is a child of the backend');
    is($group, $pid, 'it leads a process group of its own');
    is($own_session, $pid, 'it leads a session of its own');
    $session->quit;
}

{
    my $session = on_stage();
    encode($session, 1);
    my $pid = agent_pid($session);
    my $descriptors = open_descriptors($pid);
    is(join(' ', sort keys %$descriptors), '0 1 2', 'the agent has no descriptors but 0, 1 and 2');
    like($descriptors->{$_}, qr/^pipe:/, "descriptor $_ is a pipe") for 0 .. 2;
    unlike(PostgreSQL::Test::Utils::slurp_file("/proc/$pid/environ"), qr/stage\.py|kms\.|plain/,
        'nothing of ours is in its environment');
    $session->quit;
}

# --- signals to the backend's group

{
    my $session = on_stage();
    encode($session, 1);
    my $pid = agent_pid($session);
    $session->get("SELECT kms.set_key(2, 'gate.cancelled')");
    $session->send("SELECT kms.encode(2, 'late')");
    ok(becomes(sub { was_asked($folder, 'gate.cancelled') }), 'the agent has the request');
    kill INT => -$session->pid;
    is($session->answer->{state}, '57014', 'a cancel of the whole process group cancels the query');
    ok(is_alive($pid), 'and leaves the agent alone');
    write_text("$folder/cancelled", '');
    encode($session, 1);
    is(agent_pid($session), $pid, 'which goes on to serve');
    $session->quit;
}

# --- an agent in sh

{
    write_text("$folder/sh-key", 'k' x 32);
    my $session = kms_session($node);
    $session->get("SET kms.command = 'exec sh @{[ example_agent('agent.sh') ]} $folder'");
    $session->get("SET kms.keys = '1=sh-key'");
    is($session->get("SELECT kms.decode_text(1, kms.encode(1, 'from sh'))"), 'from sh', 'an agent in sh');
    $session->get("SET kms.command = 'exec sh @{[ example_agent('agent.sh') ]} $folder < /dev/stdin'");
    is($session->get("SELECT kms.decode_text(1, kms.encode(1, 'again'))"), 'again',
        'an agent in sh that opens /dev/stdin');
    $session->quit;
}

# --- standard error

{
    new_log($node);
    my $session = on_stage();
    my $answer = $session->ask("SELECT kms.set_key(2, 'flood.1000000'); SELECT kms.encode(2, 'x')");
    is($answer->{err}, '', 'a flood of 1 MB on standard error does not block the agent, nor show in SQL');
    my $pid = agent_pid($session);
    my $log = new_log($node);
    my @lines = $log =~ /LOG: .*kms agent\[$pid\]: (z{99})$/mg;
    cmp_ok(scalar @lines, '>', 10, 'its lines are in the log, with a prefix');
    cmp_ok(scalar @lines, '<=', 1000, 'not all of them');
    like($log, qr/kms agent\[$pid\]: \(\d+ more lines were dropped\)/, 'what was dropped is counted');
    $session->get(q{DO $$ BEGIN PERFORM kms.encode(1, 'secret'), kms.encode(2, 'secret'); END $$});
    unlike(new_log($node), qr/(?:STATEMENT|CONTEXT): .*secret/, '... and queries that succeed are not logged for their sake');
    $session->quit;
}

{
    my $session = kms_session($node);
    my $shout = 'printf "%02000d\n\033[31mred\nlast words" 7 >&2';
    $session->get("SET kms.command = '$shout; exit 3'");
    fails_with($session, "SELECT kms.encode(1, 'x')", 'KM007', 'an agent that prints and leaves');
    my $log = new_log($node);
    like($log, qr/kms agent\[\d+\]: 0{512}$/m, 'a long line is cut');
    like($log, qr/kms agent\[\d+\]: \?\[31mred$/m, 'a terminal escape is made harmless');
    like($log, qr/kms agent\[\d+\]: last words$/m, 'an unfinished line is a line');
    $session->get(q{SET kms.command = 'printf "%0300d" 7 >&2; exit 3'});
    my $answer = fails_with($session, "SELECT kms.encode(1, 'x')", 'KM007', 'an agent that leaves with a long line');
    like($answer->{detail}, qr/standard error: 0{256}$/, '... of which a part is shown');
    $session->quit;
}

{
    my $key = 'K3y-' . 'q' x 28;
    write_text("$folder/known", $key);
    my $session = kms_session($node);
    $session->get("SET log_min_messages = debug5; SET client_min_messages = debug5");
    $session->get("SET kms.command = 'exec sh @{[ example_agent('agent.sh') ]} $folder'");
    my $shown = $session->ask("SET kms.keys = '1=known'; SELECT kms.decode(1, kms.encode(1, 'x'))")->{err};
    $shown .= $session->ask("SELECT kms.decode(1, kms.encode(1, repeat('y', 600)::bytea, '\\x01'), '\\x02')")->{err};
    $shown .= new_log($node);
    like($shown, qr/tampered with/, 'with everything logged');
    my $hex = unpack 'H*', $key;
    unlike($shown, qr/\Q$key\E|$hex/i, 'no key is in a log or a message');
    unlike($shown, qr/yyyy|79797979/, 'and no plaintext');
    $session->quit;
}

# --- gone and started again

{
    my $session = on_stage();
    encode($session, 1);
    my $first = agent_pid($session);
    kill KILL => $first;
    ok(becomes(sub { !is_alive($first) }), 'an idle agent is killed');
    is($session->get("SELECT kms.decode_text(1, kms.encode(1, 'x'))"), 'x', 'the next use does not notice');
    my $second = agent_pid($session);
    isnt($second, $first, 'another agent serves');
    like(new_log($node), qr/the agent with pid $first has ended while it was idle/, 'the log tells');
    ok(becomes(sub { !%{ process_status($first) } }), 'the first is reaped');

    $session->get("SELECT kms.set_key(2, 'gate.never')");
    $session->send("SELECT kms.encode(2, 'x')");
    ok(becomes(sub { was_asked($folder, 'gate.never') }), 'a request is under way');
    kill KILL => $second;
    my $answer = $session->answer;
    is($answer->{state}, 'KM007', 'an agent killed in use is unavailable');
    like($answer->{detail}, qr/killed by signal 9/, 'the reason is told');
    # The second that was lost within a second is left alone for a while.
    ok(becomes(sub { $session->ask("SELECT kms.decode_text(1, kms.encode(1, 'y'))")->{out} eq 'y' }), 'the session goes on');

    my $third = agent_pid($session);
    $session->get("SET kms.command = '$stage '");
    encode($session, 1);
    isnt(agent_pid($session), $third, 'another kms.command starts another agent');
    ok(becomes(sub { !is_alive($third) }), 'and ends the one before');
    $session->quit;
}

{
    my $session = kms_session($node);
    encode($session, 1);
    my $first = agent_pid($session);
    $node->append_conf('postgresql.conf', "kms.command = '$serve --'");
    $node->reload;
    ok(becomes(sub { $session->get('SHOW kms.command') =~ / --$/ }), 'kms.command changes by reload');
    ok($session->get("SELECT kms.decode_text(1, kms.encode(1, 'z'))") eq 'z', 'and a session follows');
    isnt(agent_pid($session), $first, 'by another agent');
    $session->quit;
}

# --- nothing is left of three hundred of them

{
    my $session = kms_session($node);
    $session->get("SET kms.mode = local; SET kms.keys = '1=sh-key'");
    my $agent = 'exec sh ' . example_agent('agent.sh');
    my $restart = sub {
        my ($from, $to) = @_;
        $session->get(<<"SQL");
DO \$\$ BEGIN
    FOR i IN $from..$to LOOP
        PERFORM set_config('kms.command', '$agent $folder ' || i, false);
        PERFORM kms.encode(1, 'x');
    END LOOP;
END \$\$;
SQL
    };
    $restart->(1, 3);
    my $before = open_descriptors($session->pid);
    $restart->(4, 303);
    is($session->get('SELECT starts FROM kms.status()'), 303, 'an agent was started 303 times');
    is(scalar keys %{ open_descriptors($session->pid) }, scalar keys %$before, 'no descriptor is leaked');
    ok(becomes(sub { children_of($session->pid) == 1 }), 'one child is left, and no zombie')
        or diag `ps -o pid,ppid,stat,args -p @{[ join ',', children_of($session->pid) ]}`;
    $session->quit;
}

# --- whether it answers

{
    my $session = kms_session($node);
    my $ring = PostgreSQL::Test::Utils::tempdir;
    $session->get("SET kms.command = '@{[ make_keyring($ring, 'k') ]}'");
    cmp_ok($session->get('SELECT kms.ping()'), '>', 0, 'an agent is started, and its answer takes some time');
    my $agent = agent_pid($session);
    kill KILL => $agent;
    ok(becomes(sub { !is_alive($agent) }), 'an agent that has died');
    is($session->get('SELECT running FROM kms.status()'), 't', '... is not noticed by who does not ask it');
    cmp_ok($session->get('SELECT kms.ping()'), '>', 0, '... and is replaced for who does');
    kill STOP => agent_pid($session);
    $session->get("SET kms.request_timeout = '200ms'");
    fails_with($session, 'SELECT kms.ping()', 'KM008', 'one that is stopped does not answer');
    kill CONT => agent_pid($session);
    $session->get("SET kms.command = 'exit 4'; RESET kms.request_timeout");
    fails_with($session, 'SELECT kms.ping()', 'KM007', 'one that does not start');
    fails_with($session, "SET kms.command = '$stage'; SELECT kms.ping()", 'KM010', 'one that does not offer it');
    $session->quit;
}

# --- the end of the session

sub ends_with_session {
    my ($name, $end) = @_;
    my $session = kms_session($node);
    encode($session, 1);
    my $pid = agent_pid($session);
    ok(is_alive($pid), "an agent before $name");
    $end->($session);
    ok(becomes(sub { !is_alive($pid) }), "$name ends the agent");
    $session->quit;
    return;
}

ends_with_session('the end of the session', sub { $_[0]->quit });
ends_with_session('pg_terminate_backend',
    sub { $node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . $_[0]->pid . ')') });
ends_with_session('a backend killed by KILL', sub { kill KILL => $_[0]->pid });
ok($node->poll_query_until('postgres', 'SELECT true'), 'the server is back');
ends_with_session('pg_ctl stop -m fast', sub { $node->stop('fast') });
$node->start;
ends_with_session('pg_ctl stop -m immediate', sub { $node->stop('immediate') });
$node->start;

# --- agents that do not want to end

{
    my $session = on_stage('ignore-end', 'ignore-term', 'child');
    encode($session, 1);
    my $pid = agent_pid($session);
    my ($child) = children_of($pid);
    ok($child, 'an agent with a child of its own');
    $session->get("SET kms.command = '$stage'");
    encode($session, 1);
    ok(is_alive($pid), 'it ignores the end of its input');
    ok(becomes(sub { !is_alive($pid) }), 'and TERM, but not KILL, while the session is idle');
    ok(becomes(sub { !is_alive($child) }), 'nor does its child survive');
    ok(becomes(sub { !%{ process_status($pid) } }), 'it is reaped');
    $session->quit;
}

{
    my $session = on_stage('ignore-end');
    encode($session, 1);
    my ($backend, $pid) = ($session->pid, agent_pid($session));
    $session->quit;
    ok(becomes(sub { !is_alive($backend) }), 'a session ends');
    ok(!is_alive($pid), '... and not before its agent');
}

$node->stop;
no_crash($node);
done_testing();
