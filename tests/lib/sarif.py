#!/usr/bin/python3
"""sarif.py < DOCUMENT: holds a document against what SARIF 2.1.0 requires of the objects that ductile-gate writes, and says by
section what does not hold. sarif.py --control < DOCUMENT: spoils it in one place after the other; each must be found.

Stricter than the standard in two points: a property that no row here names is a fault, though it may be a legal one, and each
result must be found by its rule (ruleId and ruleIndex both)."""
import copy
import json
import re
import sys
import urllib.parse

TEXT, INT, BOOL, LIST, MAP = str, int, bool, list, dict
# object: {property: (type, required)}
OBJECTS = {
    "sarifLog": {"version": (TEXT, True), "$schema": (TEXT, False), "runs": (LIST, True)},  # 3.13
    "run": {"tool": (MAP, True), "invocations": (LIST, False), "results": (LIST, True), "properties": (MAP, False)},  # 3.14
    "tool": {"driver": (MAP, True)},  # 3.18
    "toolComponent": {"name": (TEXT, True), "version": (TEXT, False), "rules": (LIST, True)},  # 3.19
    "reportingDescriptor": {"id": (TEXT, True), "shortDescription": (MAP, True), "fullDescription": (MAP, True),
                            "help": (MAP, True), "defaultConfiguration": (MAP, False)},  # 3.49
    "reportingConfiguration": {"level": (TEXT, False)},  # 3.50
    "multiformatMessageString": {"text": (TEXT, True)},  # 3.12
    "message": {"text": (TEXT, True)},  # 3.11
    "invocation": {"executionSuccessful": (BOOL, True), "exitCode": (INT, True)},  # 3.20
    "result": {"ruleId": (TEXT, True), "ruleIndex": (INT, True), "kind": (TEXT, False), "level": (TEXT, False), "message": (MAP, True),
               "locations": (LIST, True), "partialFingerprints": (MAP, False), "properties": (MAP, False)},  # 3.27
    "location": {"physicalLocation": (MAP, True), "logicalLocations": (LIST, False)},  # 3.28
    "physicalLocation": {"artifactLocation": (MAP, True)},  # 3.29
    "artifactLocation": {"uri": (TEXT, True)},  # 3.4
    "logicalLocation": {"name": (TEXT, True)},  # 3.33
}
LEVELS = ("none", "note", "warning", "error")  # 3.27.10, 3.50.3
KINDS = ("pass", "open", "informational", "notApplicable", "review", "fail")  # 3.27.9
# RFC 3986: what a path may hold (pchar and /), percent-encoded otherwise, in upper case (normalized, 3.10.1)
FILE_URI = re.compile(r"file:///(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})*\Z")


class Document:
    def __init__(self):
        self.faults = []

    def fault(self, at, section, text):
        self.faults.append("%s: %s (%s)" % (at, text, section))

    def holds(self, what, value, at):
        """The properties that it has are known, of their type, and none is missing."""
        rows = OBJECTS[what]
        if not isinstance(value, dict):
            self.fault(at, what, "no object")
            return False
        before = len(self.faults)
        for key in value.keys() - rows.keys():
            self.fault(at, what, "unknown property %s" % key)
        for key, (kind, required) in rows.items():
            if key not in value:
                if required:
                    self.fault(at, what, "without %s" % key)
            elif not isinstance(value[key], kind) or kind is INT and isinstance(value[key], bool):
                self.fault(at, what, "%s is not of type %s" % (key, kind.__name__))
        return len(self.faults) == before

    def text(self, what, value, at):
        if not self.holds(what, value, at):
            return
        text = value["text"]
        if not text:
            self.fault(at, "3.11.8", "an empty text")
        if re.sub(r"\{\{|\}\}", "", text).count("{") + re.sub(r"\{\{|\}\}", "", text).count("}"):
            self.fault(at, "3.11.5", "a brace that is not doubled: %r" % text)
        if re.search(r"\[(?:[^\]\[\\]|\\.)*\]\(", text):
            self.fault(at, "3.11.6", "an embedded link to nowhere: %r" % text)
        if re.search(r"[\x00-\x08\x0b-\x1f]", text):
            self.fault(at, "3.11.3", "control characters: %r" % text)

    def uri(self, uri, at):
        if not FILE_URI.match(uri):
            self.fault(at, "3.10.1", "no file URI as RFC 3986 and RFC 8089 have it: %r" % uri)
        parts = uri.removeprefix("file:///").split("/")
        if "." in parts or ".." in parts or "" in parts:
            self.fault(at, "3.10.2", "not normalized: %r" % uri)

    def bag(self, value, at):
        tags = value.get("tags", [])
        if not isinstance(tags, list) or not all(isinstance(t, str) for t in tags) or len(set(tags)) != len(tags):
            self.fault(at, "3.8.2", "tags are unique strings")

    def rule(self, value, at):
        if not self.holds("reportingDescriptor", value, at):
            return
        for key in ("shortDescription", "fullDescription", "help"):
            self.text("multiformatMessageString", value[key], at + "." + key)
        configuration = value.get("defaultConfiguration", {})
        if self.holds("reportingConfiguration", configuration, at) and configuration.get("level", "warning") not in LEVELS:
            self.fault(at, "3.50.3", "level %r" % configuration["level"])

    def location(self, value, at):
        if not self.holds("location", value, at) or not self.holds("physicalLocation", value["physicalLocation"], at):
            return
        where = value["physicalLocation"]["artifactLocation"]
        if self.holds("artifactLocation", where, at):
            self.uri(where["uri"], at)
        for i, logical in enumerate(value.get("logicalLocations", [])):
            if self.holds("logicalLocation", logical, "%s.logicalLocations[%d]" % (at, i)) and not logical["name"]:
                self.fault(at, "3.33.4", "an empty name")

    def result(self, value, rules, at):
        if not self.holds("result", value, at):
            return
        kind, level = value.get("kind", "fail"), value.get("level", "warning" if value.get("kind", "fail") == "fail" else "none")
        if kind not in KINDS:
            self.fault(at, "3.27.9", "kind %r" % kind)
        if level not in LEVELS:
            self.fault(at, "3.27.10", "level %r" % level)
        if (kind == "fail") != (level != "none"):
            self.fault(at, "3.27.9, 3.27.10", "kind %s with level %s" % (kind, level))
        index = value["ruleIndex"]
        if not 0 <= index < len(rules) or not isinstance(rules[index], dict) or rules[index].get("id") != value["ruleId"]:
            self.fault(at, "3.27.6", "rule %d is not %s" % (index, value["ruleId"]))
        self.text("message", value["message"], at + ".message")
        if not value["locations"]:
            self.fault(at, "3.27.12", "no location")
        for i, location in enumerate(value["locations"]):
            self.location(location, "%s.locations[%d]" % (at, i))
        for key, print_ in value.get("partialFingerprints", {}).items():
            if not re.fullmatch(r"[A-Za-z0-9-]+(/[A-Za-z0-9-]+)*/v[0-9]+", key) or not isinstance(print_, str) or not print_:
                self.fault(at, "3.27.17", "partial fingerprint %r: %r" % (key, print_))
        self.bag(value.get("properties", {}), at)

    def run(self, value, at):
        if not self.holds("run", value, at) or not self.holds("tool", value["tool"], at + ".tool"):
            return
        driver = value["tool"]["driver"]
        if not self.holds("toolComponent", driver, at + ".driver"):
            return
        rules = driver["rules"]
        for i, rule in enumerate(rules):
            self.rule(rule, "%s.rules[%d]" % (at, i))
        ids = [r.get("id") for r in rules if isinstance(r, dict)]
        if len(set(ids)) != len(ids) or not driver["name"] or not all(ids):
            self.fault(at, "3.19.8, 3.49.3", "a name or an id that is empty or there twice")
        for i, invocation in enumerate(value.get("invocations", [])):
            self.holds("invocation", invocation, "%s.invocations[%d]" % (at, i))
        for i, result in enumerate(value["results"]):
            self.result(result, rules, "%s.results[%d]" % (at, i))
        self.bag(value.get("properties", {}), at)

    def log(self, value):
        if not self.holds("sarifLog", value, "$"):
            return
        if value["version"] != "2.1.0":
            self.fault("$", "3.13.2", "version %r" % value["version"])
        schema = urllib.parse.urlsplit(value.get("$schema", "https://x/2.1.0"))
        if schema.scheme not in ("http", "https") or not schema.netloc or "2.1.0" not in schema.path:
            self.fault("$", "3.13.3", "$schema is not where 2.1.0 could be got: %r" % value["$schema"])
        if not value["runs"]:
            self.fault("$", "3.13.4", "no run")
        for i, run in enumerate(value["runs"]):
            self.run(run, "$.runs[%d]" % i)


def unique(pairs):
    if len({k for k, _ in pairs}) != len(pairs):
        raise ValueError("a property that is there twice: %s" % [k for k, _ in pairs])
    return dict(pairs)


def faults(value):
    document = Document()
    document.log(value)
    return document.faults


# Where it is spoilt, by what. None: the property is taken out.
RUN, RULE, RESULT = ("runs", 0), ("runs", 0, "tool", "driver", "rules", 0), ("runs", 0, "results", 0)
URI = RESULT + ("locations", 0, "physicalLocation", "artifactLocation", "uri")
SPOILT = [
    (("version",), "2.0.0"), (("version",), None), (("$schema",), "sarif.json"), (("runs",), []), (("runs",), None), (("run",), []),
    (RUN + ("tool",), None), (RUN + ("tool", "driver"), None), (RUN + ("tool", "driver", "name"), None), (RUN + ("tool", "driver", "name"), ""),
    (RUN + ("results",), None), (RUN + ("result",), []), (RUN + ("properties",), {"tags": ["a", "a"]}),
    (RUN + ("invocations", 0, "executionSuccessful"), None), (RUN + ("invocations", 0, "executionSuccessful"), "true"),
    (RUN + ("invocations", 0, "exitCode"), True), (RUN + ("invocations", 0, "exit"), 1),
    (RULE + ("id",), None), (RULE + ("id",), "GATE-KERNEL-01"), (RULE + ("shortDescription",), "text"), (RULE + ("shortDescription", "text"), ""),
    (RULE + ("help", "text"), "see {0}"), (RULE + ("defaultConfiguration", "level"), "fatal"), (RULE + ("name_",), "x"),
    (RESULT + ("ruleId",), "GATE-NONE-01"), (RESULT + ("ruleIndex",), 100000), (RESULT + ("ruleIndex",), -1), (RESULT + ("ruleIndex",), "1"),
    (RESULT + ("kind",), "failed"), (RESULT + ("kind",), "pass"), (RESULT + ("kind",), "open"), (RESULT + ("level",), "critical"), (RESULT + ("level",), "none"),
    (RESULT + ("message",), None), (RESULT + ("message", "text"), None), (RESULT + ("message", "text"), "{"),
    (RESULT + ("message", "text"), "{{}"), (RESULT + ("message", "text"), "see [this](7)"), (RESULT + ("message", "markdown_"), "x"),
    (RESULT + ("locations",), []), (RESULT + ("locations", 0, "physicalLocation"), None), (URI, None), (URI, "/etc/passwd"), (URI, "file://etc/passwd"),
    (URI, "file:///a b"), (URI, "file:///a%2fb"), (URI, "file:///\u00e9"), (URI, "file:///a/../b"), (URI, "file:///a//b"), (URI, "file:///./a"),
    (RESULT + ("partialFingerprints",), {"rule": "x"}), (RESULT + ("partialFingerprints",), {"rule/v1": 1}), (RESULT + ("properties", "tags"), "x"),
]


def control(value):
    missed = 0
    for path, by in SPOILT:
        spoilt = copy.deepcopy(value)
        at = spoilt
        for step in path[:-1]:
            at = at[step]
        if by is None:
            del at[path[-1]]
        else:
            at[path[-1]] = by
        if not faults(spoilt):
            print("not found: %s = %r" % (".".join(map(str, path)), by))
            missed += 1
    print("%d of %d spoilt documents found" % (len(SPOILT) - missed, len(SPOILT)))
    return missed


def main():
    value = json.load(sys.stdin, object_pairs_hook=unique)
    found = faults(value)
    print("\n".join(found[:20]))
    if found or "--control" in sys.argv and control(value):
        sys.exit(1)


main()
