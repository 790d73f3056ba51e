#!/usr/bin/python3
"""schema.py SCHEMA [NAME] < DOCUMENT: holds a JSON document against a JSON Schema, or against its $defs.NAME. Knows the
keywords that share/schema uses, and refuses a schema with any other, so that none is there that nobody checks."""
import json
import re
import sys

KINDS = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}
KNOWN = {"$schema", "$defs", "$ref", "title", "description", "type", "properties", "required", "additionalProperties", "items",
         "enum", "const", "anyOf", "pattern", "minimum", "minItems"}


def faults(schema, value, root, at="$"):
    unknown = set(schema) - KNOWN
    if unknown:
        raise SystemExit("schema: keywords that nobody checks: %s" % sorted(unknown))
    if "$ref" in schema:
        return faults(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, root, at)
    found = []
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(isinstance(value, KINDS[t]) and not (t == "integer" and isinstance(value, bool)) for t in types):
        return ["%s: %r is not of type %s" % (at, value, schema["type"])]
    if "enum" in schema and value not in schema["enum"] or "const" in schema and value != schema["const"]:
        found.append("%s: %r is none of %r" % (at, value, schema.get("enum", schema.get("const"))))
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        found.append("%s: %r does not match %s" % (at, value, schema["pattern"]))
    if isinstance(value, int) and value < schema.get("minimum", value) or isinstance(value, list) and len(value) < schema.get("minItems", 0):
        found.append("%s: too small" % at)
    if "anyOf" in schema:
        tries = [faults(s, value, root, at) for s in schema["anyOf"]]
        found += min(tries, key=len) if all(tries) else []
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += ["%s: %s is missing" % (at, k) for k in schema.get("required", []) if k not in value]
        for key, inner in value.items():
            more = properties.get(key, schema.get("additionalProperties", {}))
            if more is False:
                found.append("%s: %s is not in the schema" % (at, key))
            else:
                found += faults(more, inner, root, at + "." + key)
    if isinstance(value, list) and "items" in schema:
        for i, inner in enumerate(value):
            found += faults(schema["items"], inner, root, "%s[%d]" % (at, i))
    return found


def main():
    schema = json.load(open(sys.argv[1]))
    text = sys.stdin.read()
    wrong = faults(schema["$defs"][sys.argv[2]] if len(sys.argv) > 2 else schema, json.loads(text), schema)
    print(*([text] if wrong else []), *wrong[:10], sep="\n")
    sys.exit(1 if wrong else 0)


main()
