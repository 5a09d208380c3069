# What the files of an archive looked like when it was made or unpacked: by that a later capture knows what has changed.
# A stamp is device, inode, size, both times and mode of a member. Nobody but root can set the time of an inode, so that
# equal stamps mean equal content; a file that was written twice within one tick of the clock is the exception, and what
# was that young at the time never counts as unchanged. Stamps are kept by the archive's name, and never leave the guest.
# Set by the caller besides: excludes, tag, base.
work=$spool/.vmm-user-image.$id.stamps
stamps=$spool/.vmm-user-image-stamps.
tick_s=0.05 # several ticks

# tar with options, of those of the paths that exist, without named pipes: like sockets, which tar itself passes over, they
# hold no data. What exists is decided with the account's rights too: root would see through a link that the account cannot
# follow. What lies below a directory that the account cannot enter is not absent: it fails this.
members() {
    options="$1 --exclude-from=- --files-from=/dev/null"
    shift
    # shellcheck disable=SC2016 # the inner shell's
    printf '%s\n' "$excludes" | as_account env options="$options" sh -fc '
        require_entry() {
            above=$1
            while [ "$above" != . ]; do
                case $above in */*) above=${above%/*} ;; *) above=. ;; esac
                if [ "$above" != . ] && { [ -L "$above" ] || [ ! -d "$above" ]; }; then continue; fi
                if [ ! -x "$above" ]; then
                    echo "tar: $above: Cannot enter: Permission denied" >&2
                    exit 2
                fi
            done
        }
        for path; do
            shift
            if [ -e "$path" ] || [ -L "$path" ]; then set -- "$@" "$path"; else require_entry "$path"; fi
        done
        newline="
"
        pipes=$([ "$#" = 0 ] || find "$@" -type p ! -path "*$newline*" -printf "--exclude=%p\n" 2>/dev/null)
        set -- $options -- "$@"
        IFS=$newline
        exec tar --create --sort=name --anchored --no-wildcards $pipes --no-anchored --wildcards "$@"
    ' sh "$@"
}

# The stamps of all members. Names are lines: one with a line break is not found, which fails this, or is no path of the
# manifest. A program that writes through memory changes no time while its page is dirty: after the sync it does.
scan() {
    [ -n "$tag" ] || { [ -n "$base" ] && [ -e "$stamps$base" ]; } || return 1
    case $(stat -f -c %T .) in ext2/ext3 | xfs | btrfs) ;; *) return 1 ;; esac
    sync -f . || return 1
    date +%s.%N >"$work.began"
    members '--verbose --quoting-style=literal --file=/dev/null' "$@" | tr '\n' '\0' |
        as_account xargs -0 -r stat --printf='%d %i %s %.9Y %.9Z %f %n\n' -- >"$work.found" || return 1
    sort "$work.found" >"$work.now"
}

# What is another since the archive 'base': lines of 'changed'; what is the same: 'kept', as in the manifest.
compare() {
    [ -n "$base" ] && [ -e "$stamps$base" ] || return 1
    comm -23 "$work.now" "$stamps$base" | cut -d' ' -f7- >"$work.changed"
    comm -12 "$work.now" "$stamps$base" | awk '{
        kind = substr($6, 1, 1); size = kind == "4" ? 0 : $3
        print kind, size, $4, substr($0, length($1 $2 $3 $4 $5 $6) + 7)
    }' | sort >"$work.kept"
}

tell_changes() {
    kept=$(sha256sum <"$work.kept")
    for names in now "$base"; do
        file=$work.now
        [ "$names" = now ] || file=$stamps$base
        cut -d' ' -f7- "$file" | sort >"$work.names.$names"
    done
    printf 'kept %s\nremoved %s\n' "${kept%% *}" \
        "$(comm -13 "$work.names.now" "$work.names.$base" | tr '\n' '\0' | base64 -w0)"
}

# Keep the stamps of 'tag', and those of 'base', in case what was taken now does not become a generation.
keep_stamps() {
    [ -n "$tag" ] || return 0
    for file in "$stamps"*; do
        [ "$file" = "$stamps$base" ] || [ ! -e "$file" ] || rm -f "$file"
    done
    [ -e "$work.now" ] || return 0
    read -r began <"$work.began"
    # shellcheck disable=SC2016 # awk's
    awk -v began="$began" -v tick="$tick_s" '$5 >= began - tick { sub(/^[^ ]*/, "?") } { print }' \
        "$work.now" | sort >"$work.stamps" && mv "$work.stamps" "$stamps$tag"
}
