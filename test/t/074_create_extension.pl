# CREATE EXTENSION left things open to others: default privileges gave away tables and functions, and a
# schema that was there before could hold functions beside ours, which plaintexts would go to.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = kms_node('created');
my $folder = test_folder('dumps');
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE mallory LOGIN; CREATE ROLE second SUPERUSER LOGIN');

sub new_database {
    my ($name, $sql) = @_;
    $node->safe_psql('postgres', "CREATE DATABASE $name");
    my $session = kms_session($node, dbname => $name);
    $session->get($sql) if defined $sql;
    return $session;
}

# Everything in both schemas that a role other than its owner has a privilege on, tables' row types
# and columns among it.
my $open_to_others = <<'SQL';
WITH here AS (SELECT oid FROM pg_namespace WHERE nspname IN ('kms', 'kms_internal'))
SELECT DISTINCT what, grantee::regrole FROM (
    SELECT nspname::text AS what, nspowner AS owner, coalesce(nspacl, acldefault('n', nspowner)) AS acl FROM pg_namespace WHERE oid IN (TABLE here)
    UNION ALL SELECT oid::regclass::text, relowner, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
        FROM pg_class WHERE relnamespace IN (TABLE here) AND relkind IN ('r', 'v', 'S', 'm')
    UNION ALL SELECT attrelid::regclass || '.' || attname, relowner, attacl FROM pg_attribute JOIN pg_class c ON attrelid = c.oid WHERE relnamespace IN (TABLE here)
    UNION ALL SELECT oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE pronamespace IN (TABLE here)
    UNION ALL SELECT oid::regtype::text, typowner, coalesce(typacl, acldefault('T', typowner)) FROM pg_type
        WHERE typnamespace IN (TABLE here) AND typcategory <> 'A'
) everything, aclexplode(acl) WHERE grantee <> owner ORDER BY 1
SQL

my $plain = new_database('plain', 'CREATE EXTENSION kms');
is($plain->get($open_to_others), '', 'nothing is anybody\'s but the owner\'s');
is($plain->get('SHOW search_path'), '"$user", public', '... and the search_path is what it was');
$plain->quit;

# --- default privileges

my $defaults = join '; ', map {
    my $kind = $_;
    map { "ALTER DEFAULT PRIVILEGES GRANT ALL ON $kind TO $_" } 'app WITH GRANT OPTION', 'PUBLIC'
} qw(TABLES SEQUENCES ROUTINES TYPES SCHEMAS);
my $generous = new_database('generous', "$defaults; CREATE TABLE control (id int)");
isnt($generous->get("SELECT relacl FROM pg_class WHERE relname = 'control'"), '', 'default privileges give away a table');
$generous->get('CREATE EXTENSION kms');
is($generous->get($open_to_others), '', '... and nothing of kms, whatever its kind');
is($generous->get("SELECT count(*) FROM pg_depend d JOIN pg_extension e ON refobjid = e.oid AND extname = 'kms' WHERE deptype = 'e' AND classid IN ('pg_class'::regclass, 'pg_proc'::regclass)") > 50,
    1, '... which has many members');
my $app = kms_session($node, dbname => 'generous', user => 'app');
fails_with($app, $_, '42501') foreach 'TABLE kms.data_key', 'DELETE FROM kms.data_key', "SELECT kms.destroy_key('pii', 1)",
    'CREATE FUNCTION kms.encode(int, varchar) RETURNS bytea LANGUAGE sql AS $$ SELECT NULL::bytea $$',
    'CREATE TABLE mine (row kms.data_key)';
$_->quit foreach $app, $generous;

# --- a schema that is there before

sub refused {
    my ($what, $session, $state, $message) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = fails_with($session, 'CREATE EXTENSION kms', $state, $what);
    like($answer->{message}, $message, '... says why');
    like($answer->{hint}, qr/^(?:Drop it where it is empty, |Move that elsewhere, )/, '... and what to do');
    return $answer;
}

my %holds = (
    'a function of another\'s beside ours' => [ 'CREATE FUNCTION kms.encode(int, varchar) RETURNS bytea LANGUAGE sql AS $$ SELECT $2::bytea $$',
        'function kms.encode(integer,character varying)' ],
    'a table' => [ 'CREATE TABLE kms.data_key (a int)', 'table kms.data_key' ],
    'a type' => [ 'CREATE TYPE kms.mine AS ENUM ()', 'type kms.mine' ],
    'an operator' => [ 'CREATE OPERATOR kms.= (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int)', 'operator kms.=(integer,integer)' ],
    'default privileges' => [ 'ALTER DEFAULT PRIVILEGES IN SCHEMA kms GRANT ALL ON TABLES TO app',
        'default privileges on new relations belonging to role postgres in schema kms' ],
    'another extension' => [ 'CREATE EXTENSION citext SCHEMA kms', 'type kms.citext' ],
);
my $early = new_database('early', 'CREATE SCHEMA kms; GRANT ALL ON SCHEMA kms TO mallory WITH GRANT OPTION');
foreach my $what (sort keys %holds) {
    my ($make, $named) = @{ $holds{$what} };
    $early->get("BEGIN; $make; SAVEPOINT made");
    my $answer = refused("refused: a schema that holds $what", $early, '55000', qr/^schema "kms" is not empty$/);
    like($answer->{detail}, qr/\Q$named\E/, '... and what is in it');
    $early->get('ROLLBACK');
}
my $mallory = kms_session($node, dbname => 'early', user => 'mallory');
$mallory->get('GRANT CREATE, USAGE ON SCHEMA kms TO app');
isnt($early->get($open_to_others), '', 'an empty schema on which others have privileges');
$early->get('CREATE EXTENSION kms');
is($early->get($open_to_others), '', '... is taken, and nobody has them any more');
fails_with($mallory, 'CREATE FUNCTION kms.encode(int, varchar) RETURNS bytea LANGUAGE sql AS $$ SELECT NULL::bytea $$', '42501',
    '... so nothing can be put beside what is ours');
$_->quit foreach $mallory, $early;

my $theirs = new_database('theirs', 'CREATE SCHEMA kms AUTHORIZATION mallory');
refused('refused: a schema of a role that is no superuser', $theirs, '42501', qr/^schema "kms" belongs to mallory, who is not a superuser$/);
$theirs->get('DROP SCHEMA kms; CREATE SCHEMA kms_internal');
fails_with($theirs, 'CREATE EXTENSION kms', '42P06', 'refused: a schema kms_internal that is there already');
$theirs->get('DROP SCHEMA kms_internal; CREATE SCHEMA kms AUTHORIZATION second; CREATE EXTENSION kms');
is($theirs->get($open_to_others), '', 'the schema of another superuser is taken');
$theirs->quit;

# Whatever puts an object of its own there meanwhile.
my $meddled = new_database('meddled', <<'SQL');
CREATE FUNCTION public.meddle() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'kms.status()' AND command_tag = 'CREATE FUNCTION') THEN
        CREATE FUNCTION kms.encode(int, varchar) RETURNS bytea LANGUAGE sql AS 'SELECT NULL::bytea';
        ALTER EXTENSION kms DROP FUNCTION kms.encode(int, varchar);
    END IF;
END $$;
CREATE EVENT TRIGGER meddle ON ddl_command_end EXECUTE FUNCTION public.meddle();
SQL
my $answer = refused('refused: what is no part of the extension at its end', $meddled, '55000', qr/^the schemas of kms hold what is no part of it$/);
like($answer->{detail}, qr/function kms\.encode\(integer,character varying\)/, '... and what it is');
$meddled->quit;

# --- users' own privileges, in dumps

my $granted = new_database('granted', <<'SQL');
CREATE EXTENSION kms;
GRANT USAGE ON SCHEMA kms TO app;
GRANT EXECUTE ON FUNCTION kms.decode(int, bytea, bytea), kms.session_keys() TO app;
GRANT EXECUTE ON FUNCTION kms.encode(int, text, bytea) TO PUBLIC;
GRANT SELECT ON kms.session_keys TO app WITH GRANT OPTION;
GRANT SELECT (name, version) ON kms.data_key TO app;
GRANT USAGE ON SCHEMA kms_internal TO app;
GRANT EXECUTE ON FUNCTION kms_internal.keep_in_step() TO app;
SQL
my $privileges = $granted->get($open_to_others);
is(scalar(split /\n/, $privileges), 9, 'users grant what they like');
$granted->quit;
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$folder/dump", $node->connstr('granted') ], '... dump it');
$node->command_ok([ 'pg_dump', '-f', "$folder/dump.sql", $node->connstr('granted') ], '... in both formats');
new_database('restored', $defaults)->quit;
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), "$folder/dump" ], '... restore it where default privileges are generous');
my $restored = kms_session($node, dbname => 'restored');
is($restored->get($open_to_others), $privileges, '... and have the same privileges, and no other');
$restored->quit;
new_database('replayed')->quit;
$node->command_ok([ 'psql', '-Xqv', 'ON_ERROR_STOP=1', '-f', "$folder/dump.sql", $node->connstr('replayed') ], '... by psql as well');
my $replayed = kms_session($node, dbname => 'replayed');
is($replayed->get($open_to_others), $privileges, '... the same');
$replayed->quit;

$node->stop;
no_crash($node);
done_testing();
