# Many agents that do not end with their input: they are given their time, ended, and reaped, while
# the session goes on.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use Test::More;

my $folder = test_folder('folder');
write_text("$folder/k", 'k' x 32);
my $agent = 'sh ' . example_agent('agent.sh') . " $folder; exec sleep 5; ";
my $node = kms_node('stubborn', 'kms.keys' => '1=k');
my $session = kms_session($node);

sub restart {
    my ($times) = @_;
    $session->get(<<"SQL");
DO \$\$ BEGIN
    FOR i IN 1..$times LOOP
        PERFORM set_config('kms.command', '$agent' || clock_timestamp(), false);
        PERFORM kms.encode(1, 'x'::text);
    END LOOP;
END \$\$;
SQL
    return;
}

new_log($node);
restart(20);
cmp_ok(scalar children_of($session->pid), '>', 1, 'of twenty agents those that were given up last outlive their input');
ok(becomes(sub { children_of($session->pid) == 1 }), '... are ended and reaped while the session is idle');
unlike(new_log($node), qr/does not end/, '... which is nothing to tell of');

restart(100);
is($session->get("SELECT kms.decode_text(1, kms.encode(1, 'x'::text))"), 'x', 'the session goes on with a hundred');
ok(becomes(sub { children_of($session->pid) == 1 }), '... and in the end none is left, not as a zombie either');

$session->get("SET kms.command = 'exec sleep 1000'; SET kms.start_timeout = '200ms'");
fails_with($session, q{SELECT kms.encode(1, 'x')}, 'KM008', 'an agent that never says anything');
my ($silent) = children_of($session->pid);
ok($silent && kill(0, $silent), '... has a while to end by itself');
$session->quit;
ok(becomes(sub { !kill 0, $silent }), '... or until its session ends');
$node->stop;
no_crash($node);
done_testing();
