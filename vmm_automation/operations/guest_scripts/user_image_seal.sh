# Removes what is no part of the stored generation from the user's disk, and unmounts it, whole and written.
# Set by the caller besides: volume, volume_home. Standard input: the paths to keep, sorted, each ended by NUL.
kept=$spool/.vmm-user-image.$id.kept
trap 'rm -f "$kept" "$kept.found"' EXIT
cat >"$kept"
mountpoint -q "$home"
present() {
    as_account find "$home" -mindepth 1 -printf '%P\0' | sort -z
}
require_nobody() {
    [ -z "$(processes)" ] || { echo "a process of the user still runs" >&2; exit 4; }
}
require_nobody
present >"$kept.found"
cd "$home"
comm -z -13 "$kept" "$kept.found" | as_account xargs -0 -r rm -rf --
as_account find "$home" -perm /7000 ! -type l -print0 | as_account xargs -0 -r chmod ug-s,o-t --
cd /
present | cmp -s - "$kept" || { echo "the user's disk holds other paths than the generation" >&2; exit 4; }
require_nobody
umount "$home"
umount "$volume"
