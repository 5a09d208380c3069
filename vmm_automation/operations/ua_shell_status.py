"""The shell text that reads a guest back: what is delivered, active and running; it changes nothing."""

from __future__ import annotations

STATUS = """
df -Pk /opt | { read -r _; read -r _ _ _ free _; say free "$free"; }
for file in /root/.vmm-incoming-*; do
    [ -f "$file" ] || continue
    sum=$(sha256sum "$file")
    say incoming "${file##*/}	$(wc -c <"$file")	${sum%% *}"
done
for home in "$root"/*/; do
    [ -d "$home" ] || continue
    home=${home%/}
    ua=${home##*/}
    say ua "$ua"
    current_of
    [ -z "$line" ] || say current "$ua	$line"
    for target in "$home"/*/; do
        target=${target%/}
        if [ -L "$target" ] || [ ! -d "$target" ]; then continue; fi
        line_of "$target/.vmm-digest"
        [ -z "$line" ] || say version "$ua	${target##*/}	$line"
        [ ! -f "$target/.vmm-packages" ] || while read -r name _; do
            say needs "$ua	${target##*/}	$name"
        done <"$target/.vmm-packages"
    done
    for left in "$home"/.staging-* "$home"/.old-* "$home"/.reload "$home"/.probing; do
        [ ! -e "$left" ] || say unfinished "$ua	${left##*/}"
    done
done
sha256sum "$root"/*/*/.vmm-unit 2>/dev/null | while read -r sum file; do
    file=${file#"$root"/}
    file=${file%/.vmm-unit}
    [ "${file#*/}" = current ] || say brings "${file%%/*}	${file#*/}	$sum"
done
cd /etc/systemd/system
set -- vmm-ua-*.service
if [ -f "$1" ]; then
    sha256sum "$@" | while read -r sum file; do say unit "$file	$sum"; done
    { systemctl is-active "$@" || :; } | for file in "$@"; do read -r state; say service "$file	$state"; done
fi
[ ! -f "$added" ] || while read -r name; do say added "$name"; done <"$added"
"""
