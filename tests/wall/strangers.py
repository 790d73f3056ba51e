#!/usr/bin/python3
"""What strangers do to the API over TCP besides asking.

    strangers.py PORT pipeline SECONDS         webhooks with a wrong signature, without end, on one connection
    strangers.py PORT hoard PATH LENGTH        48 bodies of LENGTH, all but a byte of each; says "held" and keeps them until its input ends
    strangers.py PORT endless PATH HEADER...   a body in chunks without end: prints how many bytes were taken until it was hung up
    strangers.py PORT trickle N                N headers, a byte a second each; says "held", then of each the second it was hung up, at most 40
    strangers.py PORT late PATH TOKEN BODY     headers with a token, then a line of input, then the body: prints the status
    strangers.py PORT idle PATH TOKEN SECONDS  two requests on one connection, SECONDS between them: prints both statuses
"""
import socket
import sys
import time

port, what, args = int(sys.argv[1]), sys.argv[2], sys.argv[3:]


def dial():
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def head(method, path, *headers):
    return "".join([f"{method} {path} HTTP/1.1\r\nHost: x\r\n", *(h + "\r\n" for h in headers), "\r\n"]).encode()


def status(s):
    line = s.recv(65536).split(b" ")
    return line[1].decode() if len(line) > 1 else "none"


def pipeline(seconds):
    body = head("POST", "/hook/nowhere", "X-Hub-Signature-256: sha256=" + "0" * 64, "Content-Length: 2") + b"{}"
    s = dial()
    s.setblocking(False)
    end = time.monotonic() + float(seconds)
    try:
        while time.monotonic() < end:
            for step in (lambda: s.send(body * 20), lambda: s.recv(1 << 16)):
                try:
                    step()
                except BlockingIOError:
                    pass
            time.sleep(0.0005)
    except OSError:
        pass  # it was hung up


def hoard(path, length):
    kept = [dial() for _ in range(48)]
    for s in kept:
        s.settimeout(2)
        try:
            s.sendall(head("GET", path, "Content-Length: " + length) + b"a" * (int(length) - 1))
        except OSError:
            pass  # it is not read, or hung up
    print("held", flush=True)
    sys.stdin.read()


def endless(path, *headers):
    s, taken = dial(), 0
    try:
        s.sendall(head("GET", path, "Transfer-Encoding: chunked", *headers))
        while taken < 64 << 20:
            s.sendall(b"10000\r\n" + b"a" * 65536 + b"\r\n")
            taken += 65536
    except OSError:
        pass
    print(taken)


def trickle(n):
    kept = {}
    for _ in range(int(n)):
        s = dial()
        s.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        s.setblocking(False)
        kept[s] = None
    print("held", flush=True)
    began = time.monotonic()
    while time.monotonic() < began + 40 and None in kept.values():
        time.sleep(1)
        for s in [s for s, at in kept.items() if at is None]:
            try:
                s.send(b"a")
                if s.recv(1) != b"":
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            kept[s] = int(time.monotonic() - began)
    print(*sorted(40 if at is None else at for at in kept.values()), flush=True)


def late(path, token, body):
    s = dial()
    s.sendall(head("POST", path, "Authorization: Bearer " + token, "Content-Length: %d" % len(body)))
    print("waits", flush=True)
    sys.stdin.readline()
    s.sendall(body.encode())
    print(status(s))


def idle(path, token, seconds):
    s, got = dial(), []
    for i in range(2):
        time.sleep(float(seconds) * i)
        s.sendall(head("GET", path, "Authorization: Bearer " + token))
        got.append(status(s))
    print(*got)


{f.__name__: f for f in (pipeline, hoard, endless, trickle, late, idle)}[what](*args)
