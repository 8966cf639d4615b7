# Descriptors that the kernel will not watch: the wait for an agent fails, and leaves nothing behind.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use KmsKeys;
use KmsTest;
use Test::More;

plan skip_all => 'a sanitizer is loaded before all others' if $ENV{KMS_SANITIZED};
my $folder = test_folder('keys');
my $source = write_text("$folder/unwatched.c", <<'SOURCE');
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Watches no pipe while the file UNWATCHED is there. */
int epoll_ctl(int set, int operation, int descriptor, struct epoll_event *event) {
    struct stat is;
    if (operation == EPOLL_CTL_ADD && fstat(descriptor, &is) == 0 && S_ISFIFO(is.st_mode) &&
        access(getenv("UNWATCHED"), F_OK) == 0) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_epoll_ctl, set, operation, descriptor, event);
}
SOURCE
system('cc', '-shared', '-fPIC', '-o', "$folder/unwatched.so", $source) == 0
    or plan skip_all => 'there is no C compiler';

my $node = kms_node('unwatched', 'kms.command' => make_keyring($folder, 'k'), 'kms.keys' => '1=k', 'kms.mode' => 'remote');
$node->stop;
{
    local $ENV{LD_PRELOAD} = "$folder/unwatched.so";
    local $ENV{UNWATCHED} = "$folder/now";
    $node->start;
}

my $session = kms_session($node);
my $sets = sub { scalar grep { /eventpoll/ } values %{ open_descriptors($session->pid) } };
my $before = $sets->();
write_text("$folder/now", '');
foreach my $round (1 .. 5) {
    my $answer = fails_with($session, "SELECT kms.encode(1, 'x')", 'XX000', 'a pipe cannot be watched');
    like($answer->{message}, qr/epoll_ctl\(\) failed/, "... as PostgreSQL says");
}
is($sets->(), $before, 'no set is left');

unlink "$folder/now";
is($session->get("SELECT kms.decode_text(1, kms.encode(1, 'x'))"), 'x', 'the session goes on');
$session->quit;
$node->stop;
no_crash($node);
done_testing();
