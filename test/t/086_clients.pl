# A parallel worker named no client: it tells its agent of its leader's, and who has none says so.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP qw(decode_json);
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $policy = test_folder('policy');
my $node = kms_node('clients',
    'kms.command' => 'exec /usr/bin/python3 ' . example_agent('policy.py') . " $policy",
    'kms.keys' => '1=k',
    listen_addresses => '127.0.0.1',
    wal_level => 'logical', max_wal_senders => 4, max_replication_slots => 4,
    parallel_setup_cost => 0, parallel_tuple_cost => 0, min_parallel_table_scan_size => 0,
    max_parallel_workers_per_gather => 2, parallel_leader_participation => 'off');
write_text("$policy/rules", "k postgres\n");

# The identities that agents were told of since the last call.
my $already_seen = 0;

sub identities {
    my @lines = split /\n/, slurp_if_there("$policy/seen");
    my @told = grep { $_ } map { decode_json($_)->{identity} } @lines[ $already_seen .. $#lines ];
    $already_seen = @lines;
    foreach my $identity (@told) {
        $_ = pack 'H*', $_ foreach values %$identity;
    }
    return @told;
}

$node->safe_psql('postgres', q{
    CREATE TABLE people AS SELECT 'person ' || n AS plain FROM generate_series(1, 100) n;
    ALTER TABLE people SET (parallel_workers = 2);
    ANALYZE people;
});

foreach my $way ([ 'over TCP', '127.0.0.1', 'postgres host=127.0.0.1' ], [ 'over a Unix socket', '', 'postgres' ]) {
    my ($name, $address, $user) = @$way;
    my $leader = kms_session($node, user => $user);
    identities();
    is($leader->get('SELECT count(kms.encode(1, plain)) FROM people'), 100, "$name: values are sealed by a worker");
    my @told = identities();
    cmp_ok(scalar @told, '>=', 1, '... whose agent is told who asks');
    is(scalar(grep { $_->{pid} == $leader->pid } @told), 0, '... another process than the leader');
    is(scalar(grep { $_->{client} ne $address } @told), 0, '... for the leader\'s client');
    is("$told[0]{role} $told[0]{session_role}", 'postgres postgres', '... and role');
    is($leader->get("SELECT length(kms.encode(1, 'x'))"), 50, 'the leader asks too');
    is((identities())[0]{client}, $address, '... in the name of the same client');
    $leader->quit;
}

# --- a process that has no client at all: the apply worker of logical replication

$node->safe_psql('postgres', 'CREATE DATABASE subscriber');
$node->safe_psql('subscriber', q{
    CREATE EXTENSION kms;
    CREATE TABLE note (id int PRIMARY KEY, body bytea);
    CREATE FUNCTION seal() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.body := kms.encode(1, NEW.body); RETURN NEW; END';
    CREATE TRIGGER seal BEFORE INSERT ON note FOR EACH ROW EXECUTE FUNCTION seal();
    ALTER TABLE note ENABLE ALWAYS TRIGGER seal;
});
$node->safe_psql('postgres', q{
    CREATE TABLE note (id int PRIMARY KEY, body bytea);
    CREATE PUBLICATION notes FOR TABLE note;
    SELECT pg_create_logical_replication_slot('notes', 'pgoutput');
});
my $connection = sql_quote($node->connstr('postgres'));
$node->safe_psql('subscriber', "CREATE SUBSCRIPTION notes CONNECTION $connection PUBLICATION notes WITH (create_slot = false, slot_name = 'notes')");
identities();
$node->safe_psql('postgres', "INSERT INTO note VALUES (1, 'x')");
ok(becomes(sub { $node->safe_psql('subscriber', 'SELECT count(*) FROM note') == 1 }), 'an apply worker seals');
is((identities())[-1]{client}, 'none', '... and its agent is told that there is no client');
$node->safe_psql('subscriber', 'DROP SUBSCRIPTION notes');

$node->stop;
no_crash($node);
done_testing();
