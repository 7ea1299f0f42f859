"""The shop with all its databases on a PostgreSQL server, and the audit of that."""

from collections.abc import Iterator

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from amends import Completed, System
from amends.actors import postgres
from amends.demo.__main__ import main
from amends.demo.audit import audit, effect_counts
from amends.demo.databases import NotAuditable
from amends.demo.faults import FaultPlan, Faults
from amends.demo.stocking import StockUp, stock_up
from amends.demo.systems.coordinator import SERVICES, PlaceOrder
from amends.demo.workload import Settings, workload
from tests.actors.trip import LONG_S
from tests.servers import admin, postgres_schema

ORDERS = 40


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where orders went well, or were refused at some step."""
    plan = FaultPlan(seed=1, declined=0.1, short_stock=0.1, bad_address=0.2)
    work = workload(Settings(orders_count=ORDERS, seed=1, in_flight=ORDERS, stock_share=1.0, plan=plan))
    with postgres_schema() as url:
        specs = [service.spec(Faults(plan)) for service in SERVICES]
        with System(url, sagas=[PlaceOrder, StockUp], services=specs) as system:
            stock_up(system, work.stock)
            handles = [system.submit(PlaceOrder, order, key=order.order_id) for order in work.orders]
            outcomes = [handle.result(LONG_S) for handle in handles]
        assert 0 < sum(isinstance(outcome, Completed) for outcome in outcomes) < ORDERS
        yield url


def test_what_the_shop_leaves_on_a_server_is_clean(url: str) -> None:
    """No check finds anything, and each order that was placed is there."""
    assert [finding.check for finding in audit(url) if finding.rows] == []
    assert 0 < effect_counts(url)["orders confirmed"] < ORDERS


def test_a_damage_is_found_on_a_server(url: str) -> None:
    """As it would be in a file; a person can look for it from the command line."""
    runner = CliRunner()
    assert runner.invoke(main, ["audit", "--data", url]).exit_code == 0
    place = postgres.target(url)
    change = sql.SQL("update {}.stock set on_hand = on_hand + %s where item_id = (select min(item_id) from {}.stock)")
    schema = sql.Identifier(postgres.service_schema(place, "inventory"))
    try:
        with admin() as db:
            db.execute(change.format(schema, schema), (1,))
        assert [finding.check for finding in audit(url) if finding.rows] == ["stock_adds_up"]
        assert runner.invoke(main, ["audit", "--data", url]).exit_code == 1
    finally:
        with admin() as db:
            db.execute(change.format(schema, schema), (-1,))


def test_what_is_not_there_can_not_be_audited(url: str) -> None:
    """The error names the place, and shows no password."""
    with pytest.raises(NotAuditable, match=r"schema=nobody: no journal is there"):
        audit(f"{url.rpartition('schema=')[0]}schema=nobody")
    with pytest.raises(NotAuditable, match="can't be read") as error:
        audit("postgresql://someone:hush@127.0.0.1:1/test?schema=shop")
    assert "hush" not in str(error.value)


def test_services_keep_to_themselves(url: str) -> None:
    """Each has its tables in a schema of its own, and its connection looks for them nowhere else."""
    place = postgres.target(url)
    with admin() as db:
        found = db.execute(
            "select nspname, relname from pg_class join pg_namespace n on n.oid = relnamespace"
            " where starts_with(nspname, %s) and relkind = 'r' and relname in ('instances', 'stock', 'payments')",
            (place.schema,),
        ).fetchall()
    assert sorted(found) == [
        (place.schema, "instances"),
        (f"{place.schema}_inventory", "stock"),
        (f"{place.schema}_payment", "payments"),
    ]
    with pytest.raises(psycopg.Error), admin(f"{place.schema}_payment") as db:
        db.execute("select * from stock")
