# Sourced by both demos: headings, and the server that stands in for GitHub.
export GIT_PAGER=cat # on a terminal git would wait for a key
heading() { printf '\n\033[1m== %s\033[0m\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi; }
shown() { # shown COMMAND...: the command, then what it says
    printf '$ %s\n' "$*"
    "$@"
}
TOKEN=ghp_DemoTokenThatNoPluginButOneEverSees1
# start_forge DIR FORGE: three private repositories behind 401, and their REST API; its port in $PORT
start_forge() {
    local dir=$1 forge=$2
    "$forge" --make-repos "$dir" octo alpha beta gamma >"$dir.commits" || return 1
    (umask 077 && printf '%s\n' "$TOKEN" >"$dir.token")
    "$forge" --root "$dir" --token-file "$dir.token" --port 0 --port-file "$dir.port" --per-page-max 2 --log "$dir.log" \
        >/dev/null 2>&1 &
    for _ in $(seq 100); do [ -s "$dir.port" ] && break; sleep 0.05; done
    PORT=$(cat "$dir.port") && [ -n "$PORT" ]
}
await_pipeline() { # until no job is queued or running
    local state
    for _ in $(seq 300); do
        state=$(ductile job list --json | python3 -c 'import json,sys; print(any(j["state"] in ("queued","running") for j in json.load(sys.stdin)["jobs"]))')
        [ "$state" = False ] && return 0
        sleep 0.1
    done
    return 1
}
# The journey: every line is a row of the ledger.
journey() {
    local id
    for id in $(ductile job list --json | python3 -c 'import json,sys; print(*sorted(j["id"] for j in json.load(sys.stdin)["jobs"]))'); do
        ductile job show "$id"
    done
}
