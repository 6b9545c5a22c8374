"""TensorFlow Serving's REST form: a :predict body to a model's inputs, its outputs to JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    PlainValidator,
    ValidationError,
    create_model,
)
from pydantic_core import ErrorDetails

from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.serving.limits import Limits, Refusal, shown_value

_MAX_INT32 = 2**31 - 1
_MAX_EXACT = 2**53  # whole numbers up to which a float tells each from its neighbours
_LONGEST_TIME = 16  # digits of a number of seconds
_LIST_OF_ROWS = "a list of rows"
_FORMS = ("instances", "inputs")

Body = TypeVar("Body", bound=BaseModel)
Rows = list[list[bytes]]
"""Ids of each history, UTF-8."""


class TensorInfo(NamedTuple):
    """An input or an output of a signature.

    Attributes:
        name: The name of the input or output.
        dtype: TensorFlow's name of its type: string, int32, ...
        shape: Sizes, -1 for any; of string inputs [-1, -1] or [-1], of numbers [].
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def is_rows(self) -> bool:
        """True if it holds a row of ids or times for each history, False if one number for all."""
        return self.dtype in ("string", "int64") and len(self.shape) > 0

    @property
    def is_single(self) -> bool:
        """True if each of its rows is one id, as those of `similar`."""
        return self.is_rows and len(self.shape) == 1


class RequestInputs(NamedTuple):
    """The inputs of one call.

    Attributes:
        rows: Input name -> its rows, of all inputs as many; one id is a row of one.
        numbers: (input name, value), in the signature's order.
    """

    rows: dict[str, Rows]
    numbers: tuple[tuple[str, int], ...]

    @property
    def num_rows(self) -> int:
        """Histories of the request."""
        return len(next(iter(self.rows.values())))


class PredictBody(BaseModel):
    """The body of a `:predict` request; its values are checked by `read_inputs`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    signature_name: str = Field("", description="a string")
    instances: list[Any] = Field([], description="a list")
    inputs: Any = None
    diversity: float = Field(
        0.0, ge=0, le=1, allow_inf_nan=False, description="a number from 0 to 1"
    )

    @property
    def signature(self) -> str:
        """Name of the signature."""
        return self.signature_name or "serving_default"

    @property
    def is_columns(self) -> bool:
        """True for `inputs`, a value an input; False for `instances`, a value a history."""
        return "inputs" in self.model_fields_set


def read_predict(body: bytes) -> PredictBody:
    """Returns a `:predict` body.

    Raises:
        Refusal: If it is not a JSON object with either `instances` or `inputs`.
    """
    found = checked(PredictBody, read_json(body))
    if len(found.model_fields_set.intersection(_FORMS)) != 1:
        raise Refusal(400, "the body must have either `instances` (rows) or `inputs` (columns).")
    return found


def read_json(body: bytes) -> Any:
    """Returns the value of a JSON body.

    Raises:
        Refusal: If it is not UTF-8, not JSON, too deep, repeats a key, or has NaN or Infinity.
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
        repeated = next(name for name in names if names.count(name) > 1)
        raise Refusal(400, f"an object has the key {shown_value(repeated)} more than once.")
    return found


def _no_constant(name: str) -> Any:
    raise Refusal(400, f"{name} is no JSON number. Leave it out.")


def checked(model: type[Body], value: Any, *, where: str = "the body") -> Body:
    """Returns a JSON value as a pydantic model.

    Args:
        model: The model; the `description` of each field says which values it takes.
        value: The value of `read_json`, or a part of it.
        where: The name of the value in an error.

    Raises:
        Refusal: Naming the first value at fault.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        unknown_keys = (each for each in errors if each["type"] == "extra_forbidden")
        raise Refusal(400, _fault(next(unknown_keys, errors[0]), model, where)) from None


def _fault(error: ErrorDetails, model: type[BaseModel], where: str) -> str:
    """Returns the line for an error of pydantic: the place, the expectation, the value."""
    known = ", ".join(model.model_fields)
    if not error["loc"]:
        shown = shown_value(error["input"])
        return f"{where} must be a JSON object with the keys {known}. Received: {shown}."
    name = str(error["loc"][0])
    places = [place for place in error["loc"] if isinstance(place, int)]
    field = "".join([name, *(f"[{place}]" for place in places)])
    match error["type"]:
        case "extra_forbidden":
            return (
                f"{where} has the unknown key {shown_value(name)}. Known: {known}."
                f"{nearest(name, model.model_fields)}"
            )
        case "missing":
            return f"{where} lacks `{name}`. Needed: {known}."
        case "too_short":
            return f"`{field}` has no row. Send at least one; an empty history is []."
        case "too_long":
            count, most = error["ctx"]["actual_length"], error["ctx"]["max_length"]
            if places:
                return f"`{field}` has {count:,} ids, more than {most:,}. Send only the newest."
            return (
                f"`{field}` has {count:,} rows, more than {most:,}. Send them in several requests."
            )
    described = model.model_fields[name].description
    expected = (
        described,
        *(["a list of ids"] if described == _LIST_OF_ROWS else []),
        'an id, a string of valid Unicode, a whole number, or {"b64": "..."}',
    )[len(places)]
    return f"`{field}` must be {expected}. Received: {shown_value(error['input'])}."


def read_inputs(body: PredictBody, infos: tuple[TensorInfo, ...], limits: Limits) -> RequestInputs:
    """Returns the inputs of the signature that a body names.

    Args:
        body: The body.
        infos: The signature's inputs, at least one of them with rows.
        limits: Bounds of a request.

    Raises:
        Refusal: Naming the first value at fault.
    """
    columns = body.inputs if body.is_columns else _columns_of_instances(body, infos)
    if body.is_columns and len(infos) == 1 and not isinstance(columns, dict):
        columns = {infos[0].name: columns}
    return checked_inputs(columns, infos, limits)


def _columns_of_instances(body: PredictBody, infos: Sequence[TensorInfo]) -> dict[str, list[Any]]:
    """Returns the values by input name of the form `instances`."""
    numbers = [info.name for info in infos if not info.is_rows]
    if numbers:
        inputs = {info.name: _example_of(info) for info in infos}
        example = {"signature_name": body.signature, "inputs": inputs}
        raise Refusal(
            400,
            f"the signature {shown_value(body.signature)} takes `{numbers[0]}`, one number for "
            f"the whole request, which `instances` cannot hold. Send {json.dumps(example)}.",
        )
    names = tuple(info.name for info in infos)
    if len(names) == 1 and not any(isinstance(instance, dict) for instance in body.instances):
        return {names[0]: body.instances}
    model = _instance_model(names)
    instances = [
        checked(
            model,
            {names[0]: instance} if len(names) == 1 and isinstance(instance, list) else instance,
            where=f"instances[{number}]",
        )
        for number, instance in enumerate(body.instances)
    ]
    return {name: [getattr(instance, name) for instance in instances] for name in names}


def _example_of(info: TensorInfo) -> Any:
    """Returns a value that an input takes, for messages."""
    if info.dtype == "int64":
        return [[1_700_000_000, 1_700_000_060]]
    return ["id 1"] if info.is_single else [["id 1", "id 2"]] if info.is_rows else 10


@lru_cache(maxsize=64)
def _instance_model(names: tuple[str, ...]) -> type[BaseModel]:
    """Returns the pydantic model of an object of `instances`, its values not checked."""
    fields: dict[str, Any] = dict.fromkeys(names, (Any, ...))
    return create_model("Instance", __config__=ConfigDict(extra="forbid"), **fields)


def checked_inputs(columns: Any, infos: tuple[TensorInfo, ...], limits: Limits) -> RequestInputs:
    """Returns the inputs of a signature, given by name.

    Args:
        columns: Input name -> rows of ids, or a number; a JSON value, not checked yet.
        infos: The signature's inputs, at least one of them with rows.
        limits: Bounds of a request.

    Raises:
        Refusal: Naming the first value at fault.
    """
    found = checked(_inputs_model(infos, limits), columns, where="`inputs`")
    rows = {info.name: getattr(found, info.name) for info in infos if info.is_rows}
    rows |= {info.name: [[raw] for raw in rows[info.name]] for info in infos if info.is_single}
    numbers = [(info.name, getattr(found, info.name)) for info in infos if not info.is_rows]
    inputs = RequestInputs(rows, tuple(numbers))
    counts = {name: len(values) for name, values in rows.items()}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise Refusal(400, f"the inputs must have as many rows each. Received: {shown}.")
    if "times" in rows:
        _check_times(rows)
    for name, values in rows.items():
        if len(values) * max(map(len, values)) > limits.max_padded_ids:
            raise Refusal(
                400,
                f"`{name}` has more than {limits.max_padded_ids:,} ids once its rows are padded "
                "to the longest. Send them in several requests.",
            )
    k = dict(numbers).get("k", 0)
    if k * inputs.num_rows > limits.max_answers:
        raise Refusal(
            400,
            f"{inputs.num_rows} histories with {k} items each are more than "
            f"{limits.max_answers:,} items. Send fewer histories, or a smaller k.",
        )
    return inputs


def _check_times(rows: dict[str, Rows]) -> None:
    """Raises Refusal unless each id of a history has a time, a whole number of seconds."""
    for number, (ids, times) in enumerate(zip(rows["item_ids"], rows["times"], strict=True)):
        if not all(time.isdigit() and len(time) < _LONGEST_TIME for time in times):
            raise Refusal(400, f"`times[{number}]` must be whole numbers, seconds since 1970.")
        if not 0 <= len(times) - len(ids) <= 1:
            raise Refusal(
                400,
                f"`times[{number}]` must have a time for each id of `item_ids[{number}]`. "
                f"Received: {len(times)} times for {len(ids)} ids.",
            )


def _bytes_of_base64(value: Any) -> bytes:
    """Returns the bytes of `{"b64": "..."}`.

    Raises:
        ValueError: If it is something else.
    """
    if not isinstance(value, dict) or list(value) != ["b64"] or not isinstance(value["b64"], str):
        raise ValueError("not an id")
    return base64.b64decode(value["b64"], validate=True)


def _bytes_of_number(value: Any) -> bytes:
    """Returns the text of a whole number: 125 and 125.0 are the id "125".

    Raises:
        ValueError: If it is something else, or a float that cannot tell it from its neighbours.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_EXACT:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("not an id")
    return str(value).encode()


def id_bytes(value: Any) -> bytes:
    """Returns a raw id, a JSON value, as UTF-8.

    Raises:
        ValueError: If it is no string of valid Unicode, whole number or `{"b64": "..."}`.
    """
    if isinstance(value, str):
        return value.encode("utf-8")
    return _bytes_of_base64(value) if isinstance(value, dict) else _bytes_of_number(value)


_AnyId = Annotated[Any, PlainValidator(id_bytes)]


@lru_cache(maxsize=64)
def _inputs_model(infos: tuple[TensorInfo, ...], limits: Limits) -> type[BaseModel]:
    """Returns the pydantic model of a signature's inputs.

    pydantic turns strings into their UTF-8 bytes itself; `FailFast` bounds the work of a bad body.
    """
    raw_id = Annotated[bytes | _AnyId, Field(union_mode="left_to_right")]
    row = Annotated[list[raw_id], Field(max_length=limits.max_history), FailFast()]
    rows = Annotated[
        list[row],
        Field(min_length=1, max_length=limits.max_instances, description=_LIST_OF_ROWS),
        FailFast(),
    ]
    items = Annotated[
        list[raw_id],
        Field(min_length=1, max_length=limits.max_instances, description="a list of ids"),
        FailFast(),
    ]
    fields: dict[str, Any] = {}
    for info in infos:
        most = limits.max_k if info.name == "k" else _MAX_INT32
        number = Annotated[
            int, Field(strict=True, ge=1, le=most, description=f"an integer from 1 to {most:,}")
        ]
        kind = items if info.is_single else rows if info.is_rows else number
        fields[info.name] = (kind, ...)
    return create_model("Inputs", __config__=ConfigDict(extra="forbid"), **fields)


def answer_json(
    outputs: Mapping[str, np.ndarray], *, is_columns: bool, beside: Mapping[str, Any] | None = None
) -> bytes:
    """Returns the JSON of an answer; a single output stands without its name.

    Args:
        outputs: Output name -> its values, the first axis the histories: object (UTF-8 bytes) or
            float32, finite.
        is_columns: True for columns (`outputs`), False for a value a history (`predictions`).
        beside: Keys beside that one, which TensorFlow Serving does not have.
    """
    beside = beside or {}
    columns = {name: _as_lists(values) for name, values in outputs.items()}
    single = next(iter(columns)) if len(columns) == 1 else ""
    if is_columns:
        return to_json({"outputs": columns[single] if single else columns, **beside})
    if single:
        return to_json({"predictions": columns[single], **beside})
    rows = zip(*columns.values(), strict=True)
    predictions = [dict(zip(columns, row, strict=True)) for row in rows]
    return to_json({"predictions": predictions, **beside})


def _as_lists(values: np.ndarray) -> list[Any]:
    """Returns an array as lists of strings or numbers; float32 by its shortest digits."""
    if values.dtype == object:
        return _decoded(values.tolist())
    if values.dtype == np.float32:
        return values.astype("U16").astype(np.float64).tolist()
    return values.tolist()


def _decoded(value: Any) -> Any:
    """Returns UTF-8 bytes, or lists of them however deep, as strings."""
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    return value.decode("utf-8", "replace")


def to_json(value: Any) -> bytes:
    """Returns a value as JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
