"""What is offered for a deployment is what the commands take; no engine is needed to see that."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from amends.console import named
from amends.console.main import main
from amends.demo import programs
from amends.demo.stocking import StockUp
from amends.demo.systems.coordinator import PlaceOrder

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
COMMANDS = [json.loads(found) for found in re.findall(r"^ +command: (\[.*\])$", COMPOSE, re.MULTILINE)]


def settings(name: str) -> dict[str, str]:
    """The environment of one of the two kinds of programs."""
    block = re.search(rf"^x-{name}: &{name}\n((?:  .*\n)+)", COMPOSE, re.MULTILINE)
    assert block is not None
    return dict(re.findall(r"^  (\w+): (.*)$", block[1], re.MULTILINE))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[1] + command[-1])
def test_commands_of_the_compose_file_are_taken(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With their environment, of which nothing is of no use to them."""
    name, *arguments = command
    environment = settings(name)
    of_it = main.commands[name]
    options = {f"AMENDS_{parameter.name}".upper() for parameter in of_it.params}
    assert set(environment) <= options
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with of_it.make_context(name, list(arguments)) as context:
        assert context.params["drain_s"] == 30
        assert context.params["broker"].startswith("amqp://")


def test_all_of_the_shop_is_there() -> None:
    """Two nodes, and each service that their sagas need."""
    places = [place for name, place, *_ in COMMANDS if name == "service"]
    assert [place for name, place, *_ in COMMANDS if name == "node"] == ["amends.demo.programs"] * 2
    found = named.sagas_of(["amends.demo.programs"])
    assert (found.sagas, found.unseen) == ([PlaceOrder, StockUp], [])
    assert {spec.service for spec in named.services_of(places)} == set(found.services)
    assert found.sagas == programs.SAGAS


def test_the_image_has_the_command() -> None:
    """Its entry point is the script of the package."""
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    project = (DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8")
    (entry,) = json.loads(re.search(r"^ENTRYPOINT (.*)$", dockerfile, re.MULTILINE)[1])  # type: ignore[index]  # it is there
    assert f'[project.scripts]\n{entry} = "amends.console.main:main"' in project
    assert CliRunner().invoke(main, ["--help"]).exit_code == 0
