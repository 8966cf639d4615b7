#!/usr/bin/python3
"""A keyring that others may read, that is damaged, or that many want to change at once."""

import fcntl
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from support import *


def permissions():
    fresh()
    for mode in (0o400, 0o640, 0o604, 0o660, 0o700, 0o644, 0o601, 0o1600):
        os.chmod("ring", mode)
        expect(on_ring("list"), UNUSABLE, f"a keyring of mode {mode:o}", b"0600")
        expect(on_ring("create", "b"), UNUSABLE, "nor is it changed")
    os.chmod("ring", 0o600)
    expect(on_ring("list"), DONE, "mode 0600 is taken")
    expect(agent("list", "--keyring", "missing", "--key-file", "kek"), UNUSABLE, "a missing keyring", b"no keyring")
    expect(agent("list", "--keyring", ".", "--key-file", "kek"), UNUSABLE, "a folder is no keyring", b"regular file")
    os.mkfifo("fifo", 0o600)
    expect(agent("list", "--keyring", "fifo", "--key-file", "kek"), UNUSABLE, "nor is a named pipe", b"regular file")
    expect(agent("list", "--keyring", "ring", "--key-file", "missing"), UNUSABLE, "a missing key file", b"missing")
    os.chmod("kek", 0o640)
    expect(on_ring("list"), UNUSABLE, "a key file that the group may read", b"0600")
    os.chmod("kek", 0o600)
    key = read("kek")
    with_pipe = subprocess.run(["/bin/sh", "-c", f"head -c 32 kek | {PROGRAM} list --keyring ring --key-file /dev/stdin"],
                               capture_output=True)
    expect(with_pipe, DONE, "a key file may be a pipe")
    if os.geteuid() != 0:
        skip("other users", "needs root")
        return
    os.chmod(FOLDER, 0o777)
    write("their-kek", key)
    os.chown("their-kek", 65534, 65534)
    foreign = agent("list", "--keyring", "ring", "--key-file", "their-kek", user=65534, group=65534)
    expect(foreign, UNUSABLE, "a keyring that this user cannot read", b"ring")
    os.rename("ring", "their-ring")
    os.chown("their-ring", 65534, 65534)
    expect(agent("rotate", "--keyring", "their-ring", "--key-file", "kek", "a"), DONE, "root changes a user's keyring")
    equal((os.stat("their-ring").st_uid, os.stat("their-ring").st_gid), (65534, 65534), "and the user keeps it")
    theirs = ("--keyring", "their-ring", "--key-file", "their-kek", "a")
    expect(agent("rotate", *theirs, user=65534, group=65534), DONE, "and can go on")
    expect(agent("rekey", "--keyring", "their-ring", "--key-file", "kek", "--new-key-file", "their-next"), DONE, "root makes another KEK for it")
    equal((os.stat("their-next").st_uid, os.stat("their-next").st_gid), (65534, 65534), "which is the user's too")
    equal(os.stat("their-next").st_mode & 0o7777, 0o600, "and nobody else's")
    os.rename("their-next", "their-kek")
    expect(agent("rotate", *theirs, user=65534, group=65534), DONE, "so that the user's agents open it")
    write("roots-kek", read("their-kek"))
    expect(agent("rekey", "--keyring", "their-ring", "--key-file", "their-kek", "--new-key-file", "roots-kek"), DONE, "a key file that is there")
    equal(os.stat("roots-kek").st_uid, 0, "stays whose it is")
    expect(agent("rekey", "--keyring", "their-ring", "--key-file", "roots-kek", "--new-key-file", "their-kek"), DONE, "the user's too")
    equal(os.stat("their-kek").st_uid, 65534, "and does not become root's")
    os.makedirs("theirs")
    os.mkdir("roots")
    os.chown("theirs", 65534, 65534)
    os.symlink("../roots", "theirs/link")
    mine = ("rekey", "--keyring", "their-ring", "--key-file", "their-kek", "--new-key-file")
    expect(agent(*mine, "theirs/link/next"), REFUSED, "root makes no key file for a user behind a link", b"a symbolic link leads to")
    equal(os.listdir("roots"), [], "which may be the user's")
    expect(agent(*mine, "theirs/next"), DONE, "in a folder of the user's it does")
    os.rename("theirs/next", "their-kek")
    os.chown("their-ring", 1, 1)
    os.chmod(FOLDER, 0o755)
    expect(agent("rotate", *theirs, user=65534, group=65534), UNUSABLE, "but not with a keyring of another user")
    os.chown("their-ring", 65534, 65534)
    expect(agent("rotate", *theirs, user=65534, group=65534), FAILED, "nor in a folder that is not writable", b"their-ring")


def names():
    """A new state of the file takes one name: another one would go on with the old keys."""
    fresh()
    os.link("ring", "other-name")
    before = read("ring")
    for name in ("ring", "other-name"):
        ring = ("--keyring", name, "--key-file", "kek")
        for command in (("rotate", *ring, "a"), ("create", *ring, "b"), ("destroy", *ring, "a", "1"), ("rekey", *ring, "--new-key-file", "new-kek")):
            result = agent(*command)
            ok(result.returncode not in (DONE, USAGE) and b"hard link" in result.stderr, f"{command[0]} by {name} is refused", result)
    equal(read("ring"), before, "and nothing is changed")
    ok(not os.path.exists("new-kek"), "nor a key file made")
    expect(on_ring("list"), DONE, "it is read all the same")
    served = Serving(*RING)
    refused = served.ask("rotate", "a")
    equal((refused[0], b"hard link" in refused[2]), ("unavailable", True), "an agent refuses it too")
    equal(served.ask("describe", "a")[1][0], "1", "and serves what there is")
    os.unlink("other-name")
    equal(served.ask("rotate", "a")[1][0], "2", "with one name it can be changed")
    served.end()
    os.symlink("ring", "link")
    expect(agent("rotate", "--keyring", "link", "--key-file", "kek", "a"), DONE, "a symbolic link is no second name")
    equal(len(keys()), 3, "but leads to the keyring")
    equal({made_and_changed(f"new{i}") for i in range(40)}, {DONE}, "nor has one another name that is just being made")


def turned_links():
    """A link that is turned while a command waits for the lock: the change goes where it leads then."""
    for folder in ("one", "two"):
        os.mkdir(folder)
        agent("init", "--keyring", f"{folder}/ring", "--key-file", "kek")
        agent("create", "--keyring", f"{folder}/ring", "--key-file", "kek", f"only-in-{folder}")
    os.symlink("one/ring", "turned")
    with open("one/ring") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        command = [PROGRAM, "create", "--keyring", "turned", "--key-file", "kek", "fresh"]
        waiting = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        os.symlink("two/ring", "turning")
        os.rename("turning", "turned")
    equal(waiting.wait(), DONE, "a link that is turned while a command waits")
    equal([k["key"] for k in keys("one/ring")], ["only-in-one"], "the keyring that it led to keeps what it has")
    equal([k["key"] for k in keys("two/ring")], ["fresh", "only-in-two"], "the one that it leads to is changed")


def made_and_changed(name):
    making = subprocess.Popen([PROGRAM, "init", "--keyring", name, "--key-file", "kek"])
    while (changed := agent("create", "--keyring", name, "--key-file", "kek", "a")).returncode == UNUSABLE:
        pass
    making.wait()
    return changed.returncode


def damage():
    fresh()
    whole = read("ring")
    survived = []
    for i in range(len(whole)):
        write("ring", whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1:])
        result = on_ring("list")
        if result.returncode != UNUSABLE or not result.stderr or result.stdout:
            survived.append(i)
    equal(survived, [], f"every one of {len(whole)} bytes is guarded")
    survived = []
    for size in range(len(whole)):
        write("ring", whole[:size])
        result = on_ring("list")
        if result.returncode != UNUSABLE or not result.stderr or result.stdout:
            survived.append(size)
    equal(survived, [], "every truncation is noticed")
    write("ring", whole + b"\0")
    expect(on_ring("list"), UNUSABLE, "a byte too many is noticed", b"damaged")
    write("ring", b"")
    expect(on_ring("rotate", "a"), UNUSABLE, "an empty file is no keyring", b"cut short")
    write("ring", b"#!/bin/sh\necho this is not it\n")
    expect(on_ring("list"), UNUSABLE, "nor is a script", b"not a keyring")
    write("ring", whole)
    write("other-kek", b"o" * 32)
    expect(agent("list", "--keyring", "ring", "--key-file", "other-kek"), UNUSABLE, "another KEK is told from damage", b"another unlock key")
    expect(agent("list", "--keyring", "ring", "--passphrase-command", "echo x"), UNUSABLE, "a passphrase is no key file", b"--key-file")
    equal([k["key"] for k in keys()], ["a"], "the whole keyring opens")


def writers():
    fresh()
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda i: on_ring("create", f"p{i}").returncode, range(20)))
    equal(results, [DONE] * 20, "20 creates at once succeed")
    equal(len(keys()), 21, "and all 20 keys are there")
    ok(not [name for name in os.listdir(".") if ".new-" in name], "no temporary file is left")
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda i: on_ring("create", "same").returncode, range(10)))
    equal(sorted(results), [DONE] + [REFUSED] * 9, "one of ten creates of one key wins")
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda i: agent("init", "--keyring", "race", "--key-file", "kek").returncode, range(10)))
    equal(sorted(results), [DONE] + [REFUSED] * 9, "one of ten inits wins")
    equal(keys("race"), [], "and its keyring is whole")


def busy():
    """Ten seconds of waiting, beside the other tests."""
    agent("init", "--keyring", "busy", "--key-file", "busy-kek")
    with open("busy") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        served = agent("serve", "--keyring", "busy", "--key-file", "busy-kek", input=HELLO + frame("create", 1, "a xaes-256-gcm"))
        return (agent("create", "--keyring", "busy", "--key-file", "busy-kek", "a"),
                agent("list", "--keyring", "busy", "--key-file", "busy-kek"), served)


waiting = ThreadPoolExecutor(1).submit(busy)
for test in (permissions, names, turned_links, damage, writers):
    print(f"# {test.__name__}", flush=True)
    test()
locked, listed, served = waiting.result()
expect(locked, BUSY, "a lock that another process holds", b"locked by another process")
ok(b"error 1 " in served.stdout and b" unavailable\n" in served.stdout and b"locked by" in served.stdout,
   "an agent that cannot change it says so and goes on", served)
expect(listed, DONE, "readers do not wait for it")
finish()
