# The rule for sudo that doc/administration.md shows: it starts the agent that the page names, and
# nothing else. test/check puts it in force: KMS_TEST_DOCUMENTED_USER, KMS_TEST_DOCUMENTED_DIR.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my ($user, $folder) = @ENV{qw(KMS_TEST_DOCUMENTED_USER KMS_TEST_DOCUMENTED_DIR)};
plan skip_all => 'no second user: KMS_TEST_DOCUMENTED_USER is not set (see test/check)' unless $user && $folder;

my $page = slurp_file("$FindBin::RealBin/../../doc/administration.md");
my ($command) = $page =~ /^    kms\.command = '(sudo [^']*)'$/m or die 'the page shows no kms.command with sudo';
my $agent = kms_agent_path();
$command =~ s/\bkms_keys\b/$user/;
$command =~ s{ /usr/lib/\S*/kms-agent}{ $agent};
$command =~ s{/srv/\w+/}{$folder/}g;

my $node = kms_node('sudoers', 'kms.command' => $command, 'kms.keys' => '1=theirs');
my $session = kms_session($node);
ok(!-r $folder, 'the server\'s user cannot read the keyring\'s folder');
is($session->get("SELECT kms.decode_text(1, kms.encode(1, 'x'))"), 'x', 'the documented command serves');

my ($sudo) = $command =~ /^(.*?) \S*kms-agent/;
my @others = (
    "$command --passphrase-command id",
    $command =~ s/--key-file \S+/--passphrase-command id/r,
    $command =~ s/ serve / list /r,
    $command =~ s/ serve .*/ serve --ephemeral/r,
    $command =~ s{/ring\b}{/other}r,
    "$sudo /bin/sh -c id",
);
SKIP: {
    skip 'the user of this run may do anything by sudo', 2 * @others if !system 'sudo -n true 2>/dev/null';
    foreach my $other (@others) {
        my $name = $other =~ s/\Q$folder\E/.../gr;
        $session->get('SET kms.command = ' . sql_quote($other));
        my $answer = fails_with($session, "SELECT kms.encode(1, 'x')", 'KM007', "not allowed: $name");
        like($answer->{detail}, qr/sudo: a password is required/, '... by sudo');
    }
}
$session->quit;
$node->stop;
no_crash($node);
done_testing();
