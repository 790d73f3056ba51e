#!/usr/bin/python3
"""Judges reports of climb.py by the table attacks.def.

    attacks.py judge DIR CASE [--no-credentialed] [--no-controls]   one TAP line per attack and account, one per control
    attacks.py layers DIR CASE                      one TAP line per layer that was taken out (layers.def)
    attacks.py compare DIR WHERE                    share/doc/attacks.md: the same attacks aimed at other droppers
    attacks.py table                                one TAP line: the table is whole, every test it names exists

DIR holds WORLD.ACCOUNT.json."""
import ctypes
import fnmatch
import json
import os
import re
import sys

from kernel import has_ia32

HERE = os.path.dirname(os.path.abspath(__file__))
CONFINED, CREDENTIALED = ["default", "untrusted"], ["matt"]


def table():
    with open(HERE + "/attacks.def") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                name, who, expected, errnos, control, by = [x.strip() for x in line.split("|")]
                tests = re.split(r",\s*(?=\*|unit|wall|host)", by[5:]) if by.startswith("test ") else []
                rows = [] if tests else re.split(r",\s*", by)
                accounts = {"all": CONFINED + CREDENTIALED, "confined": CONFINED, "credentialed": CREDENTIALED, "-": []}[who]
                yield {"name": name, "accounts": accounts, "expected": expected, "errnos": set(errnos.split()), "control": control,
                       "rows": rows, "tests": tests}


class Reports:
    def __init__(self, directory):
        self.directory, self.loaded = directory, {}

    def get(self, world, account):
        key = "%s.%s" % (world, account)
        if key not in self.loaded:
            try:
                with open("%s/%s.json" % (self.directory, key)) as f:
                    d = json.load(f)
                self.loaded[key] = {r["row"]: r for r in (d.get("result") or d)["rows"]}
                self.loaded[key].update((r["row"], r) for r in self.extra(world))
            except (OSError, ValueError, KeyError) as e:
                self.loaded[key] = {"": {"row": key, "found": "broken", "errno": "", "detail": repr(e)}}
        return self.loaded[key]

    def extra(self, world):
        """Rows that aim.sh judged from outside."""
        try:
            with open("%s/%s.rows" % (self.directory, world)) as f:
                return [json.loads(line) for line in f]
        except OSError:
            return []

    def rows(self, world, account, names):
        report = self.get(world, account)
        broken = report.get("")
        return [report.get(n) or broken or {"row": n, "found": "not tried", "errno": "", "detail": ""} for n in names]


def text(row):
    return "%(row)s: %(found)s %(errno)s %(detail)s" % row


def tap(good, name, why):
    print("%s - %s" % ("ok" if good else "not ok", name))
    for line in [] if good else why:
        print("#   " + line)


def held(attack, rows):
    return all((r["found"] == "nothing" and attack["errnos"] == {"-"}) or
               (r["found"] in ("denied", "absent") and r["errno"] in attack["errnos"]) for r in rows)


def judge(directory, case, credentialed, controls):
    reports = Reports(directory)
    for attack in table():
        for account in attack["accounts"] if attack["rows"] else []:
            if account in CREDENTIALED and not credentialed:
                continue
            if attack["rows"] == ["run-setuid-file"] and account == "default":
                continue  # it is the one that left it
            rows = reports.rows("walled", account, attack["rows"])
            good = held(attack, rows) if attack["expected"] == "held" else all(r["found"] == "allowed" for r in rows)
            tap(good, "%s: %s as %s: %s" % (case, attack["name"], account, attack["expected"]), map(text, rows))
        if controls and attack["rows"] and attack["control"] not in ("-", "test"):
            world, _, names = attack["control"].partition(":")
            world, _, account = world.partition("/")
            account = account or ("untrusted" if attack["rows"] == ["run-setuid-file"] else "default")
            rows = reports.rows(world, account, names.split(",") if names else attack["rows"])
            tap(all(r["found"] == "allowed" or no_such_call(r) for r in rows), "%s: control: %s succeeds: %s" % (case, attack["name"], attack["control"]),
                map(text, rows))


def no_such_call(row):
    """Nothing bites where the kernel has no such call (kernel.py)."""
    return row["row"] == "ia32-syscall" and row["found"] == "denied" and not has_ia32()


def below(name):
    """`NAME<6` stands where Landlock is older than ABI 6: that kernel's, or what $ABI makes of it; ia32 where the kernel has it."""
    if name == "ia32-syscall" and not has_ia32():
        return None
    name, _, abi = name.partition("<")
    have = min(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1), int(os.environ.get("ABI", 99)))
    return name if not abi or have < int(abi) else None


def layers(directory, case):
    reports = Reports(directory)
    with open(HERE + "/layers.def") as f:
        lines = [[x.strip() for x in line.split("|")] for line in f if line.strip() and not line.startswith("#")]
    for layer, _, opens in lines:
        opens = ", ".join(n for n in map(below, opens.split(", ")) if n) or "-"
        expected, opened, untried = set(opens.replace("?", "").split(", ")) - {"-"}, {}, []
        maybe = {n[:-1] for n in opens.split(", ") if n.endswith("?")}
        for attack in table():
            for account in {"default", "matt"} & set(attack["accounts"]):
                if attack["rows"] in ([], ["run-setuid-file"]) or attack["expected"] != "held":
                    continue
                rows = reports.rows(layer, account, attack["rows"])
                got = [r for r in rows if r["found"] == "allowed"]
                untried += [r for r in rows if r["found"] in ("broken", "not tried")]
                if got:
                    opened.setdefault(attack["name"], got)
        why = ["%s opens: %s" % (n, text(opened[n][0])) for n in set(opened) - expected]
        why += ["%s does not open" % n for n in expected - set(opened) - maybe] + list(map(text, untried))
        # What opens differs between kernels (below), so it is a figure and no part of the name.
        print("# figure %s: without %s: %s" % (case, layer, ", ".join(sorted(opened)) or "nothing opens"))
        tap(not why, "%s: without %s what layers.def says opens, and nothing else" % (case, layer), why)


DROPPERS = ["walled", "setpriv", "s6-setuidgid", "gosu", "sudo", "doas", "bwrap", "naive"]
TITLES = {"walled": "ductile", "sudo": "sudo -u", "naive": "plain setuid"}
OUTSIDE = ["setsid-daemon", "ignore-SIGTERM", "fork-bomb", "memory-bomb"]
INTRO = """# The same attacks, aimed at others

Written by `make attacks`: one host, one run. Each program starts the same hostile plugin as the same account, in the way its
own documentation shows, while the same things lie about that a starter may leave (an open descriptor of secret zero, a key
in the session keyring, a variable, a working directory); a real gateway runs beside it as the target. *held*: every row of the
attack was denied. **BROKEN**: at least one got something, and what.

`setpriv`, `s6-setuidgid`, `gosu`, `sudo -u` and `doas` are started by root; `bwrap` by the account itself, with all but the
network unshared; *plain setuid* is what a unit with the two ambient capabilities does that calls setuid and execs.

These programs are not gateways. Changing the user is what the first five promise; limits, survivors, descriptors and
keyrings are not, and a row that says BROKEN there is no fault of theirs: it is what whoever builds on them has to do
himself. Attacks on things that only a gateway has - answers, events, code that is swapped under a lock - are not aimed at
them; tests/wall/attacks.def lists those with their tests.

"""


def cell(attack, rows):
    if all(r["found"] == "not tried" for r in rows):
        return "-"
    broken = [r for r in rows if r["found"] not in ("denied", "absent", "nothing")]
    if broken:
        if attack["expected"] == "works":
            return "works"
        return "**BROKEN** " + re.sub(r"[|*_`<>]", " ", broken[0]["detail"] or broken[0]["found"])[:44]
    errnos = sorted({r["errno"] for r in rows if r["errno"]})
    return "held" + (" (%s)" % ", ".join(errnos) if errnos else "")


def compare(directory, where):
    reports = Reports(directory)
    print(INTRO + "On " + where + ".\n\n| attack | " + " | ".join(TITLES.get(d, d) for d in DROPPERS) + " |\n|---" + "|---" * len(DROPPERS) + "|")
    for attack in table():
        names = [attack["name"]] if attack["name"] in OUTSIDE else attack["rows"]
        if names and ("default" in attack["accounts"] or attack["name"] in OUTSIDE) and names != ["run-setuid-file"]:
            cells = [cell(attack, reports.rows(d, "default", names)) for d in DROPPERS]
            print("| %s | %s |" % (attack["name"], " | ".join(cells)))
    print("\nbwrap's own PID namespace hides other processes: their rows read *held* where the attack was aimed at a number that "
          "means nobody there.")


def whole():
    with open(HERE + "/../EXPECTED") as f:
        expected = [line.strip() for line in f if not line.startswith("#")]
    wrong, names = [], [a["name"] for a in table()]
    wrong += ["%s stands there twice" % n for n in set(names) if names.count(n) > 1]
    for attack in table():
        wrong += ["%s: no test is called %s" % (attack["name"], t) for t in attack["tests"] if not fnmatch.filter(expected, t)]
        if attack["rows"] and attack["expected"] == "held" and attack["control"] == "-":
            wrong.append("%s has no control" % attack["name"])
    tap(not wrong and names, "the attack catalogue: every attack has a control, and the tests it names exist", wrong)


if __name__ == "__main__":
    if sys.argv[1:] == ["table"]:
        whole()
    elif sys.argv[1] == "layers":
        layers(sys.argv[2], sys.argv[3])
    elif sys.argv[1] == "compare":
        compare(sys.argv[2], sys.argv[3])
    else:
        judge(sys.argv[2], sys.argv[3], "--no-credentialed" not in sys.argv, "--no-controls" not in sys.argv)
