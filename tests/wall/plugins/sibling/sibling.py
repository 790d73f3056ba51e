#!/usr/bin/python3
"""wait: be there for a while, and count. attack: what can be done to that process from outside of its domain."""
import errno
import json
import os
import resource
import signal
import socket
import sys
import time

NAME = "\0ductile-test-sibling"


def attempt(fn, *args):
    try:
        fn(*args)
        return "allowed"
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e.errno))


def connect():
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(NAME)


def environ(pid):
    with open("/proc/%d/environ" % pid, "rb") as f:
        f.read(1)


def wait(payload):
    seen = []
    signal.signal(signal.SIGUSR1, lambda *_: seen.append("signal"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(NAME)
        listener.listen()
        listener.setblocking(False)
        end = time.monotonic() + payload["seconds"]
        while time.monotonic() < end and not os.path.exists(payload["until"]):
            time.sleep(0.05)
            try:
                listener.accept()[0].close()
                seen.append("connection")
            except BlockingIOError:
                pass
    return sorted(set(seen))


def attack(payload):
    pid = payload["pid"]
    return {"signal": attempt(os.kill, pid, signal.SIGUSR1), "abstract": attempt(connect), "environ": attempt(environ, pid),
            "prlimit": attempt(resource.prlimit, pid, resource.RLIMIT_NOFILE)}


request = json.load(sys.stdin)
payload = request["payload"]
print(json.dumps({"status": "ok", "result": wait(payload) if payload["mode"] == "wait" else attack(payload)}))
