"""A service that is not written with amends: nothing but pika and json, and what `docs/wire-format.md` says.

It serves two steps in memory; a real one would keep `fence` and `served` in one database.
Run: foreign_meals.py URL PREFIX
"""

import json
import sys
from typing import Any

import pika

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


def main(url: str, prefix: str) -> None:
    """Serve until the connection ends."""
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
        message = json.loads(body)
        reply = {
            "saga_id": message["saga_id"],
            "step": message["step"],
            "phase": properties.type,
            "attempt": message["attempt"],
            "answer": KINDS[properties.type](message),
        }
        channel.basic_publish(
            "",
            properties.reply_to,
            json.dumps(reply).encode(),
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
    main(*sys.argv[1:])
