"""`Client`: query a model server from Python. Inputs are plain values or arrays, and outputs are NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from tfsctl.api.arrays import input_arrays
from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.types import ModelMetadata, ModelRef, Signature, VersionStatus
from tfsctl.errors import InvalidInput, NotFound, RequestRejected
from tfsctl.inputs.predict_inputs import choose_outputs, choose_signature

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Self

    from tfsctl.api.arrays import Inputs

# After these errors the metadata are fetched again, because the server may have loaded a version with other signatures.
_STALE_METADATA_ERRORS = (RequestRejected, NotFound, InvalidInput)


class Client:
    """A client for one model server, made by `tfsctl.connect`. Close it, or use it as a context manager.

    Threads may share a client. It can be used after a fork, and cannot be pickled. The `model`, `version` and `label`
    of `connect` are the defaults of every call. Every call may raise:

    - ServerUnreachable if the server cannot be reached,
    - NotReadyInTime if there is no answer within the timeout,
    - NotFound if the server does not have the model, version, label or signature,
    - InvalidInput if the inputs do not fit the model; nothing is sent then,
    - RequestRejected for every other error of the server.
    """

    def __init__(self, connect: Callable[[], ServingClient], model: ModelRef | None) -> None:
        self._connect = connect
        self._connection = connect()
        self._process = os.getpid()
        self._parent_connections: list[ServingClient] = []
        self._is_closed = False
        self._model = model
        self._metadata: dict[ModelRef, ModelMetadata] = {}

    def __repr__(self) -> str:
        about = f", model={self._model}" if self._model else ""
        return f"<tfsctl.Client {self.address} over {self._connection.transport}{about}>"

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: another process cannot use this connection."""
        raise TypeError("a tfsctl.Client cannot be pickled: call tfsctl.connect in each process")

    @property
    def address(self) -> str:
        """The address of the server."""
        return self._connection.address

    @property
    def _client(self) -> ServingClient:
        """The connection of this process. After a fork it is opened anew, because the old one belongs to the parent."""
        if self._is_closed:
            raise InvalidInput(f"the client of {self.address} is closed", hint="tfsctl.connect opens another")
        if self._process != os.getpid():
            self._parent_connections.append(self._connection)  # closing it would close it for the parent too
            self._connection, self._process = self._connect(), os.getpid()
        return self._connection

    def predict(
        self,
        inputs: Inputs,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        outputs: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Run a signature on a batch. Takes an array, nested lists or a value per input; returns an array per output.

        `inputs` maps input names to values; for a model with one input it may be the value alone. `outputs` names the
        outputs to return (default: all). The returned arrays are read-only: use `array.copy()` to change one.

        The model's metadata are fetched once, and again if the server may have loaded a version with other signatures.
        """
        ref = self._ref(model, version, label)
        is_cached = ref in self._metadata
        try:
            return self._predict(ref, self._metadata.get(ref) or self._fetch_metadata(ref), inputs, signature, outputs)
        except _STALE_METADATA_ERRORS:
            cached = self._metadata[ref] if is_cached else None
            if cached is None or self._fetch_metadata(ref).signatures == cached.signatures:
                raise
        return self._predict(ref, self._metadata[ref], inputs, signature, outputs)

    def metadata(
        self, model: str | None = None, *, version: int | None = None, label: str | None = None
    ) -> ModelMetadata:
        """Fetch the model's version number and its signatures."""
        return self._fetch_metadata(self._ref(model, version, label))

    def status(self, model: str | None = None, *, version: int | None = None) -> tuple[VersionStatus, ...]:
        """Fetch the state of each version of the model, highest version first."""
        return self._client.status(self._ref(model, version, None))

    def close(self) -> None:
        """Close the connection. Later calls raise InvalidInput."""
        if not self._is_closed:
            self._client.close()
        self._is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _predict(
        self,
        ref: ModelRef,
        served: ModelMetadata,
        inputs: Inputs,
        signature: str | None,
        outputs: Sequence[str],
    ) -> dict[str, np.ndarray]:
        chosen: Signature = choose_signature(served, signature)
        wanted = choose_outputs(chosen, outputs) if outputs else ()
        arrays = input_arrays(inputs, chosen)
        found = self._client.predict(ref, arrays, signature=chosen.name, outputs=wanted).outputs
        return {name: found[name] for name in wanted or found}

    def _fetch_metadata(self, ref: ModelRef) -> ModelMetadata:
        self._metadata[ref] = self._client.metadata(ref)
        return self._metadata[ref]

    def _ref(self, model: str | None, version: int | None, label: str | None) -> ModelRef:
        if version is not None and label is not None:
            raise InvalidInput("version and label both choose a version")
        default = self._model
        if model is None and default is None:
            raise InvalidInput("which model?", hint='predict(…, model="NAME"), or connect(…, model="NAME")')
        if default is None or (model is not None and model != default.name):
            return ModelRef(model or "", version, label)
        if version is not None or label is not None:
            return replace(default, version=version, label=label)
        return default
