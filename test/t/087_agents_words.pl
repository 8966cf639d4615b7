# An agent's errors showed paths to everyone: its words are for who may see kms.command; others get the
# kind of failure, and the server's log the rest.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $path = '/srv/hidden/ring';
my $folder = test_folder('agent');

# Answers everything with the error in the file `code`, and shows the path wherever an agent can.
write_text("$folder/agent.sh", <<"SH");
reply() { printf '%s %s %s %s\\n%s' "\$1" "\$id" "\${#3}" "\$2" "\$3"; }
while read -r verb id length words; do
    head -c "\$length" > /dev/null
    echo "reading $path" >&2
    read -r code < $folder/code
    case \$verb in
        hello) [ "\$code" != refuse ] || { reply error denied 'nobody opens $path'; continue; }
            [ "\$code" != exit ] || exit 3
            reply ok 'kms/1 get list encrypt decrypt wrap unwrap describe create identify' 'agent=$path
' ;;
        identify) printf 'ok %s 0\\n' "\$id" ;;
        *) reply error "\$code" 'cannot open $path' ;;
    esac
done
SH
write_text("$folder/code", "failed\n");
my $node = kms_node('words', 'kms.command' => "exec sh $folder/agent.sh", 'kms.keys' => '1=k', session_preload_libraries => 'kms');
$node->safe_psql('postgres', q{
    CREATE ROLE app LOGIN;
    CREATE ROLE monitor LOGIN IN ROLE pg_read_all_settings;
    GRANT USAGE ON SCHEMA kms TO app, monitor;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kms TO app, monitor;
    CREATE FUNCTION for_everybody(text) RETURNS bytea LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        AS 'SELECT kms.encode(1, $1)';
    CREATE SCHEMA app AUTHORIZATION app;
    SET ROLE app;
    CREATE FUNCTION app.listen(OUT detail text, OUT context text) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        PERFORM kms.encode(1, 'x');
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT;
    END $$;
});

my %state_of = (failed => 'KM007', denied => 'KM003', unavailable => 'KM007', invalid => '22023', 'not-found' => 'KM002',
    disabled => 'KM011', corrupt => 'KM005', 'wrong-key' => 'KM004', unsupported => 'KM010', refuse => 'KM003', exit => 'KM007');
my %state_of_get = (%state_of, corrupt => 'XX001', 'wrong-key' => 'KM002');    # which says nothing of a value
my @calls = ("SELECT kms.encode(1, 'x')", "SELECT kms.set_key(2, 'k')", "SELECT kms.create_key('k')", "SELECT * FROM kms.list_keys()", "SELECT kms.wrap('k', 'x')", "SELECT public.for_everybody('x')");

# Everything that reaches a client, at its most talkative.
sub told_to {
    my ($session, $sql) = @_;
    my $answer = $session->ask("SET client_min_messages = debug5; $sql");
    return ($answer->{state}, "$answer->{out}\n$answer->{err}");
}

foreach my $code (sort keys %state_of) {
    write_text("$folder/code", "$code\n");
    my $app = kms_session($node, user => 'app');
    new_log($node);
    foreach my $call (@calls) {
        my ($state, $told) = told_to($app, $call);
        # Whose current version is disabled may be bound.
        my $expected = $call =~ /encode|set_key|everybody/ ? $state_of_get{$code} : $state_of{$code};
        is($state, $code eq 'disabled' && $call =~ /set_key/ ? '' : $expected, "$code: $call");
        unlike($told, qr/hidden/, '... shows nothing of the agent\'s to who may not see its command');
    }
    ok(becomes(sub { slurp_file($node->logfile) =~ /kms agent\[\d+\]: reading $path/ }), '... and the log has what the agent wrote');
    like(new_log($node), qr/^(?:.*ERROR:  .*\n)(?:.*DETAIL:  .*$path)/m, '... and the DETAIL');
    unlike((told_to($app, 'SELECT * FROM kms.status()'))[1], qr/hidden/, '... and status() does not show it either');
    $app->quit;

    my $monitor = kms_session($node, user => 'monitor');
    like((told_to($monitor, $calls[0]))[1], qr/^DETAIL:  .*$path/m, '... who may see the command sees the DETAIL');
    my $last_error = $monitor->get('SELECT last_error FROM kms.status()');
    like($last_error, $code eq 'exit' ? qr/^the key agent exited with status 3/ : qr/$path/, '... and status() as it is');
    $monitor->quit;
}

# --- the kinds that are shown instead

write_text("$folder/code", "failed\n");
my $app = kms_session($node, user => 'app');
my $shown = $app->ask($calls[0]);
is("$shown->{message}|$shown->{detail}|$shown->{hint}", 'could not encode with local id 1 (key "k"): the key agent failed||The server\'s log has the agent\'s own messages.', 'the kind of failure');
is($app->get('SELECT running, agent IS NULL, capabilities IS NULL, errors, last_error FROM kms.status()'), 't|t|t|1|the key agent failed', '... in status() too');
my ($code, $told) = told_to($app, "SET kms.mode = 'local'");
is($code, '42501', 'whoever may not set the mode');
is($app->get('SELECT coalesce(detail, $$$$) FROM app.listen()'), '', 'a handler of exceptions hears nothing');
like(outcome($app, 'SHOW kms.command'), qr/^42501 /, '... as SHOW tells nothing');
$app->quit;

# --- whose privileges count

my $super = kms_session($node);
like((told_to($super, $calls[0]))[1], qr/^DETAIL:  cannot open $path/m, 'a superuser sees the DETAIL');
unlike((told_to($super, "SET ROLE app; $calls[0]"))[1], qr/hidden/, '... and not as another role');
unlike((told_to($super, "RESET ROLE; SELECT * FROM app.listen()"))[1], qr/hidden/, '... nor does a function of another\'s that he calls');
unlike((told_to($super, "SET SESSION AUTHORIZATION app; $calls[0]"))[1], qr/hidden/, '... nor in another\'s session');
$super->get('RESET SESSION AUTHORIZATION');

# --- what the agent says of a KEK, and in a parallel worker

$super->get(q{INSERT INTO kms.data_key (name, version, algorithm, key_tag, state, created, kek, kek_version, wrapped, kek_version_first)
    VALUES ('k', 1, 'xaes-256-gcm', '\x0102030405060708', 'enabled', now(), 'kek', 1, decode(repeat('00', 81), 'hex'), 1)});
$super->get("ALTER ROLE app SET kms.mode = 'envelope'");
$app = kms_session($node, user => 'app');
my ($state, $about_kek) = told_to($app, $calls[0]);
is($state, 'KM007', 'envelope mode');
unlike($about_kek, qr/hidden/, '... shows nothing of what the agent says about the KEK');
$app->quit;
$super->get('ALTER ROLE app RESET ALL; DELETE FROM kms.data_key; CREATE TABLE texts AS SELECT \'x\' AS t FROM generate_series(1, 100); GRANT SELECT ON texts TO app;
    ALTER TABLE texts SET (parallel_workers = 2); ANALYZE texts');
$app = kms_session($node, user => 'app');
($state, my $from_worker) = told_to($app, q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
    SET parallel_leader_participation = off; SELECT count(kms.encode(1, t)) FROM texts});
is($state, 'KM007', 'a parallel worker fails');
like($from_worker, qr/^CONTEXT:  parallel worker/m, '... itself');
unlike($from_worker, qr/hidden/, '... and hands on nothing of its agent\'s');

$_->quit foreach $app, $super;
$node->stop;
no_crash($node);
done_testing();
