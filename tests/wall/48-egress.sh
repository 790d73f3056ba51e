#!/bin/bash
# accounts.*.egress: what a list names connects, all else is refused with an errno, by rules that only root loads. The
# gate tries it; without the rules it refuses the boot, and the same connects open.
# waits
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
cat >/etc/ductile/plugins.d/egress.yaml <<'Y'
accounts:
  some: {egress: ["127.0.0.1:8001", "127.1.0.0/16", "[::1]:8001"]}
  nothing: {egress: []}
plugins:
  dial: {run_as: default, retry: {max_attempts: 1}}
  dial_some: {uses: dial, run_as: some, retry: {max_attempts: 1}}
  dial_nothing: {uses: dial, run_as: nothing, retry: {max_attempts: 1}}
Y
check "plan shows the unit" bash -c "ductile-install plan | grep '^file /etc/systemd/system/ductile-egress.service .*absent -> generated'"
ductile-install -q apply >/dev/null 2>"$WORK/apply.log" || { cat "$WORK/apply.log"; exit 1; }
ductile plugin add "$SRC/tests/wall/plugins/dial" >/dev/null && ductile plugin lock dial >/dev/null || exit 1
RULES=/etc/ductile/egress.nft
HOST=$([ "${DRIVER:-nest}" = host ] && echo yes)
unit() { sed -n "s,^$1=-*,,p" /etc/systemd/system/ductile-egress.service; }
# A nest has no service manager: what the unit would run.
load() { if [ -n "$HOST" ]; then systemctl restart ductile-egress; else eval "$(unit ExecStart)"; fi; }
unload() { if [ -n "$HOST" ]; then nft delete table inet ductile; else eval "$(unit ExecStop)"; fi; }
loaded() { nft list table inet ductile; }
if [ -n "$HOST" ]; then
    check "apply loaded the rules" loaded
else
    check "nothing is loaded where there is no service manager" not loaded
fi
check "a second apply changes nothing" bash -c "ductile-install apply | grep 'nothing to change'"
check "the rules are root's, and no account or service can write them" bash -c "stat -c %U:%G:%a $RULES | grep -x root:root:644"
[ -n "$HOST" ] || check "what the unit starts loads the rules, and again" bash -c "$(unit ExecStart) && $(unit ExecStart)"
by_uid() { loaded | tee "$WORK/table"; for n in some nothing; do grep -q "meta skuid $(id -u ductile-$n) goto only_$n\|meta skuid \"ductile-$n\" goto only_$n" "$WORK/table" || return 1; done; ! grep -q default "$WORK/table"; }
check "a chain for each account with a list, and for no other" by_uid

python3 "$SRC/tests/wall/listeners.py" 8001 8002 >"$WORK/heard" 2>&1 & listeners=$!
for _ in $(seq 100); do grep -q ready "$WORK/heard" && break; sleep 0.05; done
# dials PLUGIN EXPRESSION: what the plugin got, as r["KIND ADDRESS PORT"]
dials() {
    ductile job run --json "$1" poll --payload '{"ports": [8001, 8002]}' >"$WORK/job.json"
    json "[d['state'], d['reason'], d.get('result'), d['attempts'][-1]]" <"$WORK/job.json"
    python3 -c 'import json,sys; job=json.load(open(sys.argv[1])); r=job["result"]; layers=job["attempts"][-1]["layers"].split(","); sys.exit(0 if eval(sys.argv[2]) else 1)' "$WORK/job.json" "$2"
}
OPEN='all(r["tcp %s %d" % (a, p)] == "connected" for a in ("127.0.0.1", "127.1.2.3", "::1") for p in (8001, 8002))'
check "the gateway starts behind its gate" start_gateway
check "an account without a list reaches everything" dials dial "$OPEN and r['vsock'] != 'EACCES' and 'egress-sockets' not in layers"
check "a list with a port: that port connects, another is refused" dials dial_some \
    'r["tcp 127.0.0.1 8001"] == r["tcp ::1 8001"] == "connected" and r["tcp 127.0.0.1 8002"] == "EHOSTUNREACH" and r["tcp ::1 8002"] == "EACCES"'
check "a list with a network: every port of it connects" dials dial_some 'r["tcp 127.1.2.3 8001"] == r["tcp 127.1.2.3 8002"] == "connected"'
check "an empty list: nothing connects, IPv4, IPv6, mapped" dials dial_nothing \
    'all(v in ("EHOSTUNREACH", "EACCES") for k, v in r.items() if k.startswith(("tcp", "mapped"))) and sum(k.startswith("tcp") for k in r) == 6'
check "UDP is held the same: a name server too must be listed" dials dial_some 'r["udp 127.0.0.1 8001"] == "sent" and r["udp 127.0.0.1 8002"] == "EPERM"'
check "control: UDP without a list" dials dial 'r["udp 127.0.0.1 8002"] == "sent"'
visited() { # visited PLUGIN RESULT: somebody without a list knocks at the plugin's own port
    local j; j=$(enqueue "$1" poll '{"listen": 8003}')
    for _ in $(seq 15); do timeout 0.3 bash -c ': 2>/dev/null </dev/tcp/127.0.0.1/8003' 2>/dev/null; sleep 0.1; done
    await "$j"; job "$j" | json 'd["result"]["listen"]' | tee /dev/stderr | grep -qx "$2"
}
check "nobody from outside of the list gets in: a listener's answers are refused" visited dial_nothing "timed out"
check "control: without a list a listener is reached" visited dial visited
check "sockets that the rules would not see cannot be made" dials dial_some \
    'r["vsock"] == "EACCES" and r["smc"] == "EACCES" and r["mptcp"] == r["ipproto_smc"] == "EPROTONOSUPPORT" and r["io_uring"] == "ENOSYS" and "egress-sockets" in layers'
check "refused at once, not dropped: no attempt took 3 s" dials dial_nothing 'r["slowest"] < 3'
check "status names them" bash -c "ductile status | grep -E 'account +some .*egress 3 networks' && ductile status | grep -E 'account +nothing .*egress 0 networks'"
cannot_write() { for u in ductile ductile-some; do setpriv --reuid=$u --regid=$u --clear-groups nft delete table inet ductile 2>&1 && return 1; done; loaded >/dev/null; }
check "neither service nor account can take the rules away" cannot_write

# ---- the gate ----------------------------------------------------------------------------------------------------------
proves() { ductile-gate prove >"$WORK/prove"; local rc=$?; cat "$WORK/prove"; [ $rc = 0 ] && grep -E '^egress-inet +nftables .*denied EHOSTUNREACH \| twin opens .*denied EHOSTUNREACH \| twin opens' "$WORK/prove" && grep -E '^egress-inet6 .*denied EACCES \| twin opens' "$WORK/prove"; }
check "the gate tries it, and its own connect is the control" proves
stop_gateway
unload
gate_refuses() { refuses 78 'GATE-EGRESS-01: .*: some' as_service /usr/local/bin/ductile-gate check --boot; }
check "without the rules the gate refuses the boot" gate_refuses
check "and so the gateway does not start" not start_gateway
if [ -n "$HOST" ]; then
    requires() { systemctl stop ductile-egress; systemctl start ductile; [ "$(systemctl is-active ductile ductile-egress | tr '\n' ' ')" = "active active " ] && systemctl stop ductile-egress && ! systemctl is-active ductile && not loaded; }
    check "a start of the gateway loads the rules, and it ends with them" requires
    unloadable() { sed -i 's/policy accept/policy perhaps/' $RULES; systemctl reset-failed; systemctl start ductile && return 1; ductile-install -q apply; local rc=$?; systemctl reset-failed; return $rc; }
    check "rules that do not load keep the gateway from starting, and apply mends them" unloadable
    soon() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done; "$@"; } # systemctl waits for its own unit only
    # its start beside us is the one case that takes ours away: systemd has no word for "and then that one again"
    flushed() { systemctl start nftables && not loaded 2>/dev/null && systemctl restart ductile-egress && systemctl start ductile && systemctl restart nftables && soon loaded && soon systemctl is-active ductile && systemctl reload nftables && soon loaded && soon systemctl is-active ductile; }
    check "a restart and a reload of what flushes all rules (nftables.service) bring ours back" flushed
    systemctl stop nftables ductile
    nft delete table inet ductile 2>/dev/null
    rm -f /run/ductile/breach # a gate that ran while they were flushed saw what was true then
fi
# No gate before the gateway, nor beside it: that would see what we do, and the warden would refuse the job.
unwatched=/run/systemd/system/ductile-prove.service.d
[ -z "$HOST" ] || { mkdir -p $unwatched && printf '[Unit]\nConditionPathExists=/nowhere\n' >$unwatched/never.conf; }
BREAK=nothing start_gateway >/dev/null || exit 1
[ -z "$HOST" ] || nft delete table inet ductile # which the unit's Requires= just loaded
check "control: without the rules the same connects open" dials dial_nothing "$OPEN"
stop_gateway
[ -z "$HOST" ] || rm -r $unwatched # the next start reloads
load

# ---- the end of it ---------------------------------------------------------------------------------------------------------
plan_says() { ductile-install plan >"$WORK/plan"; cat "$WORK/plan"; grep -qE "$1" "$WORK/plan"; }
sed -i 's/127.1.0.0/127.2.0.0/' /etc/ductile/plugins.d/egress.yaml
check "plan shows a list that changed" plan_says '^file /etc/ductile/egress.nft +differs -> generated'
ductile-install -q apply >/dev/null 2>&1
[ -z "$HOST" ] || check "apply reloads it" bash -c "nft list table inet ductile | grep 127.2.0.0/16"
sed -i 's/egress: \[.*\]//' /etc/ductile/plugins.d/egress.yaml
check "plan shows the end of it" plan_says '^file /etc/ductile/egress.nft +generated -> removed'
start_gateway || exit 1
ductile-install -q apply >/dev/null 2>&1
gone() { [ ! -e $RULES ] && [ ! -e /etc/systemd/system/ductile-egress.service ] && ! grep egress /etc/systemd/system/ductile.service && { [ -z "$HOST" ] || ! loaded; }; }
check "with the last list rules and unit go" gone
check "and the running gateway stays" ductile status
stop_gateway
kill $listeners
refused_config() { printf 'accounts: {%s}\n' "$1" >/etc/ductile/plugins.d/x.yaml; refuses 78 CONF-LOAD-01 ductile-install plan >"$WORK/r"; local rc=$?; rm /etc/ductile/plugins.d/x.yaml; cat "$WORK/r"; [ $rc = 0 ] && grep -q "$2" "$WORK/r"; }
check "an egress list on a credentialed account is refused" refused_config 'matt: {egress: []}' "would filter the operator's own login"
check "so is a network that is none" refused_config 'x: {egress: [10.0.0.1/8]}' 'expected a network without host bits'
