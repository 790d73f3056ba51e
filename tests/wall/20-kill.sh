#!/bin/bash
# Nothing outlives its job, a job beside it is not harmed, and a crash of either half leaves nothing running.
# waits
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 6 || exit 1

# What takes its time begins at once, all of it: a stubborn job and a calm one of the same account beside it, of each account.
begin() {
    for plugin in unruly unruly_matt; do
        enqueue $plugin poll "{\"mode\": \"stubborn\", \"tag\": \"A-$plugin-\"}" >"$WORK/bad.$plugin"
        enqueue $plugin handle '{"mode": "calm", "seconds": 9}' >"$WORK/calm.$plugin"
    done
    enqueue unruly poll '{"mode": "stop-self"}' >"$WORK/self"
}
stubborn() { # stubborn PLUGIN
    local bad calm ms
    bad=$(<"$WORK/bad.$1") calm=$(<"$WORK/calm.$1")
    await "$bad" 20 || return 1
    left "A-$1-" && { echo "children survive"; pgrep -af ductile-test-left; return 1; }
    ms=$(job "$bad" | json 'd["ended_ms"] - d["started_ms"]')
    echo "gone after $ms ms: $(job "$bad" | json '(d["state"], d["transitions"][-2]["reason"], d["attempts"][-1]["outcome"], d["attempts"][-1]["left_behind"])')"
    [ "$ms" -lt 8000 ] || { echo "too late: timeout 2 s + 6 s"; return 1; }
    [ "$(attempt_of "$bad" '["outcome"]')" = timed_out ] || return 1
    [ "$(attempt_of "$bad" '["left_behind"]')" -ge 4 ] || { echo "left_behind: $(attempt_of "$bad" '["left_behind"]')"; return 1; }
    job "$bad" | json 'd["transitions"]' | grep -q "left_behind=" || return 1
    await "$calm" 30 && [ "$(job "$calm" | json 'd["state"]')" = succeeded ] || { echo "the job beside it: $(job "$calm")"; return 1; }
}
no_zombies() { [ "$(ps -o stat= --ppid "$(warden_pid)" | grep -c Z)" = 0 ] || { ps -f --ppid "$(warden_pid)"; return 1; }; }
state_is() { [ "$(job "$1" | json 'd["state"]')" = "$2" ] || { job "$1"; return 1; }; }

for mode in cgroup supervisor; do
    options=$([ $mode = supervisor ] && echo --no-cgroup)
    begins() { start_gateway $options && gateway_log | grep 'msg="ready' | tail -1 | grep -q "a $mode per"; }
    check "$mode: the gateway starts, and uses it" begins
    begin
    check "$mode: a stubborn job and all its children are gone within timeout + 6 s, the job beside it succeeds" stubborn unruly
    check "$mode: the same for a plugin of the operator's account" stubborn unruly_matt
    leave() { local j; j=$(enqueue unruly handle '{"mode": "leave", "tag": "B"}'); await "$j"; state_is "$j" succeeded && ! left B && [ "$(attempt_of "$j" '["left_behind"]')" = 1 ]; }
    check "$mode: a daemon left behind after success is killed and counted" leave
    hold() { local j; j=$(enqueue unruly handle '{"mode": "hold-stdout", "tag": "C"}'); await "$j" 10; state_is "$j" succeeded && ! left C; }
    check "$mode: a grandchild that holds stdout does not hold the job" hold
    stopped() { local j; j=$(<"$WORK/self"); await "$j" 15; [ "$(attempt_of "$j" '["outcome"]')" = timed_out ]; }
    check "$mode: a plugin that stops itself is ended by its timeout" stopped
    everybody() { local j calm; calm=$(enqueue unruly_matt handle '{"mode": "calm", "seconds": 2}'); sleep 0.3
        j=$(enqueue unruly handle '{"mode": "kill-all"}'); await "$j" 10; await "$calm"; state_is "$calm" succeeded && kill -0 "$(warden_pid)" "$(bus_pid)"; }
    check "$mode: kill(-1) reaches neither the gateway nor another account" everybody
    check "$mode: no zombie is left" no_zombies
    check "$mode: a stop is clean" stop_gateway
done

# ---- crashes -------------------------------------------------------------------------------------------------------
crash() { # crash PID-FUNCTION OPTION...: kill -9 while a job with daemons runs; then start again
    local half=$1 job
    shift
    start_gateway "$@" || return 1
    job=$(enqueue unruly_retried handle '{"mode": "stubborn", "tag": "D"}')
    for _ in $(seq 100); do [ "$(pgrep -fc ductile-test-left-D)" -ge 4 ] && break; sleep 0.05; done
    left D || { echo "the job did not begin"; return 1; }
    old=$(pgrep -f 'ductile-test-left-D')
    [ "$(wc -w <<<"$old")" -ge 4 ] || { echo "only $old ran"; return 1; }
    kill -KILL "$("$half")"
    wait_crash || return 1
    start_gateway "$@" || return 1
    survives $old && { echo "survivors of the crash, after the start"; stop_gateway; return 1; }
    job "$job" | json '[(t["from_state"], t["to_state"], t["reason"]) for t in d["transitions"]]'
    job "$job" | json 'str(d["transitions"])' | grep -q "'from_state': 'running', 'to_state': 'queued'.*recovered" || { echo "no row says why"; stop_gateway; return 1; }
    # the second attempt runs now, and is as stubborn
    for _ in $(seq 100); do left D && break; sleep 0.05; done
    stop_gateway
    ! left D
}
# Is any of these still what it was?
survives() { local pid; for pid in "$@"; do grep -qa ductile-test-left-D "/proc/$pid/cmdline" 2>/dev/null && { ps -fp "$pid"; return 0; }; done; return 1; }
if [ "${DRIVER:-nest}" = host ]; then
    # systemd (KillMode=mixed) kills what is left and starts again by itself
    wait_crash() { for _ in $(seq 200); do [ "$(systemctl show -p NRestarts --value ductile)" -ge 1 ] && systemctl is-active -q ductile && break; sleep 0.05; done; systemctl stop ductile; survives $old && { echo "survivors of the crash"; return 1; }; left D && { echo "survivors of the stop"; return 1; }; return 0; }
    else
    wait_crash() { wait_gateway 10; return 0; }
fi
check "kill -9 of the warden: nothing survives, the job is queued again, and a row says why" crash warden_pid
check "kill -9 of the bus: nothing survives, the job is queued again, and a row says why" crash bus_pid
check "kill -9 of the warden, without cgroups" crash warden_pid --no-cgroup
check "kill -9 of the bus, without cgroups" crash bus_pid --no-cgroup

# ---- a stop while jobs run -------------------------------------------------------------------------------------------
drain() {
    start_gateway || return 1
    local short long
    short=$(enqueue unruly handle '{"mode": "calm", "seconds": 1}')
    long=$(enqueue unruly_retried handle '{"mode": "stubborn", "tag": "E"}')
    for _ in $(seq 100); do left E && break; sleep 0.05; done
    stop_gateway || return 1
    left E && return 1
    start_gateway || return 1
    state_is "$short" succeeded || return 1
    job "$long" | json 'str(d["transitions"])' | grep -q "'to_state': 'queued'.*stopping" || { job "$long"; return 1; }
    stop_gateway
}
check "a stop drains: what ends in time succeeds, the rest is queued again" drain
