# The array forms against agents: one exchange for all elements, in whatever order the agent answers,
# and what becomes of it when the agent fails, hangs or dies, or the user cancels.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $keys = test_folder('keys');
my $stage_folder = test_folder('stage');
my $stage = stage_agent($stage_folder);
my $node = kms_node('arrays', 'kms.command' => make_keyring($keys, 'a'), 'kms.keys' => '1=a, 2=plain');
my $faulty = 'exec /usr/bin/python3 ' . example_agent('faulty.py');
my $soon = 8;    # seconds, before kms.request_timeout has passed

# An SQL array of $count texts, t1 and so on, some of which are others.
sub texts {
    my ($count, %other) = @_;
    return 'ARRAY[' . join(', ', map { sql_quote($other{$_} // "t$_") } 1 .. $count) . ']';
}

# The same as `sealing` shows them.
sub shown { return join ',', map { "t$_" } 1 .. $_[0] }

# Seals an array with an agent of the mode `values`; the texts in the result.
sub sealing { return 'SELECT string_agg(' . seen_through('v') . ", ',' ORDER BY n) FROM unnest(kms.encode_array(1, $_[0])) WITH ORDINALITY u(v, n)" }

sub use_agent {
    my ($session, $words, $timeout) = @_;
    $session->get("SET kms.command = '$faulty values $words'; SET kms.request_timeout = '" . ($timeout // '10s') . "'");
    return;
}

# The error is about the element with these subscripts.
sub fails_at {
    my ($session, $sql, $state, $place, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = fails_with($session, $sql, $state, $name);
    like($answer->{err}, qr/^CONTEXT:  array element \Q$place\E$/m, "... of element $place");
    return $answer;
}

sub serves_again {
    my ($session) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    end_timeout($session);
    $session->get('RESET kms.command; RESET kms.request_timeout');
    return is($session->get("SELECT kms.decode_text_array(1, kms.encode_array(1, ARRAY['x', NULL, 'y']))"), '{x,NULL,y}', '... and then all is well');
}

# --- many elements

foreach my $mode ('local', 'remote') {
    my $session = keys_session($node, { 'kms.mode' => $mode });
    my $count = 300000;
    $session->get(<<"SQL");
CREATE TEMP TABLE many AS
SELECT array_agg(CASE WHEN n % 10 > 0 THEN 'element ' || n END ORDER BY n) AS plain FROM generate_series(1, $count) n;
ALTER TABLE many ADD sealed bytea[];
UPDATE many SET sealed = kms.encode_array(1, plain);
SQL
    is($session->get('SELECT kms.decode_text_array(1, sealed) = plain FROM many'), 't', "$mode: $count elements");
    is($session->get('SELECT requests, starts FROM kms.status()'), 1 + ($mode eq 'local' ? 1 : 2 * 0.9 * $count) . '|1', '... and what the agent was asked, its greeting included');
    fails_at($session, "SELECT kms.decode_array(1, sealed[:299998] || '\\xff'::bytea || sealed[300000]) FROM many", 'KM006', '[299999]', "$mode: the last but one is wrong");
    $session->get("SET statement_timeout = '5ms'");
    fails_with($session, 'SELECT kms.encode_array(1, plain) FROM many', '57014', "$mode: statement_timeout in the middle");
    serves_again($session);
    is($session->get('SELECT starts FROM kms.status()'), '1', "... with the same agent") if $mode eq 'local';

    # Elements from none to large, in an array that is toasted.
    is($session->get(<<'SQL'), 't|t', "$mode: a mixed bag of lengths");
SELECT kms.decode_text_array(1, sealed, contexts => contexts) = plain, kms.decode_array(1, kms.encode_array(1, plain::bytea[])) = plain::bytea[]
FROM (SELECT array_agg(repeat('z', n)) AS plain, array_agg(repeat('c', n)::bytea) AS contexts
      FROM unnest('{0,1,100000,3,127,4000000,126,65536,65535,32768,32767,9000000,1,262144,0}'::int[]) n) s,
    LATERAL (SELECT kms.encode_array(1, plain, contexts => contexts) AS sealed) l
SQL
    $session->quit;
}

my $session = keys_session($node, { 'kms.mode' => 'remote' });

# --- one exchange, in any order

use_agent($session, '300', '2s');
is($session->get(sealing(texts(300))), shown(300), 'an agent that answers when it has all 300, the last first');
use_agent($session, '7');
is($session->get(sealing(texts(700))), shown(700), 'an agent that answers in turns of 7');
is($session->get(sealing("ARRAY[['t1', NULL, 't2'], ['t3', 't4', NULL], ['t5', 't6', 't7']]")), shown(7), 'NULLs are not asked for');
fails_at($session, sealing(texts(14, 3 => '!denied', 6 => '!failed', 8 => '!disabled')), 'KM003', '[3]', 'of three failures the first is told');
fails_at($session, sealing("'[2:5][0:1]={{a,NULL},{b,c},{!disabled,d},{e,!denied}}'::text[]"), 'KM011', '[4][0]', 'in two dimensions');
use_agent($session, '300', '500ms');
fails_at($session, sealing(texts(299)), 'KM008', '[1]', 'an agent that waits for one more');
serves_again($session);

use_agent($session, '3');
my $large = 'array_agg(CASE n WHEN %d THEN \'!denied\' ELSE repeat(chr(64 + n), 100000 * mod(n, 3)) END ORDER BY n) AS plain FROM generate_series(1, 30) n';
is($session->get(sprintf 'SELECT bool_and(' . seen_through('sealed[i]') . " = plain[i]) FROM (SELECT plain, kms.encode_array(1, plain) AS sealed
    FROM (SELECT $large) p) s, generate_series(1, 30) i", 0), 't', 'large elements in turns of 3');
use_agent($session, '1');
fails_at($session, sprintf("SELECT kms.encode_array(1, plain) FROM (SELECT $large) p", 5), 'KM003', '[5]', 'of many large ones one is denied');
my $starts = $session->get('SELECT starts FROM kms.status()');
is($session->get(sealing(texts(3))), shown(3), '... after which the agent serves');
is($session->get('SELECT starts FROM kms.status()'), $starts, '... which is the same');

# --- limits of an agent

use_agent($session, '0 max-in-flight=1');
is($session->get(sealing(texts(100))), shown(100), 'an agent that takes one request at a time');
use_agent($session, '0 max-in-flight=7');
is($session->get(sealing(texts(100))), shown(100), '... or seven');
use_agent($session, '0 max-body=1000');
is($session->get("SELECT sum(length(v)) FROM unnest(kms.encode_array(1, array_fill(repeat('x', 975), ARRAY[50]))) v"), 50 * 1000, 'bodies of as much as it gives');
my $too_large = fails_at($session, sealing(texts(50, 20 => 'y' x 1001, 30 => '!denied')), '54000', '[20]', '... and one of more');
like($too_large->{detail}, qr/at most 1000 bytes/, '... which says so');
fails_at($session, sealing(texts(50, 20 => 'y' x 1001, 10 => '!denied')), 'KM003', '[10]', '... behind one that is denied');
use_agent($session, '7 max-body=1000');
fails_at($session, sealing(texts(21, 15 => 'y' x 1001)), '54000', '[15]', '... when answers come in turns');
serves_again($session);

# --- an agent that fails in the middle

foreach my $case ([ '!die', 'KM007' ], [ '!denied', 'KM003' ], [ '!not-found', 'KM002' ], [ '!hang', 'KM008' ], [ '!nonsense', 'KM009' ]) {
    my ($text, $state) = @$case;
    use_agent($session, '', '700ms');
    $session->get("SELECT kms.encode_array(1, ARRAY['x'])");
    my $agent = agent_pid($session);
    fails_at($session, sealing(texts(1000, 501 => $text)), $state, '[501]', $text);
    serves_again($session);
    ok(becomes(sub { $session->get('SELECT 1') && !is_alive($agent) }), '... and the first agent is gone');
}
use_agent($session, '7');
fails_at($session, sealing(texts(14, 11 => '!die')), 'KM007', '[8]', 'an agent that dies when it has answered those behind');
serves_again($session);

# --- a cancel

$session->get("SET kms.command = '$stage'; SET kms.keys = '1=gate.cancelled, 2=plain'");
$session->send("SELECT kms.encode_array(1, ARRAY['a', 'b', 'c'])");
ok(becomes(sub { was_asked($stage_folder, 'gate.cancelled') }), 'the agent has read a request');
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
my $began = time;
my $cancelled = $session->answer;
is($cancelled->{state}, '57014', 'a cancel in the middle of an array');
unlike($cancelled->{err}, qr/array element/, '... is about none of its elements');
cmp_ok(time - $began, '<', $soon, '... works at once');
write_text("$stage_folder/cancelled", '');
is($session->get('SELECT ' . seen_through("unnest(kms.encode_array(2, ARRAY['d', NULL, 'e']))")), "d\n\ne", '... and no late reply is taken for another');

# --- what is larger than a value may be

$session->get("RESET kms.command; SET kms.keys = '1=a'; SET kms.mode = local");
my $huge = fails_with($session, "SELECT kms.encode_array(1, array_fill(repeat('c', 8388600), ARRAY[128]))", '54000',
    'a result of more than 1 GB, of an array that is just not so large');
like($huge->{message}, qr/array size exceeds the maximum allowed/, '... which says so');
$session->get('SET kms.mode = remote');
serves_again($session);

$session->quit;
$node->stop;
no_crash($node);
done_testing();
