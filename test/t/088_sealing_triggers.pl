# Triggers that sealed twice, or stored plaintext: the trigger of doc/sql.md, as an application and as a restore.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $page = slurp_file("$FindBin::RealBin/../../doc/sql.md");
my ($trigger) = $page =~ /^( {4}CREATE FUNCTION seal_number.*\n(?: {4}.*\n)+)/m;
ok($trigger, 'doc/sql.md has the trigger');
my ($name) = $page =~ /--role=(\w+)/;

my $ring = test_folder('ring');
my $node = kms_node('triggers', 'kms.command' => make_keyring($ring, 'cards', 'others'), 'kms.keys' => '1=cards, 2=others');
$node->safe_psql('postgres', "CREATE ROLE app LOGIN; CREATE ROLE $name; CREATE ROLE backup LOGIN IN ROLE $name, pg_read_all_data");

sub make_database {
    my ($database) = @_;
    $node->safe_psql('postgres', "CREATE DATABASE $database") if $database ne 'postgres';
    $node->safe_psql($database, 'CREATE EXTENSION kms') if $database ne 'postgres';
    $node->safe_psql($database, "CREATE TABLE card (id int PRIMARY KEY, number bytea); $trigger
        GRANT SELECT, INSERT, UPDATE, DELETE ON card TO app, $name;
        GRANT USAGE ON SCHEMA kms TO app, $name;
        GRANT EXECUTE ON FUNCTION kms.encode(int, bytea, bytea), kms.is_sealed, kms.looks_sealed, kms.decode_text TO app, $name");
    return;
}

make_database('postgres');
my $app = kms_session($node, user => 'app');

sub opened {
    my ($session, $id) = @_;
    return $session->get("SELECT kms.decode_text(1, number, id::text::bytea) FROM card WHERE id = $id");
}

sub stored { return $app->get("SELECT number FROM card WHERE id = $_[0]") }

# --- an application's INSERT and UPDATE

$app->get("INSERT INTO card VALUES (1, '4111'), (2, '5500'), (3, NULL)");
is(opened($app, 1), '4111', 'what is inserted is sealed');
my $first = stored(1);
unlike($first, qr/34313131/, '... and nothing else is stored');
$app->get("UPDATE card SET number = '4222' WHERE id = 1");
is(opened($app, 1), '4222', 'so is what an UPDATE changes');
unlike(stored(1), qr/34323232/, '... and no plaintext is stored');
my $second = stored(1);
$app->get('UPDATE card SET number = number; UPDATE card SET id = id');
is(stored(1), $second, 'what does not change stays as it is');
is(stored(3), '', 'NULL stays NULL');
$app->get('UPDATE card SET number = NULL WHERE id = 1');
is(stored(1), '', '... and comes to be');
$app->get("UPDATE card SET number = '4333' WHERE id = 1");
is(opened($app, 1), '4333', '... and goes');
like(outcome($app, 'UPDATE card SET id = 9 WHERE id = 1'), qr/^P0001 a card keeps its id/, 'a row whose context changes is refused');
$node->safe_psql('postgres', q{ALTER FUNCTION seal_number() SET kms.keys = '1=cards'});
$app->get(q{SET kms.keys = '1=others'; INSERT INTO card VALUES (9, '4999'); RESET kms.keys});
is(opened($app, 9), '4999', 'a function that brings its key along does not ask the session for it');
$node->safe_psql('postgres', 'ALTER FUNCTION seal_number() RESET kms.keys; DELETE FROM card WHERE id = 9');
$node->safe_psql('postgres', q{CREATE TABLE spread (id int, number bytea, region text) PARTITION BY LIST (region);
    CREATE TABLE spread_a PARTITION OF spread FOR VALUES IN ('a'); CREATE TABLE spread_b PARTITION OF spread FOR VALUES IN ('b');
    CREATE TRIGGER seal BEFORE INSERT OR UPDATE ON spread FOR EACH ROW EXECUTE FUNCTION seal_number(); GRANT ALL ON spread TO app});
$app->get(q{INSERT INTO spread VALUES (1, '4111', 'a'); UPDATE spread SET number = '4222'});
like(outcome($app, q{UPDATE spread SET region = 'b'}), qr/^P0001 a card takes its number, and not what is sealed already/, 'a row that moves to another partition is refused');
$node->safe_psql('postgres', 'DROP TABLE spread');

# --- what is no plaintext: never stored as it came

my $tag = substr stored(2), 2 + 2, 16;
my %hostile = (
    'another row\'s ciphertext' => stored(2),
    'a header of the key\'s, forged' => '\x01' . $tag . 'ab' x 60,
    'a header of no key\'s' => '\x01' . 'cd' x 70,
    'a value of another key' => $app->get("SELECT kms.encode(2, 'x'::bytea, '1')"),
    'a value of another context' => $app->get("SELECT kms.encode(1, 'x'::bytea, 'mine')"),
);
foreach my $what (sort keys %hostile) {
    is($node->safe_psql('postgres', "SELECT kms.looks_sealed('$hostile{$what}')"), 't', "$what looks like one that is sealed");
    $app->get("DELETE FROM card WHERE id IN (1, 4); INSERT INTO card VALUES (1, '1234'), (4, '$hostile{$what}')");
    isnt(stored(4), $hostile{$what}, '... and is not stored as it came, by INSERT');
    is($node->safe_psql('postgres', "SELECT kms.decode(1, number, id::text::bytea) = '$hostile{$what}' FROM card WHERE id = 4"), 't', '... but sealed, as the bytes that it is');
    like(outcome($app, "UPDATE card SET number = '$hostile{$what}' WHERE id = 1"), qr/^P0001 a card takes its number, and not what looks sealed/, '... and is refused by UPDATE');
    is(opened($app, 1), '1234', '... which leaves the value');
}
$app->get("DELETE FROM card WHERE id = 4; UPDATE card SET number = '4333' WHERE id = 1");
my $own = stored(1);
like(outcome($app, "UPDATE card SET number = '$first' WHERE id = 1"), qr/^P0001 a card takes its number, and not what looks sealed/, 'the row\'s own ciphertext of before is refused');
like(outcome($app, "BEGIN; DELETE FROM card WHERE id = 1; INSERT INTO card VALUES (1, '$own')"), qr/^P0001 a card takes its number/, '... by INSERT too');
is($app->get('ROLLBACK; SELECT count(*) FROM card'), 3, '... and nothing is lost');

# --- ON CONFLICT

like(outcome($app, "INSERT INTO card VALUES (2, '77') ON CONFLICT (id) DO UPDATE SET number = EXCLUDED.number"), qr/^P0001 a card takes its number/, 'what the trigger has sealed is not sealed twice');
$app->get("INSERT INTO card VALUES (2, '77') ON CONFLICT (id) DO UPDATE SET number = '77'");
is(opened($app, 2), '77', '... the value itself is sealed');

# By another column than the context's: what was sealed for the row that was to be is not sealed once more for the one there is.
$node->safe_psql('postgres', q{CREATE TABLE owned (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), owner text UNIQUE, number bytea);
    CREATE TRIGGER seal BEFORE INSERT OR UPDATE ON owned FOR EACH ROW EXECUTE FUNCTION seal_number(); GRANT ALL ON owned TO app});
my $upsert = q{INSERT INTO owned (owner, number) VALUES ('ada', '77') ON CONFLICT (owner) DO UPDATE SET number =};
$app->get("$upsert EXCLUDED.number");
like(outcome($app, "$upsert EXCLUDED.number"), qr/^P0001 a card takes its number, and not what looks sealed/, 'nor by a conflict of another column');
is($app->get("$upsert '78'; SELECT kms.decode_text(1, number, id::text::bytea) FROM owned"), '78', '... where the value itself is sealed too');

# --- a data-only dump, restored, dumped and restored again

$app->get("INSERT INTO card SELECT i, convert_to('number ' || i, 'UTF8') FROM generate_series(10, 30) i");
my $numbers = q{SELECT string_agg(id || '=' || kms.decode_text(1, number, id::text::bytea), ' ' ORDER BY id) FROM card};
my $all = $app->get($numbers);
my $raw = $app->get('TABLE card ORDER BY id');
my $dump = "$ring/dump";
my $from = 'postgres';
foreach my $to (qw(restored again)) {
    make_database($to);
    my @server = ('-h', $node->host, '-p', $node->port);
    run_log([ $node->installed_command('pg_dump'), @server, '--data-only', '-t', 'card', '-Fc', '-f', $dump, $from ]) or BAIL_OUT('no dump');
    my @restore = ($node->installed_command('pg_restore'), @server, '--data-only', '-d', $to);
    if ($to eq 'restored') {
        ok(!run_log([ @restore, '--exit-on-error', $dump ]), 'a restore as anybody else is refused');
        is($node->safe_psql($to, 'SELECT count(*) FROM card'), 0, '... and stores nothing');
    }
    ok(run_log([ @restore, '-U', 'backup', "--role=$name", $dump ]), "a restore into $to, as the role that the trigger names");
    is($node->safe_psql($to, $numbers), $all, '... has every number');
    is($node->safe_psql($to, 'TABLE card ORDER BY id'), $raw, '... sealed as it was');
    ok(run_log([ @restore, '--disable-triggers', '--superuser=postgres', $dump ]), '... and so has one without triggers') if $node->safe_psql($to, 'TRUNCATE card') eq '';
    is($node->safe_psql($to, 'TABLE card ORDER BY id'), $raw, '... of the same bytes');
    $from = $to;
}
# As the restoring role, only what opens under its own row's context passes.
my $restorer = kms_session($node, user => 'backup', dbname => 'again');
$restorer->get("SET ROLE $name; DELETE FROM card WHERE id < 10");
my $of_other = $restorer->get('SELECT number FROM card WHERE id = 10');
foreach my $case ([ 'another row\'s ciphertext', "'$of_other'" ], [ 'a plaintext', "'plain'" ]) {
    like(outcome($restorer, "INSERT INTO card VALUES (5, $case->[1])"), qr/^P0001 what is restored does not open in its row/, "$case->[0] does not pass in a restore either");
}
$restorer->get('INSERT INTO card VALUES (5, NULL)');
is($restorer->get('SELECT count(*) FROM card WHERE id < 10'), 1, '... and NULL does');
$restorer->quit;
{
    local $ENV{PGOPTIONS} = '-c kms.keys=1=others';
    make_database('by_another_key');
    my @server = ('-h', $node->host, '-p', $node->port);
    ok(!run_log([ $node->installed_command('pg_restore'), @server, '--data-only', '--exit-on-error', '-d', 'by_another_key', '-U', 'backup', "--role=$name", $dump ]),
        'a restore with another key bound is refused');
    is($node->safe_psql('by_another_key', 'SELECT count(*) FROM card'), 0, '... and seals nothing twice');
}

# --- operators of the writer's

$node->safe_psql('postgres', q{CREATE SCHEMA ws AUTHORIZATION app; GRANT app TO CURRENT_USER});
$app->get("CREATE FUNCTION ws.same_$_($_, $_) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';
    CREATE OPERATOR ws.= (LEFTARG = $_, RIGHTARG = $_, FUNCTION = ws.same_$_)") foreach qw(name int bytea text);
my $foreign = $app->get("SELECT kms.encode(1, '31'::bytea, '31'::bytea)");
$app->get('SET search_path = ws, pg_catalog, public');
like(outcome($app, "INSERT INTO public.card VALUES (31, '$foreign')"), qr/^P0001 a card takes its number/, 'who makes operators is not the role that restores');
$app->get("UPDATE public.card SET number = 'plain again' WHERE id OPERATOR(pg_catalog.=) 30");
is($app->get(q{SELECT kms.decode_text(1, number, '30') FROM public.card WHERE id OPERATOR(pg_catalog.=) 30}), 'plain again', '... nor stores plaintext');
like(outcome($app, 'UPDATE public.card SET id = 9 WHERE id OPERATOR(pg_catalog.=) 30'), qr/^P0001 a card keeps its id/, '... nor takes a row its context');
$app->get(q{RESET search_path; UPDATE card SET number = 'number 30' WHERE id = 30});

# --- a column with such a trigger is brought to a new version

my $super = kms_session($node);
$super->get("SELECT kms.register_column('card', 'number', 'cards', 'id::text::bytea'), kms.rotate_key('cards')");
fails_with($super, "CALL kms.reencrypt('card', 'number')", '55000', 'reencrypt refuses the trigger');
$super->get("SET client_min_messages = warning; CALL kms.reencrypt('card', 'number', triggers => 'skip')");
is($super->get("SELECT version, rows FROM kms.census('card', 'number')"), '2|23', '... and leaves it out where it is told to');
is($super->get($numbers), $all, '... which opens as before');

# --- is_sealed and looks_sealed themselves

$super->get("SELECT kms.enable_key('cards', 1)");
my $old = $super->get('SELECT number FROM card WHERE id = 10');
is($super->get("SELECT kms.is_sealed('$old', 1, '10'), kms.is_sealed('$old', 1, '11'), kms.is_sealed('$old', 2, '10'), kms.is_sealed('x', 1), kms.is_sealed(NULL, 1, ''), kms.looks_sealed('x'), kms.looks_sealed(NULL)"),
    't|f|f|f||f|', 'is_sealed opens, looks_sealed looks');
fails_with($super, "SELECT kms.is_sealed('$old', 9, '10')", 'KM001', 'a key that is not bound');
fails_with($super, "SELECT kms.is_sealed('$old', NULL, '10')", '22004', 'no local id');
fails_with($super, "SELECT kms.is_sealed('$old', 1, NULL)", '22004', 'no context');
is($super->get("SET kms.mode = 'remote'; SELECT kms.is_sealed('$old', 1, '10'), kms.is_sealed('$old', 1, '11'), kms.is_sealed('x', 1); RESET kms.mode"), 't|f|f', 'in remote mode the agent opens');
$super->get("SELECT kms.disable_key('cards', 2, force => true)");
my $none = kms_session($node);
fails_with($none, "SELECT kms.is_sealed('$old', 1, '10')", 'KM011', 'a version that is disabled');
fails_with($none, "SET kms.command = 'exit 1'; SELECT kms.is_sealed('$old', 1, '10')", 'KM007', 'no agent');

$_->quit foreach $app, $super, $none;
$node->stop;
no_crash($node);
done_testing();
