# Mounts the user's disk and binds the home on it over the account's; no change if both is done.
# Set by the caller besides: volume (where it is mounted), volume_home (the home on it), serial (of the disk).
# Programs take long to start in an emulated guest: what the shell can do, it does.
is_mounted() {
    while read -r _ place _; do
        [ "$place" != "$1" ] || return 0
    done </proc/mounts
    return 1
}
if ! is_mounted "$volume"; then
    [ -d "$volume" ] || install -d -m 0711 "${volume%/*}" "$volume"
    device='' waited=0
    while [ -z "$device" ]; do
        for each in /sys/block/vd*; do
            read -r found 2>/dev/null <"$each/serial" || true
            [ "$found" != "$serial" ] || device=/dev/${each##*/}
        done
        [ -z "$device" ] || break
        waited=$((waited + 1))
        [ "$waited" -lt 400 ] || { echo "the user's disk did not appear" >&2; exit 4; }
        sleep 0.02
    done
    # A user may have programs of the own there, as in any home; what gives more rights than the user has is off.
    mount -t ext4 -o nosuid,nodev,noatime "$device" "$volume"
fi
if [ ! -e "$volume_home" ]; then
    chmod 0711 "$volume"
    mkdir -m 0700 "$volume_home"
    chown "$uid:$gid" "$volume_home"
fi
# It may come from a VM where a user became root, or where the account has another number.
if [ -L "$volume_home" ] || [ "$(stat -c '%u:%g:%F' "$volume_home")" != "$uid:$gid:directory" ]; then
    echo "the home on the user's disk is not of this VM's account" >&2
    exit 7
fi
if ! is_mounted "$home"; then
    set --
    for each in "$skeleton"/.[!.]* "$skeleton"/*; do
        if exists "$each" && ! exists "$volume_home/${each##*/}"; then set -- "$@" "$each"; fi
    done
    [ $# = 0 ] || as_account cp -r --preserve=mode,timestamps -- "$@" "$volume_home"
    mount --bind "$volume_home" "$home"
fi
