"""`user_id` in a request: the histories of users of the run, in place of `item_ids`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ufnrec_tf.serving.limits import Limits, Refusal, shown_value
from ufnrec_tf.serving.page_search import Users
from ufnrec_tf.serving.rest import PredictBody, id_bytes

USER_ID = "user_id"
_ITEM_IDS = "item_ids"


def with_histories(body: PredictBody, users: Users | None, limits: Limits) -> PredictBody:
    """Returns a body with `item_ids` where it has `user_id`; without one, the body itself.

    An object of `instances` has one user, the column of `inputs` has a list of them.

    Args:
        body: The body of a `:predict` request.
        users: The users of the run, or None if they are not known.
        limits: The newest `max_history` items of a user are taken.

    Raises:
        Refusal: If a user is not known, or both `user_id` and `item_ids` are given.
    """
    if body.is_columns:
        if not isinstance(body.inputs, dict) or USER_ID not in body.inputs:
            return body
        inputs = dict(body.inputs)
        asked = inputs.pop(USER_ID)
        if not isinstance(asked, list):
            raise Refusal(
                400, f"`{USER_ID}` must be a list of users. Received: {shown_value(asked)}."
            )
        _refuse_both(inputs)
        inputs |= _inputs_of(asked, users, limits)
        return body.model_copy(update={"inputs": inputs})
    places = [
        place
        for place, instance in enumerate(body.instances)
        if isinstance(instance, dict) and USER_ID in instance
    ]
    if not places:
        return body
    instances = list(body.instances)
    found = _inputs_of([instances[place][USER_ID] for place in places], users, limits)
    for number, place in enumerate(places):
        instance = {key: value for key, value in instances[place].items() if key != USER_ID}
        _refuse_both(instance)
        instances[place] = instance | {name: rows[number] for name, rows in found.items()}
    return body.model_copy(update={"instances": instances})


def _inputs_of(asked: Sequence[Any], users: Users | None, limits: Limits) -> dict[str, list[Any]]:
    """Returns `item_ids` of users, and where the run's model reads them their `times`."""
    found: dict[str, list[Any]] = {_ITEM_IDS: histories_of(asked, users, limits)}
    if users is not None and users.has_times:
        found["times"] = times_of(asked, users, limits)
    return found


def times_of(asked: Sequence[Any], users: Users, limits: Limits) -> list[list[int]]:
    """Returns the times of what `histories_of` returns, for users that it knows."""
    names = (id_bytes(value).decode("utf-8") for value in asked)
    return [users.times(name, most=limits.max_history) for name in names]


def histories_of(asked: Sequence[Any], users: Users | None, limits: Limits) -> list[list[str]]:
    """Returns the newest raw item ids of users, oldest first.

    Args:
        asked: Raw user ids, JSON values, not checked yet.
        users: The users of the run, or None if they are not known.
        limits: Bounds of a request.

    Raises:
        Refusal: If users are not known at all, or one of them is not.
    """
    if users is None:
        raise Refusal(
            400,
            f"`{USER_ID}` is not available here: this server knows a model only. Send `item_ids`, "
            "or start the server with --workdir=DIR, which has the histories of its users.",
        )
    if len(asked) > limits.max_instances:
        raise Refusal(
            400,
            f"`{USER_ID}` has {len(asked):,} users, more than {limits.max_instances:,}. Send them "
            "in several requests.",
        )
    found: list[list[str]] = []
    unknown: list[Any] = []
    for value in asked:
        try:
            user = id_bytes(value).decode("utf-8")
        except ValueError:
            raise Refusal(
                400,
                f"`{USER_ID}` must be an id, a string or a whole number. Received: "
                f"{shown_value(value)}.",
            ) from None
        history = users.history(user, most=limits.max_history)
        if history is None:
            unknown.append(value)
        else:
            found.append(history)
    if unknown:
        raise Refusal(
            404,
            f"{len(unknown):,} of {len(asked):,} users are not users of the run, such as "
            f"{shown_value(unknown[0])}. Leave them out, or send their `item_ids`.",
        )
    return found


def _refuse_both(values: dict[str, Any]) -> None:
    if _ITEM_IDS in values:
        raise Refusal(400, f"`{USER_ID}` and `{_ITEM_IDS}` are both given. Leave one out.")
