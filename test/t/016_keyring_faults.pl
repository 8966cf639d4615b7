# What becomes of a keyring that is missing, broken, out of reach or cannot be written: an error
# that says so, and nothing lost.
use strict;
use warnings FATAL => 'all';

use FindBin;
use File::Copy qw(copy);
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use POSIX qw(mkfifo);
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $keys = test_folder('keys');
my $command = make_keyring($keys, qw(kept turned));
my ($ring, $kek, $spare) = ("$keys/ring", "$keys/kek", "$keys/spare");
my $node = kms_node('keyring_faults', 'kms.command' => $command);

my %binding = ('kms.keys' => '1=kept,2=turned');
my $first = keys_session($node, \%binding);
my $sealed = $first->get("SELECT kms.encode(1, 'still here'::text)");
$first->quit;
my $open = "SELECT kms.decode_text(1, '$sealed')";

# The file is put back, and its attributes are as they should be.
sub repair {
    foreach my $file ($ring, $kek) {
        -d $file ? rmdir $file : unlink $file if -e $file || -l $file;
        copy("$spare." . ($file eq $ring ? 'ring' : 'kek'), $file) or die $!;
        chmod 0600, $file or die $!;
    }
    return;
}

sub keep {
    copy($ring, "$spare.ring") or die $!;
    copy($kek, "$spare.kek") or die $!;
    return;
}

sub flip {
    my ($file, $at) = @_;
    my $bytes = slurp_file($file);
    substr($bytes, $at, 1) ^= "\x01";
    return overwrite($file, $bytes);
}

sub overwrite {
    my ($file, $bytes) = @_;
    open my $out, '>:raw', $file or die $!;
    print $out $bytes;
    close $out or die $!;
    return;
}

keep();
my $size = -s $ring;

# --- as an agent finds it when it starts

my @faults = (
    [ 'missing', sub { unlink $ring }, qr/there is no keyring/ ],
    [ 'unreadable', sub { chmod 0000, $ring }, qr/cannot open the keyring .*Permission denied/ ],
    [ 'readable by a group', sub { chmod 0640, $ring }, qr/must have mode 0600/ ],
    [ 'writable by all', sub { chmod 0666, $ring }, qr/must have mode 0600/ ],
    [ 'a folder', sub { unlink $ring; mkdir $ring }, qr/is not a regular file/ ],
    [ 'a named pipe', sub { unlink $ring; mkfifo($ring, 0600) }, qr/is not a regular file/ ],
    [ 'empty', sub { truncate $ring, 0 }, qr/not a keyring|damaged|short/i ],
    [ 'cut in its header', sub { truncate $ring, 40 }, qr/not a keyring|damaged|short|cut/i ],
    [ 'cut in its body', sub { truncate $ring, $size - 1 }, qr/damaged|wrong|cut/i ],
    [ 'longer than written', sub { overwrite($ring, slurp_file($ring) . 'x') }, qr/damaged/ ],
    [ 'no keyring', sub { overwrite($ring, "root:x:0:0\n" x 40) }, qr/not a keyring/ ],
    [ 'changed in its magic', sub { flip($ring, 0) }, qr/not a keyring/ ],
    [ 'changed in its generation', sub { flip($ring, 31) }, qr/damaged/ ],
    [ 'changed in its body', sub { flip($ring, $size - 40) }, qr/damaged/ ],
    [ 'changed in its last byte', sub { flip($ring, $size - 1) }, qr/damaged/ ],
    [ 'under another key file', sub { overwrite($kek, 'k' x 32) }, qr/wrong|another|does not/i ],
    [ 'under a key file that is missing', sub { unlink $kek }, qr/cannot open the key file/ ],
    [ 'under a key file that is cut', sub { truncate $kek, 31 }, qr/has not exactly 32 bytes/ ],
    [ 'under a key file that is too long', sub { overwrite($kek, slurp_file($kek) . 'x') }, qr/has not exactly 32 bytes/ ],
    [ 'under a key file that others may read', sub { chmod 0644, $kek }, qr/may be read or written by others/ ],
    [ 'under a key file that is a folder', sub { unlink $kek; mkdir $kek }, qr/kek/ ],
);
foreach (@faults) {
    my ($what, $break, $detail) = @$_;
    $break->();
    my $session = keys_session($node, \%binding);
    my $answer = fails_with($session, $open, 'KM007', "a keyring that is $what");
    like($answer->{detail}, $detail, '... is called so');
    repair();
    ok(becomes(sub { outcome($session, $open) eq 'still here' }), '... and works in the same session once repaired');
    $session->quit;
}

# --- while an agent runs

my $session = keys_session($node, { %binding, 'kms.mode' => 'remote' });
is(outcome($session, $open), 'still here', 'an agent that runs');
my $agent = agent_pid($session);
# Some of them: an agent that has refused a keyring looks at it again after a pause.
foreach (grep { $_->[0] =~ /^(missing|readable by a group|a folder|cut in its body|changed in its body)$/ } @faults) {
    my ($what, $break, $detail) = @$_;
    $break->();
    my $answer = fails_with($session, $open, 'KM007', "the keyring becomes $what");
    like($answer->{detail}, $detail, '... which is told');
    fails_with($session, "SELECT kms.rotate_key('turned')", 'KM007', '... and cannot be changed');
    repair();
    ok(becomes(sub { outcome($session, $open) eq 'still here' }), '... until it is repaired');
}
is($session->get("SELECT count(*) FROM kms.list_keys()"), 2, 'nothing was lost or made');
is(agent_pid($session), $agent, '... by the same agent');

# An older state, as of a backup.
is($session->get("SELECT kms.rotate_key('turned')"), 2, 'a second version');
my $newest = $session->get("SELECT kms.encode(2, 'newest'::text)");
copy($ring, "$keys/newer") or die $!;
repair();
like(fails_with($session, $open, 'KM007', 'an older state is put back')->{detail}, qr/older state .* has been put back/,
    '... which a running agent has noticed');
fails_with($session, "SELECT kms.rotate_key('turned')", 'KM007', '... and it builds nothing on that');
my $fresh = keys_session($node, { %binding, 'kms.mode' => 'remote' });
is(outcome($fresh, $open), 'still here', 'an agent that has seen nothing newer takes it');
fails_with($fresh, "SELECT kms.decode(2, '$newest')", 'KM004', '... and has not the newer version');
$fresh->quit;
copy("$keys/newer", $ring) or die $!;
ok(becomes(sub { outcome($session, $open) eq 'still here' }), 'the newest state again');
is(outcome($session, "SELECT kms.decode_text(2, '$newest')"), 'newest', '... with all that it had');

# Another keyring.
my $others = test_folder('others');
make_keyring($others, 'kept');
copy("$others/ring", $ring) or die $!;
copy("$others/kek", $kek) or die $!;
like(fails_with($session, $open, 'KM007', 'another keyring is put in its place')->{detail}, qr/wrong|another/i, '... which is told');
copy("$keys/newer", $ring) or die $!;
copy("$spare.kek", $kek) or die $!;
ok(becomes(sub { outcome($session, $open) eq 'still here' }), '... and the right one works again');

# rekey.
kms_admin($keys, 'rekey', '--new-key-file', "$keys/kek2");
fails_with($session, $open, 'KM007', 'rekey: an agent with the old key file is out');
rename "$keys/kek2", $kek or die $!;
ok(becomes(sub { outcome($session, $open) eq 'still here' }), '... and in again with the new one in its place');
is(outcome($session, "SELECT kms.decode_text(2, '$newest')"), 'newest', '... and all keys are as they were');
keep();

# --- a disk without room, a folder that may not be written

my %no_room = ('a limit on file sizes' => "ulimit -f 0; $command");
$no_room{'a full disk when made durable'} = "strace -qq -f -o /dev/null -e trace=fsync -e inject=fsync:error=ENOSPC $command" =~ s/exec //r
  if `strace -V 2>&1` =~ /^strace/ && system("strace -qq -o /dev/null true 2>/dev/null") == 0;
foreach my $what (sort keys %no_room) {
    my $full = keys_session($node, { %binding, 'kms.mode' => 'remote', 'kms.command' => $no_room{$what} });
    is(outcome($full, $open), 'still here', "with $what, values can be read");
    foreach my $change ("rotate_key('turned')", "create_key('more')", "disable_key('kept', 1)") {
        my $answer = fails_with($full, "SELECT kms.$change", 'KM007', "... but not $change");
        like($answer->{detail}, qr/No space left|File too large/, '... for that reason');
    }
    is(outcome($full, "SELECT kms.decode_text(2, '$newest')"), 'newest', '... and all goes on as before');
    is($full->get("SELECT string_agg(key_identifier || version || state, ' ' ORDER BY key_identifier, version) FROM kms.list_keys()"),
        'kept1enabled turned1enabled turned2enabled', '... with the keys that there were');
    $full->quit;
}
is(slurp_file($ring), slurp_file("$spare.ring"), 'the file is as it was');
is(join(q{ }, glob "$ring.new*"), q{}, '... and nothing lies beside it');

chmod 0500, $keys or die $!;
SKIP: {
    skip 'root may write everywhere', 2 if $> == 0;
    like(fails_with($session, "SELECT kms.rotate_key('turned')", 'KM007', 'a folder that may not be written')->{detail},
        qr/Permission denied/, '... is told');
}
chmod 0700, $keys or die $!;
is($session->get("SELECT kms.rotate_key('turned')"), 3, 'with room and right a key is rotated');
is(outcome($session, "SELECT kms.decode_text(2, '$newest')"), 'newest', '... and old values are read');
$session->quit;

# --- passphrases

my $agent_path = kms_agent_path();
my $known = "$keys/passphrase";
write_text($known, "correct horse\n");
kms_admin($keys, 'rekey', '--new-passphrase-command', "cat $known");
my @passphrases = (
    [ 'exit 3', qr/passphrase command failed with exit code 3/ ],
    [ 'kill -9 $$', qr/ended by signal 9/ ],
    [ 'true', qr/gave an empty passphrase/ ],
    [ 'echo wrong', qr/wrong|another|does not/i ],
    [ '/no/such/program', qr/exit code 127/ ],
    [ 'head -c 1000000 /dev/zero', qr/more than 4096 bytes/ ],
    [ 'sleep 1000', qr/the passphrase command did not end within 1 s/ ],
    [ 'sleep 1000 & echo correct horse', qr/something that it started did not close its output/ ],
);
foreach (@passphrases, [ "cat $known", undef ]) {
    my ($passphrase, $detail) = @$_;
    my $asking = keys_session($node, { %binding,
        'kms.command' => "exec $agent_path serve --keyring $ring --passphrase-timeout 1 --passphrase-command " . sql_quote($passphrase) });
    if (defined $detail) {
        like(fails_with($asking, $open, 'KM007', "a passphrase command: $passphrase")->{detail}, $detail, '... its fault is told');
    }
    else {
        is(outcome($asking, $open), 'still here', 'the right passphrase opens the keyring');
        is(outcome($asking, "SELECT kms.decode_text(2, '$newest')"), 'newest', '... with all that was ever sealed');
    }
    $asking->quit;
}


# Where the command may take longer than the session waits, nothing of it outlives the agent.
my $told = "$keys/told";
my $hanging = "sleep 1000 & echo \$! \$\$ > $told; sleep 1000; :";
my $impatient = keys_session($node, { %binding, 'kms.start_timeout' => '300ms',
    'kms.command' => "exec $agent_path serve --keyring $ring --passphrase-command " . sql_quote($hanging) });
fails_with($impatient, $open, 'KM008', 'a passphrase command that hangs for longer than kms.start_timeout');
my @left = split ' ', slurp_file($told);
is(scalar @left, 2, '... with a child');
ok(becomes(sub { !grep { is_alive($_) } @left }), '... is gone with the agent, its child too');
$impatient->quit;

# --- rekey while sessions run: an agent that knows where the next KEK will be goes on

kms_admin($keys, 'rekey', '--passphrase-command', "cat $known", '--new-key-file', "$keys/back");
rename "$keys/back", $kek or die $!;
kms_admin($keys, 'create', '--purpose', 'wrap', 'kek');
my $lasting = "$command --next-key-file $keys/next";
my %running = map { $_ => keys_session($node, { %binding, 'kms.command' => $lasting, 'kms.mode' => $_ }) } qw(local remote envelope);
$running{envelope}->get("SELECT kms.create_data_key('kept', 'kek', force => true)");
my %ask = (
    # Bound anew, it is asked for again.
    local => "SET kms.keys = ''; SET kms.keys = '$binding{'kms.keys'}'; SELECT kms.decode_text(2, kms.encode(2, 'local'::text))",
    remote => "SELECT kms.decode_text(2, kms.encode(2, 'remote'::text))",
    envelope => "SELECT convert_from(kms.unwrap('kek', kms.wrap('kek', 'envelope')), 'UTF8')",
);
my @modes = sort keys %running;
$running{$_}->get($ask{$_}) foreach @modes;
my %pid = map { $_ => agent_pid($running{$_}) } @modes;
my @refused;
my $all_answer = sub {
    foreach my $mode (@modes) {
        my $answer = outcome($running{$mode}, $ask{$mode});
        push @refused, "$_[0], $mode: $answer" if $answer ne $mode;
    }
};
foreach my $round (1 .. 5) {
    $all_answer->("before rekey $round");
    kms_admin($keys, 'rekey', '--new-key-file', "$keys/next");
    $all_answer->("after rekey $round");
    $running{remote}->get("SELECT kms.rotate_key('turned')") if $round == 3;
    rename "$keys/next", $kek or die $!;
    $all_answer->("with the key file of rekey $round in its place");
}
is("@refused", '', 'five times another KEK, and sessions in every mode go on');
is($running{remote}->get("SELECT max(version) FROM kms.list_keys('turned')"), 4, '... and rotate keys meanwhile');
is(join(' ', map { agent_pid($running{$_}) } @modes), join(' ', map { $pid{$_} } @modes), '... with the agents that they had');
$_->quit foreach values %running;

$node->stop;
no_crash($node);
done_testing();
