#!/bin/bash
# The same job and pipeline with every plugin walled off: the same transcript.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/host/lib/journey.sh"
make_world || exit 1
STATE=/var/lib/ductile/accounts/default
ductile-install -q init --posture full-privsep >/dev/null
printf 'accounts:\n  github-sync: {}\n' | cat - <(sync_config github-sync "" $STATE/index) | add_config sync
check "apply, and again" bash -c "ductile-install -q apply >/dev/null && ductile-install plan"
for plugin in "$SRC"/share/plugins/{github_repo_sync,repo_publish} "$SRC/tests/host/plugins/word_ledger"; do ductile plugin add "$plugin" >/dev/null; done
ductile plugin lock github_repo_sync repo_publish word_ledger >/dev/null
bare_remote ductile-default $STATE/index.git $STATE/index Plugin
store_token >/dev/null
check "systemctl start passes the gate" start_gateway
check "posture full-privsep" bash -c "ductile status | grep -q '^posture *full-privsep'"
check "the job succeeds" ductile job run -q github_repo_sync poll
check "the pipeline ends" await_pipeline
transcript >"$WORK/transcript"
check "the transcript of jobs, events and pipelines is the one of every posture" diff "$SRC/tests/host/transcript.expected" "$WORK/transcript"
check "the repositories belong to its account" synced /var/lib/ductile/accounts/github-sync ductile-github-sync
check "the push landed, as the account's plugin" published $STATE/index.git 'Plugin'
proves() { ductile-gate prove >"$WORK/prove"; local rc=$?; cat "$WORK/prove"; [ $rc = 0 ] && [ "$(grep -c 'denied E' "$WORK/prove")" -gt 25 ] && ! grep -qE 'ALLOWED|TWIN TOO|unproven|BROKEN' "$WORK/prove"; }
check "prove finds nothing open" proves
check "systemctl stop" stop_gateway
