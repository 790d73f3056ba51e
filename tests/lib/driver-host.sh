# Driver for a booted host: the real unit, under the real systemd.
BROKEN_BIN=/opt/broken/bin

install_suite() { :; } # it was installed before the boot

as_service() {
    systemd-run -q --wait --pipe -p User=ductile -p AmbientCapabilities='CAP_SETUID CAP_SETGID' \
        -p CapabilityBoundingSet='CAP_SETUID CAP_SETGID' "$@"
}

# start_gateway [OPTION...]: systemctl start. BREAK=layer,layer: the breakable build without them, and without the
# directives of the unit that would stand in for them.
start_gateway() {
    mkdir -p /run/systemd/system/ductile.service.d
    rm -f /run/systemd/system/ductile.service.d/*.conf
    if [ -n "${BREAK:-}" ]; then
        cat >/run/systemd/system/ductile.service.d/break.conf <<U
[Service]
ExecStartPre=
ExecStart=
ExecStart=$BROKEN_BIN/ductile-run -c /etc/ductile/config.yaml serve --bus $BROKEN_BIN/ductile-bus $*
Environment=DUCTILE_BREAK=$BREAK
NoNewPrivileges=no
RestrictNamespaces=no
ProtectKernelTunables=no
ProtectKernelModules=no
ProtectKernelLogs=no
ProtectClock=no
ProtectHostname=no
LockPersonality=no
RestrictRealtime=no
PrivateDevices=no
SystemCallArchitectures=
SystemCallFilter=
RestrictAddressFamilies=
ProtectControlGroups=no
ReadWritePaths=
PrivateTmp=no
ProtectHome=no
U
    elif [ $# -gt 0 ]; then
        cat >/run/systemd/system/ductile.service.d/options.conf <<U
[Service]
ExecStart=
ExecStart=/usr/local/bin/ductile-run -c /etc/ductile/config.yaml serve $*
U
    fi
    systemctl daemon-reload
    systemctl reset-failed ductile 2>/dev/null
    systemctl start ductile || { gateway_log | tail -20 >&2; return 1; }
}
stop_gateway() { systemctl stop ductile; }
gateway_log() { journalctl -u ductile --no-pager -o cat; }
log_of() { journalctl --sync; journalctl "_PID=$1" --no-pager -o cat; } # of one process
warden_pid() { systemctl show -p MainPID --value ductile; }
bus_pid() { sed -n 's/^bus //p' /run/ductile/lock; }
