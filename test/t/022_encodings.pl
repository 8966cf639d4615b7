# Text in databases of several encodings: what is sealed, what is shown, and what is told of errors.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $keys = test_folder('keys');
my $command = make_keyring($keys, 'k', "\xc3\xa9");
my $node = kms_node('encodings', 'kms.command' => $command);
foreach my $encoding ('UTF8', 'LATIN1', 'SQL_ASCII', 'EUC_JP') {
    $node->safe_psql('postgres', "CREATE DATABASE \L$encoding\E ENCODING '$encoding' TEMPLATE template0 LOCALE 'C'");
    $node->safe_psql(lc $encoding, 'CREATE EXTENSION kms');
}

sub session_in {
    my ($database, $client_encoding) = @_;
    return keys_session($node, { 'kms.keys' => '1=k' }, dbname => $database, env => { PGCLIENTENCODING => $client_encoding });
}

my $utf8 = session_in('utf8', 'UTF8');
my $latin1 = session_in('latin1', 'UTF8');
my $ascii = session_in('sql_ascii', 'SQL_ASCII');

# --- values are the bytes of their database

my $from_utf8 = $utf8->get("SELECT kms.encode(1, '\xc3\xa9t\xc3\xa9')");
my $from_latin1 = $latin1->get("SELECT kms.encode(1, '\xc3\xa9t\xc3\xa9')");
is($latin1->get("SELECT kms.decode(1, '$from_latin1')"), '\xe974e9', 'text is sealed as its bytes in the database\'s encoding');
is($latin1->get("SELECT kms.decode_text(1, '$from_latin1')"), "\xc3\xa9t\xc3\xa9", '... and comes back as text');
my $answer = fails_with($utf8, "SELECT kms.decode_text(1, '$from_latin1')", '22021', 'text of another encoding is refused');
like($answer->{message}, qr/local id 1 \(key "k"\): the plaintext is not text/, '... with the name of its key');
is($utf8->get("SELECT convert_from(kms.decode(1, '$from_latin1'), 'LATIN1')"), "\xc3\xa9t\xc3\xa9", '... and can be converted');
is($ascii->get("SELECT kms.decode_text(1, '$from_utf8')"), "\xc3\xa9t\xc3\xa9", 'SQL_ASCII takes any bytes');
fails_with($_, "SELECT kms.decode_text(1, kms.encode(1, '\\x610062'::bytea))", '22021', 'but a zero byte, in no encoding')
  foreach $utf8, $latin1, $ascii;

# --- what the server says is in every encoding: the client of one that lacked a character got another error

my $top = "$FindBin::RealBin/../..";
is_deeply([ grep { slurp_file($_) =~ /[^\x00-\x7f]/ } "$top/kms.control", glob "$top/src/{*,*/*}/*.{[ch]pp,sql}" ], [], 'nothing beyond ASCII in messages, nor in the extension\'s script');
my $euc = session_in('euc_jp', 'UTF8');
is($euc->get("SELECT kms.decode_text(1, kms.encode(1, '\xe6\xbc\xa2'))"), "\xe6\xbc\xa2", 'a database of another encoding');
$euc->quit;

# --- identifiers are bytes

is($utf8->get("SELECT kms.set_key(2, '\xc3\xa9'); SHOW kms.keys"), "\n1=k, 2=%C3%A9", 'an identifier beyond ASCII');
fails_with($latin1, "SELECT kms.set_key(2, '\xc3\xa9')", 'KM002', '... is another one in another encoding');
is($latin1->get("SELECT kms.set_key(2, convert_to('\xc3\xa9', 'UTF8')); SHOW kms.keys"), "\n1=k, 2=%C3%A9", '... and the same as bytes');

# --- blobs' names and metadata are UTF-8, in whatever database

sub described { return "SELECT name, content_type, metadata FROM kms.blob_list('\xc3\xa9t') WHERE id = '$_[0]'" }
my $is_described = "\xc3\xa9t\xc3\xa9|\xc3\xa9|{\"\xc3\xa9\": \"\xc3\xa9\"}";
my $put = "SELECT kms.blob_put(1, 'x', '\xc3\xa9t\xc3\xa9', '\xc3\xa9', '{\"\xc3\xa9\": \"\xc3\xa9\"}')";
my %database = (utf8 => $utf8, latin1 => $latin1, ascii => $ascii);
my $folder = $node->basedir;
foreach my $from (sort keys %database) {
    my $id = $database{$from}->get($put);
    $database{$from}->get("COPY (SELECT * FROM kms.blob WHERE id = '$id') TO '$folder/$from.blob' (ENCODING 'UTF8')");
    foreach my $to (sort keys %database) {
        $database{$to}->get("COPY kms.blob FROM '$folder/$from.blob' (ENCODING 'UTF8')") if $from ne $to;
        is($database{$to}->get(described($id)), $is_described, "a blob put in $from, described in $to");
    }
}
fails_with($ascii, "SELECT kms.blob_put(1, 'x', E'\\xe9')", '22021', 'a name that is not UTF-8');
my $euro = $utf8->get("SELECT kms.blob_put(1, 'x', '\xe2\x82\xac')");
$utf8->get("COPY (SELECT * FROM kms.blob WHERE id = '$euro') TO '$folder/euro.blob'");
$latin1->get("COPY kms.blob FROM '$folder/euro.blob'");
fails_with($latin1, "SELECT name FROM kms.blob_meta('$euro')", '22P05', 'a name that a database cannot tell');

# --- messages

foreach my $length (60 .. 66) {
    my $name = 'x' x $length . "\xe2\x82\xac" x 20;
    $answer = fails_with($utf8, "SELECT kms.create_key('new', '$name')", '22023', "an algorithm's name of odd characters from byte $length on");
    ok(utf8::decode(my $copy = $answer->{err}), '... is not cut within one');
}
my $narrow = session_in('utf8', 'LATIN1');
fails_with($narrow, "SELECT kms.create_key('new', repeat('x', 63) || '\xe9')", '22023', '... nor for a client that it is converted for');

$_->quit foreach $utf8, $latin1, $ascii, $narrow;
$node->stop;
no_crash($node);
done_testing();
