"""The contract of a model server over REST and gRPC: one set of cases, two clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from echo_models import ECHO
from model_servers import Served

from tfsctl.clients.connection import Transport
from tfsctl.clients.factory import open_client
from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.model_dir import list_versions
from tfsctl.core.saved_model import read_saved_model
from tfsctl.core.types import ModelMetadata, ModelRef, VersionStatus
from tfsctl.errors import NotFound, RequestRejected, TfsctlError

HALF_PLUS_TWO = ModelRef("half_plus_two")
ECHO_MODEL = ModelRef("echo")
ECHO_VERSION = 7
TRANSPORTS: tuple[Transport, ...] = ("rest", "grpc")


def client_over(transport: Transport, served: Served) -> ServingClient:
    """A client of the running server."""
    return open_client(
        transport, served.host, served.rest_port if transport == "rest" else served.grpc_port, timeout_s=240
    )


@pytest.fixture(params=TRANSPORTS)
def client(request: pytest.FixtureRequest, served: Served) -> Iterator[ServingClient]:
    """The server over each transport in turn."""
    with client_over(request.param, served) as connected:
        yield connected


def echo(client: ServingClient, signature: str, inputs: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
    """What the echo model answers."""
    return client.predict(ECHO_MODEL, inputs, signature=signature).outputs


def f32(*values: object) -> np.ndarray:
    """A float32 array."""
    return np.array(values, np.float32)


def strings(*values: bytes) -> np.ndarray:
    """An array of strings."""
    return np.array(values, object)


def test_half_plus_two_answers_half_plus_two(client: ServingClient) -> None:
    """2 -> 3.0 and 1 -> 2.5: a whole batch in one request."""
    prediction = client.predict(HALF_PLUS_TWO, {"x": f32(2, 1)})
    (answer,) = prediction.outputs.values()
    assert answer.dtype == np.float32
    assert answer.tolist() == [3.0, 2.5]


def test_text_gets_a_score_for_each_row(client: ServingClient) -> None:
    """A model of strings: one probability a row, the kind review above the unkind one."""
    (spec,) = client.metadata(ModelRef("amazon_review")).signatures["serving_default"].inputs
    prediction = client.predict(ModelRef("amazon_review"), {spec.name: strings(b"This is great!", b"What a waste.")})
    (scores,) = prediction.outputs.values()
    assert scores.shape == (2, 1)
    assert 0 <= scores[1, 0] < scores[0, 0] <= 1


def test_two_inputs_become_two_outputs(client: ServingClient) -> None:
    """Each output under its own name, rows in order."""
    answer = echo(client, "two", {"area": f32(1, 2), "city": strings(b"Bern", b"Genf")})
    assert {name: array.tolist() for name, array in answer.items()} == {"area": [1, 2], "city": [b"Bern", b"Genf"]}


@pytest.mark.parametrize(
    ("signature", "array"),
    [
        ("serving_default", f32(1.5, -0.1, 1e-30, 16777216)),
        ("serving_default", f32(np.nan, np.inf, -np.inf)),
        ("float64", np.array([0.1, 1e300, -0.0])),
        ("int8", np.array([-128, 127], np.int8)),
        ("uint8", np.array([0, 255], np.uint8)),
        ("int32", np.array([-(2**31), 2**31 - 1], np.int32)),
        ("int64", np.array([-(2**63), 2**63 - 1], np.int64)),
        ("bool", np.array([True, False])),
        ("row", f32([1, 2, 3], [4, 5, 6])),
        ("scalar", f32(2.5).reshape(())),
        ("any", f32([[1], [2]])),
        ("serving_default", f32()),
        ("row", np.empty((0, 3), np.float32)),
    ],
)
def test_numbers_come_back_as_they_went(client: ServingClient, signature: str, array: np.ndarray) -> None:
    """Values, dtype and shape survive both ways: NaN and Infinity, extremes, scalars, an empty batch."""
    answer = echo(client, signature, {"x": array})["x"]
    assert (answer.dtype, answer.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(answer, array)


@pytest.mark.parametrize(
    ("signature", "array"),
    [
        ("text", strings(b"", b"plain", b'quotes " and \\ and \n and \x00', "Zürich 東京 🎬".encode())),
        ("text", strings(b"\xff\xfe not UTF-8")),
        ("text_bytes", strings(bytes(range(256)), b"text")),
        ("text_column", strings(b"a", b"b").reshape(2, 1)),
        ("text", strings()),
    ],
)
def test_strings_come_back_as_they_went(client: ServingClient, signature: str, array: np.ndarray) -> None:
    """Any bytes survive both ways: text of all scripts, control characters, what is no text at all."""
    (name,) = ECHO[signature]
    answer = echo(client, signature, {name: array})[name]
    assert (answer.shape, answer.tolist()) == (array.shape, array.tolist())


@pytest.mark.parametrize("name", ["half_plus_two", "amazon_review", "house_price", "echo"])
def test_metadata_is_what_the_directory_says(client: ServingClient, served: Served, name: str) -> None:
    """The running model and its files give one and the same account, over either transport."""
    newest = list_versions(served.models[name])[-1]
    expected = ModelMetadata(name, newest.version, read_saved_model(newest.path).signatures)
    assert client.metadata(ModelRef(name)) == expected
    assert client.metadata(ModelRef(name, version=newest.version)) == expected


def test_status_is_available(client: ServingClient) -> None:
    """A served version is AVAILABLE, whether the request names it or not."""
    expected = (VersionStatus(ECHO_VERSION, "AVAILABLE"),)
    assert client.status(ECHO_MODEL) == expected
    assert client.status(ModelRef("echo", version=ECHO_VERSION)) == expected


def test_a_version_can_be_asked_for(client: ServingClient) -> None:
    """A request for the version that is served is answered by it."""
    prediction = client.predict(ModelRef("echo", version=ECHO_VERSION), {"x": f32(1)})
    assert (prediction.version, prediction.outputs["x"].tolist()) == (ECHO_VERSION, [1.0])


@pytest.mark.parametrize(
    ("model", "signature", "inputs", "expected"),
    [
        (ModelRef("nope"), "serving_default", {"x": f32(1)}, NotFound),
        (ModelRef("echo", version=1), "serving_default", {"x": f32(1)}, NotFound),
        (ModelRef("echo", label="stable"), "serving_default", {"x": f32(1)}, NotFound),
        (ECHO_MODEL, "nope", {"x": f32(1)}, NotFound),
        (ECHO_MODEL, "serving_default", {"y": f32(1)}, RequestRejected),
        (ECHO_MODEL, "two", {"area": f32(1)}, RequestRejected),
        (ECHO_MODEL, "serving_default", {"x": strings(b"one")}, RequestRejected),
        (ECHO_MODEL, "text", {"text": f32(1)}, RequestRejected),
    ],
)
def test_a_fault_is_the_same_error(
    client: ServingClient,
    model: ModelRef,
    signature: str,
    inputs: Mapping[str, np.ndarray],
    expected: type[TfsctlError],
) -> None:
    """Model, version, label, signature, input or dtype: one class over both transports, naming model and address."""
    with pytest.raises(TfsctlError) as caught:
        client.predict(model, inputs, signature=signature)
    assert type(caught.value) is expected
    assert f"{model} at {client.address}" in caught.value.message


@pytest.mark.parametrize("model", [ModelRef("nope"), ModelRef("echo", version=1)])
def test_what_is_not_served_has_no_metadata_or_status(client: ServingClient, model: ModelRef) -> None:
    """Asking about a model or version the server does not have is NotFound, not an empty answer."""
    with pytest.raises(NotFound):
        client.metadata(model)
    with pytest.raises(NotFound):
        client.status(model)


def test_a_client_can_be_used_again_after_a_refusal(client: ServingClient) -> None:
    """A refused request leaves the connection as it was."""
    with pytest.raises(RequestRejected):
        echo(client, "serving_default", {"x": strings(b"one")})
    assert echo(client, "serving_default", {"x": f32(1)})["x"].tolist() == [1.0]


def test_a_large_batch_is_one_request(client: ServingClient) -> None:
    """More than the 4 MB gRPC would allow by default, and the same numbers over REST."""
    large = np.arange(1_200_000, dtype=np.float32)
    np.testing.assert_array_equal(echo(client, "serving_default", {"x": large})["x"], large)
