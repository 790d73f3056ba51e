#!/bin/bash
# Doors that only root can see: it asks, writes down what it was told, and the gate believes it as long as nothing that
# decided it has changed. sudo is made up here (tests/host/66-doors.sh has the real one): its answers are what matters.
# not: host, wall-abi2 (66-doors asks the real sudo, under the real unit)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
FACTS=/etc/ductile/facts.json
SUDOERS=/etc/sudoers.d/of-the-test
mkdir -p /etc/sudoers.d
# The sudo of the test: NAMED in $SUDOERS may do everything
cat >"$WORK/sudo" <<S
#!/bin/sh
[ "\$*" = "-n -l -U \$4" ] || exit 9
: >/run/sudo-was-asked
grep -q broken $SUDOERS 2>/dev/null && { echo "sudo: $SUDOERS:1:1: syntax error"; exit 1; }
grep -q "^\$4 " $SUDOERS 2>/dev/null || { echo "User \$4 is not allowed to run sudo on host."; exit 0; }
printf 'User %s may run the following commands on host:\n    (ALL) %s\n' "\$4" "\$(sed -n "s/^\$4 //p" $SUDOERS)"
S
rm -f /usr/bin/sudo /usr/local/bin/sudo $SUDOERS && install -m4755 "$WORK/sudo" /usr/bin/sudo
lab 2 || exit 1

gate() { as_service /usr/local/bin/ductile-gate "$@"; }
# told WORD ID SUBJECT WHY: in $WORK/said
told() {
    cat "$WORK/said"
    grep -A1 -E "^(.*: )?$1 $2: .*: $3\$" "$WORK/said" | grep -qE "why: .*$4"
}
finds() { # finds EXIT WORD ID SUBJECT WHY
    local rc
    gate check >"$WORK/said" 2>&1
    rc=$?
    told "$2" "$3" "$4" "$5" || return 1
    [ $rc = "$1" ] || { echo "exit $rc"; return 1; }
}
silent() { gate check >"$WORK/said" 2>&1; cat "$WORK/said"; ! grep -qE "GATE-(DOOR-(03|04|05|11|14)|FACTS-01|UNIT-01)" "$WORK/said"; }
doctor() { ductile doctor >"$WORK/doctor" 2>&1; }
again() { ductile-install -q apply; }
put_config() { cat >/etc/ductile/plugins.d/more.yaml && chgrp ductile /etc/ductile/plugins.d/more.yaml && chmod 640 /etc/ductile/plugins.d/more.yaml; }

written() { [ "$(stat -c %U:%G:%a $FACTS)" = root:ductile:640 ] && json 'd["by"]' <$FACTS | grep -x 'ductile-install apply'; }
check "apply wrote the facts down, root's, read-only to the service" written
idle() { local before; before=$(stat -c '%i %Y' $FACTS); ductile-install plan && ductile-install apply | grep 'nothing to change' && [ "$before" = "$(stat -c '%i %Y' $FACTS)" ]; }
check "while they are fresh a second apply changes nothing" idle
check "a host without any of these doors is clean" silent

echo "ductile-default NOPASSWD: ALL" >$SUDOERS
check "a change of sudoers: the facts are stale, and nothing else of them counts" finds 0 unproven GATE-FACTS-01 $FACTS "$SUDOERS|/etc/sudoers.d has changed"
only_unproven() { ! grep -q GATE-DOOR-03 "$WORK/said"; }
check "not even what was clean" only_unproven
echo 'service: {admission: {fail_on_sidedoor: strict}}' | put_config
check "under strict that refuses" finds 1 unproven GATE-FACTS-01 $FACTS "has changed"
rm /etc/ductile/plugins.d/more.yaml
pending() { local out; out=$(ductile-install plan); [ $? = 2 ] && grep "facts $FACTS .*has changed since.* -> collected by root" <<<"$out"; }
check "plan says that apply would ask again" pending
again
check "GATE-DOOR-03: a sudoers rule that covers a confined account refuses" finds 1 refused GATE-DOOR-03 default "\(ALL\) NOPASSWD: ALL; exists: yes, without a password; open to a plugin: no"
echo 'service: {admission: {fail_on_sidedoor: warn}}' | put_config
check "under warn it warns" finds 0 warn GATE-DOOR-03 default "exists: yes"
accept() { printf 'accounts: {default: {accept_doors: [{id: %s, owner: matt, reason: "the backup needs it", until: %s}]}}\n' "$1" "$2" | put_config; }
accept GATE-DOOR-03 2999-12-31
check "accept_doors: it is told with its owner and its end, and does not refuse" finds 0 warn GATE-DOOR-03 default "accepted by matt until 2999-12-31: the backup needs it; .*exists: yes"
accept GATE-DOOR-03 2020-02-29
check "accept_doors: one that has expired counts no longer" finds 1 refused GATE-DOOR-03 default "no longer accepted by matt until 2020-02-29"
accept GATE-DOOR-04 2999-12-31
check "accept_doors: of another door it says nothing" finds 1 refused GATE-DOOR-03 default "sudo: \(ALL\)"
accept GATE-DOOR-03 2020-02-30
check "accept_doors: a day that does not exist is refused" refuses 78 CONF-LOAD-01 gate check
rm /etc/ductile/plugins.d/more.yaml

printf 'matt ALL\n' >$SUDOERS
again
check "GATE-DOOR-03: of a credentialed account it is told, by consent" finds 0 warn GATE-DOOR-03 matt "with a password"
recorded() { ledger "select subject || ' ' || evidence from gate_finding where id = 'GATE-DOOR-03' order by rowid desc limit 1" | grep 'matt sudo:'; }
check "the ledger has the finding" recorded
echo broken >$SUDOERS
again
check "GATE-DOOR-03: a sudo that cannot answer is unproven" finds 0 unproven GATE-DOOR-03 default "syntax error"
rm $SUDOERS
not_run() { rm -f /run/sudo-was-asked; again; finds "$1" unproven GATE-DOOR-03 default "others than root may write it" && [ ! -e /run/sudo-was-asked ]; }
chmod 4775 /usr/bin/sudo
check "GATE-DOOR-03: a sudo that others may write is not run as root: unproven" not_run 0
chmod 4755 /usr/bin/sudo && chmod 777 /usr/bin
check "GATE-DOOR-03: nor one in a directory that others may write" not_run 1 # which is GATE-DOOR-07 besides
chmod 755 /usr/bin
ran() { rm -f /run/sudo-was-asked $FACTS; again; silent && [ -e /run/sudo-was-asked ]; }
check "GATE-DOOR-03: closed again it is" ran
chmod 755 /usr/bin/sudo # not setuid any more
again
check "GATE-DOOR-03: without sudo it is clean" silent

# door ID WHY CHANGE UNDO: refused with the change, once root has looked; silent without
door() {
    local rc
    eval "$3" && again
    finds 1 refused "$1" default "$2"
    rc=$?
    eval "$4" && again && silent >/dev/null && return $rc
}
rm -f /usr/bin/doas /usr/local/bin/doas /usr/lib/polkit-1/polkitd /usr/libexec/polkitd /usr/libexec/polkit-1/polkitd /usr/lib/policykit-1/polkitd
check "GATE-DOOR-04: doas.conf without doas is clean" eval 'echo "permit nopass ductile-default" >/etc/doas.conf; again; silent'
check "GATE-DOOR-04: with doas it refuses" door GATE-DOOR-04 "doas: permit ductile-default" "install -m4755 /bin/true /usr/bin/doas" "rm /usr/bin/doas"
mkdir -p /etc/polkit-1/rules.d
echo 'polkit.addRule(function(action, subject) { if (subject.isInGroup("ductile-default")) return polkit.Result.YES; });' >/etc/polkit-1/rules.d/10-test.rules
check "GATE-DOOR-05: polkit's rules without polkit are clean" eval 'again; silent'
check "GATE-DOOR-05: with polkit they refuse, and are open to a plugin" door GATE-DOOR-05 "10-test.rules grants the account .*open to a plugin: yes" "mkdir -p /usr/libexec; install -m755 /bin/true /usr/libexec/polkitd" "rm /usr/libexec/polkitd"
check "GATE-DOOR-11: a crontab refuses" door GATE-DOOR-11 "crontabs/ductile-default" "mkdir -p /var/spool/cron/crontabs; touch /var/spool/cron/crontabs/ductile-default" "rm /var/spool/cron/crontabs/ductile-default"
check "GATE-DOOR-11: cron.allow that names it refuses" door GATE-DOOR-11 "cron.allow names it" "echo ductile-default >/etc/cron.allow" "rm /etc/cron.allow"
check "GATE-DOOR-14: a login shell refuses" door GATE-DOOR-14 "shell /bin/bash, password locked" "usermod -s /bin/bash ductile-default" "usermod -s /usr/sbin/nologin ductile-default"
check "GATE-DOOR-14: a usable password refuses" door GATE-DOOR-14 "password usable" "echo ductile-default:secret | chpasswd -e" "usermod -p '!*' ductile-default"

# ---- the facts themselves
forged() { chown ductile $FACTS; finds 1 unproven GATE-FACTS-01 $FACTS "not root's alone"; local rc=$?; chown root:ductile $FACTS; return $rc; }
check "GATE-FACTS-01: a file that the service could have written counts for nothing" forged
old() { sed -i 's/"collected_ms":[0-9]*/"collected_ms":'"$((($(date +%s) - 31 * 86400) * 1000))/" $FACTS; finds 0 unproven GATE-FACTS-01 $FACTS "older than 30 days"; }
check "GATE-FACTS-01: older than 30 days they count for nothing" old
echo 'service: {retention: {facts: 32d}}' | put_config
check "with a longer service.retention.facts they count" silent
hours() { echo 'service: {retention: {facts: 1h}}' | put_config && doctor && silent && sed -i 's/"collected_ms":[0-9]*/"collected_ms":'"$((($(date +%s) - 3660) * 1000))/" $FACTS && finds 0 unproven GATE-FACTS-01 $FACTS "older than 1 hour \(service.retention.facts\)"; }
check "with a shorter one they do not" hours
rm /etc/ductile/plugins.d/more.yaml
gone() { rm $FACTS; finds 0 unproven GATE-FACTS-01 $FACTS "root has not collected any yet"; }
check "GATE-FACTS-01: without any it is unproven" gone
cured() { doctor; cat "$WORK/doctor"; [ "$(json 'd["by"]' <$FACTS)" = "ductile doctor" ] && silent; }
check "ductile doctor collects them anew" cured
examined() { grep -q "pass .*GATE-VERSION-01 .*/ductile-run" "$WORK/doctor" && grep -q "GATE-SPACE-01 .*/ledger .*MiB" "$WORK/doctor" && grep -q GATE-CLOCK-01 "$WORK/doctor" && grep -q "GATE-KERNEL-05 .*landlock" "$WORK/doctor" && grep -qE "attempts to climb the wall$" "$WORK/doctor" || { cat "$WORK/doctor"; return 1; }; }
check "and tells clock, room, layers and versions, and proves the wall" examined
check "only root may be its doctor" refuses 77 CLI-ROOT-01 gate doctor

# ---- the unit
UNIT=/etc/systemd/system/ductile.service
in_unit() { # in_unit EXIT WORD WHY LINE: with a drop-in of that line
    local rc
    mkdir -p /run/systemd/system/ductile.service.d
    printf '[Service]\n%s\n' "$4" >/run/systemd/system/ductile.service.d/test.conf
    finds "$1" "$2" GATE-UNIT-01 ductile "$3"
    rc=$?
    rm /run/systemd/system/ductile.service.d/test.conf
    return $rc
}
harmless() { mkdir -p /run/systemd/system/ductile.service.d; printf '[Service]\nTimeoutStartSec=5\n# ExecStart=+/bin/sh\n' >/run/systemd/system/ductile.service.d/test.conf; silent; local rc=$?; rm /run/systemd/system/ductile.service.d/test.conf; return $rc; }
check "GATE-UNIT-01: a drop-in that changes a timeout is nothing" harmless
check "GATE-UNIT-01: one that changes the user is told" in_unit 0 warn "test.conf: User=root" User=root
check "GATE-UNIT-01: one that adds a capability is told" in_unit 0 warn AmbientCapabilities "AmbientCapabilities=CAP_SYS_ADMIN"
check "GATE-UNIT-01: one that executes something is told" in_unit 0 warn ExecStartPre "ExecStartPre=/bin/true"
check "GATE-UNIT-01: a helper that runs as root is refused" in_unit 1 refused "ExecStartPre=-\+/bin/true" "ExecStartPre=-+/bin/true"
check "GATE-UNIT-01: with the prefix ! too" in_unit 1 refused "ExecStopPost=!" "ExecStopPost=!/bin/true"
differs() { cp -p $UNIT "$WORK/unit"; sed -i 's/^KillMode=.*/KillMode=process/' $UNIT; finds 0 warn GATE-UNIT-01 ductile 'it has "KillMode=process", rendered is "KillMode=mixed"'; local rc=$?; cp -p "$WORK/unit" $UNIT; return $rc; }
check "GATE-UNIT-01: a unit that is not the rendered one is told, with the line" differs
check "after all that nothing is told" silent
