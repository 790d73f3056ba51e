#!/bin/bash
# What an account may take: processes, memory, sockets, files to read. Each limit is held by the layer that the job's
# record names, and does not hold the account beside it that has none.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
cat >/etc/ductile/plugins.d/contain.yaml <<'Y'
accounts:
  small: {limits: {pids: 12, memory: 96M, cpu: 50}}
  free: {limits: {pids: 0, memory: 0}}
  alone: {network: none}
  shy: {landlock: strict, read: [/srv/listed]}
plugins:
  bomb: {run_as: default, retry: {max_attempts: 1}}
  bomb_small: {uses: bomb, run_as: small, retry: {max_attempts: 1}}
  bomb_free: {uses: bomb, run_as: free, retry: {max_attempts: 1}}
  bomb_alone: {uses: bomb, run_as: alone, retry: {max_attempts: 1}}
  bomb_shy: {uses: bomb, run_as: shy, retry: {max_attempts: 1}}
Y
mkdir -p /srv/listed /srv/unlisted && echo x >/srv/listed/f && echo x >/srv/unlisted/f
ductile-install -q apply >/dev/null 2>"$WORK/apply.log" || { cat "$WORK/apply.log"; exit 1; }
ductile plugin add "$SRC/tests/wall/plugins/bomb" >/dev/null && ductile plugin lock bomb >/dev/null || exit 1
# with PLUGIN PAYLOAD LAYER EXPRESSION: the job ran under LAYER, and EXPRESSION of its result r (and state s) holds
with() {
    ductile job run --json "$1" poll --payload "$2" >"$WORK/job.json"
    python3 - "$WORK/job.json" "$3" "$4" <<'P'
import json, re, sys
job = json.load(open(sys.argv[1]))
layers, r, s = job["attempts"][-1]["layers"].split(","), job.get("result"), job["state"]
print(s, job.get("reason"), layers, r)
wanted = sys.argv[2]
ok = (wanted[1:] not in layers) if wanted.startswith("!") else any(re.fullmatch(wanted, l) for l in layers)
sys.exit(0 if ok and eval(sys.argv[3]) else 1)
P
}
for how in cgroup supervisor; do
    if [ $how = cgroup ]; then start_gateway || exit 1; else start_gateway --no-cgroup || exit 1; fi
    check "$how: a fork bomb is held by the layer the record names" with bomb_small '{"mode":"forks","n":200}' 'pids-(cgroup|rlimit)' \
        's == "succeeded" and r["stopped"] == "EAGAIN" and r["started"] < 12'
    check "$how: control: without the limit a fork bomb is not held" with bomb_free '{"mode":"forks","n":200}' '!pids-cgroup' 's == "succeeded" and r["started"] == 200'
    check "$how: a memory bomb is held by the layer the record names" with bomb_small '{"mode":"memory","mib":400}' 'memory-(cgroup|rlimit)' \
        's in ("failed", "dead") or r["stopped"] == "ENOMEM" and r["mib"] < 100'
    check "$how: control: without the limit a memory bomb is not held" with bomb_free '{"mode":"memory","mib":400}' '!memory-cgroup' 's == "succeeded" and r["mib"] == 400'
    check "$how: a bomb of the default account leaves room for others" bash -c "$(declare -f with enqueue await job json); SRC=$SRC WORK=$WORK
        j=\$(enqueue bomb poll '{\"mode\":\"forks\",\"n\":5000}'); with bomb_free '{\"mode\":\"forks\",\"n\":5}' '!x' 's == \"succeeded\" and r[\"started\"] == 5' && await \$j 30 && job \$j | json 'd[\"result\"][\"stopped\"]' | grep -q EAGAIN"
    stop_gateway
done
start_gateway || exit 1
check "network: none leaves AF_UNIX and nothing else, and no io_uring" with bomb_alone '{"mode":"sockets"}' 'no-network' \
    'r == {"AF_UNIX": "allowed", "AF_INET": "EACCES", "AF_INET6": "EACCES", "AF_NETLINK": "EACCES", "io_uring": "ENOSYS"}'
check "control: an account with the network has it" with bomb_free '{"mode":"sockets"}' '!no-network' 'r["AF_INET"] == "allowed" and r["AF_NETLINK"] == "allowed" and r["io_uring"] != "ENOSYS"'
paths='["/srv/listed/f","/srv/unlisted/f","/etc/passwd","/etc/fstab","/usr/bin/env","/opt/ductile/plugins/bomb/bomb.py","/var/log"]'
check "landlock: strict reads its code, the allowlist and read:, and nothing else" with bomb_shy "{\"mode\":\"read\",\"paths\":$paths}" 'landlock-read' \
    '[r[p] for p in ("/srv/listed/f", "/etc/passwd", "/usr/bin/env", "/opt/ductile/plugins/bomb/bomb.py")] == ["allowed"] * 4 and r["/srv/unlisted/f"] == r["/var/log"] == "EACCES"'
check "control: level write reads the rest too" with bomb_free "{\"mode\":\"read\",\"paths\":$paths}" '!landlock-read' 'r["/srv/unlisted/f"] == "allowed"'
check "the gate tries the same: no socket from an account without a network" bash -c "ductile-gate prove | grep -E '^socket-inet .*denied EACCES'"
swept() { # each job finds it empty, and what the one before left goes, closed directories too
    local state=/var/lib/ductile/accounts/free
    with bomb_free '{"mode":"tmp"}' '!x' 'r == 1' && with bomb_free '{"mode":"tmp"}' '!x' 'r == 1' || return 1
    for _ in $(seq 40); do [ "$(find $state -name '.tmp.old.*')" = "" ] && break; sleep 0.05; done
    find $state -name '*left*'
    [ "$(find $state -name '.tmp.old.*')" = "" ] && [ "$(find $state -name 'left-*' | wc -l)" = 1 ]
}
check "state_dir/tmp is made for a job, and swept after it" swept
stop_gateway
refused_config() { printf 'accounts: {x: {read: [/srv]}}\n' >/etc/ductile/plugins.d/x.yaml; ductile-install plan >"$WORK/r" 2>&1; local rc=$?; rm /etc/ductile/plugins.d/x.yaml; cat "$WORK/r"; [ $rc = 78 ] && grep -q 'read: adds to what landlock: strict allows' "$WORK/r"; }
check "read: without strict is refused" refused_config
