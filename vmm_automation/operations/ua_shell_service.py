"""The shell text about a UA's service: whether it runs, stop, start and wait until it listens."""

from __future__ import annotations

SERVICE = """
running() {
    case $(systemctl is-active "$unit" || :) in
        active | activating | reloading | deactivating) return 0 ;;
        *) return 1 ;;
    esac
}

stop_service() {
    say step stop
    systemctl stop "$unit"
    say did stop
}

# systemd forgets a unit file that was changed between two runs unless it is told: the mark outlives an
# interruption.
reload_units() {
    say step reload
    systemctl daemon-reload
    rm -f "$home/.reload"
}

# Whether any process of the unit runs.
populated() {
    procs=/sys/fs/cgroup/system.slice/$unit/cgroup.procs
    [ -f "$procs" ] && { read -r _ <"$procs"; } 2>/dev/null
}

# Whether TCP port $1 (hexadecimal) is listened on. The shell reads by itself: in an emulated guest, programs
# that are started ten times a second take processor time from the service that is awaited.
listened_on() {
    for table in /proc/net/tcp /proc/net/tcp6; do
        [ -r "$table" ] || continue
        while read -r _ address _ state _; do
            [ "${address##*:} $state" != "$1 0A" ] || return 0
        done <"$table"
    done
    return 1
}

# What the unit wrote since this script began to start it.
show_journal() {
    read -r now _ </proc/uptime
    since=-$((${now%.*} - began + 1))s
    bound=$(systemctl show --property BindsTo --value "$unit" || :)
    set -- --unit "$unit" ${bound:+--unit "$bound"} --since "$since"
    journalctl "$@" --lines 20 --output cat --no-pager --quiet >&2 || :
}

# Starts the unit and waits until every port of $ports (hexadecimal) is listened on, or the unit has ended.
launch_service() {
    say step start
    read -r now _ </proc/uptime
    began=${now%.*}
    systemctl start "$unit" || { show_journal; exit 1; }
    say step listen
    for port in $ports; do
        until listened_on "$port"; do
            if ! populated; then
                show_journal
                refuse ended
            fi
            read -r now _ </proc/uptime
            if [ "${now%.*}" -ge "$((began + deadline))" ]; then
                show_journal
                systemctl stop "$unit" || :
                refuse deadline
            fi
            sleep 0.1
        done
    done
}

# Starts the unit and says so.
start_service() {
    launch_service
    say did start
}
"""
