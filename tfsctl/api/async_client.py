"""`AsyncClient`: `Client` with coroutines, for asyncio. Calls run in threads, so the event loop never blocks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload
from weakref import WeakKeyDictionary

from tfsctl.api.client import Client
from tfsctl.api.hints import python_errors
from tfsctl.api.workers import Workers
from tfsctl.core.inference import ScoredClass
from tfsctl.core.types import ModelMetadata, VersionStatus
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from typing_extensions import Self

    from tfsctl.api.examples import Rows
    from tfsctl.api.inputs import Inputs
    from tfsctl.api.many import ManyRows
    from tfsctl.api.predictions import Predictions
    from tfsctl.data.sources import Format

T = TypeVar("T")
DEFAULT_CONCURRENCY = 32


class AsyncClient:
    """`Client` with coroutines, made by `tfsctl.connect_async`. The methods take and return what those of `Client` do.

    Each call runs in a thread: at most `at_once` calls at a time, while others queue. Cancelling a call returns at
    once. A queued call is then never sent. The answer to a call that was sent is discarded, and the call no longer
    counts; its thread ends with the answer, or with the timeout.

    A client may be used in several event loops, one after the other. It cannot be pickled.
    """

    def __init__(self, client: Client, *, at_once: int = DEFAULT_CONCURRENCY) -> None:
        if at_once < 1:
            raise InvalidInput(f"at_once must be a positive number, not {at_once}")
        self._client = client
        self._at_once = at_once
        self._is_closed = False
        self._workers = Workers()
        self._slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return repr(self._client).replace("Client", "AsyncClient", 1)

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: another process cannot use this connection."""
        raise TypeError("a tfsctl.AsyncClient cannot be pickled: call tfsctl.connect_async in each process")

    @property
    def address(self) -> str:
        """The address of the server."""
        return self._client.address

    @overload
    async def predict(
        self,
        inputs: Inputs,
        *,
        model: str | None = ...,
        version: int | None = ...,
        label: str | None = ...,
        signature: str | None = ...,
        outputs: str | Sequence[str] = ...,
        as_frame: Literal[False] = ...,
    ) -> Predictions: ...

    @overload
    async def predict(
        self,
        inputs: Inputs,
        *,
        model: str | None = ...,
        version: int | None = ...,
        label: str | None = ...,
        signature: str | None = ...,
        outputs: str | Sequence[str] = ...,
        as_frame: Literal[True],
    ) -> pd.DataFrame: ...

    async def predict(
        self,
        inputs: Inputs,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        outputs: str | Sequence[str] = (),
        as_frame: bool = False,
    ) -> Predictions | pd.DataFrame:
        """Run a signature on a batch, as `Client.predict` does."""
        call = partial(self._client.predict, inputs, model=model, version=version, label=label)
        if as_frame:
            return await self._run(partial(call, signature=signature, outputs=outputs, as_frame=True))
        return await self._run(partial(call, signature=signature, outputs=outputs))

    async def predict_many(
        self,
        rows: ManyRows,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        outputs: str | Sequence[str] = (),
        batch_size: int | None = None,
        concurrency: int | None = None,
        columns: Mapping[str, str] | None = None,
        format: Format | None = None,  # noqa: A002 - as in `tfsctl predict --format`
    ) -> Predictions:
        """Run a signature on any number of rows, as `Client.predict_many` does, without a progress bar.

        `rows` are read in another thread. If the call is cancelled, no further rows are sent.
        """
        cancelled = threading.Event()

        def check(_rows: int, _fraction: float | None) -> None:
            if cancelled.is_set():
                raise asyncio.CancelledError

        call = partial(self._client.predict_many, rows, model=model, version=version, label=label, signature=signature)
        call = partial(call, outputs=outputs, batch_size=batch_size, concurrency=concurrency, columns=columns)
        try:
            return await self._run(partial(call, format=format, progress=check))
        finally:
            cancelled.set()

    async def classify(
        self,
        rows: Rows,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        top: int | None = None,
    ) -> list[tuple[ScoredClass, ...]]:
        """Classify examples, as `Client.classify` does."""
        call = partial(self._client.classify, rows, model=model, version=version, label=label)
        return await self._run(partial(call, signature=signature, top=top))

    async def regress(
        self,
        rows: Rows,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
    ) -> np.ndarray:
        """Regress examples, as `Client.regress` does."""
        call = partial(self._client.regress, rows, model=model, version=version, label=label)
        return await self._run(partial(call, signature=signature))

    async def metadata(
        self, model: str | None = None, *, version: int | None = None, label: str | None = None
    ) -> ModelMetadata:
        """Fetch the model's version number and its signatures."""
        return await self._run(partial(self._client.metadata, model, version=version, label=label))

    async def status(self, model: str | None = None, *, version: int | None = None) -> tuple[VersionStatus, ...]:
        """Fetch the state of each version of the model, highest version first."""
        return await self._run(partial(self._client.status, model, version=version))

    async def sample(
        self,
        model: str | None = None,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
    ) -> dict[str, Any]:
        """Return an example request with one row, as `Client.sample` does."""
        call = partial(self._client.sample, model, version=version, label=label)
        return await self._run(partial(call, signature=signature))

    async def wait(
        self,
        model: str | None = None,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float = 60.0,
    ) -> int | None:
        """Wait until a version of the model is AVAILABLE, as `Client.wait` does."""
        call = partial(self._client.wait, model, version=version, label=label)
        return await self._run(partial(call, timeout_s=timeout_s))

    async def aclose(self) -> None:
        """Close the connection. Running calls fail, and later calls raise InvalidInput."""
        self._is_closed = True
        self._client.close()
        self._workers.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        if loop not in self._slots:
            self._slots[loop] = asyncio.Semaphore(self._at_once)
        async with self._slots[loop]:
            with python_errors():
                if self._is_closed:
                    raise InvalidInput(
                        f"the client of {self.address} is closed", hint="tfsctl.connect_async opens another"
                    )
            return await asyncio.wrap_future(self._workers.submit(call))
