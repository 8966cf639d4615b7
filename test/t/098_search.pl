# Searches by equality: agents that fail or lie, versions that others have made, and how often the agent is asked.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $ring = test_folder('ring');
my $agent = make_keyring($ring);
kms_admin($ring, 'create', '--algorithm', @$_) foreach [ 'aes-256-siv', 'email' ], [ 'hmac-sha-256', 'index' ];
kms_admin($ring, 'rotate', $_) foreach 'email', 'index';
my $node = kms_node('search', 'kms.command' => $agent, 'kms.keys' => '1=email,2=index');
my $folder = test_folder('relay');
my $relay = 'exec /usr/bin/python3 ' . example_agent('relay.py') . " $folder " . ($agent =~ s/^exec //r);

# --- agents at fault

my %uses = ('encode_all' => q{kms.encode_all(1, 'x')}, 'blind_index' => q{kms.blind_index(2, 'x')}, 'blind_indexes' => q{kms.blind_indexes(2, 'x')});
my @faults = (
    [ 'hello 1 hide encrypt-as', 'remote', 'KM010', 'encode_all' ],
    [ 'hello 1 hide mac', 'remote', 'KM010', 'blind_index', 'blind_indexes' ],
    [ 'hello 1 hide list', 'remote', 'KM010', 'encode_all', 'blind_indexes' ],
    [ 'hello 1 hide list', 'local', 'KM010', 'encode_all', 'blind_indexes' ],
    [ 'hello 1 hide encrypt-as mac', 'local', '', 'encode_all', 'blind_index', 'blind_indexes' ],
    [ 'list 1 fail denied', 'local', 'KM003', 'encode_all', 'blind_indexes' ],
    [ 'mac 1 cut 1', 'remote', 'KM009', 'blind_index', 'blind_indexes' ],
    [ 'mac 1 extend 1', 'remote', 'KM009', 'blind_index', 'blind_indexes' ],
    [ 'mac 2 cut 32', 'remote', 'KM009', 'blind_indexes' ],
    [ 'mac 2 fail denied', 'remote', 'KM003', 'blind_indexes' ],
    [ 'mac 1 fail unsupported', 'remote', 'KM010', 'blind_index' ],
    [ 'mac 1 die', 'remote', 'KM007', 'blind_index', 'blind_indexes' ],
    [ 'encrypt-as 1 garble', 'remote', 'KM009', 'encode_all' ],
    [ 'encrypt-as 1 cut 1', 'remote', 'KM009', 'encode_all' ],
    [ 'encrypt-as 2 repeat', 'remote', 'KM009', 'encode_all' ],
    [ 'encrypt-as 2 fail disabled', 'remote', 'KM011', 'encode_all' ],
    [ 'encrypt-as 1 die', 'remote', 'KM007', 'encode_all' ],
);
foreach my $fault (@faults) {
    my ($plan, $mode, $state, @names) = @$fault;
    write_text("$folder/plan", $plan);
    foreach my $name (@names) {
        my $session = keys_session($node, { 'kms.command' => $relay, 'kms.mode' => $mode });
        my $answer = $session->ask("SELECT $uses{$name}");
        is($answer->{state}, $state, "$mode mode, $plan: $name") or diag $answer->{err};
        $session->quit;
    }
}
write_text("$folder/plan", '');

# --- versions that another session has made

foreach my $mode ('local', 'remote') {
    my $session = keys_session($node, { 'kms.mode' => $mode, 'kms.cache_ttl' => '2s' });
    my $other = keys_session($node, { 'kms.mode' => $mode });
    my $before = $session->get(q{SELECT cardinality(kms.encode_all(1, 'x')), cardinality(kms.blind_indexes(2, 'x'))});
    $other->get(q{SELECT kms.rotate_key('email'), kms.rotate_key('index')});
    my $new = $other->get(q{SELECT kms.encode(1, 'x')});
    ok(becomes(sub { $session->get("SELECT '$new' = ANY (kms.encode_all(1, 'x'))") eq 't' }), "$mode mode: a session finds what is sealed under a new version, within kms.cache_ttl");
    isnt($session->get(q{SELECT cardinality(kms.encode_all(1, 'x')), cardinality(kms.blind_indexes(2, 'x'))}), $before, '... and looks under one more');
    $session->get(q{SELECT kms.rotate_key('email')});
    is($session->get(q{SELECT kms.encode(1, 'x') = ANY (kms.encode_all(1, 'x'))}), 't', '... and at once under one that it has made itself');
    $_->quit foreach $session, $other;
}

# --- how often the agent is asked

my $session = keys_session($node, { 'kms.mode' => 'remote' });
$session->get(q{CREATE TABLE t AS SELECT n, kms.encode(1, n::text) AS email, kms.blind_index(2, n::text) AS term FROM generate_series(1, 500) n});
my $requests = 'SELECT requests FROM kms.status()';
foreach my $query (q{email = ANY (kms.encode_all(1, '7'))}, q{term = kms.blind_index(2, '7')}, q{term = ANY (kms.blind_indexes(2, '7'))}) {
    my $before = $session->get($requests);
    is($session->get("SELECT count(*) FROM t WHERE $query"), 1, "a scan finds its row by $query");
    cmp_ok($session->get($requests) - $before, '<', 30, '... and asks the agent as for one row');
}
$session->get('CREATE ROLE reader; GRANT SELECT ON t TO reader; GRANT USAGE ON SCHEMA kms TO reader');
$session->get(q{PREPARE by_term AS SELECT count(*) FROM t WHERE term = kms.blind_index(2, '7')});
is($session->get('EXECUTE by_term'), 1, 'a prepared search');
fails_with($session, 'SET ROLE reader; EXECUTE by_term', '42501', '... is another role\'s to ask for');
$session->get('RESET ROLE');
$session->get("SET kms.keys = '1=email'");
fails_with($session, 'EXECUTE by_term', 'KM001', '... and needs its key as it is bound now');
$session->quit;
no_crash($node);
done_testing();
