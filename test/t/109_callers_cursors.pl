# Whoever maintains a table has cursors open, whose names its owner's code can find. It fetches from
# none, moves none, closes none, puts none of its own in their place, and leaves nothing in pg_temp.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $ring = test_folder('ring');
my $node = kms_node('callers_cursors', 'kms.command' => make_keyring($ring, 'pii'));
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE mallory LOGIN;
CREATE SCHEMA mal AUTHORIZATION mallory;
CREATE TABLE public.ran (who name, saw text);
GRANT INSERT, SELECT ON public.ran TO PUBLIC;
CREATE TABLE public.secret AS SELECT 'secret ' || i AS s FROM generate_series(1, 5) i;
SQL
my ($super, $mallory) = (kms_session($node), kms_session($node, user => 'mallory'));
$mallory->get(<<'SQL');
SET search_path = mal;
CREATE FUNCTION late() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.ran VALUES (current_user, 'late');
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        ALTER ROLE mallory SUPERUSER;
    END IF;
    RETURN 'late';
END $$;
-- What each does to every cursor of somebody else's; an error is no more than that to it.
CREATE FUNCTION replace_cursor(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE c refcursor := name;
BEGIN
    CLOSE c;
    OPEN c FOR SELECT mal.late();
EXCEPTION WHEN OTHERS THEN NULL;
END $$;
CREATE FUNCTION fetch_cursor(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE c refcursor := name; row record;
BEGIN
    FETCH c INTO row;
    INSERT INTO public.ran VALUES (current_user, row::text);
EXCEPTION WHEN OTHERS THEN NULL;
END $$;
CREATE FUNCTION move_cursor(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE c refcursor := name;
BEGIN
    MOVE FORWARD ALL FROM c;
EXCEPTION WHEN OTHERS THEN NULL;
END $$;
CREATE FUNCTION squat(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE c refcursor := 'squatted';
BEGIN
    OPEN c FOR SELECT mal.late();
EXCEPTION WHEN OTHERS THEN NULL;
END $$;
CREATE TABLE act (what text);
INSERT INTO act VALUES ('none');
GRANT ALL ON act TO PUBLIC;
CREATE FUNCTION looks_around() RETURNS void LANGUAGE plpgsql AS $$
DECLARE name text; what text := (SELECT act.what FROM mal.act);
BEGIN
    FOR name IN SELECT c.name FROM pg_cursors c WHERE c.statement !~ 'pg_cursors' AND what <> 'none' LOOP
        EXECUTE format('SELECT mal.%I($1)', what) USING name;
    END LOOP;
END $$;
CREATE FUNCTION context(id int) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM mal.looks_around();
    RETURN convert_to('row ' || id, 'UTF8');
END $$;
SQL
$super->get('SET client_min_messages = warning');
my @tables = map { "t$_" } 1 .. 3;
foreach my $table (@tables) {
    $mallory->get("CREATE TABLE mal.$table (id int, plain text); INSERT INTO mal.$table SELECT i, 'value ' || i FROM generate_series(1, 3) i");
    $super->get("CALL kms.encrypt_column('mal.$table', 'plain', 'pii', context_expression => 'mal.context(id)')");
}

sub nothing_ran {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($super->get('SELECT string_agg(DISTINCT who || $$: $$ || saw, $$, $$) FROM public.ran'), '', "$name: nothing is seen or run");
    is($super->get(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'}), 'f', '... and mallory is no superuser');
    $super->get('TRUNCATE public.ran; ALTER ROLE mallory NOSUPERUSER');
    return;
}

sub let_mallory { return $mallory->get("UPDATE mal.act SET what = '$_[0]'") }

# PostgreSQL's own maintenance lets it happen: the test would find it.
$super->get(q{CREATE TABLE mal.plain (id int); INSERT INTO mal.plain VALUES (1); ALTER TABLE mal.plain OWNER TO mallory; CREATE INDEX ON mal.plain ((mal.context(id)))});
let_mallory('fetch_cursor');
$super->get('BEGIN; DECLARE mine CURSOR FOR SELECT s FROM secret; FETCH mine; ANALYZE mal.plain; COMMIT');
isnt($super->get('SELECT string_agg(saw, $$ $$) FROM public.ran'), '', 'mallory can find a cursor');
$super->get('TRUNCATE public.ran; DROP TABLE mal.plain');

my $list = q{SELECT 'mal.' || x FROM unnest(ARRAY['t1', 't2', 't3']) x};
foreach my $what (qw(replace_cursor fetch_cursor move_cursor squat)) {
    let_mallory($what);
    $super->get('BEGIN; DECLARE mine CURSOR FOR SELECT s FROM secret ORDER BY s; FETCH mine');
    $super->get(q{SELECT kms.switch_column('mal.t1', 'plain', dry_run => true); SELECT kms.unregister_column('mal.t1', 'plain_encrypted'); SELECT kms.register_column('mal.t1', 'plain_encrypted', 'pii', 'mal.context(id)')});
    is($super->get('FETCH ALL mine'), join("\n", map { "secret $_" } 2 .. 5), "$what: a cursor goes on where it was");
    is($super->get(q{SELECT count(*) FROM pg_cursors WHERE name = 'squatted'}), 0, '... and no other is left');
    $super->get('COMMIT');
    nothing_ran('... after it');
    $super->get("SELECT kms.rotate_key('pii')");
    $super->get("DO \$\$ DECLARE t text; BEGIN FOR t IN $list LOOP CALL kms.reencrypt(t, 'plain_encrypted'); END LOOP; END \$\$");
    nothing_ran('a loop that re-encrypts');
    is($super->get(q{SELECT string_agg(DISTINCT c.version::text, ' ') FROM kms.registered_columns r, kms.census(r.relation, r.column_name) c}),
        $super->get(q{SELECT max(version) FROM kms.list_keys('pii')}), '... comes to its end');
    $super->get("DO \$\$ DECLARE c CURSOR FOR $list; t text; n int := 0; BEGIN OPEN c; LOOP FETCH c INTO t; EXIT WHEN NOT FOUND; n := n + 1;"
          . " PERFORM kms.switch_column(t, 'plain', dry_run => true); PERFORM kms.unregister_column(t, 'plain_encrypted');"
          . " PERFORM kms.register_column(t, 'plain_encrypted', 'pii', 'mal.context(id)'); END LOOP; IF n <> 3 THEN RAISE 'only % of them', n; END IF; END \$\$");
    nothing_ran('... and one that fetches');
}
let_mallory('none');

# An error in the owner's code leaves the caller's cursors as they were.
$mallory->get('CREATE FUNCTION mal.fails(id int) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION $e$no context$e$; END $$');
my $fails = q{kms.register_column('mal.t2', 'plain_encrypted', 'pii', $e$mal.fails(1) || convert_to(id::text, 'UTF8')$e$)};
$super->get(q{SELECT kms.unregister_column('mal.t2', 'plain_encrypted')});
fails_with($super, "SELECT $fails", 'P0001', 'an error of the owner\'s code');
is($super->get("DO \$\$ DECLARE n int; seen int := 0; BEGIN FOR n IN SELECT generate_series(1, 3) LOOP BEGIN PERFORM $fails; EXCEPTION WHEN raise_exception THEN seen := seen + 1; END; END LOOP;"
      . " IF seen <> 3 THEN RAISE 'the loop has seen %', seen; END IF; END \$\$"), '', '... behind which a loop goes on');
$super->get('BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT s FROM secret ORDER BY s; COMMIT; FETCH mine');
$super->get('BEGIN');
fails_with($super, "SELECT $fails", 'P0001', '... in a transaction');
is($super->get('ROLLBACK; FETCH mine'), 'secret 2', '... which leaves a cursor of before it as it was');
$super->get(q{CLOSE mine; SELECT kms.register_column('mal.t2', 'plain_encrypted', 'pii', 'mal.context(id)')});

# --- what would stay in pg_temp

foreach my $object ('FUNCTION pg_temp.helper(text) RETURNS int LANGUAGE sql AS $f$ SELECT 1 $f$', 'DOMAIN pg_temp.number AS int', 'TABLE pg_temp.t (i int)') {
    my ($kind) = $object =~ /^(\w+)/;
    $mallory->get("CREATE OR REPLACE FUNCTION mal.make() RETURNS bool LANGUAGE plpgsql AS \$\$ BEGIN EXECUTE \$e\$CREATE $object \$e\$; RETURN true; END \$\$");
    $mallory->get('CREATE TABLE mal.made (plain text, CHECK (session_user = $$mallory$$ OR mal.make())); INSERT INTO mal.made VALUES ($$x$$)');
    my $answer = $super->ask(q{CALL kms.encrypt_column('mal.made', 'plain', 'pii')});
    like($answer->{err}, qr/42501/, "a temporary $kind is refused");
    is($super->get(q{SELECT count(*) FROM pg_proc WHERE proname = 'helper'}), 0, '... and none is left');
    $mallory->get('DROP TABLE mal.made');
}
$super->get('CREATE FUNCTION pg_temp.helper(varchar) RETURNS int LANGUAGE sql AS $$ SELECT 2 $$');
is($super->get(q{SELECT pg_temp.helper('abc')}), 2, 'the caller makes his own');

# --- PL/Perl closes any cursor by its name, pinned or not

SKIP: {
    skip 'no PL/Perl is installed', 4 if $super->get(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'plperl'}) == 0;
    $super->get('CREATE EXTENSION plperl');
    $mallory->get(<<'SQL');
CREATE FUNCTION mal.close_cursor(name text) RETURNS void LANGUAGE plperl AS $$ eval { spi_cursor_close($_[0]) }; return; $$;
CREATE FUNCTION mal.perl_replace(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE c refcursor := name;
BEGIN
    PERFORM mal.close_cursor(name);
    OPEN c FOR SELECT mal.late();
EXCEPTION WHEN OTHERS THEN NULL;
END $$;
SQL
    let_mallory('perl_replace');
    $super->get("SELECT kms.rotate_key('pii')");
    $super->get("DO \$\$ DECLARE t text; BEGIN FOR t IN $list LOOP CALL kms.reencrypt(t, 'plain_encrypted'); END LOOP; END \$\$");
    nothing_ran('PL/Perl under a loop that re-encrypts');
    $super->get("DO \$\$ DECLARE t text; BEGIN FOR t IN $list LOOP PERFORM kms.switch_column(t, 'plain', dry_run => true); PERFORM kms.unregister_column(t, 'plain_encrypted'); PERFORM kms.register_column(t, 'plain_encrypted', 'pii', 'mal.context(id)'); END LOOP; END \$\$");
    nothing_ran('... and under one that registers');
}

$_->quit foreach $super, $mallory;
$node->stop;
no_crash($node);
done_testing();
