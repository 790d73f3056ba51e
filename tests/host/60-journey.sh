#!/bin/bash
# One plugin's whole journey on a real host, in the hybrid posture: install -> gate -> vault -> run -> ledger.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/host/lib/journey.sh"
make_world || exit 1
as matt bash -c 'cd && umask 022 && cp -R '"$SRC"'/share/plugins/repo_publish ductile/plugins/'
bare_remote matt /srv/index.git /home/matt/mirror-index Operator

# ---- init, plan, apply -----------------------------------------------------------------------------------------------
check "init writes a commented config" bash -c "ductile-install init --posture hybrid --operator matt && grep -c '^ *#' /etc/ductile/config.yaml | awk '{ exit !(\$1 > 20) }'"
check "init refuses to overwrite it" refuses 73 INST-INIT-01 ductile-install init --posture hybrid --operator matt
printf 'accounts:\n  github-sync: {}\n' | cat - <(sync_config github-sync matt /home/matt/mirror-index) | add_config sync
plan() { ductile-install plan >"$WORK/plan"; local rc=$?; cat "$WORK/plan"; [ $rc = 2 ] && [ "$(grep -c ' -> ' "$WORK/plan")" -gt 20 ] && grep -q '^ACL of /home/matt .*no entry -> group:ductile:--x' "$WORK/plan"; }
check "plan prints each change, old -> new, and exits 2" plan
nothing_yet() { [ ! -e /var/lib/ductile ] && ! getent passwd ductile; }
check "plan changed nothing" nothing_yet
check "apply does it" ductile-install apply
check "plan then exits 0" ductile-install plan
owned() { [ "$(stat -c '%U:%G:%a' "$1")" = "$2" ] || { stat -c '%U:%G:%a %n' "$1"; return 1; }; }
check "secret zero is the service's, 0600" owned /etc/ductile/secret/age.key ductile:ductile:600
check "the vault is the service's, 0600" owned /var/lib/ductile/vault/vault.age ductile:ductile:600
check "the vault is an age file that the age tool opens with that key" bash -c "age -d -i /etc/ductile/secret/age.key /var/lib/ductile/vault/vault.age | grep -q ductile.vault/1"
snapshot() { find / /run /dev/shm -xdev \( -path /proc -o -path /sys -o -path /run/systemd -o -path /tmp -o -path /var/log -o -path /root -o -path /src \) -prune -o -printf '%p %i %U:%G %m %T@ %C@ %l\n' | grep -vE '^/run/(log|udev|user|lock|mount|dbus|credentials)|^/run |^/var/tmp|^/dev/shm ' | sort; getfacl -pR /etc/ductile /var/lib/ductile /opt/ductile /home/matt/ductile 2>/dev/null; getfacl -p /home /home/matt; }
twice() { snapshot >"$WORK/before"; ductile-install apply >"$WORK/apply2"; local rc=$?; snapshot >"$WORK/after"; cat "$WORK/apply2"; diff "$WORK/before" "$WORK/after" && [ $rc = 0 ] && grep -q 'nothing to change' "$WORK/apply2" && [ "$(wc -l <"$WORK/before")" -gt 5000 ] && grep -qE '^/run/ductile [0-9]+ [0-9]+:[0-9]+ 2710 ' "$WORK/before"; }
check "a second apply changes nothing: owner, mode, ACL, mtime, inode of the whole tree" twice

# ---- what the service may read in the home ----------------------------------------------------------------------------
service() { setpriv --reuid=ductile --regid=ductile --init-groups "$@"; }
check "the service reads home code through its group's ACL" bash -c "getfacl -cp /home/matt/ductile/plugins | grep -q '^group:ductile:r-x' && setpriv --reuid=ductile --regid=ductile --clear-groups cat /home/matt/ductile/plugins/repo_publish/manifest.yaml"
for path in .ssh/id_ed25519 .config/gh/hosts.yml .gitconfig; do
    check "the service cannot read ~/$path" bash -c "setpriv --reuid=ductile --regid=ductile --init-groups cat /home/matt/$path 2>&1 | grep -q 'Permission denied'"
done
as matt bash -c 'cd ~/ductile/plugins && mkdir fresh && echo x >fresh/file && chmod 600 fresh/file && chmod 700 fresh'
masked() { ductile-install plan >"$WORK/masked"; grep -q 'fresh.*the mask takes it away' "$WORK/masked" && ductile-install -q apply && service cat /home/matt/ductile/plugins/fresh/file; }
check "what chmod 600 and 700 closed is named with its mask, and apply mends it" masked
rm -r /home/matt/ductile/plugins/fresh

# ---- plugins, vault -----------------------------------------------------------------------------------------------------
check "plugin add copies code, root-owned, and says what comes next" bash -c "ductile plugin add $SRC/share/plugins/github_repo_sync | tee /dev/stderr | grep -q 'ductile vault secret set github_token' && [ \"\$(stat -c %U:%a /opt/ductile/plugins/github_repo_sync)\" = root:755 ]"
ductile plugin add "$SRC/tests/host/plugins/word_ledger" >/dev/null; ductile plugin add "$SRC/tests/host/plugins/leaky" >/dev/null
check "plugin lock" ductile plugin lock github_repo_sync repo_publish word_ledger leaky
check "plugin verify: all attested" ductile plugin verify
locked_copy() { local copy; copy=$(echo /opt/ductile/locked/repo_publish/*/repo_publish.py); owned "$copy" root:root:755 && cmp "$copy" /home/matt/ductile/plugins/repo_publish/repo_publish.py; }
check "what runs of home code is the root-owned copy that its lock made" locked_copy
check "the token goes into the vault" store_token
printf 'plugins: {leaky: {run_as: untrusted, config: {api_url: "http://127.0.0.1:8088"}, retry: {max_attempts: 1}}}\n' | add_config leaky
ductile-install -q apply >/dev/null; ductile vault grant github_token leaky >/dev/null 2>&1

# ---- start, run ---------------------------------------------------------------------------------------------------------
"$SRC/tests/host/lib/watch.py" uid0 ductile 100 >"$WORK/uid0.json" & uid0=$!
check "systemctl start passes the gate" start_gateway
chrt --rr 10 "$SRC/tests/host/lib/watch.py" token /srv/forge.token 200 /tmp /var/tmp /dev/shm /var/lib/ductile /home/matt >"$WORK/token.json" & token=$!
sleep 0.2
run_sync() { ductile job run --json github_repo_sync poll >"$WORK/job.json"; cat "$WORK/job.json"; [ "$(json 'd["result"]' <"$WORK/job.json")" = "{'repositories': 3, 'cloned': 3, 'fetched': 0}" ]; }
check "job run clones the three private repositories (pages, a rate limit, 401 without the token)" run_sync
check "the pipeline ends" await_pipeline
kill $token; wait $token
transcript >"$WORK/transcript"
check "the transcript of jobs, events and pipelines is the one of every posture" diff "$SRC/tests/host/transcript.expected" "$WORK/transcript"
check "it waited out the rate limit, and saw two pages" bash -c "grep -q 'GET /user/repos 403' /srv/forge/.log && [ \"\$(grep -c 'GET /user/repos 200' /srv/forge/.log)\" = 2 ]"
check "git got 401 before it was asked for the token" bash -c "grep -q 'git-upload-pack.* 401\|info/refs 401' /srv/forge/.log"
check "the repositories are in its account's state_dir, owned by that account" synced /var/lib/ductile/accounts/github-sync ductile-github-sync
check "repo_publish committed as the operator, and the push landed" published /srv/index.git 'Operator <operator@example.org>'
hop() { ledger "select plugin, mode, account, uid from job join job_attempt on job.id=job_attempt.job order by job.id" | tee "$WORK/hop"; diff "$WORK/hop" <(printf 'github_repo_sync|confined|github-sync|%s\nrepo_publish|credentialed|matt|%s\nword_ledger|confined|default|%s\n' "$(id -u ductile-github-sync)" "$(id -u matt)" "$(id -u ductile-default)"); }
check "the ledger shows the hop: confined -> credentialed -> confined" hop
check "only the names of delivered secrets are in the record" bash -c "ductile job show 1 | grep -q 'secrets \[\"github_token\"\]'"
chain() { [ "$(ledger "select count(*) from audit where kind='secret.delivered' and subject='github_repo_sync'")" = 1 ]; }
check "the delivery is an audit row" chain
check "a second poll fetches instead of cloning" bash -c "ductile job run --json github_repo_sync poll | grep -q '\"fetched\": 3'"
await_pipeline

# ---- a plugin by somebody who has read nothing but the protocol -----------------------------------------------------------
stranger() {
    [ "$(ductile job run --json word_ledger handle --payload '{"text": "three small words"}' | json 'd["result"]')" = "> host: 3 words, total 3" ] || return 1
    [ "$(ductile job run --json word_ledger handle --payload '{"text": "two more"}' | json 'd["result"]')" = "> host: 2 words, total 5" ] || return 1
    ductile job run --json word_ledger health | json 'd["state"]' | grep -q succeeded || return 1
    local bad; bad=$(ductile job run --json word_ledger handle --payload '{}' | json '(d["state"], d["attempt"], d["error"])'); echo "$bad"
    grep -q "'failed', 1" <<<"$bad" && [ "$(wc -l </var/lib/ductile/accounts/default/words.log)" = 2 ]
}
check "a plugin written from the protocol's description alone runs: state, events, errors" stranger

# ---- the token, elsewhere ---------------------------------------------------------------------------------------------------
figure "token watch: $(cat "$WORK/token.json")"
check "while the job ran the token was in no environment, argument, git config or temp file" test "$(json 'd["hits"]' <"$WORK/token.json")" = "[]"
rate() { [ "$(json 'd["samples"] > 100 and d["hz"] >= 180' <"$WORK/token.json")" = True ]; }
check "it was looked for often enough: 200 times a second" rate
traces() {
    local found
    journalctl --no-pager -o export >"$WORK/journal"
    grep -qa 'secret.delivered' "$WORK/journal" || { echo "the journal is not what it should be"; return 1; }
    # everything there is, but the server's own copy, this script, and what it wrote down itself
    found=$(grep -aFl "$TOKEN" "$WORK/journal"; find / \( -path /proc -o -path /sys -o -path /dev/pts -o -path /src -o -path /srv/forge.token -o -path "$WORK" \) -prune -o -type f -print0 2>/dev/null |
        xargs -0 grep -aFl "$TOKEN" 2>/dev/null)
    [ -z "$found" ] || { echo "$found"; return 1; }
}
check "afterwards: not in ledger, journal, config or anywhere in the tree" traces
check "control: the age file is where it is" bash -c "age -d -i /etc/ductile/secret/age.key /var/lib/ductile/vault/vault.age | grep -qF $TOKEN"
nice -n -10 "$SRC/tests/host/lib/watch.py" token /srv/forge.token 200 /tmp /var/tmp /dev/shm /var/lib/ductile /home/matt >"$WORK/control.json" & token=$!
sleep 0.2; ductile job run -q leaky poll >/dev/null; sleep 0.1; kill $token; wait $token
figure "token watch, control: $(cat "$WORK/control.json")"
control() { json 'd["hits"]' <"$WORK/control.json" | grep -q 'cmdline' && json 'd["hits"]' <"$WORK/control.json" | grep -q '.git/config'; }
check "control: a plugin with https://x:TOKEN@ is found, in an argument and in .git/config" control
check "control: and the search of the whole tree finds it" not traces
rm -rf /var/lib/ductile/accounts/untrusted/leaky

# ---- the four facts, as people see them ---------------------------------------------------------------------------------------
proves() { ductile-gate prove >"$WORK/prove"; local rc=$?; cat "$WORK/prove"; [ $rc = 0 ] && [ "$(grep -cE 'denied E.*(twin opens|no twin)' "$WORK/prove")" -gt 30 ] && [ "$(grep -c 'no twin' "$WORK/prove")" = 4 ] && ! grep -qE 'ALLOWED|TWIN TOO|unproven|BROKEN' "$WORK/prove"; }
check "prove: every attempt denied with its control beside it" proves
facts() { ductile status | tee "$WORK/status"; grep -q '^posture *hybrid' "$WORK/status" && grep -q '^enforcing *yes' "$WORK/status" && grep -q '^proven .*by prove' "$WORK/status" && grep -q '^attested' "$WORK/status"; }
check "status tells valid, attested, enforcing and proven apart" facts
usermod -aG ductile-operators stranger
check "a member of the operators' group may ask without root" setpriv --reuid=stranger --regid="$(id -g stranger)" --init-groups ductile status
outsider() { refuses 77 API-CALL-02 setpriv --reuid=stranger --regid="$(id -g stranger)" --clear-groups ductile status; }
check "somebody without the group is refused" outsider
# the socket judges the groups of the process that connects, not those of its user
credentialed() { chmod 755 /run/ductile; refuses 77 API-CALL-02 setpriv --reuid=matt --regid=matt --clear-groups ductile --socket /run/ductile/api.sock status; local r=$?; chmod 2710 /run/ductile; return $r; }
check "nor is a process with the operator's uid and no groups let in" credentialed
check "systemctl stop" stop_gateway
kill $uid0; wait $uid0
figure "uids of the unit's processes, start to stop: $(cat "$WORK/uid0.json")"
no_root() { [ "$(json 'd["hits"]' <"$WORK/uid0.json")" = "[]" ] && [ "$(json 'len(d["uids"]) >= 5 and d["samples"] > 200' <"$WORK/uid0.json")" = True ]; }
check "no process of the unit had uid 0 from start to stop" no_root
watched() { # the same watch on a unit that does run as root
    local w
    systemd-run -q --unit=rooty sleep 2
    "$SRC/tests/host/lib/watch.py" uid0 rooty 100 >"$WORK/rooty.json" & w=$!
    sleep 1; kill $w; wait $w; systemctl stop rooty
    [ "$(json 'len(d["hits"])' <"$WORK/rooty.json")" -ge 1 ]
}
check "control: the watch sees a unit that runs as root" watched
verify() { [ "$(ledger 'pragma integrity_check')" = ok ]; }
check "the ledger is whole" verify
