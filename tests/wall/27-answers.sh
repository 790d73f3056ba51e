#!/bin/bash
# Hostile answers: any bytes, in any number, at any pace. Each ends as a recorded failure of its own job; the gateway is the
# same two processes afterwards, and a job beside it is not held up.
# not: wall-abi2 (what a plugin prints meets no Landlock)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 3 || exit 1
add_config answers <<'Y'
limits: {stdout: 4M, stderr: 64K, events: 100}
plugins: {unruly_flood: {uses: unruly, run_as: default, retry: {max_attempts: 1}, timeouts: {poll: 20s}}}
Y
ductile-install -q apply >/dev/null 2>"$WORK/apply.log" || { cat "$WORK/apply.log"; exit 1; }
check "the gateway starts" start_gateway
before="$(warden_pid) $(bus_pid)"
# answers COMMAND STATE-PATTERN PYTHON: the plugin prints what PYTHON (an expression, bytes) is; the story of its job
answers() {
    local payload j row
    payload=$(python3 -c 'import json, sys; print(json.dumps({"mode": "python", "print": sys.argv[1]}))' "$3")
    j=$(enqueue unruly "$1" "$payload") && await "$j" 20 || return 1
    row=$(ledger "select state||': '||coalesce(reason,'')||', '||(select count(*) from event where source_job=job.id)||' events' from job where id=$j")
    echo "$row"
    [[ $row =~ ^$2 ]] && [ "$(warden_pid) $(bus_pid)" = "$before" ]
}
refused() { answers handle 'dead: protocol: .*, 0 events$' "$1"; }
OK='b"{\"status\": \"ok\", \"result\": 1'
check "control: the same answer, well made, succeeds" answers handle 'succeeded: , 0 events$' "$OK}\""
check "invalid-utf8: an answer with bytes that are no UTF-8" refused "$OK, \\\"x\\\": \\\"\\xff\\xfe\\\"}\""
check "deep-json: a hundred thousand levels" refused 'b"[" * 100000 + b"]" * 100000'
check "deep-json: as a member of an object" refused "$OK, \\\"x\\\": \" + b\"[\" * 100000 + b\"]\" * 100000 + b\"}\""
check "huge-number: a number of a hundred thousand digits" refused "$OK, \\\"x\\\": \" + b\"9\" * 100000 + b\"}\""
check "huge-number: an exponent beyond a double" refused "$OK, \\\"x\\\": 1e999999}\""
check "duplicate-keys: status twice" refused "$OK, \\\"status\\\": \\\"error\\\"}\""
check "NUL-bytes: in the middle" refused "$OK\\x00}\""
check "NUL-bytes: behind the answer" refused "$OK}\\x00\""
check "NUL-bytes: escaped in a string" refused "$OK, \\\"x\\\": \\\"\\\\u0000\\\"}\""
check "response-of-another-protocol: HTTP" refused 'b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"'
check "response-of-another-protocol: JSON-RPC" refused 'b"{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": {}}"'
check "response-of-another-protocol: a second object on a second line" refused "$OK}\\n{}\\n\""
check "event-storm: a hundred thousand events" refused "$OK, \\\"events\\\": [\" + b\",\".join([b'{\"type\": \"a\"}'] * 100000) + b\"]}\""
storm() { answers handle 'succeeded: , 100 events$' "$OK, \\\"events\\\": [\" + b\",\".join([b'{\"type\": \"a.b\"}'] * 100) + b\"]}\""; }
check "event-storm: control: as many as the limit allows are kept" storm
beside() { # beside MODE STATE-PATTERN: while it floods, a job beside it ends in time
    local j calm row began
    j=$(enqueue unruly_flood poll "{\"mode\": \"$1\"}")
    sleep 0.3
    began=$(date +%s%N)
    calm=$(enqueue unruly handle '{"mode": "calm"}') && await "$calm" 10 && [ "$(job "$calm" | json 'd["state"]')" = succeeded ] || return 1
    echo "beside it: $((($(date +%s%N) - began) / 1000000)) ms"
    await "$j" 30
    row=$(ledger "select j.state||': '||coalesce(reason,'')||', stderr '||a.stderr_len from job j join job_attempt a on a.job=j.id where j.id=$j")
    echo "$row"
    [[ $row =~ ^$2 ]]
}
check "stderr-flood: it is cut, and its job succeeds" beside flood-stderr 'succeeded: , stderr 104857600$'
check "stdout-flood: a GiB, and it is stopped at the limit" beside flood-gib 'dead: output-limit.*, stderr 0$'
check "slow-drip: a byte at a time ends at the timeout" beside drip 'dead: timeout.*, stderr 0$'
check "the gateway is still the same two processes" test "$(warden_pid) $(bus_pid)" = "$before"
small() { awk -v most=$((60000 + ${SAN:-0} * 400000)) '/^VmRSS/ { print; exit $2 > most }' "/proc/$(bus_pid)/status"; }
check "and the bus has not kept what was thrown at it" small
stop_gateway
