# shellcheck shell=bash
# What check, demo, bench and soak share: finding PostgreSQL, leaving root, a private server.
# Sourced; sets `top`, the folder of the project.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The path of a user who may be root by sudo has no programs of root's.
export PATH=$PATH:/usr/sbin:/sbin
: "${JOBS:=$(nproc)}"

# Every private server has a socket folder of its own, so one port serves for all.
private_port=54329

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

is_root() { [ "$(id -u)" -eq 0 ]; }

as_root() {
    if is_root; then
        "$@"
    else
        sudo -n "$@"
    fi
}

can_be_root() { is_root || sudo -n true 2>/dev/null; }

# Sets pg_config and bindir. Call it once the packages are there.
find_postgresql() {
    pg_config=$(command -v "${PG_CONFIG:-pg_config}") || die "no pg_config: set PG_CONFIG"
    bindir=$("$pg_config" --bindir)
}

# PostgreSQL refuses to run as root: servers, and tests, then run as postgres.
choose_server_user() {
    if is_root; then
        server_user=postgres
    else
        server_user=$(id -un)
    fi
    server_group=$(id -gn "$server_user")
    server_home=$(getent passwd "$server_user" | cut -d: -f6)
}

# Runs a command as the server's user, in a small environment: NAME=VALUE… COMMAND ARGUMENT…
as_server_user() {
    local -a leave_root=()
    if is_root; then
        leave_root=(setpriv "--reuid=$server_user" "--regid=$server_group" --init-groups)
    fi
    "${leave_root[@]}" env -i "PATH=$bindir:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" \
        "HOME=$server_home" "USER=$server_user" "LOGNAME=$server_user" LC_ALL=C.UTF-8 "$@"
}

# A new folder that the server's user owns; others may look into it.
make_scratch() {
    local folder
    folder=$(mktemp -d "/tmp/$1.XXXXXX")
    chmod 755 "$folder"
    chown "$server_user:$server_group" "$folder"
    echo "$folder"
}

# What belongs to the project, without what was built in the folder build/.
tree_as_tar() {
    tar -C "$top" --exclude=./.git --exclude=./build --exclude='*.o' --exclude='*.d' -cf - .
}

# copy_sources FOLDER COMMAND…: by that command, such as as_root. Objects of the last time stay, so
# that what has changed is built again and no more.
copy_sources() {
    local folder=$1
    shift
    "$@" mkdir -p "$folder/build"
    "$@" find "$folder" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
    tree_as_tar | "$@" tar -C "$folder" -xf -
}

build_and_install() {
    make -s -C "$top" "-j$JOBS" all "PG_CONFIG=$pg_config" || return
    local installing=(make -s -C "$top" install "PG_CONFIG=$pg_config")
    if [ -w "$bindir" ] && [ -w "$("$pg_config" --pkglibdir)" ]; then
        "${installing[@]}"
    else
        as_root "${installing[@]}"
    fi
}

# start_server FOLDER: a new cluster in FOLDER/data, reached by FOLDER/socket, logging to FOLDER/log.
# More lines of postgresql.conf are read from standard input.
start_server() {
    local folder=$1
    # Whoever reaches the socket is trusted.
    as_server_user install -d -m 700 "$folder/socket"
    as_server_user initdb -D "$folder/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync \
        >/dev/null
    {
        echo "port = $private_port"
        echo "listen_addresses = ''"
        echo "unix_socket_directories = '$folder/socket'"
        echo "fsync = off"
        cat
    } | as_server_user tee -a "$folder/data/postgresql.conf" >/dev/null
    as_server_user pg_ctl -D "$folder/data" -l "$folder/log" -w start </dev/null >/dev/null ||
        die "the private server did not start: $(tail -n 5 "$folder/log")"
}

# One that was killed has left its postmaster.pid behind.
stop_server() {
    ! as_server_user pg_ctl -D "$1/data" status >/dev/null 2>&1 ||
        as_server_user pg_ctl -D "$1/data" -m "${2:-fast}" -w stop </dev/null >/dev/null
}

# server_psql FOLDER ARGUMENT…
server_psql() {
    local folder=$1
    shift
    as_server_user psql -X -q -v ON_ERROR_STOP=1 -h "$folder/socket" -p "$private_port" -U postgres "$@"
}
