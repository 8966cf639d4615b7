# The specifications of test/isolation, by PostgreSQL's own isolation tester.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use File::Basename qw(basename dirname);
use IPC::Run ();
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $tester = dirname($ENV{PG_REGRESS}) . '/../isolation/pg_isolation_regress';
plan skip_all => 'PostgreSQL\'s packages have no isolation tester here' unless -x $tester;

my $specs = "$FindBin::RealBin/../isolation";
my $node = kms_node('isolation', 'kms.command' => make_keyring(test_folder('keys')), 'kms.mode' => 'remote');
my $results = test_folder('results');
my @names = map { basename($_, '.spec') } sort glob "$specs/specs/*.spec";
IPC::Run::run([ $tester, '--use-existing', '--dbname=postgres', "--inputdir=$specs", "--outputdir=$results",
    '--bindir=' . $node->config_data('--bindir'), '--host=' . $node->host, '--port=' . $node->port, @names ], '>', \my $out, '2>&1');
foreach my $name (@names) {
    like($out, qr/^(?:ok \d+ +- \Q$name\E\b|test \Q$name\E +\.\.\. ok)/m, "specification $name") or diag $out;
}
diag slurp_if_there("$results/regression.diffs");

$node->stop;
no_crash($node);
done_testing();
