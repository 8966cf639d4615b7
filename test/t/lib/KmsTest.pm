# What the TAP tests share: servers with the extension, keyrings, agents to play with, sessions
# that stay open, and a look at processes.
package KmsTest;

use strict;
use warnings FATAL => 'all';

use Carp qw(croak);
use Exporter 'import';
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use KmsTest::Session;

our @EXPORT = qw(
    kms_node kms_session kms_agent_path example_agent make_keyring stage_agent seen_through was_asked write_text
    agent_pid is_alive process_status open_descriptors children_of becomes server_is_up new_log
    fails_with end_timeout takes_less no_crash
);

# A started server with the extension in its database postgres. %conf: further settings.
sub kms_node {
    my ($name, %conf) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init;
    for my $setting (sort keys %conf) {
        my $value = $conf{$setting} =~ s/'/''/gr;
        $node->append_conf('postgresql.conf', "$setting = '$value'");
    }
    $node->start;
    $node->safe_psql('postgres', 'CREATE EXTENSION kms');
    return $node;
}

# See KmsTest::Session.
sub kms_session {
    my ($node, %options) = @_;
    return KmsTest::Session->new($node, %options);
}

sub kms_agent_path {
    return $ENV{KMS_AGENT} if defined $ENV{KMS_AGENT};
    chomp(my $folder = `"@{[ $ENV{PG_CONFIG} // 'pg_config' ]}" --bindir`);
    return "$folder/kms-agent";
}

# The path of a file in test/agents.
sub example_agent {
    my ($file) = @_;
    return "$FindBin::RealBin/../agents/$file";
}

# A new keyring in $folder with these keys ("name", "name:algorithm", or "name:wrap" for a KEK); the
# command that serves it.
sub make_keyring {
    my ($folder, @keys) = @_;
    my $agent = kms_agent_path();
    my @where = ('--keyring', "$folder/ring", '--key-file', "$folder/kek");
    PostgreSQL::Test::Utils::system_or_bail($agent, 'init', @where);
    for my $key (@keys) {
        my ($name, $kind) = split /:/, $key;
        my @kind = !defined $kind ? () : $kind eq 'wrap' ? ('--purpose', 'wrap') : ('--algorithm', $kind);
        PostgreSQL::Test::Utils::system_or_bail($agent, 'create', @where, @kind, $name);
    }
    return "exec $agent serve @where";
}

# The command that starts test/agents/stage.py, which does what a key's identifier says, with
# $folder for its files.
my %stages;

sub stage_agent {
    my ($folder, @arguments) = @_;
    $stages{$folder} = 1;
    return join ' ', 'exec /usr/bin/python3', example_agent('stage.py'), $folder, @arguments;
}

# SQL for the text in what stage.py, or faulty.py as `values`, has encrypted in looks alone.
sub seen_through {
    my ($sealed) = @_;
    return "substring(convert_from($sealed, 'UTF8') FROM '^.{9}(.*).{16}\$')";
}

# Agents that were told to hang do not end by themselves.
END {
    local $?;
    for my $folder (keys %stages) {
        open my $pids, '<', "$folder/pids" or next;
        for my $pid (map { /(\d+)/ } <$pids>) {
            open my $in, '<', "/proc/$pid/cmdline" or next;
            kill KILL => $pid if (<$in> // '') =~ /stage\.py|^sleep\x{0}1000\x{0}/;
        }
    }
}

# Whether the agent in $folder has read a request for $key.
sub was_asked {
    my ($folder, $key) = @_;
    open my $in, '<', "$folder/asked" or return 0;
    return scalar grep { /^\w+ \Q$key\E$/ } <$in>;
}

sub write_text {
    my ($file, $text) = @_;
    open my $out, '>', $file or die "$file: $!";
    print $out $text;
    close $out or die "$file: $!";
    return $file;
}

# The process that kms.status() shows; undef where no agent runs.
sub agent_pid {
    my ($session) = @_;
    my $pid = $session->get('SELECT agent_pid FROM kms.status()');
    return length $pid ? $pid : undef;
}

# --- processes

# A hash of /proc/PID/status, empty where there is no such process.
sub process_status {
    my ($pid) = @_;
    open my $in, '<', "/proc/$pid/status" or return {};
    return { map { /^(\w+):\s*(.*)$/ ? ($1 => $2) : () } <$in> };
}

# There, and not only as a zombie.
sub is_alive {
    my ($pid) = @_;
    my $state = process_status($pid)->{State};
    return defined $state && $state !~ /^[ZX]/;
}

# What the descriptors of a process are, by number.
sub open_descriptors {
    my ($pid) = @_;
    opendir my $folder, "/proc/$pid/fd" or return {};
    return { map { $_ => readlink("/proc/$pid/fd/$_") // '' } grep { /^\d+$/ } readdir $folder };
}

# Process ids, zombies included.
sub children_of {
    my ($pid) = @_;
    my @children;
    for my $status (glob '/proc/[0-9]*/status') {
        my ($child) = $status =~ m{^/proc/(\d+)/};
        my $parent = process_status($child)->{PPid};
        push @children, $child if defined $parent && $parent == $pid;
    }
    return @children;
}

# --- expectations

# On a busy machine the statement that ends a short statement_timeout is cut off by it, too.
sub end_timeout {
    my ($session) = @_;
    return becomes(sub { $session->ask('RESET statement_timeout')->{state} eq '' }) || croak 'statement_timeout stays';
}

# Polls until $condition->() is true; false after $seconds (20 by default).
sub becomes {
    my ($condition, $seconds) = @_;
    my $deadline = time + ($seconds // 60);
    while (time < $deadline) {
        return 1 if $condition->();
        sleep 0.02;
    }
    return $condition->() ? 1 : 0;
}

# After a crash. A psql that is turned away may be gone before it is given its query: that dies.
sub server_is_up {
    my ($node) = @_;
    return becomes(sub { eval { $node->psql('postgres', 'SELECT 1', stderr => \my $ignored) == 0 } }, 60);
}

# What the server has logged since the last call for this node.
my %read_of_log;

sub new_log {
    my ($node) = @_;
    open my $in, '<', $node->logfile or return '';
    seek $in, $read_of_log{ $node->name } // 0, 0;
    my $text = do { local $/; <$in> } // '';
    $read_of_log{ $node->name } = tell $in;
    return $text;
}

# A session's answer is the error $state; returns it.
sub fails_with {
    my ($session, $sql, $state, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = $session->ask($sql);
    is($answer->{state}, $state, $name // "$state: $sql") or diag $answer->{err};
    return $answer;
}

# What a process takes in memory, where no sanitizer takes some of its own.
sub takes_less {
    my ($taken, $limit, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
  SKIP: {
        skip 'a sanitizer takes memory of its own', 1 if $ENV{KMS_SANITIZED};
        cmp_ok($taken, '<', $limit, $name);
    }
    return;
}

# KILL and TERM are what tests send; anything else is a crash.
sub no_crash {
    my ($node) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
    unlike($log, qr/terminated by signal (?!9|15)|PANIC:|TRAP:|AddressSanitizer/, 'no server process crashed');
    return;
}

1;
