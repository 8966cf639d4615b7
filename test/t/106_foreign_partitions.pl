# Partitions that are on another server, by postgres_fdw: values travel sealed, and what must see all rows is called there,
# as doc/clusters.md says.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = test_folder('keys');
my %settings = ('kms.command' => make_keyring($folder, 'customer-pii', 'main:wrap'));
my ($here, $there) = map { kms_node($_, %settings) } 'here', 'there';
plan skip_all => 'no postgres_fdw' if $here->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'}) == 0;

my $context = q{convert_to('person.ssn ' || id, 'UTF8')};
my $far = kms_session($there);
$far->get(qq{CREATE TABLE person_old (id int PRIMARY KEY, ssn bytea); SELECT kms.register_column('person_old', 'ssn', 'customer-pii', \$\$$context\$\$)});
my $near = kms_session($here);
$near->get(sprintf q{
    CREATE EXTENSION postgres_fdw;
    CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname 'postgres');
    CREATE USER MAPPING FOR CURRENT_USER SERVER there;
    CREATE TABLE person (id int, ssn bytea) PARTITION BY RANGE (id);
    CREATE TABLE person_new PARTITION OF person FOR VALUES FROM (100) TO (200);
    CREATE FOREIGN TABLE person_old PARTITION OF person FOR VALUES FROM (0) TO (100) SERVER there;
    SELECT kms.register_column('person', 'ssn', 'customer-pii', $$%s$$);
}, $there->host, $there->port, $context);

# --- values

$near->get("INSERT INTO person SELECT id, kms.encode_with('customer-pii', 'ssn ' || id, $context) FROM generate_series(95, 104) id");
my $read = "SELECT count(*) FROM %s WHERE kms.decode_with_text('customer-pii', ssn, $context) = 'ssn ' || id";
is($near->get(sprintf $read, 'person'), 10, 'values of all partitions are read');
is($far->get(sprintf $read, 'person_old'), 5, '... those of the foreign one also over there, by the same keyring');
is($far->get(q{SELECT count(*) FROM person_old WHERE kms.looks_sealed(ssn)}), 5, '... where they have arrived sealed');
my $plan = $near->get('EXPLAIN (VERBOSE, COSTS OFF) ' . sprintf $read, 'person');
unlike($plan, qr/Remote SQL:.*decode/, '... and are opened here');
$near->get("UPDATE person SET ssn = kms.encode_with('customer-pii', 'changed', $context) WHERE id = 95");
is($far->get("SELECT kms.decode_with_text('customer-pii', ssn, $context) FROM person_old WHERE id = 95"), 'changed', 'an UPDATE seals, too');
$near->get("UPDATE person SET ssn = kms.encode_with('customer-pii', 'ssn 95', $context) WHERE id = 95");

# --- what must see all rows

$near->get(q{SELECT kms.rotate_key('customer-pii')});
foreach my $call (q{SELECT * FROM kms.census('person', 'ssn')}, q{CALL kms.reencrypt('person', 'ssn')}, q{CALL kms.decrypt_column('person', 'ssn', 'text')}) {
    my $refused = fails_with($near, $call, '0A000');
    like($refused->{message} . $refused->{detail}, qr/"person_old" is a foreign table/, '... since it is elsewhere');
}
my $retired = fails_with($near, q{SELECT kms.disable_key('customer-pii', 1)}, 'KM012', 'no version is retired');
like($retired->{detail}, qr/"person_old" is a foreign table, so its rows cannot be counted/, '... since they cannot be counted');

# By each server for its own rows.
$near->get(q{ALTER TABLE person DETACH PARTITION person_old; CALL kms.reencrypt('person', 'ssn')});
$far->get(q{SET kms.cache_ttl = '1s'; CALL kms.reencrypt('person_old', 'ssn')});
$near->get('ALTER TABLE person ATTACH PARTITION person_old FOR VALUES FROM (0) TO (100)');
is($far->get(q{SELECT version, rows FROM kms.census('person_old', 'ssn')}), '2|5', 'over there they are re-encrypted');
is($near->get(sprintf $read, 'person'), 10, '... and all are read');
$near->get(q{SELECT kms.disable_key('customer-pii', 1, force => true)});
is($near->get(sprintf $read, 'person'), 10, '... without the version of before, which force retires');

# --- data keys are those of the server that seals

$near->get(q{SET kms.mode = envelope; SELECT kms.create_data_key('orders', 'main')});
is($near->get(q{INSERT INTO person VALUES (1, kms.encode_with('orders', 'x')); SELECT kms.decode_with_text('orders', ssn) FROM person WHERE id = 1}), 'x', 'values under a data key are kept over there, too');
fails_with($far, q{SET kms.mode = envelope; SELECT kms.decode_with_text('orders', ssn) FROM person_old WHERE id = 1}, 'KM002', '... which has not the data key');

$_->quit foreach $near, $far;
$_->stop foreach $here, $there;
no_crash($_) foreach $here, $there;
done_testing();
