# Prints what lies below the declared paths, and beside them on the way there: kind and path, each NUL-ended, in base64.
# Set by the caller besides: beside (directories, one a line). Nothing in the guest is changed.
cd "$home"
printf '%s\n' "$beside" | as_account sh -c '
    for path; do
        shift
        if [ -e "$path" ] || [ -L "$path" ]; then set -- "$@" "$path"; fi
    done
    [ "$#" = 0 ] || find "$@" -printf "%y %p\\0"
    while read -r path; do
        [ ! -d "$path" ] || find "$path" -mindepth 1 -maxdepth 1 -printf "%y %p\\0"
    done
' sh "$@" | base64 -w0
