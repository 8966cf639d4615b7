#!/usr/bin/python3
"""An independent decoder of the blobs of kms (doc/formats.md, "Blob"), for tests.

It shares no code with the C++ one. Needs python3-cryptography 38.

    blobs.py open --algorithm A --key FILE < lines of JSON, a blob each:
        {"id": HEX, "version": N, "wrapped": HEX or null, "manifest": HEX, "segments": {NUMBER: HEX, …}}
    blobs.py selftest
    blobs.py vectors
"""

import argparse
import hashlib
import hmac
import json
import os
import pathlib
import struct
import sys
import zlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

import sealed
from sealed import VECTORS, Corrupt, Malformed, WrongKey, stream

HEADER = 56
CHUNK = 16384
TAG = 16
TEXTS = (("name", 4, 2), ("content_type", 8, 2), ("metadata", 16, 4))  # flag, bytes of the length


def blob_subkey(blob_key, use, length):
    info = f"kms/1 blob {use}".encode("ascii")
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(blob_key)


def blob_context(use, blob_id, *numbers):
    return f"kms/1 blob {use}\0".encode("ascii") + blob_id + b"".join(n.to_bytes(8, "big") for n in numbers)


# --- C2SP chunked-encryption, Cobblestone-256


def message_keys(input_key, salt, context):
    """Key, base nonce, commitment."""
    if len(input_key) != 32:
        raise Malformed("an input key has 32 bytes")
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    keys = HKDFExpand(algorithm=SHA512(), length=76, info=info).derive(input_key)
    return keys[:32], keys[32:44], keys[44:]


def chunk_nonce(base_nonce, number):
    return sealed.xor(base_nonce, number.to_bytes(12, "big"))


def seal_message(input_key, context, salt, plaintext):
    key, base_nonce, commitment = message_keys(input_key, salt, context)
    chunks = [plaintext[i : i + CHUNK] for i in range(0, len(plaintext) + 1, CHUNK)]
    gcm = AESGCM(key)
    body = [gcm.encrypt(chunk_nonce(base_nonce, i), chunk, None) for i, chunk in enumerate(chunks)]
    return salt + commitment + b"".join(body)


def open_chunks(message, input_key, context):
    """Yields the plaintext of one authenticated chunk after the other."""
    if len(message) < HEADER:
        raise Corrupt("cut short")
    key, base_nonce, commitment = message_keys(input_key, message[:24], context)
    if not hmac.compare_digest(commitment, message[24:HEADER]):
        raise Corrupt("another commitment")
    gcm = AESGCM(key)
    chunks = [message[i : i + CHUNK + TAG] for i in range(HEADER, len(message) + 1, CHUNK + TAG)]
    for number, chunk in enumerate(chunks):
        if len(chunk) < TAG:
            raise Corrupt("cut short")
        try:
            yield gcm.decrypt(chunk_nonce(base_nonce, number), chunk, None)
        except InvalidTag:
            raise Corrupt("authentication failed") from None


def open_message(message, input_key, context):
    return b"".join(open_chunks(message, input_key, context))


# --- the manifest


def write_manifest(manifest):
    flags, texts = manifest["complete"], b""
    for name, flag, width in TEXTS:
        if manifest[name] is not None:
            flags |= flag
            texts += len(manifest[name]).to_bytes(width, "big") + manifest[name]
    expires = b""
    if manifest["expires"] is not None:
        flags |= 2
        expires = struct.pack(">q", manifest["expires"])
    total = sum(length for _, length, _ in manifest["segments"])
    return (
        struct.pack(">BBQqq", 1, flags, total, manifest["created"], manifest["modified"])
        + expires
        + texts
        + struct.pack(">I", len(manifest["segments"]))
        + b"".join(struct.pack(">QQ32s", *segment) for segment in manifest["segments"])
    )


def parse_manifest(data):
    """What write_manifest takes. There is only one way to write it: so it is written again and compared."""
    try:
        form, flags, total, created, modified = struct.unpack_from(">BBQqq", data)
        place = 26
        manifest = {"complete": flags & 1, "created": created, "modified": modified, "expires": None}
        if flags & 2:
            (manifest["expires"],) = struct.unpack_from(">q", data, place)
            place += 8
        for name, flag, width in TEXTS:
            manifest[name] = None
            if flags & flag:
                end = place + width + int.from_bytes(data[place : place + width], "big")
                manifest[name], place = data[place + width : end], end
        (count,) = struct.unpack_from(">I", data, place)
        manifest["segments"] = [struct.unpack_from(">QQ32s", data, place + 4 + 48 * i) for i in range(count)]
    except struct.error as error:
        raise Corrupt(str(error)) from None
    numbers = [number for number, _, _ in manifest["segments"]]
    if form != 1 or numbers != sorted(set(numbers)) or write_manifest(manifest) != data:
        raise Corrupt("not a manifest")
    if total != sum(length for _, length, _ in manifest["segments"]):
        raise Corrupt("not the total length")
    return manifest


def open_manifest(blob_key, blob_id, version, data):
    key, tag = blob_subkey(blob_key, "manifest", 32), blob_subkey(blob_key, "tag", 8)
    context = blob_context("manifest", blob_id, version)
    return parse_manifest(sealed.open_under(key, 1, tag, data, context))


def seal_manifest(blob_key, blob_id, version, manifest, nonce):
    key, tag = blob_subkey(blob_key, "manifest", 32), blob_subkey(blob_key, "tag", 8)
    context = blob_context("manifest", blob_id, version)
    return sealed.seal_under(key, 1, tag, nonce, write_manifest(manifest), context)


# --- a whole blob


def require_whole(manifest, blob):
    if not manifest["complete"] or {n for n, _, _ in manifest["segments"]} != set(blob["segments"]):
        raise Corrupt("segments are missing, or there are more")


def open_directly(key, algorithm, blob):
    """Of a blob without a key of its own: the manifest and every chunk are values of the key."""
    context = blob_context("manifest", blob["id"], blob["version"])
    manifest, data = parse_manifest(sealed.open_sealed(key, algorithm, blob["manifest"], context)), b""
    require_whole(manifest, blob)
    step = CHUNK + 1 + 8 + sealed.ALGORITHMS[algorithm][2] + TAG
    for number, length, commitment in manifest["segments"]:
        values, plaintext = blob["segments"][number], b""
        for chunk, at in enumerate(range(0, length + 1, CHUNK)):
            final = bytes([length - at < CHUNK])
            context = blob_context("chunk", blob["id"], number, chunk) + final
            plaintext += sealed.open_sealed(key, algorithm, values[chunk * step : (chunk + 1) * step], context)
        if len(plaintext) != length or any(commitment):
            raise Corrupt("another length, or a commitment")
        data += plaintext
    return manifest, data


def open_blob(kek, algorithm, blob):
    """The manifest and the bytes; `blob` as in the program's input, with bytes for hex."""
    if blob["wrapped"] is None:
        return open_directly(kek, algorithm, blob)
    blob_key = sealed.unwrap(kek, algorithm, blob["wrapped"], blob_context("key", blob["id"]))
    manifest = open_manifest(blob_key, blob["id"], blob["version"], blob["manifest"])
    require_whole(manifest, blob)
    input_key, data = blob_subkey(blob_key, "segment", 32), b""
    for number, length, commitment in manifest["segments"]:
        message = blob["segments"][number]
        if message[24:HEADER] != commitment:
            raise Corrupt("another segment")
        plaintext = open_message(message, input_key, blob_context("segment", blob["id"], number))
        if len(plaintext) != length:
            raise Corrupt("another length")
        data += plaintext
    return manifest, data


def open_line(kek, algorithm, line):
    blob = json.loads(line)
    for name in ("id", "wrapped", "manifest"):
        blob[name] = blob[name] and bytes.fromhex(blob[name])
    blob["segments"] = {int(n): bytes.fromhex(m) for n, m in blob["segments"].items()}
    manifest, data = open_blob(kek, algorithm, blob)
    texts = {n: None if manifest[n] is None else manifest[n].decode("utf-8") for n, _, _ in TEXTS}
    del manifest["segments"]
    return json.dumps(manifest | texts | {"data": data.hex()})


# --- vectors


def pattern(length, start):
    """As the unit tests have it."""
    return bytes((start + i * 7 + i // 256) & 255 for i in range(length))


# Lengths of the segments, and the other parts of the manifest.
SHAPES = (
    ((), {"complete": 1, "created": 0, "modified": 0, "expires": None}),
    ((1,), {"complete": 1, "created": -1, "modified": 2**62, "expires": 1_800_000_000_000_000, "name": b"a.txt"}),
    (
        (16383, 16384, 16385),
        {"complete": 1, "created": 1_700_000_000_000_000, "modified": 1_700_000_000_000_001, "expires": None}
        | {"name": b"", "content_type": b"text/plain", "metadata": b'{"k": [1, null, "\xc3\xa9"]}'},
    ),
    ((100_000, 2), {"complete": 0, "created": 5, "modified": 6, "expires": -(2**63), "metadata": b"{}"}),
)


def make_vectors():
    for turn, (lengths, shape) in enumerate(SHAPES):
        algorithm = ("xaes-256-gcm", "aes-256-siv")[turn % 2]
        seed = f"kms blob {turn}"
        kek = stream(seed + " kek", sealed.ALGORITHMS[algorithm][1])
        blob_key, blob_id = stream(seed + " key", 32), stream(seed + " id", 16)
        version = (1, 2**40 + turn)[turn % 2]
        manifest = dict.fromkeys(name for name, _, _ in TEXTS) | shape | {"segments": []}
        segments = []
        for index, length in enumerate(lengths):
            number, start = index * index + 1, index + 3
            message = seal_message(
                blob_subkey(blob_key, "segment", 32),
                blob_context("segment", blob_id, number),
                stream(f"{seed} salt {number}", 24),
                pattern(length, start),
            )
            manifest["segments"].append((number, length, message[24:HEADER]))
            segments.append(
                {"number": number, "length": length, "start": start, "header": message[:HEADER].hex()}
                | {"sha512": hashlib.sha512(message).hexdigest()}
            )
        yield {
            "algorithm": algorithm,
            "kek": kek.hex(),
            "id": blob_id.hex(),
            "key": blob_key.hex(),
            "wrapped": sealed.wrap(
                kek, algorithm, stream(seed + " wrap nonce", 24), blob_key, blob_context("key", blob_id)
            ).hex(),
            "version": version,
            "manifest": seal_manifest(blob_key, blob_id, version, manifest, stream(seed + " nonce", 24)).hex(),
            "fields": {k: v.hex() if isinstance(v, bytes) else v for k, v in manifest.items() if k != "segments"},
            "segments": segments,
        }


def write_vectors():
    lines = ",\n".join(json.dumps(v, separators=(",", ":")) for v in make_vectors())
    (VECTORS / "blob.json").write_text(f"[\n{lines}\n]\n", encoding="ascii")


# --- tests


def refusal(action, *arguments):
    try:
        action(*arguments)
    except (Malformed, WrongKey, Corrupt) as error:
        return type(error)
    return None


def of_vector(vector):
    blob = {name: bytes.fromhex(vector[name]) for name in ("kek", "key", "id", "wrapped", "manifest")}
    input_key = blob_subkey(blob["key"], "segment", 32)
    blob["version"], blob["segments"] = vector["version"], {}
    for segment in vector["segments"]:
        context = blob_context("segment", blob["id"], segment["number"])
        salt, plaintext = bytes.fromhex(segment["header"])[:24], pattern(segment["length"], segment["start"])
        blob["segments"][segment["number"]] = seal_message(input_key, context, salt, plaintext)
    return blob


def test_blobs():
    for vector in json.loads((VECTORS / "blob.json").read_text(encoding="ascii")):
        blob, algorithm = of_vector(vector), vector["algorithm"]
        messages = [blob["segments"][s["number"]] for s in vector["segments"]]
        assert [hashlib.sha512(m).hexdigest() for m in messages] == [s["sha512"] for s in vector["segments"]]
        if not vector["fields"]["complete"]:
            assert refusal(open_blob, blob["kek"], algorithm, blob) is Corrupt
            continue
        manifest, data = open_blob(blob["kek"], algorithm, blob)
        assert data == b"".join(pattern(s["length"], s["start"]) for s in vector["segments"])
        for name, value in vector["fields"].items():
            found = manifest[name]
            assert value == (found.hex() if isinstance(found, bytes) else found)
        check_refusals(blob, algorithm)
        check_line(vector, blob, data)


def check_line(vector, blob, data):
    segments = {number: message.hex() for number, message in blob["segments"].items()}
    opened = json.loads(open_line(blob["kek"], vector["algorithm"], json.dumps(vector | {"segments": segments})))
    assert bytes.fromhex(opened["data"]) == data
    for name, _, _ in TEXTS:
        value = vector["fields"][name]
        assert opened[name] == (value and bytes.fromhex(value).decode("utf-8"))


def check_refusals(blob, algorithm):
    changes = [
        {"version": blob["version"] + 1},
        {"id": bytes(16)},
        {"segments": blob["segments"] | {99: b""}},
        {"manifest": blob["manifest"][:-1] + bytes([blob["manifest"][-1] ^ 1])},
    ]
    for number, message in blob["segments"].items():
        fewer = {n: m for n, m in blob["segments"].items() if n != number}
        others = [m for n, m in blob["segments"].items() if n != number]
        flipped = message[:-1] + bytes([message[-1] ^ 1])
        for other in (message[:-1], message + b"x", flipped, message[: HEADER + CHUNK + TAG][:-1], *others):
            changes.append({"segments": fewer | {number: other}})
        changes.append({"segments": fewer})
    for change in changes:
        assert refusal(open_blob, blob["kek"], algorithm, blob | change) is Corrupt, change.keys()
    assert refusal(open_blob, bytes(len(blob["kek"])), algorithm, blob) is WrongKey


def test_wycheproof():
    folder = os.environ.get("KMS_VECTORS")
    if not folder:
        return "# skip KMS_VECTORS is not set"
    path = pathlib.Path(folder) / "c2sp_chunked_encryption_aes_256_gcm_test.json"
    for group in json.loads(path.read_text(encoding="ascii"))["testGroups"]:
        for test in group["tests"]:
            check_wycheproof(test)
    return None


def check_wycheproof(test):
    key, context = bytes.fromhex(test["key"]), bytes.fromhex(test["ctx"])
    message = zlib.decompress(bytes.fromhex(test["ct"]))
    plaintext, failed = b"", False
    try:
        for chunk in open_chunks(message, key, context):
            plaintext += chunk
    except (Malformed, Corrupt):
        failed = True
    assert failed == (test["result"] == "invalid"), test["tcId"]
    if "msgSha512" in test:
        assert hashlib.sha512(plaintext).hexdigest() == test["msgSha512"], test["tcId"]
    else:
        assert plaintext == b"", test["tcId"]
    if not failed:
        assert seal_message(key, context, message[:24], plaintext) == message


def selftest():
    for test in (test_blobs, test_wycheproof):
        print("ok", test.__name__, test() or "")


def open_lines(options):
    kek = pathlib.Path(options.key).read_bytes()
    for line in sys.stdin:
        print(open_line(kek, options.algorithm, line))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    opener = commands.add_parser("open", help="open blobs, a line of JSON each")
    opener.add_argument("--algorithm", choices=sealed.ALGORITHMS, required=True)
    opener.add_argument("--key", required=True, metavar="FILE", help="the raw key that wraps the blobs' keys")
    commands.add_parser("selftest", help="check this decoder against vectors")
    commands.add_parser("vectors", help="write vectors/blob.json")
    return parser.parse_args()


if __name__ == "__main__":
    sealed.carry_out(parse_arguments(), {"selftest": selftest, "vectors": write_vectors}, open_lines)
