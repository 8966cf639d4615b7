#!/usr/bin/python3
"""Many requests at once: kms-agent answers them in order, at once, and in bounded memory either way."""

import os
import select
import subprocess
import threading
import time

from support import *

MEGABYTE = 1 << 20


class Pipeline:
    """A running agent with a key, of either end of whose pipes any use may be made."""

    def __init__(self):
        self.process = subprocess.Popen([PROGRAM, "serve", "--ephemeral"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.give(HELLO + frame("create", 1, "k xaes-256-gcm"))
        self.replies = self.process.stdout
        self.take(2)

    def give(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def give_aside(self, requests):
        """Writes while somebody else reads."""
        writer = threading.Thread(target=lambda: [self.give(request) for request in requests])
        writer.start()
        return writer

    def take_one(self):
        words = self.replies.readline().decode().split()
        return words[0], int(words[1]), words[3:], self.replies.read(int(words[2]))

    def take(self, count):
        return [self.take_one() for _ in range(count)]

    def is_silent(self):
        """Nothing comes though time is given."""
        os.set_blocking(self.replies.fileno(), False)
        time.sleep(0.3)
        nothing = not self.replies.peek(1)
        os.set_blocking(self.replies.fileno(), True)
        return nothing

    def memory(self):
        """The most that it has ever held, in bytes."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024

    def end(self):
        self.process.stdin.close()
        self.replies.close()
        return self.process.wait()


def many_small():
    agent = Pipeline()
    before = agent.memory()
    count = 100_000
    values = [number.to_bytes(32, "big") for number in range(count)]
    began = time.monotonic()
    writer = agent.give_aside([b"".join(frame("encrypt", 2 + i, "k 0", value) for i, value in enumerate(values))])
    sealed = agent.take(count)
    writer.join()
    print(f"# {count / (time.monotonic() - began):.0f} a second, Python included")
    ok(all(reply[:2] == ("ok", 2 + i) for i, reply in enumerate(sealed)), "100,000 encrypt requests at once: all are answered, in order")
    equal(len({reply[3][:33] for reply in sealed}), count, "no two nonces are the same")
    writer = agent.give_aside([b"".join(frame("decrypt", count + 2 + i, "k 0", reply[3]) for i, reply in enumerate(sealed))])
    opened = agent.take(count)
    writer.join()
    ok([reply[3] for reply in opened] == values, "100,000 decrypt requests at once: all come back")
    ok(agent.memory() - before < 8 * MEGABYTE, "in little memory", agent.memory() - before)
    equal(agent.end(), DONE, "and it ends well")


def many_large():
    agent = Pipeline()
    before = agent.memory()
    body = os.urandom(4 * MEGABYTE)
    writer = agent.give_aside(frame("encrypt", 2 + i, "k 7", b"context" + body) for i in range(40))
    good = all(reply[:2] == ("ok", 2 + i) and len(reply[3]) == len(body) + 49
               for i, reply in ((i, agent.take_one()) for i in range(40)))
    writer.join()
    ok(good, "40 requests of 4 MiB at once")
    ok(agent.memory() - before < 40 * MEGABYTE, "hold the memory of a few of them", agent.memory() - before)
    writer = agent.give_aside([b"nosuchverb 50 %d\n" % (100 * MEGABYTE)] + [bytes(MEGABYTE)] * 100 + [frame("ping", 51, "")])
    first, second = agent.take(2)
    writer.join()
    equal((first[:2], first[2], second[:2]), (("error", 50), ["unsupported"], ("ok", 51)), "100 MiB behind an unknown verb are read away")
    ok(agent.memory() - before < 40 * MEGABYTE, "and not held", agent.memory() - before)
    equal(agent.end(), DONE, "and it ends well")


def nobody_reads():
    agent = Pipeline()
    before = agent.memory()
    os.set_blocking(agent.process.stdin.fileno(), False)
    requests = memoryview(b"".join(frame("encrypt", 2 + i, "k 0", bytes(1000)) for i in range(100_000)))
    sent = 0
    while select.select([], [agent.process.stdin], [], 1)[1]:
        sent += os.write(agent.process.stdin.fileno(), requests[sent:sent + 65536])
    ok(sent < 4 * MEGABYTE, "an agent whose replies nobody reads stops reading", sent)
    ok(agent.memory() - before < 8 * MEGABYTE, "and does not hold them", agent.memory() - before)
    os.set_blocking(agent.process.stdin.fileno(), True)
    writer = agent.give_aside([requests[sent:]])
    replies = agent.take(100_000)
    writer.join()
    ok(all(reply[:2] == ("ok", 2 + i) for i, reply in enumerate(replies)), "none is lost when they are read at last")
    equal(agent.end(), DONE, "and it ends well")


def at_once():
    agent = Pipeline()
    agent.give(frame("ping", 2, "") + frame("ping", 3, "") + frame("encrypt", 4, "k 0", b"whole")[:-1])
    equal([reply[1] for reply in agent.take(2)], [2, 3], "two whole requests are answered while a third is not whole")
    ok(agent.is_silent(), "which is not")
    agent.give(b"e")
    equal(agent.take_one()[:2], ("ok", 4), "until it is")
    agent.give(frame("ping", 5, "") + frame("encrypt", 6, "k 0", b"last"))
    agent.process.stdin.close()
    equal([reply[1] for reply in agent.take(2)], [5, 6], "what is in hand at the end of the input is finished")
    agent.replies.close()
    equal(agent.process.wait(), DONE, "and the agent ends")


for test in (many_small, many_large, nobody_reads, at_once):
    print(f"# {test.__name__}", flush=True)
    test()
finish()
