# shellcheck shell=bash
# TPC-B-like transactions with one encrypted column and without: sourced by test/bench/run.
# Commits are durable, as they are by default; the private server's own `fsync = off` is not.
# shellcheck disable=SC2154 # variables of test/bench/run and test/lib.sh

force_to_disk() {
    bench_psql -c "ALTER SYSTEM SET fsync = $1" -c "SELECT pg_reload_conf()" >/dev/null
}

# After a checkpoint whole pages are logged, and dead rows gather: every run starts alike.
settle() {
    bench_psql -c "TRUNCATE history" -c "VACUUM branch, teller, plain_account, sealed_account" -c CHECKPOINT
}

# run_pgbench SCRIPT ARGUMENT…: the log of its transactions, one a line.
run_pgbench() {
    install -m 644 "$top/test/bench/$1" "$scratch/"
    as_server_user rm -f "$scratch"/pgbench_log.*
    as_server_user pgbench -n -h "$scratch/socket" -p "$private_port" -U postgres \
        -f "$scratch/$1" "${@:2}" \
        -l --log-prefix="$scratch/pgbench_log" bench >"$scratch/pgbench_output"
    cat "$scratch"/pgbench_log.*
}

# Counted from when every session has made its first transaction: first use is measured by itself.
transactions_a_second() {
    awk '{ now = $5 + $6 / 1e6 }
        !($1 in seen) { seen[$1]; from = now; count = -1 }
        { count++ }
        END { print count / (now - from) }'
}

# measure_turn ROUND SESSIONS SEALED: one line for the table `measured`.
measure_turn() {
    local names=(plaintext encrypted) rate
    settle
    rate=$(run_pgbench tpcb.sql -c "$2" -T "$pgbench_seconds" -D "accounts=$accounts" -D "sealed=$3" |
        transactions_a_second)
    echo "pgbench,${names[$3]},$2,$1,$rate"
}

measure_pgbench() {
    local round sessions first
    bench_psql -v "accounts=$accounts" <"$top/test/bench/accounts.sql"
    force_to_disk on
    for ((round = 1; round <= pgbench_rounds; round++)); do
        first=$((round % 2))
        for sessions in 1 2 8 32; do
            measure_turn "$round" "$sessions" "$first"
            measure_turn "$round" "$sessions" "$((1 - first))"
        done
    done | keep_measured
}
