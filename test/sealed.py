#!/usr/bin/python3
"""An independent decoder of the sealed values of kms (doc/formats.md), for tests.

It shares no code with the C++ one. Needs python3-cryptography 38.

    sealed.py open --algorithm A --key FILE [--context HEX] < hex lines
    sealed.py unwrap --algorithm A --key FILE (--secret HEX | --data-key ALGORITHM:VERSION:HEX) < hex lines
    sealed.py term --key FILE --bits N [--context HEX] < hex lines
    sealed.py selftest
    sealed.py vectors
"""

import argparse
import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VECTORS = pathlib.Path(__file__).resolve().parent / "vectors"

# algorithm: suite, bytes of the key, bytes of the nonce
ALGORITHMS = {
    "xaes-256-gcm": (1, 32, 24),
    "aes-256-siv": (2, 64, 0),
    "aes-128-gcm": (3, 16, 12),
    "aes-192-gcm": (3, 24, 12),
    "aes-256-gcm": (3, 32, 12),
}
NONCE_LENGTH = {1: 24, 2: 0, 3: 12}


class Malformed(Exception):
    """Too short, or an unknown suite."""


class WrongKey(Exception):
    """Sealed under another key."""


class Corrupt(Exception):
    """Authentication failed."""


def subkey(key, label, algorithm, length):
    info = f"{label} {algorithm}".encode("ascii")
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(key)


def key_tag(key, algorithm):
    return subkey(key, "kms/1 tag", algorithm, 8)


def seal_subkey(key, algorithm):
    suite, length, _ = ALGORITHMS[algorithm]
    return subkey(key, "kms/1 siv" if suite == 2 else "kms/1 seal", algorithm, length)


def wrap_subkey(kek, algorithm):
    return subkey(kek, "kms/1 wrap", algorithm, 32)


def cmac(key, message):
    mac = CMAC(algorithms.AES(key))
    mac.update(message)
    return mac.finalize()


def xor(left, right):
    return bytes(a ^ b for a, b in zip(left, right))


def xaes_derive(key, prefix):
    """C2SP XAES-256-GCM: two messages of one block each under CMAC."""
    return b"".join(cmac(key, bytes([0, counter, 0x58, 0]) + prefix) for counter in (1, 2))


def xaes_seal(key, nonce, plaintext, data):
    return AESGCM(xaes_derive(key, nonce[:12])).encrypt(nonce[12:], plaintext, data)


def xaes_open(key, nonce, sealed, data):
    return AESGCM(xaes_derive(key, nonce[:12])).decrypt(nonce[12:], sealed, data)


def double(block):
    number = int.from_bytes(block, "big") << 1
    if number >> 128:
        number ^= 1 << 128 | 0x87
    return number.to_bytes(16, "big")


def s2v(key, strings):
    """RFC 5297, 2.4; the last string is the plaintext."""
    total = cmac(key, bytes(16))
    for string in strings[:-1]:
        total = xor(double(total), cmac(key, string))
    last = strings[-1]
    if len(last) >= 16:
        return cmac(key, last[:-16] + xor(last[-16:], total))
    padded = (last + b"\x80").ljust(16, b"\0")
    return cmac(key, xor(double(total), padded))


def siv_ctr(key, iv, text):
    mask = (1 << 128) - 1 - (1 << 63) - (1 << 31)
    counter = (int.from_bytes(iv, "big") & mask).to_bytes(16, "big")
    cipher = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    return cipher.update(text) + cipher.finalize()


def siv_seal(key, strings, plaintext):
    half = len(key) // 2
    iv = s2v(key[:half], [*strings, plaintext])
    return iv + siv_ctr(key[half:], iv, plaintext)


def siv_open(key, strings, sealed):
    half = len(key) // 2
    iv = sealed[:16]
    plaintext = siv_ctr(key[half:], iv, sealed[16:])
    if not hmac.compare_digest(s2v(key[:half], [*strings, plaintext]), iv):
        raise InvalidTag
    return plaintext


def data_key_context(algorithm, version, name):
    return b"kms/1 data key\0" + algorithm.encode("ascii") + b"\0" + version.to_bytes(8, "big") + name


def secret_context(context):
    return b"kms/1 secret\0" + context


def seal_under(under, suite, tag, nonce, plaintext, context):
    assert len(nonce) == NONCE_LENGTH[suite]
    header = bytes([suite]) + tag
    if suite == 1:
        body = xaes_seal(under, nonce, plaintext, header + context)
    elif suite == 2:
        body = siv_seal(under, [header + context], plaintext)
    else:
        body = AESGCM(under).encrypt(nonce, plaintext, header + context)
    return header + nonce + body


def open_under(under, suite, tag, sealed, context):
    """The plaintext, or Malformed, WrongKey or Corrupt."""
    if not sealed or sealed[0] not in NONCE_LENGTH:
        raise Malformed("unknown suite")
    nonce_end = 9 + NONCE_LENGTH[sealed[0]]
    if len(sealed) < nonce_end + 16:
        raise Malformed("too short")
    if sealed[0] != suite or sealed[1:9] != tag:
        raise WrongKey("sealed under another key")
    data, nonce, body = sealed[:9] + context, sealed[9:nonce_end], sealed[nonce_end:]
    try:
        if sealed[0] == 1:
            return xaes_open(under, nonce, body, data)
        if sealed[0] == 2:
            return siv_open(under, [data], body)
        return AESGCM(under).decrypt(nonce, body, data)
    except InvalidTag:
        raise Corrupt("authentication failed") from None


def seal(key, algorithm, nonce, plaintext, context):
    """For vectors: a nonce of the caller's."""
    under, suite = seal_subkey(key, algorithm), ALGORITHMS[algorithm][0]
    return seal_under(under, suite, key_tag(key, algorithm), nonce, plaintext, context)


def open_sealed(key, algorithm, sealed, context=b""):
    under, suite = seal_subkey(key, algorithm), ALGORITHMS[algorithm][0]
    return open_under(under, suite, key_tag(key, algorithm), sealed, context)


def wrap(kek, algorithm, nonce, secret, context):
    """Suite 0x01 whatever the algorithm of the KEK."""
    return seal_under(wrap_subkey(kek, algorithm), 1, key_tag(kek, algorithm), nonce, secret, context)


def unwrap(kek, algorithm, wrapped, context):
    return open_under(wrap_subkey(kek, algorithm), 1, key_tag(kek, algorithm), wrapped, context)


def search_term(key, bits, context, data):
    """Of a key of algorithm hmac-sha-256."""
    message = bits.to_bytes(2, "big") + len(context).to_bytes(8, "big") + context + data
    under = subkey(key, "kms/1 blind index", "hmac-sha-256", 32)
    full = int.from_bytes(hmac.digest(under, message, "sha256"), "big")
    length = (bits + 7) // 8
    return (full >> (256 - bits) << (8 * length - bits)).to_bytes(length, "big")


def stream(seed, length):
    return hashlib.shake_128(seed.encode("ascii")).digest(length)


def make_vectors():
    sizes = (0, 1, 15, 16, 17, 31, 32, 33, 100)
    contexts = (b"", b"people.email", bytes(range(40)))
    for algorithm, (_, key_length, nonce_length) in ALGORITHMS.items():
        for size in sizes:
            for number, context in enumerate(contexts):
                seed = f"kms {algorithm} {size} {number}"
                key = stream(seed + " key", key_length)
                nonce = stream(seed + " nonce", nonce_length)
                plaintext = stream(seed + " plaintext", size)
                yield {
                    "algorithm": algorithm,
                    "key": key.hex(),
                    "tag": key_tag(key, algorithm).hex(),
                    "context": context.hex(),
                    "plaintext": plaintext.hex(),
                    "sealed": seal(key, algorithm, nonce, plaintext, context).hex(),
                }


def make_wrapped_vectors():
    names = (b"orders", bytes(range(256)))
    for number, (algorithm, (_, key_length, _)) in enumerate(ALGORITHMS.items()):
        seed = f"kms wrap {algorithm}"
        kek, data_key = stream(seed + " kek", key_length), stream(seed + " secret", key_length)
        version = (1, 2147483647)[number % 2]
        name = names[number % 2]
        user_context = stream(seed + " context", number)
        common = {"algorithm": algorithm, "kek": kek.hex(), "secret": data_key.hex()}
        nonce = stream(seed + " nonce", 24)
        context = data_key_context(algorithm, version, name)
        yield common | {
            "version": version,
            "name": name.hex(),
            "wrapped": wrap(kek, algorithm, nonce, data_key, context).hex(),
        }
        context = secret_context(user_context)
        yield common | {
            "context": user_context.hex(),
            "wrapped": wrap(kek, algorithm, nonce, data_key, context).hex(),
        }


def make_terms():
    for number, bits in enumerate((1, 7, 8, 9, 16, 63, 64, 65, 100, 128, 255, 256)):
        seed = f"kms term {bits}"
        key, context, data = (stream(f"{seed} {part}", length) for part, length in (
            ("key", 32), ("context", (0, 1, 40)[number % 3]), ("data", (0, 1, 31, 64, 200)[number % 5])))
        yield {
            "key": key.hex(),
            "tag": key_tag(key, "hmac-sha-256").hex(),
            "bits": bits,
            "context": context.hex(),
            "data": data.hex(),
            "term": search_term(key, bits, context, data).hex(),
        }


def write_vectors():
    files = {"sealed": make_vectors(), "wrapped": make_wrapped_vectors(), "terms": make_terms()}
    for file, vectors in files.items():
        lines = ",\n".join(json.dumps(v, separators=(",", ":")) for v in vectors)
        (VECTORS / f"{file}.json").write_text(f"[\n{lines}\n]\n", encoding="ascii")


def refusal(key, algorithm, sealed, context, opens=open_sealed):
    try:
        opens(key, algorithm, sealed, context)
    except (Malformed, WrongKey, Corrupt) as error:
        return type(error)
    return None


def test_sealed_values():
    for vector in json.loads((VECTORS / "sealed.json").read_text(encoding="ascii")):
        algorithm = vector["algorithm"]
        key, tag, context, plaintext, sealed = (
            bytes.fromhex(vector[name]) for name in ("key", "tag", "context", "plaintext", "sealed")
        )
        other = bytes([key[0] ^ 1]) + key[1:]
        flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
        assert key_tag(key, algorithm) == tag
        assert open_sealed(key, algorithm, sealed, context) == plaintext
        assert refusal(other, algorithm, sealed, context) is WrongKey
        assert refusal(key, algorithm, sealed, context + b"x") is Corrupt
        assert refusal(key, algorithm, flipped, context) is Corrupt
        assert refusal(key, algorithm, sealed[:24], context) is Malformed
        assert refusal(key, algorithm, b"\x04" + sealed[1:], context) is Malformed
        assert refusal(key, algorithm, b"", context) is Malformed


def test_wrapped_keys():
    for vector in json.loads((VECTORS / "wrapped.json").read_text(encoding="ascii")):
        algorithm, kek, secret = vector["algorithm"], *(bytes.fromhex(vector[name]) for name in ("kek", "secret"))
        wrapped = bytes.fromhex(vector["wrapped"])
        contexts = [secret_context(bytes.fromhex(vector.get("context", "")))]
        if "version" in vector:
            contexts.insert(0, data_key_context(algorithm, vector["version"], bytes.fromhex(vector["name"])))
        assert unwrap(kek, algorithm, wrapped, contexts[0]) == secret
        for other in (b"", contexts[0] + b"x", *contexts[1:]):
            assert refusal(kek, algorithm, wrapped, other, unwrap) is Corrupt
        assert refusal(kek, algorithm, wrapped, contexts[0]) in (Corrupt, WrongKey)
        assert refusal(bytes(len(kek)), algorithm, wrapped, contexts[0], unwrap) is WrongKey
        assert refusal(kek, algorithm, wrapped[:48], contexts[0], unwrap) is Malformed


def test_search_terms():
    for vector in json.loads((VECTORS / "terms.json").read_text(encoding="ascii")):
        key, context, data = (bytes.fromhex(vector[name]) for name in ("key", "context", "data"))
        assert key_tag(key, "hmac-sha-256").hex() == vector["tag"]
        assert search_term(key, vector["bits"], context, data).hex() == vector["term"]
        if data and vector["bits"] >= 64:
            assert search_term(key, vector["bits"], context + data[:1], data[1:]).hex() != vector["term"]


def test_siv():
    for vector in json.loads((VECTORS / "siv.json").read_text(encoding="ascii")):
        key, plaintext, sealed = (
            bytes.fromhex(vector[name]) for name in ("key", "plaintext", "sealed")
        )
        strings = [bytes.fromhex(string) for string in vector["associated"]]
        assert siv_seal(key, strings, plaintext) == sealed
        assert siv_open(key, strings, sealed) == plaintext


def test_xaes():
    for vector in json.loads((VECTORS / "xaes.json").read_text(encoding="ascii")):
        key, nonce, plaintext, data, sealed = (
            bytes.fromhex(vector[name]) for name in ("key", "nonce", "plaintext", "data", "sealed")
        )
        assert xaes_seal(key, nonce, plaintext, data) == sealed
        assert xaes_open(key, nonce, sealed, data) == plaintext


def selftest():
    for test in (test_sealed_values, test_wrapped_keys, test_search_terms, test_siv, test_xaes):
        test()
        print("ok", test.__name__)


def wrap_context(options):
    if options.data_key is None:
        return secret_context(bytes.fromhex(options.secret))
    algorithm, version, name = options.data_key.split(":")
    return data_key_context(algorithm, int(version), bytes.fromhex(name))


def answer_lines(options):
    key = pathlib.Path(options.key).read_bytes()
    if options.command == "term":
        for line in sys.stdin:
            print(search_term(key, options.bits, bytes.fromhex(options.context), bytes.fromhex(line)).hex())
        return
    opens, context = (
        (unwrap, wrap_context(options))
        if options.command == "unwrap"
        else (open_sealed, bytes.fromhex(options.context))
    )
    for line in sys.stdin:
        print(opens(key, options.algorithm, bytes.fromhex(line), context).hex())


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    opener = commands.add_parser("open", help="open sealed values, a line of hex each")
    opener.add_argument("--context", default="", metavar="HEX")
    unwrapper = commands.add_parser("unwrap", help="open wrapped keys or secrets, a line of hex each")
    use = unwrapper.add_mutually_exclusive_group(required=True)
    use.add_argument("--data-key", metavar="ALGORITHM:VERSION:HEX", help="of this name")
    use.add_argument("--secret", metavar="HEX", help="of this context")
    for command in (opener, unwrapper):
        command.add_argument("--algorithm", choices=ALGORITHMS, required=True)
        command.add_argument("--key", required=True, metavar="FILE", help="the raw data key, or KEK")
    searcher = commands.add_parser("term", help="make search terms, of a line of hex each")
    searcher.add_argument("--key", required=True, metavar="FILE", help="the raw key")
    searcher.add_argument("--bits", type=int, default=64)
    searcher.add_argument("--context", default="", metavar="HEX")
    commands.add_parser("selftest", help="check this decoder against vectors")
    commands.add_parser("vectors", help="write vectors/sealed.json, wrapped.json and terms.json")
    return parser.parse_args()


def carry_out(options, commands, open_lines):
    """`commands`: functions by the words for them."""
    try:
        commands.get(options.command, lambda: open_lines(options))()
    except (Malformed, WrongKey, Corrupt) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    carry_out(parse_arguments(), {"selftest": selftest, "vectors": write_vectors}, answer_lines)
