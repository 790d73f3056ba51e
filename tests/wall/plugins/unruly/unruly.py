#!/usr/bin/python3
"""A plugin that behaves as payload.mode says.

calm N        sleeps N seconds, then answers ok
stubborn      ignores SIGTERM, starts children that setsid, double-fork and ignore it too, and never ends
leave         answers ok and leaves a daemon behind
hold-stdout   answers ok and leaves a grandchild that holds its stdout open
flood         writes 1 MiB a line until it is stopped
never-read    answers ok without reading its request (asked for by a file of that name in its cwd)
close-stdin   closes its stdin unread, and answers ok a while later (asked for by a file too)
die N         exits with code N after an ok answer
signal        kills itself
garbage       answers something that is not JSON
raw HEX       answers with exactly these bytes
loop          emits an event whose payload is its own
stop-self     SIGSTOPs itself
kill-all      kill(-1, SIGKILL)
fill          fills the file system with one file, or (what: inodes) with many, and answers what stopped it
python        prints what payload.print, a Python expression, is
flood-stderr  writes 100 MiB to its stderr, then answers
flood-gib     writes a GiB to its stdout
drip          writes a byte of its answer every 50 ms
sh            runs payload.sh, answers what it printed
echo          answers with its request (without the values of secrets)
"""
import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import time


def left(tag, ignore=True):
    """A daemon: setsid, double fork, deaf to SIGTERM; its command line carries the tag."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    if ignore:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.execv("/bin/sleep", ["ductile-test-left-" + tag, "600"])


def answer(result):
    sys.stdout.write(json.dumps({"status": "ok", "result": result}))
    sys.stdout.flush()


def fill(what):
    os.makedirs("filler", exist_ok=True)
    n, piece = 0, b"x" * 65536
    try:
        with open("filler/0", "wb", buffering=0) as f:
            while what == "bytes":
                n += f.write(piece)
                piece = piece[:max(1, len(piece) // 2)] if n % 65536 else piece  # to the last byte
        while True:
            n += 1
            open("filler/%d" % n, "w").close()
    except OSError as e:
        return {"n": n, "stopped": errno.errorcode[e.errno]}


def close_standard():
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def main():
    if os.path.exists("never-read"):
        answer("did not read")
        return
    if os.path.exists("close-stdin"):
        os.close(0)
        time.sleep(0.5)
        answer("closed its stdin")
        return
    request = json.load(sys.stdin)
    payload = request.get("payload", {})
    mode, tag = payload.get("mode", "calm"), str(payload.get("tag", request["job_id"]))
    if mode == "calm":
        time.sleep(payload.get("seconds", 0))
        answer({"slept": payload.get("seconds", 0), "uid": os.getuid()})
    elif mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for _ in range(payload.get("children", 3)):
            left(tag)
        os.execv("/bin/sleep", ["ductile-test-left-" + tag, "600"])
    elif mode == "leave":
        pid = os.fork()
        if pid == 0:
            close_standard()
            left(tag)
            os._exit(0)
        os.waitpid(pid, 0)
        answer("left a daemon")
    elif mode == "hold-stdout":
        left(tag)
        answer("somebody holds my stdout")
    elif mode == "flood":
        while True:
            sys.stdout.write("x" * (1 << 20) + "\n")
    elif mode == "die":
        answer("about to exit badly")
        sys.exit(payload["code"])
    elif mode == "signal":
        answer("about to die")
        os.kill(os.getpid(), signal.SIGKILL)
    elif mode == "garbage":
        sys.stdout.write("this is " + payload.get("text", "not JSON"))
    elif mode == "raw":
        sys.stdout.buffer.write(bytes.fromhex(payload["hex"]))
    elif mode == "loop":
        print(json.dumps({"status": "ok", "result": "again", "events": [{"type": payload["type"], "payload": payload}]}))
    elif mode == "stop-self":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif mode == "kill-all":
        os.kill(-1, signal.SIGKILL)
        answer("killed everybody I may")
    elif mode == "fill":
        answer(fill(payload["what"]))
    elif mode == "python":
        sys.stdout.buffer.write(eval(payload["print"]))
    elif mode == "flood-stderr":
        for _ in range(100):
            sys.stderr.write("x" * (1 << 20))
        answer("said a lot")
    elif mode == "flood-gib":
        for _ in range(1024):
            sys.stdout.write("x" * (1 << 20))
    elif mode == "drip":
        for byte in itertools.cycle("{ "):
            print(byte, end="", flush=True)
            time.sleep(0.05)
    elif mode == "sh":
        answer(subprocess.run(["/bin/sh", "-c", payload["sh"]], capture_output=True, text=True).stdout.strip())
    elif mode == "error":
        print(json.dumps({"status": "error", "error": "as asked", "retry": payload.get("retry", True)}))
    elif mode == "emit":
        print(json.dumps({"status": "ok", "result": "emitted", "events": payload["events"],
                          "state_updates": payload.get("state_updates", {})}))
    else:
        request["secrets"] = sorted(request["secrets"])
        answer(request)


main()
