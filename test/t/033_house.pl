# The rules of CONTRIBUTING that a compiler does not know: floors, the two error worlds, paths.
use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use Encode qw(decode_utf8);
use File::Find;
use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

chdir abs_path("$FindBin::RealBin/../..") or die $!;
my $guide = slurp_file('CONTRIBUTING.md');

my %text;
find({ no_chdir => 1, wanted => sub { $text{$_} = slurp_file($_) if /\.[ch]pp$/ } }, 'src');

# What differs from none, by file, in one line.
sub none {
    my ($name, @wrong) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(join(', ', sort @wrong), '', $name);
}

sub code_of { return $text{ $_[0] } =~ s{//.*}{}gr }

# --- floors, as the table has them

my %allowed = (
    base => 'base',
    crypto => 'base crypto',
    wire => 'base crypto wire',
    client => 'base crypto wire client',
    agent => 'base crypto wire agent',
    blob => 'base crypto blob',
    pg => 'base crypto wire client pg',
);
is(join(' ', sort keys %allowed), join(' ', sort map { s{src/}{}r } glob 'src/*'), 'the floors are all there are');
is(join(' ', sort $guide =~ m{^\| `src/(\w+)/` \|}mg), join(' ', sort keys %allowed), 'the table has them all');
foreach my $floor (sort keys %allowed) {
    my %may = map { $_ => 1 } split / /, $allowed{$floor};
    none("src/$floor/ is built on $allowed{$floor}", map {
        my $file = $_;
        map { "$file: $_" } grep { !$may{$_} } $text{$file} =~ m{^#include "(\w+)/}mg
    } grep { m{^src/$floor/} && $_ ne 'src/pg/postgres.hpp' } keys %text);
}

my @below = grep { !m{^src/pg/} } keys %text;
none('every .cpp below src/pg/ ends its includes with base/floor.hpp', grep {
    my @includes = $text{$_} =~ /^#include (.*)$/mg;
    $includes[-1] ne '"base/floor.hpp"';
} grep { /\.cpp$/ } @below);
none('PostgreSQL\'s headers are included in src/pg/postgres.hpp', grep {
    $_ ne 'src/pg/postgres.hpp' && $text{$_} =~ m{^#include ["<](?:postgres|fmgr|miscadmin|(?:access|catalog|commands|storage|utils)/)}m
} keys %text);
none('its versions differ in src/pg/pg.hpp', grep {
    $_ !~ m{^src/(pg/pg|pg/postgres|base/floor)\.hpp$} && $text{$_} =~ /\bPG_VERSION_NUM\b/
} keys %text);

# --- two error worlds

none('src/pg/wall.cpp has the only catch of the extension', grep {
    !m{^src/(?:pg/wall|agent/main|blob/main)\.cpp$} && code_of($_) =~ /\bcatch\s*\(/
} keys %text);
none('nothing is thrown but bad_alloc, and the command line\'s own errors', grep {
    my $file = $_;
    grep { !/^std::bad_alloc\b/ && !($file =~ m{^src/(?:agent|blob)/main\.cpp$} && /^CLI::/) } code_of($file) =~ /\bthrow\s+([\w:]+)/g
} keys %text);
none('ereport and elog stay in src/pg/', grep { code_of($_) =~ /\b(?:ereport|elog)\s*\(/ } @below);

# --- sizes, and what must not be left

none('no file has more than 400 lines', grep { ($text{$_} =~ tr/\n//) > 400 } keys %text);
none('nothing is left to do', grep { $text{$_} =~ /\b(?:TODO|FIXME|XXX)\b/ } keys %text);

# --- what the pages name is there

my @pages = (glob('*.md'), glob('doc/*.md'));
foreach my $page (@pages) {
    my $prose = slurp_file($page);
    my $from = $page =~ m{^doc/} ? 'doc/' : '';
    my @links = map { "$from$_" } grep { !/^https?:/ } $prose =~ /\]\(([^)#]+)\)/g;
    my @paths = $prose =~ m{`((?:src|test|doc|sql|expected)/[\w./*-]*)`}g;
    # A row of a table is one line, and so is a setting in postgresql.conf.
    none("$page has lines of at most 120 characters", grep { length > 120 && !/^\|/ && !/^ +kms\.command = / } split /\n/, decode_utf8($prose));
    none("$page names what is there", grep { my @found = glob($_); !@found || !-e $found[0] } @links, @paths);
}

my $makefiles = slurp_file('Makefile') . slurp_file('test/test.mk');
none('every make target of the pages is there', grep {
    my $target = $_;
    $target !~ /^(?:install|installcheck)$/ && $makefiles !~ /^(?:\.PHONY:.*\b)?\Q$target\E\b.*/m
} map { slurp_file($_) =~ /`make (\w[\w.]*)/g } @pages);

my $editorconfig = slurp_file('.editorconfig');
like($editorconfig, qr/^\[\*\].*^indent_style = space$/ms, '.editorconfig asks for spaces');
my @indented;
find({ no_chdir => 1, wanted => sub {
    push @indented, $_ if /\.(?:[ch]pp|c|p[lmy]|sql|md|sh)$/ && slurp_file($_) =~ /^ *\t/m;
} }, qw(src test sql doc));
none('files are indented so', @indented);

done_testing();
