#!/usr/bin/python3
"""make bench-spawn: what a spawn costs, ours and others', in one run, alternating. On the booted host, as root.

Stops where a layer of ours is absent (it would be a race against nobody), exits 1 where a peer is missing."""
import os
import shutil
import statistics
import subprocess
import sys

ROUNDS, BLOCK = int(os.environ.get("BENCH_ROUNDS", 30)), int(os.environ.get("BENCH_BLOCK", 40))
BUILT, NOOP = "/src/build-bench", "/opt/bench/noop"
SERVICE = ["env", "-i", "PATH=/usr/bin:/bin", "setpriv", "--reuid=61001", "--regid=61001", "--clear-groups", "--inh-caps=+setuid,+setgid",
           "--ambient-caps=+setuid,+setgid", "--bounding-set=-all,+setuid,+setgid"]
STEPS = ["attest", "pipes", "cgroup", "landlock", "filter"]
PEERS = {
    "setpriv": ["setpriv", "--reuid=benched", "--regid=benched", "--clear-groups", "--no-new-privs"],
    "s6-setuidgid": ["s6-setuidgid", "benched"],
    "gosu": ["gosu", "benched"],
    "sudo -u": ["sudo", "-n", "-u", "benched"],
    "doas": ["doas", "-n", "-u", "benched"],
    "bwrap": ["bwrap", "--unshare-user", "--uid", "61003", "--gid", "61003", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"],
    "systemd-run": ["systemd-run", "--quiet", "--wait", "--collect", "-p", "User=benched", "-p", "NoNewPrivileges=yes"],
}


def prepare():
    os.makedirs("/opt/bench", exist_ok=True)
    for name in ("noop", "spawn"):
        shutil.copy2("%s/%s" % (BUILT, name), "/opt/bench/" + name)
    with open("/opt/bench/check", "w") as f:
        f.write("#!/bin/sh\ngrep -E 'Cap|Seccomp:|NoNew|Uid' /proc/self/status; cat /proc/self/cgroup\n"
                "2>/dev/null >/var/tmp/bench-landlock && echo 'landlock: absent' || echo 'landlock holds'\n")
    os.chmod("/opt/bench/check", 0o755)
    os.chmod("/var/tmp", 0o1777)
    os.makedirs("/mnt/nest/state", exist_ok=True)
    os.chown("/mnt/nest/state", 61003, 61003)
    os.chmod("/mnt/nest", 0o711)
    subprocess.run(["useradd", "-M", "-u", "61003", "benched"], check=True, stderr=subprocess.DEVNULL)
    with open("/etc/sudoers.d/bench", "w") as f:
        f.write("root ALL=(ALL) NOPASSWD: ALL\n")
    with open("/etc/doas.conf", "w") as f:
        f.write("permit nopass root\n")
    os.chmod("/etc/doas.conf", 0o400)
    with open("/proc/self/cgroup") as f:
        own = f.read().strip().split("::")[1]
    unit = "/sys/fs/cgroup" + own + "/unit"
    os.makedirs(unit, exist_ok=True)
    for path in (unit, unit + "/cgroup.procs", unit + "/cgroup.threads", unit + "/cgroup.subtree_control"):
        os.chown(path, 61001, 61001)
    return unit


def run(unit, mode, command):
    """One block of spawns: microseconds each."""
    ours = mode.startswith("ours") or mode in ("bare", "drop", "check")
    argv = ["/opt/bench/spawn", mode] + ([] if mode == "check" else [str(BLOCK)]) + command
    def enter():
        with open(unit + "/cgroup.procs", "w") as f:
            f.write("0")
    done = subprocess.run((SERVICE if ours else []) + argv, capture_output=True, text=True, preexec_fn=enter if ours else None)
    if done.returncode != 0:
        sys.exit("bench: %s %s: %s%s" % (mode, command, done.stdout, done.stderr))
    return done.stdout


def main():
    unit = prepare()
    missing = [name for name, argv in PEERS.items() if shutil.which(argv[0]) is None]
    if missing:
        sys.exit("bench: not installed: %s (make deps-bench)" % ", ".join(missing))
    print("layers of ours, as a spawned process sees them:")
    print("\n".join("    " + line for line in run(unit, "check", [NOOP]).splitlines()))
    modes = [("bare", [NOOP]), ("drop", [NOOP]), ("ours", [NOOP])]
    modes += [("ours-" + step, [NOOP]) for step in STEPS]
    modes += [("process", argv + [NOOP]) for argv in PEERS.values()]
    names = [m for m, _ in modes[:3]] + ["ours-" + s for s in STEPS] + list(PEERS)
    taken = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name, (mode, command) in zip(names, modes):
            taken[name] += [float(x) for x in run(unit, mode, command).split()]
    median = {name: statistics.median(values) for name, values in taken.items()}
    bare = median["bare"]
    print("\n%-34s %10s %14s" % ("one static no-op, %d spawns each" % (ROUNDS * BLOCK), "median us", "x bare"))
    labels = {"bare": "bare vfork+exec", "drop": "bare vfork+drop+exec", "ours": "ours, inside the warden"}
    for name in names:
        if not name.startswith("ours-"):
            print("%-34s %10.1f %14.2f" % (labels.get(name, name + ", as a process"), median[name], median[name] / bare))
    print("\nwhat each step costs (ours less the same without it)")
    for step in STEPS:
        print("%-34s %10.1f %14.2f" % (step, median["ours"] - median["ours-" + step], (median["ours"] - median["ours-" + step]) / bare))
    ratio, peer = median["ours"] / bare, median["ours"] / median["setpriv"]
    print("\nours / bare %.2f (promised: at most 1.70); ours / setpriv %.2f (promised: below 1)" % (ratio, peer))
    sys.exit(0 if ratio <= 1.7 and peer < 1 else 1)


main()
