# make installcheck, as users run it: on a server that is in use, by a superuser of another name, in
# a database of another encoding, and more than once.
use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = abs_path("$FindBin::RealBin/../..");
my $folder = PostgreSQL::Test::Utils::tempdir;
symlink "$top/$_", "$folder/$_" or die "$_: $!" foreach qw(Makefile kms.control src test);

my $node = PostgreSQL::Test::Cluster->new('installcheck');
$node->init(extra => [ '--encoding', 'LATIN1', '--no-locale' ]);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'kms'
kms.command = 'exit 7'
kms.mode = 'remote'
kms.keys = '9=elsewhere'
kms.cache_ttl = 10
kms.request_timeout = '7s'
CONF
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE "in charge" SUPERUSER LOGIN; CREATE ROLE regress_kms_nobody');

delete @ENV{qw(MAKEFLAGS MAKELEVEL MFLAGS)};
local @ENV{qw(PGHOST PGPORT PGUSER)} = ($node->host, $node->port, 'in charge');
my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
foreach my $time ('first', 'second') {
    my ($out, $err);
    my $passed = IPC::Run::run([ 'make', '-s', '-C', $folder, 'installcheck', "PG_CONFIG=$pg_config" ],
        '>', \$out, '2>', \$err);
    ok($passed, "the $time make installcheck")
        or diag "$out$err" . (-e "$folder/regression.diffs" ? slurp_file("$folder/regression.diffs") : '');
}

is($node->safe_psql('contrib_regression', 'SHOW server_encoding'), 'LATIN1', 'in a database in LATIN1');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_roles WHERE rolname ~ '^regress'}), 0, 'no role is left');
$node->stop;
done_testing();
