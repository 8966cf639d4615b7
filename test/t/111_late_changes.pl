# A change at the agent that nobody waits for any more is not made later, when the locks that it was
# asked for under are gone.
use strict;
use warnings FATAL => 'all';

use Fcntl qw(:flock);
use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $ring = test_folder('ring');
my $node = kms_node('late_changes', 'kms.command' => make_keyring($ring, 'kek:wrap', 'adopted', 'plain'), 'client_min_messages' => 'warning');
$node->safe_psql('postgres', q{CREATE TABLE t (v bytea); SELECT kms.register_column('t', 'v', 'adopted')});
my $admin = kms_session($node);
$admin->get($_) foreach q{INSERT INTO t SELECT kms.encode_with('adopted', 'precious')}, q{SELECT kms.adopt_key('adopted', 'kek'), kms.create_data_key('ours', 'kek')},
  q{SELECT kms.disable_key('adopted', 1)};

# Another writer holds the keyring: a change waits for it.
my $holder;
sub hold { open $holder, '<', "$ring/ring" or die $!; flock $holder, LOCK_EX or die $!; return }
sub let_go { close $holder or die $!; return }
sub listed { return $admin->get(q{SELECT string_agg(concat_ws(' ', key_identifier, version, state), ', ' ORDER BY key_identifier, version) FROM kms.list_keys()}) }

my $before = listed();
foreach my $end (qw(pg_cancel_backend pg_terminate_backend)) {
    foreach my $change (q{SELECT kms.destroy_key('adopted', 1)}, q{SELECT kms.hand_back_key('ours')}, q{SELECT kms.rotate_key('plain')},
        q{SELECT kms.create_key('new')}, q{SELECT kms.disable_key('plain', 1)}, q{SELECT kms.rotate_kek('kek')})
    {
        my $session = kms_session($node);
        my $agent = $session->get(q{SELECT kms.ping() IS NULL; SELECT agent_pid FROM kms.status()}) =~ s/.*\n//sr;
        hold();
        $session->send($change);
        ok(becomes(sub { $admin->get("SELECT wait_event_type FROM pg_stat_activity WHERE state = 'active' AND pid = @{[ $session->pid ]}") eq 'Extension' }), "waits: $change");
        $admin->get("SELECT $end(@{[ $session->pid ]})");
        my $answer = $session->answer;
        isnt($answer->{state}, '', "... until $end");
        ok(becomes(sub { !is_alive($agent) }), '... which ends its agent');
        let_go();
        is(listed(), $before, '... and nothing is made later');
        is($session->get(q{SELECT kms.ping() IS NOT NULL}), 't', '... by another agent') unless $answer->{closed};
        $session->quit;
    }
}
is($admin->get(q{SELECT kms.decode_with_text('adopted', v) FROM t}), 'precious', 'what was to be destroyed opens');
is($admin->get(q{SELECT kms.destroy_key('adopted', 1); SELECT kms.hand_back_key('ours')}), "\n1", 'they are made when they are asked for');

# An agent that does not answer at all is ended at its deadline, too.
my $agent = $admin->get(q{SELECT agent_pid FROM kms.status()});
$admin->get(q{SET kms.request_timeout = '200ms'});
kill STOP => $agent;
fails_with($admin, q{SELECT kms.rotate_key('plain')}, 'KM008', 'an agent that is stopped');
ok(becomes(sub { !is_alive($agent) }), '... is ended');
like(listed(), qr/plain 1 enabled$/, '... and makes nothing later');

$admin->quit;
$node->stop;
no_crash($node);
done_testing();
