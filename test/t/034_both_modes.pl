# What is wrong with a ciphertext is the same error in both modes, for every algorithm; and keys that
# never leave the agent.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use Test::More;

my @algorithms = qw(xaes-256-gcm aes-256-siv aes-128-gcm aes-192-gcm aes-256-gcm);
my @other = map { "other-$_:$_" } @algorithms;
my $keys = test_folder('keys');
my $node = kms_node('both_modes', 'kms.command' => make_keyring($keys, (map { "$_:$_" } @algorithms), @other));

$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION outcome(id int, value bytea, context bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE tried bytea;
BEGIN
    BEGIN
        RETURN 'opened ' || encode(kms.decode(id, value, context), 'hex');
    EXCEPTION WHEN SQLSTATE 'KM004' OR SQLSTATE 'KM005' OR SQLSTATE 'KM006' THEN
        tried := kms.try_decode(id, value, context);
        RETURN sqlstate || CASE WHEN tried IS NULL THEN '' ELSE ', yet try_decode opened it' END;
    END;
END $$;
SQL

my %session = map { $_ => keys_session($node, { 'kms.mode' => $_ }) } qw(local remote);

# Lines "what outcome" of every truncation and every flipped bit.
sub outcomes {
    my ($mode, $sealed) = @_;
    return $session{$mode}->get(<<"SQL");
SELECT format('first %s bytes: %s', n, outcome(1, substr(s, 1, n), 'context'))
FROM (SELECT '$sealed'::bytea) v(s), generate_series(0, length(s) - 1) n
UNION ALL
SELECT format('bit %s of byte %s: %s', n % 8, n / 8, outcome(1, set_bit(s, n, 1 - get_bit(s, n)), 'context'))
FROM (SELECT '$sealed'::bytea) v(s), generate_series(0, 8 * length(s) - 1) n
UNION ALL
SELECT 'one byte more: ' || outcome(1, s || '\\x00', 'context') FROM (SELECT '$sealed'::bytea) v(s)
SQL
}

my %header = ('xaes-256-gcm' => 1 + 8 + 24, 'aes-256-siv' => 1 + 8, map { $_ => 1 + 8 + 12 } @algorithms[ 2 .. 4 ]);
foreach my $algorithm (@algorithms) {
    $_->get("SET kms.keys = '1=$algorithm, 2=other-$algorithm'") foreach values %session;
    my $sealed = $session{remote}->get("SELECT kms.encode(1, 'secret', 'context')");
    is($session{local}->get("SELECT outcome(1, '$sealed', 'context')"), 'opened ' . unpack('H*', 'secret'),
        "$algorithm: sealed remotely, opened locally");

    my %got = map { $_ => outcomes($_, $sealed) } sort keys %session;
    is($got{remote}, $got{local}, '... spoiled, the same error in both modes');
    unlike($got{local}, qr/opened/, '... and never opened');
    my $shortest = $header{$algorithm} + 16;
    my @short = $got{local} =~ /^first (\d+) bytes: KM006$/mg;
    is("@short", join(' ', 0 .. $shortest - 1), '... cut below its overhead it is not a ciphertext');
    like($got{local}, qr/^bit 0 of byte 1: KM004$/m, '... with another tag it is of another key');
    my @corrupt = $got{local} =~ /^bit \d of byte (\d+): KM005$/mg;
    is(scalar @corrupt, 8 * ($shortest + 6 - 9), '... and in every bit behind its tag tampered with');

    foreach my $mode (sort keys %session) {
        my $session = $session{$mode};
        is($session->get("SELECT outcome(2, '$sealed', 'context')"), 'KM004', "$mode: another key");
        is($session->get("SELECT outcome(1, '$sealed', '')"), 'KM005', '... no context');
        is($session->get("SELECT outcome(1, '$sealed', 'context ')"), 'KM005', '... another context');
        is($session->get("SELECT outcome(1, '', 'context')"), 'KM006', '... no data');
        is($session->get("SELECT outcome(1, kms.encode(1, '', 'c'), 'c')"), 'opened ', '... empty data comes back');
        is($session->get("SELECT outcome(2, kms.recode(1, 2, '$sealed', 'context'), 'context')"),
            'opened ' . unpack('H*', 'secret'), '... recoded to another key');
        fails_with($session, "SELECT kms.recode(2, 1, '$sealed', 'context')", 'KM004');
        fails_with($session, "SELECT kms.recode(1, 2, '$sealed', 'other')", 'KM005');
        fails_with($session, "SELECT kms.recode(1, 2, '\\x', 'context')", 'KM006');
    }
}

# A value of one algorithm under the key of another.
foreach my $mode (sort keys %session) {
    my $session = $session{$mode};
    $session->get("SET kms.keys = '" . join(', ', map { $_ + 1 . "=$algorithms[$_]" } 0 .. 4) . "'");
    is($session->get("SELECT string_agg(DISTINCT outcome(b, kms.encode(a, 'x'), ''), ' ') FROM
        generate_series(1, 5) a, generate_series(1, 5) b WHERE a <> b"), 'KM004', "$mode: the key of another algorithm");
}

# --- identifiers of any bytes

my @identifiers = map { sql_quote('\\x' . unpack 'H*', $_) . '::bytea' }
    "\0", "\n", '%', '=', ',', '1=a,2=b', ' ', "\xc3\xa9\xe6\xbc\xa2", "\xff\xfe", 'i' x 1000, "\xff" x 1024;
foreach my $mode (sort keys %session) {
    my $session = $session{$mode};
    foreach my $identifier (@identifiers) {
        my $name = substr $identifier, 0, 20;
        $session->get("SELECT kms.create_key($identifier)") if $mode eq 'local';
        is($session->get("SELECT kms.set_key(1, $identifier); SELECT kms.decode_text(1, kms.encode(1, 'x'))"), "\nx",
            "$mode: $name is an identifier");
        fails_with($session, "SELECT kms.set_key(1, $identifier || 'x'::bytea)", length $identifier > 2048 ? '22023' : 'KM002',
            '... which nothing may follow');
    }
}

# --- keys that never leave the agent

kms_admin($keys, 'create', '--no-export', 'stays');
my ($local, $remote) = @session{qw(local remote)};
my $denied = fails_with($local, "SELECT kms.set_key(1, 'stays')", 'KM003', 'local mode cannot bind a no-export key');
like($denied->{hint}, qr/kms\.mode = remote/, '... and says where it can be used');
$remote->get("SELECT kms.set_key(1, 'stays')");
my $sealed = $remote->get("SELECT kms.encode(1, 'here', 'c')");
is($remote->get("SELECT kms.decode_text(1, '$sealed', 'c')"), 'here', 'remote mode seals and opens with it');
$local->get("SET kms.keys = '1=stays, 2=xaes-256-gcm'");
fails_with($local, $_, 'KM003', "local mode: $_" =~ s/\\x\w+/.../r) foreach "SELECT kms.encode(1, 'x')",
    "SELECT kms.decode(1, '$sealed', 'c')", "SELECT kms.decode_text(1, '$sealed', 'c')",
    "SELECT kms.try_decode(1, '$sealed', 'c')", "SELECT kms.recode(1, 2, '$sealed', 'c')",
    "SELECT kms.recode(2, 1, kms.encode(2, 'x'))";
is($remote->get("SELECT kms.rotate_key('stays')"), 2, 'it is rotated');
fails_with($local, "SELECT kms.encode(1, 'x')", 'KM003', '... and its new version stays as well');
is($remote->get("SELECT kms.decode_text(1, kms.recode(1, 1, '$sealed', 'c'), 'c')"), 'here', '... and is used');
is($remote->get("SELECT kms.decode_text(1, '$sealed', 'c')"), 'here', '... beside the old one');
like(kms_admin($keys, 'list', 'stays'), qr/stays +1 .* no .*\nstays +2 .* no /, 'kms-agent list shows that');

$_->quit foreach values %session;
$node->stop;
no_crash($node);
done_testing();
