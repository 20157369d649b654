"""The command line of `tfsctl-model-server`: TensorFlow Serving's own flags, defaults and manners.

Flags and texts: tensorflow_serving/model_servers/main.cc; parsing: tensorflow/core/util/command_line_flags.cc, which
takes `--name=value` (for a boolean also `--name`), calls anything else an unknown argument, and goes on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

FLAGS_VARIABLE = "TFSCTL_MODEL_SERVER_FLAGS"  # where a server runtime finds the command line, as a JSON list
START_FAILED = 255  # the exit code of tensorflow_model_server when it cannot start


def _flag(default: float | str | bool, text: str) -> Any:  # noqa: ANN401 - dataclasses.field is typed so
    return field(default=default, metadata={"text": text})


@dataclass(frozen=True, slots=True)
class Flags:
    """What the server is told. Times are in the unit their name says; port 0 is off."""

    port: int = _flag(8500, "TCP port to listen on for gRPC. Disabled if port set to zero.")
    rest_api_port: int = _flag(
        0, "Port to listen on for HTTP/REST API. If set to zero HTTP/REST API will not be exported."
    )
    rest_api_timeout_in_ms: int = _flag(30_000, "Timeout for HTTP/REST API calls.")
    allow_version_labels_for_unavailable_models: bool = _flag(
        default=False, text="If true, allows assigning unused version labels to models that are not available yet."
    )
    enable_signature_method_name_check: bool = _flag(
        default=False,
        text="Enable method_name check for SignatureDef. Disable this if serving native TF2 regression/classification models.",
    )
    model_config_file: str = _flag(
        "",
        "If non-empty, read an ascii ModelServerConfig protobuf from the supplied file name, and serve the models in "
        "that file. (If used, --model_name, --model_base_path are ignored.)",
    )
    model_name: str = _flag("default", "name of model (ignored if --model_config_file flag is set)")
    model_base_path: str = _flag("", "path to export (ignored if --model_config_file flag is set, otherwise required)")
    max_num_load_retries: int = _flag(
        5, "maximum number of times it retries loading a model after the first failure, before giving up."
    )
    load_retry_interval_micros: int = _flag(
        60_000_000, "The interval, in microseconds, between each servable load retry."
    )
    file_system_poll_wait_seconds: int = _flag(
        1,
        "Interval in seconds between each poll of the filesystem for new model version. If set to zero poll will be "
        "exactly done once and not periodically. Setting this to negative value will disable polling entirely.",
    )
    tensorflow_session_parallelism: int = _flag(
        0, "Number of threads to use for running a Tensorflow session. Auto-configured by default."
    )
    tensorflow_intra_op_parallelism: int = _flag(
        0, "Number of threads to use to parallelize the execution of an individual op. Auto-configured by default."
    )
    tensorflow_inter_op_parallelism: int = _flag(
        0, "Controls the number of operators that can be executed simultaneously. Auto-configured by default."
    )
    saved_model_tags: str = _flag("serve", "Comma-separated set of tags of the meta graph def to load.")
    batching: str = _flag(
        "auto",
        "Merge requests that wait together into one run: auto (where the export found that rows do not affect each "
        "other), on (always), off (not a flag of tensorflow_model_server).",
    )
    version: bool = _flag(default=False, text="Display version")
    host: str = _flag("0.0.0.0", "Address to listen on (not a flag of tensorflow_model_server).")  # noqa: S104 - its default


@dataclass(frozen=True, slots=True)
class Parsed:
    """A parsed command line: the flags, what was not understood, and a value that was no value (an error)."""

    flags: Flags
    unknown: tuple[str, ...] = ()
    error: str = ""
    wants_help: bool = False


def parse(arguments: Sequence[str]) -> Parsed:
    """Read a command line; nothing is raised, the caller decides."""
    kinds = {f.name: type(f.default) for f in fields(Flags)}
    values: dict[str, Any] = {}
    unknown: list[str] = []
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        kind = kinds.get(name) if argument.startswith("--") else None
        if argument == "--help":
            return Parsed(Flags(), wants_help=True)
        if kind is None or (not equals and kind is not bool):
            unknown.append(argument)
            continue
        value = _value(kind, text, given=bool(equals))
        if value is None:
            return Parsed(Flags(), tuple(unknown), f"Couldn't interpret value {text} for flag {name}.")
        values[name] = value
    return Parsed(Flags(**values), tuple(unknown))


def _value(kind: type, text: str, *, given: bool) -> object:
    if kind is bool:
        return True if not given else {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    if kind is int:
        return int(text) if re.fullmatch("-?[0-9]+", text) else None
    return text


def usage() -> str:
    """The usage text, a flag a line as TensorFlow prints it."""
    names = {int: "int32", str: "string", bool: "bool"}
    lines = ["usage: tensorflow_model_server", "Flags:"]
    for f in fields(Flags):
        quoted = f'"{f.default}"' if isinstance(f.default, str) else str(f.default).lower()
        lines.append(f"\t{f'--{f.name}={quoted}':<33}\t{names[type(f.default)]}\t{f.metadata['text']}")
    return "\n".join(lines)


def session_threads(flags: Flags) -> tuple[int, int]:
    """TensorFlow's intra-op and inter-op threads.

    Small models run several times faster without hand-overs between threads, and requests use the cores anyway: so
    one inter-op thread unless a flag says more, and intra-op threads for the cores only where there are many.
    """
    if flags.tensorflow_session_parallelism:
        return flags.tensorflow_session_parallelism, flags.tensorflow_session_parallelism
    intra = flags.tensorflow_intra_op_parallelism or max(1, (os.cpu_count() or 1) // 2)
    return intra, flags.tensorflow_inter_op_parallelism or 1
