#!/usr/bin/python3
"""A key agent for the SQL tests: stage.py FOLDER [ACT…], which does what a key's identifier says.

The part before the first dot is the act, the rest its argument. get, encrypt, decrypt, wrap and unwrap
serve all (and seal nothing: what they give shows the plaintext from its tenth byte on):

    plain                 serves                     hang        never answers
    gate.NAME             waits for FOLDER/NAME      deaf        does not even read the body
    slow.SECONDS          serves after that time
    halves.NAME           the same in mid-answer
    fail.CODE.TEXT        answers with that error    die         kills itself, and does not answer
    flood.BYTES           writes to standard error   short.N     a key of N bytes
    tell.NAME             answers with the bytes of FOLDER/NAME, where {id} is the request's id
    tell-and-leave.NAME   the same, and ends
    fail-tag.CODE.TEXT    answers a get of a version by its tag with that error, and serves all else

ACT in the arguments: start-hang, ignore-end (of input), ignore-term, child (has one of its own),
greet.NAME (answers to hello with the bytes of FOLDER/NAME), identify.CODE (answers to identify with
that error).
Each process writes its number as a line of FOLDER/pids, the identity that it is greeted with of
FOLDER/told, one that it is told later of FOLDER/identified, and each request's verb and key of
FOLDER/asked.
"""
import hashlib, os, pathlib, signal, subprocess, sys, time
from urllib.parse import unquote_to_bytes

folder, acts = pathlib.Path(sys.argv[1]), sys.argv[2:]
source, sink = sys.stdin.buffer, sys.stdout.buffer
CAPABILITIES = b"get encrypt decrypt wrap unwrap identify create rotate list disable"


def note(name, text):
    with open(folder / name, "a") as file:
        file.write(f"{text}\n")


def answer(number, body, words=b"", kind=b"ok"):
    sink.write(b"%s %d %d" % (kind, number, len(body)) + (b" " + words if words else b"") + b"\n" + body)
    sink.flush()


def fail(number, code, why=b""):
    answer(number, why, code, b"error")


def tell(number, name):
    sink.write((folder / name).read_bytes().replace(b"{id}", b"%d" % number))
    sink.flush()


def wait_for(file):
    while not file.exists():
        time.sleep(0.01)


def perform(number, act, argument, by_tag=False):
    """What comes before, or instead of, the answer; whether it was instead."""
    if act in (b"hang", b"deaf"):
        time.sleep(1000)
    elif act == b"gate":
        wait_for(folder / argument.decode())
    elif act == b"slow":
        time.sleep(float(argument))
    elif act == b"halves":
        sink.write(b"ok %d 100000\n" % number + bytes(50000))
        sink.flush()
        wait_for(folder / argument.decode())
        sink.write(bytes(50000))
        sink.flush()
        return True
    elif act == b"flood":
        for _ in range(int(argument) // 100):
            os.write(2, b"z" * 99 + b"\n")
    elif act == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == b"fail" or (act == b"fail-tag" and by_tag):
        fail(number, *argument.split(b".", 1))
        return True
    elif act in (b"tell", b"tell-and-leave"):
        tell(number, argument.decode())
        if act == b"tell-and-leave":
            os._exit(0)
        return True
    return False


def bound(verb, key, context):
    """What stands before and behind the data; of encrypt's, where AES-SIV has its header and its end."""
    binding = hashlib.sha256(b"|".join((verb[-4:].encode(), key, context))).hexdigest().encode()
    return b"\x02" + binding[:8], binding[8:24]


def serve(number, verb, key, context, data):
    head, tail = bound(verb, key, context)
    if verb == "get":
        length = int(key[6:]) if key.startswith(b"short.") else 32
        answer(number, hashlib.shake_256(b"key " + key).digest(length))
    elif verb in ("encrypt", "wrap"):
        answer(number, head + data + tail)
    elif verb in ("decrypt", "unwrap") and data.startswith(head) and data.endswith(tail):
        answer(number, data[len(head):-len(tail)])
    elif verb in ("decrypt", "unwrap"):
        fail(number, b"corrupt", b"not this key and context")
    else:
        fail(number, b"unsupported")


def greet(name):
    tell(0, name) if name else answer(0, b"agent=stage/1\n", b"kms/1 " + CAPABILITIES)


def take_identity(number, body, code):
    note("identified", body.decode().replace("\n", " "))
    fail(number, code, b"no") if code else answer(number, b"")


def act_of(name):
    """What follows `name.` in the arguments; None where no act is called that."""
    return next((act[len(name) + 1:] for act in acts if act.startswith(name + ".")), None)


def run(greeting, identify_code):
    while line := source.readline():
        verb, number, length, *words = line.decode("ascii").rstrip("\n").split(" ")
        key = unquote_to_bytes(words[0]) if words else b""
        if key == b"deaf":
            perform(int(number), key, b"")
        body = source.read(int(length))
        if verb == "hello":
            note("told", body.decode().replace("\n", " "))
            greet(greeting)
        elif verb == "identify":
            take_identity(int(number), body, identify_code)
        else:
            note("asked", f"{verb} {key.decode('latin-1')}")
            act, _, argument = key.partition(b".")
            if not perform(int(number), act, argument, verb == "get" and len(words) > 1):
                split = int(words[1]) if verb.endswith(("crypt", "wrap")) else 0
                serve(int(number), verb, key, body[:split], body[split:])


note("pids", os.getpid())
if "ignore-term" in acts:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "child" in acts:
    note("pids", subprocess.Popen(["sleep", "1000"]).pid)
if "start-hang" in acts:
    time.sleep(1000)
run(act_of("greet"), (act_of("identify") or "").encode())
if "ignore-end" in acts:
    time.sleep(1000)
