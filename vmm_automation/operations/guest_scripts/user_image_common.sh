# Read before each user image script. Set by the caller: account, home, spool (only root may write there),
# skeleton, id; "$@" are the paths below the home that move as one, sorted.
set -eu
umask 077
export LC_ALL=C
# Starting a program is what costs time in an emulated guest: here and below, what the shell can do it does itself.
while IFS=: read -r name _ uid gid _ && [ "$name" != "$account" ]; do :; done </etc/passwd
[ "$name" = "$account" ] || { echo "there is no account '$account'" >&2; exit 4; }
stages=${home%/*}/.vmm-stage-

# As the account, and with no way back to root: what a user made is read and written with that user's rights only.
as_account() {
    setpriv --reuid="$uid" --regid="$gid" --init-groups --no-new-privs "$@"
}

# A command of the UA's definition: $1 its name, $2 seconds that it may take, $3 the home that it sees, $4 shell text.
# Through a file, because what it leaves running would keep our own output open. The last line of ours says how it ended.
hook() {
    status=0
    said=$spool/.vmm-user-image.$id.hook
    as_account env -i HOME="$3" USER="$account" PATH="$PATH" LANG=C.UTF-8 \
        timeout -k 5 "$2" sh -c "cd && exec $4" </dev/null >"$said" 2>&1 || status=$?
    [ "$status" = 0 ] || tail -c 2000 "$said" >&2
    rm -f "$said"
    case $status in
        0) return 0 ;;
        124 | 137) echo "its $1 did not end within $2 s" >&2 ;;
        *) echo "its $1 ended with status $status" >&2 ;;
    esac
    exit 6
}

# Processes of the account that still run, a line each; those that are dead and wait for their parent do not count.
processes() {
    for status in $(grep -lsE "^Uid:(.*[[:space:]])?$uid([[:space:]]|\$)" /proc/[0-9]*/status); do
        grep -qsE '^State:[[:space:]]*[ZX]' "$status" && continue
        [ -e "$status" ] || continue
        echo "process ${status#/proc/} $(sed -n 's/^Name:[[:space:]]*//p' "$status" 2>/dev/null || true)"
    done
}

exists() {
    [ -e "$1" ] || [ -L "$1" ]
}
