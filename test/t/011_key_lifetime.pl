# How long a session holds a key: kms.cache_ttl, and what changes at the agent meanwhile.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use Test::More;

my $keys = test_folder('keys');
my $command = make_keyring($keys, qw(short long turned));
my $node = kms_node('lifetime', 'kms.command' => $command, 'kms.cache_ttl' => '1s');

my $encode = "SELECT substr(kms.encode(1, 'x'::bytea)::text, 1, 0) || 'done'";

sub disabled_within_ttl {
    my ($session) = @_;
    return becomes(sub { outcome($session, $encode) =~ /^KM011 / }, 20);
}

sub tag_in_use {
    my ($session) = @_;
    return $session->get("SELECT key_tag FROM kms.inspect(kms.encode(1, 'x'::bytea))");
}

# What the agent was asked so far.
sub requests {
    my ($session) = @_;
    return $session->get('SELECT requests FROM kms.status()');
}

# --- a key that is disabled by another process, and enabled again

my $held = keys_session($node, { 'kms.keys' => '1=short' });
my $kept = keys_session($node, { 'kms.keys' => '1=short', 'kms.cache_ttl' => '-1' });
my $sealed = $held->get("SELECT kms.encode(1, 'before'::bytea)");
is(outcome($kept, $encode), 'done', 'a second session holds the key for good');

kms_admin($keys, 'disable', 'short', '1');
ok(disabled_within_ttl($held), 'a disabled key stops encoding within the time to live');
like(outcome($held, "SELECT kms.decode(1, '$sealed')"), qr/^KM011 .*local id 1 \(key "short"\)/,
    '... and decoding, and the message names it');
is(outcome($kept, $encode), 'done', 'with kms.cache_ttl = -1 a session keeps it');
my $late = keys_session($node, { 'kms.keys' => '1=short', 'kms.cache_ttl' => '-1' });
like(outcome($late, $encode), qr/^KM011 /, '... but a new one does not get it');

kms_admin($keys, 'enable', 'short', '1');
is(outcome($held, $encode), 'done', 'once enabled it works at once');
is($held->get("SELECT kms.decode_text(1, '$sealed')"), 'before', '... for old values too');
is(outcome($late, $encode), 'done', '... in a session that was refused before');

# --- within one statement and one transaction

my $asked = requests($held);
$held->get("DO \$\$ BEGIN
    FOR i IN 1..26 LOOP PERFORM kms.encode(1, 'x'::bytea); PERFORM pg_sleep(0.1); END LOOP;
END \$\$");
cmp_ok(requests($held), '>=', $asked + 2, 'a statement of several seconds asks for its key again');
$asked = requests($held);
is($held->get("SELECT count(kms.encode(1, i::text)) FROM generate_series(1, 1000) i"), 1000,
    'a thousand values');
cmp_ok(requests($held), '<=', $asked + 2, '... need one key');

kms_admin($keys, 'disable', 'short', '1');
like(outcome($held, "DO \$\$ BEGIN
    FOR i IN 1..200 LOOP PERFORM kms.encode(1, 'x'::bytea); PERFORM pg_sleep(0.05); END LOOP;
END \$\$"), qr/^KM011 /, 'a key disabled while a statement runs stops it');
kms_admin($keys, 'enable', 'short', '1');

# --- an error costs neither the key nor its end

$held->get('BEGIN');
is(outcome($held, $encode), 'done', 'a key is fetched in a transaction');
like(outcome($held, 'SELECT 1 / 0'), qr/^22012 /, '... that fails');
$held->get('ROLLBACK');
kms_admin($keys, 'disable', 'short', '1');
ok(disabled_within_ttl($held), 'the time to live ends after an error as well');
kms_admin($keys, 'enable', 'short', '1');

$held->get('BEGIN; SAVEPOINT s');
is(outcome($held, $encode), 'done', 'a key is fetched behind a savepoint');
like(outcome($held, 'SELECT 1 / 0'), qr/^22012 /, '... that fails');
$held->get('ROLLBACK TO s');
is(outcome($held, $encode), 'done', '... and is used on in the transaction');
kms_admin($keys, 'disable', 'short', '1');
sleep 2;
like(outcome($held, $encode), qr/^KM011 /, '... but not beyond its time to live');
$held->get('ROLLBACK');
kms_admin($keys, 'enable', 'short', '1');

# --- a shorter time to live counts for keys that are held already

my $patient = keys_session($node, { 'kms.keys' => '1=long', 'kms.cache_ttl' => '300s' });
is(outcome($patient, $encode), 'done', 'a session with a long time to live');
kms_admin($keys, 'disable', 'long', '1');
is(outcome($patient, $encode), 'done', '... goes on with a disabled key');
$patient->get("SET kms.cache_ttl = '1s'");
ok(disabled_within_ttl($patient), '... until its time to live is lowered');

# --- an agent that takes longer for a key than the key lives

my $slow = keys_session($node, { 'kms.command' => stage_agent(test_folder('stage')),
    'kms.keys' => '1=slow.1.2,2=slow.1.3' });
my $slowly = $slow->get("SET statement_timeout = '30s'; SELECT kms.encode(1, 'slowly'::text)");
is($slow->get("SELECT kms.decode_text(2, kms.recode(1, 2, '$slowly'))"), 'slowly',
    'recode does not need both its keys at once');
$slow->quit;

# --- the view shows what is held

kms_admin($keys, 'enable', 'long', '1');
$patient->get("SET kms.cache_ttl = '1min'");
is(outcome($patient, $encode), 'done', 'the key is held again');
is($patient->get("SELECT local_id, key_identifier, mode, version, algorithm,
    expires_at - fetched_at, fetched_at > now() - interval '1 min' FROM kms.session_keys"),
    '1|long|local|1|xaes-256-gcm|00:01:00|t', 'session_keys shows it with its end');
$patient->get("SET kms.cache_ttl = '1s'");
ok(becomes(sub {
    $patient->get('SELECT version IS NULL AND expires_at IS NULL FROM kms.session_keys') eq 't';
}, 20), '... and no more once it has been wiped');
$patient->get("SET kms.cache_ttl = -1");
is(outcome($patient, $encode), 'done', 'with kms.cache_ttl = -1');
is($patient->get("SELECT version, expires_at IS NULL FROM kms.session_keys"), '1|t', '... it has no end');
foreach my $none ('0', '400ms', '1us') {
    my $answer = fails_with($patient, "SET kms.cache_ttl = '$none'", '22023', "$none is not taken for one without an end");
    like($answer->{detail}, qr/^It is one second or more; -1 holds keys until the session ends/, '... which is told');
}

# --- rotation

my $reader = keys_session($node, { 'kms.keys' => '1=turned' });
my $rotator = keys_session($node, { 'kms.keys' => '1=turned', 'kms.cache_ttl' => '300s' });
my $first = tag_in_use($reader);
is(tag_in_use($rotator), $first, 'two sessions use the same version');
my $old = $rotator->get("SELECT kms.encode(1, 'old'::bytea)");

kms_admin($keys, 'rotate', 'turned');
ok(becomes(sub { tag_in_use($reader) ne $first }, 20), 'kms-agent rotate: used within the time to live');
is(tag_in_use($rotator), $first, '... and not before it has passed');
is($reader->get("SELECT kms.decode_text(1, '$old')"), 'old', '... and old values still decode');
my $second = tag_in_use($reader);

is($rotator->get("SELECT kms.rotate_key('turned')"), 3, 'kms.rotate_key makes the next version');
my $third = tag_in_use($rotator);
isnt($third, $first, '... which its own session uses at once');
isnt($third, $second, '... and it is a new one');
ok(becomes(sub { tag_in_use($reader) eq $third }, 20), '... and others within the time to live');
is($rotator->get("SELECT kms.decode_text(1, '$old')"), 'old', '... and old values still decode there');
is($rotator->get("SELECT string_agg(version || ' ' || state, ', ' ORDER BY version) FROM kms.list_keys('turned')"),
    '1 enabled, 2 enabled, 3 enabled', 'all versions are listed');

is(outcome($rotator, "SELECT kms.destroy_key('turned', 1, force => true)"), '', 'the oldest version is destroyed');
like(outcome($rotator, "SELECT kms.decode(1, '$old')"), qr/^KM011 /, '... and gone at once in that session');
ok(becomes(sub { outcome($reader, "SELECT kms.decode(1, '$old')") =~ /^KM011 / }, 20),
    '... and in others within the time to live');
is(outcome($reader, $encode), 'done', '... where the current one works on');

$_->quit foreach $held, $kept, $late, $patient, $reader, $rotator;
$node->stop;
no_crash($node);
done_testing();
