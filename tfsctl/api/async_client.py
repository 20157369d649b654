"""`AsyncClient`: `Client` with coroutines, for asyncio. Calls run in a thread pool, so the event loop never blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from tfsctl.api.client import Client
from tfsctl.core.types import ModelMetadata, VersionStatus
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from typing_extensions import Self

    from tfsctl.api.inputs import Inputs
    from tfsctl.api.predictions import Predictions

T = TypeVar("T")
DEFAULT_CONCURRENCY = 32


class AsyncClient:
    """`Client` with coroutines, made by `tfsctl.connect_async`. At most `at_once` calls run at a time; others queue.

    Cancelling a call stops waiting for it, but does not cancel the request on the server.
    """

    def __init__(self, client: Client, *, at_once: int = DEFAULT_CONCURRENCY) -> None:
        self._client = client
        self._is_closed = False
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="tfsctl")

    def __repr__(self) -> str:
        return repr(self._client).replace("Client", "AsyncClient", 1)

    @property
    def address(self) -> str:
        """The address of the server."""
        return self._client.address

    async def predict(
        self,
        inputs: Inputs,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        outputs: str | Sequence[str] = (),
    ) -> Predictions:
        """Run a signature on a batch, as `Client.predict` does."""
        call = partial(self._client.predict, inputs, model=model, version=version, label=label)
        return await self._run(partial(call, signature=signature, outputs=outputs))

    async def metadata(
        self, model: str | None = None, *, version: int | None = None, label: str | None = None
    ) -> ModelMetadata:
        """Fetch the model's version number and its signatures."""
        return await self._run(partial(self._client.metadata, model, version=version, label=label))

    async def status(self, model: str | None = None, *, version: int | None = None) -> tuple[VersionStatus, ...]:
        """Fetch the state of each version of the model, highest version first."""
        return await self._run(partial(self._client.status, model, version=version))

    async def aclose(self) -> None:
        """Close the connection. Running calls fail, and later calls raise InvalidInput."""
        self._is_closed = True
        self._client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self, call: Callable[[], T]) -> T:
        if self._is_closed:
            raise InvalidInput(f"the client of {self.address} is closed", hint="tfsctl.connect_async opens another")
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)
