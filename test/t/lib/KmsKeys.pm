# More of what tests of keys, roles and secrets share.
package KmsKeys;

use strict;
use warnings FATAL => 'all';

use Carp;
use Exporter 'import';
use IPC::Run ();
use KmsTest;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(
    test_folder kms_admin keys_session outcome reconfigure sql_quote slurp_if_there run_python
);

# A new folder that only the server's user may look into.
sub test_folder {
    my ($name) = @_;
    my $folder = PostgreSQL::Test::Utils::tempdir() . "/$name";
    mkdir $folder, 0700 or croak "$folder: $!";
    return $folder;
}

# Runs a subcommand of kms-agent on the keyring that make_keyring made in $folder, which must
# succeed; returns what it prints. A last argument of \'text' is its standard input.
sub kms_admin {
    my ($folder, $command, @arguments) = @_;
    my $input = ref $arguments[-1] ? pop @arguments : \'';
    my @words = (kms_agent_path(), $command, '--keyring', "$folder/ring");
    push @words, '--key-file', "$folder/kek" unless grep { /^--(key-file|passphrase-command)$/ } @arguments;
    my ($out, $err);
    IPC::Run::run([ @words, @arguments ], '<', $input, '>', \$out, '2>', \$err)
      or croak "kms-agent $command @arguments: $err";
    return $out;
}

# A session whose login brings settings, as a hash. Options: see KmsTest::Session.
sub keys_session {
    my ($node, $settings, %options) = @_;
    my @words = map { "-c $_=" . ($settings->{$_} =~ s/([\\ ])/\\$1/gr) } sort keys %{ $settings // {} };
    my %env = (%{ delete $options{env} // {} }, PGOPTIONS => join(' ', @words));
    return kms_session($node, %options, env => \%env);
}

# The rows that SQL brings, or "SQLSTATE message" where it fails.
sub outcome {
    my ($session, $sql) = @_;
    my $answer = $session->ask($sql);
    return $answer->{state} ne '' ? "$answer->{state} $answer->{message}" : $answer->{out};
}

# ALTER SYSTEM and a reload, which sessions see at their next command.
sub reconfigure {
    my ($node, %conf) = @_;
    $node->safe_psql('postgres', join "\n", "LOAD 'kms';",
        map { "ALTER SYSTEM SET $_ = " . sql_quote($conf{$_}) . ';' } sort keys %conf);
    $node->reload;
    return;
}

sub sql_quote {
    my ($text) = @_;
    return "'" . ($text =~ s/'/''/gr) . "'";
}

# '' for a file that is not there or cannot be read.
sub slurp_if_there {
    my ($path) = @_;
    open my $file, '<:raw', $path or return '';
    local $/;
    return scalar(<$file>) // '';
}

# Runs Debian's own Python, which has python3-cryptography; (exit code, output and errors).
sub run_python {
    my ($input, @arguments) = @_;
    my ($out, $err);
    IPC::Run::run([ '/usr/bin/python3', @arguments ], '<', \$input, '>', \$out, '2>', \$err);
    return ($? >> 8, $out . $err);
}

1;
