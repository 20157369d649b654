"""Parse the value of --model: `NAME=PATH[,versions=…][,labels=…]`."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from tfsctl.core.model_dir import parse_version
from tfsctl.engines.model_paths import local_path
from tfsctl.errors import InvalidInput
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy
from tfsctl.serving_config.model_name import check_name, valid_name

_SETTING = re.compile(r",(versions|labels)=")  # any other comma belongs to the path or to a list
_MISSPELT_SETTING = re.compile(r",(version|label)=")
FORM = "NAME=PATH[,versions=all|latest:N|N,N…][,labels=LABEL:N,…]"


def parse(argument: str) -> ModelConfig:
    """The model of one --model argument. Raises InvalidInput."""
    place, *settings = _SETTING.split(argument)
    name, equals, path = place.partition("=")
    keys = settings[::2]
    if not (equals and name and path) or len(set(keys)) < len(keys):
        raise InvalidInput(
            f"--model {argument} is not {FORM}",
            hint=f"--model {shlex.quote(f'{valid_name(Path(place).name)}={place}')}",
        )
    misspelt = _MISSPELT_SETTING.search(path)
    if misspelt and not os.path.exists(path):
        raise InvalidInput(f"--model {argument}: there is no setting {misspelt[1]}", hint=f"write {misspelt[1]}s=…")
    values = dict(zip(keys, settings[1::2], strict=True))
    return ModelConfig(
        name=_checked_name(name, path),
        base_path=str(local_path(path)),
        policy=_policy(values["versions"]) if "versions" in values else VersionPolicy(),
        labels=_labels(values["labels"]) if "labels" in values else {},
    )


def _checked_name(name: str, path: str) -> str:
    try:
        return check_name(name)
    except InvalidInput as error:
        error.hint = f"--model {shlex.quote(f'{valid_name(name)}={path}')}"
        raise


def _policy(text: str) -> VersionPolicy:
    if text == "all":
        return VersionPolicy(all_versions=True)
    kind, _, count = text.partition(":")
    if kind == "latest":
        number = parse_version(count)
        if not number:
            raise InvalidInput(f"{text!r} is not latest:N, with a number of at least 1", hint=FORM)
        return VersionPolicy(latest=number)
    return VersionPolicy(specific=tuple(_number(part, text) for part in text.split(",")))


def _labels(text: str) -> dict[str, int]:
    labels: dict[str, int] = {}
    for part in text.split(","):
        label, _, version = part.rpartition(":")
        if not label or label in labels:
            raise InvalidInput(f"labels={text} is not a list of different labels", hint="labels=stable:1,canary:2")
        labels[label] = _number(version, f"labels={text}")
    return labels


def _number(text: str, source: str) -> int:
    number = parse_version(text)
    if number is None:
        raise InvalidInput(f"{text!r} in {source} is not a version number", hint=FORM)
    return number
