#!/usr/bin/python3
"""kms-agent --passphrase-command with a command that hangs, and what is left of it."""

import os
import signal
import subprocess

from support import *

# Tells its process and that of a child, and hangs with both.
HANGS = f"sleep 1000 & echo $! $$ > {FOLDER}/pids; sleep 1000; :"


def with_command(command, seconds=60):
    return ("--keyring", "ring", "--passphrase-command", command, "--passphrase-timeout", str(seconds))


def processes():
    """That the command has told, once it has."""
    becomes(lambda: os.path.exists("pids") and read("pids").endswith(b"\n"))
    told = [int(pid) for pid in read("pids").split()]
    os.unlink("pids")
    return told


def gone(pids, name):
    ok(len(pids) == 2 and becomes(lambda: not any(map(is_alive, pids))), name, pids)


def hanging():
    fresh()
    expect(on_ring("rekey", "--new-passphrase-command", "echo word"), DONE, "a keyring with a passphrase")
    detached = {"start_new_session": True}
    before = read("ring")
    expect(agent("list", *with_command(HANGS, 1), **detached), UNUSABLE, "a command that hangs is given up",
           b"the passphrase command did not end within 1 s")
    gone(processes(), "with all that it has started")
    expect(agent("list", *with_command(f"{HANGS.split(';')[0]}; echo word", 1), **detached), UNUSABLE,
           "one that leaves a child with its output too", b"something that it started did not close its output within 1 s")
    gone(processes(), "and that child")
    result = agent("list", *with_command(HANGS.replace("&", "> /dev/null &").replace("; sleep 1000; :", "; echo word")), **detached)
    expect(result, DONE, "a child that holds nothing is not waited for")
    gone(processes(), "and does not stay either")
    refused = agent("serve", *with_command(HANGS, 1), input=HELLO, **detached)
    expect(refused, UNUSABLE, "serve says so", b"did not end within 1 s")
    ok(b" unavailable\n" in refused.stdout and b"did not end within 1 s" in refused.stdout, "to its client too", refused.stdout)
    processes()
    expect(agent("rekey", *with_command("echo word", 1), "--new-passphrase-command", HANGS, **detached), UNUSABLE,
           "a new command that hangs", b"did not end within 1 s")
    gone(processes(), "is killed")
    equal(read("ring"), before, "and the keyring is as it was")
    for seconds in ("0", "3601", "x", "-1"):
        expect(agent("list", *with_command("echo word", seconds)), USAGE, f"no time of {seconds} seconds", b"passphrase-timeout")


def killed():
    """Nothing of the command outlives the agent, however that ends."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL):
        process = subprocess.Popen([PROGRAM, "serve", *with_command(HANGS)], start_new_session=True, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        pids = processes()
        ok(all(map(is_alive, pids)), "a command runs")
        os.kill(process.pid, number)
        gone(pids, f"its agent is ended by {number.name}, and the command with it")
        # Whoever watches the agent's output sees its end.
        equal(process.communicate(timeout=10)[0], b"", "and nobody holds the agent's output")


def while_serving():
    """A running agent whose command hangs after a rekey."""
    write("phrase", b"cat word")
    write("word", b"word")
    served = Serving(*with_command(f"sh {FOLDER}/phrase", 1), start_new_session=True)
    equal(served.ask("describe", "a")[0], "ok", "an agent serves")
    write("phrase", HANGS.encode())
    expect(agent("rekey", *with_command("echo word"), "--new-passphrase-command", "echo other"), DONE, "rekey")
    code, _, text = served.ask("describe", "a")
    ok(code == "unavailable" and b"within 1 s" in text, "its command hangs then, which is told", text)
    gone(processes(), "and is killed")
    write("word", b"other")
    write("phrase", b"cat word")
    equal(later(served, "describe", "a")[0], "ok", "the agent goes on when it answers again")
    equal(served.end()[0], DONE, "and ends well")


for test in (hanging, killed, while_serving):
    print(f"# {test.__name__}", flush=True)
    test()
finish()
