# Blobs whose rows somebody has changed, agents that wrap their keys wrongly, and what breaks in the
# middle: a clear error each time, never bytes that were not written, and the session goes on.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $keys = test_folder('keys');
my $agent = make_keyring($keys, 'a', 'b');
my $node = kms_node('blob_faults', 'kms.command' => $agent, 'kms.keys' => '1=a', fsync => 'off', autovacuum => 'off', max_wal_size => '4GB');
my $session = kms_session($node);

$session->get(<<'SQL');
CREATE TABLE plain AS SELECT string_agg(sha256(n::text::bytea), '') AS bytes FROM generate_series(1, 40000) n;
CREATE TABLE specimen (name text PRIMARY KEY, id uuid, bytes bytea);
CREATE TABLE probe (name text PRIMARY KEY, start bigint, length bigint);

-- A blob in segments of these lengths.
CREATE FUNCTION put_parts(called text, lengths int[], at int) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    blob uuid := kms.blob_put(1, '', called, complete => false);
    from_byte int := at;
    length int;
BEGIN
    FOREACH length IN ARRAY lengths LOOP
        PERFORM kms.blob_append(blob, substr(bytes, from_byte, length)) FROM plain;
        from_byte := from_byte + length;
    END LOOP;
    PERFORM kms.blob_append(blob, '', complete => true);
    INSERT INTO specimen SELECT called, blob, substr(bytes, at, from_byte - at) FROM plain;
    RETURN blob;
END $$;

-- What a query brings: 'same' as expected, 'WRONG', or its SQLSTATE; nothing of it is left.
CREATE FUNCTION attempt(query text, expected text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE query INTO result;
    RAISE EXCEPTION USING ERRCODE = 'UNDO0', MESSAGE = CASE WHEN result = expected THEN 'same' ELSE 'WRONG' END;
EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
    RETURN sqlerrm;
WHEN others THEN
    RETURN sqlstate;
END $$;
CREATE FUNCTION copied(id uuid) RETURNS text LANGUAGE plpgsql AS $$ DECLARE copy uuid := kms.blob_copy(id); BEGIN RETURN md5(kms.blob_get(copy)); END $$;
CREATE FUNCTION compacted(id uuid) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM kms.blob_compact(id); RETURN md5(kms.blob_get(id)); END $$;

-- The parts that do not read, and how.
CREATE FUNCTION damage(called text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(p.name, ' ' ORDER BY p.start) FILTER (WHERE state = 'KM005'), 'none') || coalesce(string_agg(', ' || p.name || ' ' || state, '' ORDER BY p.start) FILTER (WHERE state NOT IN ('KM005', 'same')), '')
    FROM specimen s, probe p, LATERAL (SELECT attempt(format('SELECT md5(kms.blob_read(%L, %s, %s))', id, start, length), md5(substr(bytes, start::int + 1, length::int))) AS state) a WHERE s.name = called
$$;
CREATE FUNCTION states(called text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', attempt(format('SELECT md5(kms.blob_get(%L))', id), md5(bytes)),
        attempt(format('SELECT encode(sha256, ''hex'') FROM kms.blob_verify(%L)', id), encode(sha256(bytes), 'hex')),
        attempt(format('SELECT copied(%L)', id), md5(bytes)), attempt(format('SELECT compacted(%L)', id), md5(bytes)))
    FROM specimen WHERE name = called
$$;
CREATE FUNCTION flip(data bytea, at int, by int DEFAULT 1) RETURNS bytea LANGUAGE sql AS $$ SELECT set_byte(data, at, get_byte(data, at) # by) $$;
-- Tampering by the segment's place in the blob.
CREATE FUNCTION number_of(called text, place int) RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT segment FROM (SELECT DISTINCT segment FROM kms.blob_chunk WHERE blob_id = (SELECT id FROM specimen WHERE name = called)) c ORDER BY segment OFFSET place - 1 LIMIT 1 $$;
CREATE FUNCTION id_of(called text) RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT id FROM specimen WHERE name = called $$;
SQL

# Rows of segment 1: chunks 0 to 15, 16 to 31, 32 to 36; of 2 one row, whose final chunk is empty.
$session->get("SELECT put_parts('main', '{600000,262144,100,100}', 1), put_parts('other', '{600000,262144,100,100}', 100001), put_parts('small', '{100}', 7)");
$session->get("INSERT INTO probe VALUES ('1.0', 5, 100), ('1.1', 16384, 100), ('1.15', 16384 * 15, 16384), ('1.16', 16384 * 16, 100), ('1.32', 16384 * 32 + 7, 1), ('1.36', 590000, 10),
    ('1.last', 599999, 1), ('2.0', 600000, 1), ('2.15', 600000 + 15 * 16384, 100), ('2.last', 862143, 1), ('3', 862144, 1), ('4', 862244, 100)");
my $all_of_1 = '1.0 1.1 1.15 1.16 1.32 1.36 1.last';
my $same = 'same same same same';
my $corrupt = 'KM005 KM005 KM005 KM005';
is($session->get("SELECT damage(name), states(name) FROM specimen WHERE name <> 'small'"), "none|$same\nnone|$same", 'what nobody has touched');

# After $sql these parts do not read; get, verify, copy and compact say $states.
sub tampered {
    my ($name, $sql, $damage, $states) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $states //= $damage eq 'none' ? $same : $corrupt;
    return is($session->get("BEGIN;\n$sql;\nSELECT damage('main'), states('main');\nROLLBACK"), "$damage|$states", $name);
}

# A row of kms.blob_chunk: segment by its place, first chunk in the row.
sub at_row {
    my ($place, $chunk, $blob) = @_;
    $blob //= 'main';
    return "blob_id = id_of('$blob') AND segment = number_of('$blob', $place) AND chunk = $chunk";
}
sub change { return "UPDATE kms.blob_chunk SET $_[0] WHERE " . at_row($_[1], $_[2]) }

# --- bits of rows

tampered("flipped: $_->[0]", change("data = flip(data, $_->[1])", $_->[2], $_->[3]), $_->[4]) for (
    [ 'salt, begin', 0, 1, 0, $all_of_1 ],
    [ 'salt, end', 23, 1, 0, $all_of_1 ],
    [ 'commitment, begin', 24, 1, 0, $all_of_1 ],
    [ 'commitment, end', 55, 1, 0, $all_of_1 ],
    [ 'the first chunk', 56, 1, 0, '1.0' ],
    [ 'its tag', 56 + 16384, 1, 0, '1.0' ],
    [ 'the second chunk', 56 + 16400, 1, 0, '1.1' ],
    [ 'the last chunk of a row', 56 + 15 * 16400, 1, 0, '1.15' ],
    [ 'a chunk in the middle', 0, 1, 16, '1.16' ],
    [ 'the first of the last row', 9, 1, 32, '1.32' ],
    [ 'the final chunk', 4 * 16400, 1, 32, '1.36 1.last' ],
    [ "the final chunk's tag", 4 * 16400 + 10176 + 15, 1, 32, '1.36 1.last' ],
    [ 'the final chunk, which is empty', 56 + 16 * 16400, 2, 0, '2.last' ],
    [ 'its end', 56 + 16 * 16400 + 15, 2, 0, '2.last' ],
    [ 'a short segment', 60, 3, 0, '3' ],
);
tampered('salts of two segments exchanged', change("data = overlay(data PLACING (SELECT substr(data, 1, 24) FROM kms.blob_chunk WHERE " . at_row(4, 0) . ") FROM 1)", 3, 0), '3');
tampered('chunks exchanged within a row', change('data = substr(data, 1, 56) || substr(data, 57 + 16400, 16400) || substr(data, 57, 16400) || substr(data, 57 + 32800)', 1, 0), '1.0 1.1');
tampered('a chunk repeated', change('data = overlay(data PLACING substr(data, 1, 16400) FROM 16401)', 1, 32), 'none', $corrupt);
tampered('a chunk of zeros', change("data = overlay(data PLACING decode(repeat('00', 16400), 'hex') FROM 1)", 1, 16), '1.16');

# Every bit of a small one, and every length of its row.
$session->get(<<'SQL');
-- The states that come of one change after another to the value of a row of the blob 'small'.
CREATE FUNCTION every(relation regclass, what name, change text, lengths int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    owner name := CASE relation WHEN 'kms.blob'::regclass THEN 'id' ELSE 'blob_id' END;
    states text[] := '{}';
    kept bytea;
BEGIN
    EXECUTE format('SELECT %I FROM %s WHERE %I = id_of(''small'')', what, relation, owner) INTO kept;
    FOR at IN 0 .. length(kept) + lengths - 1 LOOP
        EXECUTE format('UPDATE %s SET %I = %s WHERE %I = id_of(''small'')', relation, what, change, owner) USING kept, at;
        states := states || attempt(format('SELECT md5(kms.blob_get(%L))', id_of('small')), md5((SELECT bytes FROM specimen WHERE name = 'small')));
    END LOOP;
    EXECUTE format('UPDATE %s SET %I = $1 WHERE %I = id_of(''small'')', relation, what, owner) USING kept;
    RETURN (SELECT string_agg(DISTINCT state, ' ' ORDER BY state) FROM unnest(states) state);
END $$;
SQL
foreach my $place ([ 'kms.blob_chunk', 'data' ], [ 'kms.blob', 'wrapped' ], [ 'kms.blob', 'manifest' ]) {
    my ($table, $column) = @$place;
    foreach my $bit (0 .. 7) {
        my $by = 1 << $bit;
        is($session->get("SELECT every('$table', '$column', 'flip(\$1, \$2, $by)', 0)"), $column eq 'wrapped' ? 'KM004 KM005' : 'KM005', "$table.$column: each byte with bit $bit flipped");
    }
    is($session->get("SELECT every('$table', '$column', 'substr(\$1, 1, \$2)', 0)"), $column eq 'wrapped' ? 'KM004 KM005' : 'KM005', "$table.$column: cut to each length");
    like($session->get("SELECT every('$table', '$column', '\$1 || substr(\$1 || \$1, 1, \$2 + 1)', 20)"), $column eq 'wrapped' ? qr/^KM00[45]$/ : qr/^KM005$/, "$table.$column: longer");
}
is($session->get("SELECT states('small')"), $same, 'and back as it was');

# --- rows that are missing, exchanged, repeated, cut, of others

tampered("missing: $_->[0]", 'DELETE FROM kms.blob_chunk WHERE ' . at_row($_->[1], $_->[2]), $_->[3]) for (
    [ 'the first row', 1, 0, $all_of_1 ],
    [ 'a middle row', 1, 16, '1.16' ],
    [ 'the last row', 1, 32, '1.32 1.36 1.last' ],
    [ 'a segment in the middle', 2, 0, '2.0 2.15 2.last' ],
    [ 'the last segment', 4, 0, '4' ],
);
tampered('missing: all rows', "DELETE FROM kms.blob_chunk WHERE blob_id = id_of('main')", "$all_of_1 2.0 2.15 2.last 3 4");
sub exchange {
    my ($one, $two) = @_;
    return "CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT blob_id, segment, chunk, data FROM kms.blob_chunk WHERE ($one) OR ($two);
        UPDATE kms.blob_chunk c SET data = k.data FROM kept k WHERE ((c.blob_id, c.segment, c.chunk) <> (k.blob_id, k.segment, k.chunk))
        AND (" . "$one OR $two" =~ s/\b(blob_id|segment|chunk)\b/c.$1/gr . ')';
}
tampered('rows exchanged', exchange(at_row(1, 16), at_row(1, 32)), '1.16 1.32 1.36 1.last');
tampered('segments exchanged', exchange(at_row(3, 0), at_row(4, 0)), '3 4');
tampered('a row of another blob', exchange(at_row(1, 16), at_row(1, 16, 'other')), '1.16');
tampered('a segment of another blob', exchange(at_row(2, 0), at_row(2, 0, 'other')), '2.0 2.15 2.last');
tampered('the last segment of another blob', exchange(at_row(4, 0), at_row(4, 0, 'other')), '4');
tampered('a row under another number', change('chunk = 17', 1, 16), '1.16');
tampered('a row at the end under another number', change('chunk = 48', 1, 32), '1.32 1.36 1.last');
tampered('a segment under another number', change("segment = number_of('main', 4) + 1", 4, 0), '4');
tampered('a negative number', change('chunk = -16', 1, 0), $all_of_1);
sub again { return "INSERT INTO kms.blob_chunk SELECT blob_id, $_[0], $_[1], data FROM kms.blob_chunk WHERE " . at_row($_[2], $_[3]) }
tampered('a row twice', again('segment', 17, 1, 16), 'none', 'KM005 KM005 same same');
tampered('a row too many at the end', again('segment', 48, 1, 16), 'none', 'same KM005 same same');
tampered('a segment too many', again('segment + 65536', 'chunk', 4, 0), 'none', 'same KM005 same same');
tampered('a row too many at the end of a segment in the middle', again('segment', 37, 1, 32), 'none', 'same KM005 same same');
foreach my $length (0, 1, 55, 56, 72, 16456, 262455) {
    tampered("a first row cut to $length", change("data = substr(data, 1, $length)", 1, 0), $all_of_1);
}
foreach my $length (0, 16, 16400, 262399) {
    tampered("a row in the middle cut to $length", change("data = substr(data, 1, $length)", 1, 16), '1.16');
}
tampered('a row longer by a byte', change("data = data || '\\x00'", 1, 16), '1.16');
tampered('a row longer by a chunk', change('data = data || substr(data, 1, 16400)', 1, 32), '1.32 1.36 1.last');
tampered('two rows in one', change("data = data || (SELECT data FROM kms.blob_chunk WHERE " . at_row(1, 32) . ")", 1, 16) . ';DELETE FROM kms.blob_chunk WHERE ' . at_row(1, 32),
    '1.16 1.32 1.36 1.last');
tampered('a final chunk that has become a full one', change('data = substr(data, 1, length(data) - 16)', 2, 0), '2.0 2.15 2.last');

tampered('no data', 'ALTER TABLE kms.blob_chunk ALTER data DROP NOT NULL;' . change('data = NULL', 1, 0), $all_of_1);
tampered('no data in the middle', 'ALTER TABLE kms.blob_chunk ALTER data DROP NOT NULL;' . change('data = NULL', 1, 16), '1.16');

# What the server does with rows of its own accord.
is($session->get("BEGIN; ALTER TABLE kms.blob_chunk ALTER data SET STORAGE MAIN; UPDATE kms.blob_chunk SET data = data || '' WHERE blob_id = id_of('main'); SELECT damage('main'), states('main'); ROLLBACK"),
    "none|$same", 'rows that stand elsewhere, or compressed, are the same');

# --- the row of kms.blob

sub of_blob { return "UPDATE kms.blob b SET $_[0] WHERE id = id_of('main')" }
my $everything = "$all_of_1 2.0 2.15 2.last 3 4";
tampered("kms.blob: $_->[0]", of_blob($_->[1]), $everything) for (
    [ 'a later version', 'version = version + 1' ],
    [ 'an earlier version', 'version = version - 1' ],
    [ 'the largest version', 'version = 9223372036854775807' ],
    [ 'created', "created = created - interval '1 microsecond'" ],
    [ 'created at no time', "created = '-infinity'" ],
    [ 'an expiry', "expires = now() + interval '1 year'" ],
    [ 'no expiry ever', "expires = 'infinity'" ],
    [ 'a larger size class', 'size_class = size_class + 1' ],
    [ 'no size class', 'size_class = 0' ],
    [ 'a negative size class', 'size_class = -1' ],
    [ "another key's tag", "key_tag = '\\x0102030405060708'" ],
    [ "another blob's manifest", "manifest = o.manifest FROM kms.blob o WHERE o.id = id_of('other') AND b.id = id_of('main'); --" ],
);
my $not_there = join(' ', ('KM013') x 4);
is($session->get('BEGIN;' . of_blob("expires = now() - interval '1 year'") . "; SELECT states('main'); ROLLBACK"), $not_there, 'an expiry that has come');
is($session->get("BEGIN; SELECT states('main') FROM kms.blob_set_meta(id_of('main'), expire_in => '1 hour'); UPDATE kms.blob SET expires = expires + interval '1 day' WHERE id = id_of('main'); SELECT states('main');
    UPDATE kms.blob SET expires = NULL WHERE id = id_of('main'); SELECT states('main'); ROLLBACK") =~ s/^.*\n//r, "$corrupt\n$corrupt", 'an expiry put off, or taken away');
my $swap = "UPDATE kms.blob b SET %s FROM kms.blob o WHERE (b.id = id_of('main') AND o.id = id_of('other')) OR (b.id = id_of('other') AND o.id = id_of('main'))";
foreach my $columns ('wrapped', 'manifest', 'wrapped, manifest', 'wrapped, key_tag, manifest, version, created, size_class') {
    tampered("kms.blob: $columns exchanged", sprintf($swap, join ', ', map { "$_ = o.$_" } split /, /, $columns), $everything);
}
tampered('rows of kms.blob exchanged by their ids', "UPDATE kms.blob SET id = '00000000-0000-0000-0000-000000000000' WHERE id = id_of('main'); UPDATE kms.blob SET id = id_of('main') WHERE id = id_of('other')", $everything);
tampered('all of a blob under another id', "DELETE FROM kms.blob WHERE id = id_of('main'); DELETE FROM kms.blob_chunk WHERE blob_id = id_of('main');
    UPDATE kms.blob SET id = id_of('main') WHERE id = id_of('other'); UPDATE kms.blob_chunk SET blob_id = id_of('main') WHERE blob_id = id_of('other')", $everything);
foreach my $column (qw(manifest key_tag version created size_class)) {
    tampered("kms.blob: no $column", "ALTER TABLE kms.blob ALTER $column DROP NOT NULL;" . of_blob("$column = NULL"), $everything);
}
is($session->get('BEGIN;' . of_blob('wrapped = NULL') . "; SELECT states('main'); ROLLBACK"), join(' ', ('KM004') x 4), 'kms.blob: no wrapped key');
# What is not read needs the row, too.
foreach my $use ("kms.blob_meta(id_of('main'))", "kms.blob_append(id_of('main'), 'x')", "kms.blob_replace(id_of('main'), 'x')", "kms.blob_set_meta(id_of('main'), 'n')", "kms.blob_recode(id_of('main'), 1)", 'kms.blob_list()') {
    $session->get('BEGIN; SAVEPOINT s; ' . of_blob('manifest = flip(manifest, 60)'));
    fails_with($session, "SELECT $use", 'KM005', "a changed manifest: $use");
    $session->get('ROLLBACK TO s; ' . of_blob('wrapped = flip(wrapped, 60)'));
    fails_with($session, "SELECT $use", 'KM005', "a changed key: $use");
    $session->get('ROLLBACK');
}

# --- what was there before

my $keep = 'CREATE TEMP TABLE %s AS SELECT * FROM kms.blob WHERE id = id_of(\'small\'); CREATE TEMP TABLE %s_chunk AS SELECT * FROM kms.blob_chunk WHERE blob_id = id_of(\'small\')';
my $put_back = "DELETE FROM kms.blob WHERE id = id_of('small'); INSERT INTO kms.blob SELECT * FROM %s";
my $whole = "SELECT attempt('SELECT kms.blob_get(id_of(''small''))', '\\x6f6e65'), attempt('SELECT size FROM kms.blob_verify(id_of(''small''))', '3')";
$session->get("SELECT kms.blob_replace(id_of('small'), 'one');" . sprintf $keep, 'one', 'one');
$session->get("SELECT kms.blob_replace(id_of('small'), 'two');" . sprintf $keep, 'two', 'two');
$session->get("SELECT kms.blob_append(id_of('small'), 'three');" . sprintf $keep, 'three', 'three');
is($session->get('BEGIN;' . sprintf($put_back, 'one') . ";$whole; ROLLBACK"), 'KM005|KM005', 'an older row of kms.blob, whose segments are gone');
is($session->get('BEGIN;' . sprintf($put_back, 'two') . '; SELECT attempt(\'SELECT kms.blob_get(id_of(\'\'small\'\'))\', \'\x74776f\'), attempt(\'SELECT size FROM kms.blob_verify(id_of(\'\'small\'\'))\', \'3\'); ROLLBACK'),
    'same|KM005', 'an older row whose segments are there: what was then, and rows too many');
is($session->get("BEGIN; UPDATE kms.blob SET manifest = two.manifest FROM two WHERE kms.blob.id = two.id; $whole; ROLLBACK"), 'KM005|KM005', 'an older manifest alone');
is($session->get("BEGIN; UPDATE kms.blob SET manifest = two.manifest, version = two.version FROM two WHERE kms.blob.id = two.id; $whole; ROLLBACK"), 'KM005|KM005', '... with its version');
is($session->get("BEGIN; UPDATE kms.blob_chunk c SET data = o.data FROM one_chunk o WHERE c.blob_id = o.blob_id AND c.segment = (SELECT segment FROM two_chunk); $whole; ROLLBACK"),
    'KM005|KM005', "an older version's segment in the place of a newer one");
# What a transaction has written that was rolled back.
my $basedir = $node->basedir;
$session->get("BEGIN; SELECT kms.blob_append(id_of('small'), 'lost');
    COPY (SELECT * FROM kms.blob_chunk WHERE blob_id = id_of('small') ORDER BY segment DESC LIMIT 1) TO '$basedir/lost.chunk'; COPY (SELECT * FROM kms.blob WHERE id = id_of('small')) TO '$basedir/lost.blob'; ROLLBACK;
    CREATE TEMP TABLE lost_chunk (LIKE kms.blob_chunk); CREATE TEMP TABLE lost (LIKE kms.blob); COPY lost_chunk FROM '$basedir/lost.chunk'; COPY lost FROM '$basedir/lost.blob'");
$session->get("SELECT kms.blob_append(id_of('small'), 'kept')");
is($session->get("SELECT kms.blob_get(id_of('small')) = 'twothreekept', b.version = lost.version FROM kms.blob b JOIN lost USING (id)"), 't|t', 'what was rolled back has the version of what came after');
$whole =~ s/x6f6e65/x74776f74687265656b657074/;
$whole =~ s/'3'/'12'/;
is($session->get("BEGIN; UPDATE kms.blob_chunk c SET data = l.data FROM lost_chunk l WHERE c.blob_id = l.blob_id AND c.segment = (SELECT max(segment) FROM kms.blob_chunk WHERE blob_id = id_of('small')); $whole; ROLLBACK"),
    'KM005|KM005', 'its segment in the place of the other');
is($session->get("BEGIN; INSERT INTO kms.blob_chunk SELECT * FROM lost_chunk; $whole; ROLLBACK"), 'same|KM005', 'its segment beside the other');
is($session->get("BEGIN; UPDATE kms.blob b SET manifest = l.manifest FROM lost l WHERE b.id = l.id; $whole; ROLLBACK"), 'KM005|KM005', 'its manifest');
is($session->get("BEGIN; DELETE FROM kms.blob WHERE id = id_of('small'); INSERT INTO kms.blob SELECT * FROM lost; $whole; ROLLBACK"), 'KM005|KM005', 'its row of kms.blob');

# --- lengths that were made up

{
    my $writer = kms_session($node);
    $writer->get("CREATE TABLE backup AS SELECT * FROM kms.blob WHERE id = id_of('main'); CREATE TABLE backup_chunk AS SELECT * FROM kms.blob_chunk WHERE blob_id = id_of('main')");
    my $reader = kms_session($node);
    $reader->get("SELECT states('main')");
    # The most that a statement has held, in megabytes.
    my $most_held = sub {
        my ($sql) = @_;
        write_text('/proc/' . $reader->pid . '/clear_refs', '5');
        my $before = process_status($reader->pid)->{VmHWM} =~ s/ kB//r;
        my $said = $reader->get($sql);
        return ($said, ((process_status($reader->pid)->{VmHWM} =~ s/ kB//r) - $before) / 1024);
    };
    foreach my $place ([ 'kms.blob_chunk', 'data', at_row(1, 0) ], [ 'kms.blob', 'manifest', "id = id_of('main')" ], [ 'kms.blob', 'wrapped', "id = id_of('main')" ]) {
        my ($table, $column, $where) = @$place;
        foreach my $storage ('external', 'main') {
            $writer->get("ALTER TABLE $table ALTER $column SET STORAGE $storage; UPDATE $table SET $column = $column || decode(repeat('00', 60000000), 'hex') WHERE $where");
            my ($said, $held) = $most_held->("SELECT states('main')");
            like($said, qr/^(KM00[45] ?){4}$/, "$table.$column of 60 MB, $storage");
            takes_less($held, 24, '... is not fetched');
            $writer->get("DELETE FROM kms.blob WHERE id = id_of('main'); DELETE FROM kms.blob_chunk WHERE blob_id = id_of('main'); INSERT INTO kms.blob SELECT * FROM backup; INSERT INTO kms.blob_chunk SELECT * FROM backup_chunk");
        }
    }
    is($reader->get("SELECT states('main')"), $same, 'and back as it was');
    $_->quit for $writer, $reader;
    $session->get('ALTER TABLE kms.blob ALTER manifest SET STORAGE external, ALTER wrapped SET STORAGE extended; ALTER TABLE kms.blob_chunk ALTER data SET STORAGE external');
}

$session->quit;
$node->stop;
no_crash($node);
done_testing();
