"""What a command line names: services and sagas in modules, found and checked before anything is touched.

An error says what was found under a name and what was wanted there. Whether plans and services fit together is the
system's to say, and so is which names may stand only once.
"""

import importlib
import inspect
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from amends.actors.service import Service, ServiceSpec
from amends.protocol.errors import PlanError
from amends.protocol.saga import Saga
from amends.supervisor.actor import frames

_WANTED = (
    "wanted a Service class, a spec of one (MyService.spec(...)), or a function without arguments that returns one"
)


class Found(NamedTuple):
    """What modules have for a node.

    Attributes:
        services: those in their namespaces; the plans are checked against them.
        unseen: names of the other services that the plans speak of.
    """

    sagas: list[type[Saga]]
    services: list[type[Service]]
    unseen: list[str]


def services_of(names: Sequence[str]) -> list[ServiceSpec]:
    """The services that `MODULE:CLASS` each name, or PlanError."""
    return [_service(name) for name in names]


def sagas_of(names: Sequence[str]) -> Found:
    """The sagas that modules list in SAGAS or else define, and the services they know, or PlanError."""
    modules = [_module(name) for name in names]
    sagas = list(dict.fromkeys(saga for module in modules for saga in _sagas(module)))
    if not sagas:
        raise PlanError(f"{', '.join(names)}: no saga there; wanted a module that defines some, or lists them in SAGAS")
    services: dict[str, type[Service]] = {}
    for module in modules:
        for service in _services(module):
            known = services.setdefault(service.name, service)
            if known is not service:
                raise PlanError(
                    f"{module.__name__}: two services named {service.name!r}, {_told(known)} and {_told(service)}; "
                    "wanted one, since the plans are checked against it"
                )
    wanted = dict.fromkeys(step.to for saga in sagas for step in saga.plan.steps.values())
    return Found(sagas, list(services.values()), [name for name in wanted if name not in services])


def _module(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # a script's own folder is where it is installed, and that is nobody's program
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            place = "wanted one in the current folder or on Python's path"
            raise PlanError(f"{name}: there is no module {error.name!r}; {place}") from None
        raise PlanError(f"{name}: can't be imported: {error}\n{frames(error.__traceback__)}") from None
    except Exception as error:  # noqa: BLE001 - somebody else's module may raise anything
        # Without its text, which may quote what the module has read from its surroundings.
        raise PlanError(f"{name}: can't be imported: {type(error).__name__}\n{frames(error.__traceback__)}") from None


def _service(name: str) -> ServiceSpec:
    place, _, attribute = name.partition(":")
    if not (place and attribute):
        raise PlanError(f"{name}: wanted MODULE:CLASS, as in shop.services:Payment")
    module = _module(place)
    if not hasattr(module, attribute):
        known = sorted(what for what, value in vars(module).items() if _spec(value) is not None)
        raise PlanError(f"{name}: module {place!r} has no {attribute!r}; its services are {known}")
    found = getattr(module, attribute)
    spec = _spec(found)
    if spec is None and inspect.isfunction(found) and not inspect.signature(found).parameters:
        found = found()
        spec = _spec(found)
    if spec is None:
        kind = f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
        raise PlanError(f"{name}: found {kind}, {_WANTED}")
    return spec


def _spec(found: object) -> ServiceSpec | None:
    if isinstance(found, ServiceSpec):
        return found
    if isinstance(found, type) and issubclass(found, Service) and found is not Service:
        return ServiceSpec(found)
    return None


def _sagas(module: ModuleType) -> list[type[Saga]]:
    listed = getattr(module, "SAGAS", None)
    if listed is None:
        return [found for found in vars(module).values() if _is_saga(found) and found.__module__ == module.__name__]
    others = [getattr(found, "__name__", repr(found)) for found in listed if not _is_saga(found)]
    if others:
        raise PlanError(f"{module.__name__}: SAGAS has {others}, wanted Saga classes")
    return list(listed)


def _is_saga(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Saga) and found is not Saga


def _services(module: ModuleType) -> list[type[Service]]:
    specs = [_spec(found) for found in vars(module).values()]
    return list(dict.fromkeys(spec.service for spec in specs if spec is not None))


def _told(service: type[Service]) -> str:
    return f"{service.__module__}.{service.__qualname__}"
