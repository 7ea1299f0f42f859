"""Processes that run `program`, as a test sees them: what they say, and how they end."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.actors.trip import LONG_S

ROOT = Path(__file__).parents[2]


@contextmanager
def child(folder: Path, mode: str, count: int = 0) -> Iterator["subprocess.Popen[str]"]:
    """A running program; it is gone when the block ends, however that is."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.integration.program", str(folder), mode, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def hear(process: "subprocess.Popen[str]", word: str) -> str:
    """Read what it says up to the line that begins with `word`, and give that line."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line.strip()
    raise AssertionError(f"it ended without saying {word!r}: {process.communicate()[1]}")


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Let it end by itself: exit code, what it still said, what it complained of."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.close()
    process.stdin = None
    # What `hear` has read ahead is in these files, and `communicate` would look past them.
    said, complained = process.stdout.read(), process.stderr.read()
    return process.wait(LONG_S), said, complained
