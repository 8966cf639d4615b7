# rotate_kek with a thousand data keys, killed at every point of it: every data key stays readable, and the
# repeated call finishes.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $folder = test_folder('relay');
my $ring = test_folder('ring');
my $agent = make_keyring($ring, 'main:wrap', 'other:wrap');
my $relay = 'exec /usr/bin/python3 ' . example_agent('relay.py') . " $folder " . ($agent =~ s/^exec //r);
my $node = kms_node('rotate', 'kms.command' => $agent, 'kms.mode' => 'envelope', 'restart_after_crash' => 'on');
my $count = 1000;

$node->safe_psql('postgres', <<"SQL");
CREATE TABLE sealed AS SELECT n, 'key ' || n AS name, NULL::bytea AS value FROM generate_series(1, $count) n;
SELECT count(kms.create_data_key(name, 'main', (ARRAY['xaes-256-gcm', 'aes-256-siv'])[n % 2 + 1])) FROM sealed;
SELECT kms.create_data_key('elsewhere', 'other');
UPDATE sealed SET value = kms.encode_with(name, 'value ' || n);
SQL

# With fresh sessions, which hold no key.
sub all_open {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is($node->safe_psql('postgres', q{SELECT count(*) FROM sealed WHERE kms.decode_with_text(name, value) = 'value ' || n}),
        $count, "$name: every data key opens");
}

# KEK versions that the first forms are wrapped by, and how many.
sub versions { return $node->safe_psql('postgres', q{SELECT kek_version, count(*) FROM kms.data_key WHERE kek = 'main' GROUP BY 1}) }

sub rotate_again {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $version = $node->safe_psql('postgres', q{SELECT kms.rotate_kek('main')});
    is(versions(), "$version|$count", "$name: the repeated call finishes");
    return all_open($name);
}

sub planned_session {
    my ($plan) = @_;
    write_text("$folder/plan", $plan);
    return keys_session($node, { 'kms.command' => $relay, 'kms.request_timeout' => '5s' });
}

is($node->safe_psql('postgres', q{SELECT kms.rotate_kek('main')}), 2, 'the KEK has a second version');
is(versions(), "2|$count", '... which wraps all data keys');
all_open('rotated');
is($node->safe_psql('postgres', q{SELECT kek_version, wrapped_before IS NULL FROM kms.data_key WHERE name = 'elsewhere'}), '1|t', '... but of another KEK none');

# --- the agent fails, or the server's process is killed, where an answer to one of the requests is due

# A thousand are unwrapped before there is a new version, to be wrapped anew, and once they are.
my @points = ('unwrap 1', 'unwrap 1000', 'rotate 1', map({ "unwrap $_" } 1001, 1500, 2000), 'wrap 1', 'wrap 500', 'wrap 1000',
    map { "unwrap $_" } 2001, 2500, 3000);

foreach my $point (@points) {
    my $before = versions();
    my $session = planned_session("$point die");
    fails_with($session, "SELECT kms.rotate_kek('main')", 'KM007', "the agent dies at $point");
    is(versions(), $before, '... and nothing is changed');
    $session->quit;
    rotate_again("the agent died at $point");
}

foreach my $point (map({ "$_ kill" } @points), map { "unwrap 3000 kill-soon $_" } 0, 2, 5, 10, 20) {
    my $session = planned_session($point);
    my $answer = $session->ask("SELECT kms.rotate_kek('main')");
    ok($answer->{closed} || $point =~ /soon/, "$point: the server's process is gone");
    $session->quit;
    sleep 0.1 if $point =~ /soon/;
    ok(server_is_up($node), '... and the server comes back');
    all_open($point);
    like(versions(), qr/^\d+\|$count$/, '... all rows are of one KEK version');
    rotate_again($point);
}

# --- answers that are wrong, or do not come

my %state = (
    'unwrap 700 fail denied' => 'KM003', 'unwrap 1700 fail denied' => 'KM003', 'unwrap 2700 fail corrupt' => 'KM005',
    'unwrap 2700 fail unavailable' => 'KM007',
    'wrap 3 fail failed' => 'KM007', 'rotate 1 fail denied' => 'KM003', 'wrap 3 spoil' => 'KM005', 'unwrap 2003 spoil' => 'KM005',
    'wrap 3 repeat' => 'KM005', 'unwrap 2005 repeat' => 'KM005', 'wrap 3 hang' => 'KM008');
foreach my $point (sort keys %state) {
    my $before = versions();
    my $session = planned_session($point);
    my $answer = fails_with($session, "SELECT kms.rotate_kek('main')", $state{$point}, $point);
    like($answer->{err}, qr/CONTEXT:  data key "key%20\d+", version 1/, '... and which data key it is about') if $point !~ /rotate|hang/;
    is(versions(), $before, '... and nothing is changed');
    $session->quit;
}
rotate_again('after wrong answers');

# --- a call that cannot end well makes no version, which data keys that are made meanwhile would need

my $made = sub { return $node->safe_psql('postgres', q{SELECT max(version) FROM kms.list_keys('main')}) };
my $newest_made = $made->();
$node->safe_psql('postgres', q{CREATE TABLE kept AS SELECT * FROM kms.data_key WHERE name = 'key 7'});
$node->safe_psql('postgres', q{UPDATE kms.data_key SET (wrapped, wrapped_before) = ('of another agent', NULL), kek_version_before = NULL WHERE name = 'key 7'});
foreach my $call (q{SELECT kms.rotate_kek('main')}, q{CALL kms.destroy_data_key('key 8', 1, shred => true, force => true)}) {
    my $session = keys_session($node);
    my $answer = fails_with($session, $call, 'KM006', "$call: refused for another's sake");
    like($answer->{err}, qr/CONTEXT:  data key "key%207", version 1/, '... which is told');
    is($made->(), $newest_made, '... before there is a new version');
    $session->quit;
}
$node->safe_psql('postgres', q{DELETE FROM kms.data_key WHERE name = 'key 7'; INSERT INTO kms.data_key SELECT * FROM kept});

# --- a second form serves where the first does not open, whatever the agent says of it

foreach my $point ('unwrap 1700 fail corrupt', 'unwrap 1700 fail invalid', 'unwrap 1700 fail wrong-key', 'unwrap 1003 spoil', 'unwrap 1005 repeat') {
    my $session = planned_session($point);
    my $version = $session->get(q{SELECT kms.rotate_kek('main')});
    is(versions(), "$version|$count", "$point: all data keys are wrapped anew");
    is($node->safe_psql('postgres', "SELECT count(*) FROM kms.data_key WHERE kek = 'main' AND kek_version_before < $version - 1"), 1,
        '... and one keeps the form that has opened');
    $session->quit;
    all_open($point);
}

# --- a second form serves where the KEK version of the first does not

my $newest = versions() =~ s/\|.*//r;
$node->safe_psql('postgres', "SELECT kms.disable_key('main', $newest, force => true)");
all_open('the newest KEK version is disabled');
$node->safe_psql('postgres', "SELECT kms.enable_key('main', $newest)");

# --- concurrent changes

my ($one, $two) = map { keys_session($node) } 1 .. 2;
$one->get(q{BEGIN; SELECT kms.create_data_key('late', 'main'), kms.rotate_data_key('key 1')});
$two->send(q{SELECT kms.rotate_kek('main')});
ok(becomes(sub { $node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE NOT granted AND objsubid = 27499}) == 1 }),
    'rotate_kek waits for one who creates a data key');
all_open('meanwhile');
$one->get('COMMIT');
$newest = $two->answer->{out};
is($node->safe_psql('postgres', q{SELECT DISTINCT kek_version FROM kms.data_key WHERE kek = 'main'}), $newest, '... and takes it along');

$two->get(q{BEGIN; SELECT kms.rotate_kek('main')});
$one->send(q{SELECT kms.create_data_key('later', 'main')});
ok(becomes(sub { $node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE NOT granted AND objsubid = 27499}) == 1 }),
    'one who creates a data key waits for rotate_kek');
all_open('meanwhile');
is($node->safe_psql('postgres', q{SELECT kms.create_data_key('unconcerned', 'other')}), 1, '... while other KEKs are free');
$two->get('ROLLBACK');
is($one->answer->{out}, 1, '... and goes on after a rollback');
is($node->safe_psql('postgres', q{SELECT d.kek_version - n.kek_version FROM kms.data_key d, kms.data_key n WHERE d.name = 'later' AND n.name = 'late'}), 1,
    '... with the version that the agent has kept');
is($one->get(q{SELECT kms.rotate_kek('main') - 2}), $newest, 'the next rotation');
is($node->safe_psql('postgres', q{SELECT DISTINCT kek_version - 2 FROM kms.data_key WHERE kek = 'main'}), $newest, '... catches up with all');
$two->get(q{BEGIN; SELECT kms.rotate_kek('main')});
fails_with($one, q{SET statement_timeout = '200ms'; SELECT kms.rotate_kek('main')}, '57014', 'waiting can be cancelled');
$two->get('COMMIT');
all_open('at last');

$_->quit foreach $one, $two;
$node->stop;
no_crash($node);
done_testing();
