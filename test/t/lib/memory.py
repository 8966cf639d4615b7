#!/usr/bin/python3
"""Searches the private memory of a process for secrets, whole or in pieces of 16 bytes.

memory.py scan PID < lines `name hex`: prints a line `name address mapping` for each occurrence;
exits with 3 and a reason where the process's memory may not be read.
memory.py secrets ALGORITHM KEYHEX [SEALEDHEX]: prints lines `name hex`: a data key, what is derived
from it, and the key that a sealed value was sealed under, as test/sealed.py derives them.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
CHUNK = 1 << 24
PIECE = 16  # a block of AES, half a vector register


def private_mappings(pid):
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
        addresses, mode, _, _, _, *name = line.split(maxsplit=5)
        start, end = (int(number, 16) for number in addresses.split("-"))
        if mode[0] == "r" and mode[3] == "p" and name not in (["[vvar]"], ["[vsyscall]"]):
            yield start, end, name[0] if name else "anonymous"


def occurrences(memory, start, end, needles):
    """Addresses and names; chunks overlap so that nothing is missed between two."""
    overlap = max(len(needle) for _, needle in needles) - 1
    for begin in range(start, end, CHUNK):
        memory.seek(begin)
        data = memory.read(min(CHUNK + overlap, end - begin))
        for name, needle in needles:
            at = data.find(needle)
            while at >= 0:
                if at < CHUNK:
                    yield begin + at, name
                at = data.find(needle, at + 1)


def pieces(lines):
    for name, text in map(str.split, lines):
        secret = bytes.fromhex(text)
        for begin in range(0, len(secret), PIECE):
            yield name, secret[begin : begin + PIECE]


def scan(pid):
    needles = list(pieces(sys.stdin))
    try:
        memory = open(f"/proc/{pid}/mem", "rb", buffering=0)
    except PermissionError as error:
        print(error)
        sys.exit(3)
    with memory:
        for start, end, mapping in private_mappings(pid):
            try:
                for address, name in occurrences(memory, start, end, needles):
                    print(name, hex(address), mapping)
            except OSError:
                continue  # a mapping that went away, or one that holds no memory


def encrypt_zeros(key):
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(bytes(16))


def secrets(algorithm, key, sealed=b""):
    import sealed as decoder

    yield "data-key", key
    yield "data-key-in-hex", key.hex().encode("ascii")
    subkey = decoder.seal_subkey(key, algorithm)
    yield "subkey", subkey
    if sealed[:1] == b"\x01":
        yield "derived-key", decoder.xaes_derive(subkey, sealed[9:21])
        yield "cmac-subkey", decoder.double(encrypt_zeros(subkey))


if sys.argv[1] == "scan":
    scan(int(sys.argv[2]))
else:
    for secret_name, secret_bytes in secrets(sys.argv[2], *map(bytes.fromhex, sys.argv[3:])):
        print(secret_name, secret_bytes.hex())
