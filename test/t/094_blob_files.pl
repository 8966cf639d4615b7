# Files that kms-blob wrote: who may read them while they are written and afterwards, what is left
# when it ends early, file systems that cannot do everything, and what a command line shows.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run ();
use JSON::PP qw(decode_json);
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $program = kms_agent_path() =~ s/kms-agent$/kms-blob/r;
my $folder = test_folder('files');
my $node = kms_node('files', 'kms.command' => make_keyring(test_folder('keys'), 'a'), 'kms.keys' => '1=a', 'log_parameter_max_length' => 0);
my ($session, $locker) = map { kms_session($node) } 1 .. 2;
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';
delete $ENV{PGAPPNAME};
umask 0022;

# Runs the program, or another one that runs it; a last argument of \'bytes' is its standard input.
sub blob {
    my (@words) = @_;
    my $input = ref $words[-1] ? pop @words : \'';
    my ($out, $err) = ('', '');
    IPC::Run::run([ ref $words[0] ? @{ shift @words } : $program, @words ], '<', $input, '>', \$out, '2>', \$err);
    note "@words: $? $err" if $err ne '';
    return { code => $? >> 8, signal => $? & 127, out => $out, err => $err };
}

sub mode_of { return sprintf '%04o', (stat $_[0])[2] & 07777 }
sub parts { return join ' ', glob "$folder/*.part" }

# --- modes

my $large = $session->get(q{SELECT kms.blob_put(1, decode(repeat(md5('x'), 300000), 'hex'))});
my $small = $session->get(q{SELECT kms.blob_put(1, 'small')});

sub begin_get {
    my ($out, @options) = @_;
    $locker->get('BEGIN; LOCK TABLE kms.blob_chunk');
    my $run = { err => '' };
    $run->{run} = IPC::Run::start([ $program, 'get', $large, '-o', $out, @options ], '<', \'', '2>', \$run->{err});
    ok(becomes(sub { parts() ne '' }), 'a get has begun');
    $run->{part} = parts();
    return $run;
}

foreach my $old (undef, 0600, 0640, 0444, 04755) {
    my $out = "$folder/out";
    my $name = defined $old ? sprintf('in place of one of mode %04o', $old) : 'a new file';
    unlink $out;
    if (defined $old) {
        append_to_file($out, 'old');
        chmod $old, $out or die $!;
    }
    my $run = begin_get($out, '--force');
    is(mode_of($run->{part}), '0600', "$name: while it is written nobody else may read it");
    $locker->get('ROLLBACK');
    $run->{run}->finish;
    is("$? $run->{err}", '0 ', '... it is written');
    is(mode_of($out), defined $old ? sprintf('%04o', $old & 0777) : '0644', '... and has the mode that it should have');
}

# A server that does not answer keeps nobody.
{
    my $run = begin_get("$folder/stuck");
    my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
    kill 'STOP', $postmaster or die $!;
    $run->{run}->signal('INT');
    ok(becomes(sub { !is_alive($run->{run}->{KIDS}[0]{PID}) || !$run->{run}->pumpable }, 60), 'a get that is interrupted ends while the postmaster does not answer');
    kill 'CONT', $postmaster or die $!;
    eval { $run->{run}->finish };
    $locker->get('ROLLBACK');
    is(parts(), '', '... and leaves no part');
}

# What is replaced is what was there in the beginning: whoever can make names in the folder would else
# decide who may read the file.
my %appears = (
    'a link' => sub { symlink '/etc/hostname', $_[0] or die $! },
    'a file that all may write' => sub { append_to_file($_[0], 'theirs'); chmod 0666, $_[0] or die $! },
    'a folder' => sub { mkdir $_[0] or die $! },
    'nothing' => sub { },
);
sub look_of { return -l $_[0] ? 'link' : -d _ ? 'folder' : -e _ ? mode_of($_[0]) . slurp_file($_[0]) : 'nothing' }
foreach my $what (sort keys %appears) {
    foreach my $old (undef, 0600) {
        next if $what eq 'nothing' && !defined $old;
        my $out = "$folder/swapped";
        if (defined $old) {
            append_to_file($out, 'old');
            chmod $old, $out or die $!;
        }
        my $run = begin_get($out, '--force');
        unlink $out;
        $appears{$what}($out);
        my $look = look_of($out);
        $locker->get('ROLLBACK');
        $run->{run}->finish;
        is($? >> 8, 4, "$what where " . (defined $old ? 'the old file' : 'nothing') . ' was: exit code 4');
        like($run->{err}, qr/\Akms-blob: \S+swapped was .* by somebody else meanwhile/, '... which says why');
        is(look_of($out), $look, '... and it is left as it is');
        is(parts(), '', '... and no part');
        -d $out && !-l $out ? rmdir $out : unlink $out;
    }
}
{
    my $out = "$folder/same";
    append_to_file($out, 'old');
    chmod 0644, $out or die $!;
    my $run = begin_get($out, '--force');
    append_to_file($out, 'er');
    chmod 0600, $out or die $!;
    $locker->get('ROLLBACK');
    $run->{run}->finish;
    is("$? $run->{err}", '0 ', 'the same file, changed, is replaced');
    is(mode_of($out), '0600', '... and keeps its mode of the end');
}

# The folder is the one that it was in the beginning, too: what comes in its place gets nothing.
foreach my $old (undef, 0600) {
    my ($name, $moved, $another) = map { "$folder/$_" } qw(folder moved another);
    mkdir $_ or die $! foreach $name, $another;
    my $out = "$name/out";
    if (defined $old) {
        append_to_file($out, 'old');
        chmod $old, $out or die $!;
    }
    $locker->get('BEGIN; LOCK TABLE kms.blob_chunk');
    my $err = '';
    my $run = IPC::Run::start([ $program, 'get', $large, '-o', $out, '--force' ], '<', \'', '2>', \$err);
    ok(becomes(sub { (() = glob "$name/*.part") == 1 }), 'a get into a folder has begun');
    rename $name, $moved or die $!;
    symlink $another, $name or die $!;
    $locker->get('ROLLBACK');
    $run->finish;
    is("$? $err", '0 ', '... which is moved meanwhile, with ' . (defined $old ? 'the old file' : 'nothing') . ' in it');
    is(join(' ', map { s{.*/}{}r } glob "$moved/*"), 'out', '... and has the file, and no part');
    is((stat "$moved/out")[7], (stat "$folder/same")[7], '... which is whole');
    is(join(' ', glob "$another/*"), '', '... and the folder in its place has nothing');
    unlink $name, "$moved/out";
    rmdir $_ or die $! foreach $moved, $another;
}

# --- names

# A part that was left behind by one that was killed is in nobody's way: in a container it may be
# always the same process id.
{
    my $out = "$folder/killed";
    my $run = begin_get($out);
    my $left = $run->{part};
    like($left, qr{/killed\.[0-9a-f]{16}\.part\z}, 'the name of a part is drawn');
    $run->{run}->signal('KILL');
    $run->{run}->finish;
    $locker->get('ROLLBACK');
    is(parts(), $left, 'one that is killed leaves its part behind');
    is(blob('get', $small, '-o', $out)->{code}, 0, '... which is not in the way of the next');
    unlink $out, $left;
}
foreach my $length (230, 250, 255) {
    my $name = 'n' x $length;
    is(blob('get', $small, '-o', "$folder/$name")->{code}, 0, "a name of $length bytes");
    is(slurp_file("$folder/$name"), 'small', '... is there');
    unlink "$folder/$name";
}
mkdir "$folder/is folder" or die $!;
my @not_files = ([ "$folder/is folder/", 4, 'is the name of a folder' ], [ "$folder/none/", 1, 'cannot open the folder' ], [ "$folder/is folder", 4, 'is not a regular file' ],
    [ "$folder/is folder/.", 4, 'is not a regular file' ], [ "$folder/" . 'n' x 256, 1, 'cannot write to' ]);
$locker->get('BEGIN; LOCK TABLE kms.blob_chunk');
foreach my $not_file (@not_files) {
    my ($path, $code, $message) = @$not_file;
    my $refused = blob('get', '--force', $large, '-o', $path);
    is("$refused->{code} $refused->{out}", "$code ", "get -o $message: before anything is read");
    like($refused->{err}, qr/\Akms-blob: .*\Q$message\E/, '... and says so');
}
$locker->get('ROLLBACK');
is(join(' ', glob "'$folder/is folder/'*"), '', '... and nothing is left');
rmdir "$folder/is folder" or die $!;
foreach my $words ([ 'get', $small, '-o', '' ], [ 'put', '--resume', '', "$folder/same" ], [ 'put', '--name-from', '', "$folder/same" ], [ 'put', '--metadata-from', '', "$folder/same" ],
    [ 'ls', '--prefix-from', '' ]) {
    my $refused = blob(@$words);
    is("$refused->{code} $refused->{out}", '2 ', "@$words: an empty word is none that was left out");
}

# --- what is stored is told of

{
    my $all = sub { $session->get('SELECT count(*) FROM kms.blob') };
    my $before = $all->();
    my $full = blob([ 'bash', '-c', 'exec "$0" "$@" > /dev/full', $program ], 'put', '-', \'stored');
    is($full->{code}, 1, 'put where the standard output fails');
    my ($id) = $full->{err} =~ /^kms-blob: the blob is stored, and its id is ([-0-9a-f]{36})$/m;
    is($session->get("SELECT convert_from(kms.blob_get('$id'), 'UTF8')"), 'stored', '... tells the id on standard error');
    $session->get("SELECT kms.blob_delete('$id')");
    is($all->(), $before, '... of the one that there is');
    my $gone = 'import os, signal, sys; signal.signal(signal.SIGPIPE, signal.SIG_DFL); r, w = os.pipe(); os.dup2(w, 1); os.close(r); os.close(w); os.execv(sys.argv[1], sys.argv[1:])';
    $full = blob([ '/usr/bin/python3', '-c', $gone, $program ], 'put', '-', \'stored');
    is($full->{code}, 1, 'put whose reader has gone');
    ($id) = $full->{err} =~ /^kms-blob: the blob is stored, and its id is ([-0-9a-f]{36})$/m;
    is($session->get("SELECT kms.blob_delete('$id')"), 't', '... tells the id as well');
    $full = blob([ 'bash', '-c', 'exec "$0" "$@" > /dev/full', $program ], 'get', '--json', $large, '-o', "$folder/told");
    is($full->{code}, 1, 'get where it fails');
    like($full->{err}, qr/^kms-blob: the file is complete$/m, '... tells that the file is there');
    ok(unlink("$folder/told"), '... which it is');
    my @gone = map { $session->get("SELECT kms.blob_put(1, 'x')") } 1 .. 2;
    $full = blob([ 'bash', '-c', 'exec "$0" "$@" > /dev/full', $program ], 'rm', '--json', @gone);
    like($full->{err}, qr/^kms-blob: $gone[0] is the last that it was done for$/m, 'rm tells how far it came');
    is($session->get("SELECT kms.blob_delete('$gone[0]'), kms.blob_delete('$gone[1]')"), 'f|t', '... which is true');
}

# --- standard descriptors that are closed

foreach my $case ([ 'put - <&-' => qr/standard input|cannot read -/ ], [ "cat $large >&-" => qr/standard output/ ], [ 'ls >&-' => qr/standard output/ ]) {
    my ($words, $why) = @$case;
    my $before = $session->get('SELECT count(*) FROM kms.blob');
    my $ended = blob([ 'bash', '-c', "exec \"\$0\" $words", $program ], \'');
    is($ended->{code}, 1, "$words fails");
    like($ended->{err}, $why, '... and says why');
    is($session->get('SELECT count(*) FROM kms.blob'), $before, '... with nothing stored');
}

# --- a time that the server cannot store, and a file whose name looks like an option

{
    my $odd = "$folder/-odd";
    write_text($odd, 'x');
    SKIP: {
        skip 'the file system has no such times', 2 unless utime(2e13, 2e13, $odd) && (stat $odd)[9] == 2e13;
        my $put = blob('put', $odd);
        is($put->{code}, 0, 'a file of the year 635744 is stored');
        is($session->get("SELECT last_modified IS NULL OR last_modified <= now() FROM kms.blob_meta('" . ($put->{out} =~ s/\n//r) . "')"), 't', '... without a time that it has not');
    }
}

# --- access control lists, whose mask stands where the group's permissions would

# TAG, PERMISSIONS, ID of each entry, or what is set.
sub acl {
    my ($path, $name, @entries) = @_;
    my $code = <<'PYTHON';
import os, struct, sys
path, name, *entries = sys.argv[1:]
if entries:
    os.setxattr(path, name, struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *map(int, e.split())) for e in entries))
print(name in os.listxattr(path))
PYTHON
    my ($said, $err) = ('', '');
    IPC::Run::run([ '/usr/bin/python3', '-c', $code, $path, $name, @entries ], '>', \$said, '2>', \$err) or return undef;
    chomp $said;
    return $said;
}
SKIP: {
    my $nobody = 0xFFFFFFFF;
    my $access = 'system.posix_acl_access';
    my $out = "$folder/listed";
    append_to_file($out, 'old');
    my $set = acl($out, $access, "1 6 $nobody", '2 6 33', "4 0 $nobody", "16 6 $nobody", "32 4 $nobody");
    skip 'no access control lists on this file system', 9 if ($set // '') ne 'True';
    is(mode_of($out), '0664', 'the group, which may do nothing, seems to be allowed what the list allows others');
    is(blob('get', $small, '-o', $out, '--force')->{code}, 0, '... and the file is replaced');
    is(mode_of($out), '0604', '... the group may still do nothing');
    is(acl($out, $access), 'False', '... nor those on the list');

    mkdir "$folder/shared" or die $!;
    $out = "$folder/shared/plain";
    append_to_file($out, 'old');
    chmod 0640, $out or die $!;
    is(acl("$folder/shared", 'system.posix_acl_default', "1 7 $nobody", '2 7 33', "4 5 $nobody", "16 7 $nobody", "32 0 $nobody"), 'True', 'a folder that gives new files a list');
    is(acl($out, $access), 'False', '... in which a file has none');
    is(blob('get', $small, '-o', $out, '--force')->{code}, 0, '... is replaced');
    is(mode_of($out), '0640', '... by one of its mode');
    is(acl($out, $access), 'False', '... that has none either');
}

# --- what ends it

foreach my $signal (qw(QUIT HUP XCPU)) {
    my $run = begin_get("$folder/quit");
    $run->{run}->signal($signal);
    $run->{run}->finish;
    is($run->{err}, "kms-blob: interrupted\n", "SIG$signal ends it in good order");
    $locker->get('ROLLBACK');
    is(parts(), '', '... and no part is left');
    ok(!-e "$folder/quit", '... and no file');
}
{
    my $ended = blob([ 'bash', '-c', 'ulimit -f 100; exec "$0" "$@"', $program ], 'get', $large, '-o', "$folder/limited");
    is("$ended->{code} $ended->{signal}", '1 0', 'a file beyond its limit (SIGXFSZ)');
    like($ended->{err}, qr/cannot write to .*limited: File too large/, '... which is told');
    is(parts() . join(' ', glob "$folder/limited*"), '', '... and nothing is left');
}

# --- names

SKIP: {
    my $shim = "$folder/shim.so";
    write_text("$folder/shim.c", <<'C');
#include <errno.h>
int renameat2(int a, const char *b, int c, const char *d, unsigned flags);
int renameat(int, const char *, int, const char *);
int renameat2(int a, const char *b, int c, const char *d, unsigned flags)
{
    if (flags) { errno = EINVAL; return -1; }
    return renameat(a, b, c, d);
}
C
    skip 'no C compiler', 7 if system("cc -shared -fPIC -o $shim $folder/shim.c") != 0;
    local $ENV{LD_PRELOAD} = $shim;
    my $ended = blob('get', $small, '-o', "$folder/linked");
    is("$ended->{code} $ended->{err}", '0 ', 'where a rename cannot be told not to replace');
    is(slurp_file("$folder/linked"), 'small', '... the file is there');
    is((stat "$folder/linked")[3], 1, '... under one name');
    $ended = blob('get', $large, '-o', "$folder/linked");
    is($ended->{code}, 4, '... and is not replaced');
    my $run = begin_get("$folder/late");
    append_to_file("$folder/late", 'theirs');
    $locker->get('ROLLBACK');
    $run->{run}->finish;
    is($? >> 8, 4, '... nor one that somebody has made meanwhile');
    is(slurp_file("$folder/late"), 'theirs', '... which stays');
    is(parts(), '', '... and no part is left');
}
chdir $folder or die $!;
is(blob('get', $small, '-o', 'beside')->{code}, 0, 'a name without a folder');

{
    my $ended = blob('get', '--json', $small, '-o', "$folder/\xff");
    is($ended->{code}, 2, '--json and a path that is not UTF-8');
    like($ended->{err}, qr/must be UTF-8/, '... is refused');
    ok(!-e "$folder/\xff", '... before anything is written');
    is(blob('get', $small, '-o', "$folder/\xff")->{code}, 0, '... and is a path as any other without it');
    is(slurp_file("$folder/\xff"), 'small', '... with the file');
}

# --- many ids

{
    my ($other, $more) = map { $session->get("SELECT kms.blob_put(1, '$_')") } 1, 2;
    my $missing = '00000000-0000-0000-0000-000000000000';
    my $ended = blob('verify', 'nonsense', $other, $missing, "\xff", $more);
    is($ended->{code}, 1, 'verify with bad ids: the first failure decides');
    is(() = $ended->{out} =~ /: authentic/g, 2, '... the others are verified');
    like($ended->{err}, qr/invalid input syntax for type uuid: "nonsense".*there is no blob $missing.*invalid byte sequence/s, '... and every failure is told');
    $ended = blob('rm', $missing, 'nonsense', $other, $more);
    is($ended->{code}, 3, 'rm with bad ids');
    like($ended->{err}, qr/there is no blob.*nonsense/s, '... tells all');
    is($session->get("SELECT count(*) FROM kms.blob WHERE id IN ('$other', '$more')"), '0', '... and removes the others');
}

# --- what should not stand in a command line

{
    write_text("$folder/name", "secret name\n");
    write_text("$folder/metadata", '{"patient": "Ada"}');
    my $ended = blob('put', '--name-from', "$folder/name", '--metadata-from', "$folder/metadata", '-', \'text');
    chomp(my $id = $ended->{out});
    is($session->get("SELECT name, metadata FROM kms.blob_meta('$id')"), 'secret name|{"patient": "Ada"}', 'a name and metadata from files');
    $ended = blob('put', '--metadata-from', '-', "$folder/name", \'{"by": "input"}');
    chomp($id = $ended->{out});
    is($session->get("SELECT name, metadata FROM kms.blob_meta('$id')"), 'name|{"by": "input"}', '... from standard input');
    like(blob('ls', '--prefix-from', '-', \"secret\n")->{out}, qr/secret name$/m, 'a prefix, too');
    is(blob(@$_)->{code}, 2, "@$_") foreach [ 'put', '--name-from', '-', '-' ], [ 'put', '--name-from', '-', '--metadata-from', '-', "$folder/name" ],
      [ 'put', '--name', 'x', '--name-from', "$folder/name", "$folder/name" ], [ 'ls', 'x', '--prefix-from', "$folder/name" ], [ 'put', '--resume', $small, '--name-from', "$folder/name", "$folder/name" ];
    is(blob('put', '--name-from', "$folder/none", "$folder/name")->{code}, 1, 'a file that is not there');
    is(blob('put', '--metadata-from', '/dev/zero', "$folder/name")->{code}, 1, '... or has no end');
}

# --- TLS

$_->quit for $session, $locker;
$node->append_conf('postgresql.conf', "listen_addresses = '127.0.0.1'");
write_text($node->data_dir . '/pg_hba.conf', "local all all trust\nhost all all 127.0.0.1/32 trust\n");
$node->restart;
{
    local $ENV{PGHOST} = '127.0.0.1';
    delete local $ENV{PGSSLMODE};
    like(blob('ls')->{err}, qr/\Akms-blob: warning: the connection is not encrypted, .*--sslmode verify-full.*--sslmode disable/, 'sslmode=prefer over TCP is warned of');
    is(blob('ls')->{code}, 0, '... and works');
    is(blob('ls', '--sslmode', 'disable')->{err}, '', '... not where it is meant');
    like(blob('ls', '--sslmode', 'require')->{err}, qr/server does not support SSL/, '--sslmode require insists');
    like(blob('ls', '-d', 'sslmode=allow dbname=postgres')->{err}, qr/not encrypted/, 'a connection string that allows it');
    is(blob('ls', '--sslmode', 'nonsense')->{code}, 2, 'an sslmode that is none');
}
is(blob('ls')->{err}, '', 'over a local socket there is nothing to warn of');

$node->stop;
no_crash($node);
done_testing();
