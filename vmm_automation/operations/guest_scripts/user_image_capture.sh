# Writes the declared paths that exist into one tar below the spool; prints how consistent it is, its size and its digest.
# Set by the caller besides: excludes (patterns, one a line), target (the tar, or /dev/null to only count).
trap '[ "$?" = 0 ] || rm -f "$target"' EXIT
[ "$target" = /dev/null ] || rm -f "$spool"/.vmm-user-image.*
cd "$home"

# What exists is decided with the account's rights too: root would see through a link that the account cannot follow.
archive() {
    printf '%s\n' "$excludes" | as_account sh -c '
        for path; do
            shift
            if [ -e "$path" ] || [ -L "$path" ]; then set -- "$@" "$path"; fi
        done
        exec tar --create --sort=name --format=posix \
            --pax-option="exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime" --numeric-owner \
            --xattrs --xattrs-include="user.*" --sparse --exclude-from=- --files-from=/dev/null --file=- -- "$@"
    ' sh "$@"
}

if [ "$target" = /dev/null ]; then
    archive "$@" | tar --list --file=- | wc -l
    exit 0
fi
consistency=stopped
[ -z "$(processes)" ] || consistency=live
# Status 1 is tar's word for "a file changed while I read it"; a second look settles what was a passing write.
status=0
archive "$@" >"$target" || status=$?
if [ "$status" = 1 ]; then
    status=0
    archive "$@" >"$target" || status=$?
    [ "$status" != 1 ] || consistency=live status=0
fi
[ "$status" = 0 ] || exit "$status"
[ -z "$(processes)" ] || consistency=live
digest=$(sha256sum <"$target")
printf 'consistency %s\nsize %s\nsha256 %s\n' "$consistency" "$(stat -c %s "$target")" "${digest%% *}"
