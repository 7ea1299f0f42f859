"""Power cuts: everything SQLite asks of the disk is recorded, and images are made of what a cut could have left.

`recording` puts a VFS of ours between SQLite and its own, for every connection that is opened
meanwhile; below it are real files. `images` replays the record up to some moment and then cuts
the power: what a file's last sync covered is there, and of each later write any sectors may be.
Like a journalling file system it keeps the order in which files came and went, but a file's name
is on disk for sure only once the folder was synced.
What has to be in an image is a test's own business; `acknowledge` marks when it was promised.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import apsw

SECTOR = 512


class Write(NamedTuple):
    """Bytes of a file; `file` is a number, for a name may belong to several files one after the other."""

    file: int
    offset: int
    data: bytes


class Truncate(NamedTuple):
    """A file's new size."""

    file: int
    size: int


class Sync(NamedTuple):
    """All of a file is on disk, and with a new log or journal the folder's names are too."""

    file: int
    folder: bool


class Create(NamedTuple):
    """A name is given to a new file."""

    name: str
    file: int


class Delete(NamedTuple):
    """A name is taken away."""

    name: str


class Acknowledged(NamedTuple):
    """So many promises have been made by now."""

    promises: int


Event = Write | Truncate | Sync | Create | Delete | Acknowledged


class Recorder:
    """What was asked of the disk, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._files: dict[str, int] = {}
        self._numbers = count(1)

    def acknowledge(self, promises: int) -> None:
        """From now on a cut must leave at least this much; whatever was recorded before is what it rests on."""
        self.events.append(Acknowledged(promises))

    def open(self, path: str) -> int:
        """The number of the file that `path` names; a new one if nothing stands there."""
        exists = os.path.exists(path)  # noqa: PTH110 - SQLite gives text, and wants it back
        # What was made without SQLite is only read through it, and in no image.
        if not exists or path not in self._files:
            # Connections of several threads make files of their own at the same time.
            self._files[path] = next(self._numbers)
        if not exists:
            self.events.append(Create(Path(path).name, self._files[path]))
        return self._files[path]

    def overwrite(self, path: Path, content: bytes) -> None:
        """The disk changes a file by itself."""
        path.write_bytes(content)
        self.events += [Write(self._files[str(path)], 0, content), Sync(self._files[str(path)], folder=False)]


class _Vfs(apsw.VFS):
    """Inherits all but the two calls by which files come and go."""

    def __init__(self, recorder: Recorder) -> None:
        # As the process's default it is under the connections of production code, which names no VFS.
        super().__init__("recording", "unix", makedefault=True)
        self._recorder = recorder

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - the name is SQLite's
        # What has no name is a file for temporary rows; it means nothing to anybody after a cut.
        if name is None or not flags[0] & (apsw.SQLITE_OPEN_MAIN_DB | _JOURNALS):
            return apsw.VFSFile("unix", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        return _File(self._recorder, self._recorder.open(path), name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - the name is SQLite's
        super().xDelete(filename, syncdir)
        self._recorder.events.append(Delete(Path(filename).name))


_JOURNALS = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL


class _File(apsw.VFSFile):
    """Inherits everything that changes nothing.

    The shared memory of a write-ahead log is among that: apsw passes those calls on to the file below,
    so the recorded run uses the log as every other run does, and needs no exclusive locking.
    """

    def __init__(self, recorder: Recorder, file: int, name: str | apsw.URIFilename, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._events = recorder.events
        self._file = file
        # SQLite's own VFS syncs the folder with the first sync of a log or journal that it made, and only then.
        self._syncs_folder = bool(flags[0] & _JOURNALS)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - the name is SQLite's
        self._events.append(Write(self._file, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - the name is SQLite's
        self._events.append(Truncate(self._file, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - the name is SQLite's
        super().xSync(flags)
        self._events.append(Sync(self._file, self._syncs_folder))
        self._syncs_folder = False


@contextmanager
def recording() -> Iterator[Recorder]:
    """Record every connection that is opened in the block; all of them are closed before it ends."""
    recorder = Recorder()
    vfs = _Vfs(recorder)
    try:
        yield recorder
    finally:
        vfs.unregister()
        assert apsw.vfs_details()[0]["zName"] == "unix", "the usual VFS is the default again"


class Image(NamedTuple):
    """What a cut has left.

    Attributes:
        label: says which image of which seed it is.
        promised: what had been acknowledged.
    """

    label: str
    promised: int
    files: dict[str, bytes]

    def write(self, folder: Path) -> None:
        """Into a fresh folder."""
        folder.mkdir()
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


def birth(events: list[Event]) -> int:
    """The first moment at which something has been promised."""
    return next(moment for moment, event in enumerate(events, start=1) if isinstance(event, Acknowledged))


def moments(events: list[Event], number: int, seed: int) -> list[int]:
    """So many moments after the birth, chosen by the seed; every second one right after something was promised."""
    chance = random.Random(seed)
    promises = [moment for moment, event in enumerate(events, start=1) if isinstance(event, Acknowledged)]
    return [chance.choice(promises) if n % 2 else chance.randint(promises[0], len(events)) for n in range(number)]


def images(events: list[Event], cuts: list[int], seed: int) -> Iterator[Image]:
    """What a cut at each of these moments leaves; what of the writes under way, says the seed."""
    chance = random.Random(seed)
    disk = _Disk()
    at = 0
    for number, moment in enumerate(sorted(cuts)):
        for event in events[at:moment]:
            disk.take(event)
        at = moment
        label = f"image {number} of {len(cuts)}, seed {seed}, cut after {moment} of {len(events)} events"
        yield Image(label, disk.promised, disk.cut(chance))


class _Disk:
    """What is on disk for sure, and what is on its way there."""

    def __init__(self) -> None:
        self.promised = 0
        self._safe: dict[int, bytearray] = {}
        self._pending: dict[int, list[Write | Truncate]] = {}
        self._names: dict[str, int] = {}
        self._pending_names: list[Create | Delete] = []

    def take(self, event: Event) -> None:
        match event:
            case Acknowledged(promises):
                self.promised = promises
            case Create(_, file):
                self._safe[file] = bytearray()
                self._pending[file] = []
                self._pending_names.append(event)
            case Delete():
                self._pending_names.append(event)
            case Sync(file, folder):
                for change in self._pending[file]:
                    _apply(self._safe[file], change)
                self._pending[file].clear()
                if folder:
                    _rename(self._names, self._pending_names)
                    self._pending_names.clear()
            case Write() | Truncate():
                self._pending[event.file].append(event)

    def cut(self, chance: random.Random) -> dict[str, bytes]:
        """The files as they may be found, by name."""
        names = dict(self._names)
        _rename(names, self._pending_names[: chance.randint(0, len(self._pending_names))])
        return {name: self._left_of(file, chance) for name, file in names.items()}

    def _left_of(self, file: int, chance: random.Random) -> bytes:
        content = bytearray(self._safe[file])
        # None or all of the writes under way are as likely as any part of them.
        share = chance.choice((0.0, 1.0, chance.random()))
        for change in self._pending[file]:
            for part in _parts(change):
                if chance.random() < share:
                    _apply(content, part)
        return bytes(content)


def _parts(change: Write | Truncate) -> Iterator[Write | Truncate]:
    """What is written at once or not at all: a write's share of each sector."""
    if isinstance(change, Truncate):
        yield change
        return
    first = 0
    while first < len(change.data):
        last = first + SECTOR - (change.offset + first) % SECTOR
        yield Write(change.file, change.offset + first, change.data[first:last])
        first = last


def _apply(content: bytearray, change: Write | Truncate) -> None:
    end = change.size if isinstance(change, Truncate) else change.offset + len(change.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if isinstance(change, Truncate):
        del content[end:]
    else:
        content[change.offset : end] = change.data


def _rename(names: dict[str, int], changes: list[Create | Delete]) -> None:
    for change in changes:
        if isinstance(change, Create):
            names[change.name] = change.file
        else:
            names.pop(change.name, None)
