# From an older PostgreSQL to this one, by pg_upgrade and by a dump: whatever kms keeps is there, opens, and goes on
# working, down to a column that is half encrypted. KMS_TEST_OLD_BINDIR names the older one, which has kms too.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use File::Basename qw(dirname);
use IPC::Run ();
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old_bin = $ENV{KMS_TEST_OLD_BINDIR};
plan skip_all => 'KMS_TEST_OLD_BINDIR names no older PostgreSQL' unless length($old_bin // '');

my $ring = test_folder('ring');
make_keyring($ring, 'pii', 'kek:wrap');

# A cluster with an agent of its own version, which serves a keyring of its own: a copy.
sub cluster {
    my ($name, %where) = @_;
    my $keys = test_folder("keys_$name");
    system_or_bail('cp', '-p', "$ring/ring", "$ring/kek", $keys);
    my $node = PostgreSQL::Test::Cluster->new($name, %where);
    $node->init(extra => ['--data-checksums']);
    my $agent = $node->config_data('--bindir') . '/kms-agent';
    $node->append_conf('postgresql.conf', "kms.command = 'exec $agent serve --keyring $keys/ring --key-file $keys/kek'");
    return $node;
}

my $old = cluster('old', install_path => dirname($old_bin));
my $upgraded = cluster('upgraded');
my $restored = cluster('restored');
cmp_ok($old->pg_version, '<', $upgraded->pg_version, 'the other PostgreSQL is an older one: ' . $old->pg_version);

# One with the local keys, one with those of the database; kms.keys are the same for app, by its login.
sub sessions {
    my ($node) = @_;
    return map { keys_session($node, { 'kms.mode' => $_, 'kms.keys' => $_ eq 'local' ? '1=pii' : '1=tenant-2' }, dbname => 'app') } 'local', 'envelope';
}

# --- what there is

# A procedure is cancelled when it has done with the first ten rows.
sub half_done {
    my ($session, $table, $column, $call) = @_;
    $session->send("CALL kms.$call, batch => 10, pause => '1 hour')");
    my $has = q{SELECT count(*) FROM pg_attribute WHERE attrelid = '%s'::regclass AND attname = '%s'};
    my $done = "SELECT count($column) FROM $table";    # its first batch, at once
    ok(becomes(sub { $old->safe_psql('app', sprintf $has, $table, $column) == 1 && $old->safe_psql('app', $done) > 0 }), "$table.$column has its first rows");
    $old->safe_psql('app', 'SELECT pg_cancel_backend(' . $session->pid . ')');
    is($session->answer->{state}, '57014', '... and no more');
    return;
}

$old->start;
$old->safe_psql('postgres', 'CREATE DATABASE app');
$old->safe_psql('postgres', q{CREATE ROLE app LOGIN; ALTER ROLE app SET kms.keys = '1=pii'; CREATE ROLE nobody LOGIN});
$old->safe_psql('app', 'CREATE EXTENSION kms');
{
    my ($local, $envelope) = sessions($old);

    # Dropped columns, since numbers of columns are others after a restore; and a context of the user's own type and function.
    $local->get(<<'SQL');
CREATE SCHEMA shop;
CREATE TYPE shop.kind AS ENUM ('debit', 'credit');
CREATE FUNCTION shop.label(of_kind shop.kind) RETURNS text LANGUAGE sql IMMUTABLE RETURN CASE of_kind WHEN 'debit' THEN 'd' ELSE 'c' END;
CREATE TABLE shop.card (gone int, old_id int, kind shop.kind, number bytea) PARTITION BY RANGE (old_id);
CREATE TABLE shop.card_1 PARTITION OF shop.card FOR VALUES FROM (1) TO (51);
CREATE TABLE shop.card_2 PARTITION OF shop.card FOR VALUES FROM (51) TO (1000);
ALTER TABLE shop.card DROP COLUMN gone;
INSERT INTO shop.card SELECT n, k, kms.encode(1, 'card ' || n, convert_to(shop.label(k) || n, 'UTF8'))
    FROM generate_series(1, 100) n, LATERAL (SELECT CASE n % 2 WHEN 0 THEN 'debit' ELSE 'credit' END::shop.kind) s(k);
SELECT kms.register_column('shop.card', 'number', 'pii', $$convert_to(shop.label(kind) || old_id, 'UTF8')$$);
ALTER TABLE shop.card RENAME old_id TO id;

CREATE TABLE patient (gone int, id int PRIMARY KEY, also_gone text, diagnosis text);
ALTER TABLE patient DROP COLUMN gone, DROP COLUMN also_gone;
INSERT INTO patient SELECT n, 'diagnosis ' || n FROM generate_series(1, 100) n;
CREATE TABLE back (gone int, id int PRIMARY KEY, amount bytea);
ALTER TABLE back DROP COLUMN gone;
INSERT INTO back SELECT n, kms.encode(1, trim_scale(n * 1.5)::text, n::text::bytea) FROM generate_series(1, 100) n;
SELECT kms.register_column('back', 'amount', 'pii', 'id::text::bytea');
SELECT kms.blob_put(1, convert_to(repeat('contents ', 100000), 'UTF8'), 'local', 'text/plain', '{"kept": true}');
SELECT kms.grant_role('app', 'writer'), kms.grant_role('app', 'reader'), kms.grant_role('app', 'blob_user'), kms.grant_role('app', 'auditor');
SQL
    $envelope->get(<<'SQL');
SELECT kms.create_data_key('tenant-1', 'kek'), kms.create_data_key('tenant-2', 'kek');
CREATE TABLE note (old_id int PRIMARY KEY, gone int, body bytea);
ALTER TABLE note DROP COLUMN gone;
SELECT kms.register_column('note', 'body', 'tenant-1', $$convert_to('note ' || old_id, 'UTF8')$$);
INSERT INTO note SELECT n, kms.encode_with('tenant-1', 'note ' || n, convert_to('note ' || n, 'UTF8')) FROM generate_series(1, 60) n;
SELECT kms.rotate_data_key('tenant-1'), kms.rotate_kek('kek');
INSERT INTO note SELECT n, kms.encode_with('tenant-1', 'note ' || n, convert_to('note ' || n, 'UTF8')) FROM generate_series(61, 100) n;
ALTER TABLE note RENAME old_id TO id;
SELECT kms.blob_put(1, '', 'empty'), kms.blob_put(1, 'of a tenant', 'envelope');
GRANT SELECT, INSERT, UPDATE ON note, patient, back TO app;
SQL

    half_done($local, 'patient', 'diagnosis_encrypted', q{encrypt_column('patient', 'diagnosis', 'pii', context_expression => 'id::text::bytea'});
    half_done($local, 'back', 'amount_plain', q{decrypt_column('back', 'amount', 'numeric(10,2)'});
    $_->quit foreach $local, $envelope;
}

# What is to be the same afterwards, each with what it is before; none is empty.
my @same = (
    [ 'registered columns', 'SELECT full_name, key_identifier, context_expression, registered, is_moving, broken FROM kms.registered_columns ORDER BY full_name' ],
    [ 'data keys', 'SELECT * FROM kms.data_keys ORDER BY name, version' ],
    [ 'wrapped keys', 'SELECT name, version, md5(k::text) FROM kms.data_key k ORDER BY name, version' ],
    [ 'census', <<'SQL' ],
SELECT relation, c.* FROM unnest(ARRAY['note', 'shop.card', 'patient', 'back'], ARRAY['body', 'number', 'diagnosis_encrypted', 'amount']) u(relation, column_name),
    kms.census(relation::regclass, column_name) c ORDER BY relation, version
SQL
    [ 'ages of keys', 'SELECT key_identifier, version, created, rows FROM kms.key_age() ORDER BY key_identifier' ],
    [ 'grants', <<'SQL' ],
SELECT p.oid::regprocedure::text COLLATE "C", pg_get_userbyid(a.grantee), a.privilege_type FROM pg_proc p, aclexplode(p.proacl) a
    WHERE p.pronamespace IN ('kms'::regnamespace, 'kms_internal'::regnamespace) AND a.grantee <> p.proowner ORDER BY 1, 2, 3
SQL
    [ 'triggers', q{SELECT tgrelid::regclass::text, tgname, tgenabled, encode(tgargs, 'escape') FROM pg_trigger WHERE tgname LIKE 'zzz_kms_%' ORDER BY 1, 2} ],
    [ 'event triggers', q{SELECT evtname, evtenabled FROM pg_event_trigger ORDER BY 1} ],
    [ 'settings of roles', q{SELECT rolname, setconfig FROM pg_db_role_setting JOIN pg_roles r ON r.oid = setrole ORDER BY 1} ],
);
my $blobs = q{SELECT b.*, v.sha256, v.complete FROM kms.blob_list('%s') b, kms.blob_verify(id) v ORDER BY name};

sub kept {
    my ($node) = @_;
    my ($local, $envelope) = sessions($node);
    my %kept = map { $_->[0] => $local->get($_->[1]) } @same;
    $kept{'local blobs'} = $local->get(sprintf $blobs, 'local');
    $kept{'blobs of data keys'} = $envelope->get(sprintf $blobs, 'e');
    $_->quit foreach $local, $envelope;
    return \%kept;
}

# As they are expected, and not as they were.
sub opens {
    my ($local, $envelope) = @_;
    my $note = q{SELECT count(*) FILTER (WHERE kms.decode_with_text('tenant-1', body, convert_to('note ' || id, 'UTF8')) = 'note ' || id), count(*) FROM note};
    is($envelope->get($note), '100|100', '... every value of a data key opens, of either version');
    my $card = q{SELECT count(*) FILTER (WHERE kms.decode_text(1, number, convert_to(shop.label(kind) || id, 'UTF8')) = 'card ' || id), count(*) FROM shop.card};
    is($local->get($card), '100|100', '... every value of a local key opens, in partitions');
    my $patient = q{SELECT count(*) FILTER (WHERE kms.decode_text(1, diagnosis_encrypted, id::text::bytea) = diagnosis), count(diagnosis_encrypted), count(*) FROM patient};
    is($local->get($patient), '10|10|100', '... and so does what is encrypted of a column so far');
    my $back = q{SELECT count(*) FILTER (WHERE kms.decode_text(1, amount, id::text::bytea)::numeric = id * 1.5), count(*) FILTER (WHERE amount_plain = id * 1.5), count(*) FROM back};
    is($local->get($back), '100|10|100', '... and what is opened of another');
    is($local->get(q{SELECT md5(kms.blob_get(id)) = md5(repeat('contents ', 100000)), metadata->>'kept' FROM kms.blob_list('local')}), 't|true', '... and a blob');
    is($envelope->get(q{SELECT string_agg(name || ':' || convert_from(kms.blob_get(id), 'UTF8'), ' ' ORDER BY name) FROM kms.blob_list('e')}), 'empty: envelope:of a tenant', '... and blobs of data keys');
    return;
}

my $before = kept($old);
is(scalar(grep { !length } values %$before), 0, 'there is something of everything');
is(scalar(split /\n/, $before->{'registered columns'}), 4, '... and four registered columns');
like($before->{'registered columns'}, qr/^public\.note\.body\|tenant-1\|convert_to\(\('note '::text \|\| id\).*^shop\.card\.number\|pii\|convert_to\(\(shop\.label\(kind\) \|\| id\)/ms, '... with renamed columns in contexts');
like($before->{triggers}, qr/^back\|zzz_kms_\S+\|A\|.*^patient\|zzz_kms_\S+\|A\|/ms, '... and columns in between');
like($before->{grants}, qr/^kms\.encode\(.*\|app\|EXECUTE$/m, '... and grants');
{
    my ($local, $envelope) = sessions($old);
    note 'in the older PostgreSQL';
    opens($local, $envelope);
    $_->quit foreach $local, $envelope;
}

# --- the ways

sub run_ok {
    my ($name, $stdin, @command) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($out, $err);
    my $ok = IPC::Run::run(\@command, '<', \$stdin, '>', \$out, '2>', \$err);
    ok($ok && $err eq '', $name) or diag "$out$err";
    return $out;
}

$restored->start;
{
    my $dump = test_folder('dump') . '/app';
    run_ok('the new pg_dump dumps the older server', '', $restored->installed_command('pg_dump'), '-Fc', '-Z0', '-f', $dump, $old->connstr('app'));
    my $dumped = slurp_file($dump);
    like($dumped, qr/diagnosis \d/, '... and what is in plaintext yet');
    unlike($dumped, qr/(?:note|card) \d|@{[ unpack 'H*', 'note ' ]}|@{[ unpack 'H*', 'card ' ]}/, '... but nothing of what is sealed');
    my $globals = run_ok('and pg_dumpall its roles', '', $restored->installed_command('pg_dumpall'), '--globals-only', '-d', $old->connstr('postgres'));
    $globals =~ s/^(?:CREATE|ALTER) ROLE (?!app\b|nobody\b).*\n//mg;
    run_ok('roles are restored', $globals, $restored->installed_command('psql'), '-Xqv', 'ON_ERROR_STOP=1', '-d', $restored->connstr('postgres'), '-o', '/dev/null');
    $restored->safe_psql('postgres', 'CREATE DATABASE app');
    run_ok('and the database', '', $restored->installed_command('pg_restore'), '-e', '-j2', '-d', $restored->connstr('app'), $dump);
}
$old->stop;
my ($old_bindir, $new_bindir) = map { $_->config_data('--bindir') } $old, $upgraded;
{
    chdir test_folder('upgrade') or die $!;
    command_ok([ "$new_bindir/pg_upgrade", '--no-sync', '-d', $old->data_dir, '-D', $upgraded->data_dir, '-b', $old_bindir, '-B', $new_bindir,
            '-s', $old->host, '-p', $old->port, '-P', $upgraded->port ], 'pg_upgrade');
    chdir $FindBin::RealBin or die $!;
}
$upgraded->start;

# --- what has come of it

sub works {
    my ($node, $way) = @_;
    my ($local, $envelope) = sessions($node);
    my $after = kept($node);
    is($after->{$_}, $before->{$_}, "$way: $_") foreach sort keys %$before;
    opens($local, $envelope);
    is($local->get(q{SELECT extversion = (SELECT default_version FROM pg_available_extensions WHERE name = 'kms') FROM pg_extension WHERE extname = 'kms'}), 't', '... the extension is of its version');
    my $refused = fails_with($local, 'DROP EXTENSION kms CASCADE', '2BP01', '... DROP EXTENSION is refused');
    like($refused->{err}, qr/^DETAIL:  Versions of data keys: 3, blobs: 3, registered columns: 4\.$/m, '... for what would be lost');

    grants_hold($node);
    renames_are_followed($local);
    keys_rotate($local, $envelope);
    columns_go_on($node, $local);
    $_->quit foreach $local, $envelope;
    return;
}

sub grants_hold {
    my ($node) = @_;
    my $app = kms_session($node, dbname => 'app', user => 'app');
    is($app->get('SHOW kms.keys'), '1=pii', 'app logs in with its keys');
    is($app->get(q{SELECT kms.decode_text(1, kms.encode(1, 'own'))}), 'own', '... and seals and opens');
    $app->get(q{SELECT kms.blob_put(1, 'mine', 'of app')});
    is($app->get(q{SELECT convert_from(kms.blob_get(id), 'UTF8') FROM kms.blob_list('of app')}), 'mine', '... and has blobs');
    is($app->get('SELECT count(*) FROM kms.registered_columns'), 4, '... and looks at what is registered');
    fails_with($app, q{SELECT kms.rotate_key('pii')}, '42501', '... and rotates nothing');
    fails_with($app, 'SELECT * FROM kms.data_key', '42501', '... nor reads keys');
    $app->get(q{SELECT kms.blob_delete(id) FROM kms.blob_list('of app')});
    $app->quit;
    my $nobody = kms_session($node, dbname => 'app', user => 'nobody');
    fails_with($nobody, q{SELECT kms.encode(1, 'x')}, '42501', 'nobody else does');
    $nobody->quit;
    return;
}

sub renames_are_followed {
    my ($local) = @_;
    my $card = q{SELECT relation_schema || '.' || relation_name || '.' || column_name || ' ' || context_expression FROM kms.registered_column WHERE column_name IN ('number', 'digits')};
    $local->get('ALTER TABLE shop.card RENAME number TO digits; ALTER TABLE shop.card RENAME id TO card_id; ALTER TABLE shop.card RENAME TO credit_card; ALTER TABLE shop.credit_card SET SCHEMA public');
    is($local->get($card), q{public.credit_card.digits convert_to((shop.label(kind) || card_id), 'UTF8'::name)}, 'renames are followed');
    is($local->get(q{SELECT sum(rows) FROM kms.census('credit_card', 'digits')}), 100, '... and the rows counted');
    like($local->ask('ALTER FUNCTION shop.label(shop.kind) RENAME TO named')->{err}, qr/WARNING: /, '... and of what cannot be followed a WARNING tells');
    $local->get('ALTER FUNCTION shop.named(shop.kind) RENAME TO label');
    return;
}

sub keys_rotate {
    my ($local, $envelope) = @_;
    my $versions = q{SELECT string_agg(version || ':' || rows, ' ' ORDER BY version) FROM kms.census('%s', '%s')};
    is($envelope->get(q{SELECT kms.rotate_data_key('tenant-1')}), 3, 'a data key rotates');
    fails_with($envelope, q{SELECT kms.disable_data_key('tenant-1', 1)}, 'KM012', '... whose rows keep the version before');
    $envelope->get(q{SET client_min_messages = warning; CALL kms.reencrypt('note', 'body')});
    is($envelope->get(sprintf $versions, 'note', 'body'), '3:100', '... until they are re-encrypted');
    $envelope->get("SELECT kms.disable_data_key('tenant-1', $_)") foreach 1, 2;
    is($envelope->get(q{SELECT count(*) FROM note WHERE kms.decode_with_text('tenant-1', body, convert_to('note ' || id, 'UTF8')) = 'note ' || id}), 100, '... and open');
    cmp_ok($envelope->get(q{SELECT kms.rotate_kek('kek')}), '>', 0, 'the KEK rotates');
    is($envelope->get('SELECT min(kek_version) FROM kms.data_keys'), 3, '... and wraps all data keys');
    is($local->get(q{SELECT kms.rotate_key('pii')}), 2, 'a local key rotates');
    fails_with($local, q{SELECT kms.disable_key('pii', 1)}, 'KM012', '... whose rows keep the version before');
    $local->get(q{SET client_min_messages = warning; CALL kms.reencrypt('credit_card', 'digits')});
    is($local->get(sprintf $versions, 'credit_card', 'digits'), '2:100', '... until they are re-encrypted, in partitions');
    is($local->get(q{SELECT count(*) FROM credit_card WHERE kms.decode_text(1, digits, convert_to(shop.label(kind) || card_id, 'UTF8')) = 'card ' || card_id}), 100, '... and open');
    is($local->get('SELECT kms.rewrap_blobs(1)'), 1, '... and a blob is brought to it');
    return;
}

# As app writes, and to the end.
sub columns_go_on {
    my ($node, $local) = @_;
    my $app = kms_session($node, dbname => 'app', user => 'app');
    $app->get(q{INSERT INTO patient (id, diagnosis) VALUES (101, 'diagnosis 101'); UPDATE patient SET diagnosis = 'changed' WHERE id IN (1, 100)});
    is($app->get(q{SELECT string_agg(id || ' ' || kms.decode_text(1, diagnosis_encrypted, id::text::bytea), ', ' ORDER BY id) FROM patient WHERE id IN (1, 100, 101)}),
        '1 changed, 100 changed, 101 diagnosis 101', 'what is written to a column in between is sealed');
    $app->get(q{INSERT INTO back (id, amount) VALUES (101, kms.encode(1, '7.25', '101')); UPDATE back SET amount = kms.encode(1, '8', id::text::bytea) WHERE id IN (1, 100)});
    is($app->get('SELECT string_agg(amount_plain::text, $$ $$ ORDER BY id) FROM back WHERE id IN (1, 100, 101)'), '8.00 8.00 7.25', '... and opened on the way back');
    $app->quit;
    fails_with($local, q{SELECT kms.switch_column('patient', 'diagnosis')}, '55000', '... which is not at its end');
    $local->get(q{CALL kms.encrypt_column('patient', 'diagnosis', 'pii', context_expression => 'id::text::bytea', batch => 10)});
    $local->get(q{CALL kms.decrypt_column('back', 'amount', 'numeric(10,2)', batch => 10)});
    $local->get(q{SELECT kms.switch_column('patient', 'diagnosis'), kms.switch_column('back', 'amount')});
    is($local->get(q{SELECT count(*) FILTER (WHERE kms.decode_text(1, diagnosis_encrypted, id::text::bytea) = CASE WHEN id IN (1, 100) THEN 'changed' ELSE 'diagnosis ' || id END), count(*) FROM patient}),
        '101|101', '... until the procedure has been called again');
    is($local->get('SELECT count(*) FILTER (WHERE amount_plain = CASE WHEN id IN (1, 100) THEN 8 WHEN id = 101 THEN 7.25 ELSE id * 1.5 END), count(*) FROM back'), '101|101', '... both of them');
    is($local->get(q{SELECT string_agg(full_name, ' ' ORDER BY full_name) FROM kms.registered_columns}), 'public.credit_card.digits public.note.body public.patient.diagnosis_encrypted', '... and what is registered says so');
    return;
}

works($upgraded, 'pg_upgrade');
works($restored, 'dump and restore');

$_->stop foreach $upgraded, $restored;
no_crash($_) foreach $old, $upgraded, $restored;
done_testing();
