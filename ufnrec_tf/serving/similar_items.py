"""POST `/similar`: the items most like others, by the export's signature `similar`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict

from ufnrec_tf.serving.limits import Refusal
from ufnrec_tf.serving.rest import checked, checked_inputs, read_json
from ufnrec_tf.serving.service import Service, json_response, read_body

SIMILAR = "similar"


class SimilarBody(BaseModel):
    """The body of `/similar`; its values are checked as those of the signature.

    Attributes:
        item_ids: The items, a list of raw ids.
        k: Similar items of each.
        exclude: Raw ids that are never returned, one or a list.
        allow: The only raw ids that are returned, one or a list; empty for all.
    """

    model_config = ConfigDict(extra="forbid")

    item_ids: Any
    k: Any = 10
    exclude: Any = []
    allow: Any = []


def add_similar(app: FastAPI, service: Service) -> None:
    """Adds the address to the application."""

    async def similar(request: Request) -> Response:
        body = checked(SimilarBody, read_json(await read_body(request, service.limits)))
        return json_response(await _similar(service, body))

    app.add_route("/similar", similar, methods=["POST"])


async def _similar(service: Service, body: SimilarBody) -> dict[str, Any]:
    """Returns the items, each with the items most like it.

    Raises:
        Refusal: If the request is at fault, or the export is older than the signature.
    """
    model = service.keeper.current
    if SIMILAR not in model.signatures:
        raise Refusal(400, "this export cannot find similar items. Run --mode=export once more.")
    values = {"item_ids": body.item_ids, "k": body.k}
    lists = {"exclude_ids": as_list(body.exclude), "allow_ids": as_list(body.allow)}
    name = SIMILAR
    if any(lists.values()):
        name = f"{SIMILAR}_filtered"
        asked = body.item_ids if isinstance(body.item_ids, list) else [body.item_ids]
        count = min(len(asked), service.limits.max_instances)  # more are refused below
        values |= {key: [ids] * count for key, ids in lists.items()}
    signature = model.signature(name)
    inputs = checked_inputs(values, signature.inputs, service.limits)
    outputs = await service.batcher.call(model, signature, inputs)
    marks = model.marks(inputs.rows)
    marks.pop("known_items", None)  # `is_known` says the same of each item
    items = [
        {
            **model.catalogue.describe(raw.decode("utf-8", "replace")),
            "is_known": bool(outputs["is_known"][row]),
            "similar": model.described(outputs, row),
        }
        for row, (raw,) in enumerate(inputs.rows["item_ids"])
    ]
    return {"version": model.version, "items": items, **marks}


def as_list(value: Any) -> list[Any]:
    """Returns a JSON value as a list: one id is a list of one, and so is 0, an id too."""
    return value if isinstance(value, list) else [] if value is None else [value]
