"""What every decoder promises, as a check: a value of its type or an error of its own, which quotes no secret."""

import traceback
from collections.abc import Callable
from typing import Any

from amends import AmendsError
from tests.integration.mutations import CARD


class Broken(AssertionError):  # noqa: N818 - reads as the fact it reports
    """A promise that did not hold; the text has what replays it."""


def only(errors: type[AmendsError], call: Callable[[], Any], wanted: Any, given: object) -> Any:
    """What the call gives, if it is of the wanted types; None after one of these errors that quotes nothing."""
    try:
        value = call()
    except errors as error:
        if CARD in str(error) and errors is not AmendsError:  # which names sagas and steps, whatever they are called
            raise Broken(f"{type(error).__name__} quotes the card: {str(error)[:300]}; given {short(given)}") from None
        return None
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        found = f"{type(error).__name__} from {where.name}: {str(error)[:200]}"
        raise Broken(f"{found}; wanted {errors.__name__}; given {short(given)}") from error
    if not isinstance(value, wanted):
        raise Broken(f"{type(value).__name__}, wanted {wanted}; given {short(given)}")
    return value


def short(given: object) -> str:
    """As much of it as a person reads."""
    return repr(given)[:500]
