# Read before each user image script. Set by the caller: account, home, spool (only root may write there),
# skeleton, id; "$@" are the paths below the home that move as one, sorted.
set -eu
umask 077
export LC_ALL=C
ids=$(id "$account")
uid=${ids#uid=} gid=${ids#* gid=}
uid=${uid%%[( ]*} gid=${gid%%[( ]*}
stages=${home%/*}/.vmm-stage-

# As the account, and with no way back to root: what a user made is read and written with that user's rights only.
as_account() {
    setpriv --reuid="$uid" --regid="$gid" --init-groups --no-new-privs "$@"
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
