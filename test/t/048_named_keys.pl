# Keys that are named a row: an array's keys come in one exchange, and what becomes of one that cannot
# be had, of an agent that fails, and of a cancel.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $faulty = 'exec /usr/bin/python3 -IS ' . example_agent('faulty.py');
my $node = kms_node('named_keys');
my $session = kms_session($node);
$session->get("SET kms.request_timeout = '2s'");

# A new one each time.
my $agents = 0;
sub use_agent { $session->get(sprintf "SET kms.command = '$faulty keys %d agent=%d'", $_[0], ++$agents); return }
sub names { return join ',', map { "'k$_'" } @_ }
sub sealing { return sprintf 'SELECT array_length(kms.encode_with_array(ARRAY[%s], array_fill(\'x\'::text, ARRAY[%d])), 1)', names(@_), scalar @_ }
sub with_bad { my ($bad, $at) = @_; return sealing(1 .. 20) =~ s/'k$at'/'$bad'/r }

foreach my $mode (qw(local envelope)) {
    $session->get("SET kms.mode = '$mode'");
    use_agent(0);
    if ($mode eq 'envelope') {
        $session->get("SELECT count(kms.create_data_key('k' || n, 'kek', force => true)) FROM generate_series(1, 60) n");
    }

    # The agent answers nothing before it has been asked for so many.
    use_agent(20);
    is($session->get(sealing(1 .. 20)), 20, "$mode mode: twenty keys are asked for at once");
    is($session->get(sealing(map { 1 + $_ % 20 } 1 .. 100)), 100, '... and then held');
    fails_with($session, sealing(1 .. 20, 21), 'KM008', '... but for one that is asked for alone');
    use_agent(20);
    is($session->get(sealing(map { ($_, $_, $_) } 21 .. 40)), 60, '... each of them once');
    is($session->get(sprintf 'SELECT kms.decode_with_text_array(ARRAY[%1$s], kms.encode_with_array(ARRAY[%1$s], ARRAY[%1$s]))::text', names(41 .. 60)),
        '{' . join(',', map { "k$_" } 41 .. 60) . '}', '... and opened with what was fetched to seal');
    $session->get('SET kms.max_cached_keys = 10');
    use_agent(10);
    is($session->get(sealing(1 .. 40)), 40, '... as many at a time as may be held');
    $session->get('RESET kms.max_cached_keys');
}

# A key that cannot be had is its element's error; those before it are asked for once.
$session->get("SET kms.mode = 'local'");
foreach my $case ([ '!denied', 'KM003' ], [ '!not-found', 'KM002' ], [ '!disabled', 'KM011' ], [ '!version', 'KM009' ], [ '!long', 'KM009' ],
    [ '!die', 'KM007' ], [ '!hang', 'KM008' ])
{
    my ($bad, $state) = @$case;
    use_agent(0);
    my $error = fails_with($session, with_bad($bad, 11), $state, "$bad in the middle of an array");
    like($error->{err}, qr/array element \[11\]/, '... names its element');
    use_agent(0) if $bad eq '!hang';
    ok(becomes(sub { $session->ask(sealing(1 .. 20))->{out} eq '20' }), '... and the next array is sealed');
}

$session->get("SET kms.request_timeout = '60s'");
use_agent(20);
$session->send(sealing(1 .. 19));
ok(becomes(sub { $node->safe_psql('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = " . $session->pid) eq 't' }),
    'keys are awaited');
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
is($session->answer->{state}, '57014', '... and can be cancelled');
use_agent(0);
is($session->get(sealing(1 .. 20)), 20, '... and sealed with afterwards');

$session->quit;
$node->stop;
no_crash($node);
done_testing();
