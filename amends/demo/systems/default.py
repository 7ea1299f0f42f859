"""The system behind a module's own functions, for callers who open none: one for the process.

It is opened by the first call, whichever thread that comes from, in a temporary folder that is
gone when the process ends; or, to outlast it, in the one that an environment variable names.
"""

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from amends.demo.shop import Shop

S = TypeVar("S", bound=Shop)


class OfThisProcess(Generic[S]):
    """Opens the system once and gives it to everybody.

    Args:
        make: makes the system on a folder.
        variable: the environment variable that names the folder.
    """

    def __init__(self, make: Callable[[Path], S], variable: str) -> None:
        self._make = make
        self._variable = variable
        self._opening = threading.Lock()
        self._opened: S | None = None

    def __call__(self) -> S:
        with self._opening:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _open(self) -> S:
        named = os.environ.get(self._variable)
        folder = Path(named or tempfile.mkdtemp(prefix="amends-"))
        shop = self._make(folder)
        pid = os.getpid()

        @atexit.register
        def close() -> None:
            if os.getpid() != pid:
                return  # a forked child, which has opened nothing
            shop.close()
            if not named:
                shutil.rmtree(folder)

        shop.open()
        return shop
