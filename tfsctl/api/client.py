"""`Client`: query a model server from Python. Inputs are plain values or arrays, and outputs are NumPy arrays."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

import numpy as np

from tfsctl.api import data_frames, examples, many, requests
from tfsctl.api.hints import python_errors
from tfsctl.api.predictions import Predictions, predictions_of
from tfsctl.api.progress import ProgressBar, ShowProgress, is_wanted
from tfsctl.clients import example_tasks
from tfsctl.clients.availability import available_version
from tfsctl.clients.bulk.pinned_version_predictor import PinnedVersionPredictor
from tfsctl.clients.connection import check_timeout
from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.inference import InferenceResult, Method, ScoredClass
from tfsctl.core.types import ModelMetadata, ModelRef, VersionStatus
from tfsctl.errors import InvalidInput, NotFound, NotReadyInTime, RequestRejected, ServerUnreachable
from tfsctl.inputs.predict_inputs import choose_signature

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Self

    from tfsctl.api.examples import Rows
    from tfsctl.api.inputs import Inputs
    from tfsctl.api.many import ManyRows
    from tfsctl.data.sources import Format
    from tfsctl.rollout.inventory import ModelVersion

# After these errors the metadata are fetched again, because the server may have loaded a version with other signatures.
_STALE_METADATA_ERRORS = (RequestRejected, NotFound, InvalidInput)
_POLL_S = 0.2
T = TypeVar("T")


class Client:
    """A client for one model server, made by `tfsctl.connect`. Close it, or use it as a context manager.

    Threads may share a client. It can be used after a fork, and cannot be pickled. The `model`, `version` and `label`
    of `connect` are the defaults of every call. Every call may raise:

    - ServerUnreachable if the server cannot be reached,
    - NotReadyInTime if there is no answer within the timeout,
    - NotFound if the server does not have the model, version, label or signature,
    - InvalidInput if the inputs do not fit the model, and nothing was sent, or if the client is closed,
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
        closed = " (closed)" if self._is_closed else ""
        return f"<tfsctl.Client {self.address} over {self._connection.transport}{about}{closed}>"

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: another process cannot use this connection."""
        raise TypeError("a tfsctl.Client cannot be pickled: call tfsctl.connect in each process")

    @property
    def address(self) -> str:
        """The address of the server."""
        return self._connection.address

    @property
    def _client(self) -> ServingClient:
        """The connection of this process. A forked process opens another, because this one belongs to the parent."""
        if self._is_closed:
            raise InvalidInput(f"the client of {self.address} is closed", hint="tfsctl.connect opens another")
        if self._process != os.getpid():
            self._parent_connections.append(self._connection)  # closing it would close it for the parent too
            self._connection, self._process = self._connect(), os.getpid()
        return self._connection

    @overload
    def predict(
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
    def predict(
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

    def predict(
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
        """Run a signature on a batch, in one request. Returns a dict with an array for each output.

        `inputs` may be

        - for a model with one input, its value: text, a number, bytes, a PIL image, a list, an array or a pandas Series
        - a mapping from the names of inputs to such values
        - a list of records, each a mapping from the names of inputs to the values of one row
        - a pandas DataFrame; its columns are matched to inputs by name, and other columns are ignored
        - the body of a REST request: `{"instances": [...]}` or `{"inputs": ...}`
        - for a signature whose only input is named for tf.Examples (such as `examples`), features by name, as records
          or a DataFrame

        A value that is one row gets a batch dimension. All inputs must have the same number of rows. `outputs` names
        the outputs to return (default: all). `as_frame` returns a pandas DataFrame with one row per row. The returned
        arrays are read-only: use `array.copy()` to change one.

        The model's metadata are fetched once, and again if the server may have loaded a version with other signatures.
        """
        with python_errors():
            ref = self._ref(model, version, label)
            found = self._with_metadata(ref, lambda served: self._predict(ref, served, inputs, signature, outputs))
            if not as_frame:
                return found
            index = inputs.index if data_frames.is_frame(inputs) else None
            return data_frames.frame_of_outputs(found, index)

    @overload
    def predict_many(
        self,
        rows: ManyRows,
        *,
        model: str | None = ...,
        version: int | None = ...,
        label: str | None = ...,
        signature: str | None = ...,
        outputs: str | Sequence[str] = ...,
        batch_size: int | None = ...,
        concurrency: int | None = ...,
        columns: Mapping[str, str] | None = ...,
        format: Format | None = ...,
        progress: bool | ShowProgress | None = ...,
        as_frame: Literal[False] = ...,
    ) -> Predictions: ...

    @overload
    def predict_many(
        self,
        rows: ManyRows,
        *,
        model: str | None = ...,
        version: int | None = ...,
        label: str | None = ...,
        signature: str | None = ...,
        outputs: str | Sequence[str] = ...,
        batch_size: int | None = ...,
        concurrency: int | None = ...,
        columns: Mapping[str, str] | None = ...,
        format: Format | None = ...,
        progress: bool | ShowProgress | None = ...,
        as_frame: Literal[True],
    ) -> pd.DataFrame: ...

    def predict_many(
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
        progress: bool | ShowProgress | None = None,
        as_frame: bool = False,
    ) -> Predictions | pd.DataFrame:
        """Run a signature on any number of rows, with several requests at a time. Returns all outputs, in order.

        `rows` may be

        - an iterable of rows, such as a generator: records, or values of the only input
        - a DataFrame, a Series, an array, or a mapping from the names of inputs to arrays or lists
        - the path of a file (CSV, TSV, JSON lines, Parquet, .npy, .npz, TFRecord, text), a folder of images, or a
          pattern such as `photos/*.jpg`. `format` names the format if the suffix does not tell it

        `columns` maps the names of inputs to those of columns, where they differ. `batch_size` (rows per request) and
        `concurrency` (requests at a time) are tuned by default. `progress` shows a progress bar (default: in terminals
        and notebooks), or is a function that is called with the number of rows and the fraction that is done.

        Temporary failures are retried for a minute. An error of a row has its number, counted from 1.
        """
        with python_errors():
            ref = self._ref(model, version, label)
            served = self._fetch_metadata(ref)
            chosen = choose_signature(served, signature)
            names = requests.output_names(outputs, served, chosen.name)
            predictor = PinnedVersionPredictor(self._client, ref, served.version, chosen, names, note=_warn)
            bar = ProgressBar() if progress is True or (progress is None and is_wanted()) else None
            show = progress if callable(progress) else bar
            options = many.ManyOptions(batch_size, concurrency, columns or {}, format, show)
            start = time.perf_counter()
            try:
                found = many.predict_rows(rows, chosen, predictor.predict, options, names)
            finally:
                if bar is not None:
                    bar.finish()
            if as_frame:
                return data_frames.frame_of_outputs(found, rows.index if data_frames.is_frame(rows) else None)
            predictions = Predictions(found)
            predictions.model, predictions.version, predictions.signature = ref.name, served.version, chosen.name
            predictions.latency_s = time.perf_counter() - start
            return predictions

    def classify(
        self,
        rows: Rows,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        top: int | None = None,
    ) -> list[tuple[ScoredClass, ...]]:
        """Classify examples. Returns for each row its classes, each with `label` and `score`, in the order of the model.

        `rows` is a record of features, a list of records, a DataFrame, or the body of a REST request
        (`{"examples": [...]}`). The values of a feature are text, bytes, numbers, or a list of them. The default for
        `signature` is the only one with the method classify. `top` returns that many classes, the highest score first.
        """
        with python_errors():
            result = self._infer("classify", rows, self._ref(model, version, label), signature)
        return [examples.top_classes(classes, top) for classes in result.classes]

    def regress(
        self,
        rows: Rows,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
    ) -> np.ndarray:
        """Regress examples. Returns an array of float32 with the value of each row. `rows` are as for `classify`."""
        with python_errors():
            result = self._infer("regress", rows, self._ref(model, version, label), signature)
        return np.array(result.values, dtype=np.float32)

    def metadata(
        self, model: str | None = None, *, version: int | None = None, label: str | None = None
    ) -> ModelMetadata:
        """Fetch the model's version number and its signatures."""
        with python_errors():
            return self._fetch_metadata(self._ref(model, version, label))

    def status(self, model: str | None = None, *, version: int | None = None) -> tuple[VersionStatus, ...]:
        """Fetch the state of each version of the model, highest version first."""
        with python_errors():
            return self._client.status(self._ref(model, version, None))

    def versions(self, model: str | None = None) -> tuple[ModelVersion, ...]:
        """Return the versions of the model, lowest first: their states and labels, and the facts from the disk.

        Labels and facts are known if tfsctl started the server; otherwise there are states only.
        """
        from tfsctl.rollout.inventory import versions_at

        with python_errors():
            ref = self._ref(model, None, None)
            return versions_at(self.address, ref.name, self._client.status(ref))

    def sample(
        self,
        model: str | None = None,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
    ) -> dict[str, Any]:
        """Return an example request with one row, which `predict` takes and the REST API too."""
        with python_errors():
            return requests.sample_body(self._fetch_metadata(self._ref(model, version, label)), signature)

    def wait(
        self,
        model: str | None = None,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float = 60.0,
    ) -> int | None:
        """Wait until a version of the model is AVAILABLE. Returns its number.

        It also waits for a server that does not answer yet, or does not know the model yet. Raises NotReadyInTime after
        `timeout_s` seconds, and ModelUnreadable as soon as all versions have failed to load.
        """
        with python_errors():
            ref = self._ref(model, version, label)
            if timeout_s != 0:  # 0 asks once
                check_timeout("timeout_s", timeout_s)
            deadline = time.monotonic() + timeout_s
            while True:
                try:
                    return available_version(self._client, ref)[1]
                except (NotFound, NotReadyInTime, ServerUnreachable) as error:
                    if time.monotonic() + _POLL_S > deadline:
                        late = NotReadyInTime(
                            f"{ref} is not AVAILABLE after {timeout_s:g} s: {error.message}", hint=error.hint
                        )
                        late.cause = error.cause
                        raise late from error
                time.sleep(_POLL_S)

    def close(self) -> None:
        """Close the connection. Later calls raise InvalidInput."""
        if not self._is_closed:
            self._connection.close()
        self._is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _predict(
        self, ref: ModelRef, served: ModelMetadata, inputs: Inputs, signature: str | None, outputs: str | Sequence[str]
    ) -> Predictions:
        call = requests.predict_call(served, inputs, signature, outputs)
        return predictions_of(call.send(self._client, ref), call.outputs)

    def _infer(self, method: Method, rows: Rows, ref: ModelRef, signature: str | None) -> InferenceResult:
        found = examples.examples_of(rows)
        names = [signature] if signature is not None else []

        def send(served: ModelMetadata) -> InferenceResult:
            tasks = example_tasks.choose_tasks(served, method, names)
            return example_tasks.infer(self._client, ref, found, tasks)[0]

        return self._with_metadata(ref, send)

    def _with_metadata(self, ref: ModelRef, send: Callable[[ModelMetadata], T]) -> T:
        """Return what `send` returns for the metadata of a model, which may be cached.

        If it fails with cached metadata that are out of date, it is called again with new metadata.
        """
        cached = self._metadata.get(ref)
        try:
            return send(cached or self._fetch_metadata(ref))
        except _STALE_METADATA_ERRORS:
            if cached is None or self._fetch_metadata(ref).signatures == cached.signatures:
                raise
        return send(self._metadata[ref])

    def _fetch_metadata(self, ref: ModelRef) -> ModelMetadata:
        self._metadata[ref] = self._client.metadata(ref)
        return self._metadata[ref]

    def _ref(self, model: str | None, version: int | None, label: str | None) -> ModelRef:
        return requests.model_ref(self._model, model, version, label)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=2)
