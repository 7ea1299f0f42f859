"""Backoff: capped, exponential, with full jitter, and never out of its bounds."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amends.protocol import codec
from amends.protocol.retry import Retry, backoff_s

PROPERTY = settings(deadline=None, derandomize=True, database=None)
seconds = st.floats(0.0, 1e9)
chances = st.floats(0.0, 1.0, exclude_max=True)
attempts = st.integers(1, 10**9)
retries = st.builds(Retry, attempts=st.integers(1, 100), base_s=seconds, cap_s=seconds, slow_s=st.floats(0.001, 1e9))


@PROPERTY
@given(retry=retries, attempt=attempts, chance=chances)
def test_a_wait_is_between_nothing_and_the_cap(retry: Retry, attempt: int, chance: float) -> None:
    """However many attempts and whatever the random number."""
    assert 0.0 <= backoff_s(retry, attempt, chance) <= retry.cap_s


@PROPERTY
@given(retry=retries, attempt=st.integers(1, 40), chance=chances)
def test_a_wait_is_at_most_the_base_doubled_with_every_attempt(retry: Retry, attempt: int, chance: float) -> None:
    """The first waits for no longer than the base."""
    assert backoff_s(retry, attempt, chance) <= retry.base_s * 2.0 ** (attempt - 1)


@PROPERTY
@given(retry=retries, attempt=attempts, chance=chances)
def test_a_later_attempt_never_waits_less(retry: Retry, attempt: int, chance: float) -> None:
    """For the same random number."""
    assert backoff_s(retry, attempt, chance) <= backoff_s(retry, attempt + 1, chance)


@PROPERTY
@given(retry=retries, attempt=attempts, one=chances, other=chances)
def test_jitter_is_full(retry: Retry, attempt: int, one: float, other: float) -> None:
    """The wait goes from zero up in proportion to the random number."""
    longest = min(retry.cap_s, retry.base_s * 2.0 ** min(attempt - 1, 62))
    assert backoff_s(retry, attempt, 0.0) == 0.0
    assert backoff_s(retry, attempt, one) == pytest.approx(longest * one)
    assert (backoff_s(retry, attempt, one) <= backoff_s(retry, attempt, other)) == (longest * one <= longest * other)


@pytest.mark.parametrize(("attempt", "wait_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 5.0), (5000, 5.0)])
def test_waits_double_up_to_the_cap(attempt: int, wait_s: float) -> None:
    """With a base of one second, a cap of ten and the middle of the jitter."""
    assert backoff_s(Retry(base_s=1.0, cap_s=10.0), attempt, 0.5) == wait_s


@pytest.mark.parametrize(
    ("field", "value", "floor"),
    [
        ("attempts", 0, "1"),
        ("attempts", -1, "1"),
        ("base_s", -0.1, "0.0"),
        ("cap_s", -1.0, "0.0"),
        ("slow_s", 0.0, "0.001"),
        ("base_s", float("nan"), "0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(field: str, value: Any, floor: str) -> None:
    """The error names the field, the value found and the value wanted."""
    with pytest.raises(ValueError, match=rf"^Retry\.{field}: found {value}, wanted at least {floor}$"):
        Retry(**{field: value})


def test_settings_of_it_are_read_strictly() -> None:
    """A misspelt field in a file of settings is no silent default."""
    with pytest.raises(msgspec.ValidationError, match="unknown field `atempts`"):
        msgspec.json.decode(b'{"atempts":3}', type=Retry)


@PROPERTY
@given(retry=retries)
def test_it_survives_its_bytes(retry: Retry) -> None:
    """It is a plain value."""
    assert codec.decode(Retry, codec.encode(retry), "settings") == retry
