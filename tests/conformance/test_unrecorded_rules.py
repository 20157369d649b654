"""Rules of TensorFlow Serving's sources that no recorded case shows."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

import pytest
from grpc_caller import GrpcCaller, connected
from model_servers import Served
from recorded_cases import MODELS, GrpcCase, RestCase
from recorded_servers import running_like
from rest_caller import RestReply, send_request

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
def grpc_server(server: Served) -> Iterator[GrpcCaller]:
    """A gRPC connection to it."""
    with connected(server.host, server.grpc_port, MODELS) as caller:
        yield caller


def rest(server: Served, path: str, body: bytes | None = None, headers: tuple[tuple[str, str], ...] = ()) -> RestReply:
    """One REST request: a POST if there is a body."""
    method = "GET" if body is None else "POST"
    case = RestCase("", "A", method, f"/v1/models/{path}", "1.1", headers, body, 0, (), b"", is_about_http=False)
    return send_request(server.host, server.rest_port, case)


def call(server: GrpcCaller, method: str, request: str) -> tuple[str, str]:
    """One gRPC call: code, and details or the response as text."""
    reply = server.call(GrpcCase("", "A", method, request, 20.0, "", "", "", "", is_unstable=False))
    return reply.code, reply.details or " ".join(str(reply.response).split())


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
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
def test_paths_are_matched_and_unescaped_as_by_the_real_server(
    server: Served, path: str, body: bytes | None, status: int, message: bytes
) -> None:
    """`metadata` and the verb are case-sensitive, the other words are not; escapes are decoded once."""
    reply = rest(server, path, body)

    assert (reply.status, message in reply.body) == (status, True), reply.body


@pytest.mark.parametrize(
    ("encoding", "unpacked"), [("gzip", True), ("x-gzip", True), ("gzip, gzip", True), ("GZIP", False), ("", False)]
)
def test_bodies_are_decompressed_if_the_encoding_contains_gzip(
    server: Served, encoding: str, *, unpacked: bool
) -> None:
    """In small letters only."""
    reply = rest(server, "half_plus_two:predict", gzip.compress(ROWS), (("Content-Encoding", encoding),))

    assert (reply.status == 200) == unpacked


def test_the_kind_of_a_feature_is_checked_before_its_values(server: Served) -> None:
    """Values that are no numbers are refused with the message about the kind."""
    body = b'{"signature_name": "regress_x_to_y", "examples": [{"x": [1.0, %s]}]}'
    for value in (b"18446744073709551615", b'{"b64": "!"}'):
        message = rest(server, "half_plus_two:regress", body % value).body

        assert b"Unexpected element type in feature: x expecting type: float" in message


def test_the_first_of_repeated_keys_counts_but_the_last_of_repeated_features(server: Served) -> None:
    """An error quotes both."""
    twice = b'{"signature_name": "regress_x_to_y", "examples": [{"x": 1.0, "x": 2.0}]}'
    assert rest(server, "half_plus_two:regress", twice).body == b'{\n    "results": [3.0]\n}'

    message = rest(server, "half_plus_two:predict", b'{"signature_name": 1, "signature_name": "serving_default"}').body
    assert rb"JSON Value: {\n    \"signature_name\": 1,\n    \"signature_name\": \"serving_default\"\n} not" in message


def test_feature_names_that_are_not_utf8_are_ignored(server: Served) -> None:
    """The request is answered without them."""
    body = b'{"signature_name": "regress_x_to_y", "examples": [{"\xff\xf8": 1, "x": 1.0}]}'

    assert rest(server, "half_plus_two:regress", body).body == b'{\n    "results": [2.5]\n}'


@pytest.mark.parametrize("dtype", ["f16", "bf16", "u16", "c64", "b", "str"])
def test_empty_lists_are_accepted_for_every_dtype(server: Served, dtype: str) -> None:
    """Also for dtypes whose values have no JSON form."""
    reply = rest(server, "zoo:predict", b'{"signature_name": "echo_%s", "instances": [[], []]}' % dtype.encode())

    assert (reply.status, reply.body) == (200, b'{\n    "predictions": [[], []\n    ]\n}')


@pytest.mark.parametrize(
    ("signature", "tensor", "code", "message"),
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
def test_tensor_protos_are_read_as_by_tensorflow(
    grpc_server: GrpcCaller, signature: str, tensor: str, code: str, message: str
) -> None:
    """By the rules of Tensor::FromProto."""
    spec = f'name: "zoo" signature_name: "{signature}"'
    found = call(grpc_server, "Predict", f'model_spec {{ {spec} }} inputs {{ key: "x" value {{ {tensor} }} }}')

    assert found[0] == code, found
    assert (message or "tensor parsing error: x") in found[1]


@pytest.mark.parametrize(
    ("method", "request_text", "code", "message"),
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
def test_requests_with_several_errors_are_refused_for_the_real_servers_first(
    grpc_server: GrpcCaller, method: str, request_text: str, code: str, message: str | None
) -> None:
    """The message is that of the check that the real server does first."""
    found = call(grpc_server, method, request_text)

    assert found == (code, "Unrecognized servable version label: " if message is None else message)


def test_a_label_may_stay_on_a_version_that_is_gone(grpc_server: GrpcCaller) -> None:
    """If labels for unavailable models are allowed, only moving one is refused. This test and the next change the models."""
    versions = (
        'config { model_config_list { config { name: "versions" base_path: "{MODELS}/versions" '
        'model_platform: "tensorflow" model_version_policy { specific { versions: %d } } '
        'version_labels { key: "stable" value: %d } } } }'
    )
    reload = "HandleReloadConfigRequest"

    assert call(grpc_server, reload, versions % (2, 1))[0] == "OK"
    assert call(grpc_server, reload, versions % (2, 1))[0] == "OK"
    assert call(grpc_server, reload, versions % (2, 3))[0] == "FAILED_PRECONDITION"


def test_an_incomplete_logging_config_is_refused(grpc_server: GrpcCaller) -> None:
    """The real server refuses every logging_config; the embedded server logs requests to an absolute path."""
    logged = 'config { name: "zoo" base_path: "{MODELS}/zoo" model_platform: "tensorflow" logging_config { } }'

    code, message = call(grpc_server, "HandleReloadConfigRequest", f"config {{ model_config_list {{ {logged} }} }}")

    assert code == "INVALID_ARGUMENT"
    assert message.startswith("The logging_config of model zoo needs an absolute path")


def test_a_reload_reports_how_much_the_named_metrics_grew(grpc_server: GrpcCaller) -> None:
    """Metrics have the names of TensorFlow; an unknown one is 0. Loading the model `warm` runs it."""
    runs = "/tensorflow/core/direct_session_runs"
    entry = 'config { name: "%s" base_path: "{MODELS}/%s" model_platform: "tensorflow" }'
    served = " ".join(entry % (name, name) for name in ("half_plus_two", "zoo", "versions", "warm"))
    request = f'config {{ model_config_list {{ {served} }} }} metric_names: "nope" metric_names: "{runs}"'

    code, message = call(grpc_server, "HandleReloadConfigRequest", request)

    wanted = f'status {{ }} metric {{ name: "nope" int64_value_increase: 0 }} metric {{ name: "{runs}" int64_value_increase: [1-9][0-9]* }}'
    assert (code, re.fullmatch(wanted, message) is not None) == ("OK", True), message


def test_denormal_numbers_are_zero(grpc_server: GrpcCaller) -> None:
    """TensorFlow's threads flush them: the sum of two denormal float32 is 0."""
    tensor = FLOAT.replace("1.5", "4.7e-39")
    inputs = " ".join(f'inputs {{ key: "{name}" value {{ {tensor} }} }}' for name in ("a", "b"))
    code, response = call(grpc_server, "Predict", f'model_spec {{ name: "zoo" signature_name: "two_in" }} {inputs}')
    assert (code, "float_val: 0 " in response) == ("OK", True), response
