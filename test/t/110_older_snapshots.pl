# Whoever still sees a table as it was before encrypt_column or decrypt_column filled a column would
# read NULL where the other one is dropped: switch_column waits for nobody, and is refused.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $ring = test_folder('ring');
my $node = kms_node('older_snapshots', 'kms.command' => make_keyring($ring, 'pii'), 'client_min_messages' => 'warning');
$node->safe_psql('postgres', q{CREATE TABLE person (id int, ssn text); INSERT INTO person SELECT i, 'ssn ' || i FROM generate_series(1, 3) i; CREATE TABLE person_archive (id int, ssn text)});
my ($owner, $reader, $other) = map { kms_session($node) } 1 .. 3;

# Each way: what fills, what is switched, and what the reader copies.
foreach my $way ([ q{CALL kms.encrypt_column('person', 'ssn', 'pii')}, 'ssn', 'ssn' ],
    [ q{CALL kms.decrypt_column('person', 'ssn_encrypted', 'text')}, 'ssn_encrypted', q{kms.decode_with_text('pii', ssn_encrypted)} ])
{
    my ($fill, $column, $value) = @$way;
    my $switch = "SELECT kms.switch_column('person', '$column')";
    $reader->get('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM person_archive');
    $owner->get($fill);
    my $refused = fails_with($owner, $switch, '55006', "$column: a transaction still sees the rows of before");
    like($refused->{err}, qr/Processes: @{[ $reader->pid ]}\./, '... which is named');
    is($reader->get("INSERT INTO person_archive SELECT id, $value FROM person; SELECT string_agg(ssn, ' ' ORDER BY id) FROM person_archive"), 'ssn 1 ssn 2 ssn 3', '... and copies what it sees');
    $reader->get('ROLLBACK');
    # Whoever came later, or has no snapshot that stays, is in nobody's way.
    $reader->get('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM person_archive');
    $other->get('BEGIN; SELECT count(*) FROM person_archive');
    is($owner->ask($switch)->{state}, '', '... and then the switch is made');
    $_->get('ROLLBACK') foreach $reader, $other;
}
is($owner->get(q{SELECT string_agg(ssn, ' ' ORDER BY id) FROM person}), 'ssn 1 ssn 2 ssn 3', 'all is there');

$_->quit foreach $owner, $reader, $other;
$node->stop;
no_crash($node);
done_testing();
