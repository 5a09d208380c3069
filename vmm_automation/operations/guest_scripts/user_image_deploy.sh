# Unpacks a tar beside the home, proves what came out, and switches the paths into the home by renames.
# Set by the caller besides: archive (the tar), tree_digest (of listing, below), a function 'convert' that
# brings what was unpacked to the data version that the UA reads, and for user_image_stamps.sh excludes, tag and base.
stage=$stages$id
cleanup() {
    [ "$1" = 0 ] || put_back
    rm -rf "$stage" "$archive" "$work".*
}
# A switch that failed half-way is undone, so that the home holds either all of the generation or none of it.
put_back() {
    [ -e "$stage/begun" ] || return 0
    while read -r number before path; do
        if exists "$stage/old/$number"; then
            rm -rf "${home:?}/$path"
            mv -T "$stage/old/$number" "$home/$path"
        elif [ "$before" = absent ]; then
            rm -rf "${home:?}/$path"
        fi
    done <"$stage/begun"
}
# The whole tree as NUL-ended lines in one order: kinds, modes of files, targets of links, digests of content.
listing() (
    cd "$stage/new"
    find . -mindepth 1 \( -type d -printf 'd %P\0' -o -type f -printf 'f %m %P\0' -o -type l -printf 'l %P -> %l\0' \
        -o -printf 'o %P\0' \) | sort -z
    find . -type f -printf '%P\0' | sort -z | xargs -0 -r sha256sum -z --
)
# The directories above a path must be real ones: through a link of the user's, root would rename elsewhere.
open_parents() {
    above=$home rest=$1
    while [ "$rest" != "${rest#*/}" ]; do
        above=$above/${rest%%/*} rest=${rest#*/}
        if [ -L "$above" ]; then
            echo "'$above' is a symbolic link" >&2
            exit 4
        fi
        [ -d "$above" ] || install -d -m 0700 -o "$uid" -g "$gid" "$above"
    done
}

for file in "$stages"*; do
    [ ! -e "$file" ] || rm -rf "$file"
done
for file in "$spool"/.vmm-user-image.*; do
    [ "$file" = "$archive" ] || rm -f "$file"
done
trap 'cleanup "$?"' EXIT
mkdir -m 0711 "$stage"
install -d -m 0700 -o "$uid" -g "$gid" "$stage/new"
cd "$stage/new"
# Without --same-permissions and with this umask tar sets the nine permission bits exactly, and no other.
(umask 0 && as_account tar --extract --no-same-permissions --xattrs --xattrs-include='user.*' --file=- <"$archive")
if [ "$(listing | sha256sum)" != "$tree_digest  -" ]; then
    listing | tr '\n\0' '?\n' | tr -c '\n -~' '?'
    exit 5
fi
convert
for path in "$@"; do open_parents "$path"; done
# A guest that loses power later has the whole of what was deployed, not files of the right names and no content.
sync -f "$stage/new"
number=0
for path in "$@"; do
    number=$((number + 1))
    if exists "$home/$path"; then
        echo "$number present $path" >>"$stage/begun"
        [ -d "$stage/old" ] || mkdir "$stage/old"
        mv -T "$home/$path" "$stage/old/$number"
    else
        echo "$number absent $path" >>"$stage/begun"
    fi
    if exists "$stage/new/$path"; then mv -T "$stage/new/$path" "$home/$path"; fi
done
cd "$home"
# What was unpacked last is then old enough to count as unchanged.
if [ -n "$tag" ] && sleep "$tick_s" && scan "$@" && compare >/dev/null; then keep_stamps; fi || true
