#!/usr/bin/python3
"""kms-agent on the command line: every subcommand, every exit code, every bad input."""

import fcntl
import json
import os
import pty
import subprocess
import termios
import time
from concurrent.futures import ThreadPoolExecutor

from support import *

RING = ("--keyring", "ring", "--key-file", "kek")


def on_ring(command, *arguments, **options):
    return agent(command, *RING, *arguments, **options)


def expect(result, code, name, says=b""):
    good = result.returncode == code and says in result.stderr
    return ok(good, name, f"exit code {result.returncode}, expected {code}: {result.stderr!r}")


def fresh(name="ring"):
    for path in (name, name + ".new"):
        if os.path.lexists(path):
            os.unlink(path)
    agent("init", "--keyring", name, "--key-file", "kek")
    agent("create", "--keyring", name, "--key-file", "kek", "a")


def command_line():
    version = agent("--version")
    ok(version.returncode == 0 and version.stdout.startswith(b"kms-agent "), "--version")
    help_text = agent("--help")
    ok(help_text.returncode == 0 and b"Exit codes" in help_text.stdout, "--help names the exit codes")
    for name in "serve init create list rotate enable disable destroy rekey".split():
        ok(name.encode() in help_text.stdout, f"--help names {name}")
        equal(agent(name, "--help").returncode, DONE, f"{name} --help")
    for line in ("", "nosuch", "list", "create --keyring r", "serve", "disable --keyring r a",
                 "disable --keyring r a 0", "disable --keyring r a x", "disable --keyring r a 2147483648",
                 "create --keyring r a --algorithm des", "list --keyring r --nosuch",
                 "list --keyring r --key-file k --passphrase-command c",
                 "serve --ephemeral --keyring r", "create --keyring r a b"):
        result = agent(*line.split())
        ok(result.returncode == USAGE and result.stderr, f"usage: {line}", result)


def init():
    expect(agent("init", *RING), DONE, "init")
    equal(os.stat("ring").st_mode & 0o7777, 0o600, "the keyring has mode 0600")
    equal((os.stat("kek").st_mode & 0o7777, os.stat("kek").st_size), (0o600, 32),
          "the key file was made, 32 bytes of mode 0600")
    before = read("ring")
    expect(agent("init", *RING), REFUSED, "init never replaces a keyring", b"exists")
    expect(agent("init", "--keyring", "ring", "--key-file", "other"), REFUSED, "nor with another key file")
    ok(not os.path.exists("other"), "and leaves no key file behind")
    equal(read("ring"), before, "the keyring is as it was")
    write("short", b"k" * 31)
    expect(agent("init", "--keyring", "new", "--key-file", "short"), UNUSABLE, "a key file of 31 bytes", b"32 bytes")
    write("open", b"k" * 32, 0o644)
    expect(agent("init", "--keyring", "new", "--key-file", "open"), UNUSABLE, "a key file for all", b"0600")
    expect(agent("init", "--keyring", "no/folder", "--key-file", "kek"), FAILED, "a folder that is not there")
    expect(agent("init", "--keyring", "new", "--key-file", "no/folder"), UNUSABLE, "no folder for a key file")
    ok(not os.path.exists("new"), "a refused init makes no keyring")
    equal(keys(), [], "a new keyring is empty")
    as_json = json.loads(agent("init", "--keyring", "json", "--key-file", "kek", "--json").stdout)
    equal((as_json["generation"], as_json["protection"]), (1, "key-file"), "init --json")
    expect(agent("init", "--keyring", "b", "--key-file", "kek", umask=0o777), DONE, "init under a hard umask")
    equal(os.stat("b").st_mode & 0o7777, 0o600, "still makes mode 0600")


def life_of_a_key():
    created = on_ring("create", "a", "--json")
    expect(created, DONE, "create")
    entry = json.loads(created.stdout)
    equal((entry["key"], entry["version"], entry["algorithm"], entry["state"], entry["no_export"]),
          ("a", 1, "xaes-256-gcm", "enabled", False), "create --json")
    expect(on_ring("create", "a"), REFUSED, "create refuses an identifier that exists", b"exists")
    expect(on_ring("rotate", "a"), DONE, "rotate")
    expect(on_ring("rotate", "b"), NOT_FOUND, "rotate of no key")
    equal([(k["version"], k["state"]) for k in keys()], [(1, "enabled"), (2, "enabled")], "both versions are listed")
    expect(on_ring("disable", "a", "1"), DONE, "disable")
    expect(on_ring("disable", "a", "1"), DONE, "disable again")
    equal(keys()[0]["state"], "disabled", "it is disabled")
    expect(on_ring("enable", "a", "1"), DONE, "enable")
    expect(on_ring("destroy", "a", "1"), DONE, "destroy")
    equal((keys()[0]["state"], keys()[0]["tag"]), ("destroyed", entry["tag"]), "the record and its tag stay")
    expect(on_ring("enable", "a", "1"), REFUSED, "a destroyed version stays destroyed", b"destroyed")
    for command in ("enable", "disable", "destroy"):
        expect(on_ring(command, "a", "3"), NOT_FOUND, f"{command} of no version")
        expect(on_ring(command, "b", "1"), NOT_FOUND, f"{command} of no key")
    expect(on_ring("disable", "a", "2"), DONE, "disable of the current version")
    expect(on_ring("rotate", "a"), DONE, "a key whose current version is disabled rotates")
    expect(on_ring("create", "gcm", "--algorithm", "aes-256-gcm"), DONE, "create warns of 2^32 values", b"2^32")
    ok(b"2^32" not in on_ring("create", "siv", "--algorithm", "aes-256-siv").stderr, "but not without reason")
    table = on_ring("list").stdout.decode().splitlines()
    ok(table[0].split() == "KEY VERSION ALGORITHM TAG STATE EXPORT CREATED".split() and len(table) == 6, "list as a table")
    equal(len(on_ring("list", "g").stdout.splitlines()), 2, "list by prefix")
    expect(on_ring("list", "zzz"), DONE, "list of nothing is no error")
    with open("/dev/full", "wb") as full:
        result = subprocess.run([PROGRAM, "list", *RING], stdout=full, stderr=subprocess.PIPE)
    expect(result, FAILED, "an output that cannot be written", b"standard output")


def imports():
    raw = bytes(range(32))
    write("raw", raw)
    write("hex", raw[::-1].hex().encode() + b"\n")
    expect(on_ring("create", "raw", "--import", "raw"), DONE, "import of a raw key")
    expect(on_ring("create", "hex", "--import", "hex"), DONE, "import in hex, with a newline")
    expect(on_ring("create", "upper", "--import", "-", input=b"AB" * 32), DONE, "import in upper case, standard input")
    expect(on_ring("create", "again", "--import", "raw"), REFUSED, "the same key under another name", b"holds this key already")
    expect(on_ring("create", "again", "--import", "-", input=raw.hex().encode()), REFUSED, "the same key in hex")
    for size in (0, 1, 16, 31, 33, 63, 65, 66, 129, 100000):
        expect(on_ring("create", "bad", "--import", "-", input=b"a" * size), REFUSED, f"import of {size} bytes")
    expect(on_ring("create", "bad", "--import", "-", input=b"ag" * 32), REFUSED, "import of what is no hex", b"hex")
    expect(on_ring("create", "bad", "--import", "missing"), FAILED, "import of a missing file", b"missing")
    for name, size in (("aes-128-gcm", 16), ("aes-192-gcm", 24), ("aes-256-gcm", 32), ("aes-256-siv", 64)):
        expect(on_ring("create", name, "--algorithm", name, "--import", "-", input=os.urandom(size)), DONE, f"import for {name}")
        expect(on_ring("create", name + "x", "--algorithm", name, "--import", "-", input=os.urandom(size + 1)), REFUSED,
               f"but not one byte more")
    said = b"".join((lambda r: r.stdout + r.stderr)(on_ring(*line)) for line in
                    (("list",), ("list", "--json"), ("rotate", "raw"), ("disable", "raw", "1"), ("create", "raw", "--import", "raw")))
    ok(raw not in said and raw.hex().encode() not in said, "no command prints a key")
    replies = serve(frame("get", 1, "raw"), *RING)
    ok(raw not in replies, "the rotated key is not the imported one")
    tag = next(k["tag"] for k in keys() if k["key"] == "raw")
    on_ring("enable", "raw", "1")
    ok(serve(frame("get", 1, f"raw {tag}"), *RING).endswith(raw), "the imported key is served, byte for byte")


def identifiers():
    for escaped in ("a%00b", "%0A", "%25", "%3D", "%2C", "%C3%A9%E6%BC%A2", "x" * 1000, "%FF" * 1024, "%2d-x", "-dash"):
        made = on_ring("create", "--escaped", "--json", "--", escaped)
        expect(made, DONE, f"create --escaped {escaped[:30]}")
        shown = json.loads(made.stdout or b"{}").get("key", "")
        listed = [k for k in keys() if k["key"] == shown]
        ok(len(listed) == 1, f"listed as {shown[:30]}")
        expect(on_ring("rotate", "--escaped", "--", shown), DONE, "and named so by another command")
    for raw in ("new\nline", "per%cent", "e=q,c", "ünï", "y" * 1000):
        expect(on_ring("create", raw), DONE, f"create {raw[:20]!r}, not escaped")
    shown = {k["key"] for k in keys()}
    ok({"new%0Aline", "per%25cent", "e%3Dq%2Cc", "%C3%BCn%C3%AF"} <= shown, "all are shown escaped", shown)
    equal(len(on_ring("list", "--escaped", "%C3").stdout.splitlines()), 4, "list --escaped with a prefix")
    for bad in ("", "x" * 1025):
        expect(on_ring("create", bad), USAGE, f"an identifier of {len(bad)} bytes")
    for bad in ("%", "%0", "%0g", "a b", "ü", "a%"):
        expect(on_ring("create", "--escaped", bad), USAGE, f"--escaped {bad!r}")


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
    os.link("ring", "their-ring")
    os.unlink("ring")
    os.chown("their-ring", 65534, 65534)
    expect(agent("rotate", "--keyring", "their-ring", "--key-file", "kek", "a"), DONE, "root changes a user's keyring")
    equal((os.stat("their-ring").st_uid, os.stat("their-ring").st_gid), (65534, 65534), "and the user keeps it")
    theirs = ("--keyring", "their-ring", "--key-file", "their-kek", "a")
    expect(agent("rotate", *theirs, user=65534, group=65534), DONE, "and can go on")
    os.chown("their-ring", 1, 1)
    os.chmod(FOLDER, 0o755)
    expect(agent("rotate", *theirs, user=65534, group=65534), UNUSABLE, "but not with a keyring of another user")
    os.chown("their-ring", 65534, 65534)
    expect(agent("rotate", *theirs, user=65534, group=65534), FAILED, "nor in a folder that is not writable", b".new")


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
    expect(agent("list", "--keyring", "ring", "--key-file", "other-kek"), UNUSABLE, "another KEK is told from damage", b"another key")
    expect(agent("list", "--keyring", "ring", "--passphrase-command", "echo x"), UNUSABLE, "a passphrase is no key file", b"--key-file")
    equal([k["key"] for k in keys()], ["a"], "the whole keyring opens")


def writers():
    fresh()
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda i: on_ring("create", f"p{i}").returncode, range(20)))
    equal(results, [DONE] * 20, "20 creates at once succeed")
    equal(len(keys()), 21, "and all 20 keys are there")
    ok(not os.path.exists("ring.new"), "no temporary file is left")
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


def rekey():
    fresh()
    old_kek = read("kek")
    expect(on_ring("rekey", "--new-key-file", "kek2"), DONE, "rekey to a new key file")
    equal((os.stat("kek2").st_mode & 0o7777, os.stat("kek2").st_size), (0o600, 32), "which was made")
    expect(on_ring("list"), UNUSABLE, "the old key file does not open it any more", b"another key")
    equal([k["key"] for k in keys(kek="kek2")], ["a"], "the new one does")
    equal(read("kek"), old_kek, "the old key file was not touched")
    phrase = ("--passphrase-command", "echo phrase")
    result = agent("rekey", "--keyring", "ring", "--key-file", "kek2", "--new-passphrase-command", "echo phrase", "--json")
    expect(result, DONE, "rekey from a key file to a passphrase")
    equal(json.loads(result.stdout)["protection"], "passphrase", "rekey --json")
    expect(agent("list", "--keyring", "ring", *phrase), DONE, "the passphrase opens it")
    expect(agent("list", "--keyring", "ring", "--passphrase-command", "echo wrong"), UNUSABLE, "a wrong one does not", b"another key")
    expect(agent("list", "--keyring", "ring", "--key-file", "kek2"), UNUSABLE, "nor a key file", b"--passphrase-command")
    salt = read("ring")[36:68]
    expect(agent("rekey", "--keyring", "ring", *phrase, "--new-passphrase-command", "echo phrase"), DONE, "rekey to the same passphrase")
    ok(read("ring")[36:68] != salt, "draws a new salt")
    for command, says in (("exit 7", b"exit code 7"), ("true", b"empty"), ("echo", b"empty"), ("kill -9 $$", b"signal 9"),
                          ("/nonexistent", b"127"), ("head -c 5000 /dev/zero", b"4096")):
        before = read("ring")
        expect(agent("list", "--keyring", "ring", "--passphrase-command", command), UNUSABLE, f"passphrase command: {command}", says)
    expect(agent("rekey", "--keyring", "ring", *phrase, "--new-passphrase-command", "false"), UNUSABLE, "a failing new command")
    equal(read("ring"), before, "leaves the keyring alone")
    expect(agent("rekey", "--keyring", "ring", *phrase, "--new-key-file", "kek2"), DONE, "back to a key file")


def on_terminal(arguments, *answers):
    """Runs the program on a terminal of its own; its exit code and all that the terminal showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(PROGRAM, [PROGRAM, *arguments])
    shown = b""
    answers = list(answers)
    while True:
        try:
            got = os.read(terminal, 1000)
        except OSError:
            break
        shown += got
        if answers and shown.endswith(b": "):
            while termios.tcgetattr(terminal)[3] & termios.ECHO:
                time.sleep(0.001)
            os.write(terminal, answers.pop(0) + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def prompts():
    ring = ("--keyring", "asked")
    code, shown = on_terminal(["init", *ring], b"one", b"two")
    ok(code == UNUSABLE and not os.path.exists("asked"), "two different new passphrases", shown)
    code, shown = on_terminal(["init", *ring], b"open sesame", b"open sesame")
    ok(code == DONE and shown.count(b"New passphrase") == 2, "init asks twice", shown)
    ok(b"sesame" not in shown, "without an echo", shown)
    code, shown = on_terminal(["create", *ring, "a"], b"open sesame")
    ok(code == DONE and shown.count(b"Passphrase") == 1 and b"sesame" not in shown, "create asks once", shown)
    code, shown = on_terminal(["list", *ring], b"wrong")
    ok(code == UNUSABLE and b"another key" in shown, "a wrong passphrase", shown)
    code, shown = on_terminal(["list", *ring], b"")
    ok(code == UNUSABLE and b"empty" in shown, "an empty passphrase", shown)
    code, shown = on_terminal(["list", *ring], b"\x03")
    ok(code == UNUSABLE and b"no passphrase" in shown, "an interrupt", shown)
    expect(agent("list", *ring, "--passphrase-command", "echo open sesame"), DONE, "a command gives the same passphrase")
    expect(agent("list", *ring, input=b"open sesame\n", start_new_session=True), UNUSABLE, "no terminal to ask on", b"--passphrase-command")
    code, shown = on_terminal(["rekey", *ring], b"open sesame", b"closed", b"closed")
    ok(code == DONE, "rekey asks for the old and the new", shown)
    expect(agent("list", *ring, "--passphrase-command", "echo closed"), DONE, "the new passphrase opens it")
    code, shown = on_terminal(["list", *RING], b"never asked")
    ok(b"assphrase" not in shown, "nobody is asked where there is a key file", shown)


def frame(verb, number, words, body=b""):
    return f"{verb} {number} {len(body)} {words}".rstrip().encode() + b"\n" + body


HELLO = b"hello 0 0 kms/1\n"


def serve(requests, *options):
    """The replies behind the handshake's."""
    result = agent("serve", *options, input=HELLO + requests)
    return result.stdout.split(b"max-body=1073741824\n", 1)[-1]


class Serving:
    """A running agent, asked one request at a time."""

    def __init__(self, *options, **process):
        self.process = subprocess.Popen([PROGRAM, "serve", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, **process)
        self.number = 0
        self.hello = self.send(HELLO)

    def send(self, request):
        self.process.stdin.write(request)
        self.process.stdin.flush()
        line = self.process.stdout.readline().decode().split()
        body = self.process.stdout.read(int(line[2]))
        return line[0] if line[0] == "ok" else line[3], line[3:], body

    def ask(self, verb, words="", body=b""):
        self.number += 1
        return self.send(frame(verb, self.number, words, body))

    def end(self):
        _, errors = self.process.communicate()
        return self.process.returncode, errors


def serving():
    fresh()
    served = Serving(*RING)
    equal(served.ask("describe", "a")[1][0], "1", "serve answers")
    on_ring("rotate", "a")
    equal(served.ask("describe", "a")[1][0], "2", "and sees what another process changes")
    equal(served.ask("create", "b aes-256-siv no-export")[0], "ok", "it creates a key")
    equal(served.ask("get", "b")[0], "denied", "a no-export key is not given")
    sealed = served.ask("encrypt", "b 0", b"secret")
    equal(served.ask("decrypt", "b 0", sealed[2])[2], b"secret", "but used")
    equal([k["key"] for k in keys()], ["a", "a", "b"], "another process sees the new key")
    older = read("ring")
    on_ring("create", "c")
    equal(served.ask("describe", "c")[0], "ok", "a newer state is taken")
    newer = read("ring")
    write("next", older)
    os.rename("next", "ring")
    code, _, text = served.ask("describe", "a")
    ok(code == "unavailable" and b"older state" in text, "an older state that was put back is refused", text)
    os.unlink("ring")
    write("ring", newer)
    equal(later(served, "describe", "c")[0], "ok", "until the newer one is there again")
    os.chmod("ring", 0o644)
    code, _, text = served.ask("get", "a")
    ok(code == "unavailable" and b"0600" in text, "a keyring that others may read is not served", text)
    os.chmod("ring", 0o600)
    equal(later(served, "get", "a")[0], "ok", "until its mode is right")
    on_ring("rekey", "--new-key-file", "kek3")
    code, _, text = served.ask("get", "a")
    ok(code == "unavailable" and b"another key" in text, "after a rekey the old key file does not serve", text)
    os.rename("kek3", "kek")
    equal(later(served, "get", "a")[0], "ok", "until the new one is in its place")
    equal(served.end()[0], DONE, "the end of the input is the end of the agent")

    write("phrase", b"one\n")
    phrase = ("--passphrase-command", f"cat {FOLDER}/phrase")
    agent("rekey", *RING, "--new-passphrase-command", "echo one")
    served = Serving("--keyring", "ring", *phrase)
    equal(served.ask("describe", "a")[0], "ok", "an agent with a passphrase")
    agent("rekey", "--keyring", "ring", *phrase, "--new-passphrase-command", "echo two")
    equal(served.ask("describe", "a")[0], "unavailable", "does not serve after a rekey to another")
    write("phrase", b"two\n")
    equal(later(served, "describe", "a")[0], "ok", "until its command prints that")
    equal(served.end()[0], DONE, "and ends well")
    agent("rekey", "--keyring", "ring", *phrase, "--new-key-file", "kek")

    older = read("ring")
    on_ring("destroy", "a", "1")
    write("ring", older)
    equal(keys()[0]["state"], "enabled", "an older file that is put back while nothing runs is taken")

    refused = agent("serve", "--keyring", "missing", "--key-file", "kek", input=HELLO)
    expect(refused, UNUSABLE, "serve of a missing keyring", b"missing")
    ok(refused.stdout.startswith(b"error 0 ") and b" unavailable\n" in refused.stdout and b"missing" in refused.stdout,
       "tells its client why", refused.stdout)
    expect(agent("serve", "--keyring", "missing", "--key-file", "kek"), UNUSABLE, "also without a client")
    expect(agent("serve", "--ephemeral", input=HELLO + b"ping 1 5\nab"), FAILED, "an input cut short", b"inside a request")
    expect(agent("serve", "--ephemeral", input=HELLO + b"ping 0 0\n"), FAILED, "an id that does not rise", b"kms/1")
    expect(agent("serve", "--ephemeral"), DONE, "an empty input")
    without = subprocess.run(["/bin/sh", "-c", f"{PROGRAM} serve --keyring ring --key-file kek >&- <&-"], capture_output=True)
    ok(without.returncode in (DONE, FAILED), "serve without standard descriptors ends", without)
    whole = read("ring")
    subprocess.run(["/bin/sh", "-c", f"{PROGRAM} rotate --keyring ring --key-file kek a >&- <&- 2>&-"])
    ok(keys() is not None and read("ring") != whole, "closed descriptors do not turn into the keyring")


def later(served, verb, words):
    """Asks until the pause after a refusal is over."""
    end = time.monotonic() + 5
    while True:
        answer = served.ask(verb, words)
        if answer[0] != "unavailable" or time.monotonic() > end:
            return answer
        time.sleep(0.1)


def process():
    user = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}
    os.chmod(FOLDER, 0o755)
    served = Serving("--ephemeral", **user)
    pid = served.process.pid
    with open(f"/proc/{pid}/limits") as limits:
        core = next(line for line in limits if line.startswith("Max core"))
    equal(core.split()[4:6], ["0", "0"], "no core dumps")
    equal(os.stat(f"/proc/{pid}/mem").st_uid, 0, "its memory is not for its own user's debuggers")
    served.process.stdout.close()
    served.process.stdin.write(frame("ping", 1, ""))
    served.process.stdin.close()
    equal((served.process.wait(), b"cannot write" in served.process.stderr.read()), (FAILED, True),
          "a client that is gone ends the agent without a signal")


def run(test):
    print(f"# {test.__name__}", flush=True)
    test()


waiting = ThreadPoolExecutor(1).submit(busy)
for test in (command_line, init, life_of_a_key, imports, identifiers, permissions, damage, writers, rekey, prompts, serving, process):
    run(test)
locked, listed, served = waiting.result()
expect(locked, BUSY, "a lock that another process holds", b"locked by another process")
ok(b"error 1 " in served.stdout and b" unavailable\n" in served.stdout and b"locked by" in served.stdout,
   "an agent that cannot change it says so and goes on", served)
expect(listed, DONE, "readers do not wait for it")
finish()
