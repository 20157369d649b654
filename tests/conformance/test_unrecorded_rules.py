"""Rules that stand in TensorFlow Serving's sources and that no recorded case shows."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

import pytest
from asking_grpc import GrpcServer, connected
from asking_rest import RestReply, ask
from model_servers import Served
from recorded_cases import MODELS, GrpcCase, RestCase
from recorded_servers import running_like

pytestmark = pytest.mark.server

ROWS = b'{"instances": [1.0]}'
EXAMPLES = "input { example_list { examples { } } }"
FLOAT = "dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 1.5"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Our server, started like server A."""
    with running_like("A", tmp_path_factory.mktemp("A")) as running:
        yield running


@pytest.fixture(scope="module")
def grpc_server(server: Served) -> Iterator[GrpcServer]:
    """A gRPC connection to it."""
    with connected(server.host, server.grpc_port, MODELS) as asked:
        yield asked


def rest(server: Served, path: str, body: bytes | None = None, headers: tuple[tuple[str, str], ...] = ()) -> RestReply:
    """One REST request: a POST if there is a body."""
    method = "GET" if body is None else "POST"
    case = RestCase("", "A", method, f"/v1/models/{path}", "1.1", headers, body, 0, (), b"", is_about_http=False)
    return ask(server.host, server.rest_port, case)


def call(server: GrpcServer, method: str, request: str) -> tuple[str, str]:
    """One gRPC call: code, and details or the response as text."""
    reply = server.ask(GrpcCase("", "A", method, request, 20.0, "", "", "", "", is_unstable=False))
    return reply.code, reply.details or " ".join(str(reply.response).split())


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("half_plus_two/Versions/123:predict", ROWS, 200, b'"predictions": [2.5'),
        ("versions/LABELS/stable:predict", ROWS, 200, b'"predictions": [1.0'),
        ("half%5Fplus%5ftwo:predict", ROWS, 200, b'"predictions": [2.5'),
        ("half_plus_two:PREDICT", ROWS, 400, b"Malformed request"),
        ("half_plus_two/METADATA", None, 200, b"model_version_status"),
        ("half_plus_two/versions/9223372036854775808:predict", b"{", 400, b""),
        ("nope/labels/x/metadata", None, 400, b"Unrecognized servable version label: x"),
        ("nope/versions/1/metadata", None, 404, b"Servable not found for request: Specific(nope, 1)"),
        ("a%3Ab", None, 404, b"Could not find any versions of model a:b"),
        ("a%2Fb", None, 404, b"Could not find any versions of model a/b"),
        ("a+b", None, 404, b"Could not find any versions of model a+b"),
        ("a%C3%A9", None, 404, b"Could not find any versions of model a\xc3\xa9"),
        ("a%ff", None, 404, b"Could not find any versions of model a\xff"),
        ("%E2%82", None, 404, b"Could not find any versions of model \xe2\x82"),
        ('a"b', None, 400, b"Bad Request"),
    ],
)
def test_paths(server: Served, path: str, body: bytes | None, status: int, said: bytes) -> None:
    """The words of a path have no case, `metadata` and the verb have; escapes are decoded once."""
    reply = rest(server, path, body)

    assert (reply.status, said in reply.body) == (status, True), reply.body


@pytest.mark.parametrize(
    ("encoding", "unpacked"), [("gzip", True), ("x-gzip", True), ("gzip, gzip", True), ("GZIP", False), ("", False)]
)
def test_content_encodings(server: Served, encoding: str, *, unpacked: bool) -> None:
    """A body is unpacked where the header holds `gzip`, in small letters."""
    reply = rest(server, "half_plus_two:predict", gzip.compress(ROWS), (("Content-Encoding", encoding),))

    assert (reply.status == 200) == unpacked


def test_one_kind_of_value_in_a_feature(server: Served) -> None:
    """A feature's kind is looked at before its values."""
    body = b'{"signature_name": "regress_x_to_y", "examples": [{"x": [1.0, %s]}]}'
    for value in (b"18446744073709551615", b'{"b64": "!"}'):
        said = rest(server, "half_plus_two:regress", body % value).body

        assert b"Unexpected element type in feature: x expecting type: float" in said


def test_keys_that_stand_twice(server: Served) -> None:
    """The first one counts, but of features the last; an error quotes both."""
    twice = b'{"signature_name": "regress_x_to_y", "examples": [{"x": 1.0, "x": 2.0}]}'
    assert rest(server, "half_plus_two:regress", twice).body == b'{\n    "results": [3.0]\n}'

    said = rest(server, "half_plus_two:predict", b'{"signature_name": 1, "signature_name": "serving_default"}').body
    assert rb"JSON Value: {\n    \"signature_name\": 1,\n    \"signature_name\": \"serving_default\"\n} not" in said


def test_feature_names_that_are_no_text(server: Served) -> None:
    """They are no feature of any model, and harm nobody."""
    body = b'{"signature_name": "regress_x_to_y", "examples": [{"\xff\xf8": 1, "x": 1.0}]}'

    assert rest(server, "half_plus_two:regress", body).body == b'{\n    "results": [2.5]\n}'


@pytest.mark.parametrize("dtype", ["f16", "bf16", "u16", "c64", "b", "str"])
def test_empty_lists(server: Served, dtype: str) -> None:
    """Without a value no dtype is refused."""
    reply = rest(server, "zoo:predict", b'{"signature_name": "echo_%s", "instances": [[], []]}' % dtype.encode())

    assert (reply.status, reply.body) == (200, b'{\n    "predictions": [[], []\n    ]\n}')


@pytest.mark.parametrize(
    ("signature", "tensor", "code", "said"),
    [
        ("echo_f32", "dtype: DT_FLOAT tensor_shape { dim { size: 0 } } tensor_content: 'abc'", "OK", "dim { }"),
        ("echo_f32", "dtype: DT_FLOAT tensor_shape { unknown_rank: true dim { size: 2 } }", "OK", "dim { size: 2 }"),
        ("echo_f32", "dtype: DT_FLOAT float_val: 3 float_val: 4", "OK", "tensor_shape { } float_val: 3"),
        ("echo_c64", "dtype: DT_COMPLEX64 tensor_shape { } scomplex_val: 5", "OK", "scomplex_val: 0"),
        ("echo_u16", "dtype: DT_UINT16 tensor_shape { } int_val: -1", "OK", "int_val: 65535"),
        ("echo_u8", "dtype: DT_UINT8 tensor_shape { dim { size: 2 } } int_val: 300", "OK", "int_val: 44 int_val: 44"),
        (
            "echo_str",
            "dtype: DT_STRING tensor_shape { dim { size: 1 } } tensor_content: '\\002A'",
            "INVALID_ARGUMENT",
            "",
        ),
        ("echo_f32", "dtype: DT_FLOAT tensor_shape { " + "dim { size: 1 } " * 255 + "}", "INVALID_ARGUMENT", ""),
        ("echo_f32", "dtype: DT_FLOAT tensor_shape { dim { size: 0 } dim { size: -1 } }", "INVALID_ARGUMENT", ""),
    ],
)
def test_tensors(grpc_server: GrpcServer, signature: str, tensor: str, code: str, said: str) -> None:
    """A TensorProto is read as Tensor::FromProto reads it."""
    spec = f'name: "zoo" signature_name: "{signature}"'
    found = call(grpc_server, "Predict", f'model_spec {{ {spec} }} inputs {{ key: "x" value {{ {tensor} }} }}')

    assert found[0] == code, found
    assert (said or "tensor parsing error: x") in found[1]


@pytest.mark.parametrize(
    ("method", "request_text", "code", "said"),
    [
        ("Predict", "", "INVALID_ARGUMENT", "Missing ModelSpec"),
        (
            "Predict",
            'model_spec { name: "nope" } inputs { key: "x" value { } }',
            "NOT_FOUND",
            "Servable not found for request: Latest(nope)",
        ),
        (
            "Predict",
            'model_spec { name: "zoo" signature_name: "nope" } inputs { key: "x" value { } }',
            "FAILED_PRECONDITION",
            'Serving signature key "nope" not found.',
        ),
        (
            "Predict",
            'model_spec { name: "half_plus_two" } inputs { key: "x" value { } } inputs { key: "y" value { } }',
            "INVALID_ARGUMENT",
            "input size does not match signature: 2!=1 len({x,y}) != len({x}). Sent extra: {y}. Missing but required: {}.",
        ),
        ("Predict", 'model_spec { name: "versions" version_label: "" }', "INVALID_ARGUMENT", None),
        ("GetModelStatus", "model_spec { }", "NOT_FOUND", "Could not find any versions of model "),
        (
            "GetModelMetadata",
            'model_spec { name: "nope" } metadata_field: "x"',
            "INVALID_ARGUMENT",
            "Metadata field x is not supported",
        ),
        (
            "MultiInference",
            'tasks { model_spec { name: "zoo" signature_name: "nope" } method_name: "tensorflow/serving/regress" } '
            'tasks { model_spec { name: "other" } }',
            "INVALID_ARGUMENT",
            "Requested signature not found in model graph: nope",
        ),
        (
            "MultiInference",
            'tasks { model_spec { name: "half_plus_two" signature_name: "regress_x2_to_y3" } '
            'method_name: "tensorflow/serving/regress" } tasks { model_spec { name: "half_plus_two" '
            f'signature_name: "regress_x_to_y" }} method_name: "tensorflow/serving/regress" }} {EXAMPLES}',
            "INVALID_ARGUMENT",
            "Expects arg[1] to be float but string is provided",
        ),
        (
            "HandleReloadConfigRequest",
            'config { model_config_list { config { name: "a" base_path: "/a" model_platform: "caffe" } '
            'config { name: "a" base_path: "b" } } }',
            "INVALID_ARGUMENT",
            "Illegal to list model a multiple times in config list",
        ),
        (
            "HandleReloadConfigRequest",
            'config { model_config_list { config { name: "a" base_path: "/a" model_platform: "caffe" } '
            'config { name: "b" base_path: "b" model_platform: "tensorflow" } } }',
            "INVALID_ARGUMENT",
            "Expected model b to have an absolute path or URI; got base_path()=b",
        ),
        (
            "HandleReloadConfigRequest",
            'config { model_config_list { config { name: "a" base_path: "/a" model_type: OTHER } } }',
            "INVALID_ARGUMENT",
            "ModelServerConfig::model_type choice 2 not supported.",
        ),
    ],
)
def test_refusals(grpc_server: GrpcServer, method: str, request_text: str, code: str, said: str | None) -> None:
    """What is wrong in several ways is refused for the first of them, in the real server's order."""
    found = call(grpc_server, method, request_text)

    assert found == (code, "Unrecognized servable version label: " if said is None else said)


def test_a_label_may_stay_on_a_version_that_is_gone(grpc_server: GrpcServer) -> None:
    """With labels for unavailable models allowed, only moving one is refused. From here on tests change what is served."""
    versions = (
        'config { model_config_list { config { name: "versions" base_path: "{MODELS}/versions" '
        'model_platform: "tensorflow" model_version_policy { specific { versions: %d } } '
        'version_labels { key: "stable" value: %d } } } }'
    )
    reload = "HandleReloadConfigRequest"

    assert call(grpc_server, reload, versions % (2, 1))[0] == "OK"
    assert call(grpc_server, reload, versions % (2, 1))[0] == "OK"
    assert call(grpc_server, reload, versions % (2, 3))[0] == "FAILED_PRECONDITION"


def test_an_incomplete_logging_config_is_refused(grpc_server: GrpcServer) -> None:
    """The real server refuses every logging_config; this one logs requests, if it is told where."""
    logged = 'config { name: "zoo" base_path: "{MODELS}/zoo" model_platform: "tensorflow" logging_config { } }'

    code, said = call(grpc_server, "HandleReloadConfigRequest", f"config {{ model_config_list {{ {logged} }} }}")

    assert code == "INVALID_ARGUMENT"
    assert said.startswith("The logging_config of model zoo needs an absolute path")


def test_a_reload_tells_how_metrics_grew(grpc_server: GrpcServer) -> None:
    """By the names they have inside TensorFlow; 0 for one that is not there. The model `warm` is run as it loads."""
    runs = "/tensorflow/core/direct_session_runs"
    entry = 'config { name: "%s" base_path: "{MODELS}/%s" model_platform: "tensorflow" }'
    served = " ".join(entry % (name, name) for name in ("half_plus_two", "zoo", "versions", "warm"))
    request = f'config {{ model_config_list {{ {served} }} }} metric_names: "nope" metric_names: "{runs}"'

    code, said = call(grpc_server, "HandleReloadConfigRequest", request)

    wanted = f'status {{ }} metric {{ name: "nope" int64_value_increase: 0 }} metric {{ name: "{runs}" int64_value_increase: [1-9][0-9]* }}'
    assert (code, re.fullmatch(wanted, said) is not None) == ("OK", True), said
