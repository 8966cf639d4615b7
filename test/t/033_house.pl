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
    } grep { m{^src/$floor/} && $_ ne 'src/pg/server/postgres.hpp' } keys %text);
}

# --- rooms, in the order of their tables, from the bottom

foreach my $floor (qw(pg client agent)) {
    my ($table) = $guide =~ m{^### The rooms of `src/$floor/`\n(.*?)(?=^#)}ms;
    my @rooms = $table =~ m{^\| `(\w+)/` \|}mg;
    is(join(' ', sort @rooms), join(' ', sort map { m{src/\w+/(\w+)/$} } glob "src/$floor/*/"), "the rooms of src/$floor/ are all there are");
    like(slurp_file('Makefile'), qr/^rooms := @rooms$/m, "the extension's script is built in their order") if $floor eq 'pg';
    my %storey = map { $rooms[$_] => $_ } 0 .. $#rooms;
    # What stands in no room is the program itself, above them.
    my $storey_of = sub { $_[0] =~ m{^(?:src/)?$floor/(\w+)/} ? $storey{$1} : scalar @rooms };
    my @files = grep { m{^src/$floor/} } keys %text;
    none("every file of src/$floor/ is in a room", grep { !m{^src/$floor/\w+/} } @files) if $floor ne 'agent';
    none("no include of src/$floor/ runs up", map {
        my $file = $_;
        map { "$file: $_" } grep { $storey_of->($_) > $storey_of->($file) } $text{$file} =~ m{^#include "($floor/[\w/]+\.hpp)"}mg
    } @files);
    my %named;
    $named{ m{([^/]+)$} ? $1 : '' }++ foreach grep { /\.hpp$/ } @files;
    none("no two headers of src/$floor/ have one name", grep { $named{$_} > 1 } keys %named);
}

my %subjects;
m{^(.*)/(\w+)\.[ch]pp$} and $subjects{$1}{$2} = 1 foreach keys %text;
none('no room has more than 24 subjects', grep { keys %{ $subjects{$_} } > 24 } keys %subjects);

my @below = grep { !m{^src/pg/} } keys %text;
none('every .cpp below src/pg/ ends its includes with base/floor.hpp', grep {
    my @includes = $text{$_} =~ /^#include (.*)$/mg;
    $includes[-1] ne '"base/floor.hpp"';
} grep { /\.cpp$/ } @below);
none('PostgreSQL\'s headers are included in src/pg/server/postgres.hpp', grep {
    $_ ne 'src/pg/server/postgres.hpp' && $text{$_} =~ m{^#include ["<](?:postgres|fmgr|miscadmin|(?:access|catalog|commands|storage|utils)/)}m
} keys %text);
none('its versions differ in src/pg/server/pg.hpp', grep {
    $_ !~ m{^src/(pg/server/pg|pg/server/postgres|base/floor)\.hpp$} && $text{$_} =~ /\bPG_VERSION_NUM\b/
} keys %text);

my $spaces = $text{'src/pg/server/lock_spaces.hpp'};
my $administration = slurp_file('doc/administration.md');
my %number = reverse $spaces =~ m{= (0x6b\w\w),\s+// "k\w", (\d+):}g;
is(keys %number, 6, 'each space of advisory locks has its number');
none('... which is that of its letters, and is told of', grep { hex($number{$_}) != $_ || $administration !~ /\b$_\b/ } keys %number);
none('none is made elsewhere', grep { $_ ne 'src/pg/server/lock_spaces.hpp' && $text{$_} =~ /SET_LOCKTAG_ADVISORY/ } keys %text);

# --- two error worlds

none('src/pg/server/wall.cpp has the only catch of the extension', grep {
    !m{^src/(?:pg/server/wall|agent/main|blob/main)\.cpp$} && code_of($_) =~ /\bcatch\s*\(/
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
    my @paths = $prose =~ m{`((?:src|test|doc)/[\w./*-]*)`}g;
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
} }, qw(src test doc));
none('files are indented so', @indented);

done_testing();
