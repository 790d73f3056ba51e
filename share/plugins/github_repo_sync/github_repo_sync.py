#!/usr/bin/python3
"""Mirrors the repositories of a GitHub user under repos/ in its own directory.

The token comes in request["secrets"] and goes to two hosts only: the API's, in an Authorization header, and the git
host, through a pipe that a credential helper reads. It is never in an argument, in the environment, in a file or in a
repository's config.

config: api_url (default https://api.github.com), git_host (default: github.com for the public API, else the API's
host), max_wait (seconds to wait for a rate limit to end, default 60).
"""
import datetime
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

CREDENTIAL_FD = 7  # a single digit: every sh can redirect from it
# Prints what the pipe holds when git asks, and stores nothing.
HELPER = '!f() { test "$1" = get && cat <&%d; }; f' % CREDENTIAL_FD
FULL_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}")


class Failed(Exception):
    def __init__(self, text, retry=True):
        super().__init__(text)
        self.retry = retry


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would carry the Authorization header to wherever it is sent."""

    def redirect_request(self, *args):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


def host_of(url):
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise Failed("not a plain http(s) address: %s" % url, retry=False)
    return parts.netloc


# ---- the API -----------------------------------------------------------------------------------------------------


def wait_for_limit(headers, config, deadline):
    """Sleeps until a rate limit ends, where that is soon enough. Headers as GitHub documents them."""
    if "retry-after" in headers:
        seconds = int(headers["retry-after"])
    elif headers.get("x-ratelimit-remaining") == "0":
        seconds = max(0, int(headers.get("x-ratelimit-reset", "0")) - int(time.time())) + 1
    else:
        return False
    if seconds > config.get("max_wait", 60) or time.time() + seconds > deadline - 5:
        raise Failed("rate limited for another %d s" % seconds)
    time.sleep(seconds)
    return True


def get(url, token, config, deadline):
    request = urllib.request.Request(url, headers={
        "Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28",
        "User-Agent": "ductile-github-repo-sync", "Authorization": "Bearer " + token})
    for attempt in (1, 2):
        try:
            with OPENER.open(request, timeout=30) as answer:
                return json.load(answer), answer.headers
        except urllib.error.HTTPError as e:
            headers = {k.lower(): v for k, v in e.headers.items()}
            if e.code == 401:
                raise Failed("the API does not accept the token (401)", retry=False)
            if e.code in (403, 429) and attempt == 1 and wait_for_limit(headers, config, deadline):
                continue
            raise Failed("GET %s: HTTP %d" % (urllib.parse.urlsplit(url).path, e.code), retry=e.code != 404)
        except (urllib.error.URLError, OSError, ValueError) as e:
            raise Failed("GET %s: %s" % (urllib.parse.urlsplit(url).path, e))
    raise Failed("the API stays rate limited")


def next_page(headers, base):
    for part in headers.get("Link", "").split(","):
        match = re.match(r'\s*<([^>]+)>\s*;.*rel="next"', part)
        if match:
            if host_of(match.group(1)) != host_of(base):
                raise Failed("the API points to another host for its next page", retry=False)
            return match.group(1)
    return None


def list_repositories(base, token, config, deadline):
    url, found = base + "/user/repos?per_page=100&affiliation=owner", []
    while url:
        page, headers = get(url, token, config, deadline)
        found.extend(page)
        url = next_page(headers, base)
    return found


# ---- git ---------------------------------------------------------------------------------------------------------


def git(*arguments, token=None):
    """Runs git without anybody's configuration; with a token it can ask for it, once, through a pipe."""
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": os.getcwd(), "LC_ALL": "C",
           "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "-c", "credential.helper=", "-c", "core.hooksPath=/dev/null", "-c", "http.followRedirects=false",
               "-c", "protocol.ext.allow=never", "-c", "protocol.file.allow=never"]
    fds = ()
    if token is not None:
        read_end, write_end = os.pipe()
        os.write(write_end, b"username=x-access-token\npassword=" + token.encode() + b"\n")
        os.close(write_end)
        os.dup2(read_end, CREDENTIAL_FD, inheritable=True)
        if read_end != CREDENTIAL_FD:
            os.close(read_end)
        command += ["-c", "credential.helper=" + HELPER]
        fds = (CREDENTIAL_FD,)
    try:
        done = subprocess.run(command + list(arguments), env=env, pass_fds=fds, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        if fds:
            os.close(CREDENTIAL_FD)
    if done.returncode != 0:
        raise Failed("git %s: %s" % (arguments[0], done.stderr.decode(errors="replace").strip()[-300:]))
    return done.stdout.decode().strip()


def sync_one(repository, git_host, token):
    name, url = repository["full_name"], repository["clone_url"]
    if not FULL_NAME.fullmatch(name) or any(part in (".", "..") for part in name.split("/")):
        raise Failed("the API names a repository %r" % name, retry=False)
    if host_of(url) != git_host:
        raise Failed("%s would be cloned from %s, not from %s" % (name, host_of(url), git_host), retry=False)
    path = os.path.join("repos", name + ".git")
    new = not os.path.exists(os.path.join(path, "HEAD"))
    if new:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        git("clone", "--quiet", "--mirror", url, path, token=token)
    else:
        git("--git-dir", path, "fetch", "--quiet", "--prune", "origin", token=token)
    branch = repository.get("default_branch") or "main"
    try:
        commit = git("--git-dir", path, "rev-parse", "--verify", "--quiet", "refs/heads/" + branch)
    except Failed:
        commit = None  # an empty repository
    return new, {"name": name, "default_branch": branch, "commit": commit}


# ---- commands ----------------------------------------------------------------------------------------------------


def deadline_of(request):
    text = request.get("deadline_at")
    if not text:
        return time.time() + 3600
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def poll(request, base, token, config):
    repositories = list_repositories(base, token, config, deadline_of(request))
    public = host_of(base) == "api.github.com"
    git_host = config.get("git_host") or ("github.com" if public else host_of(base))
    synced, cloned, login = [], 0, None
    for repository in sorted(repositories, key=lambda r: r["full_name"]):
        new, row = sync_one(repository, git_host, token)
        cloned += new
        login = login or repository["owner"]["login"]
        synced.append(row)
    payload = {"login": login, "repositories": synced}
    return {"status": "ok", "result": {"repositories": len(synced), "cloned": cloned, "fetched": len(synced) - cloned},
            "events": [{"type": "github_repo_sync.completed", "payload": payload}],
            "logs": [{"level": "info", "message": "%d repositories" % len(synced)}]}


def health(request, base, token, config):
    user, _ = get(base + "/user", token, config, deadline_of(request))
    return {"status": "ok", "result": {"login": user.get("login")}}


def main():
    request = json.load(sys.stdin)
    config = request.get("config") or {}
    try:
        token = (request.get("secrets") or {}).get("github_token")
        if not token:
            raise Failed("no github_token among the secrets", retry=False)
        base = config.get("api_url", "https://api.github.com").rstrip("/")
        host_of(base)
        answer = {"poll": poll, "health": health}[request["command"]](request, base, token, config)
    except Failed as e:
        answer = {"status": "error", "error": str(e), "retry": e.retry}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
