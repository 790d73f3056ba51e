# Sourced after common.sh by cases that need a provisioned hybrid gateway with the unruly plugin.
lab() { # lab [WORKERS]: people, config, plugin, locks; the gateway is not started
    install_suite && install_wall && make_people matt || return 1
    ductile-install -q init --posture hybrid --operator matt >/dev/null
    cat >/etc/ductile/plugins.d/lab.yaml <<Y
service: {max_workers: ${1:-3}, drain: 3s}
plugins:
  unruly: {run_as: default, retry: {max_attempts: 1}, timeouts: {poll: 2s, handle: 60s}}
  unruly_matt: {uses: unruly, run_as: matt, retry: {max_attempts: 1}, timeouts: {poll: 2s}}
  unruly_retried: {uses: unruly, run_as: default, retry: {max_attempts: 3, backoff_base: 50ms}, timeouts: {poll: 2s, handle: 60s}}
Y
    ductile-install -q apply >/dev/null 2>"$WORK/apply.log" || { cat "$WORK/apply.log" >&2; return 1; }
    ductile plugin add "$SRC/tests/wall/plugins/unruly" >/dev/null && ductile plugin lock unruly >/dev/null
}
run_job() { # run_job PLUGIN COMMAND PAYLOAD: prints the job's JSON
    ductile job run --json "$1" "$2" --payload "$3"
}
enqueue() { ductile job enqueue --json "$1" "$2" --payload "$3" | json 'd["job_id"]'; }
await() { # await JOB [SECONDS]
    for _ in $(seq $((${2:-30} * 20))); do
        case $(job "$1" | json 'd["state"]') in queued | running) sleep 0.05 ;; *) return 0 ;; esac
    done
    return 1
}
left() { pgrep -f "ductile-test-left-$1" >/dev/null; }
attempt_of() { job "$1" | json "d['attempts'][-1]$2"; }
