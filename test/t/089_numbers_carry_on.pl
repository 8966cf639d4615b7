# A keyring that was put back gave two different versions of a key one number: version numbers carry on
# from the highest that kms.data_key knows.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use File::Copy qw(copy);
use KmsKeys;
use KmsTest;
use Test::More;

my $keys = test_folder('keys');
my $command = make_keyring($keys, 'other');
my $node = kms_node('numbers', 'kms.command' => $command, 'kms.mode' => 'envelope');

sub put_back {
    copy("$keys/older", "$keys/next") or die $!;
    chmod 0600, "$keys/next" or die $!;
    rename "$keys/next", "$keys/ring" or die $!;
    return;
}

copy("$keys/ring", "$keys/older") or die $!;
kms_admin($keys, 'create', '--purpose', 'wrap', 'kek');
my $session = kms_session($node);
is($session->get("SELECT kms.create_data_key('d', 'kek')"), 1, 'a data key under version 1 of a KEK');
is($session->get("SELECT kms.rotate_kek('kek')"), 2, 'which becomes version 2');
is($session->get("SELECT kms.rotate_kek('kek')"), 3, 'and 3');

put_back();
fails_with($session, "SELECT kms.rotate_key('kek')", 'KM007', 'an agent that has seen them takes no older keyring');
$session->quit;

$session = kms_session($node);
is($session->get("SELECT kms.create_key('kek', purpose => 'wrap')"), 4, 'a key that is made again carries on from what kms.data_key knows');
is($session->get("SELECT kms.rotate_key('kek')"), 5, 'and rotates from there');
is($session->get("SELECT string_agg(version::text, ' ' ORDER BY version) FROM kms.list_keys('kek')"), '4 5', 'with no number twice');
is($session->get("SELECT kms.rotate_key('other')"), 2, 'a key that kms.data_key does not know counts by itself');
is($session->get("SELECT kms.create_key('d')"), 2, 'a key of a data key\'s name carries on from that');
$session->quit;

put_back();
kms_admin($keys, 'create', '--purpose', 'wrap', 'kek');
$session = kms_session($node);
is($session->get("SELECT kms.rotate_key('kek')"), 4, 'one that is there again rotates above all that kms.data_key knows');
$session->quit;

# An agent that does not offer it cannot be told.
put_back();
kms_admin($keys, 'create', '--purpose', 'wrap', 'kek');
my $plan = test_folder('plan');
write_text("$plan/plan", 'hello 1 hide after');
$session = keys_session($node);
$session->get("SET kms.command = '/usr/bin/python3 @{[ example_agent('relay.py') ]} $plan @{[ $command =~ s/^exec //r ]}'");
my $answer = $session->ask("SELECT kms.rotate_key('kek')");
is($answer->{out}, 2, 'an agent that cannot carry on uses a number again');
like($answer->{err}, qr/WARNING: .*version 2 of key "kek" has a number that was used before/, '... with a warning');
$session->quit;

$node->stop;
no_crash($node);
done_testing();
