# What the owner of a table has written has no say in a census: it is not run, it cannot take another
# role's identity to the agent, free what is being compared, or keep keys from being retired.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $ring = test_folder('ring');
my $heard = "$ring/heard";
make_keyring($ring, qw(victim other));
# What the agent is told goes to a file as well.
write_text("$ring/listening", "tee -a $heard | " . kms_agent_path() . " serve --keyring $ring/ring --key-file $ring/kek\n");
my $node = kms_node('census', 'kms.command' => "sh $ring/listening", 'kms.keys' => '1=victim', log_min_messages => 'debug1');
my $admin = kms_session($node);

$admin->get(q{
    SELECT kms.rotate_key('other');
    CREATE TABLE precious (a bytea);
    INSERT INTO precious VALUES (kms.encode(1, 'precious'));
    SELECT kms.register_column('precious', 'a', 'victim'), kms.rotate_key('victim');
    CREATE ROLE keeper LOGIN;
    CREATE ROLE mallory LOGIN;
    GRANT USAGE ON SCHEMA kms TO mallory, keeper;
    GRANT EXECUTE ON FUNCTION kms.register_column(regclass, name, text, text, text), kms.list_keys TO mallory;
    GRANT EXECUTE ON FUNCTION kms.disable_key(text, int, bool), kms.destroy_key(text, int, bool), kms.enable_key(text, int), kms.key_age TO keeper;
    CREATE SCHEMA mallory AUTHORIZATION mallory;
    CREATE FUNCTION keys_for_everybody() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        AS $$ SELECT count(*) FROM kms.list_keys('other') $$;
});

# A table whose owner has put $body into a function that is to be run wherever a planner, a scan or an aggregate
# could run it.
sub set_trap {
    my ($body) = @_;
    $admin->get(qq{
        SET ROLE mallory;
        DROP TABLE IF EXISTS mallory.t;
        CREATE OR REPLACE FUNCTION mallory.trap(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 1; END';
        CREATE TABLE mallory.t (a bytea) PARTITION BY LIST ((a IS NULL));
        CREATE TABLE mallory.part (a bytea, CHECK (mallory.trap(4) = 1));
        CREATE INDEX ON mallory.part ((mallory.trap(1))) WHERE mallory.trap(2) = 1;
        CREATE STATISTICS mallory.stats ON (mallory.trap(3)), a FROM mallory.part;
        INSERT INTO mallory.part VALUES ('x'), ('y');
        ANALYZE mallory.part;
        ALTER TABLE mallory.t ATTACH PARTITION mallory.part DEFAULT;
        SELECT kms.register_column('mallory.t', 'a', 'other');
        CREATE OR REPLACE FUNCTION mallory.trap(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \$\$ BEGIN $body RETURN 1; END \$\$;
        RESET ROLE;
    });
    return;
}

sub state_of {
    my ($key, $version) = @_;
    return $admin->get("SELECT state FROM kms.list_keys('$key') WHERE key_identifier = '$key' AND version = $version");
}

# The role that the agent knew when it was asked for $verb last.
sub role_that_asked_for {
    my ($verb) = @_;
    my ($role, $asked) = ('', '');
    foreach my $line (split /\n/, slurp_if_there($heard)) {
        $role = $1 if $line =~ /^role=(.*)/;
        $asked = $role if $line =~ /^$verb /;
    }
    return $asked;
}

my $keeper = kms_session($node, user => 'keeper');

# --- an admin call that reached the agent under another role's identity

set_trap('PERFORM public.keys_for_everybody();');
is(outcome($keeper, "SELECT kms.disable_key('other', 1)"), '', 'while an owner\'s function would ask the agent as another role');
ok(becomes(sub { role_that_asked_for('disable') ne '' }), '... a version is disabled');
is(role_that_asked_for('disable'), 'keeper', '... in the name of who disables it');
is(state_of('other', 1), 'disabled', '... and is');

# --- use after free in the guard: an owner's function that has the agent's list made anew

set_trap('FOR i IN 1..3 LOOP PERFORM count(*) FROM kms.list_keys(\'other\'); END LOOP;');
my $needed = fails_with($keeper, "SELECT kms.disable_key('victim', 1)", 'KM012', 'a version that rows need is not disabled');
is($needed->{detail}, 'public.precious.a: 1 row', '... whatever an owner\'s function lists meanwhile');
is(state_of('victim', 1), 'enabled', '... and stays as it is');

# --- an owner's function that raises blocked every retirement

set_trap('RAISE \'not while I am here\';');
fails_with($keeper, "SELECT kms.disable_key('victim', 1)", 'KM012', 'where an owner\'s function raises, rows are counted');
$admin->get('UPDATE precious SET a = kms.recode(1, 1, a)');
is(outcome($keeper, "SELECT kms.disable_key('victim', 1)"), '', '... and what none needs is disabled');
$admin->get(q{GRANT EXECUTE ON FUNCTION kms.list_keys TO keeper});
$keeper->get(q{SET client_min_messages = warning});
$admin->get(q{ALTER ROLE keeper SET kms.cache_ttl = '1s'; ALTER DATABASE postgres SET kms.cache_ttl = '1s'});
my $destroyer = kms_session($node, user => 'keeper');
is(outcome($destroyer, "SELECT kms.destroy_key('victim', 1)"), '', '... and destroyed');
is($keeper->get("SELECT rows FROM kms.key_age() WHERE key_identifier = 'victim'"), 1, '... and key_age() counts');
$admin->get(q{SET ROLE mallory; DROP TABLE mallory.t; RESET ROLE; GRANT EXECUTE ON FUNCTION kms.census TO keeper; GRANT SELECT ON precious TO keeper});

# --- a foreign table among the parts cannot be counted: it is said, and force does without

$admin->get(q{
    CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
    CREATE TABLE spread (id int, a bytea) PARTITION BY LIST (id);
    CREATE FOREIGN TABLE far PARTITION OF spread FOR VALUES IN (1) SERVER nowhere;
    SELECT kms.register_column('spread', 'a', 'other');
});
my $uncounted = fails_with($keeper, "SELECT kms.disable_key('other', 2)", 'KM012', 'rows that cannot be counted may need a version');
is($uncounted->{detail}, 'public.spread.a: its part "far" is a foreign table, so its rows cannot be counted', '... as is said');
is(outcome($keeper, "SELECT kms.disable_key('other', 2, force => true)"), '', '... and force does without');
like($admin->ask('SELECT count(*) FROM kms.key_age()')->{err}, qr/^WARNING:  .*rows of public\.spread\.a are not counted: its part "far" is a foreign table/m, 'key_age() says what it leaves out');
$admin->get('DROP TABLE spread');

# --- workers count their share, and what one of them cannot read is no lower number

$admin->get(q{
    CREATE TABLE large (a bytea) WITH (parallel_workers = 2);
    ALTER TABLE large ALTER a SET STORAGE EXTERNAL;
    INSERT INTO large SELECT '\x01cdcdcdcdcdcdcdcd' || decode(repeat('00', 3000), 'hex') FROM generate_series(1, 20000);
    SET min_parallel_table_scan_size = 0;
});
my ($workers) = ($admin->pid);
new_log($node);
is($admin->get("SELECT rows FROM kms.census('large', 'a')"), 20000, 'a large table');
like(new_log($node), qr/starting background worker process "parallel worker for PID $workers"/, '... is counted by workers too');
is($admin->get("BEGIN; INSERT INTO large VALUES ('\\x'); SELECT sum(rows) FROM kms.census('large', 'a'); ROLLBACK"), 20001, '... with what the transaction has done itself');
is($admin->get("SET max_parallel_workers = 0; SELECT rows FROM kms.census('large', 'a'); RESET max_parallel_workers"), 20000, '... and where no worker can be had');
is($admin->get("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT rows FROM kms.census('large', 'a'); COMMIT"), 20000, '... in any isolation level');
is($admin->get("CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql PARALLEL SAFE AS 'SELECT sum(rows) FROM kms.census(''large'', ''a'')';
    SELECT counted() FROM generate_series(1, 2)"), "20000\n20000", '... within another query');
my $toast = $admin->get("CHECKPOINT; SELECT pg_relation_filepath(reltoastrelid) FROM pg_class WHERE oid = 'large'::regclass");
$_->quit foreach $admin, $keeper, $destroyer;
$node->stop;
truncate $node->data_dir . "/$toast", 8192 * 5000 or die $!;
$node->start;
$admin = kms_session($node);
fails_with($admin, "SET min_parallel_table_scan_size = 0; SELECT rows FROM kms.census('large', 'a')", 'XX001', 'a value that cannot be read is an error, whoever reads it');
is($admin->get("SELECT rows FROM kms.census('precious', 'a')"), 1, '... after which counting goes on');
$admin->quit;
$node->stop;
no_crash($node);
done_testing();
