"""Whatever stands in a journal, a fence, a file or a message, whoever reads it says so in an error of its own."""

from pathlib import Path

import pytest

from tests.integration.fuzzing import SHARES, fuzz

COUNT = 100_000
SEED = 1


@pytest.mark.parametrize("name", SHARES)
def test_damaged_input(tmp_path: Path, nobody_left: None, name: str) -> None:
    """A value of the declared type or one of our errors, and no error quotes what may be a secret."""
    found = list(fuzz(COUNT, SEED, tmp_path, which=name))
    assert found[:3] == [], f"{len(found)} did not hold"


def test_every_input_is_dealt_out() -> None:
    """The shares are hundredths of the whole."""
    assert sum(share for _, share in SHARES.values()) == 100
