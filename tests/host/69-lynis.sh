#!/bin/bash
# What an auditor that does not know us says: lynis, before and after. Installing and running the gateway adds no warning and
# no suggestion, and it calls every service of ours protected or medium.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
make_people matt # people alone are a finding
# Half of its time goes into what Debian has installed and what its mirrors offer, which nothing of ours can change.
printf 'skip-test=%s\n' DEB-0880 PKGS-7392 PKGS-7394 PKGS-7410 >/etc/lynis/custom.prf
audit() { # audit NAME [OPTION...]: the report is $WORK/NAME.dat
    (cd / && lynis audit system --quick --no-colors --report-file "$WORK/$1.dat" --log-file "$WORK/$1.log" "${@:2}") >"$WORK/$1.out" 2>&1 ||
        { tail -5 "$WORK/$1.out"; return 1; }
}
findings() { grep -E '^(warning|suggestion)\[\]=' "$WORK/$1.dat" | sort; }
no_more() { local more; more=$(comm -13 <(findings "$1") <(findings "$2")); echo "$more"; [ -z "$more" ] && [ "$(findings "$2" | grep -c .)" -gt 10 ]; }
words() { sed -nE "s/.*Result: (ductile[a-z-]*)\.service: [0-9.]+ ([A-Z]+)\$/\1 \2/p" "$WORK/$1.log"; } # of each service of ours

check "lynis looks at the host without us" audit before
provision() {
    userdel -r matt 2>/dev/null # the lab makes him again
    lab 2 && echo 'accounts: {untrusted: {egress: []}}' >/etc/ductile/plugins.d/egress.yaml && ductile-install -q apply >/dev/null 2>&1 &&
        ductile-install -i ductile-full -q init --posture full-privsep >/dev/null && ductile-install -i ductile-full -q apply >/dev/null 2>&1 &&
        start_gateway && systemctl start ductile-full
}
check "two instances run, with an egress list" provision
check "lynis looks again" audit after
check "installing and running ductile adds no warning and no suggestion" no_more before after
rated() { words "$1"; [ "$(words "$1" | grep -cE '^(ductile|ductile-full) (PROTECTED|MEDIUM)$')" = 2 ] && ! words "$1" | grep -vE ' (PROTECTED|MEDIUM)$'; } # those without default dependencies (egress) it leaves out
check "it calls every service of ours protected or medium" rated after
figure "$(words after | tr '\n' ' ')"

# ---- controls: what an installer could do wrong ---------------------------------------------------------------------------
only=(--tests "AUTH-9204 BOOT-5264")
useradd -M -o -u 0 ductile-door 2>/dev/null
sed -i -nE '/^\[|^(Type|NotifyAccess|ExecStart|Delegate)=/p' /etc/systemd/system/ductile.service
systemctl daemon-reload
check "control: lynis looks at an account of uid 0 and a unit without its hardening" audit spoilt "${only[@]}"
told() { ! no_more before spoilt && findings spoilt | grep 'AUTH-9204'; }
check "control: the account is a warning more" told
check "control: and the unit is not called protected" not rated spoilt
