"""--enable_batching: requests are batched, run and fail together, with TensorFlow Serving's messages."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gates import Gate, closed_gate
from graph_models import CLASSIFY, REGRESS, write_rows_model
from grpc_requests import Calls, answer, calling, predict
from model_servers import Served, failed_start, running_server
from waiting import eventually

from tfsctl.core import protos

pytestmark = pytest.mark.server

# Model -> its batching_params.pbtxt. One that is not full waits for ever in `fours`, a moment in `short`, not at all else.
PARAMETERS = {
    "fours": "max_batch_size { value: 4 } batch_timeout_micros { value: 3600000000 }",
    "short": "max_batch_size { value: 8 } batch_timeout_micros { value: 1000000 }",
    "sizes": "max_batch_size { value: 8 } batch_timeout_micros { value: 1000000 } allowed_batch_sizes: [2, 8] "
    "pad_variable_length_inputs: true",
    "split": "max_batch_size { value: 16 } enable_large_batch_splitting { value: true } "
    "max_execution_batch_size { value: 4 } max_enqueued_batches { value: 4 }",
    "queue": "max_batch_size { value: 4 } max_enqueued_batches { value: 2 }",
}
ALONE = ("alone", "grows")  # without such a file: not batched


@pytest.fixture(scope="module")
def models_gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """The gate of all models' signature `gated`."""
    with closed_gate(tmp_path_factory.mktemp("gate")) as gate:
        yield gate


@pytest.fixture
def gate(models_gate: Gate) -> Iterator[Gate]:
    """The gate, closed at the start and at the end of the test."""
    yield models_gate
    if models_gate.is_open:
        models_gate.shut()


@pytest.fixture(scope="module")
def server(models_gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that reads each model's own parameters, with one thread for all batches."""
    folder = tmp_path_factory.mktemp("batching")
    for name in (*PARAMETERS, *ALONE):
        write_rows_model(folder / name / "1", gate=models_gate)
        if name in PARAMETERS:
            (folder / name / "1" / "batching_params.pbtxt").write_text(PARAMETERS[name])
    common = folder / "batching.config"
    common.write_text("num_batch_threads { value: 1 } max_batch_size { value: 1 }")
    models = {name: folder / name for name in (*PARAMETERS, *ALONE)}
    flags = ["--enable_batching", f"--batching_parameters_file={common}", "--enable_per_model_batching_parameters"]
    with running_server(models, folder, flags=flags) as running:
        yield running


@pytest.fixture
def ask(server: Served) -> Iterator[Calls]:
    """Calls to that server."""
    with calling(server) as calls:
        yield calls


def post(server: Served, path: str, document: Any) -> tuple[int, Any]:
    """One REST request."""
    data = json.dumps(document).encode()
    request = urllib.request.Request(f"http://{server.host}:{server.rest_port}/v1/models/{path}", data=data)
    try:
        with urllib.request.urlopen(request, timeout=240) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_full_batch_runs_at_once(ask: Calls) -> None:
    """Four requests of a row each become one run, without waiting for the timeout; each gets its own row back."""
    answers = ask.together([predict("fours", x=[value]) for value in (1, 2, 3, 4)])

    assert [answer["y"] for answer in answers] == [[1], [2], [3], [4]]
    assert [answer["rows"] for answer in answers] == [[4]] * 4


def test_requests_of_several_rows_share_a_batch(ask: Calls) -> None:
    """A request of three rows and one of one row make a batch of four."""
    answers = ask.together([predict("fours", x=[1, 2, 3]), predict("fours", x=[4])])

    assert [answer["y"] for answer in answers] == [[1, 2, 3], [4]]
    assert [answer["rows"] for answer in answers] == [[4, 4, 4], [4]]


def test_a_request_that_does_not_fit_opens_another_batch(ask: Calls) -> None:
    """Three rows do not join three others in a batch of four; the first batch is closed and runs at once."""
    first, second, third = ask.together([predict("fours", x=[1, 2, 3])] * 2 + [predict("fours", x=[4])])

    assert [first["rows"], second["rows"], third["rows"]] == [[3, 3, 3], [4, 4, 4], [4]]


def test_a_batch_that_is_not_full_runs_after_the_timeout(ask: Calls) -> None:
    """A single request waits for others for the batch timeout, and not longer."""
    start = time.monotonic()

    assert ask(predict("short", x=[1]))["rows"] == [1]
    assert time.monotonic() - start >= 1.0


def test_a_batch_is_padded_to_an_allowed_size(ask: Calls) -> None:
    """Three rows run as eight, and one row as two; no request gets the rows that were added."""
    three = ask.together([predict("sizes", x=[1, 2]), predict("sizes", x=[3])])
    one = ask(predict("sizes", x=[5]))

    assert [(answer["y"], answer["rows"][0]) for answer in three] == [([1, 2], 8), ([3], 8)]
    assert (one["y"], one["rows"]) == ([5], [2])


def test_rows_of_different_shapes_are_padded_if_the_parameters_allow_it(ask: Calls) -> None:
    """Narrower rows are filled with their own first value, and come back with their original width."""
    answers = ask.together([predict("sizes", "any", x=[[7, 1]]), predict("sizes", "any", x=[[2, 3, 4], [5, 6, 7]])])

    assert [answer["y"] for answer in answers] == [[[7, 1, 7]], [[2, 3, 4], [5, 6, 7]]]


def test_rows_of_different_shapes_fail_together_without_padding(ask: Calls) -> None:
    """The batch cannot be formed, so all of its requests fail."""
    answers = ask.together([predict("short", "any", x=[[1, 2]]), predict("short", "any", x=[[1, 2, 3]])])

    assert {(answer.code, answer.details) for answer in answers} == {
        (
            "FAILED_PRECONDITION",
            "Tensors with name 'any_x:0' from different tasks have different shapes and padding is turned off. Set "
            "pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal dimensions "
            "starting with the first dim.",
        )
    }


def test_one_failing_row_fails_its_batch(ask: Calls) -> None:
    """All requests of the batch fail; those of the next batch do not."""
    answers = ask.together([predict("short", "checked", x=[value]) for value in (1, 0, 2)])

    assert {answer.code for answer in answers} == {"INVALID_ARGUMENT"}
    assert all("not a number to divide by" in answer.details for answer in answers)
    assert ask(predict("short", "checked", x=[2]))["y"] == [0.5]


def test_a_wrong_dtype_fails_alone(ask: Calls) -> None:
    """It is not batched with the requests of the right dtype."""
    right, wrong = ask.together([predict("short", x=[1]), predict("short", x=np.array([1], np.int64))])

    assert right["y"] == [1]
    assert wrong.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("signature", "inputs", "code", "details"),
    [
        ("", {"x": [1] * 9}, "INVALID_ARGUMENT", "Task size 9 is larger than maximum input batch size 8"),
        ("any", {"x": 1}, "INVALID_ARGUMENT", "Batching Run() input tensors must have at least one dimension"),
        (
            "pair",
            {"a": [1, 2], "b": [1]},
            "INVALID_ARGUMENT",
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
        ("total", {"x": [1, 2]}, "FAILED_PRECONDITION", "Batched output tensor has 0 dimensions"),
        (
            "twice",
            {"x": [1, 2]},
            "FAILED_PRECONDITION",
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
            "tensors",
        ),
    ],
)
def test_requests_that_cannot_be_batched_are_refused(
    ask: Calls, signature: str, inputs: dict[str, Any], code: str, details: str
) -> None:
    """Each is refused in the real server's words."""
    answer = ask(predict("short", signature, **inputs))

    assert (answer.code, answer.details) == (code, details)


def test_a_model_without_its_own_parameters_is_not_batched(ask: Calls) -> None:
    """Scalars, any number of rows and outputs of any shape are answered."""
    assert ask(predict("alone", "any", x=1))["y"] == 1
    assert ask(predict("alone", x=[1] * 9))["rows"] == [9] * 9
    assert ask(predict("alone", "total", x=[1, 2]))["y"] == 3


def test_a_request_without_rows_is_answered_at_once(ask: Calls) -> None:
    """The real server keeps such a request until another one arrives."""
    lone = ask(predict("fours", x=np.zeros(0, np.float32)))
    waiting, empty, *rest = ask.together(
        [predict("fours", x=[1]), predict("fours", x=np.zeros(0, np.float32)), predict("fours", x=[2, 3, 4])]
    )

    assert (lone["y"], empty["y"]) == ([], [])
    assert [waiting["rows"], rest[0]["rows"]] == [[4], [4, 4, 4]]


def test_a_large_request_is_split(ask: Calls) -> None:
    """Ten rows run as batches of four, four and two, and are returned in order."""
    answer = ask(predict("split", x=list(range(10))))

    assert answer["y"] == list(range(10))
    assert answer["rows"] == [4] * 8 + [2] * 2


def test_a_failing_part_fails_the_whole_large_request(ask: Calls) -> None:
    """One bad row in the last part is enough."""
    assert ask(predict("split", "checked", x=[*range(1, 10), 0])).code == "INVALID_ARGUMENT"
    assert ask(predict("split", "checked", x=list(range(1, 11))))["y"][9] == pytest.approx(0.1)


def test_a_large_request_is_refused_if_the_queue_has_no_room_for_all_of_it(ask: Calls, gate: Gate) -> None:
    """The error tells how many rows could still have been taken."""
    before = gate.runs
    large = predict("split", "gated", x=[1] * 16)
    running = ask.start(large)
    gate.wait_for_run(before + 1)
    refused = ask(large)
    gate.open()

    assert refused.code == "UNAVAILABLE"
    assert refused.details.startswith(
        "The batch scheduling queue to which this task was submitted is full; task size is 16 but scheduling capacity "
        "is only "
    )
    assert refused.details.endswith(", max_execution_batch_size=4)")
    assert answer(running)["y"] == [1] * 16


def test_a_full_queue_refuses_requests_until_it_drains(ask: Calls, server: Served, gate: Gate) -> None:
    """One batch runs and two wait; further requests are refused at once, and later ones are served again."""
    before = gate.runs
    four = predict("queue", "gated", x=[1] * 4)
    running = ask.start(four)
    gate.wait_for_run(before + 1)
    waiting = [ask.start(four) for _ in range(2)]
    refused = ask.together([four] * 5)
    over_rest = post(server, "queue:predict", {"signature_name": "gated", "instances": [1.0] * 4})
    gate.open()

    full = (
        "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued and "
        "max_enqueued_batches is 2"
    )
    assert Counter((answer.code, answer.details) for answer in refused) == {("UNAVAILABLE", full): 5}
    assert over_rest == (503, {"error": full})
    assert [answer(call)["y"] for call in (running, *waiting)] == [[1] * 4] * 3
    assert ask(predict("queue", x=[1]))["y"] == [1]


def test_a_request_is_given_up_at_its_deadline(ask: Calls, gate: Gate) -> None:
    """Whether its batch still waits or already runs; later requests are served."""
    before = gate.runs
    running = ask.start(predict("queue", "gated", x=[1] * 4))
    gate.wait_for_run(before + 1)
    waits = ask(predict("queue", "gated", x=[2] * 4), timeout_s=0.2)
    gate.open()
    assert waits.code == "DEADLINE_EXCEEDED"
    assert answer(running)["y"] == [1] * 4
    assert ask(predict("queue", "gated", x=[3] * 4))["y"] == [3] * 4

    gate.shut()
    assert ask(predict("queue", "gated", x=[4] * 4), timeout_s=1).code == "DEADLINE_EXCEEDED"
    gate.open()
    assert ask(predict("queue", "gated", x=[5] * 4))["y"] == [5] * 4


def test_requests_for_different_outputs_are_batched_separately(ask: Calls) -> None:
    """Requests with and without an output filter do not run together."""
    method, filtered = predict("short", x=[2])
    filtered.output_filter.append("y")
    both, only = ask.together([predict("short", x=[1]), (method, filtered)])

    assert (both["y"], both["rows"]) == ([1], [1])
    assert list(only.message.outputs) == ["y"]


def examples(request: Any, signature: str, count: int = 1) -> Any:
    """A classify or regress request with that many equal examples; the model reads them as plain strings."""
    request.model_spec.name, request.model_spec.signature_name = "short", signature
    for _ in range(count):
        request.input.example_list.examples.add().features.feature["a"].int64_list.value.append(1)
    return request


def test_classify_regress_and_multi_inference_are_batched(ask: Calls) -> None:
    """The same limit of rows holds for them, and they wait for one another."""
    regress, classify = (getattr(protos, name) for name in ("RegressionRequest", "ClassificationRequest"))
    length = len(examples(regress(), "text").input.example_list.examples[0].SerializeToString())
    several = protos.MultiInferenceRequest()
    several.input.CopyFrom(examples(regress(), "text").input)
    for name, method in (("text", REGRESS), ("kinds", CLASSIFY)):
        task = several.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = "short", name

    regressed = ask(("Regress", examples(regress(), "text"))).message
    classified = ask(("Classify", examples(classify(), "kinds"))).message
    both = ask(("MultiInference", several)).message
    too_many = ask(("Regress", examples(regress(), "text", 9)))

    assert regressed.result.regressions[0].value == length
    assert classified.result.classifications[0].classes[0].score == length
    assert [r.WhichOneof("result") for r in both.results] == ["regression_result", "classification_result"]
    assert too_many.details == "Task size 9 is larger than maximum input batch size 8"


def test_rest_requests_are_batched(server: Served) -> None:
    """With the same limits as over gRPC."""
    assert post(server, "short:predict", {"instances": [1.0] * 8})[1]["predictions"][0] == {"rows": 8.0, "y": 1.0}
    assert post(server, "short:predict", {"instances": [1.0] * 9}) == (
        400,
        {"error": "Task size 9 is larger than maximum input batch size 8"},
    )


def test_a_new_version_has_its_own_parameters(server: Served, ask: Calls) -> None:
    """They come from the version's directory."""
    draft = server.models["grows"].parent / "draft"
    write_rows_model(draft)
    (draft / "batching_params.pbtxt").write_text("max_batch_size { value: 2 }")
    assert ask(predict("grows", x=[1, 2, 3]))["y"] == [1, 2, 3]

    draft.rename(server.models["grows"] / "2")
    eventually(
        lambda: ask(predict("grows", x=[1, 2, 3])).details, "Task size 3 is larger than maximum input batch size 2"
    )


def start_error(tmp_path: Path, *flags: str) -> str:
    """The stdout of a server that cannot start, after its fixed words."""
    done = failed_start(tmp_path, *flags)
    assert done.returncode == 255, done.stderr
    return done.stdout.removeprefix("Failed to start server. Error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size: 4", "INVALID_ARGUMENT: Invalid protobuf file: '{path}'"),
        ("", "INVALID_ARGUMENT: {path}; Invalid argument"),
        (None, "NOT_FOUND: {path}; No such file or directory"),
        ("num_batch_threads { value: 0 }", "INVALID_ARGUMENT: num_batch_threads must be positive; was 0"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]",
            "UNKNOWN: 1 servable(s) did not become available: {{{{{{name: m version: 1}} due to error: "
            "INVALID_ARGUMENT: Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected "
            "8}}, }}",
        ),
    ],
)
def test_invalid_parameters_end_the_start(tmp_path: Path, text: str | None, message: str) -> None:
    """In the real server's words: at once, or when the model is loaded."""
    path = tmp_path / "batching.config"
    if text is not None:
        path.write_text(text)
    write_rows_model(tmp_path / "m" / "1")
    flags = ["--model_name=m", f"--model_base_path={tmp_path / 'm'}", "--max_num_load_retries=0", "--enable_batching"]

    assert start_error(tmp_path, *flags, f"--batching_parameters_file={path}") == message.format(path=path)


def test_a_parameters_file_without_enable_batching_is_refused(tmp_path: Path) -> None:
    """As in the real server."""
    flags = ["--model_name=m", "--model_base_path=/m", "--batching_parameters_file=/b"]

    assert start_error(tmp_path, *flags) == (
        "INVALID_ARGUMENT: server_options.batching_parameters_file is set without setting "
        "server_options.enable_batching to true."
    )
