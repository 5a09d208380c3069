#!/bin/busybox sh
# First program of the guest: finds the root disk, lays the seed over it, gives the network its address, hands over to systemd.
# It replaces the distribution's initramfs because that one costs seconds under software emulation.
PATH=/bin
fail() { echo "vmm-init: $1"; sleep 1; poweroff -f; }

# The disk whose virtio serial is $1, or nothing.
disk_by_serial() {
    for serial in /sys/block/vd*/serial; do
        [ -r "$serial" ] || continue
        read -r found <"$serial"
        if [ "$found" = "$1" ]; then
            serial=${serial%/serial}
            echo "/dev/${serial##*/}"
            return
        fi
    done
}

# The disk whose ext4 label is vmm-root: any disk may carry it, whatever its serial and its place on the bus.
disk_by_label() {
    for block in /sys/block/vd*; do
        disk=/dev/${block##*/}
        if [ "$(dd if="$disk" bs=8 skip=143 count=1 2>/dev/null)" = vmm-root ]; then
            echo "$disk"
            return
        fi
    done
}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order

root=$(disk_by_label)
tries=0
while [ -z "$root" ] && [ "$tries" -lt 100 ]; do
    usleep 50000
    tries=$((tries + 1))
    root=$(disk_by_label)
done
[ -n "$root" ] || fail "no disk has the file system label vmm-root"
mount -t ext4 -o rw,noatime "$root" /root || fail "cannot mount $root"

seed=$(disk_by_serial vmm-seed)
if [ -n "$seed" ]; then
    tar -x -f "$seed" -C /root || fail "cannot extract the seed from $seed"
else
    echo "vmm-init: no disk has the serial vmm-seed; starting without an identity"
fi

address=10.0.2.15/24
gateway=10.0.2.2
[ -r /root/etc/vmm/network ] && . /root/etc/vmm/network
if [ -d /sys/class/net/eth0 ] && [ "$address" != none ]; then
    ip addr add "$address" dev eth0
    ip link set eth0 up
    [ -n "$gateway" ] && ip route add default via "$gateway"
fi

mount -o move /dev /root/dev
umount /sys
umount /proc
exec switch_root /root /sbin/init
