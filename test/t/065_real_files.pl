# Files as a machine has them become blobs and come back: documents of all kinds, images, PDF, and ten
# thousand small ones.
use strict;
use warnings FATAL => 'all';

use Compress::Zlib qw(compress crc32);
use Digest::SHA;
use FindBin;
use lib "$FindBin::RealBin/lib";
use File::Find;
use IPC::Run ();
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $mib = 1024 * 1024;
my $most = 60 * $mib;
my $small_files = 10000;
my $folder = test_folder('files');
my $node = kms_node('files', 'kms.command' => make_keyring(test_folder('keys'), 'a'), 'kms.keys' => '1=a', 'max_wal_size' => '2GB');
my $session = kms_session($node);

sub write_bytes {
    my ($path, $bytes) = @_;
    open my $out, '>:raw', $path or die "$path: $!";
    print $out $bytes;
    close $out or die "$path: $!";
    return $path;
}

# --- the files

# An image of 16 by 16 grey points.
sub png {
    my $chunk = sub { pack('N', length $_[1]) . "$_[0]$_[1]" . pack 'N', crc32("$_[0]$_[1]") };
    my $lines = join '', map { pack 'C*', 0, map { $_ * 16 } 0 .. 15 } 1 .. 16;
    return "\x89PNG\r\n\x1a\n" . $chunk->('IHDR', pack 'NNC5', 16, 16, 8, 0, 0, 0, 0) . $chunk->('IDAT', compress($lines)) . $chunk->('IEND', '');
}

# A document of one empty page.
sub pdf {
    my $text = "%PDF-1.4\n%\xe2\xe3\xcf\xd3\n";
    my @places;
    my @objects = ('/Type /Catalog /Pages 2 0 R', '/Type /Pages /Kids [3 0 R] /Count 1', '/Type /Page /Parent 2 0 R /MediaBox [0 0 99 99]');
    foreach my $object (@objects) {
        push @places, length $text;
        $text .= @places . " 0 obj\n<< $object >>\nendobj\n";
    }
    my $xref = length $text;
    my $entries = join '', map { sprintf "%010d 00000 n \n", $_ } @places;
    return "${text}xref\n0 4\n0000000000 65535 f \n${entries}trailer\n<< /Size 4 /Root 1 0 R >>\nstartxref\n$xref\n%%EOF\n";
}

# Bytes that are nowhere the same, always the same ones.
sub some_bytes {
    my ($number, $length) = @_;
    my $bytes = '';
    $bytes .= Digest::SHA::sha512(pack 'NN', $number, length $bytes) while length $bytes < $length;
    return substr $bytes, 0, $length;
}

# Readable regular files below $top whose names end so, with their lengths.
sub files_below {
    my ($top, $ending) = @_;
    my %length;
    return %length if !-d $top;
    no warnings 'File::Find';    # of folders that only root may read
    find({ no_chdir => 1, wanted => sub {
        my $path = $_;
        return if $path !~ /$ending/ || -l $path || !-f _ || !-r _;
        $length{$path} = -s _ if $path =~ /\A[\x20-\x5b\x5d-\x7e]+\z/;
    } }, $top);
    return %length;
}

my (%length, $total);

# As many as there is room for.
sub take_files {
    my ($room, %of) = @_;
    foreach my $path (sort keys %of) {
        next if $length{$path} || $of{$path} > $room;
        $length{$path} = $of{$path};
        $room -= $of{$path};
    }
    return;
}

take_files($most / 4, files_below('/usr/share', qr/\.(?:png|pdf)\z/i));
take_files($most, files_below('/usr/share/doc', qr//));
write_bytes("$folder/generated.png", png());
write_bytes("$folder/generated.pdf", pdf());
write_bytes("$folder/$_", some_bytes($_, $_ * 7919 % 2049)) foreach 1 .. $small_files;
my %generated = files_below($folder, qr//);
is(scalar keys %generated, $small_files + 2, 'small files of all lengths');
is_deeply([ (sort { $a <=> $b } values %generated)[ 0, -1 ] ], [ 0, 2048 ], '... from 0 to 2 KiB');
%length = (%length, %generated);
$total += $_ foreach values %length;

sub kind_of { return $_[0] =~ m{\.([^./]+)\z} ? lc $1 : 'none' }

my %kinds;
$kinds{kind_of($_)}++ foreach keys %length;
my @kinds = sort { $kinds{$b} <=> $kinds{$a} || $a cmp $b } keys %kinds;
note sprintf '%d files of %.1f MiB: %s', scalar keys %length, $total / $mib, join ', ', map { "$kinds{$_} $_" } grep { defined } @kinds[ 0 .. 12 ];
cmp_ok($kinds{$_}, '>', 0, "$kinds{$_} of the kind $_") foreach 'png', 'pdf';

# --- through SQL

sub sha256_of { return Digest::SHA->new(256)->addfile($_[0], 'b')->hexdigest }

write_bytes("$folder/list", join '', map { "$_\t$length{$_}\t" . sha256_of($_) . "\n" } sort keys %length);
$session->get(<<"SQL");
CREATE TABLE file (path text PRIMARY KEY, size bigint, sha256 text, id uuid);
COPY file (path, size, sha256) FROM '$folder/list';
UPDATE file SET id = kms.blob_put(1, pg_read_binary_file(path), name => path, content_type => substring(path FROM '[^./]*\$'));
SQL
my $files = keys %length;
is($session->get('SELECT count(DISTINCT id) FROM file'), $files, 'each becomes a blob');
is($session->get(<<'SQL'), '', '... that is the file, by its SHA-256');
SELECT path FROM file f, kms.blob_verify(f.id) v
WHERE NOT (v.complete AND v.size = f.size AND encode(v.sha256, 'hex') = f.sha256)
SQL
is($session->get(<<'SQL'), 't|', '... and byte by byte, every tenth');
SELECT count(*) > 1000, string_agg(path, ', ') FILTER (WHERE kms.blob_get(id) IS DISTINCT FROM pg_read_binary_file(path))
FROM (SELECT *, row_number() OVER (ORDER BY size) AS n FROM file) AS f WHERE n % 10 = 0
SQL
is($session->get('SELECT count(*), sum(size) FROM kms.blob_list()'), "$files|$total", 'blob_list has them all');
is($session->get(<<"SQL"), $small_files + 2, '... with their names and sizes');
SELECT count(*) FROM kms.blob_list('$folder/') l JOIN file f ON f.id = l.id AND f.path = l.name AND f.size = l.size
SQL

# --- through kms-blob: the largest of each of the commonest kinds, and an empty one

my $program = kms_agent_path() =~ s/kms-agent$/kms-blob/r;
my @where = ('-h', $node->host, '-p', $node->port, '-d', 'postgres');

sub run_program {
    my (@words) = @_;
    my ($out, $err) = ('', '');
    IPC::Run::run([ $program, @words, @where ], '<', \'', '>', \$out, '2>', \$err) or die "@words: $err";
    return $out;
}

sub largest_of {
    my ($kind) = @_;
    my @of_kind = grep { kind_of($_) eq $kind } keys %length;
    return (sort { $length{$b} <=> $length{$a} || $a cmp $b } @of_kind)[0];
}

my ($empty) = grep { $length{$_} == 0 } sort keys %length;
my %chosen = map { $_ => 1 } $empty, map { largest_of($_) } 'png', 'pdf', grep { defined } @kinds[ 0 .. 7 ];
foreach my $path (sort keys %chosen) {
    chomp(my $id = run_program('put', $path));
    ok(run_program('get', $id) eq slurp_file($path), "$path goes through kms-blob");
    is($session->get("SELECT encode(sha256, 'hex') FROM kms.blob_verify('$id')"), sha256_of($path), '... and is stored as it is');
}
is($session->get('SELECT count(*) FROM kms.blob_list()'), $files + keys %chosen, 'blob_list has these, too');

no_crash($node);
done_testing();
