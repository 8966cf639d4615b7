# No key and no decoded plaintext where it does not belong: logs, errors, plans, statistics, files,
# backups, the agent's arguments and environment.
use strict;
use warnings FATAL => 'all';

use File::Find;
use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Utils;
use Test::More;

# Known to the test, which would be a leak anywhere else.
sub random_bytes { return join '', map { chr int rand 256 } 1 .. $_[0] }

my %data_key = ('people' => random_bytes(32), 'lookup' => random_bytes(64), 'fast' => random_bytes(32));
my %algorithm = (people => 'xaes-256-gcm', lookup => 'aes-256-siv', fast => 'aes-256-gcm');
my $marker = 'Ravenscroft';    # in every plaintext, and backwards in what plaintexts are made of
my $backwards = reverse $marker;

my %needles = (plaintext => $marker, 'plaintext in hex' => unpack 'H*', $marker);
foreach my $name (keys %data_key) {
    my ($code, $lines) = run_python('', "$FindBin::RealBin/lib/memory.py", 'secrets', $algorithm{$name}, unpack 'H*', $data_key{$name});
    die $lines if $code != 0;
    my %secret = map { (split)[0] => pack 'H*', (split)[1] } split /\n/, $lines;
    delete $secret{'data-key-in-hex'};
    foreach my $which (keys %secret) {
        $needles{"$which of $name"} = $secret{$which};
        $needles{"$which of $name in hex"} = unpack 'H*', $secret{$which};
        $needles{"$which of $name in base64"} = encode_base64($secret{$which}, '') =~ s/=*$//r;
    }
}

sub leaks_in {
    my ($text) = @_;
    my $folded = lc $text;
    return join ', ', sort grep { index($text, $needles{$_}) >= 0 || index($folded, lc $needles{$_}) >= 0 } keys %needles;
}

sub is_clean {
    my ($text, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(length $text, "$name: there is something") or return 0;
    return is(leaks_in($text), '', "$name: no secret");
}

sub folder_is_clean {
    my ($folder, $name) = @_;
    my (%leaks, $count);
    find({ no_chdir => 1, wanted => sub {
        return unless -f $_;
        ++$count;
        my $leaks = leaks_in(slurp_if_there($_));
        $leaks{$_} = $leaks if $leaks ne '';
    } }, $folder);
    ok($count, "$name: there are files");
    return is(join("\n", map { "$_: $leaks{$_}" } sort keys %leaks), '', "$name: no secret");
}

is(leaks_in("x$data_key{people}"), 'data-key of people', 'a secret would be found');
is(leaks_in(uc unpack 'H*', $marker), 'plaintext in hex', '... in other spellings too');

# --- a server that tells all it can

my $keys = test_folder('keys');
my $command = make_keyring($keys);
kms_admin($keys, 'create', '--algorithm', $algorithm{$_}, '--import', '-', $_, \unpack 'H*', $data_key{$_})
  foreach sort keys %data_key;
my $told = test_folder('told');
my $libraries = `"@{[ $ENV{PG_CONFIG} // 'pg_config' ]}" --pkglibdir`;
chomp $libraries;
my @extra = grep { -e "$libraries/$_.so" } qw(auto_explain pg_stat_statements);
my $node = kms_node('secrets',
    'kms.command' => "env > $told/environment; $command",
    shared_preload_libraries => join(',', @extra),
    log_min_messages => 'debug5', log_min_error_statement => 'debug5', log_error_verbosity => 'verbose',
    log_statement => 'all', log_parameter_max_length => -1, log_parameter_max_length_on_error => -1,
    log_duration => 'on', log_temp_files => 0, track_activity_query_size => '64kB',
    wal_level => 'replica', max_wal_senders => 3, max_connections => 20,
    (grep { $_ eq 'auto_explain' } @extra) ? ('auto_explain.log_min_duration' => 0, 'auto_explain.log_analyze' => 'on',
        'auto_explain.log_verbose' => 'on', 'auto_explain.log_nested_statements' => 'on') : ());
$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements') if grep { $_ eq 'pg_stat_statements' } @extra;

# Plaintexts come from columns: a literal would be logged with its query.
$node->safe_psql('postgres', qq{
    CREATE TABLE source AS SELECT i AS id, repeat('$backwards', 3) || i AS x FROM generate_series(1, 3000) i;
    CREATE TABLE vault (id int PRIMARY KEY, mode text, context bytea, value bytea, same bytea, fast bytea);
});

my @sessions;
foreach my $mode ('local', 'remote') {
    my $session = keys_session($node, { 'kms.keys' => '1=people,2=lookup,3=fast', 'kms.mode' => $mode });
    push @sessions, $session;
    my ($low, $high) = $mode eq 'local' ? (1, 1500) : (1501, 3000);
    $session->get("INSERT INTO vault SELECT id, '$mode', id::text::bytea, kms.encode(1, reverse(x), id::text::bytea),
        kms.encode(2, reverse(x)), kms.encode(3, reverse(x)::bytea) FROM source WHERE id BETWEEN $low AND $high");
    my $read = "SELECT count(*) FROM vault JOIN source USING (id) WHERE kms.decode_text(1, value, context) = reverse(x)
        AND kms.decode(2, same) IS NOT NULL AND length(kms.try_decode(3, fast)) > 5 AND mode = '$mode'";
    is($session->get($read), 1500, "$mode mode reads what it wrote");
    is_clean($session->get("EXPLAIN (ANALYZE, VERBOSE, COSTS, BUFFERS) $read"), "$mode mode: EXPLAIN");
    $session->get("PREPARE by_value(bytea) AS SELECT id FROM vault WHERE kms.decode_text(1, value, context) = kms.decode_text(2, \$1)");
    my $sealed = $session->get("SELECT same FROM vault WHERE id = $low");
    is_clean($session->get("EXPLAIN (ANALYZE, VERBOSE) EXECUTE by_value('$sealed')"), "$mode mode: a prepared plan");
    is($session->get("SELECT count(*) FROM vault v WHERE kms.decode_text(1, kms.recode(2, 1, v.same)) IS NOT NULL AND v.id <= 20"), 20,
        "$mode mode recodes");
    is_clean(slurp_if_there('/proc/' . agent_pid($session) . '/cmdline'), "$mode mode: the agent's arguments");
    is_clean(slurp_if_there("$told/environment"), "$mode mode: the agent's environment");
}

# --- failures of each kind, in both modes, also within functions

$node->safe_psql('postgres', q{
    CREATE FUNCTION open_all(wanted int) RETURNS int LANGUAGE plpgsql AS $$
    DECLARE opened text; n int := 0; v vault; BEGIN
        FOR v IN SELECT * FROM vault WHERE id = wanted LOOP
            opened := kms.decode_text(1, v.value, v.context);
            n := n + length(opened);
            PERFORM kms.decode(1, v.value, '\x6f74686572');
        END LOOP;
        RETURN n;
    END $$;
    CREATE TABLE checked (value bytea CHECK (value IS NULL));
});

my %failure = (
    "SELECT kms.decode(1, value, 'other') FROM vault" => 'KM005',
    "SELECT kms.decode_text(2, set_byte(same, 30, get_byte(same, 30) # 1)) FROM vault" => 'KM005',
    "SELECT kms.decode(3, set_byte(fast, 40, get_byte(fast, 40) # 1)) FROM vault" => 'KM005',
    'SELECT kms.decode(2, value) FROM vault' => 'KM004',
    'SELECT kms.decode(9, value) FROM vault' => 'KM001',
    'SELECT kms.decode(1, substr(value, 1, 20)) FROM vault' => 'KM006',
    'SELECT open_all(id) FROM vault LIMIT 1' => 'KM005',
    "SELECT kms.decode_text(1, kms.encode(1, reverse(x)::bytea || '\\x00')) FROM source" => '22021',
    "INSERT INTO checked SELECT kms.encode(1, reverse(x)) FROM source" => '23514',
    'INSERT INTO vault SELECT id, mode, context, kms.recode(1, 2, value, context), same FROM vault' => '23505',
    'DO $$ DECLARE t text; BEGIN SELECT kms.decode_text(2, same) INTO t FROM vault; PERFORM 1 / (length(t) - length(t)); END $$' => '22012',
    "SELECT kms.set_key(4, 'missing')" => 'KM002',
    "SELECT kms.create_key('people')" => '22023',
);
foreach my $session (@sessions) {
    my $mode = $session->get('SHOW kms.mode');
    foreach my $sql (sort keys %failure) {
        my $answer = fails_with($session, $sql, $failure{$sql}, "$mode mode: $failure{$sql}: $sql");
        is(leaks_in($answer->{err}), '', '... tells no secret');
    }
}

# An agent that breaks the protocol with a key in its mouth.
my $stage = test_folder('stage');
my %broken = (
    'too-long' => "ok {id} 33 1\n$data_key{fast}x",
    'other-tag' => "ok {id} 32 1 aes-256-gcm 0011223344556677\n$data_key{fast}",
    'wrong-algorithm' => "ok {id} 32 1 aes-256-siv\n$data_key{fast}",
    'wrong-id' => "ok 77 32 1\n$data_key{fast}",
    'not-a-frame' => unpack('H*', $data_key{fast}) . "\n",
    'key-in-a-word' => 'ok {id} 0 1 ' . unpack('H*', $data_key{fast}) . "\n",
    'more-than-asked' => "ok {id} 32 1\n$data_key{fast}$data_key{fast}",
    'cut' => "ok {id} 32 1\n" . substr $data_key{fast}, 0, 20,
);
my $stubborn = keys_session($node, { 'kms.command' => stage_agent($stage) });
foreach my $name (sort keys %broken) {
    write_text("$stage/$name", $broken{$name});
    my $act = $name eq 'cut' ? 'tell-and-leave' : 'tell';
    my $answer = $stubborn->ask("SELECT kms.set_key(1, '$act.$name')");
    like($answer->{state}, qr/^KM0(07|09|10)$/, "an agent that answers with $name");
    is(leaks_in($answer->{err}), '', '... tells no secret through us');
}
is_clean($stubborn->get('SELECT last_error FROM kms.status()'), 'kms.status()');
push @sessions, $stubborn;

# --- what others see

is_clean($node->safe_psql('postgres', 'SELECT * FROM pg_stat_activity'), 'pg_stat_activity');
is_clean($node->safe_psql('postgres', 'SELECT * FROM pg_stat_statements'), 'pg_stat_statements')
  if grep { $_ eq 'pg_stat_statements' } @extra;
is_clean($node->safe_psql('postgres', "LOAD 'kms'; SELECT * FROM pg_settings WHERE name LIKE 'kms%'"), 'pg_settings');
is_clean($sessions[0]->get('SELECT * FROM kms.session_keys'), 'session_keys');
is_clean($sessions[0]->get('SELECT * FROM kms.list_keys()'), 'list_keys');

fails_with($sessions[0], $_->[0], $_->[1], "no plaintext is stored by $_->[0]") foreach
  [ 'CREATE INDEX ON vault (kms.decode_text(1, value, context))', '42P17' ],
  [ 'ALTER TABLE vault ADD opened text GENERATED ALWAYS AS (kms.decode_text(2, same)) STORED', '42P17' ];

# --- files, with a sort that spills

my $spilling = $sessions[0];
$spilling->get("BEGIN; SET LOCAL work_mem = '64kB'; DECLARE spilled CURSOR FOR
    SELECT kms.encode(1, reverse(x)) AS sealed, id FROM source ORDER BY sealed; MOVE 100 FROM spilled");
ok((glob $node->data_dir . '/base/pgsql_tmp/*'), 'a sort of sealed values has spilled');
$node->safe_psql('postgres', 'ANALYZE; CHECKPOINT');
my $log = slurp_if_there($node->logfile);
like($log, qr/$backwards/, 'the log has what was written into queries');
like($log, qr/Query Text: SELECT count/, '... and plans') if grep { $_ eq 'auto_explain' } @extra;
is_clean($log, 'the server\'s log');
folder_is_clean($node->data_dir, 'the data directory');
$spilling->get('COMMIT');

$node->backup('taken');
folder_is_clean($node->backup_dir . '/taken', 'a base backup');
my ($dump, $err);
IPC::Run::run([ $node->installed_command('pg_dump'), '-d', $node->connstr('postgres') ], '>', \$dump, '2>', \$err) or die $err;
like($dump, qr/CREATE EXTENSION IF NOT EXISTS kms/, 'pg_dump');
is_clean($dump, 'a dump');

$_->quit foreach @sessions;
$node->stop;
is_clean(slurp_if_there($node->logfile), 'the log of the end');
folder_is_clean($node->data_dir, 'the data directory of a stopped server');
no_crash($node);
done_testing();
