#!/usr/bin/python3
"""Files beside a keyring: a command removes and overwrites nothing that it has not made, whatever its name is."""

import fcntl
import os

from support import *

MINE = b"somebody's file"


def contents():
    """Every file of the folder, by name."""
    return {name: (os.lstat(name).st_ino, read(name)) for name in os.listdir(".") if os.path.isfile(name)}


def unchanged(before, name, but=()):
    after = contents()
    lost = [file for file in before if file not in but and after.get(file) != before[file]]
    ok(not lost, name, lost)
    return after


def predictable_names():
    for name in ("ring.new", "kek.new", "kek2.new", ".ring.new", "ring.tmp", "ring~"):
        write(name, MINE, 0o644)
    before = contents()
    expect(agent("init", *RING), DONE, "init beside files of somebody's")
    for command in (("create", "a"), ("rotate", "a"), ("disable", "a", "1"), ("destroy", "a", "1"), ("rekey", "--new-key-file", "kek2")):
        expect(on_ring(*command), DONE, f"{command[0]} beside files of somebody's")
    after = unchanged(before, "they are as they were")
    equal(sorted(set(after) - set(before)), ["kek", "kek2", "ring"], "and nothing else has come")
    served = agent("serve", "--keyring", "ring", "--key-file", "kek2", input=HELLO + frame("rotate", 1, "a"))
    ok(b"ok 1 " in served.stdout, "an agent changes the keyring", served.stdout)
    after = unchanged(before, "and leaves them too")
    equal(len(after), len(before) + 3, "and nothing behind")


def a_new_key_file_of_any_name():
    fresh("first")
    for name in ("first.new", "first.new2"):
        old = "kek" if name == "first.new" else "first.new"
        expect(agent("rekey", "--keyring", "first", "--key-file", old, "--new-key-file", name), DONE, f"rekey to {name}")
        ok(os.path.exists(name), "which is there")
        equal([k["key"] for k in keys("first", name) or []], ["a"], "and opens the keyring")
    expect(agent("rotate", "--keyring", "first", "--key-file", "first.new2", "a"), DONE, "it is changed with it")
    equal(len(keys("first", "first.new2") or []), 2, "and opens again")


def the_lock_comes_first():
    fresh("locked")
    before = contents()
    with open("locked") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused = agent("rekey", "--keyring", "locked", "--key-file", "kek", "--new-key-file", "kek.after")
    expect(refused, BUSY, "rekey of a keyring that is locked", b"locked by another process")
    ok(not os.path.exists("kek.after"), "makes no key file")
    unchanged(before, "and removes none")
    expect(agent("init", "--keyring", "locked", "--key-file", "kek.after"), REFUSED, "init over a keyring", b"exists")
    ok(not os.path.exists("kek.after"), "makes no key file either")
    write("bad", b"x" * 31)
    expect(agent("rekey", "--keyring", "locked", "--key-file", "kek", "--new-key-file", "bad"), UNUSABLE, "a new key file that does not fit", b"32 bytes")
    unchanged(before, "leaves all as it was")


def one_file_for_two():
    fresh("own")
    os.mkdir("sub")
    os.symlink("own", "to-own")
    os.symlink("kek", "to-kek")
    os.symlink(".", "here")
    os.link("own", "own-again")
    os.link("kek", "kek-again")
    before = contents()

    def refused(name, *line):
        expect(agent(*line), USAGE, name, b"the same file")
        unchanged(before, f"{name}: nothing changes")
        equal(sorted(contents()), sorted(before), f"{name}: nothing comes")

    refused("init with one file for both", "init", "--keyring", "x", "--key-file", "x")
    refused("spelled otherwise", "init", "--keyring", "x", "--key-file", "sub/../x")
    refused("through a link to the folder", "init", "--keyring", "x", "--key-file", "here/x")
    own = ("--keyring", "own", "--key-file", "kek")
    for name in ("own", "./own", "to-own", "own-again", f"{FOLDER}/own"):
        refused(f"rekey to {name}", "rekey", *own, "--new-key-file", name)
    for name in ("kek", "./kek", "to-kek", "kek-again", "here/kek"):
        refused(f"rekey from kek to {name}", "rekey", *own, "--new-key-file", name)
        refused(f"an import of {name}", "create", *own, "b", "--import", name)
    refused("a keyring as its key file", "list", "--keyring", "own", "--key-file", "own-again")
    refused("an agent's", "serve", "--keyring", "own", "--key-file", "to-own")
    refused("an agent's next one", "serve", *own, "--next-key-file", "own-again")
    os.unlink("own-again")
    os.symlink("nowhere", "dangling")
    expect(agent("init", "--keyring", "dangling", "--key-file", "kek"), REFUSED, "a dangling link in the keyring's place", b"exists")
    ok(os.path.islink("dangling") and not os.path.exists("nowhere"), "stays what it is")
    expect(agent("rekey", *own, "--new-key-file", "dangling"), REFUSED, "a dangling link as the new key file", b"dangling exists")
    equal([k["key"] for k in keys("own")], ["a"], "the keyring still opens")


for test in (predictable_names, a_new_key_file_of_any_name, the_lock_comes_first, one_file_for_two):
    print(f"# {test.__name__}", flush=True)
    test()
finish()
