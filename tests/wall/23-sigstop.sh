#!/bin/bash
# A process of an account's uid stops each child just after it has become that uid, before its exec. A parent that waits
# for the exec (vfork) is frozen by that, for good. Ours waits for no child: the job that was hit ends after 5 s with its
# reason, and all others go on. The attacker is the operator's own login: from inside of a plugin's domain the signal is
# refused (Landlock ABI 6), but the design does not rest on that.
# not: wall-san (its children take too long for the attacker's luck)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
RUNS=${SIGSTOP_RUNS:-24}
lab 12 || exit 1
cat >/etc/ductile/plugins.d/stop.yaml <<'Y'
plugins: {unruly_calm: {uses: unruly, run_as: default, retry: {max_attempts: 1}, timeouts: {handle: 60s}, parallelism: 2}}
Y
sed -i 's/unruly_matt: {uses: unruly, run_as: matt,/& parallelism: 8,/; s/timeouts: {poll: 2s}}$/timeouts: {poll: 2s, handle: 8s}}/' /etc/ductile/plugins.d/lab.yaml
ductile-install -q apply >/dev/null 2>"$WORK/apply.log" || { cat "$WORK/apply.log"; exit 1; }
MATT=(setpriv --reuid=matt --regid=matt --init-groups)

# The control first: the naive dropper, and the same attacker.
frozen() {
    "${MATT[@]}" /opt/wall/stopper 4 >"$WORK/taken" &
    local attacker=$!
    timeout 3 /opt/wall/vforker "$(id -u matt)" 100000 /bin/true >"$WORK/longest"
    local rc=$?
    wait $attacker
    pkill -CONT -u matt; pkill -KILL -u matt vforker
    echo "exit $rc (124: it never came back), stopped $(cat "$WORK/taken") times"
    [ $rc = 124 ] && [ "$(cat "$WORK/taken")" -gt 0 ] && [ ! -s "$WORK/longest" ]
}
check "control: sigstop-before-exec freezes a dropper that uses vfork" frozen

start_gateway || exit 1
"${MATT[@]}" /opt/wall/stopper 100000 >/dev/null &
ATTACKER=$!
calm=0 slowest=0 hit=0
for _ in 1 2 3 4 5; do # a race: more of the same until some start was hit
    for _ in $(seq "$RUNS"); do enqueue unruly_matt handle '{"mode": "calm"}' >/dev/null; done
    while [ "$(ledger "select count(*) from job where plugin='unruly_matt' and state in ('queued','running')")" -gt 0 ]; do
        began=$(date +%s%N)
        j=$(enqueue unruly_calm handle '{"mode": "calm"}') && await "$j" 20
        ms=$((($(date +%s%N) - began) / 1000000))
        calm=$((calm + 1)) slowest=$((ms > slowest ? ms : slowest))
        sleep 0.2
    done
    hit=$(ledger "select count(*) from job where plugin='unruly_matt' and reason like 'spawn-failed%'")
    [ "$hit" = 0 ] || break
done
kill $ATTACKER
stories() { ledger "select state, reason, count(*) from job where plugin='$1' group by 1, 2"; }
starts=$(ledger "select count(*) from job where plugin='unruly_matt'")
figure "sigstop-before-exec: $starts starts, $hit of them stopped before their exec; beside them $calm jobs of another account, the slowest $slowest ms"
bites() { stories unruly_matt; [ "$hit" -gt 0 ]; }
check "sigstop-before-exec: the attack hits starts" bites
ended() { stories unruly_matt; [ "$(ledger "select count(*) from job where plugin='unruly_matt' and state not in ('succeeded','dead','refused','failed')")" = 0 ]; }
check "sigstop-before-exec: every job that was hit has ended, with its reason" ended
others() { stories unruly_calm; [ "$(ledger "select count(*) from job where plugin='unruly_calm' and state<>'succeeded'")" = 0 ] && [ "$slowest" -lt 4000 ]; }
check "sigstop-before-exec: jobs of another account beside it go on, and none waits for it" others
after() { local j; j=$(enqueue unruly_matt handle '{"mode": "calm"}') && await "$j" 20 && [ "$(job "$j" | json 'd["state"]')" = succeeded ]; }
check "sigstop-before-exec: when it is over the account's jobs run again" after
check "sigstop-before-exec: the stop is clean" stop_gateway
