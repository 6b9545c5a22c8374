"""Arrays on the disk, written and read some rows at a time, with a checksum each.

TensorFlow's own checkpoints hold a tensor that is restored twice, and give back neither copy; the
tables of a memory are the largest thing that a run has.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

_CHUNK_BYTES = 1 << 24


def write_arrays(prefix: Path, arrays: Mapping[str, tf.Variable | np.ndarray]) -> None:
    """Writes `PREFIX.NAME.npy` for each array, of one dimension or more, and `PREFIX.json`.

    Raises:
        OSError: If the disk does not take them.
    """
    checksums = {}
    for name, array in arrays.items():
        own = array.dtype.as_numpy_dtype if isinstance(array, tf.Variable) else array.dtype
        dtype, shape = np.dtype(own), tuple(int(size) for size in array.shape)
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": shape,
        }
        step, checksum = _chunk_rows(shape, dtype), 0
        with _file_of(prefix, name).open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for chunk in _chunks(array, step):
                data = np.ascontiguousarray(chunk).tobytes()
                checksum = zlib.crc32(data, checksum)
                file.write(data)
        checksums[name] = checksum
    prefix.with_name(f"{prefix.name}.json").write_text(json.dumps(checksums), encoding="utf-8")


def _chunks(array: tf.Variable | np.ndarray, step: int) -> Iterator[np.ndarray]:
    length = int(array.shape[0])
    for begin in range(0, length, step):
        end = min(begin + step, length)
        if isinstance(array, tf.Variable):
            # A gather: a slice of a table that has been written to would copy all of it.
            yield tf.gather(array, tf.range(begin, end)).numpy()
        else:
            yield array[begin:end]


def _chunk_rows(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Returns how many rows of an array are handled at once."""
    return max(1, _CHUNK_BYTES // max(int(np.prod(shape[1:])) * dtype.itemsize, 1))


def _file_of(prefix: Path, name: str) -> Path:
    return prefix.with_name(f"{prefix.name}.{name}.npy")


def names_of(prefix: Path) -> list[str]:
    """Returns the names of the arrays that were written.

    Raises:
        OSError: If there are none.
        ValueError: If the list of them is damaged.
    """
    return list(_checksums(prefix))


def _checksums(prefix: Path) -> dict[str, int]:
    text = prefix.with_name(f"{prefix.name}.json").read_text(encoding="utf-8")
    checksums = json.loads(text)
    if not isinstance(checksums, dict):
        raise ValueError(f"{prefix.name}.json holds no checksums")
    return checksums


def read_chunks(prefix: Path, name: str) -> Iterator[tuple[tuple[int, ...], int, np.ndarray]]:
    """Yields the array's shape, the first row and the rows of each chunk, in order.

    Where there are no rows, one chunk without any. The checksum is held against the bytes when
    the last one has been taken.

    Raises:
        OSError: If the file is missing.
        ValueError: If it is damaged.
    """
    path, expected = _file_of(prefix, name), _checksums(prefix).get(name)
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{path.name} is no array file of this program")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if is_fortran or dtype.hasobject or not shape:
            raise ValueError(f"{path.name} is no array file of this program")
        width = int(np.prod(shape[1:]))
        step, checksum = _chunk_rows(shape, dtype), 0
        for begin in range(0, max(shape[0], 1), step):
            num_rows = min(step, shape[0] - begin)
            data = file.read(num_rows * width * dtype.itemsize)
            checksum = zlib.crc32(data, checksum)
            rows = np.frombuffer(data, dtype)
            if rows.size != num_rows * width:
                raise ValueError(f"{path.name} is cut short")
            yield shape, begin, rows.reshape(num_rows, *shape[1:])
        if checksum != expected or file.read(1):
            raise ValueError(f"{path.name} has another checksum than was written")


def read_array(prefix: Path, name: str) -> np.ndarray:
    """Returns an array whole; see `read_chunks`."""
    return np.concatenate([rows for _, _, rows in read_chunks(prefix, name)])
