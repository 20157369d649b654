"""A session, with signatures that do not fit its graph, and TensorFlow's messages in full."""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from gates import closed_gate
from graph_models import write_rows_model
from locations import RECORDED

from tfsctl.core import dtypes, protos
from tfsctl.server.process import memory
from tfsctl.server.runtime import capi
from tfsctl.server.runtime.session import Arrays, Session
from tfsctl.server.status import Code, ServingError

pytestmark = pytest.mark.tensorflow

HALF_PLUS_TWO = RECORDED / "models" / "half_plus_two" / "00000123"


@pytest.mark.parametrize(
    "name", ["x:abc", "x:-1", "x:99999999999", "x:4294967296", "x:0:0", ":0", "", "^x", "x:", "x:\u0663", "x\0y:0"]
)
def test_an_invalid_tensor_name_is_not_found(name: str, tmp_path: Path) -> None:
    """The version loads, and requests for the signature are answered with NOT_FOUND."""
    shutil.copytree(HALF_PLUS_TWO, tmp_path / "1")
    file = tmp_path / "1" / "saved_model.pb"
    model = protos.SavedModel.FromString(file.read_bytes())
    model.meta_graphs[0].signature_def["serving_default"].inputs["x"].name = name
    file.write_bytes(model.SerializeToString())
    session = Session(tmp_path / "1")

    bound = session.signature("serving_default")

    assert bound is not None
    with pytest.raises(ServingError) as refused:
        session.run([(bound.inputs["x"], np.ones(1, np.float32))], bound.fetches)
    assert refused.value.code is Code.NOT_FOUND
    session.close()


def test_messages_are_not_cut_at_a_nul_byte(tmp_path: Path) -> None:
    """The name of a missing operation may have one."""
    shutil.copytree(HALF_PLUS_TWO, tmp_path / "1")
    file = tmp_path / "1" / "saved_model.pb"
    model = protos.SavedModel.FromString(file.read_bytes())
    model.meta_graphs[0].graph_def.node[0].op = "No\0Op"
    file.write_bytes(model.SerializeToString())

    with pytest.raises(ServingError, match="No\0Op"):
        Session(tmp_path / "1")
    assert capi.gil_held().TF_GetCode(capi.status()) == 0


def test_messages_keep_bytes_that_are_not_utf8() -> None:
    """A value that a model cannot parse is part of its message."""
    capi.gil_held().TF_SetStatus(capi.status(), Code.INTERNAL, b"cannot parse \xff\xfe")

    with pytest.raises(ServingError) as failed:
        capi.check()

    assert failed.value.message.encode("utf-8", "surrogateescape") == b"cannot parse \xff\xfe"


def test_values_run_as_their_array_does() -> None:
    """Numbers as their memory, and a string: with the same outputs, or the same error."""
    session = Session(HALF_PLUS_TWO)
    bound = session.signature("serving_default")
    assert bound is not None
    feed, fetches = bound.inputs["x"], bound.fetches
    array = np.array([[1, 2], [3, 5]], np.float32)
    (expected,) = session.run([(feed, array)], fetches, inline=True)

    assert session.are_floats(fetches)
    outputs = session.run_values(feed, dtypes.FLOAT.number, array.shape, array.tobytes(), fetches)

    assert outputs == [(expected.shape, expected.tobytes())]
    text = b"a text of more than 22 bytes"
    with pytest.raises(ServingError) as by_array:
        session.run([(feed, np.array([text], object))], fetches, inline=True)
    with pytest.raises(ServingError) as by_values:
        session.run_values(feed, dtypes.STRING.number, (1,), text, fetches)
    assert by_values.value.message == by_array.value.message
    session.close()


def test_strings_run_as_their_array_does() -> None:
    """Short ones, which TensorFlow keeps in their TF_TString, and long ones."""
    tensor = capi.new_values_tensor(dtypes.STRING.number, (1, 1), b"x" * 1000)
    assert capi.read_tensor(tensor).tolist() == [[b"x" * 1000]]
    capi.gil_held().TF_DeleteTensor(tensor)
    tensor = capi.new_values_tensor(dtypes.STRING.number, (1,), b"short")
    assert capi.read_tensor(tensor).tolist() == [b"short"]
    capi.gil_held().TF_DeleteTensor(tensor)


@pytest.mark.parametrize(
    ("array", "is_large"),
    [
        (np.ones(1000, np.float32), False),
        (np.ones(200_000, np.float32), True),
        (np.array([b"x"] * 100_000, object), False),
    ],
    ids=["small", "large", "strings"],
)
def test_a_run_with_large_numbers_lets_the_heap_keep_larger_blocks(
    array: np.ndarray, is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tensors within such a run are as large, and so are those of the next one. A model of texts has no such run."""
    changed: list[None] = []
    monkeypatch.setattr(memory._Heap, "limits", memory._SMALL_TENSORS)
    monkeypatch.setattr(memory, "_set_heap_limits", lambda: changed.append(None))
    session = Session(HALF_PLUS_TWO)
    bound = session.signature("serving_default")
    assert bound is not None

    for _ in range(2):
        with suppress(ServingError):  # the model takes no strings
            session.run([(bound.inputs["x"], array)], bound.fetches)

    assert len(changed) == is_large
    session.close()


def test_runs_after_a_crash_are_in_another_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the only thread of the first pool is busy, they end: with a timeout and without."""
    config = protos.ConfigProto()
    for name, count in (("runs-of-test", 1), ("runs-of-test-after-crash", 2)):
        config.session_inter_op_thread_pool.add(global_name=name, num_threads=count)
    with closed_gate(tmp_path) as gate, ThreadPoolExecutor(3) as threads:
        write_rows_model(tmp_path / "1", gate=gate)
        session = Session(tmp_path / "1", config=config.SerializeToString())

        def start(signature: str, timeout_ms: int = 0) -> Future[Arrays]:
            bound = session.signature(signature)
            assert bound is not None
            feeds = [(bound.inputs["x"], np.ones(1, np.float32))]
            return threads.submit(session.run, feeds, [bound.outputs["y"]], timeout_ms=timeout_ms)

        gated = start("gated")
        gate.wait_for_run()
        monkeypatch.setattr(Session, "uses_last_pool", True)
        try:
            ended = [start("serving_default", timeout_ms).result(60) for timeout_ms in (0, 600_000)]
            assert not gated.done()
        finally:
            gate.open()
        assert [arrays[0].tolist() for arrays in (*ended, gated.result(60))] == [[1.0]] * 3
    session.close()


def test_without_pools_runs_after_a_crash_are_where_all_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """If flags or a config file say how many threads there are."""
    session = Session(HALF_PLUS_TWO)
    bound = session.signature("serving_default")
    assert bound is not None
    monkeypatch.setattr(Session, "uses_last_pool", True)

    (answer,) = session.run([(bound.inputs["x"], np.zeros(1, np.float32))], bound.fetches)

    assert answer.tolist() == [2.0]
    session.close()
