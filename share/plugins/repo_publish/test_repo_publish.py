#!/usr/bin/python3
"""Tests of the plugin against a bare repository in a temporary directory."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
COMMIT = "a" * 40


class Publish(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.env = dict(os.environ, HOME=self.dir.name, GIT_CONFIG_NOSYSTEM="1")
        self.git("init", "-q", "--bare", "-b", "main", "remote.git")
        self.git("clone", "-q", "remote.git", "clone")
        for key, value in (("user.name", "Somebody"), ("user.email", "s@example.org")):
            self.git("-C", "clone", "config", key, value)

    def git(self, *arguments):
        return subprocess.run(["git", *arguments], cwd=self.dir.name, env=self.env, check=True, capture_output=True,
                              text=True).stdout.strip()

    def ask(self, payload, **config):
        request = {"secrets": {}, "protocol": 2, "job_id": "1", "command": "handle", "state": {}, "payload": payload, "context": {},
                   "config": {"clone": "~/clone", **config}, "event": {"type": "github_repo_sync.completed", "payload": payload}}
        done = subprocess.run([sys.executable, "-B", HERE + "/repo_publish.py"], input=json.dumps(request), text=True,
                              capture_output=True, timeout=30, env=self.env, check=True)
        return json.loads(done.stdout)

    def payload(self, name="o/r", commit=COMMIT):
        return {"login": "o", "repositories": [{"name": name, "commit": commit}]}

    def test_pushes_an_index(self):
        answer = self.ask(self.payload())
        self.assertEqual(answer["result"]["changed"], True)
        index = json.loads(self.git("--git-dir", "remote.git", "show", "main:index.json"))
        self.assertEqual(index, {"repositories": {"o/r": COMMIT}})
        self.assertEqual(self.git("--git-dir", "remote.git", "log", "-1", "--format=%an", "main"), "Somebody")
        self.assertEqual(answer["events"][0]["payload"]["commit"], self.git("--git-dir", "remote.git", "rev-parse", "main"))

    def test_the_same_again_commits_nothing(self):
        first = self.ask(self.payload())["result"]["commit"]
        again = self.ask(self.payload())["result"]
        self.assertEqual((again["changed"], again["commit"]), (False, first))

    def test_takes_up_what_others_pushed(self):
        self.ask(self.payload())
        self.git("clone", "-q", "remote.git", "other")
        self.git("-C", "other", "-c", "user.name=o", "-c", "user.email=o@o", "commit", "-q", "--allow-empty", "-m", "theirs")
        self.git("-C", "other", "push", "-q", "origin", "main")
        self.assertEqual(self.ask(self.payload(commit="b" * 40))["status"], "ok")

    def test_what_is_not_a_name_or_a_commit(self):
        for name, commit in (("../x", COMMIT), ("a b/c", COMMIT), ("o/r", "HEAD"), ("o/r", "a" * 39), ("o/r", 7), (None, COMMIT),
                             ("o/r\n", COMMIT), ("o/r", COMMIT + "\n")):
            answer = self.ask(self.payload(name, commit))
            self.assertEqual((answer["status"], answer["retry"]), ("error", False), (name, commit))
        for payload in ({}, {"repositories": "x"}, {"repositories": [1]}):
            self.assertEqual(self.ask(payload)["status"], "error")
        self.assertEqual(self.git("-C", "clone", "status", "--porcelain"), "")

    def test_odd_branches_and_remotes(self):
        for config in ({"branch": "--force"}, {"remote": "ext::sh -c id"}, {"branch": "a b"}):
            self.assertEqual(self.ask(self.payload(), **config)["status"], "error")

    def test_an_empty_repository_has_no_commit(self):
        self.assertEqual(self.ask(self.payload(commit=None))["status"], "ok")


if __name__ == "__main__":
    unittest.main()
