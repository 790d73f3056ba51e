#!/bin/bash
# The attack catalogue (attacks.def) in the hybrid posture: each from every account it names, and from a world in which it
# must succeed.
# not: wall-san (its worlds are of build/broken; 51 has the rows)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
. "$SRC/tests/lib/attacks.sh"
attack_lab hybrid || exit 1

start_gateway || exit 1
attack walled $ACCOUNTS
if [ "${DRIVER:-nest}" = host ]; then # there is a service manager and a journal to speak to; in some worlds below climb is the service
    deaf() { systemctl show -p StatusText,ActiveState ductile | tee "$WORK/heard"; grep -q ActiveState=active "$WORK/heard" && ! grep -q climbed "$WORK/heard"; }
    check "a plugin that poses as the service to systemd is not heard" deaf
    as_account() { journalctl -q --no-pager -o cat "_UID=$(id -u ductile-default)" | grep 'climb forged this'; }
    check "control: what a plugin writes to the journal arrives, under its own uid" as_account
    forged() { ! journalctl -q --no-pager -o cat "_UID=$(id -u ductile)" | grep 'climb forged this'; }
    check "and not as a line of the service in the journal" forged
fi
# ---- worlds in which the attacks must succeed
# The naive drop: a plain setuid from the same service, which leaves lying about what it has.
naive() { (ulimit -c unlimited; as_service "$LITTERED" setpriv --reuid=ductile-default --regid=ductile-default --clear-groups "$@"); }
by_hand naive default naive
by_hand root default env
stop_gateway
world nofilter nofilter,noproof default
world nouid nouid,keepcaps,noproof,dumpable,nonnp default matt
world asbus asbus,keepcaps,noproof,dumpable,nonnp default
world nolandlock nolandlock,noproof default matt
world nonnp nonnp,noproof,nofilter,nolandlock default untrusted
world asroot asroot,noproof,nonnp default
"$SRC/tests/wall/attacks.py" judge "$WORK/attacks" "$CASE"

# ---- what only its consequences show -----------------------------------------------------------------------------------
rm -f /var/lib/ductile/ledger/*
start_gateway || exit 1
script() { # script ACCOUNT SH: a job of ACCOUNT runs SH; what it printed
    ductile job run --json "unruly_$1" handle --payload "$(python3 -c 'import json, sys; print(json.dumps({"mode": "sh", "sh": sys.argv[1]}))' "$2")" | json 'd["result"]'
}
gitconfig() { # shared by the jobs of one account, and by nobody else
    script default 'git config --global alias.planted "!id -u"' && [ "$(script default 'git planted')" = "$(id -u ductile-default)" ] || return 1
    script untrusted 'git planted 2>&1; true' | grep "'planted' is not a git command"
    script default 'rm ~/.gitconfig'
}
check "shared-home-gitconfig: what one job plants in its HOME the next of the account obeys, and no other account's" gitconfig
told_shared() { # which is why sharing is told
    cp -R "$SRC/tests/wall/plugins/keeper" /opt/ductile/plugins/keeper && chown -R root:root /opt/ductile/plugins/keeper && chmod -R go-w,a+rX /opt/ductile/plugins/keeper
    echo 'plugins: {keeper: {run_as: default}}' >/etc/ductile/plugins.d/keeper.yaml && ductile-install -q apply >/dev/null 2>&1
    ductile plugin lock keeper >/dev/null; as_service ductile-gate check 2>&1 | grep 'GATE-SHARE-01.*keeper'
}
check "shared-home-gitconfig: the gate tells of a plugin with secrets that shares its account" told_shared
linked_tmp() { # a tmp that leads elsewhere is neither used nor emptied
    script default 'mkdir -p keep && echo x >keep/x && rm -rf tmp && ln -s keep tmp && echo linked'
    script default 'rm -rf tmp; ln -s /etc tmp; echo "$TMPDIR"; stat -c %F "$TMPDIR/."' >"$WORK/tmp" && cat "$WORK/tmp"
    script default 'stat -c %F tmp; ls keep' | tee "$WORK/tmp" && [ "$(cat "$WORK/tmp")" = "$(printf 'directory\nx')" ] && [ -e /etc/passwd ]
}
check "a tmp that is a link: the next job gets a directory of its own, and where it led nothing is touched" linked_tmp
stop_gateway
