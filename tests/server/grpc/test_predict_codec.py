"""Requests that are converted together get what each of them would get alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.arrays import object_array
from tfsctl.server.execution.servable import Servable
from tfsctl.server.execution.stacked_run import Stack
from tfsctl.server.grpc.predict_codec import PredictCodec
from tfsctl.server.grpc.predict_request_cache import CachedRequest, PredictRequestCache
from tfsctl.server.grpc.predict_response import predict_response, stacked_responses
from tfsctl.server.runtime.capi import Output
from tfsctl.server.runtime.session import BoundSignature, Endpoint, Session
from tfsctl.server.worker_threads import WorkerThreads

FLOATS = np.arange(12, dtype=np.float32).reshape(3, 1, 4)
STRINGS = object_array([b"a", b"b\0", b""]).reshape(3, 1)


def endpoint(alias: str) -> Endpoint:
    """An input or output that is in no graph."""
    return Endpoint(alias, f"{alias}:0", dtypes.FLOAT, Output())


def codec_of(request: CachedRequest, *outputs: str) -> PredictCodec:
    """A codec for requests like this one, of a signature with these outputs."""
    kind = request.kind
    fetches = {alias: endpoint(alias) for alias in outputs}
    bound = BoundSignature({kind.alias: endpoint(kind.alias)}, fetches, {}, tuple(fetches.values()), {})
    session = SimpleNamespace(are_floats=lambda _fetches: True)
    servable = cast("Servable", SimpleNamespace(name="m", version=7, session=session))
    return PredictCodec(kind, servable, bound, "serving_default", WorkerThreads("test"), as_content=False)


def cached(array: np.ndarray, cache: PredictRequestCache) -> CachedRequest:
    """The request for a tensor, as the cache reads it."""
    message: Any = protos.PredictRequest(model_spec={"name": "m"})
    tensors.fill_proto(message.inputs["x"], array, as_content=False)
    request = cache.parse(message.SerializeToString())
    assert isinstance(request, CachedRequest)
    return request


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize(
    "outputs",
    [
        {"y": FLOATS},
        {"y": FLOATS, "z": FLOATS[:, :, :1] + 100},
        {"y": FLOATS[:, 0, 0]},
        {"y": FLOATS.astype(np.int64)},
        {"y": STRINGS, "z": FLOATS},
        {"y": np.empty((3, 1, 0), np.float32)},
    ],
    ids=["floats", "two outputs", "scalars", "integers", "strings", "empty"],
)
def test_stacked_responses_are_those_of_single_requests(outputs: dict[str, np.ndarray], *, as_content: bool) -> None:
    """Whatever the dtypes, shapes and number of the outputs."""
    alone = [
        predict_response("m", 7, "s", {name: array[at, ...] for name, array in outputs.items()}, as_content=as_content)
        for at in range(3)
    ]
    assert stacked_responses("m", 7, "s", outputs, 3, as_content=as_content) == alone


@pytest.mark.parametrize(
    "arrays",
    [
        [np.array([[1.5, 2.5]], np.float32), np.array([[3.5, -4.5]], np.float32)],
        [object_array([b"short"]), object_array([b"a longer text\0"])],
    ],
    ids=["floats", "strings of several lengths"],
)
def test_values_become_one_array(arrays: list[np.ndarray]) -> None:
    """The inputs of several requests, one after the other; texts of several lengths are of one kind."""
    cache = PredictRequestCache()
    requests = [cached(array, cache) for array in arrays]
    assert len({id(request.kind) for request in requests}) == 1
    (decoded,) = codec_of(requests[0], "y").decode([request.values for request in requests])
    assert decoded.dtype == arrays[0].dtype
    assert decoded.tolist() == [array.tolist() for array in arrays]


def test_outputs_of_different_shapes_are_written_one_by_one() -> None:
    """As outputs of calls that are not merged may be."""
    codec = codec_of(cached(object_array([b"x"]), PredictRequestCache()), "y")
    each = [[FLOATS[0]], [FLOATS[1, :, :2]]]
    assert codec.encode(Stack.of_requests(each)) == [
        predict_response("m", 7, "serving_default", {"y": array}, as_content=False) for (array,) in each
    ]


@pytest.mark.parametrize(
    "outputs",
    [
        [FLOATS[0]],
        [FLOATS[0], FLOATS[1, :, :2]],
        [np.array(2.5, np.float32)],
        [np.empty((1, 0), np.float32)],
        [np.zeros((1, 300_000), np.float32)],
    ],
    ids=["one", "two", "a scalar", "empty", "large"],
)
def test_a_request_alone_is_answered_from_the_memory_of_its_outputs(outputs: list[np.ndarray]) -> None:
    """With the response that their arrays make. Large outputs are left to a thread, as arrays."""
    request = cached(np.array([[1.5, 2.5]], np.float32), PredictRequestCache())
    aliases = ["y", "z"][: len(outputs)]
    codec = codec_of(request, *aliases)
    runs: list[tuple[Any, ...]] = []

    class FakeSession:
        def run_values(self, *arguments: Any) -> list[tuple[tuple[int, ...], bytes]]:
            runs.append(arguments)
            return [(array.shape, array.tobytes()) for array in outputs]

    answer = codec.answer_alone(cast("Session", FakeSession()), request.values)
    assert runs == [(codec.feeds[0], dtypes.FLOAT.number, (1, 2), request.values, codec.fetches)]
    if outputs[0].size < 300_000:
        named = dict(zip(aliases, outputs, strict=True))
        assert answer == predict_response("m", 7, "serving_default", named, as_content=False)
    else:
        assert isinstance(answer, list)
        assert np.array_equal(answer[0], outputs[0])


def test_codecs_of_about_the_same_shape_share_a_timing_key() -> None:
    """Clients may send ever new shapes: what the run of one took holds for the others of about its size."""
    request, *others = (
        cached(np.ones((1, size), np.float32), PredictRequestCache()) for size in (300, 301, 511, 512, 100)
    )
    codec = codec_of(request, "y")
    bound = BoundSignature({"x": codec.feeds[0]}, {"y": codec.fetches[0]}, {}, codec.fetches, {})
    servable: Any = SimpleNamespace(name="m", version=7, session=SimpleNamespace(are_floats=lambda _fetches: True))
    keys = [
        PredictCodec(other.kind, servable, bound, "s", WorkerThreads("test"), as_content=False).timing_key
        for other in others
    ]

    assert [key == codec.timing_key for key in keys] == [True, True, False, False]
