#!/usr/bin/python3
"""Writes index.json into the operator's own clone, commits with the operator's identity, and pushes.

Runs credentialed: with the operator's files and git configuration. What it is handed was produced by a confined plugin,
from what a server said - so nothing of it is used but names and commit ids that look exactly like names and commit
ids, and they only ever become the content of one JSON file.

config: clone (path of the clone, ~ is the home), remote (default origin), branch (default main).
"""
import json
import os
import re
import subprocess
import sys

# Held against whole strings with fullmatch: `$` would let a newline pass behind a good name.
NAME = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,100}")
MAX_REPOSITORIES = 10000


class Failed(Exception):
    def __init__(self, text, retry=True):
        super().__init__(text)
        self.retry = retry


def git(clone, *arguments):
    env = dict(os.environ, GIT_TERMINAL_PROMPT="0", LC_ALL="C")
    done = subprocess.run(["git", "-C", clone, *arguments], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise Failed("git %s: %s" % (arguments[0], done.stderr.decode(errors="replace").strip()[-300:]))
    return done.stdout.decode().strip()


def read_event(request):
    """Names and commit ids of the event, and nothing else of it."""
    payload = request["event"]["payload"]
    rows = payload.get("repositories")
    if not isinstance(rows, list) or len(rows) > MAX_REPOSITORIES:
        raise Failed("the event has no list of repositories", retry=False)
    index = {}
    for row in rows:
        name, commit = (row.get("name"), row.get("commit")) if isinstance(row, dict) else (None, None)
        if not isinstance(name, str) or not NAME.fullmatch(name) or {".", ".."} & set(name.split("/")):
            raise Failed("the event holds something that is not a repository's name", retry=False)
        if commit is not None and (not isinstance(commit, str) or not COMMIT.fullmatch(commit)):
            raise Failed("the event holds something that is not a commit id", retry=False)
        index[name] = commit
    return index


def write_index(path, index):
    with open(path + ".new", "w") as f:
        json.dump({"repositories": index}, f, indent=2, sort_keys=True)
        f.write("\n")
        f.flush()
        os.fsync(f.fileno())
    os.rename(path + ".new", path)


def publish(request, config):
    clone = os.path.expanduser(config["clone"])
    remote, branch = config.get("remote", "origin"), config.get("branch", "main")
    if not WORD.fullmatch(remote) or not WORD.fullmatch(branch):
        raise Failed("remote and branch are plain names", retry=False)
    index = read_event(request)
    if git(clone, "ls-remote", "--heads", remote, branch):
        git(clone, "pull", "--quiet", "--ff-only", remote, branch)
    write_index(os.path.join(clone, "index.json"), index)
    git(clone, "add", "--", "index.json")
    changed = git(clone, "status", "--porcelain", "--", "index.json") != ""
    if changed:
        git(clone, "commit", "--quiet", "-m", "index: %d repositories" % len(index), "--", "index.json")
    git(clone, "push", "--quiet", remote, "HEAD:refs/heads/" + branch)
    commit = git(clone, "rev-parse", "HEAD")
    return {"status": "ok", "result": {"commit": commit, "changed": changed, "repositories": len(index)},
            "events": [{"type": "repo_publish.pushed", "payload": {"commit": commit, "repositories": len(index)}}]}


def main():
    request = json.load(sys.stdin)
    try:
        answer = publish(request, request.get("config") or {})
    except Failed as e:
        answer = {"status": "error", "error": str(e), "retry": e.retry}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
