# kms for PostgreSQL, built with PGXS: make && make install && make installcheck.
#
#   PG_CONFIG=…   the PostgreSQL to build for     CXX=clang++   another compiler
#   WERROR=-Werror     warnings are errors, as in `make check`     OPTIMIZE=       not across files
#   INSTALL_STRIP_FLAG=     what is installed keeps its symbols, which are twenty times as long
#
# `make check`, `make demo` and the others of test/test.mk install what they need by themselves.
# They do without PGXS, which may be among it.

PG_CONFIG ?= pg_config

# kms.control is the one place where the version stands.
kms_version := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" kms.control)

# A floor may have rooms.
sources_of = $(wildcard $(foreach floor,$(1),src/$(floor)/*.cpp src/$(floor)/*/*.cpp))

# What test/test.mk makes; everything else is PGXS's.
test_goals := check check-assert check-versions unit lint lint-quick lint-headers demo demo-stop bench fuzz soak build/%

all:

ifneq ($(filter-out $(test_goals),$(or $(MAKECMDGOALS),all)),)

PGXS := $(shell $(PG_CONFIG) --pgxs)
ifeq ($(PGXS),)
$(error $(PG_CONFIG) names no PGXS: install PostgreSQL's server headers or run test/install-packages build)
endif

MODULE_big = kms
EXTENSION = kms
DATA_built = kms--$(kms_version).sql
SCRIPTS_built = kms-agent kms-blob
EXTRA_CLEAN = build results regression.diffs regression.out tmp_check

objects_of = $(patsubst %.cpp,build/%.o,$(sources_of))
shared_objects := $(call objects_of,base crypto wire)
agent_objects := $(call objects_of,agent)
blob_objects := $(call objects_of,base crypto blob)
OBJS := $(shared_objects) $(call objects_of,client pg)

REGRESS = $(sort $(basename $(notdir $(wildcard test/sql/*.sql))))
REGRESS_OPTS = --inputdir=test --load-extension=kms
# The server may be one that uses kms: its tests find the settings as they are by default. And no
# workers: their agents would not know the keys of an agent that keeps them in memory.
installcheck: export PGOPTIONS = -c kms.command= -c kms.mode=local -c kms.keys= -c kms.cache_ttl=300 \
    -c kms.start_timeout=5000 -c kms.request_timeout=10000 -c max_parallel_workers_per_gather=0

# -isystem, or -Werror fails on the server's headers. libpq's may lie in a folder of the system's.
PG_CPPFLAGS = -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server) -I$(shell $(PG_CONFIG) --includedir)
PG_CXXFLAGS = -std=c++20 -Wall -Wextra -Wshadow $(WERROR) -fvisibility=hidden
ifneq ($(findstring clang,$(CXX)),)
PG_CXXFLAGS += -Wno-unknown-warning-option
else
# A value passes through all floors: inlined across files, a short one costs a tenth less. What it
# passes through is marked [[gnu::hot]], so that it lies side by side: misses of the instruction
# cache are what is left to save.
OPTIMIZE ?= -O3 -flto=auto
endif
PG_CXXFLAGS += $(OPTIMIZE)
SHLIB_LINK = -lcrypto -Wl,--version-script=src/pg/server/exports.map
# Bitcode would let the JIT inline code that handles keys.
override with_llvm := no

include $(PGXS)

# As packages have it.
INSTALL_STRIP_FLAG ?= -s
INSTALL_SCRIPT += $(INSTALL_STRIP_FLAG)

# The extension's script: one part a room, from the bottom.
rooms := server tables stored session values blobs contexts columns rewriting pairs keys
kms--$(kms_version).sql: src/pg/first.sql $(wildcard $(rooms:%=src/pg/%/part.sql)) src/pg/last.sql
	awk 'FNR == 1 && NR > 1 { print "" } { print }' $^ > $@

$(patsubst %.cpp,build/%.o,$(shell grep -rl --include=*.cpp KMS_VERSION src)): \
    override CPPFLAGS += -DKMS_VERSION='"$(kms_version)"'

compile = $(CXX) $(CXXFLAGS) $(CPPFLAGS)

build/src/%.o: src/%.cpp build/flags
	@mkdir -p $(@D)
	$(compile) -MMD -MP -c -o $@ $<

# Rewritten only when the compiler or its flags have changed, so that every object follows them.
build/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(compile) $(kms_version))' | cmp -s - $@ || \
	    printf '%s\n' '$(subst ','\'',$(compile) $(kms_version))' > $@

kms.so: src/pg/server/exports.map
kms.so: CC = $(CXX)
kms.so: CFLAGS = $(CXXFLAGS)

# Every session waits for its agent, and loading libstdc++ is a third of a millisecond of that.
program_link := -Wl,--gc-sections \
    $(if $(filter /%,$(shell $(CXX) -print-file-name=libstdc++.a)),-static-libstdc++ -static-libgcc)

kms-agent: $(shared_objects) $(agent_objects)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) -o $@ $^ -lcrypto $(program_link)

kms-blob: $(blob_objects)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) -o $@ $^ -L$(shell $(PG_CONFIG) --libdir) -lpq -lcrypto $(program_link)

META.json: kms.control
	sed -i 's/"version": "[0-9.]*"/"version": "$(kms_version).0"/' $@

-include $(wildcard build/src/*/*.d build/src/*/*/*.d)

endif

ifneq ($(filter $(test_goals),$(MAKECMDGOALS)),)
include test/test.mk
endif

.PHONY: FORCE
FORCE:
