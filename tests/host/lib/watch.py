#!/usr/bin/python3
"""Looks, many times a second, until SIGTERM; then prints one JSON line and exits.

    watch.py token FILE HZ DIR...    is the token (from FILE) in any /proc/*/{environ,cmdline}, git config or temp file
    watch.py uid0 UNIT HZ            has any process of the unit uid 0, real, effective, saved or of the file system
"""
import json
import os
import signal
import sys
import time

stop = False


def end(*_):
    global stop
    stop = True


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read(1 << 20)
    except OSError:
        return b""


def files_below(directories):
    for top in directories:
        for path, dirs, names in os.walk(top, onerror=lambda e: None):
            for name in names:
                if name == "config" or path.startswith(("/tmp", "/dev/shm", "/var/tmp")) or "/tmp" in path:
                    yield os.path.join(path, name)


def look_for_token(token, directories, hits):
    me = str(os.getpid())
    for pid in os.listdir("/proc"):
        if pid.isdigit() and pid != me:
            for name in ("environ", "cmdline"):
                if token in read("/proc/%s/%s" % (pid, name)):
                    hits.add("/proc/PID/%s: %s" % (name, read("/proc/%s/comm" % pid).decode().strip()))
    for path in files_below(directories):
        if token in read(path):
            hits.add(path)


def cgroup_of(unit):
    return "/sys/fs/cgroup/system.slice/%s.service" % unit


def look_for_uid0(unit, seen, hits):
    for path, dirs, names in os.walk(cgroup_of(unit), onerror=lambda e: None):
        for pid in read(os.path.join(path, "cgroup.procs")).split():
            try:
                exe = os.readlink("/proc/%s/exe" % pid.decode())
            except OSError:
                continue
            if exe.startswith("/usr/lib/systemd/"):
                continue  # PID 1's own child, which has not yet become the unit's user and exec'd
            for line in read("/proc/%s/status" % pid.decode()).splitlines():
                if line.startswith(b"Uid:"):
                    seen.add(line.split()[2].decode())
                    if b"0" in line.split()[1:]:
                        hits.add("%s %s" % (exe, line.decode()))


def main():
    what, arg, hz = sys.argv[1:4]
    signal.signal(signal.SIGTERM, end)
    hits, seen, samples, began = set(), set(), 0, time.monotonic()
    token = open(arg, "rb").read().strip() if what == "token" else None
    while not stop:
        due = began + (samples + 1) / float(hz)
        if what == "token":
            look_for_token(token, sys.argv[4:], hits)
        else:
            look_for_uid0(arg, seen, hits)
        samples += 1
        pause = due - time.monotonic()
        if pause > 0:
            time.sleep(pause)
    seconds = time.monotonic() - began
    print(json.dumps({"samples": samples, "hz": round(samples / seconds), "hits": sorted(hits), "uids": sorted(seen)}))


main()
