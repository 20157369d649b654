"""Bodies that take Python milliseconds to read are read in a thread: the event loop serves others meanwhile."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from fake_threads import FakeThreads

from tfsctl.core import dtypes
from tfsctl.server.monitoring.recorder import NullRecorder
from tfsctl.server.rest import api as rest_api
from tfsctl.server.rest.response import RestResponse
from tfsctl.server.service.model_service import Service
from tfsctl.server.status import invalid_argument

_PREDICT, _CLASSIFY = "/v1/models/m:predict", "/v1/models/m:classify"
_REACHED = "the model was reached"


async def _reached(*_: object, **__: object) -> None:
    raise invalid_argument(_REACHED)


_SERVICE = SimpleNamespace(
    core=SimpleNamespace(servable=lambda _ref: SimpleNamespace(codecs={}, accepts_codecs=False)),
    input_dtypes=lambda _ref, _signature: {"x": dtypes.FLOAT},
    predict=_reached,
    infer=_reached,
    recorder=NullRecorder(),
)


@pytest.mark.parametrize(
    ("target", "body", "is_slow"),
    [
        (_PREDICT, b'{"instances": [%b1]}' % (b"1, " * 10_000), False),
        (_PREDICT, b'{"inputs": {"x": [%b[1, 2]]}}' % (b"[1, 2], " * 5_000), False),
        (_PREDICT, b'{"instances": [1, "a"]}', False),
        (_PREDICT, b'{"instances": [%bx]}' % (b"1, " * 10_000), True),
        (_PREDICT, b'{"instances": [%b1e999]}' % (b"1, " * 10_000), True),
        (_PREDICT, b'{"instances": [%bNaN]}' % (b"1, " * 10_000), True),
        (_PREDICT, b'{"instances": [%btrue]}' % (b"1, " * 10_000), True),
        (_PREDICT, b'{"instances": [%b"a"]}' % (b"1, " * 10_000), True),
        (_PREDICT, b'{"instances": [%b[1, 2]]}' % (b"[1], " * 5_000), True),
        (_PREDICT, b'{"instances": [%b{"x": 1}]}' % (b'{"x": 1, "x": 2}, ' * 2_000), True),
        (_PREDICT, b'{"inputs": [%b"a"]}' % (b"1, " * 10_000), True),
        (_PREDICT, b'{"signature_name": [%b1], "instances": [1]}' % (b"1, " * 10_000), True),
        (_PREDICT, b"[%b1]" % (b"1, " * 10_000), True),
        (_PREDICT, b"[" * 20_000, True),
        (_CLASSIFY, b'{"examples": [{"x": 1}]}', False),
        (_CLASSIFY, b'{"examples": [%b{"x": 1}]}' % (b'{"x": 1}, ' * 1_000), True),
        (_CLASSIFY, b'{"examples": [{"x": [%b1]}]}' % (b"1, " * 1_000), True),
    ],
)
def test_bodies_that_take_long_are_read_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, target: str, body: bytes, *, is_slow: bool
) -> None:
    sizes = FakeThreads.take_place(monkeypatch, rest_api)
    api = rest_api.RestApi(cast("Service", _SERVICE), timeout_s=None)

    response = asyncio.run(_answer(api, target, body))

    assert response.status == 400
    assert bool(sizes) is is_slow


async def _answer(api: rest_api.RestApi, target: str, body: bytes) -> RestResponse:
    return await api.answer("POST", target, {}, body)
