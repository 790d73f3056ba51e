#!/usr/bin/python3
"""writers.py OPS SEED: two who change the vault at once, and one who reads it as the warden does.

Each writer has names of its own and a model of them; now and then both reach for one name, or for something that must
be refused. At the end: what the vault holds is what the two models hold (nothing was lost), the ledger has a row for each
operation, refused ones too, generations rise by one from change to change, the last stands beside the ledger, and the
reader, who goes by that, never saw one fall or a vault that did not open.
"""
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time

KEY, VAULT, LEDGER = "/etc/ductile/secret/age.key", "/var/lib/ductile/vault/vault.age", "/var/lib/ductile/ledger/ductile.db"


def run(args, value=None):
    p = subprocess.run(["ductile-vault", "-q", *args], input=value, text=True, capture_output=True)
    return p.returncode, p.stderr


class Writer(threading.Thread):
    def __init__(self, name, ops, seed):
        super().__init__()
        self.me, self.ops, self.rng = name, ops, random.Random(seed)
        self.secrets, self.principals, self.grants = {}, set(), set()
        self.faults, self.count, self.changes, self.n = [], 0, 0, 0

    def do(self, args, value=None, refused=False, unchanged=False, generations=1):
        """refused None: either is right, depending on the other."""
        code, err = run(args, value)
        self.count += 1
        if refused is not None and (code == 0) == refused:
            self.faults.append("%s: exit %d, %s" % (" ".join(args), code, err))
        if "not recorded" in err:
            self.faults.append(err)
        if code == 0 and not unchanged:
            self.changes += generations
        return code == 0

    def step(self):
        self.n += 1
        fresh, rng = "%s-%d" % (self.me, self.n), self.rng
        some = rng.choice(sorted(self.secrets)) if self.secrets else None
        who = rng.choice(sorted(self.principals)) if self.principals else None
        kind = rng.choice("set set set add grant grant roll roll revoke remove ungrant denied shared rotate".split())
        value = "value-%s" % fresh
        if kind == "set":
            self.do(["secret", "set", fresh], value)
            self.secrets[fresh] = value
        elif kind == "add":
            self.do(["principal", "add", fresh, "--kind", "consumer"])
            self.principals.add(fresh)
        elif kind == "grant" and some and who:
            there = (some, who) in self.grants
            self.do(["grant", some, who], refused=self.secrets[some] == "", unchanged=there)
            if self.secrets[some] != "":
                self.grants.add((some, who))
        elif kind == "roll" and some:
            self.do(["secret", "roll", some], value, refused=self.secrets[some] == "")
            if self.secrets[some] != "":
                self.secrets[some] = value
        elif kind == "revoke" and some:
            self.do(["secret", "revoke", some], unchanged=self.secrets[some] == "")
            self.secrets[some] = ""
        elif kind == "remove" and some:
            self.do(["secret", "remove", some])
            del self.secrets[some]
            self.grants = {g for g in self.grants if g[0] != some}
        elif kind == "ungrant" and some and who:
            self.do(["ungrant", some, who], unchanged=(some, who) not in self.grants)
            self.grants.discard((some, who))
        elif kind == "shared":  # one of the two is first, the other is told
            self.do(["principal", "add", "shared-%d" % self.n], refused=None)
        elif kind == "rotate" and self.n % 5 == 0:
            self.do(["rotate-key"], generations=2)
        else:
            self.do(rng.choice([["secret", "revoke", "never-was"], ["grant", "never-was", "nobody"], ["principal", "purge", "nobody"],
                                ["recipient", "add", "age1bad"]]), refused=True)

    def run(self):
        while self.count < self.ops:
            self.step()


class Reader(threading.Thread):
    """`status` is the reading half of the warden: no lock, key and vault one after the other."""

    def __init__(self):
        super().__init__()
        self.stop, self.faults, self.reads, self.last = False, [], 0, 0

    def run(self):
        while not self.stop:
            p = subprocess.run(["ductile-vault", "status", "--json"], text=True, capture_output=True)
            self.reads += 1
            if p.returncode != 0:
                self.faults.append(p.stderr)
                continue
            generation = json.loads(p.stdout)["generation"]
            if generation < self.last:
                self.faults.append("generation %d after %d" % (generation, self.last))
            self.last = generation


def vault():
    return json.loads(subprocess.run(["age", "-d", "-i", KEY, VAULT], text=True, capture_output=True, check=True).stdout)


def rows():
    with sqlite3.connect("file:%s?mode=ro" % LEDGER, uri=True) as db:
        return db.execute("select kind, detail from audit where actor = 'ductile-vault' order by seq").fetchall()


def main():
    ops, seed = int(sys.argv[1]), int(sys.argv[2])
    before, began = len(rows()), vault()["generation"]
    writers, reader = [Writer("a", ops // 2, seed), Writer("b", ops - ops // 2, seed + 1)], Reader()
    start = time.monotonic()
    for t in (*writers, reader):
        t.start()
    for w in writers:
        w.join()
    reader.stop = True
    reader.join()
    faults = [f for t in (*writers, reader) for f in t.faults]
    v, written = vault(), rows()[before:]
    model = {n: x for w in writers for n, x in w.secrets.items()}
    if {n: s["value"] for n, s in v["secrets"].items()} != model:
        faults.append("secrets differ: %s" % sorted(set(model) ^ set(v["secrets"]))[:5])
    grants = {(n, g["principal"]) for n, s in v["secrets"].items() for g in s["grants"]}
    if grants != {g for w in writers for g in w.grants}:
        faults.append("grants differ")
    if {p for p in v["principals"] if not p.startswith("shared-")} != writers[0].principals | writers[1].principals:
        faults.append("principals differ")
    count, changes = sum(w.count for w in writers), sum(w.changes for w in writers)
    if len(written) != count:
        faults.append("%d operations, %d rows" % (count, len(written)))
    steps = [(k, d["generation"]) for k, d in ((k, json.loads(d)) for k, d in written) if "generation" in d and d.get("changed", True)]
    for (_, a), (kind, b) in zip([("", began)] + steps, steps):
        if b - a != (2 if kind == "key.rotated" else 1):
            faults.append("generation %d, then %d by %s" % (a, b, kind))
    if v["generation"] != began + changes:
        faults.append("%d changes, generation %d after %d" % (changes, v["generation"], began))
    beside = open(os.path.join(os.path.dirname(LEDGER), "vault-generations")).read()
    if beside != "%s %d\n" % (v["vault_id"], v["generation"]):
        faults.append("beside the ledger: %s" % beside)
    print("# figure 28-writers: %d operations of two writers (%d changes), %d reads beside them, seed %d, %.0f s"
          % (count, changes, reader.reads, seed, time.monotonic() - start))
    print("\n".join(faults[:10]))
    sys.exit(bool(faults))


main()
