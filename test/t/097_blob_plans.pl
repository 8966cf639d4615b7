# Contents of blobs that pass through variables of functions of kms could stand in plans, which
# auto_explain and debug_print_plan write into the server's log. And what a document says of itself
# could stand in an error.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = kms_node('plans', 'kms.command' => make_keyring(test_folder('keys'), 'a'), 'kms.keys' => '1=a', log_error_verbosity => 'verbose');
my $session = kms_session($node);
my $libraries = `"@{[ $ENV{PG_CONFIG} // 'pg_config' ]}" --pkglibdir`;
chomp $libraries;

# In every plaintext, and backwards in the statements.
my $marker = 'Ravenscroft--';
my $backwards = reverse $marker;
my %needles = (
    'as text' => $marker,
    'in hex' => unpack('H*', $marker),
    'in base64' => encode_base64(substr($marker, 0, 12), ''),
    'as the bytes of a node' => join(' ', map { ord } split //, $marker),
);
sub leaks_in {
    my ($text) = @_;
    return join ', ', grep { index(lc $text, lc $needles{$_}) >= 0 } sort keys %needles;
}

# In base64 it stands at the beginning of every 39 bytes, which are 52 characters.
$session->get(<<"SQL");
CREATE TABLE source AS SELECT repeat(reverse('$backwards'), 300) AS text, jsonb_build_object('k', repeat(reverse('$backwards'), 10)) AS json;
CREATE TABLE stored AS SELECT kms.blob_put(1, text::bytea, metadata => json) AS id, kms.blob_put(1, json::text::bytea) AS json FROM source;
CREATE TABLE large AS SELECT lo_from_bytea(0, text::bytea) AS oid FROM source;
CREATE TABLE document AS SELECT kms.blob_to_json(id) AS json FROM stored;

-- As any function of a user.
CREATE FUNCTION planned(content bytea) RETURNS int LANGUAGE plpgsql AS \$\$
DECLARE
    found int;
BEGIN
    SELECT count(*) INTO found FROM source WHERE text::bytea = content;
    RETURN found;
END \$\$;
SQL

my %use = (
    blob_get_json => 'SELECT kms.blob_get_json(json) IS NULL FROM stored',
    blob_to_json => 'SELECT kms.blob_to_json(id) IS NULL FROM stored',
    blob_from_json => 'SELECT kms.blob_from_json(1, json) IS NULL FROM document',
    blob_from_lo => 'SELECT kms.blob_from_lo(1, oid) IS NULL FROM large',
    'blob_from_lo, with metadata' => 'SELECT kms.blob_from_lo(1, oid, left(text, 26), metadata => json, last_modified => now()) IS NULL FROM large, source',
    blob_to_lo => 'SELECT kms.blob_to_lo(id) IS NULL FROM stored',
);
my %tells = (
    debug_print_plan => 'SET client_min_messages = error; SET debug_print_parse = on; SET debug_print_rewritten = on; SET debug_print_plan = on',
    (-e "$libraries/auto_explain.so" ? (auto_explain => q{LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; SET auto_explain.log_verbose = on; SET auto_explain.log_analyze = on}) : ()),
);
foreach my $how (sort keys %tells) {
    $session->quit;
    $session = kms_session($node);
    $session->get($tells{$how});
    new_log($node);
    is($session->get('SELECT planned(text::bytea) FROM source'), '1', "$how: a function of a user");
    isnt(leaks_in(new_log($node)), '', '... has its variables in plans: they would be seen');
    foreach my $use (sort keys %use) {
        foreach my $time (1 .. 2) {    # planned, and kept
            is($session->get($use{$use}), 'f', "$how: $use");
            is(leaks_in(new_log($node)), '', '... has no contents in plans');
        }
    }
}

# --- errors

foreach my $size ('"' . $marker x 3 . '"', "[\"$marker\"]", "{\"$marker\": 1}", 'null', 'true') {
    fails_with($session, "SELECT kms.blob_from_json(1, jsonb_set(json, '{meta,size}', reverse(" . sql_quote(scalar reverse $size) . ")::jsonb)) FROM document", '22023', 'a size that is no number');
}
my $answer = fails_with($session, "SELECT kms.blob_from_json(1, jsonb_set(json, '{meta,size}', repeat('12345', 100)::jsonb)) FROM document", '22023', 'another size');
unlike($answer->{err}, qr/12345/, '... is not shown');
is(leaks_in(new_log($node)), '', 'no error shows what the document says');

$session->quit;
$node->stop;
no_crash($node);
done_testing();
