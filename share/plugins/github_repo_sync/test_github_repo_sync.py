#!/usr/bin/python3
"""Tests of the plugin against a tiny server in this process: what it sends where, and what it refuses to send."""
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TOKEN = "ghp_unit_test_token"


class Api(http.server.BaseHTTPRequestHandler):
    answers = {}  # path -> list of (status, headers, body), the last one stays
    seen = []

    def do_GET(self):
        Api.seen.append((self.path, self.headers.get("Authorization")))
        queue = Api.answers.get(self.path.split("?")[0], [(404, {}, {})])
        status, headers, body = queue.pop(0) if len(queue) > 1 else queue[0]
        data = json.dumps(body).encode()
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


class Sync(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
        cls.url = "http://127.0.0.1:%d" % cls.server.server_port
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.server.server_close()

    def setUp(self):
        Api.answers, Api.seen = {}, []
        self.home = tempfile.TemporaryDirectory()
        self.addCleanup(self.home.cleanup)

    def ask(self, command="poll", secrets=None, **config):
        request = {"secrets": {"github_token": TOKEN} if secrets is None else secrets, "protocol": 2, "job_id": "1",
                   "command": command, "config": {"api_url": self.url, **config}, "state": {}, "payload": {}, "context": {}}
        done = subprocess.run([sys.executable, "-B", HERE + "/github_repo_sync.py"], input=json.dumps(request), text=True,
                              capture_output=True, timeout=30, cwd=self.home.name, check=True)
        self.assertNotIn(TOKEN, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def refused(self, answer, word, retry):
        self.assertEqual(answer["status"], "error")
        self.assertIn(word, answer["error"])
        self.assertEqual(answer["retry"], retry)

    def test_nothing_to_sync(self):
        Api.answers["/user/repos"] = [(200, {}, [])]
        self.assertEqual(self.ask()["result"], {"repositories": 0, "cloned": 0, "fetched": 0})
        self.assertEqual(Api.seen[0][1], "Bearer " + TOKEN)

    def test_no_token(self):
        self.refused(self.ask(secrets={}), "no github_token", False)
        self.assertEqual(Api.seen, [])

    def test_wrong_token_is_not_retried(self):
        Api.answers["/user/repos"] = [(401, {}, {"message": "Bad credentials"})]
        self.refused(self.ask(), "401", False)

    def test_waits_for_a_rate_limit_that_ends_soon(self):
        reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 1)}
        Api.answers["/user/repos"] = [(403, reset, {}), (200, {}, [])]
        self.assertEqual(self.ask()["status"], "ok")
        self.assertEqual(len(Api.seen), 2)

    def test_does_not_wait_for_one_that_does_not(self):
        reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 3600)}
        Api.answers["/user/repos"] = [(403, reset, {})]
        self.refused(self.ask(), "rate limited", True)
        self.assertEqual(len(Api.seen), 1)

    def test_retry_after(self):
        Api.answers["/user/repos"] = [(429, {"Retry-After": "1"}, {}), (200, {}, [])]
        self.assertEqual(self.ask()["status"], "ok")

    def test_follows_no_redirect(self):
        Api.answers["/user/repos"] = [(302, {"Location": self.url + "/elsewhere"}, {})]
        self.refused(self.ask(), "302", True)
        self.assertEqual(len(Api.seen), 1)

    def test_next_page_on_another_host(self):
        Api.answers["/user/repos"] = [(200, {"Link": '<http://localhost:1/user/repos?page=2>; rel="next"'}, [])]
        self.refused(self.ask(), "another host", False)

    def repository(self, **fields):
        return {"full_name": "o/r", "clone_url": self.url + "/o/r.git", "default_branch": "main", "owner": {"login": "o"}, **fields}

    def test_clone_from_another_host(self):
        Api.answers["/user/repos"] = [(200, {}, [self.repository(clone_url="http://evil.example/o/r.git")])]
        self.refused(self.ask(), "would be cloned from evil.example", False)

    def test_token_in_a_clone_url_is_refused(self):
        Api.answers["/user/repos"] = [(200, {}, [self.repository(clone_url="http://x:y@127.0.0.1/o/r.git")])]
        self.refused(self.ask(), "not a plain http", False)

    def test_names_that_are_paths(self):
        for name in ("../../x", "o/..", "a/b/c", "/etc/passwd", "o/r;id", ""):
            Api.answers["/user/repos"] = [(200, {}, [self.repository(full_name=name)])]
            self.refused(self.ask(), "names a repository", False)

    def test_health(self):
        Api.answers["/user"] = [(200, {}, {"login": "octo"})]
        self.assertEqual(self.ask("health")["result"], {"login": "octo"})


if __name__ == "__main__":
    unittest.main()
