# The window forms: cursors whose circumstances change between two FETCHes, errors at their rows,
# agents that end or hang while rows are read ahead, and memory.
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
my $node = kms_node('windows', 'kms.command' => make_keyring($keys, 'a', 'b'), 'kms.keys' => '1=a, 2=b', log_temp_files => 0);
my $faulty = 'exec /usr/bin/python3 ' . example_agent('faulty.py');

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE person AS
    SELECT id, 'person ' || id AS plain, kms.encode(1, 'person ' || id) AS sealed, kms.encode(2, 'other ' || id) AS other
    FROM generate_series(1, 10000) id;
CREATE TABLE tampered AS SELECT id, CASE WHEN id = 5000 THEN '\xff' || sealed ELSE sealed END AS sealed FROM person;
CREATE ROLE reader LOGIN;
GRANT USAGE ON SCHEMA kms TO reader;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kms TO reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
SQL

my $opened = 'SELECT kms.decode_batch_text(1, sealed) OVER () FROM person';

sub lines { return join "\n", map { "$_[0] $_" } $_[1] .. $_[2] }

sub cursor {
    my ($session, $query, $how) = @_;
    $session->get('BEGIN; DECLARE c ' . ($how // '') . " CURSOR FOR $query");
    return;
}

sub fetch {
    my ($session, $first, $last, $name, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $count = $last - $first + 1;
    return is($session->get("FETCH $count FROM c"), lines($what // 'person', $first, $last), $name);
}

sub fetch_fails {
    my ($session, $state, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = fails_with($session, 'FETCH c', $state, $name);
    $session->get('ROLLBACK');
    return $answer;
}

sub requests { return $_[0]->get('SELECT requests FROM kms.status()') }

# --- in both modes

foreach my $mode ('local', 'remote') {
    my $session = keys_session($node, { 'kms.mode' => $mode });

    my $error = do { cursor($session, 'SELECT kms.decode_batch_text(1, sealed) OVER () FROM tampered');
        is($session->get('FETCH 4999 FROM c'), lines('person', 1, 4999), "$mode: the rows before a tampered one");
        fetch_fails($session, 'KM006', '... and then its error') };
    is($error->{message}, 'could not decode with local id 1 (key "a"): not a kms ciphertext', '... which says so');
    is($session->get('SELECT * FROM (SELECT kms.decode_batch_text(1, sealed) OVER () FROM tampered) o LIMIT 10'),
        lines('person', 1, 10), "$mode: a LIMIT that does not reach it");
    is($session->get("SELECT count(*) FROM (SELECT id, kms.decode_batch_text(1, sealed) OVER () AS p FROM tampered LIMIT 4999) o
        WHERE p = 'person ' || id"), 4999, '... nor one that ends before it');
    fails_with($session, 'SELECT count(p) FROM (SELECT kms.decode_batch_text(1, sealed) OVER () AS p FROM tampered LIMIT 5000) o', 'KM006',
        '... and one that does');

    cursor($session, $opened);
    foreach my $times (0 .. 99) {
        next if $session->get('FETCH 7 FROM c') eq lines('person', 7 * $times + 1, 7 * $times + 7);
        fail("$mode: a few at a time, round $times");
    }
    fetch($session, 701, 701, "$mode: a few at a time");
    $session->get("SELECT kms.set_key(1, 'a')");
    fetch($session, 702, 710, '... go on with the same key bound anew');
    $session->get("SELECT kms.set_key(2, 'a')");
    fetch($session, 711, 720, '... or another local id');
    $session->get("SELECT kms.set_key(1, 'b')");
    fetch_fails($session, 'KM004', '... not with another key bound');

    cursor($session, $opened);
    fetch($session, 1, 3, "$mode: a cursor");
    $session->get('SELECT kms.unset_key(1)');
    fetch_fails($session, 'KM001', '... that meets unset_key');
    cursor($session, $opened);
    fetch($session, 1, 3, "$mode: a cursor");
    $session->get('SAVEPOINT s; SELECT kms.unset_key(1); ROLLBACK TO s');
    fetch($session, 4, 30, '... does not meet one that was rolled back');
    $session->get("SET LOCAL kms.keys = '1=b'");
    fetch_fails($session, 'KM004', '... but SET LOCAL');

    my $sealing = 'SELECT (kms.inspect(kms.encode_batch(1, plain) OVER ())).key_tag FROM person';
    my %tag = map { $_ => $session->get("SELECT key_tag FROM kms.list_keys('$_')") } qw(a b);
    cursor($session, $sealing);
    is($session->get('FETCH 3 FROM c'), join("\n", ($tag{a}) x 3), "$mode: a cursor that seals");
    $session->get("SELECT kms.set_key(1, 'b')");
    is($session->get('FETCH 3 FROM c'), join("\n", ($tag{b}) x 3), '... does so with the key that is bound');
    $session->get('ROLLBACK');

    # A change that this session makes at the agent counts at once.
    $session->get("SELECT kms.create_key('fresh-$mode'), kms.set_key(3, 'fresh-$mode')");
    cursor($session, 'SELECT (kms.inspect(kms.encode_batch(3, plain) OVER ())).key_tag FROM person');
    my $first = $session->get('FETCH c');
    $session->get("SELECT kms.rotate_key('fresh-$mode')");
    my $second = $session->get('FETCH c');
    isnt($second, $first, "$mode: rotate_key counts from the next row on");
    is($session->get('FETCH c'), $second, '... and for the ones behind it');
    $session->get("SELECT kms.disable_key('fresh-$mode', 2)");
    fetch_fails($session, 'KM011', '... and so does disable_key');

    cursor($session, $opened, 'SCROLL');
    fetch($session, 1, 20, "$mode: a cursor that scrolls");
    is($session->get('FETCH BACKWARD 3 FROM c'), "person 19\nperson 18\nperson 17", '... back');
    is($session->get('FETCH ABSOLUTE 9000 FROM c'), 'person 9000', '... and forth');
    is($session->get('FETCH FIRST FROM c; FETCH LAST FROM c'), "person 1\nperson 10000", '... to both ends');
    $session->get('ROLLBACK');
    cursor($session, $opened, 'SCROLL');
    fetch($session, 1, 5, "$mode: a cursor");
    $session->get('MOVE 9990 FROM c');
    fetch($session, 9996, 10000, '... that is moved');
    is($session->get('FETCH c'), '', '... to its end');
    $session->get('ROLLBACK; BEGIN; DECLARE c CURSOR WITH HOLD FOR ' . $opened . '; COMMIT; SELECT kms.unset_key(1)');
    fetch($session, 1, 5, "$mode: a cursor that is held has all its rows");
    $session->get("DISCARD ALL");
    is($session->get('SHOW kms.keys'), '1=a, 2=b', '... until DISCARD ALL');
    cursor($session, $opened);
    fetch($session, 1, 5, "$mode: a cursor");
    $session->get('DISCARD PLANS');
    fetch($session, 6, 200, '... after DISCARD PLANS');
    $session->get('SET kms.mode = ' . ($mode eq 'local' ? 'remote' : 'local'));
    fetch($session, 201, 400, '... in the other mode');
    $session->get("SET kms.mode = $mode");
    fetch($session, 401, 500, '... and in the first again');
    $session->get("SET kms.command = 'exit 3'");
    fetch_fails($session, 'KM007', '... and under another command');
    is(() = $session->get($opened) =~ /^person \d+$/mg, 10000, "$mode: then all is well");

    # A key that is disabled elsewhere.
    $session->get("SELECT kms.create_key('short-$mode'), kms.set_key(3, 'short-$mode'); SET kms.cache_ttl = '1s'");
    $session->get("CREATE TABLE short_$mode AS SELECT id, kms.encode_batch(3, plain) OVER () AS sealed FROM person");
    sleep 1.1;
    cursor($session, "SELECT kms.decode_batch_text(3, sealed) OVER () FROM short_$mode");
    fetch($session, 1, 2, "$mode: a cursor");
    kms_admin($keys, 'disable', "short-$mode", 1);
    my $began = time;
    my $late = '';
    $late = $session->ask('FETCH c')->{state} until $late ne '' || time - $began > 20 || !sleep 0.1;
    is($late, 'KM011', '... and a disabled key stops it');
    cmp_ok(time - $began, '<', 6, '... soon after kms.cache_ttl');
    $session->get('ROLLBACK');

    # Two at once, and scalar calls between them.
    cursor($session, $opened);
    $session->get("DECLARE d CURSOR FOR SELECT kms.decode_batch_text(2, other) OVER () FROM person");
    my ($wanted, $got) = ('', '');
    foreach my $n (1 .. 60) {
        $wanted .= "person $n\nother $n\nperson $n\n";
        $got .= join '', map { $session->get($_) . "\n" } 'FETCH c', 'FETCH d', "SELECT kms.decode_text(1, sealed) FROM person WHERE id = $n";
    }
    is($got, $wanted, "$mode: two cursors and the scalar form in turns");
    $session->get('ROLLBACK');

    $session->get('SET jit_above_cost = 0');
    is($session->get($opened), lines('person', 1, 10000), "$mode: a query that is compiled");
    $session->get('RESET jit_above_cost');

    # Arguments that lie in the row, compressed or not, with a short header or a long one, or elsewhere.
    foreach my $storage (qw(plain main external extended)) {
        my $most = $storage eq 'plain' ? 2000 : 3000000;
        $session->get(<<"SQL");
CREATE TEMP TABLE forms (id int, plain text, context bytea, sealed bytea);
ALTER TABLE forms ALTER plain SET STORAGE $storage, ALTER context SET STORAGE $storage, ALTER sealed SET STORAGE $storage;
INSERT INTO forms SELECT length, repeat('p', length), convert_to(repeat('c', length), 'UTF8')
FROM unnest('{0,1,125,126,127,128,1999,2700,9000,100000,3000000}'::int[]) length WHERE length < $most;
UPDATE forms SET sealed = s.sealed FROM (SELECT id, kms.encode_batch(1, plain, context) OVER () AS sealed FROM forms) s WHERE s.id = forms.id;
SQL
        is($session->get(<<"SQL"), 't|t', "$mode: arguments that are stored $storage");
SELECT bool_and(opened = plain), bool_and(kms.decode_text(1, sealed, context) = plain)
FROM (SELECT *, kms.decode_batch_text(1, sealed, context) OVER () AS opened FROM forms) f;
SQL
        $session->get('DROP TABLE forms');
    }
    $session->get('CREATE SEQUENCE IF NOT EXISTS counter; RESET kms.cache_ttl');
    is($session->get("SELECT count(*), count(DISTINCT t) FROM (SELECT kms.decode_text(1, kms.encode_batch(1, nextval('counter')::text) OVER ()) AS t FROM person) o"),
        '10000|10000', "$mode: a volatile argument is never used twice");
    fails_with($session, 'SELECT kms.encode_batch(1, (1 / (id - 100))::text) OVER () FROM person', '22012', "$mode: an argument's own error");
    $session->quit;
}

# A list of keys that cannot be read is the error of the first row that needs one.
foreach my $mode ('local', 'remote') {
    my $session = keys_session($node, { 'kms.mode' => $mode, 'kms.keys' => 'nonsense' });
    my $rows = 'SELECT count(*), count(o) FROM (SELECT kms.decode_batch(1, CASE WHEN id > 3 THEN sealed END) OVER () AS o FROM person LIMIT';
    is($session->get("$rows 3) p"), '3|0', "$mode: no key is needed for NULL");
    fails_with($session, "$rows 4) p", '22023', '... but for anything else');
    $session->quit;
}

# --- what an agent is asked

{
    my $session = keys_session($node, { 'kms.mode' => 'remote' });
    $session->get("SET kms.command = '$stage'; SET kms.keys = '1=plain'");
    $session->get("CREATE TEMP TABLE staged AS SELECT id, kms.encode_batch(1, plain) OVER () AS sealed FROM person");
    my $before = requests($session);
    my $staged = 'SELECT kms.decode_batch_text(1, sealed) OVER () FROM staged';
    is($session->get("$staged LIMIT 3"), lines('person', 1, 3), 'a LIMIT');
    cmp_ok(requests($session) - $before, '<=', 16, '... reads little ahead');
    $before = requests($session);
    is($session->get("SELECT count(o.*) FROM ($staged LIMIT 1000) o"), 1000, 'a longer one');
    cmp_ok(requests($session) - $before, '<', 4000, '... not very far');
    $before = requests($session);
    is($session->get("SELECT count(o.*) FROM (SELECT id FROM staged LIMIT 300) s, LATERAL (SELECT kms.decode_batch_text(1, sealed) OVER () AS p
        FROM staged WHERE staged.id >= s.id LIMIT 1) o"), 300, 'a LIMIT for each of 300 rows');
    cmp_ok(requests($session) - $before, '<=', 16 * 300, '... reads little ahead each time');

    # The role of the moment is who asks.
    cursor($session, $staged);
    fetch($session, 1, 2, 'a cursor');
    $session->get('SET ROLE reader');
    fetch($session, 3, 4, '... under another role');
    like(slurp_if_there("$stage_folder/identified"), qr/\Arole=reader /, '... is asked for in its name');
    $session->get('ROLLBACK');
    $session->quit;
}

# --- agents that fail while rows are read ahead

{
    my $session = keys_session($node, { 'kms.mode' => 'remote' });
    cursor($session, $opened);
    fetch($session, 1, 100, 'a cursor whose agent');
    my $agent = agent_pid($session);
    kill KILL => $agent;
    ok(becomes(sub { !is_alive($agent) }), '... is killed');
    fetch($session, 101, 5000, '... goes on with another');
    isnt(agent_pid($session), $agent, '... that was started');
    $session->get('ROLLBACK');

    # Row 50 of 100 makes the agent do something else.
    foreach my $case ([ '!die', 'KM007' ], [ '!denied', 'KM003' ], [ '!disabled', 'KM011' ], [ '!hang', 'KM008' ], [ '!unknown', 'KM009' ]) {
        my ($text, $state) = @$case;
        foreach my $turn (0, 4) {
            next if $text =~ /!(?:die|hang|unknown)/ && $turn > 0;
            $session->get("SET kms.command = '$faulty values $turn'; SET kms.request_timeout = '700ms'");
            cursor($session, 'SELECT ' . seen_through("kms.encode_batch(1, CASE id WHEN 51 THEN '$text' ELSE plain END) OVER ()") . "
                FROM (SELECT * FROM person LIMIT 105) person");
            fetch($session, 1, 50, "$text in turns of $turn: the rows before it");
            fetch_fails($session, $state, '... then its error');
            my $pid = agent_pid($session);
            $session->get('RESET kms.command; RESET kms.request_timeout');
            is($session->get("$opened LIMIT 2"), lines('person', 1, 2), '... and another agent serves');
            ok(becomes(sub { !defined $pid || !is_alive($pid) || !$session->get('SELECT 1') }), '... the first is gone');
        }
    }

    # A cancel while it is awaited.
    $session->get("SET kms.command = '$stage'; SET kms.keys = '1=gate.first, 2=plain'");
    $session->send('SELECT kms.encode_batch(1, plain) OVER () FROM person');
    ok(becomes(sub { was_asked($stage_folder, 'gate.first') }), 'the agent has read a request');
    $node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
    my $began = time;
    is($session->answer->{state}, '57014', 'a cancel while rows are read ahead');
    cmp_ok(time - $began, '<', 8, '... works at once');
    write_text("$stage_folder/first", '');
    is($session->get('SELECT ' . seen_through('kms.encode_batch(2, plain) OVER ()') . ' FROM person LIMIT 2'), "person 1\nperson 2", '... and no late reply is taken for another');
    $session->quit;
}

$node->stop;
no_crash($node);
done_testing();
