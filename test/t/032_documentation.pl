# The pages of doc/: their examples are run, and their tables are what the catalog and the program say.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run ();
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $agent = kms_agent_path();
my $folder = test_folder('documentation');

sub page { return slurp_file("$top/doc/$_[0]") }

# Pieces of code that are indented by four spaces, without them.
sub blocks_of {
    my @blocks = $_[0] =~ /(?<=\n\n)((?: {4}.*\n|\n(?= {4}))+)/g;
    s/^ {4}//mg foreach @blocks;
    return @blocks;
}

# The rows of the tables whose heads begin with $head, as lists of cells.
sub table {
    my ($text, $head) = @_;
    my @tables = $text =~ /^\| \Q$head\E .*\n\|[-| ]+\n((?:\|.*\n)+)/mg or die "no table of $head";
    return map { my $row = s/\\\|/\x01/gr; [ map { s/\x01/|/gr } $row =~ /\| (.*?) ?(?=\|)/g ] } map { split /\n/ } @tables;
}

sub run_shell {
    my ($script) = @_;
    my ($out, $err);
    IPC::Run::run([ 'sh', '-c', "cd '$folder' && $script" ], '<', \'', '>', \$out, '2>', \$err);
    return ($? >> 8, $out, $err);
}

# --- doc/keyring.md: its commands in their order, and its table of exit codes

local $ENV{PATH} = "$folder/bin:" . ($agent =~ s{/[^/]+$}{}r) . ":$ENV{PATH}";
mkdir "$folder/$_" or die $! foreach qw(bin keys unlock);
write_text("$folder/bin/pass", "#!/bin/sh\necho \"of \$2\"\n");
chmod 0755, "$folder/bin/pass" or die $!;
write_text("$folder/old.key", unpack 'H*', pack 'N*', map { int rand 2**32 } 1 .. 8);
chmod 0600, "$folder/old.key" or die $!;

my $keyring = page('keyring.md') =~ s{/srv/}{$folder/}gr;
my $ring = "--keyring $folder/keys/ring --key-file $folder/unlock/ring.key";
local %ENV = (%ENV, map { split /=/ } map { split / / } $keyring =~ /^    export (.*)$/mg);
is("--keyring $ENV{KMS_KEYRING} --key-file $ENV{KMS_KEY_FILE}", $ring, 'keyring.md names its files in the environment');
my @commands = map { /^kms-agent .*/mg } blocks_of($keyring);
cmp_ok(scalar @commands, '>=', 14, 'keyring.md has its commands');
my %used;
foreach my $command (@commands) {
    my ($verb, $rest) = $command =~ /^kms-agent (\w+)(?: +(.*))?$/ or die $command;
    # Words of explanation stand apart.
    my $line = join(' ', $verb, $rest // ()) =~ s/ {3,}.*//r;
    $line =~ s/…/$ring/;
    if ($line =~ /^rekey .*--key-file old-unlock\.key --new-key-file/) {
        run_shell("cp unlock/ring.key old-unlock.key && cp -p keys/ring ring");
    }
    if ($line =~ /COPY/) {
        run_shell('cp -p ring COPY && cp -p new-unlock.key ring.key');
    }
    my ($code, undef, $err) = run_shell("kms-agent $line");
    is($code, 0, "kms-agent $line" =~ s/\Q$folder\E/…/gr) or diag $err;
    run_shell('mv unlock/next.key unlock/ring.key') if $line =~ /--new-key-file \S*next\.key/;
    run_shell('mv new-unlock.key old-unlock.key') if $line =~ /^rekey .*--key-file old-unlock\.key --new-key-file/;
    $used{$verb} = 1;
}
my (undef, $help) = run_shell('kms-agent --help');
my %subcommand = $help =~ /^  (\w+) {3,}(\S.*)$/mg;
delete @subcommand{qw(serve init)};
is(join(' ', grep { !$used{$_} } sort keys %subcommand), '', 'keyring.md shows every subcommand');
foreach my $row (table($keyring, 'code')) {
    my ($code, $meaning) = @$row;
    my ($said) = $help =~ /^  $code  ((?:.|\n {5})*)/m;
    $said =~ s/\s+/ /g;
    is($meaning =~ s/\W//gr, $said =~ s/, \.\.\.//r =~ s/the keyring's lock/the lock/r =~ s/\W//gr, "exit code $code in the page and in --help");
}
foreach my $command ($keyring =~ /^    kms\.command = '([^']*)'$/mg) {
    next if $command =~ /^sudo/;
    $command =~ s{^\S+/kms-agent}{$agent};
    my ($code, $out) = run_shell("printf 'hello 0 0 kms/1\\n' | $command");
    like($out, qr{^ok 0 \d+ kms/1 }, 'the kms.command of keyring.md serves') or diag $code;
}

# --- doc/protocol.md: the agent, by hand

my $protocol = page('protocol.md');
my ($by_hand, $answer) = $protocol =~ /^    \$ (printf .*)\n((?:    .*\n)+)/m or die 'nothing to try by hand';
write_text("$folder/customers", 'k' x 32);
$by_hand =~ s{\./agent\.sh /etc/kms/keys}{sh @{[ example_agent('agent.sh') ]} $folder};
my ($code, $out) = run_shell($by_hand);
is($out, $answer =~ s/^    //gmr, 'what protocol.md tries by hand answers as shown');

my $sqlstate_of = { map { my ($word) = $_->[0] =~ /`(.*)`/; $word => $_->[2] } table($protocol, 'CODE') };
my $faults = slurp_file("$FindBin::RealBin/003_faulty_agent.pl");
foreach my $word (sort keys %$sqlstate_of) {
    my ($state) = $sqlstate_of->{$word} =~ /^(\w+)/;
    like($faults, qr/'?\Q$word\E'? => '$state'/, "the agent's error $word is $state");
}

# --- doc/sql.md: its examples

my $node = kms_node('documentation', 'kms.command' => "exec $agent serve $ring");
my $session = kms_session($node);
$session->get("SELECT kms.create_key('customer-pii')");
$session->get(<<'SQL');
CREATE TABLE person (id int, ssn bytea);
CREATE TABLE card (id int PRIMARY KEY, number bytea);
CREATE ROLE clerk LOGIN;
GRANT USAGE ON SCHEMA kms TO clerk;
SQL
my $manual = page('sql.md');
my @examples = grep { /^CREATE/ } blocks_of($manual);
is(scalar @examples, 3, 'sql.md has its examples');
$session->get("SELECT kms.create_key('acme')");
is($session->get($_), /document/ ? 'for Acme only' : '', 'an example of sql.md') foreach @examples;
$session->get("SET kms.keys = '1=customer-pii'");

$session->get("INSERT INTO person VALUES (7, kms.encode(1, '078-05-1120'))");
my $clerk = kms_session($node, user => 'clerk');
is($clerk->get('SELECT ssn_of(7)'), '078-05-1120', 'the SECURITY DEFINER function opens a value for who cannot');
$session->get('CREATE ROLE passer_by LOGIN');
my $passer_by = kms_session($node, user => 'passer_by');
fails_with($passer_by, 'SELECT ssn_of(7)', '42501', '... and not for whoever was not given it');
$passer_by->quit;
is($clerk->get('SHOW kms.keys'), '', '... and leaves no binding');
fails_with($clerk, $_, '42501') foreach 'SELECT ssn FROM person', "SELECT kms.decode(1, '\\x00')";
$clerk->get("CREATE TEMP TABLE person (id int, ssn bytea); SET search_path = pg_temp, public");
is($clerk->get('SELECT public.ssn_of(7)'), '078-05-1120', '... nor is it led astray by search_path');
$clerk->quit;

$session->get("INSERT INTO card VALUES (1, '4111111111111111'), (2, '5500000000000004')");
is($session->get('SELECT kms.decode_text(1, number, id::text::bytea) FROM card ORDER BY id'),
    "4111111111111111\n5500000000000004", 'the trigger seals a column');
is($session->get("SELECT count(*) FROM card WHERE number::text LIKE '%34313131%'"), 0, '... and nothing else is stored');
fails_with($session, 'SELECT kms.decode(1, (SELECT number FROM card WHERE id = 1), $$2$$)', 'KM005', '... for its own row');

# Its examples of many values, in their order.
$session->get("CREATE TABLE imported AS SELECT id, 'ssn ' || id AS ssn FROM generate_series(8, 300) id");
my ($typed, @many) = grep { /^(?:SELECT|INSERT)/ } blocks_of($manual);
is($session->get($typed), ($typed =~ /→ (.*)/)[0], 'sql.md has an example of another type');
is(scalar @many, 2, '... and its examples of many values');
my ($arrays, $rows) = map { $session->get($_) } @many;
like($arrays, qr/\A\{"\\\\x[0-9a-f]{130}",NULL\}\n\{078-05-1120\}\z/, 'an array is sealed, and one is opened');
is($rows, join("\n", '7|078-05-1120', map { "$_|ssn $_" } 8 .. 300), 'rows are sealed and opened');

# --- doc/envelope.md: its examples, in their order

my $envelope = keys_session($node, { 'kms.mode' => 'envelope' });
my @statements = map { split /(?<=;)(?: +--.*)?\n/ } grep { /^(?:SELECT|CALL)/ } blocks_of(page('envelope.md'));
is(scalar @statements, 10, 'envelope.md has its examples');
$envelope->get(q{SELECT kms.create_key('customer-pii') WHERE NOT EXISTS (SELECT FROM kms.list_keys('customer-pii'))});
my @outcomes = map { $envelope->get($_) } @statements;
is("@outcomes[0, 1, 3, 4]", '1 1 2 2', 'keys are made and rotated');
is("@outcomes[5, 6]", '1 0', '... adopted and handed back');
is("@outcomes[7, 8, 9]", '0 0 password of the mail server', '... destroyed and wrapped');
$envelope->quit;

# --- doc/blobs.md and doc/search.md: their statements, in their order, as one session of psql

my %results = ('blobs.md' => 30, 'search.md' => 4);
foreach my $name (sort keys %results) {
    my @scripts = grep { !/^\*/ } blocks_of(page($name));
    my (undef, $shown, $complaints) = $node->psql('postgres', join("\n", @scripts), on_error_stop => 1, extra_params => ['-a']);
    is($complaints, '', "the statements of $name work");
    my @results = map { /^(.*; +-- → (.*))$/mg } @scripts;
    cmp_ok(scalar @results, '>=', 2 * $results{$name}, '... and have their results');
    while (my ($line, $result) = splice @results, 0, 2) {
        my ($statement) = $line =~ /^(.*;)/;
        like($shown, qr/^\Q$line\E\n\Q$result\E$/m, $statement);
    }
}
like(page('blobs.md'), qr/^    \*\/10 \* \* \* \*  psql -X -q -d app -c 'SELECT kms\.blob_expire\(10000\)'$/m, 'blobs.md has a line for cron');

# --- doc/kms-blob.md: its commands in their order, and its table of exit codes

{
    local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres', PGOPTIONS => '-c kms.keys=1=acme');
    my $blobs = page('kms-blob.md');
    write_text("$folder/report.pdf", '%PDF');
    write_text("$folder/notes.txt", 'x' x 200);
    my @lines = map { /^kms-blob .*/mg } blocks_of($blobs);
    is(scalar @lines, 12, 'kms-blob.md has its commands');
    my (%run, $last_id);
    foreach my $line (@lines) {
        # What `rm` has removed cannot be resumed.
        ($last_id) = (run_shell('kms-blob put report.pdf'))[1] =~ /(.*)/ if $line =~ /--resume/;
        my ($status, $printed, $complaint) = run_shell($line =~ s/\bID\b/$last_id/r);
        is("$status $complaint", '0 ', $line);
        my ($verb) = $line =~ /^kms-blob (\w+)/;
        ($last_id) = $printed =~ /(.*)/ if $verb eq 'put';
        $run{$verb} = 1;
    }
    (undef, my $options) = run_shell('kms-blob --help');
    is(join(' ', grep { !$run{$_} } $options =~ /^  (\w+) {3,}\S/mg), '', 'kms-blob.md shows every subcommand');
    foreach my $row (table($blobs, 'code')) {
        my ($number, $meaning) = @$row;
        my ($said) = $options =~ /^  $number  ((?:.|\n {5})*)/m;
        is($meaning =~ s/\W//gr, $said =~ s/\W//gr, "exit code $number in the page and in --help");
    }
}

# --- tables of sql.md

foreach my $row (table($manual, 'setting')) {
    my ($name) = $row->[0] =~ /`(.*)`/;
    my ($default) = $row->[2] =~ /^`?(.*?)`?$/;
    $default = $default eq 'empty' ? '' : $default =~ /^(\d+) s$/ ? "$1s" : $default;
    is($session->get("RESET ALL; SELECT context FROM pg_settings WHERE name = '$name'"),
        $row->[1] =~ /^superuser/ ? 'superuser' : 'user', "$name may be set by $row->[1]");
    my $is = "boot_val IN ('$default', (extract(epoch FROM NULLIF('$default', '')::interval) * CASE unit WHEN 'ms' THEN 1000 ELSE 1 END)::int::text)";
    $is = "boot_val = '$default'" unless $default =~ /^\d+s$/;
    is($session->get("SELECT $is FROM pg_settings WHERE name = '$name'"), 't', "... and is $row->[2] by default");
}
is(scalar table($manual, 'setting'), $session->get("SELECT count(*) FROM pg_settings WHERE name LIKE 'kms.%'"),
    'every setting is there');

my %catalog = map { my ($name, $volatile, $arguments) = split /\|/; ($name => [ $volatile, split /,/, $arguments ]) }
    split /\n/, $session->get(<<'SQL');
SELECT proname, min(CASE provolatile WHEN 'v' THEN 'volatile' WHEN 's' THEN 'stable' ELSE 'immutable' END),
    array_to_string(min(proargnames[1:pronargs]), ',')
FROM pg_proc WHERE pronamespace = 'kms'::regnamespace GROUP BY 1
SQL
my $reference = join "\n", map { page($_) } grep { -e "$top/doc/$_" } qw(sql.md envelope.md rotation.md rights.md);
my @functions = $reference =~ /`(\w+)\(([^`]*)\)`/g;
my %described;
while (my ($name, $arguments) = splice @functions, 0, 2) {
    next unless $catalog{$name};
    push @{ $described{$name} }, $arguments;
}
is(join(' ', sort keys %described), join(' ', sort keys %catalog), 'every function is described');
foreach my $name (sort grep { $_ ne 'session_keys' } keys %catalog) {
    my (undef, @arguments) = @{ $catalog{$name} };
    next if grep { $_ eq '…' } @{ $described{$name} };
    ok((grep { my $said = $_; !grep { $said !~ /\b$_\b/ } @arguments } @{ $described{$name} }), "$name(@arguments) as described");
}
foreach my $row (grep { $_->[0] =~ /^`(\w+)\(/ } map { table($manual, "$_ | volatility") } 'function', 'form') {
    my ($name) = $row->[0] =~ /^`(\w+)\(/;
    is($catalog{$name}[0], $row->[1], "$name is $row->[1]");
}

foreach my $row (table(page('rights.md'), 'kind')) {
    my ($kind, $functions, $views) = map { join ' ', sort /`(\w+)`/g } @$row;
    my $catalog = $session->get("SELECT (SELECT string_agg(f, ' ' ORDER BY f COLLATE \"C\") FROM unnest(functions) f), (SELECT string_agg(v, ' ' ORDER BY v COLLATE \"C\") FROM unnest(relations) v)
        FROM kms_internal.kinds_of_user() WHERE kind = '$kind'");
    is("$functions|$views", $catalog, "$kind has what the page says");
}
is(scalar table(page('rights.md'), 'kind'), $session->get('SELECT count(*) FROM kms_internal.kinds_of_user()'), 'every kind of user is there');

# --- whatever a page names is there

my %there = map { $_ => 1 } split /\n/, $session->get(<<'SQL');
SELECT 'kms.' || proname FROM pg_proc WHERE pronamespace = 'kms'::regnamespace
UNION SELECT 'kms_internal.' || proname FROM pg_proc WHERE pronamespace = 'kms_internal'::regnamespace
UNION SELECT 'kms.' || relname FROM pg_class WHERE relnamespace = 'kms'::regnamespace
UNION SELECT name FROM pg_settings WHERE name LIKE 'kms.%'
SQL
$there{$_} = 1 foreach 'kms.so', 'kms.control', 'kms.cpp';
foreach my $file ("$top/README.md", "$top/CHANGELOG.md", glob "$top/doc/*.md") {
    my $text = slurp_file($file);
    my ($name) = $file =~ m{([^/]+)$};
    is(join(' ', grep { !$there{$_} } $text =~ /\b(kms(?:_internal)?\.\w+)/g), '', "$name names nothing of kms that is not there");
    my ($from) = $file =~ m{^(.*)/};
    is(join(' ', grep { !-e "$from/$_" } $text =~ /\]\(([^)#:]+)(?:#[^)]*)?\)/g), '', '... and no page');
}

my %raised = map { $_ => 1 } qw(25001 40001 22004 22023 22021 22P02 2202E 54000 55000 53000 53200 XX000 XX001);
foreach my $file (glob "$top/src/pg/*/*.[ch]pp") {
    my $source = slurp_file($file);
    $raised{$_} = 1 foreach $source =~ /"(KM\d{3})"/g, map { s/[^A-Z0-9]//gr } $source =~ /MAKE_SQLSTATE\(('K'[^)]*)\)/g;
}
my %listed = map { $_ => 1 } map { $_->[0] =~ /(\w{5})/g } table($manual, 'SQLSTATE');
is(join(' ', sort keys %listed), join(' ', sort keys %raised), 'every SQLSTATE is listed, and no other');

# --- statements of sql.md and threat-model.md that no other test looks at

$session->get("SET kms.keys = '1=customer-pii'; GRANT SELECT ON kms.session_keys TO clerk");
$clerk = kms_session($node, user => 'clerk');
fails_with($clerk, 'SELECT * FROM kms.session_keys', '42501', 'SELECT on the view session_keys is not enough');
$session->get('GRANT EXECUTE ON FUNCTION kms.session_keys() TO clerk');
is($clerk->get('SELECT * FROM kms.session_keys'), '', '... EXECUTE on its function is needed too');
$clerk->quit;

my $sealed = $session->get("SELECT kms.encode(1, 'x'::text)");
$session->get("SET kms.command = 'exit 3'");
fails_with($session, "EXPLAIN SELECT FROM person WHERE kms.decode(1, '$sealed') = ssn", 'KM007',
    'EXPLAIN of a STABLE call with constants may reach the agent, and raises its errors');
$session->get('RESET kms.command');
$session->get('CREATE STATISTICS opened ON kms.decode(1, number, id::text::bytea), id FROM card; ANALYZE card');
is($session->get("SELECT count(*) FROM pg_stats_ext_exprs WHERE statistics_name = 'opened'"), 1,
    'CREATE STATISTICS takes an expression over decode, as the threat model warns');
$session->get('DROP STATISTICS opened');

# --- ... and of blobs.md

my $reader = kms_session($node);
$_->get("SET kms.keys = '1=files'") foreach $session, $reader;
my $id = $session->get("SELECT kms.blob_put(1, 'contents', expire_in => '1 day')");
$reader->get("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT kms.blob_meta('$id')");
$session->get("SELECT kms.rotate_key('files'); BEGIN; SELECT kms.blob_append('$id', ', and more')");
is($reader->get("SELECT kms.blob_get('$id') = 'contents'"), 't', 'readers wait for nobody');
my $third = kms_session($node);
$third->get("SET kms.keys = '1=files'");
$third->get('SELECT kms.rewrap_blobs(1)');
is($third->get("SELECT kms.rewrap_blobs(1) = 0 AND key_tag <> (kms.inspect(kms.encode(1, 'x'))).key_tag FROM kms.blob WHERE id = '$id'"), 't', 'rewrap_blobs passes over a blob that is locked');
$session->get('COMMIT');
is($third->get('SELECT kms.rewrap_blobs(1)'), 1, '... and comes back to it');
is($reader->get("SELECT kms.blob_get('$id') = 'contents'"), 't', 'a transaction in REPEATABLE READ sees one version');
fails_with($reader, "SELECT kms.blob_append('$id', 'x')", '40001', '... and does not change another one');
$reader->get('ROLLBACK');
$session->get("UPDATE kms.blob SET expires = now() - interval '1 minute' WHERE id = '$id'; BEGIN; SELECT FROM kms.blob WHERE id = '$id' FOR UPDATE");
is($third->get('SELECT kms.blob_expire()'), 0, 'blob_expire passes over a blob that is locked');
$session->get('COMMIT');
is($third->get('SELECT kms.blob_expire()'), 1, '... and comes back to it');
$_->quit foreach $reader, $third;

$session->quit;
$node->stop;
no_crash($node);
done_testing();
