# Rotations that a session has not heard of: what it holds as the current version is an old one by
# then, perhaps a disabled one, and stored values and blobs are not brought to that.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $keys = test_folder('keys');
my $node = kms_node('current_versions', 'kms.command' => make_keyring($keys, 'a', 'b'), 'kms.keys' => '1=a,2=b', fsync => 'off', autovacuum => 'off');
my $here = kms_session($node);    # local mode, as most sessions
$here->get(<<'SQL');
CREATE TABLE stored (name text PRIMARY KEY, id uuid, value bytea, key_identifier text DEFAULT 'a');
SELECT kms.register_column('stored', 'value', 'a');
CREATE FUNCTION id_of(called text) RETURNS uuid LANGUAGE sql AS 'SELECT id FROM stored WHERE name = called';
CREATE FUNCTION version_of(tag bytea) RETURNS text LANGUAGE sql AS 'SELECT version || '' '' || state FROM kms.list_keys(''a'') WHERE key_tag = tag';
CREATE FUNCTION blob_is(called text) RETURNS text LANGUAGE sql AS 'SELECT version_of(key_tag) FROM kms.blob WHERE id = id_of(called)';
CREATE FUNCTION value_is(called text) RETURNS text LANGUAGE sql AS 'SELECT version_of((kms.inspect(value)).key_tag) FROM stored WHERE name = called';
CREATE FUNCTION first_chunk(called text) RETURNS text LANGUAGE sql AS 'SELECT md5(data) FROM kms.blob_chunk WHERE blob_id = id_of(called) ORDER BY segment, chunk LIMIT 1';
SQL
my $version = 1;
my $remote = keys_session($node, { 'kms.mode' => 'remote' });    # hears of rotations at once

# A session that holds what is the current version of a until the next rotation.
sub holding {
    my $session = kms_session($node);
    $session->get("SELECT kms.encode(1, 'x')");
    return $session;
}

# Another one rotates, brings all to the new version and disables the one before.
sub rotate {
    $remote->get("SELECT kms.rotate_key('a')");
    $remote->get("SELECT kms.rewrap_blobs(1)");
    $remote->get("SET client_min_messages = warning; CALL kms.reencrypt('stored', 'value')");
    $remote->get("SELECT kms.disable_key('a', $version)");
    return ++$version;
}

# --- what a session asks for by its tag does not become current by that

{
    my $stale = kms_session($node);
    my $old = $stale->get("SELECT kms.encode(1, 'old')");
    $remote->get("SELECT kms.rotate_key('a')");
    my $new = $remote->get("SELECT kms.encode(1, 'new')");
    ++$version;
    $stale->get("BEGIN; SET LOCAL kms.keys = '1=a,2=b'");
    is($stale->get("SELECT kms.decode_text_array(1, ARRAY['$new', '$old']::bytea[])"), '{new,old}', 'values of two versions are opened at once');
    is($stale->get("SELECT version_of((kms.inspect(kms.recode(1, 1, '$new'))).key_tag)"), "$version enabled", '... and the newer one stays what it is');
    $stale->get('COMMIT');
    $stale->quit;
}

# --- all contents of a blob without a key of its own

my $put = "kms.blob_put(1, repeat('important ', 20000)::bytea, 'contract', metadata => '{\"k\": 1}')";
my $agent = keys_session($node, { 'kms.mode' => 'remote', 'kms.blob_keys' => 'agent' });
my %change = (
    set_meta => "kms.blob_set_meta(id_of('direct'), 'contract 2')",
    append => "kms.blob_append(id_of('direct'), '!')",
    replace => "kms.blob_replace(id_of('direct'), 'anew')",
    empty => "kms.blob_replace(id_of('direct'), '')",
    compact => "kms.blob_compact(id_of('direct'))",
    recode => "kms.blob_recode(id_of('direct'), 1)",
    copy => "kms.blob_copy(id_of('direct'))",
);
foreach my $name (sort keys %change) {
    $agent->get("DELETE FROM stored WHERE name = 'direct'; INSERT INTO stored SELECT 'direct', $put");
    $agent->get("SELECT kms.blob_append(id_of('direct'), '.')") if $name eq 'compact';
    my $stale = holding();
    rotate();
    is($agent->get("SELECT blob_is('direct')"), "$version enabled", "$name: a blob under the new version");
    my $result = $stale->get("SELECT $change{$name}");
    $agent->get("UPDATE stored SET id = '$result' WHERE name = 'direct'") if $name eq 'copy';
    is($agent->get("SELECT blob_is('direct')"), "$version enabled", '... which a session that knows the old one alone changes: it stays there');
    is($remote->get("SELECT (kms.blob_verify(id_of('direct'))).size >= 0"), 't', '... and reads');
    $stale->quit;
}

# --- the key of a blob, and values

my %rewrite = (
    blob_recode => "SELECT kms.blob_recode(id_of('own'), 1)",
    blob_copy => "UPDATE stored SET id = kms.blob_copy(id) WHERE name = 'own'",
    rewrap_blobs => 'SELECT kms.rewrap_blobs(1)',
    recode => "UPDATE stored SET value = kms.recode(1, 1, value) WHERE name = 'own'",
    recode_with => "UPDATE stored SET value = kms.recode_with('a', value) WHERE name = 'own'",
    reencrypt => "CALL kms.reencrypt('stored', 'value')",
);
foreach my $name (sort keys %rewrite) {
    $here->quit;
    $here = kms_session($node);
    $here->get("DELETE FROM stored WHERE name = 'own'; INSERT INTO stored SELECT 'own', kms.blob_put(1, 'own'), kms.encode(1, 'v')");
    my $stale = holding();
    rotate();
    $stale->get($rewrite{$name});
    is($agent->get("SELECT blob_is('own'), value_is('own')"), "$version enabled|$version enabled", "$name in a session that knows the old version alone");
    $here->quit;
    $here = kms_session($node);
    is($here->get("SELECT convert_from(kms.blob_get(id), 'UTF8'), kms.decode_text(1, value) FROM stored WHERE name = 'own'"), 'own|v', '... and it reads');
    $stale->quit;
}

# --- a column that is filled, and the switch behind it: which sealed under, and opened with, what the session held

foreach my $by ([ 'one key', q{'a'} ], [ 'keys that rows name', q{key_expression => 'key'} ]) {
    my ($what, $key) = @$by;
    $remote->get(<<'SQL');
DROP TABLE IF EXISTS filled;
CREATE TABLE filled (id int PRIMARY KEY, key text DEFAULT 'a', c text);
INSERT INTO filled (id, c) SELECT n, 'v ' || n FROM generate_series(1, 100) n;
SQL
    my $stale = holding();
    rotate();
    $stale->get("CALL kms.encrypt_column('filled', 'c', $key)");
    is($remote->get('SELECT version_of((kms.inspect(c_encrypted)).key_tag), count(*) FROM filled GROUP BY 1'), "$version enabled|100", "$what: a session that knows the old version alone fills a column under the new one");
    $remote->get("SELECT kms.rotate_key('a'), kms.disable_key('a', $version, force => true)");
    fails_with($stale, q{SELECT kms.switch_column('filled', 'c')}, 'KM011', '... and when that is disabled the plaintext stays, whatever the session holds');
    $remote->get("SELECT kms.enable_key('a', $version)");
    ++$version;
    is($stale->ask(q{SELECT kms.switch_column('filled', 'c')})->{state}, '', '... until it is enabled again');
    $stale->quit;
}

# Where nobody may use the current version, what is stored stays as it is, and so does what is held.
{
    $here->get("DELETE FROM stored WHERE name = 'own'; INSERT INTO stored SELECT 'own', kms.blob_put(1, 'own'), kms.encode(1, 'v')");
    my $stale = holding();
    rotate();
    is($stale->get("SELECT kms.decode_text(1, value) FROM stored WHERE name = 'own'"), 'v', 'a session opens a value of a version that is newer than what it seals under');
    kms_admin($keys, 'disable', 'a', $version);
    fails_with($stale, $_, 'KM011', '... which is disabled: it stays there') foreach $rewrite{recode}, $rewrite{blob_recode};
    is($stale->get("SELECT kms.decode_text(1, kms.encode(1, 'new'))"), 'new', '... and the session seals as before');
    kms_admin($keys, 'enable', 'a', $version);
    $_->quit for $stale, $here;
    $here = kms_session($node);
}

# --- what it costs: one question where versions differ, none where they do not

$here->get("INSERT INTO stored SELECT 'old ' || n, NULL, kms.encode(1, 'v') FROM generate_series(1, 500) n");
kms_admin($keys, 'rotate', 'a');
++$version;
$here->quit;
$here = holding();
my $requests = sub { $here->get('SELECT requests FROM kms.status()') };
my $before = $requests->();
$here->get("UPDATE stored SET value = kms.recode(1, 1, value) WHERE name LIKE 'old %'");
my $asked = $requests->() - $before;
cmp_ok($asked, '>=', 2, '500 values of an older version: the older one, and the current one again');
cmp_ok($asked, '<', 50, '... and not for each value');
$before = $requests->();
$here->get("UPDATE stored SET value = kms.recode(1, 1, value) WHERE name LIKE 'old %'");
is($requests->(), $before, 'none for those that are under the current one');
is($here->get("SELECT count(*) FROM stored WHERE name LIKE 'old %' AND value_is(name) <> '$version enabled'"), '0', '... as they all are now');

# --- two sessions that append in turn

$agent->get("DELETE FROM stored WHERE name = 'direct'; INSERT INTO stored SELECT 'direct', $put");
my $stale = holding();
kms_admin($keys, 'rotate', 'a');
++$version;
my $fresh = holding();
$stale->get("SELECT kms.blob_append(id_of('direct'), '1')");
$fresh->get("SELECT kms.blob_append(id_of('direct'), '2')");
is($agent->get("SELECT blob_is('direct')"), "$version enabled", 'one who knows the new version brings the blob to it');
my $chunk = $agent->get("SELECT first_chunk('direct')");
foreach my $n (1 .. 3) {
    $_->get("SELECT kms.blob_append(id_of('direct'), '$n'), kms.blob_set_meta(id_of('direct'), 'n$n')") for $stale, $fresh;
}
is($agent->get("SELECT first_chunk('direct')"), $chunk, '... once: two sessions that append in turn seal nothing again');
is($agent->get("SELECT blob_is('direct'), right(convert_from(kms.blob_get(id_of('direct')), 'UTF8'), 8)"), "$version enabled|12112233", '... and all is there');

$_->quit for $here, $remote, $agent, $stale, $fresh;
$node->stop;
no_crash($node);
done_testing();
