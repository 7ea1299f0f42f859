"""What a system is given, checked before anything is touched: services that can be made, plans that fit them."""

import inspect
from collections.abc import Iterable, Mapping

from amends.actors.service import Service, ServiceSpec
from amends.actors.tree import OWN_NAMES
from amends.protocol.errors import PlanError
from amends.protocol.saga import Contracts, Plan, Saga, check_with_services


def specs_of(services: Iterable[type[Service] | ServiceSpec]) -> dict[str, ServiceSpec]:
    """The services by name, or PlanError."""
    specs: dict[str, ServiceSpec] = {}
    for service in services:
        spec = service if isinstance(service, ServiceSpec) else ServiceSpec(service)
        name = spec.service.name
        try:
            inspect.signature(spec.service).bind(*spec.arguments, **dict(spec.keywords))
        except TypeError as error:
            made = f"{spec.service.__name__}.spec(...)"
            raise PlanError(f"services: {name!r} can't be made: {error}; give its arguments with {made}") from None
        if name in specs:
            raise PlanError(f"services: {name!r} stands twice; give each service its own name")
        if name in OWN_NAMES:
            raise PlanError(f"services: {name!r} is the name of an actor of every system; wanted another name")
        specs[name] = spec
    return specs


def plans_of(
    sagas: Iterable[type[Saga]], specs: Mapping[str, ServiceSpec], elsewhere: Iterable[type[Service] | str]
) -> dict[tuple[str, int], Plan]:
    """The plans by name and version, or PlanError.

    Args:
        elsewhere: services of other processes; the commands of those that are only names are not checked.
    """
    known = {name: spec.service for name, spec in specs.items()}
    unseen: set[str] = set()
    for service in elsewhere:
        name = service if isinstance(service, str) else service.name
        if name in known or name in unseen:
            raise PlanError(f"elsewhere: {name!r} stands twice; a service that is here as well stands in services only")
        if isinstance(service, str):
            unseen.add(name)
        else:
            known[name] = service
    contracts: Contracts = {
        name: {command: (h.command, h.handling) for command, h in service.handlers.items()}
        for name, service in known.items()
    }
    plans: dict[tuple[str, int], Plan] = {}
    for saga in sagas:
        check_with_services(saga.plan, contracts, unseen)
        if (saga.plan.name, saga.plan.version) in plans:
            raise PlanError(f"saga {saga.plan.name!r} version {saga.plan.version}: two plans of that name and version")
        plans[saga.plan.name, saga.plan.version] = saga.plan
    return plans
