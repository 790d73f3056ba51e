#!/usr/bin/python3
"""Holds the rows of a half that was taken over (tests/popped) against its table in PRIVSEP.md.

    halves.py table HALF ROWS             the same rows, with the same result, denied in the way of the layer
    halves.py opened HALF ROWS LAYER...   the rows that exactly these layers hold were allowed
    halves.py free HALF ROWS              every row was allowed: behind no wall (the wire is not tried; a bus that cannot be read is no wall of the attacker's)

Prints what is wrong and exits 1."""
import json
import os
import re
import sys

from kernel import has_ia32

DOCUMENT = next(p for p in (os.path.dirname(os.path.abspath(__file__)) + "/../../PRIVSEP.md",
                            "/usr/local/share/doc/ductile/PRIVSEP.md") if os.path.exists(p))
DENIALS = {  # how a layer says no; another errno proves something else
    "seccomp": {"EPERM", "ENOSYS"}, "landlock": {"EACCES", "EXDEV"}, "dac": {"EACCES", "EPERM", "EROFS"}, "caps": {"EPERM"}, "nnp": {"EACCES"},
    "wire": {"ECONNREFUSED", "ETIMEDOUT", "EPERM"}, "seals": {"EPERM"}, "never given": {"ENOENT"}, "kernel": {"EPERM"}, "not dumpable": {"EPERM", "EACCES"},
}
UNPROVABLE = {"x32-call"}  # a kernel without such calls says the same; tests/unit/test_wall.c runs the filter instead
if not has_ia32():
    UNPROVABLE |= {"ia32-call", "ia32-setuid"}


def table(half):
    rows, inside = {}, False
    for line in open(DOCUMENT):
        if line.startswith("#"):
            inside = line.strip() == "### The %s, taken over" % half
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if inside and len(cells) == 4 and "`" in cells[1]:
            for row in re.findall(r"`([^`]+)`", cells[1]):
                if row.startswith(("ia32-", "x32-")) and os.uname().machine != "x86_64":
                    continue
                rows[row] = (cells[2] == "yes", cells[3])
    return rows


def report(path):
    rows = {}
    for line in open(path):
        r = json.loads(line)
        rows[r["row"]] = (r["found"] == "allowed", r["errno"])
    rows.pop("done", None)
    return rows


def main():
    verb, half, path, *layers = sys.argv[1:]
    want, have, wrong = table(half), report(path), []
    if len(want) < 40:
        wrong.append("PRIVSEP.md has %d rows for the %s" % (len(want), half))
    for row, (got, held) in sorted(want.items()):
        found, errno = have.get(row, (None, "not tried"))
        denials = set().union(*(DENIALS[h] for h in held.split(", "))) if not got else set()
        if verb == "table" and (found != got or (not got and errno not in denials)):
            wrong.append("%s: %s (%s), PRIVSEP.md says %s, %s" % (row, found, errno, got, held))
        if verb == "opened" and held in layers and found is not True and row not in UNPROVABLE:
            wrong.append("%s did not open (%s)" % (row, errno))
        if verb == "free" and held not in ("wire", "seals", "not dumpable") and row in have and found is not True and row not in UNPROVABLE:
            wrong.append("%s did not open (%s)" % (row, errno))
    if verb == "table":
        wrong += ["%s is not in PRIVSEP.md" % row for row in sorted(set(have) - set(want))]
    if verb == "free" and len(have) < 40:
        wrong.append("only %d rows" % len(have))
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)


main()
