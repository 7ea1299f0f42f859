"""Whole histories, thousands of them."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """What goes wrong here goes wrong on purpose, and to write it all down would take longer than to check it."""
    log = logging.getLogger("amends")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    yield
    log.setLevel(level)
