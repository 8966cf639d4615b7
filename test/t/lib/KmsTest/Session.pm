# A psql that stays open: its answers come apart into rows and errors, and a query may be left
# running while the test does something else.
package KmsTest::Session;

use strict;
use warnings FATAL => 'all';

use Carp;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $patience = $ENV{KMS_PATIENCE} // 60;    # seconds for any answer

# Options: user, dbname, env (a hash for psql's environment).
sub new {
    my ($class, $node, %options) = @_;
    my $self = bless { in => '', out => '', err => '', count => 0 }, $class;
    my $connection = $node->connstr($options{dbname} // 'postgres');
    $connection .= " user=$options{user}" if defined $options{user};
    local %ENV = (%ENV, %{ $options{env} // {} });
    $self->{run} = IPC::Run::start(
        [ $node->installed_command('psql'), '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $connection ],
        '<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err});
    my $answer = $self->ask('SELECT pg_backend_pid()');
    croak "no session: $answer->{err}" if $answer->{closed} || $answer->{out} !~ /^\d+$/;
    $self->{pid} = $answer->{out};
    return $self;
}

# The process id of its backend.
sub pid { return $_[0]{pid} }

# Sends SQL and returns what comes of it:
#   out       rows, columns parted by |
#   err       psql's standard error as it is
#   state     the SQLSTATE of the last error, '' for none
#   message, detail, hint    of the last error, '' where there is none
#   closed    whether the connection was lost
sub ask {
    my ($self, $sql) = @_;
    $self->send($sql);
    return $self->answer;
}

# The rows; dies where there is an error.
sub get {
    my ($self, $sql) = @_;
    my $answer = $self->ask($sql);
    croak "unexpected error: $answer->{err} in $sql" if $answer->{err} =~ /ERROR|FATAL/ || $answer->{closed};
    return $answer->{out};
}

# Sends SQL and does not wait for its answer.
sub send {
    my ($self, $sql) = @_;
    $self->{mark} = sprintf 'answered %d', ++$self->{count};
    $self->{in} .= "$sql\n;\n\\echo $self->{mark}\n\\warn $self->{mark}\n";
    eval { $self->{run}->pump_nb };
    return;
}

# The answer to the last send().
sub answer {
    my ($self) = @_;
    my $mark = qr/^$self->{mark}\r?\n/m;
    my $timer = time + $patience;
    my $closed = 0;
    until ($self->{out} =~ $mark && $self->{err} =~ $mark) {
        croak "no answer within $patience s: $self->{out} $self->{err}" if time > $timer;
        eval { $self->{run}->pump_nb; 1 } or $closed = 1;
        $closed ||= !$self->{run}->pumpable;
        last if $closed;
        select undef, undef, undef, 0.005;
    }
    eval { $self->{run}->finish } if $closed;
    return $self->_take($mark, $closed);
}

sub _take {
    my ($self, $mark, $closed) = @_;
    my ($out, $err) = ($self->{out}, $self->{err});
    ($self->{out}, $self->{err}) = ('', '');
    s/$mark// for $out, $err;
    $out =~ s/\n\z//;
    my ($state, $message) = ('', '');
    ($state, $message) = ($1, $2) while $err =~ /^(?:psql:.*?: )?(?:ERROR|FATAL):  (\w{5}): (.*)$/mg;
    note "answer: $out $err" if length $err;
    return {
        out => $out,
        err => $err,
        state => $state,
        message => $message,
        detail => $err =~ /^DETAIL:  (.*)$/m ? "$1" : '',
        hint => $err =~ /^HINT:  (.*)$/m ? "$1" : '',
        closed => $closed,
    };
}

# Ends the session, and waits for psql.
sub quit {
    my ($self) = @_;
    return if $self->{ended}++;
    $self->{in} .= "\\q\n";
    eval { $self->{run}->finish };
    return;
}

# As a client that crashes.
sub kill {
    my ($self) = @_;
    $self->{ended} = 1;
    $self->{run}->kill_kill;
    return;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $@);
    $self->quit if $self->{run};
    return;
}

1;
