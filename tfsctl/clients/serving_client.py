"""The interface that the REST and the gRPC client implement, and the errors every call can raise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from tfsctl.clients.connection import Transport
from tfsctl.core.types import DEFAULT_SIGNATURE, ModelMetadata, ModelRef, Prediction, VersionStatus

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Self

    from tfsctl.core.inference import Examples, InferenceResult, InferenceTask


class ServingClient(Protocol):
    """A client of one server over one transport. Close it, or use it as a context manager.

    The same fault raises the same error over either transport:

    - ServerUnreachable: nothing answers at the address, or the connection broke.
    - NotReadyInTime: no response within the timeout.
    - NotFound: the server does not have the model, version, label or signature.
    - RequestRejected: the server refused the request for any other reason.
    """

    @property
    def address(self) -> str:
        """`host:port` (plus the URL path of a gateway), or `unix:PATH`."""

    @property
    def transport(self) -> Transport:
        """The protocol of the calls."""

    def predict(
        self,
        model: ModelRef,
        inputs: Mapping[str, np.ndarray],
        *,
        signature: str = DEFAULT_SIGNATURE,
        outputs: Sequence[str] = (),
    ) -> Prediction:
        """Run a signature on one batch: an array for each input, in the shape the signature declares.

        `outputs` selects the outputs to return (default: all).
        """

    def infer(self, model: ModelRef, examples: Examples, tasks: Sequence[InferenceTask]) -> list[InferenceResult]:
        """Classify or regress examples. Returns one result per task; over gRPC all are from the same version."""

    def metadata(self, model: ModelRef) -> ModelMetadata:
        """Fetch the signatures of a model and the version they belong to."""

    def status(self, model: ModelRef) -> tuple[VersionStatus, ...]:
        """Fetch the state of each version of a model, highest version first."""

    def close(self) -> None:
        """Close the connection."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...
