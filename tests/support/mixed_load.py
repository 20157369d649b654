"""Continuous predict requests over REST and gRPC, on connections that are kept and on new ones, which must not be lost."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from ports import HOST
from waiting import PATIENCE_S, wait_for

from tfsctl.core import protos, tensors

if TYPE_CHECKING:
    from typing_extensions import Self

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
PAUSE_S = 0.01  # between two requests of a thread; without pauses, the load is most of what the tests cost
KINDS = ("REST, kept", "REST, new", "gRPC, kept", "gRPC, new")


class MixedLoad:
    """One thread for each of `KINDS`, while the block lasts.

    The model has an input `x` and an output `y`. `answers` counts (kind, value of y for x=1); `lost` describes requests
    without a good answer.
    """

    def __init__(self, rest_port: int, grpc_port: int, model: str) -> None:
        self.answers: Counter[tuple[str, float]] = Counter()
        self.lost: list[str] = []
        self._rest_port, self._grpc_port, self._model = rest_port, grpc_port, model
        self._stop = threading.Event()
        loops = (self._rest_kept, self._rest_new, self._grpc_kept, self._grpc_new)
        self._threads = [threading.Thread(target=one, args=(kind,)) for one, kind in zip(loops, KINDS, strict=True)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, count: int = 50) -> None:
        """Wait until every thread has had that many more answers, or a request was lost."""
        before = Counter(self.answers)

        def has_more() -> bool:
            new = Counter(self.answers) - before
            return bool(self.lost) or all(sum(n for (k, _), n in new.items() if k == kind) >= count for kind in KINDS)

        wait_for(has_more)

    def values(self) -> set[float]:
        """The answers up to now."""
        return {value for _, value in list(self.answers)}

    def _ask(self, kind: str, send: Callable[[], float]) -> None:
        try:
            self.answers[kind, send()] += 1
        except Exception as error:  # noqa: BLE001 - whatever happens to a request, it is lost
            self.lost.append(f"{kind}: {error!r}")

    def _rest_kept(self, kind: str) -> None:
        connection = HTTPConnection(HOST, self._rest_port, timeout=PATIENCE_S)
        while not self._stop.wait(PAUSE_S):
            self._ask(kind, lambda: self._rest(connection))
        connection.close()

    def _rest_new(self, kind: str) -> None:
        while not self._stop.wait(PAUSE_S):
            connection = HTTPConnection(HOST, self._rest_port, timeout=PATIENCE_S)
            self._ask(kind, lambda connection=connection: self._rest(connection))  # type: ignore[misc]
            connection.close()

    def _rest(self, connection: HTTPConnection) -> float:
        try:
            connection.request("POST", f"/v1/models/{self._model}:predict", '{"instances": [1.0]}')
            response = connection.getresponse()
            body = response.read()
        except OSError:
            connection.close()  # so that the next request connects again
            raise
        if response.status != 200:
            raise ValueError(f"status {response.status}: {body!r}")
        return float(json.loads(body)["predictions"][0])

    def _grpc_kept(self, kind: str) -> None:
        with self._channel() as channel:
            while not self._stop.wait(PAUSE_S):
                self._ask(kind, lambda: self._grpc(channel))

    def _grpc_new(self, kind: str) -> None:
        while not self._stop.wait(PAUSE_S):
            with self._channel() as channel:
                self._ask(kind, lambda channel=channel: self._grpc(channel))  # type: ignore[misc]

    def _channel(self) -> grpc.Channel:
        options = [("grpc.use_local_subchannel_pool", 1)]  # otherwise channels of this process share connections
        return grpc.insecure_channel(f"{HOST}:{self._grpc_port}", options)

    def _grpc(self, channel: grpc.Channel) -> float:
        request = protos.PredictRequest()
        request.model_spec.name = self._model
        request.inputs["x"].CopyFrom(tensors.to_proto(np.array([1.0], np.float32)))
        predict: Any = channel.unary_unary(_PREDICT)
        answer = protos.PredictResponse.FromString(predict(request.SerializeToString(), timeout=PATIENCE_S))
        return float(tensors.from_proto(answer.outputs["y"])[0])
