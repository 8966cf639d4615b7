# shellcheck shell=bash
# Blobs against plain bytea of the same bytes, in the server, through pgbench and through kms-blob:
# sourced by test/bench/run. Nothing waits for the disk, whose flushes take longer than all the rest and
# would hide it.
# shellcheck disable=SC2154 # variables of test/bench/run and test/lib.sh

# Contestants take turns: the one that a round begins with comes last in the next.
blob_contestants() {
    if (($1 % 2)); then echo "blob plain"; else echo "plain blob"; fi
}

# blob_turns SUBJECT AT COMMAND…: the command is told the contestant, and prints microseconds.
blob_turns() {
    local round contestant
    for ((round = 1; round <= blob_rounds; round++)); do
        for contestant in $(blob_contestants "$round"); do
            echo "\"$1\",$contestant,$2,$round,$("${@:3}" "$contestant")"
        done
    done | keep_measured
}

forget_blobs() {
    bench_psql -c "TRUNCATE kms.blob, kms.blob_chunk, plain_blob, plain_chunk" -c CHECKPOINT
}

# Of a log of pgbench. A turn's rate would be of who else had the processor, its median is not.
median_latency() {
    cut -d ' ' -f 3 | sort -n | awk '{ latency[NR] = $1 } END { print latency[int((NR + 1) / 2)] }'
}

# blob_pgbench SCRIPT CONTESTANT ARGUMENT…: microseconds that the script takes.
blob_pgbench() {
    local sealed=0
    [ "$2" = plain ] || sealed=1
    run_pgbench "$1" -M prepared -t "$blob_transactions" -D "sealed=$sealed" "${@:3}" | median_latency
}

put_and_get_64_kib() {
    forget_blobs
    blob_pgbench blob_small.sql "$1"
}

read_range() {
    local id
    case $1 in
    blob) id=$(bench_psql -At -c "SELECT id FROM kms.blob") ;;
    plain) id=$(bench_psql -At -c "SELECT nil()") ;;
    esac
    blob_pgbench blob_range.sql "$1" -D "id=$id" -D "middle=$((blob_pieces * 4194304))"
}

# microseconds_of COMMAND…
microseconds_of() {
    local began=${EPOCHREALTIME/./}
    "$@"
    echo $((${EPOCHREALTIME/./} - began))
}

# The plain chunks go in and out by COPY in its binary format, from a file that is made before.
make_blob_files() {
    head -c "$blob_bytes" /dev/urandom | as_server_user tee "$scratch/source" >/dev/null
    bench_psql -c "COPY (
        SELECT nil(), i, pg_read_binary_file('$scratch/source', i::bigint * 262144, 262144)
        FROM generate_series(0, $blob_bytes / 262144 - 1) AS i) TO '$scratch/rows' (FORMAT binary)"
}

blob_program() {
    as_server_user kms-blob "$@" -q -h "$scratch/socket" -p "$private_port" -U postgres -d bench
}

put_file() {
    forget_blobs
    case $1 in
    blob) microseconds_of put_through_program ;;
    plain) microseconds_of bench_psql -c "\\copy plain_chunk FROM '$scratch/rows' (FORMAT binary)" ;;
    esac
}

put_through_program() { blob_program put "$scratch/source" >"$scratch/id"; }

# What was put last.
get_file() {
    bench_psql -c CHECKPOINT
    case $1 in
    blob) microseconds_of get_through_program ;;
    plain) microseconds_of get_plain_file ;;
    esac
}

get_through_program() { blob_program get "$(cat "$scratch/id")" >"$scratch/got"; }

get_plain_file() {
    bench_psql -c "\\copy (SELECT d FROM plain_chunk WHERE id = nil() ORDER BY chunk) TO STDOUT (FORMAT binary)" \
        >"$scratch/got"
}

measure_blob_files() {
    local round contestant
    for ((round = 1; round <= blob_rounds; round++)); do
        for contestant in $(blob_contestants "$round"); do
            echo "\"blob put, kms-blob\",$contestant,$blob_bytes,$round,$(put_file "$contestant")"
            echo "\"blob get, kms-blob\",$contestant,$blob_bytes,$round,$(get_file "$contestant")"
        done
    done | keep_measured
}

measure_blobs() {
    local blob_bytes=$((blob_pieces * 8388608))
    force_to_disk off
    bench_psql -v "pieces=$blob_pieces" -v "rounds=$blob_rounds" <"$top/test/bench/blobs.sql"
    blob_turns "blob range" 4096 read_range
    bench_psql -v "blobs=$rewrapped_blobs" -v "reencrypted=$reencrypted_blobs" -v "rounds=$blob_rounds" \
        <"$top/test/bench/blob_rewrap.sql"
    make_blob_files
    measure_blob_files
    blob_turns "blob put+get" 65536 put_and_get_64_kib
}
