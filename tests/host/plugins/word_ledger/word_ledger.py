#!/usr/bin/python3
"""word_ledger: a ductile plugin (protocol 2).

Reads one JSON request from stdin, prints one JSON response to stdout.
The request is never echoed as a whole: it may carry secrets.
"""

import json
import sys

PROTOCOL = 2
LOG_FILE = "words.log"


class PluginError(Exception):
    """A failure to report as status error."""

    def __init__(self, message, retry=False):
        super().__init__(message)
        self.retry = retry


def section(container, key):
    """An object-valued field; absent and null both read as empty."""
    value = container.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PluginError(f"field '{key}' must be an object")
    return value


def read_request(stream):
    try:
        request = json.loads(stream.read())
    except ValueError:
        raise PluginError("request is not valid JSON") from None
    if not isinstance(request, dict):
        raise PluginError("request must be a JSON object")
    if request.get("protocol") != PROTOCOL:
        raise PluginError(f"unsupported protocol, expected {PROTOCOL}")
    return request


def read_config(request):
    """The pair (label, prefix); prefix defaults to the empty string."""
    config = section(request, "config")
    label = config.get("label")
    if not isinstance(label, str) or not label:
        raise PluginError("config key 'label' is required and must be a non-empty string")
    prefix = config.get("prefix")
    if prefix is None:
        prefix = ""
    if not isinstance(prefix, str):
        raise PluginError("config key 'prefix' must be a string")
    return label, prefix


def read_counter(request, key, logs):
    """A counter from state; starts at 0, and starts over if it is unusable."""
    value = section(request, "state").get(key, 0)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        logs.append(log("warn", f"state key '{key}' is not a count, starting over at 0"))
        return 0
    return value


def log(level, message):
    return {"level": level, "message": message}


def make_event(request, event_type, payload):
    event = {"type": event_type, "payload": payload}
    job_id = request.get("job_id")
    if isinstance(job_id, str) and job_id:
        event["dedupe_key"] = f"{event_type}:{job_id}"
    return event


def poll(request):
    label, prefix = read_config(request)
    logs = []
    count = read_counter(request, "polls", logs) + 1
    logs.append(log("info", f"{prefix}poll {count}"))
    return {
        "status": "ok",
        "result": f"{prefix}{label}: polled {count}",
        "events": [make_event(request, "word_ledger.polled", {"count": count})],
        "state_updates": {"polls": count},
        "logs": logs,
    }


def handle(request):
    label, prefix = read_config(request)
    payload = section(section(request, "event"), "payload")
    text = payload.get("text")
    if not isinstance(text, str):
        raise PluginError("event payload field 'text' is required and must be a string")

    logs = []
    words = len(text.split())
    total = read_counter(request, "total_words", logs) + words
    append_line({"job_id": request.get("job_id"), "label": label, "words": words, "total": total})
    logs.append(log("info", f"{prefix}counted {words}, total {total}"))
    return {
        "status": "ok",
        "result": f"{prefix}{label}: {words} words, total {total}",
        "events": [make_event(request, "word_ledger.counted", {"words": words, "total": total})],
        "state_updates": {"total_words": total},
        "logs": logs,
    }


def append_line(entry):
    """One JSON object per line, so that no value can break the line."""
    try:
        with open(LOG_FILE, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise PluginError(f"cannot write {LOG_FILE}: {error.strerror}", retry=True) from error


def health(request):
    return {
        "status": "ok",
        "result": f"{section(request, 'config').get('label') or 'word_ledger'}: healthy",
        "logs": [log("info", "health checked")],
    }


COMMANDS = {"poll": poll, "handle": handle, "health": health}


def answer(stream):
    try:
        request = read_request(stream)
        command = request.get("command")
        if not isinstance(command, str) or command not in COMMANDS:
            raise PluginError("unknown command")
        return COMMANDS[command](request)
    except PluginError as error:
        return {
            "status": "error",
            "error": str(error),
            "retry": error.retry,
            "logs": [log("error", str(error))],
        }


def main():
    json.dump(answer(sys.stdin.buffer), sys.stdout)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
