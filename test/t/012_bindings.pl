# kms.keys is the truth about bindings, wherever its value comes from and whenever the library is
# loaded.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use Test::More;

my $keys = test_folder('keys');
my $command = make_keyring($keys, qw(one two three conf));
my $node = kms_node('bindings', 'kms.command' => $command, 'max_prepared_transactions' => 2);
my $encode = "SELECT left(kms.encode(1, 'x'::text)::text, 4)";

# The key that encodes with local id 1, by the tag of its only version.
my %name_of_tag = map { (split /\|/)[ 1, 0 ] } split /\n/,
  $node->safe_psql('postgres', 'SELECT key_identifier, key_tag FROM kms.list_keys()');

sub key_in_use {
    my ($session) = @_;
    my $tag = outcome($session, "SELECT key_tag FROM kms.inspect(kms.encode(1, 'x'::text))");
    return $name_of_tag{$tag} // substr $tag, 0, 5;
}

$node->safe_psql('postgres', q{
    CREATE ROLE good LOGIN;
    CREATE ROLE bad LOGIN;
    CREATE ROLE plain LOGIN;
    GRANT USAGE ON SCHEMA kms TO good, bad, plain;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kms TO good, bad, plain;
    GRANT SELECT ON kms.session_keys TO good, bad, plain;
});
# In a session that has not loaded the library, and so takes whatever is said.
$node->safe_psql('postgres', q{
    ALTER ROLE good SET kms.keys = '1=one';
    ALTER ROLE bad SET kms.keys = '1=one, 1=two';
    ALTER DATABASE postgres SET kms.keys = '1=two';
});
kms_admin($keys, 'create', 'unused');

# --- what a login brings, for each way to load the library

my @key_functions = (
    "SELECT kms.encode(1, 'x'::text)", "SELECT kms.encode(1, '\\x00'::bytea, 'c')",
    "SELECT kms.decode(1, '\\x0100')", "SELECT kms.decode_text(1, '\\x0100')",
    "SELECT kms.try_decode(1, '\\x0100')", "SELECT kms.recode(1, 2, '\\x0100')",
    "SELECT kms.set_key(2, 'one')", "SELECT kms.set_key(2, 'one', true)", 'SELECT kms.unset_key(1)',
    'SELECT * FROM kms.session_keys',
);

sub check_logins {
    my ($way) = @_;
    my $session = kms_session($node, user => 'good');
    is(key_in_use($session), 'one', "$way: ALTER ROLE SET binds at login, before ALTER DATABASE SET");
    $session->get("SELECT kms.set_key(1, 'three'); SELECT kms.set_key(2, 'two')");
    is(key_in_use($session), 'three', '... until the session binds another');
    $session->get('DISCARD ALL');
    is($session->get('SELECT string_agg(local_id || key_identifier, $$ $$) FROM kms.session_keys'), '1one',
        '... and DISCARD ALL returns to it');
    is(key_in_use($session), 'one', '... for encode too');
    $session->quit;

    $session = kms_session($node, user => 'plain');
    is(key_in_use($session), 'two', '... ALTER DATABASE SET, for others');
    $session->quit;
    $session = keys_session($node, { 'kms.keys' => '1=three' }, user => 'good');
    is(key_in_use($session), 'three', '... PGOPTIONS come before both');
    $session->quit;

    $session = kms_session($node, user => 'bad');
    foreach my $sql (@key_functions) {
        fails_with($session, $sql, '22023', "... a bad value binds nothing: $sql");
    }
    is($session->get("SELECT count(*) FROM kms.list_keys('one')"), 1, '... what needs no binding works');
    $session->get("SET kms.keys = '1=three'");
    is(key_in_use($session), 'three', '... and all does once kms.keys is set');
    $session->get('RESET kms.keys');
    is(key_in_use($session), '22023', '... until it is reset');
    $session->get("BEGIN; SET LOCAL kms.keys = '1=one'");
    is(key_in_use($session), 'one', '... a local value helps');
    $session->get('COMMIT');
    is(key_in_use($session), '22023', '... for its transaction');
    $session->quit;
    return;
}

check_logins('loaded at need');
$node->append_conf('postgresql.conf', "kms.keys = '1=conf'\nsession_preload_libraries = 'kms'");
$node->reload;
check_logins('session_preload_libraries');
$node->append_conf('postgresql.conf', "session_preload_libraries = ''\nshared_preload_libraries = 'kms'");
$node->restart;
check_logins('shared_preload_libraries');
ok(!eval { keys_session($node, { 'kms.keys' => '1=one, 1=two' }) }, 'a bad value in PGOPTIONS costs the login');
like($@, qr/invalid value for parameter "kms\.keys".*DETAIL: +At byte 13: /s, '... with an explanation');

$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET kms.keys');
my $session = kms_session($node);
is(key_in_use($session), 'conf', 'postgresql.conf binds where nothing else does');
$node->append_conf('postgresql.conf', "kms.keys = '1=three'");
$node->reload;
ok(becomes(sub { key_in_use($session) eq 'three' }), '... and a reload changes it in running sessions');
new_log($node);
$node->append_conf('postgresql.conf', "kms.keys = '1='");
$node->reload;
ok(becomes(sub { new_log($node) =~ /invalid value for parameter "kms\.keys"/ }), '... which is refused where it is bad');
is(key_in_use($session), 'three', '... and changes nothing then');
$node->append_conf('postgresql.conf', "kms.keys = ''");
$node->reload;
ok(becomes(sub { key_in_use($session) eq 'KM001' }), '... or to none');
$session->quit;

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;

# --- while the library is loaded a bad value is refused

$session = kms_session($node);
$session->get("LOAD 'kms'");
foreach my $place ('SET', 'ALTER ROLE plain SET', 'ALTER DATABASE postgres SET', 'ALTER SYSTEM SET') {
    my $answer = fails_with($session, "$place kms.keys = '1=one, x=two'", '22023', "$place refuses a bad value");
    like($answer->{detail}, qr/^At byte 8: /, '... says where it is') if $place ne 'ALTER SYSTEM SET';
}
$session->get("ALTER ROLE plain SET kms.keys = '1=two'");
$session->quit;
$session = kms_session($node, user => 'plain');
is(key_in_use($session), 'two', 'a good one is taken');
$session->get("ALTER ROLE plain SET kms.keys = '1=three'");
is(key_in_use($session), 'two', '... also from the role itself, for later');
fails_with($session, "ALTER ROLE plain SET kms.command = 'true'", '42501', 'but not kms.command');
$session->quit;
$session = kms_session($node, user => 'plain');
is(key_in_use($session), 'three', 'later has come');
$session->quit;
fails_with(kms_session($node, user => 'good'), "ALTER ROLE good SET kms.keys = '1=two'", '42501',
    'a role cannot store bindings before the library is loaded');

$session = kms_session($node);
$session->get("LOAD 'kms'");
my $refused = "DO \$\$ BEGIN PERFORM set_config('kms.keys', '1=' || repeat(',', 1000000), false);
    EXCEPTION WHEN invalid_parameter_value THEN END \$\$";
$session->get($refused);
my ($size_before) = process_status($session->pid)->{VmSize} =~ /(\d+)/;
$session->get($refused) foreach 1 .. 50;
my ($size_after) = process_status($session->pid)->{VmSize} =~ /(\d+)/;
takes_less($size_after, $size_before + 20000, 'a list that is refused leaves no memory behind');
$session->quit;

# --- placeholders: values that a session sets before the library is loaded

sub fresh { return kms_session($node) }

$session = fresh();
$session->get("SET kms.keys = '1=one'");
is(key_in_use($session), 'one', 'set before the library is loaded');
$session->get('RESET kms.keys');
is(key_in_use($session), 'KM001', '... and reset after');

$session = fresh();
$session->get("SET kms.keys = '1=two'; BEGIN; SET kms.keys = '1=one'");
is(key_in_use($session), 'one', 'set in the transaction that loads the library');
$session->get('ROLLBACK');
is(key_in_use($session), 'two', '... and rolled back');

$session = fresh();
$session->get("SET kms.keys = '1=two'; BEGIN; SET LOCAL kms.keys = '1=one'");
is(key_in_use($session), 'one', 'set for the transaction that loads the library');
$session->get('COMMIT');
is(key_in_use($session), 'two', '... and over');

$session = fresh();
$session->get("BEGIN; SET kms.keys = '1=two'; SAVEPOINT s; SET kms.keys = '1=one'");
is(key_in_use($session), 'one', 'set behind a savepoint');
$session->get('ROLLBACK TO s');
is(key_in_use($session), 'two', '... and rolled back to it');
$session->get('ROLLBACK');
is(key_in_use($session), 'KM001', '... and before it');

$session = fresh();
$session->get("SET kms.keys = 'nonsense'; BEGIN; SET LOCAL kms.keys = '1=one'");
is(key_in_use($session), 'one', 'a good local value on top of a bad one');
$session->get('COMMIT');
is(key_in_use($session), '22023', '... which is then in force and binds nothing');

$session = fresh();
$session->get("SET kms.keys = '1=one'; BEGIN; SET kms.keys = 'nonsense'");
is(key_in_use($session), '22023', 'a bad value on top of a good one binds nothing');
$session->get('ROLLBACK');
is(key_in_use($session), 'one', '... and is rolled back');

$session = fresh();
$session->get("BEGIN; SET LOCAL kms.keys = '1=one'");
fails_with($session, "SELECT kms.set_key(1, 'two')", '55000', 'a local value from before the library is known as local');
$session->quit;

my $evil = test_folder('evil');
my $trap = "touch $evil/trapped; exec $command";
$session = kms_session($node, user => 'plain');
$session->ask("SET kms.command = " . sql_quote($trap) . "; SET kms.cache_ttl = -1; SET kms.mode = 'remote'");
is(key_in_use($session), 'three', 'what a plain role sets before the library is loaded');
ok(!-e "$evil/trapped", '... is not run');
is($session->get('SHOW kms.cache_ttl') . $session->get('SHOW kms.mode'), '5minlocal', '... and does not count');
$session->quit;

# PostgreSQL then takes neither the login's value nor the server's.
$node->safe_psql('postgres', "ALTER ROLE plain SET kms.mode = 'remote'");
my %brought = ('kms.command' => $trap, 'kms.mode' => 'local', 'kms.cache_ttl' => -1, 'kms.request_timeout' => 1);
foreach my $setting (sort keys %brought) {
    $session = keys_session($node, { $setting => $brought{$setting} }, user => 'plain');
    foreach my $sql ($encode, "SELECT kms.set_key(1, 'one')", 'SELECT * FROM kms.list_keys()') {
        my $answer = fails_with($session, $sql, '22023', "$setting from a plain role's login: $sql");
        like($answer->{message}, qr/^\Q$setting\E was refused/, '... says why');
    }
    my $parallel = $node->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
    $session->get("SET kms.keys = '1=one'; SET parallel_leader_participation = off; SET $parallel = on");
    my $answer = fails_with($session, $encode, '22023', '... and in a parallel worker, which the leader has not kept from it');
    like($answer->{message}, qr/was refused/, '... for the same reason');
    $session->quit;
}
ok(!-e "$evil/trapped", 'nothing of it was run');
$session = kms_session($node, user => 'plain');
is(key_in_use($session) . ' ' . $session->get('SELECT mode FROM kms.status()'), 'three remote',
    'what a superuser stored for the role is taken');
$session->quit;
$session = keys_session($node, { 'kms.mode' => 'enveloped', 'kms.keys' => '1=one' });
fails_with($session, $encode, '22023', 'a mode that is none leaves no other in force');
$session->quit;

# --- transactions: a pooled connection, prepared transactions, functions

$session = fresh();
foreach my $tenant ('one', 'two', 'three') {
    my $bind = $tenant eq 'two' ? "SELECT kms.set_key(1, 'two', true)" : "SET LOCAL kms.keys = '1=$tenant'";
    $session->get("BEGIN; $bind");
    is(key_in_use($session), $tenant, "a pooled connection serves tenant $tenant");
    $session->get($tenant eq 'three' ? 'ROLLBACK' : 'COMMIT');
    is(key_in_use($session), 'KM001', '... whose binding ends with its transaction');
}

$session->get('CREATE TABLE vault (value bytea)');
$session->get("BEGIN; SELECT kms.set_key(1, 'one', true); INSERT INTO vault VALUES (kms.encode(1, 'prepared'::text))");
$session->get("PREPARE TRANSACTION 'vault'");
is(key_in_use($session), 'KM001', 'PREPARE TRANSACTION ends a local binding');
my $other = keys_session($node, { 'kms.keys' => '1=one' });
$other->get("COMMIT PREPARED 'vault'");
is($other->get('SELECT kms.decode_text(1, value) FROM vault'), 'prepared', '... and its rows arrive');
$other->quit;
$session->get("BEGIN; SELECT kms.set_key(1, 'one'); PREPARE TRANSACTION 'empty'; ROLLBACK PREPARED 'empty'");
is(key_in_use($session), 'one', '... while a binding for the session stays');

$session->get(q{CREATE FUNCTION as_two() RETURNS bytea LANGUAGE plpgsql SET kms.keys = '1=two' AS
    'BEGIN RETURN (kms.inspect(kms.encode(1, ''x''::text))).key_tag; END'});
$session->get(q{CREATE FUNCTION rebind(is_local bool) RETURNS bytea LANGUAGE plpgsql SET kms.keys = '1=two' AS
    'BEGIN PERFORM kms.set_key(1, ''three'', is_local); RETURN (kms.inspect(kms.encode(1, ''x''::text))).key_tag; END'});
is($name_of_tag{ $session->get('SELECT as_two()') }, 'two', 'a function with its own SET kms.keys');
is(key_in_use($session), 'one', '... leaves its caller\'s in force');
is($name_of_tag{ $session->get('SELECT rebind(true)') }, 'three', '... may bind for itself');
is(key_in_use($session), 'one', '... and leaves nothing');
fails_with($session, 'SELECT rebind(false)', '55000', '... but cannot bind for the session');
is(key_in_use($session), 'one', '... and its error leaves nothing either');
$session->get('BEGIN; SAVEPOINT s; SELECT kms.set_key(1, $$three$$); RELEASE s');
is(key_in_use($session), 'three', 'a binding behind a released savepoint');
$session->get("SET LOCAL kms.keys = '1=two'");
fails_with($session, "SELECT kms.set_key(1, 'one')", '55000', '... hidden by a local one, cannot be changed');
$session->get('ROLLBACK');
is(key_in_use($session), 'one', '... and all are rolled back');

# --- another kms.command

my $others = test_folder('others');
my $other_command = make_keyring($others, 'one');
my $before = agent_pid($session);
my $sealed = $session->get("SELECT kms.encode(1, 'first keyring'::text)");
reconfigure($node, 'kms.command' => $other_command);
ok(becomes(sub { $session->get('SHOW kms.command') eq $other_command }), 'another kms.command, by a reload');
fails_with($session, "SELECT kms.decode(1, '$sealed')", 'KM004', '... and the keys of the first agent are gone');
isnt(agent_pid($session), $before, '... for another agent runs');
ok(becomes(sub { !is_alive($before) }), '... and the first has ended');
my $sealed_there = $session->get("SELECT kms.encode(1, 'second keyring'::text)");
$session->get('SET kms.command = ' . sql_quote($command));
is($session->get("SELECT kms.decode_text(1, '$sealed')"), 'first keyring', 'back to the first command');
fails_with($session, "SELECT kms.decode(1, '$sealed_there')", 'KM004', '... and the second\'s keys are gone');
$session->get('BEGIN; RESET kms.command');
is($session->get("SELECT kms.decode_text(1, '$sealed_there')"), 'second keyring', 'reset in a transaction');
$session->get('ROLLBACK');
is($session->get("SELECT kms.decode_text(1, '$sealed')"), 'first keyring', '... that is rolled back');
$session->quit;

# A binding that is gone with its statement is warned of, however that is sent.
my $pgbench = write_text(test_folder('pgbench') . '/local', "\\set x 1\nSELECT kms.set_key(:x, 'conf', is_local => true);\n");
foreach my $protocol ('simple', 'extended', 'prepared') {
    my ($out, $err) = PostgreSQL::Test::Utils::run_command([ 'pgbench', '-n', '-t', '1', '-M', $protocol, '-f', $pgbench, $node->connstr('postgres') ]);
    like($err, qr/WARNING: .*ends with its statement/, "a local binding outside of a transaction block: $protocol protocol");
}

$node->stop;
no_crash($node);
done_testing();
