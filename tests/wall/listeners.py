#!/usr/bin/python3
"""listeners.py PORT...: accepts TCP and takes UDP on every loopback address, IPv4 and IPv6, until it is ended."""
import socket
import sys
import threading


def serve(family, address, port):
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.bind((address, port))
    tcp = socket.create_server((address, port), family=family, backlog=128)
    return udp, tcp


def accept(tcp):
    while True:
        tcp.accept()[0].close()


open_sockets = [serve(f, a, int(p)) for p in sys.argv[1:] for f, a in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1"))]
for _, listener in open_sockets:
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
