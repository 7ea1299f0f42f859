"""A disk on which a commit costs what it does on most: every sync takes a given time longer.

The disk of a small virtual machine may acknowledge a sync in less than 0.1 ms, which hides what
sharing commits is for. Real disks take 0.5 to 10 ms.
"""

import time
from typing import Any

import apsw


class _SlowFile(apsw.VFSFile):
    def __init__(self, base: str, name: Any, flags: Any, extra_s: float) -> None:
        super().__init__(base, name, flags)
        self._extra_s = extra_s

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's own name
        super().xSync(flags)
        time.sleep(self._extra_s)


class SlowDisk(apsw.VFS):
    """The default file system of this process from now on; keep it for as long as files are open."""

    def __init__(self, extra_ms: float) -> None:
        self._extra_s = extra_ms / 1e3
        self._base = apsw.vfs_names()[0]
        super().__init__("slow-disk", self._base, makedefault=True)

    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:  # noqa: N802 - SQLite's own name
        return _SlowFile(self._base, name, flags, self._extra_s)
