"""The parameters of TensorFlow Serving's batching, and the checks that the real server makes.

Fields: BatchingParameters in tensorflow_serving/servables/tensorflow/session_bundle_config.proto; defaults: the queue
options of tensorflow/core/kernels/batching_util/shared_batch_scheduler.h; messages: those two and
bundle_factory_util.cc.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfsctl.server.config.config_files import read_config_file
from tfsctl.server.config.flags import Flags
from tfsctl.server.process.resources import cpu_count
from tfsctl.server.status import invalid_argument
from tfsctl.serving_config import messages

log = logging.getLogger(__name__)

PER_MODEL_FILE = "batching_params.pbtxt"


@dataclass(frozen=True, slots=True)
class BatchingParameters:
    """How batches are formed and run.

    - `max_batch_size`: the most rows of a request, and of a batch
    - `max_execution_batch_size`: the most rows of a batch if large requests are split
    - `batch_timeout_s`: how long a batch waits that is not full
    - `max_enqueued_batches`: how many batches may wait in one queue
    - `allowed_batch_sizes`: the sizes to which batches are padded; empty means any size
    """

    max_batch_size: int = 1000
    batch_timeout_s: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int = cpu_count()
    thread_pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 1000

    @property
    def largest_batch(self) -> int:
        """The largest number of rows in a batch, without padding."""
        return self.max_execution_batch_size if self.enable_large_batch_splitting else self.max_batch_size

    def padded_rows(self, rows: int) -> int:
        """The number of rows that a batch of `rows` rows is padded to."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)

    def check_threads(self) -> None:
        """Raise INVALID_ARGUMENT if there is no thread to run batches."""
        if self.num_batch_threads < 1:
            raise invalid_argument(f"num_batch_threads must be positive; was {self.num_batch_threads}")

    def check_batches(self) -> None:
        """Raise INVALID_ARGUMENT if no batches can be formed. The real server checks this when it loads a model."""
        largest = self.largest_batch
        if self.allowed_batch_sizes and self.allowed_batch_sizes[-1] not in (self.max_batch_size, largest):
            raise invalid_argument(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{self.allowed_batch_sizes[-1]}; expected {self.max_batch_size}"
            )
        if self.max_batch_size < 1:
            raise invalid_argument(f"input_batch_size_limit must be positive; was {self.max_batch_size}")
        if self.batch_timeout_s < 0:
            raise invalid_argument(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_s * 1e6:.0f}")
        if self.max_enqueued_batches < 1:
            raise invalid_argument(f"max_enqueued_batches must be positive; was {self.max_enqueued_batches}")
        if largest > self.max_batch_size or largest < 1:
            raise invalid_argument(
                "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
                "max_execution_batch_size."
            )
        if list(self.allowed_batch_sizes) != sorted(set(self.allowed_batch_sizes)):
            log.warning("allowed_batch_sizes do not increase; the first that is large enough is used")


def from_message(message: messages.BatchingParameters) -> BatchingParameters:
    """The parameters of a message, with the real server's defaults for unset fields."""
    values: dict[str, Any] = {
        field.name: getattr(message, field.name).value
        for field, _ in message.ListFields()
        if field.message_type is not None
    }
    if "batch_timeout_micros" in values:
        values["batch_timeout_s"] = values.pop("batch_timeout_micros") / 1e6
    splitting = values.get("enable_large_batch_splitting", False)
    if splitting:  # the default size of batches is that of requests
        values.setdefault("max_execution_batch_size", values.get("max_batch_size", BatchingParameters().max_batch_size))
    elif values.get("max_enqueued_batches") == 0:
        values["max_enqueued_batches"] = 1  # as the real server does, for old configurations
    return BatchingParameters(
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length_inputs=message.pad_variable_length_inputs,
        **values,
    )


def server_parameters(flags: Flags) -> BatchingParameters | None:
    """The parameters that the command line sets, None without batching. Raises what the real server's start raises."""
    path = flags.batching_parameters_file
    if not flags.enable_batching:
        if path:
            raise invalid_argument(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
            )
        return None
    if not path:
        return BatchingParameters(thread_pool_name="model_server_batch_threads")
    parameters = from_message(read_config_file(path, messages.BatchingParameters()))
    parameters.check_threads()
    return parameters


def model_parameters(common: BatchingParameters, version_dir: Path, *, per_model: bool) -> BatchingParameters | None:
    """The parameters of one model version: with `per_model` those of its own file, None if it has no file.

    The threads are always the common ones. Raises INVALID_ARGUMENT for parameters that cannot be used.
    """
    parameters = common
    if per_model:
        path = version_dir / PER_MODEL_FILE
        if not path.is_file():
            return None
        own = from_message(read_config_file(path, messages.BatchingParameters()))
        parameters = replace(own, num_batch_threads=common.num_batch_threads, thread_pool_name=common.thread_pool_name)
    parameters.check_batches()
    return parameters
