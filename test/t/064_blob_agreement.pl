# A decoder in Python opens what SQL has stored of blobs, by doc/formats.md and the bound key alone.
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(sha256_hex);
use FindBin;
use JSON::PP;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use Test::More;

my %key_length = (
    'xaes-256-gcm' => 32, 'aes-256-siv' => 64, 'aes-128-gcm' => 16, 'aes-192-gcm' => 24, 'aes-256-gcm' => 32,
);
my $keys = test_folder('keys');
my $raw = test_folder('raw');
my $command = make_keyring($keys);
foreach my $algorithm (sort keys %key_length) {
    write_text("$raw/$algorithm", join '', map { chr int rand 256 } 1 .. $key_length{$algorithm});
    chmod 0600, "$raw/$algorithm" or die $!;
    kms_admin($keys, 'create', '--algorithm', $algorithm, '--raw', '--import', "$raw/$algorithm", $algorithm);
}
my $node = kms_node('agreement', 'kms.command' => $command);
my $session = kms_session($node);
$session->get(<<'SQL');
CREATE TABLE part AS SELECT n, coalesce((SELECT substr(string_agg(sha256((n || '.' || i)::bytea), ''), 1, n) FROM generate_series(1, n / 32 + 1) i), '') AS data
FROM unnest('{0, 1, 16383, 16384, 16385, 262144, 300000}'::int[]) n;
CREATE FUNCTION put_all(key int) RETURNS TABLE (id uuid, digest text) LANGUAGE sql AS $$
    WITH made AS MATERIALIZED (SELECT n, data, kms.blob_put(key, data, 'naïve ' || n, 'text/plain', '{"n": 1}', '2999-01-01Z', last_modified => '2024-01-01Z') AS id FROM part)
    SELECT id, encode(sha256(data), 'hex') FROM made $$;
CREATE FUNCTION as_json(blob uuid) RETURNS json LANGUAGE sql AS $$
    SELECT json_build_object('id', replace(b.id::text, '-', ''), 'version', version, 'wrapped', encode(wrapped, 'hex'), 'manifest', encode(manifest, 'hex'), 'segments',
        (SELECT coalesce(json_object_agg(segment, message), '{}')
         FROM (SELECT segment, encode(string_agg(data, '' ORDER BY chunk), 'hex') AS message FROM kms.blob_chunk WHERE blob_id = blob GROUP BY 1) s))
    FROM kms.blob b WHERE id = blob $$;
SQL

foreach my $algorithm (sort keys %key_length) {
    $session->get("SELECT kms.set_key(1, '$algorithm')");
    foreach my $way ([ 'local', 'session' ], [ 'remote', 'session' ], [ 'remote', 'agent' ]) {
        my ($mode, $has_keys) = @$way;
        $session->get("SET kms.mode = $mode; SET kms.blob_keys = $has_keys; DROP TABLE IF EXISTS blobs; CREATE TABLE blobs AS SELECT * FROM put_all(1)");
        $session->get("SELECT kms.blob_append(id, 'abc'), kms.blob_append(id, 'def'), kms.blob_set_meta(id, last_modified => '2024-01-01Z') FROM blobs; UPDATE blobs SET digest = encode(sha256(kms.blob_get(id)), 'hex')");
        my @stored = split /\n/, $session->get("SELECT as_json(id)::text FROM blobs ORDER BY id");
        my @digests = split /\n/, $session->get('SELECT digest FROM blobs ORDER BY id');
        my ($code, $opened) = run_python(join('', map { "$_\n" } @stored), "$FindBin::RealBin/../blobs.py",
            'open', '--algorithm', $algorithm, '--key', "$raw/$algorithm");
        is($code, 0, "$algorithm, $mode mode, keys with the $has_keys: Python opens what SQL has put and appended") or diag $opened;
        my @blobs = map { decode_json($_) } split /\n/, $opened;
        is_deeply([ map { sha256_hex(pack 'H*', $_->{data}) } @blobs ], \@digests, '... byte for byte');
        is_deeply([ grep { $_->{name} !~ /^na\x{ef}ve \d+$/ || $_->{modified} != 1_704_067_200_000_000 } @blobs ], [], '... and what is said of it');
    }
}

$session->quit;
$node->stop;
no_crash($node);
done_testing();
