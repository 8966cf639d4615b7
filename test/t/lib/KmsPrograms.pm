# Programs that a page of doc/ shows: they are run as they stand, and what they print is what the page
# shows beside it, behind an arrow.
package KmsPrograms;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(blocks_of_page missing_language run_language prints_as_shown);

# Node of others than Debian does not look where Debian's packages are, and test/install-packages
# unpacks them elsewhere for it.
my $node_path = join ':', grep { length } $ENV{NODE_PATH} // '', qw(/usr/share/nodejs /usr/local/share/nodejs);

my %language = (
    python => { command => [ '/usr/bin/python3', '-X', 'utf8' ], driver => 'import psycopg', package => 'python3-psycopg' },
    js => { command => ['node'], driver => "require('pg')", package => 'node-pg' },
);
my $arrow = "\xe2\x86\x92";

# Fenced blocks of a page in their order, as hashes: section (the last heading), language, text.
sub blocks_of_page {
    my ($name) = @_;
    my ($section, $block, @blocks) = ('');
    foreach my $line (split /^/, slurp_file("$FindBin::RealBin/../../doc/$name")) {
        if ($line =~ /^```(\w*)$/) {
            push @blocks, $block if $block;
            $block = $block ? undef : { section => $section, language => $1, text => '' };
        }
        elsif ($block) {
            $block->{text} .= $line;
        }
        elsif ($line =~ /^#+ (.*)$/) {
            $section = $1;
        }
    }
    return @blocks;
}

# Runs a program with further variables in its environment; (exit code, output, errors).
sub run_language {
    my ($name, $text, %env) = @_;
    local %ENV = (%ENV, NODE_PATH => $node_path, PGCLIENTENCODING => 'UTF8', %env);
    my ($out, $err) = ('', '');
    IPC::Run::run([ @{ $language{$name}{command} }, '-' ], '<', \$text, '>', \$out, '2>', \$err, IPC::Run::timeout(120));
    return ($? >> 8, $out, $err);
}

# Why programs of this language cannot be run; '' where they can.
sub missing_language {
    my ($name) = @_;
    my ($code) = eval { run_language($name, $language{$name}{driver}) };
    return defined $code && $code == 0 ? '' : "no $language{$name}{package}: test/install-packages check";
}

sub prints_as_shown {
    my ($block, $name, %env) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $shown = join '', map { "$_\n" } $block->{text} =~ /$arrow (.*)$/mg;
    my ($code, $out, $err) = run_language($block->{language}, $block->{text}, %env);
    is("$code $err$out", "0 $shown", $name);
    return;
}

1;
