# Others agree with the extension: a decoder and sealer in Python, the example agents. And no two
# processes agree on a nonce.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use Test::More;

sub random_bytes { return join '', map { chr int rand 256 } 1 .. $_[0] }

my %key_length = (
    'xaes-256-gcm' => 32, 'aes-256-siv' => 64, 'aes-128-gcm' => 16, 'aes-192-gcm' => 24, 'aes-256-gcm' => 32,
);
my %data_key = map { $_ => random_bytes($key_length{$_}) } sort keys %key_length;
my $decoder = "$FindBin::RealBin/../sealed.py";

my $keys = test_folder('keys');
my $raw = test_folder('raw');
my $command = make_keyring($keys);
foreach my $algorithm (sort keys %data_key) {
    write_text("$raw/$algorithm", $data_key{$algorithm});
    chmod 0600, "$raw/$algorithm" or die $!;
    kms_admin($keys, 'create', '--algorithm', $algorithm, '--raw', '--import', "$raw/$algorithm", $algorithm);
    write_text("$raw/kek-$algorithm", random_bytes($key_length{$algorithm}));
    chmod 0600, "$raw/kek-$algorithm" or die $!;
    kms_admin($keys, 'create', '--algorithm', $algorithm, '--purpose', 'wrap', '--raw', '--import', "$raw/kek-$algorithm",
        "kek-$algorithm");
}
my $node = kms_node('agreement', 'kms.command' => $command, shared_preload_libraries => 'kms', max_connections => 80);

# --- search terms are Python's

write_text("$raw/index", random_bytes(32));
chmod 0600, "$raw/index" or die $!;
kms_admin($keys, 'create', '--algorithm', 'hmac-sha-256', '--raw', '--import', "$raw/index", 'index');
foreach my $mode ('local', 'remote') {
    my $session = keys_session($node, { 'kms.mode' => $mode, 'kms.keys' => '1=index' });
    foreach my $bits (1, 7, 8, 64, 100, 256) {
        foreach my $context ('', 'c3a9', 'ab' x 300) {
            my @terms = ('', '00', '616263', 'cd' x 64, unpack('H*', random_bytes(1000)));
            my $values = join ', ', map { "('\\x$_'::bytea)" } @terms;
            my ($code, $theirs) = run_python((join '', map { "$_\n" } @terms), $decoder, 'term', '--key', "$raw/index", '--bits', $bits, '--context', $context);
            my $made = $session->get("SELECT encode(kms.blind_index(1, x, $bits, '\\x$context'), 'hex') FROM (VALUES $values) v(x)");
            is("$made\n", $code == 0 ? $theirs : '', "$mode: $bits bits, context of " . length($context) / 2 . ' bytes');
        }
    }
    $session->quit;
}

# --- values from SQL open in Python, and the other way round

my @plaintexts = ('', '00', '616263', unpack('H*', "na\xc3\xafve \xe2\x82\xac"), 'ab' x 15, 'ab' x 16, 'ab' x 17,
    'cd' x 64, unpack('H*', random_bytes(1000)), '5a' x 100_000);
my @contexts = ('', unpack('H*', 'person.ssn 7'), unpack('H*', random_bytes(300)));

# Lines of hex: what Python seals, of lines of hex.
my $seal = <<'PYTHON';
import os, pathlib, sys
sys.path.insert(0, str(pathlib.Path(sys.argv[1]).parent))
import sealed
algorithm, key, context = sys.argv[2], pathlib.Path(sys.argv[3]).read_bytes(), bytes.fromhex(sys.argv[4])
for line in sys.stdin:
    nonce = os.urandom(sealed.ALGORITHMS[algorithm][2])
    print(sealed.seal(key, algorithm, nonce, bytes.fromhex(line), context).hex())
PYTHON

my %session = map { $_ => keys_session($node, { 'kms.mode' => $_ }) } qw(local remote);
foreach my $algorithm (sort keys %data_key) {
    foreach my $mode (sort keys %session) {
        my $session = $session{$mode};
        $session->get("SELECT kms.set_key(1, '$algorithm')");
        my @wrong;
        foreach my $context (@contexts) {
            my $plain = join '', map { "$_\n" } @plaintexts;
            my $values = join ', ', map { "('\\x$_'::bytea)" } @plaintexts;
            my $with = $context eq '' ? '' : ", '\\x$context'";
            my $sealed = $session->get("SELECT encode(kms.encode(1, x$with), 'hex') FROM (VALUES $values) v(x)");
            my ($code, $opened) = run_python("$sealed\n", $decoder, 'open', '--algorithm', $algorithm,
                '--key', "$raw/$algorithm", '--context', $context);
            push @wrong, "Python opens SQL's, context $context: $opened" if $code != 0 || $opened ne $plain;

            ($code, $sealed) = run_python($plain, '-c', $seal, $decoder, $algorithm, "$raw/$algorithm", $context);
            my $theirs = join ', ', map { "('\\x$_'::bytea)" } split /\n/, $sealed;
            $opened = $session->get("SELECT encode(kms.decode(1, x$with), 'hex') FROM (VALUES $theirs) v(x)");
            push @wrong, "SQL opens Python's, context $context: $opened" if $code != 0 || "$opened\n" ne $plain;
            push @wrong, 'another context opens' unless outcome($session,
                "SELECT kms.decode(1, x, 'another') FROM (VALUES $theirs) v(x)") =~ /^KM005 /;
        }
        is("@wrong", '', "$algorithm, $mode mode: SQL and Python open each other's values");
    }
    is(lc $session{local}->get("SELECT encode(key_tag, 'hex') FROM kms.list_keys('$algorithm')"),
        (run_python('', '-c', 'import sys; sys.path.insert(0, sys.argv[1]); import sealed
print(sealed.key_tag(open(sys.argv[2], "rb").read(), sys.argv[3]).hex(), end="")',
            "$FindBin::RealBin/..", "$raw/$algorithm", $algorithm))[1], '... and compute the same tag');
}
$_->quit foreach values %session;

# --- what is wrapped in SQL opens in Python, and the other way round

# Lines of hex: what Python wraps as secrets, of lines of hex.
my $wrap = <<'PYTHON';
import os, pathlib, sys
sys.path.insert(0, str(pathlib.Path(sys.argv[1]).parent))
import sealed
algorithm, kek, context = sys.argv[2], pathlib.Path(sys.argv[3]).read_bytes(), bytes.fromhex(sys.argv[4])
for line in sys.stdin:
    wrapped = sealed.wrap(kek, algorithm, os.urandom(24), bytes.fromhex(line), sealed.secret_context(context))
    print(wrapped.hex())
PYTHON

my $envelope = keys_session($node, { 'kms.mode' => 'envelope' });
foreach my $algorithm (sort keys %data_key) {
    my @kek = ('--algorithm', $algorithm, '--key', "$raw/kek-$algorithm");
    my (@wrong, @secrets);
    foreach my $context (@contexts) {
        my $plain = join '', map { "$_\n" } @plaintexts;
        my $values = join ', ', map { "('\\x$_'::bytea)" } @plaintexts;
        my $wrapped = $envelope->get("SELECT encode(kms.wrap('kek-$algorithm', x, '\\x$context'), 'hex') FROM (VALUES $values) v(x)");
        my ($code, $opened) = run_python("$wrapped\n", $decoder, 'unwrap', @kek, '--secret', $context);
        push @wrong, "Python opens SQL's, context $context: $opened" if $code != 0 || $opened ne $plain;

        ($code, $wrapped) = run_python($plain, '-c', $wrap, $decoder, $algorithm, "$raw/kek-$algorithm", $context);
        my $theirs = join ', ', map { "('\\x$_'::bytea)" } split /\n/, $wrapped;
        $opened = $envelope->get("SELECT encode(kms.unwrap('kek-$algorithm', x, '\\x$context'), 'hex') FROM (VALUES $theirs) v(x)");
        push @wrong, "SQL opens Python's, context $context: $opened" if $code != 0 || "$opened\n" ne $plain;
    }
    is("@wrong", '', "$algorithm: SQL and Python open what the other has wrapped");

    # A data key under it, and a value under that: from the rows alone, with the KEK.
    my $name = "na\xc3\xafve $algorithm";
    $envelope->get("SELECT kms.create_data_key('$name', 'kek-$algorithm', a) FROM (VALUES ('$algorithm')) v(a)");
    $envelope->get("SELECT kms.rotate_data_key('$name')");
    my $sealed = $envelope->get("SELECT encode(kms.encode_with('$name', 'by the data key'::text), 'hex')");
    my $stored = "FROM kms.data_key WHERE name = convert_to('$name', 'UTF8') AND version = 2";
    my $form = join ':', $algorithm, 2, unpack 'H*', $name;
    my ($code, $opened) = run_python($envelope->get("SELECT encode(wrapped, 'hex') $stored") . "\n",
        $decoder, 'unwrap', @kek, '--data-key', $form);
    chomp $opened;
    is($code, 0, "... a data key's wrapped form too") or diag $opened;
    write_text("$raw/opened", pack 'H*', $opened);
    (undef, $opened) = run_python("$sealed\n", $decoder, 'open', '--algorithm', $algorithm, '--key', "$raw/opened");
    is($opened, unpack('H*', 'by the data key') . "\n", '... and what it has sealed');
    (undef, $opened) = run_python($envelope->get("SELECT encode(wrapped, 'hex') $stored") . "\n",
        $decoder, 'unwrap', @kek, '--data-key', $form =~ s/:2:/:1:/r);
    like($opened, qr/^Corrupt/, '... under no other version');
}
$envelope->quit;

# --- the example agents

my $shared = test_folder('shared');
my $folder = "$shared/folder";
mkdir $folder or die $!;
write_text("$folder/pii", random_bytes(32));
write_text("$folder/lookup_2", random_bytes(64));
write_text("$folder/small-3", random_bytes(16));
write_text("$shared/outside", random_bytes(32));
write_text("$folder/dotted.key", random_bytes(32));
my %length_of = (pii => 49, lookup_2 => 25, 'small-3' => 37);

my %agent = (
    'agent.py' => '/usr/bin/python3 ' . example_agent('agent.py') . " $folder",
    'agent.sh' => '/bin/sh ' . example_agent('agent.sh') . " $folder",
);
$agent{'agent.sh in bash'} = '/bin/bash ' . example_agent('agent.sh') . " $folder" if -x '/bin/bash';
my %sealed;
foreach my $name (sort keys %agent) {
    my $session = keys_session($node, { 'kms.command' => $agent{$name} });
    foreach my $key (sort keys %length_of) {
        $session->get("SELECT kms.set_key(1, '$key')");
        my $sealed = $session->get("SELECT kms.encode(1, 'from $name'::text, 'with it')");
        is($session->get("SELECT kms.decode_text(1, '$sealed', 'with it')"), "from $name", "$name serves $key");
        is((length($sealed) - 2) / 2 - length("from $name"), $length_of{$key}, '... whose length tells the algorithm');
        push @{ $sealed{$key} }, [ $name, $sealed ];
    }
    foreach my $identifier ('../outside', '/etc/passwd', "$shared/outside", '..', '.', 'dotted.key', '../folder/pii',
        'pii/', "pii\n", 'pi*', '$(id)', 'a b', "p\xc3\xafi", 'x' x 1000) {
        fails_with($session, 'SELECT kms.set_key(1, ' . sql_quote($identifier) . ')',
            $identifier =~ /^x+$/ ? 'KM002' : '22023', "$name refuses " . substr($identifier, 0, 20) =~ s/\n/\\n/r);
    }
    fails_with($session, "SELECT kms.set_key(1, 'missing')", 'KM002', "$name has no such key");
    fails_with($session, "SELECT kms.$_", 'KM010', "$name does not offer $_") foreach "create_key('new')", 'list_keys()';
    fails_with($session, "SET kms.keys = '1=pii'; SET kms.mode = 'remote'; SELECT kms.encode(1, 'x'::text)", 'KM010',
        "$name is none for remote mode");
    is($session->get('SELECT starts FROM kms.status()'), 1, '... and one agent answered all that');
    is($session->get('RESET kms.mode; SET ROLE pg_monitor; RESET ROLE; SELECT length(kms.encode(1, \'x\'::text))'), 50,
        '... and goes on');
    my $agent_pid = agent_pid($session);
    $session->quit;
    ok(becomes(sub { !is_alive($agent_pid) }), "$name ends with its session");
}
foreach my $name (sort keys %agent) {
    my $session = keys_session($node, { 'kms.command' => $agent{$name} });
    foreach my $key (sort keys %sealed) {
        $session->get("SELECT kms.set_key(1, '$key')");
        is($session->get("SELECT kms.decode_text(1, '$_->[1]', 'with it')"), "from $_->[0]", "$name opens $key of $_->[0]")
          foreach @{ $sealed{$key} };
    }
    $session->quit;
}

# --- nonces: the first 12 bytes select a process's own key

my $prefixes = "SELECT string_agg(DISTINCT encode(substr(nonce, 1, 12), 'hex'), ','), count(DISTINCT nonce)
    FROM (SELECT (kms.inspect(kms.encode(1, 'x'::text))).nonce FROM generate_series(1, 20)) v";
my (%owner_of, @wrong, @sessions);
foreach my $number (1 .. 50) {
    my $session = keys_session($node, { 'kms.keys' => '1=xaes-256-gcm' });
    my ($prefix, $distinct) = split /\|/, $session->get($prefixes);
    push @wrong, "backend $number does not keep its prefix: $prefix" if length $prefix != 24;
    push @wrong, "backend $number repeats nonces" if $distinct != 20;
    push @wrong, "backends $number and $owner_of{$prefix} share $prefix" if defined $owner_of{$prefix};
    $owner_of{$prefix} = $number;
    push @wrong, "backend $number changes its prefix" if $number % 10 == 0 && $session->get($prefixes) ne "$prefix|20";
    push @sessions, $session;
}
is("@wrong", '', 'fifty backends of a server that preloads the library share no nonce prefix, and keep theirs');
is(scalar keys %owner_of, 50, '... which are fifty');

is($sessions[0]->get("SELECT count(DISTINCT nonce), count(DISTINCT substr(nonce, 1, 12)) FROM
    (SELECT (kms.inspect(kms.encode(1, 'x'::text))).nonce FROM generate_series(1, 4096)) v"), '4096|2',
    '... for 4096 values each');
my ($before) = split /\|/, $sessions[1]->get($prefixes);
my ($after) = split /\|/, $sessions[1]->get("SET kms.keys = ''; SET kms.keys = '1=xaes-256-gcm'; $prefixes");
isnt($after, $before, 'a key that is fetched again begins a new one');
is($sessions[2]->get("SET kms.keys = '1=aes-256-gcm'; SELECT count(DISTINCT nonce), min(length(nonce)) FROM
    (SELECT (kms.inspect(kms.encode(1, 'x'::text))).nonce FROM generate_series(1, 3000)) v"), '3000|12',
    'plain AES-GCM draws all of its nonces');
is($sessions[3]->get("SET kms.keys = '1=aes-256-siv'; SELECT kms.encode(1, 'x'::text) = kms.encode(1, 'x'::text)"), 't',
    'AES-SIV needs none');
is($sessions[4]->get("SET kms.mode = 'remote'; SELECT count(DISTINCT nonce), count(DISTINCT substr(nonce, 1, 12)) FROM
    (SELECT (kms.inspect(kms.encode(1, 'x'::text))).nonce FROM generate_series(1, 100)) v"), '100|1',
    'in remote mode the agent keeps its prefix');
$_->quit foreach @sessions;

$node->stop;
no_crash($node);
done_testing();
