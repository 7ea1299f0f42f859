"""A service that is not written with amends: a client of the broker, json, and what `docs/wire-format.md` says.

It serves two steps in memory; a real one would keep `fence` and `served` in one database.
Run: foreign_meals.py URL PREFIX for RabbitMQ, foreign_meals.py URL SCHEMA for PostgreSQL
"""

import hashlib
import json
import sys
from typing import Any

import pika
import psycopg

Answer = dict[str, Any]
fence: dict[tuple[str, str], dict[str, Any]] = {}
served: list[str] = []


def do(message: dict[str, Any]) -> Answer:
    """Run the command, once."""
    name = message["payload"]["name"]
    if name.startswith("Greedy"):
        return {"kind": "refused", "reason": "no meal is large enough"}
    served.append(name)
    return {"kind": "done", "result": {"meal": f"soup for {name}", "served": len(served)}}


def on_do(message: dict[str, Any]) -> Answer:
    """What the fence says of it, or the command itself."""
    row = fence.get((message["saga_id"], message["step"]))
    if row is None:
        row = {"message": message, "answer": do(message), "undone": False}
        fence[message["saga_id"], message["step"]] = row
    if row["undone"]:
        return {"kind": "refused", "reason": "cancelled"}
    return dict(row["answer"])


def on_undo(message: dict[str, Any]) -> Answer:
    """Undo what was done, and see that nothing will be."""
    key = message["saga_id"], message["step"]
    row = fence.setdefault(key, {"message": None, "answer": {"kind": "never"}, "undone": False})
    if not row["undone"] and row["answer"]["kind"] == "done":
        served.remove(row["message"]["payload"]["name"])
    row["undone"] = True
    return {"kind": "undone"}


def on_resolve(message: dict[str, Any]) -> Answer:
    """What became of it; if nothing did, nothing will."""
    key = message["saga_id"], message["step"]
    row = fence.setdefault(key, {"message": None, "answer": {"kind": "never"}, "undone": True})
    return {"kind": "never"} if row["undone"] else dict(row["answer"])


KINDS = {"do": on_do, "undo": on_undo, "resolve": on_resolve}


def answer_to(kind: str, body: str | bytes) -> str:
    """The body of the reply."""
    message = json.loads(body)
    reply = {"saga_id": message["saga_id"], "step": message["step"], "phase": kind, "attempt": message["attempt"]}
    return json.dumps(reply | {"answer": KINDS[kind](message)})


def serve_rows(url: str, schema: str) -> None:
    """Serve a table until the connection ends: a message, its effect and its answer in one transaction."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("select set_config('search_path', %s, false)", (schema,))
        channel = hashlib.md5(f"{schema} service.meals".encode(), usedforsecurity=False).hexdigest()
        db.execute(f'listen "amends {channel}"'.encode())
        while True:
            with db.transaction():
                row = db.execute(
                    "delete from messages where queue = 'service.meals' and id = (select id from messages"
                    " where queue = 'service.meals' and taken_by is null order by id limit 1 for update skip locked)"
                    " returning kind, reply_to, body"
                ).fetchone()
                if row is not None:
                    kind, reply_to, body = row
                    db.execute(
                        "insert into messages (queue, kind, body) values (%s, 'reply', %s)",
                        (reply_to, answer_to(kind, body)),
                    )
            if row is None:
                list(db.notifies(timeout=5.0, stop_after=1))


def serve_queue(url: str, prefix: str) -> None:
    """Serve a queue until the connection ends."""
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    queue, dead_letters = f"{prefix}.service.meals", f"{prefix}.dead-letters"
    channel.queue_declare(dead_letters, durable=True, arguments={"x-queue-type": "quorum", "x-max-length": 100_000})
    channel.queue_declare(
        queue,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": dead_letters,
            "x-delivery-limit": 20,
        },
    )
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=50)

    def on_message(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_publish(
            "",
            properties.reply_to,
            answer_to(properties.type, body).encode(),
            pika.BasicProperties(
                type="reply",
                headers={"amends-schema": 1},
                content_type="application/json",
                delivery_mode=2,
            ),
        )
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(queue, on_message)
    channel.start_consuming()


if __name__ == "__main__":
    (serve_rows if sys.argv[1].startswith("postgresql") else serve_queue)(*sys.argv[1:])
