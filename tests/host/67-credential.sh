#!/bin/bash
# Secret zero from the service manager: secrets.age_key_file: credential:NAME, in the clear and encrypted for this host.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
UNIT=/etc/systemd/system/ductile.service.d
mkdir -p $UNIT /etc/keys && chmod 700 /etc/keys && mv /etc/ductile/secret/age.key /etc/keys/age.key && chown root:root /etc/keys/age.key
sed -i 's#^secrets:.*#secrets:#; t; $a secrets: {age_key_file: "credential:age.key"}' /etc/ductile/config.yaml
grep -q credential: /etc/ductile/config.yaml || sed -i 's#^secrets:#secrets:\n  age_key_file: "credential:age.key"#' /etc/ductile/config.yaml
add_config vault <<'Y'
plugins: {keeper: {run_as: untrusted, retry: {max_attempts: 1}}}
Y
check "apply takes it, and makes no key of its own" bash -c "ductile-install -q apply && ! ls /etc/ductile/secret/age.key"
check "and then has nothing to change" ductile-install plan
without() { local out; out=$(refuses 78 VAULT-KEY-01 as_service /usr/local/bin/ductile-run serve); local rc=$?; echo "$out"; [ $rc = 0 ] && grep -q 'LoadCredential=age.key:' <<<"$out"; }
check "a start without the credential is refused, and says how to give it" without
# The vault's commands want it too: they are run with it.
vault() { systemd-run -q --wait --pipe -p User=ductile -p AmbientCapabilities='CAP_SETUID CAP_SETGID' -p LoadCredential=age.key:/etc/keys/age.key /usr/local/bin/ductile-vault "$@"; }
shell() { vault status && printf 'the-treasure' | vault secret set treasure && vault grant treasure keeper; }
check "the vault's commands work with it" shell
ductile plugin add "$SRC/tests/wall/plugins/keeper" >/dev/null && ductile plugin lock keeper >/dev/null
plain() { printf '[Service]\nLoadCredential=age.key:/etc/keys/age.key\n' >$UNIT/credential.conf; systemctl daemon-reload; start_gateway; }
check "LoadCredential=: the gateway starts" plain
kept() { [ "$(run_job keeper poll '{}' | json 'd.get("result")')" = "{'kept': True}" ]; }
check "and a secret is delivered" kept
lies() { findmnt -no FSTYPE,OPTIONS /run/credentials/ductile.service; stat -c '%U:%G:%a %n' /run/credentials/ductile.service /run/credentials/ductile.service/age.key; getfacl -pc /run/credentials/ductile.service/age.key; [ "$(stat -c %u:%a /run/credentials/ductile.service/age.key)" = "$(id -u ductile):400" ] || getfacl -pc /run/credentials/ductile.service/age.key | grep -q '^user:ductile:r--'; }
check "it lies where only the service may read it" lies
note "$(stat -c '%U:%G:%a' /run/credentials/ductile.service/age.key) on $(findmnt -no FSTYPE /run/credentials/ductile.service || echo 'no mount of its own')"
closed() { # closed PLUGIN: it cannot read the credential, by any of its names; its twin can
    local r
    r=$(run_job "$1" handle '{"mode": "sh", "sh": "for f in /run/credentials/ductile.service/age.key /proc/*/root/run/credentials/ductile.service/age.key /etc/keys/age.key; do cat $f 2>&1; done; ls /run/credentials/ductile.service 2>&1; echo ${CREDENTIALS_DIRECTORY-none}"}' | json 'd.get("result")')
    echo "$r"
    ! grep -q AGE-SECRET-KEY <<<"$r" && grep -q 'Permission denied' <<<"$r" && grep -q '^none$' <<<"$r"
}
check "a confined plugin cannot read it, nor learn where it is" closed unruly
check "nor can the operator's" closed unruly_matt
twin() { setpriv --reuid=ductile --regid=ductile --clear-groups cat /run/credentials/ductile.service/age.key | grep -q AGE-SECRET-KEY; }
check "the service can" twin
tried() { as_service -p LoadCredential=age.key:/etc/keys/age.key /usr/local/bin/ductile-gate prove --json >"$WORK/prove"; grep -c credentials "$WORK/prove"; grep -q 'credentials' "$WORK/prove"; }
check "the gate's probes go for it where it lies" tried
stop_gateway
encrypted() {
    systemd-creds encrypt --with-key=host --name=age.key /etc/keys/age.key /etc/keys/age.key.cred || return 1
    ! grep -q AGE-SECRET-KEY /etc/keys/age.key.cred || return 1
    mv /etc/keys/age.key /root/moved.key
    printf '[Service]\nLoadCredentialEncrypted=age.key:/etc/keys/age.key.cred\n' >$UNIT/credential.conf; systemctl daemon-reload
    start_gateway && kept
}
check "LoadCredentialEncrypted=, for this host's key: it starts and delivers" encrypted
stop_gateway
spoiled() { # a credential that is another name's is not taken
    sed -i s/age.key:/other:/ $UNIT/credential.conf; systemctl daemon-reload
    ! start_gateway 2>"$WORK/err"; local rc=$?; tail -5 "$WORK/err"; return $rc
}
check "under another name it does not start" spoiled
