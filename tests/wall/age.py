"""The cases of 70-age.sh, as a user without privileges. age.py DAMAGED MIB"""
import contextlib
import glob
import os
import pty
import random
import re
import resource
import select
import signal
import subprocess
import sys
import termios
import time
import traceback

VAULT = "/usr/local/bin/ductile-vault"
DAMAGED, MIB = int(sys.argv[1]), int(sys.argv[2])
CHUNK = 65536
CODES = {"header": 3, "no match": 4, "HMAC": 5, "payload": 6, "armor": 7}
IDS = {3: "AGE-HEADER-01", 4: "AGE-MATCH-01", 5: "AGE-HMAC-01", 6: "AGE-DATA-01", 7: "AGE-ARMOR-01"}
chance = random.Random(7)


def check(function):
    """One TAP line, named by the function's first line of text."""
    name = "70-age: " + function.__doc__.split("\n")[0]
    try:
        function()
        print("ok - " + name)
    except Exception:  # pylint: disable=broad-except
        print("not ok - " + name)
        for line in traceback.format_exc().splitlines():
            print("#   " + line)
    sys.stdout.flush()


def run(*argv, data=b"", code=0):
    done = subprocess.run(argv, input=data, capture_output=True)
    assert code is None or done.returncode == code, (argv, done.returncode, done.stderr.decode())
    return done


def vault(*argv, data=b"", code=0):
    return run(VAULT, *argv, data=data, code=code)


def age(*argv, data=b"", code=0):
    return run("age", *argv, data=data, code=code)


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def keypair(path, tool=(VAULT, "keygen")):
    run(*tool, "-o", path)
    return run("age-keygen", "-y", path).stdout.decode().strip()


def keys():
    """keygen writes what age-keygen reads, 0600, and never over a file"""
    for path, tool in (("ours", (VAULT, "keygen")), ("theirs", ("age-keygen",))):
        globals()[path] = keypair(path, tool)
        assert os.stat(path).st_mode & 0o777 == 0o600
    before = read("ours")
    assert b"AGE-OUT-01" in vault("keygen", "-o", "ours", code=73).stderr
    assert read("ours") == before
    assert vault("keygen").stdout.count(b"AGE-SECRET-KEY-1") == 1
    assert b'"recipient":"age1' in vault("keygen", "--json", "-o", "third").stdout


def sizes():
    """every size around the borders of chunks and lines, both ways, binary and armored"""
    for n in (0, 1, 15, 16, 17, 47, 48, 49, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 5 * CHUNK + 7):
        plain = chance.randbytes(n)
        for armor in ((), ("-a",)):
            sealed = vault("encrypt", "-r", theirs, *armor, data=plain).stdout
            assert age("-d", "-i", "theirs", data=sealed).stdout == plain, (n, armor)
            assert sealed.startswith(b"-----BEGIN AGE" if armor else b"age-encryption.org/v1\n")
            sealed = age("-r", ours, *armor, data=plain).stdout
            assert vault("decrypt", "-i", "ours", data=sealed).stdout == plain, (n, armor)


def many():
    """a hundred recipients: each opens it, and among a hundred ours is found"""
    plain = b"for many"
    others = [keypair("key%d" % i, ("age-keygen",)) for i in range(12)]
    recipients = [r for r in (others * 9)[:99]] + [ours]
    flags = [x for r in recipients for x in ("-r", r)]
    sealed = vault("encrypt", *flags, data=plain).stdout
    for i in (0, 5, 11):
        assert age("-d", "-i", "key%d" % i, data=sealed).stdout == plain
    assert vault("decrypt", "-i", "theirs", "-i", "ours", data=sealed).stdout == plain
    assert vault("decrypt", "-i", "ours", data=age(*flags, data=plain).stdout).stdout == plain
    write("all", b"".join(read("key%d" % i) for i in range(12)))
    assert vault("decrypt", "-i", "all", data=age("-r", others[9], data=plain).stdout).stdout == plain
    vault("decrypt", "-i", "theirs", data=sealed, code=4)


class Terminal:
    """A program with a terminal of its own; what it asks is answered."""

    def __init__(self, *argv):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(argv[0], argv)
        self.seen = b""

    def until(self, text, seconds=90):
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, (text, self.seen)
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 4096)
                except OSError:
                    assert text in self.seen, (text, self.seen)
        self.seen = self.seen.split(text, 1)[1]

    def echo(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def wait_echo(self, on):
        for _ in range(1000):
            if self.echo() == on:
                return
            time.sleep(0.02)
        raise AssertionError("echo is %s" % self.echo())

    def answer(self, question, text):
        self.until(question)
        self.wait_echo(False)
        os.write(self.fd, text + b"\n")

    def wait(self):
        with contextlib.suppress(OSError):
            while True:
                piece = os.read(self.fd, 4096)
                if not piece:
                    break
                self.seen += piece
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def passphrases():
    """a passphrase, both ways: what one asked for opens what the other wrote, and is not shown"""
    write("plain", b"by passphrase")
    t = Terminal(VAULT, "encrypt", "-p", "-o", "ours.scrypt", "plain")
    t.answer(b"not shown", b"correct horse")
    t.answer(b"once more", b"correct horse")
    assert t.wait() == 0 and b"horse" not in t.seen, t.seen
    assert read("ours.scrypt").split(b"\n")[1].endswith(b" 18")
    t = Terminal("age", "-d", "-o", "back", "ours.scrypt")
    t.until(b"passphrase")
    time.sleep(0.2)
    os.write(t.fd, b"correct horse\n")
    assert t.wait() == 0 and read("back") == b"by passphrase", t.seen
    t = Terminal("age", "-p", "-o", "theirs.scrypt", "plain")
    for question in (b"assphrase", b"onfirm"):
        t.until(question)
        time.sleep(0.2)
        os.write(t.fd, b"battery staple\n")
    assert t.wait() == 0, t.seen
    for answer, code in ((b"battery staple", 0), (b"battery", 4)):
        t = Terminal(VAULT, "decrypt", "-p", "-o", "back%d" % code, "theirs.scrypt")
        t.answer(b"not shown", answer)
        assert t.wait() == code and b"staple" not in t.seen, t.seen
    assert read("back0") == b"by passphrase" and not os.path.exists("back4")


def passphrase_refusals():
    """a passphrase that is empty, differs, is mixed with a recipient, or has no terminal is refused"""
    for answers, word in (((b"",), b"it is empty"), ((b"a", b"b"), b"the two differ"), ((b"x" * 1030,), b"longer than")):
        t = Terminal(VAULT, "encrypt", "-p", "-o", "never", "plain")
        for question, answer in zip((b"not shown", b"once more"), answers):
            t.answer(question, answer)
        assert t.wait() == 66 and word in t.seen, (t.seen, word)
    assert b"stands alone" in vault("encrypt", "-p", "-r", ours, code=64).stderr
    done = subprocess.run([VAULT, "encrypt", "-p"], input=b"x", capture_output=True, start_new_session=True)
    assert done.returncode == 66 and b"AGE-PASS-01" in done.stderr, done.stderr
    assert not os.path.exists("never")


def prompt_signals():
    """a signal at the prompt meets a terminal that echoes again; after a stop it asks again"""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        t = Terminal(VAULT, "decrypt", "-p", "theirs.scrypt")
        t.until(b"not shown")
        t.wait_echo(False)
        os.kill(t.pid, number)
        t.wait_echo(True)
        assert t.wait() == -number
    t = Terminal(VAULT, "decrypt", "-p", "theirs.scrypt")
    t.until(b"not shown")
    t.wait_echo(False)
    os.write(t.fd, b"\x03")  # Ctrl-C
    t.wait_echo(True)
    assert t.wait() == -signal.SIGINT
    shell = Terminal("bash", "--norc", "-i")
    os.write(shell.fd, b"%s decrypt -p -o stopped theirs.scrypt; echo code=$?\n" % VAULT.encode())
    shell.until(b"not shown")
    shell.until(b": ")
    time.sleep(0.2)
    os.write(shell.fd, b"\x1a")  # Ctrl-Z
    shell.until(b"Stopped")
    os.write(shell.fd, b"fg; echo code=$?\n")
    shell.answer(b"not shown", b"battery staple")
    shell.until(b"code=0")
    os.write(shell.fd, b"exit\n")
    shell.wait()
    assert read("stopped") == b"by passphrase"


def samples():
    """A good file, and one for each way of being bad."""
    good = age("-r", ours, data=chance.randbytes(3 * CHUNK)).stdout
    armored = age("-a", "-r", ours, data=b"hello").stdout
    mac = good.index(b"\n--- ") + 5
    other = b"A" if good[mac:mac + 1] != b"A" else b"B"
    return good, {
        "header": good.replace(b"v1\n", b"v9\n", 1),
        "no match": age("-r", theirs, data=b"x").stdout,
        "HMAC": good[:mac] + other + good[mac + 1:],
        "payload": good[:-1],
        "armor": armored.replace(b"\n", b" \n", 3),
    }


def codes():
    """each way of being bad has its exit code and id; under -o nothing appears, and what was there stays"""
    good, bad = samples()
    for name, data in bad.items():
        write("bad", data)
        done = vault("decrypt", "-i", "ours", "-o", "out", "bad", code=CODES[name])
        assert IDS[CODES[name]].encode() in done.stderr and b"why: " in done.stderr and b"do:  " in done.stderr, done.stderr
        assert not os.path.exists("out")
        write("kept", b"as it was")
        vault("decrypt", "-i", "ours", "-o", "kept", "bad", code=CODES[name])
        assert read("kept") == b"as it was"
        assert b'"refused":{"id":"' + IDS[CODES[name]].encode() in vault("decrypt", "--json", "-i", "ours", "-o", "out", "bad", code=CODES[name]).stdout
    assert not [f for f in os.listdir(".") if f.startswith(".")], os.listdir(".")
    vault("decrypt", "-i", "ours", "-o", "kept", data=good)  # control
    assert len(read("kept")) == 3 * CHUNK and os.stat("kept").st_mode & 0o777 == 0o600


def released():
    """on standard output: whole authenticated chunks, and no byte of one that is not"""
    plain = chance.randbytes(3 * CHUNK)
    sealed = bytearray(age("-r", ours, data=plain).stdout)
    begin = len(sealed) - 3 * (CHUNK + 16)
    for at, chunks in ((begin + 5, 0), (begin + CHUNK + 16 + 5, 1), (len(sealed) - 1, 2)):
        sealed[at] ^= 1
        assert vault("decrypt", "-i", "ours", data=bytes(sealed), code=6).stdout == plain[:chunks * CHUNK]
        sealed[at] ^= 1


def refusals():
    """inputs, outputs, keys and recipients that are not there or not right are said so, each with its code"""
    rows = ((("decrypt", "-i", "ours", "missing"), 66, b"AGE-IN-01"), (("decrypt", "-i", "missing", "plain"), 65, b"AGE-KEY-01"),
            (("decrypt", "-i", "plain", "plain"), 65, b"AGE-KEY-01"), (("decrypt", "plain"), 64, b"needs -i"),
            (("encrypt", "plain"), 64, b"needs -r"), (("encrypt", "-r", ours.upper(), "plain"), 65, b"AGE-RCPT-01"),
            (("encrypt", "-r", ours[:-1] + ("q" if ours[-1] != "q" else "p"), "plain"), 65, b"AGE-RCPT-01"),
            (("encrypt", "-r", low_order(), "plain"), 65, b"low order"),
            (("encrypt", "-r", ours, "-o", "none/x", "plain"), 73, b"AGE-OUT-01"), (("encrypt", "-r", ours, "-o", "/usr/x", "plain"), 73, b"AGE-OUT-01"),
            (("encrypt", "-r", ours, "--json", "plain"), 64, b"--json needs -o"), (("encrypt", "-r", ours, "."), 74, b"CLI-IO-01"),
            (("decrypt", "-i", "ours", "a", "b"), 64, b"one argument too many"))
    for argv, code, word in rows:
        done = vault(*argv, code=code)
        assert word in done.stderr, (argv, done.stderr)
    assert subprocess.run("%s encrypt -r %s plain >/dev/full" % (VAULT, ours), shell=True, capture_output=True).returncode == 74


def low_order():
    """age1... of the point 0, by the polymod of BIP 173."""
    letters, values = "qpzry9x8gf2tvdw0s3jn54khce6mua7l", [0] * 52
    total = 1
    for v in [ord(c) >> 5 for c in "age"] + [0] + [ord(c) & 31 for c in "age"] + values + [0] * 6:
        top, total = total >> 25, (total & 0x1ffffff) << 5 ^ v
        for i, g in enumerate((0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3)):
            total ^= g if top >> i & 1 else 0
    return "age1" + "".join(letters[v] for v in values + [(total ^ 1) >> 5 * (5 - i) & 31 for i in range(6)])


def killed():
    """killed or stopped half way, nothing is left under -o and no temporary file beside it"""
    sealed = age("-r", ours, data=chance.randbytes(8 * CHUNK)).stdout
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        child = subprocess.Popen([VAULT, "decrypt", "-i", "ours", "-o", "half"], stdin=subprocess.PIPE)
        child.stdin.write(sealed[:6 * CHUNK])
        child.stdin.flush()
        time.sleep(0.1)
        child.send_signal(number)
        assert child.wait() == -number
        child.stdin.close()
        assert not os.path.exists("half") and not glob.glob(".duct*"), os.listdir(".")


def outputs():
    """-o replaces a file, follows a link, writes into a device; the input may be the output"""
    write("plain", b"in place")
    vault("encrypt", "-r", ours, "-o", "plain", "plain")
    os.symlink("plain", "link")
    vault("decrypt", "-i", "ours", "-o", "link", "link")
    assert os.path.islink("link") and read("plain") == b"in place"
    vault("encrypt", "-r", ours, "-o", "/dev/null", "plain")
    assert vault("encrypt", "-r", ours, "-o", "-", "plain").stdout.startswith(b"age-encryption.org")
    assert b'{"written":"x"}' in vault("encrypt", "--json", "-r", ours, "-o", "x", "plain").stdout


def peak(data, *argv):
    """VmHWM of a program that has read all of data and not seen its end."""
    child = subprocess.Popen([VAULT, *argv, "-o", "/dev/null"], stdin=subprocess.PIPE)
    child.stdin.write(data)
    child.stdin.flush()
    with open("/proc/%d/status" % child.pid, encoding="ascii") as f:
        kib = int(re.search(r"VmHWM:\s*(\d+)", f.read()).group(1))
    child.stdin.close()
    assert child.wait() == 0
    return kib


def memory():
    """a file of any size passes in constant memory, both ways"""
    used = {}
    for mib in (1, MIB):
        plain = bytes(mib << 20)
        write("large", plain)
        vault("encrypt", "-a", "-r", ours, "-o", "large.age", "large")
        used[mib] = (peak(plain, "encrypt", "-r", ours), peak(read("large.age"), "decrypt", "-i", "ours"))
        os.unlink("large.age")
    print("# figure 70-age: peak KiB of encrypt, decrypt: %s" % "; ".join("%d MiB: %d, %d" % (m, *u) for m, u in used.items()))
    assert all(b - a < 256 for a, b in zip(used[1], used[MIB])), used


AGE_SAYS = ((b"invalid armor", 7), (b"bad header MAC", 5), (b"no identity matched", 4), (b"failed to read header", 3), (b"failed to read nonce", 3),
            (b"parsing age header", 3), (b"payload chunk", 6), (b"trailing data", 6), (b"last chunk", 6), (b"unexpected EOF", 6), (b"recipient", 3))


def damage(data):
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        # half of the changes in the header, where the rules are
        at = chance.randrange(min(len(data), 420)) if chance.random() < 0.7 else chance.randrange(len(data))
        what = chance.randrange(7)
        if what == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif what == 1:
            data[at:at] = chance.choice((b" ", b"\n", b"\r", b"=", b"A", b"-> x\n\n", b"\0"))
        elif what == 2:
            del data[at:at + chance.choice((1, 1, 2, 16))]
        elif what == 3:
            del data[at:]
        elif what == 4:
            data += chance.choice((b"\n", b" ", b"x", b"A" * 100, bytes(CHUNK)))
        elif what == 5:
            line = data.rfind(b"\n", 0, at) + 1
            data[line:line] = data[line:data.find(b"\n", line) + 1]
        else:
            data[at:at + 1] = chance.choice((b"+", b"/", b"Z", b"-", b"\x7f", b"\xff"))
        if not data:
            data = bytearray(b"a")
    return bytes(data)


def differential():
    """damaged files: age and we say the same of each, and release the same bytes"""
    big, small = chance.randbytes(CHUNK + 100), b"small"
    seeds = [age("-r", theirs, "-r", ours, data=small).stdout, age("-r", ours, data=big).stdout, age("-a", "-r", ours, data=small).stdout,
             age("-a", "-r", ours, data=chance.randbytes(200)).stdout, age("-r", ours, data=chance.randbytes(CHUNK)).stdout]
    seen = {}
    for _ in range(DAMAGED):
        data = damage(chance.choice(seeds))
        them, us = age("-d", "-i", "ours", data=data, code=None), vault("decrypt", "-i", "ours", data=data, code=None)
        said = 0 if them.returncode == 0 else next((c for w, c in AGE_SAYS if w in them.stderr), None)
        seen[us.returncode] = seen.get(us.returncode, 0) + 1
        stripped = data.lstrip(b" \t\r\n")
        if stripped != data and stripped.startswith(b"-----BEGIN"):
            continue  # white space in front: the format allows it, the tool does not look for it
        if re.search(rb"\r(?!\n)", data) and us.returncode == 7:
            continue  # a bare CR in a line of base64: the tool of Debian 12 overlooks it
        if us.returncode == 7 and said == 3 and b"unexpected intro" in them.stderr or b"failed to read intro" in them.stderr and said == 3:
            continue  # a marker so bad that the tool takes it for a header
        if us.returncode == 3 and well_formed_match_first(data):
            continue  # a malformed stanza behind the one that opens: the tool does not look at it
        assert said == us.returncode and (said != 0 or them.stdout == us.stdout), (said, us.returncode, them.stderr, us.stderr, data[:600])
        if said == 6:
            assert them.stdout == us.stdout, (len(them.stdout), len(us.stdout))
    print("# figure 70-age: damaged files by verdict: %s" % ", ".join("%d: %d" % x for x in sorted(seen.items())))
    assert {3, 6, 7} <= set(seen), seen  # the others come now and then


def well_formed_match_first(data):
    """Is there more than one X25519 stanza, so that the tool may have stopped before the bad one?"""
    return data.count(b"-> X25519") > 1


os.environ["LC_ALL"] = "C.UTF-8"
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for case in (keys, sizes, many, passphrases, passphrase_refusals, prompt_signals, codes, released, refusals, killed, outputs, memory, differential):
    check(case)
