#!/bin/bash
# The same job and pipeline without any wall: the same transcript - and what unconfined means, seen from inside a plugin.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/host/lib/journey.sh"
make_world && install_wall || exit 1
STATE=/var/lib/ductile/service
ductile-install -q init --posture unconfined >/dev/null
sync_config "" "" $STATE/index | add_config sync
check "apply, and again" bash -c "ductile-install -q apply >/dev/null && ductile-install plan"
check "the unit has no capability" bash -c "grep -qx 'AmbientCapabilities=' /etc/systemd/system/ductile.service && grep -qx 'CapabilityBoundingSet=' /etc/systemd/system/ductile.service"
for plugin in "$SRC"/share/plugins/{github_repo_sync,repo_publish} "$SRC/tests/host/plugins/word_ledger" "$SRC/tests/wall/plugins/climb"; do ductile plugin add "$plugin" >/dev/null; done
ductile plugin lock github_repo_sync repo_publish word_ledger climb >/dev/null
bare_remote ductile $STATE/index.git $STATE/index Service
store_token >/dev/null
check "systemctl start passes the gate" start_gateway
check "posture unconfined, and enforcing says NO" bash -c "ductile status | grep -q '^posture *unconfined' && ductile status | grep -q '^enforcing *NO'"
check "the job succeeds" ductile job run -q github_repo_sync poll
check "the pipeline ends" await_pipeline
transcript >"$WORK/transcript"
check "the transcript of jobs, events and pipelines is the one of every posture" diff "$SRC/tests/host/transcript.expected" "$WORK/transcript"
check "the repositories belong to the service" synced $STATE ductile
check "the push landed" published $STATE/index.git 'Service'
targets() { python3 -c '
import json; print(json.dumps({"secret-zero": "/etc/ductile/secret/age.key", "vault": "/var/lib/ductile/vault/vault.age",
"ledger": "/var/lib/ductile/ledger/ductile.db", "config": "/etc/ductile/config.yaml", "uids": {"service": 1, "bus": 1, "root": 0},
"gids": {"service": 1, "bus": 1}}))'; }
printf "plugins: {climb: {config: {targets: '%s'}}}\n" "$(targets)" | add_config climb
ductile-install -q apply >/dev/null; systemctl restart ductile
ductile job run --json climb poll >"$WORK/climb.json"
check "control: posture 1 opens secret zero, vault, ledger and config" "$SRC/tests/wall/judge.py" opened "$WORK/climb.json" secret-zero vault ledger config
check "but plugins hold no capability" bash -c "json() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[\"result\"][\"identity\"][\"caps\"])' $WORK/climb.json; }; json | grep -q \"'CapEff': '0000000000000000'\""
check "systemctl stop" stop_gateway
