"""Files held against what is known of them."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from ufnrec_tf.common.errors import UserError


class Expected(NamedTuple):
    """What is known of a file before it comes.

    Attributes:
        checksum: "sha256:DIGITS" or "md5:DIGITS" as published, or "".
        num_bytes: Its size, or None where unknown.
        way_out: What one does who wants another file all the same; {sha256} stands for its own.
    """

    checksum: str = ""
    num_bytes: int | None = None
    way_out: str = ""


def check_file(path: Path, expected: Expected) -> tuple[str, str]:
    """Holds a file against what is expected.

    Returns:
        Its SHA-256, and what is wrong with it or "".

    Raises:
        UserError: If it cannot be read.
    """
    kind, _, digits = expected.checksum.partition(":")
    digests = {name: hashlib.new(name) for name in {"sha256", kind or "sha256"}}
    num_bytes = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                num_bytes += len(chunk)
                for digest in digests.values():
                    digest.update(chunk)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    sha256, wrong = digests["sha256"].hexdigest(), ""
    if digits and digests[kind].hexdigest() != digits.lower():
        wrong = f"has {kind} {digests[kind].hexdigest()}, expected {digits.lower()}"
    elif expected.num_bytes not in (None, num_bytes):
        wrong = f"has {num_bytes:,} bytes, expected {expected.num_bytes:,}"
    return sha256, wrong
