# doc/application.md: its programs are run as they stand, by a role that is no superuser, and each
# sentence about them is looked at.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsPrograms;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $text = slurp_file("$FindBin::RealBin/../../doc/application.md");
my @blocks = blocks_of_page('application.md');
my @languages = qw(python js);
my %missing = map { $_ => missing_language($_) } @languages;

is(join(' ', map { scalar split /\n/ } grep { length(s/[\x80-\xbf]//gr) > 120 } split /\n/, $text), '', 'no line has more than 120 characters');
my %sections;
$sections{ $_->{section} }{ $_->{language} }++ foreach @blocks;
foreach my $section ('Insert, read, update', 'Parameters', 'Find a row', 'A column that was plaintext', 'A session pool', 'A transaction pool', 'Errors') {
    is(join(' ', map { delete $sections{$section}{$_} // 0 } @languages), '1 1', "\"$section\" has a program in each language");
}
is(join(' ', map { keys %$_ } values %sections), 'sql sql sql', 'what else there is, is SQL');

# --- a server, whose agent may fail at its start: once for each file that is called down, and for one called hang

my $folder = test_folder('keys');
my $agent = make_keyring($folder, 'customer-pii', 'account-emails:aes-256-siv', 'search-terms:hmac-sha-256', 'tenant-1', 'tenant-2', 'spare');
write_text("$folder/agent.sh", <<"SH");
for file in $folder/down*; do
    if [ -e "\$file" ]; then rm "\$file"; exit 1; fi
done
if [ -e $folder/hang ]; then rm $folder/hang; exec sleep 1000; fi
$agent
SH
my $node = kms_node('applications', 'kms.command' => "exec /bin/sh $folder/agent.sh", log_min_messages => 'info');
my ($session, $watcher) = map { kms_session($node) } 1 .. 2;
my %as_app = (PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres', PGUSER => 'app');

sub sections { my ($section, $language) = @_; return grep { $_->{section} eq $section && $_->{language} eq $language } @blocks }

# Runs the programs of a section, but for a language that is not here.
sub run_section {
    my ($section, $when, %env) = @_;
    foreach my $language (@languages) {
      SKIP: {
            skip $missing{$language}, 1 if $missing{$language} ne '';
            prints_as_shown($_, "\"$section\" in $language$when", %as_app, %env) foreach sections($section, $language);
        }
    }
    return;
}

# Runs a program of the test's own.
sub says {
    my ($language, $program, $expected, $name, %env) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
  SKIP: {
        skip $missing{$language}, 1 if $missing{$language} ne '';
        my ($code, $out, $err) = run_language($language, $program, %as_app, %env);
        is("$code $err$out", "0 $expected", $name);
    }
    return;
}

sub app_session { return kms_session($node, user => $_[0] // 'app') }

sub waits {
    my ($waiting) = @_;
    return becomes(sub { $watcher->get("SELECT wait_event_type FROM pg_stat_activity WHERE pid = @{[ $waiting->pid ]}") eq 'Lock' });
}

# --- what is there already

my @made = sections('What is there already', 'sql');
like($session->get($_->{text}), qr/\A\|\n\z/, 'what a DBA has made') foreach @made;
is($session->get("SELECT rolsuper FROM pg_roles WHERE rolname = 'app'"), 'f', 'the application is no superuser');
my $app = app_session();
my $bound_at_login = '1=customer-pii, 2=account-emails, 3=search-terms';
is($app->get('SHOW kms.keys'), $bound_at_login, 'the role binds at login');
is($session->get("SELECT string_agg(DISTINCT key_identifier || ' ' || algorithm, ', ' ORDER BY key_identifier || ' ' || algorithm) FROM kms.list_keys() WHERE key_identifier NOT IN ('spare', 'tenant-2')"),
    'account-emails aes-256-siv, customer-pii xaes-256-gcm, search-terms hmac-sha-256, tenant-1 xaes-256-gcm', 'keys are of the algorithms of the page');
$session->get(q{CREATE ROLE taker LOGIN; SELECT kms.grant_role('taker', 'writer'); ALTER ROLE taker SET kms.keys = '1=customer-pii'});
my $taker = app_session('taker');
my $taken = $taker->get(q{SELECT kms.encode(1, 'x')});
fails_with($taker, "SELECT $_(1, '$taken')", '42501', "a writer alone may not $_")
  foreach map { "kms.$_" } qw(decode decode_text try_decode);
is($app->get("SELECT kms.decode_text(1, '$taken')"), 'x', '... and a reader opens');
$taker->quit;

# --- insert, read, update

my $context = q{convert_to('person.ssn ' || id, 'UTF8')};
run_section('Insert, read, update', '');
my $people = @languages - grep { $_ ne '' } values %missing;
is($session->get("SET kms.keys = '1=customer-pii'; SELECT string_agg(name || kms.decode_text(1, ssn, $context), ' ') FROM person"),
    join(' ', ('Ada219-09-9999') x $people), 'what is stored is sealed for its own row');
$app->get("INSERT INTO person SELECT id, 'Eve', kms.encode(1, 'first', $context) FROM (SELECT nextval(pg_get_serial_sequence('person', 'id'))::int AS id OFFSET 0) new");
my ($eve) = $app->get(q{SELECT id FROM person WHERE name = 'Eve'});
is($session->get("SELECT string_agg(DISTINCT kms.decode_text(1, ssn, $context), ' ') FROM person WHERE id = $eve"), 'first', 'another row');
my $mallory = $app->get("INSERT INTO person (name, ssn) SELECT 'Mallory', ssn FROM person WHERE id = $eve RETURNING id");
fails_with($app, "SELECT kms.decode_text(1, ssn, $context) FROM person WHERE id = $mallory", 'KM005', 'what is copied to another row does not open');
$session->get("DELETE FROM person WHERE id = $mallory; UPDATE person SET id = 1000 WHERE id = $eve");
fails_with($app, "SELECT kms.decode_text(1, ssn, $context) FROM person WHERE id = 1000", 'KM005', '... nor where the id has changed');
$session->get("UPDATE person SET id = $eve WHERE id = 1000");
is($app->get("UPDATE person SET ssn = kms.encode(1, NULL::text, $context) WHERE id = $eve; SELECT ssn IS NULL, kms.decode_text(1, ssn, $context) IS NULL FROM person WHERE id = $eve"),
    't|t', 'NULL stays NULL in both directions');
says('python', <<'PY', "True None\n", '... from Python');
import psycopg
with psycopg.connect() as db:
    print(*db.execute("SELECT kms.encode(1, %s) IS NULL, kms.decode_text(1, %s)", (None, None)).fetchone())
PY
says('js', <<'JS', "true null\n", '... and from Node');
const { Client } = require('pg');
const db = new Client();
db.connect().then(() => db.query('SELECT kms.encode(1, $1) IS NULL AS a, kms.decode_text(1, $2) AS b', [null, null]))
    .then(result => { console.log(result.rows[0].a, result.rows[0].b); return db.end(); });
JS
like($text, qr/seals for the row that is there:\s+`ON CONFLICT \(name\) DO UPDATE SET ssn = (kms\.encode\(1, \$2, convert_to\('person\.ssn ' \|\| person\.id, 'UTF8'\)\))`/, 'an upsert');
my $upsert = "WITH new AS (SELECT nextval(pg_get_serial_sequence('person', 'id')) AS id) INSERT INTO person SELECT id, 'Una', kms.encode(1, '%s', $context) FROM new"
  . " ON CONFLICT (name) DO UPDATE SET ssn = kms.encode(1, '%s', convert_to('person.ssn ' || person.id, 'UTF8')) RETURNING kms.decode_text(1, ssn, convert_to('person.ssn ' || person.id, 'UTF8'))";
$session->get('DELETE FROM person WHERE name = $$Una$$; ALTER TABLE person ADD COLUMN una text GENERATED ALWAYS AS (CASE WHEN name = $$Una$$ THEN name END) STORED UNIQUE');
is($app->get(sprintf $upsert =~ s/\(name\)/(una)/r, $_, $_), $_, '... opens for the row that it is in') foreach 'first', 'second';
$session->get('DELETE FROM person WHERE name = $$Una$$; ALTER TABLE person DROP COLUMN una');
$app->get("UPDATE person SET ssn = kms.encode(1, 'x', $context) WHERE id = $eve");
$session->get("SELECT kms.rotate_key('customer-pii'); SET client_min_messages = warning; CALL kms.reencrypt('person', 'ssn')");
is($session->get("SELECT string_agg(DISTINCT version::text, ',') FROM kms.census('person', 'ssn')"), 2, 'the column can be re-encrypted');
is($app->get("SELECT kms.decode_text(1, ssn, $context) FROM person WHERE id = $eve"), 'x', '... and is read as before');

my ($trigger) = slurp_file("$FindBin::RealBin/../../doc/sql.md") =~ /^( {4}CREATE FUNCTION seal_number.*\n(?: {4}.*\n)+)/m;
$session->get("CREATE TABLE card (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number bytea); $trigger GRANT SELECT, INSERT ON card TO app");
$app->get(q{INSERT INTO card (number) VALUES ('4111'), ('4222')});
is($app->get(q{SELECT string_agg(kms.decode_text(1, number, id::text::bytea), ' ' ORDER BY id) FROM card WHERE id > 0}), '4111 4222', 'a trigger that seals sees the id of the identity column');

# --- parameters

run_section('Parameters', '');
my $shown = 'text of the values';
says('python', <<'PY', "7 1.5 true 1.5 2024-05-17 2024-05-17 12:00:00+00 {\"a\": 1}\nlong x\n", "psycopg gives types: the $shown");
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
import psycopg
from psycopg.types.json import Jsonb
values = 7, 1.5, True, Decimal("1.50"), date(2024, 5, 17), datetime(2024, 5, 17, 14, tzinfo=timezone(timedelta(hours=2))), Jsonb({"a": 1})
with psycopg.connect() as db:
    print(*[db.execute("SELECT kms.decode_text(1, kms.encode(1, %s))", (each,)).fetchone()[0] for each in values])
    print(*[db.execute("SELECT kms.decode_text(1, kms.encode(1, %s))", (each,)).fetchone()[0] for each in (b"long", "x")])
PY
my %zone = (TZ => 'Asia/Tokyo');
says('js', <<'JS', "1.50 2024-05-17T21:00:00.000+09:00 {\"tags\":[1,2]}\n1.5 2024-05-17 12:00:00+00 {\"tags\": [1, 2]}\ntext\n", "pg gives none: the $shown without casts and with them", %zone);
const { Client } = require('pg');
const values = ['1.50', new Date('2024-05-17T14:00:00+02:00'), { tags: [1, 2] }];
const casts = ['numeric', 'timestamptz', 'jsonb'];
(async () => {
    const db = new Client();
    await db.connect();
    const seal = async (cast, value) => (await db.query(`SELECT kms.decode_text(1, kms.encode(1, $1${cast})) AS text`, [value])).rows[0].text;
    console.log(await seal('', values[0]), await seal('', values[1]), await seal('', values[2]));
    console.log(await seal('::' + casts[0], values[0]), await seal('::' + casts[1], values[1]), await seal('::' + casts[2], values[2]));
    console.log(await seal('', Buffer.from('text')));
    await db.end();
})();
JS
is($app->get('SELECT kms.encode(2, 1.50) = kms.encode(2, 1.5), kms.encode(2, $$1.50$$) = kms.encode(2, 1.5)'), 't|f', 'equal values, as text no equal ciphertexts');
is($app->get(q{SELECT pg_typeof(kms.decode(1, v)), pg_typeof(kms.decode_text(1, v)), pg_typeof(kms.decode_as(1, v, NULL::numeric)) FROM (SELECT kms.encode(1, 7) v OFFSET 0) s}),
    'bytea|text|numeric', 'what the functions give');
is($app->get(q{SELECT kms.decode_as(1, kms.encode(1, 7, 'c'), NULL::int, 'c')}), 7, 'the context comes behind the type');

# --- find a row

is($session->get($_->{text}), '', 'a table to find rows in') foreach sections('Find a row', 'sql');
run_section('Find a row', '');
$app->get(q{INSERT INTO account VALUES (kms.encode(2, 'old@example.org'), kms.encode(1, '1'), kms.blind_index(3, '1', 128))});
$session->get(q{SELECT kms.rotate_key('account-emails'), kms.rotate_key('customer-pii')});
is($app->get(q{SELECT kms.decode_text(1, phone) FROM account WHERE email = ANY (kms.encode_all(2, 'old@example.org'))}), 1, 'found under every enabled version');
is($app->get(q{SELECT kms.decode_text(2, email) FROM account WHERE phone_term = kms.blind_index(3, '1', 128)}), 'old@example.org', '... and by a term, whatever became of its key');
is($app->get(q{SELECT count(*) FROM account WHERE email = ANY (kms.encode_all(2, 'Old@example.org'))}), 0, 'the very bytes are looked for');
fails_with($app, q{INSERT INTO account (phone_term) VALUES (kms.blind_index(3, '1', 128))}, '23505', 'terms are unique');
foreach my $search ([ email => 'email = ANY (kms.encode_all(2, $1))' ], [ phone_term => 'phone_term = kms.blind_index(3, $1, 128)' ]) {
    my ($column, $condition) = @$search;
    $app->get("SET enable_seqscan = off; PREPARE $column (text) AS SELECT FROM account WHERE $condition");
    like($app->get("EXPLAIN (COSTS OFF) EXECUTE $column ('x')"), qr/Index.* on account(_\w+)?|using account_/, "$column is found by an index");
}
$app->get('RESET enable_seqscan; DEALLOCATE ALL');
is($app->get('SELECT kms.encode(2, 1.50) = ANY (kms.encode_all(2, trim_scale(1.50)::text))'), 't', 'a value of another type is looked for by its text');

# --- a column that was plaintext: the same programs before, between and after

my $title = 'A column that was plaintext';
my ($table, $encrypt, $switch, @more) = map { $_->{text} } sections($title, 'sql');
my $invokes = $session->get('SHOW server_version_num') >= 150000;
like($text, qr/PostgreSQL 14 has no `security_invoker`: leave it out/, 'what is done on 14');
$switch =~ s/ WITH \(security_invoker = true\)// unless $invokes;
is(scalar @more, 0, 'a table, an encryption and a switch');
$session->get($table);
$session->get(q{ALTER TABLE patient ALTER name SET DEFAULT 'nobody'; INSERT INTO patient (name, diagnosis) VALUES ('Bob', 'gout'), ('Cy', NULL)});
run_section($title, ', before');
$session->get("SET client_min_messages = warning; $encrypt");
run_section($title, ', between');
is($app->get(q{SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'patient'::regclass AND attnum > 0}), 'id name diagnosis diagnosis_encrypted', 'there are both columns');
my ($until_commit) = $switch =~ /\A(BEGIN;\n.*)^COMMIT;\n\z/ms or die 'the switch is one transaction';
my $writer = app_session();
is($writer->get(q{BEGIN; SELECT diagnosis FROM patient WHERE name = 'Bob'}), 'gout', 'a program has read the table');
$session->send($until_commit);
ok(waits($session), '... for which the switch waits');
is($writer->get(q{UPDATE patient SET diagnosis = 'gout' WHERE name = 'Bob' RETURNING diagnosis; COMMIT}), 'gout', '... and writes to it');
is($session->answer->{state}, '', '... without a deadlock');
$app->send(q{SELECT diagnosis FROM patient WHERE name = 'Bob'});
$writer->send(q{INSERT INTO patient (name, diagnosis) VALUES ('Dee', 'mumps') RETURNING name, diagnosis});
ok(waits($_), 'whoever comes while it runs waits') foreach $app, $writer;
$session->get('COMMIT');
is($app->answer->{out}, 'gout', '... and reads as before');
is($writer->answer->{out}, 'Dee|mumps', '... and writes as before');
run_section($title, ', after');

is($session->get(q{SELECT count(*) FROM patient_sealed WHERE position('gout'::bytea IN diagnosis_encrypted) + position('mumps'::bytea IN diagnosis_encrypted) > 0}), 0, 'no plaintext is left');
is($session->get(q{SELECT relation, column_name FROM kms.registered_columns WHERE relation = 'patient_sealed'::regclass}), 'patient_sealed|diagnosis_encrypted', 'the registration has followed the name');
$session->get(q{SELECT kms.rotate_key('customer-pii'); CALL kms.reencrypt('patient_sealed', 'diagnosis_encrypted')});
is($session->get(q{SELECT string_agg(version || ':' || rows, ' ') FROM kms.census('patient_sealed', 'diagnosis_encrypted') WHERE key_identifier IS NOT NULL}), '4:2', '... so that its rows are re-encrypted and counted');
my $everything = q{SELECT string_agg(name || ' ' || coalesce(diagnosis, '-'), ', ' ORDER BY id) FROM patient};
is($app->get($everything), 'Bob gout, Cy -, Dee mumps', '... and read as before');
is($app->get("SET kms.keys = ''; $everything"), 'Bob gout, Cy -, Dee mumps', 'the view needs no binding');
is($app->get(q{UPDATE patient SET diagnosis = 'rash' WHERE name = 'Dee' RETURNING diagnosis}), 'rash', '... nor does its trigger');
$app->get('RESET kms.keys');
$session->get(q{CREATE ROLE guest LOGIN; GRANT SELECT, INSERT ON patient, patient_sealed TO guest; GRANT USAGE ON SEQUENCE patient_id_seq TO guest; SELECT kms.grant_role('guest', 'writer')});
my $guest = app_session('guest');
fails_with($guest, 'SELECT diagnosis FROM patient', '42501', 'the view opens as the role that uses it');
$session->get(q{SELECT kms.revoke_role('guest', 'writer'), kms.grant_role('guest', 'reader')});
is($guest->get($everything), 'Bob gout, Cy -, Dee rash', '... which a reader may');
fails_with($guest, q{INSERT INTO patient (diagnosis) VALUES ('x')}, '42501', '... and the trigger seals as that role');
$guest->quit;

# Row-level security is that of who asks.
$session->get(q{ALTER TABLE patient_sealed ENABLE ROW LEVEL SECURITY; CREATE POLICY by_name ON patient_sealed USING (name <> 'Bob') WITH CHECK (true)});
SKIP: {
    skip 'PostgreSQL 14 has no security_invoker', 2 unless $invokes;
    is($app->get($everything), 'Cy -, Dee rash', 'the view shows what the policy lets through');
    is($app->get(q{UPDATE patient SET name = 'Bea' WHERE name = 'Bob' RETURNING 1}), '', '... and writes no other');
}
$session->get('DROP POLICY by_name ON patient_sealed; ALTER TABLE patient_sealed DISABLE ROW LEVEL SECURITY');

# Nobody else's table takes the writes, and no search_path is needed.
$session->get(q{CREATE SCHEMA theirs; CREATE TABLE theirs.patient_sealed (LIKE patient_sealed); GRANT USAGE ON SCHEMA theirs TO app; GRANT ALL ON theirs.patient_sealed TO app});
my $elsewhere = app_session();
$elsewhere->get('SET search_path = theirs');
is($elsewhere->get(q{INSERT INTO public.patient (name, diagnosis) VALUES ('Flo', 'x') RETURNING name}), 'Flo', 'a schema of another search_path');
is($elsewhere->get(q{UPDATE public.patient SET diagnosis = 'y' WHERE name = 'Flo' RETURNING diagnosis; DELETE FROM public.patient WHERE name = 'Flo' RETURNING name}), "y\nFlo", '... is written to by its name');
is($session->get('SELECT count(*) FROM theirs.patient_sealed'), 0, '... and no other table is');
$elsewhere->quit;
$session->get('DROP SCHEMA theirs CASCADE');

# Two writes of one row at a time: $first is committed while @second waits. How the second ends, and the row.
sub both_write {
    my ($first, @second) = @_;
    $app->get("BEGIN; $first");
    $writer->send(@second > 1 ? "BEGIN; $second[0]" : $second[0]);
    ok(waits($writer), 'a write waits for another');
    $app->get('COMMIT');
    my $state = $writer->answer->{state};
    if (@second > 1) {
        $writer->get("$second[1]; COMMIT");
    }
    return join ' ', $state || 'done', $app->get(q{SELECT name, diagnosis FROM patient WHERE id = 1});
}
my $before = $session->get('SELECT diagnosis_encrypted FROM patient_sealed WHERE id = 1');
is(both_write(q{UPDATE patient SET name = 'Rob' WHERE id = 1}, q{UPDATE patient SET diagnosis = 'cold' WHERE id = 1}), '40001 Rob|gout', 'of two that change a row the second does it again');
is($app->get(q{UPDATE patient SET diagnosis = 'cold' WHERE id = 1 RETURNING name, diagnosis}), 'Rob|cold', '... and then both count');
isnt($session->get('SELECT diagnosis_encrypted FROM patient_sealed WHERE id = 1'), $before, 'what changes is sealed anew');
$before = $session->get('SELECT diagnosis_encrypted FROM patient_sealed WHERE id = 1');
is(both_write(q{UPDATE patient SET name = name || '1' WHERE id = 1}, q{UPDATE patient SET name = name || '2' WHERE id = 1}), '40001 Rob1|cold', 'a value from the old one is not lost');
is(both_write(q{UPDATE patient SET name = 'taken' WHERE id = 1 AND name = 'Rob1'}, q{UPDATE patient SET name = 'taken too' WHERE id = 1 AND name = 'Rob1'}), '40001 taken|cold', '... nor does a condition hold that did');
is(both_write(q{UPDATE patient SET name = 'paid' WHERE id = 1}, q{DELETE FROM patient WHERE id = 1 AND name = 'taken'}), '40001 paid|cold', '... for a DELETE either');
is(both_write(q{UPDATE patient SET diagnosis = 'cleared' WHERE id = 1}, q{UPDATE patient SET diagnosis = 'cold' WHERE id = 1}), '40001 paid|cleared', 'what was there before is no reason to leave what is there now');
is(both_write(q{UPDATE patient SET name = name || '3' WHERE id = 1}, 'SELECT FROM patient WHERE id = 1 FOR UPDATE', q{UPDATE patient SET name = name || '4' WHERE id = 1}), 'done paid34|cleared', 'who reads with FOR UPDATE is the first');
$before = $session->get('SELECT diagnosis_encrypted FROM patient_sealed WHERE id = 1');
$app->get(q{UPDATE patient SET name = 'Rob', diagnosis = 'cleared' WHERE id = 1});
is($session->get('SELECT diagnosis_encrypted FROM patient_sealed WHERE id = 1'), $before, 'the rest stays as it is');
$app->get(q{INSERT INTO patient VALUES (500, 'short', 'x')});
$app->get(q{BEGIN; DELETE FROM patient WHERE id = 500});
$writer->send(q{UPDATE patient SET name = 'late' WHERE id = 500 RETURNING 1});
ok(waits($writer), 'an update waits for who deletes the row');
$app->get('COMMIT');
is($writer->answer->{out}, '', '... and finds none');

fails_with($app, "INSERT INTO patient VALUES (77, 'x', 'y') ON CONFLICT $_", '42P10', "ON CONFLICT $_ fails") foreach '(id) DO NOTHING', q{(id) DO UPDATE SET name = 'z'};
fails_with($app, q{INSERT INTO patient VALUES (1, 'x', 'y') ON CONFLICT DO NOTHING}, '23505', '... and DO NOTHING alone raises the conflict');
fails_with($app, 'UPDATE patient SET id = 77 WHERE id = 1', 'P0001', 'so does a new id');
my ($fixed) = $text =~ /whose\s+function then fixes what the text depends on: `(SET [^`]+)`/ or die 'no settings';
$session->get("CREATE TABLE shift (born date, at timestamptz, spent interval, part float8, paid money); INSERT INTO shift VALUES ('2024-06-05', '2024-06-05 12:00+02', '-1 days -02:00:00', 0.1::float8 + 0.2::float8, 12.5);"
      . " CREATE FUNCTION as_text(s shift) RETURNS text LANGUAGE plpgsql $fixed AS \$\$ BEGIN RETURN concat_ws('|', s.born::text, s.at::text, s.spent::text, s.part::text, s.paid::text); END \$\$");
is($session->get("SET datestyle = 'SQL, DMY'; SET intervalstyle = 'sql_standard'; SET timezone = 'Asia/Tokyo'; SET extra_float_digits = 0; SELECT as_text(s) FROM shift s"),
    $session->get("RESET ALL; SET client_min_messages = warning; SELECT as_text(s) FROM shift s"), 'a text that is the same in every session');
is($session->get(q{SELECT (t[1]::date, t[2]::timestamptz, t[3]::interval, t[4]::float8) = (s.born, s.at, s.spent, s.part) FROM shift s, string_to_array(as_text(s), '|') t}), 't', '... and becomes the value again');
my $other = $switch =~ s/patient/worker/gr =~ s/diagnosis/spent/gr;
$other =~ s/(\|\| id, 'UTF8'\)\)) AS spent/$1::interval AS spent/ or die 'no view';
$other =~ s/, NEW\.spent, convert_to/, NEW.spent::text, convert_to/g == 2 or die 'no trigger';
$other =~ s/SET search_path = pg_catalog, pg_temp AS/SET search_path = pg_catalog, pg_temp $fixed AS/ or die 'no function';
$session->get("CREATE TABLE worker (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text, spent interval); INSERT INTO worker (name, spent) VALUES ('Ada', '1 mon')");
$session->get($encrypt =~ s/patient/worker/gr =~ s/diagnosis/spent/gr);
$session->get($other);
is($session->get(q{UPDATE worker SET spent = '30 days' WHERE id = 1; SELECT spent FROM worker}), '30 days', 'what is equal and not the same is written, too');
fails_with($app, q{SELECT p.id, p.name, count(*) FROM patient p GROUP BY p.id}, '42803', 'a view has no primary key');
fails_with($app, 'COPY patient TO STDOUT', '42809', '... and COPY TO');
is($app->get('COPY (SELECT name FROM patient WHERE id = 1) TO STDOUT'), 'Rob', '... but not of a query');
fails_with($session, 'TRUNCATE patient', '42809', '... and TRUNCATE');
is($app->get(q{SELECT pg_get_serial_sequence('patient', 'id') IS NULL}), 't', 'a view has no sequence');
is($app->get(q{INSERT INTO patient (diagnosis) VALUES ('x') RETURNING name}), '', 'the table\'s DEFAULT is not the view\'s');
$session->get(q{ALTER VIEW patient ALTER name SET DEFAULT 'nobody'});
is($app->get(q{INSERT INTO patient (diagnosis) VALUES ('y') RETURNING name}), 'nobody', '... which has its own');
like($app->get(q{EXPLAIN (COSTS OFF) SELECT name FROM patient WHERE diagnosis = 'x'}), qr/Seq Scan on patient_sealed\n.*Filter: .*decode_with_text/, 'a condition on the column opens what it meets');
is($app->get(q{SELECT name FROM patient WHERE diagnosis = 'y'}), 'nobody', '... and finds');
$writer->quit;

# --- pools, without one

run_section($_, '') foreach 'A session pool', 'A transaction pool';
my ($pool_js) = map { $_->{text} =~ /\A(.*?)^\(async/ms } sections('A session pool', 'js');
says('js', $pool_js . <<'JS', "22012\n$bound_at_login\n", 'what fails with a connection of the pool leaves no binding');
(async () => {
    await bound('tenant-1', db => db.query('SELECT 1 / 0')).catch(error => console.log(error.code));
    console.log((await pool.query(`SELECT current_setting('kms.keys') AS keys`)).rows[0].keys);
    await pool.end();
})();
JS
my ($pool_python) = map { $_->{text} =~ /\A(.*?)^with/ms } sections('A session pool', 'python');
says('python', $pool_python . <<'PY', "22012\n$bound_at_login\n", '... in Python either');
with psycopg.connect() as db:
    try:
        with bound(db, "tenant-1"):
            db.execute("SELECT 1 / 0")
    except psycopg.Error as error:
        print(error.sqlstate)
    print(db.execute("SHOW kms.keys").fetchone()[0])
PY
is($app->get(q{BEGIN; SELECT kms.set_key(4, 'spare'); ROLLBACK; SELECT current_setting('kms.keys') ~ 'spare'}), "\nf", 'a ROLLBACK takes the binding back');
is($app->get(q{BEGIN; SELECT kms.set_key(4, 'spare'); COMMIT; BEGIN; ROLLBACK; SELECT current_setting('kms.keys') ~ 'spare'; RESET kms.keys}), "\nt", '... but not one that is committed');

# --- errors

run_section('Errors', '');
foreach my $language (@languages) {
  SKIP: {
        skip $missing{$language}, 2 if $missing{$language} ne '';
        my ($program) = sections('Errors', $language);
        write_text("$folder/down$_", '') foreach 1 .. 3;
        prints_as_shown($program, "\"Errors\" in $language: no agent for a while (KM007)", %as_app);
        is(join(' ', glob "$folder/down*"), '', '... which had failed');
        $session->get(q{ALTER ROLE app SET kms.start_timeout = '300ms'});
        write_text("$folder/hang", '');
        prints_as_shown($program, "\"Errors\" in $language: an agent that takes too long (KM008)", %as_app);
        ok(!-e "$folder/hang", '... which had taken it');
        $session->get('ALTER ROLE app RESET kms.start_timeout');
        # Of what is not to be tried again there is one try.
        my $other = { %$program, text => $program->{text} =~ s/"KM007", |'KM007', //r };
        write_text("$folder/down$_", '') foreach 1 .. 2;
        my ($code, undef, $err) = run_language($language, $other->{text}, %as_app);
        isnt($code, 0, '... and what it does not know it does not try again');
        like($err, qr/key agent/, '... but says');
        is(join(' ', glob "$folder/down*"), "$folder/down2", '... at once');
        unlink "$folder/down2";
    }
}
foreach my $wait ([ qr/tries=(\d+)/, qr/sleep\((0\.\d+) \* 2 \*\* attempt\)/, 1 ], [ qr/tries = (\d+)/, qr/resolve, (\d+) \* 2 \*\* attempt/, 1000 ]) {
    my ($tries, $first) = map { $text =~ /$_/ or die $_; $1 } @{$wait}[ 0, 1 ];
    my $waited = 0;
    $waited += $first * 2**$_ foreach 1 .. $tries - 1;
    cmp_ok($waited / $wait->[2], '>', 2 * 2, 'all tries take longer than an agent is left alone');
}

# Each SQLSTATE of the table, and what try_decode makes of it.
my %fault = (
    KM001 => q{9, '%s', ''},
    KM004 => q{4, '%s', 'c'},
    KM005 => q{1, '%s', 'other'},
    KM006 => q{1, 'x', '%.0s'},
    KM007 => q{1, '%s', 'c'},
    KM008 => q{1, '%s', 'c'},
    KM011 => q{1, '%s', 'c'},
);
my %listed = map { $_ => 1 } $text =~ /^\| (KM\d{3}) /mg;
is(join(' ', sort keys %listed), join(' ', grep { $_ ne 'KM006' } sort keys %fault), 'the table has them');
my %raised = map { $_ => 1 } ($text =~ /^(.*) are raised all the same/ms)[0] =~ /.*\. (.*)/s ? "$1" =~ /(KM\d{3})/g : ();
is(join(' ', sort keys %raised), 'KM001 KM007 KM008 KM011', 'those that try_decode raises');
my $sealed = $app->get(q{SELECT kms.encode(1, 'x', 'c')});
foreach my $state (sort keys %fault) {
    my $arguments = sprintf $fault{$state}, $sealed;
    foreach my $form (qw(decode_text try_decode try_decode_text)) {
        $session->get(q{ALTER ROLE app SET kms.start_timeout = '300ms'}) if $state eq 'KM008';
        # A session of its own, whose agent fails where that is wanted.
        my $other = app_session();
        $other->get(q{SET kms.keys = '1=customer-pii, 4=spare'});
        write_text("$folder/down", '') if $state eq 'KM007';
        write_text("$folder/hang", '') if $state eq 'KM008';
        $session->get(q{SELECT kms.disable_key('customer-pii', version, force => true) FROM kms.list_keys() WHERE key_identifier = 'customer-pii'}) if $state eq 'KM011';
        if ($form eq 'decode_text' || $raised{$state}) {
            $other->get('BEGIN');
            fails_with($other, "SELECT kms.$form($arguments)", $state, "$form raises $state");
            fails_with($other, 'SELECT 1', '25P02', '... which ends the transaction');
            is($other->get('ROLLBACK; SELECT 1'), 1, '... and not the session');
        }
        else {
            is($other->get("SELECT kms.$form($arguments) IS NULL"), 't', "$form gives NULL for $state");
        }
        $other->quit;
        $session->get('ALTER ROLE app RESET kms.start_timeout') if $state eq 'KM008';
        $session->get(q{SELECT kms.enable_key('customer-pii', version) FROM kms.list_keys() WHERE key_identifier = 'customer-pii'}) if $state eq 'KM011';
    }
}
is($app->get("SELECT kms.decode_text(1, '$sealed', 'c')"), 'x', 'a version that is enabled again opens');
is($app->get('SELECT kms.try_decode(1, NULL) IS NULL'), 't', 'try_decode gives NULL for NULL, too');
my $doomed = $app->get(q{SELECT kms.set_key(4, 'spare', true), kms.encode(4, 'x') FROM kms.set_key(4, 'spare')}) =~ s/.*\|//r;
$session->get(q{SELECT kms.disable_key('spare', 1, force => true)});
$session->get(q{SELECT kms.destroy_key('spare', 1, force => true)});
my $late = app_session();
$late->get(q{SET kms.keys = '4=spare'});
fails_with($late, "SELECT kms.decode(4, '$doomed')", 'KM011', 'a version that is destroyed');
is($late->get("SELECT kms.try_decode(4, '$doomed') IS NULL, kms.try_decode_text(4, '$doomed') IS NULL"), 't|t', '... is NULL for try_decode');
$late->quit;

$_->quit foreach $session, $watcher, $app;
$node->stop;
no_crash($node);
done_testing();
