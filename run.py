"""One command for everything: makes the environment it needs, then runs the command in it.

Standard library only, so that a bare Python is enough to begin. A `.venv` with a valid stamp holds exactly what
the locks name; one without (interrupted, outdated, moved, another Python) is made anew and never mended.
What is installed is said by `requirements/` and `pyproject.toml`, what the tools check by `pyproject.toml`.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

# Before the first function: an older Python reads annotations it can't evaluate. It should meet this sentence first.
if sys.version_info < (3, 11):  # noqa: UP036 - the message is for the Pythons that the project doesn't support
    sys.exit("run.py: amends needs Python 3.11 or newer, this is {}.{}.{}".format(*sys.version_info[:3]))

USAGE = """\
usage: python3 run.py COMMAND [ARGUMENT...]

  demo    the shop, with its sagas running; arguments go to it
  test    the tests; arguments go to pytest
  lint    ruff; arguments go to it
  types   mypy; arguments go to it
  bench   the benchmarks; arguments go to them
  soak    simulated histories and real trouble for as long as you like; arguments go to it
  check   lint, types and test, up to the first that fails; arguments go to pytest
"""

LINT = ("ruff", "check", ".")
TYPES = ("mypy",)
TEST = ("pytest",)

# What each command runs, one after the other, as modules of the environment's Python.
COMMANDS = {
    "demo": (("amends.demo",),),
    "test": (TEST,),
    "lint": (LINT,),
    "types": (TYPES,),
    "bench": (("bench",),),
    "soak": (("tests.soak",),),
    "check": (LINT, TYPES, TEST),
}

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "amends.stamp"
UV_LOCK = ROOT / "requirements" / "uv.txt"
BASE_LOCK = ROOT / "requirements" / "base.txt"
DEV_LOCK = ROOT / "requirements" / "dev.txt"


def main(arguments: list[str]) -> int:
    """Become the command that is asked for, or return the exit status of what kept us from it."""
    name, *rest = arguments or [""]
    if name in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if name not in COMMANDS:
        print(f"run.py: no command {name!r}" if name else "run.py: no command given", file=sys.stderr)
        print(USAGE, end="", file=sys.stderr)
        return 2
    try:
        # The cluster's clients of a broker and a database server are not part of what every demo needs.
        make_environment(BASE_LOCK if name == "demo" and "cluster" not in rest[:1] else DEV_LOCK)
        run(command_lines(name, rest))
    except KeyboardInterrupt:
        return 130


def command_lines(name: str, rest: list[str]) -> list[list[str]]:
    """Spell out a command's parts; the arguments belong to the last of them."""
    lines = [[str(PYTHON), "-m", *part] for part in COMMANDS[name]]
    lines[-1] += rest
    return lines


def run(lines: list[list[str]]) -> NoReturn:
    """Run the lines and exit with the status of the first that fails; the last one takes this process's place."""
    os.chdir(ROOT)
    *first, last = lines
    for line in first:
        status = subprocess.call(line)
        if status != 0:
            # A part that a signal killed has a negative status here; a shell says 128 + the signal.
            sys.exit(status if status > 0 else 128 - status)
    # Signals, Ctrl-C above all, and the exit status are then the command's own, with nobody between to get them wrong.
    os.execv(last[0], last)


def make_environment(lock: Path) -> None:
    """Let `.venv` hold what `lock` names, which takes no time when it does already."""
    with one_at_a_time() as turn:
        wanted, complete = stamp(lock), stamp(DEV_LOCK)
        found = read_stamp()
        if found in (wanted, complete):
            return
        # From here until the new stamp, an interruption leaves an environment that is seen to be half-made.
        STAMP.unlink(missing_ok=True)
        if found != stamp(BASE_LOCK):
            make_venv(turn)
        # Else only the tools are missing. They go on top, so that a demo which is running keeps its modules.
        install(lock, turn)
        STAMP.write_text(wanted)


@contextlib.contextmanager
def one_at_a_time() -> Iterator[int]:
    """Hold the lock under which `.venv` is changed, and hand out its file descriptor."""
    with Path(f"{VENV}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run.py is making the environment; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def stamp(lock: Path) -> str:
    """Name an environment: what was installed, by which Python, and where, since a moved one does not work."""
    facts = [str(sys.implementation.cache_tag), str(ROOT)]
    facts += [digest(path.read_bytes()) for path in (ROOT / "pyproject.toml", UV_LOCK, lock)]
    return digest("\n".join(facts).encode())


def digest(content: bytes) -> str:
    """Return the SHA-256 of the content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def read_stamp() -> str:
    """Return the stamp of the environment, empty when it is absent, half-made, or its Python has gone."""
    return STAMP.read_text() if PYTHON.exists() and STAMP.is_file() else ""


def make_venv(turn: int) -> None:
    """Make an empty environment in place of whatever is there, and uv in it."""
    if importlib.util.find_spec("ensurepip") is None:
        # Debian and its relatives keep the module in a package of its own.
        package = "python{}.{}-venv".format(*sys.version_info[:2])
        sys.exit(f"run.py: this Python can't make a virtual environment yet; run\n\n    apt-get install -y {package}\n")
    say("making .venv, once")
    # The interpreter below, when run.py was started with the very environment that is now cleared.
    python = getattr(sys, "_base_executable", sys.executable)
    step([python, "-m", "venv", "--clear", str(VENV)], turn)
    # Without a wheel for this platform pip would try to compile uv; better to hear that there is none.
    hashed = ["--require-hashes", "--only-binary", ":all:", "-r", str(UV_LOCK)]
    step([*pip(), "install", *hashed], turn)


def install(lock: Path, turn: int) -> None:
    """Install what the lock names, each file checked against its hash, and then amends itself."""
    say(f"installing {lock.relative_to(ROOT)}")
    locked = ["install", "--require-hashes", "-r", str(lock)]
    itself = ["install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    uv = [str(VENV / "bin" / "uv"), "pip"]
    target = ["--python", str(PYTHON)]
    # As pip does by itself. Where nobody may write bytecode later, every start of a program would compile all of it.
    if call([*uv, *locked, "--compile-bytecode", *target], turn).returncode != 0:
        # uv does not read pip's configuration, where a mirror may stand that is this machine's only way out.
        say("uv could not; trying pip, which is slower but may know a mirror")
        step([*pip(), *locked], turn)
    step([*uv, *itself, *target], turn)


def pip() -> list[str]:
    """Return how the environment's pip is called so that it neither asks nor advertises."""
    return [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input"]


def step(line: list[str], turn: int) -> None:
    """Run one step of the installation; when it fails, show what it said and give up."""
    done = call(line, turn)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\nrun.py: could not make the environment; this failed:\n\n    {' '.join(line)}\n")


def call(line: list[str], turn: int) -> subprocess.CompletedProcess[str]:
    """Run a child and keep its output back, which on Ctrl-C spares the reader the child's traceback."""
    # The child holds the lock too: should run.py be killed, the next one waits until the child no longer writes.
    return subprocess.run(
        line, cwd=ROOT, pass_fds=[turn], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def say(text: str) -> None:
    """Tell the person in front of the terminal; standard output belongs to the command."""
    print(f"run.py: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
