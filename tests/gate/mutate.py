#!/usr/bin/python3
"""Makes each fault of a table alone in an installed tree, asks the gate as the unit would, undoes it.

    mutate.py [--only PATTERN] TABLE...     as root, in a nest or on a booted host; tests/wall/49-mutate.sh

One TAP line a fault: its id and no other finding beyond those of the clean tree. blind.def says what a row holds.
The undoing goes by what the fault did to the files below TREES, not by what it said it would do.
"""
import argparse
import fnmatch
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CASE = os.environ.get("CASE", "49-mutate")
WORK = os.environ["WORK"]
BIN = "/usr/local/bin/"
STALE = "GATE-FACTS-01"
INSTANCES = {"hybrid": "ductile", "full": "ductile-full", "bare": "ductile-bare"}
# With their content; a name with a * stands for what is there when it is looked at. What was not there is removed.
TREES = ("/etc", "/home", "/opt", "/usr/local/bin/ductile*", "/usr/local/libexec/ductile", "/usr/lib/polkit-1", "/var/lib/ductile*",
         "/var/lib/systemd/linger", "/var/spool/cron", "/var/spool/at", "/var/lib/incus", "/var/lib/lxd", "/var/snap", "/run/ductile*", "/run/docker*",
         "/run/podman", "/run/libvirt", "/run/incus", "/run/containerd", "/run/crio", "/run/fault-*", "/run/user", "/run/systemd/system", "/tmp/tmux-*",
         "/tmp/screen*", "/run/screen", "/root/fault*")
# These directories and what lies in them: names, owners, modes and ACLs, no content.
SHALLOW = ("/usr", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/local", "/usr/local/bin", "/usr/local/sbin", "/usr/local/lib",
           "/usr/local/libexec", "/var", "/var/lib", "/var/spool", "/run/systemd", "/etc")
OWN = ("/tmp", "/run")  # these directories themselves


# ---- files ---------------------------------------------------------------------------------------------------------

def children(path):
    try:
        return [os.path.join(path, n) for n in os.listdir(path)]
    except (NotADirectoryError, FileNotFoundError):
        return []


def matches(pattern):
    base = os.path.dirname(pattern)
    return [p for p in children(base) if fnmatch.fnmatch(p, pattern)] if "*" in pattern else [pattern]


def below(path):
    """path and everything below it, parents first; no link is followed."""
    if os.path.lexists(path):
        yield path
        if stat.S_ISDIR(os.lstat(path).st_mode):
            for child in children(path):
                yield from below(child)


def mark(path):
    s = os.lstat(path)
    return s.st_dev, s.st_ino, s.st_mode, s.st_uid, s.st_gid, s.st_ctime_ns, 0 if stat.S_ISDIR(s.st_mode) else s.st_nlink


class Entry:
    def __init__(self, path, content):
        self.stat, self.mark = os.lstat(path), mark(path)
        self.xattrs = {x: os.getxattr(path, x, follow_symlinks=False) for x in os.listxattr(path, follow_symlinks=False)}
        self.link = os.readlink(path) if stat.S_ISLNK(self.stat.st_mode) else None
        self.content = None
        if content and stat.S_ISREG(self.stat.st_mode):
            with open(path, "rb") as f:
                self.content = f.read()

    def restore(self, path):
        mode = self.stat.st_mode
        if os.path.lexists(path) and not self.same(path):
            remove(path)
        if not os.path.lexists(path):
            if stat.S_ISDIR(mode):
                os.mkdir(path)
            elif self.link:
                os.symlink(self.link, path)
            elif self.content is not None:
                with open(path, "wb") as f:
                    f.write(self.content)
            else:
                raise RuntimeError(path + " is gone, and its content is not kept")
        os.chown(path, self.stat.st_uid, self.stat.st_gid, follow_symlinks=False)
        if not self.link:
            for x in os.listxattr(path):
                if x not in self.xattrs:
                    os.removexattr(path, x)
            os.chmod(path, stat.S_IMODE(mode))
            for x, value in self.xattrs.items():
                os.setxattr(path, x, value)
            os.utime(path, ns=(self.stat.st_atime_ns, self.stat.st_mtime_ns))
        self.mark = mark(path)

    def same(self, path):
        """Kind and content."""
        now = os.lstat(path)
        if stat.S_IFMT(now.st_mode) != stat.S_IFMT(self.stat.st_mode):
            return False
        if self.link:
            return os.readlink(path) == self.link
        if self.content is None:
            return True
        with open(path, "rb") as f:
            return now.st_nlink == self.stat.st_nlink and f.read() == self.content


def remove(path):
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)


class Snapshot:
    def __init__(self):
        self.entries = {p: Entry(p, True) for p in self.walk()}
        self.shallow = {p: Entry(p, False) for d in SHALLOW for p in [d, *children(d)] if p not in self.entries}
        self.shallow.update({p: Entry(p, False) for p in OWN})

    def take(self, path):
        """path as it is now."""
        for p in path, os.path.dirname(path):
            if os.path.lexists(p):
                self.entries[p] = Entry(p, True)

    @staticmethod
    def walk():
        for tree in TREES:
            for path in matches(tree):
                yield from below(path)

    def undo(self):
        """Everything as it was; the paths that had to be touched."""
        touched = []
        there = {*self.walk(), *(p for d in SHALLOW for p in children(d))}
        for path in sorted(there - self.entries.keys() - self.shallow.keys()):
            if os.path.lexists(path):  # else a parent took it along
                remove(path)
                touched.append(path)
        for table in self.entries, self.shallow:
            for path in sorted(table):
                if not os.path.lexists(path) or mark(path) != table[path].mark:
                    table[path].restore(path)
                    touched.append(path)
        for table in self.entries, self.shallow:  # what lies in a directory has changed its times
            for path in touched:
                for p in path, os.path.dirname(path):
                    if p in table and mark(p) != table[p].mark:
                        table[p].restore(p)
        return touched


# ---- the gate --------------------------------------------------------------------------------------------------------

def as_unit(tree, *command):
    """What the unit's ExecStartPre= would be: its user, and behind a wall two ambient capabilities and no more."""
    user = INSTANCES[tree]
    caps = "-all" if tree == "bare" else "+setuid,+setgid"
    shape = ["--inh-caps=" + caps, "--ambient-caps=" + caps, "--bounding-set=-all" + ("" if tree == "bare" else "," + caps)]
    return ["env", "-i", "PATH=" + os.environ["PATH"], "LANG=C.UTF-8", "setpriv", "--reuid=" + SERVICE[tree][0],
            "--regid=" + SERVICE[tree][1], "--clear-groups", *shape, BIN + command[0], "-i", user, *command[1:]]


def ask(tree, command=None):
    """{(id, verdict, subject, evidence)} of what did not pass, the exit code, and how long it took."""
    began = time.monotonic()
    p = subprocess.run(command or as_unit(tree, "ductile-gate", "check", "--json"), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    took = time.monotonic() - began
    try:
        said = json.loads(p.stdout or p.stderr)
    except ValueError:
        return {("?", "refuse", "", (p.stdout + p.stderr)[-800:])}, p.returncode, took
    if "findings" not in said:
        said = said["refused"]
        return {(said["id"], "refuse", said["what"], said["why"])}, p.returncode, took
    return {(f["id"], f["verdict"], f["subject"], f["evidence"]) for f in said["findings"] if f["verdict"] != "pass"}, p.returncode, took


def ask_doctor(tree):
    return ask(tree, [BIN + "ductile", "-i", INSTANCES[tree], "doctor", "--json"])[0]


def doctor(tree):
    """What root sees is written down."""
    return subprocess.run([BIN + "ductile", "-i", INSTANCES[tree], "doctor", "-q"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


# ---- faults ----------------------------------------------------------------------------------------------------------

class Fault:
    def __init__(self, where, head):
        self.commands = []
        match = re.fullmatch(r"([a-z0-9-]+): (.+)", head)
        if not match:
            sys.exit("%s: not a fault: %s" % (where, head))
        self.name, self.account, self.root, self.tree, self.must, self.may = match[1], None, False, "hybrid", [], set()
        self.verdict, self.doctor = None, False
        for word in match[2].split():
            if word.startswith("account="):
                self.account = word[8:]
            elif word.startswith("as="):
                self.verdict = word[3:]
            elif word.startswith("tree="):
                self.tree = word[5:]
            elif word == "root":
                self.root = True
            elif word == "doctor":
                self.doctor = True
            elif word.startswith("?"):
                self.may.add(word[1:])
            elif word != "none":
                self.must.append(set(word.split("|")))

    def make(self):
        return subprocess.run(["bash", "-c", ". %s/faults.sh\nset -e\n%s" % (HERE, "\n".join(self.commands))], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, cwd="/", env={**os.environ, "PIDS": PIDS})

    def judge(self, new):
        """What is wrong with these findings; "" where nothing is."""
        ids, wrong = {f[0] for f in new}, []
        for want in self.must:
            if not ids & want:
                wrong.append("not found: " + "|".join(sorted(want)))
            elif self.account and not any(f[0] in want and self.account in f[2] + f[3] for f in new):
                wrong.append("%s does not name %s" % ("|".join(sorted(want)), self.account))
            elif self.verdict and {f[1] for f in new if f[0] in want} != {self.verdict}:
                wrong.append("%s is not told as %s" % ("|".join(sorted(want)), self.verdict))
        if "*" not in self.may:
            wrong += ["found too: " + i for i in sorted(ids - self.may - set().union(*self.must))]
        return "; ".join(wrong)


def parse(path):
    faults = []
    with open(path) as f:
        for n, line in enumerate(f, 1):
            if line.startswith("    ") and faults:
                faults[-1].commands.append(line[4:].rstrip("\n"))
            elif line.strip() and not line.startswith("#"):
                faults.append(Fault("%s:%d" % (path, n), line.strip()))
    return faults


def mounts():
    """{id: (mount point, options)}, oldest first"""
    with open("/proc/self/mountinfo") as f:
        return {int(w[0]): (w[4], w[5] + "," + w[-1]) for w in sorted((line.split() for line in f), key=lambda w: int(w[0]))}


def clean_up(snapshot, mounted):
    if os.path.exists(PIDS):
        with open(PIDS) as f:
            for pid in f.read().split():
                os.kill(int(pid), signal.SIGKILL)
        os.unlink(PIDS)
    for n, (point, options) in reversed(mounts().items()):
        if n not in mounted:
            subprocess.run(["umount", "-l", point], check=True)
        elif "hidepid" in options and "hidepid" not in mounted[n][1]:
            subprocess.run(["mount", "-o", "remount,hidepid=0", point], check=True)
    return snapshot.undo()


def show(new):
    return ["#     %s %s: %s: %s" % (f[1], f[0], f[2], f[3]) for f in sorted(new)]


class Run:
    """What is asked, in which order. A tree is seen to be clean again by the next fault's exact answer, and by a check of its
    own every EVERY faults and after one that failed: each costs as much as a fault."""
    EVERY = 10

    def __init__(self):
        self.stale = set(INSTANCES)
        for tree in INSTANCES:
            self.ask_root(tree)
            ask(tree)  # what a first drop makes: state_dir/tmp
        self.mounted, self.snapshot = mounts(), Snapshot()
        self.clean = {tree: ask(tree)[0] for tree in INSTANCES}
        self.healthy = ask_doctor("hybrid")
        self.times, self.n = [], 0

    def ask_root(self, tree):
        """What root wrote down is stale once an undone file has another ctime; it is no part of a fault."""
        doctor(tree)
        self.stale.discard(tree)
        if hasattr(self, "snapshot"):
            self.snapshot.take("/etc/%s/facts.json" % INSTANCES[tree])

    def report(self, name, wrong, detail=()):
        print("\n".join(["%s - %s: %s" % ("not ok" if wrong else "ok", CASE, name)] + (["#   " + wrong, *detail] if wrong else [])), flush=True)

    def beyond(self, tree):
        found, code, took = ask(tree)
        self.times.append(took)
        return found - self.clean[tree]

    def seen(self, fault):
        """(wrong, findings) of the tree as it is now."""
        if fault.doctor:
            new = ask_doctor(fault.tree) - self.healthy - self.clean[fault.tree]
            self.stale = set(INSTANCES)
            return fault.judge(new), new
        new = self.beyond(fault.tree)
        ids = {f[0] for f in new}
        if fault.root and STALE not in ids:
            return "before root has looked: not found: " + STALE, new
        if STALE in ids:
            self.stale = set(INSTANCES)  # once more when it is undone
            if not any(STALE in want for want in fault.must):
                doctor(fault.tree)
                new = self.beyond(fault.tree)
        return fault.judge(new), new

    def one(self, fault, label):
        self.n += 1
        if fault.tree in self.stale:
            self.ask_root(fault.tree)
        made = fault.make()
        wrong, new = ("it could not be made: " + made.stdout.strip()[-300:], set()) if made.returncode else self.seen(fault)
        touched, left = clean_up(self.snapshot, self.mounted), set()
        if wrong or self.n % self.EVERY == 0:
            if fault.tree in self.stale:
                self.ask_root(fault.tree)
            left = self.beyond(fault.tree)
        if left:
            wrong = (wrong + "; " if wrong else "") + "it is not clean afterwards (touched: %s)" % " ".join(touched[:12])
        self.report("%s: %s" % (label, fault.name), wrong, show(new) + (["#   left:", *show(left)] if left else []))

    def ends_clean(self):
        for tree in list(self.stale):
            self.ask_root(tree)
        left = {f for tree in INSTANCES for f in self.beyond(tree)}
        self.report("after all that the trees are clean", "it is not clean afterwards" if left else "", show(left))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--only", default="*")
    o = parser.parse_args()
    run, began = Run(), time.monotonic()
    consent = {i: c for i, c in (line.split(":") for line in os.environ.get("CONSENT", "").split())}
    for tree, found in run.clean.items():
        odd = [f for f in found if f[0] not in consent.get(tree, "").split(",")]
        run.report("the clean tree %s has nothing but what was consented to" % tree, "findings" if odd else "", show(odd))
    names = set()
    for table in o.tables:
        label = os.path.basename(table).removesuffix(".def")
        for fault in parse(table):
            if fault.name in names:
                sys.exit("%s: %s is there twice" % (table, fault.name))
            names.add(fault.name)
            if fnmatch.fnmatch(fault.name, o.only):
                run.one(fault, label)
    run.ends_clean()
    run.times.sort()
    print("# figure %s: %d faults in %.0f s; a check takes %.0f ms (median), %.0f ms at most" %
          (CASE, run.n, time.monotonic() - began, run.times[len(run.times) // 2] * 1000, run.times[-1] * 1000))


SERVICE = {}
PIDS = WORK + "/pids"
if __name__ == "__main__":
    import pwd
    SERVICE = {tree: (str(pwd.getpwnam(user).pw_uid), str(pwd.getpwnam(user).pw_gid)) for tree, user in INSTANCES.items()}
    main()
