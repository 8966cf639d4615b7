#!/usr/bin/python3
"""kms-agent on the command line: every subcommand, every exit code, every way to name and protect a key."""

import json
import os
import pty
import subprocess
import termios
import time

from support import *


def command_line():
    version = agent("--version")
    ok(version.returncode == 0 and version.stdout.startswith(b"kms-agent "), "--version")
    help_text = agent("--help")
    ok(help_text.returncode == 0 and b"Exit codes" in help_text.stdout, "--help names the exit codes")
    for name in "serve init create list rotate enable disable destroy rekey forget".split():
        ok(name.encode() in help_text.stdout, f"--help names {name}")
        own_help = agent(name, "--help")
        equal(own_help.returncode, DONE, f"{name} --help")
        ok(f"\nExample:\n  kms-agent {name}".encode() in own_help.stdout, f"... and shows how {name} is called")
    equal(agent("-?").stdout, help_text.stdout, "-? is --help")
    for line in ("", "nosuch", "-h", "list", "create --keyring r", "serve", "disable --keyring r a",
                 "disable --keyring r a 0", "disable --keyring r a x", "disable --keyring r a 2147483648",
                 "create --keyring r a --algorithm des", "list --keyring r --nosuch",
                 "list --keyring r --key-file k --passphrase-command c",
                 "serve --ephemeral --keyring r", "create --keyring r a b",
                 # 010 is neither 8 nor 10, and who writes it may mean either.
                 "disable --keyring r a 010", "disable --keyring r a 0x3", "disable --keyring r a +5",
                 "rotate --keyring r a --after 020", "init --keyring r --passphrase-timeout 010",
                 "serve --keyring r --passphrase-command c --remember-for 0x10"):
        result = agent(*line.split())
        ok(result.returncode == USAGE and result.stderr, f"usage: {line}", result)
    # What a variable was to name that has no value is not left out.
    for words in (("create", *RING, "a", "--import", ""), ("create", *RING, "a", "--import", "", "--hex"),
                  ("rekey", *RING, "--new-key-file", ""), ("serve", *RING, "--next-key-file", ""),
                  ("list", "--keyring", "", "--key-file", "kek"), ("list", "--keyring", "ring", "--key-file", ""),
                  ("list", "--keyring", "ring", "--passphrase-command", "")):
        expect(agent(*words), USAGE, f"usage: {words}", b"it is empty")


def environment():
    """KMS_KEYRING and KMS_KEY_FILE serve for administration, and options go before them."""
    named = {**os.environ, "KMS_KEYRING": "in-env", "KMS_KEY_FILE": "in-env.key"}
    expect(agent("init", env=named), DONE, "init by the environment")
    equal(os.stat("in-env.key").st_size, 32, "has made the key file that it names")
    expect(agent("create", "of-env", env=named), DONE, "create by the environment")
    equal(agent("list", env=named).stdout, agent("list", "--keyring", "in-env", "--key-file", "in-env.key").stdout,
          "list shows what the options show")
    expect(agent("init", "--keyring", "other-env", "--passphrase-command", "echo open", env=named), DONE,
           "a passphrase command goes before KMS_KEY_FILE")
    expect(agent("list", "--keyring", "other-env", env=named), UNUSABLE, "which else opens", b"passphrase")
    expect(agent("list", "--keyring", "in-env", "--key-file", "nowhere", env=named), UNUSABLE,
           "--key-file goes before KMS_KEY_FILE")
    for gone in ("KMS_KEYRING", "KMS_KEY_FILE"):
        expect(agent("list", env={**named, gone: ""}), USAGE if gone == "KMS_KEYRING" else UNUSABLE, f"an empty {gone} is none")
    expect(agent("serve", env=named), USAGE, "serve takes nothing from the environment", b"--keyring")


def init():
    expect(agent("init", *RING), DONE, "init")
    equal(os.stat("ring").st_mode & 0o7777, 0o600, "the keyring has mode 0600")
    equal((os.stat("kek").st_mode & 0o7777, os.stat("kek").st_size), (0o600, 32),
          "the key file was made, 32 bytes of mode 0600")
    before = read("ring")
    expect(agent("init", *RING), REFUSED, "init never replaces a keyring", b"exists")
    expect(agent("init", "--keyring", "ring", "--key-file", "other"), REFUSED, "nor with another key file")
    ok(not os.path.exists("other"), "and leaves no key file behind")
    equal(read("ring"), before, "the keyring is as it was")
    write("short", b"k" * 31)
    expect(agent("init", "--keyring", "new", "--key-file", "short"), UNUSABLE, "a key file of 31 bytes", b"32 bytes")
    write("open", b"k" * 32, 0o644)
    expect(agent("init", "--keyring", "new", "--key-file", "open"), UNUSABLE, "a key file for all", b"0600")
    expect(agent("init", "--keyring", "no/folder", "--key-file", "kek"), FAILED, "a folder that is not there")
    expect(agent("init", "--keyring", "new", "--key-file", "no/folder"), UNUSABLE, "no folder for a key file")
    ok(not os.path.exists("new"), "a refused init makes no keyring")
    equal(keys(), [], "a new keyring is empty")
    as_json = json.loads(agent("init", "--keyring", "json", "--key-file", "kek", "--json").stdout)
    equal((as_json["generation"], as_json["protection"]), (1, "key-file"), "init --json")
    expect(agent("init", "--keyring", "b", "--key-file", "kek", umask=0o777), DONE, "init under a hard umask")
    equal(os.stat("b").st_mode & 0o7777, 0o600, "still makes mode 0600")


def life_of_a_key():
    created = on_ring("create", "a", "--json")
    expect(created, DONE, "create")
    entry = json.loads(created.stdout)
    equal((entry["key"], entry["version"], entry["algorithm"], entry["state"], entry["no_export"]),
          ("a", 1, "xaes-256-gcm", "enabled", False), "create --json")
    expect(on_ring("create", "a"), REFUSED, "create refuses an identifier that exists", b"exists")
    expect(on_ring("rotate", "a"), DONE, "rotate")
    expect(on_ring("rotate", "b"), NOT_FOUND, "rotate of no key")
    equal([(k["version"], k["state"]) for k in keys()], [(1, "enabled"), (2, "enabled")], "both versions are listed")
    expect(on_ring("disable", "a", "1"), DONE, "disable")
    expect(on_ring("disable", "a", "1"), DONE, "disable again")
    equal(keys()[0]["state"], "disabled", "it is disabled")
    expect(on_ring("enable", "a", "1"), DONE, "enable")
    expect(on_ring("destroy", "a", "1"), DONE, "destroy")
    equal((keys()[0]["state"], keys()[0]["tag"]), ("destroyed", entry["tag"]), "the record and its tag stay")
    expect(on_ring("enable", "a", "1"), REFUSED, "a destroyed version stays destroyed", b"destroyed")
    for command in ("enable", "disable", "destroy"):
        expect(on_ring(command, "a", "3"), NOT_FOUND, f"{command} of no version")
        expect(on_ring(command, "b", "1"), NOT_FOUND, f"{command} of no key")
    expect(on_ring("disable", "a", "2"), DONE, "disable of the current version")
    expect(on_ring("rotate", "a"), DONE, "a key whose current version is disabled rotates")
    expect(on_ring("create", "gcm", "--algorithm", "aes-256-gcm"), DONE, "create warns of 2^32 values", b"2^32")
    ok(b"2^32" not in on_ring("create", "siv", "--algorithm", "aes-256-siv").stderr, "but not without reason")
    table = on_ring("list").stdout.decode().splitlines()
    ok(table[0].split() == "KEY VERSION ALGORITHM TAG STATE PURPOSE EXPORT CREATED".split() and len(table) == 6, "list as a table")
    equal(len(on_ring("list", "g").stdout.splitlines()), 2, "list by prefix")
    expect(on_ring("list", "zzz"), DONE, "list of nothing is no error")
    with open("/dev/full", "wb") as full:
        result = subprocess.run([PROGRAM, "list", *RING], stdout=full, stderr=subprocess.PIPE)
    expect(result, FAILED, "an output that cannot be written", b"standard output")
    told = ("--keyring", "told", "--key-file", "told.key")
    for words in (("init", *told), ("create", *told, "a"), ("rotate", *told, "a"), ("disable", *told, "a", "1"),
                  ("rekey", *told, "--new-key-file", "told.next")):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([PROGRAM, *words], stdout=full, stderr=subprocess.PIPE)
        expect(result, DONE, f"{words[0]} is done, though nobody can be told", b"it is done, but cannot be told")
    equal([each["state"] for each in keys("told", "told.next")], ["disabled", "enabled"], "... each of them")


def served(words):
    return agent("serve", *RING, input=HELLO + frame("get", 1, words)).stdout


def imports():
    raw = bytes((7 * i * i + 90) % 256 for i in range(32))
    write("raw", raw)
    write("hex", raw[::-1].hex().encode() + b"\n")
    expect(on_ring("create", "raw", "--import", "raw"), DONE, "import of a raw key")
    expect(on_ring("create", "hex", "--import", "hex"), DONE, "import in hex, with a newline")
    expect(on_ring("create", "upper", "--import", "-", input=raw[:16].hex().upper().encode() + b"0F1E2D3C" * 4), DONE,
           "import in upper case, standard input")
    expect(on_ring("create", "again", "--import", "raw"), REFUSED, "the same key under another name", b"holds this key already")
    expect(on_ring("create", "again", "--import", "-", input=raw.hex().encode()), REFUSED, "the same key in hex")
    for size in (0, 1, 16, 31, 33, 63, 65, 66, 129, 100000):
        expect(on_ring("create", "bad", "--import", "-", input=b"a" * size), REFUSED, f"import of {size} bytes")
    expect(on_ring("create", "bad", "--import", "-", input=b"ag" * 32), REFUSED, "import of what is no hex", b"hex")
    expect(on_ring("create", "bad", "--import", "missing"), FAILED, "import of a missing file", b"missing")
    for name, size in (("aes-128-gcm", 16), ("aes-192-gcm", 24), ("aes-256-gcm", 32), ("aes-256-siv", 64)):
        expect(on_ring("create", name, "--algorithm", name, "--import", "-", input=os.urandom(size)), DONE, f"import for {name}")
        expect(on_ring("create", name + "x", "--algorithm", name, "--import", "-", input=os.urandom(size + 1)), REFUSED,
               f"but not one byte more")
    mistaken_imports(raw)
    said = b"".join((lambda r: r.stdout + r.stderr)(on_ring(*line)) for line in
                    (("list",), ("list", "--json"), ("rotate", "raw"), ("disable", "raw", "1"), ("create", "raw", "--import", "raw")))
    ok(raw not in said and raw.hex().encode() not in said, "no command prints a key")
    replies = served("raw")
    ok(raw not in replies, "the rotated key is not the imported one")
    tag = next(k["tag"] for k in keys() if k["key"] == "raw")
    on_ring("enable", "raw", "1")
    ok(served(f"raw {tag}").endswith(raw), "the imported key is served, byte for byte")


def mistaken_imports(raw):
    """Keys that were imported by mistake: text that may be hex or a passphrase, files that others read, weak keys."""
    half = os.urandom(16).hex().encode()
    word = b"correct horse battery staple 123"
    siv = ("--algorithm", "aes-256-siv")
    for name, bytes_, more in (("32 hex digits", half, ()), ("64 hex digits for 64 bytes", half + half[::-1], siv),
                               ("a passphrase", word, ()), ("base64", b"MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0", ())):
        expect(on_ring("create", "bad", *more, "--import", "-", input=bytes_), REFUSED, f"import of {name}", b"--raw")
    ok("bad" not in {k["key"] for k in keys()}, "makes no key")
    expect(on_ring("create", "bad", "--hex", "--import", "-", input=half), REFUSED, "--hex wants all its digits", b"not 64 hex digits")
    expect(on_ring("create", "bad", "--hex", "--import", "-", input=raw), REFUSED, "--hex takes no raw key", b"not 64 hex digits")
    expect(on_ring("create", "bad", "--raw", "--import", "-", input=half * 2), REFUSED, "--raw takes no hex", b"not 32 bytes")
    expect(on_ring("create", "bad", "--raw", "--import", "-", input=half + b"\n"), REFUSED, "nor a newline", b"not 32 bytes")
    expect(on_ring("create", "said-raw", "--raw", "--import", "-", input=word), DONE, "--raw takes text as it is")
    ok(served("said-raw").endswith(word), "byte for byte")
    expect(on_ring("create", "said-hex", "--hex", "--import", "-", input=os.urandom(32).hex().encode() + b"\n"), DONE, "--hex takes hex")
    expect(on_ring("create", "shorter", "--algorithm", "aes-128-gcm", "--import", "-", input=half), DONE, "hex of a shorter key is told by its algorithm")
    for options in (("--hex",), ("--raw",), ("--hex", "--raw", "--import", "-")):
        equal(on_ring("create", "bad", *options).returncode, USAGE, f"usage: {options}")
    for mode in (0o644, 0o640, 0o604, 0o620, 0o602, 0o666):
        os.chmod("hex", mode)
        expect(on_ring("create", "bad", "--import", "hex"), REFUSED, f"a file of mode {mode:o}", b"chmod 0600")
        with open("hex", "rb") as file:
            opened = subprocess.run([PROGRAM, "create", *RING, "bad", "--import", "-"], stdin=file, capture_output=True)
        expect(opened, REFUSED, "also on the standard input", b"chmod 0600")
    weak = (bytes(32), b"\xff" * 32, b"k" * 32, bytes(range(32)), bytes(range(31, -1, -1)), bytes(range(0, 64, 2)),
            bytes(range(240, 256)) + bytes(range(16)), os.urandom(16) * 2, os.urandom(5) * 6 + b"\0\0", b"\0" * 31 + b"\1")
    for key in weak:
        expect(on_ring("create", "bad", "--raw", "--import", "-", input=key), REFUSED, f"a weak key {key.hex()[:20]}", b"weak")
        expect(on_ring("create", "bad", "--import", "-", input=key.hex().encode()), REFUSED, "in hex too", b"weak")
        told = agent("serve", *RING, input=HELLO + frame("create", 1, "bad xaes-256-gcm", key))
        ok(b"\nerror 1 " in told.stdout and b"weak" in told.stdout, "and through an agent", told.stdout)
    ok("bad" not in {k["key"] for k in keys()}, "none of them made a key")


def identifiers():
    for escaped in ("a%00b", "%0A", "%25", "%3D", "%2C", "%C3%A9%E6%BC%A2", "x" * 1000, "%FF" * 1024, "%2d-x", "-dash"):
        made = on_ring("create", "--escaped", "--json", "--", escaped)
        expect(made, DONE, f"create --escaped {escaped[:30]}")
        shown = json.loads(made.stdout or b"{}").get("key", "")
        listed = [k for k in keys() if k["key"] == shown]
        ok(len(listed) == 1, f"listed as {shown[:30]}")
        expect(on_ring("rotate", "--escaped", "--", shown), DONE, "and named so by another command")
    for raw in ("new\nline", "per%cent", "e=q,c", "ünï", "y" * 1000):
        expect(on_ring("create", raw), DONE, f"create {raw[:20]!r}, not escaped")
    shown = {k["key"] for k in keys()}
    ok({"new%0Aline", "per%25cent", "e%3Dq%2Cc", "%C3%BCn%C3%AF"} <= shown, "all are shown escaped", shown)
    equal(len(on_ring("list", "--escaped", "%C3").stdout.splitlines()), 4, "list --escaped with a prefix")
    for bad in ("", "x" * 1025):
        expect(on_ring("create", bad), USAGE, f"an identifier of {len(bad)} bytes")
    for bad in ("%", "%0", "%0g", "a b", "ü", "a%"):
        expect(on_ring("create", "--escaped", bad), USAGE, f"--escaped {bad!r}")


def purposes():
    """A KEK could be fetched: a key is made to seal or to wrap, and one that wraps never leaves."""
    fresh()

    def made(*options):
        result = on_ring("create", "--json", *options)
        expect(result, DONE, f"create {options}")
        entry = json.loads(result.stdout)
        return entry["purpose"], entry["no_export"]

    equal(made("s"), ("seal", False), "seals where nobody says, and may leave")
    equal(made("s2", "--purpose", "seal", "--no-export"), ("seal", True), "stays where it is said")
    equal(made("w", "--purpose", "wrap"), ("wrap", True), "what wraps stays")
    expect(on_ring("create", "x", "--purpose", "sign"), USAGE, "no other purpose", b"purpose")
    on_ring("rotate", "w")
    listed = on_ring("list").stdout.decode()
    ok("w    1 " in listed and listed.count(" wrap ") == 2 and listed.count(" seal ") == 3, "list shows it", listed)
    served = Serving(*RING)
    ok({"purpose", "no-export"} <= set(served.hello[1]), "an agent offers purposes", served.hello)
    secret, blob = b"kms/1 secret\0x", b"kms/1 blob key\0" + bytes(16)
    codes = [served.ask("get", "w")[0], served.ask("encrypt", "w 0", b"x")[0], served.ask("decrypt", "w 0", b"x" * 49)[0]]
    equal(codes, ["denied", "denied", "invalid"], "a key that wraps is not given, and seals nothing")
    wrapped = served.ask("wrap", f"w {len(secret)}", secret + b"a key")
    equal(served.ask("unwrap", f"w {len(secret)}", secret + wrapped[2])[2], b"a key", "it wraps and unwraps")
    equal(served.ask("wrap", f"s {len(secret)}", secret + b"a key")[0], "denied", "a key that seals does not")
    equal(served.ask("wrap", f"s {len(blob)}", blob + b"a key")[0], "ok", "but for a blob")
    equal(served.ask("create", "sql xaes-256-gcm purpose=wrap")[0], "ok", "a client makes one")
    equal(served.ask("describe", "sql")[1][3:], ["wrap", "no-export"], "which is told")
    ok(b" wrap no-export\n" in served.ask("list", "sql")[2] and b" seal exportable\n" in served.ask("list", "s")[2], "and listed")
    for words in ("purpose=", "purpose=mac", "purpose=Wrap", "purpose"):
        equal(served.ask("create", f"y xaes-256-gcm {words}")[0], "invalid", f"not {words}")
    served.end()
    few = Serving(*RING, "--verbs", "wrap,unwrap,describe")
    equal(few.hello[1], "kms/1 identify ping describe wrap unwrap".split(), "serve --verbs offers these alone")
    equal([few.ask(verb, "s")[0] for verb in ("get", "rotate", "list", "describe")], ["unsupported"] * 3 + ["ok"], "and does no other")
    few.end()
    for verbs in ("nosuch", "get,nosuch", "hello"):
        expect(agent("serve", *RING, "--verbs", verbs), USAGE, f"usage: --verbs {verbs}", b"verbs")


def rekey():
    fresh()
    old_kek = read("kek")
    expect(on_ring("rekey", "--new-key-file", "kek2"), DONE, "rekey to a new key file")
    equal((os.stat("kek2").st_mode & 0o7777, os.stat("kek2").st_size), (0o600, 32), "which was made")
    expect(on_ring("list"), UNUSABLE, "the old key file does not open it any more", b"another unlock key")
    equal([k["key"] for k in keys(kek="kek2")], ["a"], "the new one does")
    equal(read("kek"), old_kek, "the old key file was not touched")
    phrase = ("--passphrase-command", "echo phrase")
    result = agent("rekey", "--keyring", "ring", "--key-file", "kek2", "--new-passphrase-command", "echo phrase", "--json")
    expect(result, DONE, "rekey from a key file to a passphrase")
    equal(json.loads(result.stdout)["protection"], "passphrase", "rekey --json")
    expect(agent("list", "--keyring", "ring", *phrase), DONE, "the passphrase opens it")
    expect(agent("list", "--keyring", "ring", "--passphrase-command", "echo wrong"), UNUSABLE, "a wrong one does not", b"another unlock key")
    expect(agent("list", "--keyring", "ring", "--key-file", "kek2"), UNUSABLE, "nor a key file", b"--passphrase-command")
    salt = read("ring")[36:68]
    expect(agent("rekey", "--keyring", "ring", *phrase, "--new-passphrase-command", "echo phrase"), DONE, "rekey to the same passphrase")
    ok(read("ring")[36:68] != salt, "draws a new salt")
    for command, says in (("exit 7", b"exit code 7"), ("true", b"empty"), ("echo", b"empty"), ("kill -9 $$", b"signal 9"),
                          ("/nonexistent", b"127"), ("head -c 5000 /dev/zero", b"4096")):
        before = read("ring")
        expect(agent("list", "--keyring", "ring", "--passphrase-command", command), UNUSABLE, f"passphrase command: {command}", says)
    expect(agent("rekey", "--keyring", "ring", *phrase, "--new-passphrase-command", "false"), UNUSABLE, "a failing new command")
    equal(read("ring"), before, "leaves the keyring alone")
    expect(agent("rekey", "--keyring", "ring", *phrase, "--new-key-file", "kek2"), DONE, "back to a key file")


def openssl_configuration():
    """An administrator's choice of providers is kept."""
    fresh()
    sections = "openssl_conf = o\n[o]\nproviders = p\nalg_section = a\n[p]\n%s = s\n[s]\nactivate = 1\n[a]\n%s"
    for provider, properties, code in (("default", "", DONE), ("null", "", UNUSABLE),
                                       ("default", "default_properties = fips=yes\n", UNUSABLE),
                                       ("default", "default_properties = provider=default\n", DONE)):
        write("openssl.cnf", (sections % (provider, properties)).encode())
        listed = on_ring("list", env={**os.environ, "OPENSSL_CONF": "openssl.cnf"})
        expect(listed, code, f"with the provider {provider} and {properties.strip() or 'no properties'}")


def on_terminal(arguments, *answers):
    """Runs the program on a terminal of its own; its exit code and all that the terminal showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(PROGRAM, [PROGRAM, *arguments])
    shown = b""
    answers = list(answers)
    while True:
        try:
            got = os.read(terminal, 1000)
        except OSError:
            break
        shown += got
        if answers and shown.endswith(b": "):
            while termios.tcgetattr(terminal)[3] & termios.ECHO:
                time.sleep(0.001)
            os.write(terminal, answers.pop(0) + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def prompts():
    ring = ("--keyring", "asked")
    code, shown = on_terminal(["init", *ring], b"one", b"two")
    ok(code == UNUSABLE and not os.path.exists("asked"), "two different new passphrases", shown)
    code, shown = on_terminal(["init", *ring], b"open sesame", b"open sesame")
    ok(code == DONE and shown.count(b"New passphrase") == 2, "init asks twice", shown)
    ok(b"sesame" not in shown, "without an echo", shown)
    code, shown = on_terminal(["create", *ring, "a"], b"open sesame")
    ok(code == DONE and shown.count(b"Passphrase") == 1 and b"sesame" not in shown, "create asks once", shown)
    code, shown = on_terminal(["list", *ring], b"wrong")
    ok(code == UNUSABLE and b"another unlock key" in shown, "a wrong passphrase", shown)
    code, shown = on_terminal(["list", *ring], b"")
    ok(code == UNUSABLE and b"empty" in shown, "an empty passphrase", shown)
    code, shown = on_terminal(["list", *ring], b"\x03")
    ok(code == UNUSABLE and b"no passphrase" in shown, "an interrupt", shown)
    expect(agent("list", *ring, "--passphrase-command", "echo open sesame"), DONE, "a command gives the same passphrase")
    expect(agent("list", *ring, input=b"open sesame\n", start_new_session=True), UNUSABLE, "no terminal to ask on", b"--passphrase-command")
    asking = "stty -echo < /dev/tty; printf 'Word: ' > /dev/tty; read -r word < /dev/tty; echo \"$word\""
    code, shown = on_terminal(["list", *ring, "--passphrase-command", asking], b"open sesame")
    ok(code == DONE and b"Word: " in shown and b" 1 " in shown, "a command may ask on the terminal", shown)
    code, shown = on_terminal(["list", *ring, "--passphrase-command", "sleep 1000", "--passphrase-timeout", "1"])
    ok(code == UNUSABLE and b"within 1 s" in shown, "but not for ever", shown)
    code, shown = on_terminal(["rekey", *ring], b"open sesame", b"closed", b"closed")
    ok(code == DONE, "rekey asks for the old and the new", shown)
    expect(agent("list", *ring, "--passphrase-command", "echo closed"), DONE, "the new passphrase opens it")
    code, shown = on_terminal(["list", *RING], b"never asked")
    ok(b"assphrase" not in shown, "nobody is asked where there is a key file", shown)


for test in (command_line, environment, init, life_of_a_key, imports, identifiers, purposes, rekey, openssl_configuration, prompts):
    print(f"# {test.__name__}", flush=True)
    test()
finish()
