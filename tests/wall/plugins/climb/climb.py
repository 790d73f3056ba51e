#!/usr/bin/python3
"""The hostile probe: a plugin that tries to climb the wall and reports, row by row, what it got.

Written apart from the gate's own probes, so that a fault in those is not repeated here. Runs as a plugin (request on
stdin, targets in its config) or by hand as a control: `climb.py --targets FILE` under any other dropper.

Each row: {"row", "found": "denied"|"allowed"|"absent"|"nothing", "errno", "detail"}. A row is tried in a child of its own, because
success (becoming somebody) would change what the next row meets.
"""
import ctypes
import errno
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading

import catalogue

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
ARCH = os.uname().machine
NR = {
    "x86_64": dict(clone=56, unshare=272, setns=308, clone3=435, ptrace=101, process_vm_readv=310, pidfd_open=434,
                   pidfd_getfd=438, setresuid=117, setresgid=119, setgroups=116, io_uring_setup=425),
    "aarch64": dict(clone=220, unshare=97, setns=268, clone3=435, ptrace=117, process_vm_readv=270, pidfd_open=434,
                    pidfd_getfd=438, setresuid=147, setresgid=149, setgroups=159, io_uring_setup=425),
}[ARCH]
CLONE_NEWUSER = 0x10000000
PTRACE_SEIZE = 0x4206


def call(name, *args):
    """A raw system call; raises OSError with the kernel's errno."""
    converted = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    r = libc.syscall(NR[name], *converted)
    if r < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e), name)
    return r


# ---- attempts: return a detail on success, raise OSError on denial ---------------------------------------------


def read_file(path):
    with open(path, "rb") as f:
        return "%d bytes" % len(f.read(64))


def list_dir(path):
    return "%d entries" % len(os.listdir(path))


def become(uid):
    call("setresuid", uid, uid, uid)
    return "uid %d" % os.getuid()


def become_and_read(uid, gid, path):
    call("setresgid", gid, gid, gid)
    become(uid)
    return "%s, then %s" % ("uid %d" % os.getuid(), read_file(path))


def take_groups(gid):
    os.setgroups([gid])
    return str(os.getgroups())


def write_map(pid, outer):
    """Completes a remap: inside the namespace uid 0 is `outer` outside."""
    with open("/proc/%s/setgroups" % pid, "w") as f:
        f.write("deny")
    with open("/proc/%s/uid_map" % pid, "w") as f:
        f.write("0 %d 1" % outer)


def userns_unshare(_):
    call("unshare", CLONE_NEWUSER)
    return "a namespace of its own"


def userns_clone(_):
    pid = call("clone", CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "a child in a namespace"


def userns_clone3(_):
    args = struct.pack("<11Q", CLONE_NEWUSER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    buf = ctypes.create_string_buffer(args)
    pid = call("clone3", buf, len(args))
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "a child in a namespace"


def ptrace(pid):
    call("ptrace", PTRACE_SEIZE, pid, 0, 0)
    return "seized"


def vm_readv(pid):
    with open("/proc/self/maps") as f:
        address = int(f.readline().split("-")[0], 16)
    buf = ctypes.create_string_buffer(8)
    local = (ctypes.c_void_p * 2)(ctypes.addressof(buf), 8)
    remote = (ctypes.c_void_p * 2)(address, 8)
    try:
        call("process_vm_readv", pid, local, 1, remote, 1, 0)
    except OSError as e:
        if e.errno == errno.EFAULT:  # access was granted, only the address is another
            return "granted (EFAULT)"
        raise
    return "8 bytes"


def getfd(pid):
    pidfd = call("pidfd_open", pid, 0)
    fd = call("pidfd_getfd", pidfd, 0, 0)
    return "descriptor %d" % fd


def proc_entries(pid):
    got, denied = [], None
    for name in ("mem", "environ", "maps", "fd/0", "root/etc/passwd", "cwd/."):
        try:
            fd = os.open("/proc/%d/%s" % (pid, name), os.O_RDONLY | os.O_NONBLOCK)
            os.close(fd)
            got.append(name)
        except OSError as e:
            denied = e
    if got:
        return ",".join(got)
    raise denied


def send_signal(pid):
    os.kill(pid, 0)
    return "may be signalled"


def connect(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(path)
    return "connected"


# ---- rows ------------------------------------------------------------------------------------------------------


def try_row(name, fn, arg):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(r)
        out = {"row": name, "found": "denied", "errno": "", "detail": ""}
        try:
            out["detail"] = fn(*arg) if isinstance(arg, tuple) else fn(arg)
            out["found"] = "allowed"
        except OSError as e:
            out["errno"] = errno.errorcode.get(e.errno, str(e.errno))
            if e.errno in (errno.ENOENT, errno.ESRCH):
                out["found"] = "absent"
        except catalogue.NotFound:
            out["found"] = "nothing"
        except BaseException as e:  # a broken attempt must not look like a denial
            out["found"], out["detail"] = "broken", repr(e)
        os.write(w, json.dumps(out).encode())
        os._exit(0)
    os.close(w)
    data = b""
    while True:
        chunk = os.read(r, 65536)
        if not chunk:
            break
        data += chunk
    os.close(r)
    os.waitpid(pid, 0)
    return json.loads(data) if data else {"row": name, "found": "broken", "errno": "", "detail": "the child died"}


def status_of():
    fields = {}
    with open("/proc/self/status") as f:
        for line in f:
            key, _, value = line.partition(":")
            fields[key] = value.strip()
    return fields


def identity():
    s = status_of()
    fds = []
    listing = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    for name in os.listdir(listing):
        if int(name) > 2 and int(name) != listing:
            try:
                fds.append("%s -> %s" % (name, os.readlink("/proc/self/fd/" + name)))
            except OSError:
                pass  # the listing's own
    os.close(listing)
    ignored = int(s["SigIgn"], 16) & ~(1 << (signal.SIGPIPE - 1))  # python itself ignores SIGPIPE (and SIGXFSZ)
    ignored &= ~(1 << (signal.SIGXFSZ - 1))
    return {
        "caps": {k: s[k] for k in ("CapInh", "CapPrm", "CapEff", "CapAmb")},
        "no_new_privs": s["NoNewPrivs"],
        "seccomp": s["Seccomp"],
        "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(),
        "fds": fds, "cwd": os.getcwd(), "umask": s.get("Umask"), "memlock": resource.getrlimit(resource.RLIMIT_MEMLOCK)[1],
        "core": resource.getrlimit(resource.RLIMIT_CORE)[1], "signals_ignored": ignored,
        "signals_blocked": int(s["SigBlk"], 16),
        "environ": dict(os.environ), "argv0": sys.argv[0],
        "sid_is_pid": os.getsid(0) == os.getpid(), "stdin_opens": stdin_opens(),
    }


def stdin_opens():
    try:
        os.close(os.open("/dev/stdin", os.O_RDONLY | os.O_NONBLOCK))
        return True
    except OSError:
        return False


def python_threads():
    box = []
    workers = [threading.Thread(target=lambda i=i: box.append(i)) for i in range(4)]
    for t in workers:
        t.start()
    for t in workers:
        t.join()
    return sorted(box) == [0, 1, 2, 3]


def pthreads(path):
    try:
        return subprocess.run([path], timeout=10).returncode == 0
    except OSError as e:
        return str(e)


def climb(t):
    rows = []
    add = lambda name, fn, arg: rows.append(try_row(name, fn, arg))
    for name in ("secret-zero", "vault", "ledger", "config"):
        add(name, read_file, t[name])
    for path in t.get("siblings", []):
        add("sibling-state", list_dir, path)
    for path in t.get("floors", []):
        add("list-floor", list_dir, path)
    for name, path in t.get("operator", {}).items():
        add("operator-" + name, list_dir if os.path.basename(path) != "id_ed25519" else read_file, path)
    for name, path in t.get("twins", {}).items():  # what must open: the same attempt where it is allowed
        add("twin-" + name, list_dir, path)
    for name, uid in t["uids"].items():
        add("become-" + name, become, uid)
        add("become-%s+2^32" % name, become, uid + (1 << 32))
    add("become-service-and-read-key", become_and_read, (t["uids"]["service"], t["gids"]["service"], t["secret-zero"]))
    add("become-bus-and-read-ledger", become_and_read, (t["uids"]["bus"], t["gids"]["bus"], t["ledger"]))
    add("setgroups", take_groups, 0)
    add("userns-unshare", userns_unshare, None)
    add("userns-clone", userns_clone, None)
    add("userns-clone3", userns_clone3, None)
    for name, pid in t.get("pids", {}).items():
        add("ptrace-" + name, ptrace, pid)
        add("vm-readv-" + name, vm_readv, pid)
        add("pidfd-getfd-" + name, getfd, pid)
        add("proc-" + name, proc_entries, pid)
        add("signal-" + name, send_signal, pid)
    if "api" in t:
        add("api-socket", connect, t["api"])
    if "own" in t:
        for name, fn, arg in catalogue.rows(t):
            rows.append(try_row(name, fn, (arg,)))
    return rows


def main():
    if len(sys.argv) > 2 and sys.argv[1] == "--targets":
        with open(sys.argv[2]) as f:
            targets, request = json.load(f), None
    else:
        request = json.load(sys.stdin)
        targets = request["config"]["targets"]
        if isinstance(targets, str):
            targets = json.loads(targets)
        targets = {**targets, **request.get("payload", {})}
    report = {"identity": identity(), "rows": climb(targets), "python_threads": python_threads(),
              "pthreads": pthreads(targets["pthreads"]) if "pthreads" in targets else None}
    if request is None:
        print(json.dumps(report))
    else:
        print(json.dumps({"status": "ok", "result": report}))


if __name__ == "__main__":
    main()
