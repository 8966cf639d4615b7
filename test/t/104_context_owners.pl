# What a context expression names is looked up by name at each use, and a function or type of another
# one's can be dropped and made anew: it would run as the table's owner, or as whoever writes a row.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $ring = test_folder('ring');
my $node = kms_node('context_owners', 'kms.command' => make_keyring($ring, 'pii'), 'kms.keys' => '1=pii');

# bob owns the application's schema, in which others have functions and types. Whoever runs what is
# bob's is written down, and makes bob a superuser if it can.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE bob LOGIN;
CREATE ROLE carol LOGIN;
CREATE ROLE deputy LOGIN IN ROLE carol;
CREATE SCHEMA app AUTHORIZATION bob;
GRANT USAGE, CREATE ON SCHEMA app TO carol, deputy;
CREATE SCHEMA carol AUTHORIZATION carol;
CREATE SCHEMA audit;
CREATE TABLE public.ran (who name);
GRANT INSERT, SELECT ON public.ran TO PUBLIC;
SELECT kms.grant_role('carol', 'key_admin'), kms.grant_role('carol', 'writer'), kms.grant_role('carol', 'reader');
SQL
my ($super, $bob, $carol, $deputy) = map { kms_session($node, user => $_) } ($node->safe_psql('postgres', 'SELECT current_user'), qw(bob carol deputy));

my $good = q{CREATE FUNCTION app.ctx(id int) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT convert_to('row ' || id, 'UTF8') $$};
$bob->get(<<'SQL');
CREATE FUNCTION app.evil() RETURNS bytea LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.ran VALUES (current_user);
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        ALTER ROLE bob SUPERUSER;
    END IF;
    RETURN 'x';
END $$;
SQL
my $bad = q{CREATE FUNCTION app.ctx(id int) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN app.evil(); END $$};
my $replace = "DROP FUNCTION app.ctx(int); $bad";

sub nothing_ran {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($super->get("SELECT count(*) FROM public.ran"), 0, "$name: nothing of bob's ran");
    is($super->get("SELECT rolsuper FROM pg_roles WHERE rolname = 'bob'"), 'f', '... and bob is no superuser');
    $super->get('TRUNCATE public.ran; ALTER ROLE bob NOSUPERUSER');
    return;
}

sub is_not_owned {
    my ($session, $statement, $name, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = fails_with($session, $statement, '42501', $name);
    like($answer->{message}, qr/a registered expression uses the \Q$what\E, which is not its table's owner's/, '... and why');
    return $answer;
}

# --- a function, in maintenance by a superuser and by a table's owner

$super->get("$good; CREATE TABLE audit.t (id int PRIMARY KEY, v bytea)");
$super->get(q{SELECT kms.register_column('audit.t', 'v', 'pii', 'app.ctx(id)')});
$super->get(q{INSERT INTO audit.t SELECT n, kms.encode_with('pii', 'v' || n, app.ctx(n)) FROM generate_series(1, 3) n});
$super->get(q{SELECT kms.rotate_key('pii')});
$super->get(q{CALL kms.reencrypt('audit.t', 'v')});
is($super->get(q{SELECT string_agg(DISTINCT kms.decode_with_text('pii', v, app.ctx(id)), ' ') FROM audit.t}), 'v1 v2 v3', 'a function of a superuser\'s serves');
$bob->get($replace);
$super->get(q{SELECT kms.rotate_key('pii')});
my $answer = is_not_owned($super, q{CALL kms.reencrypt('audit.t', 'v')}, 'a function that another has made in its place is not called', 'function app.ctx(integer)');
like($answer->{detail}, qr/^It belongs to "bob", who could make it run anything in the name of/, '... whose it is');
like($answer->{hint}, qr/ALTER FUNCTION \.\.\. OWNER TO/, '... and what to do');
nothing_ran('reencrypt');
is_not_owned($super, q{SELECT kms.unregister_column('audit.t', 'v'); SELECT kms.register_column('audit.t', 'v', 'pii', 'app.ctx(id)')},
    'nor is it registered', 'function app.ctx(integer)');
nothing_ran('register_column');

# --- one in whose place a writer would run

$bob->get('DROP FUNCTION app.ctx(int)');
$carol->get("$good; CREATE TABLE carol.t (id int PRIMARY KEY, secret text); INSERT INTO carol.t VALUES (1, 's1')");
$carol->get(q{CALL kms.encrypt_column('carol.t', 'secret', 'pii', context_expression => 'app.ctx(id)')});
$super->get(q{INSERT INTO carol.t VALUES (2, 's2')});
$bob->get($replace);
is_not_owned($super, q{INSERT INTO carol.t VALUES (3, 's3')}, 'nor does a writer run it', 'function app.ctx(integer)');
is_not_owned($super, q{CALL kms.encrypt_column('carol.t', 'secret', 'pii', context_expression => 'app.ctx(id)')}, 'nor who seals the column', 'function app.ctx(integer)');
nothing_ran('a row that is written');
$bob->get('DROP FUNCTION app.ctx(int)');
$carol->get($good);
$super->get(q{INSERT INTO carol.t VALUES (3, 's3')});
is($carol->get(q{SELECT count(*) FROM carol.t WHERE kms.decode_with_text('pii', secret_encrypted, app.ctx(id)) = secret}), 3, 'with the right one back it goes on');

# --- operators and types

$super->get('CREATE TYPE app.kind AS ENUM (\'a\', \'b\'); CREATE TABLE audit.u (id int PRIMARY KEY, k text, v bytea)');
my $with_type = q{$$convert_to((CASE WHEN id > 5 THEN 'a'::app.kind ELSE 'b'::app.kind END)::text, 'UTF8')$$};
my $with_array = q{$$convert_to('{a}'::app.kind[]::text || id, 'UTF8')$$};
my @ways = ($with_type, $with_array);
foreach my $context (@ways) {
    $super->get("CREATE TABLE audit.w AS TABLE audit.u; SELECT kms.register_column('audit.w', 'v', 'pii', $context)");
    $super->get(q{INSERT INTO audit.w VALUES (1, 'a', kms.encode_with('pii', 'x', 'y')); SELECT kms.rotate_key('pii')});
    $bob->get(q{DROP TYPE app.kind; CREATE DOMAIN app.kind AS text CHECK (app.evil() IS NOT NULL)});
    is_not_owned($super, q{CALL kms.reencrypt('audit.w', 'v')}, 'a type that another has made in its place is not used', 'type app.kind');
    is_not_owned($super, "SELECT kms.unregister_column('audit.w', 'v'); SELECT kms.register_column('audit.w', 'v', 'pii', $context)", 'nor registered', 'type app.kind');
    nothing_ran('a domain');
    $bob->get('DROP DOMAIN app.kind');
    $super->get(q{DROP TABLE audit.w; CREATE TYPE app.kind AS ENUM ('a', 'b')});
}
$bob->get('CREATE DOMAIN app.inner_one AS int; GRANT USAGE ON TYPE app.inner_one TO PUBLIC');
$super->get('CREATE DOMAIN app.outer_one AS app.inner_one; CREATE TYPE app.pair AS (a app.outer_one, b int)');
foreach my $context (q{$$convert_to('{1}'::app.outer_one[]::text || id, 'UTF8')$$}, q{$$convert_to('(1,2)'::app.pair::text || id, 'UTF8')$$},
    q{$$convert_to(id::app.outer_one::text, 'UTF8')$$}, q{$$convert_to(app.outer_one(id)::text, 'UTF8')$$}) {
    is_not_owned($super, "SELECT kms.register_column('audit.u', 'v', 'pii', $context)", "a type that is made of another's: $context", 'type app.inner_one');
}
$bob->get(q{CREATE FUNCTION app.joined(text, text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN convert_from(app.evil(), 'UTF8'); END $$});
$bob->get('CREATE OPERATOR app.<+> (LEFTARG = text, RIGHTARG = text, FUNCTION = app.joined)');
is_not_owned($super, q{SELECT kms.register_column('audit.u', 'v', 'pii', $$convert_to(k OPERATOR(app.<+>) 'x'::text, 'UTF8')$$)}, 'an operator', 'function app.joined(text,text)');
nothing_ran('what was refused');

# What runs may be PostgreSQL's own, and who gives the name decides what it is.
$bob->get('CREATE OPERATOR app.|> (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_catalog.textcat)');
is_not_owned($super, q{SELECT kms.register_column('audit.u', 'v', 'pii', $$convert_to(k OPERATOR(app.|>) 'x'::text, 'UTF8')$$)}, 'an operator over a function of PostgreSQL\'s', 'operator app.|>(text,text)');
$bob->get('CREATE COLLATION app.here FROM pg_catalog."C"');
is_not_owned($super, q{SELECT kms.register_column('audit.u', 'v', 'pii', $$convert_to(lower(k COLLATE app.here), 'UTF8')$$)}, 'a collation', 'collation here');

# The columns of a table may be of anybody's types: these stay while there is the column.
$super->get('CREATE TABLE audit.x (id app.inner_one, v bytea)');
$super->get(q{SELECT kms.register_column('audit.x', 'v', 'pii', $$convert_to(id::int::text, 'UTF8')$$)});
is($super->get(q{SELECT count(*) FROM kms.registered_columns WHERE full_name = 'audit.x.v'}), 1, 'a column of another\'s type is one like any other');

# --- whoever could do everything as the owner may have written it

$deputy->get('CREATE FUNCTION app.of_deputy(id int) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT convert_to(id::text, \'UTF8\') $$');
$carol->get('CREATE TABLE carol.y (id int, v bytea)');
$carol->get(q{SELECT kms.register_column('carol.y', 'v', 'pii', 'app.of_deputy(id)')});
is($carol->get(q{SELECT count(*) FROM kms.registered_columns WHERE full_name = 'carol.y.v'}), 1, 'a function of a member of the owner serves');
$super->get('REVOKE carol FROM deputy');
$super->get(q{INSERT INTO carol.y VALUES (1, kms.encode_with('pii', 'x', '1'))});
$super->get(q{SELECT kms.rotate_key('pii')});
is_not_owned($carol, q{CALL kms.reencrypt('carol.y', 'v')}, '... as long as it is one', 'function app.of_deputy(integer)');
$super->get('ALTER FUNCTION app.of_deputy(int) OWNER TO carol');
$carol->get(q{CALL kms.reencrypt('carol.y', 'v')});
is($carol->get(q{SELECT kms.decode_with_text('pii', v, '1') FROM carol.y}), 'x', '... and what the hint says mends it');

$_->quit foreach $super, $bob, $carol, $deputy;
$node->stop;
no_crash($node);
done_testing();
