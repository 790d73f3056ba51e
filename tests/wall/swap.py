#!/usr/bin/python3
"""Swaps a plugin's code just after it was exec'd, over and over, as somebody who may write its tree.

    swap.py PLUGIN_DIR EVIL_DIR WHAT RUNS LEAK_DIR -- COMMAND...

Each run starts COMMAND (which runs one job and waits for it), watches for the plugin's process, and 0 to 30 ms after it
appeared puts evil code in place; afterwards everything is put back. WHAT:
  script   the entrypoint, by rename
  module   the module it imports after reading its request, by rename
  parent   the directory above the plugin is renamed away, one with evil code stands in for it, and is taken back
Evil code writes what it got into LEAK_DIR. Prints {"runs", "swapped", "leaks", "answered"}.
"""
import json
import os
import random
import shutil
import subprocess
import sys
import time


def plugin_process(names, seen):
    """A process whose command line names the plugin's entrypoint, not seen before."""
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or pid in seen:
            continue
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                line = f.read()
        except OSError:
            continue
        if b"/main.py" in line and any(n in line for n in names):
            seen.add(pid)
            return True
    return False


class Swap:
    def __init__(self, plugin, evil, what):
        self.plugin, self.what = plugin, what
        self.good = plugin + "/main.py" if what == "script" else plugin + "/lib/helper.py"
        self.evil = evil + "/main.py" if what == "script" else evil + "/lib/helper.py"
        self.root = os.path.dirname(plugin)
        self.shadow = os.path.dirname(self.root) + "/shadow"
        if what == "parent":
            shutil.rmtree(self.shadow, ignore_errors=True)
            shutil.copytree(self.root, self.shadow, symlinks=True)
            for name in ("main.py", "lib/helper.py"):
                shutil.copy2(evil + "/" + name, self.shadow + "/" + os.path.basename(plugin) + "/" + name)

    def on(self):
        if self.what == "parent":
            os.rename(self.root, self.root + ".away")
            os.rename(self.shadow, self.root)
        else:
            os.link(self.good, self.good + ".good")
            shutil.copy2(self.evil, self.good + ".evil")
            os.rename(self.good + ".evil", self.good)

    def off(self):
        if self.what == "parent":
            os.rename(self.root, self.shadow)
            os.rename(self.root + ".away", self.root)
        else:
            os.rename(self.good + ".good", self.good)


def main():
    split = sys.argv.index("--")
    plugin, evil, what, runs, leaks = sys.argv[1:split]
    command = sys.argv[split + 1:]
    names = [os.path.basename(plugin).encode(), b"locked"]
    swap, seen, swapped, answered = Swap(plugin, evil, what), set(), 0, 0
    for _ in range(int(runs)):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while time.monotonic() < end and child.poll() is None:
            if plugin_process(names, seen):
                time.sleep(random.uniform(0, 0.030))
                swap.on()
                swapped += 1
                if what == "parent":
                    time.sleep(random.uniform(0, 0.030))
                    swap.off()
                break
        answered += child.wait() == 0
        if os.path.exists(swap.good + ".good"):
            swap.off()
    print(json.dumps({"runs": int(runs), "swapped": swapped, "answered": answered, "leaks": len(os.listdir(leaks))}))


main()
