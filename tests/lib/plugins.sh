#!/bin/bash
# The shipped plugins' own tests, and the test server's.
. "$(dirname "$0")/tap.sh"
copied() { # the template, copied and renamed as its README says
    local dir
    dir=$(mktemp -d) && cp -R share/plugins/_template "$dir/my_plugin" && cd "$dir/my_plugin" &&
        sed -i 's/^name: template/name: my_plugin/' manifest.yaml && /usr/bin/python3 test_plugin.py
    local rc=$?
    rm -rf "$dir"
    return $rc
}
check "_template: green out of the box" /usr/bin/python3 share/plugins/_template/test_plugin.py
check "_template: green as a copy" copied
check "github_repo_sync" /usr/bin/python3 share/plugins/github_repo_sync/test_github_repo_sync.py
check "repo_publish" /usr/bin/python3 share/plugins/repo_publish/test_repo_publish.py
check "forge: the test server speaks what it should" /usr/bin/python3 tests/lib/test_forge.py
