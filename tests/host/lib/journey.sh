# Sourced by the journeys: the world around the gateway - an operator, a stranger, a remote that only the operator may
# write, a server that speaks GitHub's API and git over HTTP.
TOKEN=ghp_J0urneyT0kenThatMustNeverLeak42
FORGE_PORT_FILE=$WORK/forge.port

make_world() {
    make_people matt || return 1
    id 1001 >/dev/null || { echo "nobody owns uid 1001"; return 1; }
    mkdir -p /srv/forge && useradd -r -M forge
    "$SRC/tests/lib/forge.py" --make-repos /srv/forge octo alpha beta gamma >"$WORK/commits" || return 1
    install -m600 /dev/null /srv/forge.token && printf '%s\n' "$TOKEN" >/srv/forge.token
    chown -R forge /srv/forge /srv/forge.token
    # not a unit of ours: a server somewhere else, as far as the gateway is concerned
    systemd-run -q --unit=forge -p User=forge "$SRC/tests/lib/forge.py" --root /srv/forge --token-file /srv/forge.token --port 8088 \
        --port-file /srv/forge/.port --rate-limit-once --per-page-max 2 --log /srv/forge/.log
    for _ in $(seq 100); do [ -e /srv/forge/.port ] && break; sleep 0.05; done
    [ -e /srv/forge/.port ]
}
# bare_remote OWNER DIR CLONE: a bare repository only OWNER may write, and his clone of it
bare_remote() {
    local owner=$1 bare=$2 clone=$3
    mkdir -p "$bare" && chown "$owner" "$bare" && chmod 700 "$bare"
    setpriv --reuid="$owner" --regid="$(id -g "$owner")" --clear-groups env HOME="$(dirname "$clone")" bash -c "
        set -e; umask 077; git init -q --bare -b main $bare; git clone -q $bare $clone 2>/dev/null
        cd $clone; git config user.name '$4'; git config user.email operator@example.org
        git checkout -q -b main 2>/dev/null || :; git commit -q --allow-empty -m first; git push -q origin main"
}
sync_config() { # sync_config RUN_AS_SYNC RUN_AS_PUBLISH CLONE
    cat <<Y
plugins:
  github_repo_sync:
    ${1:+run_as: $1}
    config: {api_url: "http://127.0.0.1:8088"}
    retry: {max_attempts: 2, backoff_base: 100ms}
  repo_publish:
    ${2:+run_as: $2}
    config: {clone: "$3"}
  word_ledger:
    config: {label: host, prefix: "> "}
pipelines:
  - name: publish
    on: github_repo_sync.completed
    steps:
      - {id: publish, uses: repo_publish, accepts_untrusted: true}
      - {id: count, uses: word_ledger.poll}
Y
}
store_token() {
    printf '%s\n' "$TOKEN" | ductile vault secret set github_token && ductile vault grant github_token github-repo-sync
}
await_pipeline() { # until no job is queued or running
    for _ in $(seq 400); do
        [ "$(ledger "select count(*) from job where state in ('queued','running')")" = 0 ] && return 0
        sleep 0.05
    done
    ductile job list
    return 1
}
# The transcript: what happened, without numbers, times, ids and accounts. The same in every posture.
transcript() {
    ledger "select j.plugin||'.'||j.command||' '||j.state||' by '||j.submitted_by||' attempt '||j.attempt||' secrets '||
            coalesce((select secrets from job_attempt a where a.job=j.id and a.attempt=j.attempt),'-')||' result '||
            coalesce(json_remove(j.result,'\$.commit'),'-') from job j order by id;
            select 'event '||type||' of '||source_plugin||' with '||(select group_concat(key) from json_each(payload)) from event order by id;
            select 'pipeline '||pipeline||' '||state||' steps '||(select group_concat(step_id) from step_run s where s.run=r.id) from pipeline_run r order by id"
}
synced() { # the three repositories are at the server's commits, in DIR, owned by USER
    local dir=$1 user=$2 name commit
    while read -r name commit; do
        [ "$(git --git-dir "$dir/repos/octo/$name.git" -c safe.directory='*' rev-parse refs/heads/main)" = "$commit" ] || { echo "$name is not at $commit"; return 1; }
        [ "$(stat -c %U "$dir/repos/octo/$name.git/HEAD")" = "$user" ] || { stat -c '%U %n' "$dir/repos/octo/$name.git"/*; return 1; }
    done <"$WORK/commits"
    [ "$(wc -l <"$WORK/commits")" = 3 ]
}
published() { # index.json of BARE holds the commits, by AUTHOR
    local bare=$1 name commit
    git --git-dir "$bare" -c safe.directory='*' show main:index.json | tee "$WORK/index.json"
    while read -r name commit; do
        [ "$(json "d['repositories']['octo/$name']" <"$WORK/index.json")" = "$commit" ] || return 1
    done <"$WORK/commits"
    git --git-dir "$bare" -c safe.directory='*' log -1 --format='%an <%ae>' main | tee /dev/stderr | grep -q "$2"
}
