#!/usr/bin/python3
"""A key agent with a policy, for tests: policy.py FOLDER [OFFERED…]

FOLDER/rules has a line `KEY ROLE` for every role that may have a key, both as words of kms/1. What
the agent is asked goes to FOLDER/seen, a line of JSON each; identities with their values in hex.
"""
import hashlib
import json
import os
import pathlib
import sys
from urllib.parse import unquote_to_bytes

folder = pathlib.Path(sys.argv[1])
offered = sys.argv[2:] or ["get", "identify"]
identity = {}


def record(verb, **what):
    line = json.dumps({"verb": verb, "agent": os.getpid(), **what}) + "\n"
    with open(folder / "seen", "a", encoding="ascii") as seen:
        seen.write(line)


def learn(verb, body):
    identity.clear()
    for line in body.decode("ascii").splitlines():
        name, _, value = line.partition("=")
        identity[name] = unquote_to_bytes(value)
    record(verb, identity={name: value.hex() for name, value in identity.items()})


def allowed(key):
    for line in (folder / "rules").read_text(encoding="ascii").splitlines():
        rule_key, role = map(unquote_to_bytes, line.split(" "))
        if (rule_key, role) == (key, identity["role"]):
            return True
    return False


def answer(verb, words, body):
    """Kind, words and body of the reply."""
    if verb == "hello":
        learn(verb, body)
        return "ok", " ".join(["kms/1", *offered]), b"agent=policy.py/1\n"
    if verb not in offered:
        return "error", "unsupported", b"not served here"
    if verb == "identify":
        learn(verb, body)
        return "ok", "", b""
    key = unquote_to_bytes(words[0])
    may = allowed(key)
    record(verb, key=key.hex(), role=identity["role"].hex(), allowed=may)
    if not may:
        return "error", "denied", b"the policy does not allow this role"
    return "ok", "1 xaes-256-gcm", hashlib.sha256(key).digest()


while request := sys.stdin.buffer.readline():
    name, number, length, *arguments = request.decode("ascii").rstrip("\n").split(" ")
    kind, answered, content = answer(name, arguments, sys.stdin.buffer.read(int(length)))
    head = f"{kind} {number} {len(content)} {answered}".rstrip()
    sys.stdout.buffer.write(head.encode("ascii") + b"\n" + content)
    sys.stdout.buffer.flush()
