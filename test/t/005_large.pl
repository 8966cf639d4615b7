# Values up to the largest that PostgreSQL has, arguments in every form that it stores, and memory
# that is given back.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $megabyte = 1024;    # in kB
my $folder = PostgreSQL::Test::Utils::tempdir;
my $serve = make_keyring($folder, 'customers');
my $node = kms_node('large', 'kms.command' => $serve, 'kms.keys' => '1=customers', 'kms.request_timeout' => '100s');

sub private_memory { return process_status($_[0])->{RssAnon} =~ s/ kB//r }

sub given_back {
    my ($pid, $before, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    cmp_ok(private_memory($pid) - $before, '<', 48 * $megabyte, "$name gives its memory back");
    return;
}

# --- every form of an argument

{
    my $session = kms_session($node);
    $session->get(<<'SQL');
CREATE TABLE forms AS
    SELECT t AS plain, t::bytea AS bytes, t::bytea AS context
    FROM unnest('{0,1,125,126,127,128,1999,2001,2700,9000,100000,3000000}'::int[]) length,
        substr(repeat('Grüße 😀 ', 400000), 1, length) t;
DO $do$
DECLARE form text;
BEGIN
    FOREACH form IN ARRAY '{plain,external,main,extended}'::text[] LOOP
        EXECUTE format('CREATE TABLE %1$s (LIKE forms);
            ALTER TABLE %1$s ALTER plain SET STORAGE %1$s, ALTER bytes SET STORAGE %1$s, ALTER context SET STORAGE %1$s;
            INSERT INTO %1$s SELECT plain || $e$$e$, bytes || $e$$e$, context || $e$$e$ FROM forms WHERE length(plain) < %2$s',
            form, CASE form WHEN 'plain' THEN 1000 ELSE 10000000 END);
    END LOOP;
END $do$;
SQL
    is($session->get('SELECT max(pg_column_size(plain)) < max(octet_length(plain)) / 10 FROM extended'),
        't', 'compressed arguments');
    is($session->get("SELECT pg_relation_size(reltoastrelid) > 9000000 FROM pg_class WHERE relname = 'external'"),
        't', 'arguments that lie elsewhere');
    for my $mode ('local', 'remote') {
        $session->get("SET kms.mode = $mode");
        for my $table ('plain', 'external', 'main', 'extended') {
            is($session->get(<<"SQL"), 't|t|t', "$mode mode, storage $table");
CREATE TEMP TABLE sealed ON COMMIT PRESERVE ROWS AS
    SELECT f.*, kms.encode(1, plain) AS from_text, kms.encode(1, bytes, context) AS from_bytes FROM $table f;
SELECT bool_and(kms.decode_text(1, from_text) = plain), bool_and(kms.decode(1, from_bytes, context) = bytes),
    bool_and(kms.decode_text(1, kms.recode(1, 1, from_text)) = plain) FROM sealed;
SQL
            $session->get('DROP TABLE sealed');
        }
    }
    $session->quit;
}

# --- what the agent does not take

{
    my $stage = stage_agent($folder, 'greet.small');
    write_text("$folder/small", "ok 0 14 kms/1 encrypt decrypt\nmax-body=1000\n");
    my $session = kms_session($node);
    $session->get("SET kms.command = '$stage'; SET kms.mode = remote; SET kms.keys = '1=plain'");
    my $sealed = "kms.encode(1, repeat('x', 974), 'c')";
    is($session->get("SELECT length(kms.decode(1, $sealed, 'c'))"), 974, 'as much as the agent takes');
    my $answer = fails_with($session, "SELECT kms.decode(1, $sealed || 'x', 'c')", '54000', 'one byte more');
    like($answer->{detail}, qr/bodies of at most 1000 bytes/, 'the reason is told');
    fails_with($session, "SELECT kms.encode(1, repeat('x', 1001))", '54000', 'to encode');
    is($session->get("SELECT kms.decode_text(1, kms.encode(1, 'x'))"), 'x', 'the session goes on');
    $session->quit;
}

# --- hundreds of megabytes through the agent

{
    my $session = kms_session($node);
    $session->get("SET kms.mode = remote; SELECT kms.encode(1, 'x')");
    my ($backend, $agent) = ($session->pid, agent_pid($session));
    my ($before, $agent_before) = map { private_memory($_) } $backend, $agent;
    my $began = time;
    is($session->get(<<'SQL'), 't', '256 MB in remote mode');
SELECT md5(kms.decode(1, kms.encode(1, value))) = md5(value)
FROM (SELECT repeat('0123456789abcdef', 16 * 1024 * 1024) AS value OFFSET 0) v
SQL
    note 'seconds: ', time - $began;
    $session->get("SELECT kms.encode(1, 'x')");
    is(agent_pid($session), $agent, 'by one agent');
    given_back($backend, $before, 'the backend');
    given_back($agent, $agent_before, 'the agent');
    $session->quit;
}

# --- one gigabyte

sub available_memory {
    my ($available) = PostgreSQL::Test::Utils::slurp_file('/proc/meminfo') =~ /^MemAvailable:\s+(\d+) kB/m;
    return $available;
}

SKIP: {
    skip 'less than 8 GB of memory are available', 8 if available_memory() < 8 * 1024 * $megabyte;
    # The largest value has 1073741819 bytes, the overhead is 49.
    my $largest = q{repeat('0123456789', 107374177)};
    my $session = kms_session($node);
    $session->get("SELECT kms.encode(1, 'x')");
    my $before = private_memory($session->pid);
    my $began = time;
    is($session->get(<<"SQL"), '1073741770|t', '1 GB minus the overhead');
SELECT length(value), md5(kms.decode(1, kms.encode(1, value))) = md5(value) FROM (SELECT $largest AS value OFFSET 0) v
SQL
    note 'seconds: ', time - $began;
    my $answer = fails_with($session, "SELECT kms.encode(1, $largest || 'x')", '54000', 'one byte more');
    like($answer->{message}, qr/could not encode with local id 1 \(key "[^"]+"\): too large/, 'the message says which');
    like($answer->{detail}, qr/1073741820 bytes; a value has at most 1073741819/, 'and how much');
    fails_with($session, "SELECT kms.decode(1, convert_to($largest, 'UTF8'))", 'KM006', 'a gigabyte of nonsense');
    given_back($session->pid, $before, 'the backend');
    $session->get("SET kms.mode = remote");
    fails_with($session, "SELECT kms.encode(1, $largest, repeat('c', 100)::bytea)", '54000', 'too much for a request');
    is($session->get("SELECT kms.decode_text(1, kms.encode(1, 'x'))"), 'x', 'the session goes on');
    $session->quit;
}

$node->stop;
no_crash($node);
done_testing();
