#!/usr/bin/python3
"""Judges a report of climb.py.

    judge.py walled REPORT --account NAME --state DIR     everything denied, with the right errno; clean identity
    judge.py opened REPORT ROW...                         these rows were allowed (a control must bite)

Prints what is wrong and exits 1."""
import argparse
import json
import sys

# What a denial looks like, by the beginning of a row's name. Another errno proves something else.
DENIALS = {
    "secret-zero": {"EACCES"}, "vault": {"EACCES"}, "ledger": {"EACCES"}, "config": {"EACCES"},
    "sibling-state": {"EACCES"}, "list-floor": {"EACCES"}, "operator-": {"EACCES"}, "api-socket": {"EACCES"},
    "become-": {"EPERM"}, "setgroups": {"EPERM"},
    "userns-unshare": {"EPERM"}, "userns-clone3": {"ENOSYS"}, "userns-clone": {"EPERM"},
    "ptrace-": {"EPERM"}, "vm-readv-": {"EPERM"}, "pidfd-getfd-": {"EPERM"}, "proc-": {"EACCES", "EPERM"},
    "signal-": {"EPERM"},
}


def denials_of(row):
    best = max((p for p in DENIALS if row.startswith(p)), key=len)
    return DENIALS[best]


def load(path):
    with open(path) as f:
        d = json.load(f)
    return d.get("result", d)  # a job, or a bare report


def walled(args):
    r = load(args.report)
    wrong = []
    for row in r["rows"]:
        if row["row"].startswith("twin-"):
            if row["found"] != "allowed":
                wrong.append("%(row)s did not open: %(errno)s" % row)
        elif row["found"] != "denied" or row["errno"] not in denials_of(row["row"]):
            wrong.append("%(row)s: %(found)s %(errno)s %(detail)s" % row)
    i = r["identity"]
    if any(int(v, 16) for v in i["caps"].values()):
        wrong.append("capabilities: %s" % i["caps"])
    expected = {"no_new_privs": "1", "groups": [], "fds": [], "umask": "0077", "signals_ignored": 0,
                "signals_blocked": 0, "cwd": args.state, "sid_is_pid": True, "stdin_opens": True, "seccomp": "2"}
    for key, value in expected.items():
        if i[key] != value:
            wrong.append("%s is %r, not %r" % (key, i[key], value))
    if len(set(i["uid"])) != 1 or i["uid"][0] != args.uid or len(set(i["gid"])) != 1:
        wrong.append("ids: %s %s" % (i["uid"], i["gid"]))
    if i["memlock"] > 8 << 20 or i["core"] != 0:
        wrong.append("limits: memlock %s, core %s" % (i["memlock"], i["core"]))
    env = i["environ"]
    allowed = {"PATH", "HOME", "TZ", "LANG", "LANGUAGE", "TMPDIR", "LC_ALL", "LC_CTYPE"}  # python sets LC_CTYPE itself
    if args.confined:
        allowed |= {"XDG_CACHE_HOME", "XDG_STATE_HOME"}
        for key in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
            if env.get(key) != args.state:
                wrong.append("%s is %r" % (key, env.get(key)))
        if env.get("TMPDIR") != args.state + "/tmp":
            wrong.append("TMPDIR is %r" % env.get("TMPDIR"))
    elif env.get("HOME") != args.state:
        wrong.append("HOME is %r" % env.get("HOME"))
    if set(env) - allowed:
        wrong.append("environment: %s" % sorted(set(env) - allowed))
    if not r["python_threads"] or not r["pthreads"] or r["pthreads"] is not True:
        wrong.append("threads: %r %r" % (r["python_threads"], r["pthreads"]))
    if len(r["rows"]) < args.rows:
        wrong.append("only %d rows" % len(r["rows"]))
    return wrong


def opened(args):
    r = load(args.report)
    found = {}
    for row in r["rows"]:
        found.setdefault(row["row"], []).append(row)
    wrong = []
    for name in args.row:
        if not any(x["found"] == "allowed" for x in found.get(name, [])):
            wrong.append("%s did not open: %s" % (name, found.get(name)))
    return wrong


def main():
    p = argparse.ArgumentParser()
    sub = p.add_subparsers(dest="verb", required=True)
    w = sub.add_parser("walled")
    w.add_argument("report")
    w.add_argument("--state", required=True)
    w.add_argument("--uid", type=int, required=True)
    w.add_argument("--confined", action="store_true")
    w.add_argument("--rows", type=int, default=30)
    w.set_defaults(fn=walled)
    o = sub.add_parser("opened")
    o.add_argument("report")
    o.add_argument("row", nargs="+")
    o.set_defaults(fn=opened)
    args = p.parse_args()
    wrong = args.fn(args)
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
