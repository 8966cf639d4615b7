# Envelope mode with key agents that wrap and unwrap wrongly: each fault has its SQLSTATE, one key's
# fault is not another's, no data key is stored that does not open, and a right agent serves next.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsTest;
use Test::More;

sub faulty { return join ' ', 'exec /usr/bin/python3 -IS', example_agent('faulty.py'), @_ }

my $right = faulty('keys');
my $node = kms_node('faulty_kek', 'kms.command' => $right, 'kms.mode' => 'envelope');
my $session = kms_session($node);
$session->get("SELECT kms.create_data_key(name, 'kek', force => true) FROM unnest('{orders,people}'::text[]) name");
$session->get("SELECT kms.create_data_key('short', 'kek', 'aes-192-gcm', force => true)");
my $sealed = $session->get("SELECT kms.encode_with('orders', 'still here'::text)");

# A session that holds nothing, with this agent.
sub fresh_session {
    my ($command) = @_;
    $session->quit;
    $session = kms_session($node);
    $session->get("SET kms.command = '$command'");
    return;
}

sub serves {
    my ($name) = @_;
    fresh_session($right);
    return is($session->get("SELECT kms.decode_with_text('orders', '$sealed')"), 'still here', "then right: $name");
}

my %fault = (
    version => 'KM009', long => 'KM009', other => 'XX001', short => 'XX001', empty => 'XX001', die => 'KM007',
    'not-found' => 'KM002', denied => 'KM003', 'wrong-key' => 'KM002', corrupt => 'XX001', invalid => 'XX001',
    unavailable => 'KM007', unsupported => 'KM010', disabled => 'KM011', failed => 'KM007',
);
foreach my $fault (sort keys %fault) {
    my $state = $fault{$fault};
    foreach my $use ("kms.decode_with('orders', '$sealed')", "kms.encode_with('people', 'x'::text)",
        "kms.encode_with_array('{people,orders}'::text[], '{x,y}'::text[])", "kms.set_key(1, 'orders')")
    {
        fresh_session(faulty('keys', 0, "unwrap=$fault"));
        # To bind a key whose current version is disabled is a warning.
        my $expected = $state eq 'KM011' && $use =~ /set_key/ ? '' : $state;
        fails_with($session, "SELECT $use", $expected, "unwrap=$fault: " . $use =~ s/\(.*//r);
    }
    serves("unwrap=$fault");
}
fresh_session(faulty('keys', 0, 'unwrap=hang'));
$session->get("SET kms.request_timeout = '300ms'");
fails_with($session, "SELECT kms.encode_with('people', 'x'::text)", 'KM008', 'unwrap=hang');
serves('unwrap=hang');

# A key of the wrong length is none of its row, whatever length another algorithm has.
fresh_session(faulty('keys', 0, 'unwrap=short'));
is($session->get("SELECT length(kms.encode_with('short', 'x'::text))"), 38, 'a key that has the length of its algorithm');

# --- what one key suffers is not another's

$session->get("UPDATE kms.data_key SET wrapped = '!disabled' WHERE name = 'people'");
serves('another row is broken');
fails_with($session, "SELECT kms.encode_with('people', 'x'::text)", 'KM011', 'the key that the agent refuses');
fails_with($session, "SELECT kms.encode_with_array('{orders,people,short}'::text[], '{x,y,z}'::text[])", 'KM011',
    '... among others');
is($session->get("SELECT array_length(kms.encode_with_array('{orders,short}'::text[], '{x,z}'::text[]), 1)"), 2, 'the others alone');

# --- no data key is stored that does not open

my $rows = $session->get('SELECT count(*) FROM kms.data_key');
my %wrapping = (
    'wrap=version' => 'KM009', 'wrap=long' => 'KM009', 'wrap=empty' => 'KM009', 'wrap=denied' => 'KM003', 'wrap=die' => 'KM007',
    'wrap=other' => 'KM005', 'wrap=short' => 'KM005', 'unwrap=other' => 'KM009', 'unwrap=short' => 'KM009',
    'unwrap=long' => 'KM009', 'unwrap=version' => 'KM009', 'unwrap=denied' => 'KM003',
);
foreach my $fault (sort keys %wrapping) {
    foreach my $change ("create_data_key('new', 'kek', force => true)", "rotate_data_key('orders')") {
        fresh_session(faulty('keys', 0, $fault));
        fails_with($session, "SELECT kms.$change", $wrapping{$fault}, "$fault: $change");
    }
}
foreach my $offered ('get encrypt decrypt', 'get wrap', 'unwrap') {
    fresh_session(faulty('offer', qq{"$offered"}, '""'));
    fails_with($session, "SELECT kms.create_data_key('new', 'kek', force => true)", 'KM010', "an agent that offers only $offered");
}
serves('data keys that could not be made');
is($session->get('SELECT count(*) FROM kms.data_key'), $rows, 'none of them was stored');

$session->quit;
$node->stop;
no_crash($node);
done_testing();
