"""More attacks for climb.py, each a function that returns what it got or raises OSError with the kernel's errno.

An attack that searches (a secret in an environment, a descriptor too many) raises NotFound: there was nothing to find. That
counts as held only beside a control in which the same search found something.
"""
import ctypes
import errno
import fcntl
import glob
import mmap
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess

CANARY = "ductile-canary"  # planted where the service has it, and the plugin must not


class NotFound(Exception):
    pass


def syscall(x86, arm, *args):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    nr = x86 if os.uname().machine == "x86_64" else arm
    r = libc.syscall(ctypes.c_long(nr), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    if r < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return r


def found(what):
    if not what:
        raise NotFound
    return str(what)[:200]


def read(path):
    with open(path, "rb") as f:
        return "%d bytes of %s" % (len(f.read(4096)), path)


# ---- capabilities, foreign system calls ------------------------------------------------------------------------------


def keep_caps(_):
    """Puts CAP_SETUID and CAP_SETGID, left over in the permitted set, into the effective one."""
    both = (1 << 7) | (1 << 6)
    header = struct.pack("Ii", 0x20080522, 0)
    syscall(126, 91, ctypes.create_string_buffer(header), ctypes.create_string_buffer(struct.pack("6I", both, both, 0, 0, 0, 0)))
    return "CAP_SETUID and CAP_SETGID are effective"


def foreign(which):
    """A call of another ABI (foreign.c); it exits with the errno. The unit's SystemCallArchitectures= kills it (SIGSYS) where
    the warden's filter would answer ENOSYS: of two filters the harder answer holds."""
    r = subprocess.run([which[0], which[1]], capture_output=True, timeout=10)
    if r.returncode < 0:
        raise OSError(errno.ENOSYS, "killed: %s" % signal.Signals(-r.returncode).name)
    if r.returncode:
        raise OSError(r.returncode, "")
    return r.stdout.decode().strip()


def raise_limit(name):
    which, value = getattr(resource, name), (1 << 40)
    try:
        resource.setrlimit(which, (value, value))
    except ValueError as e:  # python's word for EPERM
        raise OSError(errno.EPERM, str(e))
    return "%s is %s" % (name, resource.getrlimit(which))


def may_dump_core(_):
    """The soft limit is 0; who may raise it leaves a secret in a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        return raise_limit("RLIMIT_CORE")
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    return "a core of up to %s bytes" % hard


def lock_memory(size):
    """32 MiB are what the warden's own limit allows, and would starve others; 64 KiB are anybody's."""
    m = mmap.mmap(-1, size)
    syscall(149, 228, ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(m))), size)
    return "%d bytes are locked" % size


# ---- secret zero by other names ---------------------------------------------------------------------------------------


def key_by_descriptor(path):
    fd = os.open(path, os.O_PATH)
    return read("/proc/self/fd/%d" % fd)


def key_by_hardlink(arg):
    key, own = arg
    last = None
    for name in (own + "/linked", os.path.dirname(key) + "/linked"):
        try:
            os.link(key, name)
            try:
                return read(name)
            finally:
                os.unlink(name)
        except OSError as e:
            last = e if last is None or e.errno != errno.EXDEV else last
    raise last


def key_by_symlink(arg):
    key, own = arg
    name = (own if os.access(own, os.W_OK) else "/tmp") + "/symlinked"
    if os.path.lexists(name):
        os.unlink(name)
    os.symlink(key, name)
    try:
        return read(name)
    finally:
        os.unlink(name)


def key_by_root_of(arg):
    pid, key = arg
    return read("/proc/%d/root%s" % (pid, key))


# ---- what the service has ------------------------------------------------------------------------------------------------


def env_leak(_):
    return found([k for k, v in os.environ.items() if CANARY in v])


def argv_leak(token):
    hits = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                if token.encode() in f.read():
                    hits.append(path)
        except OSError:
            pass
    return found(hits)


def fd_leak(_):
    leaked = []
    for fd in range(3, 1024):
        try:
            leaked.append("%d -> %s" % (fd, os.readlink("/proc/self/fd/%d" % fd)))
        except OSError:
            pass
    # The pipe of this row is our own.
    return found([x for x in leaked if "pipe:" not in x and "/proc" not in x and "socket" not in x])


def cwd_escape(own):
    return found(os.getcwd() != own and "cwd is %s, not %s" % (os.getcwd(), own))


def service_keyring(_):
    """A key that the service holds in its session keyring (KEYCTL_SEARCH, then KEYCTL_READ)."""
    key = syscall(250, 219, 10, ctypes.c_long(-3), ctypes.c_char_p(b"user"), ctypes.c_char_p(CANARY.encode()), 0)
    buf = ctypes.create_string_buffer(64)
    n = syscall(250, 219, 11, key, buf, 64)
    return buf.raw[:n].decode()


# ---- others of the same account, and of others -----------------------------------------------------------------------------


def sibling_stdin(pid):
    """What the warden writes to another job of this account, by opening its pipe anew."""
    fd = os.open("/proc/%d/fd/0" % pid, os.O_RDONLY | os.O_NONBLOCK)
    os.close(fd)
    return "the other end of its stdin"


def sibling_limits(pid):
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (16, 16))
    return "it may open 16 files"


# ---- files that others obey -------------------------------------------------------------------------------------------------


def plant(path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.close(fd)
    os.unlink(path)
    return path + " was made (and removed)"


def plant_in_path(_):
    last = NotFound()
    for directory in os.environ["PATH"].split(":"):
        try:
            return plant(directory + "/ductile-climb")
        except OSError as e:
            last = e if e.errno != errno.ENOENT else last
    raise last


def change_code(path):
    fd = os.open(path, os.O_WRONLY)
    os.close(fd)
    return path + " could be written"


def move_away(path):
    os.rename(path, path + ".moved")
    os.rename(path + ".moved", path)
    return path + " was moved (and moved back)"


def immutable_tree(own):
    name = own + "/immutable"
    fd = os.open(name, os.O_RDONLY | os.O_CREAT, 0o600)
    try:
        fcntl.ioctl(fd, 0x40086602, struct.pack("l", 0x10))  # FS_IOC_SETFLAGS, FS_IMMUTABLE_FL
        fcntl.ioctl(fd, 0x40086602, struct.pack("l", 0))
    finally:
        os.close(fd)
        os.unlink(name)
    return "a file that no sweep can remove"


def leave_setuid(path):
    """A program that runs as us, for whoever finds it. Made here; run by another account (run_setuid)."""
    if os.path.exists(path):
        os.unlink(path)
    shutil.copy("/usr/bin/id", path)
    os.chmod(path, 0o4755)
    return "left " + path


def run_setuid(path):
    r = subprocess.run([path, "-u"], capture_output=True, text=True, timeout=10)
    if not r.stdout:
        raise OSError(errno.EACCES, r.stderr)
    if int(r.stdout) == os.getuid():
        raise OSError(errno.EPERM, "it ran as ourselves")
    return "became uid " + r.stdout.strip()


# ---- sockets ---------------------------------------------------------------------------------------------------------------------


def send(arg):
    path, text = arg
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect(path)
        s.send(text.encode())
    return "sent to " + path


def dial(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(path)
    return "connected to " + path


def rows(t):
    """(name, attack, argument); what a target is missing for is left out."""
    key, own, uid = t["secret-zero"], t["own"], os.getuid()
    yield "keep-caps", keep_caps, None
    yield "ia32-syscall", foreign, [t["foreign"], "ia32"]
    yield "x32-syscall", foreign, [t["foreign"], "x32"]
    yield "read-key-path", read, key
    yield "read-key-descriptor", key_by_descriptor, key
    yield "read-key-hardlink", key_by_hardlink, [key, own]
    yield "read-key-symlink", key_by_symlink, [key, own]
    yield "env-leak", env_leak, None
    yield "fd-leak", fd_leak, None
    yield "cwd-escape", cwd_escape, own
    yield "read-service-keyring", service_keyring, None
    yield "coredump-secret", may_dump_core, None
    yield "mlock-limit", lock_memory, 32 << 20
    yield "twin-mlock", lock_memory, 64 << 10
    yield "swap-before-exec", change_code, t["code"]
    yield "swap-dir-of-code", move_away, os.path.dirname(t["code"])
    yield "swap-interpreter-in-PATH", plant_in_path, None
    yield "state_dir-replaced", move_away, own
    yield "leave-immutable-tree", immutable_tree, own
    yield "plant-authorized_keys", plant, t["home"] + "/.ssh/authorized_keys.climb"
    yield "user-manager-escape", dial, "/run/user/%d/systemd/private" % t["login-uid"]
    for name, pid in t.get("pids", {}).items():
        if name in ("warden", "bus"):
            yield "read-key-root-of-" + name, key_by_root_of, [pid, key]
    for name in ("argv-leak", "twin-argv"):
        if name in t:
            yield name, argv_leak, t[name][::-1]  # our own request must not be what is found
    if "leave" in t:
        yield "leave-setuid-file", leave_setuid, t["leave"]
    if "run" in t:
        yield "run-setuid-file", run_setuid, t["run"]
    if "sibling" in t["pids"]:
        yield "reopen-passed-pipe", sibling_stdin, t["pids"]["sibling"]
        yield "prlimit-sibling", sibling_limits, t["pids"]["sibling"]
    yield "fake-sd_notify", send, ["/run/systemd/notify", "STOPPING=1\nSTATUS=climbed\n"]
    yield "forge-journal-line", send, ["/run/systemd/journal/socket", "MESSAGE=climb forged this\nSYSLOG_IDENTIFIER=ductile-run\n_UID=%d\n" % t["uids"]["service"]]
