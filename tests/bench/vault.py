#!/usr/bin/python3
"""make bench-vault: a vault of 1,000 secrets beside `age -d` of the same file with the same key, whole processes,
in random turns, medians, in a nest: opened (`ductile-vault status`: decrypted, parsed, held, asked of the ledger, listed),
only decrypted (`ductile-vault decrypt`, what age does), and what opening needs beside that: the process itself
(`--version`) and a question to the ledger, which its own account answers (`ductile-vault audit`, no vault touched). The
promise for opening is at most 0.6 of age's time."""
import json
import os
import random
import statistics
import subprocess
import sys
import time

ROUNDS, SECRETS = int(os.environ.get("BENCH_ROUNDS", 101)), int(os.environ.get("BENCH_SECRETS", 1000))
KEY, VAULT = "/etc/ductile/secret/age.key", "/var/lib/ductile/vault/vault.age"
OPEN, DECRYPT, AGE = ["ductile-vault", "status"], ["ductile-vault", "decrypt", "-i", KEY, VAULT], ["age", "-d", "-i", KEY, VAULT]
START, ASK = ["ductile-vault", "--version"], ["ductile-vault", "audit", "--limit", "1"]


def sh(command, **kw):
    return subprocess.run(command, shell=True, check=True, capture_output=True, **kw).stdout


def fill():
    """The vault that apply made, with secrets in it; written as anybody may who has the key. Then one
    more by ductile-vault, so that file and ledger are as it leaves them."""
    plain = json.loads(sh("age -d -i %s %s" % (KEY, VAULT)))
    plain["principals"] = {"p%d" % i: {"kind": "plugin", "status": "active", "created_ms": 1} for i in range(50)}
    plain["secrets"] = {"secret_%d" % i: {"value": os.urandom(20).hex(), "pattern": "auto", "status": "active", "created_ms": 1, "updated_ms": 1,
                                          "grants": [{"principal": "p%d" % (i % 50), "as": "secret_%d" % i}]} for i in range(SECRETS)}
    recipient = sh("age-keygen -y " + KEY).decode().strip()
    sh("age -r %s -o /root/vault.new && cat /root/vault.new >%s" % (recipient, VAULT), input=json.dumps(plain, separators=(",", ":")).encode())
    sh("ductile-vault secret set one_more --auto")


def once(argv):
    """Spawned without a Python in between: what that takes would be added to both."""
    quiet = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_WRONLY, 0) for fd in (1, 2)]
    begin = time.perf_counter()
    status = os.waitpid(os.posix_spawnp(argv[0], argv, os.environ, file_actions=quiet), 0)[1]
    took = (time.perf_counter() - begin) * 1e3
    if status != 0:
        sys.exit("%s ended with %d" % (" ".join(argv), status))
    return took


def main():
    fill()
    listed = sh(" ".join(OPEN)).count(b"\nsecret ")
    if listed != SECRETS + 1:
        sys.exit("the vault opens with %d secrets, not %d" % (listed, SECRETS + 1))
    commands, took = [OPEN, DECRYPT, START, ASK, AGE], {}
    for _ in range(ROUNDS + 5):
        for i in random.sample(range(len(commands)), len(commands)):  # who comes next after whom is chance
            took.setdefault(i, []).append(once(commands[i]))
    opened, decrypted, started, asked, age = (statistics.median(took[i][5:]) for i in range(len(commands)))
    print("%d secrets, %d bytes, %d rounds: age -d %.2f ms" % (SECRETS, os.path.getsize(VAULT), ROUNDS, age))
    for name, ms in (("--version", started), ("audit", asked), ("decrypt", decrypted)):
        print("ductile-vault %-10s %.2f ms, ratio %.2f" % (name, ms, ms / age))
    print("ductile-vault %-10s %.2f ms, ratio %.2f (promised: at most 0.6)" % ("status", opened, opened / age))
    return 0 if opened <= 0.6 * age else 1


sys.exit(main())
