"""Placeholders: a statement written with SQLite's `?` and `?1`, as PostgreSQL wants it."""

import re
from functools import lru_cache
from typing import Final

_PARTS: Final = re.compile(
    r"""
      '(?:[^']|'')*'                                      # text ...
    | \b[eE]'(?:[^'\\]|''|\\.)*'                          # ... with backslashes
    | "(?:[^"]|"")*"                                      # a quoted name
    | --[^\n]*
    | (?P<comment>/\*)
    | (?<![\w$])\$(?P<tag>[^\W\d]\w*|)\$.*?\$(?P=tag)\$   # text between dollars
    | \?(?P<number>\d*)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENTS: Final = re.compile(r"/\*|\*/")


@lru_cache(maxsize=2000)
def numbered(sql: str) -> str:
    """The statement with `$1` for `?1`, and for each `?` the number after the largest before it."""
    made, at, largest = [], 0, 0
    while (found := _PARTS.search(sql, at)) is not None:
        made.append(sql[at : found.start()])
        at = found.end()
        if found["comment"]:
            at = _end_of_comment(sql, at)
            made.append(sql[found.start() : at])
        elif found["number"] is None:
            made.append(found[0])
        else:
            number = int(found["number"]) if found["number"] else largest + 1
            largest = max(largest, number)
            made.append(f"${number}")
    return "".join([*made, sql[at:]])


def _end_of_comment(sql: str, at: int) -> int:
    """Where the comment ends that has begun before `at`; there may be others within it."""
    depth = 1
    while depth and (found := _COMMENTS.search(sql, at)) is not None:
        depth += 1 if found[0] == "/*" else -1
        at = found.end()
    return at if depth == 0 else len(sql)
