# A KEK could be fetched, and keys did not hold tenants apart: purposes over agents of every kind, and who
# may use which key.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $keys = test_folder('keys');
my $plan = test_folder('plan');
my $serve = make_keyring($keys, 'tenant-1', 'tenant-2', 'kek:wrap');
my $node = kms_node('purposes', 'kms.command' => $serve);
my $session = kms_session($node);

sub use_agent { $session->get('SET kms.command = ' . sql_quote($_[0])); return }

# --- an agent that does not offer what restricts a key makes none

my $relay = join ' ', '/usr/bin/python3', example_agent('relay.py'), $plan, $serve =~ s/^exec //r;
foreach (['purpose', "purpose => 'wrap'"], ['no-export', 'exportable => false']) {
    my ($hidden, $wish) = @$_;
    write_text("$plan/plan", "hello 1 hide $hidden");
    use_agent("KMS_HIDES=$hidden $relay");
    my $refused = fails_with($session, "SELECT kms.create_key('wished', $wish)", 'KM010', "an agent without $hidden");
    like($refused->{detail}, qr/does not offer $hidden/, '... is named');
    is($session->get("SELECT count(*) FROM kms.list_keys('wished')"), 0, '... and makes no key');
    is($session->get("SELECT kms.create_key('plain $hidden')"), 1, '... but another one');
}

# --- agents that say nothing of purposes, or that a KEK may leave

my $agent = write_text("$keys/agent.py", <<'PYTHON');
import sys
says = {"silent": "", "leaves": " seal exportable", "stays": " seal no-export", "odd": " mac whatever"}
while line := sys.stdin.buffer.readline():
    verb, number, length, *words = line.decode().split()
    body = sys.stdin.buffer.read(int(length))
    status, answer, content = "ok", "", b""
    if verb == "hello":
        answer, content = "kms/1 identify " + " ".join(sys.argv[1:]), b""
    elif verb == "describe" and words[0] not in says:
        status, answer = "error", "not-found"
    elif verb == "describe":
        answer = "1 xaes-256-gcm 0011223344556677" + says[words[0]]
    elif verb == "list":
        answer = str(len(says))
        content = "".join(f"{key} 1 xaes-256-gcm 0011223344556677 enabled 2026-01-01T00:00:00Z{said}\n" for key, said in says.items()).encode()
    elif verb in ("wrap", "unwrap"):
        context = int(words[1])
        content = bytes(byte ^ 1 for byte in body[context:])
    sys.stdout.buffer.write(f"{status} {number} {len(content)} {answer}".rstrip().encode() + b"\n" + content)
    sys.stdout.buffer.flush()
PYTHON
use_agent("/usr/bin/python3 $agent get wrap unwrap describe list");
is($session->get("SELECT key_identifier, purpose, exportable FROM kms.list_keys() ORDER BY 1"),
    "leaves|seal|t\nodd|mac|\nsilent||\nstays|seal|f", 'what an agent leaves out is not known');
my %warning = (silent => 'may be', odd => 'may be', leaves => 'is', stays => undef);
foreach my $kek (sort keys %warning) {
    my $answer = $session->ask("SELECT kms.create_data_key('under $kek', '$kek')");
    is($answer->{out}, 1, "a data key under a KEK that $kek");
    like($answer->{err}, $warning{$kek} ? qr/WARNING: .*the KEK "$kek" $warning{$kek} exportable/ : qr/\A\Z/, '... is warned of where it could leave');
}
use_agent("/usr/bin/python3 $agent get wrap unwrap");
like($session->ask("SELECT kms.rotate_data_key('under stays')")->{err}, qr/may be exportable/, 'an agent that cannot describe it');
use_agent("/usr/bin/python3 $agent wrap unwrap");
is($session->ask("SELECT kms.rotate_data_key('under leaves')")->{err}, '', 'an agent that gives no key at all');

# --- serve --verbs

use_agent("$serve --verbs wrap,unwrap,describe");
my $answer = $session->ask("SELECT kms.create_data_key('data', 'kek'), kms.unwrap('kek', kms.wrap('kek', 'x')) = 'x'");
is("$answer->{out} $answer->{err}", '1|t ', 'an agent for envelope mode alone');
fails_with($session, "SELECT kms.$_", 'KM010') foreach "create_key('more')", "rotate_key('kek')", 'list_keys()', "set_key(1, 'tenant-1')",
    "disable_key('tenant-1', 1, force => true)", "destroy_key('tenant-1', 1, force => true)";
$session->get("SET kms.mode = 'envelope'");
is($session->get("SELECT kms.decode_with_text('data', kms.encode_with('data', 'x'::text))"), 'x', '... serves it');
$session->get("RESET kms.mode; RESET kms.command");

# --- who may use which key: the documentation's way holds, ALTER ROLE does not

my $page = slurp_file("$FindBin::RealBin/../../doc/administration.md");
my ($function) = $page =~ /^ {8}(CREATE FUNCTION my_note.*?\$\$;)/ms or die 'no function in administration.md';
$session->get(<<"SQL");
CREATE ROLE "tenant-1" LOGIN;
CREATE ROLE "tenant-2" LOGIN;
CREATE ROLE app LOGIN;
ALTER ROLE app SET kms.keys = '1=tenant-1';
GRANT USAGE ON SCHEMA kms TO app;
GRANT EXECUTE ON FUNCTION kms.decode_text(int, bytea, bytea) TO app;
CREATE TABLE tenant_note (id int, tenant text, body bytea);
INSERT INTO tenant_note SELECT n, tenant, kms.encode_with(tenant, 'of ' || tenant) FROM unnest(ARRAY['tenant-1', 'tenant-2']) WITH ORDINALITY u(tenant, n);
GRANT SELECT ON tenant_note TO app;
$function
REVOKE EXECUTE ON FUNCTION my_note(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION my_note(int) TO "tenant-1", "tenant-2";
SQL
my $app = kms_session($node, user => 'app');
is($app->get('SHOW kms.keys'), '1=tenant-1', 'a role has its key by ALTER ROLE');
is($app->get("SET kms.keys = '1=tenant-2'; SELECT kms.decode_text(1, body) FROM tenant_note WHERE id = 2"), 'of tenant-2', '... and takes another one');
$app->quit;
foreach my $number (1, 2) {
    my $tenant = kms_session($node, user => "tenant-$number");
    is($tenant->get("SELECT my_note($number)"), "of tenant-$number", "tenant $number reads its row through the function");
    is($tenant->get('SELECT my_note(' . (3 - $number) . ')'), '', '... and nobody else\'s');
    $tenant->get("SET kms.keys = '1=tenant-1,2=tenant-2'; CREATE TEMP TABLE tenant_note (id int, tenant text, body bytea); SET search_path = pg_temp, public");
    is($tenant->get('SELECT public.my_note(' . (3 - $number) . ')'), '', '... whatever it sets');
    fails_with($tenant, $_, '42501') foreach "SELECT kms.decode_with('tenant-1', '\\x00')", 'SELECT * FROM public.tenant_note';
    $tenant->quit;
}

$session->quit;
$node->stop;
no_crash($node);
done_testing();
