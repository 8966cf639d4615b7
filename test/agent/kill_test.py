#!/usr/bin/python3
"""Kills every update of a keyring at every system call, and lets every system call of it fail.

After a kill the keyring opens with its old or its new state, the next update works, and at most one
file is left beside it, which nothing uses. After a failure the program says so, the old state stands, and no temporary file is left.
"""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from support import *

CALL = re.compile(r"(\w+)\(")
FAILING = {"write": "ENOSPC", "fsync": "ENOSPC", "rename": "ENOSPC", "renameat": "ENOSPC", "renameat2": "ENOSPC", "link": "ENOSPC", "flock": "EIO",
           "openat": "ENOSPC", "read": "EIO", "newfstatat": "EIO"}
# Libraries make these too (OpenSSL reads its configuration): then the update may as well succeed.
NOT_ONLY_OURS = ("openat", "read", "newfstatat")


def in_folder(folder, name):
    return os.path.join(FOLDER, folder, name)


def command(folder, verb, *arguments, kek="kek"):
    return [PROGRAM, verb, "--keyring", in_folder(folder, "ring"), "--key-file", in_folder(folder, kek), *arguments]


def run(line):
    return subprocess.run(line, capture_output=True, stdin=subprocess.DEVNULL)


def traced(line, *options):
    return run(["strace", "-qq", *options, *line])


def state(folder, kek="kek"):
    """Keys, versions and states; None where the keyring does not open."""
    entries = keys(in_folder(folder, "ring"), in_folder(folder, kek))
    return entries and [(e["key"], e["version"], e["state"]) for e in entries]


def temporary_files(folder):
    return [name for name in os.listdir(folder) if ".new-" in name]


class Update:
    """One command, the states before and after it, and the system calls in between."""

    def __init__(self, name, old, new, arguments=(), new_kek="kek", label=None):
        self.name = name
        self.label = label or name
        self.old = old
        self.new = new
        self.arguments = arguments
        self.new_kek = new_kek
        self.calls = self.trace()

    def line(self, folder):
        more = ["--new-key-file", in_folder(folder, self.new_kek)] if self.new_kek != "kek" else []
        return command(folder, self.name, *self.arguments, *more)

    def folder(self, label):
        """A folder with the old state."""
        folder = f"{self.label}-{label}"
        if self.old is None:
            os.mkdir(folder)
        else:
            shutil.copytree("template", folder)
        return folder

    def trace(self):
        """Every system call after the preparation of the process, with its number among its like.

        By then an unprivileged strace cannot read the program's memory: only names can be relied on. The heap
        begins anywhere, so how often it grows cannot.
        """
        folder = self.folder("trace")
        traced(self.line(folder), "-o", "trace")
        with open("trace") as file:
            names = [match[1] for match in map(CALL.match, file) if match]
        start = names.index("umask") + 1
        return [(name, names[:i + 1].count(name)) for i, name in enumerate(names)
                if i >= start and name != "brk"]

    def reached(self, folder):
        """"old", "new", or what is there instead."""
        if self.old is None and not os.path.exists(in_folder(folder, "ring")):
            return "old"
        as_old, as_new = state(folder), state(folder, self.new_kek)
        if as_new == self.new:
            return "new"
        return "old" if as_old == self.old and self.old is not None else f"{as_old} or {as_new}"

    def goes_on(self, folder, reached):
        """The next updates work, and leave nothing more than one kill has left."""
        if reached == "old" and run(self.line(folder)).returncode != DONE:
            return False
        after = run(command(folder, "create", "after", kek=self.new_kek))
        return (after.returncode == DONE and state(folder, self.new_kek) == sorted(self.new + [("after", 1, "enabled")])
                and len(temporary_files(folder)) <= 1)

    def kill(self, call):
        name, number = call
        folder = self.folder(f"kill-{name}-{number}")
        killed = traced(self.line(folder), "-o", "/dev/null", "-e", f"inject={name}:signal=KILL:when={number}")
        reached = self.reached(folder)
        if killed.returncode == DONE and name == "getrandom":
            return None, None  # how often it is called is libcrypto's affair
        if killed.returncode == DONE:
            return reached, f"{name} {number}: was not killed"
        if reached not in ("old", "new"):
            return reached, f"{name} {number}: {reached}"
        return reached, None if self.goes_on(folder, reached) else f"{name} {number}: {reached}, and nothing goes on"

    def fail(self, call):
        name, number = call
        folder = self.folder(f"fail-{name}-{number}")
        failed = traced(self.line(folder), "-o", "/dev/null", "-e", f"inject={name}:error={FAILING[name]}:when={number}")
        reached = self.reached(folder)
        what = f"{name} {number}: exit code {failed.returncode}, {reached}, {temporary_files(folder)}, {failed.stderr}"
        if failed.returncode == DONE and (name in NOT_ONLY_OURS or b"it is done, but cannot be told" in failed.stderr):
            return None if reached == "new" and not temporary_files(folder) else what
        if failed.returncode not in (FAILED, UNUSABLE) or not failed.stderr:
            return what
        told = b"/ring was written, but" in failed.stderr
        if reached != ("new" if told else "old") or temporary_files(folder):
            return what
        return None if self.goes_on(folder, reached) else what + " and nothing goes on"

    def test(self, pool):
        results = list(pool.map(self.kill, self.calls))
        wrong = [why for _, why in results if why]
        ok(not wrong, f"{self.label}: killed at each of {len(self.calls)} system calls", "\n".join(wrong))
        reached = [state for state, _ in results if state]
        ok({"old", "new"} <= set(reached), f"{self.label}: the kills reach both states", reached)
        equal(reached, sorted(reached, reverse=True), f"{self.label}: from one moment on it is the new one")
        failing = [call for call in self.calls if call[0] in FAILING]
        wrong = [why for why in pool.map(self.fail, failing) if why]
        ok(not wrong, f"{self.label}: {len(failing)} system calls fail one by one", "\n".join(wrong))


def main():
    if not shutil.which("strace") or traced(["/bin/true"], "-o", "/dev/null").returncode != 0:
        skip("kills and failures", "strace cannot trace here")
        finish()
    os.mkdir("template")
    for line in (("init",), ("create", "a"), ("create", "b")):
        run(command("template", *line))
    write("template/there", os.urandom(32))
    old = [("a", 1, "enabled"), ("b", 1, "enabled")]
    to_one_that_is_there = Update("rekey", old, old, new_kek="there", label="rekey-there")
    calls = [name for name, _ in to_one_that_is_there.calls]
    renamed = next(i for i, name in enumerate(calls) if name.startswith("rename"))
    equal(calls[:renamed].count("fsync"), 3, "a key file that is there, its folder and the new state are on disk before the keyring is replaced")
    expect(traced(command("template", "serve"), "-o", "trace", "-e", "trace=fsync"), DONE, "an agent serves a new state of a keyring")
    equal(read("trace").count(b"fsync("), 1, "after it has put it on disk")
    with ThreadPoolExecutor(2) as pool:
        for update in (
            Update("rotate", old, [old[0], ("a", 2, "enabled"), old[1]], ("a",)),
            Update("create", old, old + [("c", 1, "enabled")], ("c",)),
            Update("destroy", old, [old[0], ("b", 1, "destroyed")], ("b", "1")),
            Update("rekey", old, old, new_kek="kek2"),
            to_one_that_is_there,
            Update("init", None, []),
        ):
            update.test(pool)
    finish()


main()
