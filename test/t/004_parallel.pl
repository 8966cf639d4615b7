# Parallel workers encode and decode with agents of their own, under the bindings of their leader.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = 5000;
my $workers = 2;
my $folder = PostgreSQL::Test::Utils::tempdir;
my $serve = make_keyring($folder, 'customers', 'other');
my $stage = stage_agent($folder);
my $node = kms_node(
    'parallel',
    'kms.command' => $serve,
    parallel_setup_cost => 0,
    parallel_tuple_cost => 0,
    min_parallel_table_scan_size => 0,
    max_parallel_workers_per_gather => $workers,
    max_parallel_workers => 8,
    parallel_leader_participation => 'off');

my $decode_all = 'SELECT count(*) FROM people WHERE kms.decode_text(1, sealed) = plain';
my $encode_all = 'SELECT count(kms.encode(1, plain)) FROM people';
my $recode_all = "SELECT count(*) FROM people WHERE kms.decode_text(2, kms.recode(1, 2, sealed, ''), '') = plain";
my $arrays = 'SELECT count(*) FROM people WHERE kms.decode_text_array(1, kms.encode_array(1, ARRAY[plain, NULL, plain])) = ARRAY[plain, NULL, plain]';
my $try_all = "SELECT count(kms.try_decode(1, sealed)), count(kms.try_decode(2, sealed)) FROM people";

$node->safe_psql('postgres', <<"SQL");
CREATE TABLE people AS SELECT n, 'person ' || n AS plain, NULL::bytea AS sealed FROM generate_series(1, $rows) n;
SET kms.keys = '1=customers';
UPDATE people SET sealed = kms.encode(1, plain);
VACUUM ANALYZE people;
ALTER TABLE people SET (parallel_workers = $workers);
-- Slow enough for every worker to get a part.
CREATE FUNCTION is_chosen(n int) RETURNS bool LANGUAGE plpgsql PARALLEL SAFE AS '
BEGIN
    IF n % 100 <> 0 THEN RETURN false; END IF;
    PERFORM pg_sleep(0.005);
    RETURN true;
END';
-- Its leader does not see what it calls.
CREATE FUNCTION hidden_decode(sealed bytea) RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE AS '
BEGIN
    RETURN kms.decode_text(1, sealed);
END';
CREATE FUNCTION sets_keys() RETURNS bool LANGUAGE plpgsql PARALLEL SAFE AS '
BEGIN
    RETURN kms.encode(1, ''x'') IS NULL OR set_config(''kms.keys'', ''1=other'', false) IS NULL;
END';
CREATE ROLE app LOGIN;
GRANT USAGE ON SCHEMA kms TO app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kms TO app;
GRANT ALL ON people TO app;
SQL

sub is_parallel {
    my ($session, $sql) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    like($session->get("EXPLAIN (ANALYZE, COSTS OFF) $sql"), qr/Workers Launched: $workers/, "in workers: $sql");
    return;
}

sub lines_of {
    my ($file) = @_;
    open my $in, '<', "$folder/$file" or return ();
    chomp(my @lines = <$in>);
    return @lines;
}

# --- both modes

for my $mode ('local', 'remote') {
    my $session = kms_session($node);
    $session->get("SET kms.mode = $mode; SET kms.keys = '1=customers, 2=other'");
    is_parallel($session, $_) for $decode_all, $recode_all, $try_all, $arrays;
    is($session->get($decode_all), $rows, "workers decode in $mode mode");
    is($session->get($recode_all), $rows, "workers recode in $mode mode");
    is($session->get($try_all), "$rows|0", "workers try to decode in $mode mode");
    is($session->get($arrays), $rows, "workers seal and open arrays in $mode mode");
    $session->get('CREATE TEMP TABLE fresh AS SELECT plain, kms.encode(1, plain) AS sealed FROM people');
    is($session->get('SELECT count(*), count(DISTINCT sealed) FROM fresh WHERE kms.decode_text(1, sealed) = plain'),
        "$rows|$rows", "workers encode in $mode mode");
    is($session->get('SELECT starts FROM kms.status()'), 1, 'their leader has one agent all the time');
    $session->get('SELECT kms.unset_key(1)');
    fails_with($session, $decode_all, 'KM001', "workers follow unset_key in $mode mode");
    $session->quit;
}

# Each worker makes nonces of its own.
{
    my $session = kms_session($node);
    $session->get("SET kms.keys = '1=customers'");
    is($session->get(<<'SQL'), $workers, 'no two workers share a nonce prefix');
WITH sealed AS MATERIALIZED (SELECT kms.encode(1, plain) AS value FROM people WHERE is_chosen(n))
SELECT count(DISTINCT substr((kms.inspect(value)).nonce, 1, 12)) FROM sealed
SQL
    $session->quit;
}

# --- agents of their own, which end with the query

for my $mode ('local', 'remote') {
    unlink map { "$folder/$_" } 'asked', 'pids', 'told';
    my $session = kms_session($node);
    $session->get("SET kms.command = '$stage'; SET kms.mode = $mode; SET kms.keys = '1=plain'");
    $session->get("SET application_name = 'a b'");
    $session->get("SELECT count(kms.encode(1, plain)) FROM people WHERE is_chosen(n)");
    my @agents = lines_of('pids');
    is(scalar @agents, $workers, "each worker has an agent in $mode mode");
    ok(becomes(sub { !grep { is_alive($_) } @agents }), 'which is gone after the query');
    my $asked = grep { $_ eq 'get plain' } lines_of('asked');
    is($asked, $mode eq 'local' ? $workers : 0, 'keys are asked for once a worker');
    is(agent_pid($session), undef, 'the leader needs none');
    my $me = $session->get('SELECT session_user');
    like($_, qr/role=$me session_role=$me database=postgres application=a%20b /, "whose identity is the leader's")
        for lines_of('told');

    unlink "$folder/told";
    $session->get("SET ROLE app; SELECT count(kms.encode(1, plain)) FROM people WHERE is_chosen(n)");
    like($_, qr/role=app session_role=$me /, 'under SET ROLE too') for lines_of('told');
    is(scalar lines_of('told'), $workers, 'in each worker');
    $session->quit;
}

# --- how many there are

my $watcher = kms_session($node);
sub agents_on_server { return $watcher->get('SELECT server_agents FROM kms.status()') }

for my $mode ('local', 'remote') {
    my $session = kms_session($node);
    $session->get("SET kms.mode = $mode; SET kms.keys = '1=customers'");
    my $counting = 'SELECT max((kms.status()).agents) FROM people WHERE is_chosen(n) AND kms.encode(1, plain) IS NOT NULL';
    is_parallel($session, $counting);
    ok(becomes(sub { $session->get($counting) == $workers }, 120), "the leader counts its workers' agents in $mode mode");
    is($session->get('SELECT agents FROM kms.status()'), 0, '... which are gone after the query');
    $session->get("SELECT kms.encode(1, 'x')");
    ok(becomes(sub { $session->get($counting) == $workers + 1 }, 120), '... and its own with them');
    is($session->get('SELECT agents, server_agents FROM kms.status()'), '1|1', '... which stays');
    is(agents_on_server(), 1, '... and is seen by others');
    is($watcher->get('SELECT agents FROM kms.status()'), 0, '... as not theirs');
    $session->quit;
    ok(becomes(sub { agents_on_server() == 0 }), 'none is counted after the session');
}

# Sends $sql, whose workers wait for agents that hang; these workers, when all have agents.
sub hanging_workers {
    my ($session, $sql) = @_;
    $session->send($sql);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(becomes(sub { agents_on_server() == $workers }), 'agents that hang at their first request are counted');
    return split /\n/, $watcher->get(<<"SQL");
SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l USING (pid)
WHERE a.leader_pid = @{[ $session->pid ]} AND l.locktype = 'advisory' AND l.objsubid = 27501
SQL
}

for my $mode ('local', 'remote') {
    my $session = kms_session($node);
    $session->get("SET kms.command = '$stage'; SET kms.mode = $mode; SET kms.keys = '1=hang'");
    my %ends = (
        'a cancel' => [ '57014', sub { $watcher->get("SELECT pg_cancel_backend(@{[ $session->pid ]})") } ],
        "a worker's cancel" => [ '57014', sub { $watcher->get("SELECT pg_cancel_backend($_[0])") } ],
        "a worker's end" => [ '57P01', sub { $watcher->get("SELECT pg_terminate_backend($_[0])") } ],
    );
    for my $end (sort keys %ends) {
        my ($state, $act) = @{ $ends{$end} };
        my @pids = hanging_workers($session, $encode_all);
        is(scalar @pids, $workers, 'pg_locks shows whose they are');
        $act->(@pids);
        is($session->answer->{state}, $state, "$end in $mode mode");
        is(agents_on_server(), 0, '... leaves no agent');
    }
    hanging_workers($session, $encode_all);
    $watcher->get("SELECT pg_terminate_backend(@{[ $session->pid ]})");
    $session->answer;
    ok(becomes(sub { agents_on_server() == 0 }), "nor does the session's end in $mode mode");
}

# A lock table that is full hides agents, and does nothing else.
{
    my $session = kms_session($node);
    my $hog = kms_session($node);
    $session->get("SET kms.keys = '1=customers'; SELECT 1 FROM kms.status()");
    fails_with($hog, 'BEGIN; SELECT count(pg_advisory_xact_lock(n)) FROM generate_series(1, 1000000) n', '53200', 'the lock table is full');
    $hog->get('ROLLBACK');
    $hog->ask('BEGIN; DO $$ BEGIN FOR n IN 1..1000000 LOOP PERFORM pg_advisory_lock(n); END LOOP; EXCEPTION WHEN out_of_memory THEN NULL; END $$');
    is($session->get("SELECT kms.decode_text(1, kms.encode(1, 'x'))"), 'x', '... and an agent serves all the same');
    is($session->get('SELECT running, agents FROM kms.status()'), 't|0', '... uncounted');
    $hog->get('COMMIT; SELECT pg_advisory_unlock_all()');
    $session->get("SET kms.mode = remote; SELECT kms.encode(1, 'x')");
    is($session->get('SELECT running, agents FROM kms.status()'), 't|1', '... until there is room');
    $hog->quit;
    $session->quit;
}

# --- bindings of every kind

{
    my $session = kms_session($node);
    $session->get("SET kms.keys = '1=other'");
    fails_with($session, $decode_all, 'KM004', 'another key');
    $session->get("BEGIN; SET LOCAL kms.keys = '1=customers'");
    is($session->get($decode_all), $rows, 'workers follow SET LOCAL');
    $session->get('COMMIT');
    fails_with($session, $decode_all, 'KM004', 'and its end');
    $session->get("BEGIN; SAVEPOINT a; SELECT kms.set_key(1, 'customers')");
    is($session->get($decode_all), $rows, 'set_key');
    $session->get('ROLLBACK TO a');
    fails_with($session, $decode_all, 'KM004', 'and its undoing');
    $session->get('ROLLBACK');

    $session->get(<<"SQL");
CREATE FUNCTION open_one(bytea) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
SET kms.keys = '1=customers' AS 'SELECT kms.decode_text(1, \$1)';
CREATE FUNCTION count_all() RETURNS bigint LANGUAGE plpgsql
SET kms.keys = '1=customers' AS 'BEGIN RETURN ($decode_all); END';
SQL
    my $open_all = 'SELECT count(*) FROM people WHERE open_one(sealed) = plain';
    is_parallel($session, $open_all);
    is($session->get($open_all), $rows, "a function's SET inside workers");
    is($session->get('SELECT count_all()'), $rows, "a function's SET around workers");
    fails_with($session, $decode_all, 'KM004', 'and outside of both');
    $session->quit;
}

# --- one worker for anything that may run in one

{
    my $session = kms_session($node);
    my $setting = $node->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
    $session->get("SET $setting = on; SET kms.keys = '1=customers'");
    for my $mode ('local', 'remote') {
        $session->get("SET kms.mode = $mode");
        is($session->get("SELECT kms.decode_text(1, kms.encode(1, 'x'))"), 'x', "$setting in $mode mode");
        is($session->get("SELECT kms.try_decode(1, '\\x01') IS NULL"), 't', "try_decode in $mode mode");
    }
    is($session->get('SELECT local_id, key_identifier FROM kms.session_keys'), '1|customers', 'session_keys');
    is($session->get('SELECT mode FROM kms.status()'), 'remote', 'status');
    $session->quit;
}

# --- window forms: in the leader above what workers read, and inside of functions that workers call

{
    my $session = kms_session($node);
    $session->get(<<'SQL');
CREATE FUNCTION open_batch(parts bytea[]) RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE AS '
BEGIN
    RETURN (SELECT string_agg(opened, '','')
            FROM (SELECT kms.decode_batch_text(1, v) OVER () AS opened FROM unnest(parts) v) o);
END';
SQL
    for my $mode ('local', 'remote') {
        $session->get("SET kms.mode = $mode; SET kms.keys = '1=customers, 2=other'");
        my $batch = 'SELECT count(*) FROM (SELECT plain, kms.decode_batch_text(1, sealed) OVER () AS opened FROM people WHERE n % 7 <> 0) o WHERE opened = plain';
        is_parallel($session, $batch);
        is($session->get($batch), $rows - int($rows / 7), "a window form opens what workers read in $mode mode");
        my $both = 'SELECT count(*) FROM (SELECT plain, kms.decode_batch_text(2, kms.recode(1, 2, sealed)) OVER () AS opened FROM people WHERE kms.decode_text(1, sealed) = plain) o WHERE opened = plain';
        is_parallel($session, $both);
        is($session->get($both), $rows, "... and what they have opened in $mode mode");
        my $inside = 'SELECT count(*) FROM people WHERE open_batch(ARRAY[sealed, NULL, sealed]) = plain || $$,$$ || plain';
        is_parallel($session, $inside);
        is($session->get($inside), $rows, "a window form inside workers in $mode mode");
        fails_with($session, 'SELECT max(opened) FROM (SELECT kms.decode_batch_text(2, sealed) OVER () AS opened FROM people) o',
            'KM004', "an error above workers in $mode mode");
        fails_with($session, "SELECT max(open_batch(ARRAY[sealed, '\\x00'])) FROM people", 'KM006', "an error inside workers in $mode mode");
        is($session->get($batch), $rows - int($rows / 7), 'the session goes on');
    }
    $session->quit;
}

# --- errors

{
    my $session = kms_session($node);
    my %errors = (
        "kms.decode(1, sealed, 'other')" => 'KM005',
        "kms.decode(1, set_byte(sealed, 30, 255 - get_byte(sealed, 30)))" => 'KM005',
        "kms.decode(1, '\\x0102')" => 'KM006',
        "kms.decode(7, sealed)" => 'KM001',
        "kms.encode(NULL, plain)" => '22004',
        "kms.decode_array(1, ARRAY[sealed, '\\x0102'])" => 'KM006',
    );
    for my $mode ('local', 'remote') {
        $session->get("SET kms.mode = $mode; SET kms.keys = '1=customers'");
        for my $call (sort keys %errors) {
            my $name = "$call in workers, $mode mode";
            my $answer = fails_with($session, "SELECT count($call) FROM people", $errors{$call}, $name);
            like($answer->{err}, qr/parallel worker/, 'it comes from a worker');
        }
        is($session->get($decode_all), $rows, 'the session goes on');
    }
    $session->get("SET kms.command = '$stage'; SET kms.mode = remote");
    my %faults = (
        die => 'KM007',
        'fail.denied.no' => 'KM003',
        'fail.disabled.no' => 'KM011',
        'fail.not-found.no' => 'KM002',
    );
    for my $key (sort keys %faults) {
        $session->get("SET kms.keys = '1=$key'");
        fails_with($session, $encode_all, $faults{$key}, "$key in workers");
    }
    $session->get("SET kms.keys = '1=hang'; SET statement_timeout = '1s'");
    fails_with($session, $encode_all, '57014', 'statement_timeout while workers wait');
    end_timeout($session);
    $session->get("SET kms.request_timeout = '300ms'");
    fails_with($session, $encode_all, 'KM008', 'kms.request_timeout in workers');
    $session->get("SET kms.command = ''");
    fails_with($session, $encode_all, 'KM007', 'no command in workers');
    ok(becomes(sub { !children_of($session->pid) }), 'nothing is left of all that');
    $session->quit;
}

# --- settings of the login

{
    my $session = kms_session($node, user => 'app', env => { PGOPTIONS => '-c kms.keys=1=customers' });
    my $hidden = 'SELECT count(*) FROM people WHERE hidden_decode(sealed) = plain';
    is($session->get($hidden), $rows, 'workers that load the library before their leader does');
    is($session->get($decode_all), $rows, 'and those of a leader that has loaded it to plan');
    fails_with($session, 'SELECT count(*) FROM people WHERE sets_keys()', '25000', 'a worker cannot change bindings');
    is($session->get('SELECT kms.decode_text(1, sealed) FROM people WHERE n = 7'), 'person 7', 'and their leader');
    $session->quit;

    $session = kms_session($node, user => 'app', env => { PGOPTIONS => '-c kms.keys=1=customers' });
    $session->get('SET parallel_leader_participation = on');
    is($session->get($hidden), $rows, 'a leader that loads the library in the middle of its query');
    $session->quit;

    $session = kms_session($node, user => 'app', env => { PGOPTIONS => '-c kms.keys=1=customers -c kms.mode=remote' });
    fails_with($session, $hidden, '22023', 'a setting that such workers refuse');
    $session->quit;
}

my $without_kms = "SELECT count(*) FROM people WHERE plain LIKE 'person%'";

for my $preload ('', 'kms') {
    my $when = $preload ? 'where the library is preloaded' : 'where it is not';
    $node->safe_psql('postgres', "ALTER ROLE app SET kms.keys = '1=customers'");
    $node->safe_psql('postgres', "ALTER ROLE app SET kms.command = '$serve --'");
    $node->safe_psql('postgres', "ALTER ROLE app SET session_preload_libraries = '$preload'") if $preload;
    my $session = kms_session($node, user => 'app');
    is($session->get('SELECT count(*) FROM people WHERE hidden_decode(sealed) = plain'), $rows, "workers follow a login's settings, $when");
    is($session->get($decode_all), $rows, "also where the leader has planned with them, $when");
    $session->quit;

    # ALTER ROLE would refuse it.
    $node->safe_psql('postgres', <<'SQL');
UPDATE pg_db_role_setting SET setconfig = array_replace(setconfig, 'kms.keys=1=customers', 'kms.keys=1=1=1')
SQL
    $session = kms_session($node, user => 'app');
    is($session->get($without_kms), $rows, "a bad kms.keys breaks no worker, $when");
    fails_with($session, $decode_all, '22023', "workers say what is wrong, $when");
    fails_with($session, "SELECT kms.encode(1, 'x')", '22023', "and their leader, $when");
    is($session->get($without_kms), $rows, "other queries go on, $when");
    $session->get("SET kms.keys = '1=customers'");
    is($session->get($decode_all), $rows, "until it is set right, $when");
    $session->quit;
}

$node->stop;
no_crash($node);
done_testing();
