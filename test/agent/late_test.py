#!/usr/bin/python3
"""Requests in flight when a key was destroyed; what follows a refused hello; keyrings that were put back and changed."""

import fcntl
import os
import struct
import subprocess
import termios
import threading

from support import *

AGENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "agents")
PIPE = 65536
BUFFER = 65536


def waiting(pipe):
    """Bytes that a pipe holds."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]


def sleeps(pid):
    with open(f"/proc/{pid}/stat") as status:
        return status.read().rpartition(")")[2].split()[0] == "S"


def read_replies(stream):
    """(code, body) of every reply until the stream ends."""
    while line := stream.readline().decode().split():
        yield line[0] if line[0] == "ok" else line[3], stream.read(int(line[2]))


def destroyed_meanwhile(verb, words, body, reply_size):
    """All requests are read before the key is destroyed; the agent waits for us to take its replies."""
    fresh("late")
    process = subprocess.Popen([PROGRAM, "serve", "--keyring", "late", "--key-file", "kek"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    count = 12 * PIPE // reply_size
    requests = b"".join(frame(verb, number, words, body) for number in range(1, count + 1))

    def send():
        process.stdin.write(HELLO + requests)
        process.stdin.close()

    sender = threading.Thread(target=send)
    sender.start()
    stuck = becomes(lambda: waiting(process.stdout) > PIPE - 8192 and sleeps(process.pid))
    ok(stuck, f"{verb}: the agent waits with its replies")
    expect(agent("destroy", "--keyring", "late", "--key-file", "kek", "a", "1"), DONE, "the key is destroyed")
    codes = [code for code, _ in read_replies(process.stdout)]
    sender.join()
    process.wait()
    equal(len(codes), count + 1, "every request is answered")
    answered = codes.count("ok") - 1
    most = (PIPE + BUFFER) // reply_size + 2
    ok(answered <= most, f"{verb}: no more than what was answered before the key was destroyed", f"{answered} of {count}, not {most}")
    equal(codes.count("disabled"), count - answered, "the others are told that it is disabled")


def in_flight():
    destroyed_meanwhile("get", "a", b"", 70)
    destroyed_meanwhile("encrypt", "a 0", b"x" * 100, 170)


def refused_hello():
    for hello, name in ((b"hello 0 0 kms/9\n", "another protocol"), (b"hello 0 5 kms/1\nnoise", "an identity that does not parse")):
        result = agent("serve", "--ephemeral", input=hello + frame("create", 1, "a xaes-256-gcm") + frame("get", 2, "a"))
        equal(result.stdout.count(b"\n"), 1, f"{name}: nothing is served after the refusal")
        ok(result.stdout.startswith(b"error 0 "), "which is told", result.stdout)
        expect(result, FAILED, "and ends the agent", b"hello was refused")
    os.makedirs("files", exist_ok=True)
    write("files/key", b"k" * 32)
    for command in (("/bin/sh", f"{AGENTS}/agent.sh"), ("/usr/bin/python3", f"{AGENTS}/agent.py")):
        result = subprocess.run([*command, "files"], input=b"hello 0 0 kms/9\nget 1 0 key\n", capture_output=True)
        ok(result.stdout.startswith(b"error 0 ") and b"k" * 32 not in result.stdout, f"{command[1][-8:]} too", result)
        ok(result.returncode != 0, "ends", result)


def refused_identify():
    fresh("late")
    served = Serving("--keyring", "late", "--key-file", "kek")
    equal(served.ask("get", "a")[0], "ok", "an agent answers")
    equal(served.ask("identify", "", b"noise")[0], "invalid", "an identity that does not parse is refused")
    for verb in ("get", "describe", "rotate"):
        equal(served.ask(verb, "a")[0], "denied", f"from then on {verb} is denied")
    equal(served.ask("ping")[0], "denied", "as is all else")
    equal(served.ask("identify", "", b"role=a\n")[0], "ok", "until a good one comes")
    equal(served.ask("get", "a")[0], "ok", "and it answers again")
    served.end()


def put_back(older):
    """In one step, as a restore does."""
    write("late.older", older)
    os.rename("late.older", "late")


def another_history():
    """A running agent has seen what an older keyring lacks, however often that is changed."""
    fresh("late")
    late = ("--keyring", "late", "--key-file", "kek")
    older = read("late")
    agent("rotate", *late, "a")
    served = Serving(*late)
    equal(served.ask("describe", "a")[1][0], "2", "an agent has seen version 2")
    put_back(older)
    for _ in range(3):
        expect(agent("rotate", *late, "a"), DONE, "an older keyring is put back, and changed")
    code, _, text = later(served, "get", "a")
    ok(code == "unavailable" and b"put back" in text, "which the agent does not take for what follows", text)
    equal(served.ask("rotate", "a")[0], "unavailable", "nor changes")
    served.end()
    fresh("late")
    served = Serving(*late)
    older = read("late")
    agent("destroy", *late, "a", "1")
    equal(served.ask("get", "a")[0], "disabled", "an agent has seen that a version is destroyed")
    put_back(older)
    for key in "bcd":
        agent("create", *late, key)
    equal(later(served, "get", "a")[0], "unavailable", "and does not give it when it comes back")
    served.end()
    fresh("late")
    served = Serving(*late)
    older = read("late")
    agent("disable", *late, "a", "1")
    equal(served.ask("get", "a")[0], "disabled", "an agent has seen that a version is disabled")
    put_back(older)
    agent("create", *late, "b")
    code, _, text = later(served, "get", "a")
    ok(code == "unavailable" and b"put back" in text, "another state of the same generation is none that it follows", text)
    served.end()


def numbers():
    """Version numbers carry on from the highest that somebody knows."""
    fresh("late")
    late = ("--keyring", "late", "--key-file", "kek")

    def versions(key):
        return [k["version"] for k in keys("late") if k["key"] == key]

    expect(agent("rotate", *late, "a", "--after", "7"), DONE, "rotate --after 7")
    expect(agent("rotate", *late, "a", "--after", "3"), DONE, "a number that is below does nothing")
    equal(versions("a"), [1, 8, 9], "numbers carry on")
    for number in ("2", "7", "10"):
        expect(agent("disable", *late, "a", number), NOT_FOUND, f"there is no version {number}")
    expect(agent("destroy", *late, "a", "8"), DONE, "one behind a gap is found")
    equal([k["state"] for k in keys("late")], ["enabled", "destroyed", "enabled"], "and no other")
    expect(agent("create", *late, "b", "--after", "4"), DONE, "create --after 4")
    equal(versions("b"), [5], "begins above it")
    served = Serving(*late)
    ok("after" in served.hello[1], "an agent offers it", served.hello)
    equal(served.ask("rotate", "b after=20")[1][0], "21", "and does it")
    equal(served.ask("create", "c xaes-256-gcm no-export after=1")[1][0], "2", "for a new key too")
    for words in ("rotate b after=", "rotate b after=x", "rotate b after=2147483648", "create d xaes-256-gcm after=-1",
                  "create d xaes-256-gcm nosuch"):
        verb, _, rest = words.partition(" ")
        equal(served.ask(verb, rest)[0], "invalid", f"but not {words}")
    equal(served.ask("rotate", "b after=2147483647")[0], "failed", "numbers end")
    served.end()


for test in (in_flight, refused_hello, refused_identify, another_history, numbers):
    print(f"# {test.__name__}", flush=True)
    test()
finish()
