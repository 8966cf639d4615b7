# A column could not be moved to another key or context: reencrypt does it while both are written, is
# terminated, killed and taken up again, and until it is done the old key is not retired.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = 1500;
my %mode = map { $_ => $_ } qw(local remote envelope);
my @names = map { ("$_-old", "$_-new") } qw(local remote);
my $node = kms_node('move', 'kms.command' => make_keyring(test_folder('keys'), @names, 'kek:wrap'), 'restart_after_crash' => 'on', max_prepared_transactions => 2);
my $session = keys_session($node, { 'kms.mode' => 'envelope' });
$session->get("SELECT kms.create_data_key('envelope-old', 'kek'), kms.create_data_key('envelope-new', 'kek')");
$session->quit;

# Rows that a move has come to.
sub has_come {
    my ($watcher, $done) = @_;
    return becomes(sub { $watcher->get("SELECT count(*) FROM kms.reencrypt_progress WHERE running AND phase = 'rewriting' AND rows_done > $done") });
}

# Writers that know of the move, and others that do not yet.
sub write_both_ways {
    my ($writer, $old, $new) = @_;
    $writer->get("UPDATE t SET v = 'old way ' || id, c = kms.encode_with('$old->{key}', 'old way ' || id, $old->{context}) WHERE id % 40 = 0");
    $writer->get("UPDATE t SET v = 'new way ' || id, c = kms.encode_with('$new->{key}', 'new way ' || id, $new->{context}) WHERE id % 40 = 20");
    return $writer->get("DELETE FROM t WHERE id % 500 = 1");
}

sub opens_as {
    my ($reader, $form) = @_;
    return $reader->get("SELECT count(*) = count(*) FILTER (WHERE kms.decode_with_text('$form->{key}', c, $form->{context}) = v) FROM t");
}

foreach my $name (sort keys %mode) {
    my %settings = ('kms.mode' => $mode{$name});
    my $mover = keys_session($node, \%settings);
    my $other = keys_session($node, \%settings);
    my $old = { key => "$name-old", context => 'id::text::bytea' };
    my $new = { key => "$name-new", context => q{convert_to('t:' || id, 'UTF8')} };
    my $last = { key => "$name-new", context => q{''::bytea} };
    $mover->get(<<"SQL");
DROP TABLE IF EXISTS t;
CREATE TABLE t (id int PRIMARY KEY, v text, c bytea) WITH (fillfactor = 80);
INSERT INTO t SELECT n, 'v' || n, kms.encode_with('$old->{key}', 'v' || n, n::text::bytea) FROM generate_series(1, $rows) n;
SELECT kms.register_column('t', 'c', '$old->{key}'::text, 'id::text::bytea');
SQL

    # --- to another key

    my $call = "CALL kms.reencrypt('t', 'c', batch => 50, pause => '20 ms', new_key => '$new->{key}', new_context => 'convert_to(''t:'' || id, ''UTF8'')')";
    $mover->send($call);
    ok(has_come($other, 100), "$name: a column is moved to another key");
    write_both_ways($other, $old, $new);
    my $retire = $name eq 'envelope' ? "CALL kms.destroy_data_key('$old->{key}', 1)" : "SELECT kms.disable_key('$old->{key}', 1)";
    fails_with($other, $retire, 'KM012', '... and the old key is needed meanwhile');
    my $rows_by_key = $other->get("SELECT string_agg(key_identifier, ' ' ORDER BY key_identifier) FROM kms.census('t', 'c')");
    is($rows_by_key, "$new->{key} $old->{key}", '... of which a census knows both');
    fails_with($other, "CALL kms.reencrypt('t', 'c')", '55006', '... and nobody else moves it');
    $other->get('SELECT pg_terminate_backend(' . $mover->pid . ')');
    ok($mover->answer->{closed}, '... until its session is terminated');
    is($other->get('SELECT is_moving FROM kms.registered_columns'), 't', '... which the registration says');
    fails_with($other, "CALL kms.reencrypt('t', 'c', new_context => 'convert_to(v, ''UTF8'')')", '55000', '... and no other move begins');
    fails_with($other, "CALL kms.reencrypt('t', 'c', new_context => 'convert_to(''t:'' || id, ''UTF8'')')", '55000', '... nor goes this one on where its key is not named');
    $mover->quit;

    $mover = keys_session($node, \%settings);
    fails_with($mover, "CALL kms.reencrypt('t', 'c')", '55000', '... and nobody goes on with it without saying so');
    $mover->send("CALL kms.reencrypt('t', 'c', batch => 50, pause => '20 ms', new_key => '$new->{key}')");
    ok(has_come($other, 100), '... but the same goes on');
    write_both_ways($other, $old, $new);
    is($mover->answer->{state}, '', '... to its end');
    is(opens_as($other, $new), 't', '... and every row opens with the new key and context');
    is($other->get('SELECT key_identifier, was_key_identifier, is_moving FROM kms.registered_columns'), "$new->{key}|$old->{key}|f", '... as the registration says');

    # --- to another context under the same key

    $mover->send("CALL kms.reencrypt('t', 'c', batch => 50, pause => '20 ms', new_context => '')");
    ok(has_come($other, 100), "$name: a column is moved to another context");
    write_both_ways($other, $new, $last);
    if ($name eq 'remote') {
        kill KILL => $mover->pid;
        ok($mover->answer->{closed}, '... until its backend is killed');
        ok(becomes(sub { $other->ask('SELECT 1')->{closed} }), '... the server with it');
        ok(server_is_up($node), '... which recovers');
        $_->quit foreach $mover, $other;
        $mover = keys_session($node, \%settings);
        $other = keys_session($node, \%settings);
    } else {
        $other->get('SELECT pg_cancel_backend(' . $mover->pid . ')');
        is($mover->answer->{state}, '57014', '... until it is cancelled');
    }
    write_both_ways($other, $new, $last);
    is($mover->ask("CALL kms.reencrypt('t', 'c', batch => 100, new_context => '')")->{state}, '', '... and goes on to its end');
    is(opens_as($other, $last), 't', '... and every row opens with the new context');
    is($other->get('SELECT is_moving FROM kms.registered_columns'), 'f', '... as the registration says');
    $other->get($retire) if $name ne 'envelope';
    $_->quit foreach $mover, $other;
}

# --- a row that is written the old way behind a pass that finds nothing else to write

my $mover = keys_session($node, { 'kms.mode' => 'local' });
my $other = keys_session($node, { 'kms.mode' => 'local' });
$mover->get(<<'SQL');
DROP TABLE t;
CREATE FUNCTION waits(id int) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF id = 50 THEN PERFORM pg_advisory_xact_lock_shared(7); END IF;
    RETURN ('t:' || id)::bytea;
END $$;
CREATE TABLE t AS SELECT n AS id, 'v' || n AS v, kms.encode_with('local-new', 'v' || n, ('t:' || n)::bytea) AS c FROM generate_series(1, 100) n;
SELECT kms.register_column('t', 'c', 'local-new'::text, 'public.waits(id)');
SQL
$other->get('SELECT pg_advisory_lock(7)');
$mover->send("CALL kms.reencrypt('t', 'c', new_context => 'public.waits(id)', was_context => '')");
ok(becomes(sub { $other->get(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) }), 'a pass is in the middle of a table whose rows are all there');
$other->get("UPDATE t SET c = kms.encode_with('local-new', v) WHERE id = 3");
$other->get('SELECT pg_advisory_unlock(7)');
is($mover->answer->{state}, '', '... and ends');
is($other->get('SELECT is_moving FROM kms.registered_columns'), 'f', '... with the move');
is($other->get("SELECT count(*) FROM t WHERE kms.decode_with_text('local-new', c, waits(id)) = v"), 100, '... once it has looked at all rows in one snapshot');
# --- a transaction that has made a value the old way and is still open; and one that is prepared

foreach my $to ([ 'local-new', q{convert_to('u:' || id, 'UTF8')} ], [ 'remote-new', 'id::text::bytea' ]) {
    my ($key, $context) = @$to;
    $other->get('SELECT kms.unregister_column(relation, column_name) FROM kms.registered_columns');
    $other->get(<<'SQL');
DROP TABLE t;
CREATE TABLE t AS SELECT n AS id, 'v' || n AS v, kms.encode_with('local-new', 'v' || n) AS c FROM generate_series(1, 100) n;
SELECT kms.register_column('t', 'c', 'local-new'::text);
BEGIN;
INSERT INTO t VALUES (101, 'v101', kms.encode_with('local-new', 'v101'));
SQL
    my $move = "CALL kms.reencrypt('t', 'c', new_key => '$key', new_context => " . sql_quote($context) . ')';
    $mover->send($move);
    my $watcher = keys_session($node, {});
    ok(becomes(sub { $watcher->get("SELECT count(*) FROM kms.reencrypt_progress WHERE running AND phase = 'verifying'") }), "to $key: a move waits for who writes");
    $other->get('COMMIT');
    is($mover->answer->{state}, '', '... and ends');
    my $open = "SELECT count(*) FROM t WHERE kms.decode_with_text('$key', c, $context) = v";
    is($watcher->get($open), 101, '... with all rows');
    is($watcher->get('SELECT is_moving FROM kms.registered_columns'), 'f', '... as the registration says');
    $other->get("BEGIN; UPDATE t SET c = kms.encode_with('local-new', v) WHERE id = 7; PREPARE TRANSACTION 'late'");
    like($mover->ask($move)->{err}, qr/WARNING: .*1 transactions that write to the table are still open/, '... it does not end while a transaction is prepared');
    is($watcher->get('SELECT is_moving FROM kms.registered_columns'), 't', '... as the registration says');
    $other->get("COMMIT PREPARED 'late'");
    is($mover->ask($move)->{err} =~ /WARNING/, '', '... and ends once it is committed');
    is($watcher->get($open), 101, '... with all rows');
    is($watcher->get('SELECT is_moving FROM kms.registered_columns'), 'f', '... as the registration says');
    $watcher->quit;
}

# --- a row that an earlier move has left under the key that another goes to

$mover->get("CALL kms.reencrypt('t', 'c', new_key => 'local-new', new_context => '')");
$other->get("UPDATE t SET c = kms.encode_with('remote-new', v, '5') WHERE id = 5");
my $back = "CALL kms.reencrypt('t', 'c', new_key => 'remote-new', new_context => 'convert_to(''w:'' || id, ''UTF8'')')";
my $left = fails_with($mover, $back, 'KM004', 'a row of that key, with another context');
like($left->{err}, qr/1 rows stayed as they are/, '... is told');
is($other->get('SELECT is_moving FROM kms.registered_columns'), 't', '... and the move is not over');
$other->get("UPDATE t SET c = kms.encode_with('remote-new', v, ('w:' || id)::bytea) WHERE id = 5");
is($mover->ask($back)->{state}, '', '... before it is as the others');
is($other->get('SELECT is_moving FROM kms.registered_columns'), 'f', '... as the registration says');
is($other->get("SELECT count(*) FROM t WHERE kms.decode_with_text('remote-new', c, ('w:' || id)::bytea) = v"), 101, '... and every row opens');
$_->quit foreach $mover, $other;

# --- it is dumped in the middle, and goes on where it is restored

$session = keys_session($node, { 'kms.mode' => 'local' });
$session->get(<<'SQL');
DROP TABLE t;
CREATE TABLE t AS SELECT n AS id, kms.encode_with('local-new', 'v' || n) AS c FROM generate_series(1, 100) n;
SELECT kms.register_column('t', 'c', 'local-new'::text);
ALTER TABLE t ADD CHECK (id <> 50) NOT VALID;
SQL
is($session->ask("CALL kms.reencrypt('t', 'c', new_key => 'remote-new')")->{state}, '23514', 'a move that is not over');
$session->quit;
$node->command_ok([ 'pg_dump', '-Fc', '-f', $node->backup_dir . '/dump', $node->connstr('postgres') ], '... is dumped');
$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('second'), $node->backup_dir . '/dump' ], '... and restored');
$node->safe_psql('second', 'ALTER TABLE t DROP CONSTRAINT t_id_check');
$node->safe_psql('second', "CALL kms.reencrypt('t', 'c', new_key => 'remote-new')");
is($node->safe_psql('second', "SELECT count(*), bool_and(kms.decode_with_text('remote-new', c) = 'v' || id) FROM t"), '100|t', '... where it goes on');
is($node->safe_psql('second', 'SELECT is_moving FROM kms.registered_columns'), 'f', '... to its end');

# --- and so is a column that is being decrypted: the trigger opens with what it began with

$session = kms_session($node, dbname => 'second');
$session->get("SET client_min_messages = error; CALL kms.decrypt_column('t', 'c', 'text')");
$session->quit;
$node->command_ok([ 'pg_dump', '-Fc', '-f', $node->backup_dir . '/opened', $node->connstr('second') ], 'a column that is being decrypted is dumped');
$node->safe_psql('postgres', 'CREATE DATABASE third');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('third'), $node->backup_dir . '/opened' ], '... and restored');
$session = kms_session($node, dbname => 'third');
$session->get("INSERT INTO t VALUES (101, kms.encode_with('remote-new', 'v101'))");
is($session->get("SELECT count(*), bool_and(c_plain = 'v' || id) FROM t"), '101|t', '... and kept in step');
$session->get("SELECT kms.unregister_column('t', 'c'), kms.register_column('t', 'c', 'local-new'::text)");
fails_with($session, "INSERT INTO t VALUES (102, kms.encode_with('local-new', 'v102'))", '55000', '... under no other key than it was decrypted with');
$session->get("SELECT kms.unregister_column('t', 'c'), kms.register_column('t', 'c', 'remote-new'::text)");
is($session->ask("SELECT kms.switch_column('t', 'c')")->{state}, '', '... until the switch');
$session->quit;

$node->stop;
no_crash($node);
done_testing();
