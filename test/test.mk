# Building and running the tests, without PGXS. Included by ../Makefile.
#
#   make check SUITES="unit tap"     make check SUITES=tap TAP="044_envelope 099_dumps"
#   make fuzz FUZZ_SECONDS=60        make check-versions VERSIONS=trixie SUITES=regress
#   make bench QUICK=1               make bench SUBJECTS="calls parallel"
#   make soak SOAK_SECONDS=60

FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 60
JOBS ?= $(shell nproc)
OTHER_CXX ?= $(if $(findstring clang,$(CXX)),g++,clang++)
export KMS_VECTORS ?= $(realpath ../shared/vectors)

warnings := -Wall -Wextra -Wshadow -Wpedantic -Werror
libpq_headers := -I$(shell $(PG_CONFIG) --includedir 2>/dev/null)
test_flags := -std=c++20 -g $(warnings) -Isrc $(libpq_headers) -DKMS_VERSION='"$(kms_version)"' -DKMS_SEND_UNKNOWN_VERBS
sanitizers := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

floor_sources := $(call sources_of,base crypto wire client agent blob)
pg_sources := $(call sources_of,pg)
part_sources := $(filter-out src/agent/main.cpp src/blob/main.cpp,$(floor_sources))
part_libraries := -L$(shell $(PG_CONFIG) --libdir 2>/dev/null) -lpq -lcrypto
slow_tests := $(wildcard test/unit/*_slow_test.cpp)
unit_tests := $(filter-out $(slow_tests),$(wildcard test/unit/*.cpp))
fuzz_targets := $(patsubst test/fuzz/%.cpp,build/%,$(wildcard test/fuzz/*_fuzz.cpp))
cxx_sources := $(floor_sources) $(pg_sources) $(wildcard test/unit/*.cpp test/fuzz/*.cpp test/bench/*.cpp)
formatted := $(sort $(cxx_sources) $(wildcard src/*/*.hpp src/*/*/*.hpp test/*/*.hpp test/bench/*.c))
scripts := $(sort $(shell grep -rlE '^\#!.*\b(ba)?sh$$|^\# shellcheck shell' .ci test))

.PHONY: check check-assert check-versions unit lint lint-quick lint-headers demo demo-stop bench fuzz soak

check:
	@TAP='$(TAP)' test/check $(SUITES)

# On a PostgreSQL with assertions, which it fetches and builds: half an hour and more.
check-assert:
	@test/check $(or $(SUITES),assert sanitized discard valgrind)

# On other major versions, each on the release of Debian that has it: VERSIONS="trixie sid".
check-versions:
	@SUITES='$(SUITES)' TAP='$(TAP)' test/versions $(VERSIONS)

demo demo-stop:
	@test/demo/run $(@:demo-%=%)

bench:
	@test/bench/run $(if $(QUICK),quick) $(SUBJECTS)

soak:
	@test/soak/run $(SOAK_SECONDS)

unit:
	test/install-packages build check
	$(MAKE) -j$(JOBS) all
	$(MAKE) -j$(JOBS) build/unit_test build/slow_test
	build/unit_test
	build/slow_test

fuzz:
	test/install-packages build lint
	$(MAKE) -j$(JOBS) $(fuzz_targets)
	test/fuzz/run $(FUZZ_SECONDS) $(fuzz_targets)

lint:
	test/install-packages build check lint
	$(MAKE) -k -j$(JOBS) lint-quick $(patsubst %,build/lint/tidy/%.ok,$(filter src/%,$(cxx_sources)))

# One build of the parts: $(1) its folder below build/, $(2) compiler, $(3) flags.
define variant
build/$(1)/%.o: %.cpp build/$(1)/flags
	@mkdir -p $$(@D)
	@echo '$(2) … $$<'
	@$(2) $(3) -MMD -MP -c -o $$@ $$<
build/$(1)/flags: FORCE
	@mkdir -p $$(@D)
	@echo '$(subst ','\'',$(2) $(3))' | cmp -s - $$@ || echo '$(subst ','\'',$(2) $(3))' > $$@
-include $$(shell find build/$(1) -name '*.d' 2>/dev/null)
endef
# The tests themselves are not optimised: that would double the time to build them.
$(eval $(call variant,sanitized,$(CXX),-O$$(if $$(filter test/%,$$<),0,1) $(test_flags) $(sanitizers)))
$(eval $(call variant,plain,$(CXX),-O2 $(test_flags)))
$(eval $(call variant,fuzzed,clang++,-O1 $(test_flags) $(sanitizers) -fsanitize=fuzzer-no-link))

build/unit_test: $(patsubst %.cpp,build/sanitized/%.o,$(part_sources) $(unit_tests))
	$(CXX) $(sanitizers) -o $@ $^ -lgtest -lgtest_main $(part_libraries) -lz -pthread

# Of the very objects that the programs are made of, which `make all` has built.
build/slow_test: $(slow_tests:%.cpp=build/plain/%.o) $(patsubst %.cpp,build/%.o,$(filter-out src/blob/%,$(part_sources)))
	$(CXX) $(if $(findstring clang,$(CXX)),,-O3 -flto=auto) -o $@ $^ -lgtest -lgtest_main $(part_libraries) -pthread

build/%_fuzz: build/fuzzed/test/fuzz/%_fuzz.o $(patsubst %.cpp,build/fuzzed/%.o,$(part_sources))
	clang++ $(sanitizers) -fsanitize=fuzzer -o $@ $^ $(part_libraries)

build/pipes: $(patsubst %.cpp,build/plain/%.o,$(filter-out src/agent/% src/blob/%,$(part_sources)) test/bench/pipes.cpp)
	$(CXX) -o $@ $^ -lcrypto -pthread

# What make check does of lint: one build/lint/CHECK/FILE.ok for each check that a file passes.
quick_checks := $(formatted:%=format/%) $(scripts:%=shellcheck/%) $(cxx_sources:%=other-compiler/%)

lint-quick: build/lint/checks $(quick_checks:%=build/lint/%.ok)
build/lint/checks: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(quick_checks) > $@

# $(1): the name of a check, $(2): its command, which takes a file.
define lint_check
build/lint/$(1)/%.ok: % FORCE
	@mkdir -p $$(@D); rm -f $$@
	@$(2)
	@touch $$@
endef
strict_flags = -std=c++20 -O2 $(filter-out -Wpedantic,$(warnings)) -Isrc -DKMS_VERSION='"$(kms_version)"'
other_flags = $(strict_flags) $(libpq_headers) -isystem $(shell $(PG_CONFIG) --includedir-server)
$(eval $(call lint_check,format,clang-format --dry-run -Werror $$<))
$(eval $(call lint_check,shellcheck,shellcheck -x $$<))
$(eval $(call lint_check,other-compiler,$$(OTHER_CXX) $$(other_flags) -fsyntax-only $$<))
$(eval $(call lint_check,tidy,clang-tidy --quiet --warnings-as-errors='*' $$< -- $$(other_flags)))

# src/pg/ under the server headers of other versions, of which test/headers has brought some. What
# takes the time is reading headers, ours and C++'s too: those of src/pg/ are precompiled.
header_versions := $(notdir $(wildcard build/headers/[1-9][0-9]))
header_checks := $(foreach version,$(header_versions),$(pg_sources:%=headers-$(version)/%))

lint-headers: build/lint/header-checks $(header_checks:%=build/lint/%.ok)
build/lint/header-checks: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(header_checks) > $@
build/headers/all.hpp: FORCE
	@printf '#include "%s"\n' pg/server/pg.hpp $(patsubst src/%,%,$(wildcard src/pg/*/*.hpp)) > $@
build/headers/%.pch: build/headers/all.hpp FORCE
	@clang++ $(strict_flags) -isystem build/headers/$* -x c++-header $< -o $@

# $(1): the version.
define headers_check
$(pg_sources:%=build/lint/headers-$(1)/%.ok): build/headers/$(1).pch
$(call lint_check,headers-$(1),clang++ $$(strict_flags) -isystem build/headers/$(1) -include-pch build/headers/$(1).pch -fsyntax-only $$<)
endef
$(foreach version,$(header_versions),$(eval $(call headers_check,$(version))))
