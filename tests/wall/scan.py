#!/usr/bin/python3
"""scan.py PID WORD...: looks for the words in the whole memory of a process.

A word that begins with hex: is bytes. Prints, as JSON, for each word how often it stands there, and how often outside of memory that is locked and left out of
core dumps (VmFlags lo and dd).
"""
import json
import re
import sys


def regions(pid):
    """(from, to, locked and not dumped) of each readable mapping."""
    found = []
    with open("/proc/%s/smaps" % pid) as f:
        for line in f:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line)
            if head:
                found.append([int(head[1], 16), int(head[2], 16), head[3], head[4].strip(), False])
            elif line.startswith("VmFlags:"):
                flags = line.split()[1:]
                found[-1][4] = "lo" in flags and "dd" in flags
    return [(a, b, safe) for a, b, mode, name, safe in found if mode[0] == "r" and name not in ("[vvar]", "[vsyscall]")]


def main():
    pid = sys.argv[1]
    words = {w: bytes.fromhex(w[4:]) if w.startswith("hex:") else w.encode() for w in sys.argv[2:]}
    found = {w: {"found": 0, "unsafe": 0} for w in words}
    with open("/proc/%s/mem" % pid, "rb", buffering=0) as mem:
        for start, end, safe in regions(pid):
            try:
                mem.seek(start)
                data = mem.read(end - start)
            except (OSError, ValueError):
                continue
            for word, value in words.items():
                n = data.count(value)
                found[word]["found"] += n
                found[word]["unsafe"] += 0 if safe else n
    print(json.dumps(found))


main()
