#!/usr/bin/python3
"""A caller of the API over TCP who may send any bytes.

    knock.py PORT METHOD PATH [HEADER...]          PORT, or the path of a unix socket; body on standard input; prints the status, then headers and body
    knock.py --time PORT N METHOD PATH HEADER...   asks for each path with its header in turn, N times; prints each median, in us
    knock.py --hold PORT N                         opens N connections, says so, and keeps them until its input ends
"""
import socket
import statistics
import sys
import time


def dial(port):
    if port.startswith("/"):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        s.connect(port)
        return s
    return socket.create_connection(("127.0.0.1", int(port)), timeout=20)


def ask(port, method, path, headers, body):
    head = "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" % (method, path)
    head += "".join(h + "\r\n" for h in headers)
    if not any(h.lower().startswith(("content-length:", "transfer-encoding:")) for h in headers):
        head += "Content-Length: %d\r\n" % len(body)
    with dial(port) as s:
        answer = b""
        try:
            s.sendall(head.encode("latin-1") + b"\r\n" + body)
        except OSError:
            pass  # it answered, and hung up, before it had everything
        try:
            while piece := s.recv(65536):
                answer += piece
        except OSError:
            pass
    return answer.decode("latin-1")


def main():
    if sys.argv[1] == "--time":
        port, n, method, pairs = sys.argv[2], int(sys.argv[3]), sys.argv[4], list(zip(sys.argv[5::2], sys.argv[6::2]))
        took = [[] for _ in pairs]
        for _ in range(n):
            for i, (path, h) in enumerate(pairs):
                began = time.perf_counter()
                ask(port, method, path, [h] if h else [], b"{}")
                took[i].append((time.perf_counter() - began) * 1e6)
        print(" ".join("%d" % statistics.median(t) for t in took))
        return
    if sys.argv[1] == "--hold":
        kept = []
        for _ in range(int(sys.argv[3])):
            kept.append(dial(sys.argv[2]))
        print("held", flush=True)
        sys.stdin.read()
        return
    answer = ask(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:], sys.stdin.buffer.read())
    head, _, body = answer.partition("\r\n\r\n")
    status = head.split(" ")[1] if " " in head else "none"
    print(status)
    print("\n".join(line for line in head.split("\r\n")[1:] if not line.startswith("Date:")))
    print(body)


main()
