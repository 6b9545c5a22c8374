"""TensorBoard's event files as bytes and numbers, without TensorFlow."""

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

EVENTS = "events.out.tfevents."
"""How the names of TensorFlow's event files begin; by it TensorBoard finds them."""
_BEFORE_EVENT, _AFTER_EVENT = 12, 4
"""Bytes of a record before and after its event."""


class Record(NamedTuple):
    """A whole record of an event file.

    Attributes:
        begin: The place in the file where it begins.
        end: The place in the file where the next one begins.
        event: The event's bytes.
    """

    begin: int
    end: int
    event: bytes


def whole_records(data: bytes) -> Iterator[Record]:
    """Yields the whole records of an event file and stops at one that was cut off.

    A record is its length, a checksum of that, an event and the event's checksum.

    Source: TensorFlow's guide to TFRecord files.
    """
    place = 0
    while place + _BEFORE_EVENT <= len(data):
        (size,) = struct.unpack_from("<Q", data, place)
        begin, end = place + _BEFORE_EVENT, place + _BEFORE_EVENT + size + _AFTER_EVENT
        if end > len(data):
            return
        yield Record(place, end, data[begin : begin + size])
        place = end


OLDER_TAGS = {
    "gate/is_open": "ufnrec/gate_is_open",
    "false_negatives/": "ufnrec/",
    "memory/": "ufnrec_memory/",
    "optimizer/": "training/",
    "speed/": "training/",
}
"""How tags began in runs of older versions -> how they begin now."""


def current_tag(tag: str) -> str:
    """Returns the present name of a tag."""
    for older, now in OLDER_TAGS.items():
        if tag.startswith(older):
            return now + tag.removeprefix(older)
    return tag


def read_scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Returns the scalars of a folder's event files: tag -> step -> value, steps ascending.

    Tags of older versions have their present names.

    What cannot be read as an event is passed over: the files are an account, not the run.

    Args:
        folder: The folder of one part, such as `tensorboard/curves`; may be missing.
    """
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    found: dict[str, dict[int, float]] = defaultdict(dict)
    for path in sorted(folder.glob(f"{EVENTS}*")):
        for record in whole_records(path.read_bytes()):
            try:
                event = Event.FromString(record.event)
                for value in event.summary.value:
                    if value.metadata.plugin_data.plugin_name == "scalars":
                        found[current_tag(value.tag)][event.step] = _number(value.tensor)
            except (DecodeError, IndexError, struct.error):
                break
    return {tag: dict(sorted(points.items())) for tag, points in found.items()}


def _number(tensor: object) -> float:
    """Returns the float32 of a scalar tensor's message."""
    content, values = tensor.tensor_content, tensor.float_val  # type: ignore[attr-defined]
    return float(struct.unpack("<f", content)[0] if content else values[0])
