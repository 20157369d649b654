"""Lints a --model_config_file: its rules, and whether the base paths hold the requested versions."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from pathlib import Path

from tfsctl.core import protos
from tfsctl.core.model_dir import list_versions
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.lint.finding import Finding
from tfsctl.lint.model_directory import lint_base_directory
from tfsctl.lint.text_fields import TextField
from tfsctl.lint.text_proto import TextProto, read_text_proto
from tfsctl.serving_config.model_config import (
    PLATFORM,
    ModelConfig,
    check_base_path,
    models_from_proto,
)
from tfsctl.serving_config.request_logging import logging_from_proto

_File = TextProto[protos.ModelServerConfig]


def lint_model_config(path: Path) -> list[Finding]:
    """The findings for a model config file. Raises OSError."""
    file = read_text_proto(path, protos.ModelServerConfig())
    if file.message is None:
        return file.findings
    if file.fields.first("custom_model_config"):
        file.add(
            "custom-model-config",
            "error",
            file.fields.first("custom_model_config"),
            "custom_model_config needs a server that was built with a handler for it",
            "list the models in model_config_list",
        )
        return file.findings
    parent = file.fields.first("model_config_list")
    entries = [entry for part in file.fields.all("model_config_list") for entry in part.all("config")]
    messages = file.message.model_config_list.config
    if not messages:
        file.add("no-models", "warning", parent, "the server would serve no model", "add config { … } for each model")
    if len(messages) != len(entries):
        return file.findings
    _check_names(file, entries)
    for entry, message in zip(entries, messages, strict=True):
        _check_entry(file, entry, message)
    return file.findings


def _check_names(file: _File, entries: list[TextField]) -> None:
    seen: Counter[str] = Counter()
    for entry in entries:
        at = entry.first("name")
        name = at.text if at else ""
        seen[name] += 1
        if not name:
            file.add("no-name", "error", at or entry, "the model has no name", 'add name: "NAME"')
        elif seen[name] > 1:
            file.add(
                "duplicate-model",
                "error",
                at,
                f"Illegal to list model {name} multiple times in config list",
                "rename one of them, or list the versions to serve in model_version_policy { specific { … } }",
            )
        elif re.search(r"[/:]", name):
            file.add(
                "model-name",
                "warning",
                at,
                f"REST cannot address the model {name}: its name has / or :",
                f'name: "{re.sub(r"[/:]+", "_", name)}"',
            )


def _check_entry(file: _File, entry: TextField, message: protos.ModelConfig) -> None:
    one = protos.ModelServerConfig()
    one.model_config_list.config.add().CopyFrom(message)
    if entry.first("logging_config"):
        _check_logging(file, entry, message)
        one.model_config_list.config[0].ClearField("logging_config")
    try:
        check_base_path(message.name, message.base_path)
    except InvalidInput as error:
        at = entry.first("base_path")
        absolute = Path(file.path).resolve().parent / message.base_path
        fix = f'base_path: "{absolute}"' if message.base_path else 'add base_path: "/PATH/TO/MODEL"'
        file.add("base-path", "error", at or entry, error.message, fix)
        return
    try:
        (model,) = models_from_proto(one)
    except InvalidInput as error:
        _add_platform(file, entry, error.message)
        accepted = one.model_config_list.config[0]
        accepted.ClearField("model_type")
        accepted.model_platform = PLATFORM
        (model,) = models_from_proto(one)
    _check_policy(file, entry, model)
    _check_labels(file, entry, model)
    if "://" not in model.base_path:
        _check_directory(file, entry, model)


def _check_logging(file: _File, entry: TextField, message: protos.ModelConfig) -> None:
    """Request logging: only the embedded server supports it, and stock servers refuse to start."""
    at = entry.first("logging_config")
    try:
        logging_from_proto(message)
    except InvalidInput as error:
        file.add("request-logging", "error", at, error.message, error.hint or "correct it, or remove logging_config")
        return
    file.add(
        "request-logging",
        "warning",
        at,
        "stock TensorFlow Serving refuses to start with this: No request-logger-creator provided.",
        "serve it with --engine embedded, which logs requests, or remove logging_config",
    )


def _add_platform(file: _File, entry: TextField, message: str) -> None:
    """Add the finding for a wrong platform, unless a misspelt `model_platform` is its reason."""
    platform, kind = entry.first("model_platform"), entry.first("model_type")
    misspelt = difflib.get_close_matches("model_platform", [field.name for field in entry.fields])
    if platform is kind is None and misspelt:
        return
    if platform is not None and kind is not None:
        fix = "remove model_type"
    else:
        fix = f'{"add " if platform is kind is None else ""}model_platform: "{PLATFORM}"'
    file.add("platform", "error", platform or kind or entry, message, fix)


def _check_policy(file: _File, entry: TextField, model: ModelConfig) -> None:
    if model.policy.specific == ():
        file.add(
            "no-versions-wanted",
            "error",
            entry.first("model_version_policy", "specific"),
            f"the version policy of {model.name} names no version, so none is loaded",
            "add versions: N, or remove model_version_policy",
        )


def _check_labels(file: _File, entry: TextField, model: ModelConfig) -> None:
    """Labels of versions that the policy certainly does not load."""
    base = Path(model.base_path)
    on_disk = [one.version for one in list_versions(base)] if base.is_dir() else []
    if model.policy.specific is not None:
        loaded = list(model.policy.specific)
    elif on_disk:
        loaded = model.policy.aspired(on_disk)
    else:
        return
    keys = [(label, label.first("key")) for label in entry.all("version_labels")]
    for name, count in Counter(key.text for _, key in keys if key).items():
        if count > 1:
            last = [label for label, key in keys if key and key.text == name][-1]
            file.add("duplicate-label", "warning", last, f"the label {name} is set {count} times: the last one is used")
    for name, version in model.labels.items():
        at = next((label for label, key in reversed(keys) if key and key.text == name), entry)
        if version not in loaded:
            wanted = " ".join(f"versions: {one}" for one in sorted({*loaded, version}))
            file.add(
                "label",
                "error",
                at,
                f"Request to assign label to version {version} of model {model.name}, which is not currently "
                f"available for inference",
                f"model_version_policy {{ specific {{ {wanted} }} }}, or another version for the label {name}",
            )


def _check_directory(file: _File, entry: TextField, model: ModelConfig) -> None:
    """Whether the base path has the versions. The file may be for another machine: a missing one is a warning."""
    at, base = entry.first("base_path"), Path(model.base_path)
    try:
        on_disk = [one.version for one in list_versions(base)]
    except (NotFound, OSError):
        file.add(
            "base-path-missing",
            "warning",
            at,
            f"Could not find base path {base} for servable {model.name} on this machine",
            "correct base_path, unless the file is for a container or another machine",
        )
        return
    for finding in lint_base_directory(base, servable=model.name, with_versions=False):
        file.add(finding.rule, finding.severity, at, finding.message, finding.fix)
    for version in [version for version in model.policy.specific or () if on_disk and version not in on_disk]:
        versions = entry.first("model_version_policy", "specific")
        at_version = next((one for one in (versions.fields if versions else ()) if one.text == str(version)), at)
        file.add(
            "version-missing",
            "error",
            at_version,
            f"Version {version} of servable {model.name}, which was requested to be served, was not found",
            f"versions in {base}: {', '.join(map(str, on_disk))}",
        )
