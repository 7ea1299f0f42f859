"""The examples in README and the docs run as they are written."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "page", [p for p in PAGES if _BLOCK.search(p.read_text(encoding="utf-8"))], ids=lambda p: p.name
)
def test_examples_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every Python block of a page runs, one after the other, and prints what its comments say."""
    monkeypatch.chdir(tmp_path)
    blocks = _BLOCK.findall(page.read_text(encoding="utf-8"))
    names: dict[str, object] = {"__name__": page.stem}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    printed = capsys.readouterr().out
    for promised in re.findall(r"print\(.*\)\s+# (.+)$", "".join(blocks), re.MULTILINE):
        assert promised in printed


def test_links_between_pages_lead_somewhere() -> None:
    """A relative link of a page names a file that is there."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_event_is_listed_with_its_keys() -> None:
    """The table of events is the one in the code."""
    source = (ROOT / "amends" / "supervisor" / "telemetry.py").read_text(encoding="utf-8")
    listed = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    events = re.findall(r'^[A-Z_]+: Final = "([a-z_.]+)"  # (.+)$', source, re.MULTILINE)
    assert events
    for event, keys in events:
        assert f"| `{event}` | {keys} |" in listed
