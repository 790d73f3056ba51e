#!/bin/bash
# A process of the same account stops the child between its change of uid and its exec: the warden does not wait for it,
# other jobs go on, the child is killed after 5 s and reported. A vforking dropper is frozen by the same for good.
# not: wall-san (its children take too long for the attacker's luck)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
RUNS=${SIGSTOP_RUNS:-25}
AT_ONCE=$((RUNS < 25 ? RUNS : 25))
lab $((AT_ONCE + 4)) || exit 1 # it may stop one more than it counts: some slots are left for others
cat >/etc/ductile/plugins.d/stop.yaml <<'Y'
plugins:
  victim: {uses: unruly, run_as: untrusted, retry: {max_attempts: 1}, timeouts: {poll: 60s}}
Y
ductile-install -q apply >/dev/null 2>&1
uid=$(stat -c %u /var/lib/ductile/accounts/untrusted)
as_account() { setpriv --reuid="$uid" --regid="$uid" --clear-groups "$@"; }
start_gateway || exit 1

round() { # round N [kill]: N victims are stopped while the others run; adds to the totals
    local n=$1 jobs=() j began slow
    as_account /opt/wall/stopper ductile-run "$n" 20 ${2:-} >"$WORK/stopper.json" &
    local stopper=$!
    sleep 0.2
    until [ "$(grep -c . "$WORK/stopper.json")" = 1 ] || [ ${#jobs[@]} -ge $((4 * n + 20)) ]; do # those that were missed just run
        j=$(enqueue victim poll '{}'); jobs+=("$j")
        kill -0 $stopper 2>/dev/null || break
    done
    wait $stopper
    stopped=$((stopped + $(json 'd["stopped"]' <"$WORK/stopper.json"))) seized=$((seized + $(json 'd["seized"]' <"$WORK/stopper.json")))
    for _ in 1 2 3; do
        began=$(date +%s%N)
        [ "$(run_job unruly poll '{}' | json 'd["state"]')" = succeeded ] || beside=$((beside + 1))
        slow=$((($(date +%s%N) - began) / 1000000)); [ $slow -le $slowest ] || slowest=$slow
    done
    ductile status >/dev/null || beside=$((beside + 1))
    for j in "${jobs[@]}"; do await "$j" 20 || unended=$((unended + 1)); done
}
# It guesses, and a round may miss: some, until VARIABLE has grown
some() { # some VARIABLE [kill]
    local was=${!1}
    for _ in 1 2 3 4 5; do [ "${!1}" -gt "$was" ] || round 5 ${2:-}; done
}
stopped=0 seized=0 beside=0 slowest=0 unended=0 dry=0
while [ $stopped -lt "$RUNS" ]; do
    before=$stopped
    round $((RUNS - stopped < AT_ONCE ? RUNS - stopped : AT_ONCE))
    [ $stopped -gt $before ] || [ $((dry += 1)) -lt 5 ] || break # it guesses, and may miss
done
ends="job_transition t join job_attempt a on a.job=t.job and a.attempt=t.attempt where t.to_state='failed' and t.reason like 'spawn-failed: killed before its exec, at stage %'"
reported=$(ledger "select count(*) from $ends")
took=$(ledger "select max(a.ended_ms - a.started_ms) from $ends")
figure "children stopped before their exec: $stopped, reported: $reported, longest $took ms, seized: $seized, a job beside them: at most $slowest ms, late: $beside"
enough() { [ $stopped -ge "$RUNS" ] || { echo "stopped $stopped"; return 1; }; }
check "children are stopped between the change of uid and the exec" enough
check "none of them can be traced" test $seized = 0
check "other jobs go on at their speed, and status answers" test "$beside $((slowest < 4000))" = "0 1" # frozen it would be 5 s
all_reported() { echo "$stopped stopped, $reported reported, $unended not ended, longest $took"; [ "$reported $unended" = "$stopped 0" ] && [ "$took" -ge 5000 ] && [ "$took" -lt 8000 ]; }
check "each is killed after 5 s and reported with its stage" all_reported
gone() { ! pgrep -u "$uid" .; }
check "nothing of them is left" gone
killed() { # none of them is taken for a wall that failed, which would be final
    local before=$stopped; some stopped kill
    ledger "select to_state, reason from job_transition where to_state in ('failed', 'refused') and reason not like '%killed before%'"
    [ $stopped -gt $before ] && [ "$(ledger "select count(*) from job_transition where reason like 'drop-failed%'")" = 0 ] &&
        [ "$(ledger "select count(*) from job_transition where to_state='failed' and reason like 'spawn-failed: stage % was not survived%'")" -ge $((stopped - before)) ]
}
check "killed on the way by their own account: reported, and not taken for a wall that failed" killed
check "a stop is clean" stop_gateway
start_gateway --no-cgroup || exit 1
by_supervisor() { local before=$(ledger "select count(*) from $ends"); stopped=0; some stopped; echo "$stopped stopped, $unended not ended"; [ $stopped -ge 1 ] && [ $unended = 0 ] && [ "$(ledger "select count(*) from $ends")" = $((before + stopped)) ]; }
check "without cgroups each is killed after 5 s and reported too" by_supervisor
check "without cgroups nothing of them is left either" gone
stop_gateway
BREAK=dumpable start_gateway || exit 1
was=$seized
some seized
check "control: dumpable before its exec, it is traced" test $seized -gt $was
stop_gateway

frozen() { # the naive dropper: its parent waits in the kernel, before and after those 5 s
    local try parent
    for try in 1 2 3 4 5; do
        as_account /opt/wall/stopper vforker 1 10 >"$WORK/stopper.json" &
        sleep 0.2
        /opt/wall/vforker "$uid" 100000 /bin/true >"$WORK/vforker" &
        parent=$!
        for _ in $(seq 100); do [ -s "$WORK/stopper.json" ] && break; sleep 0.1; done
        local at=$(tail -1 "$WORK/vforker"); sleep 6
        echo "stopper: $(cat "$WORK/stopper.json"); back $at times, 6 s later $(tail -1 "$WORK/vforker"); state $(sed 's/.*) //; s/ .*//' /proc/$parent/stat)"
        if [ "$(json 'd["stopped"]' <"$WORK/stopper.json")" = 1 ]; then
            [ "$at" = "$(tail -1 "$WORK/vforker")" ] && [ "$(sed 's/.*) //; s/ .*//' /proc/$parent/stat)" = D ]
            local r=$?
            kill -KILL "$(json 'd["last"]' <"$WORK/stopper.json")" $parent
            return $r
        fi
        kill -KILL $parent
    done
    return 1
}
check "control: a dropper that vforks is frozen by it" frozen
