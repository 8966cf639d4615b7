# What goes on while no agent can be had, and what does not, in each mode: doc/outage.md.
use strict;
use warnings FATAL => 'all';

use File::Copy qw(copy);
use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use Test::More;

my $folder = test_folder('keys');
my $serve = make_keyring($folder, 'pii', 'other', 'email:aes-256-siv', 'kek:wrap');
write_text("$folder/agent", "[ ! -e $folder/down ] || { echo 'the store is gone' >&2; exit 1; }\n$serve\n");
my $node = kms_node('outage', 'kms.command' => "exec sh $folder/agent", 'kms.keys' => '1=pii, 2=other');
my $setup = kms_session($node);
$setup->get(<<'SQL');
CREATE TABLE plain (id int);
CREATE TABLE card (id int, number bytea);
CREATE FUNCTION seal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.number := kms.encode(2, NEW.number); RETURN NEW; END $$;
CREATE TRIGGER seal BEFORE INSERT ON card FOR EACH ROW EXECUTE FUNCTION seal();
SELECT kms.create_data_key('pii data', 'kek'), kms.create_data_key('other data', 'kek'), kms.create_data_key('email data', 'kek', 'aes-256-siv');
SELECT kms.register_column('card', 'number', 'other');
SQL
my %keys = (local => '1=pii, 2=other, 3=email', remote => '1=pii, 2=other, 3=email', envelope => '1=pii data, 2=other data, 3=email data');

sub down { write_text("$folder/down", ''); return }
sub up { unlink "$folder/down"; return }

foreach my $mode (sort keys %keys) {
    my $keys = $keys{$mode} =~ s/ (data)/%20$1/gr;
    my $session = keys_session($node, { 'kms.mode' => $mode, 'kms.keys' => $keys });
    my $held = $session->get("SELECT kms.encode(1, 'held'::text)");
    $session->get("SELECT kms.encode(3, 'held')");
    my $other = keys_session($node, { 'kms.mode' => $mode, 'kms.keys' => $keys })->get("SELECT kms.encode(2, 'other'::text) FROM kms.blob_put(2, 'other')");
    down();
    my $agent = agent_pid($session);
    kill KILL => $agent;
    ok(becomes(sub { !is_alive($agent) }), "$mode mode: the agent is gone, and cannot be started again");

    my $goes_on = $mode eq 'remote' ? 'KM007' : '';
    is($session->ask("SELECT kms.decode_text(1, '$held'), kms.encode(1, 'x')")->{state}, $goes_on, '... values under a key that is held');
    is($session->ask($_)->{state}, 'KM007', "... $_") foreach "SELECT kms.decode_text(2, '$other')", "SELECT kms.encode(2, 'x')",
        "SELECT kms.try_decode(2, '$other')", "SELECT kms.is_sealed('$other', 2)", "INSERT INTO card VALUES (1, '4111')",
        $mode eq 'envelope' ? ("SELECT kms.create_data_key('new', 'kek')", "SELECT kms.rotate_data_key('pii data')") : ();
    is($session->get($_) =~ tr/\n//, 0, "... $_ goes on") foreach 'SELECT count(*) FROM plain', 'SELECT count(*) FROM kms.data_keys', 'SELECT column_name FROM kms.registered_columns',
        q{SELECT count(*) FROM kms.census('card', 'number')}, "SELECT suite FROM kms.inspect('$held')";
    is($session->ask("SELECT kms.encode_all(3, 'held')")->{state}, $mode eq 'envelope' ? '' : 'KM007', '... encode_all under a key that is held');
    is($session->ask('SELECT count(*) FROM kms.blob_list()')->{state}, 'KM007', '... blob_list with a blob of a key that is not');
    my $answer;  # one that tries says nothing of it, and each makes the pause longer
    ok(becomes(sub { $answer = $session->ask("SELECT kms.encode(2, 'x')"); $answer->{hint} =~ /^It is tried again in \d+ ms at the earliest\. / }), '... which says when it is tried again');
    my $new = keys_session($node, { 'kms.mode' => $mode, 'kms.keys' => $keys });
    $answer = fails_with($new, "SELECT kms.decode_text(1, '$held')", 'KM007', '... a session that begins');
    like(fails_with($new, 'SELECT kms.ping()', 'KM007', '... which ping() says')->{detail}, qr/the store is gone/, '... with the agent\'s own words');

    up();
    ok(becomes(sub { $_->ask("SELECT kms.decode_text(1, '$held') || kms.decode_text(2, '$other')")->{out} eq 'heldother' }), 'once it is mended a session goes on') foreach $session, $new;
    $_->quit foreach $session, $new;
}

# --- what is held is so for kms.cache_ttl

my $session = keys_session($node, { 'kms.cache_ttl' => '2s' });
my $held = $session->get("SELECT kms.encode(1, 'held'::text)");
down();
kill KILL => agent_pid($session);
is($session->get("SELECT kms.decode_text(1, '$held')"), 'held', 'a key is held');
ok(becomes(sub { $session->ask("SELECT kms.decode_text(1, '$held')")->{state} eq 'KM007' }), '... for kms.cache_ttl');
up();
$node->reload;
ok(becomes(sub { $session->ask("SELECT kms.decode_text(1, '$held')")->{out} eq 'held' }), '... and a reload ends the waiting');

# --- an older copy of the keyring is put back: an agent that runs refuses it until it is ended

my $running = keys_session($node);
$running->get("SELECT kms.encode(1, 'x')");
copy("$folder/ring", "$folder/older") or die "copy: $!";
chmod 0600, "$folder/older";
$running->get("SELECT kms.create_key('late')");
rename "$folder/older", "$folder/ring" or die "rename: $!";
my $refused = fails_with($running, "SELECT kms.encode(2, 'x')", 'KM007', 'an older keyring under an agent that has read a newer one');
like($refused->{detail}, qr/an older state of .* has been put back/, '... which says so');
is($running->ask('SELECT kms.ping() IS NOT NULL')->{state}, '', '... though ping() is answered');
kill KILL => agent_pid($running);
ok(becomes(sub { $running->ask("SELECT kms.encode(2, 'x')")->{state} eq '' }), '... until that agent is ended');
$_->quit foreach $setup, $session, $running;
is($node->safe_psql('postgres', 'SELECT count(*) FROM card'), 0, 'nothing was stored in plaintext instead');

$node->stop;
no_crash($node);
done_testing();
