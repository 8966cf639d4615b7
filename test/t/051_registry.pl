# Registered columns and their tables: what a dump brings to another cluster, other people's DDL, and
# commands that come apart into several transactions.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = kms_node('registry', max_prepared_transactions => 2);
my $registered = "SELECT string_agg(full_name || ' ' || coalesce(relation::text, 'none') || ' ' || key_identifier || coalesce(' ' || context_expression, ''), ', ' ORDER BY full_name) FROM kms.registered_columns";
my $in_step = 'SELECT string_agg(relation_name, \', \') FROM kms.registered_column LEFT JOIN kms.registered_place USING (id) WHERE relation IS DISTINCT FROM to_regclass(format(\'%I.%I\', relation_schema, relation_name))';

sub registered_in { return $_[0]->safe_psql($_[1] // 'postgres', $registered) }

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE clerk LOGIN;
CREATE SCHEMA "The Office" AUTHORIZATION clerk;
SET search_path = "The Office";
SET ROLE clerk;
CREATE FUNCTION of_row(int) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT $1::text::bytea $$;
CREATE TABLE person (dropped int, id int, ssn bytea, note bytea);
ALTER TABLE person DROP COLUMN dropped;
CREATE TABLE card (id int, number bytea) PARTITION BY HASH (id);
CREATE TABLE card_0 PARTITION OF card FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE card_1 PARTITION OF card FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO person SELECT i, '\x02' || decode(repeat('ab', 24), 'hex') FROM generate_series(1, 5) i;
RESET ROLE;
SELECT kms.register_column('person', 'ssn', 'customer pii', 'of_row(id)'), kms.register_column('person', 'note', '\xff00'::bytea),
    kms.register_column('card', 'number', 'card', 'id::text::bytea');
SQL
my $all = '"The Office".card.number "The Office".card card ((id)::text)::bytea, '
  . '"The Office".person.note "The Office".person %FF%00, '
  . '"The Office".person.ssn "The Office".person customer%20pii "The Office".of_row(id)';
is(registered_in($node), $all, 'three columns are registered');

# --- dumps

my $folder = test_folder('dumps');
$node->command_ok([ 'pg_dump', '-f', "$folder/plain.sql", $node->connstr('postgres') ], 'the database is dumped');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$folder/custom", $node->connstr('postgres') ], '... in the custom format');

my $other = PostgreSQL::Test::Cluster->new('restored');
$other->init;
$other->start;
# Other oids than those of the dump, some of which are other tables'.
$other->safe_psql('postgres', 'CREATE ROLE clerk; ' . join ' ', map { "CREATE TABLE other$_ (a bytea, b bytea, c bytea, d bytea);" } 1 .. 40);
$other->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(parallel missing stages);
$other->command_ok([ 'psql', '-Xqv', 'ON_ERROR_STOP=1', '-f', "$folder/plain.sql", $other->connstr('postgres') ], 'the dump is restored by psql');
is(registered_in($other), $all, '... with all registered columns');
is($other->safe_psql('postgres', $in_step), '', '... which are in step with its tables');
is($other->safe_psql('postgres', q{SELECT rows FROM kms.census('"The Office".person', 'ssn')}), 5, '... and are counted');
$other->safe_psql('postgres', 'ALTER TABLE "The Office".person RENAME id TO number; ALTER TABLE "The Office".person RENAME TO people');
like(registered_in($other), qr/"The Office".people.ssn "The Office".people customer%20pii "The Office".of_row\(number\)/, '... and follow a rename');

$other->command_ok([ 'pg_restore', '-e', '-j2', '-d', $other->connstr('parallel'), "$folder/custom" ], 'pg_restore in parallel');
is(registered_in($other, 'parallel'), $all, '... brings all of them');

# A table that is not restored must not keep out the others.
my ($list) = run_command([ 'pg_restore', '-l', "$folder/custom" ]);
write_text("$folder/list", join "\n", grep { !/ (?:TABLE|TABLE DATA) The Office person / } split /\n/, $list);
$other->command_ok([ 'pg_restore', '-e', '-L', "$folder/list", '-d', $other->connstr('missing'), "$folder/custom" ], 'a restore without one table');
is(registered_in($other, 'missing'), $all =~ s/ "The Office"\.person(?= )/ none/gr, '... has what is registered of the others, and knows what is missing');
$other->command_ok([ 'pg_restore', '-e', '-t', 'person', '-d', $other->connstr('missing'), "$folder/custom" ], '... which may come later');
is(registered_in($other, 'missing'), $all, '... and then is registered');

# Oids of the dump come in unseen where triggers are off.
$other->command_ok([ 'pg_restore', '-e', '--schema-only', '-d', $other->connstr('stages'), "$folder/custom" ], 'a restore without data');
$other->command_ok([ 'pg_restore', '-e', '--data-only', '--disable-triggers', '-d', $other->connstr('stages'), "$folder/custom" ], '... and the data without triggers');
is(registered_in($other, 'stages'), $all, '... has all of them, by their names');
is($other->safe_psql('stages', 'ALTER TABLE "The Office".card RENAME COLUMN number TO n; SELECT count(*) FROM kms.registered_columns'), 3, '... and loses none');

# One column has one registration.
$other->command_fails_like([ 'pg_restore', '-e', '--data-only', '-n', 'kms', '-t', 'registered_column', '-d', $other->connstr('stages'), "$folder/custom" ],
    qr/registered_column_pkey/, 'what is there already is not restored once more');
$other->safe_psql('stages', q{DELETE FROM kms.registered_column; SELECT kms.register_column('"The Office".person', 'ssn', 'k')});
$other->command_ok([ 'pg_restore', '-e', '--data-only', '-n', 'kms', '-t', 'registered_column', '-d', $other->connstr('stages'), "$folder/custom" ],
    'what somebody has registered anew keeps out none of the others');
my $twice = registered_in($other, 'stages');
like($twice, qr/"The Office"\.person\.ssn "The Office"\.person k\b/, '... and stays itself');
like($twice, qr/"The Office"\.person\.ssn none customer%20pii /, '... while the second one is nowhere');
like($twice, qr/"The Office"\.person\.note "The Office"\.person %FF%00,/, '... and others are where they are');
my (undef, undef, $refused) = $other->psql('stages', q{SELECT kms.disable_key('k', 1)});
like($refused, qr/cannot tell|could not disable|not retired/, '... until it is taken back no version is retired');
$other->safe_psql('stages', q{SELECT kms.unregister_column('"The Office".person', 'ssn') FROM generate_series(1, 2)});
unlike(registered_in($other, 'stages'), qr/ssn/, '... as both can be');

$other->safe_psql('template1', 'CREATE DATABASE copied TEMPLATE parallel');
is(registered_in($other, 'copied'), $all, 'a database that is copied has them too');
$other->command_ok([ 'psql', '-Xqv', 'ON_ERROR_STOP=1', '-f', "$folder/plain.sql", $other->connstr('template1') ], 'a dump is restored a second time');
is(registered_in($other, 'template1'), $all, '... elsewhere');
$other->stop;

# --- pg_upgrade, to the same version: relations keep their oids

my $upgraded = PostgreSQL::Test::Cluster->new('upgraded');
$upgraded->init;
my $bin = $node->config_data('--bindir');
$node->stop;
{
    my $run = test_folder('upgrade');
    local $ENV{PGOPTIONS} = '';
    chdir $run or die $!;
    command_ok([ 'pg_upgrade', '--no-sync', '-d', $node->data_dir, '-D', $upgraded->data_dir, '-b', $bin, '-B', $bin,
            '-s', $node->host, '-p', $node->port, '-P', $upgraded->port ], 'pg_upgrade');
}
$upgraded->start;
is(registered_in($upgraded), $all, '... brings all registered columns');
is($upgraded->safe_psql('postgres', $in_step), '', '... in step');
$upgraded->safe_psql('postgres', 'ALTER SCHEMA "The Office" RENAME TO office');
like(registered_in($upgraded), qr/office\.card\.number office\.card .*office\.person\.ssn office\.person/, '... and their event triggers at work');
$upgraded->stop;
$node->start;

# --- other people's DDL

my $clerk = kms_session($node, user => 'clerk');
fails_with($clerk, 'SELECT * FROM kms.registered_columns', '42501', 'who may do nothing in the schema kms');
my $ddl = sub {
    my ($sql, $name) = @_;
    my $answer = $clerk->ask($sql);
    return is("$answer->{state}$answer->{err}", '', $name // $sql);
};
$ddl->('SET search_path = "The Office", pg_temp');
$ddl->($_) foreach 'ALTER TABLE person RENAME TO people', 'ALTER TABLE people RENAME ssn TO number', 'ALTER TABLE people RENAME TO person',
  'ALTER TABLE person RENAME number TO ssn', 'CREATE TABLE mine (a int)', 'ALTER TABLE mine RENAME a TO b', 'DROP TABLE mine',
  'CREATE TEMP TABLE t (a int)', 'ALTER TABLE t RENAME TO u', 'DROP TABLE u';
is(registered_in($node), $all, 'what is registered follows who may not read it');
$ddl->('BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE; ALTER TABLE person RENAME TO people; ALTER TABLE people RENAME TO person; COMMIT', 'in a serializable transaction');

# Operators and functions of the one who runs the command are not called.
$ddl->(<<'SQL', 'operators of others');
SET search_path = "The Office", pg_catalog;
CREATE FUNCTION trap(name, name) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user; END $$;
CREATE OPERATOR = (LEFTARG = name, RIGHTARG = name, FUNCTION = trap);
CREATE OPERATOR <> (LEFTARG = name, RIGHTARG = name, FUNCTION = trap);
CREATE FUNCTION array_agg(oid) RETURNS oid[] LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user; END $$;
CREATE TEMP TABLE pg_class AS SELECT 1 AS oid;
ALTER TABLE person RENAME TO people;
ALTER TABLE people RENAME TO person;
DROP TABLE pg_temp.pg_class;
SQL
is(registered_in($node), $all, '... are none of its business');

# A lock on the registry: the command does what it should, and says what it could not.
my $holder = kms_session($node);
$holder->get('BEGIN; SELECT FROM kms.registered_column FOR UPDATE');
my $answer = $clerk->ask(q{SET lock_timeout = '100ms'; ALTER TABLE person RENAME ssn TO number; RESET lock_timeout});
is($answer->{state}, '', 'a rename while the registry is locked');
like($answer->{err}, qr/WARNING: .*kms could not follow a rename/, '... says that it was not followed');
$holder->get('COMMIT');
like(registered_in($node), qr/"The Office"\.person\.number "The Office"\.person customer/, '... and is known all the same');
is($node->safe_psql('postgres', q{SELECT count(*) FROM kms.registered_column WHERE relation_name = 'person' AND column_name = 'number'}), 0, '... though a dump has the name of before');
$ddl->('ALTER TABLE person RENAME number TO ssn');
is(registered_in($node), $all, '... until it is there again');

# What is registered and not there yet is held by nobody's command.
$clerk->get('BEGIN; CREATE TEMP TABLE nothing ()');
$node->safe_psql('postgres', q{SET lock_timeout = '10s';
    INSERT INTO kms.registered_column (relation_schema, relation_name, column_name, key_identifier) VALUES ('public', 'ghost', 'x', 'k');
    CREATE TABLE public.ghost (x bytea, y bytea);
    ALTER TABLE public.ghost RENAME x TO z; ALTER TABLE public.ghost RENAME y TO x});
is($node->safe_psql('postgres', q{SELECT full_name FROM kms.registered_columns WHERE relation = 'public.ghost'::regclass}), 'public.ghost.z',
    'a column that comes later is noted beside another\'s open transaction, and followed');
$clerk->get('COMMIT');
$node->safe_psql('postgres', 'DROP TABLE public.ghost');
# ... and where it is held, that is said.
$node->safe_psql('postgres', q{INSERT INTO kms.registered_column (relation_schema, relation_name, column_name, key_identifier) VALUES ('public', 'ghost', 'x', 'k')});
$holder->get(q{BEGIN; SELECT FROM kms.registered_column WHERE relation_name = 'ghost' FOR UPDATE});
(undef, undef, my $told) = $node->psql('postgres', 'CREATE TABLE public.ghost (x bytea)');
like($told, qr/WARNING: .*kms could not follow a rename/, 'one that is held by another is not noted without a word');
$holder->get('COMMIT');
is($node->safe_psql('postgres', q{COMMENT ON TABLE public.ghost IS 'any command'; SELECT count(*) FROM kms.registered_place p WHERE p.relation = 'public.ghost'::regclass}), 1, '... but by the next command');
$node->safe_psql('postgres', 'DROP TABLE public.ghost');

# Commands of several transactions.
$ddl->($_) foreach 'CREATE INDEX CONCURRENTLY i ON person (id)', 'REINDEX INDEX CONCURRENTLY i', 'DROP INDEX CONCURRENTLY i';
like($clerk->ask('ALTER TABLE card DETACH PARTITION card_1 CONCURRENTLY')->{err}, qr/table "The Office"\.card_1 is no part of "The Office"\.card any more/,
    'a part that leaves is told of');
$ddl->($_) foreach 'DROP TABLE card_1', 'VACUUM FULL person', 'CLUSTER';
is(registered_in($node), $all, 'commands of several transactions leave it as it is');

# --- drops

$node->safe_psql('postgres', 'SET kms.allow_drop = on; DROP EXTENSION kms; CREATE EXTENSION kms');
is(registered_in($node), '', 'an extension that is made anew knows nothing');
$node->safe_psql('postgres', q{SELECT kms.register_column('"The Office".person', 'ssn', 'k'), kms.register_column('"The Office".card', 'number', 'k')});
like($clerk->ask('BEGIN; DROP TABLE person')->{err}, qr/WARNING: .*kms has forgotten registered columns that were dropped\n.*DETAIL:  "The Office"\.person\.ssn$/m, 'a drop says what is forgotten');
is(registered_in($node), '"The Office".card.number "The Office".card k, "The Office".person.ssn "The Office".person k', 'others see a table until its drop is committed');
$ddl->('COMMIT');
is(registered_in($node), '"The Office".card.number "The Office".card k', '... and not beyond');
$node->safe_psql('postgres', 'DROP OWNED BY clerk CASCADE');
is(registered_in($node), '', 'DROP OWNED');

$_->quit foreach $clerk, $holder;
$node->stop;
no_crash($node);
done_testing();
