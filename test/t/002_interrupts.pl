# Cancels, timeouts and terminations while the key agent is awaited: they work at once, in every
# place, and no late reply is taken for another's.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $folder = PostgreSQL::Test::Utils::tempdir;
my $stage = stage_agent($folder);
my $starting = stage_agent($folder, 'start-hang');
my $node = kms_node('interrupts', 'kms.command' => $stage, 'kms.mode' => 'remote', 'kms.keys' => '1=plain');
my $soon = 8;    # seconds, before kms.request_timeout has passed

my $gates = 0;

# Binds local id 2 to a key whose requests are not answered before open_gate().
sub close_gate {
    my ($session) = @_;
    my $gate = 'gate.' . ++$gates;
    $session->get("SELECT kms.set_key(2, '$gate')");
    return $gate;
}

sub open_gate { return write_text("$folder/" . $_[0] =~ s/^gate\.//r, '') }

# Sends SQL and returns once the agent has read its request for $key.
sub send_and_wait {
    my ($session, $key, $sql) = @_;
    $session->send($sql);
    ok(becomes(sub { was_asked($folder, $key) }), "the agent has read a request for $key");
    return;
}

sub cancel { return $node->safe_psql('postgres', "SELECT pg_cancel_backend($_[0])") }

sub answers_soon {
    my ($session, $state, $name) = @_;
    my $began = time;
    my $answer = $session->answer;
    is($answer->{state}, $state, $name) or diag $answer->{err};
    cmp_ok(time - $began, '<', $soon, "$name: at once");
    return $answer;
}

# What stage.py makes of a plaintext shows whose answer it is.
sub goes_on {
    my ($session, $name) = @_;
    my $text = 'text ' . ++$gates;
    is($session->get('SELECT ' . seen_through("kms.encode(1, '$text', 'here')")), $text, $name);
    return;
}

# --- a request that is not answered

{
    my $session = kms_session($node);
    my $gate = close_gate($session);
    send_and_wait($session, $gate, "SELECT kms.encode(2, 'cancelled')");
    my $agent = (children_of($session->pid))[0];
    cancel($session->pid);
    answers_soon($session, '57014', 'pg_cancel_backend');
    open_gate($gate);
    goes_on($session, 'the late reply is dropped');
    is(agent_pid($session), $agent, 'by a connection that lives on');

    my @late = map { close_gate($session) } 1 .. 3;
    for my $key (@late) {
        $session->get("SET kms.keys = '1=plain, 2=$key'; SET statement_timeout = '100ms'");
        fails_with($session, "SELECT kms.encode(2, '$key')", '57014', 'statement_timeout');
        end_timeout($session);
    }
    open_gate($_) for @late;
    goes_on($session, 'three late replies are dropped');
    goes_on($session, 'and not more than those');

    $gate = close_gate($session);
    send_and_wait($session, $gate, "SELECT length(kms.encode(2, repeat('b', 4000000)::bytea))");
    cancel($session->pid);
    answers_soon($session, '57014', 'a large request that was read');
    open_gate($gate);
    goes_on($session, 'a large late reply is dropped');
    is(agent_pid($session), $agent, 'all that by one agent');

    my @halves = map { "halves.half$_" } 1, 2;
    for my $half (@halves) {
        $session->get("SELECT kms.set_key(2, '$half')");
        $session->send("SELECT length(kms.encode(2, repeat('x', 50000)))");
        ok(becomes(sub { !is_idle($session) && was_asked($folder, $halves[0]) }), 'an answer is half there');
        cancel($session->pid);
        answers_soon($session, '57014', 'a cancel in mid-answer');
    }
    write_text("$folder/half$_", '') for 1, 2;
    goes_on($session, 'the other halves are dropped');
    is(agent_pid($session), $agent, 'by the same agent');
    $session->quit;
}

# --- at any moment

{
    my $agent = make_keyring($folder, 'customers');
    my $session = kms_session($node);
    $session->get("SET kms.command = '$agent'; SET kms.keys = '1=customers'");
    my %outcomes;
    for my $size (1, 300000) {
        for my $round (1 .. 30) {
            my $time = 1 + $round % 15;
            my $answer = $session->ask(<<"SQL");
BEGIN;
SET LOCAL statement_timeout = $time;
SELECT count(kms.encode(1, repeat('x', i % $size) || i)) FROM generate_series(1, 1000000) i;
ROLLBACK;
SQL
            my $next = $session->get("SELECT kms.decode_text(1, kms.encode(1, 'round $round'))");
            ++$outcomes{ $answer->{state} . ($next eq "round $round" ? '' : ", then $next") };
        }
    }
    is_deeply(\%outcomes, { 57014 => 60 }, 'sixty timeouts in a stream of requests, and right answers after each');
    $session->quit;
}

{
    my $session = kms_session($node);
    $session->get("SET kms.mode = local; SET kms.keys = '1=plain'");
    $session->get("SET statement_timeout = '200ms'");
    fails_with($session, "SELECT kms.set_key(2, 'gate.local')", '57014', 'a key that does not come');
    fails_with($session, "SELECT kms.encode(2, 'x')", 'KM001', 'is not bound');
    end_timeout($session);
    open_gate('gate.local');
    my ($plain, $other) = map {
        $session->get("SELECT kms.set_key(2, '$_'); SELECT key_tag FROM kms.session_keys WHERE local_id = 2")
    } 'plain', 'gate.local';
    isnt($plain, $other, 'a late key is not taken for another one');
    is($session->get("SELECT kms.decode_text(1, kms.encode(1, 'x'))"), 'x', 'local mode goes on');
    $session->quit;
}

# --- what ends the session

{
    my $session = kms_session($node);
    $session->get("SELECT kms.set_key(2, 'hang')");
    send_and_wait($session, 'hang', "SELECT kms.encode(2, 'x')");
    $node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . $session->pid . ')');
    ok(answers_soon($session, '57P01', 'pg_terminate_backend')->{closed}, 'the session is closed');
    ok(becomes(sub { !is_alive($session->pid) }, $soon), 'the backend is gone');
}

{
    my $session = kms_session($node);
    my $gate = close_gate($session);
    $session->get("SET client_connection_check_interval = '50ms'");
    send_and_wait($session, $gate, "SELECT kms.encode(2, 'x')");
    $session->kill;
    ok(becomes(sub { !is_alive($session->pid) }, $soon), 'the loss of the client ends the backend');
    open_gate($gate);
}

# --- an agent that does not start

{
    my $session = kms_session($node);
    my $begin = sub {
        $session->get("SET kms.command = '$starting'; SET kms.start_timeout = '60s'");
        $session->send("SELECT kms.encode(1, 'x')");
        ok(becomes(sub { children_of($session->pid) }), 'an agent is starting');
    };
    $begin->();
    cancel($session->pid);
    answers_soon($session, '57014', 'pg_cancel_backend while the agent starts');
    $session->get("SET statement_timeout = '200ms'");
    fails_with($session, "SELECT kms.encode(1, 'x')", '57014', 'statement_timeout while the agent starts');
    end_timeout($session);
    $session->get("SET kms.start_timeout = '200ms'");
    my $answer = fails_with($session, "SELECT kms.encode(1, 'x')", 'KM008', 'kms.start_timeout');
    like($answer->{detail}, qr/did not answer within 200 ms, before the handshake/, 'the reason is told');
    $session->get("RESET kms.start_timeout; SET kms.command = '$stage'");
    goes_on($session, 'an agent that starts serves at once');
    $begin->();
    $node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . $session->pid . ')');
    answers_soon($session, '57P01', 'pg_terminate_backend while the agent starts');
    ok(becomes(sub { !is_alive($session->pid) }, $soon), 'the backend is gone');
}

{
    my $session = kms_session($node);
    $session->get("SET kms.command = 'exit 3'");
    fails_with($session, "SELECT kms.encode(1, 'x')", 'KM007', 'an agent that cannot start') for 1 .. 4;
    $session->get("SET kms.command = '$stage'");
    goes_on($session, 'another command is not waited for');
    $session->quit;
}

# --- inside blocks that catch the error

{
    my $session = kms_session($node);
    my $agent = do { goes_on($session, 'an agent'); agent_pid($session) };
    my $gate = close_gate($session);
    my $open = "$folder/" . $gate =~ s/^gate\.//r;
    my $caught = $session->ask(<<"SQL");
SET statement_timeout = '300ms';
DO \$\$
BEGIN
    PERFORM kms.encode(2, 'too late');
EXCEPTION WHEN query_canceled THEN
    COPY (SELECT) TO '$open';
    RAISE NOTICE 'then: %', @{[ seen_through("kms.encode(1, 'in the handler')") ]};
END
\$\$;
RESET statement_timeout;
SQL
    is($caught->{state}, '', 'a timeout is caught in PL/pgSQL');
    like($caught->{err}, qr/then: in the handler/, 'the handler itself gets right answers');
    goes_on($session, 'and what comes after');

    $gate = close_gate($session);
    $open = "$folder/" . $gate =~ s/^gate\.//r;
    $session->get("SET kms.request_timeout = '700ms'");
    is($session->get(<<"SQL"), 'saved', 'in a subtransaction');
CREATE FUNCTION pg_temp.attempt() RETURNS text LANGUAGE plpgsql AS \$\$
BEGIN
    BEGIN
        PERFORM kms.encode(2, 'too late');
    EXCEPTION WHEN SQLSTATE 'KM008' THEN
        COPY (SELECT) TO '$open';
    END;
    RETURN @{[ seen_through("kms.encode(1, 'saved')") ]};
END
\$\$;
SELECT pg_temp.attempt();
SQL
    $session->get('RESET kms.request_timeout');
    $agent = agent_pid($session);    # another, unless the one before was just in time

    $gate = close_gate($session);
    $session->get("BEGIN; SAVEPOINT before");
    send_and_wait($session, $gate, "SELECT kms.encode(2, 'x')");
    cancel($session->pid);
    answers_soon($session, '57014', 'after a savepoint');
    $session->get('ROLLBACK TO before');
    open_gate($gate);
    goes_on($session, 'the transaction goes on');
    $session->get('COMMIT');

    $gate = close_gate($session);
    $session->get(<<"SQL");
BEGIN;
DECLARE c CURSOR FOR SELECT @{[ seen_through('kms.encode(1 + i % 2, i::text)') ]} FROM generate_series(0, 9) i;
SQL
    is($session->get('FETCH c'), '0', 'a row of a cursor');
    send_and_wait($session, $gate, 'FETCH c');
    cancel($session->pid);
    answers_soon($session, '57014', 'in a cursor');
    open_gate($gate);
    $session->get('ROLLBACK');
    goes_on($session, 'after the cursor');
    is(agent_pid($session), $agent, 'all that by one agent');
    $session->quit;
}

# --- deadlines of kms

{
    my $session = kms_session($node);
    my $gate = close_gate($session);
    $session->get("SET kms.request_timeout = '200ms'");
    my $answer = fails_with($session, "SELECT kms.encode(2, 'x')", 'KM008', 'kms.request_timeout');
    like($answer->{detail}, qr/did not answer within 200 ms/, 'the reason is told');
    open_gate($gate);
    $session->get('RESET kms.request_timeout');
    goes_on($session, 'the session goes on');
    $session->quit;
}

# --- a body that the agent does not read

for my $way ('pg_cancel_backend', 'kms.request_timeout') {
    my $session = kms_session($node);
    goes_on($session, 'an agent');
    my $agent = agent_pid($session);
    $session->get("SELECT kms.set_key(2, 'deaf')");
    $session->get("SET kms.request_timeout = '3s'") if $way =~ /timeout/;
    $session->send("SELECT kms.encode(2, repeat('b', 8000000)::bytea)");
    ok(becomes(sub { process_status($session->pid)->{State} =~ /^S/ && !is_idle($session) }), 'the pipe is full');
    cancel($session->pid) if $way =~ /cancel/;
    answers_soon($session, $way =~ /cancel/ ? '57014' : 'KM008', "$way while a request is written");
    $session->get('RESET kms.request_timeout');
    goes_on($session, 'the next call works');
    isnt(agent_pid($session), $agent, 'with another agent');
    $session->quit;
}

sub is_idle {
    my ($session) = @_;
    return $node->safe_psql('postgres',
        "SELECT coalesce(wait_event, '') NOT IN ('Extension', 'KmsAgent') FROM pg_stat_activity WHERE pid = "
            . $session->pid) eq 't';
}

# --- what must not disturb

{
    my $session = kms_session($node);
    $session->get("SET lock_timeout = '50ms'; SET idle_in_transaction_session_timeout = '50ms'");
    my $gate = close_gate($session);
    send_and_wait($session, $gate, 'SELECT ' . seen_through("kms.encode(2, 'undisturbed')"));
    $node->reload;
    kill USR1 => $session->pid;
    $node->safe_psql('postgres', 'SELECT pg_log_backend_memory_contexts(' . $session->pid . ')');
    sleep 0.3;
    open_gate($gate);
    is($session->answer->{out}, 'undisturbed', 'other timeouts, a reload and signals do not disturb');
    goes_on($session, 'nor afterwards');
    $session->quit;
}

# --- the postmaster's death

{
    my $session = kms_session($node);
    $session->get("SELECT kms.set_key(2, 'hang')");
    $session->send("SELECT kms.encode(2, 'x')");
    ok(becomes(sub { children_of($session->pid) && !is_idle($session) }), 'an agent is awaited');
    $node->kill9;
    ok(becomes(sub { !is_alive($session->pid) }, $soon), "the postmaster's death ends the backend");
    ok($session->answer->{closed}, 'and the session');
}

no_crash($node);
done_testing();
