# shellcheck shell=bash
# The suites of `make check-assert`, which test/check sources: those of test/suites.sh on a server
# that has its assertions, where freed memory is overwritten and lists and rows are checked.
# shellcheck disable=SC2154 # variables of test/check and test/lib.sh
# shellcheck disable=SC2034 # what suites of test/suites.sh look at

memory_suites=(assert sanitized discard valgrind)
built=$top/build/assert

# --- as it is

suite_assert() {
    use_assert_server || return
    suite_regress
    suite_tap
}

# --- kms.so under AddressSanitizer and UBSan, which see what leaves an allocation

sanitizing='-fsanitize=address,undefined -fno-sanitize-recover=all'

suite_sanitized() {
    use_assert_server || return
    build_copy sanitized kms.so OPTIMIZE="$sanitizing" || return
    install -m 755 "$built/sanitized/kms.so" "$("$pg_config" --pkglibdir)/" || return
    # The library must be the first of a program's. Loaded by the loader, it is in no environment that
    # the server's children inherit.
    run_server_by "export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=1
        export UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1
        exec '$(loader_of "$bindir/postgres")' --preload '$(g++ -print-file-name=libasan.so)' --argv0 \"\$0\""
    sanitized=yes
    suite_regress
    suite_tap
}

loader_of() {
    readelf -l "$1" | sed -n 's/.*program interpreter: \(.*\)]/\1/p'
}

# --- every cache forgets as soon as it may: the true test of pointers across foreign code

discard_tests=(extension registry data_keys blobs)

suite_discard() {
    use_assert_server || return
    server_settings='debug_discard_caches = 1'
    regress_tests=${discard_tests[*]} suite_regress
}

# --- valgrind, which knows the borders inside of memory contexts, and what was never written

valgrind_tests=(extension values registry blobs)

suite_valgrind() {
    use_assert_server || return
    # A new cluster is made by the plain one.
    run_server_by "case \$1 in --*) exec \"\$server\" \"\$@\" ;; esac
        exec valgrind --quiet --leak-check=no --num-callers=30 --error-markers=VALGRINDERROR-BEGIN,VALGRINDERROR-END \
        --suppressions='$built/valgrind.supp' --suppressions='$scratch/tree/test/valgrind.supp'"
    regress_tests=${valgrind_tests[*]} suite_regress
}

# --- building for that server, and a copy of it

# From here on the suite has a scratch folder of its own, with that server in it.
use_assert_server() {
    "$top/test/install-packages" assert && "$top/test/assert-server" || return
    PG_CONFIG=$built/server/bin/pg_config build_copy plain all install || return
    scratch=$scratch/$name
    mkdir "$scratch" && cp -a "$built/server" "$scratch/" && copy_tree || return
    bindir=$scratch/server/bin
    pg_config=$bindir/pg_config
    logs=$logs/$name
    mkdir -p "$logs"
    # Another user's agents are no other for the server's memory.
    second_user=()
}

# build_copy NAME MAKE-ARGUMENT…: in a copy of the tree whose objects stay.
build_copy() {
    local copy=$built/$1
    shift
    copy_sources "$copy"
    make -s -C "$copy" "-j$JOBS" OPTIMIZE= INSTALL_STRIP_FLAG= "PG_CONFIG=$built/server/bin/pg_config" "$@"
}

# run_server_by COMMANDS: of the shell; the last is given the server's program and its arguments.
run_server_by() {
    mv "$bindir/postgres" "$bindir/postgres.plain"
    printf '%s\n' '#!/bin/sh' "server='$bindir/postgres.plain'" "$1 \"\$server\" \"\$@\"" >"$bindir/postgres"
    chmod 755 "$bindir/postgres"
}
