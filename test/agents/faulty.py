#!/usr/bin/python3
"""A key agent that misbehaves as its first argument says, for the tests of the client.

Texts in arguments have Python's escapes; {id} stands for the id of the request, {next} for the one
after it. Every mode without a fault of its own serves:
    echo      the request's body        source N  N bytes of body      sink  the length of the body
    whoami    the identity last told    pid       the agent's process
"""
import hashlib, os, re, select, signal, sys, time

mode, arguments = sys.argv[1], sys.argv[2:]
source, sink = os.fdopen(0, "rb", 65536), os.fdopen(1, "wb", 65536)
CAPABILITIES = "echo source sink whoami pid get encrypt decrypt wrap unwrap describe list ping disable create rotate import"
identity = b""


def text(argument, number=0):
    literal = argument.replace("{id}", str(number)).replace("{next}", str(number + 1))
    return literal.encode("latin-1").decode("unicode_escape").encode("latin-1")


def requests():
    while line := source.readline():
        verb, number, length, *words = line.decode("ascii").rstrip("\n").split(" ")
        yield verb, int(number), words, source.read(int(length))


def send(data):
    sink.write(data)
    sink.flush()


def reply(number, body=b"", words=""):
    send(f"ok {number} {len(body)} {words}".rstrip().encode() + b"\n" + body)


def refuse(number, code, why=b""):
    send(f"error {number} {len(why)} {code}\n".encode() + why)


def hello(number, body, capabilities=CAPABILITIES + " identify", about=b"agent=faulty/1\n"):
    global identity
    identity = body
    reply(number, about, "kms/1 " + capabilities)


def serve_one(verb, number, words, body):
    global identity
    if verb == "hello":
        hello(number, body)
    elif verb == "identify":
        identity = body
        reply(number)
    elif verb in ("echo", "ping"):
        reply(number, body)
    elif verb == "source":
        reply(number, bytes(int(words[0])))
    elif verb == "sink":
        reply(number, str(len(body)).encode())
    elif verb == "whoami":
        reply(number, identity)
    elif verb == "pid":
        reply(number, str(os.getpid()).encode())
    else:
        refuse(number, "unsupported", b"not served")


def serve(act=lambda *request: False):
    """Serves each request but those that `act` takes care of."""
    for request in requests():
        if request[0].startswith("zz") or not act(*request):
            serve_one(*request)


def normal():
    serve()


def say():  # instead of the answers to the first requests: say TEXT…
    texts = list(arguments)

    def act(verb, number, words, body):
        if verb == "hello" or not texts:
            return False
        send(text(texts.pop(0), number))
        return True

    serve(act)


def say_and_exit():
    def act(verb, number, words, body):
        if verb != "hello":
            send(text(arguments[0], number))
            os._exit(int(arguments[1]))

    serve(act)


def greet():  # greet TEXT: the answer to hello
    def act(verb, number, words, body):
        if verb == "hello":
            send(text(arguments[0], number))
            return True

    serve(act)


def offer():  # offer CAPABILITIES ABOUT
    def act(verb, number, words, body):
        if verb == "hello":
            hello(number, body, arguments[0], text(arguments[1]))
            return True

    serve(act)


def leave():  # leave STATUS TEXT, without a word of the protocol
    sys.stderr.write(text(arguments[1]).decode())
    sys.exit(int(arguments[0]))


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    """Reads nothing more, and ends when nobody holds the input any more."""
    ends = select.poll()
    ends.register(0, 0)
    ends.poll()
    os._exit(0)


def close_output():
    os.close(1)
    time.sleep(30)


def silent():
    for _ in requests():
        pass


def late():  # late SECONDS: the first answer after the handshake
    waits = [float(arguments[0])]

    def act(verb, number, words, body):
        if verb != "hello" and waits:
            time.sleep(waits.pop())

    serve(act)


def slow():  # byte by byte
    def act(verb, number, words, body):
        if verb != "hello":
            for byte in f"ok {number} {len(body)}\n".encode() + body:
                send(bytes([byte]))
                time.sleep(0.0005)
            return True

    serve(act)


def flood():  # flood BYTES, on standard error before each answer
    line = b"x" * 99 + b"\n"

    def act(verb, number, words, body):
        for _ in range(int(arguments[0]) // 100):
            os.write(2, line)

    serve(act)


def endless():  # never answers, writes to standard error for ever
    def act(verb, number, words, body):
        while verb != "hello":
            os.write(2, b"y" * 99 + b"\n")

    serve(act)


def grumble():  # grumble TEXT, on standard error before each answer
    serve(lambda *_: os.write(2, text(arguments[0])) < 0)


def close_errors():
    os.close(2)
    serve()


def stubborn():  # ends neither on end of input nor on TERM
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve()
    time.sleep(60)


def ignore_end():
    serve()
    time.sleep(60)


def grandchild():  # a child that holds the pipes outlives the agent
    def act(verb, number, words, body):
        if verb != "hello":
            if os.fork() == 0:
                time.sleep(float(arguments[0]))
            os._exit(3)

    serve(act)


def unordered():  # answers in turns of N, the last first
    held = []

    def act(verb, number, words, body):
        if verb == "hello":
            hello(number, body, CAPABILITIES + " unordered")
            return True
        held.append((verb, number, words, body))
        if len(held) == int(arguments[0]):
            while held:
                serve_one(*held.pop())
        return True

    serve(act)


def lose():  # lose WORDS ABOUT SECONDS: never answers the body "lost", and all others after that time
    def act(verb, number, words, body):
        if verb == "hello":
            hello(number, body, f"{CAPABILITIES} {arguments[0]}", text(arguments[1]))
            return True
        time.sleep(float(arguments[2]))
        if body != b"lost" and verb == "decrypt":
            reply(number, body[int(words[1]):])
        return body == b"lost" or verb == "decrypt"

    serve(act)


def in_turns(turn, verbs, answer, about=b"agent=faulty/1\n"):
    """Serves `verbs` by answer(); with a turn of N above 0 N requests at a time, the last first, but
    describe, which is asked alone, at once."""
    held = []

    def act(verb, number, words, body):
        if verb == "hello":
            hello(number, body, CAPABILITIES + " unordered" * (turn > 0), about)
        elif verb in verbs and verb == "describe":
            answer(verb, number, words, body)
        elif verb in verbs:
            held.append((verb, number, words, body))
            if len(held) >= turn:
                for request in reversed(held):
                    answer(*request)
                held.clear()
        return verb in ("hello", *verbs)

    serve(act)


def values():  # values [N [ABOUT]]: what looks sealed, data with a '.', or as it says; in turns of N, the last first
    turn = int(arguments[0]) if arguments else 0
    about = "".join(line + "\n" for line in ["agent=faulty/1", *arguments[1:]]).encode()

    def answer(verb, number, words, body):
        data = body[int(words[1]):]
        if data == b"!die":
            die()
        elif data == b"!hang":
            hang()
        elif data == b"!empty":
            reply(number)
        elif data == b"!plain":
            reply(number, data)
        elif data == b"!short":
            reply(number, in_looks(data[1:]))
        elif data.startswith(b"!"):
            refuse(number, data[1:].decode())
        else:
            reply(number, in_looks(data) if verb == "encrypt" else data + b".")

    def in_looks(data):  # as AES-SIV has it
        return b"\x02" + b"the  tag" + data + 16 * b"."

    in_turns(turn, ("encrypt", "decrypt"), answer, about)


def keys():  # keys [N [VERB=FAULT…]]: get, wrap and unwrap, in turns of N; "!FAULT" as the key's name or data
    turn = int(arguments[0]) if arguments else 0
    faults = dict(argument.split("=") for argument in arguments[1:])

    def result(verb, words, body):
        if verb == "get":
            return hashlib.sha256(words[0].encode()).digest()
        end = int(words[1])
        mark = b"<" + body[:end] + b">"
        if verb == "wrap":
            return mark + body[end:]
        return body[end:].removeprefix(mark) if body[end:].startswith(mark) else None

    def fault_of(verb, words, body):
        asked = words[0].encode() if verb == "get" else body[int(words[1]):]
        # A random key may begin with a '!' too.
        return asked[1:].decode() if re.fullmatch(b"![a-z-]+", asked) else faults.get(verb)

    def answer(verb, number, words, body):
        if verb == "describe":
            reply(number, b"", "1 xaes-256-gcm 0011223344556677")
            return
        fault, good = fault_of(verb, words, body), result(verb, words, body)
        if fault == "die":
            die()
        elif fault == "hang":
            hang()
        elif fault == "version":
            reply(number, good or b"?", "0")
        elif fault == "newer":
            reply(number, good, "9")
        elif fault == "other":
            reply(number, bytes(byte ^ 1 for byte in good or bytes(32)))
        elif fault == "short":
            reply(number, (good or bytes(32))[:24])
        elif fault == "long":
            reply(number, bytes(2 * len(body) + 5000))
        elif fault == "empty":
            reply(number)
        elif fault or good is None:
            refuse(number, fault or "corrupt")
        else:
            reply(number, good)

    in_turns(turn, ("get", "wrap", "unwrap", "describe"), answer)


def in_flight():  # in_flight N: fails where more than N requests arrive before an answer
    os.set_blocking(0, False)
    most, data = int(arguments[0]), b""
    while True:
        try:
            arrived = os.read(0, 1 << 20)
            if not arrived:
                return
            data += arrived
        except BlockingIOError:
            time.sleep(0.002)
            continue
        waiting = data.split(b"\n")[:-1]
        if data.startswith(b"hello"):
            data = b""
            hello(0, b"", CAPABILITIES, b"max-in-flight=%d\n" % most)
        elif data.endswith(b"\n"):
            data = b""
            for line in waiting:
                number = int(line.split(b" ")[1])
                if len(waiting) > most:
                    refuse(number, "failed", b"too many")
                else:
                    reply(number)


def answer_early():  # as soon as the line is there, before its body
    while line := source.readline():
        verb, number, length, *words = line.decode("ascii").split()
        if verb == "hello":
            hello(0, source.read(int(length)))
        else:
            refuse(number, "failed", b"too large for me")
            time.sleep(0.05)
            source.read(int(length))


def close_input():
    def act(verb, number, words, body):
        if verb == "echo":
            reply(number, body)
            os.close(0)
            time.sleep(30)

    serve(act)


globals()[mode]()
