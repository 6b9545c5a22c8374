"""The page at `/` and its addresses: items and users by text, a user, recommendations."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ufnrec_tf.recommend.explain import left_out, score_drops
from ufnrec_tf.recommend.scoring import padded
from ufnrec_tf.serving.diverse import call_model
from ufnrec_tf.serving.limits import Refusal
from ufnrec_tf.serving.rest import RequestInputs, checked, checked_inputs, read_json
from ufnrec_tf.serving.service import Service, json_response, read_body
from ufnrec_tf.serving.similar_items import SIMILAR, as_list
from ufnrec_tf.serving.user_ids import histories_of, times_of

FILTERED = "recommend_filtered"
_PAGE = Path(__file__).with_name("page.html")
_MAX_TEXT = 200

SearchText = Annotated[str, Query(max_length=_MAX_TEXT)]
SearchLimit = Annotated[int, Query(ge=1, le=100)]


class RecommendationsBody(BaseModel):
    """The body of `/api/recommendations`; its values are checked as those of a signature."""

    model_config = ConfigDict(extra="forbid")

    history: Any = []
    exclude: Any = []
    k: Any = 10
    user_id: Any = None
    diversity: float = Field(
        0.0, ge=0, le=1, strict=True, allow_inf_nan=False, description="a number from 0 to 1"
    )


class WhyBody(BaseModel):
    """The body of `/api/why`: a history and the recommended item."""

    model_config = ConfigDict(extra="forbid")

    history: Any
    item: Any


def page_policy(page: str) -> str:
    """Returns the Content-Security-Policy of the page: its own script and style, nothing else."""
    allowed = {
        tag: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"
            for part in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        )
        for tag in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {allowed['script']}; style-src {allowed['style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def add_page(app: FastAPI, service: Service) -> None:
    """Adds the page and its addresses to the application."""
    page = _PAGE.read_text(encoding="utf-8")
    policy = page_policy(page)

    @app.get("/")
    async def show_page() -> Response:
        headers = {"content-security-policy": policy}
        return Response(page, headers=headers, media_type="text/html; charset=utf-8")

    # No coroutines: a search of a million titles goes to another thread.
    @app.get("/api/status")
    def show_status() -> Response:
        return json_response(_server_facts(service))

    @app.get("/api/items")
    def search_items(q: SearchText = "", limit: SearchLimit = 20) -> Response:
        return json_response({"items": service.keeper.current.catalogue.search(q, limit=limit)})

    @app.get("/api/users")
    def search_users(q: SearchText = "", limit: SearchLimit = 20) -> Response:
        found = service.users.search(q, limit=limit) if service.users else []
        return json_response({"users": found})

    @app.get("/api/user")
    def show_user(id: str) -> Response:
        return json_response(_user_facts(service, id))

    async def recommendations(request: Request) -> Response:
        document = read_json(await read_body(request, service.limits))
        asked = checked(RecommendationsBody, document)
        return json_response(await _recommendations(service, asked))

    async def why(request: Request) -> Response:
        document = read_json(await read_body(request, service.limits))
        return json_response(await _why(service, checked(WhyBody, document)))

    app.add_route("/api/recommendations", recommendations, methods=["POST"])
    app.add_route("/api/why", why, methods=["POST"])


def _server_facts(service: Service) -> dict[str, Any]:
    """Returns the facts of the server that the page shows."""
    model, users = service.keeper.current, service.users
    return {
        "version": model.version,
        "num_items": int(model.metadata["num_items"]),
        "has_items": len(model.catalogue) > 0,
        "has_titles": model.catalogue.has_titles,
        "max_length": model.metadata.get("max_length"),
        "mask_seen": bool(model.metadata.get("mask_seen", True)),
        "can_exclude": FILTERED in model.signatures,
        "has_similar": SIMILAR in model.signatures,
        "num_users": len(users) if users else 0,
        "users_from": users.source if users else "",
        "has_memory": bool(users and users.has_memory),
        "examples": users.examples if users else [],
    }


def _user_facts(service: Service, user: str) -> dict[str, Any]:
    """Returns a user's history and the items that the memory holds for the user.

    Raises:
        Refusal: If no user of this id is known.
    """
    users, catalogue = service.users, service.keeper.current.catalogue
    history = users.history(user, most=service.limits.max_history) if users else None
    if users is None or history is None:
        raise Refusal(404, "no user of this id is known.")
    memory, total = users.remembered(user)
    held = users.held_out(user)
    is_shown = held is not None and len(held.items) < len(history)
    return {
        "id": user,
        "history": [catalogue.describe(item) for item in history],
        # The newest events of the history that the test held out, the first what was taken next.
        "held_out": {"count": len(held.items), "rank": held.rank} if held and is_shown else None,
        "memory": [{**row, **catalogue.describe(row.pop("item"))} for row in memory],
        "memory_total": total,
    }


async def _recommendations(service: Service, asked: RecommendationsBody) -> dict[str, Any]:
    """Returns the best items for a request of the page.

    Raises:
        Refusal: If the request is at fault.
    """
    model = service.keeper.current
    history, exclude = asked.history, asked.exclude
    if asked.user_id is not None:
        if history:
            raise Refusal(400, "`user_id` and `history` are both given. Leave one out.")
        (history,) = histories_of([asked.user_id], service.users, service.limits)
    exclude = as_list(exclude)
    values = {"item_ids": [history], "k": asked.k}
    if "times" in model.metadata:
        values["times"] = [_chosen_now(history)]
        if asked.user_id is not None and service.users is not None and service.users.has_times:
            values["times"] = times_of([asked.user_id], service.users, service.limits)
    if exclude:
        values |= {"exclude_ids": [exclude], "allow_ids": [[]]}
    signature = model.signature(FILTERED if exclude else "recommend")
    inputs = checked_inputs(values, signature.inputs, service.limits)
    outputs = await call_model(service, model, signature, inputs, asked.diversity)
    marks = model.marks(inputs.rows)
    if "known_items" in marks:
        marks["known_items"] = marks["known_items"][0]
    return {"version": model.version, "items": model.described(outputs, 0), **marks}


def _chosen_now(history: Any) -> list[int]:
    """Returns the times of a history of the page, not checked yet: it is chosen now."""
    return [int(time.time())] * (len(history) if isinstance(history, list) else 0)


async def _why(service: Service, asked: WhyBody) -> dict[str, Any]:
    """Returns the items of a history with the leave-one-out drop of a recommended item's score.

    Raises:
        Refusal: If the request is at fault, or the model knows none of the items.
    """
    model = service.keeper.current
    signature = model.signature("encode")
    has_times = "times" in model.metadata
    history, item = (
        checked_inputs(
            {"item_ids": [row]} | ({"times": [_chosen_now(row)]} if has_times else {}),
            signature.inputs,
            service.limits,
        ).rows["item_ids"][0]
        for row in (asked.history, [asked.item])
    )
    ids = padded([history, item], b"")
    known = model.places(ids)
    place = known[1, 0]
    texts = [raw.decode("utf-8", "replace") for raw in ids[0][known[0] > 0]]
    if not place or not texts:
        raise Refusal(400, "the model knows not the item, or no item of the history.")
    times = _chosen_now(texts) if has_times else None
    items, id_rows, time_rows = left_out(texts, int(model.metadata["max_length"]), times)
    rows = {"item_ids": [[raw.encode() for raw in row] for row in id_rows]}
    if time_rows is not None:
        rows["times"] = [[b"%d" % seconds for seconds in row] for row in time_rows]
    inputs = RequestInputs(rows, ())
    vectors = (await service.batcher.call(model, signature, inputs))["vectors"]
    drops = score_drops(vectors, model.item_vectors[place - 1])
    order = np.argsort(-drops, kind="stable").tolist()
    return {
        "version": model.version,
        "items": [
            {**model.catalogue.describe(items[n]), "drop": round(float(drops[n]), 6)} for n in order
        ],
    }
