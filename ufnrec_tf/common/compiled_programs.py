"""Keeps what XLA compiled, so that the next process that trains the same shapes loads it.

TensorFlow can write the programs that XLA makes for the CPU into a folder, and read them again. It
trusts what lies there: a damaged program would crash or compute something else, and one of another
processor would end the process. Hence each kind of machine has a folder of its own, which only its
user can write to, and a program is left there only with its hash.
"""

import hashlib
import os
import shutil
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import sha256_of
from ufnrec_tf.common.paths import cache_folder, expanded

VARIABLE = "UFNREC_PROGRAMS"
"""The environment variable that names the folder, or `off`."""

_MOST_BYTES = 1 << 28
"""Size of all programs: the oldest are removed."""
_LEAST_FREE_BYTES = 1 << 30
"""With less free space nothing is written: TensorFlow ends a run that cannot write a program."""
_DAY = 86_400
_FLAGS = "TF_XLA_FLAGS"
_CACHE, _PREFIX = "--tf_xla_persistent_cache_", "program"
_OF_THE_PROCESSOR = (
    *("vendor_id", "cpu family", "model", "stepping", "flags"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"),
)
_OF_THE_COMPILER = ("XLA_FLAGS", "TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
_kept_in: list[Path] = []
"""The folder of this process, if it keeps programs."""


def keep_programs() -> None:
    """Lets this process load and keep compiled programs. Call it before TensorFlow is imported.

    Does nothing where that is switched off, where the folder cannot be used, and on systems other
    than Linux, whose processors are not told apart here.
    """
    given, flags = os.environ.get(VARIABLE, ""), os.environ.get(_FLAGS, "").split()
    if f"{_CACHE}prefix={_PREFIX}" in flags:  # of the process that started this one
        flags = [flag for flag in flags if not flag.startswith(_CACHE)]
    if given == "off" or "tensorflow" in sys.modules or any(_CACHE in flag for flag in flags):
        return
    try:
        root = Path(expanded(given)) if given else cache_folder() / "programs"
        folder = root.absolute() / _machine_key(flags)
        if str(folder).split() != [str(folder)]:  # TensorFlow splits its flags at spaces
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
        if about.st_uid != os.getuid() or about.st_mode & 0o022:
            return
        _remove_doubtful(folder)
        _remove_oldest(root)
        is_full = shutil.disk_usage(folder).free < _LEAST_FREE_BYTES
    except (OSError, UserError, RuntimeError):  # the last where there is no home folder
        return
    own: dict[str, object] = {
        "directory": folder,
        "prefix": _PREFIX,
        "device_types": "CPU,XLA_CPU_JIT",  # as a device, and as what XLA compiles for
        **({"read_only": "true"} if is_full else {}),
    }
    os.environ[_FLAGS] = " ".join([*flags, *(f"{_CACHE}{key}={own[key]}" for key in own)])
    _kept_in[:] = [folder]


def seal_programs() -> None:
    """Writes the hashes of the programs that were compiled since. Does nothing without a folder."""
    for folder in _kept_in:
        with suppress(OSError):
            for path in folder.glob("*.pb"):
                if not _seal(path).exists():
                    # Not waited for until it is on the disk: after a crash it fits or it does not.
                    new = path.with_suffix(f".{os.getpid()}.tmp")
                    new.write_text(sha256_of(path), encoding="utf-8")
                    new.rename(_seal(path))


def drop_programs() -> None:
    """Removes the programs of this machine after an error, as one of them may be its cause."""
    for folder in _kept_in:
        for path in folder.glob("*.pb"):
            with suppress(OSError):
                path.unlink()
                _seal(path).unlink()


def _seal(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _machine_key(flags: list[str]) -> str:
    """Returns a name for the processor, the TensorFlow and the settings that programs depend on.

    Raises:
        OSError: If they cannot be found out.
    """
    spec = find_spec("tensorflow")
    if spec is None or spec.origin is None:
        raise OSError("no TensorFlow")
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    facts = [line for line in lines if line.partition(":")[0].strip() in _OF_THE_PROCESSOR]
    facts.append(f"{len(os.sched_getaffinity(0))} cores")
    facts += [f"{name}={os.environ.get(name, '')}" for name in _OF_THE_COMPILER]
    facts += flags
    for library in sorted(Path(spec.origin).parent.glob("libtensorflow*")):
        about = library.stat()
        facts.append(f"{library} {about.st_size} {about.st_mtime_ns}")
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _remove_doubtful(folder: Path) -> None:
    """Removes programs without their hash: damaged ones, and those of a process that was killed.

    Where the process still runs, it goes on with what it has compiled.
    """
    for path in folder.glob("*.pb"):
        seal = _seal(path)
        with suppress(FileNotFoundError):
            if seal.is_file() and seal.read_text(errors="replace") == sha256_of(path):
                continue
            path.unlink()
            seal.unlink(missing_ok=True)
    for path in folder.glob("*.tmp"):
        with suppress(FileNotFoundError):
            # A process that still writes it would end with an error.
            if path.stat().st_mtime < time.time() - _DAY:
                path.unlink()


def _remove_oldest(root: Path) -> None:
    """Removes the oldest programs of all machines until the rest has half of the allowed size."""
    programs = [(path, path.stat()) for path in root.glob("*/*.pb")]
    size = sum(about.st_size for _, about in programs)
    if size <= _MOST_BYTES:
        return
    for path, about in sorted(programs, key=lambda program: program[1].st_mtime_ns):
        if size <= _MOST_BYTES // 2:
            return
        _seal(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        size -= about.st_size
