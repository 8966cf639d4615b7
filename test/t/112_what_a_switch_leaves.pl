# The pages that still have a plaintext after switch_column, and the rewrite that takes it away, as
# doc/rotation.md has it: in all files of the database.
use strict;
use warnings FATAL => 'all';

use File::Find;
use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $mark = 'MARKHIV';
my $ring = test_folder('ring');
my $node = kms_node('switched', 'kms.command' => make_keyring($ring, 'pii'), 'autovacuum' => 'off', 'wal_level' => 'logical', 'client_min_messages' => 'warning');
my $session = kms_session($node);

# Text stands in rows as it is, and as the numbers of its bytes in expressions of the catalogs.
sub files_with_mark {
    my $numbers = join ' ', map { ord } split //, $mark;
    my ($database) = $session->get('SELECT oid FROM pg_database WHERE datname = current_database()');
    my @found;
    $session->get('CHECKPOINT');
    find(sub { push @found, $_ if -f $_ && slurp_file($_) =~ /$mark|$numbers/ }, $node->data_dir . "/base/$database");
    return @found;
}

my ($rewrite) = slurp_file("$FindBin::RealBin/../../doc/rotation.md") =~ /^    (VACUUM \(FULL, VERBOSE\) patient,.*?;)$/ms;
ok($rewrite, 'the page has the statement');

$session->get(<<"SQL");
CREATE TABLE patient (id int PRIMARY KEY, diagnosis text DEFAULT '$mark' CHECK (diagnosis <> '$mark never'));
INSERT INTO patient SELECT n FROM generate_series(1, 400) n;
INSERT INTO patient SELECT n, 'other ' || n FROM generate_series(401, 600) n;
CREATE INDEX of_one ON patient (id) WHERE diagnosis = '$mark';
CREATE STATISTICS together (mcv) ON id, diagnosis FROM patient;
CREATE STATISTICS of_expression ON (diagnosis || '$mark') FROM patient;
ALTER TABLE patient ADD added text DEFAULT '$mark';
UPDATE patient SET added = NULL;
ALTER TABLE patient DROP COLUMN added;
CREATE FUNCTION counts() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM patient WHERE diagnosis = '$mark'; END;
CREATE DOMAIN told AS text DEFAULT '$mark';
CREATE VIEW with_it AS SELECT id FROM patient WHERE diagnosis = '$mark';
ALTER TABLE patient ENABLE ROW LEVEL SECURITY;
CREATE POLICY hides ON patient USING (diagnosis <> '$mark');
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER looks BEFORE UPDATE ON patient FOR EACH ROW WHEN (NEW.diagnosis = '$mark') EXECUTE FUNCTION nothing();
ANALYZE patient;
SQL
$session->get("CREATE PUBLICATION of_some FOR TABLE patient WHERE (diagnosis <> '$mark') WITH (publish = 'insert')") if $node->pg_version >= 15;
cmp_ok(scalar files_with_mark(), '>', 5, 'the plaintext is in files of the table and of catalogs');

$session->get(q{SELECT pg_create_logical_replication_slot('nobody', 'test_decoding')});
$session->get($_) foreach q{CALL kms.encrypt_column('patient', 'diagnosis', 'pii', triggers => 'fire', published => true)},
    'DROP VIEW with_it', 'DROP POLICY hides ON patient', 'DROP TRIGGER looks ON patient', 'DROP FUNCTION counts', 'DROP DOMAIN told',
    ($node->pg_version >= 15 ? 'DROP PUBLICATION of_some' : ());
my $switched = $session->ask(q{SET client_min_messages = notice; SELECT kms.switch_column('patient', 'diagnosis', drop_constraints => true)});
my $on_one_line = $rewrite =~ s/\s+/ /gr =~ s/ patient,/ public.patient,/r;
like($switched->{err}, qr/HINT:  \Q$on_one_line\E takes it out/, 'the HINT of the switch has the statement, too');
$session->get('SET client_min_messages = warning; ALTER TABLE patient ALTER diagnosis_encrypted DROP DEFAULT');
my $held = $session->ask($rewrite);
is($held->{state}, '', 'VACUUM beside a slot that nobody reads');
like($held->{err}, qr/[1-9]\d* dead row versions cannot be removed yet/, '... says that it keeps rows');
isnt(scalar files_with_mark(), 0, '... and they are there');

$session->get(q{SELECT pg_drop_replication_slot('nobody')});
my $whole = $session->ask($rewrite);
unlike($whole->{err}, qr/[1-9]\d* dead row versions cannot be removed yet/, 'without the slot it keeps none');
is_deeply([ files_with_mark() ], [], '... and no file of the database has the plaintext');
is($session->get(qq{SELECT count(*) FROM patient WHERE kms.decode_with_text('pii', diagnosis_encrypted) = '$mark'}), '400', 'the values are there');

$session->quit;
$node->stop;
no_crash($node);
done_testing();
