#!/usr/bin/python3
"""Keeps its secret. Imports its module late, after the request was read: that is when a swapped one would bite."""
import json
import os
import sys

request = json.load(sys.stdin)
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lib import helper  # noqa: E402  late on purpose

print(json.dumps({"status": "ok", "result": {"kept": helper.keep(request["secrets"]["treasure"])}}))
