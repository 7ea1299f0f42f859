"""Placeholders: what is one in a statement, and what only looks like it."""

import pytest

from amends.actors.database.placeholders import numbered


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("select ?, ?", "select $1, $2"),
        ("select ?2, ?1, ?2", "select $2, $1, $2"),
        ("select ?3, ?", "select $3, $4"),
        ("select '?', 'it''s ?', ?", "select '?', 'it''s ?', $1"),
        (r"select '\', ?", r"select '\', $1"),
        (r"select E'\'?', ?", r"select E'\'?', $1"),
        ('select "?" from "a""?" where x = ?', 'select "?" from "a""?" where x = $1'),
        ("select 1 -- ?\n, ?", "select 1 -- ?\n, $1"),
        ("select /* ? /* ? */ ? */ ?", "select /* ? /* ? */ ? */ $1"),
        ("select ? /* ? ", "select $1 /* ? "),
        ("select $$?$$, $tag$ $$ ? $tag$, ?", "select $$?$$, $tag$ $$ ? $tag$, $1"),
        ("select 1", "select 1"),
    ],
)
def test_placeholders(written: str, sent: str) -> None:
    """Each by its number; text, names and comments are left as they are."""
    assert numbered(written) == sent
