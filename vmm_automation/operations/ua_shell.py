"""The shell text of UA deliveries: functions and steps, put together by ``ua_scripts.py``.

A script reports on stdout in lines of tab-separated words that start with ``vmm``: ``step`` (what it is
about to do), ``did`` (what it changed) and ``refused`` (why it stopped, with status 75). Whatever it is
interrupted at, running it again finishes the work: what counts is put in place by renames, and names with
a leading dot are never taken for delivered versions.

Layout in the guest::

    /opt/vmm/ua/<ua>/<version>/     a bundle's content and .vmm-digest, which says that it is whole
    /opt/vmm/ua/<ua>/current        link to the active version
    /opt/vmm/packages.added         packages that deliveries brought
    /opt/vmm/dpkg-status.base       the package list before the first of them
    /etc/systemd/system/vmm-ua-<ua>.service
"""

from __future__ import annotations

PRELUDE = """\
set -eu
umask 022
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
added=/opt/vmm/packages.added
base_status=/opt/vmm/dpkg-status.base
dpkg_status=/var/lib/dpkg/status
installed=/run/vmm-ua.installed
say() { printf 'vmm\\t%s\\t%s\\n' "$1" "$2"; }
refuse() { say refused "$1"; exit 75; }
drain() { :; }

# The first line of file $1; nothing where it is not there.
line_of() { line=; [ ! -f "$1" ] || read -r line <"$1" || :; }

# The version that is active. Here and below: in an emulated guest, each program that is not started counts.
current_of() { line=; [ ! -L "$home/current" ] || line=$(readlink "$home/current" 2>/dev/null || :); }

# Packages that a delivery brought and that no version on this guest needs any more, one per line.
orphans() {
    [ -s "$added" ] || return 0
    cat "$root"/*/*/.vmm-packages 2>/dev/null | awk -v added="$added" '
        { needed[$1] = 1 }
        END { while ((getline name < added) > 0) if (!(name in needed)) print name }'
}
"""

LOCK = """
exec 9>/run/vmm-ua.lock
flock -w 120 9 || refuse busy
"""

DELIVER = """
deliver() {
    say step unpack
    require_room
    staging=$home/.staging-$version
    kept=$home/.old-$version
    for left in "$home"/.staging-* "$home"/.old-*; do
        [ -e "$left" ] || continue
        # What a probe may have to return to stays until it was decided.
        if [ "$left" != "$kept" ] || [ ! -e "$home/.probing" ]; then rm -rf "$left"; fi
    done
    mkdir -p "$staging"
    # A disk that is full stays as full as it was.
    trap 'rm -rf "$staging" "$incoming"; drain' EXIT
    unpacked >"$staging/.tar"
    sum=$(sha256sum "$staging/.tar")
    [ "${sum%% *}" = "$digest" ] || refuse altered
    tar -x --no-same-owner -f "$staging/.tar" -C "$staging"
    rm -f "$staging/.tar"
    # shellcheck source=/dev/null
    [ ! -f "$staging/.vmm-deliver" ] || . "$staging/.vmm-deliver"
    say step keep
    echo "$digest" >"$staging/.vmm-digest"
    sync -f "$staging"
    if [ -e "$kept" ]; then rm -rf "$target"; fi
    [ ! -e "$target" ] || mv -T "$target" "$kept"
    mv -T "$staging" "$target"
    trap - EXIT
    if [ -e "$kept" ] && [ ! -e "$home/.probing" ]; then rm -rf "$kept"; fi
    for left in /root/.vmm-incoming-"$ua"@*; do
        [ ! -e "$left" ] || rm -rf "$left"
    done
    say did deliver
}
"""

FROM_FILE = """
require_room() { :; }
unpacked() { gzip -dc "$incoming"; }
"""

# The bundle is this script's input. It is read to its end whatever happens, or who sends it would see a
# connection that broke.
FROM_INPUT = """
drain() { cat >/dev/null || :; }
trap drain EXIT
unpacked() { gzip -dc; }
require_room() {
    df -Pk /opt | {
        read -r _
        read -r _ _ _ free _
        [ "$free" -lt "$room" ] || exit 0
        echo "it needs $((room >> 10)) MiB free on the guest's disk and there are $((free >> 10)) MiB" >&2
        exit 1
    } || refuse space
}
"""

ACTIVATE = """
activate() {
    # shellcheck source=/dev/null
    [ ! -f "$target/.vmm-install" ] || . "$target/.vmm-install"
    say step unit
    same=no
    [ ! -f "$unit_file" ] || ! cmp -s "$target/.vmm-unit" "$unit_file" 2>/dev/null || same=yes
    if [ -f "$target/.vmm-unit" ] && [ "$same" = no ]; then
        # A new unit is read when it is first asked for; all units are, only where systemd may know this one.
        [ ! -f "$unit_file" ] || : >"$home/.reload"
        cp "$target/.vmm-unit" "$unit_file.new"
        mv -T "$unit_file.new" "$unit_file"
        say did install_unit
    elif [ ! -f "$target/.vmm-unit" ] && [ -f "$unit_file" ]; then
        : >"$home/.reload"
        rm -f "$unit_file"
        say did remove_unit
    fi
    [ ! -e "$home/.reload" ] || reload_units
    say step switch
    current_of
    if [ "$line" != "$version" ]; then
        ln -sfn "$version" "$home/.current"
        mv -T "$home/.current" "$home/current"
        say did switch
    fi
}
"""

ASK = """
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
installed=$scratch/installed
list_packages >"$installed"
"""

INSTALL = """
forget_trial
line_of "$target/.vmm-digest"
present=$line
current_of
[ -z "$line" ] || say was "$line"
[ "$line" != "$version" ] || activate=yes
again=no
if [ "$activate" = yes ] && { [ "$present" != "$digest" ] || [ "$line" != "$version" ]; }; then
    # Nothing is changed below a running service.
    if [ -n "$line" ] && running; then again=yes; fi
    [ "$probe" = none ] || mark_probe
    [ "$again" = no ] || stop_service
fi
[ "$present" = "$digest" ] || deliver
if [ "$activate" = yes ]; then
    activate
    prove_or_start
fi
"""

SWITCH = """
forget_trial
line_of "$target/.vmm-digest"
[ -n "$line" ] || refuse absent
current_of
[ -z "$line" ] || say was "$line"
again=no
if [ "$line" != "$version" ]; then
    if [ -n "$line" ] && running; then again=yes; fi
    [ "$probe" = none ] || mark_probe
    [ "$again" = no ] || stop_service
fi
activate
prove_or_start
"""

DEACTIVATE = """
current_of
if [ -n "$line" ]; then
    if running; then stop_service; fi
    say step deactivate
    if [ -f "$unit_file" ]; then
        : >"$home/.reload"
        rm -f "$unit_file"
        say did remove_unit
    fi
    rm -f "$home/current" "$home/.probing"
    say did deactivate
fi
[ ! -e "$home/.reload" ] || reload_units
"""

START = """
forget_trial
line_of "$target/.vmm-digest"
[ -n "$line" ] || refuse absent
current_of
if running; then
    [ "$line" = "$version" ] || refuse running
    exit 0
fi
[ "$line" = "$version" ] || activate
[ ! -e "$home/.reload" ] || reload_units
[ -f "$unit_file" ] || refuse toolonly
start_service
"""

STOP = """
if [ -f "$unit_file" ]; then
    case $(systemctl is-active "$unit" || :) in
        inactive | unknown) ;;
        failed) say step reset; systemctl reset-failed "$unit"; say did reset ;;
        *) stop_service ;;
    esac
fi
"""

REMOVE = """
current_of
active=$line
unfinished=
for left in "$home"/.staging-* "$home"/.old-* "$home/.reload" "$home/.probing"; do
    [ ! -e "$left" ] || unfinished=yes
done
for version in $versions; do
    if [ "$version" = "$active" ]; then
        ! running || refuse running
        say step deactivate
        if [ -f "$unit_file" ]; then
            : >"$home/.reload"
            rm -f "$unit_file"
            say did remove_unit
        fi
        rm -f "$home/current"
    fi
    if [ -e "$home/$version" ]; then
        say step remove
        rm -rf "$home/.old-$version"
        mv -T "$home/$version" "$home/.old-$version"
        say did "remove $version"
    fi
done
[ ! -e "$home/.reload" ] || reload_units
rm -rf "$home"/.staging-* "$home"/.old-* "$home/.current" "$home/.probing" /root/.vmm-incoming-"$ua"@*
[ -z "$unfinished" ] || say did remove_unfinished
say step packages
gone=$(orphans)
if [ -n "$gone" ]; then
    # shellcheck disable=SC2086
    if [ -f "$dpkg_status" ]; then dpkg --purge $gone >&2; else rpm --erase $gone >&2; fi
    say did purge_packages
fi
if [ -f "$added" ]; then
    say step record
    cat "$root"/*/*/.vmm-packages 2>/dev/null | awk '{ print $1 }' | sort -u >"$added.needed"
    { grep -Fx -f "$added.needed" "$added" || :; } >"$added.new"
    rm -f "$added.needed"
    if [ -s "$added.new" ]; then
        mv -T "$added.new" "$added"
    else
        rm -f "$added.new" "$added" "$base_status"
    fi
fi
rmdir "$home" "$root" /opt/vmm 2>/dev/null || :
"""
