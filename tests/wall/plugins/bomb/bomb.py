#!/usr/bin/python3
"""Takes what the payload's mode says, and answers how far it came.

forks N       starts processes until it may not, at most N
memory MIB    fills memory until it may not, at most MIB
sockets       which families of sockets it may make, and io_uring
read PATH...  which of these it may open for reading
tmp           leaves files in TMPDIR
"""
import ctypes
import errno
import json
import os
import platform
import signal
import socket
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)


def forks(most):
    children, stopped = [], None
    while len(children) < most and stopped is None:
        try:
            pid = os.fork()
        except OSError as e:
            stopped = errno.errorcode[e.errno]
            break
        if pid == 0:
            time.sleep(600)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return {"started": len(children), "stopped": stopped}


def memory(most):
    blocks, stopped = [], None
    try:
        while len(blocks) < most:
            blocks.append(bytearray(b"x") * (1 << 20))
    except MemoryError:
        stopped = "ENOMEM"
    n = len(blocks)
    del blocks
    return {"mib": n, "stopped": stopped}


def sockets():
    found = {}
    for name in ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"):
        try:
            socket.socket(getattr(socket, name), socket.SOCK_DGRAM if name != "AF_NETLINK" else socket.SOCK_RAW).close()
            found[name] = "allowed"
        except OSError as e:
            found[name] = errno.errorcode[e.errno]
    nr = {"x86_64": 425, "aarch64": 425}[platform.machine()]
    params = (ctypes.c_char * 512)()
    fd = libc.syscall(nr, 4, params)
    found["io_uring"] = "allowed" if fd >= 0 else errno.errorcode[ctypes.get_errno()]
    return found


def read(paths):
    found = {}
    for path in paths:
        try:
            os.close(os.open(path, os.O_RDONLY))
            found[path] = "allowed"
        except OSError as e:
            found[path] = errno.errorcode[e.errno]
    return found


request = json.load(sys.stdin)
payload = request.get("payload", {})
mode = payload["mode"]
if mode == "forks":
    result = forks(payload["n"])
elif mode == "memory":
    result = memory(payload["mib"])
elif mode == "sockets":
    result = sockets()
elif mode == "read":
    result = read(payload["paths"])
elif mode == "tmp":
    name = os.environ["TMPDIR"] + "/left-" + str(request["job_id"])
    os.makedirs(name + "/closed/deeper")
    os.chmod(name + "/closed", 0)
    result = len(os.listdir(os.environ["TMPDIR"]))
print(json.dumps({"status": "ok", "result": result}))
