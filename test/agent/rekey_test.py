#!/usr/bin/python3
"""kms-agent rekey while agents serve: with the next KEK told to them no request fails, whatever kills it."""

import fcntl
import json
import os
import random
import subprocess
import threading
import time

from support import *

KEY_FILES = ("--key-file", "kek", "--next-key-file", "kek.next")
PHRASES = ("--passphrase-command", f"cat {FOLDER}/phrase", "--next-passphrase-command", f"cat {FOLDER}/phrase.next")


class Client(threading.Thread):
    """Asks an agent without a pause; keeps what failed."""

    def __init__(self, served, verb):
        super().__init__()
        self.served = served
        self.verb = verb
        self.wrong = []
        self.asked = 0
        self.stopped = threading.Event()
        self.start()

    def ask(self, verb, *request):
        code, words, body = self.served.ask(verb, *request)
        self.asked += 1
        if code != "ok":
            self.wrong.append((verb, code, body))
        return body

    def run(self):
        while not self.stopped.is_set():
            if self.verb == "get":
                self.ask("get", "a")
            else:
                seal, unseal = self.verb
                words = "w 3" if seal == "wrap" else "a 3"
                sealed = self.ask(seal, words, b"ctxtext")
                if self.ask(unseal, words, b"ctx" + sealed) != b"text":
                    self.wrong.append((unseal, "another plaintext"))

    def finish(self):
        self.stopped.set()
        self.join()
        self.served.end()
        return self.wrong


def clients(options):
    verbs = ("get", ("encrypt", "decrypt"), ("wrap", "unwrap"))
    return [Client(Serving("--keyring", "ring", *options), verb) for verb in verbs]


class Rekeys:
    """Rekeys that are killed at any moment, until one is done; then the next KEK takes the place of the first."""

    def __init__(self, old, new, first, following):
        self.options = ("--keyring", "ring", *old, *new)
        self.old, self.first, self.following = old, first, following
        self.killed = self.killed_before = 0
        began = time.monotonic()
        ok(self.is_old(), f"{old[-1]} opens the keyring")
        self.longest = 4 * (time.monotonic() - began)

    def is_old(self):
        return agent("list", "--keyring", "ring", *self.old).returncode == DONE

    def is_done(self):
        """Killed or not: whether the keyring has its next KEK."""
        process = subprocess.Popen([PROGRAM, "rekey", *self.options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0, self.longest))
        process.kill()
        if process.wait() == DONE:
            return True
        self.killed += 1
        before = self.is_old()
        self.killed_before += before
        return not before

    def run(self, times):
        for _ in range(times):
            while not self.is_done():
                pass
            os.rename(self.following, self.first)


def key_files():
    fresh()
    expect(on_ring("create", "--purpose", "wrap", "w"), DONE, "a key that wraps")
    running = clients(KEY_FILES)
    rekeys = Rekeys(("--key-file", "kek"), ("--new-key-file", "kek.next"), "kek", "kek.next")
    rekeys.run(60)
    wrong = [why for client in running for why in client.finish()]
    ok(not wrong, "60 rekeys while three agents serve: no request fails", wrong[:10])
    ok(min(client.asked for client in running) > 60, "and there were many", [client.asked for client in running])
    ok(rekeys.killed_before > 0, f"{rekeys.killed} are killed, {rekeys.killed_before} of them before the keyring changed")
    equal([k["key"] for k in keys()], ["a", "w"], "the last KEK opens the keyring")


def passphrases():
    write("phrase", b"0")
    expect(on_ring("rekey", "--new-passphrase-command", "cat phrase"), DONE, "rekey to a passphrase")
    running = clients(PHRASES)
    rekeys = Rekeys(PHRASES[:2], ("--new-passphrase-command", "cat phrase.next"), "phrase", "phrase.next")
    for number in range(1, 4):
        write("phrase.next", str(number).encode())
        rekeys.run(1)
    wrong = [why for client in running for why in client.finish()]
    ok(not wrong, f"rekeys to others, {rekeys.killed} killed, while three agents serve: no request fails", wrong[:10])
    ok(rekeys.is_old(), "the last one opens the keyring")


def changes():
    """What agents and commands change meanwhile is written under the KEK that opened the keyring."""
    write("phrase.next", b"next")
    served = Serving("--keyring", "ring", *PHRASES)
    rekeyed = agent("rekey", "--keyring", "ring", "--passphrase-command", "cat phrase", "--new-passphrase-command", "cat phrase.next")
    expect(rekeyed, DONE, "a rekey that the first command does not know")
    equal(served.ask("rotate", "a")[0], "ok", "an agent rotates a key")
    listed = agent("list", "--keyring", "ring", "--passphrase-command", "cat phrase.next", "--json")
    equal([k["version"] for k in json.loads(listed.stdout)], [1, 2, 1], "under the next passphrase")
    expect(agent("list", "--keyring", "ring", "--passphrase-command", "cat phrase"), UNUSABLE, "not under the old one", b"another unlock key")
    back = agent("rekey", "--keyring", "ring", "--passphrase-command", "cat phrase.next", "--new-passphrase-command", "cat phrase")
    expect(back, DONE, "and back")
    equal(served.ask("describe", "a")[1][0], "2", "which the agent sees")
    rekeyed = agent("rekey", "--keyring", "ring", "--passphrase-command", "cat phrase", "--new-key-file", "third")
    expect(rekeyed, DONE, "a KEK that no agent was told of")
    code, _, text = served.ask("describe", "a")
    ok(code == "unavailable" and b"--key-file" in text, "ends the service, and the first KEK says why", text)
    whole = read("ring")
    write("ring", whole[:-1] + bytes([whole[-1] ^ 1]))
    refused = agent("serve", "--keyring", "ring", "--key-file", "third", "--next-key-file", "kek", input=HELLO)
    expect(refused, UNUSABLE, "a keyring that is damaged is called so, whatever the next KEK is", b"damaged")
    refused = agent("serve", "--keyring", "ring", "--key-file", "kek", "--next-key-file", "third", input=HELLO)
    expect(refused, UNUSABLE, "also where the next one would open it", b"damaged")
    write("ring", whole)
    opened = agent("serve", "--keyring", "ring", "--key-file", "missing", "--next-key-file", "third", input=HELLO)
    expect(opened, DONE, "a first key file that is missing leaves the next one")
    equal(served.end()[0], DONE, "the agent ends well")
    for options in (("--key-file", "kek", "--next-key-file", "a", "--next-passphrase-command", "b"),):
        expect(agent("serve", "--keyring", "ring", *options), USAGE, "one next KEK only", b"--next-passphrase-command")


def waiting_rekey(*new, meanwhile):
    """A rekey that waits for the lock while something happens."""
    with open("ring") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = subprocess.Popen([PROGRAM, "rekey", *RING, *new], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(0.5)
        meanwhile()
    errors = process.communicate()[1]
    return subprocess.CompletedProcess([], process.returncode, b"", errors)


def changed_meanwhile():
    """What the new KEK is counts when the keyring is locked, not when the command begins."""
    fresh()
    write("kek.next", os.urandom(32))
    changes = {"goes": lambda: os.unlink("kek.next"), "is overwritten": lambda: write("kek.next", os.urandom(32)),
               "is renamed": lambda: os.rename("kek.next", "kek.aside")}
    for change, meanwhile in changes.items():
        expect(waiting_rekey("--new-key-file", "kek.next", meanwhile=meanwhile), DONE, f"a new key file that {change} while rekey waits")
        equal([k["key"] for k in keys(kek="kek.next") or []], ["a"], "the keyring opens with the file that is there")
        os.replace("kek.next", "kek")
        write("kek.next", os.urandom(32))
    before = read("ring")
    refused = waiting_rekey("--new-key-file", "kek.next", meanwhile=lambda: write("kek.next", b"short"))
    ok(refused.returncode not in (DONE, BUSY) and b"32 bytes" in refused.stderr, "one that becomes useless is refused", refused)
    write("phrase.next", b"first")
    refused = waiting_rekey("--new-passphrase-command", "cat phrase.next", meanwhile=lambda: write("phrase.next", b"second"))
    expect(refused, REFUSED, "so is a passphrase that changes while rekey waits", b"the same twice")
    random_phrase = "head -c 16 /dev/urandom | od -An -tx1"
    expect(on_ring("rekey", "--new-passphrase-command", random_phrase), REFUSED, "and a command that prints another one each time", b"the same twice")
    equal((read("ring"), [k["key"] for k in keys()]), (before, ["a"]), "the keyring stays under its KEK")
    expect(agent("init", "--keyring", "new", "--passphrase-command", random_phrase), UNUSABLE, "init refuses such a command too", b"the same twice")
    ok(not os.path.exists("new"), "and makes no keyring")
    os.unlink("kek.next")
    piped = agent("rekey", *RING, "--new-key-file", "/dev/stdin", input=b"p" * 32)
    expect(piped, DONE, "a pipe gives a new key once")
    write("kek", b"p" * 32)
    equal([k["key"] for k in keys()], ["a"], "and it is that key")


def two_at_once():
    """The sequence of the documentation, twice, with a new key file that a killed rekey has left or without one."""
    lost = []
    for number in range(30):
        for name in ("ring", "kek", "kek.next"):
            if os.path.exists(name):
                os.unlink(name)
        fresh()
        if number % 2:
            write("kek.next", os.urandom(32))
        line = f"{PROGRAM} rekey --keyring ring --key-file kek --new-key-file kek.next && mv kek.next kek"
        with open("ring") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            both = [subprocess.Popen(["/bin/sh", "-c", line], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
            time.sleep(0.05)
        codes = [process.wait() for process in both]
        if not keys() and not keys(kek="kek.next"):
            lost.append((number, codes))
    equal(lost, [], "two rekeys at once: the keyring opens with a key file that is there")


for test in (key_files, passphrases, changes, changed_meanwhile, two_at_once):
    print(f"# {test.__name__}", flush=True)
    test()
finish()
