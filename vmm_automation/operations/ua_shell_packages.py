"""The shell text about packages: what a guest has, what deliveries brought, and services that wait."""

from __future__ import annotations

PACKAGES = """
# All packages of this guest, "name version installed" in a line each.
list_packages() {
    if [ -f "$dpkg_status" ]; then
        dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\\n'
    else
        rpm -qa --queryformat '%{NAME} %{VERSION}-%{RELEASE} installed\\n'
    fi
}

# Whether one that $target/.vmm-packages names is not in the list $installed.
lacks_packages() {
    awk 'FILENAME == ARGV[1] { have[$0] = 1; next } !(($0 " installed") in have) { lacks = 1 }
        END { exit !lacks }' "$installed" "$target/.vmm-packages"
}

# Notes those that are about to come, before they are there: what is cut off is taken back as well.
note_packages() {
    if [ ! -e "$base_status" ] && [ -f "$dpkg_status" ]; then
        cp "$dpkg_status" "$base_status.new"
        mv -T "$base_status.new" "$base_status"
    fi
    {
        [ ! -f "$added" ] || cat "$added"
        awk 'FILENAME == ARGV[1] { if ($3 == "installed") have[$1] = 1; next }
            !($1 in have) { print $1 }' "$installed" "$target/.vmm-packages"
    } | sort -u >"$added.new"
    mv -T "$added.new" "$added"
}

# Services that packages bring run when a session starts them, not because they are there. What holds them
# back meanwhile is a link that has no effect after a reboot; a policy of the guest's own stays.
policy=/usr/sbin/policy-rc.d
holds=/run/vmm-ua.policy
hold_services() {
    if [ ! -e "$policy" ] && [ ! -L "$policy" ]; then ln -s "$holds" "$policy"; fi
    printf '#!/bin/sh\\ncase " $* " in *start*) exit 101 ;; esac\\n' >"$holds"
    chmod 0755 "$holds"
}
release_services() {
    if [ "$(readlink "$policy" || :)" = "$holds" ]; then rm -f "$policy"; fi
    rm -f "$holds"
}
# Nor at the next boot. Packages that were there before are left alone.
disable_services() {
    brought=$(awk 'FILENAME == ARGV[1] { ours[$1]; next } $1 in ours { print $1 }' \\
        "$added" "$target/.vmm-packages")
    # shellcheck disable=SC2086
    units=$(dpkg-query --listfiles $brought 2>/dev/null |
        sed -nE 's#^(/usr)?/lib/systemd/system/([^/@]+[.](service|socket|timer|path))$#\\2#p')
    # shellcheck disable=SC2086
    [ -z "$units" ] || systemctl disable --quiet $units >&2
}
# Runs what installs packages.
quietly() {
    hold_services
    "$@" >&2 || { release_services; return 1; }
    release_services
    disable_services
}
"""
