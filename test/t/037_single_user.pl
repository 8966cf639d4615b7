# Single-user mode, where there is no postmaster: for repairs, keys work there too.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run ();
use KmsKeys;
use KmsTest;
use Test::More;

my $keys = test_folder('keys');
my $command = make_keyring($keys, 'k');
my $node = kms_node('single_user', 'kms.command' => $command, 'kms.keys' => '1=k');
my $sealed = $node->safe_psql('postgres', "SELECT kms.encode(1, 'sealed before')");
$node->stop;

foreach my $mode ('local', 'remote') {
    my $sql = "SELECT kms.decode_text(1, '$sealed') AS opened\nSELECT kms.decode_text(1, kms.encode(1, 'and now')) AS opened\n"
        . "SELECT kms.encode(2, 'x')\nSELECT kms.decode_text(1, '$sealed') AS again\n";
    my ($out, $err);
    my @postgres = ($node->installed_command('postgres'), '--single', '-D', $node->data_dir, '-c', "kms.mode=$mode", 'postgres');
    ok(IPC::Run::run(\@postgres, '<', \$sql, '>', \$out, '2>', \$err, IPC::Run::timeout(60)), "$mode mode: it ends well");
    my @opened = $out =~ /1: (\w+ = "[^"]*")/g;
    is("@opened", 'opened = "sealed before" opened = "and now" again = "sealed before"', '... and opens and seals, after an error too')
        or diag "$out$err";
    like($err, qr/KM001|no key is bound to local id 2/, '... which it tells');
    unlike($err, qr/PANIC|TRAP|terminated/, '... and does not crash');
}
ok(becomes(sub { !grep { /\Q$keys\E/ } map { slurp_if_there($_) } glob '/proc/[0-9]*/cmdline' }), 'no agent is left');
done_testing();
