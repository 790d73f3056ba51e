#!/bin/bash
# What a newer Landlock adds, and what is said where it is absent: signals and abstract sockets out of a domain are
# stopped from ABI 6 on. All else that keeps siblings of one uid apart holds on every ABI.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 4 || exit 1
cat >/etc/ductile/plugins.d/sibling.yaml <<'Y'
plugins:
  sibling: {run_as: default, retry: {max_attempts: 1}}
  sibling_other: {uses: sibling, run_as: untrusted, retry: {max_attempts: 1}}
  sibling_matt: {uses: sibling, run_as: matt, retry: {max_attempts: 1}}
Y
ductile-install -q apply >/dev/null 2>&1
ductile plugin add "$SRC/tests/wall/plugins/sibling" >/dev/null && ductile plugin lock sibling >/dev/null || exit 1
start_gateway || exit 1
KERNEL=$(python3 -c 'import ctypes; print(ctypes.CDLL(None).syscall(444, None, 0, 1))')
HELD=$(ductile status --json | json 'd["landlock_abi"]')
figure "Landlock ABI $HELD of the kernel's $KERNEL"
check "the ABI is the kernel's, or what it is capped to" test "$HELD" = "${ABI:-$KERNEL}"
SCOPED=$([ "$HELD" -ge 6 ] && echo EPERM || echo allowed)

# between VICTIM ATTACKER SIGNAL ABSTRACT ENVIRON PRLIMIT: what the attack got; and the victim saw just that
between() {
    local victim=$1 attacker=$2 wanted seen=() j k pid until=/tmp/ductile-test-until.$RANDOM
    wanted="{'signal': '$3', 'abstract': '$4', 'environ': '$5', 'prlimit': '$6'}"
    [ "$4" = allowed ] && seen+=("'connection'")
    [ "$3" = allowed ] && seen+=("'signal'")
    j=$(enqueue "$victim" poll "{\"mode\": \"wait\", \"seconds\": 15, \"until\": \"$until\"}")
    for _ in $(seq 200); do grep -q ductile-test-sibling /proc/net/unix && break; sleep 0.05; done
    pid=$(job "$j" | json 'd["attempts"][-1]["pid"]')
    k=$(run_job "$attacker" poll "{\"mode\": \"attack\", \"pid\": $pid}" | json 'd["result"]')
    sleep 0.2; touch "$until"; await "$j"; rm "$until"
    echo "attack: $k; seen: $(job "$j" | json 'd["result"]')"
    [ "$k" = "$wanted" ] && [ "$(job "$j" | json 'd["result"]')" = "[$(IFS=,; echo "${seen[*]}" | sed 's/,/, /')]" ]
}
check "siblings of one account: signals and abstract sockets as this ABI says, memory never, limits always" between sibling sibling $SCOPED $SCOPED EACCES allowed
check "another account: no signal on any ABI, abstract sockets as this one says" between sibling sibling_other EPERM $SCOPED EACCES EPERM
check "siblings of a credentialed account: signals as this ABI says, abstract sockets are the operator's" between sibling_matt sibling_matt $SCOPED allowed EACCES allowed
record() { local l; l=$(run_job sibling poll '{"mode": "attack", "pid": 1}' | json 'd["attempts"][-1]["layers"]'); echo "$l"; grep -q landlock-domain <<<"$l" && { [ $SCOPED = EPERM ] && grep -q landlock-signal <<<"$l" || { [ $SCOPED = allowed ] && ! grep -q landlock-signal <<<"$l"; }; }; }
check "the job's record names the layer where it held, and only there" record
told() { ductile status | grep '^landlock' | tee /dev/stderr | grep -q "ABI $HELD$([ $SCOPED = EPERM ] || echo ', absent here: signals and abstract sockets')"; }
check "status says what is absent" told
row() { ductile-gate prove >"$WORK/prove"; local rc=$?; grep '^signal-sibling' "$WORK/prove" | tee /dev/stderr | grep -q "$([ $SCOPED = EPERM ] && echo 'denied EPERM | twin opens' || echo 'absent layer')" && [ $rc = 0 ]; }
check "so does the gate's matrix, and it is no breach" row
stop_gateway
