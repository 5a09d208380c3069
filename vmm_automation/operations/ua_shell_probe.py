"""The shell text of probes: what must hold after an activation, and the way back where it does not.

``<ua>/.probing`` says that an activation was begun and its probe not decided yet; in it are the version that
was active before (``-`` for none) and whether its service ran. Whatever a run is interrupted at, the next one
finds it and decides. A service that did not run is tried out in an empty home of its own: a file of its unit
below ``/run`` says so.
"""

from __future__ import annotations

PROBE = """
trial=/run/systemd/system/$unit.d
trial_home=/run/vmm-ua-probe

mark_probe() {
    [ ! -e "$home/.probing" ] || return 0
    mkdir -p "$home"
    echo "${line:--} $again" >"$home/.probing.new"
    mv -T "$home/.probing.new" "$home/.probing"
}

begin_trial() {
    mkdir -p "$trial"
    {
        echo '[Service]'
        echo "TemporaryFileSystem=/home/session:mode=0700,uid=$(id -u session),gid=$(id -g session)"
    } >"$trial/probe.conf"
    systemctl daemon-reload
    launch_service
}

forget_trial() {
    [ -e "$trial" ] || return 0
    systemctl stop "$unit" || :
    rm -rf "$trial"
    systemctl daemon-reload
}

answers() {
    timeout 10 bash -c '
        exec 3<>"/dev/tcp/127.0.0.1/$0" || exit 1
        printf "GET %s HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n" "$1" >&3
        read -r _ status _ <&3
        case $status in
            [23][0-9][0-9]) exit 0 ;;
            *) echo "$1 on port $0 answered ${status:-nothing}" >&2; exit 1 ;;
        esac' "$probe_port" "$probe_path"
}

ends_well() {
    rm -rf "$trial_home"
    mkdir -m 0700 "$trial_home"
    chown session:session "$trial_home"
    setpriv --reuid=session --regid=session --clear-groups --no-new-privs \\
        timeout 60 env HOME="$trial_home" sh -c "cd; $probe_command"
}

holds() {
    case $probe in
        unit) systemctl is-active "$unit" | grep -qx active || { echo "its unit does not run"; false; } ;;
        tcp) listened_on "$probe_hex" || { echo "nothing listens on port $probe_port"; false; } ;;
        http) answers ;;
        command) ends_well ;;
    esac >"$trial_home.said" 2>&1 </dev/null
}

seconds() { read -r now _ </proc/uptime; now=${now%.*}; }

# Waits until the probe has held for $stable seconds; false once it fails behind its deadline.
probe_held() {
    seconds
    end=$((now + probe_deadline))
    since=
    while :; do
        if holds; then
            seconds
            : "${since:=$now}"
            [ "$((now - since))" -lt "$stable" ] || return 0
        else
            seconds
            since=
            [ "$now" -lt "$end" ] || return 1
        fi
        sleep 0.5
    done
}

try_out() {
    seconds
    began=$now
    if [ "$again" = yes ]; then
        running || start_service
    elif [ -f "$unit_file" ]; then
        begin_trial
    fi
    say step probe
    if ! probe_held; then
        [ ! -f "$unit_file" ] || show_journal
        cat "$trial_home.said" >&2
        refuse probe
    fi
}

go_back() {
    say step return
    if running; then systemctl stop "$unit" || :; fi
    forget_trial
    if [ "$was" = "$version" ] && [ -e "$home/.old-$version" ]; then
        rm -rf "$home/.staging-failed"
        mv -T "$target" "$home/.staging-failed"
        mv -T "$home/.old-$version" "$target"
        rm -rf "$home/.staging-failed"
    elif [ "$was" = "$version" ]; then
        was=-
    fi
    if [ "$was" = - ]; then
        : >"$home/.reload"
        rm -f "$unit_file" "$home/current"
        reload_units
    else
        version=$was
        target=$home/$was
        activate
        [ "$again" = no ] || start_service
    fi
    rm -f "$home/.probing"
    say returned "$was"
}

# After an activation: what was to be proven is, or the version before is active again.
prove_or_start() {
    if [ ! -e "$home/.probing" ] || [ "$probe" = none ]; then
        [ ! -e "$home/.probing" ] || rm -f "$home/.probing"
        [ "$again" = no ] || start_service
        return 0
    fi
    read -r was again <"$home/.probing"
    set +e
    (set -e; try_out)
    tried=$?
    set -e
    [ "$tried" = 0 ] || go_back
    forget_trial
    rm -rf "$trial_home" "$trial_home.said"
    [ "$tried" = 0 ] || exit "$tried"
    rm -f "$home/.probing"
    rm -rf "$home"/.old-*
    say did probe
}
"""
