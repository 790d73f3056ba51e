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
# The gate's tables: what is in them is in `list`, in the page and in the manual; a row less is seen in each.
rows() { sed -nE 's/^[A-Z]+\(([A-Z_0-9]+, )?"([^"]+)".*/\2/p' ductile-gate/{checks,doors,probes}.def; }
listed() { diff <(rows) <(bin/ductile-gate list -q | grep -vxFf <(sed -nE 's/^REFUSAL\([A-Z_]+, "([^"]+)".*/\1/p' libcommon/refusal.def)); }
in_manual() { local word; while read -r word; do grep -qxF ".B ${word//-/\\-}" share/man/ductile-gate.8 || { echo "$word is not in it"; return 1; }; done < <(rows); }
page_without() { # page_without TABLE ROW: the reference of a tree without that row differs from ours
    local tree=build/docs-mutant
    rm -rf $tree && mkdir -p $tree/ductile-gate && cp ductile-gate/*.def $tree/ductile-gate/ || return 1
    sed -i "0,/$2/{/$2/d}" "$tree/ductile-gate/$1.def"
    cmp -s "ductile-gate/$1.def" "$tree/ductile-gate/$1.def" && { echo "no row taken out"; return 1; }
    gcc -std=c17 -D_GNU_SOURCE -DDUCTILE_VERSION='""' -Ilibcommon -I$tree -I. -o $tree/page share/doc/reference.c build/rel/libcommon.a -lyaml -ljansson -lacl -lsodium || return 1
    $tree/page >$tree/page.md
    ! cmp -s share/doc/reference.md $tree/page.md
}
manual_without() { # a gate without the door `docker`: its manual and its list
    local tree=build/docs-mutant
    rm -rf $tree && mkdir -p $tree && cp -R ductile-gate $tree/ && sed -i '/^DOOR("docker"/d' $tree/ductile-gate/doors.def
    gcc -std=c17 -D_GNU_SOURCE -DDUCTILE_VERSION='"x"' -Ilibcommon -c -o $tree/explain.o $tree/ductile-gate/explain.c || return 1
    gcc -pie -o $tree/gate $tree/explain.o $(find build/rel/ductile-gate -name '*.o' ! -name explain.o) build/rel/libcommon.a -lyaml -ljansson -lacl -lsodium -lsqlite3 || return 1
    diff <($tree/gate list -q) <(bin/ductile-gate list -q) | grep -qx '> docker' && ! cmp -s share/man/ductile-gate.8 <($tree/gate --man)
}
check "ductile-gate list names every row of the tables" listed
check "man ductile-gate.8 names every check, door and attempt" in_manual
for row in 'checks ^CHECK(' 'doors ^DOOR(' 'probes ^PROBE(' 'probes ^WORKS(' 'families ^FAMILY(' 'postures ^POSTURE(' 'assets ^ASSET('; do
    check "control: the page shows a row less: $row" page_without ${row% *} "${row#* }"
done
check "control: the manual and the list show a row less" manual_without
rm -rf build/docs-mutant
postures() { local row; while read -r row; do grep -qF "$row" README.md || { echo "README.md has no $row"; return 1; }; done < <(sed -n '/^| `\(unconfined\|full-privsep\|hybrid\)` |/p' share/doc/reference.md); }
check "README says of the postures what their table says" postures
pictures() { # each is of its posture, drawn from attempts, without a breach, and README shows it
    local p
    for p in unconfined full-privsep hybrid; do
        python3 - share/doc/posture-$p.svg $p <<'P' && grep -q "^!\[$p: .*\](share/doc/posture-$p.svg)$" README.md || return 1
import sys, xml.etree.ElementTree as ET
title, desc = list(ET.parse(sys.argv[1]).getroot())[:2]
edges = [e.get("class") for e in ET.parse(sys.argv[1]).iter() if (e.get("class") or "").startswith("edge ")]
assert "posture " + sys.argv[2] + ":" in title.text and " attempts by " in desc.text and " 0 wrong" in desc.text, desc.text
assert len(edges) > 9 and edges.count("edge breach") == 1, "one, of the legend"
P
    done
}
check "the pictures of the postures are drawn from attempts that held" pictures
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
