"""Bits that flip on the disk: what reads differently afterwards is found, and the rest reads as it was written."""

from pathlib import Path

import pytest

from tests.integration import bit_flips
from tests.integration.bit_flips import PAGE, Findings, check_bit_flips, flipped, judge, write_journal

FLIPS = 300

RESERVED, ROOT_PAGE = 20, 52
"""Where a file's header says how many bytes of each page are not SQLite's own, and whether it vacuums itself."""

USER_VERSION = 60
"""Where a file's user version stands in its header, the most significant of four bytes first."""


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """What became of one journal, each time with another bit of it turned over."""
    folder = tmp_path_factory.mktemp("flips")
    anywhere = check_bit_flips(folder / "anywhere", FLIPS, seed=1)
    # What stands in few bytes of the file is rarely hit by chance.
    listed = check_bit_flips(folder / "listed", FLIPS // 5, seed=1, tree="instances")
    return Findings(anywhere.kinds + listed.kinds, {**listed.flips, **anywhere.flips})


def test_flips_are_seen(findings: Findings) -> None:
    """The canary: flips do change what is read, and are found in each of the ways there are."""
    assert findings.kinds[bit_flips.CORRUPT] > FLIPS / 5
    assert findings.kinds[bit_flips.MENDED] > FLIPS / 5
    assert findings.kinds[bit_flips.QUARANTINED] > 0
    assert findings.kinds[bit_flips.REFUSED] > 0


def test_no_flip_goes_unseen(findings: Findings) -> None:
    """Whatever a flip has changed is mended, put aside or refused by an error that names the file; nothing else."""
    found = {bit_flips.HARMLESS, bit_flips.MENDED, bit_flips.QUARANTINED, bit_flips.CORRUPT, bit_flips.REFUSED}
    assert {kind: flips for kind, flips in findings.flips.items() if kind not in found} == {}


def test_no_flip_takes_a_token_back(tmp_path: Path) -> None:
    """An opening's token is above all that were granted before, or services take its commands for those of the past."""
    journal = write_journal(tmp_path, instances=1)
    places = [journal.trees["grants"][0] + PAGE - 1, USER_VERSION, USER_VERSION + 3]
    for bit in (place * 8 + bit for place in places for bit in range(8)):
        folder = tmp_path / str(bit)
        folder.mkdir()
        (folder / "journal.db").write_bytes(flipped(journal.content, bit))
        assert list(judge(folder / "journal.db", journal)) == [bit_flips.MENDED], f"bit {bit}"


def test_no_flip_in_the_header_costs_an_instance(tmp_path: Path) -> None:
    """What a file's first bytes say of all its pages is put right or refused; no instance is put aside for it."""
    journal = write_journal(tmp_path, instances=18)
    kinds: dict[int, list[str]] = {}
    for bit in range(100 * 8):
        path = tmp_path / str(bit) / "journal.db"
        path.parent.mkdir()
        path.write_bytes(flipped(journal.content, bit))
        kinds[bit] = list(judge(path, journal))
    assert {kinds[at * 8 + bit][0] for at in (RESERVED, ROOT_PAGE) for bit in range(8)} == {bit_flips.MENDED}
    harmless = ([bit_flips.HARMLESS], [bit_flips.MENDED], [bit_flips.REFUSED])
    assert {bit: found for bit, found in kinds.items() if found not in harmless} == {}
