# What the files of an archive looked like when it was made or unpacked: by that a later capture knows what has changed.
# A stamp is device, inode, size, both times, kind and mode of a member. Nobody but root can set the time of an inode, so that
# equal stamps mean equal content; a file that was written twice within one tick of the clock is the exception, and what
# was that young at the time never counts as unchanged. Stamps are kept by the archive's name, and never leave the guest.
# Set by the caller besides: excludes, tag, base.
work=$spool/.vmm-user-image.$id.stamps
stamps=$spool/.vmm-user-image-stamps.
tick_s=0.05 # several ticks

# The paths of "$@" that exist, for a shell that runs as the account. What exists is decided with the account's rights too:
# root would see through a link that the account cannot follow. What lies below a directory that the account cannot enter
# is not absent: it fails this.
# shellcheck disable=SC2016 # the inner shell's
existing='
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
'

# tar with options, of those of the paths that exist, without named pipes: like sockets, which tar itself passes over, they
# hold no data.
members() {
    options="$1 --exclude-from=- --files-from=/dev/null"
    shift
    # shellcheck disable=SC2016 # the inner shell's
    printf '%s\n' "$excludes" | as_account env options="$options" sh -fc "$existing"'
        pipes=$([ "$#" = 0 ] || find "$@" -type p ! -path "*$newline*" -printf "--exclude=%p\n" 2>/dev/null)
        set -- $options -- "$@"
        IFS=$newline
        exec tar --create --sort=name --anchored --no-wildcards $pipes --no-anchored --wildcards "$@"
    ' sh "$@"
}

# The stamps of the same members, and of pipes and sockets, a line each, in $work.now; $before are those of 'base'. Names are
# lines: one with a line break fails the comparison. A program that writes through memory changes no time while its page is
# dirty: so what is stamped to be compared with later is synced first.
scan() {
    stamped='' before=/dev/null
    [ -z "$base" ] || [ ! -e "$stamps$base" ] || before=$stamps$base
    if [ -n "$tag" ]; then
        case $(stat -f -c %T .) in ext2/ext3 | xfs | btrfs) stamped=yes ;; esac
        [ -z "$stamped" ] || sync -f . || return 1
    fi
    began=$(date +%s.%N)
    # shellcheck disable=SC2016 # the inner shell's
    as_account env excludes="$excludes" sh -fc "$existing"'
        [ "$#" != 0 ] || exit 0
        for path; do
            shift
            set -- "$@" "./$path"
        done
        IFS=$newline
        for pattern in $excludes; do
            set -- "$@" -path "*/$pattern" -prune -o -path "*/$pattern/*" -prune -o
        done
        exec find "$@" -path "*$newline*" -printf "!\n" -quit -o -printf "%D %i %s %T@ %C@ %y%m %p\n"
    ' sh "$@" >"$work.now" 2>/dev/null || { rm -f "$work.now"; return 1; }
}

# What is another since the archive 'base': lines of 'changed' and 'removed'; what is the same: 'kept', as in the manifest.
# Without stamps of it all is 'changed'. Pipes and sockets are 'omitted'. Prints 'bytes' and 'paths' of what there is.
compare() {
    for list in changed removed kept stamps omitted; do : >"$work.$list"; done
    # shellcheck disable=SC2016 # awk's
    awk -v to="$work" -v began="$began" -v tick="$tick_s" '
        function name() { return substr($0, length($1 $2 $3 $4 $5 $6) + 9) }
        FILENAME == ARGV[1] { was[$0]; gone[name()]; next }
        $1 == "!" { broken = 1; exit 1 }
        {
            kind = substr($6, 1, 1)
            if (kind == "p" || kind == "s") { print kind, name() >(to ".omitted"); next }
            delete gone[name()]
            paths++
            if (kind == "f") bytes += $3
            if ($0 in was && $4 !~ /^-/)
                print (kind == "f" ? 8 : kind == "d" ? 4 : "a"), (kind == "d" ? 0 : $3), substr($4, 1, length($4) - 1), \
                    name() (kind == "d" ? "/" : "") >(to ".kept")
            else
                print name() >(to ".changed")
            if ($5 >= began - tick) sub(/^[^ ]*/, "?")
            print >(to ".stamps")
        }
        END {
            if (broken) exit 1
            for (each in gone) print each >(to ".removed")
            printf "bytes %.0f\npaths %.0f\n", bytes, paths
        }' "$before" "$work.now"
}

tell_changes() {
    kept=$(sort "$work.kept" | sha256sum)
    printf 'kept %s\nremoved %s\n' "${kept%% *}" "$(tr '\n' '\0' <"$work.removed" | base64 -w0)"
}

# Keep the stamps of 'tag', and those of 'base', in case what was taken now does not become a generation.
keep_stamps() {
    [ -n "$tag" ] || return 0
    for file in "$stamps"*; do
        [ "$file" = "$stamps$base" ] || [ ! -e "$file" ] || rm -f "$file"
    done
    [ -z "$stamped" ] || [ ! -e "$work.stamps" ] || mv "$work.stamps" "$stamps$tag"
}
