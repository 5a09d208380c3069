# Removes everything of the account's user from the guest and proves it; what is left is printed, a line each.
# Set by the caller besides: swept (directories where an account may leave files), check (1 to only look).
# Starting a program is what costs time in an emulated guest, so there are few, and shell builtins where they do.
kept_elsewhere="/var/spool/cron/crontabs/$account /var/mail/$account /var/lib/systemd/linger/$account"

left() {
    processes
    diff -rq --no-dereference "$skeleton" "$home" 2>&1 || true
    [ "$(stat -c '%u %g %a' "$home")" = "$uid $gid 700" ] || echo "path $home with another owner or mode"
    # shellcheck disable=SC2086 # lists of paths
    {
        find $swept -user "$uid" -printf 'path %p\n' 2>/dev/null || true
        for file in $kept_elsewhere "$stages"* "$spool"/.vmm-user-image[.-]*; do
            if exists "$file"; then echo "path $file"; fi
        done
    }
    ipc_objects
}
# System V shared memory, queues and semaphores of the account, as the options of ipcrm that remove them.
ipc_objects() {
    awk -v uid="$uid" 'FNR == 1 { option = "-" substr("mqs", ++file, 1); for (i = 1; i <= NF; i++) at[$i] = i; next }
        $(at["uid"]) == uid { print "ipc", option, $2 }' /proc/sysvipc/shm /proc/sysvipc/msg /proc/sysvipc/sem
}
stop_processes() {
    if [ -d "/run/user/$uid" ]; then
        loginctl terminate-user "$account" 2>/dev/null || true
        umount -l "/run/user/$uid" 2>/dev/null || true
    fi
    # One call of the account itself reaches all of its processes at once: a process that keeps forking cannot outrun it.
    for attempt in 1 2 3 4 5; do
        as_account sh -c 'kill -KILL -1' 2>/dev/null || true
        [ -n "$(processes)" ] || break
        sleep "0.$attempt"
    done
}
remove_elsewhere() {
    while read -r _ place _ options _; do
        case ",$options," in *",user_id=$uid,"*) umount -l "$place" || true ;; esac
    done </proc/mounts
    # shellcheck disable=SC2086 # lists of paths
    {
        find $swept -depth -user "$uid" -delete 2>/dev/null || true
        rm -rf $kept_elsewhere "$stages"* "$spool"/.vmm-user-image[.-]* "$home"
    }
    ipc_objects | while read -r _ option number; do
        ipcrm "$option" "$number" || true
    done
}

cd /
if [ "$check" != 1 ]; then
    stop_processes
    remove_elsewhere
    cp -aT "$skeleton" "$home"
    chown -R "$uid:$gid" "$home"
    chmod 0700 "$home"
fi
left
