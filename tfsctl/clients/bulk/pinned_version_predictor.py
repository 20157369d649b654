"""Send many batches to one version of a model, and follow the server to a newer version."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.batches import RowBatch, fixed_batch_size, request_arrays
from tfsctl.core.types import ModelRef, Signature
from tfsctl.errors import InvalidInput, NotFound


class PinnedVersionPredictor:
    """Sends batches to the version whose signature was fetched.

    Once that version is unloaded, it continues with the newer one if its inputs are the same, and calls `note`.
    """

    def __init__(
        self,
        client: ServingClient,
        model: ModelRef,
        version: int | None,
        signature: Signature,
        output_names: Sequence[str],
        *,
        note: Callable[[str], None],
    ) -> None:
        self._client, self._model, self._signature, self.output_names = client, model, signature, output_names
        self._pinned = model if version is None else replace(model, version=version, label=None)
        self._note = note
        self._lock = threading.Lock()

    def predict(self, batch: RowBatch) -> Mapping[str, np.ndarray]:
        """The outputs for a batch. Raises what ServingClient raises, and InvalidInput if the model needs more rows."""
        fixed = fixed_batch_size(self._signature)
        if fixed not in (None, len(batch)):
            raise InvalidInput(
                f"{self._signature.name} takes exactly {fixed} rows per request, and {len(batch)} remain from row "
                f"{batch.rows[0]} on",
                hint="add rows to fill the last request",
            )
        pinned = self._pinned
        try:
            return self._predict(pinned, batch)
        except NotFound:
            if pinned == self._model:
                raise
            self._follow(pinned, int(batch.rows[0]))
        return self._predict(self._pinned, batch)

    def _predict(self, version: ModelRef, batch: RowBatch) -> Mapping[str, np.ndarray]:
        arrays = request_arrays(batch, self._signature)
        found = self._client.predict(version, arrays, signature=self._signature.name, outputs=self.output_names).outputs
        return {name: found[name] for name in self.output_names} if self.output_names else found

    def _follow(self, gone: ModelRef, row: int) -> None:
        with self._lock:
            if self._pinned != gone:
                return
            newer = self._client.metadata(self._model)
            if newer.version == gone.version:
                raise NotFound(f"{gone} is no longer served")
            same = newer.signatures.get(self._signature.name)
            if same is None or [(s.name, s.dtype, s.shape) for s in same.inputs] != [
                (s.name, s.dtype, s.shape) for s in self._signature.inputs
            ]:
                raise NotFound(f"{gone} is no longer served, and version {newer.version} has different inputs")
            self._pinned = replace(gone, version=newer.version)
            self._note(f"{gone} is no longer served; from about row {row:,} on, version {newer.version} answers")
