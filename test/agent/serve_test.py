#!/usr/bin/python3
"""kms-agent serve over a keyring that others change, replace, damage and protect anew."""

import os
import subprocess

from support import *


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
    equal(served.ask("create", "w aes-256-siv purpose=wrap")[0], "ok", "and one that wraps")
    wrapped = served.ask("wrap", "w 3", b"ctxa data key")
    equal(wrapped[1], ["1"], "it wraps, and its version is told")
    equal(served.ask("unwrap", "w 3", b"ctx" + wrapped[2])[2], b"a data key", "and unwraps")
    equal(served.ask("unwrap", "w 3", b"CTX" + wrapped[2])[0], "corrupt", "under that context only")
    equal([k["key"] for k in keys()], ["a", "a", "b", "w"], "another process sees the new keys")
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
    ok(code == "unavailable" and b"another unlock key" in text, "after a rekey the old key file does not serve", text)
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


for test in (serving, process):
    print(f"# {test.__name__}", flush=True)
    test()
finish()
