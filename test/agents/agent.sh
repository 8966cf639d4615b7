#!/bin/sh
# A key agent in POSIX shell: serves the files of the folder $1, each of them one raw key.
# What a shell cannot do: wipe a key from memory (so no key goes into a variable here) and bind a
# context to a ciphertext (so it offers neither encrypt nor decrypt: local mode only).
export LC_ALL=C
folder=$1
fail() { printf 'error %s %s %s\n%s' "$id" "${#2}" "$1" "$2"; }
get() {
    case $1 in '' | *[!A-Za-z0-9_-]*) fail invalid 'not an identifier of [A-Za-z0-9_-]+' && return ;; esac
    [ -f "$folder/$1" ] || { fail not-found 'there is no such key' && return; }
    [ -r "$folder/$1" ] || { fail denied 'the key cannot be read' && return; }
    printf 'ok %s %d\n' "$id" "$(wc -c < "$folder/$1")" && cat "$folder/$1"
}
hello() {
    case " $1 " in *' kms/1 '*) ;; *) fail unsupported 'this agent speaks kms/1' && exit 1 ;; esac
    printf 'ok %s 17 kms/1 get identify ping\nagent=agent.sh/1\n' "$id"
}
while read -r verb id length words; do # dash and bash read a pipe byte by byte, never too far
    case $id$length in *[!0-9]*) exit 1 ;; esac
    head -c "$length" > /dev/null # no verb served here needs its body
    case $verb in
        hello) hello "$words" ;;
        get) get "${words%% *}" ;;
        identify | ping) printf 'ok %s 0\n' "$id" ;;
        *) fail unsupported 'not served here' ;;
    esac
done
