"""The signatures of a model on any server, as messages, for converting recorded REST requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tfsctl.core import dtypes, protos
from tfsctl.core.types import ModelMetadata, ModelRef

METADATA_S = 5.0  # how long the signatures of the latest version are cached


class ServedSignatures:
    """The signatures of a model on a server, for the thread of the log. `fetch` asks the server for them."""

    def __init__(self, fetch: Callable[[ModelRef], ModelMetadata]) -> None:
        self._fetch = fetch
        self._found: dict[ModelRef, tuple[float, int, dict[str, Any]]] = {}

    def get(self, ref: ModelRef) -> tuple[int, dict[str, Any]]:
        """The version that `ref` names, and its SignatureDef messages. Raises TfsctlError if the server does not answer."""
        begun, version, definitions = self._found.get(ref, (0.0, 0, {}))
        if definitions and (ref.version is not None or time.monotonic() - begun < METADATA_S):
            return version, definitions
        metadata = self._fetch(ref)
        definitions = {}
        for name, signature in metadata.signatures.items():
            definition = definitions[name] = protos.SignatureDef()
            for specs, infos in ((signature.inputs, definition.inputs), (signature.outputs, definition.outputs)):
                for spec in specs:
                    infos[spec.name].dtype = dtypes.BY_NAME[spec.dtype].number
        version = metadata.version or 0
        self._found[ref] = time.monotonic(), version, definitions
        return version, definitions
