# What the commands of *.def may use besides the host's own programs. Sourced by a shell of root's, one per fault.
conf() { # conf YAML: one more include
    printf '%s\n' "$1" >/etc/ductile/plugins.d/zz-fault.yaml
    chgrp ductile /etc/ductile/plugins.d/zz-fault.yaml && chmod 0640 /etc/ductile/plugins.d/zz-fault.yaml
}
listen() { # listen SOCKET [MODE [USER]]: somebody answers there
    mkdir -p "$(dirname "$1")"
    python3 - "$1" "${2:-0666}" "${3:-root}" <<'P'
import os, pwd, socket, sys
path, mode, user = sys.argv[1], int(sys.argv[2], 8), pwd.getpwnam(sys.argv[3])
s = socket.socket(socket.AF_UNIX)
s.bind(path)
os.chmod(path, mode)
os.chown(path, user.pw_uid, user.pw_gid)
s.listen(8)
pid = os.fork()
if pid:
    open(os.environ["PIDS"], "a").write("%d\n" % pid)
    os._exit(0)
os.setsid()
null = os.open("/dev/null", os.O_RDWR)
for fd in 0, 1, 2:
    os.dup2(null, fd)
while True:
    s.accept()[0].close()
P
}
proc_sys() { # proc_sys NAME VALUE: what this mount namespace reads there; the kernel's own is the machine's
    local file
    file=$(mktemp /run/fault-sys.XXXXXX) && printf '%s\n' "$2" >"$file" && chmod 0644 "$file"
    mount --bind "$file" "/proc/sys/${1//.//}"
}
setuid_file() { # setuid_file PATH MODE: a program of root's
    cp /bin/true "$1" && chown root:root "$1" && chmod "$2" "$1"
}
instead() { # instead FILE OTHER: FILE with OTHER's content; owner and mode stay
    cat "$2" >"$1"
}
have_doas() { setuid_file /usr/local/bin/doas 4755; } # rules for a program that is not there are none
have_polkit() {
    local place
    for place in /usr/lib/polkit-1/polkitd /usr/libexec/polkitd /usr/libexec/polkit-1/polkitd; do [ ! -e $place ] || return 0; done
    mkdir -p /usr/lib/polkit-1 && touch /usr/lib/polkit-1/polkitd
}
