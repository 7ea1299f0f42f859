"""An environment for each peer, below `.venvs`, made when it is first needed of what its lock names, hashes checked.

One with a valid stamp is complete; another one is made anew. Nothing of a package runs while it is installed but
what a wheel can't do without: no source is built, and no script of npm's is run.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ENVIRONMENTS: Final = HERE / ".venvs"
_LOCKS: Final = HERE / "requirements"


class CannotInstall(Exception):  # noqa: N818 - reads as the fact it reports
    """A peer's environment can't be made; the text says why."""


def python_of(environment: str) -> Path:
    """The Python of a peer's environment; of amends' own if that has no name."""
    if not environment:
        return Path(sys.executable)
    folder, lock = ENVIRONMENTS / environment, _LOCKS / f"{environment}.txt"
    python = folder / "bin" / "python"
    if not _is_made(folder, lock):
        shutil.rmtree(folder, ignore_errors=True)
        _step([sys.executable, "-m", "venv", str(folder)])
        hashed = ["--require-hashes", "--only-binary", ":all:", "-r", str(lock)]
        uv = Path(sys.executable).with_name("uv")
        try:
            _step([str(uv), "pip", "install", "--python", str(python), *hashed])
        except CannotInstall:
            # uv does not read pip's configuration, where a mirror may stand that is this machine's only way out.
            _step([str(python), "-m", "pip", "install", "--no-input", *hashed])
        _stamp(folder, lock)
    return python


def restate_server() -> Path:
    """Restate's server, which npm has."""
    folder, lock = ENVIRONMENTS / "restate-server", _LOCKS / "npm" / "package-lock.json"
    if not _is_made(folder, lock):
        if shutil.which("npm") is None:
            raise CannotInstall("npm is not found; install your system's package `npm`")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(lock.parent, folder)
        _step(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
        _stamp(folder, lock)
    found = sorted(folder.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
    if not found:
        raise CannotInstall("npm has no Restate server for this platform")
    return found[0]


def temporal_server() -> Path:
    """Temporal's, which a wheel has."""
    return python_of("temporal").with_name("temporal")


def versions(environment: str, server: str) -> dict[str, str]:
    """What is pinned of the packages that a peer's `.in` asks for, and what its server is."""
    if not environment:
        return {}
    wanted = (_LOCKS / f"{environment}.in").read_text(encoding="utf-8").split()
    pinned = (_LOCKS / f"{environment}.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split()[0].split("==") for line in pinned if "==" in line and not line.startswith(" "))
    found = {name: version for name, version in pairs if name in wanted}
    if server == "restate":
        package = json.loads((_LOCKS / "npm" / "package.json").read_text(encoding="utf-8"))
        found |= {name.rpartition("/")[2]: version for name, version in package["dependencies"].items()}
    return found


def _wanted_stamp(lock: Path) -> str:
    facts = f"{sys.implementation.cache_tag} {ENVIRONMENTS}".encode() + lock.read_bytes()
    return hashlib.sha256(facts).hexdigest()


def _is_made(folder: Path, lock: Path) -> bool:
    stamp = folder / "amends.stamp"
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _wanted_stamp(lock)


def _stamp(folder: Path, lock: Path) -> None:
    (folder / "amends.stamp").write_text(_wanted_stamp(lock), encoding="utf-8")


def _step(command: list[str], folder: Path = HERE) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except OSError as error:
        raise CannotInstall(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        # The last line says what was wrong; those before it may name hosts.
        said = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
        raise CannotInstall(f"{Path(command[0]).name} failed: {said[:200]}")
