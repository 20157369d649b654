"""The server copies bfloat16, 8-bit floats and 4-bit integers as bits: it never imports ml_dtypes, which takes 0.4 s.

Python's lock is held meanwhile, so that every other client would wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from echo_models import write_echo_model
from grpc_requests import PREDICT
from model_servers import Served, running_server

from tfsctl.core import dtypes, protos

pytestmark = pytest.mark.server
# For each dtype: the field of its values, values as they are sent, as they are answered, and their memory.
VALUES: dict[str, tuple[str, Any, Any, bytes]] = {
    "bfloat16": ("half_val", [0x3F80, 0xC040], [0x3F80, 0xC040], b"\x80\x3f\x40\xc0"),
    "float8_e5m2": ("float8_val", b"\x3c\xbc", b"\x3c\xbc", b"\x3c\xbc"),
    "float8_e4m3fn": ("float8_val", b"\x38\xb8", b"\x38\xb8", b"\x38\xb8"),
    "int4": ("int_val", [-3, 100], [-3, 4], b"\x0d\x04"),
    "uint4": ("int_val", [13, 100], [13, 4], b"\x0d\x04"),
}
MANY = 100_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a model that returns its input in each of these dtypes."""
    folder = tmp_path_factory.mktemp("rare_dtypes")
    write_echo_model(folder / "echo" / "1", {name: {"x": (name, (None,))} for name in VALUES})
    with running_server({"echo": folder / "echo"}, folder) as running:
        yield running


@pytest.mark.parametrize("repeats", [1, MANY])
@pytest.mark.parametrize("is_content", [False, True])
@pytest.mark.parametrize("name", VALUES)
def test_values_are_answered_as_they_were_sent(server: Served, name: str, repeats: int, *, is_content: bool) -> None:
    """Few and many, in typed fields and in `tensor_content`; 4-bit integers keep their low bits, as in the C++ cast."""
    field, sent, answered, memory = VALUES[name]
    request = protos.PredictRequest(model_spec={"name": "echo", "signature_name": name})
    values: dict[str, Any] = {"tensor_content": memory * repeats} if is_content else {field: sent * repeats}
    shape = {"dim": [{"size": 2 * repeats}]}
    request.inputs["x"].MergeFrom(
        protos.TensorProto(dtype=dtypes.BY_NAME[name].number, tensor_shape=shape, **values),
    )
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        call = channel.unary_unary(PREDICT, protos.PredictRequest.SerializeToString, protos.PredictResponse.FromString)
        output = call(request, timeout=240).outputs["x"]

    assert output.dtype == dtypes.BY_NAME[name].number
    found = getattr(output, field)
    assert (found if field == "float8_val" else list(found)) == answered * repeats
    assert "ml_dtypes" not in Path(f"/proc/{server.pid}/maps").read_text(encoding="ascii")
