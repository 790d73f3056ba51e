#!/usr/bin/python3
"""Tests of forge.py: each runs the server as a process of its own and talks to it as clients do."""
import base64
import contextlib
import gzip
import http.client
import json
import os
from pathlib import Path
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

FORGE = Path(__file__).resolve().with_name("forge.py")
TOKEN = "ghp_testOnly0123456789"
# Written down so that a change of the commits is noticed even if it is the same for every run.
ALPHA_COMMIT = "3a26af7cd9f7b18265cb5fa7c9d2c36546ab4462"
GIT_ENV = {"PATH": os.environ["PATH"], "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
           "GIT_CONFIG_GLOBAL": os.devnull, "GIT_ASKPASS": "true", "no_proxy": "*"}


def make_repos(root, owner, *names):
    output = subprocess.check_output([sys.executable, FORGE, "--make-repos", root, owner, *names], text=True)
    return dict(line.split() for line in output.splitlines())


def helper_config(token_file):
    """Return the option for a credential helper which reads the token from a file."""
    script = f'test "$1" = get && echo username=x && echo "password=$(cat {token_file})"'
    return f"credential.helper=!f() {{ {script}; }}; f"


def run_git(*arguments, token_file=None, **env):
    config = ["-c", helper_config(token_file)] if token_file else []
    return subprocess.run(["git", *config, *map(str, arguments)], env={**GIT_ENV, **env},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=120)


def basic(password, user="x"):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class ForgeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        made = tempfile.TemporaryDirectory()
        cls.addClassCleanup(made.cleanup)
        cls.made = Path(made.name) / "root"
        cls.commits = make_repos(cls.made, "octo", "alpha", "beta", "delta", "epsilon", "gamma")

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.root, self.token_file = self.folder / "root", self.folder / "token"
        self.token_file.write_text(TOKEN + "\n")
        shutil.copytree(self.made, self.root)

    def start(self, *options):
        port_file = self.folder / "port"
        self.log = self.folder / "log"
        self.stderr = self.folder / "stderr"
        with open(self.stderr, "ab") as stderr:
            self.server = subprocess.Popen([
                sys.executable, FORGE, "--root", self.root, "--token-file", self.token_file, "--port", "0",
                "--port-file", port_file, "--log", self.log, *options], stderr=stderr)
        self.addCleanup(self.stop)
        deadline = time.monotonic() + 20
        while not port_file.exists():
            self.assertLess(time.monotonic(), deadline, self.stderr.read_text())
            time.sleep(0.02)
        self.port = int(port_file.read_text())
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self):
        self.server.terminate()
        return self.server.wait(timeout=10)

    def request(self, path, headers=None, token=TOKEN, method="GET", body=None, scheme="Bearer"):
        """Return status, headers and the decoded body of an answer."""
        headers = {"User-Agent": "test", **(headers or {})}
        if token and "Authorization" not in headers:
            headers["Authorization"] = f"{scheme} {token}"
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(client) as connection:
            connection.request(method, path.removeprefix(self.url), body, headers)
            answer = connection.getresponse()
            data = answer.read()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, answer.headers, json.loads(data) if is_json and data else data


class RestTest(ForgeTest):
    def links(self, headers):
        return {rel: url for url, rel in re.findall(r'<([^>]+)>; rel="(\w+)"', headers.get("Link", ""))}

    def test_pages_are_linked(self):
        self.start("--per-page-max", "2")
        url, seen, relations = "/user/repos?per_page=100&affiliation=owner,organization_member", [], []
        while url:
            status, headers, page = self.request(url)
            self.assertEqual(status, 200)
            self.assertLessEqual(len(page), 2)
            seen += [item["name"] for item in page]
            links = self.links(headers)
            relations.append(sorted(links))
            url = links.get("next")
            if url:
                self.assertTrue(url.startswith(self.url + "/user/repos?"))
                self.assertIn("per_page=100&affiliation=owner%2Corganization_member&page=", url)
        self.assertEqual(seen, ["alpha", "beta", "delta", "epsilon", "gamma"])
        self.assertEqual(relations, [["last", "next"], ["first", "last", "next", "prev"], ["first", "prev"]])
        self.assertEqual(self.request("/user/repos?page=9")[2], [])

    def test_one_page_has_no_link(self):
        self.start()
        status, headers, page = self.request("/user/repos")
        self.assertEqual((status, len(page), headers["Link"]), (200, 5, None))
        status, headers, page = self.request("/user/repos?per_page=4&page=2")
        self.assertEqual(len(page), 1)
        self.assertEqual(self.links(headers)["prev"], f"{self.url}/user/repos?per_page=4&page=1")

    def test_repository(self):
        self.start()
        item = self.request("/user/repos")[2][0]
        self.assertEqual(item, self.request("/repos/Octo/ALPHA")[2])
        expected = {"name": "alpha", "full_name": "octo/alpha", "private": True, "fork": False,
                    "archived": False, "disabled": False, "default_branch": "main", "description": None,
                    "html_url": f"{self.url}/octo/alpha", "url": f"{self.url}/repos/octo/alpha",
                    "clone_url": f"{self.url}/octo/alpha.git", "ssh_url": "git@127.0.0.1:octo/alpha.git"}
        self.assertEqual(item, {**item, **expected})
        self.assertLessEqual({"id", "node_id", "size", "permissions"}, item.keys())
        for key in ("created_at", "updated_at", "pushed_at"):
            self.assertRegex(item[key], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        user = self.request("/user")[2]
        self.assertEqual((user["login"], user["type"]), ("octo", "User"))
        self.assertEqual(item["owner"], user)

    def test_filters_and_order(self):
        make_repos(self.root, "zoo", "ant")
        os.utime(self.root / "octo" / "beta.git" / "refs", (4e9, 4e9))
        self.start()

        def names(query):
            return [item["full_name"] for item in self.request("/user/repos?" + query)[2]]
        self.assertEqual(names("affiliation=organization_member"), ["zoo/ant"])
        self.assertEqual(len(names("affiliation=owner")), 5)
        self.assertEqual(names("visibility=public"), [])
        self.assertEqual(names("sort=pushed")[0], "octo/beta")
        self.assertEqual(names("direction=desc")[0], "zoo/ant")
        self.assertEqual(self.request("/user/repos?type=all&visibility=all")[0], 422)

    def test_credentials(self):
        self.start()
        for path in ("/user", "/user/repos"):
            status, headers, body = self.request(path, token=None)
            self.assertEqual((status, body["status"]), (401, "401"))
            self.assertEqual(body["message"], "Requires authentication")
            self.assertTrue(body["documentation_url"].startswith("https://docs.github.com/rest/"))
            self.assertEqual((headers["X-RateLimit-Limit"], headers["Link"]), ("60", None))
        for header in ("Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", "Basic eDp3cm9uZw=="):
            status, _, body = self.request("/user/repos", {"Authorization": header})
            self.assertEqual(status, 401)
            self.assertEqual(body, {"message": "Bad credentials", "status": "401",
                                    "documentation_url": "https://docs.github.com/rest"})
        self.assertEqual(self.request("/user", scheme="token")[0], 200)
        self.assertEqual(self.request("/user", {"User-Agent": ""})[0], 403)

    def test_not_found(self):
        self.start()
        # A private repository is not there for those who have no token.
        self.assertEqual(self.request("/repos/octo/alpha", token=None)[0], 404)
        for path in ("/", "/nowhere", "/user/", "/repos/octo/none", "/repos/../octo", "/repos/%2e%2e/x"):
            status, _, body = self.request(path)
            self.assertEqual((path, status, body["message"]), (path, 404, "Not Found"))
            self.assertEqual(body["status"], "404")
        self.assertEqual(self.request("/user/repos", method="POST", body=b"{}")[0], 404)
        self.assertEqual(self.request("/user/repos", method="HEAD")[2], b"")

    def test_headers(self):
        self.start()
        first, second = self.request("/user")[1], self.request("/user")[1]
        self.assertEqual(first["Content-Type"], "application/json; charset=utf-8")
        self.assertEqual(first["X-GitHub-Media-Type"], "github.v3; format=json")
        self.assertEqual(first["X-GitHub-Api-Version-Selected"], "2022-11-28")
        self.assertNotEqual(first["X-GitHub-Request-Id"], second["X-GitHub-Request-Id"])
        names = ("Limit", "Remaining", "Used", "Resource")
        self.assertEqual([second["X-RateLimit-" + name] for name in names], ["5000", "4998", "2", "core"])
        self.assertGreater(int(first["X-RateLimit-Reset"]), time.time())

    def test_rate_limit_once(self):
        self.start("--rate-limit-once")
        self.assertEqual(self.request("/user/repos", token=None)[0], 401)
        self.assertEqual(self.request("/user")[0], 200)
        before = int(time.time())
        status, headers, body = self.request("/user/repos")
        self.assertEqual((status, body["status"], headers["X-RateLimit-Remaining"]), (403, "403", "0"))
        self.assertEqual((headers["X-RateLimit-Used"], headers["Retry-After"]), ("5000", None))
        self.assertIn(int(headers["X-RateLimit-Reset"]) - before, (2, 3))
        self.assertTrue(body["message"].startswith("API rate limit exceeded for user ID "))
        status, headers, body = self.request("/user/repos")
        self.assertEqual((status, len(body)), (200, 5))
        self.assertGreater(int(headers["X-RateLimit-Remaining"]), 0)


class GitTest(ForgeTest):
    def clone(self, target="clone", token=TOKEN, **env):
        token_file = self.folder / "client-token"
        token_file.write_text(token or "")
        return run_git("clone", f"{self.url}/octo/alpha.git", self.folder / target,
                       token_file=token and token_file, **env)

    def head(self, target="clone"):
        return run_git("-C", self.folder / target, "rev-parse", "HEAD").stdout.strip()

    def grow(self, megabytes):
        """Push a commit with a big incompressible file into alpha, past the server."""
        work = self.folder / "work"
        run_git("clone", self.root / "octo" / "alpha.git", work)
        (work / "big").write_bytes(os.urandom(megabytes << 20))
        who = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "core.compression=0")
        for arguments in (("add", "big"), ("commit", "-m", "big"), ("push", "origin", "main")):
            done = run_git("-C", work, *who, *arguments)
            self.assertEqual(done.returncode, 0, done.stdout)

    def test_clone_without_token_fails(self):
        self.start()
        done = self.clone(token=None)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("Authentication failed", done.stdout)
        for path in ("info/refs?service=git-upload-pack", "git-upload-pack", "HEAD", "info/refs"):
            status, headers, _ = self.request("/octo/alpha.git/" + path, token=None)
            self.assertEqual((status, headers["WWW-Authenticate"]), (401, 'Basic realm="GitHub"'))

    def test_clone_with_credential_helper(self):
        self.start()
        done = self.clone(GIT_TRACE_CURL="1", GIT_TRACE_PACKET="1", GIT_TRACE_CURL_NO_DATA="1")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"(?i)git-protocol: version=2")
        self.assertRegex(done.stdout, r"clone< version 2")
        self.assertEqual(self.head(), self.commits["alpha"])

    def test_other_protocols_and_requests(self):
        self.start()
        for version in ("0", "1"):
            done = run_git("-c", f"protocol.version={version}", "clone", f"{self.url}/octo/alpha.git",
                           self.folder / version, token_file=self.token_file)
            self.assertEqual((done.returncode, self.head(version)), (0, self.commits["alpha"]), done.stdout)
        for options in (("--filter=blob:none",), ("--depth=1",)):
            done = run_git("clone", *options, f"{self.url}/OCTO/Alpha.git", self.folder / options[0][2:7],
                           token_file=self.token_file)
            self.assertEqual(done.returncode, 0, done.stdout)
            self.assertNotIn("filtering not recognized", done.stdout)
        for path in ("HEAD", "objects/info/packs", "info/refs", "config", "../../../etc/passwd", ""):
            self.assertEqual(self.request("/octo/alpha.git/" + path, basic(TOKEN))[0], 404, path)
        path = "/octo/none.git/info/refs?service=git-upload-pack"
        self.assertEqual(self.request(path, basic(TOKEN))[0], 404)

    def test_wrong_token_fails(self):
        self.start()
        done = self.clone(token="wrong")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("Authentication failed", done.stdout)
        path = "/octo/alpha.git/info/refs?service=git-upload-pack"
        for headers in (basic("wrong"), basic("", TOKEN), basic(""), {"Authorization": f"Bearer {TOKEN}"},
                        {"Authorization": f"Basic {TOKEN}"}, {"Authorization": "Basic"}):
            self.assertEqual(self.request(path, headers)[0], 401)
        self.assertEqual(self.request(path, basic(TOKEN, "anybody"))[0], 200)

    def test_push_is_refused(self):
        self.start()
        self.assertEqual(self.clone().returncode, 0)
        done = run_git("-C", self.folder / "clone", "push", "origin", "HEAD:refs/heads/new",
                       token_file=self.token_file)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("403", done.stdout)
        path = "/octo/alpha.git/git-receive-pack"
        self.assertEqual(self.request(path, basic(TOKEN), method="POST", body=b"0000")[0], 403)
        refs = run_git("-C", self.root / "octo" / "alpha.git", "for-each-ref", "--format=%(refname)").stdout
        self.assertEqual(refs.split(), ["refs/heads/main"])

    def test_request_bodies(self):
        """The same request in every framing: with a length, chunked, and gzip'ed in both."""
        self.start()
        body = b"0014command=ls-refs\n0015agent=git/test-1\n0000"
        headers = {**basic(TOKEN), "Content-Type": "application/x-git-upload-pack-request",
                   "Git-Protocol": "version=2"}
        packed = {**headers, "Content-Encoding": "gzip"}
        zipped = gzip.compress(body)
        for extra, data in ((headers, body), (headers, iter([body[:9], body[9:]])), (packed, zipped),
                            (packed, iter([zipped[:5], zipped[5:]]))):
            path = "/octo/alpha.git/git-upload-pack"
            status, _, answer = self.request(path, extra, method="POST", body=data)
            self.assertEqual(status, 200)
            self.assertIn(self.commits["alpha"].encode() + b" refs/heads/main\n", answer)

    def test_connection_is_kept(self):
        self.start()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        self.addCleanup(connection.close)
        connection.connect()
        first = connection.sock
        for method, path, body, headers, expected in (
                ("POST", "/octo/alpha.git/git-upload-pack", b"x" * 300000, {}, 401),
                ("POST", "/octo/alpha.git/git-receive-pack", iter([b"x" * 300000]), basic(TOKEN), 403),
                ("GET", "/octo/alpha.git/info/refs?service=git-upload-pack", None, basic(TOKEN), 200),
                ("POST", "/user", b"{}", {"Authorization": f"Bearer {TOKEN}", "User-Agent": "test"}, 404)):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            self.assertEqual(answer.status, expected)
            self.assertIs(connection.sock, first)

    def test_big_pack_is_streamed(self):
        self.grow(60)
        self.start()
        done = self.clone()
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(run_git("-C", self.folder / "clone", "fsck").returncode, 0)
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.server.pid}/status").read_text())
        self.assertLess(int(peak[1]), 64 << 10)

    def test_many_clones_at_once(self):
        self.start()
        config = helper_config(self.token_file)
        clones = [subprocess.Popen(["git", "-c", config, "clone", "--quiet", f"{self.url}/octo/{name}.git",
                                    self.folder / f"{name}{number}"], env=GIT_ENV)
                  for name in self.commits for number in range(6)]
        self.assertEqual({clone.wait(timeout=120) for clone in clones}, {0})

    def start_fetch(self):
        """Ask for a big pack on a plain socket, read only its beginning and return the socket."""
        tip = run_git("-C", self.root / "octo" / "alpha.git", "rev-parse", "main").stdout.strip()
        body = f"0011command=fetch0001000fno-progress0032want {tip}\n0009done\n0000"
        lines = ("POST /octo/alpha.git/git-upload-pack HTTP/1.1", "Host: x", "Git-Protocol: version=2",
                 "Content-Type: application/x-git-upload-pack-request", f"Content-Length: {len(body)}",
                 "Authorization: " + basic(TOKEN)["Authorization"], "", body)
        client = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        client.sendall("\r\n".join(lines).encode())
        self.assertIn(b" 200 ", client.recv(4096))
        return client

    def git_processes(self):
        """Return what this test's server runs: its root is in their environment."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.fsencode(f"GIT_PROJECT_ROOT={self.root}") in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes())
        return found

    def assert_no_git_left(self):
        deadline = time.monotonic() + 15
        while self.git_processes():
            self.assertLess(time.monotonic(), deadline, self.git_processes())
            time.sleep(0.1)

    def test_client_hangs_up(self):
        self.grow(20)
        self.start()
        client = self.start_fetch()
        self.assertTrue(self.git_processes())
        client.close()
        with socket.create_connection(("127.0.0.1", self.port)) as half:
            half.sendall(b"POST /octo/alpha.git/git-upload-pack HTTP/1.1\r\nHost: x\r\nAuthorization: "
                         + basic(TOKEN)["Authorization"].encode() + b"\r\nContent-Length: 100\r\n\r\n0000")
        for rubbish in (b"rubbish\r\n\r\n", b"GET /user HTTP/1.1\r\nContent-Length: x\r\n\r\n",
                        b"POST /user HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", b"\0" * 99, b""):
            with socket.create_connection(("127.0.0.1", self.port)) as other:
                other.sendall(rubbish)
        self.assert_no_git_left()
        self.assertEqual(self.clone().returncode, 0)
        self.assertNotIn("Traceback", self.stderr.read_text())

    def test_sigterm(self):
        self.grow(20)
        self.start()
        with self.start_fetch():
            self.assertEqual(self.stop(), 0)
        self.assert_no_git_left()
        self.assertNotIn("Traceback", self.stderr.read_text())

    def test_log_has_no_token(self):
        self.start()
        self.clone()
        self.clone("wrong", token="wrong")
        self.request("/user/repos?access_token=" + TOKEN)
        self.request(f"/{TOKEN}/x")
        self.request("/" + TOKEN.replace("_", "%5f"))
        self.request("/user", method=TOKEN)
        self.request("/octo/alpha.git/info/refs?service=git-upload-pack", basic(TOKEN))
        self.stop()
        log = self.log.read_text()
        coded = basic(TOKEN)["Authorization"].removeprefix("Basic ")
        for text in (log, self.stderr.read_text()):
            for secret in (TOKEN, TOKEN.replace("_", "%5f"), coded, "Bearer", "Basic", "access_token"):
                self.assertNotIn(secret, text)
        for line in log.splitlines():
            self.assertRegex(line, r"^(GET|POST|-) \S+ [1-5]\d\d$")
        self.assertIn("GET /octo/alpha.git/info/refs 401\nGET /octo/alpha.git/info/refs 200\n"
                      "POST /octo/alpha.git/git-upload-pack 200\n", log)
        self.assertIn("GET /user/repos 200\n", log)


class MakeReposTest(unittest.TestCase):
    def test_commit_ids_are_reproducible(self):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            first = make_repos(one, "octo", "alpha", "beta")
            second = make_repos(two, "octo", "beta", "alpha")
            self.assertEqual(first, second)
            self.assertEqual(first["alpha"], ALPHA_COMMIT)
            self.assertNotEqual(first["alpha"], first["beta"])
            log = run_git("-C", Path(one, "octo", "alpha.git"), "log", "--format=%s", "main").stdout
            self.assertEqual(log.split("\n"), ["Add notes.txt", "Add README.md", ""])
            self.assertEqual(run_git("-C", Path(one, "octo", "alpha.git"), "fsck", "--strict").returncode, 0)

    def test_empty_token_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            token, port = Path(folder, "token"), Path(folder, "port")
            token.write_text("\n")
            command = [sys.executable, FORGE, "--root", folder, "--token-file", token, "--port-file", port]
            done = subprocess.run(command, stderr=subprocess.DEVNULL, timeout=20)
            self.assertEqual(done.returncode, 1)
            self.assertFalse(port.exists())


if __name__ == "__main__":
    unittest.main()
