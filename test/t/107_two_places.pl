# One name, one key, in the database or at the agent: local mode uses both kinds, a key moves from
# one place to the other with all of its versions, and nothing is sealed twice or lost on the way.
use strict;
use warnings FATAL => 'all';

use File::Copy qw(copy);
use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir;
my $node = PostgreSQL::Test::Cluster->new('places');
$node->init;
my $serve = make_keyring($folder, 'kek:wrap', 'agents', 'index:aes-256-siv', 'terms:hmac-sha-256');
$node->append_conf('postgresql.conf', "kms.command = '$serve'\n");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION kms;
CREATE TABLE person (id int PRIMARY KEY, ssn bytea);
CREATE ROLE key_keeper LOGIN;
CREATE ROLE app LOGIN;
SELECT kms.grant_role('key_keeper', 'key_admin');
SELECT kms.grant_role('app', 'writer'), kms.grant_role('app', 'reader');
GRANT ALL ON person TO app;
SELECT kms.create_data_key('ours', 'kek');
SQL

sub local_session { return kms_session($node, @_) }

sub envelope_session {
    my $session = kms_session($node, @_);
    $session->get('SET kms.mode = envelope');
    return $session;
}

# --- both kinds in one session

my $local = local_session();
my $strict = envelope_session();
$local->get("SELECT kms.set_key(1, 'ours'), kms.set_key(2, 'agents')");
$strict->get("SELECT kms.set_key(1, 'ours')");
my ($of_ours, $of_agents) = map { $local->get("SELECT kms.encode($_, 'value $_')") } 1, 2;
is($strict->get("SELECT kms.decode_text(1, '$of_ours')"), 'value 1', 'a data key seals in local mode, and opens in envelope mode');
is($local->get("SELECT kms.decode_text(1, '$of_ours') || kms.decode_text(2, '$of_agents')"), 'value 1value 2', 'local mode opens by both kinds');
fails_with($strict, "SELECT kms.set_key(2, 'agents')", 'KM002', 'envelope mode has data keys alone');
is($local->get('SELECT string_agg(key_identifier || (fetched_at IS NOT NULL), $$ $$ ORDER BY local_id) FROM kms.session_keys'), 'ourstrue agentstrue', 'both are held');
fails_with($local, "SELECT kms.decode(2, '$of_ours')", 'KM004', 'a value of the other kind is of another key');
fails_with($local, "SELECT kms.decode(1, '$of_agents')", 'KM004', '... both ways');
is($local->get("SELECT kms.try_decode(2, '$of_ours') IS NULL AND kms.try_decode(1, '$of_agents') IS NULL"), 't', '... which try_decode passes over');
is($local->get("SELECT string_agg(v, ' ' ORDER BY n) FROM unnest(kms.decode_with_text_array(ARRAY['ours', 'agents', 'ours'], ARRAY['$of_ours', '$of_agents', '$of_ours']::bytea[])) WITH ORDINALITY t (v, n)"),
    'value 1 value 2 value 1', 'many keys of both kinds are fetched at once');

# A data key is retired under whoever seals in local mode, too.
$local->get("BEGIN; INSERT INTO person VALUES (1, kms.encode(1, 'in flight'))");
my $keeper = kms_session($node, user => 'key_keeper');
$node->safe_psql('postgres', "SELECT kms.register_column('person', 'ssn', 'ours')");
$keeper->get("SELECT kms.rotate_data_key('ours')");
$keeper->get("SET lock_timeout = '100ms'");
fails_with($keeper, "SELECT kms.disable_data_key('ours', 1)", '55P03', 'who retires a data key waits for local mode, too');
$local->get('COMMIT');
fails_with($keeper, "SELECT kms.disable_data_key('ours', 1)", 'KM012', '... and then finds the row');
$keeper->get('RESET lock_timeout');
is($local->get("SELECT key_tag = (SELECT key_tag FROM kms.data_keys WHERE name = 'ours' AND version = 2) FROM kms.inspect(kms.encode(1, 'x'))"), 't', 'local mode hears of a rotation');
$node->safe_psql('postgres', "TRUNCATE person; SELECT kms.disable_data_key('ours', 1)");
fails_with($local, "SELECT kms.decode(1, '$of_ours')", 'KM011', '... and of a version that is disabled');
$node->safe_psql('postgres', "SELECT kms.enable_data_key('ours', 1)");

# --- one name is not given twice

my $refused = fails_with($keeper, "SELECT kms.create_data_key('agents', 'kek')", '22023', 'no data key is called like a key of the agent');
like($refused->{err}, qr/kms\.adopt_key/, '... which says what would be right');
fails_with($keeper, "SELECT kms.create_key('ours')", '22023', 'no key of the agent is called like a data key');
fails_with($keeper, "SELECT kms.rotate_key('ours')", '22023', '... nor rotated');
fails_with($keeper, "SELECT kms.create_data_key('agents', 'kek', force => true)", '42501', 'force is for a superuser');
$node->safe_psql('postgres', "SELECT kms.create_data_key('forced', 'kek', force => true)");

for my $case (['get', 'one of get alone', undef], ['wrap,unwrap', 'one that only wraps', undef],
    ['encrypt,decrypt,wrap,unwrap', 'one that encrypts and tells nothing', 'KM010']) {
    my ($verbs, $what, $state) = @$case;
    my $admin = kms_session($node);
    $verbs .= ',wrap,unwrap' unless $verbs =~ /wrap/;
    $admin->get("SET kms.command = '$serve --verbs $verbs'");
    (my $name = "by $verbs") =~ tr/,/ /;
    if (defined $state) {
        fails_with($admin, "SELECT kms.create_data_key('$name', 'kek')", $state, "$what: nobody knows whether it has the name");
        $admin->get("SELECT kms.create_data_key('$name', 'kek', force => true)");
    } else {
        is($admin->get("SELECT kms.create_data_key('$name', 'kek')"), 1, "$what: the name is free");
    }
}
my $plain = kms_session($node);
$plain->get("SET kms.command = '$serve --verbs get'");
fails_with($plain, "SELECT kms.encode_with('ours', 'x')", 'KM010', 'an agent that does not unwrap opens no data key');

# --- adopt

$local->get("SELECT kms.set_key(3, 'index'), kms.set_key(4, 'terms')");
my $app = local_session(user => 'app');
$app->get("SELECT kms.set_key(2, 'agents')");
$app->get("INSERT INTO person SELECT i, kms.encode(2, 'person ' || i) FROM generate_series(1, 3) i");
$node->safe_psql('postgres', "SELECT kms.unregister_column('person', 'ssn'); SELECT kms.register_column('person', 'ssn', 'agents')");
$keeper->get("SELECT kms.rotate_key('agents')");
$app->get("INSERT INTO person SELECT i, kms.encode(2, 'person ' || i) FROM generate_series(4, 6) i");
$keeper->get("SELECT kms.rotate_key('agents')");
$keeper->get("SELECT kms.rotate_key('agents')");
$keeper->get("SELECT kms.disable_key('agents', 3), kms.destroy_key('agents', 3, force => true)");
my $listed = "SELECT string_agg(format('%s %s %s %s %s', version, algorithm, key_tag, state, created), ', ' ORDER BY version)";
my $before = $keeper->get("$listed FROM kms.list_keys('agents')");
my $term = $local->get(q{SELECT kms.blind_index(4, 'a@b')});
my $looked_for = $local->get("SELECT kms.encode(3, 'a\@b')");

is($keeper->get("SELECT kms.adopt_key('agents', 'kek')"), 4, 'a key of the agent becomes a data key');
is($keeper->get("$listed FROM kms.data_keys WHERE name = 'agents'"), $before, '... with its numbers, tags, states and ages');
is($keeper->get("SELECT kms.adopt_key('index', 'kek') + kms.adopt_key('terms', 'kek')"), 2, '... of each algorithm');
is($keeper->get("SELECT kms.adopt_key('agents', 'kek')"), 0, '... once');
my $everybody = "SELECT string_agg(kms.decode_text(2, ssn), ' ' ORDER BY id) FROM person";
my $people = join ' ', map { "person $_" } 1 .. 6;
is($app->get($everybody), $people, 'values open as before');
$strict->get("SELECT kms.set_key(2, 'agents'), kms.set_key(3, 'index'), kms.set_key(4, 'terms')");
is($strict->get($everybody), $people, '... in envelope mode, too');
is($strict->get(q{SELECT kms.blind_index(4, 'a@b')}), $term, '... where search terms are the same');
is($strict->get("SELECT kms.encode(3, 'a\@b')"), $looked_for, '... and what is looked for');
is($strict->get("SELECT version FROM kms.data_key WHERE key_tag = (kms.inspect(kms.encode(2, 'x'))).key_tag"), 4, 'the newest version seals');
fails_with($keeper, "SELECT kms.rotate_key('agents')", '22023', 'the copy at the agent is not rotated');
is($keeper->get("SELECT kms.rotate_data_key('agents')"), 5, '... but the data key');
is($app->get("SELECT version FROM kms.data_key WHERE key_tag = (kms.inspect(kms.encode(2, 'x'))).key_tag") // '', 5, '... which local mode seals under')
    if $node->safe_psql('postgres', 'GRANT SELECT ON kms.data_key TO app') eq '';
is($local->get("SELECT cardinality(kms.encode_all(3, 'a\@b'))"), 1, 'what both places have is looked for once');

# The agent's versions may go: rows need the tags, and the database has them.
$keeper->get("SELECT kms.disable_key('agents', 1)");
is(kms_session($node, user => 'app')->get("SET kms.keys = '2=agents'; $everybody"), $people, 'the agent gives a version no more, and rows open');
fails_with($keeper, "SELECT kms.destroy_key('agents', 2)", '55000', 'what is not disabled is not destroyed');
$keeper->get("SELECT kms.disable_key('agents', $_)") foreach 2, 4;
$keeper->get("SELECT kms.destroy_key('agents', $_)") foreach 1, 2, 4;
is(kms_session($node, user => 'app')->get("SET kms.keys = '2=agents'; $everybody"), $people, '... nor has any');
fails_with($keeper, "SELECT kms.disable_data_key('agents', 1)", 'KM012', 'rows keep the data key from being retired');

# Blobs, batches, parallel workers and re-encryption go by the same rule.
$app->quit;
$keeper->get("SELECT kms.create_key('moving')");
my $holder = local_session();
$holder->get("SET kms.keys = '1=moving'; CREATE TABLE thing (id int, v bytea); SELECT kms.register_column('thing', 'v', 'moving')");
my $blob = $holder->get("SELECT kms.blob_put(1, 'contents')");
$holder->get("INSERT INTO thing SELECT i, kms.encode(1, 'thing ' || i) FROM generate_series(1, 5000) i");
is($keeper->get("SELECT kms.adopt_key('moving', 'kek')"), 1, 'a key of blobs and of a table is adopted');
$keeper->get("SELECT kms.destroy_key('moving', 1, force => true)");
my $things = "SELECT count(*) FROM thing WHERE kms.decode_text(1, v) = 'thing ' || id";
my $contents = "SELECT convert_from(kms.blob_get('$blob'), 'UTF8')";
foreach my $reader ($holder, local_session(), envelope_session()) {
    $reader->get("SET kms.keys = '1=moving'");
    is($reader->get($contents), 'contents', 'its blob is read');
    is($reader->get($things), 5000, '... and its table');
}
$holder->get('SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2');
like($holder->get("EXPLAIN $things"), qr/Gather/, 'by parallel workers');
is($holder->get($things), 5000, '... too');
is($holder->get("SELECT count(*) FROM (SELECT kms.decode_batch_text(1, v) OVER () v, id FROM thing) s WHERE v = 'thing ' || id"), 5000, 'by a window form');
$keeper->get("SELECT kms.rotate_data_key('moving')");
$holder->get("SET client_min_messages = warning; CALL kms.reencrypt('thing', 'v')");
is($holder->get("SELECT string_agg(version || ' ' || rows, ', ') FROM kms.census('thing', 'v')"), '2 5000', 'a table comes to the newest version in local mode');
is($holder->get('SELECT kms.rewrap_blobs(1)'), 1, '... and a blob');
is($holder->get("SELECT version || ' ' || rows FROM kms.key_age() WHERE key_identifier = 'moving'"), '2 5001', '... and both count');
$keeper->get("SELECT kms.disable_data_key('moving', 1)");
is($holder->get($contents), 'contents', 'without the version of before');
$holder->quit;
$app = local_session(user => 'app');

# --- what is not adopted

$keeper->get("SELECT kms.create_key('stays', exportable => false), kms.create_key('asleep'), kms.create_key('gone')");
fails_with($keeper, "SELECT kms.adopt_key('stays', 'kek')", 'KM003', 'a key that does not leave');
fails_with($keeper, "SELECT kms.adopt_key('kek', 'kek')", 'KM003', 'a KEK');
fails_with($keeper, "SELECT kms.adopt_key('nobody', 'kek')", 'KM002', 'a key that nobody has');
fails_with($keeper, "SELECT kms.adopt_key('asleep', 'nobody')", 'KM002', 'by a KEK that nobody has');
fails_with($keeper, "SELECT kms.adopt_key('asleep', 'gone')", 'KM003', 'by a key that seals');
$keeper->get("SELECT kms.rotate_key('asleep'), kms.disable_key('asleep', 1)");
fails_with($keeper, "SELECT kms.adopt_key('asleep', 'kek')", 'KM011', 'a version that is disabled, and not given');
is($node->safe_psql('postgres', "SELECT count(*) FROM kms.data_key WHERE name = 'asleep'"), 0, '... leaves nothing behind');
$keeper->get("SELECT kms.destroy_key('gone', 1, force => true)");
fails_with($keeper, "SELECT kms.adopt_key('gone', 'kek')", 'KM011', 'a key of destroyed versions');
fails_with($keeper, "SELECT kms.adopt_key(NULL, 'kek')", '22004', 'no name');
fails_with($keeper, "SELECT kms.adopt_key('ours', NULL)", '22004', 'no KEK');
fails_with($keeper, "SELECT kms.adopt_key('ours', 'kek')", 'KM002', 'a data key that the agent has not');
fails_with($app, "SELECT kms.adopt_key('asleep', 'kek')", '42501', 'by who keeps no keys');

# --- and back

is($keeper->get("SELECT kms.hand_back_key('ours')"), 2, 'a data key goes to the agent');
is($node->safe_psql('postgres', "SELECT count(*) FROM kms.data_key WHERE name = 'ours'"), 0, '... and the database has it no more');
is($local->get("SELECT kms.decode_text(1, '$of_ours')"), 'value 1', '... whose values open as before');
is($keeper->get("SELECT string_agg(version || state || purpose || exportable, ' ' ORDER BY version) FROM kms.list_keys('ours')"),
    '1enabledsealtrue 2enabledsealtrue', '... under the same numbers');
fails_with($strict, "SELECT kms.decode(1, '$of_ours')", 'KM002', '... but in envelope mode');
is($keeper->get("SELECT kms.rotate_key('ours')"), 3, '... and the agent rotates it again');
is($keeper->get("SELECT kms.adopt_key('ours', 'kek')"), 3, 'there and back again');
is($local->get("SELECT kms.decode_text(1, '$of_ours')"), 'value 1', '... values open');

my $one_way = fails_with($keeper, "SELECT kms.hand_back_key('agents')", '55000', 'what is destroyed at the agent does not come back');
like($one_way->{err}, qr/never comes back/, '... which says so');
fails_with($keeper, "SELECT kms.hand_back_key('nobody')", 'KM002', 'no such data key');
$keeper->get("SELECT kms.disable_key('ours', 1)");
fails_with($keeper, "SELECT kms.hand_back_key('ours')", '55000', 'two states of one version');
$keeper->get("SELECT kms.enable_key('ours', 1)");
$keeper->get("BEGIN; SELECT kms.rotate_data_key('ours')");
fails_with($keeper, "SELECT kms.hand_back_key('ours')", '55000', 'a version that may be rolled back does not go');
$keeper->get('ROLLBACK');
$keeper->get("SELECT kms.rotate_data_key('ours')");
$keeper->get("BEGIN; SELECT kms.hand_back_key('ours')");
is($keeper->get("SELECT count(*) FROM kms.list_keys('ours')"), 4, 'the agent has imported a version');
$keeper->get('ROLLBACK');
is($local->get("SELECT kms.decode_text(1, '$of_ours')"), 'value 1', '... which nobody took: values open');
my $told = $keeper->ask("SELECT kms.hand_back_key('ours')");
is($told->{out}, 0, '... and then it goes without importing anything');
like($told->{err}, qr/version 4 by version 1 of the KEK "kek", or a later one/, '... which says what backups hold');

$keeper->get("SELECT kms.create_data_key('mixed', 'kek')");
$keeper->get("SELECT kms.rotate_data_key('mixed')") foreach 1, 2;
$keeper->get("SELECT kms.disable_data_key('mixed', 2)");
$node->safe_psql('postgres', "CALL kms.destroy_data_key('mixed', 1)");
is($keeper->get("SELECT kms.hand_back_key('mixed')"), 3, 'versions in each state go');
is($keeper->get("SELECT string_agg(version || state, ' ' ORDER BY version) FROM kms.list_keys('mixed')"), '1destroyed 2disabled 3enabled', '... and stay in it');

# An older copy of the keyring was put back and went on behind the number that it lacks.
$keeper->get("SELECT kms.create_key('gap')");
copy("$folder/ring", "$folder/older") or die "copy: $!";
chmod 0600, "$folder/older";
$keeper->get("SELECT kms.rotate_key('gap')");
is($keeper->get("SELECT kms.adopt_key('gap', 'kek')"), 2, 'two versions are adopted');
rename "$folder/older", "$folder/ring" or die "rename: $!";
kms_admin($folder, 'rotate', 'gap', '--after', 2);
$keeper->quit;  # its agent takes no older file
$keeper = kms_session($node, user => 'key_keeper');
fails_with($keeper, "SELECT kms.hand_back_key('gap')", '55000', 'the agent has a version that the database has not');
is($keeper->get("SELECT kms.adopt_key('gap', 'kek')"), 1, '... which is adopted');
is($keeper->get("SELECT kms.hand_back_key('gap')"), 1, '... and the one that the agent lacks goes back');
is($keeper->get("SELECT string_agg(version || state, ' ' ORDER BY version) FROM kms.list_keys('gap')"), '1enabled 2enabled 3enabled', '... in its place');

# An agent that lists what it has not, or does not list what it has.
my $relay_folder = test_folder('relay');
my $asked = "exec /usr/bin/python3 @{[ example_agent('relay.py') ]} $relay_folder " . $serve =~ s/^exec //r;
sub with_plan {
    my ($plan, $sql, $state, $name) = @_;
    write_text("$relay_folder/plan", $plan);
    my $session = keys_session($node, { 'kms.command' => $asked });
    fails_with($session, $sql, $state, $name);
    $session->quit;
}
my $far = '2147483647 xaes-256-gcm 00112233aabbccdd destroyed 2026-01-01T00:00:00Z seal exportable';
$node->safe_psql('postgres', "SELECT kms.create_key('far')");
with_plan("list 1 add-line far $far", q{SELECT kms.adopt_key('far', 'kek')}, 'KM009', 'a version that the agent lists and does not describe');
is($node->safe_psql('postgres', "SELECT kms.adopt_key('far', 'kek')"), 1, '... and a right agent gives the key');
with_plan("list 1 add-line far $far", q{SELECT kms.rotate_data_key('far')}, 'KM009', '... nor does one that is adopted go on from it');
is($node->safe_psql('postgres', "SELECT kms.rotate_data_key('far')"), 2, '... but from its own');
$node->safe_psql('postgres', "SELECT kms.create_key('unlisted')");
with_plan('list 1 no-lines', "SELECT kms.$_('unlisted', 1)", 'KM002', "$_ of a version that is not listed") foreach 'disable_key', 'destroy_key';
is($node->safe_psql('postgres', "SELECT state FROM kms.list_keys('unlisted')"), 'enabled', '... which stays as it is');

$keeper->get("SELECT kms.create_data_key('no way', 'kek')");
my $without = kms_session($node);
$without->get("SET kms.command = '$serve --verbs wrap,unwrap,get,list'");
fails_with($without, "SELECT kms.hand_back_key('no way')", 'KM010', 'an agent that does not import');
is($node->safe_psql('postgres', "SELECT count(*) FROM kms.data_key WHERE name = 'no way'"), 1, '... leaves the data key where it is');

# --- what a data key stands for

$node->safe_psql('postgres', "CREATE TABLE lasting (id int, v bytea); SELECT kms.create_key('lasting'), kms.create_key('brittle', purpose => 'wrap'); SELECT kms.register_column('lasting', 'v', 'lasting')");
$local->get("INSERT INTO lasting SELECT 1, kms.encode_with('lasting', 'x')");
$keeper->get("BEGIN; SELECT kms.adopt_key('lasting', 'brittle')");
fails_with($keeper, "SELECT kms.disable_key('lasting', 1)", 'KM012', 'a data key that may be rolled back stands for nothing');
$keeper->get('ROLLBACK');
$keeper->get("SELECT kms.adopt_key('lasting', 'brittle')");
$keeper->get("SELECT kms.destroy_key('brittle', 1, force => true)");
fails_with($keeper, "SELECT kms.disable_key('lasting', 1)", 'KM012', '... nor does one whose KEK does not open it');
fails_with($keeper, "SELECT kms.destroy_key('lasting', 1)", '55000', '... so that the agent\'s copy is not destroyed');
is(local_session()->get("SELECT kms.decode_with_text('lasting', v) FROM lasting"), 'x', '... which opens');
fails_with($strict, "SELECT kms.decode_with_text('lasting', v) FROM lasting", 'KM011', '... but not in envelope mode');
is($keeper->get("SELECT kms.hand_back_key('lasting')"), 0, '... and the data key goes');
is($local->get("SELECT kms.decode_with_text('lasting', v) FROM lasting"), 'x', '... without harm');

# Shredding means nobody opens it.
$node->safe_psql('postgres', "SELECT kms.create_key('doomed'), kms.create_key('k1', purpose => 'wrap'); SELECT kms.create_data_key('kept', 'k1')");
my $doomed = $local->get("SELECT kms.encode_with('doomed', 'x')");
$keeper->get("SELECT kms.rotate_kek('k1'), kms.adopt_key('doomed', 'k1')");
my $super = kms_session($node);
my $warned = $super->ask("CALL kms.destroy_data_key('doomed', 1, dry_run => true, shred => true)");
like($warned->{err}, qr/the agent has version 1 of "doomed" as well/, 'a rehearsal tells of the agent\'s copy');
fails_with($super, "CALL kms.destroy_data_key('doomed', 1, shred => true)", '55000', '... which keeps a key from being shredded');
is($local->get("SELECT kms.decode_with_text('doomed', '$doomed')"), 'x', '... and nothing is done');
$keeper->get("SELECT kms.disable_key('doomed', 1)");
$keeper->get("SELECT kms.destroy_key('doomed', 1)");
$super->get("CALL kms.destroy_data_key('doomed', 1, shred => true)");
fails_with($local, "SELECT kms.decode_with_text('doomed', '$doomed')", 'KM011', 'shredded');
is($super->get("SELECT string_agg(state, ' ' ORDER BY version) FROM kms.list_keys('k1')"), 'destroyed destroyed enabled', '... with every version of the KEK that it may ever have been wrapped by');
is($local->get("SELECT kms.decode_with_text('kept', kms.encode_with('kept', 'y'))"), 'y', 'other data keys live');
$super->get("SELECT kms.create_key('twice')");
$super->get("SELECT kms.adopt_key('twice', 'k1')");
like($super->ask("CALL kms.destroy_data_key('twice', 1)")->{err}, qr/WARNING: .*the agent has version 1 of "twice" as well/, 'a plain destruction warns');

# The agent is looked at behind the lock, too, and not to know is not to have none.
$super->get("SET client_min_messages = warning; SELECT kms.create_key('k2', purpose => 'wrap'); SELECT kms.create_data_key('raced', 'k2'), kms.create_data_key('unseen', 'k2')");
my $raced = $local->get("SELECT kms.encode_with('raced', 'x')");
my $writer = local_session();
$writer->get("BEGIN; INSERT INTO lasting SELECT 2, kms.encode_with('lasting', 'y')");
my $shredder = envelope_session();
$shredder->send("CALL kms.destroy_data_key('raced', 1, shred => true)");
my $waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = @{[ $shredder->pid ]}";
ok(becomes(sub { $super->get($waits) == 1 }), 'shredding waits for whoever writes');
$keeper->get("BEGIN; SELECT kms.hand_back_key('raced')");
$keeper->get('ROLLBACK');
$writer->get('COMMIT');
is($shredder->answer->{state}, '55000', '... and then finds the copy that was made meanwhile');
is($local->get("SELECT kms.decode_with_text('raced', '$raced')"), 'x', '... so that nothing is said to be lost');
$_->quit foreach $writer, $shredder;
my $blind = kms_session($node);
$blind->get("SET kms.command = '$serve --verbs wrap,unwrap,describe,get,rotate,destroy'");
fails_with($blind, "CALL kms.destroy_data_key('unseen', 1, shred => true)", 'KM010', 'an agent that does not list its keys');
fails_with($blind, "SELECT kms.hand_back_key('unseen')", 'KM010', '... has none handed back');
$super->get("SELECT kms.create_key('apart')");
$super->get("SELECT kms.adopt_key('apart', 'k2')");
kms_admin($folder, 'rotate', 'apart');
is($blind->get("SELECT kms.rotate_data_key('apart')"), 3, 'a number that the agent has given is not given again');

# One name at a time.
$keeper->get("BEGIN; SELECT kms.create_data_key('wanted', 'kek')");
my $rival = kms_session($node);
$rival->send("SELECT kms.create_key('wanted')");
ok(becomes(sub { $super->get("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = @{[ $rival->pid ]}") == 1 }), 'who makes a key of a name waits for who makes a data key of it');
$keeper->get('COMMIT');
is($rival->answer->{state}, '22023', '... and does not get it');
$rival->quit;

# --- two keys of one name, by a superuser's force or by a restore

$node->safe_psql('postgres', "SELECT kms.create_data_key('asleep', 'kek', force => true)");
$keeper->get("SELECT kms.enable_key('asleep', 1)");
fails_with($keeper, "SELECT kms.adopt_key('asleep', 'kek')", '55000', 'two keys of one name are not made one');
fails_with($keeper, "SELECT kms.hand_back_key('asleep')", '55000', '... either way');
my $remote = kms_session($node);
$remote->get('SET kms.mode = remote');
my $remotely = $remote->get("SELECT kms.encode_with('asleep', 'by the agent')");
my $stored = $local->get("SELECT kms.encode_with('asleep', 'by the database')");
is($local->get("SELECT kms.decode_with_text('asleep', '$remotely') || ', ' || kms.decode_with_text('asleep', '$stored')"), 'by the agent, by the database', 'which is meant is told by the value');

$node->stop;
no_crash($node);
done_testing();
