"""BatchingParameters files: how each field is read, and which values are refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tfsctl.server.batching.parameters import BatchingParameters, from_message, model_parameters
from tfsctl.server.status import ServingError
from tfsctl.serving_config import messages


def parameters(text: str) -> BatchingParameters:
    """Read a file's text."""
    return from_message(messages.parse_text(messages.BatchingParameters(), text, source="test"))


def test_defaults_are_those_of_the_real_server() -> None:
    """1000 rows, no waiting, 10 batches in a queue, any size."""
    read = parameters("")

    assert read == BatchingParameters()
    assert (read.max_batch_size, read.batch_timeout_s, read.max_enqueued_batches) == (1000, 0.0, 10)
    assert (read.padded_rows(3), read.largest_batch) == (3, 1000)


def test_every_field_is_read() -> None:
    """Wrapped values, plain values and lists."""
    read = parameters(
        "max_batch_size { value: 64 } batch_timeout_micros { value: 1500 } max_enqueued_batches { value: 3 } "
        'num_batch_threads { value: 7 } thread_pool_name { value: "mine" } allowed_batch_sizes: [1, 64] '
        "pad_variable_length_inputs: true enable_large_batch_splitting { value: true } "
        "max_execution_batch_size { value: 32 }"
    )

    assert read == BatchingParameters(64, 0.0015, 3, 7, "mine", (1, 64), True, True, 32)
    assert read.largest_batch == 32


def test_a_batch_is_padded_to_the_next_allowed_size() -> None:
    """A batch larger than all allowed sizes stays as it is."""
    read = parameters("allowed_batch_sizes: [2, 8] max_batch_size { value: 8 }")

    assert [read.padded_rows(rows) for rows in (1, 2, 3, 8, 9)] == [2, 2, 8, 8, 9]


def test_max_execution_batch_size_counts_only_with_splitting() -> None:
    """With splitting, its default is the size of requests; without splitting, it is ignored."""
    assert parameters("max_batch_size { value: 6 } enable_large_batch_splitting { value: true }").largest_batch == 6
    assert parameters("max_batch_size { value: 6 } max_execution_batch_size { value: 2 }").largest_batch == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "allowed_batch_sizes: [2, 4] max_batch_size { value: 8 }",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        (
            "allowed_batch_sizes: [2, 4]",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 1000",
        ),
        ("max_batch_size { value: 0 }", "input_batch_size_limit must be positive; was 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
        (
            "max_enqueued_batches { value: 0 } enable_large_batch_splitting { value: true }",
            "max_enqueued_batches must be positive; was 0",
        ),
        (
            "max_batch_size { value: 4 } enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 8 }",
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
            "max_execution_batch_size.",
        ),
    ],
)
def test_invalid_parameters_are_refused(text: str, message: str) -> None:
    """In the real server's words for the load of a model."""
    with pytest.raises(ServingError) as refused:
        parameters(text).check_batches()

    assert str(refused.value) == f"INVALID_ARGUMENT: {message}"


def test_unusual_parameters_are_accepted(caplog: pytest.LogCaptureFixture) -> None:
    """A queue of no batches has one, as in the real server; allowed sizes may have any order, with a warning."""
    assert parameters("max_enqueued_batches { value: 0 }").max_enqueued_batches == 1
    with caplog.at_level(logging.WARNING):
        parameters("allowed_batch_sizes: [4, 2, 8] max_batch_size { value: 8 }").check_batches()
    assert "allowed_batch_sizes do not increase" in caplog.text


def test_the_last_allowed_size_may_be_that_of_a_split_batch() -> None:
    """With splitting, the last allowed size may be either limit."""
    splitting = "max_batch_size { value: 8 } enable_large_batch_splitting { value: true } max_execution_batch_size { value: 4 } "
    for last in (4, 8):
        parameters(f"{splitting} allowed_batch_sizes: [2, {last}]").check_batches()


def test_per_model_parameters_keep_the_common_threads(tmp_path: Path) -> None:
    """All other common parameters are ignored; a model without a file has no parameters."""
    common = parameters('num_batch_threads { value: 3 } thread_pool_name { value: "all" } max_batch_size { value: 5 }')
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "batching_params.pbtxt").write_text(
        'max_enqueued_batches { value: 2 } num_batch_threads { value: 9 } thread_pool_name { value: "own" }'
    )

    assert model_parameters(common, tmp_path / "own", per_model=True) == BatchingParameters(
        max_enqueued_batches=2, num_batch_threads=3, thread_pool_name="all"
    )
    assert model_parameters(common, tmp_path, per_model=True) is None
    assert model_parameters(common, tmp_path / "own", per_model=False) == common
