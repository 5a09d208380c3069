"""The bytes of a tar on their way to :mod:`tarfile`, which believes what headers say of sizes."""

from __future__ import annotations

import io
import tarfile
from typing import Final

READ_BYTES: Final = 1 << 20
#: of one member: its names, attributes and, of a sparse file, where its holes are
HEADER_BYTES: Final = 4 << 20


class BoundedFile(io.BufferedReader):
    """A file whose single reads are bounded, so that a forged header size cannot fill the memory.

    ``header_left`` bounds what is read for the headers of one member together, None for content.
    """

    header_left: int | None = HEADER_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file, up to 1 MiB at once."""
        if size is None or not 0 <= size <= READ_BYTES:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        if self.header_left is not None:
            self.header_left -= size
            if self.header_left < 0:
                raise tarfile.ReadError(f"the headers of a member have more than {HEADER_BYTES:,} bytes")
        return super().read(size)
