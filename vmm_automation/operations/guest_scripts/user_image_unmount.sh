# Ends the account's processes and unmounts the user's disk; no change where it is not mounted.
# Set by the caller besides: volume.
for attempt in 1 2 3 4 5; do
    as_account sh -c 'kill -KILL -1' 2>/dev/null || true
    if mountpoint -q "$home"; then umount "$home" 2>/dev/null || true; fi
    if mountpoint -q "$volume"; then umount "$volume" 2>/dev/null || true; fi
    mountpoint -q "$volume" || exit 0
    sleep "0.$attempt"
done
echo "the user's disk is still in use" >&2
exit 4
