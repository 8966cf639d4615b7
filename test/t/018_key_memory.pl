# What a backend's memory holds of a key: nothing of it but its subkeys, and these only for as long
# as the key is in use.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use Test::More;
use Time::HiRes qw(sleep);

plan skip_all => 'a sanitizer keeps what was freed, and far more to search' if $ENV{KMS_SANITIZED};
my $memory = "$FindBin::RealBin/lib/memory.py";
my %key_length = ('xaes-256-gcm' => 32, 'aes-256-siv' => 64, 'aes-128-gcm' => 16, 'aes-256-gcm' => 32);

# Known to the test, which would be a leak anywhere else.
my %data_key = map { my $name = $_; $name => join '', map { sprintf '%02x', int rand 256 } 1 .. $key_length{$name} }
  keys %key_length;

my $keys = test_folder('keys');
my $command = make_keyring($keys);
kms_admin($keys, 'create', '--algorithm', $_, '--import', '-', $_, \"$data_key{$_}\n") foreach sort keys %data_key;
my $node = kms_node('memory', 'kms.command' => $command);

my ($code, $reason) = run_python("probe 00112233445566778899aabbccddeeff\n", $memory, 'scan', $node->{_pid});
if ($code == 3) {
    $node->stop;
    plan skip_all => "the memory of other processes cannot be read: $reason";
}
is($code, 0, 'memory can be searched') or diag $reason;

# Lines `name hex`: the key itself, what is derived from it, and what sealed `sealed`.
sub secrets {
    my ($algorithm, $sealed) = @_;
    my ($status, $lines) = run_python('', $memory, 'secrets', $algorithm, $data_key{$algorithm}, substr($sealed, 2));
    die $lines if $status != 0;
    return $lines;
}

# The names of the secrets that are in the session's memory.
sub found {
    my ($session, $secrets) = @_;
    my ($status, $lines) = run_python($secrets, $memory, 'scan', $session->pid);
    die $lines if $status != 0;
    note $lines if $lines ne '';
    my %names = map { (split)[0] => 1 } split /\n/, $lines;
    return join ' ', sort keys %names;
}

my $has_aes = slurp_if_there('/proc/cpuinfo') =~ /^(flags|Features)\s*:.*\baes\b/m;

# The control: a key that is held is found by its subkey, with which the expanded AES key begins
# where the processor has instructions for AES.
sub is_held {
    my ($session, $secrets, $name) = @_;
    my $found = found($session, $secrets);
    unlike($found, qr/data-key/, "$name: the data key itself is nowhere");
  SKIP: {
        skip 'no AES instructions: an expanded key looks otherwise', 1 unless $has_aes;
        like($found, qr/subkey/, "$name: the subkey is held");
    }
    return;
}

sub is_gone {
    my ($session, $secrets, $name) = @_;
    return is(found($session, $secrets), '', "$name: nothing is left");
}

sub is_soon_gone {
    my ($session, $secrets, $name) = @_;
    return ok(becomes(sub { found($session, $secrets) eq '' || !sleep 0.3 }), "$name: nothing is left");
}

# Seals and opens with the key bound to 1; returns the secrets to look for.
sub use_key {
    my ($session, $algorithm) = @_;
    my $sealed = $session->get("SELECT kms.encode(1, repeat('long enough ', 10))");
    my $opened = $session->get("SELECT kms.decode_text(1, '$sealed')");
    die "decoded $opened" if $opened ne 'long enough ' x 10;
    return secrets($algorithm, $sealed);
}

# --- each algorithm

my %idle;
foreach my $algorithm (sort keys %data_key) {
    my $session = keys_session($node);
    $session->get("SELECT kms.set_key(1, '$algorithm')");
    my $secrets = use_key($session, $algorithm);
    is_held($session, $secrets, $algorithm);
    $session->get('SELECT kms.unset_key(1)');
    is_gone($session, $secrets, "$algorithm after unset_key");

    $session->get("SET kms.cache_ttl = '1s'; SET kms.keys = '1=$algorithm'");
    $idle{$algorithm} = [ $session, use_key($session, $algorithm) ];
}
is_soon_gone(@{ $idle{$_} }, "$_ in an idle session after kms.cache_ttl") foreach sort keys %idle;

# --- each way in which a binding ends

my $algorithm = 'xaes-256-gcm';
my $session = keys_session($node);

$session->get("BEGIN; SELECT kms.set_key(1, '$algorithm')");
my $secrets = use_key($session, $algorithm);
is_held($session, $secrets, 'in a transaction');
$session->get('ROLLBACK');
is_gone($session, $secrets, 'after ROLLBACK of set_key');

$session->get("BEGIN; SET LOCAL kms.keys = '1=$algorithm'");
$secrets = use_key($session, $algorithm);
is_held($session, $secrets, 'under SET LOCAL');
$session->get('COMMIT');
is_gone($session, $secrets, 'after SET LOCAL has ended');

$session->get("BEGIN; SELECT kms.set_key(1, '$algorithm', true)");
$secrets = use_key($session, $algorithm);
$session->ask('SELECT 1 / 0');
$session->get('ROLLBACK');
is_gone($session, $secrets, 'after an error under a local binding');

$session->get("SELECT kms.set_key(1, '$algorithm')");
$secrets = use_key($session, $algorithm);
is_held($session, $secrets, 'before DISCARD ALL');
$session->get('DISCARD ALL');
is_gone($session, $secrets, 'after DISCARD ALL');

$session->get("SET kms.keys = '1=$algorithm'");
$secrets = use_key($session, $algorithm);
$session->get("SET kms.mode = remote");
is_gone($session, $secrets, 'after kms.mode = remote');
$secrets .= use_key($session, $algorithm);
is_gone($session, $secrets, 'in remote mode, ever');

$session->get('RESET kms.mode');
$secrets = use_key($session, $algorithm);
is_held($session, $secrets, 'back in local mode');
$session->get("SET kms.keys = '2=$algorithm'");
is_held($session, $secrets, 'bound under another local id');
$session->get("SET kms.keys = '2=aes-256-gcm'");
is_gone($session, $secrets, 'after kms.keys names another key');

# --- kms.cache_ttl where nothing else happens

sub fresh {
    $session->get("SET kms.keys = ''; SET kms.cache_ttl = '$_[0]'; SET kms.keys = '1=$algorithm'");
    return;
}

fresh('1s');
$session->send("SELECT kms.encode(1, 'x'::text), pg_sleep(60)");
my $sleeping = "SELECT count(*) FROM pg_stat_activity WHERE pid = " . $session->pid . " AND wait_event = 'PgSleep'";
becomes(sub { $node->safe_psql('postgres', $sleeping) eq '1' }) or die 'no query sleeps';
$secrets = secrets($algorithm, '0x');
is_soon_gone($session, $secrets, 'while a long query runs');
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $session->pid . ')');
is($session->answer->{state}, '57014', 'the query was still running');

fresh('1s');
$secrets = use_key($session, $algorithm);
$session->ask('SELECT 1 / 0');
is_soon_gone($session, $secrets, 'after an error');

fresh('1s');
$session->get('BEGIN');
$secrets = use_key($session, $algorithm);
$session->ask('SELECT 1 / 0');
is($session->ask('SELECT 1')->{state}, '25P02', 'a transaction that has failed');
is_soon_gone($session, $secrets, 'in a failed transaction');
$session->get('ROLLBACK');

fresh('1s');
$session->get('BEGIN; SAVEPOINT s');
$secrets = use_key($session, $algorithm);
$session->ask('SELECT 1 / 0');
is($session->ask('SELECT 1')->{state}, '25P02', 'a savepoint that has failed');
is_soon_gone($session, $secrets, 'behind a failed savepoint');
$session->get('ROLLBACK');

fresh('1s');
$session->get('BEGIN');
$secrets = use_key($session, $algorithm);
is_soon_gone($session, $secrets, 'idle in a transaction');
$secrets = use_key($session, $algorithm);
is_soon_gone($session, $secrets, 'idle in it once more');
$session->get('COMMIT');

$session->quit;
$session = keys_session($node, { 'kms.keys' => "1=$algorithm" });
$secrets = use_key($session, $algorithm);
is_held($session, $secrets, 'with a long time to live');
reconfigure($node, 'kms.cache_ttl' => '1s');
ok(becomes(sub { $session->get('SHOW kms.cache_ttl') eq '1s' }), 'the session reads a new postgresql.conf');
is_soon_gone($session, $secrets, 'after a reload with a shorter one');

# --- a plaintext of which a part has come

my $stage = test_folder('stage');
my $part = 'half of a plaintext, repeatedly ';
write_text("$stage/part", "ok {id} 5000\n" . $part x 50);
my $cut = keys_session($node, { 'kms.command' => stage_agent($stage), 'kms.mode' => 'remote', 'kms.keys' => '1=tell.part' });
is($cut->ask("SET statement_timeout = '1s'; SELECT kms.decode(1, repeat('x', 6000)::bytea)")->{state}, '57014',
    'a query is cancelled in mid-answer');
is(found($cut, 'raw ' . unpack('H*', $part) . "\n"), '', '... and nothing of the answer is left');
$cut->quit;

# --- a key that the agent makes or changes does not come here

$session->get("SELECT kms.create_key('made'); SELECT kms.rotate_key('made')");
my $generated = $session->get('SELECT kms.generate_key(256)');
like($generated, qr/^[0-9a-f]{64}$/, 'a generated key');
is(found($session, "raw $generated\n"), '', '... is not left in memory as bytes');

$session->quit;
$node->stop;
no_crash($node);
done_testing();
