"""A :predict body to inputs, outputs to JSON."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.serving.limits import Limits, Refusal, shown

DEFAULT_SIGNATURE = "serving_default"
_KEYS = ("signature_name", "instances", "inputs")
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}

Rows = list[list[bytes]]
"""Ids of each history, UTF-8."""


class InputSpec(NamedTuple):
    """An input of a signature.

    Attributes:
        name: Its name.
        dtype: TensorFlow's name of its type: string, int32, ...
        shape: Sizes, -1 for any; of string inputs [-1, -1], of numbers [].
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def is_rows(self) -> bool:
        """Whether it holds a row of ids for each history, rather than one number for all."""
        return self.dtype == "string" and len(self.shape) == 2


class PredictRequest(NamedTuple):
    """A request's body, read.

    Attributes:
        signature: Name of the signature.
        is_columns: Whether the answer is asked for as columns.
        values: What `instances` or `inputs` holds, not yet looked into.
    """

    signature: str
    is_columns: bool
    values: Any


class RequestInputs(NamedTuple):
    """The inputs of one call.

    Attributes:
        rows: Input name -> its rows, of all inputs as many.
        numbers: (input name, value), in the signature's order.
    """

    rows: dict[str, Rows]
    numbers: tuple[tuple[str, int], ...]

    @property
    def num_rows(self) -> int:
        """Histories of the request."""
        return len(next(iter(self.rows.values())))


def read_json(body: bytes) -> Any:
    """Returns what a JSON body says.

    Raises:
        Refusal: If it is not UTF-8, no JSON, too deep, repeats a key, or has NaN or Infinity.
    """
    try:
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=_without_repeats, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise Refusal(
            400, f"the body is not UTF-8 (byte {error.start}). Send JSON in UTF-8."
        ) from None
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply. Histories are lists of lists.") from None
    except json.JSONDecodeError as error:
        raise Refusal(
            400,
            f"the body is not JSON: {error.msg}, line {error.lineno}, column {error.colno}. "
            'Expected such as {"instances": [["id 1", "id 2"]]}.',
        ) from None
    except ValueError:  # an integer of thousands of digits
        raise Refusal(400, "the body has a number that is too long.") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Refusal(400, f"an object has the key {shown(twice)} more than once.")
    return found


def _no_constant(name: str) -> Any:
    raise Refusal(400, f"{name} is no JSON number. Leave it out.")


def read_asked(body: bytes) -> PredictRequest:
    """Returns what a `:predict` body asks for.

    Raises:
        Refusal: If it is no JSON object with either `instances` or `inputs`.
    """
    document = read_json(body)
    if not isinstance(document, dict):
        raise Refusal(400, f"the body must be a JSON object. Received: {_kind(document)}.")
    for name in document:
        if name not in _KEYS:
            raise Refusal(
                400, f"unknown key {shown(name)}. Known: {', '.join(_KEYS)}.{nearest(name, _KEYS)}"
            )
    if ("instances" in document) == ("inputs" in document):
        raise Refusal(400, "the body must have either `instances` (rows) or `inputs` (columns).")
    signature = document.get("signature_name", "")
    if not isinstance(signature, str):
        raise Refusal(400, f"`signature_name` must be a string. Received: {_kind(signature)}.")
    is_columns = "inputs" in document
    values = document["inputs" if is_columns else "instances"]
    return PredictRequest(signature or DEFAULT_SIGNATURE, is_columns, values)


def read_inputs(asked: PredictRequest, specs: Sequence[InputSpec], limits: Limits) -> RequestInputs:
    """Returns the inputs of the signature that was asked for.

    Args:
        asked: The body.
        specs: The signature's inputs, at least one of them with rows.
        limits: Bounds of what may be asked for.

    Raises:
        Refusal: Naming the first value at fault.
    """
    by_name = _columns(asked, specs) if asked.is_columns else _from_instances(asked, specs)
    rows = {s.name: _rows(s.name, by_name[s.name], limits) for s in specs if s.is_rows}
    counts = {name: len(values) for name, values in rows.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise Refusal(400, f"the inputs must have as many rows each. Received: {told}.")
    numbers = [(s.name, _number(s.name, by_name[s.name], limits)) for s in specs if not s.is_rows]
    inputs = RequestInputs(rows, tuple(numbers))
    k = dict(numbers).get("k", 0)
    if k * inputs.num_rows > limits.max_answers:
        raise Refusal(
            400,
            f"{inputs.num_rows} histories with {k} items each are more than "
            f"{limits.max_answers:,} items. Send fewer histories, or a smaller k.",
        )
    return inputs


def _columns(asked: PredictRequest, specs: Sequence[InputSpec]) -> dict[str, Any]:
    """Returns the values by input name of the form `inputs`."""
    if not isinstance(asked.values, dict):
        if len(specs) == 1:
            return {specs[0].name: asked.values}
        raise Refusal(
            400,
            f"`inputs` must be an object with the keys {_names(specs)}, which the signature "
            f"{shown(asked.signature)} takes. Received: {_kind(asked.values)}.",
        )
    _check_names("`inputs`", asked.values, specs)
    return asked.values


def _from_instances(asked: PredictRequest, specs: Sequence[InputSpec]) -> dict[str, Any]:
    """Returns the values by input name of the form `instances`."""
    numbers = [spec.name for spec in specs if not spec.is_rows]
    if numbers:
        example = {s.name: [["id 1", "id 2"]] if s.is_rows else 10 for s in specs}
        body = {"signature_name": asked.signature, "inputs": example}
        raise Refusal(
            400,
            f"the signature {shown(asked.signature)} takes `{numbers[0]}`, one number for the "
            f"whole request, which `instances` cannot hold. Send {json.dumps(body)}.",
        )
    if not isinstance(asked.values, list):
        raise Refusal(400, f"`instances` must be a list. Received: {_kind(asked.values)}.")
    columns: dict[str, list[Any]] = {spec.name: [] for spec in specs}
    for number, instance in enumerate(asked.values):
        if isinstance(instance, dict):
            _check_names(f"instances[{number}]", instance, specs)
            for spec in specs:
                columns[spec.name].append(instance[spec.name])
        elif len(specs) == 1:
            columns[specs[0].name].append(instance)
        else:
            raise Refusal(
                400,
                f"instances[{number}] must be an object with the keys {_names(specs)}. "
                f"Received: {_kind(instance)}.",
            )
    return dict(columns)


def _check_names(where: str, values: dict[str, Any], specs: Sequence[InputSpec]) -> None:
    known = [spec.name for spec in specs]
    for name in values:
        if name not in known:
            raise Refusal(
                400,
                f"{where} has the unknown key {shown(name)}. Known: {_names(specs)}."
                f"{nearest(name, known)}",
            )
    for name in known:
        if name not in values:
            raise Refusal(400, f"{where} lacks `{name}`. Needed: {_names(specs)}.")


def _rows(name: str, values: Any, limits: Limits) -> Rows:
    """Returns rows of ids, UTF-8, unequal in length perhaps."""
    if not isinstance(values, list):
        raise Refusal(400, f"`{name}` must be a list of rows. Received: {_kind(values)}.")
    if not values:
        raise Refusal(400, f"`{name}` has no row. Send at least one; an empty history is [].")
    if len(values) > limits.max_instances:
        raise Refusal(
            400,
            f"`{name}` has {len(values):,} rows, more than {limits.max_instances:,}. "
            "Send them in several requests.",
        )
    rows = [_row(f"{name}[{number}]", row, limits) for number, row in enumerate(values)]
    if len(rows) * max(map(len, rows)) > limits.max_places:
        raise Refusal(
            400,
            f"`{name}` has more than {limits.max_places:,} ids once its rows are padded to the "
            "longest. Send them in several requests.",
        )
    return rows


def _row(where: str, values: Any, limits: Limits) -> list[bytes]:
    if not isinstance(values, list):
        raise Refusal(400, f"{where} must be a list of ids. Received: {_kind(values)}.")
    if len(values) > limits.max_history:
        raise Refusal(
            400,
            f"{where} has {len(values):,} ids, more than {limits.max_history:,}. "
            "Send the newest alone.",
        )
    row = []
    for place, value in enumerate(values):
        try:
            row.append(value.encode() if isinstance(value, str) else _from_b64(value))
        except (UnicodeEncodeError, TypeError, ValueError):
            raise Refusal(
                400,
                f"{where}[{place}] must be an id, a string of valid Unicode, or "
                f'{{"b64": "..."}}. Received: {shown(value)}.',
            ) from None
    return row


def _from_b64(value: Any) -> bytes:
    """Returns the bytes of `{"b64": "..."}`.

    Raises:
        TypeError: If it is something else.
        ValueError: If it is not base64.
    """
    if not isinstance(value, dict) or list(value) != ["b64"]:
        raise TypeError
    try:
        return base64.b64decode(value["b64"], validate=True)
    except binascii.Error as error:
        raise ValueError from error


def _number(name: str, value: Any, limits: Limits) -> int:
    most = limits.max_k if name == "k" else 2**31 - 1
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise Refusal(
            400, f"`{name}` must be an integer from 1 to {most:,}. Received: {shown(value)}."
        )
    return value


def _names(specs: Sequence[InputSpec]) -> str:
    return ", ".join(spec.name for spec in specs)


def _kind(value: Any) -> str:
    return "null" if value is None else _KINDS.get(type(value), "a number")


def answer(outputs: Mapping[str, np.ndarray], *, is_columns: bool) -> bytes:
    """Returns the JSON of an answer; the name of a single output is left out, as there.

    Args:
        outputs: Output name -> its values, the first axis the histories: object (UTF-8 bytes) or
            float32, finite.
        is_columns: Whether as columns (`outputs`) or a value a history (`predictions`).
    """
    columns = {name: plain(values) for name, values in outputs.items()}
    single = next(iter(columns)) if len(columns) == 1 else ""
    if is_columns:
        return to_json({"outputs": columns[single] if single else columns})
    if single:
        return to_json({"predictions": columns[single]})
    rows = zip(*columns.values(), strict=True)
    return to_json({"predictions": [dict(zip(columns, row, strict=True)) for row in rows]})


def plain(values: np.ndarray) -> list[Any]:
    """Returns an array as lists of what JSON knows; float32 by its shortest digits."""
    if values.dtype == object:
        texts = [value.decode("utf-8", "replace") for value in values.ravel()]
        return np.array(texts, dtype=object).reshape(values.shape).tolist()
    if values.dtype == np.float32:
        return values.astype("U16").astype(np.float64).tolist()
    return values.tolist()


def to_json(value: Any) -> bytes:
    """Returns a value as JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
