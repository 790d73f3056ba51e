#!/bin/bash
# The durable queue, as people see it: what a plugin answers, and the rows that the ledger then holds.
# not: wall-abi2 (what is queued meets no Landlock)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 3 || exit 1
add_config queue <<'Y'
service: {dedupe_ttl: 2s}
limits: {stdout: 1M, state: 4K, events: 4, request: 256K}
plugins:
  unruly_other: {uses: unruly, run_as: default, retry: {max_attempts: 1}}
  unruly_serial: {uses: unruly, run_as: default, retry: {max_attempts: 1}, parallelism: 1}
  unruly_late: {uses: unruly, run_as: default, retry: {max_attempts: 2, backoff_base: 50ms}, timeouts: {poll: 300ms}}
pipelines:
  - {name: chain, on: test.chain, steps: [{id: first, uses: unruly}, {id: second, uses: unruly_other.poll}]}
  - {name: beside, on: test.chain, steps: [{id: only, uses: unruly_other}]}
  - {name: stranger, on: test.chain, from_plugin: unruly_serial, steps: [{id: never, uses: unruly}]}
  - {name: loop, on: test.loop, steps: [{id: again, uses: unruly}]}
  - {name: keyed, on: test.keyed, steps: [{id: once, uses: unruly}]}
Y
ductile-install -q apply >/dev/null 2>"$WORK/apply.log" || { cat "$WORK/apply.log"; exit 1; }
STATE=/var/lib/ductile/accounts/default
check "the gateway starts" start_gateway

# ended PLUGIN COMMAND PAYLOAD: its number, once it is over
ended() {
    local j
    j=$(enqueue "$@") && await "$j" || return 1
    echo "$j"
}
story() { ledger "select from_state||'>'||to_state||' '||reason from job_transition where job=$1 order by id"; }
# story_is JOB PATTERN...: exactly these transitions, in this order
story_is() {
    local job=$1 rows i=0 pattern
    shift
    mapfile -t rows < <(story "$job")
    printf '%s\n' "${rows[@]}"
    [ ${#rows[@]} = $# ] || { echo "expected $# rows"; return 1; }
    for pattern in "$@"; do
        [[ ${rows[i]} =~ ^$pattern$ ]] || { echo "not $pattern"; return 1; }
        i=$((i + 1))
    done
}
BEGAN=('>queued api' 'queued>running dispatched')
is() { [ "$1" = "$2" ] || { echo "found $1, expected $2"; return 1; }; }
row() { ledger "select $2 from job where id=$1"; }
attempt() { ledger "select $2 from job_attempt where job=$1 order by attempt desc limit 1"; }

# ---- failures, retries ------------------------------------------------------------------------------------------------
retried() {
    local j said='running>failed the plugin answered status: error'
    j=$(ended unruly_retried handle '{"mode": "error"}') || return 1
    RETRIED=$j
    story_is "$j" "${BEGAN[@]}" "$said" 'failed>queued retry 2 of 3 in [0-9]+ ms' 'queued>running dispatched' "$said" \
        'failed>queued retry 3 of 3 in [0-9]+ ms' 'queued>running dispatched' "$said" 'failed>dead the plugin answered status: error; attempt 3 of 3' || return 1
    is "$(row "$j" "state||' '||attempt||' '||error")" "dead 3 as asked" &&
        is "$(ledger "select group_concat(attempt||outcome) from job_attempt where job=$j")" 1failed,2failed,3failed
}
RETRIED=0
retried >"$WORK/retried" 2>&1 # in this shell, for the next two
gave_up=$?
said() { cat "$WORK/retried"; return $gave_up; }
check "an error is retried until it is dead, each step a row with its cause" said
shown() {
    is "$(job "$RETRIED" | json '"\n".join("%(from_state)s>%(to_state)s %(reason)s" % t for t in d["transitions"])')" "$(story "$RETRIED")" &&
        ductile job show "$RETRIED" | grep >/dev/null 'failed -> dead  the plugin answered status: error; attempt 3 of 3' &&
        ductile job list --json --state dead | json '[j["id"] for j in d["jobs"]]' | grep -w >/dev/null "$RETRIED"
}
check "job show tells the same rows, and job list --state dead names it" shown
delays() { # base * 2^(n-1) + random(0, base), and it is kept
    local n at delay started
    for n in 1 2; do
        at=$(ledger "select ended_ms from job_attempt where job=$RETRIED and attempt=$n")
        delay=$(ledger "select substr(reason, instr(reason,' in ')+4)+0 from job_transition where job=$RETRIED and attempt=$n and from_state='failed' and to_state='queued'")
        started=$(ledger "select started_ms from job_attempt where job=$RETRIED and attempt=$((n + 1))")
        echo "attempt $n: delay $delay, begun after $((started - at))"
        [ "$delay" -ge $((50 << (n - 1))) ] && [ "$delay" -le $(((50 << (n - 1)) + 50)) ] && [ $((started - at)) -ge "$delay" ] || return 1
    done
}
check "the delay doubles from its base, and no attempt begins before it has passed" delays
late() {
    local j
    j=$(ended unruly_late poll '{"mode": "calm", "seconds": 60}') || return 1
    story_is "$j" "${BEGAN[@]}" 'running>timed_out timeout, left_behind=[0-9]+' 'timed_out>queued retry 2 of 2 in [0-9]+ ms' \
        'queued>running dispatched' 'running>timed_out timeout, left_behind=[0-9]+' 'timed_out>dead timeout, left_behind=[0-9]+; attempt 2 of 2'
}
check "a timeout is retried, then dead, each step a row with its cause" late
permanent() { # permanent PAYLOAD CAUSE: failed, and stays so although attempts are left
    local j
    j=$(ended unruly_retried handle "$1") || return 1
    sleep 0.3 # longer than the first delay
    story_is "$j" "${BEGAN[@]}" "running>failed $2" && is "$(row "$j" "state||' '||attempt||' of '||max_attempts")" "failed 1 of 3"
}
check "exit 78 is permanent: no retry" permanent '{"mode": "die", "code": 78}' 'exit 78'
check "retry: false is not retried" permanent '{"mode": "error", "retry": false}' 'the plugin answered status: error'
once() { # once PAYLOAD CAUSE [SQL EXPECTED]: the plugin has one attempt, which failed by CAUSE; sets nothing off, keeps no result
    local j
    j=$(ended unruly handle "$1") || return 1
    story_is "$j" "${BEGAN[@]}" "running>failed $2" "failed>dead $2; attempt 1 of 1" &&
        is "$(row "$j" "coalesce(result,'none')||' '||(select count(*) from event where source_job=job.id)")" "none 0" || return 1
    [ $# -lt 4 ] || is "$(attempt "$j" "$3")" "$4"
}
check "an ok answer followed by exit 3 is a failure" once '{"mode": "die", "code": 3}' 'exit 3' exit_code 3
check "an ok answer followed by a signal is a failure" once '{"mode": "signal"}' 'signal 9' signal 9

# ---- answers ------------------------------------------------------------------------------------------------------------
hash_of() { python3 -c 'import hashlib,sys; print(hashlib.blake2b(bytes.fromhex(sys.argv[1]), digest_size=32).hexdigest())' "$1"; }
hex() { printf %s "$1" | od -An -v -tx1 | tr -d ' \n'; }
in_ledger() { cat /var/lib/ductile/ledger/* | grep -aF >/dev/null -- "$1"; }
by_hash() { # bytes that are in no payload either
    local text='no-json-but-words-that-nobody-else-says' h
    h=$(hash_of "$(hex "$text")")
    once "{\"mode\": \"raw\", \"hex\": \"$(hex "$text")\"}" "protocol: .* \(${#text} bytes, ${h:0:16}\)" "stdout_len||' '||stdout_hash" "${#text} $h" || return 1
    ! in_ledger "$text" || { echo "its bytes are in the ledger"; return 1; }
    in_ledger "$h" || { echo "control: the ledger cannot be searched"; return 1; }
}
check "an answer that is not JSON is recorded by length and hash, not by its bytes" by_hash
check "an empty answer is a failure" once '{"mode": "raw", "hex": ""}' 'protocol: it printed nothing .*' stdout_len 0
check "an answer without a status is a failure" once "{\"mode\": \"raw\", \"hex\": \"$(hex '{}')\"}" 'protocol: status is neither ok nor error .*'
check "a second object behind the answer is a failure" once "{\"mode\": \"raw\", \"hex\": \"$(hex '{"status":"ok","result":1} {}')\"}" 'protocol: .*'
flooded() {
    once '{"mode": "flood"}' output-limit "stdout_len > 1048576" 1 && is "$(pgrep -fc 'unruly.p[y]')" 0
}
check "more stdout than its limit: output-limit, and the plugin is gone" flooded
events() { printf '{"mode": "emit", "events": [%s]%s}' "$(for _ in $(seq "$1"); do printf '{"type": "test.unheard"},'; done | sed 's/,$//')" "${2:-}"; }
check "more events than their limit: a failure, and none of them is kept" once "$(events 5)" 'protocol: more events than limits.events allows .*'
at_limit() { local j; j=$(ended unruly handle "$(events 4)") && is "$(row "$j" "state||' '||(select count(*) from event where source_job=job.id)")" "succeeded 4"; }
check "as many events as their limit: kept" at_limit
state_of() { job "$(ended unruly handle '{"mode": "echo"}')" | json "d['result']['state']"; }
kept() { ended unruly handle '{"mode": "emit", "events": [], "state_updates": {"a": 1, "b": {"c": [2]}}}' && ended unruly handle '{"mode": "emit", "events": [], "state_updates": {"a": 3}}' && is "$(state_of)" "{'a': 3, 'b': {'c': [2]}}"; }
check "state_updates are merged, and the next request brings them" kept
too_much_state() {
    local j before
    before=$(state_of)
    j=$(ended unruly handle "$(events 1 ", \"state_updates\": {\"a\": \"$(head -c 5000 /dev/zero | tr '\0' x)\"}")") || return 1
    story_is "$j" "${BEGAN[@]}" 'running>failed state-limit' &&
        is "$(row "$j" "state||' '||(select count(*) from event where source_job=job.id)")" "failed 0" && is "$(state_of)" "$before"
}
check "a state over its limit: the job failed, and neither its state nor its events are kept" too_much_state

# ---- requests ---------------------------------------------------------------------------------------------------------
padded() { printf '{"mode": "echo", "pad": "%s"}' "$(head -c "$1" /dev/zero | tr '\0' x)"; }
deaf() { # deaf FILE RESULT: a request larger than a pipe, unread
    local j before after
    before="$(warden_pid) $(bus_pid)"
    install -o ductile-default -m 600 /dev/null "$STATE/$1"
    j=$(ended unruly handle "$(padded 100000)")
    rm "$STATE/$1"
    after="$(warden_pid) $(bus_pid)"
    is "$(row "$j" "state||' '||result")" "succeeded \"$2\"" && is "$(attempt "$j" delivered)" 0 && is "$after" "$before"
}
check "a plugin that never reads its request succeeds, and the delivery is recorded as not made" deaf never-read "did not read"
check "a plugin that closes its stdin is left to run, and the delivery is recorded as not made" deaf close-stdin "closed its stdin"
read_all() { local j; j=$(ended unruly handle "$(padded 100000)") && is "$(attempt "$j" delivered)" 1 && is "$(job "$j" | json 'len(d["result"]["payload"]["pad"])')" 100000; }
check "control: the same request, read, is recorded as delivered" read_all
# api METHOD PATH [BODY]: status and body
api() {
    python3 - "$@" <<'P'
import socket, sys
method, path, body = (sys.argv[1:] + [""])[:3]
if body.startswith("@"):
    body = open(body[1:]).read()
s = socket.socket(socket.AF_UNIX)
s.connect("/run/ductile/api.sock")
s.sendall(("%s %s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (method, path, len(body), body)).encode())
answer = b""
while chunk := s.recv(65536):
    answer += chunk
head, _, rest = answer.decode().partition("\r\n\r\n")
print(head.split()[1], rest)
P
}
too_large() {
    local j
    printf '{"payload": %s}' "$(padded 300000)" >"$WORK/large"
    j=$(api POST /plugin/unruly_retried/handle "@$WORK/large" | sed -n 's/^202 //p' | json 'd["job_id"]') && await "$j" || return 1
    story_is "$j" "${BEGAN[@]}" 'running>refused request-limit: .*'
}
check "a request over its limit is refused for good" too_large

# ---- dedupe_key -----------------------------------------------------------------------------------------------------------
# keyed PLUGIN COMMAND KEY PAYLOAD: the API's answer
keyed() { api POST "/plugin/$1/$2" "{\"payload\": $4, \"dedupe_key\": \"$3\"}"; }
number() { sed -n 's/^202 //p' | json 'd["job_id"]'; }
dropped() { # dropped JOB ANSWER KEY: it equals JOB, and made no row
    is "$(sed -n 's/^200 //p' <<<"$2" | json '(d["job_id"], d["deduplicated"])')" "($1, True)" && is "$(ledger "select group_concat(id) from job where dedupe_key='$3'")" "$1"
}
equals_queued() {
    local j
    enqueue unruly_serial handle '{"mode": "calm", "seconds": 0.7}' >/dev/null
    j=$(keyed unruly_serial handle queued '{}' | number)
    is "$(row "$j" state)" queued && dropped "$j" "$(keyed unruly_serial handle queued '{"other": 1}')" queued && is "$(row "$j" state)" queued && await "$j"
}
check "a dedupe_key equal to a queued job's is dropped, and says which job" equals_queued
equals_running() {
    local j
    j=$(keyed unruly_serial handle running '{"mode": "calm", "seconds": 0.7}' | number)
    for _ in $(seq 40); do [ "$(row "$j" state)" = running ] && break; sleep 0.05; done
    dropped "$j" "$(keyed unruly_serial handle running '{}')" running && is "$(row "$j" state)" running && await "$j"
}
check "a dedupe_key equal to a running job's is dropped, and says which job" equals_running
equals_succeeded() {
    local j
    j=$(keyed unruly handle recent '{}' | number) && await "$j" && is "$(row "$j" state)" succeeded && dropped "$j" "$(keyed unruly handle recent '{}')" recent
}
check "a dedupe_key equal to a recently succeeded job's is dropped, and says which job" equals_succeeded
expired() { local j again; j=$(ledger "select id from job where dedupe_key='recent'"); sleep 2.2; again=$(keyed unruly handle recent '{}' | number); echo "$j $again"; [ "$again" -gt "$j" ] && await "$again"; }
check "after dedupe_ttl the same key is a new job" expired
elsewhere() {
    local a b c
    a=$(keyed unruly handle target '{}' | number) && b=$(keyed unruly poll target '{}' | number) && c=$(keyed unruly_other handle target '{}' | number)
    await "$a" && await "$b" && await "$c" && is "$(ledger "select count(distinct id) from job where dedupe_key='target' and state='succeeded'")" 3
}
check "the same key for another command or plugin is a new job" elsewhere
failed_before() { local a b; a=$(keyed unruly_retried handle failing '{"mode": "die", "code": 78}' | number) && await "$a"; b=$(keyed unruly_retried handle failing '{}' | number); await "$b" && is "$(row "$a" state) $(row "$b" state)" "failed succeeded"; }
check "the key of a failed job is free again" failed_before

# ---- order ------------------------------------------------------------------------------------------------------------------
# most_at_once WHERE: how many of these attempts ran at the same time, at most
most_at_once() { ledger "select max((select count(*) from job_attempt b join job k on k.id=b.job where $2 and b.started_ms<=a.started_ms and b.ended_ms>a.started_ms)) from job_attempt a join job j on j.id=a.job where $1"; }
of() { most_at_once "j.id in ($1)" "k.id in ($1)"; }
list() { local IFS=,; echo "$*"; }
SERIAL=0
serial() {
    local jobs=() j beside
    for _ in 1 2 3 4; do jobs+=("$(enqueue unruly_serial handle '{"mode": "calm", "seconds": 0.2}')"); done
    beside=$(ended unruly_other handle '{}')
    for j in "${jobs[@]}"; do await "$j" || return 1; done
    SERIAL=$(list "${jobs[@]}")
    is "$(ledger "select group_concat(job) from (select job from job_attempt where job in ($SERIAL) order by started_ms, job)")" "$SERIAL" &&
        is "$(ledger "select ended_ms < (select max(started_ms) from job where id in ($SERIAL)) from job where id=$beside")" 1
}
serial >"$WORK/serial" 2>&1 # in this shell, for the next one
served=$?
in_order() { cat "$WORK/serial"; return $served; }
check "jobs of a plugin begin in the order they were enqueued, and do not hold up another plugin's" in_order
check "parallelism is kept" is "$(of "$SERIAL")" 1
slots() {
    local jobs=() j
    for _ in 1 2 3 4 5; do jobs+=("$(enqueue unruly handle '{"mode": "calm", "seconds": 0.5}')"); done
    for j in "${jobs[@]}"; do await "$j" || return 1; done
    is "$(of "$(list "${jobs[@]}")")" 3
}
check "control: without it as many run at once as there are workers, and no more" slots

# ---- events, pipelines ---------------------------------------------------------------------------------------------------------
settled() { for _ in $(seq 600); do [ "$(ledger "select count(*) from job where state in ('queued','running')")" = 0 ] && return 0; sleep 0.05; done; return 1; }
# children JOB: what it set off, depth by depth
children() { ledger "with recursive t(id) as (values($1) union select job.id from job join t on job.parent=t.id) select depth||' '||submitted_by||' '||plugin||'.'||command||' '||state from job where id in (select id from t) and id<>$1 order by depth, submitted_by"; }
emit() { ended "$1" handle "{\"mode\": \"emit\", \"events\": [{\"type\": \"$2\", \"payload\": $3}]}"; }
pipelines() {
    local j
    j=$(emit unruly test.chain '{"mode": "calm", "tag": "x"}') && settled || return 1
    diff <(children "$j") - <<'T' || return 1
1 pipeline:beside/only unruly_other.handle succeeded
1 pipeline:chain/first unruly.handle succeeded
2 pipeline:chain/second unruly_other.poll succeeded
T
    is "$(ledger "select e.type||' '||e.source_plugin||' '||r.pipeline||' '||r.state from event e join pipeline_run r on r.event=e.id where e.source_job=$j order by r.pipeline")" "test.chain unruly beside succeeded
test.chain unruly chain succeeded" || return 1
    is "$(ledger "select json_extract(payload,'\$.tag') from job where parent=$j and submitted_by like '%/only'")" x
}
check "an event starts every pipeline on its type and source, and each step is fed by the one before" pipelines
broken_step() {
    local j
    j=$(emit unruly test.chain '{"mode": "die", "code": 5}') && settled || return 1
    diff <(children "$j") - <<'T' || return 1
1 pipeline:beside/only unruly_other.handle dead
1 pipeline:chain/first unruly.handle dead
T
    is "$(ledger "select group_concat(distinct r.state) from event e join pipeline_run r on r.event=e.id where e.source_job=$j")" failed
}
check "a step that fails ends its pipeline, which is failed" broken_step
unheard() { local j; j=$(emit unruly test.unheard '{}') && settled && is "$(children "$j")" "" && is "$(ledger "select type from event where source_job=$j")" test.unheard; }
check "an event that nobody waits for is a row, and starts nothing" unheard
deep() {
    local j deepest
    j=$(emit unruly test.loop '{"mode": "loop", "type": "test.loop"}') && settled || return 1
    children "$j" | tail -3
    deepest=$(ledger "select max(depth) from job where submitted_by='pipeline:loop/again'")
    is "$(children "$j" | grep -c succeeded)" $((deepest - 1)) && [ "$deepest" -gt 8 ] &&
        is "$(ledger "select state||' '||reason||' '||attempt from job where submitted_by='pipeline:loop/again' and depth=$deepest")" "failed max-depth 0" &&
        is "$(ledger "select to_state||' '||reason from job_transition where job=(select id from job where submitted_by='pipeline:loop/again' and depth=$deepest) order by id desc limit 1")" "failed max-depth"
}
check "a loop of events ends in a recorded failure, max-depth" deep
keyed_event() {
    local a b first
    a=$(ended unruly handle '{"mode": "emit", "events": [{"type": "test.keyed", "payload": {}, "dedupe_key": "said-once"}]}') && settled
    b=$(ended unruly handle '{"mode": "emit", "events": [{"type": "test.keyed", "payload": {}, "dedupe_key": "said-once"}]}') && settled || return 1
    first=$(ledger "select id from job where parent=$a")
    is "$(ledger "select group_concat(id) from job where dedupe_key='said-once'")" "$first" && is "$(ledger "select group_concat(dedupe_key) from event where source_job in ($a,$b)")" said-once,said-once &&
        gateway_log | grep >/dev/null "equals job $first and was dropped"
}
check "an event whose dedupe_key equals a recent job's is a row, and the log says which job it equals" keyed_event

# ---- durable ----------------------------------------------------------------------------------------------------------------------
acknowledged() { # enqueue, and kill -9 the bus as soon as the number is there
    python3 - "$1" <<'P'
import json, os, signal, socket, sys
body = '{"payload": {"mode": "calm", "tag": "durable"}}'
s = socket.socket(socket.AF_UNIX)
s.connect("/run/ductile/api.sock")
s.sendall(("POST /plugin/unruly_retried/handle HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)).encode())
answer = b""
while b"job_id" not in answer or not answer.endswith(b"}"):
    answer += s.recv(65536)
os.kill(int(sys.argv[1]), signal.SIGKILL)
print(json.loads(answer.partition(b"\r\n\r\n")[2])["job_id"])
P
}
durable() {
    local j
    for _ in 1 2 3 4 5; do
        j=$(acknowledged "$(bus_pid)")
        if [ "$DRIVER" = host ]; then sleep 0.5; systemctl stop ductile; else wait_gateway 10; fi
        [ "$(row "$j" plugin)" = unruly_retried ] || { echo "job $j is not in the ledger"; return 1; }
        start_gateway && await "$j" && is "$(row "$j" state)" succeeded || { job "$j"; return 1; }
    done
}
DRIVER=${DRIVER:-nest}
check "a job is there after kill -9 of the bus right after it was acknowledged, and runs" durable
whole() { stop_gateway || { echo "exit $?"; gateway_log | tail -40; return 1; }; is "$(ledger 'pragma integrity_check')" ok; }
check "the stop is clean, and the ledger whole" whole
guarded() { # no job in a state that its last transition does not say
    is "$(ledger "select count(*) from job where state <> (select to_state from job_transition where job=job.id order by id desc limit 1)")" 0 &&
        is "$(ledger "select count(*) from job_transition a join job_transition b on b.id=(select min(id) from job_transition where job=a.job and id>a.id) where b.from_state<>a.to_state")" 0 &&
        [ "$(ledger 'select count(*) from job_transition')" -gt 100 ]
}
check "every job's rows are one unbroken chain that ends in its state" guarded
