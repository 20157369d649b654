"""The output of `serve`, `run` and `restart`: the plan before the start, then addresses and example commands."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING
from urllib.parse import quote

from tfsctl.cli.output import terminal
from tfsctl.core.types import DEFAULT_SIGNATURE

if TYPE_CHECKING:
    from tfsctl.engines.model_on_disk import ModelOnDisk
    from tfsctl.engines.planning.serve_plan import ServePlan
    from tfsctl.engines.server_record import ServerRecord


def announce_plan(plan: ServePlan) -> None:
    """Print the models, the engine and the notes of a plan to stderr."""
    for note in plan.notes:
        terminal.say_note(note)
    reason = f" ({plan.reason})" if plan.reason else ""
    terminal.say(f"serving {', '.join(_versions(model) for model in plan.models)} with {plan.engine}{reason}")


def announce_server(plan: ServePlan, entry: ServerRecord, *, as_json: bool) -> None:
    """Print the addresses of a ready server, and commands to query it."""
    curl, predict = example_commands(plan.first_model, entry, several=len(plan.models) > 1)
    config = plan.launch.config
    metrics = f"{entry.url}{_metrics_path()}" if config.metrics else None
    if as_json:
        more = {
            "url": entry.url,
            "version": plan.first_model.version,
            "curl": curl,
            "predict": predict,
            "metrics": metrics,
        }
        terminal.answer_json(asdict(entry) | more)
        return
    terminal.answer(f"ready: {', '.join(_versions(model) for model in plan.models)}")
    for model in plan.models:
        terminal.answer(f"  REST  {entry.url}/v1/models/{quote(model.name, safe='')}")
    terminal.answer(f"  gRPC  {entry.grpc_address}{' (TLS)' if config.tls else ''}")
    if metrics is not None:
        terminal.answer(f"  Prometheus  {metrics}")
    for line in (curl, predict):
        if line is not None:
            terminal.answer(f"  {line}")


def example_commands(model: ModelOnDisk, entry: ServerRecord, *, several: bool) -> tuple[str | None, str | None]:
    """A `curl` and a `tfsctl predict` command that the model answers; None if no example fits the signature."""
    from tfsctl.engines.planning import preflight
    from tfsctl.engines.registry import records
    from tfsctl.inputs.example_request import example_body, example_row, example_signature
    from tfsctl.inputs.tf_examples import feature_words, features_in, placeholder_body

    skipped = preflight.unanswerable(model.saved_model)
    signatures = model.saved_model.signatures
    signature = example_signature({name: one for name, one in signatures.items() if name not in skipped})
    if signature is None:
        return None, None
    features = features_in(model.saved_model.path, signature)
    body = placeholder_body(signature, features) if features else example_body(signature)
    url = f"{entry.url}/v1/models/{quote(model.name, safe='')}:predict"
    curl = None if body is None else shlex.join(["curl", "-d", body, "-X", "POST", url])
    words = ["tfsctl", "predict", *(feature_words(features) if features else [_argument(example_row(signature))])]
    others = [server for server in records.running() if server.name != entry.name]
    if several or others:
        words += ["--model", model.name]
    if any(model.name in server.models for server in others):
        words += ["--server", entry.name]
    if signature.name != DEFAULT_SIGNATURE:
        words += ["--signature", signature.name]
    if body is None:
        words.append("--grpc")
    return curl, shlex.join(words)


def _argument(row: object) -> str:
    """A row as an argument of `predict`. Text that would be an option or JSON is written in a JSON list."""
    if not isinstance(row, str):
        return json.dumps(row, ensure_ascii=False)
    return json.dumps([row], ensure_ascii=False) if row[:1] in ("-", "{", "[") else row


def _versions(model: ModelOnDisk) -> str:
    """`amazon_review version 3`, or `versions 3, 2`."""
    numbers = [str(version) for version in sorted({model.version, *(model.required_versions or ())}, reverse=True)]
    return f"{model.name} version{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"


def _metrics_path() -> str:
    from tfsctl.serving_config.text_protos import METRICS_PATH

    return METRICS_PATH
