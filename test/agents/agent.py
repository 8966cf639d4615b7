#!/usr/bin/python3
"""A key agent in Python's standard library: serves the files of the folder argv[1], each a raw key.
It cannot wipe a key from memory, nor bind a context to a ciphertext (no AES here: local mode only)."""
import pathlib, re, sys

def hello(*versions):
    if "kms/1" not in versions:
        return "error", "unsupported", b"this agent speaks kms/1"
    return "ok", "kms/1 get identify ping", b"agent=agent.py/1\n"

def get(key="", *_):
    if not re.fullmatch("[A-Za-z0-9_-]+", key):
        return "error", "invalid", b"not an identifier of [A-Za-z0-9_-]+"
    try:
        return "ok", "1", (pathlib.Path(sys.argv[1]) / key).read_bytes()
    except OSError as error:
        code = "denied" if isinstance(error, PermissionError) else "not-found"
        return "error", code, error.strerror.encode()

serve = {"hello": hello, "get": get, "identify": lambda *_: ("ok", "", b""), "ping": lambda *_: ("ok", "", b"")}
while line := sys.stdin.buffer.readline():
    verb, number, length, *words = line.decode("ascii").rstrip("\n").split(" ")
    sys.stdin.buffer.read(int(length))  # no verb served here needs its body
    kind, answer, body = serve.get(verb, lambda *_: ("error", "unsupported", b"not served here"))(*words)
    sys.stdout.buffer.write(f"{kind} {number} {len(body)} {answer}".rstrip().encode() + b"\n" + body)
    sys.stdout.buffer.flush()
    if (verb, kind) == ("hello", "error"):
        sys.exit(1)
