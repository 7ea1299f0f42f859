"""What a program logs, line by line."""

import json
import logging

from amends.console.logs import _Line


def line(logger: str, message: str, *arguments: object, error: Exception | None = None) -> str:
    """The line that becomes of a record."""
    trouble = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord(logger, logging.WARNING, __file__, 1, message, arguments, trouble)
    return _Line().format(record)


def test_an_event_of_the_engine_is_a_line_as_it_is() -> None:
    """Its facts are keys already."""
    assert line("amends", '{"event": "broker.connected", "share": "100%"}').endswith('"100%"}')


def test_what_others_say_is_put_into_the_same_form() -> None:
    """With the logger's name, and the traceback of an error in the same line."""
    said = line("shop", "%s cups\nleft", 3, error=ValueError("no tea"))
    assert "\n" not in said
    told = json.loads(said)
    assert (told["event"], told["level"], told["logger"]) == ("3 cups\nleft", "warning", "shop")
    assert "no tea" in told["exception"]
