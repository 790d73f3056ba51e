#!/bin/bash
# Documents say what the programs do: generated pages equal their tables, and what people are told to type exists.
. "$(dirname "$0")/tap.sh"
same() { diff "$1" <("${@:2}") >/dev/null || { diff "$1" <("${@:2}") | head -20; echo "run: make docs"; return 1; }; }
for page in ductile.1 ductile-vault.1 ductile-install.8 ductile-gate.8 ductile-run.8; do
    check "man $page is its program's own" same "share/man/$page" "bin/${page%.*}" --man
    lint() { ! mandoc -T lint -W warning "share/man/$page" 2>&1 | grep -v 'cannot parse date\|missing date'; }
    check "man $page has no fault of form" lint
done
reference() { make -s build/reference && same share/doc/reference.md build/reference; }
check "the reference is what the tables say" reference
# Every `ductile... verb` of the documents is a verb.
verbs_exist() {
    local file=$1 line program rest bad=0
    while read -r program rest; do
        case $program in
        ductile) case $rest in vault\ * | gate\ * | install\ * | run\ * | plugin\ *) program=${rest%% *} rest=${rest#* }
            [ "$program" = plugin ] && rest="plugin $rest" program=install
            program=ductile-$program ;; esac ;;
        esac
        bin/$program ${rest%% *} --help >/dev/null 2>&1 || bin/$program $(cut -d' ' -f1,2 <<<"$rest") --help >/dev/null 2>&1 ||
            { echo "$file: $program $rest: no such verb"; bad=1; }
    done < <(grep -ohE '^ *(\$ |# |sudo )?ductile(-install|-gate|-vault|-run)? [a-z]+( [a-z-]+)?( [a-z-]+)?' "$file" | sed -E 's/^ *(\$ |# |sudo )?//' | sort -u)
    return $bad
}
for file in README.md PRIVSEP.md HACKING.md; do
    check "$file: every command in it exists" verbs_exist $file
    links() {
        local bad=0 to
        for to in $(grep -oE '\]\([^)#]+' "$1" | cut -c3- | grep -v '^https\?:'); do [ -e "$to" ] || { echo "$1 links to $to"; bad=1; }; done
        return $bad
    }
    check "$file: what it links to is there" links $file
done
two_commands() { grep -qx '    apt-get install -y git make ca-certificates' README.md && grep -qx '    make demo' README.md && grep -qx '    make check' README.md && grep -q 'make check' .ci/run; }
check "README names the two commands, and CI runs the second" two_commands
news() { head -5 NEWS.md | grep -q "$(sed -n 's/^VERSION *= *//p' config.mk)"; }
check "NEWS begins with this version" news
tests/wall/attacks.py table
