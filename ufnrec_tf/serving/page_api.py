"""The page at `/`, and what it asks: items and users by text, a user, recommendations."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response

from ufnrec_tf.serving.limits import Refusal
from ufnrec_tf.serving.models import LoadedModel
from ufnrec_tf.serving.rest import PredictRequest, read_inputs, read_json
from ufnrec_tf.serving.service import Service, json_response, read_body

FILTERED = "recommend_filtered"
_PAGE = Path(__file__).with_name("page.html")
_KEYS = ("history", "exclude", "k")

Text = Annotated[str, Query(max_length=200)]
Count = Annotated[int, Query(ge=1, le=100)]


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
    """Adds the page and its questions to the application."""
    page = _PAGE.read_text(encoding="utf-8")
    policy = page_policy(page)

    @app.get("/")
    async def show_page() -> Response:
        headers = {"content-security-policy": policy}
        return Response(page, headers=headers, media_type="text/html; charset=utf-8")

    # No coroutines: a search of a million titles goes to another thread.
    @app.get("/api/status")
    def status() -> Response:
        return json_response(_status(service))

    @app.get("/api/items")
    def items(q: Text = "", limit: Count = 20) -> Response:
        return json_response({"items": service.keeper.current.catalogue.search(q, limit=limit)})

    @app.get("/api/users")
    def users(q: Text = "", limit: Count = 20) -> Response:
        found = service.people.search(q, limit=limit) if service.people else []
        return json_response({"users": found})

    @app.get("/api/user")
    def user(id: str) -> Response:
        return json_response(_user(service, id))

    async def recommendations(request: Request) -> Response:
        document = read_json(await read_body(request, service.limits))
        return json_response(await _recommendations(service, document))

    app.add_route("/api/recommendations", recommendations, methods=["POST"])


def _status(service: Service) -> dict[str, Any]:
    """Returns what the page needs to know of the server."""
    model, people = service.keeper.current, service.people
    return {
        "version": model.version,
        "num_items": int(model.metadata["num_items"]),
        "has_items": len(model.catalogue) > 0,
        "has_titles": model.catalogue.has_titles,
        "max_length": model.metadata.get("max_length"),
        "mask_seen": bool(model.metadata.get("mask_seen", True)),
        "can_exclude": FILTERED in model.signatures,
        "num_users": len(people) if people else 0,
        "users_from": people.source if people else "",
        "has_memory": bool(people and people.has_memory),
    }


def _user(service: Service, user: str) -> dict[str, Any]:
    """Returns a user's history and what the memory holds for the user.

    Raises:
        Refusal: If nobody of that id is known.
    """
    people, catalogue = service.people, service.keeper.current.catalogue
    history = people.history(user, most=service.limits.max_history) if people else None
    if people is None or history is None:
        raise Refusal(404, "no user of this id is known.")
    memory, total = people.remembered(user)
    return {
        "id": user,
        "history": [catalogue.describe(item) for item in history],
        "memory": [{**row, **catalogue.describe(row.pop("item"))} for row in memory],
        "memory_total": total,
    }


async def _recommendations(service: Service, document: Any) -> dict[str, Any]:
    """Returns the best items for `{"history": [...], "exclude": [...], "k": 10}`.

    Raises:
        Refusal: If the request is at fault.
    """
    if not isinstance(document, dict) or not set(document) <= set(_KEYS):
        raise Refusal(400, f"the body must be an object with the keys {', '.join(_KEYS)}.")
    model = service.keeper.current
    exclude = document.get("exclude", [])
    name = FILTERED if exclude else "recommend"
    values = {"item_ids": [document.get("history", [])], "k": document.get("k", 10)}
    if exclude:
        values |= {"exclude_ids": [exclude], "allow_ids": [[]]}
    signature = model.signature(name)
    inputs = read_inputs(PredictRequest(name, True, values), signature.inputs, service.limits)
    outputs = await service.batcher.call(model, signature, inputs)
    return {"version": model.version, "items": _shown_items(model, outputs)}


def _shown_items(model: LoadedModel, outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the items of an answer for one history, empty places left out."""
    pairs = zip(outputs["item_ids"][0], outputs["scores"][0], strict=True)
    return [
        {**model.catalogue.describe(raw.decode("utf-8", "replace")), "score": float(str(score))}
        for raw, score in pairs
        if raw
    ]
