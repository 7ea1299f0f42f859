"""What run.py decides before it touches the disk, and what it may rely on in the locks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import run

LOCKS = (run.UV_LOCK, run.BASE_LOCK, run.DEV_LOCK)


def entries(lock: Path) -> list[str]:
    """Split a lock into its entries, each with the hashes that follow it."""
    return re.split(r"\n(?=\S)", lock.read_text().strip())


def pins(lock: Path) -> set[str]:
    """Return what the lock pins, each with its version and the platforms it is for."""
    return {entry.split(" \\\n")[0] for entry in entries(lock)}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay out a project of four small files, with an environment that looks complete, and point run.py at it."""
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "VENV", tmp_path / ".venv")
    for name, path in {
        "UV_LOCK": "requirements/uv.txt",
        "BASE_LOCK": "requirements/base.txt",
        "DEV_LOCK": "requirements/dev.txt",
        "PYTHON": ".venv/bin/python",
        "STAMP": ".venv/amends.stamp",
    }.items():
        monkeypatch.setattr(run, name, tmp_path / path)
    (tmp_path / "requirements").mkdir()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for file in (tmp_path / "pyproject.toml", run.UV_LOCK, run.BASE_LOCK, run.DEV_LOCK, run.PYTHON):
        file.write_text(file.name)
    return tmp_path


@pytest.fixture
def made(tree: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what run.py would make and install, in its order, instead of doing it."""
    done: list[str] = []
    monkeypatch.setattr(run, "make_venv", lambda turn: done.append("venv"))
    monkeypatch.setattr(run, "install", lambda lock, turn: done.append(lock.stem))
    return done


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements/uv.txt", "requirements/dev.txt"])
def test_a_changed_lock_changes_the_stamp(tree: Path, name: str) -> None:
    """An environment is outdated as soon as a file that says what is in it has changed."""
    before = run.stamp(run.DEV_LOCK)
    (tree / name).write_text("changed")
    assert run.stamp(run.DEV_LOCK) != before


def test_a_moved_tree_changes_the_stamp(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment names its own folder in its files, so a moved one is not used."""
    before = run.stamp(run.DEV_LOCK)
    monkeypatch.setattr(run, "ROOT", tree / "requirements" / "..")
    assert run.stamp(run.DEV_LOCK) != before


def test_a_complete_environment_is_left_alone(tree: Path, made: list[str]) -> None:
    """The second run starts at once, and the tools' environment is good enough for the demo."""
    run.make_environment(run.DEV_LOCK)
    assert made == ["venv", "dev"]
    run.make_environment(run.DEV_LOCK)
    run.make_environment(run.BASE_LOCK)
    assert made == ["venv", "dev"]


def test_the_tools_go_on_top_of_the_demos_environment(tree: Path, made: list[str]) -> None:
    """A demo that is running keeps its modules while another terminal installs the tools."""
    run.make_environment(run.BASE_LOCK)
    run.make_environment(run.DEV_LOCK)
    assert made == ["venv", "base", "dev"]


def test_an_interrupted_installation_is_made_anew(tree: Path, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an interruption left behind is cleared, never mended."""

    def interrupted(lock: Path, turn: int) -> None:
        raise KeyboardInterrupt

    run.make_environment(run.BASE_LOCK)
    with monkeypatch.context() as patch:
        patch.setattr(run, "install", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.make_environment(run.DEV_LOCK)
    run.make_environment(run.DEV_LOCK)
    assert made == ["venv", "base", "venv", "dev"]


def test_an_environment_whose_python_has_gone_is_made_anew(tree: Path, made: list[str]) -> None:
    """A stamp alone is no environment: the interpreter it was made from may have been removed."""
    run.make_environment(run.BASE_LOCK)
    run.PYTHON.unlink()
    run.make_environment(run.BASE_LOCK)
    assert made == ["venv", "base", "venv", "base"]


def test_a_python_without_ensurepip_is_told_what_to_install(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a bare Debian the one line that helps is printed, and the status is 1."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        run.make_environment(run.BASE_LOCK)
    # Python prints a text it is told to exit with, and exits with 1.
    assert "apt-get install -y python{}.{}-venv\n".format(*sys.version_info) in str(stopped.value.code)


def test_an_old_python_is_told_which_one_is_needed() -> None:
    """A Python that can't run the rest still says what it wants, and no traceback."""
    pretend = "import runpy, sys; sys.version_info = (3, 9, 2, 'final', 0); runpy.run_path(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", pretend, run.__file__], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "run.py: amends needs Python 3.11 or newer, this is 3.9.2\n"


@pytest.mark.parametrize("arguments", [["nonsense"], []])
def test_an_unknown_command_gives_the_usage(
    arguments: list[str], made: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What run.py does not know ends with status 2 and the list of what it knows, and makes nothing."""
    assert run.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert all(f"\n  {name} " in printed.err for name in run.COMMANDS)
    assert made == []


def test_arguments_belong_to_the_last_part_of_a_command() -> None:
    """`check -x` lints and checks types as always, and hands `-x` to pytest."""
    lint, types, test = run.command_lines("check", ["-x"])
    assert [lint[2], types[2], test[2:]] == ["ruff", "mypy", ["pytest", "-x"]]


def test_a_failing_part_ends_the_command_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs after the first part that fails, and its status is the command's."""
    monkeypatch.setattr("os.execv", lambda *line: pytest.fail("the last part was started"))
    with pytest.raises(SystemExit) as stopped:
        run.run([[sys.executable, "-c", "raise SystemExit(3)"], ["never"]])
    assert stopped.value.code == 3


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_no_lock_names_an_address(lock: Path) -> None:
    """Where files come from is each machine's own affair; what they are is pinned by their hashes."""
    text = lock.read_text()
    assert not re.search(r"://|^\s*-(?!-hash=)|\s@\s", text, re.MULTILINE)
    assert all(re.match(r"[\w.-]+==\S+ ", entry) and "--hash=sha256:" in entry for entry in entries(lock))


def test_the_tools_lock_contains_the_demos() -> None:
    """The tests run what the demo runs, and installing the tools never replaces a module."""
    assert pins(run.BASE_LOCK) < pins(run.DEV_LOCK)
