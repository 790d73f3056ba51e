#!/usr/bin/python3
"""Connects everywhere it can think of, and says what it got."""
import ctypes
import errno
import json
import os
import socket
import sys
import time

INET, INET6, TCP, UDP = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
IO_URING_SETUP = 425


def attempt(fn, *args):
    try:
        return fn(*args)
    except TimeoutError:
        return "timed out"
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e.errno))


def connect(family, address, port):
    with socket.socket(family, TCP) as s:
        s.settimeout(5)
        s.connect((address, port))
    return "connected"


def send(family, address, port):
    with socket.socket(family, UDP) as s:
        s.sendto(b"x", (address, port))
    return "sent"


def make(family, kind, protocol=0):
    socket.socket(family, kind, protocol).close()
    return "made"


def listen(port):
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(3)
        listener.accept()
    return "visited"


def io_uring():
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(ctypes.c_long(IO_URING_SETUP), ctypes.c_long(1), ctypes.create_string_buffer(120))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")
    os.close(fd)
    return "made"


request = json.load(sys.stdin)
result, slowest = {}, 0
if "listen" in request["payload"]:
    result["listen"] = attempt(listen, request["payload"]["listen"])
for port in request["payload"].get("ports", []):
    for family, address in ((INET, "127.0.0.1"), (INET, "127.1.2.3"), (INET6, "::1")):
        began = time.monotonic()
        result["tcp %s %d" % (address, port)] = attempt(connect, family, address, port)
        slowest = max(slowest, time.monotonic() - began)
    result["mapped %d" % port] = attempt(connect, INET6, "::ffff:127.0.0.1", port)
    result["udp 127.0.0.1 %d" % port] = attempt(send, INET, "127.0.0.1", port)
result.update(vsock=attempt(make, 40, TCP), smc=attempt(make, 43, TCP), mptcp=attempt(make, INET, TCP, 262),
              ipproto_smc=attempt(make, INET, TCP, 256), io_uring=attempt(io_uring), slowest=slowest)
print(json.dumps({"status": "ok", "result": result}))
