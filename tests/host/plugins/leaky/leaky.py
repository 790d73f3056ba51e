#!/usr/bin/python3
"""The control: clones with the token in the address, as many scripts do, and leaves it in .git/config."""
import json
import os
import shutil
import subprocess
import sys

request = json.load(sys.stdin)
host = request["config"]["api_url"].split("://")[1]
url = "http://x:%s@%s/octo/alpha.git" % (request["secrets"]["github_token"], host)
shutil.rmtree("leaky", ignore_errors=True)
subprocess.run(["git", "clone", "-q", url, "leaky"], check=True, env=dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null"))
subprocess.run(["sleep", "0.3", url][:2], check=True)
print(json.dumps({"status": "ok", "result": "cloned"}))
