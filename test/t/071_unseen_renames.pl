# Renames that the event trigger did not see: guard and census counted another column, and a key
# version that rows need was disabled. What is registered is compared with what there is, after any
# command; where it does not hold any more, no version is retired.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $ring = test_folder('ring');
my $node = kms_node('unseen_renames', 'kms.command' => make_keyring($ring, 'k'), 'kms.keys' => '1=k', 'kms.cache_ttl' => '1s');
my $s = kms_session($node);
$s->get('CREATE SCHEMA "Odd one"; CREATE EXTENSION postgres_fdw');

my $sealed = $s->get(q{SELECT kms.encode(1, 'secret', '1')});
$s->get(q{SELECT kms.rotate_key('k')});

sub registered { return $s->get(q{SELECT string_agg(full_name || CASE WHEN relation IS NULL THEN ' none' ELSE '' END, ', ' ORDER BY full_name) FROM kms.registered_columns}) }
sub context { return $s->get('SELECT context_expression FROM kms.registered_columns') }

# Whether the first version, of which there are rows, is kept; what its DETAIL says.
sub is_kept {
    my ($detail, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = $s->ask(q{SELECT kms.disable_key('k', 1)});
    is($answer->{state}, 'KM012', $name);
    return like($answer->{detail}, $detail, '... for that reason');
}

sub begin_anew {
    my ($create, $context) = @_;
    $s->get('DROP TABLE IF EXISTS person, people CASCADE; DELETE FROM kms.registered_column');
    $s->get($create // 'CREATE TABLE person (id int, ssn bytea)');
    $s->get("INSERT INTO person (id, ssn) VALUES (1, '$sealed')");
    $s->get("SELECT kms.register_column('person', 'ssn', 'k', \$\$" . ($context // 'id::text::bytea') . '$$)');
    return;
}

# What a command says, whatever becomes of it.
sub said { return $s->ask($_[0])->{err} =~ s/^(?:LOCATION|CONTEXT):.*\n//mgr }

# --- every spelling of a rename

foreach my $what ('TABLE', 'VIEW', 'MATERIALIZED VIEW', 'FOREIGN TABLE') {
    begin_anew();
    my $answer = $s->ask("ALTER $what person RENAME COLUMN ssn TO number");
    is(registered(), 'public.person.number', "ALTER $what RENAME COLUMN is followed") if $answer->{state} eq '';
    note "ALTER $what … RENAME COLUMN is refused" if $answer->{state} ne '';
    is_kept(qr/^public\.person\.\w+: 1 row$/, "... and the key version is kept");
    $s->get("ALTER $what person RENAME COLUMN id TO pid") if $answer->{state} eq '';
    is(context(), '((pid)::text)::bytea', '... and so is its context') if $answer->{state} eq '';
}
foreach my $what ('TABLE', 'INDEX', 'VIEW', 'SEQUENCE', 'MATERIALIZED VIEW', 'FOREIGN TABLE') {
    begin_anew();
    my $answer = $s->ask("ALTER $what person RENAME TO people");
    is(registered(), $answer->{state} eq '' ? 'public.people.ssn' : 'public.person.ssn', "ALTER $what RENAME TO");
    $answer = $s->ask("ALTER $what " . ($answer->{state} eq '' ? 'people' : 'person') . ' SET SCHEMA "Odd one"');
    like(registered(), $answer->{state} eq '' ? qr/^"Odd one"\.pe\w+\.ssn$/ : qr/^public\.pe\w+\.ssn$/, "ALTER $what SET SCHEMA");
    is_kept(qr/^[^:]*: 1 row$/, '... and the key version is kept');
    $s->get('DROP TABLE IF EXISTS "Odd one".person, "Odd one".people');
}

# Typed tables, whose columns are renamed with the type's attributes: the command reports the type.
begin_anew('CREATE TYPE typed AS (id int, ssn bytea); CREATE TABLE person OF typed; CREATE TABLE heir () INHERITS (person)');
# What is registered of the heir beside the parent does not count, and is followed all the same.
$s->get(q{ALTER TABLE heir NO INHERIT person; SELECT kms.register_column('heir', 'ssn', 'k', 'id::text::bytea'); ALTER TABLE heir INHERIT person});
$s->get('ALTER TYPE typed RENAME ATTRIBUTE ssn TO number CASCADE; ALTER TYPE typed RENAME ATTRIBUTE id TO pid CASCADE');
is(registered(), 'public.heir.number, public.person.number', 'ALTER TYPE RENAME ATTRIBUTE CASCADE, of a typed table and its heir');
is($s->get('SELECT DISTINCT context_expression FROM kms.registered_columns'), '((pid)::text)::bytea', '... and their contexts');
is_kept(qr/^public\.person\.number: 1 row$/, '... and the key version is kept');
$s->get('DROP TABLE person CASCADE; DROP TYPE typed');

# --- what is not seen

my $unseen = 'ALTER EVENT TRIGGER kms_follow_rename DISABLE';
my $seen = 'ALTER EVENT TRIGGER kms_follow_rename ENABLE ALWAYS';
my $stored_name = 'SELECT column_name FROM kms.registered_column';
begin_anew();
$s->get("$unseen; ALTER TABLE person RENAME ssn TO number");
is(registered(), 'public.person.number', 'a rename that nobody has seen is none of the column');
is_kept(qr/^public\.person\.number: 1 row$/, '... whose rows count');
$s->get('ALTER TABLE person ADD COLUMN ssn bytea');
is(registered(), 'public.person.number', '... and another column of the name is not it');
is_kept(qr/^public\.person\.number: 1 row$/, '... and does not let a version go');
fails_with($s, q{CALL kms.reencrypt('person', 'ssn')}, '55000', '... and is not re-encrypted');
is($s->get(q{SELECT count(*) FROM kms.census('person', 'ssn')}), 0, '... but may be counted');
is($s->ask(q{SELECT kms.register_column('person', 'ssn', 'k'), kms.unregister_column('person', 'ssn')})->{state}, '', '... and registered beside it');
is($s->get($stored_name), 'ssn', '... while a dump has the name of before');
$s->get("$seen; CREATE TABLE any_command (a int); DROP TABLE any_command");
is($s->get($stored_name), 'number', '... until any command is seen');

begin_anew('CREATE TABLE person (id int, ssn bytea, a text, b text)', 'convert_to(a || b, \'UTF8\')');
$s->get("$unseen; ALTER TABLE person RENAME a TO c; ALTER TABLE person RENAME b TO a; ALTER TABLE person RENAME c TO b");
$s->get("$seen; COMMENT ON TABLE person IS 'any'");
is(context(), q{convert_to((b || a), 'UTF8'::name)}, 'names that changed places unseen are followed at once');
$s->get("CREATE TABLE people (ssn bytea); SELECT kms.register_column('people', 'ssn', 'k')");
$s->get("$unseen; ALTER TABLE person RENAME TO third; ALTER TABLE people RENAME TO person; ALTER TABLE third RENAME TO people; $seen; COMMENT ON TABLE person IS 'any'");
is($s->get(q{SELECT string_agg(full_name || coalesce(' ' || context_expression, ''), ', ' ORDER BY full_name) FROM kms.registered_columns}),
    q{public.people.ssn convert_to((b || a), 'UTF8'::name), public.person.ssn}, '... and so are tables');

# A table that went unseen, and one that takes its name.
begin_anew();
$s->get("$unseen; DROP TABLE person; CREATE TABLE person (id int, ssn bytea)");
is(registered(), 'public.person.ssn none', 'a new table of the name of one that went unseen is not it');
is_kept(qr/^public\.person\.ssn: dropped, and not yet forgotten, so its rows cannot be counted$/, '... and keeps every version');
fails_with($s, q{SELECT kms.register_column('person', 'ssn', 'k')}, '42710', '... nor is registered over it');
like(said("$seen; COMMENT ON TABLE person IS 'any'"), qr/WARNING:.*kms has forgotten registered columns that were dropped\nDETAIL:  public\.person\.ssn\n/, '... until any command is seen');
is(registered(), '', '... which forgets it');
$s->get("CREATE TABLE people (id int, ssn bytea); SELECT kms.register_column('people', 'ssn', 'k')");
$s->get("$unseen; DROP TABLE people; $seen");
is($s->ask("ALTER TABLE person RENAME TO people; SELECT kms.register_column('people', 'ssn', 'k')")->{state}, '', '... and so does one that takes the name');

# --- what the text cannot follow

begin_anew('CREATE TABLE person (id int, ssn bytea, other int)');
my $said = said('ALTER TABLE person DROP COLUMN id');
like($said, qr/WARNING: .*the context expression of public\.person\.ssn is not used any more\nDETAIL:  it used id, which was dropped\nHINT: /, 'a column that the expression uses is dropped');
is($s->get('SELECT broken FROM kms.registered_columns'), 'it used id, which was dropped', '... as the view says');
is_kept(qr/^public\.person\.ssn: 1 row; its context expression is broken: it used id, which was dropped$/, '... and keeps every version');
$s->get('ALTER TABLE person RENAME other TO id');
fails_with($s, q{CALL kms.reencrypt('person', 'ssn')}, '55000', 'another column of that name is not it');
unlike(said('ALTER TABLE person RENAME id TO pid'), qr/WARNING/, '... and it is said once');
$s->get(q{SELECT kms.unregister_column('person', 'ssn'), kms.register_column('person', 'ssn', 'k', 'pid::text::bytea')});
is($s->get('SELECT broken IS NULL FROM kms.registered_columns'), 't', '... until it is registered anew');

# While a column moves to another context, both are followed.
begin_anew('CREATE TABLE person (id int, ssn bytea, old int)');
$s->get(q{UPDATE kms.registered_column SET was_key_identifier = 'k', was_context_expression = '((old)::text)::bytea', is_moving = true});
my $both = q{SELECT context_expression || ' ' || was_context_expression FROM kms.registered_columns};
$s->get('BEGIN; ALTER TABLE person RENAME id TO third; ALTER TABLE person RENAME old TO id; ALTER TABLE person RENAME third TO old; COMMIT');
is($s->get($both), '((old)::text)::bytea ((id)::text)::bytea', 'the context of before is followed as well');
like(said('BEGIN; ALTER TABLE person DROP COLUMN id'), qr/WARNING: .*\nDETAIL:  it used id, which was dropped/, '... and its column is missed while rows move');
$s->get('ROLLBACK; UPDATE kms.registered_column SET is_moving = false');
unlike(said('ALTER TABLE person DROP COLUMN id'), qr/WARNING/, '... but not afterwards');
is($s->get('SELECT broken IS NULL FROM kms.registered_columns'), 't', '... when values have the other');

foreach my $text ('person . id::text::bytea', 'U&"\0069d"::text::bytea', 'person/**/.id::text::bytea') {
    begin_anew();
    $s->get("UPDATE kms.registered_column SET context_expression = '$text'");
    like(said('ALTER TABLE person RENAME id TO pid'), qr/WARNING: .*is not used any more\nDETAIL:  it could not follow a rename: /, "$text is not followed");
    is_kept(qr/its context expression is broken: it could not follow a rename/, '... and keeps every version');
    is(context(), $text, '... and stays as it is');
}
begin_anew();
$s->get(q{UPDATE kms.registered_column SET context_expression = 'person.id::text::bytea || ("id"::text)::bytea || ID::text::bytea'});
$s->get('ALTER TABLE person RENAME id TO pid');
is(context(), 'person.pid::text::bytea || (pid::text)::bytea || pid::text::bytea', 'names of other spellings are followed');
begin_anew();
$s->get(q{UPDATE kms.registered_column SET context_expression = 'no expression at ('});
is(said('ALTER TABLE person RENAME id TO pid') =~ s/^WARNING:  01000: kms could not follow a rename.*\nDETAIL: .*\n//r, '', 'what does not parse fails nobody');

# --- what else is renamed, and not followed: a warning, then an error, and never the empty context

$s->get('CREATE SCHEMA lib');
$s->get($_) foreach 'CREATE FUNCTION lib.of(int) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT $1::text::bytea $$',
  'CREATE TYPE lib.pair AS (a int, b int)', 'CREATE DOMAIN lib.dom AS int', 'CREATE FUNCTION lib.plus(bytea, int) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT $1 || $2::text::bytea $$',
  'CREATE OPERATOR lib.+ (LEFTARG = bytea, RIGHTARG = int, FUNCTION = lib.plus)', 'CREATE SCHEMA other';
my $with_pair = 'CREATE TABLE person (id int, ssn bytea, p lib.pair)';
foreach my $case (
    [ 'lib.of(id)', 'ALTER FUNCTION lib.of RENAME TO of2', 'ALTER FUNCTION lib.of2 RENAME TO of' ],
    [ 'lib.of(id)', 'ALTER FUNCTION lib.of(int) SET SCHEMA other', 'ALTER FUNCTION other.of SET SCHEMA lib' ],
    [ 'lib.of(id)', 'ALTER ROUTINE lib.of RENAME TO of2', 'ALTER ROUTINE lib.of2 RENAME TO of' ],
    [ 'lib.of(id)', 'ALTER SCHEMA lib RENAME TO lib2', 'ALTER SCHEMA lib2 RENAME TO lib' ],
    [ '(id::lib.dom)::text::bytea', 'ALTER DOMAIN lib.dom RENAME TO dom2', 'ALTER DOMAIN lib.dom2 RENAME TO dom' ],
    [ '(id::lib.dom)::text::bytea', 'ALTER TYPE lib.dom SET SCHEMA other', 'ALTER DOMAIN other.dom SET SCHEMA lib' ],
    [ '(p).a::text::bytea', 'ALTER TYPE lib.pair RENAME ATTRIBUTE a TO c', 'ALTER TYPE lib.pair RENAME ATTRIBUTE c TO a' ],
    [ q{'x'::bytea OPERATOR(lib.+) id}, 'ALTER OPERATOR lib.+ (bytea, int) SET SCHEMA other', 'ALTER OPERATOR other.+ (bytea, int) SET SCHEMA lib' ]) {
    my ($context, $rename, $back) = @$case;
    begin_anew($with_pair, $context);
    like(said($rename), qr/WARNING: .*the context expression of public\.person\.ssn names what has been renamed\nDETAIL:  It may use what is \S.* now\.\nHINT: /, "$rename, where $context is a context");
    my $answer = $s->ask(q{CALL kms.reencrypt('person', 'ssn')});
    like($answer->{state}, qr/^(?:42883|42704|42703|3F000)$/, '... whose next use is an error');
    is_kept(qr/^public\.person\.ssn: 1 row$/, '... while its rows count');
    $s->get($back);
}
begin_anew($with_pair, 'lib.of((p).a)');
unlike(said($_), qr/WARNING/, "$_ is no matter") foreach 'ALTER TABLE person RENAME p TO q', 'ALTER TABLE person RENAME id TO a', 'ALTER TYPE lib.pair RENAME ATTRIBUTE b TO z', 'ALTER TABLE person RENAME TO of', 'ALTER TABLE of RENAME TO person';

# --- the types of a context's columns have names, too

foreach my $case (
    [ 'pid', 'ALTER SCHEMA app RENAME TO app2', 'ALTER SCHEMA app2 RENAME TO app' ],
    [ 'pid', 'ALTER DOMAIN app.pid RENAME TO pid2', 'ALTER DOMAIN app.pid2 RENAME TO pid' ],
    [ 'pid', 'ALTER DOMAIN app.pid SET SCHEMA other', 'ALTER DOMAIN other.pid SET SCHEMA app' ],
    [ 'kind[]', 'ALTER TYPE app.kind RENAME TO kind2', 'ALTER TYPE app.kind2 RENAME TO kind' ]) {
    my ($type, $rename, $back) = @$case;
    $s->get('DROP SCHEMA IF EXISTS app CASCADE; DROP TABLE IF EXISTS person');
    $s->get(q{CREATE SCHEMA app; CREATE DOMAIN app.pid AS int; CREATE TYPE app.kind AS ENUM ('a')});
    my $column = $type eq 'pid' ? 'id' : 'k';
    begin_anew('CREATE TABLE person (id app.pid, k app.kind[], ssn bytea)', $column eq 'id' ? 'id::text::bytea' : "convert_to(k::text, 'UTF8')");
    unlike(said($rename), qr/WARNING/, "$rename is no matter to a column of the type");
    is($s->get('SELECT broken IS NULL FROM kms.registered_columns'), 't', '... whose context holds');
    is_kept(qr/^public\.person\.ssn: 1 row$/, '... while its rows count');
    unlike(said($back), qr/WARNING/, '... nor is the way back');
}
begin_anew('CREATE TABLE person (id numeric(10,2), ssn bytea)');
like(said('ALTER TABLE person ALTER id TYPE numeric(10,3)'), qr/WARNING: .*\nDETAIL:  it uses id, whose type or collation is not the same any more/, 'another modifier is another type');

# --- what is forgotten is said

begin_anew();
$s->get('CREATE TABLE new_person AS TABLE person');
$said = said('DROP TABLE person');
like($said, qr/WARNING: .*kms has forgotten registered columns that were dropped\nDETAIL:  public\.person\.ssn\nHINT: .*register_column/, 'DROP TABLE, before another takes its name');
$s->get('ALTER TABLE new_person RENAME TO person');
is(registered(), '', '... is forgotten');
begin_anew();
my $dump = test_folder('dump') . '/custom';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
new_log($node);
$node->command_ok([ 'pg_restore', '--clean', '-t', 'person', '-d', $node->connstr('postgres'), $dump ], 'pg_restore --clean -t');
like(new_log($node), qr/WARNING:  kms has forgotten registered columns that were dropped\n.*DETAIL:  public\.person\.ssn\n/, '... forgets, which the log says, since pg_restore does not');
begin_anew();
$s->get(join ';', map { "CREATE TABLE many$_ (c bytea); SELECT kms.register_column('many$_', 'c', 'k')" } 1 .. 25);
like(said('DROP TABLE ' . join ', ', map { "many$_" } 1 .. 25), qr/^(?:public\.many\d+\.c\n){19}and 5 more$/m, 'of many the first are named');

# One whose snapshot is older than the registration.
begin_anew();
$s->get('CREATE TABLE brief (c bytea)');
my $old = keys_session($node);
$old->get('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM kms.registered_column');
$s->get(q{SELECT kms.register_column('brief', 'c', 'k')});
$old->get('DROP TABLE brief; COMMIT');
$old->quit;
like(registered(), qr/brief/, 'a table that is dropped in an older snapshot is still registered');
like(said('CREATE TEMP TABLE any_other (a int); DROP TABLE any_other'), qr/WARNING: .*kms has forgotten registered columns that were dropped\nDETAIL:  public\.brief\.c\n/, '... until the next command');
unlike(registered(), qr/brief/, '... which forgets it');

# --- nothing is forgotten whose column is there

# What was renamed unseen keeps its place, whatever else of its registration changes.
begin_anew('CREATE TABLE person (id int, c bytea, ssn bytea)');
$s->get(q{SELECT kms.register_column('person', 'c', 'k')});
$s->get('ALTER EVENT TRIGGER kms_follow_rename DISABLE; ALTER TABLE person RENAME ssn TO e; ALTER TABLE person RENAME c TO ssn; ALTER EVENT TRIGGER kms_follow_rename ENABLE ALWAYS');
$s->get(q{UPDATE kms.registered_column SET is_moving = false, was_key_identifier = 'old' WHERE column_name = 'ssn'});
unlike(said('CREATE TEMP TABLE any_other (a int); DROP TABLE any_other'), qr/WARNING/, 'columns that change names, and a registration that changes meanwhile');
is($s->get(q{SELECT string_agg(full_name || ' ' || coalesce(was_key_identifier, ''), ', ' ORDER BY full_name) FROM kms.registered_columns WHERE relation IS NOT NULL}),
    'public.person.e old, public.person.ssn ', '... are both followed');

# What another session holds is followed later, and meant at once: rows were sealed under another column.
my $holder = keys_session($node);
$s->get(<<'SQL');
CREATE SCHEMA away;
CREATE TABLE away.brief (c bytea);
CREATE TABLE away.people (id int, tenant text, label text, s text);
INSERT INTO away.people VALUES (1, 'acme', 'x', 'v1');
CALL kms.encrypt_column('away.people', 's', 'k', context_expression => $$convert_to(tenant, 'UTF8')$$);
SELECT kms.register_column('away.brief', 'c', 'k');
SQL
my $stored_context = q{SELECT context_expression FROM kms.registered_column WHERE column_name = 's_encrypted'};
my $opened = q{SELECT string_agg(kms.decode_with_text('k', s_encrypted, label::bytea), ' ' ORDER BY id) FROM};
my $late = qr/WARNING: .*kms could not follow a rename or a drop of a registered column yet\nDETAIL:  Another session/;
$holder->get('BEGIN; ALTER SCHEMA away RENAME TO away2');
like(said('BEGIN; ALTER TABLE away.people RENAME tenant TO middle; ALTER TABLE away.people RENAME label TO tenant; ALTER TABLE away.people RENAME middle TO label; COMMIT'),
    $late, 'columns of a context that change names while another session renames the schema');
like(said(q{SET statement_timeout = '30s'; DROP TABLE away.brief; RESET statement_timeout}), $late, '... and a table that is dropped, which does not wait');
$holder->get('COMMIT');
$s->get(q{INSERT INTO away2.people (id, label, tenant, s) VALUES (2, 'acme', 'y', 'v2')});
is($s->get("$opened away2.people"), 'v1 v2', '... are the columns that rows are sealed under');
is($s->get($stored_context), q{convert_to(tenant, 'UTF8'::name)}, '... though what is stored is what it was');
$s->get(q{CALL kms.reencrypt('away2.people', 's_encrypted', new_context => $$convert_to(id || label, 'UTF8')$$)});
is($s->get(q{SELECT context_expression || ' ' || was_context_expression || ' ' || is_moving FROM kms.registered_columns WHERE column_name = 's_encrypted'}),
    q{convert_to((id || label), 'UTF8'::name) convert_to(label, 'UTF8'::name) false}, '... and a move goes from what they are');
is($s->get(q{SELECT string_agg(kms.decode_with_text('k', s_encrypted, (id || label)::bytea), ' ' ORDER BY id) FROM away2.people}), 'v1 v2', '... with all rows');
unlike(said('COMMENT ON SCHEMA away2 IS $$any$$'), $late, '... and the next command follows');
unlike(registered(), qr/brief/, '... and forgets');
$holder->get('BEGIN; ALTER SCHEMA away2 RENAME TO away');
$s->get('ALTER TABLE away2.people RENAME label TO client');
$s->get(q{INSERT INTO away2.people (id, client, s) VALUES (3, 'acme', 'v3')});
$s->get('ALTER TABLE away2.people DROP COLUMN client');
fails_with($s, q{INSERT INTO away2.people (id, s) VALUES (4, 'v4')}, '55000', 'a column of the context that is dropped, before it is followed');
is_kept(qr/^away2\.people\.s_encrypted: its context expression is broken: it used label, which was dropped$/, '... keeps every version');
$holder->get('COMMIT');
$holder->quit;
$s->get('DROP SCHEMA away CASCADE');

# Tables and schemas change names beside each other, in sessions that do not see each other.
$s->get('DROP TABLE person');
$s->get("CREATE SCHEMA $_; CREATE TABLE $_.k1 (c bytea); CREATE TABLE $_.k2 (c bytea); SELECT kms.register_column('$_.k1', 'c', 'k'), kms.register_column('$_.k2', 'c', 'k')") foreach 'red', 'blue';
my @tables = split /\n/, $s->get(q{SELECT c.oid FROM pg_class c WHERE relname IN ('k1', 'k2') ORDER BY oid});
my ($tables, $schemas) = map { keys_session($node) } 1 .. 2;
my $others = keys_session($node);
foreach my $round (1 .. 12) {
    my $schema = $round % 2 ? 'blue' : 'red';
    $tables->get("BEGIN; ALTER TABLE $schema.k1 RENAME TO k; ALTER TABLE $schema.k2 RENAME TO k1; ALTER TABLE $schema.k RENAME TO k2");
    $schemas->get('BEGIN; ALTER SCHEMA red RENAME TO middle; ALTER SCHEMA blue RENAME TO red; ALTER SCHEMA middle RENAME TO blue; COMMIT');
    $tables->get('COMMIT');
    $tables->send('ALTER TABLE red.k1 RENAME TO k8');
    $schemas->send('ALTER TABLE blue.k1 RENAME TO k9');
    $others->send("CREATE TEMP TABLE x$round (n int)");
    $_->answer foreach $tables, $schemas, $others;
    $others->get('ALTER TABLE red.k8 RENAME TO k1; ALTER TABLE blue.k9 RENAME TO k1');
}
$s->get('CREATE TEMP TABLE last (n int)');
is(join(' ', sort split /\n/, $s->get(q{SELECT relation::oid FROM kms.registered_columns WHERE relation IS NOT NULL})), join(' ', sort @tables), 'no registration is lost between them');
is($s->get(q{SELECT count(*) FROM kms.registered_columns WHERE full_name = relation::text || '.c'}), 4, '... and each has its names');
$_->quit foreach $tables, $schemas, $others;
$s->get('DROP SCHEMA red, blue CASCADE');
begin_anew();

# --- a registered table that becomes a partition, whose other partitions nobody has registered

begin_anew();
$s->get('CREATE TABLE whole (id int, ssn bytea) PARTITION BY RANGE (id)');
like(said('ALTER TABLE whole ATTACH PARTITION person FOR VALUES FROM (0) TO (100)'),
    qr/WARNING: .*the table of registered column public\.person\.ssn is a partition now\nDETAIL: .*\nHINT:  Register the column/, 'ATTACH PARTITION');
is_kept(qr/^public\.person\.ssn: 1 row; a partition now, and the column of "whole" is not registered$/, '... keeps every version');
$s->get("SELECT kms.register_column('whole', 'ssn', 'k', 'id::text::bytea')");
is_kept(qr/^public\.whole\.ssn: 1 row$/, '... until the column of the whole is registered, which counts alone');
fails_with($s, "CALL kms.reencrypt('person', 'ssn')", '55000', '... and is what is re-encrypted');
$s->get("SELECT kms.unregister_column('person', 'ssn')");
is_kept(qr/^public\.whole\.ssn: 1 row$/, '... without the other too');
$s->get('DROP TABLE whole');

# --- an expression means the same whatever the settings are

$s->get('DROP TABLE IF EXISTS person; CREATE TABLE person (id date, ssn bytea, tags text[])');
$s->get(q{SET DateStyle = 'SQL, DMY'; SET IntervalStyle = sql_standard});
$s->ask("SET $_ = off") foreach 'standard_conforming_strings', 'escape_string_warning';    # which 19 does not have any more
$s->get(q{SELECT kms.register_column('person', 'ssn', 'k', $$convert_to((id - '02/01/2020'::date)::text || E'a\\\\b' || (interval '-1 day +02:00')::text || array_to_string('{NULL}'::text[], ',', 'n'), 'UTF8')$$)});
my $stored = $s->get('SELECT context_expression FROM kms.registered_columns');
like($stored, qr/'2020-01-02'::date/, 'literals are stored as ISO dates');
like($stored, qr/'a\\b'/, '... and strings as the standard has them');
$s->get('ALTER TABLE person RENAME id TO born');
is($s->get('SELECT context_expression FROM kms.registered_columns'), $stored =~ s/\bid\b/born/r, '... and read so by an event trigger');
$s->get('RESET ALL');

$s->quit;
no_crash($node);
done_testing();
