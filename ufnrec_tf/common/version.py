"""The version of the package, and those of what it runs on."""

import platform
from importlib.metadata import PackageNotFoundError, version

__version__ = "0.1.0"


def versions_line() -> str:
    """Returns the versions of the package, Python, TensorFlow and Keras, importing none of them."""
    known = [f"ufnrec-tf {__version__}", f"Python {platform.python_version()}"]
    for name, package in (("TensorFlow", "tensorflow"), ("Keras", "keras")):
        try:
            known.append(f"{name} {version(package)}")
        except PackageNotFoundError:  # it has another name, such as tensorflow-cpu
            known.append(f"{name} not installed as {package}")
    return ", ".join(known)
