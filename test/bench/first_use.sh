# shellcheck shell=bash
# The first call of a session, against the least that a process costs: sourced by test/bench/run.
# shellcheck disable=SC2154 # variables of test/bench/run

time_in_new_session() { bench_psql -At -c "SELECT $1"; }
time_encode() { time_in_new_session "time_encode('kms.encode(int, bytea, bytea)', 1, 'first', '')"; }
time_true() { time_in_new_session "time_true()"; }

measure_first_use() {
    local round turn turns=(encode true) microseconds
    for ((round = 1; round <= first_use_rounds; round++)); do
        for turn in "${turns[@]}"; do
            microseconds=$("time_$turn")
            echo "first use,$turn,0,$round,$microseconds"
        done
        turns=("${turns[1]}" "${turns[0]}")
    done | keep_measured
}
