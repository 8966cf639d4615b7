# Blobs of a bound key that cannot be had are not taken for somebody else's: the listing tells of them,
# reading names what is in the way, and one blob does not answer for the others.
use strict;
use warnings FATAL => 'all';

use File::Copy qw(copy);
use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use Test::More;

my $ring = test_folder('ring');
my $plan = test_folder('plan');
my $agent = make_keyring($ring, 'plain', 'agents', 'kek:wrap');
kms_admin($ring, 'create', '--no-export', 'vault');
my $relay = 'exec /usr/bin/python3 ' . example_agent('relay.py') . " $plan " . ($agent =~ s/^exec //r);
my $node = kms_node('out_of_reach', 'kms.command' => $agent);
my $session = kms_session($node);
my $list = 'SELECT count(*) FROM kms.blob_list()';

# How many blobs are under another than the current version of the key that is bound as 1.
my $left = q{SELECT count(*) FROM kms.blob WHERE key_tag <> (kms.inspect(kms.encode(1, ''))).key_tag};

# --- keys that the mode cannot use, and that are not there

$session->get(q{SET kms.mode = 'remote'; SET kms.keys = '1=vault'});
my $id = $session->get(q{SELECT kms.blob_put(1, 'contents', 'contract.pdf')});
is($session->get($list), 1, 'a blob of a key that does not leave the agent');
$session->get('RESET kms.mode');
foreach my $keys (['vault', 'KM003'], ['valut', 'KM002']) {
    my ($key, $state) = @$keys;
    $session->get("SET kms.keys = '1=$key'");
    my $answer = $session->ask($list);
    is($answer->{out}, 0, "$key: is not listed");
    like($answer->{err}, qr/WARNING: .* not listed: 1 blobs that may be of a bound key which cannot be had\nDETAIL:  One such key is "$key", with local id 1\./, '... which is told');
    foreach my $use ("kms.blob_meta('$id')", "kms.blob_get('$id')") {
        fails_with($session, "SELECT * FROM $use", $state, "... and $use says why");
    }
}
$session->get(q{SET kms.keys = '1=plain'});
unlike($session->ask($list)->{err}, qr/WARNING/, 'a key that is there has no blob here');
fails_with($session, "SELECT kms.blob_get('$id')", 'KM004', '... which is said of one');

# --- an older keyring that lacks the version of the KEK

$session->get(q{SET kms.mode = 'envelope'; SET kms.keys = '1=data-key'});
copy("$ring/ring", "$ring/older") or die;
chmod 0600, "$ring/older" or die;
$session->get(q{SELECT kms.create_data_key('data-key', 'kek')});
my $of_data_key = $session->get(q{SELECT kms.blob_put(1, 'contents')});
$session->get(q{SELECT kms.rotate_kek('kek')}) for 1 .. 2;
my $older = $agent =~ s{\Q$ring/ring}{$ring/older}r;
foreach my $mode ('envelope', 'local') {
    my $behind = keys_session($node, { 'kms.command' => $older, 'kms.mode' => $mode, 'kms.keys' => '1=data-key' });
    my $answer = fails_with($behind, "SELECT kms.blob_get('$of_data_key')", 'KM002', "$mode: an older keyring");
    like($answer->{err}, qr/By the KEK "kek": the agent has none that opens it/, '... is told');
    like($behind->ask($list)->{err}, qr/not listed: 1 blobs that may be of a bound key which cannot be had/, '... by the listing too');
    $behind->quit;
}

# --- rewrap_blobs, where the agent does not do what it takes, or refuses one blob

$session->get(q{RESET kms.mode; SET kms.keys = '1=plain'; DELETE FROM kms.blob; SELECT count(kms.blob_put(1, 'contents')) FROM generate_series(1, 5); SELECT kms.rotate_key('plain')});
my $remote = keys_session($node, { 'kms.mode' => 'remote', 'kms.keys' => '1=plain', 'kms.command' => "$agent --verbs encrypt,decrypt,describe,list" });
my $answer = $remote->ask('SELECT kms.rewrap_blobs(1)');
is($answer->{out}, 0, 'an agent that does not unwrap');
like($answer->{err}, qr/WARNING: .* blobs that are passed over, since the key does not open them: 5\nDETAIL: .*: not offered by this key agent, mode or key\./, '... which is told');
foreach my $refused (1, 4) {
    write_text("$plan/plan", "unwrap $refused fail denied");
    $remote->get('SET kms.command = ' . sql_quote("N=$refused $relay"));
    $remote->get("BEGIN");
    $answer = $remote->ask("SELECT kms.rewrap_blobs(1)");
    is($answer->{state}, q{}, "blob $refused is refused") or diag $answer->{err};
    cmp_ok($remote->get($left), '<=', 1, '... and the others are brought along');
    $remote->get('ROLLBACK');
}
unlink "$plan/plan" or die;
$remote->get('SET kms.command = ' . sql_quote("N=5 $relay"));
is($remote->get('SELECT kms.rewrap_blobs(1)'), 5, 'all of them');

# --- and where one is damaged so that it looks like another key's

$session->get(q{DELETE FROM kms.blob});
$remote->get(q{RESET kms.command; SET kms.blob_keys = 'agent'; SET kms.keys = '1=agents'; SELECT count(kms.blob_put(1, 'contents')) FROM generate_series(1, 5)});
$session->get(q{UPDATE kms.blob SET manifest = set_byte(manifest, 0, 3) WHERE id = (SELECT id FROM kms.blob LIMIT 1); UPDATE kms.blob SET version = version WHERE get_byte(manifest, 0) <> 3; SELECT kms.rotate_key('agents')});
is($remote->get('SELECT kms.rewrap_blobs(1)'), 4, 'one that is damaged does not speak for the others');

$_->quit foreach $session, $remote;
$node->stop;
no_crash($node);
done_testing();
