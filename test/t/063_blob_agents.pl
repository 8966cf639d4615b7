# Blobs whose keys an agent wraps, in remote mode, where the agent is a bad one, or dies, or where the
# user gives up: an error, no blob that does not open, and the session goes on. What of blobs may be
# in the server's log, and what memory they take.
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
my $plan = test_folder('plan');
my $agent = make_keyring($keys, 'b');
my $data_key = join '', map { chr int rand 256 } 1 .. 32;
kms_admin($keys, 'create', '--import', '-', 'a', \unpack 'H*', $data_key);
my $relay = 'exec /usr/bin/python3 ' . example_agent('relay.py') . " $plan " . ($agent =~ s/^exec //r);
my $node = kms_node('blob_agents', 'kms.command' => $agent, 'kms.keys' => '1=a,2=b', 'kms.mode' => 'remote', fsync => 'off', autovacuum => 'off',
    max_wal_size => '4GB', shared_buffers => '16MB', log_min_messages => 'debug1', log_statement => 'all', log_error_verbosity => 'verbose');
my $session = kms_session($node);
my $soon = 8;    # seconds

sub good { return $session->get("RESET kms.command; RESET kms.request_timeout; RESET statement_timeout") }

# --- each fault of wrap and unwrap

my $mark = 'Ravenscroft';
my $backwards = reverse $mark;
$session->get(<<"SQL");
CREATE TABLE kept AS SELECT n, kms.blob_put(1, reverse('$backwards ' || n)::bytea) AS id FROM generate_series(1, 3) n;
CREATE FUNCTION unread() RETURNS bigint LANGUAGE sql AS \$\$ SELECT count(*) FROM kept WHERE kms.blob_get(id) IS DISTINCT FROM reverse('$backwards ' || n)::bytea \$\$;
SQL
kms_admin($keys, 'rotate', 'a');
$session->get('SET kms.keys = ' . sql_quote('1=a,2=b'));

my %use = (
    put => "SELECT kms.blob_put(1, 'new')",
    get => 'SELECT kms.blob_get(id) FROM kept WHERE n = 1',
    append => "SELECT kms.blob_append(id, '') FROM kept WHERE n = 1",
    recode => 'SELECT kms.blob_recode(id, 2) FROM kept WHERE n = 2',
    rewrap => 'SELECT kms.rewrap_blobs(1)',
    copy => 'SELECT kms.blob_copy(id) FROM kept WHERE n = 3',
);
my %wraps = map { $_ => 1 } qw(put recode rewrap copy);
my %unwraps = map { $_ => 1 } qw(get append recode rewrap copy);
my $count = 0;
foreach my $act ('die', 'fail denied', 'fail disabled', 'spoil', 'cut 1', 'extend 9000', 'garble', 'hang') {
    foreach my $verb ('wrap', 'unwrap') {
        foreach my $use (sort keys %use) {
            next unless $verb eq 'wrap' ? $wraps{$use} : $unwraps{$use};
            next if $act =~ /^(?:die|hang|extend 9000)$/ && $use !~ /^(?:put|get|rewrap)$/;
            write_text("$plan/plan", "$verb 1 $act");
            $session->get('BEGIN; SET LOCAL kms.command = ' . sql_quote("N=" . ++$count . " $relay") . ($act eq 'hang' ? "; SET LOCAL kms.request_timeout = '200ms'" : ''));
            my $state = $session->ask($use{$use})->{state};
            # Versions that may not be used are passed by, and blobs that do not open are told of.
            my $expected = $use eq 'rewrap' && "$verb $act" =~ /^unwrap (?:fail (?:denied|disabled)|spoil|garble)$/ ? qr/^$/ : qr/^KM0(?:03|04|05|07|08|09|11)$/;
            like($state, $expected, "$act in answer to $verb: $use");
            $session->get('ROLLBACK');
        }
    }
}
is($session->get('SELECT unread(), count(*) FROM kms.blob'), '0|3', 'with a right agent all is as it was');

# --- each fault of what goes through the agent, with kms.blob_keys = agent

$session->get("SET kms.blob_keys = agent; INSERT INTO kept SELECT n, kms.blob_put(1, reverse('$backwards ' || n)::bytea) FROM generate_series(4, 5) n");
%use = (
    put => "SELECT kms.blob_put(1, decode(repeat(md5('x'), 2000), 'hex'))",
    get => 'SELECT kms.blob_get(id) FROM kept WHERE n = 4',
    append => "SELECT kms.blob_append(id, 'x') FROM kept WHERE n = 4",
    recode => 'SELECT kms.blob_recode(id, 2) FROM kept WHERE n = 5',
);
# Chunks, then the manifest. To append begins with a question for the current version.
my %asks = (put => [ 'encrypt 1', 'encrypt 2', 'encrypt 3' ], append => [ 'decrypt 1', 'encrypt 2', 'encrypt 3' ], recode => [ 'decrypt 1', 'encrypt 1', 'encrypt 2' ],
    get => [ 'decrypt 1', 'decrypt 2' ]);
foreach my $act ('cut 1', 'extend 16') {
    foreach my $use (sort keys %use) {
        foreach my $ask (@{ $asks{$use} }) {
            write_text("$plan/plan", "$ask $act");
            $session->get('BEGIN; SET LOCAL kms.command = ' . sql_quote('N=' . ++$count . " $relay"));
            like($session->ask($use{$use})->{state}, qr/^KM0/, "$act in answer to $ask: $use");
            $session->get('ROLLBACK');
        }
    }
}
$session->get('SET kms.blob_keys = session');
is($session->get('SELECT unread(), count(*) FROM kms.blob'), '0|5', 'with a right agent all is as it was');
$session->get('SELECT kms.blob_delete(id) FROM kept WHERE n > 3; DELETE FROM kept WHERE n > 3');

# --- a rotation with kms.blob_keys = agent, beside blobs that have keys of their own

{
    $session->get(q{SET kms.blob_keys = agent; SET kms.keys = '1=a,2=b'; SELECT kms.blob_delete(id) FROM kms.blob; TRUNCATE kept});
    $session->get("INSERT INTO kept SELECT 6, kms.blob_put(1, 'no key of its own')");
    $session->get("SET kms.blob_keys = session; INSERT INTO kept SELECT 7, kms.blob_put(2, 'of another key'); SET kms.blob_keys = agent");
    kms_admin($keys, 'rotate', 'a');
    $session->get("SET kms.command = " . sql_quote("$agent --verbs encrypt,decrypt,wrap,unwrap,describe"));
    fails_with($session, 'SELECT kms.rewrap_blobs(1)', 'KM010', 'where the agent does not say whose a blob is');
    $session->get('RESET kms.command');
    is($session->get('SELECT kms.rewrap_blobs(1)'), '1', 'a blob of another key is passed by');
    is($session->get('SELECT kms.rewrap_blobs(1)'), '0', '... and nothing is left to do');
    like($session->ask("BEGIN; UPDATE kms.blob SET key_tag = '\\x0102030405060708' WHERE wrapped IS NOT NULL; SELECT kms.rewrap_blobs(1)")->{err},
        qr/WARNING:.*since they are damaged: 1$/m, 'a row whose key tag was changed is told of');
    $session->get('ROLLBACK');
    kms_admin($keys, 'rotate', 'b');
    fails_with($session, 'SELECT kms.rewrap_blobs(2)', 'KM010', 'one of the key itself is in the way');
    $session->get('SET kms.blob_keys = session');
    is($session->get('SELECT kms.rewrap_blobs(2)'), '1', '... until its key may come');
    $session->get("SELECT kms.blob_delete(id) FROM kms.blob; TRUNCATE kept; INSERT INTO kept SELECT n, kms.blob_put(1, reverse('$backwards ' || n)::bytea) AS id FROM generate_series(1, 3) n");
}

# --- in the middle of a large one

$session->get("CREATE TABLE large (bytes bytea); ALTER TABLE large ALTER bytes SET STORAGE external; INSERT INTO large SELECT decode(repeat(md5('large'), 100 * 65536), 'hex')");
$session->get('CREATE TABLE stored AS SELECT kms.blob_put(1, bytes) AS id FROM large');
my $is_right = 'SELECT (kms.blob_verify(id)).sha256 = sha256(bytes) FROM stored, large';
is($session->get($is_right), 't', 'a blob of 100 MiB');
my $watch = kms_session($node);
sub begin {
    my ($sql) = @_;
    $session->send($sql);
    my $is_active = "SELECT state = 'active' AND query ~ 'kms.blob_' FROM pg_stat_activity WHERE pid = " . $session->pid;
    becomes(sub { eval { $session->{run}->pump_nb }; $watch->get($is_active) eq 't' }) or die "not begun: $sql";
    return sleep 0.05;
}
my %large = (put => 'SELECT kms.blob_put(1, bytes) FROM large', get => 'SELECT length(kms.blob_get(id)) FROM stored', verify => 'SELECT kms.blob_verify(id) FROM stored',
    copy => 'SELECT kms.blob_copy(id) FROM stored', append => 'SELECT kms.blob_append(id, bytes) FROM stored, large');
foreach my $place ('session', 'agent') {
    $session->get("SET kms.blob_keys = $place");
    $session->get('UPDATE stored SET id = kms.blob_put(1, bytes) FROM large') if $place eq 'agent';
    foreach my $use (sort keys %large) {
        $session->get("SET statement_timeout = '40ms'");
        fails_with($session, $large{$use}, '57014', "blob_keys = $place: statement_timeout in the middle of $use");
        end_timeout($session);
        next if $place eq 'session' && $use ne 'put';
        begin("$large{$use}, generate_series(1, 20)");
        $watch->get('SELECT pg_cancel_backend(' . $session->pid . ')');
        my $began = time;
        is($session->answer->{state}, '57014', '... a cancel');
        cmp_ok(time - $began, '<', $soon, '... works at once');
    }
    is($session->get('SELECT unread()'), '0', '... and then all is well') if $place eq 'session';
}
foreach my $use (qw(put get verify)) {
    write_text("$plan/plan", ($use eq 'put' ? 'encrypt' : 'decrypt') . ' 100 die');
    $session->get('SET kms.command = ' . sql_quote('N=' . ++$count . " $relay"));
    fails_with($session, $large{$use}, 'KM007', "the agent dies in the middle of $use");
}
good();
is($session->get($is_right), 't', 'with the next one all is well');
$session->get("SET kms.blob_keys = session");
is($session->get('SELECT count(*) FROM kms.blob'), '5', 'nothing is left of what did not come to its end');
is($session->get('SELECT count(*) FROM kms.blob_chunk WHERE blob_id NOT IN (SELECT id FROM kms.blob)'), '0', '... nor rows of chunks');
$session->get('SELECT kms.blob_delete(id) FROM kms.blob WHERE id NOT IN (SELECT id FROM kept)');

$watch->quit;

# --- what is told

$session->get(<<"SQL");
CREATE TABLE source AS SELECT reverse('{"n": "$mark"}') AS name, reverse('$mark/type') AS type, reverse('{"k": "$mark"}') AS meta, reverse('not JSON: $mark') AS text;
CREATE TABLE told AS SELECT kms.blob_put(1, reverse(text)::bytea, reverse(name), reverse(type), reverse(meta)::jsonb) AS id FROM source;
SQL
my $whole_log = slurp_file($node->logfile);
foreach my $mode ('local', 'remote') {
    $session->get("SET kms.mode = $mode");
    is($session->get('SELECT count(*) FROM told, source, kms.blob_meta(id) m WHERE m.name = reverse(source.name) AND kms.blob_read(id, 0, 3) IS NOT NULL'), 1, "$mode: read in silence");
    fails_with($session, 'SELECT kms.blob_get_json(id) FROM told', '22P02', "$mode: no JSON");
    fails_with($session, 'SELECT kms.blob_append(id, reverse(text)::bytea, 9) FROM told, source', 'KM014', "$mode: another version");
    fails_with($session, 'SELECT kms.blob_set_meta(id, repeat(reverse(name), 10000)) FROM told, source', '54000', "$mode: too long a name");
    fails_with($session, "BEGIN; UPDATE kms.blob_chunk SET data = set_byte(data, 70, 255 - get_byte(data, 70)) FROM told WHERE blob_id = told.id; SELECT kms.blob_get(id) FROM told", 'KM005', "$mode: changed bytes");
    $session->get('ROLLBACK');
    fails_with($session, 'SELECT kms.blob_put(1, reverse(text)::bytea, reverse(name)), 1 / (length(name) - length(name)) FROM source', '22012', "$mode: an error behind it");
}
my ($code, $lines) = run_python('', "$FindBin::RealBin/lib/memory.py", 'secrets', 'xaes-256-gcm', unpack 'H*', $data_key);
is($code, 0, 'the secrets that are drawn from the key') or diag $lines;
my %needle = (marker => $mark, map { (split)[0] => pack 'H*', (split)[1] } grep { !/in-hex/ } split /\n/, $lines);
my $log = slurp_file($node->logfile);
foreach my $name (sort keys %needle) {
    my @found = grep { index($_, $needle{$name}) >= 0 || index(lc $_, unpack 'H*', $needle{$name}) >= 0 } split /\n/, $log;
    # What the client itself sent.
    is(join("\n", grep { !/CREATE TABLE (?:source|kept)|reverse\('/ } @found), '', "the log has no $name");
}

# --- memory

$session->quit;
foreach my $mode ('local', 'remote') {
    $session = keys_session($node, { 'kms.mode' => $mode });
    my $anonymous = sub { process_status($session->pid)->{RssAnon} =~ s/ kB//r / 1024 };
    my $loop = 'DO $$ DECLARE id uuid; BEGIN FOR n IN 1 .. %d LOOP id := kms.blob_put(1, repeat(n::text, 3000)::bytea, n::text, metadata => \'{"k": 1}\'); PERFORM kms.blob_append(id, \'x\'), kms.blob_get(id), kms.blob_meta(id), kms.blob_compact(id), kms.blob_verify(id); END LOOP; END $$';
    my $query = 'SELECT count(length(kms.blob_get(id))), count(kms.blob_append(id, \'y\')), sum((kms.blob_verify(id)).size) FROM kms.blob';
    $session->get(sprintf $loop, 200);
    $session->get($query);
    my $before = $anonymous->();
    $session->get(sprintf $loop, 1000);
    takes_less($anonymous->() - $before, 6, "$mode: 1,000 blobs take no more memory than 200");
    $session->get($query);
    $session->get('SELECT count(*) FROM kms.blob_list()');
    takes_less($anonymous->() - $before, 6, '... nor in one statement');
    $session->quit;
}
$session = keys_session($node);
$session->get('TRUNCATE kms.blob, kms.blob_chunk; UPDATE large SET bytes = substr(bytes, 1, 64 * 1048576); DELETE FROM stored; INSERT INTO stored SELECT kms.blob_put(1, bytes) FROM large');
$session->get('SELECT kms.blob_append(id, bytes) FROM stored, large') for 1 .. 3;
$session->quit;
foreach my $mode ('local', 'remote') {
    $session = keys_session($node, { 'kms.mode' => $mode });
    $session->get('SELECT kms.blob_read(id, 1000000, 1000000) IS NULL FROM stored');
    write_text('/proc/' . $session->pid . '/clear_refs', '5');
    my $before = process_status($session->pid)->{VmHWM} =~ s/ kB//r;
    is($session->get('SELECT (kms.blob_verify(id)).size FROM stored'), 256 * 1048576, "$mode: a blob of 256 MiB is verified");
    takes_less((process_status($session->pid)->{VmHWM} =~ s/ kB//r) - $before, 24 * 1024, '... in the memory of the shared buffers and a little more');
    $session->quit;
}

$node->stop;
no_crash($node);
done_testing();
