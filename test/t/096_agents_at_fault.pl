# Where a key agent is at fault, no value is: what is intact is not taken for tampered with or unsealed,
# nothing takes the place of the only copy that is no sealed value, and no lost request ends a session.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = test_folder('stage');
my $stage = stage_agent($folder);
my $ring = test_folder('ring');
my $kms_agent = make_keyring($ring, 'people');
my $node = kms_node('agents_at_fault', 'kms.command' => $stage);
my $session = kms_session($node);

my $count = 0;

# An agent of its own, so that no key is held and no back-off is waited for.
sub use_agent {
    my ($command) = @_;
    return $session->get('SET kms.command = ' . sql_quote('N=' . ++$count . " $command"));
}

# Every way to open an intact value fails with $state: none says that it does not open. $command: of an
# agent that is started for each.
sub nothing_is_said_of {
    my ($sealed, $state, $name, $command) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @uses = ("kms.decode(1, '$sealed', 'c')", "kms.decode_text(1, '$sealed', 'c')", "kms.try_decode(1, '$sealed', 'c')",
        "kms.is_sealed('$sealed', 1, 'c')", "kms.decode_array(1, ARRAY['$sealed'::bytea], context => 'c')", "kms.decode_batch(1, '$sealed', 'c') OVER ()");
    foreach my $use (@uses) {
        use_agent($command) if $command;
        my $answer = $session->ask("SELECT $use");
        is($answer->{state}, $state, "$name: " . $use =~ s/\(.*//r) or diag "$answer->{out}$answer->{err}";
    }
    return;
}

# --- errors that are about a value where one was asked for, in answer to something else

my @codes = ('corrupt', 'wrong-key', 'invalid');
my %of_key = (corrupt => 'XX001', 'wrong-key' => 'KM002', invalid => '22023');
my %of_kek = (%of_key, invalid => 'XX001');
my %of_agent = (corrupt => 'KM009', 'wrong-key' => 'KM009', invalid => '22023');

foreach my $code (@codes) {
    $session->get("SET kms.mode = local; SET kms.keys = '1=plain'");
    use_agent($stage);
    my $sealed = $session->get("SELECT kms.encode(1, 'intact', 'c')");
    $session->get("SET kms.keys = '1=fail.$code.no'");
    use_agent($stage);
    nothing_is_said_of($sealed, $of_key{$code}, "$code to get");

    $session->get("SET kms.keys = '1=fail-tag.$code.no'");
    $sealed = $session->get("SELECT kms.encode(1, 'intact', 'c')");
    # Then the current key is asked for, and is the one.
    nothing_is_said_of($sealed, $code eq 'wrong-key' ? '' : $of_key{$code}, "$code to get with a tag", $stage);
}

$session->get("SET kms.mode = envelope");
use_agent($stage);
$session->get("SELECT kms.create_data_key('plain', 'plain', force => true)");
$node->safe_psql('postgres', 'CREATE ROLE other; GRANT USAGE ON SCHEMA kms TO other; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kms TO other');
foreach my $mode ('local', 'remote', 'envelope') {
    $session->get("SET kms.mode = $mode; SET kms.keys = '1=plain'");
    use_agent($stage);
    my $sealed = $session->get("SELECT kms.encode(1, 'intact', 'c')");
    foreach my $code (@codes) {
        write_text("$folder/greeting", "error 0 2 $code\nno");
        nothing_is_said_of($sealed, $of_agent{$code}, "$code to hello, $mode mode", "$stage greet.greeting");
        use_agent("$stage identify.$code");
        is($session->get("SELECT kms.decode_text(1, '$sealed', 'c')"), 'intact', "$mode: an agent that does not know another role");
        $session->get('SET ROLE other');
        nothing_is_said_of($sealed, $of_agent{$code}, "$code to identify, $mode mode");
        $session->get('RESET ROLE');
    }
}
$session->get('SET kms.mode = envelope');
foreach my $code (@codes) {
    use_agent($stage);
    my $sealed = $session->get("SELECT kms.encode(1, 'intact', 'c')");
    $node->safe_psql('postgres', "UPDATE kms.data_key SET kek = 'fail.$code.no'");
    $session->quit;
    $session = kms_session($node);
    $session->get("SET kms.mode = envelope; SET kms.keys = '1=plain'");
    nothing_is_said_of($sealed, $of_kek{$code}, "$code to unwrap");
    $node->safe_psql('postgres', "UPDATE kms.data_key SET kek = 'plain'");
}

# --- so a restore through the trigger of doc/sql.md fails, and does not seal twice

my ($trigger) = slurp_file("$FindBin::RealBin/../../doc/sql.md") =~ /^( {4}CREATE FUNCTION seal_number.*\n(?: {4}.*\n)+)/m;
$node->safe_psql('postgres', "CREATE TABLE card (id int PRIMARY KEY, number bytea); $trigger
    CREATE ROLE restorer; GRANT SELECT, INSERT ON card TO restorer; GRANT USAGE ON SCHEMA kms TO restorer; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kms TO restorer");
foreach my $code ('corrupt', 'wrong-key') {
    $session->get("SET kms.mode = local; SET kms.keys = '1=fail-tag.$code.no'");
    my $dumped = $session->get("SELECT kms.encode(1, '4111', '1')");
    use_agent($stage);
    $session->get('SET ROLE restorer');
    my $is_found = $code eq 'wrong-key';
    is($session->ask("INSERT INTO card VALUES (1, '$dumped')")->{state}, $is_found ? '' : $of_key{$code}, "a restore where get answers $code");
    is($session->get('SELECT string_agg(number::text, \' \') FROM card'), $is_found ? $dumped : '', '... seals nothing twice');
    $session->get('RESET ROLE; DELETE FROM card');
}
$session->get("SET kms.keys = '1=plain'");
my $dumped = $session->get("SELECT kms.encode(1, '4111', '1')");
$session->get('SET ROLE restorer');
$session->get("INSERT INTO card VALUES (1, '$dumped')");
is($session->get('SELECT number FROM card'), $dumped, 'with a right agent it stores what it is given');
$session->get('RESET ROLE');

# --- what would take the place of the only copy

my $relay_folder = test_folder('relay');
my $relay = 'exec /usr/bin/python3 ' . example_agent('relay.py') . " $relay_folder " . $kms_agent =~ s/^exec //r;
$session->get("SET kms.mode = local; SET kms.keys = '1=people'");
use_agent($kms_agent);
$session->get("CREATE TABLE person (id int PRIMARY KEY, v bytea); INSERT INTO person SELECT n, kms.encode(1, 'value ' || n) FROM generate_series(1, 5) n;
    SELECT kms.register_column('person', 'v', 'people'); SELECT kms.rotate_key('people'); SET kms.mode = remote");
my $values = "SELECT string_agg(kms.decode_text(1, v), ',' ORDER BY id) FROM person";
foreach my $act (map { ("encrypt N $_", "decrypt N $_") } 'cut 100000', 'cut 1', 'extend 1') {
    foreach my $number (1 .. 3) {
        write_text("$relay_folder/plan", $act =~ s/N/$number/r);
        use_agent($relay);
        fails_with($session, "CALL kms.reencrypt('person', 'v')", 'KM009', "reencrypt: $act of answer $number");
        write_text("$relay_folder/plan", '');
        use_agent($kms_agent);
        is($session->get($values), join(',', map { "value $_" } 1 .. 5), '... and every value opens');
    }
}
like($session->ask("CALL kms.reencrypt('person', 'v')")->{err}, qr/ 5 rows re-encrypted/, 'a right agent re-encrypts them');

# --- an agent that is well, but for one request that it has lost

my $lost = "'lost'";
foreach my $capability ('unordered max-in-flight=4', 'unordered max-in-flight=1', 'max-in-flight=1') {
    my ($word, $limit) = $capability =~ /^(unordered )?(.*)/;
    $session->get("SET kms.mode = remote; SET kms.keys = '1=people'; SET kms.request_timeout = '500ms'");
    use_agent('exec /usr/bin/python3 -IS ' . example_agent('faulty.py') . ' lose ' . ($word // '""') . " $limit\\\\n 0");
    is($session->get("SELECT kms.decode(1, 'fine')"), '\x66696e65', "an agent with $capability");
    my ($agent, $starts) = (agent_pid($session), $session->get('SELECT starts FROM kms.status()'));
    fails_with($session, "SELECT kms.decode(1, $lost)", 'KM008', '... loses a request');
    is($session->get("SELECT kms.decode(1, 'fine')"), '\x66696e65', '... which costs no other call');
    isnt(agent_pid($session), $agent, '... and is given up');
    is($session->get('SELECT starts FROM kms.status()'), $starts + 1, '... for another');
    ok(becomes(sub { $session->get('SELECT 1') && !is_alive($agent) }), '... and ends');
}
like(new_log($node), qr/kms agent\[\d+\]: the agent with pid \d+ has left a request unanswered and is given up/, 'the log says so');

$session->quit;
$node->stop;
no_crash($node);
done_testing();
