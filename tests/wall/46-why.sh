#!/bin/bash
# `ductile why JOB` and `ductile why-not ACCOUNT PATH`: the cause, named.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
cat >/etc/ductile/plugins.d/why.yaml <<'Y'
accounts:
  shy: {landlock: strict}
pipelines:
  - {name: follow, on: test.made, steps: [{id: one, uses: unruly_matt, accepts_untrusted: true}]}
Y
mkdir -p /srv/open && echo x >/srv/open/f
ductile-install -q apply >/dev/null 2>&1 || exit 1
not_for() { # not_for CODE ACCOUNT PATH WORD...
    local code=$1 out rc word
    out=$(ductile why-not "$2" "$3" 2>&1); rc=$?
    echo "$out"
    shift 3
    [ $rc = "$code" ] || { echo "exit $rc"; return 1; }
    for word in "$@"; do grep -qF -- "$word" <<<"$out" || { echo "no \"$word\""; return 1; }; done
}
check "why-not names the component, its owner and mode" not_for 1 default /etc/ductile/secret/age.key "stopped at /etc/ductile: Permission denied (EACCES)" "directory root:ductile 0750"
check "why-not names the ACL entry that lets another in" not_for 1 default /home/matt/.ssh/id_ed25519 "stopped at /home/matt" "g:ductile:--x"
check "why-not follows links as they lead" bash -c "ln -s /etc/ductile/secret /srv/link; ductile why-not default /srv/link/age.key | grep -q '/srv/link/age.key is /etc/ductile/secret/age.key'"
check "why-not tells Landlock from file modes" not_for 1 shy /srv/open/f "stopped by its Landlock domain (level strict)" "file modes would let it: file root:root 0644" "read: [/srv/open/f]"
check "what an account may read is said too" not_for 0 default /srv/open/f "may read"
check "and what the credentialed one may" not_for 0 matt /home/matt/.ssh/id_ed25519 "matt (matt) may read"
check "an unknown account is refused" refuses 78 CONF-IDS-01 ductile why-not nobody-here /srv/open/f
check "a path that is not there is refused" refuses 66 PLUG-FIND-01 ductile why-not default /srv/nowhere
check "without root it is refused" refuses 77 CLI-ROOT-01 setpriv --reuid=matt --regid=matt --clear-groups ductile why-not default /srv/open/f
start_gateway || exit 1
chain() {
    local j k
    j=$(enqueue unruly poll '{"mode": "emit", "events": [{"type": "test.made", "payload": {"mode": "error"}}]}'); await "$j" || return 1
    k=$((j + 1)); await "$k" || return 1
    ductile why $k >"$WORK/why"; cat "$WORK/why"
    grep -q "^job $k, unruly_matt handle: dead - .*status: error" "$WORK/why" && grep -q '  it said: as asked' "$WORK/why" && grep -q "^because of event 1, test.made" "$WORK/why" &&
        grep -q "^  of job $j, unruly poll: succeeded" "$WORK/why" && grep -q 'asked for by api' "$WORK/why" && [ "$(ductile why --json $k | json 'len(d)')" = 2 ]
}
check "why tells the chain: the failure, the event, the job that emitted it, who asked" chain
check "why of a job that is not there is refused" refuses 65 API-CALL-03 ductile why 999
stop_gateway
