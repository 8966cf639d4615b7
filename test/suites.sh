# shellcheck shell=bash
# The suites of test/check, which sources this. Each runs in its own log and counts its tests.
# suite_NAME must not rely on errexit: it is called as a condition.
# shellcheck disable=SC2154 # variables of test/check and test/lib.sh

expect() {
    local what=$1
    shift
    if "$@"; then
        echo "ok: $what"
        count 1 0
    else
        echo "not ok: $what"
        count 0 1
    fi
}

# --- one version everywhere; what kms.so is linked with and shows

suite_version() {
    local version
    version=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" "$top/kms.control")
    expect "kms--$version.sql is there" test -f "$top/kms--$version.sql"
    expect "META.json is of version $version.0" meta_agrees "$version.0"
    expect "the agent is of version $version" agent_says "$version"
    expect "kms.so needs no other library" linked_with_known_libraries
    expect "kms.so shows entry points only" shows_entry_points_only
    expect "kms-agent does not need PostgreSQL" agent_needs_no_postgresql
    expect "kms.so and kms-agent are built with -fPIC and full RELRO" hardened
    expect "what is installed has no symbols" installed_without_symbols
}

meta_agrees() {
    /usr/bin/python3 - "$top/META.json" "$1" <<'PYTHON'
import json, re, sys
meta = json.load(open(sys.argv[1]))
required = {"name", "abstract", "version", "maintainer", "license", "provides", "meta-spec"}
versions = {meta["version"]} | {each["version"] for each in meta["provides"].values()}
files = [each["file"] for each in meta["provides"].values()]
assert required <= meta.keys(), required - meta.keys()
assert versions == {sys.argv[2]}, versions
assert files == ["kms--%s.sql" % re.sub(r"\.0$", "", sys.argv[2])], files
PYTHON
}

agent_says() {
    "$bindir/kms-agent" --version | grep -qw -- "${1//./\\.}"
}

needed() {
    LC_ALL=C readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'
}

linked_with_known_libraries() {
    local others
    others=$(needed "$top/kms.so" |
        grep -vE '^(libcrypto|libstdc\+\+|libgcc_s|libm|libc|ld-linux[-a-z0-9_]*)\.so\.[0-9]+$')
    echo "${others:+others: $others}"
    [ -z "$others" ]
}

shows_entry_points_only() {
    local others
    others=$(nm -D --defined-only "$top/kms.so" | awk '{ print $NF }' |
        grep -vE '^(Pg_magic_func|_PG_init|pg_finfo_kms_[a-z0-9_]+|kms_[a-z0-9_]+)$')
    echo "${others:+others: $others}"
    [ -z "$others" ]
}

agent_needs_no_postgresql() {
    ! needed "$top/kms-agent" | grep -E 'libpq|libpg'
}

hardened() {
    local file
    for file in kms.so kms-agent kms-blob; do
        readelf -d "$top/$file" | grep -q 'BIND_NOW\|FLAGS.*NOW' || return
        [ "$(readelf -h "$top/$file" | awk '/Type:/ { print $2 }')" = DYN ] || return
    done
}

installed_without_symbols() {
    local file
    for file in "$("$pg_config" --pkglibdir)/kms.so" "$bindir/kms-agent" "$bindir/kms-blob"; do
        [ -z "$(nm "$file" 2>/dev/null)" ] || return
    done
}

# --- format of the sources, scripts, and the warnings of the compiler that does not build them

suite_lint() {
    local check
    cd "$top" || return
    rm -rf build/lint
    make -k "-j$JOBS" lint-quick
    while read -r check; do
        expect "$check" test -f "build/lint/$check.ok"
    done <build/lint/checks
}

# --- the extension against the server's headers of other versions

suite_headers() {
    local check
    cd "$top" || return
    test/headers | tee "$scratch/headers"
    skipped=$(grep -c ': skipped: ' "$scratch/headers")
    rm -rf build/lint/headers-*
    make -k "-j$JOBS" lint-headers
    while read -r check; do
        expect "$check" test -f "build/lint/$check.ok"
    done < <(grep . build/lint/header-checks)
}

# --- GoogleTest, under the sanitizers; slow tests without them

suite_unit() {
    local program programs=(build/unit_test build/slow_test)
    cd "$top" || return
    make "-j$JOBS" "${programs[@]}" || return
    for program in "${programs[@]}"; do
        install -m 755 "$program" "$scratch/tree/build/"
    done
    prove_all run_google_test "${programs[@]}"
    # What only root can try: a child of another user.
    ! can_be_root || tree_user=as_root_user part=$scratch \
        run_google_test build/unit_test --gtest_filter=EndingTest.NeverBlocksOnWhatItMaySignalNot
}

# run_google_test PROGRAM OPTION…: writes to the folder `part`.
run_google_test() {
    local output=$part/google_test status=0
    in_tree "$@" --gtest_color=no >"$output" 2>&1 || status=$?
    cat "$output"
    local good bad
    good=$(grep -cE '^\[       OK \] .*\([0-9]+ ms\)$' "$output")
    bad=$(grep -cE '^\[  FAILED  \] .*\([0-9]+ ms\)$' "$output")
    skipped=$((skipped + $(grep -cE '^\[  SKIPPED \] .*\([0-9]+ ms\)$' "$output")))
    if ((bad == 0)) && { ((status != 0)) || ! grep -qE '^\[  PASSED  \] [0-9]+ tests?\.$' "$output"; }; then
        echo "$1 ended with status $status"
        bad=1
    fi
    count "$good" "$bad"
}

# --- pg_regress against a private server, by the same target that users have

# server_settings: lines of postgresql.conf. regress_tests: some, not all.
suite_regress() {
    local status=0 output=$scratch/regress
    start_server "$scratch/regress_server" <<<"log_min_messages = notice"$'\n'"${server_settings:-}" || return
    in_tree PGHOST="$scratch/regress_server/socket" PGPORT="$private_port" PGUSER=postgres \
        make -s installcheck "PG_CONFIG=$pg_config" ${regress_tests:+"REGRESS=$regress_tests"} >"$output" 2>&1 || status=$?
    stop_server "$scratch/regress_server"
    cat "$output"
    [ ! -f "$scratch/tree/regression.diffs" ] || cat "$scratch/tree/regression.diffs"
    cp "$scratch/regress_server/log" "$logs/regress.server.log"
    count "$(grep -cE '^(test | {5,})[a-z0-9_]+ +\.\.\. ok|^ok [0-9]+ ' "$output")" \
        "$(grep -cE '^(test | {5,})[a-z0-9_]+ +\.\.\. FAILED|^not ok [0-9]+ ' "$output")"
    expect "no server process crashed" no_crash "$scratch/regress_server/log"
    return $status
}

no_crash() {
    ! grep -E 'terminated by signal|PANIC:' "$1" && no_fault "$1"
}

# What assertions, memory contexts, the sanitizers and valgrind say of code that is wrong.
no_fault() {
    ! grep -rE 'TRAP: |AddressSanitizer|: runtime error: |VALGRINDERROR|terminated by signal (6|7|8|11):|detected write past|problem in alloc|(reference|refcount|File) leak|resource was not closed' "$1"
}

# --- TAP: tests on private clusters, agents, and the independent decoder

# Of those that TAP names, or of all.
suite_tap() {
    local name files=("$top"/test/t/*.pl)
    if [ -n "${TAP:-}" ]; then
        files=()
        for name in $TAP; do
            files+=("$top/test/t/${name%.pl}.pl")
        done
    fi
    prove_all prove_on_server "${files[@]}"
}

# What PostgreSQL's own modules want to know of their surroundings.
prove_on_server() {
    local file=test/t/${1##*/} pg_regress perl_lib folder=$part/tap
    pg_regress=$(dirname "$("$pg_config" --pgxs)")/../../src/test/regress/pg_regress
    perl_lib=$(dirname "$pg_regress")/../perl
    as_server_user mkdir -p "$folder/tmp_check/log"
    prove_file "$file" "PG_REGRESS=$pg_regress" "TESTDIR=$folder" \
        "TESTDATADIR=$folder/tmp_check" "TESTLOGDIR=$folder/tmp_check/log" \
        prove -v -I "$perl_lib" -I test/t/lib "$file"
    keep_server_logs "$folder/tmp_check/log" "$file"
    expect "$file: nothing wrong with the server's memory" no_fault "$folder/tmp_check/log"
}

keep_server_logs() {
    local kept=$logs/tap/${2//\//_}
    rm -rf "$kept" && mkdir -p "$kept"
    find "$1" -type f -exec cp {} "$kept/" \;
}

suite_agents() {
    local file programs=()
    for file in "$top"/test/agent/*; do
        [ -d "$file" ] || [ ! -x "$file" ] || programs+=("$file")
    done
    prove_all prove_program "${programs[@]}"
    # What only root can try: the keyrings of others.
    ! can_be_root || tree_user=as_root_user prove_all prove_program "$top/test/agent/keyring_test.py"
}

prove_program() {
    prove_file "test/agent/${1##*/}${tree_user:+ by $tree_user}" prove -v --exec '' "test/agent/${1##*/}"
}

as_root_user() {
    as_root env PYTHONDONTWRITEBYTECODE=1 "$@"
}

# prove_all PROVE FILE…: calls PROVE with each file, with as many at the same time as there are
# cores. Each has a folder of its own, `part`, with temporary files, and its output and counts are put in the files' order.
prove_all() {
    local prove=$1 file running=0
    shift
    for file in "$@"; do
        ((running < JOBS)) || { wait -n; running=$((running - 1)); }
        prove_apart "$prove" "$file" &
        running=$((running + 1))
    done
    wait
    for file in "$@"; do
        collect "$scratch/side.${file##*/}"
    done
}

prove_apart() {
    local part=$scratch/side.${2##*/} passed=0 failed=0 skipped=0
    as_server_user mkdir -p "$part/tmp"
    "$1" "$2" >"$part.log" 2>&1
    echo "$passed $failed $skipped" >"$part.counts"
}

collect() {
    local part=$1 good=0 bad=1 left_out=0
    cat "$part.log"
    ! [ -f "$part.counts" ] || read -r good bad left_out <"$part.counts"
    count "$good" "$bad"
    skipped=$((skipped + left_out))
    rm -rf "$part" "$part.log" "$part.counts"
}

# prove_file NAME COMMAND…: counts the assertions of one TAP file.
prove_file() {
    local name=$1 status=0 output=$part/output good bad
    shift
    echo "=== $name"
    in_tree timeout -k 10 600 env "$@" >"$output" 2>&1 || status=$?
    cat "$output"
    good=$(grep -E '^ok [^ ]' "$output" | grep -cvi '# skip')
    bad=$(grep -E '^not ok( |$)' "$output" | grep -cvi '# todo')
    skipped=$((skipped + $(grep -ciE '^ok .*# skip|skipped: ' "$output")))
    if ((status != 0 && bad == 0)); then
        echo "$name ended with status $status"
        bad=1
    fi
    count "$good" "$bad"
}

suite_python() {
    expect "sealed.py agrees with its vectors" in_tree /usr/bin/python3 test/sealed.py selftest
    expect "blobs.py agrees with its vectors" in_tree /usr/bin/python3 test/blobs.py selftest
}
