# Two nodes that Patroni keeps, each with a keyring of its own: what is written on the leader is read on the replica, and
# all of it is there and goes on after a failover, as doc/clusters.md says.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use File::Copy ();
use HTTP::Tiny;
use JSON::PP ();
use KmsKeys;
use KmsTest;
use POSIX qw(_exit setsid WNOHANG);
use PostgreSQL::Test::Utils;
use Test::More;

my %program = map { my $name = $_; $name => (grep { -x } map { "$_/$name" } split(/:/, $ENV{PATH}), '/usr/bin')[0] } qw(etcd patroni);
foreach my $name (sort keys %program) {
    plan skip_all => "no $name: test/install-packages check" unless $program{$name};
}
plan skip_all => 'Patroni would not wait for a sanitizer; 084 has a standby' if $ENV{KMS_SANITIZED};

my $json = JSON::PP->new->canonical;
my $top = test_folder('patroni');
my $user = getpwuid $<;
my $password = join '', map { ('a' .. 'z')[ rand 26 ] } 1 .. 20;
my %nodes;
# Leader and replica, as it stands.
my ($leader, $replica);

# --- processes: what is started here ends here, whatever happens

my %running;

sub start_process {
    my ($name, $log, @command) = @_;
    my $pid = fork // die("fork: $!");
    if ($pid == 0) {
        setsid();
        delete @ENV{ grep { /^(?:PATRONI|ETCD|PG(?!_))|_proxy$/i } keys %ENV };
        # Nobody but this process ends what is started here.
        _exit(127) unless open(STDIN, '<', '/dev/null') && open(STDOUT, '>>', $log) && open(STDERR, '>&', \*STDOUT);
        { exec @command }
        _exit(127);
    }
    $running{$name} = $pid;
    return;
}

sub has_ended { my ($pid) = @_; return waitpid($pid, WNOHANG) != 0 }

# Ends one of them by a signal, and is false where it does not end.
sub end_process {
    my ($name, $signal) = @_;
    my $pid = delete $running{$name} // return 1;
    kill $signal => $pid;
    return 1 if becomes(sub { has_ended($pid) }, 30);
    kill KILL => -$pid, $pid;
    waitpid $pid, 0;
    return 0;
}

# The postmaster of a node, which Patroni starts in a session of its own.
sub postmaster {
    my ($node) = @_;
    my ($pid) = slurp_if_there($node->data_dir . '/postmaster.pid') =~ /^(\d+)$/m;
    return unless $pid && (readlink("/proc/$pid/cwd") // '') eq $node->data_dir;
    return $pid;
}

# Like the end of a machine: Patroni first, so that it starts no other server.
sub kill_node {
    my ($node) = @_;
    kill KILL => -$running{ $node->name } if $running{ $node->name };
    my $ended = end_process($node->name, 'KILL');
    my $pid = postmaster($node) // return $ended;
    kill KILL => $pid;
    return $ended && becomes(sub { !is_alive($pid) });
}

$SIG{$_} = sub { exit 1 } foreach qw(HUP INT TERM);

END {
    local $?;
    kill_node($_) foreach values %nodes;
    end_process($_, 'KILL') foreach keys %running;
}

# --- etcd, and two nodes

my ($clients, $peers) = map { 'http://127.0.0.1:' . PostgreSQL::Test::Cluster::get_free_port() } 1 .. 2;
my $web = HTTP::Tiny->new(timeout => 30, proxy => undef, http_proxy => undef, https_proxy => undef);

start_process('etcd', "$top/etcd.log", $program{etcd}, '--name', 'one', '--data-dir', "$top/etcd", '--initial-cluster', "one=$peers",
    '--listen-client-urls' => $clients, '--advertise-client-urls' => $clients, '--listen-peer-urls' => $peers, '--initial-advertise-peer-urls' => $peers);
becomes(sub { $web->get("$clients/health")->{success} }) or die('no etcd: ' . slurp_if_there("$top/etcd.log"));

# The keyring is found beside each node's data, so that one setting is right for both.
my $agent = kms_agent_path();
my %settings = (
    'kms.command' => "exec $agent serve --keyring ../keys/ring --key-file ../keys/kek",
    'kms.mode' => 'local', 'kms.request_timeout' => '10s', 'fsync' => 'off', 'max_connections' => 40, 'max_wal_senders' => 5,
    'shared_buffers' => '32MB', 'wal_keep_size' => '256MB', 'log_line_prefix' => '%m [%p] ', 'unix_socket_permissions' => '0700',
);

sub keys_of { my ($node) = @_; return $node->basedir . '/keys' }

# A host's own configuration counts there over that of all.
my %timeout = (one => '11s', two => '12s');

sub configure_node {
    my ($name) = @_;
    my $node = $nodes{$name} = PostgreSQL::Test::Cluster->new($name);
    $node->{rest} = '127.0.0.1:' . PostgreSQL::Test::Cluster::get_free_port();
    mkdir $_ foreach grep { !-d } $node->basedir;
    mkdir keys_of($node), 0700 or die $!;
    my $bin = $node->config_data('--bindir');
    my %login = (username => $user, password => $password);
    $json->pretty->utf8;
    write_text("$top/$name.yml", $json->encode({
        scope => 'kms', name => $name, etcd3 => { host => $clients =~ s{^http://}{}r }, restapi => { listen => $node->{rest}, connect_address => $node->{rest} },
        bootstrap => {
            # The shortest time that Patroni takes for a leader to be lost, and the most patience with etcd that goes with it.
            dcs => { ttl => 20, loop_wait => 1, retry_timeout => 9, postgresql => { use_pg_rewind => JSON::PP::true, parameters => \%settings } },
            initdb => [ { encoding => 'UTF8' }, { locale => 'C' }, { 'auth-local' => 'trust' }, { 'auth-host' => 'scram-sha-256' }, 'no-sync' ],
        },
        postgresql => {
            listen => '127.0.0.1:' . $node->port, connect_address => '127.0.0.1:' . $node->port, data_dir => $node->data_dir, bin_dir => $bin,
            pgpass => "$top/$name.pgpass", use_unix_socket => JSON::PP::true, parameters => { unix_socket_directories => $node->host, 'kms.request_timeout' => $timeout{$name} },
            authentication => { superuser => \%login, replication => { username => 'replicator', password => $password } },
            basebackup => [ { checkpoint => 'fast' }, 'no-sync' ],
            pg_hba => [ 'local all all trust', 'host all all 127.0.0.1/32 scram-sha-256', 'host replication replicator 127.0.0.1/32 scram-sha-256' ],
        },
    }));
    chmod 0600, "$top/$name.yml" or die $!;
    return $node;
}

sub start_node { my ($node) = @_; return start_process($node->name, $node->logfile, $program{patroni}, "$top/" . $node->name . '.yml') }

# primary or replica, by the word of Patroni and of the server.
sub is_a {
    my ($role, $node) = @_;
    return 0 unless $web->get("http://$node->{rest}/$role")->{success};
    my $is = $role eq 'primary' ? 'NOT pg_is_in_recovery()' : q{EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')};
    my ($out, $ignored);
    # A psql that is turned away may be gone before it is given its query: that dies.
    return eval { $node->psql('postgres', "SELECT $is", stdout => \$out, stderr => \$ignored) == 0 } && $out eq 't';
}

sub becomes_a {
    my ($role, $node, $name) = @_;
    my $is = becomes(sub { select undef, undef, undef, 0.2; is_a($role, $node) }, 60);
    note sprintf 'after %d s', time - $^T;
    ok($is, $name) or die($node->name . ': ' . substr slurp_if_there($node->logfile), -5000);
    return;
}

# Until the replica has all that was committed on the leader.
sub catch_up {
    my $there = $leader->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
    becomes(sub { $replica->safe_psql('postgres', "SELECT pg_last_wal_replay_lsn() >= '$there'") eq 't' }) or die('the replica does not catch up');
    return;
}

# As one copies a keyring to another host: beside the old one, and then in its place.
sub copy_keyring {
    my ($from, $to, $file) = @_;
    my $new = keys_of($to) . '/ring';
    File::Copy::copy(keys_of($from) . '/' . ($file // 'ring'), "$new.copy") && chmod(0600, "$new.copy") && rename("$new.copy", $new) or die $!;
    return;
}

($leader, $replica) = map { configure_node($_) } qw(one two);
make_keyring(keys_of($leader), 'customer-pii', 'apart', 'main:wrap');
copy_keyring($leader, $replica);
File::Copy::copy(map { keys_of($_) . '/kek' } $leader, $replica) && chmod(0600, keys_of($replica) . '/kek') or die $!;
start_node($leader);
becomes_a('primary', $leader, 'Patroni makes a cluster');
start_node($replica);
$leader->safe_psql('postgres', <<'SQL');
CREATE EXTENSION kms;
CREATE TABLE person (id int PRIMARY KEY, ssn bytea);
CREATE TABLE note (id int PRIMARY KEY, body bytea);
SELECT kms.register_column('person', 'ssn', 'customer-pii', $$convert_to('person.ssn ' || id, 'UTF8')$$);
SELECT kms.register_column('note', 'body', 'orders');
SELECT kms.create_data_key('orders', 'main');
SQL

my ($people, $notes) = (0, 0);

# More rows, under the current versions.
sub write_rows {
    my ($session) = @_;
    $session->get(sprintf q{INSERT INTO person SELECT id, kms.encode_with('customer-pii', 'ssn ' || id, convert_to('person.ssn ' || id, 'UTF8')) FROM generate_series(%d, %d) id}, $people + 1, $people + 200);
    $session->get(sprintf q{SET kms.mode = envelope; INSERT INTO note SELECT id, kms.encode_with('orders', 'note ' || id) FROM generate_series(%d, %d) id; RESET kms.mode}, $notes + 1, $notes + 50);
    ($people, $notes) = ($people + 200, $notes + 50);
    return;
}

# All rows open, in every mode.
sub reads_all {
    my ($node, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $session = kms_session($node);
    foreach my $mode ('local', 'remote') {
        is(outcome($session, "SET kms.mode = $mode; SELECT count(*) FROM person WHERE kms.decode_with_text('customer-pii', ssn, convert_to('person.ssn ' || id, 'UTF8')) = 'ssn ' || id"), $people, "$name: values, in $mode mode");
    }
    is(outcome($session, q{SET kms.mode = envelope; SELECT count(*) FROM note WHERE kms.decode_with_text('orders', body) = 'note ' || id}), $notes, '... and those under a data key');
    $session->quit;
    return;
}

sub versions_of { my ($node, $table, $column) = @_; return $node->safe_psql('postgres', "SELECT string_agg(version || ':' || rows, ' ' ORDER BY version) FROM kms.census('$table', '$column')") }

# --- what is written on the leader is read on the replica

my $writer = kms_session($leader);
write_rows($writer);
becomes_a('replica', $replica, 'a replica comes');
catch_up();
is($replica->safe_psql('postgres', 'SHOW kms.command'), $settings{'kms.command'}, 'Patroni brings kms.command to the replica');
is($_->safe_psql('postgres', 'SHOW kms.request_timeout'), $timeout{ $_->name }, '... and on ' . $_->name . ' what its own configuration says') foreach $leader, $replica;
reads_all($replica, 'on the replica');
my $reader = kms_session($replica);
is($reader->get(q{SELECT kms.decode_with_text('customer-pii', kms.encode_with('customer-pii', 'x'))}), 'x', 'a replica seals, too');
fails_with($reader, q{SELECT kms.rotate_data_key('orders')}, '25006', '... and changes no data key');
fails_with($reader, q{CALL kms.reencrypt('person', 'ssn')}, '25006', '... and re-encrypts nothing');
fails_with($reader, "SELECT kms.${_}_key('customer-pii', 1)", '25006', "... and does not $_ a version") foreach qw(disable destroy);

# A setting that is changed in Patroni.
sub patch { my (%parameters) = @_; return $web->request('PATCH', "http://$leader->{rest}/config", { content => $json->encode({ postgresql => { parameters => \%parameters } }) })->{status} }

is(patch('kms.cache_ttl' => '1s'), 200, 'settings of kms are changed in Patroni');
ok(becomes(sub { $_->safe_psql('postgres', q{SELECT current_setting('kms.cache_ttl', true)}) eq '1s' }), '... and arrive on ' . $_->name) foreach $leader, $replica;

# --- keyrings in step

is($writer->get(q{SELECT kms.rotate_key('customer-pii')}), 2, 'a key is rotated on the leader, in its keyring alone');
write_rows($writer);
$writer->get(q{SET kms.mode = envelope; SELECT kms.rotate_data_key('orders'); RESET kms.mode});
write_rows($writer);
catch_up();
# The version that a session seals under.
my $current = q{SELECT version FROM kms.inspect(kms.encode_with('customer-pii', 'x')) JOIN kms.list_keys('customer-pii') USING (key_tag)};
my $open = "SELECT kms.decode_with_text('customer-pii', ssn, convert_to('person.ssn ' || id, 'UTF8')) FROM person ORDER BY id DESC LIMIT 1";
fails_with($reader, $open, 'KM004', 'the replica does not know the version');
is($reader->get($open =~ s/decode_with/try_decode_with/r), '', '... so that it is NULL for who tries');
is($reader->get($current), 1, '... and seals under the one of before');
is($reader->get(q{SET kms.mode = envelope; SELECT count(*) FROM note WHERE kms.decode_with_text('orders', body) = 'note ' || id; RESET kms.mode}), $notes, '... but the new version of a data key, which came with the database');
copy_keyring($leader, $replica);
is($reader->get($open), "ssn $people", '... until the keyring is copied: the agent that runs takes it');
my $list = q{SELECT string_agg(concat_ws(' ', key_identifier, version, key_tag, state), ', ' ORDER BY key_identifier, version) FROM kms.list_keys()};
is($reader->get($list), $writer->get($list), '... and shows what the leader\'s shows');
reads_all($replica, 'a keyring that is in step');

# A version that all replicas have before the leader seals under it: a copy is rotated, and put in its place there last.
my ($ring, $next) = map { keys_of($leader) . "/$_" } 'ring', 'next';
File::Copy::copy($ring, $next) && chmod(0600, $next) or die $!;
is(system_log($agent, 'rotate', '--keyring', $next, '--key-file', keys_of($leader) . '/kek', 'customer-pii'), 0, 'a copy of the keyring is rotated');
copy_keyring($leader, $replica, 'next');
is($reader->get(q{SELECT max(version) FROM kms.list_keys('customer-pii')}), 3, '... and brought to the replica');
is($writer->get($current), 2, '... while the leader goes on under the version of before');
rename $next, $ring or die $!;
ok(becomes(sub { $writer->get($current) == 3 }), '... until it has the copy too');
write_rows($writer);
catch_up();
is($reader->get($open), "ssn $people", '... and what it seals then the replica reads at once');

# A KEK: the form of before stays in the row, for a keyring that does not know the new version.
is($writer->get(q{SET kms.mode = envelope; SELECT kms.rotate_kek('main'); RESET kms.mode}), 2, 'a KEK is rotated on the leader');
catch_up();
reads_all($replica, 'a keyring that lacks one version of the KEK');
copy_keyring($leader, $replica);
reads_all($replica, 'a keyring that has it');

# Keyrings that have been changed on both sides.
is($reader->get(q{SELECT kms.create_key('of-the-replica')}), 1, 'a replica makes keys in its keyring, if told so');
is($reader->get(q{SELECT kms.rotate_key('apart')}), 2, '... and rotates them');
my $lost = $reader->get(q{SELECT kms.encode_with('apart', 'x')});
is($writer->get(q{SELECT kms.rotate_key('apart')}), 2, '... and the leader gives the number to another version');
fails_with($writer, "SELECT kms.decode_with('apart', '$lost')", 'KM004', '... which opens nothing of it');
copy_keyring($leader, $replica);
my $refused = fails_with($reader, q{SELECT kms.encode_with('customer-pii', 'x'), kms.ping()}, 'KM007', 'an agent that has seen more refuses the keyring that lacks it');
like($refused->{detail}, qr/older|version/, '... and says so');
$reader->quit;
reads_all($replica, '... and one that is new takes it');

# --- the leader is gone

my $run = kms_session($leader);
$run->send(q{CALL kms.reencrypt('person', 'ssn', batch => 100, pause => '5s')});
ok(becomes(sub { $leader->safe_psql('postgres', 'SELECT rows_done > 0 FROM kms.reencrypt_progress') eq 't' }), 'a re-encryption is under way');
catch_up();
ok(kill_node($leader), 'the leader is killed, with its Patroni');
$_->kill foreach $run, $writer;
($leader, $replica) = ($replica, $leader);
becomes_a('primary', $leader, 'the replica becomes the leader');
reads_all($leader, 'after the failover');
my $progress = $leader->safe_psql('postgres', q{SELECT phase, running FROM kms.reencrypt_progress});
is($progress, 'interrupted|f', 'the new leader knows of the run that was interrupted');
unlike(versions_of($leader, 'person', 'ssn'), qr/^3:\d+$/, '... which has left rows');
$writer = kms_session($leader);
$writer->get(q{CALL kms.reencrypt('person', 'ssn')});
is(versions_of($leader, 'person', 'ssn'), "3:$people", '... and is finished here');
is($writer->get(q{SELECT kms.rotate_key('customer-pii')}), 4, 'a key is rotated on the new leader');
is($writer->get(q{SET kms.mode = envelope; SELECT kms.rotate_data_key('orders')}), 3, '... and a data key');
is($writer->get(q{SELECT kms.rotate_kek('main'); RESET kms.mode}), 3, '... and the KEK');
write_rows($writer);
$writer->get(q{CALL kms.reencrypt('person', 'ssn'); SET kms.mode = envelope; CALL kms.reencrypt('note', 'body'); RESET kms.mode});
is(versions_of($leader, @$_), $_->[2], "... and $_->[0] is re-encrypted") foreach [ 'person', 'ssn', "4:$people" ], [ 'note', 'body', "3:$notes" ];

# --- the old leader comes back

start_node($replica);
becomes_a('replica', $replica, 'the old leader comes back as a replica');
catch_up();
$reader = kms_session($replica);
fails_with($reader, $open, 'KM004', '... which does not know the new version');
copy_keyring($leader, $replica);
$reader->quit;
reads_all($replica, '... and reads everything, once it has the keyring');

# --- and leads again, as planned, also where no agent can be had: Patroni knows nothing of it

rename keys_of($replica) . '/ring', keys_of($replica) . '/away' or die $!;
is($web->post("http://$leader->{rest}/switchover", { content => $json->encode({ leader => $leader->name, candidate => $replica->name }) })->{status}, 200, 'a switchover');
($leader, $replica) = ($replica, $leader);
becomes_a('primary', $leader, 'the first node leads again');
becomes_a('replica', $replica, '... and the second follows');
$writer->quit;
$writer = kms_session($leader);
fails_with($writer, $open, 'KM007', '... but has no keyring');
rename keys_of($leader) . '/away', keys_of($leader) . '/ring' or die $!;
ok(becomes(sub { outcome($writer, $open) eq "ssn $people" }), '... until it is there');
reads_all($leader, 'after the switchover');

# --- one keyring for both nodes

make_keyring(my $shared = test_folder('shared'), 'shared');
patch('kms.command' => "exec $agent serve --keyring $shared/ring --key-file $shared/kek");
ok(becomes(sub { $_->safe_psql('postgres', 'SHOW kms.command') =~ /\Q$shared\E/ }), 'kms.command is changed in Patroni, and arrives on ' . $_->name) foreach $leader, $replica;
$reader = kms_session($replica);
is($writer->get(q{SELECT kms.rotate_key('shared')}), 2, 'a key of one keyring for both is rotated');
my $sealed = $writer->get(q{SELECT kms.encode_with('shared', 'of both')});
is($reader->get("SELECT kms.decode_with_text('shared', '$sealed')"), 'of both', '... and nothing has to be copied');

$_->quit foreach $writer, $reader;
ok(end_process($_->name, 'TERM'), $_->name . ' ends') foreach $replica, $leader;
ok(!postmaster($_), '... with its server') foreach $replica, $leader;
ok(end_process('etcd', 'TERM'), 'etcd ends');
no_crash($_) foreach $leader, $replica;
done_testing();
