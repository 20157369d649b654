"""Operations of installed Python packages, such as tensorflow-text, which TensorFlow Serving has built in.

The packages are not imported: their shared libraries are loaded when a graph has an operation that TensorFlow does not
know. Look here to add a package.
"""

from __future__ import annotations

import logging
import mmap
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tfsctl.server.runtime import capi
from tfsctl.server.status import ServingError

log = logging.getLogger(__name__)

# Top-level module -> its libraries of operations.
_LIBRARIES = {
    "tensorflow_text": "python/ops/*.so",
    "ydf_tf": "*.so",
    "tensorflow_decision_forests": "tensorflow/ops/*/*.so",
}
_UNKNOWN = re.compile(r"Op type not registered '([^']+)'")
_tried: set[Path] = set()


def load_for(error: ServingError) -> bool:
    """Load the installed library with the operation that an error says is unknown.

    Returns whether a library was loaded, so that it is worth trying again.
    """
    unknown = _UNKNOWN.search(error.message)
    if unknown is None:
        return False
    for path in _libraries():
        if path in _tried or not _mentions(path, unknown[1].encode() + b"\0"):
            continue
        _tried.add(path)
        try:
            capi.load_library(str(path))
        except ServingError as reason:
            log.warning("Cannot load the operations in %s: %s", path, reason.message)
        else:
            log.info("Loaded operations: %s", path)
            return True
    return False


def _libraries() -> Iterator[Path]:
    for module, pattern in _LIBRARIES.items():
        spec = find_spec(module)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield from sorted(Path(folder).glob(pattern))


def _mentions(path: Path, name: bytes) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as contents:
        return contents.find(name) >= 0
