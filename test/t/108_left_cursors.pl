# A cursor that a table owner's code leaves open is run to its end by the next COMMIT of a procedure or
# a DO block, in the name of whoever that is. None is left.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $ring = test_folder('ring');
my $node = kms_node('left_cursors', 'kms.command' => make_keyring($ring, 'pii'));
if ($node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'plperl'}) eq '0') {
    $node->stop;
    plan skip_all => 'no PL/Perl is installed, which leaves cursors open';
}

# mallory owns tables; whoever else runs the rest of a cursor makes mallory a superuser, if it can.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION plperl;
CREATE ROLE mallory LOGIN;
CREATE SCHEMA mal AUTHORIZATION mallory;
CREATE TABLE public.ran (who name);
GRANT INSERT, SELECT ON public.ran TO PUBLIC;
SQL
my $super = kms_session($node);
my $mallory = kms_session($node, user => 'mallory');
$mallory->get(<<'SQL');
SET search_path = mal;
CREATE FUNCTION late() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.ran VALUES (current_user);
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        ALTER ROLE mallory SUPERUSER;
    END IF;
    RETURN 1;
END $$;
CREATE FUNCTION leave_open() RETURNS bool LANGUAGE plperl AS $$ spi_query('SELECT mal.late()'); return 1; $$;
CREATE FUNCTION looks_fine() RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    RETURN session_user = 'mallory' OR mal.leave_open();
END $$;
CREATE FUNCTION context(id int) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM mal.looks_fine();
    RETURN convert_to('row ' || id, 'UTF8');
END $$;
SQL

sub table {
    my ($name, $more) = @_;
    $mallory->get("CREATE TABLE mal.$name (id int, plain text" . ($more // '') . "); INSERT INTO mal.$name SELECT i, 'value ' || i FROM generate_series(1, 3) i");
    return;
}

sub nothing_ran {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($super->get('SELECT string_agg(DISTINCT who, $$ $$) FROM public.ran'), '', "$name: nothing is run later");
    is($super->get(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'}), 'f', '... and mallory is no superuser');
    is($super->get('SELECT count(*) FROM pg_cursors'), 0, '... nor is a cursor left');
    $super->get('TRUNCATE public.ran; ALTER ROLE mallory NOSUPERUSER');
    return;
}

# What the test's own cursor does where nobody looks: the test would find it.
my $careless = kms_session($node);
$careless->get('DO $$ BEGIN PERFORM mal.leave_open(); COMMIT; END $$');
$careless->quit;
is($super->get('SELECT who FROM public.ran'), $super->get('SELECT current_user'), 'a cursor is run at the COMMIT of another');
$super->get('TRUNCATE public.ran; ALTER ROLE mallory NOSUPERUSER');

$super->get('SET client_min_messages = warning');
table('checked', ', CHECK (mal.looks_fine())');
$super->get(q{CALL kms.encrypt_column('mal.checked', 'plain', 'pii')});
nothing_ran('a CHECK under encrypt_column');
$super->get(q{CALL kms.reencrypt('mal.checked', 'plain_encrypted')});
nothing_ran('... under reencrypt');
$super->get(q{SELECT kms.switch_column('mal.checked', 'plain'); CALL kms.decrypt_column('mal.checked', 'plain_encrypted', 'text', was_key => 'pii')});
nothing_ran('... under decrypt_column');
$super->get(q{SELECT kms.switch_column('mal.checked', 'plain_encrypted')});
is($super->get('SELECT string_agg(plain, $$ $$ ORDER BY id) FROM mal.checked'), 'value 1 value 2 value 3', '... which does its work');

table('bound');
my $bound = q{context_expression => 'mal.context(id)'};
$super->get("CALL kms.encrypt_column('mal.bound', 'plain', 'pii', $bound)");
nothing_ran('a context under encrypt_column');
$super->get(q{SELECT kms.rotate_key('pii'); CALL kms.reencrypt('mal.bound', 'plain_encrypted')});
nothing_ran('... under reencrypt');
$super->get(q{DO $$ BEGIN PERFORM kms.switch_column('mal.bound', 'plain'); COMMIT; END $$});
nothing_ran('... under switch_column, and a COMMIT');
$super->get(q{DO $$ BEGIN PERFORM kms.unregister_column('mal.bound', 'plain_encrypted'); PERFORM kms.register_column('mal.bound', 'plain_encrypted', 'pii', 'mal.context(id)'); COMMIT; END $$});
nothing_ran('... under register_column, and a COMMIT');

# Loops of the caller's own go on, with cursors that have a name and without.
$super->get(<<'SQL');
DO $$
DECLARE
    mine CURSOR FOR SELECT relation, column_name FROM kms.registered_columns;
    column_of record;
    seen int := 0;
BEGIN
    FOR column_of IN mine LOOP
        FOR id IN 1 .. 2 LOOP
            CALL kms.reencrypt(column_of.relation, column_of.column_name);
        END LOOP;
        seen := seen + 1;
    END LOOP;
    FOR column_of IN SELECT relation, column_name FROM kms.registered_columns LOOP
        CALL kms.reencrypt(column_of.relation, column_of.column_name);
        seen := seen + 1;
    END LOOP;
    IF seen <> 2 * (SELECT count(*) FROM kms.registered_columns) THEN
        RAISE 'a loop has ended early';
    END IF;
END $$;
SQL
nothing_ran('loops of the caller');
$super->get('BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT generate_series(1, 3)');
$super->get(q{FETCH mine; SELECT kms.unregister_column('mal.bound', 'plain_encrypted'); SELECT kms.register_column('mal.bound', 'plain_encrypted', 'pii', 'mal.context(id)')});
is($super->get('FETCH mine; COMMIT; FETCH mine'), "2\n3", 'a cursor of the caller stays');
$super->get('CLOSE mine');
nothing_ran('... and no other');

$_->quit foreach $super, $mallory;
$node->stop;
no_crash($node);
done_testing();
