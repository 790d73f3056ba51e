#!/usr/bin/python3
"""The plugin's own test: runs it as the gateway does, one process per request. `python3 test_plugin.py`"""
import json
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


def ask(command, **fields):
    request = {"secrets": {}, "protocol": 2, "job_id": "1", "command": command, "config": {}, "state": {}, "payload": {},
               "context": {}, **fields}
    done = subprocess.run([sys.executable, "-B", os.path.join(HERE, "plugin.py")], input=json.dumps(request), text=True,
                          capture_output=True, timeout=10, check=True)
    return json.loads(done.stdout)


class Template(unittest.TestCase):
    def test_poll_counts_in_its_state(self):
        answer = ask("poll", state={"polls": 4})
        self.assertEqual(answer["result"], {"polls": 5})
        self.assertEqual(answer["state_updates"], {"polls": 5})
        self.assertEqual(answer["events"][0]["type"], "template.polled")

    def test_handle_greets(self):
        answer = ask("handle", event={"type": "x", "payload": {"name": "Ada"}}, config={"greeting": "good day"})
        self.assertEqual(answer["result"], {"text": "good day, Ada"})

    def test_handle_without_a_name_is_not_retried(self):
        answer = ask("handle", event={"type": "x", "payload": {}})
        self.assertEqual((answer["status"], answer["retry"]), ("error", False))

    def test_health(self):
        self.assertEqual(ask("health")["status"], "ok")


if __name__ == "__main__":
    unittest.main()
