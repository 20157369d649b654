"""A model server, asked from Python: plain values in, arrays out."""

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

_MAY_HAVE_CHANGED = (RequestRejected, NotFound, InvalidInput)


class Client:
    """One model server. Threads may share it, and a process that is forked; close it, or use it as a context manager.

    `model`, `version` and `label` of `connect` are what every call is about unless it says otherwise. Every call raises
    ServerUnreachable when nobody answers, NotReadyInTime when no answer comes in time, NotFound for a model, version, label
    or signature the server does not have, InvalidInput for values that do not fit the model, before anything is sent, and
    RequestRejected for everything else the server refuses.
    """

    def __init__(self, connect: Callable[[], ServingClient], model: ModelRef | None) -> None:
        self._connect = connect
        self._connected = connect()
        self._process = os.getpid()
        self._inherited: list[ServingClient] = []
        self._is_closed = False
        self._model = model
        self._known: dict[ModelRef, ModelMetadata] = {}

    def __repr__(self) -> str:
        about = f", model={self._model}" if self._model else ""
        return f"<tfsctl.Client {self.address} over {self._connected.transport}{about}>"

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: a connection is of its process."""
        raise TypeError("a tfsctl.Client cannot be pickled: call tfsctl.connect in each process")

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._connected.address

    @property
    def _client(self) -> ServingClient:
        """The connection of this process: a forked one must not speak on that of its parent."""
        if self._is_closed:
            raise InvalidInput(f"the client of {self.address} is closed", hint="tfsctl.connect opens another")
        if self._process != os.getpid():
            self._inherited.append(self._connected)  # to let go of it would end it for the parent
            self._connected, self._process = self._connect(), os.getpid()
        return self._connected

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
        """Run a signature on a batch: an array (or lists, or a value) for each input; an array for each output.

        The arrays that come back are read-only; `array.copy()` can be written to.
        A bare value is for the only input. `outputs` are those to answer with; none means all. The signature is asked for
        once, and again when a version that takes something else may have come.
        """
        ref = self._ref(model, version, label)
        is_known = ref in self._known
        try:
            return self._predict(ref, self._known.get(ref) or self._learn(ref), inputs, signature, outputs)
        except _MAY_HAVE_CHANGED:
            known = self._known[ref] if is_known else None
            if known is None or self._learn(ref).signatures == known.signatures:
                raise
        return self._predict(ref, self._known[ref], inputs, signature, outputs)

    def metadata(
        self, model: str | None = None, *, version: int | None = None, label: str | None = None
    ) -> ModelMetadata:
        """Ask what the model's signatures are, and which version this is."""
        return self._learn(self._ref(model, version, label))

    def status(self, model: str | None = None, *, version: int | None = None) -> tuple[VersionStatus, ...]:
        """Ask where each version is in its life, highest version first."""
        return self._client.status(self._ref(model, version, None))

    def close(self) -> None:
        """Let go of the connection; calls raise InvalidInput from then on."""
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

    def _learn(self, ref: ModelRef) -> ModelMetadata:
        self._known[ref] = self._client.metadata(ref)
        return self._known[ref]

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
