#!/usr/bin/python3
"""A ductile plugin: one JSON request on standard input, one JSON answer on standard output, one process per command.

It runs as the account its operator chose, in a directory of its own (HOME and cwd are the same), with no other file
open, no capability, and secrets only in request["secrets"]. What it prints on standard error is for people.
"""
import json
import sys


def poll(request):
    count = request["state"].get("polls", 0) + 1
    return {
        "status": "ok",
        "result": {"polls": count},
        "state_updates": {"polls": count},  # merged into request["state"] of the next call
        "events": [{"type": "template.polled", "payload": {"polls": count}}],
    }


def handle(request):
    who = request["event"]["payload"].get("name")
    if not isinstance(who, str):
        # retry: False - the same event will not have a name the second time either
        return {"status": "error", "error": "the event has no name", "retry": False}
    greeting = request["config"].get("greeting", "hello")
    return {"status": "ok", "result": {"text": "%s, %s" % (greeting, who)}}


def health(request):
    return {"status": "ok", "result": "ready"}


COMMANDS = {"poll": poll, "handle": handle, "health": health}


def main():
    request = json.load(sys.stdin)
    answer = COMMANDS[request["command"]](request)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
