# What a packager may want to change. Everything else is in the Makefile.

VERSION    = 0.1.0
PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBEXECDIR ?= $(PREFIX)/libexec
DATADIR    ?= $(PREFIX)/share
MANDIR     ?= $(DATADIR)/man
DESTDIR    ?=

# yes: ductile-vault has its libraries linked in, and starts in two thirds of the time; after an update of one of
# them it must be built again. Anything else: shared, as the other programs have them.
STATIC_VAULT ?= yes

CC         ?= gcc
CLANG      ?= clang
AR         ?= ar
