# The program kms-blob: files in and out, ranges, interruptions and resuming, refusals, its bounds of
# memory, and what it prints for people and for programs.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use Digest::SHA qw(sha256_hex);
use IPC::Run ();
use JSON::PP qw(decode_json);
use KmsKeys;
use KmsTest;
use POSIX qw(mkfifo);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time utime);

my $program = kms_agent_path() =~ s/kms-agent$/kms-blob/r;
my $keys = test_folder('keys');
my $folder = test_folder('files');
my $node = kms_node('blobs', 'kms.command' => make_keyring($keys, 'a', 'b'), 'kms.keys' => '1=a', 'max_wal_size' => '2GB',
    'log_parameter_max_length' => 0);
my $session = kms_session($node);
my $first = 31 * 256 * 1024;    # what goes at once, in the beginning
my $piece = 15 * 256 * 1024;    # ... and then
my $mib = 1024 * 1024;
my $id_form = qr/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;
my $count = 0;

$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';
delete $ENV{PGAPPNAME};

# Bytes that are nowhere the same, always the same ones.
sub some_bytes {
    my ($length) = @_;
    my $block = join '', map { pack 'L>', $_ * 2654435761 % 2**32 } 1 .. 16384;
    my $bytes = join '', map { pack('Q>', $_) . substr $block, 8 } 0 .. $length / 65536;
    return substr $bytes, 0, $length;
}

sub file {
    my ($bytes, $name) = @_;
    my $path = "$folder/" . ($name // 'file' . ++$count);
    open my $out, '>:raw', $path or die "$path: $!";
    print $out $bytes;
    close $out or die "$path: $!";
    return $path;
}

sub ended { return { code => $? >> 8, signal => $? & 127, out => $_[0], err => $_[1] } }

# Runs the program; a last argument of \'bytes' is its standard input, a pipe that it may leave
# unread.
sub blob {
    my (@words) = @_;
    my @piped = ref $words[-1] ? ('bash', '-c', 'cat "$0" 2>&- | exec "$@"', file(${ pop @words })) : ();
    my ($out, $err) = ('', '');
    IPC::Run::run([ @piped, $program, @words ], '<', \'', '>', \$out, '2>', \$err);
    my $ended = ended($out, $err);
    note "@words: $ended->{code} $err" if $err ne '';
    return $ended;
}

# Its output, where it succeeds without a word.
sub succeeds {
    my (@words) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $ended = blob(@words);
    is("$ended->{code} $ended->{signal} $ended->{err}", '0 0 ', "kms-blob $words[0]") or diag "@words";
    return $ended->{out};
}

sub refused {
    my ($code, $pattern, @words) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $ended = blob(@words);
    is($ended->{code}, $code, "exit code $code: " . ($words[0] // 'nothing')) or diag "@words: $ended->{err}";
    like($ended->{err}, $pattern, '... which says why');
    is($ended->{out}, '', '... and nothing else');
    return $ended;
}

sub put {
    my (@words) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $out = succeeds('put', @words);
    like($out, qr/\A$id_form\n\z/, '... prints the id');
    return $out =~ s/\n//r;
}

# Compared by their digests, so that a difference does not fill the screen.
sub same_bytes {
    my ($got, $expected, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(length($got) . ' ' . sha256_hex($got), length($expected) . ' ' . sha256_hex($expected), $name);
}

sub meta { return decode_json(succeeds('info', '--json', $_[0])) }

# --- round trips

foreach my $length (0, 1, 16383, 16384, 16385, $first - 1, $first, $first + 1, $first + $piece, $first + 2 * $piece + 12345) {
    my $bytes = some_bytes($length);
    my $path = file($bytes);
    utime 1700000000, 1600000000.25, $path or die $!;
    my $id = put($path);
    same_bytes(succeeds('get', $id), $bytes, "$length bytes come back");
    succeeds('get', $id, '-o', "$path.out");
    same_bytes(slurp_file("$path.out"), $bytes, '... into a file');
    my $meta = meta($id);
    is($meta->{size}, $length, '... of that size');
    is($meta->{name}, $path =~ s{.*/}{}r, '... and the name of the file');
    is($meta->{last_modified}, '2020-09-13T12:26:40.25+00:00', '... and its time');
    is($meta->{segments}, !$length ? 0 : $length <= $first ? 1 : 1 + int(($length - $first + $piece - 1) / $piece), '... in as few segments');
    like(succeeds('verify', $id), qr/\A$id: authentic, $length bytes, SHA-256 @{[ sha256_hex($bytes) ]}\n\z/, '... authentic');
    my $piped = put('-', \$bytes);
    same_bytes(succeeds('cat', $piped), $bytes, '... and through standard input');
    is(meta($piped)->{name}, undef, '... without a name');
}
is(scalar(grep { m{/[^/]*part[^/]*\z} } glob "$folder/*"), 0, 'no temporary file is left');

# --- what is said of a blob

my $described = put('--name', 'report.pdf', '--type', 'application/pdf', '--metadata', '{"n": 123456789012345678901234567890.10, "a": ["x"]}',
    '--expire-in', '1 day', '-', \'text');
my $about = blob('info', '--json', $described)->{out};
like($about, qr/"metadata":\{"a": ?\["x"\], ?"n": ?123456789012345678901234567890\.10\}/, 'no number loses a digit');
my $json = decode_json($about);
is_deeply([ @$json{qw(id name content_type size version complete segments)} ],
    [ $described, 'report.pdf', 'application/pdf', 4, 1, JSON::PP::true, 1 ], 'info --json');
like($json->{expires_at}, qr/^\d{4}-\d\d-\d\dT[\d:.]+\+00:00$/, '... has times in UTC');
like(succeeds('info', $described), qr/^id: +$described\nname: +report\.pdf\ntype: +application\/pdf\nsize: +4$/m, 'info for people');
my $answered = decode_json(succeeds('put', '--json', '-', \'text'));
is(join(' ', map { "$_=$answered->{$_}" } sort keys %$answered), "id=$answered->{id} size=4", 'put --json');
is_deeply(decode_json(succeeds('verify', '--json', $answered->{id})),
    { id => $answered->{id}, size => 4, sha256 => sha256_hex('text'), complete => JSON::PP::true }, 'verify --json');
is_deeply(decode_json(succeeds('get', '--json', $answered->{id}, '-o', "$folder/as.json")),
    { id => $answered->{id}, file => "$folder/as.json", size => 4 }, 'get --json');

my $brief = put('--expire-in', '1 second', '-', \'text');
ok(becomes(sub { blob('info', $brief)->{code} == 3 }), 'a blob expires');
refused(3, qr/there is no blob $brief/, 'get', $brief);
refused(1, qr/invalid input syntax for type interval/, 'put', '--expire-in', 'soon', '-', \'text');
refused(1, qr/\Akms-blob: the metadata is nested more than 1000 levels deep\n\z/, 'put', '--metadata-from', file('[' x 200_000 . ']' x 200_000), '-', \'text');
my $deep = put('--metadata', '[' x 1000 . ']' x 1000, '-', \'text');
like(succeeds('info', '--json', $deep), qr/"metadata":\[{1000}\]{1000},/, '1,000 levels are stored');
my $doubled = put('--metadata', '[[11]]', '--name=[[aa]]', '-', \'text');
like(succeeds('info', '--json', $doubled), qr/^(?=.*"metadata":\[\[11\]\],)(?=.*"name":"\[\[aa\]\]")/s, 'words in brackets are stored as they are written');
succeeds('rm', $deep);
foreach my $metadata ('{', '', '{"ssn": 078}', '["\u0000"]', '{"a": {"\u0000": 1}}', "\xef\xbb\xbf{}", '"\ud800"', '{} {}') {
    refused(1, qr/\Akms-blob: the metadata is not JSON that PostgreSQL stores\n\z/, 'put', '--metadata', $metadata, '-', \'text');
}
refused(1, qr/cannot have expired already/, 'put', '--expire-in', '-1 day', '-', \'text');
refused(1, qr/invalid byte sequence/, 'put', '--name', "\xff", '-', \'text');

# --- lists, and names that would play with a terminal

my $odd = "list/\e[2J\x0a\xc2\x9b31m \xe2\x80\xae.pdf";
my $odd_id = put('--name', $odd, '--type', "\e]0;x\a", '-', \'text');
my $plain_id = put('--name', "list/Gr\xc3\xbc\xc3\x9fe", '-', \'');
my $list = succeeds('ls', 'list/');
is(scalar($list =~ tr/\n//), 3, 'ls has a head and the blobs with the prefix');
like($list, qr/^ID +SIZE +MODIFIED +EXPIRES +STATE +NAME\n/, '... its head');
like($list, qr/^$plain_id  0  +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  - +complete  list\/Gr\xc3\xbc\xc3\x9fe$/m, '... a line');
my $shown = join '', $list, map { succeeds('info', @$_, $odd_id), succeeds('ls', @$_, 'list/') } [], ['--json'];
unlike($shown, qr/[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xae/, 'no control character reaches a terminal');
my ($found) = grep { $_->{id} eq $odd_id } @{ decode_json(succeeds('ls', '--json', 'list/')) };
utf8::encode(my $name = $found->{name});
is($name, $odd, '... and --json has the name as it is');
is(succeeds('ls', '--json', 'nothing such'), "[]\n", 'a list of nothing');
is(scalar(@{ decode_json(succeeds('ls', '--json')) }), $session->get("SELECT count(*) FROM kms.blob_list('')"), 'ls lists all');

# --- ranges

my $bytes = some_bytes(2 * $piece + 4321);
my $id = put(file($bytes));
my $last = length($bytes) - 1;
foreach my $range ([ 0, 0 ], [ 0, $last ], [ 1, 70000 ], [ $piece - 1, $piece ], [ $piece, 2 * $piece ], [ $mib, $mib ], [ $last, $last ], [ 5, $last + 5 ], [ 7, undef ], [ $last, undef ], [ 3, 9223372036854775806 ]) {
    my ($from, $to) = @$range;
    my $end = !defined $to || $to > $last ? $last : $to;
    my $text = "$from-" . ($to // '');
    same_bytes(succeeds('get', '--range', $text, $id), substr($bytes, $from, $end - $from + 1), "bytes $text");
}
refused(4, qr/the range begins at byte @{[ $last + 1 ]}, and the blob has @{[ $last + 1 ]} bytes/, 'get', '--range', $last + 1 . '-', $id);
refused(4, qr/begins at byte 0/, 'get', '--range', '0-', $plain_id);
refused(2, qr/not START-END/, 'get', '--range', $_, $id) foreach '5', '-5', '5-4', 'a-b', '0-9223372036854775807';
same_bytes(succeeds('cat', $described, $plain_id, $id, $described), "text${bytes}text", 'cat of many');

# --- output files

my $out = "$folder/out";
succeeds('get', $id, '-o', $out);
refused(4, qr/\Q$out\E exists already: --force replaces it/, 'get', $described, '-o', $out);
same_bytes(slurp_file($out), $bytes, '... and it stays');
succeeds('get', $described, '-o', $out, '--force');
is(slurp_file($out), 'text', '--force replaces it');
symlink $out, "$folder/link" or die $!;
refused(4, qr/is not a regular file/, 'get', $id, '--force', '-o', $_) foreach "$folder/link", '/dev/null', $folder;
refused(1, qr/cannot open the folder .*none: No such file/, 'get', $id, '-o', "$folder/none/out");
refused(3, qr/there is no blob/, 'get', '00000000-0000-0000-0000-000000000000', '-o', "$folder/missing");
ok(!-e "$folder/missing", '... and makes no file');
is(succeeds('get', $described, '-o', '-'), 'text', '- is standard output');
SKIP: {
    skip 'no /dev/full', 3 unless -w '/dev/full';
    my $err;
    foreach my $words ([ 'cat', $id ], [ 'put', '-' ], ['ls']) {
        IPC::Run::run([ $program, @$words ], '<', \'x', '>', '/dev/full', '2>', \$err);
        $err =~ s/^kms-blob: the blob is stored, and its id is $id_form\n//m or fail('... which tells the id') if $words->[0] eq 'put';
        is(($? >> 8) . " $err", "1 kms-blob: cannot write to the standard output: No space left on device\n", "a full disk: $words->[0]");
    }
}

# --- a put that does not come to its end

# Starts a put of a pipe, and waits until the first bytes are stored.
sub begin_put {
    my ($first, @options) = @_;
    my $fifo = "$folder/fifo" . ++$count;
    mkfifo($fifo, 0600) or die $!;
    my $run = { fifo => $fifo, out => '', err => '' };
    my $before = $session->get('SELECT count(*) FROM kms.blob');
    $run->{run} = IPC::Run::start([ $program, 'put', @options, $fifo ], '<', \'', '>', \$run->{out}, '2>', \$run->{err});
    open $run->{in}, '>:raw', $fifo or die $!;
    $run->{in}->autoflush(1);
    print { $run->{in} } $first;
    ok(becomes(sub { $session->get('SELECT count(*) FROM kms.blob') > $before }), 'a put has begun');
    $run->{id} = $session->get('SELECT id FROM kms.blob ORDER BY created DESC LIMIT 1');
    return $run;
}

# As begun by nohup, or in the background of a script.
foreach my $signal ('HUP', 'INT') {
    local $SIG{$signal} = 'IGNORE';
    my $run = begin_put('beginning, ' x 1_000_000);
    $run->{run}->signal($signal);
    print { $run->{in} } 'end';
    my $ended = end_of($run);
    is("$ended->{code} $ended->{signal} $ended->{err}", '0 0 ', "SIG$signal is ignored where it was");
    is(size_of($run->{id}), 11_000_003, '... and all of it is stored');
    blob('rm', $run->{id});
}

sub end_of {
    my ($run) = @_;
    close $run->{in};
    $run->{run}->finish;
    return ended(@$run{qw(out err)});
}

sub size_of { return $session->get("SELECT size FROM kms.blob_meta('$_[0]')") }

my $long = some_bytes(4 * $piece + 100);
my $long_file = file($long);
foreach my $signal ('INT', 'TERM') {
    my $stored = $first + $piece;
    my $run = begin_put(substr $long, 0, $stored + 5);
    ok(becomes(sub { size_of($run->{id}) == $stored }), '... two pieces of it are stored');
    $run->{run}->signal($signal);
    my $ended = end_of($run);
    is($ended->{signal}, $signal eq 'INT' ? 2 : 15, "SIG$signal ends it");
    is($ended->{err}, "kms-blob: interrupted\nkms-blob: the beginning is stored; to go on:\n    kms-blob put --resume $run->{id} $run->{fifo}\n",
        '... and it says how to go on');
    is($ended->{out}, '', '... prints no id as if all were there');
    refused(1, qr/it is not complete/, 'get', $run->{id});
    like(succeeds('ls'), qr/^$run->{id}  .* incomplete /m, '... ls shows it');
    like(succeeds('verify', $run->{id}), qr/, incomplete$/, '... and so does verify');

    refused(4, qr/does not begin with the $stored bytes that are stored/, 'put', '--resume', $run->{id}, file('x' . substr $long, 1));
    refused(4, qr/has 100 bytes, of the blob $stored are stored/, 'put', '--resume', $run->{id}, file(substr $long, 0, 100));
    is(size_of($run->{id}), $stored, '... neither changes it');
    utime 1700000000, 1500000000, $long_file or die $!;
    is(put('--resume', $run->{id}, $signal eq 'INT' ? $long_file : ('-', \$long)), $run->{id}, 'it is taken up again');
    same_bytes(succeeds('get', $run->{id}), $long, '... to the end');
    is(meta($run->{id})->{last_modified}, '2017-07-14T02:40:00+00:00', '... with the time of the file') if $signal eq 'INT';
    is(put('--resume', $run->{id}, $long_file), $run->{id}, '... and again, when there is nothing left to do');
    refused(4, qr/is complete, and .* goes on behind its @{[ length $long ]} bytes/, 'put', '--resume', $run->{id}, file("${long}x"));
    refused(4, qr/has 5 bytes/, 'put', '--resume', $run->{id}, file('short'));
}
refused(3, qr/there is no blob/, 'put', '--resume', '00000000-0000-0000-0000-000000000000', $long_file);
refused(2, qr/excludes/, 'put', '--resume', $id, '--name', 'x', $long_file);

# What it says is what brings the rest, with the options that it takes; a password is not among them.
foreach my $case ([ '-d postgres', '-d', 'postgres' ], [ '-h ' . $node->host . ' -p ' . $node->port . q{ --local-id 7 --key a}, '-h', $node->host, '-p', $node->port, '--local-id', 7, '--key', 'a' ],
    [ '-d CONNECTION-STRING', '-d', 'dbname=postgres password=secret' ]) {
    my ($said, @options) = @$case;
    my $run = begin_put(substr($long, 0, $first + 5), @options);
    $run->{run}->signal('TERM');
    my $ended = end_of($run);
    like($ended->{err}, qr/^    kms-blob put --resume $run->{id} \Q$said $run->{fifo}\E$/m, "how to go on: $said");
    is(put('--resume', $run->{id}, @options, $long_file), $run->{id}, '... which does');
}

# Before anything is committed nothing is left behind.
{
    my $before = $session->get('SELECT count(*) FROM kms.blob');
    my $fifo = "$folder/fifo" . ++$count;
    mkfifo($fifo, 0600) or die $!;
    my $run = { out => '', err => '' };
    $run->{run} = IPC::Run::start([ $program, 'put', $fifo ], '<', \'', '>', \$run->{out}, '2>', \$run->{err});
    open $run->{in}, '>:raw', $fifo or die $!;
    $run->{in}->autoflush(1);
    print { $run->{in} } 'not much';
    ok(becomes(sub { $session->get("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kms-blob'") }), 'a put has connected');
    sleep 0.3;
    $run->{run}->signal('INT');
    is(end_of($run)->{err}, "kms-blob: interrupted\n", 'interrupted before its first piece');
    is($session->get('SELECT count(*) FROM kms.blob'), $before, '... it leaves nothing');
}

# Somebody else writes to it.
{
    my $run = begin_put(substr $long, 0, $first + 5);
    $session->get("SELECT kms.blob_append('$run->{id}', 'x')");
    print { $run->{in} } substr $long, $first + 5;
    my $ended = end_of($run);
    is($ended->{code}, 4, 'another writer is noticed');
    like($ended->{err}, qr/^kms-blob: blob $run->{id} has another version than 1\nDETAIL:  Its version is 2\.\n/, '... which the server tells');
    is(size_of($run->{id}), $first + 1, '... and nothing is appended behind theirs');
    refused(4, qr/does not begin/, 'put', '--resume', $run->{id}, $long_file);
    is(blob('rm', $run->{id})->{code}, 0, '... and it can be removed');
}

# Its session is ended.
{
    my $run = begin_put(substr $long, 0, $first + 5);
    $session->get("SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE application_name = 'kms-blob'");
    print { $run->{in} } substr $long, $first + 5;
    my $ended = end_of($run);
    is($ended->{code}, 1, 'a connection that is lost');
    like($ended->{err}, qr/\Akms-blob: FATAL:  terminating connection due to administrator command\n(?:.*\n)*kms-blob: the beginning is stored; to go on:/, '... and what to do');
    is(put('--resume', $run->{id}, $long_file), $run->{id}, '... which works');
    same_bytes(succeeds('cat', $run->{id}), $long, '... to the end');
}

# --- progress

SKIP: {
    skip 'no script(1)', 2 unless -x '/usr/bin/script';
    my @tail = ("cat '$long_file'; sleep 0.5; cat '$long_file'", "'$program'", '-');
    my ($seen, $quiet) = map {
        IPC::Run::run([ '/usr/bin/script', '-qec', "sh -c \"($tail[0]) | $tail[1] put $_ -\"", '/dev/null' ], '<', \'', '>', \my $text);
        $text;
    } '', '--quiet';
    like($seen, qr{\r\d+\.\d MiB  \d+\.\d MiB/s\e\[K.*\r\e\[K$id_form}s, 'progress is shown on a terminal, and removed');
    like($quiet, qr/\A$id_form\r?\n\z/, '... but not with --quiet');
}

# --- memory

my $watch = 'import resource, subprocess, sys; '
  . 'code = subprocess.run(sys.argv[2:], stdout=open(sys.argv[1], "wb")).returncode; '
  . 'print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)';
my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');

# Of the program, not of the test's own session.
sub is_backend {
    my ($pid) = @_;
    return $pid != $session->pid && slurp_if_there("/proc/$pid/cmdline") =~ /\[local\]/;
}

# Runs the program; its exit code, its peak and the largest that a backend's own memory was, in MiB.
sub watched {
    my ($into, @words) = @_;
    my $said = '';
    my $run = IPC::Run::start([ '/usr/bin/python3', '-c', $watch, $into, $program, @words ], '<', \'', '>', \$said);
    my %peak;
    while ($run->pumpable) {
        $run->pump_nb;
        foreach my $pid (grep { is_backend($_) } children_of($postmaster)) {
            my ($now) = (process_status($pid)->{RssAnon} // '') =~ /(\d+)/;
            $peak{$pid} = $now if defined $now && $now > ($peak{$pid} // 0);
        }
        sleep 0.01;
    }
    $run->finish;
    my ($code, $own) = split ' ', $said;
    my ($largest) = sort { $b <=> $a } values %peak;
    note "@words: $own kB, its backend $largest kB";
    return ($code, $own / 1024, $largest / 1024);
}

my $size = $ENV{KMS_BLOB_MIB} // 300;    # in make soak more
my $large = file('');
{
    open my $file, '>>:raw', $large or die $!;
    my $block = some_bytes($mib);
    print $file pack('N', $_), substr $block, 4 foreach 1 .. $size;
    close $file or die $!;
}

# One that is killed half-way says nothing, and is taken up again.
{
    my $run = IPC::Run::start([ $program, 'put', '--name', 'killed', $large ], '<', \'', '>', \my $out, '2>', \my $err);
    my $half = $size / 2 * $mib;
    ok(becomes(sub { $session->get("SELECT id FROM kms.blob_list('killed') WHERE size >= $half") }, 600), 'half of a put is stored');
    $run->signal('KILL');
    $run->finish;
    my $killed = $session->get("SELECT id FROM kms.blob_list('killed') WHERE NOT complete");
    my ($code, $own, $backend) = watched("$folder/id", 'put', '--resume', $killed, $large);
    is($code, 0, 'the rest follows');
    takes_less($own, 64, '... in less than 64 MiB');
    takes_less($backend, 64, '... and so did the backend');
    my ($sum) = `sha256sum '$large'` =~ /(\w+)/;
    is($session->get("SELECT complete, encode(sha256, 'hex') FROM kms.blob_verify('$killed')"), "t|$sum", '... and all of it is there');
    succeeds('rm', $killed);
    $session->get('VACUUM kms.blob_chunk');    # its room is the next one's
}

my ($put_code, $put_own, $put_backend) = watched("$folder/id", 'put', $large);
is($put_code, 0, "a put of $size MiB");
chomp(my $large_id = slurp_file("$folder/id"));
foreach my $words ([ 'get', $large_id ], [ 'get', $large_id, '-o', "$folder/large" ], [ 'put', '--resume', $large_id, $large ], [ 'verify', $large_id ]) {
    my ($code, $own, $backend) = watched("$folder/watched", @$words);
    is($code, 0, "$words->[0] of $size MiB");
    takes_less($own, 64, '... in less than 64 MiB');
    takes_less($backend, 64, '... and so did the backend');
}
takes_less($put_own, 64, 'the put took less than 64 MiB');
takes_less($put_backend, 64, '... and so did its backend');
is(system('cmp', '-s', $large, "$folder/large"), 0, 'all of it came back');

# --- a get that does not come to its end

{
    my ($err, $run) = ('');
    $run = IPC::Run::start([ $program, 'get', $large_id, '-o', "$folder/cut" ], '<', \'', '2>', \$err);
    ok(becomes(sub { my ($part) = glob "$folder/cut.*.part"; defined $part && -s $part }), 'a get has begun');
    $run->signal('TERM');
    $run->finish;
    is(($? & 127) . " $err", "15 kms-blob: interrupted\n", 'SIGTERM ends it');
    is(join(' ', glob "$folder/cut*"), '', '... and no part of the file is left');
}

# Its reader goes.
foreach my $ignored (0, 1) {
    my $command = "'$program' cat $large_id; echo \$? >&2";
    IPC::Run::run([ 'bash', '-c', "($command) | head -c 10 >/dev/null" ], '<', \'', '2>', \my $err,
        init => sub { $SIG{PIPE} = $ignored ? 'IGNORE' : 'DEFAULT' });
    like($err, $ignored ? qr/\Akms-blob: cannot write to the standard output: Broken pipe\n1\n\z/ : qr/141\n\z/, $ignored ? 'EPIPE' : 'SIGPIPE');
}

# --- what is damaged

$session->get(<<"SQL");
UPDATE kms.blob_chunk SET data = set_byte(data, 2000, get_byte(data, 2000) # 1)
WHERE (blob_id, segment, chunk) = (SELECT blob_id, segment, chunk FROM kms.blob_chunk WHERE blob_id = '$id' ORDER BY segment DESC, chunk DESC LIMIT 1)
SQL
my $cut = blob('get', $id);
is($cut->{code}, 5, 'a chunk that is damaged');
like($cut->{err}, qr/\Akms-blob: could not read blob $id: tampered with/, '... is named');
is(substr($bytes, 0, length $cut->{out}), $cut->{out}, '... and what came before is authentic');
refused(5, qr/tampered with/, 'get', $id, '-o', "$folder/damaged");
ok(!-e "$folder/damaged", '... no file appears');
refused(5, qr/tampered with/, 'verify', $id);
same_bytes(succeeds('get', '--range', '0-99999', $id), substr($bytes, 0, 100000), 'other parts can be read');
my $two = blob('verify', $id, $described, '00000000-0000-0000-0000-000000000000');
is($two->{code}, 5, 'verify of many: the first failure decides');
like($two->{out}, qr/\A$described: authentic, 4 bytes/, '... the others are verified');
like($two->{err}, qr/tampered.*there is no blob/s, '... and each failure is told');

# --- keys

refused(5, qr/could not .* blob/, 'get', '--key', 'b', $described);
refused(5, qr/not found/, 'put', '--key', 'none', '-', \'text');
refused(5, qr/no key is bound to local id 7/, 'put', '--local-id', '7', '-', \'text');
my $other = put('--local-id', '7', '--key', 'b', '-', \'text');
refused(5, qr/could not .* blob/, 'get', $other);
is(succeeds('get', $other, '--key', 'b'), 'text', '--key binds it');
unlike(succeeds('ls'), qr/$other/, '... and ls has what the session has keys for');

$session->get("SELECT kms.rotate_key('a')");
my $blobs = $session->get('SELECT count(*) FROM kms.blob WHERE id <> ' . sql_quote($other));
is(succeeds('rewrap'), "rewrapped: $blobs\n", 'rewrap');
is(succeeds('rewrap', '--json'), "{\"rewrapped\":0}\n", '... once');
is(succeeds('get', $described), 'text', '... and all is there');

# --- rm

refused(3, qr/\Akms-blob: there is no blob 00000000-0000-0000-0000-000000000000\n\z/, 'rm', '00000000-0000-0000-0000-000000000000', $described);
refused(3, qr/there is no blob $described/, 'info', $described);
is(succeeds('rm', '--json', $plain_id), "{\"id\":\"$plain_id\",\"deleted\":true}\n", 'rm --json');
refused(1, qr/invalid input syntax for type uuid: "nonsense"/, $_, 'nonsense') foreach qw(get info rm verify);

# --- the command line and the connection

refused(2, $_->[0], @{ $_->[1] }) foreach
  [ qr/subcommand is required/, [] ],
  [ qr/file is required/, ['put'] ],
  [ qr/id is required/, ['get'] ],
  [ qr/At most 1 required/i, [ 'get', $id, $id ] ],
  [ qr/--output.*required/, [ 'get', '--json', $id ] ],
  [ qr/local-id/, [ 'ls', '--local-id', '0' ] ],
  [ qr/local-id: 010 is no number from 1 to 65535/, [ 'ls', '--local-id', '010' ] ],
  [ qr/local-id/, [ 'ls', '--local-id', '0x1' ] ],
  [ qr/excludes/, [ 'ls', '-w', '-W' ] ];
refused(1, qr/cannot open .*No such file/, 'put', "$folder/none");
refused(1, qr/is a directory/, 'put', $folder);
refused(1, qr/\Akms-blob: connection to server .* failed: No such file or directory\n    Is the server running/, 'ls', '-h', "$folder");
refused(1, qr/database "none" does not exist/, 'ls', '-d', 'none');
refused(1, qr/role "nobody_here" does not exist/, 'ls', '-U', 'nobody_here');
like(succeeds('--help'), qr/Exit codes:/, '--help');
like(succeeds('--version'), qr/\Akms-blob \d/, '--version');
{
    local %ENV = %ENV;
    delete @ENV{qw(PGHOST PGPORT PGDATABASE)};
    my ($host, $port) = ($node->host, $node->port);
    my $mine = put('-h', $host, '-p', $port, '-d', 'postgres', '-', \'mine');
    is(succeeds('-d', "host=$host port=$port dbname=postgres", 'get', $mine), 'mine', 'a connection string');
    is(succeeds('get', $mine, '-d', "postgresql:///postgres?host=$host&port=$port"), 'mine', 'a URI');
}
# What may not be done in the end is not begun.
$session->get('CREATE ROLE uploader LOGIN; GRANT USAGE ON SCHEMA kms TO uploader; GRANT EXECUTE ON FUNCTION kms.blob_put, kms.blob_append, kms.blob_verify, kms.set_key(int, text, bool) TO uploader');
my $stored_blobs = $session->get('SELECT count(*) FROM kms.blob');
refused(1, qr/permission denied for functions of kms: blob_set_meta; let its owner SELECT kms\.grant_role\('uploader', 'blob_user'\)/, 'put', '-U', 'uploader', '-', \'x');
refused(1, qr/permission denied for functions of kms: blob_meta, blob_set_meta;/, 'put', '-U', 'uploader', '--resume', $large_id, '-', \'x');
is($session->get('SELECT count(*) FROM kms.blob'), $stored_blobs, '... and nothing is stored');
$session->get(q{SELECT kms.grant_role('uploader', 'blob_user')});
like(succeeds('put', '-U', 'uploader', '-', \'theirs'), qr/^[0-9a-f-]{36}$/, 'a blob_user puts');
$session->get("CREATE ROLE reader LOGIN PASSWORD 'secret'; GRANT USAGE ON SCHEMA kms TO reader; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kms TO reader");
append_to_file($node->data_dir . '/pg_hba.conf', slurp_file($node->data_dir . '/pg_hba.conf'));
write_text($node->data_dir . '/pg_hba.conf', "local all reader scram-sha-256\nlocal all all trust\n");
$node->reload;
refused(1, qr/no password supplied/, 'ls', '-U', 'reader', '-w');
{
    local $ENV{PGPASSWORD} = 'secret';
    like(succeeds('ls', '-U', 'reader', '-w'), qr/^ID /, 'a password from the environment');
    refused(1, qr/password authentication failed/, 'ls', '-d', 'user=reader password=wrong', '-w');
}

# --- the server goes

my $run = begin_put(substr $long, 0, $first + 5);
my $fifo = "$folder/reading";
mkfifo($fifo, 0600) or die $!;
my $read_err = '';
my $reading = IPC::Run::start([ 'bash', '-c', "exec '$program' cat $large_id >'$fifo'" ], '<', \'', '2>', \$read_err);
open my $reader, '<:raw', $fifo or die $!;
read $reader, my $begun, 100000;
$session->quit;
$node->stop('immediate');
my $rest = do { local $/; <$reader> };
$reading->finish;
is($? >> 8, 1, 'a get whose server goes');
cmp_ok(length($begun) + length $rest, '<', $size * $mib, '... is cut short');
like($read_err, qr/\Akms-blob: .*(?:server|connection)/, '... and says so');
print { $run->{in} } substr $long, $first + 5;
my $ended = end_of($run);
is($ended->{code}, 1, 'a put whose server goes');
like($ended->{err}, qr/put --resume $run->{id} /, '... can be taken up again');
$node->start;
$session = kms_session($node);
is(put('--resume', $run->{id}, $long_file), $run->{id}, '... when it is back');
same_bytes(succeeds('cat', $run->{id}), $long, '... to the end');

$session->quit;
$node->stop;
no_crash($node);
done_testing();
