# Plaintext in temporary files: what functions on blobs, arrays and windows hold is held in memory,
# however small work_mem is, and refused beyond a bound. Sorts that spill are the positive control.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run ();
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $program = kms_agent_path() =~ s/kms-agent$/kms-blob/r;
my $node = kms_node('spilled', 'kms.command' => make_keyring(test_folder('keys'), 'a'), 'kms.keys' => '1=a',
    work_mem => '64kB', log_temp_files => '0', max_parallel_workers_per_gather => 0);
my $session = kms_session($node);
my $mark = 'plaintext that is in no file ';

# The temporary files of a query, as the server logs them.
sub spills {
    my ($run) = @_;
    new_log($node);
    $run->();
    return scalar(() = new_log($node) =~ /temporary file: path/g);
}

sub spills_nothing {
    my ($sql, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $out = '';
    is(spills(sub { $out = $session->get($sql) }), 0, "no temporary file: $name") or diag $sql;
    return $out;
}

# Whether the mark is in a temporary file while a cursor is open.
sub mark_is_in_files {
    my ($query) = @_;
    $session->get("BEGIN; DECLARE held CURSOR FOR $query; MOVE 1 FROM held");
    my @files = grep { -f } glob($node->data_dir . '/base/pgsql_tmp/*'), glob($node->data_dir . '/base/pgsql_tmp/*/*');
    my $found = grep { index(slurp_file($_), $mark) >= 0 } @files;
    $session->get('ROLLBACK');
    return $found;
}

$session->get(<<"SQL");
CREATE TABLE plain AS SELECT n, '$mark' || n || repeat('.', 900) AS text FROM generate_series(1, 500) n;
SELECT count(kms.blob_put(1, 'x', text, 'text/plain', jsonb_build_object('about', text))) FROM plain;
CREATE TABLE kept (name text, id uuid);
INSERT INTO kept SELECT 'large', kms.blob_put(1, string_agg(text, '')::bytea, 'large', metadata => jsonb_build_object('about', string_agg(text, ''))) FROM plain;
INSERT INTO kept SELECT 'json', kms.blob_put(1, convert_to(jsonb_agg(text)::text, 'UTF8')) FROM plain;
CREATE FUNCTION id_of(called text) RETURNS uuid LANGUAGE sql AS 'SELECT id FROM kept WHERE name = called';
CREATE TABLE encoded AS SELECT n, kms.encode(1, text) AS sealed FROM plain;
SQL

# --- what is looked for can be found

cmp_ok(spills(sub { $session->get('SELECT max(length(text)) FROM (SELECT text FROM plain ORDER BY text DESC, n OFFSET 1) s') }), '>', 0, 'control: a sort of plaintext is seen in the log');
cmp_ok(mark_is_in_files('SELECT text FROM plain ORDER BY text DESC, n'), '>', 0, '... and in the files');
cmp_ok(mark_is_in_files(q{SELECT t FROM jsonb_array_elements_text((SELECT jsonb_agg(text) FROM plain)) t}), '>', 0, '... as is a set that PostgreSQL collects');

# --- blobs

is(spills_nothing('SELECT count(*), sum(length(name)) > 400000 FROM kms.blob_list()', 'blob_list'), '502|t', '... lists all');
is(mark_is_in_files('SELECT * FROM kms.blob_list()'), 0, '... and no file has its rows');
is(spills_nothing('SELECT count((b).name) FROM (SELECT kms.blob_list() AS b) s', 'blob_list among what is selected'), '501', '... lists all');
{
    my $refused;
    is(spills(sub { $refused = fails_with($session, "SELECT * FROM kms.blob_meta(id_of('large'))", '54000', 'blob_meta in FROM of more than work_mem is refused') }), 0, '... and not written');
    like($refused->{hint}, qr/among what is selected/, '... with what to do');
}
is(spills_nothing("SELECT length((kms.blob_meta(id_of('large'))).metadata::text) > 400000", 'blob_meta among what is selected'), 't', '... is whole');
is(spills_nothing("SELECT size > 400000 FROM kms.blob_verify(id_of('large'))", 'blob_verify'), 't', '... is whole');
spills_nothing("SELECT kms.blob_$_(id_of('large')) IS NOT NULL", "blob_$_") foreach 'get', 'to_json', 'copy', 'to_lo';
is(spills_nothing("SELECT jsonb_array_length(kms.blob_get_json(id_of('json')))", 'blob_get_json'), '500', '... is whole');
spills_nothing("INSERT INTO kept SELECT 'again', kms.blob_from_json(1, kms.blob_to_json(id_of('large')))", 'blob_from_json');
is($session->get("SELECT kms.blob_get(id_of('again')) = kms.blob_get(id_of('large')), jsonb_array_length(kms.blob_to_json(id_of('large')) -> 'parts')"), 't|8', '... with its parts in their order');
spills_nothing("SELECT kms.blob_from_lo(1, kms.blob_to_lo(id_of('large')))", 'blob_from_lo');

# --- values

spills_nothing('SELECT length(kms.encode_array(1, array_agg(text))::text) > 0 FROM plain', 'encode_array');
spills_nothing('SELECT length(kms.decode_text_array(1, array_agg(sealed))::text) > 0 FROM encoded', 'decode_text_array');
foreach my $mode ('local', 'remote') {
    $session->get("SET kms.mode = '$mode'");
    is(spills_nothing('SELECT count(length(t)) FROM (SELECT kms.decode_batch_text(1, sealed) OVER (ROWS CURRENT ROW) AS t FROM encoded) s', "decode_batch_text, $mode"), '500', '... decodes all');
    is(spills_nothing("SELECT count(name) FROM kms.blob_list('$mark')", "blob_list, $mode"), '500', '... lists all');
}
$session->get('RESET kms.mode');

# --- kms-blob

$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';
foreach my $words ([ 'ls', $mark ], [ 'ls', '--json', $mark ], [ 'info', $session->get("SELECT id_of('large')") ]) {
    my $out = '';
    is(spills(sub { IPC::Run::run([ $program, @$words ], '<', \'', '>', \$out) or die "@$words" }), 0, "no temporary file: kms-blob $words->[0]");
    next if $words->[0] ne 'ls';
    my @names = $out =~ /\Q$mark\E(\d+)\./g;
    is("@names[0 .. 3]", '1 10 100 101', '... by name') if $words->[1] ne '--json';
}

# --- beyond what is held

$session->get('SELECT count(kms.blob_put(1, \'x\', metadata => to_jsonb(repeat(md5(n::text), 30000)))) FROM generate_series(1, 75) n');
my $refused = fails_with($session, 'SELECT count(*) FROM kms.blob_list()', '54000', 'more than 64 MiB of rows are refused');
like($refused->{hint} // '', qr/raise work_mem/, '... with what to do');
unlike($refused->{err}, qr/\Q$mark\E/, '... and nothing of them is shown');
is(spills(sub { $session->ask('SELECT count(*) FROM kms.blob_list()') }), 0, '... nor written');
is($session->get("SELECT count(*) FROM kms.blob_list('$mark')"), '500', '... fewer can be had');
is($session->get("SET work_mem = '200MB'; SELECT count(*) > 570 FROM kms.blob_list()"), 't', '... and all with more work_mem');

$session->quit;
$node->stop;
no_crash($node);
done_testing();
