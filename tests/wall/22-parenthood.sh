#!/bin/bash
# A plugin is the warden's child, and can attack it as such: by whom it is traced, by what it makes its parent reap.
# Each of these once stopped the warden, or cost it a slot, for good. With cgroups, then without.
# waits
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
cat >/etc/ductile/plugins.d/tracer.yaml <<'Y'
plugins:
  tracer: {run_as: untrusted, retry: {max_attempts: 1}, timeouts: {poll: 3s, handle: 20s}}
  bystander: {uses: tracer, run_as: default, retry: {max_attempts: 1}, timeouts: {poll: 5s}}
Y
ductile-install -q apply >/dev/null 2>&1
ductile plugin add "$SRC/tests/wall/plugins/tracer" >/dev/null && ductile plugin lock tracer >/dev/null || exit 1
result() { job "$1" | json 'd.get("result")'; }
state() { job "$1" | json 'd["state"]'; }
# The attack runs; a job of another account beside it and one after it succeed; the warden still answers.
beside() { # beside MODE RESULT
    local j k l
    j=$(enqueue tracer poll "{\"mode\":\"$1\"}"); sleep 0.5
    k=$(enqueue bystander poll '{}')
    await "$k" 8 || { echo "the job beside it: $(state "$k")"; return 1; }
    await "$j" 20 || { echo "the attack's own job: $(state "$j")"; return 1; }
    l=$(enqueue bystander poll '{}'); await "$l" 8
    echo "$(state "$j") $(result "$j"); beside $(state "$k"); after $(state "$l")"
    [ "$(state "$k") $(state "$l")" = "succeeded succeeded" ] && [ "$(result "$j")" = "$2" ]
}
slots() { # both slots are free: two jobs of 1 s run at once
    local j k began=$SECONDS
    j=$(enqueue unruly handle '{"mode":"sleep","seconds":1}'); k=$(enqueue unruly handle '{"mode":"sleep","seconds":1}')
    await "$j" && await "$k" && [ "$(state "$j") $(state "$k")" = "succeeded succeeded" ] && [ $((SECONDS - began)) -le 6 ]
}
no_zombie() { sleep 0.5; ! ps -o stat=,pid=,args= --ppid "$(warden_pid)" | grep '^Z'; }
for how in cgroup supervisor; do
    if [ $how = cgroup ]; then start_gateway || exit 1; else start_gateway --no-cgroup || exit 1; fi
    uses() { gateway_log | grep 'msg="ready' | tail -1 | grep -q "$([ $how = cgroup ] && echo 'a cgroup per worker' || echo 'a supervisor per job')"; }
    check "$how: the gateway uses it" uses
    check "$how: a plugin whose child traces it ends, and stops nobody" beside seize "seized: 0"
    check "$how: a thread that makes its parent its tracer costs no slot" beside traceme "traceme: 0"
    check "$how: again, and again" bash -c "$(declare -f beside enqueue await job json state result); beside traceme 'traceme: 0' && beside seize 'seized: 0'"
    check "$how: the warden gets no children that it did not ask for" beside parent "made 0"
    check "$how: every slot is free" slots
    check "$how: no zombie is left" no_zombie
    check "$how: a stop is clean" stop_gateway
done
BREAK=nofilter,noproof start_gateway || exit 1
check "control: without the filter it gets them - and reaps them" beside parent "made 200"
check "control: none is left" no_zombie
plain() { # nothing that a terminal obeys
    local j; j=$(enqueue tracer handle '{"mode":"escape"}'); await "$j"
    ductile job show "$j" >"$WORK/shown"; ductile job show --json "$j" >"$WORK/shown.json"
    grep -q '\\x1b' "$WORK/shown" && ! LC_ALL=C grep -q $'[\x01-\x08\x0b-\x1f\x7f]' "$WORK/shown" && ! LC_ALL=C grep -q $'\xc2\x9b' "$WORK/shown" &&
        [ "$(json '"\x1b" in d["error"]' <"$WORK/shown.json")" = True ]
}
check "what a plugin says cannot command the terminal; --json has it as it came" plain
stop_gateway
