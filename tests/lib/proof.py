#!/usr/bin/python3
"""Writes share/doc/proof.md: commit, kernel, Landlock ABI, and a row per line of tests/DONE. On standard input the cases
that tests/run ran: {"SUITE:CASE": {"good": [...], "bad": [...], "figures": [...]}}. They are kept in share/doc/proof.json,
each with the commit it was seen on, so that one case can be run again without all the others, on another machine too.
Exits 1 where a line of DONE names a test that did not run."""
import collections
import ctypes
import fnmatch
import functools
import json
import os
import platform
import re
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KEPT = TOP + "/share/doc/proof.json"


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


def git(*args):
    return subprocess.run(["git", "-C", TOP, *args], capture_output=True, text=True).stdout


@functools.cache
def expected():
    with open(TOP + "/tests/EXPECTED", encoding="utf-8") as f:
        return f.read().splitlines()


def shortened(names):
    """The names, or the one pattern that stands for exactly them."""
    pattern = os.path.commonprefix(names) + "*"
    return [pattern] if len(names) > 1 and sorted(matches(expected(), pattern)) == sorted(names) else sorted(names)


def keep(records):
    """Notes what ran now; returns what was seen of every case, the latest of each. A case whose tests are others by now
    has to run again: what was seen of it is dropped."""
    try:
        with open(KEPT, encoding="utf-8") as f:
            kept = json.load(f)
    except FileNotFoundError:
        kept = {}
    commit = git("rev-parse", "--short=12", "HEAD").strip()
    changed = [l[3:] for l in git("status", "--porcelain", "--untracked-files=no").splitlines() if not l[3:].startswith("share/doc/proof.")]
    for name, record in records.items():
        kept[name] = {"commit": "`%s`%s" % (commit, " with uncommitted changes: " + ", ".join(changed) if changed else ""),
                      "tests": len(record["good"]), "good": shortened(record["good"]), "bad": record["bad"], "figures": record["figures"]}
    seen = {}
    for name, record in kept.items():
        good = sorted({n for pattern in record["good"] for n in matches(expected(), pattern)} - set(record["bad"]))
        if len(good) == record["tests"]:
            seen[name] = {**record, "good": good}
    with open(KEPT, "w", encoding="utf-8") as f:
        f.write("{\n" + ",\n".join("%s: %s" % (json.dumps(n), json.dumps(kept[n])) for n in sorted(seen)) + "\n}\n")
    return list(seen.values())


def at(commits, all_commits):
    return "" if len(all_commits) == 1 or not commits else " at " + ", ".join(sorted(commits))


def main():
    good, bad, figures, commits, commit_of = set(), set(), [], collections.Counter(), {}
    for record in keep(json.load(sys.stdin)):
        good.update(record["good"])
        bad.update(record["bad"])
        commit_of.update(dict.fromkeys(record["good"], record["commit"]))
        figures += record["figures"]
        commits[record["commit"]] += len(record["good"]) + len(record["bad"])
    out = ["# Proof", "", "Written by `make check-long`. A line holds when every test beside it ran and passed.", "",
           "| | |", "|---|---|", *("| commit | %s: %d tests |" % pair for pair in commits.most_common()),
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
            lacking = set(matches(expected(), pattern)) - set(ran)
            if ran and lacking:
                missing.append("%s: %d tests of %s did not run" % (line[:60], len(lacking), pattern))
            passed += [n for n in ran if n in good]
            failed += [n for n in ran if n in bad]
        lacking = [m for m in missing if m.startswith(line[:60])]
        holds = "**no**" if failed or lacking else "yes"
        seen = [f for f in figures if any(w in f for w in words)]
        out.append("| %s | %s | %s | %s |" % (cell(line), holds, "<br>".join("`%s`" % cell(p) for p in patterns) +
                                             "".join("<br>FAILED %s" % cell(n) for n in failed),
                                             "<br>".join([cell(f) for f in seen] + ["%d tests passed" % len(set(passed)) + at({commit_of[n] for n in passed}, commits)])))
    with open(TOP + "/share/doc/proof.md", "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")
    print("\n".join("not ok - " + m for m in missing))
    sys.exit(1 if missing else 0)


main()
