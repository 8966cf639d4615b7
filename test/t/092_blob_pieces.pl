# A piece of a blob could be missing: kms-blob sends pieces without waiting for answers, each its own
# transaction. Whatever becomes of one of them, none that follows takes its place, and the program
# says what is stored as it is.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use Digest::SHA qw(sha256_hex);
use IO::Select;
use IO::Socket::UNIX;
use IPC::Run ();
use KmsKeys;
use KmsTest;
use POSIX qw(mkfifo);
use PostgreSQL::Test::Utils;
use Test::More;

my $program = kms_agent_path() =~ s/kms-agent$/kms-blob/r;
my $folder = test_folder('files');
my $node = kms_node('pieces', 'kms.command' => make_keyring(test_folder('keys'), 'a'), 'kms.keys' => '1=a', 'log_parameter_max_length' => 0);
my ($session, $locker) = map { kms_session($node) } 1 .. 2;
my $first = 31 * 256 * 1024;    # what goes at once, in the beginning
my $piece = 15 * 256 * 1024;    # ... and then
my $count = 0;

$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';
delete $ENV{PGAPPNAME};

# Pieces that are nowhere the same.
sub pieces { return join '', map { chr(64 + $_) x ($_ == 1 ? $first : $piece) } 1 .. $_[0] }

# Starts a put of a pipe.
sub begin_put {
    my (@options) = @_;
    my $run = { fifo => "$folder/fifo" . ++$count, out => '', err => '' };
    mkfifo($run->{fifo}, 0600) or die $!;
    $run->{before} = $session->get('SELECT count(*) FROM kms.blob');
    $run->{run} = IPC::Run::start([ $program, 'put', '-q', @options, $run->{fifo} ], '<', \'', '>', \$run->{out}, '2>', \$run->{err});
    open $run->{in}, '>:raw', $run->{fifo} or die $!;
    $run->{in}->autoflush(1);
    return $run;
}

# ... of which the first piece is stored.
sub begin_and_store {
    my ($bytes) = @_;
    my $run = begin_put();
    print { $run->{in} } substr $bytes, 0, $first;
    ok(becomes(sub { $session->get('SELECT count(*) FROM kms.blob') > $run->{before} }), 'the first piece is stored');
    $run->{id} = $session->get('SELECT id FROM kms.blob ORDER BY created DESC LIMIT 1');
    return $run;
}

# The rest is sent by another process, as the pipe may be full: its end is the end of the input.
sub send_rest {
    my ($run, $bytes) = @_;
    my $pid = fork // die $!;
    if ($pid == 0) {
        local $SIG{PIPE} = 'IGNORE';
        print { $run->{in} } substr $bytes, $first;
        close $run->{in};
        POSIX::_exit(0);
    }
    close $run->{in};
    $run->{sender} = $pid;
    return;
}

sub end_of {
    my ($run) = @_;
    $run->{run}->finish;
    my $status = $?;
    waitpid $run->{sender}, 0 if $run->{sender};
    return { code => $status >> 8, signal => $status & 127, out => $run->{out}, err => $run->{err} };
}

# A folder whose socket leads to the server; once the file $cut is there, no answer comes through.
sub relay {
    my $relayed = PostgreSQL::Test::Utils::tempdir_short();
    my $port = $node->port;
    my $listening = IO::Socket::UNIX->new(Local => "$relayed/.s.PGSQL.$port", Listen => 1) or die $!;
    my $pid = fork // die $!;
    return ($relayed, "$relayed/cut") if $pid;
    alarm 120;
    my $client = $listening->accept or POSIX::_exit(1);
    my $server = IO::Socket::UNIX->new(Peer => $node->host . "/.s.PGSQL.$port") or POSIX::_exit(1);
    my $both = IO::Select->new($client, $server);
    while (my @ready = $both->can_read) {
        foreach my $from (@ready) {
            POSIX::_exit(0) if !sysread($from, my $bytes, 65536) || ($from == $server && -e "$relayed/cut");
            my $to = $from == $server ? $client : $server;
            while (length $bytes) {
                my $sent = syswrite($to, $bytes) // POSIX::_exit(0);
                substr $bytes, 0, $sent, '';
            }
        }
    }
    POSIX::_exit(0);
}

my $backend = q{FROM pg_stat_activity WHERE application_name = 'kms-blob'};

sub waits_for_lock { return becomes(sub { $session->get("SELECT count(*) $backend AND wait_event_type = 'Lock'") > 0 }) }
sub server_is_done { return becomes(sub { $session->get("SELECT count(*) $backend") eq '0' }) }

# The pieces up to the one that failed, and no more; a resume brings the rest.
sub is_beginning {
    my ($run, $bytes, $size, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(server_is_done(), "$name: the server has done what was sent");
    is($session->get("SELECT size, complete FROM kms.blob_meta('$run->{id}')"), "$size|f", '... no piece is stored that another one should precede');
    is($session->get("SELECT encode(sha256, 'hex') FROM kms.blob_verify('$run->{id}')"), sha256_hex(substr $bytes, 0, $size), '... what is stored is the beginning');
    my $file = "$folder/whole" . ++$count;
    open my $out, '>:raw', $file or die $!;
    print $out $bytes;
    close $out or die $!;
    is(system($program, 'put', '-q', '--resume', $run->{id}, $file), 0, '... and it is resumed');
    is($session->get("SELECT complete, encode(sha256, 'hex') FROM kms.blob_verify('$run->{id}')"), 't|' . sha256_hex($bytes), '... to the end');
    unlink $file;
    return;
}

my $goes_on = qr/kms-blob: the beginning is stored; to go on:\n    kms-blob put --resume /;

# --- while another session has locked the row

sub lock_row { return $locker->get("BEGIN; SELECT 1 FROM kms.blob WHERE id = '$_[0]' FOR UPDATE") }

foreach my $pieces (2, 3, 5) {
    my $bytes = pieces($pieces) . 'the end';
    local $ENV{PGOPTIONS} = '-c lock_timeout=300ms';
    new_log($node);
    my $run = begin_and_store($bytes);
    lock_row($run->{id});
    send_rest($run, $bytes);
    ok(becomes(sub { new_log($node) =~ /canceling statement due to lock timeout/ }), 'lock_timeout: the second piece fails');
    $locker->get('ROLLBACK');
    my $ended = end_of($run);
    is($ended->{code}, 1, '... and so does the put');
    like($ended->{err}, qr/\Akms-blob: canceling statement due to lock timeout\n$goes_on$run->{id} /, '... which says why, and that the beginning is stored');
    is($ended->{out}, '', '... and no id');
    is_beginning($run, $bytes, $first, "lock_timeout, $pieces pieces");
}

foreach my $pieces (2, 3) {
    my $bytes = pieces($pieces) . 'the end';
    my $run = begin_and_store($bytes);
    lock_row($run->{id});
    send_rest($run, $bytes);
    ok(waits_for_lock(), 'the second piece waits');
    $session->get("SELECT pg_cancel_backend(pid) $backend");
    $locker->get('ROLLBACK');
    my $ended = end_of($run);
    is($ended->{code}, 1, 'pg_cancel_backend');
    like($ended->{err}, qr/\Akms-blob: canceling statement due to user request\n$goes_on$run->{id} /, '... is told');
    is_beginning($run, $bytes, $first, "pg_cancel_backend, $pieces pieces");
}

foreach my $pieces (2, 3) {
    my $bytes = pieces($pieces) . 'the end';
    my $run = begin_and_store($bytes);
    lock_row($run->{id});
    send_rest($run, $bytes);
    ok(waits_for_lock(), 'the second piece waits');
    $run->{run}->signal('INT');
    my $ended = end_of($run);
    $locker->get('ROLLBACK');
    is($ended->{signal}, 2, 'SIGINT');
    like($ended->{err}, qr/\Akms-blob: interrupted\n$goes_on$run->{id} /, '... is told');
    is_beginning($run, $bytes, $first, "SIGINT, $pieces pieces");
}

# --- a piece that fails when it is committed, and would not again

$session->get(<<'SQL');
CREATE SEQUENCE tries;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.version = current_setting('test.refused')::int AND nextval('tries') = 1 THEN RAISE EXCEPTION 'refused when it is committed'; END IF; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON kms.blob DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
SQL
foreach my $refused (2, 3, 4) {
    local $ENV{PGOPTIONS} = "-c test.refused=$refused";
    $session->get('ALTER SEQUENCE tries RESTART');
    my $bytes = pieces(4) . 'the end';
    my $run = begin_and_store($bytes);
    send_rest($run, $bytes);
    my $ended = end_of($run);
    is($ended->{code}, 1, "a commit of version $refused that fails");
    like($ended->{err}, qr/\Akms-blob: refused when it is committed\n$goes_on$run->{id} /, '... is told');
    $ENV{PGOPTIONS} = '-c test.refused=0';
    is_beginning($run, $bytes, $first + ($refused - 2) * $piece, "a commit that fails, $refused");
}

# "The beginning is stored" only when it is.
{
    local $ENV{PGOPTIONS} = '-c test.refused=1';
    $session->get('ALTER SEQUENCE tries RESTART');
    my $run = begin_put();
    send_rest($run, 'x' x $first . pieces(3));
    my $ended = end_of($run);
    is("$ended->{code} $ended->{err}", "1 kms-blob: refused when it is committed\n", 'a first piece that is not committed: nothing is said to be stored');
    is($session->get('SELECT count(*) FROM kms.blob'), $run->{before}, '... and nothing is');
}
# One that is sent whole has no id before it is stored.
{
    local $ENV{PGOPTIONS} = '-c test.refused=1';
    $session->get('ALTER SEQUENCE tries RESTART');
    my $run = begin_put();
    send_rest($run, 'x' x $first . 'small');
    my $ended = end_of($run);
    is("$ended->{code} $ended->{err}", "1 kms-blob: refused when it is committed\n", 'a small one that is not committed: nothing is said to be stored');
    is($session->get('SELECT count(*) FROM kms.blob'), $run->{before}, '... and nothing is');
}
$session->get('DROP TRIGGER refuse ON kms.blob');

# While the first piece is committed the connection is lost: the program cannot know.
$session->get(<<'SQL');
CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER stall AFTER INSERT ON kms.blob DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stall();
SQL
{
    $locker->get('SELECT pg_advisory_lock(7)');
    my $run = begin_put();
    send_rest($run, 'x' x $first . pieces(3));
    ok(waits_for_lock(), 'the first piece is about to be committed');
    $session->get("SELECT pg_terminate_backend(pid, 20000) $backend");
    my $ended = end_of($run);
    is($ended->{code}, 1, '... when the connection is lost');
    like($ended->{err}, qr/\nkms-blob: the beginning may be stored; to see, and to go on if it is:\n    kms-blob put --resume [-0-9a-f]{36} /, '... it may be stored');
    my ($id) = $ended->{err} =~ /--resume ([-0-9a-f]{36})/;
    is(system("$program put --resume $id /dev/null 2>/dev/null") >> 8, 3, '... and a resume sees that it is not');
    $locker->get('SELECT pg_advisory_unlock(7)');
}
my $may_be_stored = qr/\nkms-blob: the blob may be stored, and its id has not arrived: see kms-blob ls before you put it again\n\z/;
{
    my $run = begin_put();
    $locker->get('SELECT pg_advisory_lock(7)');
    send_rest($run, 'x' x $first . 'small');
    ok(waits_for_lock(), 'a small one is about to be committed');
    $session->get("SELECT pg_terminate_backend(pid, 20000) $backend");
    my $ended = end_of($run);
    is("$ended->{code} $ended->{out}", '1 ', '... when the connection is lost');
    like($ended->{err}, $may_be_stored, '... it may be stored');
    $locker->get('SELECT pg_advisory_unlock(7)');
}
{
    my $run = begin_put();
    $locker->get('SELECT pg_advisory_lock(7)');
    send_rest($run, 'x' x $first . 'small');
    ok(waits_for_lock(), 'a small one is about to be committed');
    $run->{run}->signal('INT');
    my $ended = end_of($run);
    $locker->get('SELECT pg_advisory_unlock(7)');
    is($ended->{signal}, 2, '... when the user gives up');
    like($ended->{err}, $may_be_stored, '... it may be stored');
}
{
    my ($socket, $cut) = relay();
    local $ENV{PGHOST} = $socket;
    my $run = begin_put();
    $locker->get('SELECT pg_advisory_lock(7)');
    send_rest($run, 'x' x $first . 'small');
    ok(waits_for_lock(), 'a small one is about to be committed');
    append_to_file($cut, '');
    $locker->get('SELECT pg_advisory_unlock(7)');
    my $ended = end_of($run);
    is("$ended->{code} $ended->{out}", '1 ', '... when the answer is lost');
    like($ended->{err}, $may_be_stored, '... it may be stored');
    ok(server_is_done(), '... the server is done');
    is($session->get('SELECT count(*) FROM kms.blob'), $run->{before} + 1, '... and it is');
}
$session->get('DROP TRIGGER stall ON kms.blob');

# What somebody else has changed, or deleted, is not the beginning.
foreach my $change (qq{SELECT kms.blob_replace('%s', 'x')}, qq{SELECT kms.blob_delete('%s')}) {
    my $bytes = pieces(3);
    my $run = begin_and_store($bytes);
    $session->get(sprintf $change, $run->{id});
    send_rest($run, $bytes);
    my $ended = end_of($run);
    is($ended->{code}, $change =~ /delete/ ? 3 : 4, $change);
    unlike($ended->{err}, qr/the beginning/, '... and no word of a beginning');
}

# --- blob_append itself

{
    my $id = $session->get("SELECT kms.blob_put(1, 'abc', complete => false)");
    my $answer = fails_with($session, "SELECT kms.blob_append('$id', 'x', at => $_)", 'KM015', "blob_append at $_ of 3") for 0, 2, 4;
    $session->get("SELECT kms.blob_append('$id', 'def', at => 3); SELECT kms.blob_append('$id', '', at => 6, complete => true)");
    is($session->get("SELECT kms.blob_get('$id')"), '\x616263646566', '... at its end');
}

$_->quit for $session, $locker;
$node->stop;
no_crash($node);
done_testing();
