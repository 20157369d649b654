"""tfsctl from Python: plain values in, arrays out; sync and asyncio, over both transports, from many threads."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from echo_models import write_echo_model
from locations import RECORDED
from model_servers import Served, running_flags, running_server
from ports import HOST, free_ports
from scale_models import write_scale_model

import tfsctl
from tfsctl.api.address import Address
from tfsctl.api.requests import sample_body
from tfsctl.core import protos
from tfsctl.core.types import ModelMetadata, Signature, TensorSpec
from tfsctl.errors import ProgramFailed


@pytest.fixture(params=["rest", "grpc"])
def address(request: pytest.FixtureRequest, served: Served) -> str:
    """The server with the echo model, over each transport."""
    if request.param == "rest":
        return f"http://{served.host}:{served.rest_port}"
    return f"{served.host}:{served.grpc_port}"


@pytest.fixture
def echo(address: str) -> Iterator[tfsctl.Client]:
    """A client of the echo model."""
    with tfsctl.connect(address, model="echo") as client:
        yield client


@pytest.mark.parametrize(
    ("signature", "value", "wanted"),
    [
        (None, {"x": [1, 2.5]}, {"x": [1.0, 2.5]}),
        (None, np.array([1.0, 2.0]), {"x": [1.0, 2.0]}),
        (None, [np.float32(1.5), np.int64(2)], {"x": [1.5, 2.0]}),
        (None, (1, 2), {"x": [1.0, 2.0]}),
        ("row", [np.array([1, 2, 3])], {"x": [[1.0, 2.0, 3.0]]}),
        ("scalar", 7, {"x": 7.0}),
        ("text", ["a", "ü", b"\xff"], {"text": [b"a", "ü".encode(), b"\xff"]}),
        ("text", np.array(["a", "ü"]), {"text": [b"a", "ü".encode()]}),
        ("text_column", [["a"], ["b"]], {"text": [[b"a"], [b"b"]]}),
        ("int64", np.array([2.0, 3.0]), {"x": [2, 3]}),
        ("bool", [True, False], {"x": [True, False]}),
        ("two", {"area": [1], "city": ["Bern"]}, {"area": [1.0], "city": [b"Bern"]}),
        (None, [], {"x": []}),
    ],
)
def test_values_are_converted_to_inputs(
    echo: tfsctl.Client, signature: str | None, value: Any, wanted: dict[str, Any]
) -> None:
    """Lists, tuples, arrays and NumPy values, with or without names; the answer has an array per output."""
    answer = echo.predict(value, signature=signature)

    assert {name: array.tolist() for name, array in answer.items()} == wanted
    assert all(isinstance(array, np.ndarray) for array in answer.values())


@pytest.mark.parametrize(
    ("signature", "value", "message"),
    [
        (None, {"y": [1]}, "no input 'y'"),
        (None, {}, "no value for x"),
        (None, ["one"], r"x\[0\] is text"),
        (None, np.array(["one"]), "x is <U3, and some of its values are not float32"),
        (None, [[1.0]], r"shape \[1, 1\], but the model wants float32 \[batch\]"),
        ("int8", np.array([1, 300]), r"x\[1\] is 300, which int8 cannot hold"),
        ("int8", [1.5], "a whole number"),
        ("two", {"are": [1], "city": ["Bern"]}, r"'are' \(did you mean 'area'\?\)"),
        ("two", [1], "name the inputs: two takes area float32"),
        ("two", {"area": [1, 2], "city": ["a"]}, "different numbers of rows: area 2, city 1"),
        ("text", ["caf\udce9"], "not UTF-8 text"),
        ("text", np.array(["caf\udce9"]), "some of its values are not string"),
    ],
)
def test_invalid_values_are_refused(echo: tfsctl.Client, signature: str | None, value: Any, message: str) -> None:
    """Before anything is sent; the message says what the model takes."""
    with pytest.raises(tfsctl.InvalidInput, match=message):
        echo.predict(value, signature=signature)


def test_errors_have_the_same_classes_over_both_transports(echo: tfsctl.Client, address: str) -> None:
    """The same classes over both transports."""
    with pytest.raises(tfsctl.NotFound, match="none"):
        echo.predict([1], model="none")
    with pytest.raises(tfsctl.NotFound, match="99"):
        echo.predict([1], version=99)
    with pytest.raises(tfsctl.NotFound, match="no signature 'servin_default'"):
        echo.predict([1], signature="servin_default")
    with tfsctl.connect(address) as client, pytest.raises(tfsctl.InvalidInput, match="the call names no model"):
        client.predict([1])
    (port,) = free_ports(1)
    for nobody in (f"{HOST}:{port}", f"http://{HOST}:{port}"):
        with tfsctl.connect(nobody, model="echo") as client, pytest.raises(tfsctl.ServerUnreachable):
            client.predict([1])


def test_metadata_and_status_of_the_default_or_another_model(echo: tfsctl.Client) -> None:
    """For the client's default model, or another."""
    assert echo.metadata().version == 7
    assert "row" in echo.metadata("echo").signatures
    assert [status.state for status in echo.status()] == ["AVAILABLE"]
    assert echo.predict([2], model="half_plus_two")["y"].tolist() == [3]
    assert echo.predict({"area": [1], "city": ["x"]}, signature="two", outputs=["city"]).keys() == {"city"}


def test_outputs_are_named_by_a_string_or_a_list(echo: tfsctl.Client) -> None:
    """In the order of the names; an unknown name is an error with a hint."""
    house = {"area": 1, "city": "x"}
    assert list(echo.predict(house, signature="two", outputs="city")) == ["city"]
    assert list(echo.predict(house, signature="two", outputs=["city", "area"])) == ["city", "area"]
    with pytest.raises(tfsctl.InvalidInput, match="two has no output 'cty'") as caught:
        echo.predict(house, signature="two", outputs="cty")
    assert caught.value.hint == 'did you mean outputs="city"?'


def test_the_signature_of_a_body_is_used(echo: tfsctl.Client) -> None:
    """Unless the argument says another one."""
    body = {"instances": [{"area": 1, "city": "x"}], "signature_name": "two"}
    assert echo.predict(body).signature == "two"
    assert echo.predict(body, signature="two")["area"].tolist() == [1]
    with pytest.raises(tfsctl.InvalidInput, match='the body says signature_name "two", not "row"'):
        echo.predict(body, signature="row")


def test_frames_have_the_index_of_the_inputs(echo: tfsctl.Client, tmp_path: Path) -> None:
    """With the index of the DataFrame that was given; files, too."""
    frame = pd.DataFrame({"city": ["Bern", "Ulm"], "area": [1, 2]}, index=[10, 20])
    wanted = {"area": {10: 1.0, 20: 2.0}, "city": {10: "Bern", 20: "Ulm"}}
    assert echo.predict(frame, signature="two", as_frame=True).to_dict() == wanted
    assert echo.predict_many(frame, signature="two", as_frame=True).to_dict() == wanted
    assert echo.predict(frame, signature="two").to_frame()["city"].tolist() == ["Bern", "Ulm"]
    frame.to_csv(tmp_path / "rows.csv", index=False)
    found = echo.predict_many(tmp_path / "rows.csv", signature="two", as_frame=True)
    assert found["city"].tolist() == ["Bern", "Ulm"]


def test_predict_many_returns_all_rows_in_order(echo: tfsctl.Client) -> None:
    """All rows, in order; the number of a row that does not fit; an unknown output before anything is sent."""
    found = echo.predict_many((float(n) for n in range(5000)), progress=False)
    assert found["x"].tolist() == [float(n) for n in range(5000)]
    assert (found.model, found.version, found.signature) == ("echo", 7, "serving_default")
    assert echo.predict_many([1, 2], batch_size=1, concurrency=2, outputs="x")["x"].tolist() == [1, 2]
    with pytest.raises(tfsctl.InvalidInput, match=r"^row 3: x is text"):
        echo.predict_many([1, 2, "three"])
    with pytest.raises(tfsctl.InvalidInput, match="no output 'y'"):
        echo.predict_many([1], outputs="y")


@pytest.mark.parametrize(
    "rows", [{"x": 2.0}, {"x": 2}, [{"x": [2.0]}], {"examples": [{"x": 2}]}, pd.DataFrame({"x": [2]}), [{"x": np.array([2.0])}]]
)  # fmt: skip
def test_classify_and_regress(echo: tfsctl.Client, rows: Any) -> None:
    """Records, lists of records, bodies and DataFrames; an integer for a feature of floats is converted."""
    values = echo.regress(rows, model="half_plus_two", signature="regress_x_to_y")
    assert (values.dtype.name, values.tolist()) == ("float32", [3.0])
    (classes,) = echo.classify(rows, model="half_plus_two", signature="classify_x_to_y")
    assert [one.score for one in classes] == [3.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([1], "row 1 is of type int, not features by name"),
        ("text", "the examples are of type str, not features by name"),
        ([], "no example was given"),
        ({"x": [1, "a"]}, "feature 'x' mixes text and numbers"),
        ({"x": None}, "feature 'x' has null"),
        (pd.DataFrame({"x": [1.0, None]}), r"row 2 \(index 1\) has no value in column 'x'"),
    ],
)
def test_unfit_examples_are_refused_before_anything_is_sent(echo: tfsctl.Client, rows: Any, message: str) -> None:
    """Nothing is sent."""
    with pytest.raises(tfsctl.InvalidInput, match=message):
        echo.regress(rows, model="half_plus_two", signature="regress_x_to_y")


@pytest.mark.server
def test_features_for_a_signature_that_parses_examples(tmp_path: Path) -> None:
    """Records and DataFrames are built to tf.Examples; serialized ones are sent as they are."""
    features: list[Any] = [{"x": 1}, [{"x": 1.0}], pd.DataFrame({"x": [1]})]
    with running_server({"m": RECORDED / "models" / "half_plus_two"}, tmp_path) as server:
        for address in (f"{server.host}:{server.grpc_port}", f"http://{server.host}:{server.rest_port}"):
            with tfsctl.connect(address, model="m") as client:
                (spec,) = client.metadata().signatures["predict_examples"].inputs
                for rows in features:
                    found = client.predict(rows, signature="predict_examples", outputs="y")
                    assert found["y"].ravel().tolist() == [2.5]
                record = protos.Example()
                record.features.feature["x"].float_list.value.append(3.0)
                for value in (record.SerializeToString(), {spec.name: [record.SerializeToString()]}):
                    found = client.predict(value, signature="predict_examples", outputs="y")
                    assert found["y"].ravel().tolist() == [3.5]


def test_wait_and_sample(echo: tfsctl.Client) -> None:
    """`wait` returns the version; `sample` a request that is answered."""
    assert echo.wait() == 7
    assert echo.wait("half_plus_two", timeout_s=240) == echo.metadata("half_plus_two").version
    with pytest.raises(tfsctl.NotReadyInTime, match=r"none is not AVAILABLE after 0\.1 s"):
        echo.wait("none", timeout_s=0.1)
    for signature in ("two", "row", "scalar", "text_column"):
        sample = echo.sample(signature=signature)
        assert echo.predict(sample, signature=signature).signature == signature


def test_a_classify_signature_has_no_sample() -> None:
    """It does not declare its features; the hint names the call."""
    only = Signature("c", (TensorSpec("inputs", "string", (None,)),), (), "tensorflow/serving/classify")
    with pytest.raises(tfsctl.InvalidInput, match="c takes examples") as caught:
        sample_body(ModelMetadata("m", 1, {"c": only}), None)
    assert caught.value.hint == 'classify({"FEATURE": VALUE})'


def test_threads_share_a_client(echo: tfsctl.Client) -> None:
    """Each thread gets its own answers."""

    def ask(number: int) -> bool:
        signature, wanted = ("row", [[number] * 3]) if number % 2 else (None, [number])
        return bool(echo.predict(wanted, signature=signature)["x"].tolist() == wanted)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(400)))


def test_concurrent_calls_do_not_block_the_event_loop(address: str) -> None:
    """The event loop is not blocked."""

    async def ask() -> tuple[list[Any], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        async with tfsctl.connect_async(address, model="echo") as client:
            answers = await asyncio.gather(*(client.predict([number]) for number in range(200)))
            assert (await client.metadata()).version == 7
            assert (await client.status())[0].version == 7
            with pytest.raises(tfsctl.NotFound):
                await client.predict([1], model="none")
        ticking.cancel()
        return [answer["x"].tolist() for answer in answers], ticks

    answers, ticks = asyncio.run(ask())

    assert answers == [[number] for number in range(200)]
    assert ticks > 5


@pytest.mark.server
def test_new_signature_is_fetched(tmp_path: Path) -> None:
    """The metadata are fetched again when the server may have loaded a new version."""
    write_scale_model(tmp_path / "m" / "1", 2.0)
    flags = ["--model_name=m", f"--model_base_path={tmp_path / 'm'}", "--file_system_poll_wait_seconds=1"]
    with running_flags(flags, tmp_path) as server:
        address = f"{HOST}:{server.grpc_port}"
        with tfsctl.connect(address, model="m") as client, tfsctl.connect(address, model="m") as other:
            assert client.predict({"x": [1]})["y"].tolist() == [2]
            write_echo_model(tmp_path / "new" / "2", {"serving_default": {"text": ("string", (None,))}})
            (tmp_path / "new" / "2").rename(tmp_path / "m" / "2")
            while other.metadata().version != 2:
                time.sleep(0.05)
            assert client.predict({"text": ["a"]})["text"].tolist() == [b"a"]


def test_fork_opens_a_new_connection(address: str) -> None:
    """Parent and child send requests at the same time, and each gets its own answers."""
    program = FORKING.format(address=address)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (0, "True\nTrue\n"), done.stderr


FORKING = """
import os, tfsctl
client = tfsctl.connect("{address}", model="echo")
client.predict([0.0])
child = os.fork()
first = 1000 * (child == 0)
right = all(client.predict([float(first + n)])["x"].tolist() == [first + n] for n in range(100))
if child:
    os.waitpid(child, 0)
print(right, flush=True)
os._exit(0)
"""


def test_client_cannot_be_pickled(echo: tfsctl.Client) -> None:
    """The message says to call connect in each process."""
    with pytest.raises(TypeError, match=r"call tfsctl\.connect in each process"):
        pickle.dumps(echo)


@pytest.mark.parametrize(
    "error",
    [
        tfsctl.RequestRejected("no", status="INVALID_ARGUMENT", hint="yes"),
        tfsctl.NotFound("gone", hint="look"),
        ProgramFailed(["docker"], 1, "", "no\n", hint="h"),
    ],
)
def test_errors_can_be_pickled(error: tfsctl.TfsctlError) -> None:
    """With all attributes."""
    error.cause = "because"
    other = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(other) is type(error)
    assert (str(other), vars(other)) == (str(error), vars(error))


def test_closed_client_is_an_error(address: str) -> None:
    """Closing may be repeated; the same holds for asyncio."""
    client = tfsctl.connect(address, model="echo")
    client.predict([1.0])
    client.close()
    client.close()
    with pytest.raises(tfsctl.InvalidInput, match="is closed"):
        client.predict([1.0])

    async def ask() -> None:
        another = tfsctl.connect_async(address, model="echo")
        await another.aclose()
        await another.aclose()
        with pytest.raises(tfsctl.InvalidInput, match="is closed"):
            await another.predict([1.0])

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("localhost:8500", Address("grpc", "localhost", 8500)),
        ("host", Address("grpc", "host", 8500)),
        ("grpcs://host", Address("grpc", "host", 443, is_encrypted=True)),
        ("[::1]:1", Address("grpc", "::1", 1)),
        ("unix:/run/tf.sock", Address("grpc", "unix:/run/tf.sock", 0)),
        ("http://host:8501", Address("rest", "host", 8501)),
        ("https://gateway/team/", Address("rest", "gateway", 443, is_encrypted=True, path="/team")),
    ],
)
def test_a_url_uses_rest_and_other_addresses_use_grpc(text: str, wanted: Address) -> None:
    """A URL is REST; anything else is gRPC."""
    assert Address.parse(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "host:port", "ftp://host", "grpc://host/path", "http://user:secret@host", "a b:1"]
)
def test_connect_refuses_invalid_addresses(text: str) -> None:
    """The error is raised by connect, before any request."""
    with pytest.raises(tfsctl.InvalidInput):
        tfsctl.connect(text)


def test_import_is_lazy() -> None:
    """`import tfsctl` loads neither NumPy nor a client, and every listed name exists."""
    program = "import sys, tfsctl; print(len(sys.modules)); [getattr(tfsctl, name) for name in tfsctl.__all__]"
    bare = "import sys; print(len(sys.modules))"
    counts = [int(subprocess.check_output([sys.executable, "-c", text])) for text in (program, bare)]

    assert counts[0] - counts[1] == 1


def test_the_api_loads_no_large_library() -> None:
    """Every name, and a client that was made, load neither TensorFlow nor pandas nor Pillow."""
    program = """
import sys, tfsctl
for name in tfsctl.__all__:
    getattr(tfsctl, name)
tfsctl.connect("localhost:1", model="m").close()
print([name for name in ("tensorflow.python", "pandas", "PIL", "keras", "IPython") if name in sys.modules])
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"
