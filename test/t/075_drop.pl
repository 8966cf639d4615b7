# DROP EXTENSION took keys and blobs with it: under whatever command, it is refused while data keys, blobs
# or registered columns would be lost, unless a superuser has set kms.allow_drop.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = test_folder('drop');
my $agent = make_keyring($folder, 'kek:wrap', 'pii');
my $node = kms_node('guarded', 'kms.command' => $agent);
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE boss SUPERUSER LOGIN;
CREATE ROLE app LOGIN;
DROP EXTENSION kms;
SET SESSION AUTHORIZATION boss;
CREATE EXTENSION kms;
CREATE TABLE person (id int, ssn bytea);
SELECT kms.create_data_key('customers', 'kek');
SET kms.mode = envelope;
INSERT INTO person VALUES (1, kms.encode_with('customers', 'a number'));
SELECT kms.blob_put(1, 'contents') FROM kms.set_key(1, 'customers'::text);
SELECT kms.register_column('person', 'ssn', 'customers'::text);
SQL
my $intact = q{SELECT kms.decode_with_text('customers', ssn), convert_from(kms.blob_get(b.id), 'UTF8'),
    (SELECT string_agg(full_name, ' ') FROM kms.registered_columns), (SELECT count(*) FROM pg_event_trigger)
    FROM person, kms.blob b};
my $whole = 'a number|contents|public.person.ssn|2';

sub is_intact {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $session = keys_session($node, { 'kms.mode' => 'envelope', 'kms.keys' => '1=customers' });
    is($session->get($intact), $whole, $name);
    $session->quit;
    return;
}
is_intact('data keys, a blob and a registered column');

# --- each way, in a session that has not loaded the library

my @ways = (
    'DROP EXTENSION kms',
    'DROP EXTENSION IF EXISTS kms CASCADE',
    'DROP SCHEMA kms CASCADE',
    'DROP SCHEMA IF EXISTS public, kms CASCADE',
    'DROP EXTENSION plpgsql CASCADE',
    'DROP OWNED BY boss CASCADE',
    'DROP OWNED BY app, boss',
    'BEGIN; CREATE TABLE other (a int); DROP TABLE other; DROP EXTENSION kms; COMMIT',
    'BEGIN; ALTER EXTENSION kms DROP TABLE kms.data_key; DROP TABLE kms.data_key; COMMIT',
    'BEGIN; ALTER EXTENSION kms DROP TABLE kms.blob; DROP TABLE kms.blob; COMMIT',
    'BEGIN; ALTER EXTENSION kms DROP TABLE kms.blob_chunk; DROP TABLE kms.blob_chunk; COMMIT',
    'BEGIN; ALTER EXTENSION kms DROP TABLE kms.registered_column; DROP TABLE kms.registered_column CASCADE; COMMIT',
    'ALTER TABLE kms.data_key DROP COLUMN wrapped CASCADE',
    'ALTER TABLE kms.blob DROP COLUMN key_tag CASCADE',
    q{DO $$ BEGIN EXECUTE 'DROP EXTENSION kms'; END $$},
    q{CREATE FUNCTION drop_it() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DROP EXTENSION kms; END $$; SELECT drop_it()},
    'PREPARE nothing AS SELECT 1; BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1; DROP EXTENSION kms; COMMIT',
);
foreach my $way (@ways) {
    my $session = kms_session($node);
    my $answer = fails_with($session, "SET client_min_messages = warning; $way", '2BP01', "refused: $way");
    is($answer->{message}, 'cannot drop the extension kms or its tables: what they hold would be lost', '... says why');
    is($answer->{detail}, 'Versions of data keys: 1, blobs: 1, registered columns: 1.', '... and what');
    like($answer->{hint}, qr/SET kms\.allow_drop = on/, '... and how to go on');
    $session->quit;
    is_intact('... and nothing is lost');
}
$node->safe_psql('postgres', 'DROP FUNCTION drop_it()') if $node->safe_psql('postgres', "SELECT to_regproc('drop_it')");

my $session = kms_session($node);
is($session->get(q{DO $$ BEGIN DROP EXTENSION kms; EXCEPTION WHEN dependent_objects_still_exist THEN NULL; END $$; SELECT count(*) FROM pg_extension WHERE extname = 'kms'}),
    1, 'an error that a block catches leaves the extension where it was');
is_intact('... with all it holds');

# --- what else is dropped passes

$session->get($_) foreach 'CREATE EXTENSION citext; DROP EXTENSION citext', 'CREATE EXTENSION hstore; DROP EXTENSION hstore CASCADE',
    'CREATE SCHEMA other; CREATE TABLE other.data_key (a int); CREATE TABLE other.blob (a int); DROP SCHEMA other CASCADE',
    'CREATE TABLE public.blob (a int); DROP TABLE public.blob', 'CREATE TABLE gone (a int); ALTER TABLE gone ADD b int; ALTER TABLE gone DROP b; DROP TABLE gone',
    'CREATE TEMP TABLE blob (a int); DROP TABLE blob', 'VACUUM FULL kms.data_key', 'CLUSTER kms.blob USING blob_pkey', 'REINDEX TABLE kms.blob_chunk',
    'CREATE INDEX more ON kms.blob (created); DROP INDEX kms.more', 'CREATE ROLE leaver; CREATE SCHEMA hers AUTHORIZATION leaver; DROP OWNED BY leaver; DROP ROLE leaver';
pass('other extensions, schemas, tables and roles are dropped, and kms\'s tables rewritten');
$session->get('CREATE DATABASE elsewhere');
my $elsewhere = kms_session($node, dbname => 'elsewhere');
$elsewhere->get("LOAD 'kms'; CREATE SCHEMA kms; CREATE TABLE kms.blob (a int); INSERT INTO kms.blob VALUES (1); DROP SCHEMA kms CASCADE");
pass('a schema kms of another\'s is not guarded');
$elsewhere->quit;

# --- who may

my $app = kms_session($node, user => 'app');
fails_with($app, "LOAD 'kms'; SET kms.allow_drop = on", '42501', 'a plain role does not allow it');
fails_with($app, 'DROP EXTENSION kms', '42501', '... and does not do it');
$app->quit;

# --- what is worth keeping: each alone

my %kept = ('a data key' => 'kms.data_key', 'a blob' => 'kms.blob', 'a registered column' => 'kms.registered_column');
foreach my $what (sort keys %kept) {
    $session->get(join '; ', 'BEGIN', map { $_ eq $kept{$what} ? () : "DELETE FROM $_" } values %kept);
    fails_with($session, 'DROP EXTENSION kms', '2BP01', "refused for $what alone");
    $session->get('ROLLBACK');
}
$session->get("BEGIN; DELETE FROM kms.data_key; DELETE FROM kms.blob; DELETE FROM kms.registered_column; INSERT INTO kms.registered_column (relation_schema, relation_name, column_name, key_identifier) VALUES ('public', 'person', 'ssn', 'customers')");
fails_with($session, 'DROP EXTENSION kms', '2BP01', 'what this transaction has made counts');
$session->get('ROLLBACK');
my $other = kms_session($node);
$session->get('BEGIN ISOLATION LEVEL REPEATABLE READ; DELETE FROM kms.data_key; DELETE FROM kms.blob; DELETE FROM kms.registered_column; SAVEPOINT emptied; DROP EXTENSION kms; ROLLBACK TO emptied');
pass('what holds nothing any more is dropped without a setting');
$session->get('ROLLBACK');
$other->get(q{CREATE DATABASE fresh});
my $fresh = kms_session($node, dbname => 'fresh');
$fresh->get("CREATE EXTENSION kms; DROP EXTENSION kms; CREATE EXTENSION kms");
$fresh->get("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM kms.data_key");
my $beside = kms_session($node, dbname => 'fresh');
$beside->get("SELECT kms.create_data_key('late', 'kek')");
fails_with($fresh, 'DROP EXTENSION kms', '2BP01', 'so does what others have committed since the transaction\'s snapshot');
$_->quit foreach $fresh, $beside, $other;

# --- a dump brings it back; --clean drops it first

my $custom = "$folder/custom";
$node->command_ok([ 'pg_dump', '-Fc', '-f', $custom, $node->connstr('postgres') ], 'a dump');
my ($out, $err);
IPC::Run::run([ 'pg_restore', '--clean', '-d', $node->connstr('postgres'), $custom ], '>', \$out, '2>', \$err);
like($err, qr/what they hold would be lost/, 'pg_restore --clean is refused to drop it');
is_intact('... and nothing is lost');
{
    local $ENV{PGOPTIONS} = '-c kms.allow_drop=on';
    $node->command_ok([ 'pg_restore', '-e', '--clean', '--if-exists', '-d', $node->connstr('postgres'), $custom ], '... and does it with PGOPTIONS');
}
is_intact('... and brings all of it back');
$session->quit;

# --- pg_upgrade

my $upgraded = PostgreSQL::Test::Cluster->new('upgraded');
$upgraded->init;
$upgraded->append_conf('postgresql.conf', "kms.command = '" . $agent =~ s/'/''/gr . "'");
chomp(my $bindir = `"@{[ $ENV{PG_CONFIG} // 'pg_config' ]}" --bindir`);
$node->stop;
chdir test_folder('upgrade') or die $!;
command_ok([ "$bindir/pg_upgrade", '--no-sync', '-d', $node->data_dir, '-D', $upgraded->data_dir, '-b', $bindir, '-B', $bindir,
        '-s', $node->host, '-p', $node->port, '-P', $upgraded->port ], 'pg_upgrade');
chdir $FindBin::RealBin or die $!;
$upgraded->start;
my $new = keys_session($upgraded, { 'kms.mode' => 'envelope', 'kms.keys' => '1=customers' });
is($new->get($intact), $whole, '... brings all of it along');
fails_with($new, 'DROP EXTENSION kms', '2BP01', '... and it is refused there too');
is($new->get(q{SELECT string_agg(extname || ' ' || n.nspname, ', ') FROM pg_depend d JOIN pg_extension e ON refobjid = e.oid JOIN pg_namespace n ON n.oid = d.objid
    WHERE deptype = 'e' AND classid = 'pg_namespace'::regclass}), 'kms kms_internal', '... whose schema of internals is its own');

# --- and where it is meant

$new->get('SET kms.allow_drop = on; DROP EXTENSION kms; RESET kms.allow_drop');
is($new->get("SELECT count(*) FROM pg_namespace WHERE nspname = 'kms_internal'"), 0, 'a superuser who allows it drops it with what it holds');
$new->quit;
$upgraded->stop;
no_crash($_) foreach $node, $upgraded;
done_testing();
