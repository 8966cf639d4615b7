# What a table's owner does while somebody else's call is about the table: a partition key that ran
# as the extension's owner, a column of another type that was read as if it were bytea, a temporary
# child that kept every key, columns and partitions that went in the middle of a run.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $ring = test_folder('ring');
my $node = kms_node('in_between', 'kms.command' => make_keyring($ring, 'k', 'other'), 'kms.cache_ttl' => '1s');
my $admin = kms_session($node);
$admin->get(<<'SQL');
CREATE ROLE mallory LOGIN;
CREATE SCHEMA m AUTHORIZATION mallory;
GRANT USAGE ON SCHEMA kms TO mallory;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kms TO mallory;
GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA kms TO mallory;
SQL
my $mallory = kms_session($node, user => 'mallory');
my $second = kms_session($node, user => 'mallory');

sub waits_for_lock {
    my ($session, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $pid = $session->pid;
    return ok(becomes(sub { $node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $pid") > 0 }), $name);
}

# --- a partition key that is evaluated again: a GRANT meanwhile throws away what is kept of it

$mallory->get(<<'SQL');
CREATE TABLE m.ran (who name DEFAULT current_user);
CREATE FUNCTION m.note() RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN RAISE WARNING 'runs as %', current_user; RETURN 0; END $$;
CREATE FUNCTION m.key() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN m.note(); END $$;
CREATE TABLE m.keyed (id int, ssn text) PARTITION BY LIST ((id + m.key()));
CREATE TABLE m.keyed_part PARTITION OF m.keyed DEFAULT;
INSERT INTO m.keyed VALUES (1, 'a'), (2, 'b');
SQL
foreach my $call ("CALL kms.encrypt_column('m.keyed', 'ssn', 'k')", "CALL kms.decrypt_column('m.keyed', 'ssn_encrypted', 'text', 'plain')") {
    $second->get('BEGIN; SELECT count(*) FROM m.keyed');
    $mallory->send($call);
    waits_for_lock($mallory, "$call waits");
    $second->get('GRANT SELECT ON m.keyed TO PUBLIC; REVOKE SELECT ON m.keyed FROM PUBLIC; COMMIT');
    my $answer = $mallory->answer;
    is($answer->{state}, '', '... and goes on');
    like($answer->{err}, qr/runs as mallory/, '... where the partition key is evaluated');
    unlike($answer->{err}, qr/runs as (?!mallory)/, '... in nobody else\'s name than the owner\'s');
    $mallory->get("SELECT kms.switch_column('m.keyed', 'ssn')") if $call =~ /encrypt_column\('m.keyed', 'ssn'/;
}
is($mallory->get("SELECT string_agg(plain, ' ' ORDER BY id) FROM m.keyed"), 'a b', '... and the values are there');
$mallory->get('DROP TABLE m.keyed');

# --- a column that has another type by the time it is counted

foreach my $guard ("SELECT kms.disable_key('k', 1)", 'SELECT count(*) FROM kms.key_age()') {
    $mallory->get(<<'SQL');
CREATE TABLE m.a (id int, ssn bytea) PARTITION BY LIST (id);
CREATE TABLE m.a1 PARTITION OF m.a DEFAULT;
CREATE TABLE m.b (id int, ssn bytea);
INSERT INTO m.b VALUES (1, kms.encode_with('k', 'x'));
SELECT kms.register_column('m.a', 'ssn', 'k'), kms.register_column('m.b', 'ssn', 'k');
SQL
    $second->get('BEGIN; LOCK TABLE m.a1 IN ACCESS EXCLUSIVE MODE');
    $admin->send($guard);
    waits_for_lock($admin, "$guard waits for a partition");
    is($second->ask("SET lock_timeout = '200ms'; ALTER TABLE m.b ALTER ssn TYPE bigint USING 4702111234474983745")->{state}, '55P03',
        '... and keeps the columns that it will count as they are');
    $second->get('ROLLBACK');
    is($admin->answer->{state}, $guard =~ /disable/ ? 'KM012' : '', '... which it then counts');
    $second->get('BEGIN; ALTER TABLE m.b ALTER ssn TYPE bigint USING 4702111234474983745');
    $admin->send($guard);
    waits_for_lock($admin, '... and waits where one is being changed');
    $second->get('COMMIT');
    my $answer = $admin->answer;
    ok(!$answer->{closed}, '... reads it as what it then is');
    like($answer->{detail}, qr/public|m\.b\.ssn: of type bigint by now/, '... and says that it is none any more') if $guard =~ /disable/;
    $mallory->get('DROP TABLE m.a, m.b');
    $admin->get('DELETE FROM kms.registered_column');
}

# --- a temporary child of a session's own

$mallory->get("CREATE TABLE m.parent (id int, ssn bytea); SELECT kms.register_column('m.parent', 'ssn', 'k')");
$second->get("CREATE TEMP TABLE child () INHERITS (m.parent); INSERT INTO child VALUES (1, kms.encode_with('k', 'x'))");
is($admin->ask("SELECT kms.rotate_key('other'), kms.disable_key('other', 1)")->{state}, '', 'a temporary table of another session keeps no key');
is($admin->ask('SELECT count(*) FROM kms.key_age()')->{state}, '', '... nor its age from being told');
$second->get('DROP TABLE child');
$mallory->get('DROP TABLE m.parent');

# --- a run whose column or partition goes

sub make_run_table {
    $mallory->get(<<'SQL');
CREATE TABLE m.run (id int, ssn bytea) PARTITION BY RANGE (id);
CREATE TABLE m.run_1 PARTITION OF m.run FOR VALUES FROM (0) TO (100);
CREATE TABLE m.run_2 PARTITION OF m.run FOR VALUES FROM (100) TO (200);
SELECT kms.register_column('m.run', 'ssn', 'k');
INSERT INTO m.run SELECT n, kms.encode_with('k', n::text) FROM generate_series(1, 199) n;
SQL
    return;
}

sub begin_run {
    my ($call) = @_;
    make_run_table();
    $mallory->send($call);
    ok(becomes(sub { ($second->ask("SELECT rows_done FROM kms.reencrypt_progress WHERE relation = 'm.run'::regclass")->{out} || 0) > 0 }), "$call has begun");
    return;
}
my $decrypt = "CALL kms.decrypt_column('m.run', 'ssn', 'text', 'plain', batch => 10, pause => '200 ms')";
$admin->get('GRANT SELECT ON kms.reencrypt_progress TO mallory');

begin_run($decrypt);
$second->get('DROP TRIGGER zzz_kms_plain ON m.run; ALTER TABLE m.run DROP COLUMN plain');
my $answer = $mallory->answer;
is($answer->{state}, '42703', 'the new column is dropped meanwhile');
is($answer->{message}, 'a column of "run" has been dropped while kms.decrypt_column was running', '... which the run says');
$mallory->get('DROP TABLE m.run');

foreach my $change ('RENAME COLUMN ssn TO other', 'RENAME COLUMN plain TO other', 'DROP COLUMN ssn', 'ADD COLUMN more int') {
    begin_run($decrypt);
    $second->get("ALTER TABLE m.run DETACH PARTITION m.run_2; ALTER TABLE m.run_2 $change");
    is($mallory->answer->{state}, '', '... and goes on without a partition that is detached');
    is($second->get('SELECT count(*) = count(plain) FROM m.run'), 't', '... to its end');
    is($second->get('SELECT count(*) FROM m.run_2'), '100', "... and leaves that alone ($change)");
    $mallory->get('DROP TABLE m.run, m.run_2');
}

# --- a table that is given away, and what comes to it, in the middle of a run

my $reencrypt = "CALL kms.reencrypt('m.run', 'ssn', batch => 10, pause => '200 ms'";
my $give = 'ALTER TABLE m.run OWNER TO new_owner; ALTER TABLE m.run_1 OWNER TO new_owner; ALTER TABLE m.run_2 OWNER TO new_owner';
my @in_between = (
    [ "$reencrypt)", 'CREATE TRIGGER late BEFORE UPDATE ON m.run FOR EACH ROW EXECUTE FUNCTION m.late()', '55000' ],
    [ "$reencrypt)", $give, '42501' ],
    [ "$reencrypt)", 'ALTER TABLE m.run_2 OWNER TO new_owner', '42501' ],
    [ "$reencrypt, triggers => 'skip')", 'ALTER TABLE m.run_2 ADD UNIQUE (ssn); CREATE TABLE m.child (ssn bytea REFERENCES m.run_2 (ssn))', '0A000' ],
);
$admin->get(q{CREATE ROLE new_owner; GRANT ALL ON SCHEMA m TO new_owner; CREATE FUNCTION m.late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'});
foreach my $case (@in_between) {
    my ($call, $change, $state) = @$case;
    make_run_table();
    $admin->get("SELECT kms.rotate_key('k')");
    my $by = $call =~ /skip/ ? $admin : $mallory;
    $by->send($call);
    ok(becomes(sub { $node->safe_psql('postgres', q{SELECT coalesce(max(rows_done), 0) FROM kms.reencrypt_progress WHERE relation = 'm.run'::regclass}) > 0 }), "$call has begun");
    $node->safe_psql('postgres', $change);
    is($by->answer->{state}, $state, "... and ends: $change");
    $node->safe_psql('postgres', 'DROP TABLE IF EXISTS m.child, m.run');
}

# --- a foreign child, which has no rows of its own, once all of the table's are written

$admin->get('CREATE EXTENSION postgres_fdw; CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw; GRANT USAGE ON FOREIGN SERVER elsewhere TO mallory');
$mallory->get(q{CREATE TABLE m.parent (c bytea); INSERT INTO m.parent SELECT kms.encode_with('k', n::text) FROM generate_series(1, 20) n; SELECT kms.register_column('m.parent', 'c', 'k')});
$admin->get("SELECT kms.rotate_key('k')");
$mallory->send("CALL kms.reencrypt('m.parent', 'c', batch => 10, pause => '3 s')");
ok(becomes(sub { $node->safe_psql('postgres', q{SELECT coalesce(max(rows_done), 0) FROM kms.reencrypt_progress WHERE relation = 'm.parent'::regclass}) == 20 }), 'a run has written all rows');
$second->get('CREATE FOREIGN TABLE m.foreign_child () INHERITS (m.parent) SERVER elsewhere');
is($mallory->answer->{state}, '0A000', '... and is told of a foreign child that has come');
$mallory->get('DROP TABLE m.parent CASCADE');

# --- the lock of a run, which code of the owner's let go of

$admin->get(<<'SQL');
CREATE FUNCTION m.unlocks(int) RETURNS bytea LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM pg_advisory_unlock_all(); RETURN ''; END $$;
CREATE TABLE m.locked (id int, ssn bytea);
ALTER TABLE m.locked OWNER TO mallory;
INSERT INTO m.locked SELECT n, kms.encode_with('k', n::text) FROM generate_series(1, 50) n;
SELECT kms.register_column('m.locked', 'ssn', 'k', 'm.unlocks(id)'), kms.rotate_key('k');
SQL
$admin->send(q{CALL kms.reencrypt('m.locked', 'ssn', batch => 5, pause => '300 ms')});
ok(becomes(sub { $node->safe_psql('postgres', q{SELECT coalesce(max(rows_done), 0) FROM kms.reencrypt_progress WHERE relation = 'm.locked'::regclass}) > 0 }), 'a run whose owner\'s code unlocks all it can');
fails_with($mallory, q{CALL kms.reencrypt('m.locked', 'ssn', new_key => 'other')}, '55006', '... keeps its lock');
is($admin->answer->{state}, '', '... to its end');
is($node->safe_psql('postgres', q{SELECT key_identifier, is_moving FROM kms.registered_columns WHERE relation = 'm.locked'::regclass}), 'k|f', '... and moves nothing');

# --- between encrypt_column and the switch the table's life goes on

$admin->get(<<'SQL');
CREATE ROLE writes LOGIN;
CREATE SCHEMA hidden AUTHORIZATION mallory;
CREATE FUNCTION hidden.context(int) RETURNS bytea LANGUAGE sql IMMUTABLE AS 'SELECT int4send($1)';
GRANT USAGE ON SCHEMA m TO writes;
SQL
$mallory->get(<<'SQL');
CREATE TABLE m.lives (id int, ssn text) PARTITION BY RANGE (id);
CREATE TABLE m.lives_1 PARTITION OF m.lives FOR VALUES FROM (0) TO (100);
CREATE TABLE m.attached (id int, ssn text, ssn_encrypted bytea);
GRANT INSERT ON m.lives TO writes;
CALL kms.encrypt_column('m.lives', 'ssn', 'k', context_expression => 'hidden.context(id)');
CREATE TABLE m.lives_2 PARTITION OF m.lives FOR VALUES FROM (100) TO (200);
ALTER TABLE m.lives ATTACH PARTITION m.attached FOR VALUES FROM (200) TO (300);
SQL
my $writes = kms_session($node, user => 'writes');
my $written = q{INSERT INTO m.lives VALUES (1, 'a'), (101, 'b'), (201, 'c')};
fails_with($writes, $written, '42501', 'who may not use the schema of the context\'s function does not write');
$mallory->get('GRANT USAGE ON SCHEMA hidden TO writes');
is($writes->ask($written)->{state}, '', 'who may writes, in partitions that came later');
is($admin->get(q{SELECT string_agg(kms.decode_with_text('k', ssn_encrypted, int4send(id)), '') FROM m.lives}), 'abc', '... and all are sealed');
my $may_execute = q{SELECT has_function_privilege('mallory', 'kms_internal.keep_in_step()', 'EXECUTE')};
is($admin->get($may_execute), 't', '... since the owner may use the trigger\'s function');
is($mallory->ask(q{SELECT kms.switch_column('m.lives', 'ssn')})->{state}, '', '... and makes the switch');
$writes->quit;

# --- a registration that nobody has noted, and another session registers what has its names

$admin->get(q{CREATE TABLE m.dup (id int, v bytea); ALTER TABLE m.dup OWNER TO mallory});
$admin->get(q{SELECT kms.register_column('m.dup', 'v', 'k'); INSERT INTO kms.registered_column (relation_schema, relation_name, column_name, key_identifier) VALUES ('m', 'dup', 'v', 'k')});
$mallory->get(q{SELECT kms.unregister_column('m.dup', 'v')});
$mallory->get(q{BEGIN; ALTER TABLE m.dup RENAME v TO w; SELECT kms.register_column('m.dup', 'w', 'k')});
is($admin->ask(q{SET statement_timeout = '30s'; CREATE TEMP TABLE quick (id int)})->{state}, '', 'a command of anybody\'s waits for no registration');
end_timeout($admin);
$mallory->get('ROLLBACK; DROP TABLE m.dup');
$admin->get(q{SELECT kms.forget_column(full_name) FROM kms.registered_columns WHERE full_name LIKE 'm.dup.%' AND relation IS NULL});

# --- a partition that is half detached, of which PostgreSQL names no table that it belongs to

$mallory->get("CREATE TABLE m.halves (id int, ssn bytea) PARTITION BY RANGE (id); CREATE TABLE m.half PARTITION OF m.halves FOR VALUES FROM (0) TO (10);
    SELECT kms.register_column('m.halves', 'ssn', 'other'); INSERT INTO m.halves VALUES (1, kms.encode_with('other', 'x'))");
$second->get('BEGIN; SELECT count(*) FROM m.halves');
is($mallory->ask("SET statement_timeout = '500ms'; ALTER TABLE m.halves DETACH PARTITION m.half CONCURRENTLY")->{state}, '57014', 'a partition is half detached');
end_timeout($mallory);
is($mallory->ask("SELECT kms.register_column('m.half', 'ssn', 'k')")->{state}, '42809', '... and is not registered');
ok(!$mallory->ask("CALL kms.encrypt_column('m.half', 'id', 'k')")->{closed}, '... nor encrypted');
my $version = $admin->get(q{SELECT max(version) FROM kms.list_keys('other')});
$admin->get(q{SELECT kms.rotate_key('other')});
fails_with($admin, "SELECT kms.disable_key('other', $version)", 'KM012', '... but its rows count');
fails_with($mallory, "CALL kms.reencrypt('m.halves', 'ssn')", '55000', '... and are not rewritten');
fails_with($mallory, "CALL kms.decrypt_column('m.halves', 'ssn', 'text')", '55000', '... nor opened');
$second->get('COMMIT');
$mallory->get("CREATE TABLE m.pairs (id int, r int, p text) PARTITION BY LIST (r); CREATE TABLE m.leaves PARTITION OF m.pairs FOR VALUES IN (1); INSERT INTO m.pairs VALUES (1, 1, 'a')");
$mallory->get("CALL kms.encrypt_column('m.pairs', 'p', 'k')");
$second->get('BEGIN; SELECT count(*) FROM m.pairs');
is($mallory->ask("SET statement_timeout = '500ms'; ALTER TABLE m.pairs DETACH PARTITION m.leaves CONCURRENTLY")->{state}, '57014', 'one that has two columns in step is half detached');
end_timeout($mallory);
$mallory->get("UPDATE m.leaves SET p = 'b'; INSERT INTO m.leaves VALUES (2, 1, 'c')");
is($mallory->get("SELECT string_agg(kms.decode_with_text('k', p_encrypted), '' ORDER BY id) FROM m.leaves"), 'bc', '... and they stay in step');
$second->get('COMMIT');
$mallory->get('ALTER TABLE m.pairs DETACH PARTITION m.leaves FINALIZE; DROP TABLE m.leaves, m.pairs');
$mallory->get('ALTER TABLE m.halves DETACH PARTITION m.half FINALIZE; DROP TABLE m.halves, m.half');

# --- two schemas change their names while a switch compares: that takes no lock on the tables, and the plaintext of another table was dropped

$admin->get(<<'SQL');
CREATE SCHEMA blue AUTHORIZATION mallory;
CREATE SCHEMA green AUTHORIZATION mallory;
SQL
$mallory->get(<<'SQL');
CREATE FUNCTION m.waits(int) RETURNS bytea LANGUAGE plpgsql STABLE AS $$
BEGIN PERFORM pg_advisory_lock_shared(95); PERFORM pg_advisory_unlock_shared(95); RETURN int4send($1); END $$;
CREATE TABLE blue.t (id int, ssn text NOT NULL);
CREATE TABLE green.t (id int, ssn text);
INSERT INTO blue.t VALUES (1, 'blue');
INSERT INTO green.t VALUES (1, 'green');
CALL kms.encrypt_column('blue.t', 'ssn', 'k', context_expression => 'm.waits(id)');
CALL kms.encrypt_column('green.t', 'ssn', 'k');
ALTER TABLE green.t DISABLE TRIGGER ALL;
UPDATE green.t SET ssn_encrypted = NULL;
SQL
$second->get('SELECT pg_advisory_lock(95)');
$mallory->send(q{SELECT kms.switch_column('blue.t', 'ssn')});
waits_for_lock($mallory, 'a switch compares');
$admin->get('ALTER SCHEMA blue RENAME TO was_blue; ALTER SCHEMA green RENAME TO blue');
$second->get('SELECT pg_advisory_unlock(95)');
is($mallory->answer->{state}, '', '... and ends, whatever the schema\'s name is by then');
my $columns = q{SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND attrelid = };
is($admin->get("${columns}'was_blue.t'::regclass"), 'id ssn_encrypted', '... in the table that was meant');
is($admin->get(q{SELECT kms.decode_with_text('k', ssn_encrypted, int4send(id)) FROM was_blue.t}), 'blue', '... with its values');
is($admin->get("${columns}'blue.t'::regclass"), 'id ssn ssn_encrypted', '... and the one that has its name now is left alone');
is($admin->get('SELECT ssn FROM blue.t'), 'green', '... with its plaintext');

# --- columns that have other names once the lock is there: one was encrypted into the column that a trigger kept in step with the other

foreach my $call ("CALL kms.encrypt_column('m.swapped', 'a', 'k')", "CALL kms.decrypt_column('m.swapped', 'a', 'text')") {
    $mallory->get("CREATE TABLE m.swapped (id int, a bytea, b bytea); INSERT INTO m.swapped VALUES (1, kms.encode_with('k', 'a'), kms.encode_with('k', 'b'))");
    $mallory->get("SELECT kms.register_column('m.swapped', 'a', 'k'), kms.register_column('m.swapped', 'b', 'k')") if $call =~ /decrypt/;
    $second->get('BEGIN; ALTER TABLE m.swapped RENAME a TO c; ALTER TABLE m.swapped RENAME b TO a; ALTER TABLE m.swapped RENAME c TO b');
    $mallory->send($call);
    waits_for_lock($mallory, "$call waits");
    $second->get('COMMIT');
    is($mallory->answer->{state}, '55000', '... and says that the column has another name');
    is($mallory->get(q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'm.swapped'::regclass AND attnum > 0}), '3', '... and adds none');
    $mallory->get('DROP TABLE m.swapped');
}

# --- a registration that a session changes and leaves open keeps nobody's commands

$admin->get('CREATE SCHEMA opened AUTHORIZATION mallory');
$mallory->get("CREATE TABLE opened.kept (c bytea); SELECT kms.register_column('opened.kept', 'c', 'k')");
$second->get("BEGIN; SELECT kms.unregister_column('opened.kept', 'c')");
is($admin->ask("SET statement_timeout = '60s'; ALTER SCHEMA opened RENAME TO was_open; RESET statement_timeout")->{state}, '', 'a schema is renamed while a registration in it is being changed');
my $other = kms_session($node);
is($other->ask("SET statement_timeout = '60s'; CREATE TEMP TABLE mine (n int); ALTER TABLE mine RENAME n TO m")->{state}, '', 'nobody waits for the registration of another');
$second->get('ROLLBACK');
$other->get('CREATE TEMP TABLE another (n int)');
is($other->get(q{SELECT full_name FROM kms.registered_columns WHERE full_name LIKE '%kept%'}), 'was_open.kept.c', '... and it is followed once it is free');
$other->quit;

# --- a registration that another session changes between a run's reading and its writing it

foreach my $call ("CALL kms.reencrypt('m.moved', 'ssn', new_key => 'other')", "SELECT kms.unregister_column('m.moved', 'ssn')") {
    $mallory->get("CREATE TABLE m.moved (id int, ssn bytea); SELECT kms.register_column('m.moved', 'ssn', 'k'); INSERT INTO m.moved VALUES (1, kms.encode_with('k', 'x'))");
    $second->get("BEGIN; SELECT kms.unregister_column('m.moved', 'ssn'), kms.register_column('m.moved', 'ssn', 'k', 'int4send(id)')");
    $mallory->send($call);
    waits_for_lock($mallory, "$call waits for who registers anew");
    $second->get('COMMIT');
    is($mallory->answer->{state}, '40001', '... and then says that it has changed');
    is($admin->get(q{SELECT key_identifier, context_expression, is_moving FROM kms.registered_columns WHERE relation = 'm.moved'::regclass}), 'k|int4send(id)|f', '... and has changed nothing');
    $mallory->get('DROP TABLE m.moved');
}

# --- a column that is registered with another key in the middle of a run: of a superuser, who may open that one too

my $opens = $decrypt =~ s/\)$/, was_key => 'k')/r;
foreach my $call ($opens, "$reencrypt)", "$reencrypt, new_context => 'int4send(id)', was_key => 'k')") {
    make_run_table();
    $mallory->get("UPDATE m.run SET ssn = kms.encode_with('other', 'of another') WHERE id > 100");
    $admin->get("SELECT kms.rotate_key('k')");
    $admin->send($call);
    ok(becomes(sub { $node->safe_psql('postgres', q{SELECT coalesce(max(rows_done), 0) FROM kms.reencrypt_progress WHERE relation = 'm.run'::regclass}) > 0 }), "$call has begun");
    $mallory->get("SELECT kms.unregister_column('m.run', 'ssn'), kms.register_column('m.run', 'ssn', 'other')");
    is($admin->answer->{state}, '55000', '... and ends where the column is registered with another key');
    is($admin->get("SELECT count(*) FROM m.run WHERE plain = 'of another'"), '0', '... and has opened nothing of that one') if $call eq $opens;
    $mallory->get('DROP TABLE m.run');
}

# --- two columns of one table that are switched at once: who waited for the other kept a lock that this one wanted in the end

$mallory->get('CREATE TABLE m.two (id int PRIMARY KEY, a text, b text); INSERT INTO m.two SELECT n, n, -n FROM generate_series(1, 20) n');
$mallory->get("CALL kms.encrypt_column('m.two', '$_', 'k')") foreach qw(a b);
$second->get('BEGIN; LOCK TABLE m.two IN SHARE ROW EXCLUSIVE MODE');
$mallory->send("SELECT kms.switch_column('m.two', 'b')");
waits_for_lock($mallory, 'a switch waits for another');
$second->get("SELECT kms.switch_column('m.two', 'a'); COMMIT");
is($mallory->answer->{state}, '', '... and then both are done');
is($mallory->get("SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'm.two'::regclass AND attnum > 0 AND NOT attisdropped"), 'id a_encrypted b_encrypted', '... for good');

# --- two columns of one table whose encryption begins at once, behind a reader: each kept a lock that the other wanted in the end

$mallory->get('CREATE TABLE m.begun (id int PRIMARY KEY, a text, b text); INSERT INTO m.begun SELECT n, n, -n FROM generate_series(1, 20) n');
$second->get('BEGIN; SELECT count(*) FROM m.begun');
my $third = kms_session($node, user => 'mallory');
$mallory->send("CALL kms.encrypt_column('m.begun', 'a', 'k')");
waits_for_lock($mallory, 'a first call waits for the reader');
$third->send("CALL kms.encrypt_column('m.begun', 'b', 'k')");
waits_for_lock($third, '... and a second one for the first');
$second->get('COMMIT');
is($_->answer->{state}, '', '... and then both are done') foreach $mallory, $third;
$mallory->send("SELECT kms.switch_column('m.begun', 'a')") if $second->get('BEGIN; SELECT count(*) FROM m.begun');
waits_for_lock($mallory, 'a switch waits for a reader');
$third->send("CALL kms.decrypt_column('m.begun', 'b_encrypted', 'text', 'c')");
waits_for_lock($third, '... and who begins another move for the switch');
$second->get('COMMIT');
is($mallory->answer->{state}, '', '... which is done');
is($third->answer->{state}, '55000', '... and so is what has waited, as it would be at any time');
$third->quit;

# --- NOT NULL is handed on behind the lock: what the page advises for large tables spares them the look at all rows

$mallory->get("CREATE TABLE m.large (id int PRIMARY KEY, v text NOT NULL); INSERT INTO m.large VALUES (1, 'v'); CALL kms.encrypt_column('m.large', 'v', 'k')");
$mallory->get($_) foreach 'ALTER TABLE m.large ADD CONSTRAINT is_there CHECK (v_encrypted IS NOT NULL) NOT VALID', 'ALTER TABLE m.large VALIDATE CONSTRAINT is_there', 'SET client_min_messages = debug1';
my $not_null = $mallory->ask("SELECT kms.switch_column('m.large', 'v'); RESET client_min_messages");
like($not_null->{err}, qr/constraints on column "large\.v_encrypted" are sufficient to prove that it does not contain nulls/, 'a switch looks at no row again');
is($mallory->get("SELECT attnotnull FROM pg_attribute WHERE attrelid = 'm.large'::regclass AND attname = 'v_encrypted'"), 't', '... and hands on NOT NULL');

# --- a rotation in the middle of a run over rows that name their keys: it said that all is done, under the version of before

$admin->get(<<'SQL');
CREATE TABLE named (id int PRIMARY KEY, key text, c bytea);
INSERT INTO named SELECT n, 'k', kms.encode_with('k', 'v' || n) FROM generate_series(1, 40) n;
SELECT kms.register_column('named', 'c', key_expression => 'key'), kms.rotate_key('k');
SQL
$other->send(q{CALL kms.reencrypt('named', 'c', batch => 20, pause => '300 ms')});
ok(becomes(sub { $node->safe_psql('postgres', q{SELECT coalesce(max(rows_done), 0) FROM kms.reencrypt_progress WHERE relation = 'named'::regclass}) > 0 }), 'a run is in the middle');
$admin->get("SELECT kms.rotate_key('k')");
is($other->answer->{state}, '', '... of which a key is rotated');
is($admin->get("SELECT count(*), min(version) = (SELECT max(version) FROM kms.list_keys('k')) FROM kms.census('named', 'c')"), '1|t', '... and all rows come to the newest version');

# --- a table that is rewritten between two transactions of a run

$admin->get(<<'SQL');
CREATE TABLE rewritten (id int PRIMARY KEY, c bytea);
INSERT INTO rewritten SELECT n, kms.encode_with('k', 'v' || n) FROM generate_series(1, 1000) n;
SELECT kms.register_column('rewritten', 'c', 'k');
SQL
my $agent = $admin->get('SHOW kms.command');
my $runner = kms_session($node);
my $alterer = kms_session($node);
$runner->get("SELECT kms.encode_with('k', 'x') IS NULL; SET kms.start_timeout = '100s'; SET kms.command = 'touch $ring/starting; while [ ! -e $ring/go ]; do sleep 0.1; done; $agent'");
$runner->send("CALL kms.reencrypt('rewritten', 'c', new_key => 'other')");
ok(becomes(sub { -e "$ring/starting" }), 'a run waits for its agent');
$alterer->send('ALTER TABLE rewritten ALTER id TYPE bigint');
waits_for_lock($alterer, '... and who rewrites the table, for the run');
write_text("$ring/go", '');
is($_->answer->{state}, '', '... and then both go on') foreach $alterer, $runner;
is($admin->get("SELECT string_agg(key_identifier || ' ' || rows, ', ') FROM kms.census('rewritten', 'c')"), 'other 1000', '... and all rows are moved');
$_->quit foreach $runner, $alterer;

# --- what is made or dropped while a switch waits for the table: it was dropped with the column, past drop_constraints,
# --- and what was gone by then ended the server

$admin->get(<<'SQL');
CREATE TABLE raced (id int PRIMARY KEY, p text);
INSERT INTO raced VALUES (1, 'a');
CALL kms.encrypt_column('raced', 'p', 'k');
SQL
my $migrating = kms_session($node);
my $switching = kms_session($node);
foreach my $made ([ 'ADD CONSTRAINT raced_check CHECK (p <> $$no$$)', 'constraint raced_check' ], [ 'ADD CONSTRAINT raced_unique UNIQUE (p)', 'constraint raced_unique' ],
    [ 'ADD CONSTRAINT raced_row CHECK (raced IS NOT NULL)', 'constraint raced_row' ]) {
    my ($change, $told) = @$made;
    $migrating->get("BEGIN; ALTER TABLE raced $change");
    $switching->send(q{SELECT kms.switch_column('raced', 'p')});
    waits_for_lock($switching, "a switch waits for who adds $told");
    $migrating->get('COMMIT');
    my $answer = $switching->answer;
    is($answer->{state}, '2BP01', '... and is refused');
    like($answer->{err}, qr/\Q$told\E/, '... for that');
    $admin->get("ALTER TABLE raced DROP $told");
}
$admin->get('CREATE INDEX raced_index ON raced (p)');
$admin->get(q{CREATE FUNCTION changed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'});
$admin->get('CREATE TRIGGER changed BEFORE UPDATE ON raced FOR EACH ROW WHEN (old.* IS DISTINCT FROM new.*) EXECUTE FUNCTION changed()');
$migrating->get('BEGIN; DROP INDEX raced_index');
$switching->send(q{SELECT kms.switch_column('raced', 'p', dry_run => true)});
waits_for_lock($switching, 'a rehearsal waits for who drops an index');
$migrating->get('COMMIT');
my $rehearsed = $switching->answer;
is($rehearsed->{state}, '', '... and goes on');
like($rehearsed->{err}, qr/trigger changed, which is over the whole row/, '... with what is in the way');
unlike($rehearsed->{err}, qr/null|raced_index/, '... and nothing of what is gone');
$admin->get('DROP TABLE raced');
$_->quit foreach $migrating, $switching;

$_->quit foreach $admin, $mallory, $second;
$node->stop;
no_crash($node);
done_testing();
