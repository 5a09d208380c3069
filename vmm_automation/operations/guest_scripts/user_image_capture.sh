# Writes the declared paths that exist into one tar below the spool; prints how consistent it is, its size and its digest.
# Where the guest knows what has changed since an earlier archive, only that is in the tar; see user_image_stamps.sh.
# Set by the caller besides: excludes (patterns, one a line), target (the tar, or /dev/null to only count), freeze_s,
# functions 'freeze_hook' and 'thaw_hook', freezing ('none', 'signal' or 'hook'), tag (the name that the archive will
# have, empty for none), base (that of the archive before it, empty for all of the content), max_bytes and max_paths (the
# cap), largest (how many paths are told where it is exceeded), and named (how many of those that hold no data).
frozen='' alarm='' partial=''
trap 'status=$?; (thaw) || true; rm -f "$work".*; [ "$status" = 0 ] || rm -f "$target"' EXIT
trap 'exit 129' HUP INT TERM
[ "$target" = /dev/null ] || rm -f "$spool"/.vmm-user-image.*
cd "$home"

content='--format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime --numeric-owner --xattrs
    --xattrs-include=user.* --sparse --quoting-style=literal --file=-'

take() {
    if [ -n "$partial" ]; then
        # shellcheck disable=SC2016 # the inner shell's
        sort "$work.changed" | tr '\n' '\0' | as_account env content="$content" sh -fc \
            'exec tar --create $content --no-recursion --null --verbatim-files-from --files-from=-'
    else
        members "$content" "$@"
    fi
}

# Ends with status 8 where the content is beyond the cap: nothing is archived then, and the largest paths are told. A name
# with a line break is not measured, but the controller counts again and has the last word.
require_within() {
    [ -n "$measured" ] || return 0
    bytes=${measured#bytes } paths=${measured##* }
    bytes=${bytes%%[!0-9]*}
    if [ "$bytes" -le "$max_bytes" ] && [ "$paths" -le "$max_paths" ]; then return 0; fi
    # shellcheck disable=SC2016 # awk's
    printf '%s\nlargest %s\n' "$measured" "$(awk '$6 ~ /^f/ {
        print $3, substr($0, length($1 $2 $3 $4 $5 $6) + 9)
    }' "$work.now" | sort -rn | head -n "$largest" | tr '\n' '\0' | base64 -w0)"
    exit 8
}

# One call of the account itself reaches all of its processes at once, as many as there are.
signal_all() {
    as_account sh -c "kill -$1 -1" 2>/dev/null || true
}

# Processes of the account that do not stand still, a line each.
moving() {
    for status in $(grep -lsE "^Uid:(.*[[:space:]])?$uid([[:space:]]|\$)" /proc/[0-9]*/status); do
        grep -qsE '^State:[[:space:]]*[ZXTt]' "$status" && continue
        [ -e "$status" ] || continue
        echo "$status"
    done
}

# Makes the account's processes stand still. Should this script be killed, a process of root lets them go on in time.
freeze() {
    if [ "$freezing" = hook ]; then
        frozen=hook
        freeze_hook
        return
    fi
    frozen=signal
    # shellcheck disable=SC2016 # the inner shell's
    setsid sh -c 'sleep "$1"; shift; exec "$@"' sh "$freeze_s" setpriv --reuid="$uid" --regid="$gid" --init-groups \
        sh -c 'kill -CONT -1' </dev/null >/dev/null 2>&1 &
    alarm=$!
    signal_all STOP
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -n "$(moving)" ] || return 0
        sleep 0.1
    done
}

thaw() {
    case $frozen in
        signal)
            signal_all CONT
            kill -KILL -"$alarm" 2>/dev/null || true
            ;;
        hook)
            frozen=''
            thaw_hook
            ;;
    esac
    frozen=''
}

if [ "$target" = /dev/null ]; then
    members "$content" "$@" | tar --list --file=- | wc -l
    exit 0
fi
consistency=stopped
if [ -n "$(processes)" ]; then
    consistency=live
    [ "$freezing" = none ] || freeze
    [ "$frozen" != hook ] || consistency=frozen
    [ "$frozen" != signal ] || [ -n "$(moving)" ] || consistency=frozen
fi
measured=''
if scan "$@" && measured=$(compare); then
    [ "$before" = /dev/null ] || partial=yes
else
    measured=''
    rm -f "$work.stamps" # of some members only
fi
require_within
# Status 1 is tar's word for "a file changed while I read it"; a second look settles what was a passing write.
status=0
take "$@" >"$target" || status=$?
if [ -n "$partial" ] && [ "$status" -gt 1 ]; then partial='' status=1; fi # what had changed is gone meanwhile
if [ "$status" = 1 ]; then
    status=0
    take "$@" >"$target" || status=$?
    [ "$status" != 1 ] || consistency=live status=0
fi
[ "$status" = 0 ] || exit "$status"
# Who began to move meanwhile may have written.
case $consistency in
    stopped) [ -z "$(processes)" ] || consistency=live ;;
    frozen) [ "$frozen" = hook ] || [ -z "$(moving)" ] || consistency=live ;;
esac
thaw
keep_stamps || true
[ -z "$partial" ] || tell_changes
[ ! -s "$work.omitted" ] || printf 'omitted %s\n' "$(head -n "$named" "$work.omitted" | tr '\n' '\0' | base64 -w0)"
digest=$(sha256sum <"$target")
printf 'consistency %s\nsize %s\nsha256 %s\n' "$consistency" "$(stat -c %s "$target")" "${digest%% *}"
