# The README's tour: every line of it is run, in order, as one session of psql. Only the keyring's
# folder is another one.
use strict;
use warnings FATAL => 'all';

use FindBin;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my $folder = PostgreSQL::Test::Utils::tempdir;
$readme =~ s{/var/lib/postgresql/kms}{$folder}g;

my ($tour) = $readme =~ /^## Five-minute tour\n(.*?)^## /ms or BAIL_OUT('the README has no tour');
my @blocks = $tour =~ /^```(sh|sql)\n(.*?)^```$/msg;
is(@blocks / 2, 9, 'the tour has its blocks');
like($blocks[0], qr/^sh$/, 'the tour begins in a shell');

my $node = PostgreSQL::Test::Cluster->new('tour');
$node->init;
$node->start;

my ($shell, $sql) = ('', '');
while (my ($language, $text) = splice @blocks, 0, 2) {
    ($language eq 'sh' ? $shell : $sql) .= $text;
}

my ($out, $err);
ok(IPC::Run::run(['sh', '-e', '-c', $shell], '>', \$out, '2>', \$err), 'the shell commands work')
    or diag $err;
is($err, '', 'without a complaint');
like($out, qr/customer-pii\s+1\s+xaes-256-gcm/, 'the keyring lists its key');

my $status = $node->psql('postgres', $sql, stdout => \$out, stderr => \$err,
    on_error_stop => 1, extra_params => ['-a']);
is($status, 0, 'the SQL works') or diag $err;
is(join('', $err =~ /^.*((?:ERROR|WARNING):.*)/mg), 'WARNING:  sessions may still seal under version 1 of "customer-pii"', 'without a complaint but the one that it announces');

# What the tour promises, in the order of its statements; -a shows each before its result.
sub shows {
    my ($statement, $result, $name) = @_;
    like($out, qr/^\Q$statement\E\n$result$/m, $name);
}

my $read = q{SELECT kms.decode_text(1, ssn, 'person.ssn 7') FROM person;};
shows(q{SELECT name, kms.decode_text(1, ssn, 'person.ssn 7') FROM person;},
    'Ada\|078-05-1120', 'the value comes back');
shows(q{SELECT (kms.inspect(ssn)).* FROM person;},
    '1\|\\\\x[0-9a-f]{16}\|\\\\x[0-9a-f]{48}\|11', 'what a ciphertext shows');
shows(q{SELECT kms.try_decode(1, ssn, 'person.ssn 8') FROM person;}, '', 'another row\'s context');
shows(q{SELECT kms.rotate_key('customer-pii');}, '2', 'a second version');
like($err, qr/column "ssn" of "person": 1 rows re-encrypted/, 'a re-encryption');
shows(q{SELECT key_identifier, version, rows FROM kms.census('person', 'ssn');}, 'customer-pii\|2\|1', '... and what it leaves');
shows(q{SELECT name, size, convert_from(kms.blob_read(:'contract', 4, 5), 'UTF8') FROM kms.blob_meta(:'contract');},
    'contract.pdf\|27\|pages', 'a range of a blob');
shows(q{SELECT tenant, kms.decode_with_text(tenant, body) FROM note;}, "tenant-1\\|of tenant-1\ntenant-2\\|of tenant-2", 'a key a row');
shows(q{SELECT kms.rotate_kek('main');}, '2', 'a second version of the KEK');
is(() = $out =~ /^\Q$read\E\n078-05-1120$/mg, 4,
    'read after the first version is disabled, remotely, in a transaction, as another role');
shows(q{SELECT name, kms.decode_batch_text(1, ssn, convert_to('person.ssn ' || id, 'UTF8')) OVER () FROM person;},
    'Ada\|078-05-1120', 'the window form reads it');
shows('SELECT mode, agent, requests FROM kms.status();', 'remote\|kms-agent/[0-9.]+\|[0-9]+',
    'the agent did the work');

$node->stop;
done_testing();
