"""Talk to a model server over REST or gRPC: the same calls, values and errors; TensorFlow is never loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol

from tfsctl.clients.connection import PLAIN, Connection
from tfsctl.core.inference import Examples, Inference, Task
from tfsctl.core.types import DEFAULT_SIGNATURE, ModelMetadata, ModelRef, Prediction, VersionStatus

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Self

Transport = Literal["rest", "grpc"]
DEFAULT_TIMEOUT_S = 60.0


class Client(Protocol):
    """One server, asked over one transport. Close it, or use it as a context manager.

    Every call raises the same classes for the same fault over either transport: ServerUnreachable when nobody answers,
    NotReadyInTime when the answer does not come within the timeout, NotFound for a model, version, label or signature
    the server does not have, RequestRejected for everything else it refuses.
    """

    @property
    def address(self) -> str:
        """`host:port`, or `unix:PATH`, as people write it."""

    @property
    def transport(self) -> Transport:
        """What the calls go over."""

    def predict(
        self,
        model: ModelRef,
        inputs: Mapping[str, np.ndarray],
        *,
        signature: str = DEFAULT_SIGNATURE,
        outputs: Sequence[str] = (),
    ) -> Prediction:
        """Run a signature on a whole batch: an array for each input, shaped as the signature wants it.

        `outputs` are those to answer with; none means all.
        """

    def infer(self, model: ModelRef, examples: Examples, tasks: Sequence[Task]) -> list[Inference]:
        """Classify or regress examples: an answer for each task, all of one version over gRPC."""

    def metadata(self, model: ModelRef) -> ModelMetadata:
        """Ask what the model's signatures are, and which version this is."""

    def status(self, model: ModelRef) -> tuple[VersionStatus, ...]:
        """Ask where each version is in its life, highest version first."""

    def close(self) -> None:
        """Let go of the connection."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...


def connect(
    transport: Transport,
    host: str,
    port: int,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    connection: Connection = PLAIN,
) -> Client:
    """A client for the server at that address; nothing is sent before its first call.

    `host` may be `unix:PATH`; the port is nothing then. Raises InvalidInput for what the transport cannot do.
    """
    if transport == "rest":
        from tfsctl.clients.rest import RestClient

        return RestClient(host, port, timeout_s=timeout_s, connection=connection)
    from tfsctl.clients.grpc import GrpcClient

    return GrpcClient(host, port, timeout_s=timeout_s, connection=connection)
