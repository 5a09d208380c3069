"""The initrd: its archive format, and the order in which it loads modules."""

from __future__ import annotations

import stat

from vmm_automation.adapters.initrd import Entry, module_order, newc_archive


def test_modules_are_loaded_after_what_they_need() -> None:
    """The initrd's insmod resolves nothing, so the order must; a module that is built in needs no file."""
    text = (
        "a/virtio_net.ko: b/net_failover.ko c/failover.ko\nb/net_failover.ko: c/failover.ko\nc/failover.ko:\n"
    )
    expected = ("c/failover.ko", "b/net_failover.ko", "a/virtio_net.ko")
    assert module_order(text, ["ext4", "virtio-net"]) == expected


def test_a_newc_archive_has_header_name_and_content_aligned() -> None:
    """The kernel reads members at multiples of four bytes and stops at the trailer."""
    archive = newc_archive([Entry("ab", stat.S_IFREG | 0o644, b"xyz")])
    assert archive.startswith(b"070701")
    assert archive[110:113] == b"ab\0"
    assert archive[116:119] == b"xyz"
    assert archive[120:126] == b"070701"
    assert b"TRAILER!!!\0" in archive
    assert len(archive) % 512 == 0
