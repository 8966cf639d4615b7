# Dumps: by a database's owner, whole and in pieces, and what it takes to restore them.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use File::Copy qw(copy);
use IPC::Run ();
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = test_folder('dumps');
my $node = kms_node('dumps', 'kms.command' => make_keyring($folder, 'pii', 'kek:wrap'), 'kms.mode' => 'envelope');
$node->safe_psql('postgres', 'CREATE ROLE boss LOGIN');
$node->safe_psql('postgres', 'CREATE DATABASE app OWNER boss');
$node->safe_psql('app', 'CREATE EXTENSION kms');
my $session = kms_session($node, dbname => 'app');
$session->get(<<'SQL');
SELECT kms.create_data_key('person', 'kek');
SET kms.keys = '1=person';
CREATE SCHEMA work AUTHORIZATION boss;
CREATE TABLE work.person AS SELECT n AS id, kms.encode(1, 'ssn ' || n) AS ssn FROM generate_series(1, 3) n;
SELECT kms.register_column('work.person', 'ssn', 'person');
SELECT kms.blob_put(1, 'contents');
CREATE MATERIALIZED VIEW work.shown AS SELECT id, kms.decode_text(1, ssn) AS ssn FROM work.person;
ALTER TABLE work.person OWNER TO boss;
ALTER MATERIALIZED VIEW work.shown OWNER TO boss;
GRANT USAGE ON SCHEMA kms TO boss;
GRANT EXECUTE ON FUNCTION kms.decode_text TO boss;
SQL
$session->quit;

sub run_with {
    my ($env, @command) = @_;
    local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, %$env);
    my ($out, $err);
    IPC::Run::run([ $node->installed_command($command[0]), @command[ 1 .. $#command ] ], '<', \'', '>', \$out, '2>', \$err);
    return ($? >> 8, $err);
}

sub dumped { return run_with({ PGUSER => 'boss' }, 'pg_dump', '-Fc', '-f', "$folder/$_[0]", @_[ 1 .. $#_ ], 'app') }

# --- whose right it is

my ($status, $error) = dumped('denied');
isnt($status, 0, 'a database\'s owner may not dump the extension\'s tables');
like($error, qr/permission denied for (?:table|relation|schema) /, '... which says so');
$node->safe_psql('app', q{SELECT kms.grant_role('boss', 'dumper')});
is_deeply([ dumped('whole') ], [ 0, '' ], 'a dumper may');
$node->safe_psql('app', q{SELECT kms.revoke_role('boss', 'dumper')});
isnt((dumped('denied'))[0], 0, '... until that is taken back');
$node->safe_psql('app', q{SELECT kms.grant_role('boss', 'dumper')});
unlike(slurp_file("$folder/whole"), qr/ssn \d/, 'no plaintext is in the dump');

# --- restored as a whole: by a superuser, with the view's key, in parallel

sub restored {
    my ($database, $dump, $env, @options) = @_;
    $node->safe_psql('postgres', "CREATE DATABASE $database");
    return run_with({ PGUSER => $node->safe_psql('postgres', 'SELECT current_user'), %$env }, 'pg_restore', @options, '-d', $database, "$folder/$dump");
}
my $values = q{SELECT string_agg(kms.decode_with_text('person', ssn), ' ' ORDER BY id) FROM work.person};
foreach my $jobs (1, 4) {
    my $database = "whole_$jobs";
    is_deeply([ restored($database, 'whole', { PGOPTIONS => '-c kms.keys=1=person' }, "-j$jobs") ], [ 0, '' ], "restored with $jobs jobs and the key");
    is($node->safe_psql($database, $values), 'ssn 1 ssn 2 ssn 3', '... every value opens');
    is($node->safe_psql($database, 'SELECT string_agg(ssn, $$ $$ ORDER BY id) FROM work.shown'), 'ssn 1 ssn 2 ssn 3', '... the materialised view is made');
    is($node->safe_psql($database, q{SET kms.keys = '1=person'; SELECT string_agg(convert_from(kms.blob_get(id), 'UTF8'), ' ') FROM kms.blob_list()}), 'contents', '... blobs are there');
    is($node->safe_psql($database, 'SELECT relation, column_name FROM kms.registered_columns'), 'work.person|ssn', '... and what is registered');
}
($status, $error) = restored('no_key', 'whole', {});
like($error, qr/no key is bound to local id 1/, 'without the key the view cannot be made, which says why');
is($node->safe_psql('no_key', $values), 'ssn 1 ssn 2 ssn 3', '... and all else is there');
$node->safe_psql('no_key', q{SET kms.keys = '1=person'; REFRESH MATERIALIZED VIEW work.shown});
is($node->safe_psql('no_key', 'SELECT count(*) FROM work.shown'), 3, '... until it is refreshed');
isnt((run_with({ PGUSER => 'boss' }, 'pg_restore', '-d', 'no_key', "$folder/whole"))[0], 0, 'the owner cannot restore it');

# --- in pieces

is((dumped('piece', '-n', 'work'))[0], 0, 'a schema alone is dumped');
$node->safe_psql('postgres', 'CREATE DATABASE piece');
$node->safe_psql('piece', 'CREATE EXTENSION kms');
is((run_with({ PGOPTIONS => '-c kms.keys=1=person' }, 'pg_restore', '-d', 'piece', "$folder/piece"))[0], 1, '... and restored but for the view');
my $piece = kms_session($node, dbname => 'piece');
my $answer = fails_with($piece, $values, 'KM002', '... but its values do not open');
like($answer->{detail}, qr/needs its row of kms\.data_key back/, '... and the error says what they need');
is((dumped('keys', '--data-only', '-t', 'kms.data_key'))[0], 0, 'the data keys are dumped by themselves');
is_deeply([ run_with({}, 'pg_restore', '-d', 'piece', "$folder/keys") ], [ 0, '' ], '... and restored');
is($piece->get($values), 'ssn 1 ssn 2 ssn 3', '... and every value opens');
$piece->quit;
is_deeply([ dumped('with_kms', '-n', 'work', '-n', 'kms', '-e', 'kms') ], [ 0, '' ], 'a schema is dumped with the extension');
is_deeply([ restored('with_kms', 'with_kms', { PGOPTIONS => '-c kms.keys=1=person' }) ], [ 0, '' ], '... and restored');
is($node->safe_psql('with_kms', $values), 'ssn 1 ssn 2 ssn 3', '... with values that open');
is($node->safe_psql('with_kms', 'SELECT relation, column_name FROM kms.registered_columns'), 'work.person|ssn', '... and what is registered');

$node->safe_psql('app', q{SET kms.mode = envelope; SELECT kms.create_data_key('later', 'kek')});
is_deeply([ run_with({}, 'pg_dump', '--data-only', '--inserts', '--on-conflict-do-nothing', '-t', 'kms.data_key', '-f', "$folder/keys.sql", 'app') ], [ 0, '' ], 'the data keys are dumped again, with one more');
is_deeply([ run_with({}, 'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-d', 'piece', '-f', "$folder/keys.sql") ], [ 0, '' ], '... and restored where some are');
is($node->safe_psql('piece', q{SELECT string_agg(name, ' ' ORDER BY name) FROM kms.data_keys}), 'later person', '... so that all are there');

# Another database has another key of the name.
$node->safe_psql('postgres', 'CREATE DATABASE stranger');
$node->safe_psql('stranger', q{CREATE EXTENSION kms; SELECT kms.create_data_key('person', 'kek')});
$node->safe_psql('app', q{SET kms.mode = envelope; SELECT kms.rotate_data_key('person')});
is((run_with({}, 'pg_dump', '--data-only', '--inserts', '--on-conflict-do-nothing', '-t', 'kms.data_key', '-f', "$folder/keys.sql", 'app'))[0], 0, 'a dump with a newer version, too');
my ($refused, $why) = run_with({}, 'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-d', 'stranger', '-f', "$folder/keys.sql");
is($refused, 3, 'data keys are not restored beside others of the same name');
like($why, qr/version 1 of data key "person" is another key here/, '... which says so');
is($node->safe_psql('stranger', q{SELECT string_agg(format('%s %s', name, version), ' ') FROM kms.data_keys}), 'person 1', '... and no newer version comes in the place of its own');

# A piece that brings what is registered of other schemas; and one that is put back where it came from.
$node->safe_psql('app', q{CREATE SCHEMA other; CREATE TABLE other.staff (v bytea); SELECT kms.register_column('other.staff', 'v', 'later')});
is((dumped('with_kms', '-n', 'work', '-n', 'kms', '-e', 'kms'))[0], 0, 'a schema is dumped with the extension, and not the other schema');
is((restored('without_other', 'with_kms', { PGOPTIONS => '-c kms.keys=1=person' }))[0], 0, '... and restored');
my $without = kms_session($node, dbname => 'without_other');
my $kept = fails_with($without, q{SET kms.mode = envelope; SELECT kms.disable_data_key('later', 1)}, 'KM012', '... with what is registered of the other schema');
like($kept->{hint}, qr/kms\.forget_column\(\)/, '... which says how to take that back');
$without->get(q{SELECT kms.forget_column('other.staff.v')});
is($without->ask(q{SELECT kms.disable_data_key('later', 1)})->{state}, '', '... and then keys are retired');
$without->quit;
is((dumped('piece', '-n', 'work'))[0], 0, 'a schema alone is dumped again');
is((run_with({ PGOPTIONS => '-c kms.keys=1=person' }, 'pg_restore', '--clean', '-n', 'work', '-d', 'app', "$folder/piece"))[0], 0, '... and put back where it came from, with no allow_drop');
is($node->safe_psql('app', $values), 'ssn 1 ssn 2 ssn 3', '... with values that open');
is($node->safe_psql('app', q{SELECT string_agg(full_name, ' ') FROM kms.registered_columns}), 'other.staff.v', '... and nothing registered of it');

# A copy beside the first: with a keyring of its own it destroys its own keys alone.
copy("$folder/ring", "$folder/copy_of_ring") or die "copy: $!";
chmod 0600, "$folder/copy_of_ring";
my $of_copy = $node->safe_psql('postgres', 'SHOW kms.command') =~ s/--keyring \S*/--keyring $folder\/copy_of_ring/r;
$node->safe_psql('postgres', "ALTER DATABASE whole_1 SET kms.command = '$of_copy'");
my $copy = kms_session($node, dbname => 'whole_1');
$copy->get(q{SET kms.cache_ttl = '1s'; CALL kms.destroy_data_key('person', 1, shred => true, force => true)});
fails_with($copy, $values, 'KM011', 'a copy has shredded its key');
is($node->safe_psql('app', $values), 'ssn 1 ssn 2 ssn 3', '... and the first has it still');
$copy->quit;

$node->stop;
no_crash($node);
done_testing();
