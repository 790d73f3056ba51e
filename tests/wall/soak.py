#!/usr/bin/python3
"""Runs N jobs through the gateway's socket, a few at a time, and says what the warden had before and after.

    soak.py SOCKET PLUGIN N WARDEN_PID SLOT_CGROUPS_DIR|-

Prints JSON: jobs, seconds, and of the warden before and after: rss_kib (locked memory aside), fds, zombies, children,
cgroups, pipes of the whole host, files in its temporary directories."""
import glob
import json
import os
import socket
import sys
import time


def call(path, method, target, body=""):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    s.sendall(("%s %s HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (method, target, len(body), body)).encode())
    answer = b""
    while chunk := s.recv(65536):
        answer += chunk
    s.close()
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])


def status(pid, key):
    for line in open("/proc/%d/status" % pid):
        if line.startswith(key + ":"):
            return int(line.split()[1])
    return 0


def look(pid, cgroups):
    children = open("/proc/%d/task/%d/children" % (pid, pid)).read().split()
    zombies = 0
    for child in children:
        try:
            zombies += open("/proc/%s/stat" % child).read().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            pass
    return {"rss_kib": status(pid, "VmRSS") - status(pid, "VmLck"), "fds": len(os.listdir("/proc/%d/fd" % pid)), "zombies": zombies,
            "children": len(children), "cgroups": len(glob.glob(cgroups + "/slot-*")) if cgroups != "-" else 0,
            "temp": sorted(glob.glob("/tmp/*ductile*") + glob.glob("/dev/shm/*ductile*"))}


def main():
    path, plugin, n, pid, cgroups = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    began, sent, high = time.monotonic(), 0, 0

    def drain(below):
        while True:
            waiting = [call(path, "GET", "/jobs?limit=1&state=" + s)["jobs"] for s in ("queued", "running")]
            if not any(waiting):
                return
            if waiting[0] and sent - waiting[0][0]["id"] > -1 and below and sum(map(len, waiting)) < below:
                return
            time.sleep(0.01)

    warm = min(200, n // 2)
    for i in range(n):
        high = call(path, "POST", "/plugin/%s/poll" % plugin, "{}")["job_id"]
        sent += 1
        if sent == warm:
            drain(0)
            time.sleep(0.5)
            before = look(pid, cgroups)
        elif sent % 200 == 0:
            drain(0)
    drain(0)
    time.sleep(1)
    print(json.dumps({"jobs": n, "last": high, "seconds": round(time.monotonic() - began, 1), "before": before, "after": look(pid, cgroups)}))


main()
