# One non-recursive Makefile. `make help` lists the targets people type.
# Five flavours of every object, each in its own folder under build/:
#   rel     what is installed
#   clang   the same by the other compiler, for `make lint`
#   san     AddressSanitizer + UndefinedBehaviorSanitizer, for `make check`
#   broken  the wall with removable layers (DUCTILE_BREAK=...); never installed.
#           It is the negative control: a test that passes against it proves nothing.
#   abi2    as broken, on a kernel whose Landlock ends at ABI 2 (Debian 12's own); never installed

include config.mk
.DEFAULT_GOAL := all
MAKEFLAGS += -r

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-6s %s\n'
endif

# ---- flags ----------------------------------------------------------------

ARCH := $(shell uname -m)
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wswitch-enum -Werror
# -fcf-protection is x86's; arm64 knows the same idea by another name.
CFI  := $(if $(filter x86_64,$(ARCH)),-fcf-protection,$(if $(filter aarch64,$(ARCH)),-mbranch-protection=standard))
HARD := -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection $(CFI) -fPIE
LDHARD := -pie -Wl,-z,relro -Wl,-z,now -Wl,--as-needed
DEFS := -D_GNU_SOURCE -DDUCTILE_VERSION='"$(VERSION)"' -DDUCTILE_BINDIR='"$(BINDIR)"' \
        -DDUCTILE_LIBEXECDIR='"$(LIBEXECDIR)"' -DDUCTILE_DATADIR='"$(DATADIR)"'
BASE := -std=c17 -g $(WARN) $(DEFS) -Ilibcommon -MMD -MP

CC_rel        = $(CC)
CFLAGS_rel    := -O2 $(HARD)
LDFLAGS_rel   := $(LDHARD)
CC_clang      = $(CLANG)
CFLAGS_clang  := -O2 $(HARD)
LDFLAGS_clang := $(LDHARD)
CC_san        = $(CC)
CC_broken     = $(CC)
CFLAGS_san    := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -DDUCTILE_SAN
LDFLAGS_san   := -fsanitize=address,undefined
CFLAGS_broken := -O2 $(HARD) -DDUCTILE_BREAKABLE
LDFLAGS_broken := $(LDHARD)
CC_abi2        = $(CC)
CFLAGS_abi2   := $(CFLAGS_broken) -DDUCTILE_LANDLOCK_CAP=2
LDFLAGS_abi2  := $(LDHARD)

# ---- sources --------------------------------------------------------------

LIB_SRC := $(wildcard libcommon/*.c)

PROGRAMS := ductile ductile-install ductile-gate ductile-run ductile-bus ductile-vault
SRC_ductile         := $(wildcard ductile-run/ctl/*.c)
SRC_ductile-install := $(wildcard ductile-install/*.c)
SRC_ductile-gate    := $(wildcard ductile-gate/*.c)
SRC_ductile-run     := $(wildcard ductile-run/warden/*.c)
SRC_ductile-bus     := $(wildcard ductile-run/bus/*.c)
SRC_ductile-vault   := $(wildcard ductile-vault/*.c)
# Least linkage: the warden links no SQL, no HTTP, no event loop (1-house).
LIBS_ductile         := -lyaml -ljansson -lsodium
LIBS_ductile-install := -lyaml -lacl -lsodium -lsqlite3
LIBS_ductile-gate    := -lyaml -lacl -lsodium -lsqlite3
LIBS_ductile-run     := -lyaml -ljansson -lsodium
LIBS_ductile-bus     := -lyaml -ljansson -lsodium -lsqlite3 -lev -lmicrohttpd
LIBS_ductile-vault   := -lyaml -ljansson -lsodium
# The program that people wait for, each time: its libraries are linked in, where there are archives of them, as
# loading three shared ones takes longer than decrypting a vault (STATIC_VAULT, config.mk).
archive = $(if $(filter /%,$(shell $(CC) -print-file-name=lib$(1).a)),-l:lib$(1).a,-l$(1))
LIBS_rel_ductile-vault := $(if $(filter yes,$(STATIC_VAULT)),$(foreach l,yaml jansson sodium,$(call archive,$(l))),$(LIBS_ductile-vault))

# The attacker in each half (DUCTILE_BREAK=popwarden, popbus), and alone as his own control: in build/broken only.
POPPED_broken_ductile-run := tests/popped/common.c tests/popped/warden.c
POPPED_broken_ductile-bus := tests/popped/common.c tests/popped/bus.c
POPPED_abi2_ductile-run := $(POPPED_broken_ductile-run)
POPPED_abi2_ductile-bus := $(POPPED_broken_ductile-bus)

UNIT_SRC := $(wildcard tests/unit/test_*.c)
LIBS_unit := -lcmocka -lyaml -ljansson -lacl -lsodium -lsqlite3 -lev

# ---- rules, once per flavour ------------------------------------------------

define flavour
build/$(1)/%.o: %.c config.mk Makefile
	$(say) CC '$(1) $$<'
	@mkdir -p $$(@D)
	$(Q)$(CC_$(1)) $(BASE) $(CFLAGS_$(1)) $(CPPFLAGS) $(CFLAGS) -c -o $$@ $$<

build/$(1)/libcommon.a: $(LIB_SRC:%.c=build/$(1)/%.o)
	$(say) AR '$$@'
	$(Q)rm -f $$@ && $(AR) rcs $$@ $$^

$(foreach p,$(PROGRAMS),$(call program,$(1),$(p)))
$(foreach t,$(UNIT_SRC),$(call unit,$(1),$(t:tests/unit/%.c=%)))
-include $$(shell find build/$(1) -name '*.d' 2>/dev/null)
endef

define program
build/$(1)/bin/$(2): $$(patsubst %.c,build/$(1)/%.o,$(SRC_$(2)) $(POPPED_$(1)_$(2))) build/$(1)/libcommon.a
	$(say) LD '$$@'
	@mkdir -p $$(@D)
	$(Q)$(CC_$(1)) $(LDFLAGS_$(1)) $(LDFLAGS) -o $$@ $$^ $(or $(LIBS_$(1)_$(2)),$(LIBS_$(2)))

endef

# A unit test may reach into its program's modules: `// needs: FILE...` in its first lines; FOLDER/ is all but its main.
whole = $(foreach f,$(1),$(if $(filter %/,$(f)),$(filter-out %/main.c,$(wildcard $(f)*.c)),$(f)))
define unit
build/$(1)/unit/$(2): build/$(1)/tests/unit/$(2).o $$(addprefix build/$(1)/,$$(patsubst %.c,%.o,$(call whole,$(shell sed -n '1,5s,^// needs: ,,p' tests/unit/$(2).c)))) build/$(1)/libcommon.a
	$(say) LD '$$@'
	@mkdir -p $$(@D)
	$(Q)$(CC_$(1)) $(LDFLAGS_$(1)) $(LDFLAGS) -o $$@ $$^ $(LIBS_unit)

endef

$(eval $(call flavour,rel))
$(eval $(call flavour,clang))
$(eval $(call flavour,san))
$(eval $(call flavour,broken))
$(eval $(call flavour,abi2))

.PHONY: all
all: $(PROGRAMS:%=bin/%)

.PHONY: help
help:
	@echo 'make            build bin/*                      make install    PREFIX=/usr/local DESTDIR='
	@echo 'make demo       one journey, on this host, in namespaces: nothing is left behind'
	@echo 'make check      all tests (root; under 20 minutes)   make check-long  with the counts of the proof'
	@echo 'make lint       formatters and static analysers      make docs        man pages and the reference'
	@echo 'make fuzz-wire   the wire by libFuzzer, S=60 seconds; fuzz-warden: what the bus says; fuzz-age_header, ...'
	@echo 'make bench-spawn  what a spawn costs, ours and others'"'"'  (root)'
	@echo 'make attacks    aims the attack catalogue at us and at others; writes share/doc/attacks.md  (root)'
	@echo 'make postures   draws share/doc/posture-*.svg from what the gate finds  (root)'
	@echo 'make bench-gate   what the check at boot costs, up to 200 accounts and 1,000 plugins  (root)'
	@echo 'make bench-vault  opening a vault of 1,000 secrets beside age -d  (root)'
	@echo 'make bench-compose  what a spawn takes of a vault of 10,000 secrets'
	@echo 'make bench-mask   what masking secrets in an answer costs'
	@echo 'make deps       what all of this needs, by apt       make clean       V=1 shows commands'

bin/%: build/rel/bin/%
	@mkdir -p bin
	$(Q)ln -f $< $@

.SECONDARY:

# Attack programs of the wall tests, static so that they run anywhere.
WALL_PROGRAMS := $(patsubst tests/wall/%.c,build/wall/%,$(wildcard tests/wall/*.c))
build/wall/%: tests/wall/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c17 -O2 -static -pthread $(WARN) -D_GNU_SOURCE -o $@ $<

build/broken/bin/popped: $(wildcard tests/popped/*.[ch]) build/broken/libcommon.a
	@mkdir -p $(@D)
	$(say) LD '$@'
	$(Q)$(CC) $(BASE) $(CFLAGS_broken) $(LDFLAGS_broken) -DPOPPED_ALONE -o $@ $(filter %.c,$^) build/broken/libcommon.a $(LIBS_ductile-run) -lacl

# ---- install --------------------------------------------------------------

.PHONY: install man
install: all man
	$(say) INST '$(DESTDIR)$(PREFIX)'
	$(Q)install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBEXECDIR)/ductile $(DESTDIR)$(DATADIR)/ductile $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man8
	$(Q)install -m0755 bin/ductile bin/ductile-install bin/ductile-vault $(DESTDIR)$(BINDIR)/
	$(Q)install -m0711 bin/ductile-gate bin/ductile-run $(DESTDIR)$(BINDIR)/
	$(Q)install -m0711 bin/ductile-bus $(DESTDIR)$(LIBEXECDIR)/ductile/
	$(Q)install -m0644 share/man/*.1 $(DESTDIR)$(MANDIR)/man1/
	$(Q)install -d $(DESTDIR)$(DATADIR)/doc/ductile && install -m0644 README.md PRIVSEP.md NEWS.md share/doc/reference.md share/doc/posture-*.svg $(DESTDIR)$(DATADIR)/doc/ductile/
	$(Q)install -d $(DESTDIR)$(DATADIR)/ductile/schema && install -m0644 share/schema/*.json $(DESTDIR)$(DATADIR)/ductile/schema/
	$(Q)rm -rf $(DESTDIR)$(DATADIR)/doc/ductile/examples && cp -R share/systemd/examples $(DESTDIR)$(DATADIR)/doc/ductile/ && chmod -R u=rwX,go=rX $(DESTDIR)$(DATADIR)/doc/ductile/examples
	$(Q)install -m0644 share/man/*.8 $(DESTDIR)$(MANDIR)/man8/
	$(Q)rm -rf $(DESTDIR)$(DATADIR)/ductile/plugins && cp -R share/plugins $(DESTDIR)$(DATADIR)/ductile/
	$(Q)find $(DESTDIR)$(DATADIR)/ductile/plugins \( -name __pycache__ -o -name '*.pyc' \) -prune -exec rm -rf {} +
	$(Q)chmod -R go-w,a+rX $(DESTDIR)$(DATADIR)/ductile

# Man pages of the programs are printed from their verb tables; `make check` fails when they differ.
man: $(addprefix share/man/,ductile.1 ductile-vault.1 ductile-install.8 ductile-gate.8 ductile-run.8)
share/man/%.1: bin/%
	@mkdir -p $(@D)
	$(Q)$< --man > $@
share/man/%.8: bin/%
	@mkdir -p $(@D)
	$(Q)$< --man > $@

# The reference page: every table there is, printed from the compiled rows.
.PHONY: docs
docs: man share/doc/reference.md
build/reference: share/doc/reference.c build/rel/libcommon.a $(wildcard */*.def share/systemd/*.def)
	$(Q)$(CC) -std=c17 $(WARN) $(DEFS) -Ilibcommon -I. -o $@ $< build/rel/libcommon.a -lyaml -ljansson -lacl -lsodium
share/doc/reference.md: build/reference
	$(Q)$< > $@

# The pictures of the three postures, from what the gate finds in a nest.
.PHONY: postures
postures: stage
	$(Q)mkdir -p build/postures && tests/lib/nest bash /mnt/src/share/doc/postures /mnt/src/build/postures && cp build/postures/*.svg share/doc/

# ---- dependencies -----------------------------------------------------------
# Debian 12. As root: installs what is missing and keeps the list of it in .deps-added. Otherwise: prints the line to run.

DEPS := gcc libc6-dev linux-libc-dev libyaml-dev libacl1-dev libsodium-dev libsqlite3-dev libjansson-dev \
        libev-dev libmicrohttpd-dev libcmocka-dev python3 git acl age sudo sqlite3 procps passwd util-linux iproute2 nftables systemd \
        systemd-container debootstrap ca-certificates clang libclang-rt-dev clang-format clang-tidy cppcheck shellcheck mandoc

.PHONY: deps
deps:
	@missing=; for p in $(DEPS); do \
	    dpkg-query -W -f '$${db:Status-Abbrev}' $$p 2>/dev/null | grep -q '^ii' || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then \
	    echo "These packages are missing. Run:"; echo; echo "    sudo apt-get install -y$$missing"; echo; exit 1; fi; \
	echo "installing$$missing"; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >build/deps.log 2>&1 || { tail -20 build/deps.log; exit 1; }; \
	printf '%s\n' $$missing >>.deps-added
$(shell mkdir -p build)

# ---- tests --------------------------------------------------------------------

# What nests and booted hosts get: the installed suite, the breakable build, and the attacks.
.PHONY: stage
stage: all $(PROGRAMS:%=build/broken/bin/%) build/broken/bin/popped $(WALL_PROGRAMS)
	$(Q)rm -rf build/stage && $(MAKE) -s install DESTDIR=$(CURDIR)/build/stage PREFIX=/usr/local V=$(V)

# The same suite under the sanitizers, for the wall.
.PHONY: stage-san
stage-san: stage $(PROGRAMS:%=build/san/bin/%)
	$(Q)rm -rf build/stage-san && cp -R build/stage build/stage-san
	$(Q)install -m0755 build/san/bin/ductile build/san/bin/ductile-install build/san/bin/ductile-vault build/stage-san/usr/local/bin/
	$(Q)install -m0711 build/san/bin/ductile-gate build/san/bin/ductile-run build/stage-san/usr/local/bin/
	$(Q)install -m0711 build/san/bin/ductile-bus build/stage-san/usr/local/libexec/ductile/

# And on an older kernel.
.PHONY: stage-abi2
stage-abi2: stage $(PROGRAMS:%=build/abi2/bin/%)
	$(Q)cp build/broken/bin/popped build/abi2/bin/
	$(Q)rm -rf build/stage-abi2 && cp -R build/stage build/stage-abi2
	$(Q)install -m0755 build/abi2/bin/ductile build/abi2/bin/ductile-install build/abi2/bin/ductile-vault build/stage-abi2/usr/local/bin/
	$(Q)install -m0711 build/abi2/bin/ductile-gate build/abi2/bin/ductile-run build/stage-abi2/usr/local/bin/
	$(Q)install -m0711 build/abi2/bin/ductile-bus build/stage-abi2/usr/local/libexec/ductile/

UNIT_BINARIES := $(foreach f,rel san,$(UNIT_SRC:tests/unit/%.c=build/$(f)/unit/%))

# The wire, fuzzed (tests/fuzz): `// links: FILE...` in a target names the product's own files that it runs.
FUZZ_TARGETS := wire warden bus
define fuzz
build/san/fuzz/$(1): build/san/tests/fuzz/$(1).o build/san/tests/fuzz/driver.o $$(patsubst %.c,build/san/%.o,$(shell sed -n '1,9s,^// links: ,,p' tests/fuzz/$(1).c)) build/san/libcommon.a
	$(say) LD '$$@'
	@mkdir -p $$(@D)
	$(Q)$(CC_san) $(LDFLAGS_san) $(LDFLAGS) -o $$@ $$^ $(LIBS_ductile-bus)

# By libFuzzer, for S seconds: make fuzz-$(1) S=600. It sees nothing of the bus, which runs in a process per input.
.PHONY: fuzz-$(1)
fuzz-$(1): build/san/fuzz/$(1)
	$(Q)mkdir -p build/fuzz/$(1) && build/san/fuzz/$(1) -w build/fuzz/$(1)
	$(Q)$(CLANG) $(BASE) $(CFLAGS_san) -fsanitize=fuzzer -o build/fuzz/fuzz-$(1) tests/fuzz/$(1).c $(shell sed -n '1,9s,^// links: ,,p' tests/fuzz/$(1).c) $(filter-out libcommon/vault%,$(LIB_SRC)) $(LIBS_ductile-bus) -lacl
	$(Q)ASAN_OPTIONS=detect_leaks=0 build/fuzz/fuzz-$(1) -max_len=256 -max_total_time=$(or $(S),60) build/fuzz/$(1)

endef
$(foreach t,$(FUZZ_TARGETS),$(eval $(call fuzz,$(t))))

# What strangers and disks hand to the vault, by libFuzzer only (tests/fuzz/run-age): make fuzz-age_header S=600.
AGE_FUZZ := age_header age_armor age_stream bech32 vault_json vault_import
AGE_FUZZED := $(wildcard libcommon/age*.c libcommon/vault*.c) libcommon/bech32.c libcommon/json_text.c libcommon/secret.c libcommon/str.c ductile-vault/parse.c
build/fuzz/bin/%: tests/fuzz/%.c tests/fuzz/lab.h $(AGE_FUZZED) $(wildcard libcommon/*.h ductile-vault/*.h) build/rel/libcommon.a
	$(say) FUZZ '$@'
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(filter-out -MMD -MP,$(BASE)) $(CFLAGS_san) -fsanitize=fuzzer -o $@ -Iductile-vault $< $(AGE_FUZZED) build/rel/libcommon.a -lsodium -ljansson -lyaml -lacl
.PHONY: $(AGE_FUZZ:%=fuzz-%)
$(AGE_FUZZ:%=fuzz-%): fuzz-%: build/fuzz/bin/%
	$(Q)mkdir -p build/fuzz/$*
	$(Q)$< -max_total_time=$(or $(S),60) build/fuzz/$* tests/fuzz/corpus/$*

.PHONY: check check-long test-programs
test-programs: stage stage-san stage-abi2 $(UNIT_BINARIES) $(FUZZ_TARGETS:%=build/san/fuzz/%) $(AGE_FUZZ:%=build/fuzz/bin/%)
check: deps
	$(Q)$(MAKE) -s -j$$(nproc) V=$(V) test-programs
	$(Q)tests/run $(SUITES)
check-long: deps
	$(Q)$(MAKE) -s -j$$(nproc) V=$(V) test-programs
	$(Q)tests/run --long

.PHONY: demo
demo: deps
	$(Q)$(MAKE) -s -j$$(nproc) V=$(V) stage
	$(Q)share/demo/demo

# ---- benchmarks: never part of a test run ---------------------------------------------

# The programs that ours is measured and attacked beside.
BENCH_DEPS := s6 gosu opendoas bubblewrap sudo
build/bench/noop: tests/bench/noop.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c17 -O2 -static $(WARN) -o $@ $<
build/bench/spawn: build/rel/tests/bench/spawn.o build/rel/ductile-run/warden/launch.o build/rel/libcommon.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_rel) $(LDFLAGS) -o $@ $^ $(LIBS_ductile-run)

.PHONY: bench-spawn deps-bench
deps-bench: deps
	$(Q)$(MAKE) -s deps DEPS='$(BENCH_DEPS)'
bench-spawn: deps build/bench/noop build/bench/spawn
	$(Q)$(MAKE) -s -j$$(nproc) V=$(V) stage
	$(Q)HOST_EXTRA=,s6,gosu,opendoas,bubblewrap BOOT_S=1800 tests/host/boot tests/bench/spawn.sh

# What the gate costs at boot, and how that grows: in a nest. BENCH_SIZES='ACCOUNTS:PLUGINS ...' BENCH_PROVE=1
.PHONY: bench-gate
bench-gate: deps
	$(Q)$(MAKE) -s -j$$(nproc) V=$(V) stage
	$(Q)tests/lib/nest bash /mnt/src/tests/bench/gate.sh

.PHONY: bench-vault
bench-vault: deps
	$(Q)$(MAKE) -s -j$$(nproc) V=$(V) stage
	$(Q)tests/lib/nest bash /mnt/src/tests/bench/vault.sh

# The attack catalogue, aimed at other droppers too: share/doc/attacks.md
.PHONY: attacks
attacks: deps-bench
	$(Q)$(MAKE) -s -j$$(nproc) V=$(V) test-programs
	$(Q)tests/lib/nest bash /mnt/src/tests/wall/aim.sh

build/bench/mask: build/rel/tests/bench/mask.o build/rel/libcommon.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_rel) $(LDFLAGS) -o $@ $^ -ljansson -lsodium -lyaml

.PHONY: bench-mask
bench-mask: deps build/bench/mask
	$(Q)build/bench/mask

build/bench/compose: build/rel/tests/bench/compose.o build/rel/libcommon.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_rel) $(LDFLAGS) -o $@ $^ -ljansson -lsodium -lyaml

.PHONY: bench-compose
bench-compose: deps build/bench/compose
	$(Q)build/bench/compose

# ---- lint -----------------------------------------------------------------------

C_FILES := $(shell git ls-files '*.c' '*.h' 2>/dev/null)
SHELL_FILES := $(shell git ls-files 2>/dev/null | xargs grep -lE '^\#!/bin/(ba)?sh' 2>/dev/null)

.PHONY: lint clang-programs
clang-programs: $(PROGRAMS:%=build/clang/bin/%) $(UNIT_SRC:tests/unit/%.c=build/clang/unit/%)
lint: deps
	$(Q)tests/lint/run

.PHONY: clean
clean:
	rm -rf build bin
