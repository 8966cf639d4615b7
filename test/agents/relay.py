#!/usr/bin/python3
"""A key agent that hands requests on to another one: relay.py FOLDER COMMAND…

It does what FOLDER/plan says, if that is there: VERB NUMBER ACT, about the NUMBER-th request of that
verb, or each where that is 0, which the other agent has answered by then. Acts:

    kill           kills the server's process that it serves, and does not answer
    kill-early     the same, and the other agent has not heard of the request
    kill-soon MS   answers, and kills it after so many milliseconds
    die            kills itself, and does not answer
    fail CODE      answers with that error
    spoil          changes the last byte of the answer
    garble         changes each byte of the answer
    cut N          the answer without its last N bytes
    extend N       the answer with N bytes more
    repeat         gives the answer to the request before
    hang           answers nothing more
    await          makes FOLDER/reached, and answers when FOLDER/go is there
    add-line WORD… the list with this line, too
    no-lines       an empty list
    as-destroyed   the list, with every version as a destroyed one
    hide WORD…     the answer without these words: of hello, without the capabilities
"""
import os, pathlib, signal, subprocess, sys, threading, time

folder = pathlib.Path(sys.argv[1])
plan = (folder / "plan").read_text().split() if (folder / "plan").exists() else ["", "0", ""]
agent = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
source, sink = os.fdopen(0, "rb", 65536), os.fdopen(1, "wb", 65536)
server = os.getppid()


def frame(stream):
    """The words of a line, and its body."""
    line = stream.readline()
    words = line.decode("ascii").split()
    return words, stream.read(int(words[2])) if words else b""


def send(stream, words, body):
    words[2] = str(len(body))
    stream.write(" ".join(words).encode("ascii") + b"\n" + body)
    stream.flush()


def kill_server():
    os.kill(server, signal.SIGKILL)


def act(words, body, before):
    """What is answered instead; None for nothing."""
    what, *argument = plan[2:]
    if what == "kill":
        kill_server()
        return None
    if what == "kill-soon":
        threading.Timer(float(argument[0]) / 1000, kill_server).start()
    if what == "await":
        (folder / "reached").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
    if what == "die":
        agent.kill()
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "fail":
        return ["error", words[1], "0", argument[0]], b""
    if what == "add-line":
        return words[:3] + [str(int(words[3]) + 1)], body + " ".join(argument).encode() + b"\n"
    if what == "as-destroyed":
        return words, body.replace(b" enabled ", b" destroyed ").replace(b" disabled ", b" destroyed ")
    if what == "no-lines":
        return words[:3] + ["0"], b""
    if what == "hide":
        return [word for word in words if word not in argument], body
    if what == "spoil":
        return words, body[:-1] + bytes([body[-1] ^ 1])
    if what == "garble":
        return words, bytes(byte ^ 0x55 for byte in body)
    if what == "cut":
        return words, body[: -int(argument[0])]
    if what == "extend":
        return words, body + bytes(int(argument[0]))
    if what == "repeat":
        return [words[0], words[1], "0"] + before[0][3:], before[1]
    if what == "hang":
        source.read()
        return None
    return words, body


count, before = 0, ([], b"")
while (request := frame(source))[0]:
    count += request[0][0] == plan[0]
    planned = request[0][0] == plan[0] and int(plan[1]) in (count, 0)
    if planned and plan[2] == "kill-early":
        kill_server()
        break
    send(agent.stdin, *request)
    answer = frame(agent.stdout)
    said = act(*answer, before) if planned else answer
    if said:
        send(sink, *said)
    before = answer
agent.stdin.close()
