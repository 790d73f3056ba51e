#!/bin/bash
# A home on a file system that has stopped answering: what needs it is refused within the time limit, all else goes on.
# `ignore`: whoever waits for it can be killed; `keep`: not even that, until its server is gone; `supervised`: the same
# without cgroups.
# not: wall-san, wall-abi2 (it waits, mostly)
# waits
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 4 || exit 1
HOME_CODE=/home/matt/ductile/plugins/keeper
as matt cp -R "$SRC/tests/wall/plugins/keeper" /home/matt/ductile/plugins/
as matt chmod -R go-w "$HOME_CODE"
echo 'plugins: {keeper: {run_as: matt, retry: {max_attempts: 1}}}' | add_config keeper
ductile-install -q apply >/dev/null 2>&1
printf 'the-treasure-itself' | ductile vault secret set treasure >/dev/null
ductile vault grant treasure keeper >/dev/null 2>&1
ductile plugin lock keeper >/dev/null || exit 1
[ -e /dev/fuse ] || mknod /dev/fuse c 10 229

hang() { # hang HOW: from now on /home/matt does not answer
    /opt/wall/hang /home/matt "${1/supervised/keep}" >"$WORK/mounted" 2>&1 &
    server=$!
    for _ in $(seq 100); do grep -q mounted "$WORK/mounted" && return; sleep 0.05; done
    cat "$WORK/mounted"; return 1
}
answer_again() { kill -KILL $server; wait $server 2>/dev/null; umount -l /home/matt; }
state() { job "$1" | json 'd["state"] + ": " + d["reason"]'; }
ms() { job "$1" | json 'd["ended_ms"] - d["created_ms"]'; }
runs() { local s; s=$(run_job "$1" poll '{}' | json 'd["state"]'); echo "$s"; [ "$s" = succeeded ]; }
open_hangs() { # the control: whoever opens it by himself waits
    cat /home/matt/anything >/dev/null 2>&1 &
    local pid=$! waits after; sleep 2
    waits=$(cut -d' ' -f3 /proc/$pid/stat); kill -KILL $pid; sleep 0.5
    after=$(cut -d' ' -f3 /proc/$pid/stat 2>/dev/null)
    echo "after 2 s $waits, killed $after"
    [ -n "$waits" ] && [ "$waits" != Z ] && { [ $1 = ignore ] || [ "$after" = D ]; }
}
beside() { # three jobs of another account, and status, at their usual speed
    local began=$(date +%s%N)
    runs unruly && runs unruly && runs unruly && timeout 2 ductile status >/dev/null || return 1
    local took=$((($(date +%s%N) - began) / 1000000))
    echo "$took ms"; [ $took -lt 4000 ]
}
ended() { # ended JOB SECONDS PATTERN AT_MOST_MS
    await "$1" "$2"; state "$1"; ms "$1"
    state "$1" | grep -q "$3" && [ "$(ms "$1")" -lt "$4" ]
}
clean_stop() {
    local pid=$(warden_pid) began=$SECONDS r; enqueue unruly_matt poll '{}' >/dev/null; sleep 0.5
    stop_gateway; r=$?; echo "exit $r after $((SECONDS - began)) s"
    [ ! -e "/proc/$pid" ] && [ $r = 0 ] && { log_of "$pid" | tail -3; } >"$WORK/last" && cat "$WORK/last" && grep -q 'stopped' "$WORK/last"
}
# On the booted host the strongest alone: what differs there is the unit, not the hang.
for how in $([ "${DRIVER:-nest}" = host ] && echo keep || echo ignore keep supervised); do
    if [ $how = supervised ]; then start_gateway --no-cgroup || exit 1; else start_gateway || exit 1; fi
    check "$how: before, code of the home runs" runs keeper
    hang $how || exit 1
    check "$how: control: a plain open of that path hangs" open_hangs $how
    gone=$([ $how != ignore ] && echo '; it is not gone' || echo '; attempt')
    [ $how = supervised ] || j=$(enqueue keeper poll '{}')
    k=$(enqueue unruly_matt poll '{}')
    check "$how: other jobs go on at their speed, and status answers" beside
    check "$how: a child that hangs at its chdir is killed after 5 s and reported with its stage" ended "$k" 20 "^dead: spawn-failed: killed before its exec, at stage cwd$gone" 12000
    [ $how = supervised ] || check "$how: code that cannot be read is refused within the time limit" ended "$j" 40 '^refused: cannot-attest: reading .* took too long' 33000
    if [ $how != ignore ]; then
        check "$how: what would hang too is refused at once" ended "$(enqueue unruly_matt poll '{}')" 5 '^dead: spawn-failed: an earlier job of its account was killed and is not gone' 2000
        check "$how: afterwards the others still go on" beside
    else
        j=$(enqueue keeper poll '{}'); sleep 0.5
        check "$how: one at a time finds out whether it answers again" ended "$(enqueue keeper poll '{}')" 5 '^refused: cannot-attest: /home/matt did not answer when it was last read' 2000
        check "$how: afterwards the others still go on" beside
    fi
    answer_again
    check "$how: when the home answers again, its code runs, without a restart" eval 'sleep 1; runs keeper; await "$j"; runs keeper && runs unruly_matt'
    hang $how || exit 1
    check "$how: a stop is clean while a child hangs" clean_stop
    answer_again
done
