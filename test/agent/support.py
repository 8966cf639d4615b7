"""What the tests of kms-agent share: TAP output, a private folder, the program."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

PROGRAM = os.path.abspath(os.environ.get("KMS_AGENT", "./kms-agent"))

DONE, FAILED, USAGE, NOT_FOUND, REFUSED, UNUSABLE, BUSY = range(7)

count = 0
failures = 0


def ok(good, name, why=""):
    global count, failures
    count += 1
    failures += not good
    print(f"{'ok' if good else 'not ok'} {count} - {name}", flush=True)
    if not good and why:
        print("\n".join("# " + line for line in str(why).splitlines()), flush=True)
    return good


def equal(got, expected, name):
    return ok(got == expected, name, f"got {got!r}, expected {expected!r}")


def skip(name, why):
    global count
    count += 1
    print(f"ok {count} - {name} # SKIP {why}", flush=True)


def finish():
    print(f"1..{count}")
    sys.exit(1 if failures else 0)


if not os.access(PROGRAM, os.X_OK):
    sys.exit(f"Bail out!  there is no program {PROGRAM}")
FOLDER = tempfile.mkdtemp(prefix="kms-agent-test-")
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
os.chdir(FOLDER)


def agent(*arguments, input=b"", **options):
    """Runs the program; its output is bytes."""
    return subprocess.run([PROGRAM, *arguments], input=input, capture_output=True, **options)


def keys(ring="ring", kek="kek"):
    """What `list --json` says, or None where it fails."""
    listed = agent("list", "--keyring", ring, "--key-file", kek, "--json")
    return json.loads(listed.stdout) if listed.returncode == DONE else None


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data, mode=0o600):
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


RING = ("--keyring", "ring", "--key-file", "kek")
HELLO = b"hello 0 0 kms/1\n"


def on_ring(command, *arguments, **options):
    return agent(command, *RING, *arguments, **options)


def expect(result, code, name, says=b""):
    good = result.returncode == code and says in result.stderr
    return ok(good, name, f"exit code {result.returncode}, expected {code}: {result.stderr!r}")


def fresh(name="ring"):
    if os.path.lexists(name):
        os.unlink(name)
    agent("init", "--keyring", name, "--key-file", "kek")
    agent("create", "--keyring", name, "--key-file", "kek", "a")


def frame(verb, number, words, body=b""):
    return f"{verb} {number} {len(body)} {words}".rstrip().encode() + b"\n" + body


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


def later(served, verb, words):
    """Asks until the pause after a refusal is over."""
    end = time.monotonic() + 5
    while True:
        answer = served.ask(verb, words)
        if answer[0] != "unavailable" or time.monotonic() > end:
            return answer
        time.sleep(0.1)


def is_alive(pid):
    """Who adopts a process may reap it late, or never."""
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or read
        return False


def becomes(condition, seconds=10):
    end = time.monotonic() + seconds
    while not (reached := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return reached
