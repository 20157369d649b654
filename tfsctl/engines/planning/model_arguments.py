"""`NAME=PATH[,versions=…][,labels=…]`: a model to serve as it is typed after --model."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tfsctl.core.model_dir import parse_version
from tfsctl.engines.planning.preflight import checked_name
from tfsctl.errors import InvalidInput
from tfsctl.serving_config.serving_config import ModelConfig, VersionPolicy

_SETTING = re.compile(r",(versions|labels)=")  # a comma before anything else is part of the path, or of a list
FORM = "NAME=PATH[,versions=all|latest:N|N,N…][,labels=LABEL:N,…]"


def parse(argument: str) -> ModelConfig:
    """The model that `argument` asks for. Raises InvalidInput."""
    place, *settings = _SETTING.split(argument)
    name, equals, path = place.partition("=")
    keys = settings[::2]
    if not (equals and name and path) or len(set(keys)) < len(keys):
        raise InvalidInput(
            f"--model {argument} is not {FORM}",
            hint=f"--model {shlex.quote(f'{checked_name(Path(place), None)}={place}')}",
        )
    given = dict(zip(keys, settings[1::2], strict=True))
    return ModelConfig(
        name=checked_name(Path(path), name),
        base_path=str(Path(path).absolute()),
        policy=_policy(given["versions"]) if "versions" in given else VersionPolicy(),
        labels=_labels(given["labels"]) if "labels" in given else {},
    )


def _policy(text: str) -> VersionPolicy:
    if text == "all":
        return VersionPolicy(all_versions=True)
    kind, _, count = text.partition(":")
    if kind == "latest":
        return VersionPolicy(latest=_number(count, text, least=1))
    return VersionPolicy(specific=tuple(_number(part, text) for part in text.split(",")))


def _labels(text: str) -> dict[str, int]:
    labels: dict[str, int] = {}
    for part in text.split(","):
        label, _, version = part.rpartition(":")
        if not label or label in labels:
            raise InvalidInput(f"labels={text} is no list of different labels", hint="labels=stable:1,canary:2")
        labels[label] = _number(version, f"labels={text}")
    return labels


def _number(text: str, of: str, *, least: int = 0) -> int:
    number = parse_version(text)
    if number is None or number < least:
        raise InvalidInput(f"{text!r} in {of} is no version number", hint=FORM)
    return number
