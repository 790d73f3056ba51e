#!/usr/bin/python3
"""Writes share/doc/proof.md: commit, kernel, Landlock ABI, and a row per line of tests/DONE. Lines on standard input:
`ok NAME`, `not NAME`, `figure TEXT`, as tests/run has them. Exits 1 where a line of DONE names a test that did not run."""
import ctypes
import fnmatch
import os
import platform
import re
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def sections(path):
    """(heading or None, line, patterns, words) for every line of DONE."""
    found = []
    for line in open(path, encoding="utf-8").read().splitlines():
        if line.startswith("## "):
            found.append((line[3:], None, [], []))
        elif line.startswith("- "):
            found.append((None, line[2:], [], []))
        elif line.startswith("= "):
            found[-1][2].append(line[2:])
        elif line.startswith("~ "):
            found[-1][3].append(line[2:])
    return found


def matches(names, pattern):
    return [n for n in names if fnmatch.fnmatchcase(n, re.sub(r"([\[\]?])", r"[\1]", pattern))]


def cell(text):
    return text.replace("|", "\\|")


def main():
    good, bad, figures = set(), set(), []
    for line in sys.stdin.read().splitlines():
        kind, _, rest = line.partition(" ")
        {"ok": good.add, "not": bad.add, "figure": figures.append}[kind](rest)
    commit = subprocess.run(["git", "-C", TOP, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True).stdout.strip()
    dirty = subprocess.run(["git", "-C", TOP, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True).stdout
    changed = [l[3:] for l in dirty.splitlines() if l[3:] != "share/doc/proof.md"]
    out = ["# Proof", "", "Written by `make check-long`. A line holds when every test beside it ran and passed.", "",
           "| | |", "|---|---|", "| commit | `%s`%s |" % (commit, " with uncommitted changes: " + ", ".join(changed) if changed else ""),
           "| date | %s |" % time.strftime("%Y-%m-%d"), "| kernel | %s, %s |" % (platform.release(), platform.machine()),
           "| Landlock ABI | %d |" % ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1),
           "| tests | %d passed, %d failed |" % (len(good), len(bad))]
    missing = []
    for heading, line, patterns, words in sections(TOP + "/tests/DONE"):
        if heading:
            out += ["", "## " + heading, "", "| promise | holds | tests | seen |", "|---|---|---|---|"]
            continue
        passed, failed = [], []
        for pattern in patterns:
            ran = matches(good | bad, pattern)
            if not ran:
                missing.append("%s: no test is called %s" % (line[:60], pattern))
            passed += [n for n in ran if n in good]
            failed += [n for n in ran if n in bad]
        lacking = [m for m in missing if m.startswith(line[:60])]
        holds = "**no**" if failed or lacking else "yes"
        seen = [f for f in figures if any(w in f for w in words)]
        out.append("| %s | %s | %s | %s |" % (cell(line), holds, "<br>".join("`%s`" % cell(p) for p in patterns) +
                                             "".join("<br>FAILED %s" % cell(n) for n in failed),
                                             "<br>".join([cell(f) for f in seen] + ["%d tests passed" % len(set(passed))])))
    with open(TOP + "/share/doc/proof.md", "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")
    print("\n".join("not ok - " + m for m in missing))
    sys.exit(1 if missing else 0)


main()
