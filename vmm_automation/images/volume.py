"""The volume tier of User Image Files: a generation as a layer of a disk, deployed by an overlay over it.

Every generation is in the portable store; a layer is the same content in a form whose deployment takes no
longer for more data. So a layer may be lost, and then only the next deployment is slower.

Layout below the store's directory (``Places.user_volumes``)::

    layers/NAME.qcow2      read-only content: ext4, on the layer below it, which is named relative to it
    layers/NAME.json       its digest, what it lay in when that was taken, the layer below, its depth
    generations/ARCHIVE    the name of the layer that holds what this archive of the portable store holds
    sessions/S.VM.qcow2    what session S writes to on a VM, over a layer
    aside/S.qcow2          what a session wrote that never became a generation, kept for a person
    volumes.lock           held while layers come and go; never unlinked

Atomicity: a layer counts from the moment its file below ``generations`` is there, the last one written.
Concurrency: processes of one controller wait for each other. Formats are named, never guessed, and no
file system of a user is ever mounted here. Not promised: encryption; a layer lies as a VM's disk does.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from vmm_automation.adapters.disks import require_space
from vmm_automation.adapters.lockfile import exclusive
from vmm_automation.adapters.qcow2_layers import backing_of, blank_disk, flattened, overlay, sound
from vmm_automation.errors import ArtifactInvalid, NotFound
from vmm_automation.images.volume_layers import Layer, digest_of, is_untouched, recorded, write_whole
from vmm_automation.model.names import check_name
from vmm_automation.places import make_directory
from vmm_automation.trace import point

#: a chain that is longer is flattened by ``vmm image flatten``
DEPTH: Final = 8
#: a close does so itself where that is cheap, in bytes of the chain, and at twice the depth in any case
CHEAP_BYTES: Final = 64 << 20
_LABEL: Final = "vmm-user-data"
_RESERVE_MIB: Final = 512
_REST_AFTER_S: Final = 86400


class VolumeStore:
    """The volumes of one controller, made at the first use.

    Raises on every call:
        DiskFull, TaskFailed, ToolMissing: qemu-img or mke2fs failed or is absent.
    """

    def __init__(self, directory: Path) -> None:
        self._root = directory.absolute()

    def session_file(self, *, session: str, vm: str) -> Path:
        """Where a session's overlay on a VM is, or would be."""
        return self._root / "sessions" / f"{check_name('session', session)}.{check_name('VM', vm)}.qcow2"

    def chain(self, file: Path) -> tuple[Path, ...]:
        """An overlay and all below it, top first."""
        files = [file]
        while files[-1].exists() and (below := backing_of(files[-1])):
            files.append(below)
        return tuple(files)

    def open(self, *, session: str, vm: str, archive: str, size_mib: int) -> bool:
        """Make a session's overlay anew: over the layer of an archive, else over an empty file system.

        Returns whether it has the archive's content. A layer that is damaged counts as none.
        """
        file = self.session_file(session=session, vm=vm)
        with self._locked():
            require_space(file.parent, needed_mib=_RESERVE_MIB)
            layer = self._sound_layer(archive) if archive else None
            self._overlay(file, layer or self._blank(size_mib))
        return layer is not None

    def commit(self, *, session: str, vm: str, archive: str) -> Layer:
        """Make what a session wrote, detached and whole, the layer of an archive; it goes on over that one.

        Killed anywhere: the overlay is there with all that the session wrote, or an empty one over the layer.
        """
        file = self.session_file(session=session, vm=vm)
        below = backing_of(file)
        depth = 1 + (self._recorded(below.stem).depth if below else 0)
        held = sum(each.stat().st_size for each in self.chain(file))
        hidden = self._hidden()
        if depth > 2 * DEPTH or (depth > DEPTH and held <= CHEAP_BYTES):
            flattened(file, hidden)
            layer = recorded(hidden, depth=1)
        else:
            hidden.hardlink_to(file)
            layer = recorded(hidden, depth=depth, below=below.stem if below else "")
        with self._locked():  # what took long is done
            self._add(hidden, layer)
            point("image.volume.kept")
            self._overlay(file, layer)
            point("image.volume.renewed")
            self._name(archive, layer)
            self._collect()
        return layer

    def layer(self, archive: str) -> Layer | None:
        """The layer of an archive, as it was recorded; None where there is none."""
        try:
            name = (self._root / "generations" / archive).read_text().strip()
            return self._recorded(name)
        except (FileNotFoundError, ArtifactInvalid):
            return None

    def prove(self, archive: str) -> str:
        """Read an archive's layer and all below it whole; what is wrong, empty if nothing is."""
        layer = self.layer(archive)
        for each in self._below(layer) if layer else ():
            file = self._file(each.name)
            if not file.exists() or digest_of(file) != each.sha256:
                return f"layer '{each.name}' of its volume is damaged"
        return ""

    def is_long(self, archive: str) -> bool:
        """Whether an archive has a layer that lies on more than :data:`DEPTH`."""
        layer = self.layer(archive)
        return layer is not None and layer.depth > DEPTH

    def flatten(self, archive: str) -> bool:
        """Give an archive a layer that needs no other, where its chain is longer than :data:`DEPTH`.

        May run while sessions use the older layers; those go when nobody needs them any more.
        """
        layer = self.layer(archive)
        if layer is None or not self.is_long(archive):
            return False
        hidden = self._hidden()
        flattened(self._file(layer.name), hidden)
        flat = recorded(hidden, depth=1)
        with self._locked():
            if self.layer(archive) != layer:
                hidden.unlink()
                return False
            self._add(hidden, flat)
            self._name(archive, flat)
            self._collect()
        return True

    def archives(self) -> tuple[str, ...]:
        """The archives that have a layer."""
        return tuple(path.name for path in self._in("generations"))

    def forget(self, archives: tuple[str, ...]) -> None:
        """Let the layers of archives go; those that others lie on stay until these are gone too."""
        if not self._root.exists():
            return
        with self._locked():
            for archive in archives:
                (self._root / "generations" / archive).unlink(missing_ok=True)
            self._collect()

    def sessions_on(self, vm: str = "") -> tuple[tuple[str, str], ...]:
        """Session and VM of each overlay, of one VM or all."""
        names = (path.stem.rpartition(".") for path in self._in("sessions") if path.suffix == ".qcow2")
        return tuple((session, on) for session, _, on in names if vm in ("", on))

    def set_aside(self, *, session: str, vm: str) -> Path:
        """Keep what a session wrote for a person; whatever was kept of it before stays too."""
        target = self._root / "aside" / f"{session}.qcow2"
        with self._locked():
            make_directory(target.parent)
            number = 1
            while target.exists():
                number += 1
                target = target.with_name(f"{session}-{number}.qcow2")
            self.session_file(session=session, vm=vm).rename(target)
        return target

    def asides(self) -> tuple[Path, ...]:
        """What is kept aside."""
        return tuple(path for path in self._in("aside") if path.suffix == ".qcow2")

    def take_back(self, name: str, *, session: str, vm: str) -> None:
        """Make what was kept aside the overlay of a session; what the session wrote until now goes.

        Raises:
            NotFound: nothing of that name is kept.
        """
        with self._locked():
            self._aside(name).rename(self.session_file(session=session, vm=vm))

    def require_sound(self, name: str) -> None:
        """Check the form of what was kept aside, and of all below; NotFound, TaskFailed, ArtifactInvalid."""
        for file in self.chain(self._aside(name)):
            if not file.exists():
                raise ArtifactInvalid(f"Volume '{name}' lacks the layer '{file.stem}'")
            sound(file)

    def drop_aside(self, name: str) -> None:
        """Throw away what was kept aside. Raises NotFound."""
        with self._locked():
            self._aside(name).unlink()
            self._collect()

    def drop_session(self, *, session: str, vm: str) -> None:
        """Remove a session's overlay; no change if there is none."""
        with self._locked():
            self.session_file(session=session, vm=vm).unlink(missing_ok=True)

    def _aside(self, name: str) -> Path:
        for path in self.asides():
            if path.stem == name:
                return path
        raise NotFound(
            f"No volume '{name[:80]}' is kept aside", hint="vmm image list --orphaned", details={"name": name}
        )

    def _locked(self) -> AbstractContextManager[None]:
        for directory in ("", "layers", "generations", "sessions"):  # QEMU's account looks for files in them
            make_directory(self._root / directory)
        return exclusive(self._root / "volumes.lock", what="the volumes of user images")

    def _in(self, directory: str) -> Iterator[Path]:
        place = self._root / directory
        return iter(sorted(path for path in place.iterdir() if path.name[0] != ".") if place.exists() else ())

    def _file(self, name: str) -> Path:
        return self._root / "layers" / f"{name}.qcow2"

    def _hidden(self) -> Path:
        """A name for a layer that is being made: nobody looks at it, and nobody takes it for a rest."""
        return self._file(f".{secrets.token_hex(8)}")

    def _recorded(self, name: str) -> Layer:
        try:
            return Layer(**json.loads(self._file(name).with_suffix(".json").read_bytes()))
        except (OSError, ValueError, TypeError) as wrong:
            raise ArtifactInvalid(
                f"Layer '{name}' of a user's volume has no record", hint="vmm image repair"
            ) from wrong

    def _below(self, layer: Layer) -> Iterator[Layer]:
        """A layer and all below it, by what was recorded."""
        yield layer
        while layer.below:
            layer = self._recorded(layer.below)
            yield layer

    def _sound_layer(self, archive: str) -> Layer | None:
        """Verified: each file is as it was left when its digest was taken, or else has that digest still."""
        try:
            top = self.layer(archive)
            for layer in self._below(top) if top else ():
                file = self._file(layer.name)
                if not is_untouched(layer, file):
                    self._renew_record(layer, file)
            return top
        except (ArtifactInvalid, OSError):
            return None

    def _renew_record(self, layer: Layer, file: Path) -> None:
        if digest_of(file) != layer.sha256:
            raise ArtifactInvalid(f"Layer '{layer.name}' of a user's volume is damaged")
        found = recorded(file, depth=layer.depth, below=layer.below)
        write_whole(file.with_suffix(".json"), json.dumps(found.to_document()))

    def _overlay(self, file: Path, layer: Layer) -> None:
        fresh = file.with_name(f".{file.name}.fresh")
        overlay(fresh, over=Path("..") / "layers" / f"{layer.name}.qcow2")
        fresh.replace(file)

    def _blank(self, size_mib: int) -> Layer:
        name = f"blank-{size_mib}"
        if not self._file(name).with_suffix(".json").exists():
            hidden = self._file(f".{name}")
            blank_disk(hidden, size_mib=size_mib, label=_LABEL)
            self._add(hidden, recorded(hidden))
        return self._recorded(name)

    def _add(self, hidden: Path, layer: Layer) -> None:
        file = self._file(layer.name)
        hidden.replace(file)
        write_whole(file.with_suffix(".json"), json.dumps(layer.to_document()))

    def _name(self, archive: str, layer: Layer) -> None:
        write_whole(self._root / "generations" / archive, f"{layer.name}\n")

    def _collect(self) -> None:
        """Remove layers that no archive names and nothing lies on; called with the lock."""
        tops = [layer for archive in self.archives() if (layer := self.layer(archive))]
        needed = {each.name for top in tops for each in self._below(top)}
        for file in (*self._in("sessions"), *self._in("aside")):
            needed |= {path.stem for path in self.chain(file)}
        for file in self._in("layers"):
            if file.stem not in needed and not file.name.startswith("blank-"):
                file.unlink()
        for rest in (self._root / "layers").glob(".*"):  # of what was killed
            if time.time() - rest.stat().st_ctime > _REST_AFTER_S:
                rest.unlink(missing_ok=True)
