# Key agents that break the protocol or answer with errors: each fault has its SQLSTATE, the
# session lives, and a right agent serves it next.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir;
my $stage = stage_agent($folder);
my $node = kms_node('faulty_agent', 'kms.command' => $stage);
my $session = kms_session($node);

sub escaped { return $_[0] =~ s/([^A-Za-z0-9._\/:@-])/sprintf '%%%02X', ord $1/ger }

sub use_key {
    my ($identifier) = @_;
    $session->get("SET kms.keys = '1=" . escaped($identifier) . ", 2=plain'");
    return;
}

# A right key serves, in the mode that is set.
sub serves {
    my ($name) = @_;
    my $answer = $session->ask("SELECT kms.decode_text(2, kms.encode(2, 'right'))");
    is($answer->{out}, 'right', "then right: $name") or diag $answer->{err};
    return;
}

# The agent answers a request with these bytes; a command of its own, so that no back-off is waited
# for. $sql names the key by :key, or by local id 1.
my $count = 0;

sub told {
    my ($bytes, $state, $name, $sql, $act) = @_;
    $act //= 'tell';
    write_text("$folder/answer", $bytes);
    $session->get("SET kms.command = '$stage " . ++$count . "'");
    use_key("$act.answer");
    $sql //= "SELECT kms.encode(1, 'x')";
    $sql =~ s/:key/'$act.answer'/;
    my $answer = fails_with($session, $sql, $state, $name);
    serves($name);
    return $answer;
}

my $key = 'k' x 32;

# --- what is no reply, in local mode

told("ok $_->[0]", 'KM009', "a reply that $_->[1]") for (
    [ "99 32\n$key", 'bears another id' ],
    [ "0 32\n$key", 'bears an older id' ],
    [ "0{id} 32\n$key", 'has an id with a zero in front' ],
    [ "+{id} 32\n$key", 'has an id with a sign' ],
    [ "9223372036854775808 32\n$key", 'has an id of more than 63 bits' ],
    [ "{id} 032\n$key", 'has a length with a zero in front' ],
    [ "{id} -1\n", 'has a negative length' ],
    [ "{id} 0x20\n$key", 'has a length in hex' ],
    [ "{id}\n", 'has no length' ],
    [ "{id} 1073741825\n", 'promises more than 1 GiB' ],
    [ "{id} 18446744073709551616\n", 'has a length of 65 bits' ],
    [ "{id} 1000000000\n", 'promises far more than a key has' ],
    [ "{id}  32\n$key", 'has two spaces' ],
    [ "{id} 32 \n$key", 'has a space at its end' ],
    [ "{id}\t32\n$key", 'has a tab' ],
    [ "{id} 32\r\n$key", 'has a carriage return' ],
    [ "{id} 32 1%2f\n$key", 'has an escape in lower case' ],
    [ "{id} 32 %31\n$key", 'has an escape that need not be' ],
    [ "{id} 32 1%\n$key", 'has half an escape' ],
    [ "{id} 32 1 \x80\n$key", 'has a byte that must be escaped' ],
    [ "{id} 32 1 \0\n$key", 'has a zero byte' ],
    [ '{id} 32 1 ' . 'a' x 1025 . "\n$key", 'has a word that is too long' ],
    [ '{id} 32' . ' 1' x 2100 . "\n$key", 'has a line that is too long' ],
    [ '{id} 32' . ' 1' x 4000, 'has no end of its line' ],
    [ "{id} 32\n${key}ok {id} 32\n$key", 'is told twice' ],
    [ "{id} 32\n${key}more", 'is followed by more' ],
    [ "{id} 32\n$key\n", 'is followed by a newline' ],
);
told($_->[0], 'KM009', $_->[1]) for (
    [ "OK {id} 32\n$key", 'a reply in capitals' ],
    [ "get {id} 32\n$key", 'a reply with a verb' ],
    [ "\n", 'an empty line' ],
    [ "HTTP/1.1 200 OK\r\n\r\n", 'another protocol' ],
    [ "\x7fELF" . "\0" x 100 . "\n", 'noise' ],
    [ "error {id} 4 nobody-knows\nwhat", 'an error of an unknown code' ],
    [ "error {id} 4\nwhat", 'an error without a code' ],
    [ "error {id} 4097 failed\n" . 'e' x 4097, 'an error of more than 4 KiB' ],
);

# --- replies that say something wrong

told("ok {id} $_->[0]", $_->[2], $_->[1]) for (
    [ "32 0\n$key", 'a version 0', 'KM009' ],
    [ "32 one\n$key", 'a version in letters', 'KM009' ],
    [ "32 4294967296\n$key", 'a version of 33 bits', 'KM009' ],
    [ "32 1 aes-128-gcm\n$key", 'a key too long for its algorithm', 'KM009' ],
    [ "32 1 aes-256-siv\n$key", 'a key too short for its algorithm', 'KM009' ],
    [ "32 1 rot13\n$key", 'an algorithm that nobody knows', 'KM010' ],
    [ "32 1 xaes-256-gcm 0123456789abcdef\n$key", 'a tag that differs', 'KM009' ],
    [ "32 1 xaes-256-gcm 0123456789ABCDEF\n$key", 'a tag in capitals', 'KM009' ],
    [ "32 1 xaes-256-gcm 0123\n$key", 'a tag that is cut', 'KM009' ],
    [ "65\n" . 'k' x 65, 'a key of 65 bytes', 'KM009' ],
);
for my $length (0, 1, 15, 17, 31, 33, 63) {
    use_key("short.$length");
    $session->get("SET kms.command = '$stage " . ++$count . "'");
    fails_with($session, "SELECT kms.encode(1, 'x')", 'KM009', "a key of $length bytes");
}
serves('after keys of the wrong length');

# --- replies that do not come to their end

my $cut = told("ok {id} 32\n1234", 'KM007', 'a reply cut by the end of the agent', undef, 'tell-and-leave');
like($cut->{detail}, qr/exited with status 0/, 'the reason is told');
$session->get("SET kms.request_timeout = '300ms'");
fails_with($session, do { use_key('tell.answer'); "SELECT kms.encode(1, 'x')" }, 'KM008', 'a reply cut, and silence');
$session->get("RESET kms.request_timeout; SET kms.command = '$stage " . ++$count . "'");
serves('after a cut reply');

# --- the other verbs

$session->get('SET kms.mode = remote');
told("ok {id} 4105\n" . 'c' x 4105, 'KM009', 'encrypt: more than twice the data and 4 KiB',
    "SELECT kms.encode(1, '1234')");
my $siv = "\x02the  tag1234" . '.' x 16;    # as AES-SIV seals four bytes
told("ok {id} 29 1\n$siv", '', 'encrypt: what has the looks of a sealed value', "SELECT kms.encode(1, '1234')");
told("ok {id} 29 $_->[0]\n$siv", 'KM009', "encrypt: $_->[1]", "SELECT kms.encode(1, '1234')")
    for [ '0', 'a version 0' ], [ '1 tag', 'no tag' ];
told("ok {id} 29\n${siv}more", 'KM009', 'encrypt: followed by more', $_)
    for "SELECT kms.encode(1, '1234')", "SELECT kms.encode_array(1, ARRAY[NULL, '1234'])",
    "SELECT kms.encode_batch(1, '1234') OVER ()";

# What is stored in the plaintext's place may be all that is left of it.
my $once = $session->get("SELECT kms.encode(2, '1234')");
for my $case (
    [ '', 'nothing' ],
    [ '1234', 'the plaintext' ],
    [ "\x04" . substr($siv, 1), 'an unknown suite' ],
    [ substr($siv, 0, 28), 'a value that is cut' ],
    [ "$siv.", 'a longer value than the plaintext makes' ],
    [ substr($siv, 0, 24), 'less than the least there is' ],
    )
{
    my $bytes = 'ok {id} ' . length($case->[0]) . "\n$case->[0]";
    told($bytes, 'KM009', "encrypt: $case->[1], to $_->[0]", $_->[1]) for (
        [ 'encode', "SELECT kms.encode(1, '1234')" ],
        [ 'encode_with', "SELECT kms.encode_with(:key, '1234'::text)" ],
        [ 'an array', "SELECT kms.encode_array(1, ARRAY[NULL, '1234'])" ],
        [ 'a window', "SELECT kms.encode_batch(1, '1234') OVER ()" ],
        [ 'recode', "SELECT kms.recode(2, 1, '$once')" ],
    );
}
told("ok {id} 5\nabcde", 'KM009', 'decrypt: more than was sent', "SELECT kms.decode(1, '\\x01020304')");
my $most_wrapped = 2 * length("kms/1 secret\0" . '1234') + 4096;
told("ok {id} $_->[0]", $_->[2], "wrap: $_->[1]", "SELECT kms.wrap(:key, '1234')") for (
    [ "$most_wrapped\n" . 'w' x $most_wrapped, 'twice the data and 4 KiB', '' ],
    [ $most_wrapped + 1 . "\n" . 'w' x ($most_wrapped + 1), 'more than that', 'KM009' ],
    [ "0\n", 'nothing', 'KM009' ],
    [ "3 0\nabc", 'a version 0', 'KM009' ],
    [ "3 1.5\nabc", 'a version that is no number', 'KM009' ],
    [ "3\nabcmore", 'followed by more', 'KM009' ],
);
told("ok {id} $_->[0]", $_->[2], "unwrap: $_->[1]", "SELECT kms.unwrap(:key, '\\x01020304')") for (
    [ "4 7 later words\nabcd", 'as much as was sent', '' ],
    [ "0\n", 'an empty secret', '' ],
    [ "5\nabcde", 'more than was sent', 'KM009' ],
    [ "3 0\nabc", 'a version 0', 'KM009' ],
    [ "3 2147483648\nabc", 'a version of 32 bits', 'KM009' ],
);
told("ok {id} 0 1 xaes-256-gcm\n", 'KM009', 'create: no tag', 'SELECT kms.create_key(:key)');
told("ok {id} 0\n", 'KM009', 'rotate: no version', 'SELECT kms.rotate_key(:key)');
told("ok {id} 0 0 xaes-256-gcm 0123456789abcdef\n", 'KM009', 'rotate: a version 0', 'SELECT kms.rotate_key(:key)');
my $row = 'a 1 xaes-256-gcm 0123456789abcdef enabled 2024-01-31T10:00:00Z';
my $bad_list = sub {
    my ($lines, $name) = @_;
    told('ok {id} ' . length($lines) . " 1\n$lines", 'KM009', "list: $name", 'SELECT kms.list_keys(:key)');
};
$bad_list->("$row\n$row\n", 'two keys for one');
$bad_list->($row, 'a line without an end');
$bad_list->($row =~ s/enabled/asleep/r . "\n", 'an unknown state');
$bad_list->($row =~ s/2024-01-31/2024-02-31/r . "\n", 'a day that is none');
$bad_list->($row =~ s/^a/a%2f/r . "\n", 'an identifier spelled otherwise');
$bad_list->("a 1\n", 'half a line');
told("ok {id} 16777217 1\n", 'KM009', 'list: more than 16 MiB', 'SELECT kms.list_keys(:key)');
told('ok {id} ' . length("$row\n") . " 1 and words to come\n$row\n", '', 'list: words behind those that are defined',
    'SELECT kms.list_keys(:key)');
my $odd = $row =~ s/xaes-256-gcm/a%C3%00b/r;
my $listed = told('ok {id} ' . length("$odd\n") . " 1\n$odd\n", '', 'list: an algorithm whose name is no text',
    'SELECT algorithm FROM kms.list_keys(:key)');
is($listed->{out}, 'a%C3%00b', '... is shown as one');

# --- the handshake

for my $mode ('local', 'remote') {
    $session->get("SET kms.mode = $mode");
    for my $case (
        [ "ok 0 0 kms/2 get\n", 'KM009', 'another version of the protocol' ],
        [ "ok 0 0\n", 'KM009', 'no version of the protocol' ],
        [ "ok 1 0 kms/1 get\n", 'KM009', 'another id than 0' ],
        [ "ok 0 4 kms/1 get\nwhat", 'KM009', 'a body of no lines' ],
        [ "ok 0 11 kms/1 get\nmax-body=a\n", 'KM009', 'a max-body that is no number' ],
        [ "ok 0 16 kms/1 get\nmax-in-flight=0\n", 'KM009', 'no request in flight' ],
        [ "ok 0 70000 kms/1 get\n" . 'a' x 70000, 'KM009', 'more than 64 KiB' ],
        [ "ok 0 0 kms/1 get\nok 1 0\n", 'KM009', 'an answer before its request' ],
        [ "error 0 3 unsupported\nold", 'KM010', 'unsupported' ],
        [ "error 0 2 denied\nno", 'KM003', 'denied' ],
        [ "error 0 4 unavailable\nlate", 'KM007', 'unavailable' ],
        [ "ok 0 0 kms/1 ping\n", 'KM010', 'neither get nor encrypt' ],
        )
    {
        write_text("$folder/greeting", $case->[0]);
        $session->get("SET kms.command = '$stage greet.greeting " . ++$count . "'");
        fails_with($session, "SELECT kms.encode(2, 'x')", $case->[1], "handshake: $case->[2]");
    }
    $session->get("SET kms.command = '$stage'");
    serves("handshakes in $mode mode");
}

# --- the agent's errors

my %states = (
    unsupported => 'KM010', invalid => '22023', 'not-found' => 'KM002', denied => 'KM003', disabled => 'KM011',
    'wrong-key' => 'KM004', corrupt => 'KM005', unavailable => 'KM007', failed => 'KM007',
);
# A key that cannot be had says nothing of a value.
my %about_key = (corrupt => 'XX001', 'wrong-key' => 'KM002');
for my $mode ('local', 'remote') {
    $session->get("SET kms.mode = $mode");
    serves("before errors in $mode mode");
    my $agent = agent_pid($session);
    my $sealed = $session->get("SELECT kms.encode(2, 'x')");
    my %states = (%states, $mode eq 'local' ? %about_key : ());
    for my $code (sort keys %states) {
        use_key("fail.$code.reason");
        my $answer = fails_with($session, "SELECT kms.encode(1, 'x')", $states{$code}, "$mode encode: $code");
        my $named = qr/^could not encode with local id 1 \(key "fail\.$code\.reason"\): /;
        like($answer->{message}, $named, 'the message names both');
        is($answer->{detail}, 'reason', "the agent's text is the detail");
        my $decoded = $mode eq 'remote' && $code eq 'invalid' ? 'KM006' : $states{$code};
        fails_with($session, "SELECT kms.decode(1, '$sealed')", $decoded, "$mode decode: $code");
        my $tried = $session->ask("SELECT kms.try_decode(1, '$sealed') IS NULL");
        my $expected = $decoded =~ /KM00[456]/ ? '' : $decoded;
        is($tried->{state}, $expected, "$mode try_decode: $code");
    }
    is(agent_pid($session), $agent, "no error costs the agent in $mode mode");
    serves("errors in $mode mode");
}

for my $code (sort keys %states) {
    my $kek = "fail.$code.reason";
    my $answer = fails_with($session, "SELECT kms.wrap('$kek', 'x')", $states{$code}, "wrap: $code");
    is($answer->{detail}, 'reason', "the agent's text is the detail");
    my $unwrapped = $code eq 'invalid' ? 'KM006' : $states{$code};
    $answer = fails_with($session, "SELECT kms.unwrap('$kek', 'x')", $unwrapped, "unwrap: $code");
    like($answer->{message}, qr/"\Q$kek\E"/, 'the message names the key');
}
my $wrapped = $session->get("SELECT kms.wrap('plain', 'a secret', 'ctx')");
fails_with($session, "SELECT kms.unwrap('plain', '$wrapped')", 'KM005', 'a secret under another context');
is($session->get("SELECT convert_from(kms.unwrap('plain', '$wrapped', 'ctx'), 'UTF8')"), 'a secret', 'under the right one');

# --- its texts

use_key("fail.failed.a\nb\0c\e[31md\x7f\xc3\xa9");
my $strange = fails_with($session, "SELECT kms.encode(1, 'x')", 'KM007', 'a text with control characters');
is($strange->{detail}, 'a?b?c?[31md???', 'is printable in SQL');
unlike($strange->{err}, qr/[^\n\x20-\x7e]/, 'and so is the whole report');
is($session->get('SELECT last_error FROM kms.status()'), 'a?b?c?[31md???', 'and status()');
use_key('fail.failed.' . 'long ' x 100);
my $long = fails_with($session, "SELECT kms.encode(1, 'x')", 'KM007', 'a text of 500 bytes');
is($long->{detail}, substr('long ' x 100, 0, 256), 'is cut to 256');
told("error {id} 4096 failed\n" . 'e' x 4096, 'KM007', 'a text of 4 KiB is read');

write_text("$folder/greeting", "ok 0 " . length("agent=%1B[31m\n") . " kms/1 encrypt %1B\nagent=%1B[31m\n");
$session->get("SET kms.command = '$stage greet.greeting'; SELECT kms.encode(2, 'x')");
is($session->get('SELECT agent, capabilities FROM kms.status()'), '?[31m|{encrypt,%1B}', "the agent's name is printable");

unlike(new_log($node), qr/[^\t\n\x20-\x7e]/, 'and so is the log');
$session->quit;
$node->stop;
no_crash($node);
done_testing();
