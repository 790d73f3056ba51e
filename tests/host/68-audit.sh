#!/bin/bash
# What systemd itself says of our units: verify has nothing to say, and each point of exposure that is left has its reason in
# share/systemd/exposure.def.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
echo 'accounts: {untrusted: {egress: []}}' >/etc/ductile/plugins.d/egress.yaml # for the unit that comes with it
ductile-install -q apply >/dev/null 2>&1
ductile-install -i ductile-full -q init --posture full-privsep >/dev/null && ductile-install -i ductile-full -q apply >/dev/null 2>&1 || exit 1
units() { find /etc/systemd/system -maxdepth 1 -type f -name 'ductile*'; }
quiet() { local out; out=$(systemd-analyze verify $(units) 2>&1); echo "$out"; [ -z "$out" ]; }
check "the four kinds of unit are there" bash -c 'cd /etc/systemd/system && ls ductile.service ductile-egress.service ductile-prove.service ductile-prove.timer ductile-full.service'
check "systemd-analyze verify is silent about every unit of ours" quiet
spoilt() { sed 's/^KillMode=.*/KillMode=sometimes/' /etc/systemd/system/ductile.service >/run/systemd/system/spoilt.service; ! systemd-analyze verify /run/systemd/system/spoilt.service 2>&1 | grep -c . | grep -qx 0; }
check "control: a wrong line is told" spoilt

points() { systemd-analyze security --offline=true --json=short "$1" | python3 -c 'import json,sys; print("\n".join(sorted(p["json_field"] for p in json.load(sys.stdin) if float(p["exposure"] or 0) > 0)))'; }
level() { systemd-analyze security --offline=true "$1" 2>/dev/null | sed -n 's/.*Overall exposure level for [^:]*: \([0-9.]*\).*/\1/p'; }
reasons() { sed -nE "s/^EXPOSURE\((ENFORCING|$1), \"([^\"]*)\", \"[^\"]{10,}\"\)\$/\2/p" "$SRC/share/systemd/exposure.def" | sort; }
reasoned() { points "$2" >"$WORK/points"; [ -s "$WORK/points" ] && diff <(reasons "$1") "$WORK/points"; }
at_most() { local got; got=$(level "$1"); echo "$got"; awk -v a="$got" -v b="$2" 'BEGIN { exit !(a != "" && a <= b) }'; }
audit() { # audit POSTURE COLUMN INSTANCE MOST
    local unit=/etc/systemd/system/$3
    figure "$1: exposure $(level "$unit.service"), of the unit that proves $(level "$unit-prove.service")"
    check "$1: each point of exposure has a reason, and each reason its point" reasoned "$2" "$unit.service"
    check "$1: the exposure is at most $4" at_most "$unit.service" "$4"
    check "$1: and that of the unit that proves" at_most "$unit-prove.service" "$4"
}
audit hybrid HYBRID ductile 2.8
audit full-privsep FULL ductile-full 2.4
looser() { sed '/^ProtectKernelModules=/d' /etc/systemd/system/ductile.service >/run/systemd/system/looser.service; ! reasoned HYBRID /run/systemd/system/looser.service; }
check "control: a directive less is a point without a reason" looser
loosened() { sed '/^SystemCallFilter=/d' /etc/systemd/system/ductile.service >/run/systemd/system/looser.service; ! at_most /run/systemd/system/looser.service 2.8; }
check "control: and without the filter the exposure is more" loosened
rm -f /run/systemd/system/{spoilt,looser}.service
