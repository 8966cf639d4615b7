# Internal functions were within reach of GRANT, and a NULL ended the server: every function of both
# schemas is called with every argument NULL, one and all, and those that take what only the server
# passes to them with what is none of it. Triggers fire for roles that may not use the schema.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use Test::More;

my $folder = test_folder('keys');
my $node = kms_node('internals', 'kms.command' => make_keyring($folder, 'pii', 'kek'), 'kms.keys' => '1=pii');
my $session = kms_session($node);
my $server = $session->pid;

$session->get(<<'SQL');
CREATE TABLE t (id int, c text, sealed bytea);
INSERT INTO t VALUES (1, 'x', kms.encode(1, 'x'::text));
SELECT kms.register_column('t', 'sealed', 'pii'::text);
SQL

# --- NULL

# A value that a function would take, by type; what it does with them is other tests' matter.
my %plausible = (
    integer => '1', bigint => '1', boolean => 'false', text => q('pii'), bytea => q('\\\\x01'), name => q('sealed'),
    regclass => q('t'), oid => q('t'::regclass), uuid => q('00000000-0000-0000-0000-000000000000'),
    interval => q('1 day'), jsonb => q('{}'), 'timestamp with time zone' => q('2100-01-01'),
    'bytea[]' => q('{}'), 'text[]' => q('{}'),
);

sub calls_of {
    my ($name, $kind, @types) = @_;
    my @wanted = map { [ $_ ] } 0 .. $#types;
    push @wanted, [ 0 .. $#types ];
    return map {
        my %null = map { $_ => 1 } @$_;
        my $arguments = join ', ', map { ($null{$_} ? 'NULL' : $plausible{ $types[$_] } // 'NULL') . "::$types[$_]" } 0 .. $#types;
        $kind eq 'p' ? "CALL $name($arguments)"
          : "SELECT $name($arguments)" . ($kind eq 'w' ? ' OVER ()' : '');
    } @wanted;
}

my $functions = <<'SQL';
SELECT p.oid::regproc, prokind, coalesce(string_agg(format_type(a.type, NULL), ',' ORDER BY a.place), '')
FROM pg_proc p LEFT JOIN LATERAL unnest(coalesce(
        (SELECT array_agg(t ORDER BY n) FROM unnest(p.proallargtypes, p.proargmodes) WITH ORDINALITY u (t, m, n)
         WHERE m IN ('i', 'b') OR (m = 'o' AND prokind = 'p')),
        p.proargtypes::oid[])) WITH ORDINALITY a (type, place) ON true
WHERE pronamespace IN ('kms'::regnamespace, 'kms_internal'::regnamespace)
GROUP BY p.oid, prokind ORDER BY p.oid::regprocedure::text
SQL

my ($called, @internal_errors) = (0);
foreach my $function (split /\n/, $session->get($functions)) {
    my ($name, $kind, $types) = split /\|/, $function, -1;
    foreach my $call (calls_of($name, $kind, split /,/, $types)) {
        my $answer = $session->ask($call);
        $called++;
        push @internal_errors, "$call: $answer->{message}" if $answer->{state} =~ /^XX/;
        BAIL_OUT("the server died of $call") if $answer->{closed};
    }
}
cmp_ok($called, '>', 300, "$called calls with NULLs");
is($session->get('SELECT pg_backend_pid()'), $server, '... and the session lives');
is(join("\n", @internal_errors), '', '... and none of them is an internal error');

# --- what only the server passes

foreach my $call ('data_key_changed()', 'keep_in_step()', 'keep_place()', 'follow_rename()') {
    like(outcome($session, "SELECT kms_internal.$call"), qr/^(39P01|0A000|39P03) /, "$call outside of a trigger");
}

$session->get(<<'SQL');
CREATE TABLE commands (n int);
CREATE FUNCTION misuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong record;
BEGIN
    FOR wrong IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
        BEGIN
            EXECUTE current_setting('test.call') USING wrong.objid, wrong.command;
        EXCEPTION WHEN OTHERS THEN
            RAISE NOTICE 'refused with %', SQLSTATE;
        END;
    END LOOP;
END $$;
CREATE EVENT TRIGGER misuse ON ddl_command_end EXECUTE FUNCTION misuse();
SQL
my $takes_command = $session->get(q{SELECT string_agg(oid::regproc::text, ' ') FROM pg_proc
    WHERE pronamespace = 'kms_internal'::regnamespace AND 'pg_ddl_command'::regtype = ANY (proargtypes)});
foreach my $function (split ' ', $takes_command) {
    foreach my $arguments ('$1, $2', 'NULL, $2', 'NULL, NULL', q{'lib.f(a)', NULL}, q{'nonsense at (', $2}, q{'lib.f((a).made)', $2}) {
        $session->get("SET test.call = 'SELECT $function(" . ($arguments =~ s/'/''/gr) . ")'");
        ok(!$session->ask($_)->{closed}, "$function($arguments) for $_")
          foreach 'CREATE TABLE made (a int)', 'ALTER TABLE made RENAME a TO b', 'GRANT SELECT ON made TO PUBLIC', 'DROP TABLE made';
    }
}
$session->get('DROP EVENT TRIGGER misuse');

# --- roles without privileges of kms_internal

$session->get(<<'SQL');
CREATE ROLE keeper LOGIN;
CREATE ROLE writer LOGIN;
GRANT USAGE ON SCHEMA kms TO keeper;
GRANT ALL ON ALL FUNCTIONS IN SCHEMA kms TO keeper;
GRANT ALL ON ALL PROCEDURES IN SCHEMA kms TO keeper;
CREATE SCHEMA office AUTHORIZATION keeper;
GRANT USAGE ON SCHEMA office TO writer;
SQL
my $keeper = kms_session($node, user => 'keeper');
fails_with($keeper, "SELECT $_", '42501', "GRANT ON ALL FUNCTIONS does not reach $_")
  foreach 'kms_internal.keep_in_step()', 'kms_internal.data_key_changed()', 'kms_internal.cost_support(NULL)';
$keeper->get("CREATE TABLE office.person (id int, ssn text); INSERT INTO office.person VALUES (1, 'before');
    GRANT INSERT, UPDATE, SELECT ON office.person TO writer");
$keeper->get("CALL kms.encrypt_column('office.person', 'ssn', 'pii')");
is($keeper->get("SELECT kms.decode_with_text('pii', ssn_encrypted) FROM office.person"), 'before',
    'the owner of a table, who may not use kms_internal, encrypts a column');
is($keeper->get('SELECT current_user'), 'keeper', '... and is who he was');
my $writer = kms_session($node, user => 'writer');
$writer->get("INSERT INTO office.person VALUES (2, 'by another'); UPDATE office.person SET ssn = 'after' WHERE id = 1");
is($keeper->get("SELECT string_agg(kms.decode_with_text('pii', ssn_encrypted), ', ' ORDER BY id) FROM office.person"),
    'after, by another', 'keep_in_step fires for a role that may use neither schema');
is($session->get("SELECT pg_get_triggerdef(oid) ~ 'EXECUTE FUNCTION kms_internal.keep_in_step' FROM pg_trigger WHERE tgrelid = 'office.person'::regclass"),
    't', '... by the name that stands in dumps');

$node->command_ok([ 'pg_dump', '-Fc', '-f', "$folder/dump", $node->connstr('postgres') ], 'a dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), "$folder/dump" ], '... is restored');
my $elsewhere = kms_session($node, user => 'writer', dbname => 'restored');
$elsewhere->get("INSERT INTO office.person VALUES (3, 'restored')");
my $admin = kms_session($node, dbname => 'restored');
is($admin->get("SELECT kms.decode_with_text('pii', ssn_encrypted) FROM office.person WHERE id = 3"), 'restored',
    '... with the trigger, which fires as before');
is($admin->get("SELECT string_agg(proname, ', ') FROM pg_proc p WHERE pronamespace = 'kms_internal'::regnamespace AND
    EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) a WHERE a.grantee <> p.proowner)"),
    'keep_in_step', '... and no internal function is anybody else\'s but that one, which PostgreSQL wants of whoever makes a trigger');

$_->quit foreach $session, $keeper, $writer, $elsewhere, $admin;
$node->stop;
no_crash($node);
done_testing();
