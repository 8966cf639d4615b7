# A table owner became superuser by a rename: the event trigger parsed the context expression as the
# extension's owner, and parsing runs type input, and so what the table's owner has written.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $ring = test_folder('ring');
my $node = kms_node('rename_by_owner', 'kms.command' => make_keyring($ring, 'pii'), 'kms.keys' => '1=pii');

# Whoever runs what alice has written is written down, and makes alice a superuser if it can.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE alice LOGIN;
CREATE SCHEMA alice AUTHORIZATION alice;
GRANT USAGE ON SCHEMA kms TO alice;
GRANT EXECUTE ON FUNCTION kms.register_column(regclass, name, text, text, text), kms.unregister_column(regclass, name) TO alice;
SET ROLE alice;
CREATE TABLE alice.ran (who name, keys text);
GRANT INSERT ON alice.ran TO PUBLIC;
CREATE FUNCTION alice.evil(int) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO alice.ran VALUES (current_user, current_setting('kms.keys'));
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        ALTER ROLE alice SUPERUSER;
    END IF;
    RETURN true;
END $$;
CREATE FUNCTION alice.folded(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT current_user || $1 $$;
CREATE DOMAIN alice.d AS int CHECK (alice.evil(VALUE));
CREATE TYPE alice.pair AS (a alice.d, b int);
CREATE TABLE alice.t (id int, other int, b bytea);
CREATE TABLE alice.u (id int, other int, b bytea);
CREATE TABLE alice.v (id int, b bytea);
SQL

my $in_array = q{convert_to('{1}'::alice.d[]::text || id, 'UTF8')};
my $in_record = q{convert_to('(1,2)'::alice.pair::text || id, 'UTF8')};
my $alice = kms_session($node, user => 'alice');
my $super = kms_session($node);

sub ran_as { return $super->get('SELECT coalesce(string_agg(DISTINCT who || keys, \', \'), \'nobody\') FROM alice.ran') }

sub nothing_ran {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(ran_as(), 'nobody', "$name: nothing of alice's ran");
    is($super->get("SELECT rolsuper FROM pg_roles WHERE rolname = 'alice'"), 'f', '... and alice is no superuser');
    $super->get('TRUNCATE alice.ran');
    return;
}

$alice->get("SELECT kms.register_column('alice.t', 'b', 'pii', \$\$$in_array\$\$)");
like(ran_as(), qr/^alice/, 'what alice registers, alice runs');
$alice->get("SELECT kms.register_column('alice.u', 'b', 'pii', \$\$$in_record\$\$)");
$super->get('TRUNCATE alice.ran');

# --- a superuser registers for alice, with what is alice's

$super->get(q{SELECT kms.register_column('alice.v', 'b', 'pii', $$convert_to('{1}'::alice.d[]::text || alice.folded('x') || id, 'UTF8')$$)});
is(ran_as(), 'alice', 'what a superuser registers for alice is checked as alice, without keys');
is($super->get("SELECT rolsuper FROM pg_roles WHERE rolname = 'alice'"), 'f', '... who is no superuser');
is($super->get('SELECT current_user || session_user'), 'postgrespostgres', '... and the superuser is one still');
fails_with($super, q{SELECT kms.unregister_column('alice.v', 'b'), kms.register_column('alice.v', 'b', 'pii', 'alice.nothing(id)')}, '42883', 'an expression that fails');
is($super->get('SELECT current_user'), 'postgres', '... leaves the superuser what it was');
$super->get('TRUNCATE alice.ran');

# --- renames, by whom and of what ever

foreach my $table (qw(t u)) {
    $alice->get("ALTER TABLE alice.$table RENAME COLUMN id TO idx");
    nothing_ran("alice renames a column of $table");
    $super->get("ALTER TABLE alice.$table RENAME COLUMN idx TO idy");
    nothing_ran("a superuser renames a column of $table");
    $super->get("ALTER TABLE alice.$table RENAME COLUMN b TO c");
    nothing_ran("a superuser renames the sealed column of $table");
}
is($super->get('SELECT string_agg(context_expression, \'; \' ORDER BY full_name) FROM kms.registered_columns WHERE column_name = \'c\''),
    q{convert_to((('{1}'::alice.d[])::text || idy), 'UTF8'::name); convert_to((('(1,2)'::alice.pair)::text || idy), 'UTF8'::name)},
    'the expressions have followed');
$super->get($_) foreach 'CREATE TABLE mine (a int)', 'ALTER TABLE mine RENAME a TO b', 'ALTER TYPE alice.pair RENAME ATTRIBUTE a TO c',
  'ALTER TABLE alice.t DROP COLUMN other', 'ALTER TABLE alice.t ADD COLUMN other int', 'ALTER DOMAIN alice.d RENAME TO e', 'ALTER DOMAIN alice.e RENAME TO d',
  'ALTER SCHEMA alice RENAME TO bob', 'ALTER SCHEMA bob RENAME TO alice', 'DROP TABLE mine';
nothing_ran('other commands of a superuser');

# --- a superuser restores what alice has registered, counts it, and looks at it

my $dump = test_folder('dump') . '/all.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
nothing_ran('a dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-Xqv', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'a superuser restores it');
is($node->safe_psql('restored', 'ALTER TABLE alice.t RENAME idy TO id; SELECT count(*) FROM alice.ran'), '0', "... and runs nothing of alice's");
like($node->safe_psql('restored', 'SELECT string_agg(context_expression, \', \') FROM kms.registered_columns WHERE relation::text = \'alice.t\''), qr/\|\| id\)/, '... when it is renamed too');
$super->get('SELECT count(*) FROM kms.registered_columns');
$super->get('SELECT count(*) FROM kms.key_age()');
$super->get(q{SELECT count(*) FROM kms.census('alice.t', 'c')});
$super->get(q{SELECT kms.rotate_key('pii'), kms.disable_key('pii', 1)});
nothing_ran('what a superuser does with keys');

# --- swapped names, in one transaction and in each of its commands

$alice->get('CREATE TABLE alice.w (a text, b text, sealed bytea, plain bytea)');
$alice->get(q{SELECT kms.register_column('alice.w', 'sealed', 'pii', $$convert_to(a || 'a' || b || '"a".b', 'UTF8')$$)});
my $expression_of_w = q{SELECT column_name || ': ' || context_expression FROM kms.registered_columns WHERE relation = 'alice.w'::regclass};
my $before = $super->get($expression_of_w);
$alice->get('BEGIN; ALTER TABLE alice.w RENAME a TO c; ALTER TABLE alice.w RENAME b TO a; ALTER TABLE alice.w RENAME c TO b; COMMIT');
is($super->get($expression_of_w), q{sealed: convert_to((((b || 'a'::text) || a) || '"a".b'::text), 'UTF8'::name)}, 'two columns that change places are followed, and literals stay');
$alice->get('DO $$ BEGIN ALTER TABLE alice.w RENAME a TO c; ALTER TABLE alice.w RENAME b TO a; ALTER TABLE alice.w RENAME c TO b; END $$');
is($super->get($expression_of_w), $before, '... in one command too');
$alice->get('BEGIN; ALTER TABLE alice.w RENAME a TO c; ALTER TABLE alice.w RENAME sealed TO a; ALTER TABLE alice.w RENAME c TO sealed; COMMIT');
is($super->get($expression_of_w), $before =~ s/^sealed: (.*)\(a \|\| /a: $1(sealed || /r, '... the sealed one with one of the expression');
$alice->get('ALTER TABLE alice.w RENAME sealed TO "Weird ""name"", $1"');
is($super->get($expression_of_w), $before =~ s/^sealed: (.*)\(a \|\| /a: $1("Weird ""name"", \$1" || /r, '... a name that needs quotes');
$alice->get('ALTER TABLE alice.w RENAME "Weird ""name"", $1" TO "select"');
is($super->get($expression_of_w), $before =~ s/^sealed: (.*)\(a \|\| /a: $1("select" || /r, '... and a key word');

$_->quit foreach $alice, $super;
no_crash($node);
done_testing();
