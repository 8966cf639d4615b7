# Keys belong to roles: what an agent is told of who asks, and that its policy cannot be walked around.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP qw(decode_json);
use KmsKeys;
use KmsTest;
use List::Util qw(first);
use PostgreSQL::Test::Utils;
use Test::More;

my $policy = test_folder('policy');
my $agent = 'exec /usr/bin/python3 ' . example_agent('policy.py') . " $policy";
my $node = kms_node('roles', 'kms.command' => $agent, 'listen_addresses' => '127.0.0.1');
my $cluster = $node->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()');

$node->safe_psql('postgres', q{
    LOAD 'kms';
    CREATE ROLE alice LOGIN;
    CREATE ROLE bob LOGIN;
    GRANT USAGE ON SCHEMA kms TO alice, bob;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kms TO alice, bob;
    GRANT SELECT ON kms.session_keys TO alice, bob;
    CREATE SCHEMA work;
    GRANT CREATE, USAGE ON SCHEMA work TO alice, bob;
    SET ROLE alice;
    CREATE FUNCTION work.seal(text) RETURNS bytea LANGUAGE sql SECURITY DEFINER
        SET kms.keys = '1=alice-key' SET search_path = kms, pg_temp AS 'SELECT kms.encode(1, $1)';
    CREATE FUNCTION work.open(bytea) RETURNS text LANGUAGE plpgsql SECURITY DEFINER
        SET kms.keys = '1=alice-key' SET search_path = kms, pg_temp
        AS 'BEGIN RETURN kms.decode_text(1, $1); END';
    CREATE FUNCTION work.who() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT kms.encode(1, ''x''::text)::text';
});

sub allow {
    write_text("$policy/rules", join '', map { "$_\n" } @_);
    return;
}

# What the agents were asked since the last call.
my $already_seen = 0;

sub seen {
    my @lines = split /\n/, slurp_if_there("$policy/seen");
    my @new = map { decode_json($_) } @lines[ $already_seen .. $#lines ];
    $already_seen = @lines;
    foreach my $line (grep { $_->{identity} } @new) {
        $_ = pack 'H*', $_ foreach values %{ $line->{identity} };
    }
    return @new;
}

sub identities { return map { $_->{identity} } grep { $_->{identity} } seen() }

allow('alice-key alice', 'bob-key bob', 'common alice', 'common bob', 'mine postgres');

# --- an agent that can be told of another role, and one that must be started anew

my $encode = "SELECT left(kms.encode(1, 'x'::text)::text, 4)";

foreach my $offered ('get identify', 'get') {
    my $way = $offered =~ /identify/ ? 'identified' : 'started anew';
    my $session = keys_session($node, { 'kms.command' => "$agent $offered", 'kms.keys' => '1=alice-key' });
    seen();
    is($session->get("SET ROLE alice; $encode"), '\x01', "$way: alice has her key");
    my $first_agent = agent_pid($session);
    my $sealed = $session->get("SELECT kms.encode(1, 'hers'::text)");
    is(outcome($session, "SET ROLE bob; $encode"),
        'KM003 could not encode with local id 1 (key "alice-key"): denied by the key agent',
        '... which bob does not, in the session that holds it');
    like(outcome($session, "SELECT kms.decode(1, '$sealed')"), qr/^KM003 /, '... nor does it decode for him');
    like(outcome($session, "SELECT kms.set_key(2, 'alice-key')"), qr/^KM003 /, '... nor can he bind it again');
    is($session->get("SELECT count(*) FROM kms.session_keys WHERE version IS NOT NULL"), 0, '... nor see it held');
    if ($way eq 'identified') {
        is(agent_pid($session), $first_agent, 'the agent runs on');
        is(join(' ', map { $_->{role} } identities()), 'alice bob', '... and was told of both');
    }
    else {
        isnt(agent_pid($session), $first_agent, 'the agent was started again');
        ok(becomes(sub { !is_alive($first_agent) }), '... and the first one has ended');
        my @told = seen();
        is(join(' ', map { pack 'H*', $_->{role} } grep { $_->{verb} eq 'get' } @told), 'alice bob bob bob',
            '... and no agent was asked for another role than its own');
    }
    is($session->get("RESET ROLE; SET ROLE alice; SELECT kms.decode_text(1, '$sealed')"), 'hers',
        'back as alice, it works');
    is(scalar(grep { $_->{verb} eq 'get' } seen()), 0, '... from what the session holds for her');

    is($session->get("RESET ROLE; SET SESSION AUTHORIZATION alice; SELECT kms.decode_text(1, '$sealed')"), 'hers',
        'SET SESSION AUTHORIZATION: alice');
    like(outcome($session, "SET SESSION AUTHORIZATION bob; SELECT kms.decode(1, '$sealed')"), qr/^KM003 /, '... and bob');
    $session->get('RESET SESSION AUTHORIZATION');
    like(outcome($session, "SELECT kms.decode(1, '$sealed')"), qr/^KM003 /, 'the superuser is nobody special');

    is($session->get("SET kms.keys = '7=common'; SET ROLE alice; SELECT length(kms.encode(7, ''::text)); SET ROLE bob; SELECT length(kms.encode(7, ''::text))"),
        "49\n49", 'a key that both may have');
    my @asked = map { pack 'H*', $_->{role} } grep { $_->{verb} eq 'get' && $_->{key} eq unpack 'H*', 'common' } seen();
    is("@asked", 'alice bob', '... was asked for once for each');
    $session->quit;
}

# --- two session users with one role, as a pooler may have them: what one was given is not the other's

$node->safe_psql('postgres', 'CREATE ROLE team; GRANT team TO alice, bob; GRANT USAGE ON SCHEMA kms TO team;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kms TO team');
allow('team-key team', 'team-key postgres', 'alice-key alice', 'bob-key bob');
foreach my $offered ('get identify', 'get') {
    my $pooler = keys_session($node, { 'kms.command' => "$agent $offered ", 'kms.keys' => '1=team-key' });
    $pooler->get("CREATE TEMP TABLE theirs AS SELECT kms.encode(1, 'row ' || n) AS c FROM generate_series(1, 100) n; GRANT SELECT ON theirs TO team");
    my $become = sub { $pooler->get("RESET SESSION AUTHORIZATION; SET SESSION AUTHORIZATION $_[0]; SET ROLE team"); seen() };
    my $asked = sub {
        my @seen = seen();
        return join ' ', (map { "$_->{identity}{role}/$_->{identity}{session_role}" } grep { $_->{identity} } @seen),
            map { $_->{verb} } grep { $_->{verb} eq 'get' } @seen;
    };
    foreach my $sql ('SELECT kms.decode_text(1, c) FROM theirs LIMIT 1', "SELECT kms.decode_with_text('team-key', c) FROM theirs LIMIT 1",
        'SELECT kms.decode_batch_text(1, c) OVER () FROM theirs LIMIT 1', 'SELECT unnest(kms.decode_text_array(1, ARRAY[c])) FROM theirs LIMIT 1')
    {
        foreach my $user ('alice', 'bob') {
            $become->($user);
            is($pooler->get($sql), 'row 1', "$offered: $user as team: " . $sql =~ s/\(.*//r);
            is($asked->(), "team/$user get", '... and the agent is asked, and told who is logged in');
            is($pooler->get($sql) . $asked->(), 'row 1', '... once');
        }
    }
    $become->('alice');
    $pooler->get('BEGIN; DECLARE c CURSOR FOR SELECT kms.decode_batch_text(1, c) OVER () FROM theirs');
    is($pooler->get('FETCH 2 FROM c'), "row 1\nrow 2", 'a cursor over rows that are read ahead');
    $become->('bob');
    is($pooler->get('FETCH 2 FROM c'), "row 3\nrow 4", "... goes on with another session user");
    is($asked->(), 'team/bob get', '... for whom the agent is asked anew');
    $pooler->get('ROLLBACK');
    $pooler->quit;
}
allow('alice-key alice', 'bob-key bob', 'common alice', 'common bob', 'mine postgres');

# --- SECURITY DEFINER

my $bob = keys_session($node, { 'kms.keys' => '1=bob-key' }, user => 'bob');
my $hers = $bob->get("SELECT work.seal('through her function')");
is($bob->get("SELECT work.open('$hers')"), 'through her function', "bob uses alice's key through her functions");
like(outcome($bob, "SELECT kms.decode(1, '$hers')"), qr/^KM004 /, '... and by himself his own, which does not fit');
like(outcome($bob, "SET kms.keys = '1=alice-key'; SELECT kms.decode(1, '$hers')"), qr/^KM003 /,
    '... nor hers, which was fetched in this session');
is($bob->get("SELECT work.open('$hers')"), 'through her function', '... while her functions work on');
is(outcome($bob, "SELECT work.who() LIKE '\\\\x01%'"), 't', 'a function without its own kms.keys uses its caller\'s');
like(outcome($bob, "SET kms.keys = '1=bob-key'; SELECT work.who()"), qr/^KM003 .*bob-key/, '... but her rights');
is($bob->get('SHOW kms.keys'), '1=bob-key', 'functions leave no binding behind');
my $counted = $bob->get("SELECT count(*) FROM generate_series(1, 20) i
    WHERE work.open(work.seal(i::text)) = i::text AND length(kms.encode(1, i::text)) = 49 + length(i::text)");
is($counted, 20, 'both keys in turns, row by row');
$bob->quit;

# --- identity lines

seen();
# From 19 on no name of a database or a role has a newline or a carriage return.
my $database = first { $node->psql('postgres', qq{CREATE DATABASE "$_"}, stderr => \my $refused) == 0 } "odd\npid=1%", "odd\tpid=1%";
$node->safe_psql($database, 'CREATE EXTENSION kms; GRANT USAGE ON SCHEMA kms TO alice;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kms TO alice');
my $tcp = keys_session($node, { 'kms.keys' => '1=alice-key' }, dbname => $database,
    user => 'postgres host=127.0.0.1', env => { PGAPPNAME => 'ledger = 100%' });
$tcp->get("SET ROLE alice; $encode");
is_deeply([ identities() ], [ {
    role => 'alice', session_role => 'postgres', database => $database, application => 'ledger = 100%',
    client => '127.0.0.1', pid => $tcp->pid, cluster => $cluster,
} ], 'all that an agent is told, over TCP');
$tcp->quit;

my $local = keys_session($node, { 'kms.keys' => '1=alice-key' }, user => 'alice', env => { PGAPPNAME => '' });
$local->get($encode);
my ($told) = identities();
is("$told->{session_role},$told->{client}", 'alice,', 'over a Unix socket there is no address');
$local->quit;

my %hostile = (
    'a newline' => "eve\nrole=alice",
    'a carriage return and a tab' => "eve\r\trole=alice",
    'an equals sign' => 'eve=alice',
    'percent signs' => 'alice%0Arole=alice%00',
    'UTF-8' => "\xc3\xa9v\xc3\xa9 \xe6\x84\x9b",
    'a space at each end' => ' alice ',
    '63 bytes' => 'e' x 63,
);
foreach my $what (sort keys %hostile) {
    my $role = '"' . ($hostile{$what} =~ s/"/""/gr) . '"';
    my $made = $node->psql('postgres', "CREATE ROLE $role", stderr => \my $refused);
    next if $made != 0 && $refused =~ /newline or carriage return/;
    $node->safe_psql('postgres', "GRANT USAGE ON SCHEMA kms TO $role; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kms TO $role");
    my $session = keys_session($node, { 'kms.keys' => '1=alice-key' });
    seen();
    like(outcome($session, "SET ROLE $role; $encode"), qr/^KM003 /, "a role whose name has $what is not alice");
    my @told = identities();
    is_deeply([ map { $_->{role} } @told ], [ $hostile{$what} ], '... and the agent is told its name');
    is(join(' ', sort keys %{ $told[0] }), 'application client cluster database pid role session_role',
        '... and no line more');
    $session->quit;
}

# --- a role that is renamed or dropped while its session lives

allow('dora-key dora', 'other-key dora', 'fresh-key dora2', 'alice-key alice', 'bob-key bob');
$node->safe_psql('postgres', 'CREATE ROLE dora LOGIN; GRANT USAGE ON SCHEMA kms TO dora;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kms TO dora');
my $dora = keys_session($node, { 'kms.keys' => '1=dora-key, 2=other-key, 3=fresh-key' }, user => 'dora');
is($dora->get($encode), '\x01', 'dora has her key');
$node->safe_psql('postgres', 'ALTER ROLE dora RENAME TO dora2');
like(outcome($dora, "SELECT kms.encode(2, 'x'::text)"), qr/^KM003 /, 'once renamed she is asked for by her new name');
is(outcome($dora, "SELECT length(kms.encode(3, ''::text))"), '49', '... which has another key');
$node->safe_psql('postgres', 'DROP OWNED BY dora2; DROP ROLE dora2');
isnt($dora->ask("SELECT kms.set_key(4, 'fresh-key')")->{state}, '', 'a role that was dropped gets no key');
$dora->quit;

# --- a schema that somebody else has made first, with a function that plaintexts would go to

$node->safe_psql('postgres', 'CREATE ROLE mallory LOGIN');
$node->safe_psql('postgres', 'CREATE DATABASE early');
$node->safe_psql('early', 'GRANT CREATE ON DATABASE early TO mallory');
my $mallory = kms_session($node, user => 'mallory', dbname => 'early');
$mallory->get('CREATE SCHEMA kms; CREATE FUNCTION kms.encode(int, varchar) RETURNS bytea LANGUAGE sql AS $$ SELECT $2::bytea $$');
my $admin = kms_session($node, dbname => 'early');
my $refused = fails_with($admin, 'CREATE EXTENSION kms', '42501', 'another role\'s schema is not used');
like($refused->{message}, qr/schema "kms" belongs to mallory/, '... says why');
$admin->get('DROP SCHEMA kms CASCADE; CREATE SCHEMA kms; CREATE EXTENSION kms');
$_->quit foreach $mallory, $admin;

# --- a role that may use keys and nothing else, as the README grants it

allow('mine app', 'mine postgres');
$node->safe_psql('postgres', q{
    CREATE ROLE app LOGIN;
    GRANT USAGE ON SCHEMA kms TO app;
    GRANT EXECUTE ON FUNCTION kms.encode(int, text, bytea), kms.decode_text(int, bytea, bytea),
        kms.decode(int, bytea, bytea), kms.set_key(int, text, bool) TO app;
    CREATE ROLE nobody LOGIN;
});
my $app = kms_session($node, user => 'app');
is(outcome($app, "SELECT kms.set_key(1, 'mine'); SELECT kms.decode_text(1, kms.encode(1, 'for work'::text))"),
    "\nfor work", 'a role with four functions can use its key');
fails_with($app, $_, '42501') foreach 'SHOW kms.command', "SELECT current_setting('kms.command')",
    "SET kms.command = 'true'", "SET kms.mode = 'remote'", 'SET kms.cache_ttl = -1', 'SET kms.request_timeout = 1',
    "SELECT kms.create_key('more')", "SELECT kms.rotate_key('mine')", "SELECT kms.destroy_key('mine', 1)",
    "SELECT kms.disable_key('mine', 1)", "SELECT * FROM kms.list_keys()", 'SELECT * FROM kms.status()',
    'SELECT * FROM kms.session_keys', 'SELECT kms.unset_key(1)', 'SELECT kms.generate_key()';
is(outcome($app, "SELECT count(*) FROM pg_settings WHERE name = 'kms.command'"), 0, 'pg_settings hides kms.command');
my $nobody = keys_session($node, { 'kms.keys' => '1=mine' }, user => 'nobody');
fails_with($nobody, "SELECT kms.encode(1, 'x'::text)", '42501', 'without a grant nothing works');
$_->quit foreach $app, $nobody;

# --- who may not open a column leaves no trigger behind that opens it when others write

allow('alice-key alice', 'bob-key bob');
$node->safe_psql('postgres', 'GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA kms TO alice');
my $holder = kms_session($node, user => 'bob');
my $stolen = $holder->get("SELECT kms.encode_with('bob-key', 'of bob')");
my $thief = kms_session($node, user => 'alice');
$thief->get("CREATE TABLE work.stolen (id int, c bytea) PARTITION BY LIST (id); CREATE TABLE work.part PARTITION OF work.stolen DEFAULT;
    INSERT INTO work.stolen VALUES (1, NULL), (2, '$stolen'); SELECT kms.register_column('work.stolen', 'c', 'bob-key')");
fails_with($thief, q{CALL kms.decrypt_column('work.stolen', 'c', 'text')}, 'KM003', 'who may not have the key does not open a column');
is($thief->get(q{SELECT count(*) FROM pg_trigger WHERE tgrelid = 'work.stolen'::regclass}), 0, '... and leaves no trigger that would');
foreach my $first ('', q{INSERT INTO work.stolen VALUES (1, '\x00')}, q{TRUNCATE work.stolen; INSERT INTO work.stolen VALUES (1, '\x01' || decode(repeat('00', 60), 'hex'))}) {
    $thief->get("TRUNCATE work.stolen; $first");
    fails_with($thief, q{CALL kms.decrypt_column('work.stolen', 'c', 'text')}, 'KM003', '... nor where there is no value of the key: ' . ($first || 'none at all'));
    is($thief->get(q{SELECT count(*) FROM pg_trigger WHERE tgrelid = 'work.stolen'::regclass}), 0, '... and leaves no trigger');
}
$thief->get(q{SELECT kms.unregister_column('work.stolen', 'c'), kms.register_column('work.stolen', 'c', 'alice-key')});
is($thief->get(q{TRUNCATE work.stolen; SET client_min_messages = error; CALL kms.decrypt_column('work.stolen', 'c', 'text'); SELECT count(*) FROM pg_trigger WHERE tgrelid = 'work.stolen'::regclass}),
    1, 'who may have the key makes one, of an empty table too');
$_->quit foreach $thief, $holder;

$node->stop;
no_crash($node);
done_testing();
