#!/bin/sh
# Last step of building a Debian base image; mmdebstrap runs it with the root file system as $1.
# VMM_OUT is the directory that receives disk.raw, boot.tar and packages; VMM_MASKED_UNITS names the units to mask.
set -eu
root=$1

useradd --root "$root" --uid 2000 --user-group --create-home --home-dir /home/session --shell /bin/sh session
# '*' and not '!': without PAM sshd refuses an account whose password is locked with '!'.
sed -i -E 's/^(root|session):[^:]*:/\1:*:/' "$root/etc/shadow"
chmod 0700 "$root/home/session" "$root/root"
install -d -m 0700 "$root/root/.ssh"

rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/hostname" "$root/etc/resolv.conf" "$root/var/lib/dbus/machine-id"
: >"$root/etc/machine-id"
echo '/dev/root / ext4 rw,noatime 0 0' >"$root/etc/fstab"
# The guest has no way out; the controller's sources may carry credentials.
rm -f "$root"/etc/apt/sources.list.d/* "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
: >"$root/etc/apt/sources.list"

cat >"$root/etc/ssh/sshd_config" <<'SSHD'
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
UsePAM no
PrintMotd no
PrintLastLog no
X11Forwarding no
HostKey /etc/ssh/ssh_host_ed25519_key
AcceptEnv LANG LC_*
# The cheapest exchange that is sound: under software emulation the default one costs half a second more.
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org
MaxSessions 64
MaxStartups 64
Subsystem sftp internal-sftp
SSHD
# sshd needs nothing but the root file system, which the initrd has prepared: it starts first, the rest of the boot follows it.
install -d "$root/etc/systemd/system/sysinit.target.wants"
cat >"$root/etc/systemd/system/ssh.service" <<'UNIT'
[Unit]
Description=OpenBSD Secure Shell server, started before the rest of the system
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target systemd-udevd.service systemd-udev-trigger.service systemd-tmpfiles-setup.service systemd-tmpfiles-setup-dev.service systemd-journald.service
[Service]
ExecStart=/usr/sbin/sshd -D
ExecReload=/bin/kill -HUP $MAINPID
KillMode=process
Type=notify
Restart=on-failure
RuntimeDirectory=sshd
RuntimeDirectoryMode=0755
[Install]
WantedBy=sysinit.target
UNIT
rm -f "$root/etc/systemd/system/multi-user.target.wants/ssh.service" "$root/etc/systemd/system/sshd.service"
ln -s ../ssh.service "$root/etc/systemd/system/sysinit.target.wants/ssh.service"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
for unit in ${VMM_MASKED_UNITS:-}; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/cache/debconf/*-old "$root"/var/log/*.log "$root"/var/log/apt
rm -f "$root"/boot/initrd.img-* "$root"/boot/System.map-*
find "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale" "$root/usr/share/info" "$root/usr/share/lintian" \
    -mindepth 1 -delete 2>/dev/null || true

chroot "$root" dpkg-query --show --showformat '${Package} ${Version}\n' >"$VMM_OUT/packages"
tar -C "$root" -cf "$VMM_OUT/boot.tar" boot usr/lib/modules bin/busybox usr/bin/busybox 2>/dev/null \
    || tar -C "$root" -cf "$VMM_OUT/boot.tar" boot usr/lib/modules bin/busybox

# /proc and /sys are mounted while the hooks run, and must be empty in the image. Lazily and not one by one: in a user
# namespace what is mounted below them cannot be taken off alone.
cd /
for place in proc sys; do
    umount --lazy "$root/$place" 2>/dev/null || true
    [ -z "$(ls -A "$root/$place")" ] || { echo "customize: $root/$place is still mounted" >&2; exit 1; }
done
mke2fs -q -F -t ext4 -L vmm-root -m 0 -d "$root" "$VMM_OUT/disk.raw"
