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
fails_with($session, "SELECT kms.create_key('d')", '22023', 'a data key\'s name is not given to a key of the agent');
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

# --- a number in kms.data_key may be that of another version, or of none: a form counts where the agent opens it

# A data key whose first form is by a KEK version 2 that the agent has no more, and the second by version 1; and
# one that is destroyed.
sub lose_second_version {
    my ($name) = @_;
    my $folder = test_folder($name);
    my $agent = make_keyring($folder, "$name:wrap");
    copy("$folder/ring", "$folder/older") or die $!;
    my $before = keys_session($node, { 'kms.command' => $agent });
    $before->get("SELECT kms.create_data_key('keep $name', '$name'), kms.create_data_key('gone $name', '$name')");
    my $sealed = $before->get("SELECT kms.encode_with('keep $name', 'precious')");
    $before->get("CALL kms.destroy_data_key('gone $name', 1)");
    $before->get("SELECT kms.rotate_kek('$name')");
    $before->quit;
    copy("$folder/older", "$folder/next") or die $!;
    chmod 0600, "$folder/next" or die $!;
    rename "$folder/next", "$folder/ring" or die $!;
    return ($folder, $agent, "SELECT kms.decode_with_text('keep $name', '$sealed')");
}

sub with_new_agent {
    my ($agent, $sql) = @_;
    my $asking = keys_session($node, { 'kms.command' => $agent });
    my $outcome = outcome($asking, $sql);
    $asking->quit;
    return $outcome;
}

my ($ring, $agent, $open) = lose_second_version('a');
kms_admin($ring, 'rotate', 'a');
is(with_new_agent($agent, $open), 'precious', 'a data key opens by its second form, where the number of its first is another version now');
is(with_new_agent($agent, q{CALL kms.destroy_data_key('gone a', 1, shred => true)}), '0', '... version 1 is shredded');
is(with_new_agent($agent, q{SELECT string_agg(version || ' ' || state, ', ' ORDER BY version) FROM kms.list_keys('a')}), '1 destroyed, 2 enabled', '... at the agent');
is(with_new_agent($agent, $open), 'precious', '... and the data key still opens');

($ring, $agent, $open) = lose_second_version('b');
is(with_new_agent($agent, q{SELECT kms.rotate_key('b')}), 3, 'a number above both');
is(with_new_agent($agent, $open), 'precious', 'a data key opens by its second form alone');
like(with_new_agent($agent, q{SELECT kms.disable_key('b', 1)}), qr/^KM012 .*data keys need its version 1/, '... whose KEK version is not disabled');
like(with_new_agent($agent, q{SELECT kms.disable_key('b', 3)}), qr/^KM012 /, '... nor is another, while the first form does not open');
is(with_new_agent($agent, q{SELECT kms.disable_key('b', 1, force => true)}), '', '... unless by force');
like(with_new_agent($agent, q{SET kms.cache_ttl = '1s'; SELECT kms.destroy_key('b', 1)}), qr/^KM012 /, '... and not destroyed');
is(with_new_agent($agent, q{SELECT kms.enable_key('b', 1)}), '', '... it is enabled again');
is(with_new_agent($agent, q{SELECT kms.rotate_kek('b')}), 4, '... and a rotation wraps the data key anew');
is(with_new_agent($agent, q{SELECT kms.disable_key('b', 1)}), '', '... so that version 1 is disabled');
is(with_new_agent($agent, $open), 'precious', '... and the data key still opens');

my $asked = "exec /usr/bin/python3 @{[ example_agent('relay.py') ]} $plan " . ($agent =~ s/^exec //r);
foreach my $case (['denied', 'KM003'], ['unavailable', 'KM007'], ['unsupported', 'KM010']) {
    my ($code, $state) = @$case;
    write_text("$plan/plan", "unwrap 1 fail $code");
    $session = keys_session($node, { 'kms.command' => $asked });
    $answer = fails_with($session, q{SELECT kms.disable_key('b', 3)}, $state, "an agent that does not tell whether a data key opens: $code");
    like($answer->{err}, qr/could not disable key "b": .*CONTEXT:  data key "keep%20b", version 1/s, '... which is named');
    $session->quit;
}
is(with_new_agent($agent, q{SELECT kms.disable_key('b', 3, force => true)}), '', '... unless by force');

# Whoever cannot be asked may have given the number to another key.
write_text("$plan/plan", "list 1 fail unavailable");
$session = keys_session($node, { 'kms.command' => $asked });
fails_with($session, q{SELECT kms.rotate_data_key('keep b')}, 'KM007', 'a data key is not rotated while the agent cannot be asked for its numbers');
is($session->get(q{SELECT kms.rotate_data_key('keep b')}), 2, '... and then it is');
$session->quit;

# A KEK that is brought back under another number.
($ring, $agent, $open) = lose_second_version('c');
$node->safe_psql('postgres', q{UPDATE kms.data_key SET kek_version = 7, wrapped = wrapped_before, kek_version_before = NULL, wrapped_before = NULL WHERE name = 'keep c'});
is(with_new_agent($agent, q{SELECT kms.rotate_key('c')}), 8, 'a KEK version that the table has under another number than the agent');
like(with_new_agent($agent, q{SELECT kms.disable_key('c', 1)}), qr/^KM012 .*data keys need its version 1/, '... is needed as what the agent says');

$session = keys_session($node, { 'kms.command' => $agent });
$answer = $session->ask(q{CALL kms.destroy_data_key('keep c', 1, shred => true)});
like($answer->{err}, qr/WARNING: .*the agent does not have 6 of these versions of "c"/, '... and whoever shreds is told of those that are not there');
$session->quit;

# An agent that finds the version by its number, and so the form corrupt.
($ring, $agent, $open) = lose_second_version('d');
write_text("$plan/plan", 'unwrap 1 fail corrupt');
is(with_new_agent("exec /usr/bin/python3 @{[ example_agent('relay.py') ]} $plan " . ($agent =~ s/^exec //r), $open), 'precious',
    'the second form serves where the first is corrupt under a number of another version');

$node->stop;
no_crash($node);
done_testing();
