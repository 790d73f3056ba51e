#!/bin/bash
# A plugin that tells what it was given: none of it reaches ledger or API, and the record counts.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
mkdir "$WORK/teller" && cat >"$WORK/teller/manifest.yaml" <<'Y'
manifest_spec: ductile.plugin
manifest_version: 1
name: teller
version: 1.0.0
protocol: 2
entrypoint: teller.py
description: Tells its secret in every way it knows.
requires_secrets: [treasure]
commands: [{name: poll, type: write}]
Y
cat >"$WORK/teller/teller.py" <<'P'
#!/usr/bin/python3
import base64, json, sys, urllib.parse
s = json.load(sys.stdin)["secrets"]["treasure"]
escaped = "".join("\\u%04x" % ord(c) for c in s)
print('{"status":"ok","result":{"plain":"a %s b","escaped":"%s","b64":"%s","url":"%s"},"events":[{"type":"told","payload":{"%s":1}}],"state_updates":{"kept":"%s"}}'
      % (s, escaped, base64.b64encode(b"xy" + s.encode() + b"z").decode(), urllib.parse.quote(s, safe=""), s, s))
P
chmod 755 "$WORK/teller/teller.py"; echo 'plugins: {teller: {run_as: default, retry: {max_attempts: 1}}}' | add_config teller
ductile-install -q apply >/dev/null 2>&1; ductile plugin add "$WORK/teller" >/dev/null && ductile plugin lock teller >/dev/null
printf 'the/treasure+itself-42' | ductile vault secret set treasure >/dev/null && ductile vault grant treasure teller >/dev/null 2>&1
start_gateway || exit 1
job_of() { ductile job run --json teller poll >"$WORK/job.json"; cat "$WORK/job.json"; [ "$(json 'd["state"]' <"$WORK/job.json")" = succeeded ]; }
check "the job succeeds" job_of
counted() { [ "$(json 'd["attempts"][-1]["masked"] >= 6' <"$WORK/job.json")" = True ]; }
check "the record counts what was masked" counted
# Where the plugin's own words are looked at, unmasked, the same search finds every one of them.
naive() { "$WORK/teller/teller.py" <<<'{"secrets":{"treasure":"the/treasure+itself-42"}}' >"$WORK/naive"; cat "$WORK/naive"; [ "$(grep -aoE 'the/treasure.?itself|the%2Ftreasure|dHJlYXN1cmUr' "$WORK/naive" | sort -u | wc -l)" = 3 ]; }
check "control: unmasked, the search finds it plain, percent-encoded and in base64" naive
clear() { ! grep -qaE 'the/treasure.?itself|the%2Ftreasure|dHJlYXN1cmUr' "$WORK/job.json" && ! cat /var/lib/ductile/ledger/* | grep -aqE 'the/treasure.?itself|the%2Ftreasure|dHJlYXN1cmUr'; }
check "neither ledger nor API has it, plain, escaped, in base64 or percent-encoded, as a key or in state" clear
stop_gateway
