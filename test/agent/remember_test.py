#!/usr/bin/python3
"""kms-agent serve --remember-for: what is derived from a passphrase stays in the kernel for a while, for one user."""

import ctypes
import os
import platform
import signal
import struct
import subprocess
import time

from support import *

ADD_KEY, KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}.get(platform.machine(), (None, None))
USER_KEYRING, PROCESS_KEYRING = -4, -2
DESCRIBE, SETPERM, SEARCH, INVALIDATE, READ, LINK = 6, 5, 10, 21, 11, 8
libc = ctypes.CDLL(None, use_errno=True)
PASSPHRASE = "echo asked >> asked; cat passphrase"
SERVE = ("serve", "--keyring", "ring", "--passphrase-command", PASSPHRASE)


def kernel(number, *arguments):
    result = libc.syscall(number, *arguments)
    return result if result >= 0 else -ctypes.get_errno()


def description(ring="ring"):
    header = read(ring)
    log2_n, r, p = header[33:36]
    return f"kms-agent:{header[36:68].hex()}:{log2_n},{r},{p}".encode()


def kept(ring="ring"):
    """The kernel's serial number of the remembered key, or what the kernel says instead, below 0."""
    return kernel(KEYCTL, SEARCH, USER_KEYRING, b"user", description(ring), 0)


def shown(serial):
    text = ctypes.create_string_buffer(500)
    kernel(KEYCTL, DESCRIBE, serial, text, 500)
    return text.value.decode()


def payload(serial):
    text = ctypes.create_string_buffer(100)
    length = kernel(KEYCTL, READ, serial, text, 100)
    return text.raw[:length]


def plant(name, key):
    serial = kernel(ADD_KEY, b"user", name, key, len(key), PROCESS_KEYRING)
    kernel(KEYCTL, SETPERM, serial, 0x3f3f0000)
    kernel(KEYCTL, LINK, serial, USER_KEYRING)
    return serial


def times_asked():
    count = len(read("asked").splitlines()) if os.path.exists("asked") else 0
    write("asked", b"")
    return count


def served(*options, **more):
    """Serves once: how often the passphrase was asked for, and what came of it."""
    times_asked()
    result = agent(*SERVE, *options, input=HELLO + frame("get", 1, "a"), **more)
    return times_asked(), result


def opens(result):
    return result.returncode == DONE and b"\nok 1 32 " in result.stdout


def new_ring(passphrase=b"open sesame"):
    write("passphrase", passphrase)
    if os.path.exists("ring"):
        os.unlink("ring")
    agent("init", *SERVE[1:])
    agent("create", *SERVE[1:], "a")
    times_asked()


def off_by_default():
    new_ring()
    for _ in range(2):
        asked, result = served()
        ok(asked == 1 and opens(result), "without --remember-for every agent asks")
    ok(kept() < 0, "and nothing is kept")
    for wrong in (("--remember-for", "0"), ("--remember-for", "86401"), ("--remember-for", "x"), ("--remember-for",)):
        expect(agent(*SERVE, *wrong), USAGE, " ".join(wrong))
    expect(agent("serve", *RING, "--remember-for", "9"), USAGE, "a key file needs no memory")


def remembered():
    new_ring()
    asked, result = served("--remember-for", "60")
    ok(asked == 1 and opens(result) and not result.stderr, "the first agent asks", result)
    for _ in range(2):
        asked, result = served("--remember-for", "60")
        ok(asked == 0 and opens(result) and not result.stderr, "the next does not", result)
    asked, result = served()
    ok(asked == 1 and opens(result), "nor is it given to one without the option")
    permissions = shown(kept()).split(";")
    equal(permissions[:2] + permissions[3:4], ["user", str(os.geteuid()), "001b0000"],
          "the key is for its user, who may not change it")
    equal(len(payload(kept())), 32, "32 bytes are kept, and no passphrase")
    os.chmod("ring", 0o644)
    expect(served("--remember-for", "60")[1], UNUSABLE, "the keyring's mode is checked as ever", b"0600")
    os.chmod("ring", 0o600)


def forgotten():
    agent("forget")
    warmed = agent(*SERVE, "--remember-for", "60")
    ok(warmed.returncode == DONE and times_asked() == 1, "an agent without a client warms the memory up", warmed)
    equal(served("--remember-for", "60")[0], 0, "for those that come")
    forget = agent("forget")
    ok(forget.returncode == DONE and forget.stdout == b"forgotten: 1\n", "forget", forget)
    ok(kept() < 0, "removes it at once")
    equal(agent("forget").stdout, b"forgotten: 0\n", "once")
    ok(served("--remember-for", "60")[0] == 1, "the next agent asks again")
    other = plant(b"somebody's", b"x")
    equal(agent("forget").stdout, b"forgotten: 1\n", "the keys of others stay")
    ok(payload(other) == b"x", "as they are")
    kernel(KEYCTL, INVALIDATE, other)


def ends():
    served("--remember-for", "1")
    equal(served("--remember-for", "60")[0], 0, "it is there within its time")
    time.sleep(1.2)
    ok(kept() < 0, "and gone after it: neither use nor another time renews it")
    served("--remember-for", "60")


def rekeyed():
    before = kept()
    write("new", b"other words")
    expect(agent("rekey", *SERVE[1:], "--new-passphrase-command", "cat new"), DONE, "rekey")
    ok(before >= 0 and kept() < 0, "after a rekey the old key is not found")
    asked, result = served("--remember-for", "60")
    ok(asked == 1 and result.returncode == UNUSABLE, "so an old passphrase does not open the keyring", result)
    ok(kept() < 0, "and a wrong one leaves nothing behind")
    os.rename("new", "passphrase")
    ok(served("--remember-for", "60")[0] == 1 and served("--remember-for", "60")[0] == 0, "the new one is remembered")
    expect(agent("rekey", *SERVE[1:], "--new-key-file", "kek"), DONE, "rekey to a key file")
    asked, result = served("--remember-for", "60")
    ok(asked == 0 and result.returncode == UNUSABLE and b"--key-file" in result.stderr, "a passphrase is of no use then")
    agent("forget")


def wrong_keys():
    """What stands in the kernel is believed no more than a passphrase."""
    new_ring()
    for wrong in (b"x" * 32, b"x", b"x" * 31, b"x" * 33, b"x" * 3000):
        agent("forget")
        plant(description(), wrong)
        asked, result = served("--remember-for", "60")
        ok(asked == 1 and opens(result), f"a planted key of {len(wrong)} bytes is not used", result)
        asked, result = served("--remember-for", "60")
        ok(asked == 0 and opens(result), "and is replaced", result)
    data = bytearray(read("ring"))
    data[-1] ^= 1
    write("ring", data)
    asked, result = served("--remember-for", "60")
    ok(result.returncode == UNUSABLE and b"damaged" in result.stderr, "a damaged keyring does not open", result)
    agent("forget")


def started(command):
    """An agent that is at work on its first request, which needs the passphrase."""
    agent_process = subprocess.Popen([PROGRAM, "serve", "--keyring", "ring", "--passphrase-command", command,
                                      "--remember-for", "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE)
    agent_process.stdin.write(HELLO + frame("get", 1, "a"))
    agent_process.stdin.flush()
    return agent_process


def many_at_once():
    new_ring()
    command = "echo asked >> asked; until test -e all-started; do sleep 0.02; done; cat passphrase"
    agents = [started(command) for _ in range(20)]
    ok(becomes(lambda: os.path.exists("asked") and read("asked")), "the first of many asks")
    write("all-started", b"")
    answers = [each.communicate(timeout=120)[0] for each in agents]
    equal(sum(b"\nok 1 32 " in answer for answer in answers), 20, "of twenty agents at once all serve")
    equal(times_asked(), 1, "and one has asked for the passphrase")
    os.unlink("all-started")
    agent("forget")


def given_up():
    """Whose client goes away while somebody is asked leaves behind what came of it."""
    new_ring()
    one = started("echo asked >> asked; until test -e told; do sleep 0.02; done; cat passphrase")
    ok(becomes(lambda: os.path.exists("asked") and read("asked")), "somebody is asked")
    one.stdin.close()
    one.send_signal(signal.SIGTERM)
    write("told", b"")
    equal(one.wait(timeout=120), -signal.SIGTERM, "an agent that was told to end does")
    one.stdout.close()
    one.stderr.close()
    asked, result = served("--remember-for", "60")
    ok(asked == 0 and opens(result), "... once it has left the key to the next", result)
    os.unlink("told")
    agent("forget")


def without(calls, error):
    """For preexec_fn: the calls fail with `error`, as in a container."""
    nr, fail, allow = 0, 0x00050000 | error, 0x7fff0000
    program = [(0x20, 0, 0, nr)]
    for index, call in enumerate(calls):
        program.append((0x15, len(calls) - index, 0, call))
    program += [(0x06, 0, 0, allow), (0x06, 0, 0, fail)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("HL", len(program), ctypes.addressof(filters)))

    def install():
        libc.prctl(38, 1, 0, 0, 0)
        if libc.prctl(22, 2, header, 0, 0) != 0:
            os._exit(99)

    install.filters = filters
    return install


def refused():
    new_ring()
    for error, calls in ((1, (ADD_KEY, KEYCTL)), (38, (ADD_KEY, KEYCTL)), (122, (ADD_KEY,)), (13, (KEYCTL,))):
        for _ in range(2):
            asked, result = served("--remember-for", "60", preexec_fn=without(calls, error))
            ok(asked == 1 and opens(result), f"where the kernel says {os.strerror(error)}, the agent goes on", result)
            equal(result.stderr.count(b"the kernel does not"), 1, "and says so once")
    expect(agent("forget", preexec_fn=without((KEYCTL,), 1)), FAILED, "forget fails there", b"not permitted")


def usable():
    if ADD_KEY is None:
        return "the numbers of the system calls are not known here"
    serial = kernel(ADD_KEY, b"user", b"kms-agent-test", b"x", 1, USER_KEYRING)
    if serial < 0:
        return "the kernel keeps no keys here: " + os.strerror(-serial)
    kernel(KEYCTL, INVALIDATE, serial)
    return ""


reason = usable()
if reason:
    skip("a passphrase is remembered", reason)
else:
    for test in (off_by_default, remembered, forgotten, ends, rekeyed, wrong_keys, many_at_once, given_up, refused):
        print(f"# {test.__name__}", flush=True)
        test()
finish()
