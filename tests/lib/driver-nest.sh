# Driver for a nest: no service manager. The gateway is started with exactly the shape that the unit gives it: the
# service user, two ambient capabilities, nothing else in the bounding set, a cgroup of its own where there is one.
STAGE=${STAGE:-$SRC/build/stage}
BROKEN_BIN=${BROKEN_BIN:-$SRC/build/broken/bin}

install_suite() { cp -R "$STAGE/." / && chmod 755 /opt; }

# as_service COMMAND...: what ExecStart= does. SERVICE_ENV: more VAR=VALUE
as_service() {
    env -i PATH="$PATH" LANG=C.UTF-8 ${SERVICE_ENV:-} setpriv --reuid=ductile --regid=ductile --init-groups \
        --inh-caps=+setuid,+setgid --ambient-caps=+setuid,+setgid --bounding-set=-all,+setuid,+setgid "$@"
}

# start_gateway [OPTION...]: gate, then warden; 0 when it is ready. BREAK=layer,layer: the breakable build without them.
start_gateway() {
    local bin=/usr/local/bin options=("$@")
    rm -f /run/ductile/api.sock "$WORK/gateway.code"
    : >"$WORK/gateway.log" && chmod 666 "$WORK/gateway.log"
    if [ -n "${BREAK:-}" ]; then
        bin=$BROKEN_BIN
        options+=(--bus "$bin/ductile-bus")
        local SERVICE_ENV="${SERVICE_ENV:-} DUCTILE_BREAK=$BREAK"
    else
        as_service "$bin/ductile-gate" check --boot >>"$WORK/gateway.log" 2>&1 || { cat "$WORK/gateway.log" >&2; return 1; }
    fi
    (
        if [ -n "${NEST_CGROUP:-}" ] && [ -z "${NO_CGROUP:-}" ]; then
            mkdir -p "$NEST_CGROUP/unit"
            chown ductile:ductile "$NEST_CGROUP/unit" "$NEST_CGROUP/unit"/cgroup.{procs,threads,subtree_control}
            echo $BASHPID >"$NEST_CGROUP/unit/cgroup.procs"
        fi
        for fd in /proc/$BASHPID/fd/*; do # as a service manager starts it: nothing but 0, 1 and 2
            fd=${fd##*/}
            [ "$fd" -le 2 ] || [ "$fd" = 255 ] || eval "exec $fd>&-"
        done
        as_service "$bin/ductile-run" serve "${options[@]}"
        echo $? >"$WORK/gateway.code" # whoever stops it need not be its parent shell
    ) >>"$WORK/gateway.log" 2>&1 &
    for _ in $(seq 200); do
        grep -q 'msg="ready' "$WORK/gateway.log" && return 0
        [ -e "$WORK/gateway.code" ] && break
        sleep 0.05
    done
    cat "$WORK/gateway.log" >&2
    return 1
}
# wait_gateway [SECONDS]: until it has ended; its exit code
wait_gateway() {
    for _ in $(seq $((${1:-60} * 20))); do
        [ -e "$WORK/gateway.code" ] && break
        sleep 0.05
    done
    [ -z "${NEST_CGROUP:-}" ] || find "$NEST_CGROUP/unit" -depth -mindepth 1 -type d -exec rmdir {} + 2>/dev/null
    return "$(cat "$WORK/gateway.code" 2>/dev/null || echo 99)"
}
stop_gateway() {
    [ -e "$WORK/gateway.code" ] || kill -TERM "$(warden_pid)" 2>/dev/null
    wait_gateway
}
gateway_log() { cat "$WORK/gateway.log"; }
log_of() { gateway_log; } # of one process, PID; here it is the only one of its kind
warden_pid() { sed -n 's/^warden //p' /run/ductile/lock; }
bus_pid() { sed -n 's/^bus //p' /run/ductile/lock; }
