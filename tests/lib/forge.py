#!/usr/bin/python3
"""A local stand-in for the parts of GitHub which a repository-sync plugin talks to.

It serves the bare repositories DIR/OWNER/NAME.git, all private, over git smart HTTP (read only),
and lists them through GET /user, GET /user/repos and GET /repos/{owner}/{repo} of the REST API.
The token's user is the first OWNER in DIR; every other OWNER is an organization of that user.
"""
import argparse
import base64
import contextlib
import hmac
import http.client
import http.server
import json
import os
from pathlib import Path
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit
import zlib

CHUNK = 65536
DOCS = "https://docs.github.com/rest"
NEED_TOKEN = {"/user": DOCS + "/users/users#get-the-authenticated-user",
              "/user/repos": DOCS + "/repos/repos#list-repositories-for-the-authenticated-user"}
HOURLY = {True: 5000, False: 60}  # the primary rate limits with and without the token
GIT_PATH = re.compile(r"/([^/]+)/([^/]+)\.git(/.*)?")
FETCHES = (("GET", "/info/refs", "git-upload-pack"), ("POST", "/git-upload-pack", "git-upload-pack"))
# Nobody's own git configuration may change what is served or which commit ids are made.  --root is
# the operator's word that its repositories are safe, whoever owns them; the rest is as on GitHub.
GIT_ENV = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C",
           "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
BACKEND = ("git", "-c", "safe.directory=*", "-c", "http.receivepack=false", "-c",
           "uploadpack.allowFilter=true", "-c", "uploadpack.allowAnySHA1InWant=true", "http-backend")


def identity(prefix, text):
    number = zlib.crc32(text.lower().encode()) >> 1  # the same on every run, as clients store ids
    return {"id": number, "node_id": f"{prefix}_{number:08x}"}


def account(owner, login, base):
    kind = "User" if owner == login else "Organization"
    return {"login": owner, **identity(kind[0], owner), "url": f"{base}/users/{owner}",
            "html_url": f"{base}/{owner}", "type": kind, "site_admin": False}


def stats(path):
    for folder, _, files in os.walk(path):
        for entry in (folder, *(os.path.join(folder, file) for file in files)):
            with contextlib.suppress(FileNotFoundError):  # git's lock files come and go meanwhile
                yield os.stat(entry)


def repository(path, login, base):
    """Describe the bare repository at path as the REST API does."""
    owner, name = path.parent.name, path.name.removesuffix(".git")
    full, infos = f"{owner}/{name}", list(stats(path))
    # When it was written, not what its commits say: a push of old commits is news too.
    times = sorted(info.st_mtime for info in infos)
    created, pushed = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(times[end])) for end in (0, -1))
    return {**identity("R", full), "name": name, "full_name": full, "owner": account(owner, login, base),
            "private": True, "visibility": "private", "fork": False, "archived": False, "disabled": False,
            "description": None, "html_url": f"{base}/{full}", "url": f"{base}/repos/{full}",
            "clone_url": f"{base}/{full}.git", "ssh_url": f"git@{urlsplit(base).hostname}:{full}.git",
            "default_branch": (path / "HEAD").read_text().strip().removeprefix("ref: refs/heads/"),
            "created_at": created, "updated_at": pushed, "pushed_at": pushed,
            "size": sum(info.st_size for info in infos) // 1024, "permissions": {
                right: owner == login or right == "pull"
                for right in ("admin", "maintain", "push", "triage", "pull")}}


class Forge(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # the default of 5 refuses clients which fetch many repositories at once
    server_bind = socketserver.TCPServer.server_bind  # HTTPServer's own may wait for a slow resolver

    def __init__(self, options, token):
        self.root, self.token, self.per_page_max = options.root.resolve(), token, options.per_page_max
        self.log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.lock = threading.Lock()  # guards the next line
        self.limit_next_list, self.used = options.rate_limit_once, {True: 0, False: 0}
        self.reset = int(time.time()) + 3600
        super().__init__((options.host, options.port), Handler)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):  # hanging up is no error
            super().handle_error(request, client_address)

    def repositories(self):
        """Return paths by lower-case OWNER/NAME, as GitHub takes names in any case."""
        return {f"{path.parent.name}/{path.name[:-4]}".lower(): path
                for path in self.root.glob("*/*.git") if (path / "HEAD").is_file()}

    def login(self):
        return min((path.name for path in self.root.glob("*/")), key=str.lower, default="octocat")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "github.com", ""
    timeout = 60  # a client which stalls holds its thread no longer than this
    disable_nagle_algorithm = True  # headers and body are separate writes

    def log_message(self, *args):
        """Say nothing on stderr: the messages quote request lines, which may hold a token."""

    def log_request(self, code="-", size="-"):
        # A query may hold a token, and so may a method or path of a client gone wrong.
        line = f"{self.command} {self.path.partition('?')[0]}" if self.command else "- -"
        line = "- [token]" if self.server.token.decode() in unquote(line) else line
        os.write(self.server.log, f"{line} {int(code)}".encode("unicode_escape") + b"\n")

    def dispatch(self):
        self.request_id = ":".join(os.urandom(size).hex().upper() for size in (2, 3, 4, 4, 4))
        self.body = self.read_body()
        path, _, query = self.path.partition("?")
        path, query = unquote(path), dict(parse_qsl(query, keep_blank_values=True))
        if match := GIT_PATH.fullmatch(path):
            self.serve_git(*match.groups(""), query)
        else:
            self.serve_rest(path, query)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = dispatch

    def read_body(self):
        """Yield the request body in pieces, however it is framed."""
        try:
            if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
                yield from self.read_exactly(int(self.headers.get("Content-Length", "0")))
                return
            while size := int(self.rfile.readline(CHUNK).partition(b";")[0], 16):
                yield from self.read_exactly(size)
                self.rfile.readline(CHUNK)  # the line end after the data
            self.rfile.readline(CHUNK)
        except ValueError:
            raise ConnectionError("malformed request body") from None

    def read_exactly(self, size):
        while size > 0:
            piece = self.rfile.read1(min(size, CHUNK))
            if not piece:
                raise ConnectionError("request body cut short")
            size -= len(piece)
            yield piece

    def has_token(self, *schemes):
        scheme, _, secret = self.headers.get("Authorization", "").partition(" ")
        with contextlib.suppress(ValueError):
            if scheme.lower() == "basic":
                secret = base64.b64decode(secret, validate=True).decode().partition(":")[2]
            return scheme.lower() in schemes and hmac.compare_digest(secret.encode(), self.server.token)
        return False

    def reply(self, status, body, headers={}, kind="text/plain"):
        for _ in self.body:  # a client may read no answer before it has sent everything
            pass
        self.send_response(status)
        for name, value in {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": len(body),
                            "X-GitHub-Request-Id": self.request_id, **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def json(self, status, payload, exhausted=False, headers={}):
        limit = HOURLY[self.authorized]
        with self.server.lock:
            self.server.used[self.authorized] += 1
            used = limit if exhausted else min(limit, self.server.used[self.authorized])
        self.reply(status, json.dumps(payload).encode(), {
            "X-GitHub-Media-Type": "github.v3; format=json",
            "X-GitHub-Api-Version-Selected": self.headers.get("X-GitHub-Api-Version", "2022-11-28"),
            "X-RateLimit-Limit": limit, "X-RateLimit-Remaining": limit - used, "X-RateLimit-Used": used,
            "X-RateLimit-Reset": int(time.time()) + 2 if exhausted else self.server.reset,
            "X-RateLimit-Resource": "core", **headers}, "application/json")

    def error(self, status, message, docs=DOCS, exhausted=False):
        self.json(status, {"message": message, "documentation_url": docs, "status": str(status)}, exhausted)

    def serve_rest(self, path, query):
        self.authorized = self.has_token("bearer", "token")
        # The client's own name for this server, as it may not know the address which --host gave.
        self.base = "http://" + self.headers.get("Host", "%s:%d" % self.server.server_address)
        login, match = self.server.login(), re.fullmatch(r"/repos/([^/]+/[^/]+)", path)
        # Without the token a private repository is not found, so as not to confirm that it exists.
        found = match and self.authorized and self.server.repositories().get(match[1].lower())
        if not self.headers.get("User-Agent"):
            self.reply(403, b"Please make sure your request has a User-Agent header.\n")
        elif self.headers.get("Authorization") and not self.authorized:
            self.error(401, "Bad credentials")
        elif self.command not in ("GET", "HEAD") or not (path in NEED_TOKEN or found):
            self.error(404, "Not Found", DOCS + "/repos/repos#get-a-repository" if match else DOCS)
        elif not self.authorized:
            self.error(401, "Requires authentication", NEED_TOKEN[path])
        elif found:
            self.json(200, repository(found, login, self.base))
        elif path == "/user":
            self.json(200, account(login, login, self.base))
        else:
            self.list_repositories(login, query)

    def list_repositories(self, login, query):
        with self.server.lock:
            limited, self.server.limit_next_list = self.server.limit_next_list, False
        if limited:
            return self.error(403, f"API rate limit exceeded for user ID {identity('U', login)['id']}.",
                              DOCS + "/overview/rate-limits-for-the-rest-api", exhausted=True)
        if "type" in query and query.keys() & {"visibility", "affiliation"}:
            return self.error(422, "If you specify visibility or affiliation, you cannot specify type.")
        roles = query.get("affiliation", "owner,organization_member").split(",")
        items = [] if "public" in (query.get("type"), query.get("visibility")) else [
            repository(path, login, self.base) for path in self.server.repositories().values()
            if ("owner" if path.parent.name == login else "organization_member") in roles]
        sort = query.get("sort", "full_name")
        items.sort(key=lambda item: item.get(f"{sort}_at", item["full_name"]).lower(),
                   reverse=query.get("direction", "asc" if sort == "full_name" else "desc") == "desc")
        return self.send_page(items, query)

    def send_page(self, items, query):
        """Send the page of items which query asks for, with the Link header which leads to the others."""
        size, page = (int(query[key]) if re.fullmatch("[1-9][0-9]{0,8}", query.get(key, "")) else default
                      for key, default in (("per_page", 30), ("page", 1)))
        size = min(size, self.server.per_page_max)
        last = max(1, -(-len(items) // size))
        rels = {"prev": min(page - 1, last), "first": 1} if page > 1 else {}
        rels |= {"next": page + 1, "last": last} if page < last else {}
        link = ", ".join(f'<{self.base}/user/repos?{urlencode({**query, "page": number})}>; rel="{rel}"'
                         for rel, number in rels.items())
        self.json(200, items[(page - 1) * size:page * size], headers={"Link": link} if link else {})

    def serve_git(self, owner, name, rest, query):
        # The path comes from this look-up, never from what a client sent.
        path = self.server.repositories().get(f"{owner}/{name}".lower())
        service = query.get("service") if rest == "/info/refs" else rest[1:]
        if not self.has_token("basic"):
            self.reply(401, b"Invalid username or token.\n", {"WWW-Authenticate": 'Basic realm="GitHub"'})
        elif service == "git-receive-pack":
            self.reply(403, b"Write access to repository not granted.\n")
        elif path and (self.command, rest, service) in FETCHES:
            self.run_backend(f"/{path.parent.name}/{path.name}{rest}")
        else:
            self.reply(404, b"Repository not found.\n")

    def run_backend(self, path_info):
        env = {**GIT_ENV, "GIT_PROJECT_ROOT": str(self.server.root), "GIT_HTTP_EXPORT_ALL": "1",
               "PATH_INFO": path_info, "QUERY_STRING": "service=git-upload-pack",
               "REQUEST_METHOD": self.command, "REMOTE_USER": self.server.login(),
               "CONTENT_TYPE": self.headers.get("Content-Type", ""),
               "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
               "GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}
        if "Transfer-Encoding" not in self.headers:  # without a length git reads up to the end of its input
            env["CONTENT_LENGTH"] = self.headers.get("Content-Length", "0")
        # git may answer before it has read everything: one thread for both directions could deadlock.
        with subprocess.Popen(BACKEND, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            feeder = threading.Thread(target=self.feed, args=(child.stdin,), daemon=True)
            feeder.start()
            try:
                self.relay(child.stdout)
            except BaseException:
                child.terminate()  # git takes its helpers along, which else would go on packing
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)  # wakes a feeder which waits for the client
                raise
            finally:
                feeder.join()

    def feed(self, pipe):
        with contextlib.suppress(OSError), pipe:
            for piece in self.body:
                pipe.write(piece)
                pipe.flush()
            return
        self.close_connection = True  # the client hung up, or git wants no more and the rest is unread

    def relay(self, output):
        """Pass on the CGI answer piece by piece, so that no pack is ever held in memory."""
        headers = http.client.parse_headers(output)
        self.send_response(int(headers.get("Status", "200" if headers else "500").split()[0]))
        del headers["Status"]
        chunked = self.request_version != "HTTP/1.0"
        for name, value in (*headers.items(), ("X-GitHub-Request-Id", self.request_id),
                            ("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")):
            self.send_header(name, value)
        self.end_headers()
        while piece := output.read1(CHUNK):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        self.wfile.write(b"0\r\n\r\n" if chunked else b"")


def make_repositories(root, owner, *names):
    """Create bare repositories of two commits each, whose ids depend on nothing but OWNER and NAME."""
    for name in names:
        path = Path(root, owner, name + ".git")
        path.mkdir(parents=True)  # fails if there is one already

        def git(*arguments, data=""):
            return subprocess.run(("git", *arguments), cwd=path, env=GIT_ENV, input=data, text=True,
                                  stdout=subprocess.PIPE, check=True).stdout
        git("init", "--quiet", "--bare", "--initial-branch=main", "--template=")
        git("fast-import", "--quiet", data="".join(
            f"commit refs/heads/main\ncommitter Forge <forge@example.org> {when} +0000\n"
            f"data <<END\nAdd {file}\nEND\nM 100644 inline {file}\ndata <<END\n{content}\nEND\n"
            for when, file, content in ((1577880000, "README.md", f"# {name}"),
                                        (1577883600, "notes.txt", f"On {owner}/{name}."))))
        print(name, git("rev-parse", "main").strip(), flush=True)


def serve(options):
    token = options.token_file.read_text().strip().encode()
    if not token:
        sys.exit("forge.py: the token file is empty")
    options.port_file.unlink(missing_ok=True)  # an old one would send clients to a dead port
    # The threads end with this one, and any git which still runs with its pipes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = Forge(options, token)
    fresh = options.port_file.with_name(f".{options.port_file.name}.{os.getpid()}")
    fresh.write_text(f"{server.server_address[1]}\n")
    os.replace(fresh, options.port_file)
    server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--make-repos", nargs="+", metavar=("DIR", "OWNER NAME"), help="create repositories and exit")
    add("--root", type=Path, help="holds the repositories as OWNER/NAME.git")
    add("--token-file", type=Path, help="holds the one valid token")
    add("--port", type=int, default=0, help="0 picks a free one")
    add("--port-file", type=Path, help="is given the port once the server listens")
    add("--host", default="127.0.0.1")
    add("--rate-limit-once", action="store_true", help="answer the first list request with 403")
    add("--per-page-max", type=int, default=100, choices=range(1, 101), metavar="N")
    add("--log", default=os.devnull, help="is appended a line for every request: method path status")
    options = parser.parse_args()
    if options.make_repos and len(options.make_repos) > 2:
        make_repositories(*options.make_repos)
    elif options.root and options.token_file and options.port_file:
        serve(options)
    else:
        parser.error("give --make-repos DIR OWNER NAME..., or --root, --token-file and --port-file")


if __name__ == "__main__":
    main()
