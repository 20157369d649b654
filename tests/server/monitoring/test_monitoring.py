"""The metrics page for Prometheus, compared with a recorded one of TensorFlow Serving."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from echo_models import write_echo_model
from grpc_requests import predict_value, raw_call
from locations import RECORDED
from model_servers import Served, running_flags
from ports import free_ports
from rest_requests import rest
from waiting import wait_for

from tfsctl.core import protos
from tfsctl.serving_config.model_config import ModelConfig, model_config_text

PATH = "/monitoring/prometheus/metrics"
LEFT_OUT = {  # of the families that are about serving
    ":tensorflow:cc:saved_model:load_latency_by_stage": "TensorFlow's C API does not tell the stages apart",
    ":tensorflow:serving:batching:mixed_priority_batching_policy": "of the BatchFunction operation, inside a graph",
    ":tensorflow:serving:batching:padding_size_v2": "of the BatchFunction operation, inside a graph",
    ":tensorflow:serving:batching:processed_batch_size_v2": "of the BatchFunction operation, inside a graph",
    ":tensorflow:serving:mlmd_map": "ML Metadata, which is not there",
    ":tensorflow:serving:model_warmup_records_read": "its labels were not recorded",
}


@dataclass
class Family:
    """One metric of a page: its kind, and by label values (without `le`) its value, or its buckets' limits."""

    kind: str
    labels: set[tuple[str, ...]] = field(default_factory=set)
    values: dict[tuple[str, ...], float] = field(default_factory=dict)
    sums: dict[tuple[str, ...], float] = field(default_factory=dict)
    limits: list[str] = field(default_factory=list)


def families(text: str) -> dict[str, Family]:
    """Read a page."""
    found: dict[str, Family] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.removeprefix("# TYPE ").split()
            found[name] = family = Family(kind)
            continue
        match = re.fullmatch(r"([\w:]+)\{(.*)\} (\S+)", line)
        assert match, line
        pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2])
        suffix = match[1].removeprefix(name)
        assert match[1].startswith(name), line
        assert suffix in (("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)), line
        family.labels.add(tuple(key for key, _ in pairs if key != "le"))
        if suffix == "_bucket" and pairs[-1][1] not in family.limits:
            family.limits.append(pairs[-1][1])
        elif suffix != "_bucket":
            (family.sums if suffix == "_sum" else family.values)[tuple(value for _, value in pairs)] = float(match[3])
    return found


@pytest.fixture(scope="module")
def recorded() -> dict[str, Family]:
    """The page of the real server."""
    return families((RECORDED / "prometheus.txt").read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with monitoring, and models that predict, classify and regress."""
    folder = tmp_path_factory.mktemp("monitoring")
    write_echo_model(folder / "echo" / "7")
    models = [ModelConfig("echo", str(folder / "echo"))]
    models.append(ModelConfig("half_plus_two", str(RECORDED / "models" / "half_plus_two")))
    (folder / "models.config").write_text(model_config_text(models))
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")
    flags = [f"--model_config_file={folder / 'models.config'}"]
    with running_flags([*flags, f"--monitoring_config_file={folder / 'monitoring.config'}"], folder) as running:
        yield running


@pytest.fixture(scope="module")
def shown(server: Served) -> dict[str, Family]:
    """The page after requests of every kind: three successful predictions, and several that fail."""
    good, body = b'{"instances": [1.5, 2.5]}', b'{"signature_name": "regress_x_to_y", "examples": [{"x": 1.0}]}'
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        predict_value(channel)
        predict_value(channel)
        with pytest.raises(grpc.RpcError):
            predict_value(channel, model="nope")
        request: Any = protos.ClassificationRequest()
        request.model_spec.name, request.model_spec.signature_name = "half_plus_two", "classify_x_to_y"
        for _ in range(3):
            request.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
        classify = raw_call(channel, "/tensorflow.serving.PredictionService/Classify")
        classify(request.SerializeToString(), timeout=240)
    assert rest(server, "POST", "/v1/models/echo:predict", good)[0] == 200
    assert rest(server, "POST", "/v1/models/half_plus_two:regress", body)[0] == 200
    assert rest(server, "POST", "/v1/models/echo:predict", b"{")[0] == 400
    assert rest(server, "GET", "/v1/models/echo")[0] == 200
    assert rest(server, "GET", "/healthz")[0] == 404
    status, text, headers = rest(server, "GET", PATH)
    assert (status, headers["content-type"]) == (200, "text/plain")
    return families(text.decode())


@pytest.mark.server
def test_requests_are_counted_by_model_and_status(shown: dict[str, Family]) -> None:
    """Both protocols together; a GET is a request too, and a page outside the API is not."""
    assert shown[":tensorflow:serving:request_count"].values == {
        ("echo", "INVALID_ARGUMENT"): 1,
        ("echo", "OK"): 4,
        ("half_plus_two", "OK"): 2,
        ("nope", "NOT_FOUND"): 1,
    }


@pytest.mark.server
def test_latencies_are_of_successful_requests(shown: dict[str, Family]) -> None:
    """By API and protocol, spelled as in TensorFlow Serving."""
    assert shown[":tensorflow:serving:request_latency"].values == {
        ("echo", "", "REST"): 1,
        ("echo", "Predict", "GRPC"): 2,
        ("echo", "predict", "REST"): 1,
        ("half_plus_two", "Classify", "GRPC"): 1,
        ("half_plus_two", "regress", "REST"): 1,
    }
    assert shown[":tensorflow:serving:runtime_latency"].values == {
        ("echo", "Predict", "TF1"): 3,
        ("half_plus_two", "Classify", "TF1"): 1,
        ("half_plus_two", "Regress", "TF1"): 1,
    }


@pytest.mark.server
def test_classified_and_regressed_examples_are_counted(shown: dict[str, Family]) -> None:
    assert shown[":tensorflow:serving:request_example_count_total"].values == {("half_plus_two",): 4}
    assert shown[":tensorflow:serving:request_example_counts"].values == {("half_plus_two",): 2}
    assert shown[":tensorflow:serving:request_example_counts"].limits == [*(f"{2**n}" for n in range(15)), "+Inf"]


@pytest.mark.server
def test_loads_and_runs_are_counted(shown: dict[str, Family], server: Served) -> None:
    """Loads by the path of the version; runs of graphs without labels."""
    loads = shown[":tensorflow:cc:saved_model:load_attempt_count"].values
    assert sorted((Path(path).parent.name, status) for path, status in loads) == [
        ("echo", "success"),
        ("half_plus_two", "success"),
    ]
    assert all(us > 100 for us in shown[":tensorflow:cc:saved_model:load_latency"].values.values())
    assert shown[":tensorflow:core:saved_model:read:count"].values == {("1",): 2}  # graphs without objects
    assert shown[":tensorflow:core:saved_model:read:api"].values == {("cc_load",): 2}
    assert shown[":tensorflow:core:graph_runs"].values == {(): 5}
    assert rest(server, "GET", PATH)[0] == 200  # looking is no run


@pytest.mark.server
def test_tensor_bytes_of_runs_are_counted_as_in_tensorflow(shown: dict[str, Family]) -> None:
    """Four bytes for a float; strings with the memory of their TF_TString."""
    example = protos.Example()
    example.features.feature["x"].float_list.value.append(1.0)
    examples, floats = (
        4 * (24 + len(example.SerializeToString())),
        4 * (2 + 1 + 1),
    )  # two calls of one float, one of two
    inputs = shown[":tensorflow:core:graph_run_input_tensor_bytes"]
    assert (inputs.values, inputs.sums) == ({(): 5}, {(): examples + floats})
    outputs = shown[":tensorflow:core:graph_run_output_tensor_bytes"]
    assert (outputs.values, outputs.sums) == ({(): 5}, {(): 4 * 4 + floats})


@pytest.mark.server
def test_the_page_is_like_the_recorded_one(shown: dict[str, Family], recorded: dict[str, Family]) -> None:
    """The same names, kinds, labels and buckets, sorted by name, besides metrics of our own."""
    assert list(shown) == sorted(shown)
    theirs = {name: family for name, family in shown.items() if not name.startswith(":tfsctl:")}
    assert theirs.keys() <= recorded.keys()
    for name, family in theirs.items():
        real = recorded[name]
        assert family.kind == real.kind, name
        if real.labels and family.labels:
            assert (family.labels, family.limits) == (real.labels, real.limits), name


@pytest.mark.server
def test_the_page_lacks_only_the_listed_metrics(shown: dict[str, Family], recorded: dict[str, Family]) -> None:
    """Every other family about serving and loading is there."""
    about = {name for name in recorded if name.startswith((":tensorflow:serving:", ":tensorflow:cc:saved_model:"))}

    assert about - shown.keys() == LEFT_OUT.keys()


@pytest.mark.server
def test_batches_warmups_and_failed_loads_are_recorded(tmp_path: Path) -> None:
    """The time in the batch queue, the time of a warmup, and failed loads."""
    base = tmp_path / "warm"
    shutil.copytree(RECORDED / "models" / "warm", base)
    (base / "1").rename(base / "2")
    (tmp_path / "monitoring.config").write_text("prometheus_config { enable: true }")
    flags = ["--model_name=warm", f"--model_base_path={base}", "--enable_batching", "--max_num_load_retries=0"]
    flags += [f"--monitoring_config_file={tmp_path / 'monitoring.config'}"]
    with running_flags(flags, tmp_path) as running:
        for _ in range(3):
            assert rest(running, "POST", "/v1/models/warm:predict", b'{"instances": [1.0]}')[0] == 200
        (base / "3").mkdir()
        attempts = ":tensorflow:cc:saved_model:load_attempt_count"

        def page() -> dict[str, Family]:
            return families(rest(running, "GET", PATH)[1].decode())

        wait_for(lambda: len(page()[attempts].values) == 2)
        shown = page()

    assert shown[attempts].values == {(str(base / "2"), "success"): 1, (str(base / "3"), "fail"): 1}
    assert shown[":tensorflow:serving:model_warmup_latency"].values == {(str(base / "2"), "OK"): 1}
    assert shown[":tensorflow:serving:batching_session:queuing_latency"].values == {("model_server_batch_threads",): 3}
    assert shown[":tensorflow:serving:batching_session:wrapped_run_count"].values == {(): 3}


@pytest.mark.server
def test_only_the_exact_path_is_the_page(server: Served) -> None:
    """A query string is refused as in the real server; other paths are answered by REST."""
    assert rest(server, "GET", f"{PATH}?x=1")[:2] == (
        400,
        f"Unexpected path: {PATH}?x=1. Should be {PATH}".encode(),
    )
    assert rest(server, "GET", "/metrics")[0] == 404


@pytest.mark.server
@pytest.mark.parametrize(
    ("config", "status", "other_status"),
    [
        ('prometheus_config { enable: true path: "/metrics" }', 404, 200),
        ("prometheus_config { enable: false }", 404, 404),
    ],
)
def test_the_path_of_the_page_comes_from_the_config_file(
    config: str, status: int, other_status: int, tmp_path: Path
) -> None:
    """There is no page unless the file enables it."""
    write_echo_model(tmp_path / "echo" / "7")
    (tmp_path / "monitoring.config").write_text(config)
    flags = ["--model_name=echo", f"--model_base_path={tmp_path / 'echo'}"]
    with running_flags([*flags, f"--monitoring_config_file={tmp_path / 'monitoring.config'}"], tmp_path) as running:
        assert rest(running, "GET", PATH)[0] == status
        assert rest(running, "GET", "/metrics")[0] == other_status


@pytest.mark.server
def test_an_invalid_monitoring_config_disables_rest_only(tmp_path: Path) -> None:
    """As in the real server: the log has the reason, and gRPC answers."""
    write_echo_model(tmp_path / "echo" / "7")
    (tmp_path / "monitoring.config").write_text("nope: 1")
    (port,) = free_ports(1)
    flags = ["--model_name=echo", f"--model_base_path={tmp_path / 'echo'}", "--rest_api_port=0"]
    flags += [f"--monitoring_config_file={tmp_path / 'monitoring.config'}", f"--rest_api_port={port}"]  # not to open
    with (
        running_flags(flags, tmp_path) as running,
        grpc.insecure_channel(f"{running.host}:{running.grpc_port}") as channel,
    ):
        assert predict_value(channel, wait_for_ready=True) == 1.5
        with pytest.raises(ConnectionRefusedError):
            rest(running, "GET", PATH, port=port)

    log = (tmp_path / "server.log").read_text()
    assert f"Failed to start HTTP Server at localhost:{port}" in log
    assert 'has no field named "nope"' in log
