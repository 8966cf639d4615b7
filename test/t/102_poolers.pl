# pgbouncer in transaction mode: bindings of one transaction are nobody else's, and what
# doc/application.md says of transaction pools.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run ();
use KmsKeys;
use KmsPrograms;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Debian has it where the path of others does not lead.
my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
plan skip_all => 'no pgbouncer: test/install-packages check' unless $pgbouncer;
my ($version) = `"$pgbouncer" --version` =~ /PgBouncer (\d+\.\d+)/i or BAIL_OUT('a pgbouncer that does not tell its version');
my $prepares = version_number($version) >= version_number('1.21') ? 1 : 0;
note "pgbouncer $version";

sub version_number { my ($major, $minor) = split /\./, $_[0]; return 1000 * $major + $minor }

my ($tenants, $servers, $clients, $transactions) = (5, 3, 16, 250);
my $folder = test_folder('keys');
my @tenants = map { "tenant-$_" } 1 .. $tenants;
my $node = kms_node('pooled', 'kms.command' => make_keyring($folder, 'customer-pii', 'account-emails:aes-256-siv', 'search-terms:hmac-sha-256', @tenants));
my $session = kms_session($node);
$session->get($_->{text}) foreach grep { $_->{section} eq 'What is there already' } blocks_of_page('application.md');
$session->get(q{
    CREATE TABLE used (client int, tenant int, key_tag bytea, backend int DEFAULT pg_backend_pid());
    CREATE TABLE sealed (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, client int, tenant int, body bytea);
    GRANT SELECT, INSERT ON used, sealed TO app;
});

# --- a pgbouncer in front of it, as whoever runs the tests

my $place = PostgreSQL::Test::Utils::tempdir_short();
my $port = $node->port;

sub start_pooler {
    my ($name, %settings) = @_;
    my $home = "$place/$name";
    mkdir $home or die "$home: $!";
    write_text("$home/users", qq{"app" ""\n"boss" ""\n});
    %settings = (
        listen_port => $port, unix_socket_dir => $home, auth_type => 'trust', auth_file => "$home/users", admin_users => 'boss',
        pool_mode => 'transaction', default_pool_size => $servers, max_client_conn => 100, server_lifetime => 3600,
        ignore_startup_parameters => 'extra_float_digits', logfile => "$home/log", %settings,
    );
    $settings{max_prepared_statements} //= 100 if $prepares;
    write_text("$home/ini", join "\n", '[databases]', "* = host=@{[ $node->host ]} port=$port", '[pgbouncer]', 'listen_addr =', (map { "$_ = $settings{$_}" } sort keys %settings), '');
    my $self = { home => $home, out => '' };
    $self->{run} = IPC::Run::start([ $pgbouncer, "$home/ini" ], '<', \'', '>', \$self->{out}, '2>&1');
    becomes(sub { -S "$home/.s.PGSQL.$port" }) or BAIL_OUT("no pgbouncer: $self->{out} " . slurp_if_there("$home/log"));
    return $self;
}

my @poolers;
END {
    local $?;
    foreach my $pooler (@poolers) {
        $pooler->{run}->kill_kill;
    }
}

# A client of a pooler: whatever is said last in a connection string counts.
sub client {
    my ($pooler, %options) = @_;
    return kms_session($node, %options, user => 'app host=' . $pooler->{home});
}

# What the console of a pooler says.
sub console {
    my ($pooler, $command) = @_;
    my ($out, $err);
    IPC::Run::run([ $node->installed_command('psql'), '-XAtq', '-d', "host=$pooler->{home} port=$port user=boss dbname=pgbouncer", '-c', $command ], '<', \'', '>', \$out, '2>', \$err)
      or die "$command: $err";
    return $out;
}

sub through { my ($pooler) = @_; return (PGHOST => $pooler->{home}, PGPORT => $port, PGDATABASE => 'postgres', PGUSER => 'app') }

push @poolers, my $pooler = start_pooler('pool');

# --- more clients than servers, each with a key of its own for every transaction

# Seals, and opens what any client has sealed under the same key.
write_text("$place/seal.sql", <<"SQL");
\\set tenant random(1, $tenants)
BEGIN;
SELECT set_config('kms.keys', '1=tenant-' || :tenant, true);
INSERT INTO sealed (client, tenant, body) VALUES (:client_id, :tenant, kms.encode(1, 'of tenant ' || :tenant));
INSERT INTO used (client, tenant, key_tag) SELECT :client_id, :tenant, key_tag FROM kms.inspect(kms.encode(1, 'x'::text));
SELECT 1 / (kms.decode_text(1, body) = 'of tenant ' || :tenant)::int FROM sealed WHERE tenant = :tenant ORDER BY id DESC LIMIT 1;
COMMIT;
SQL
# SET LOCAL takes no parameter: pgbench writes the number into the statement.
write_text("$place/set_local.sql", <<"SQL");
\\set tenant random(1, $tenants)
BEGIN;
SET LOCAL kms.keys = '1=tenant-:tenant';
INSERT INTO used (client, tenant, key_tag) SELECT :client_id, :tenant, key_tag FROM kms.inspect(kms.encode(1, 'x'::text));
COMMIT;
SQL

# A thread for each client: to prepare a statement, pgbench lets a whole thread wait, and with it whoever has a server connection.
sub run_clients {
    my ($mode, $script, $name) = @_;
    local %ENV = (%ENV, through($pooler));
    $session->get('TRUNCATE used');
    my ($out, $err) = ('', '');
    my $good = eval { IPC::Run::run([ $node->installed_command('pgbench'), '-n', '-M', $mode, '-c', $clients, '-j', $clients, '-t', $transactions, '-f', "$place/$script" ], '<', \'', '>', \$out, '2>', \$err, IPC::Run::timeout(120)) };
    ok($good, "$name: every transaction is made") or diag $err;
    is($session->get('SELECT count(*), count(DISTINCT client), count(DISTINCT tenant) FROM used'), $clients * $transactions . "|$clients|$tenants", '... by all clients, for all tenants');
    cmp_ok($session->get('SELECT count(DISTINCT backend) FROM used'), '<=', $servers, '... over few server connections');
    cmp_ok($session->get('SELECT max(n) FROM (SELECT count(DISTINCT client) n FROM used GROUP BY backend) b'), '>', 1, '... which clients share');
    is($session->get(q{SELECT count(*) FROM used JOIN kms.list_keys('tenant-') k USING (key_tag) WHERE k.key_identifier <> 'tenant-' || tenant}), 0, '... and no key is another tenant\'s');
    is($session->get(q{SELECT count(*) FROM used JOIN kms.list_keys('tenant-') k USING (key_tag)}), $clients * $transactions, '... but one of them');
    return;
}

run_clients('simple', 'set_local.sql', 'SET LOCAL');
run_clients('extended', 'seal.sql', 'set_config');
my $reader = client($pooler);
foreach my $tenant (1 .. $tenants) {
    is($reader->get("BEGIN; SET LOCAL kms.keys = '1=tenant-$tenant'; SELECT count(DISTINCT client), count(*) FILTER (WHERE kms.decode_text(1, body) <> 'of tenant $tenant') FROM sealed WHERE tenant = $tenant; COMMIT"),
        "$clients|0", "what all clients have sealed for tenant $tenant is read by another");
    is($reader->get("BEGIN; SET LOCAL kms.keys = '1=tenant-$tenant'; SELECT count(kms.try_decode(1, body)) FROM sealed WHERE tenant <> $tenant; COMMIT"), 0, '... and nothing of others');
}
is($reader->get('SHOW kms.keys'), '1=customer-pii, 2=account-emails, 3=search-terms', 'after a transaction the bindings of the login are back');
cmp_ok($session->get('SELECT count(*) FROM pg_stat_activity WHERE usename = $$app$$'), '<=', $servers, 'there are few server connections');
# This session's own agent, which list_keys has started, is one of them.
my $agents = $session->get('SELECT server_agents - agents FROM kms.status()');
cmp_ok($agents, '>', 0, 'there are agents') and cmp_ok($agents, '<=', $servers, '... one for each server connection at most');

# --- transactions that are open at a time

my @open = map { client($pooler) } 1 .. $servers;
$open[ $_ - 1 ]->get("BEGIN; SET LOCAL kms.keys = '1=tenant-$_'") foreach 1 .. $servers;
my @pids = map { $_->get('SELECT pg_backend_pid()') } @open;
my %pids = map { $_ => 1 } @pids;
is(scalar keys %pids, $servers, 'each open transaction has a server connection');
is($open[ $_ - 1 ]->get("SELECT count(*) FROM (SELECT FROM sealed WHERE tenant = $_ AND kms.decode_text(1, body) = 'of tenant $_' LIMIT 5) s"), 5, "... with the key of tenant $_") foreach 1 .. $servers;
$_->get('ROLLBACK') foreach @open;
is($_->get('SHOW kms.keys'), '1=customer-pii, 2=account-emails, 3=search-terms', '... and not after a ROLLBACK') foreach @open;

# --- what doc/application.md says

# From here on there is one server connection for all.
push @poolers, my $single = start_pooler('single', default_pool_size => 1);
my ($one, $two) = map { client($single) } 1 .. 2;
is($one->get('SELECT pg_backend_pid()'), $two->get('SELECT pg_backend_pid()'), 'two clients have one server connection');
$one->get(q{SELECT kms.set_key(1, 'tenant-1')});
is($two->get(q{SELECT current_setting('kms.keys') ~ '1=tenant-1'}), 't', 'set_key without is_local binds for the next client');
$two->get(q{SET kms.keys = '1=tenant-2'});
is($one->get('SHOW kms.keys'), '1=tenant-2', '... and so does SET');
$one->get('RESET kms.keys');
$one->get(q{SELECT kms.set_key(1, 'tenant-1', is_local => true)});
is($two->get(q{SELECT current_setting('kms.keys') ~ '1=tenant-1'}), 'f', '... but not is_local');

# ALTER ROLE is seen by a new server connection.
my $keys = '1=tenant-3, 2=account-emails, 3=search-terms';
my $before = $one->get('SHOW kms.keys');
$session->get("ALTER ROLE app SET kms.keys = '$keys'");
is(client($single)->get('SHOW kms.keys'), $before, 'ALTER ROLE SET does not count for the server connections that there are');
my $pid = $one->get('SELECT pg_backend_pid()');
console($single, 'RECONNECT');
ok(becomes(sub { $one->get('SELECT pg_backend_pid()') != $pid }), 'RECONNECT in the console makes new ones');
is($one->get('SHOW kms.keys'), $keys, '... for which it counts');
is($two->get('SHOW kms.keys'), $keys, '... for every client');
$session->get("ALTER ROLE app SET kms.keys = '$before'");

# Options of a client.
sub refused_with {
    my ($pooler) = @_;
    my ($out, $err);
    local $ENV{PGOPTIONS} = '-c kms.keys=1=tenant-4';
    my $good = IPC::Run::run([ $node->installed_command('psql'), '-XAtq', '-d', "host=$pooler->{home} port=$port user=app dbname=postgres", '-c', 'SHOW kms.keys' ], '<', \'', '>', \$out, '2>', \$err);
    return $good ? $out : $err;
}
like(refused_with($single), qr/unsupported startup parameter.*options/, 'options are refused');
push @poolers, my $ignoring = start_pooler('ignoring', ignore_startup_parameters => 'extra_float_digits, options, kms.keys');
is(refused_with($ignoring), "$before\n", '... or dropped, where pgbouncer is told to ignore them');
{
    local $ENV{PGOPTIONS} = '-c kms.keys=1=tenant-4';
    is(kms_session($node, user => 'app')->get('SHOW kms.keys'), '1=tenant-4', '... which bind without a pooler');
}

# The programs of the page, through a pooler.
foreach my $program (grep { $_->{language} =~ /^(?:python|js)$/ && $_->{section} =~ /transaction pool|Insert|Errors/ } blocks_of_page('application.md')) {
  SKIP: {
        my $missing = missing_language($program->{language});
        skip $missing, 1 if $missing ne '';
        prints_as_shown($program, "\"$program->{section}\" in $program->{language}, through pgbouncer", through($pooler));
    }
}

# --- prepared statements of the protocol

run_clients('prepared', 'seal.sql', 'prepared statements') if $prepares;
$_->quit foreach @open, $one, $two, $reader;
# A statement is prepared, and then another transaction has the server connection where it was.
my %program = (js => <<"JS", python => <<"PY");
const { Client } = require('pg');
(async () => {
    const [one, two] = [new Client(), new Client()];
    await one.connect();
    await two.connect();
    const named = { name: 'seal', text: 'SELECT kms.decode_text(1, kms.encode(1, \$1)) AS text', values: ['x'] };
    await one.query(named);
    await two.query('BEGIN');
    await two.query('SELECT 1');
    console.log(await one.query(named).then(result => result.rows[0].text, error => error.code));
    await two.query('COMMIT');
    await one.end();
    await two.end();
})();
JS
import psycopg
def outcome(**options):
    one, two = (psycopg.connect(autocommit=True, **options) for _ in range(2))
    seal = "SELECT kms.decode_text(1, kms.encode(1, %s))"
    for _ in range(6):
        one.execute(seal, ("x",))
    two.execute("BEGIN")
    two.execute("SELECT 1")
    try:
        return one.execute(seal, ("x",)).fetchone()[0]
    except psycopg.Error as error:
        return error.diag.sqlstate
    finally:
        one.close()
        two.close()
print(outcome())
print(outcome(prepare_threshold=None))
PY

foreach my $found (0 .. $prepares) {
    push @poolers, my $double = start_pooler("double-$found", default_pool_size => 2, $prepares ? (max_prepared_statements => 100 * $found) : ());
    my $outcome = $found ? 'x' : '26000';
    my %expected = (js => "$outcome\n", python => "$outcome\nx\n");
    foreach my $language (sort keys %program) {
      SKIP: {
            my $missing = missing_language($language);
            skip $missing, 1 if $missing ne '';
            my ($code, $out, $err) = run_language($language, $program{$language}, through($double));
            is("$code $err$out", "0 $expected{$language}", "what $language prepares is " . ($found ? 'found' : 'not found') . ' on another server connection');
        }
    }
}

$session->quit;
foreach my $each (@poolers) {
    $each->{run}->signal('INT');
    ok(eval { $each->{run}->finish; 1 }, 'a pooler ends');
    unlike(slurp_if_there("$each->{home}/log"), qr/FATAL/, '... without a complaint');
}
@poolers = ();
$node->stop;
no_crash($node);
done_testing();
