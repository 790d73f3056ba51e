#!/usr/bin/python3
"""As a plugin: `handle` works with the usual tools, `poll` tries what the unit's directives take. By hand, as a control in
another unit: `hardened.py ATTEMPT MNT_NS` prints "allowed" or an errno."""
import ctypes
import errno
import json
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, PER_LINUX32 = 0x10000000, 8
WALL = "/opt/wall"


def checked(value):
    if value < 0:
        raise OSError(ctypes.get_errno(), "")


def refuse(condition, code=errno.EPERM):
    if condition:
        raise OSError(code, "")


def setuid_program(_):
    out = subprocess.run([WALL + "/setuid-id", "-u"], capture_output=True, text=True, check=True).stdout
    refuse(out.strip() != "0")


def namespace(_):
    checked(libc.unshare(CLONE_NEWUSER))


def write_usr(_):
    with open("/usr/local/doored/x", "w"):
        pass


def open_device(_):
    os.close(os.open("/dev/ductile-door", os.O_RDONLY))


def writable_tunables(_):
    refuse(os.statvfs("/proc/sys").f_flag & os.ST_RDONLY, errno.EROFS)


def list_modules(_):
    os.listdir("/usr/lib/modules")


def kernel_log(_):
    os.close(os.open("/dev/kmsg", os.O_RDWR | os.O_NONBLOCK))


def clock(_):
    checked(libc.adjtimex(ctypes.create_string_buffer(512)))  # modes 0: it only asks; the filter knows no difference


def hostname(_):
    socket.sethostname(socket.gethostname())


def personality(_):
    checked(libc.personality(PER_LINUX32))


def realtime(_):
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(0))  # the kernel says EINVAL to anybody, before it asks for rights


def host_mounts(namespace_of_host):
    refuse(os.readlink("/proc/self/ns/mnt") != namespace_of_host)


def open_umask(_):
    refuse(os.umask(0) == 0o077)


def core(_):
    refuse(resource.getrlimit(resource.RLIMIT_CORE)[1] == 0)


def lock_memory(_):
    # Not 64M: a PID 1 that lacks CAP_SYS_RESOURCE, as in some containers, raises it only to its own limit, and says nothing.
    refuse(resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] <= 4 << 20)


def foreign_abi(_):
    """ia32, or x32 where the kernel has no ia32."""
    r = subprocess.run([WALL + "/foreign", "ia32"], capture_output=True).returncode
    if r == -signal.SIGSEGV:
        r = subprocess.run([WALL + "/foreign", "x32"], capture_output=True).returncode
    if r < 0:
        os.kill(os.getpid(), -r)  # its fate is told
    refuse(r != 0, r)


def numbers(name):  # what libc does not wrap, or wraps otherwise
    return {"x86_64": {"ioprio_set": 251, "modify_ldt": 154}, "aarch64": {"ioprio_set": 30}}[os.uname().machine].get(name)


def slow_down(_):
    os.nice(1)


FILTERED = {
    "nice": slow_down,
    "taskset": lambda _: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "chrt": lambda _: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
    "ionice": lambda _: checked(libc.syscall(numbers("ioprio_set"), 1, 0, 3 << 13)),
    "modify_ldt": lambda _: checked(libc.syscall(numbers("modify_ldt"), 0, ctypes.create_string_buffer(16), 16)),
}


def filtered(_):
    """All are let, or none is."""
    found = {}
    for name, call in FILTERED.items():
        try:
            call(None)
            found[name] = 0
        except OSError as e:
            found[name] = e.errno
    if len(set(found.values())) != 1:
        raise RuntimeError(repr(found))
    refuse(found["nice"], found["nice"])


def socket_vsock(_):
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()


def socket_netlink(_):
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()


def write_cgroup(_):
    path = "/sys/fs/cgroup/ductile-door/%d" % os.getpid()  # a group that is this user's
    os.mkdir(path)
    os.rmdir(path)


def own_cgroup(_):
    """Is the unit's own group, up to its name, on a mount that may be written?"""
    path = open("/proc/self/cgroup").read().split("0::")[1].split("\n")[0]
    unit = path[:path.index(".service") + len(".service")]
    refuse(os.statvfs("/sys/fs/cgroup" + unit).f_flag & os.ST_RDONLY, errno.EROFS)


def shared_tmp(_):
    os.stat("/tmp/ductile-door")


def ahead(_):
    """Does it come before what has the default?"""
    refuse(os.getpriority(os.PRIO_PROCESS, 0) >= 0, errno.EPERM)


def write_home(_):
    with open("/home/ductile-door/x", "w"):
        pass


ATTEMPTS = {"NoNewPrivileges": setuid_program, "RestrictNamespaces": namespace, "ProtectSystem": write_usr,
            "PrivateDevices": open_device, "ProtectKernelTunables": writable_tunables, "ProtectKernelModules": list_modules,
            "ProtectKernelLogs": kernel_log, "ProtectClock": clock, "ProtectHostname": hostname,
            "LockPersonality": personality, "Nice": ahead, "RestrictRealtime": realtime, "PrivateMounts": host_mounts, "UMask": open_umask,
            "LimitCORE": core, "LimitMEMLOCK": lock_memory, "SystemCallArchitectures": foreign_abi,
            "SystemCallErrorNumber": slow_down, "SystemCallFilter": filtered, "RestrictAddressFamilies": socket_vsock,
            "RestrictAddressFamilies/netlink": socket_netlink, "ProtectControlGroups": write_cgroup, "ReadWritePaths": own_cgroup,
            "PrivateTmp": shared_tmp, "ProtectHome": write_home}


def attempt(name, mnt):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            ATTEMPTS[name](mnt)
            word = "allowed"
        except OSError as e:
            word = errno.errorcode.get(e.errno, str(e.errno))
        except BaseException as e:  # must not look like a denial
            word = repr(e)
        os.write(write, word.encode())
        os._exit(0)
    os.close(write)
    status = os.waitpid(pid, 0)[1]
    return signal.Signals(status).name if os.WIFSIGNALED(status) else os.read(read, 200).decode()


# ---- the credentialed contract --------------------------------------------------------------------------------------


def run(*command, cwd=None, stdin=None):
    p = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=60)
    if p.returncode != 0:
        raise RuntimeError("%s: %s" % (command[0], (p.stdout + p.stderr)[-300:]))
    return p.stdout.strip()


def git_over_ssh():
    clone = os.path.expanduser("~/clone-%d" % os.getpid())
    run("git", "-c", "core.sshCommand=ssh -p 2222 -i ~/.ssh/deploy -o BatchMode=yes", "clone", "-q", "forge@127.0.0.1:repo.git", clone)
    with open(clone + "/file", "a") as f:
        f.write("x\n")
    run("git", "config", "core.sshCommand", "ssh -p 2222 -i ~/.ssh/deploy -o BatchMode=yes", cwd=clone)
    run("git", "add", "file", cwd=clone)
    run("git", "commit", "-q", "-m", "by a plugin", cwd=clone)
    run("git", "push", "-q", "origin", "HEAD:main", cwd=clone)
    return run("git", "log", "-1", "--format=%an %s", cwd=clone)


def square(n):
    return n * n


def pool():
    lock = multiprocessing.Semaphore(1)  # lives in /dev/shm
    with lock, multiprocessing.Pool(3) as workers:
        return sum(workers.map(square, range(10)))


def shell():
    return run("bash", "-c", "echo $((6 * 7)) | tee /dev/stderr | cat; : >/tmp/ductile-test-hardened; rm /tmp/ductile-test-hardened")


JIT = """
let sum = 0; for (let i = 0; i < 3e6; i++) sum = (sum + i * i) % 1000003;
const wasm = new WebAssembly.Module(Uint8Array.from([0,97,115,109,1,0,0,0,1,5,1,96,0,1,127,3,2,1,0,7,5,1,1,102,0,0,10,6,1,4,0,65,42,11]));
console.log(sum, new WebAssembly.Instance(wasm).exports.f());
"""


def node():
    return run("node", "-e", JIT)


def names():
    return socket.getaddrinfo("localhost", 80, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]


WORK = {"names": names, "git over ssh": git_over_ssh, "pool": pool, "shell": shell, "node": node}


def worked(only):
    result = {}
    for name, fn in WORK.items():
        if only and name not in only:
            continue
        try:
            result[name] = fn()
        except Exception as e:
            result[name] = "failed: %s" % e
    return result


def main():
    if len(sys.argv) > 2:
        print(attempt(sys.argv[1], sys.argv[2]))
        return
    request = json.load(sys.stdin)
    if request["command"] == "handle":
        result = worked((request.get("payload") or {}).get("only"))
    else:
        result = {name: attempt(name, request["payload"]["mnt"]) for name in ATTEMPTS}
    print(json.dumps({"status": "ok", "result": result}))


if __name__ == "__main__":
    main()
