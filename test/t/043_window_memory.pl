# What the window forms take of memory and of temporary files: of both no more for a large table than
# for a small one.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir;
my $node = kms_node('window_memory', 'kms.command' => make_keyring($folder, 'a'), 'kms.keys' => '1=a', log_temp_files => 0,
    fsync => 'off', autovacuum => 'off', max_wal_size => '4GB', track_counts => 'on');

# Queries are read by a cursor without its rows going anywhere; nothing else may want temporary files.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION rows_of(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    rows bigint;
    c refcursor;
BEGIN
    OPEN c NO SCROLL FOR EXECUTE query;
    MOVE FORWARD ALL FROM c;
    GET DIAGNOSTICS rows = ROW_COUNT;
    CLOSE c;
    RETURN rows;
END $$;
CREATE TABLE narrow AS SELECT n, kms.encode(1, 'value ' || n) AS sealed FROM generate_series(1, 100000) n;
CREATE TABLE wide AS SELECT n, kms.encode(1, repeat(md5(n::text), 40)) AS sealed, repeat(md5(n::text), 40) AS beside FROM generate_series(1, 20000) n;
CREATE TABLE empty AS SELECT n, NULL::bytea AS sealed FROM generate_series(1, 100000) n;
CREATE TABLE mixed AS SELECT n, kms.encode(1, repeat('x', CASE WHEN n % 50 = 0 THEN 30000 ELSE n % 300 END)) AS sealed FROM generate_series(1, 20000) n;
CREATE TABLE document (n int, body text);
ALTER TABLE document ALTER body SET STORAGE external;
INSERT INTO document SELECT n, n || repeat('x', 1000000) FROM generate_series(1, 400) n;
SQL

sub temp_files { return () = $_[0] =~ /temporary file: path/g }

# Bytes, for rows that are read ahead.
sub held {
    return $_[0]->get("SELECT coalesce(sum(total_bytes), 0) FROM pg_backend_memory_contexts WHERE name LIKE 'kms r%'");
}

# Megabytes.
sub resident { return process_status($_[0]->pid)->{RssAnon} =~ s/ kB//r / 1024 }

foreach my $mode ('local', 'remote') {
    my $session = kms_session($node, env => { PGOPTIONS => "-c kms.mode=$mode" });

    # --- temporary files

    foreach my $work_mem ('64kB', '256kB', '4MB') {
        $session->get("SET work_mem = '$work_mem'");
        new_log($node);
        foreach my $table (qw(narrow wide empty mixed)) {
            next if $table eq 'mixed' && $work_mem eq '64kB';
            my $rows = $session->get("SELECT count(*) FROM $table");
            is($session->get("SELECT rows_of('SELECT n, kms.decode_batch_text(1, sealed) OVER () FROM $table')"), $rows, "$mode, $work_mem: $table");
            is($session->get("SELECT rows_of('SELECT kms.encode_batch(1, sealed, n::text::bytea) OVER (), kms.decode_batch(1, sealed) OVER () FROM $table')"),
                $rows, '... sealed and opened at once');
            is(temp_files(new_log($node)), 0, '... without a temporary file');
        }
    }
    $session->get('RESET work_mem');

    # --- memory

    my $many = 'SELECT kms.encode_batch(1, n::text) OVER () FROM generate_series(1, %d) n';
    $session->get(sprintf "SELECT rows_of('$many')", 20000);
    my $before = resident($session);
    is($session->get(sprintf "SELECT rows_of('$many')", 500000), 500000, "$mode: 500,000 rows");
    takes_less(resident($session) - $before, 16, '... take no more memory than 20,000');
    is($session->get("SELECT rows_of('SELECT kms.decode_batch_text(1, sealed) OVER (PARTITION BY n) FROM narrow')"), 100000,
        "$mode: partitions of one row");
    takes_less(resident($session) - $before, 24, '... nor do they');

    # Of a large document only a small part is sealed.
    $session->get("BEGIN; DECLARE c CURSOR FOR SELECT kms.encode_batch(1, left(reverse(body), 10)) OVER () FROM document; MOVE 200 FROM c");
    cmp_ok(held($session), '<', 8 * 1024 * 1024, "$mode: what is read of a row to find its argument is not kept");
    $session->get('ROLLBACK');

    # Arguments as large as they come: few are read ahead.
    $session->get("BEGIN; DECLARE c CURSOR FOR SELECT length(kms.encode_batch(1, body, convert_to(body, 'UTF8')) OVER ()) FROM document; MOVE 200 FROM c");
    cmp_ok(held($session), '<', 24 * 1024 * 1024, "$mode: large arguments are not many");
    $session->get('ROLLBACK');
    $session->quit;
}

$node->stop;
no_crash($node);
done_testing();
