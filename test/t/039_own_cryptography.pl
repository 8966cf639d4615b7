# Cryptography that fails in PostgreSQL itself is not put down to the key agent: with an OpenSSL that
# is configured to have random numbers, and no algorithm else.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use Test::More;

my $keys = test_folder('keys');
my $good = 'unset OPENSSL_CONF; ' . make_keyring($keys, 'k');
my $node = kms_node('own_cryptography', 'kms.command' => $good, 'kms.keys' => '1=k');
my $sealed = $node->safe_psql('postgres', "SELECT kms.encode(1, 'x')");
$node->stop;

my $configuration = write_text("$keys/openssl.cnf", <<'CONFIGURATION');
openssl_conf = all
[all]
alg_section = algorithms
random = random
[algorithms]
default_properties = provider=none
[random]
random = CTR-DRBG
cipher = AES-256-CTR
properties = provider=default
seed = SEED-SRC
seed_properties = provider=default
CONFIGURATION
{
    local $ENV{OPENSSL_CONF} = $configuration;
    $node->start;
}

my $session = kms_session($node);
foreach my $sql ("SELECT kms.encode(1, 'x')", "SELECT kms.decode(1, '$sealed')", "SELECT kms.try_decode(1, '$sealed')") {
    my $answer = fails_with($session, $sql, 'XX000', "local mode: $sql" =~ s/'\\x.*'/'...'/r);
    like($answer->{message}, qr/ with local id 1 \(key "k"\): internal error$/, '... says so');
    isnt($answer->{detail} // '', '', '... and why');
    unlike(join(' ', map { $_ // '' } @$answer{qw(message detail hint)}), qr/agent/, '... and does not blame the agent');
}
my $first = agent_pid($session);
$session->get("SET kms.mode = 'remote'");
is($session->get("SELECT kms.decode_text(1, '$sealed')"), 'x', 'remote mode does without it');
is(agent_pid($session), $first, '... with the agent that was there');

$session->get("SET kms.command = " . sql_quote($good =~ s/^unset OPENSSL_CONF; //r));
my $answer = fails_with($session, "SELECT kms.encode(1, 'x')", 'KM007', 'an agent without cryptography is what fails');
like($answer->{message}, qr/agent/, '... and is named');
$session->quit;

$node->stop;
no_crash($node);
done_testing();
