"""A self-contained image: TensorFlow Serving's image plus models, configuration and a health check."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from tfsctl.core.version_files.file_hashes import content_hash
from tfsctl.core.version_files.manifest import read_source_sha256
from tfsctl.engines.docker.checks import op_support
from tfsctl.engines.docker.container_spec import (
    CONFIG,
    GRPC_PORT,
    MODELS,
    REST_PORT,
    ContainerSpec,
    Port,
    config_inside,
    model_folders,
)
from tfsctl.engines.docker.health import health_check
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.model_on_disk import ModelOnDisk
from tfsctl.serving_config.model_config import VersionPolicy
from tfsctl.serving_config.model_name import valid_name

ENTRYPOINT = "/usr/bin/tf_serving_entrypoint.sh"  # of TensorFlow Serving's image: tools/docker/Dockerfile
USER = "65532:65532"  # an unprivileged user without an account; the models are readable by all
MODELS_FOLDER, CONFIG_FOLDER = "models", "config"  # of the build context
MAX_NAMES, MAX_NAME_CHARS = 4, 120  # of models in the default name of an image
OCI = "org.opencontainers.image"


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The content of an image.

    `versions` has the versions of each model. `folders` maps paths in the build context to version directories, `files` to the text of config files.
    """

    tag: str
    base: str
    models: tuple[str, ...]
    versions: Mapping[str, tuple[int, ...]]
    folders: Mapping[str, Path]
    files: Mapping[str, str]
    flags: tuple[str, ...]
    labels: Mapping[str, str]
    platform: str | None

    def dockerfile(self) -> str:
        """The Dockerfile. The build context must hold `folders` and `files`."""
        check = health_check(self.models, REST_PORT)
        times = f"--interval={check.interval_s}s --timeout={check.timeout_s}s --start-period={check.start_period_s}s"
        lines = [f"FROM {self.base}", f"COPY {MODELS_FOLDER} {MODELS}"]
        if self.files:
            lines.append(f"COPY {CONFIG_FOLDER} {CONFIG}")
        lines.append(f"ENV MODEL_NAME={valid_name(self.models[0])}")
        lines.append("LABEL " + " \\\n      ".join(f"{key}={_quoted(value)}" for key, value in self.labels.items()))
        lines.append(f"USER {USER}")
        lines.append(f"HEALTHCHECK {times} --retries={check.retries} CMD {json.dumps(check.command)}")
        if self.flags:  # arguments of `docker run` would replace CMD
            lines.append(f"ENTRYPOINT {json.dumps([ENTRYPOINT, *self.flags])}")
        return "\n".join(lines) + "\n"

    def run_command(self, *, host: str, rest_port: int, grpc_port: int) -> list[str]:
        """The `docker run` command line, hardened like every container of tfsctl, without mounts."""
        ports = (Port(host, grpc_port, GRPC_PORT), Port(host, rest_port, REST_PORT))
        name = re.split(r"[:/@]", self.tag.rpartition("/")[2])[0]
        return ContainerSpec(name, self.tag, {}, ports, (), {}, (), platform=self.platform).run_command()


def image_spec(
    spec: LaunchSpec,
    models: Sequence[ModelOnDisk],
    *,
    base: str,
    tag: str | None,
    name: str | None = None,
    labels: Sequence[str] = (),
) -> ImageSpec:
    """The image that serves these models, in the versions that would be served now.

    The default tag is `NAME:VERSION`, or `NAME:latest` for several models; the default name is that of the model, or
    those of all models. `labels` are `KEY=VALUE` and replace the labels of tfsctl. Raises EngineError for a model that the
    base image certainly cannot run.
    """
    for model in models:
        op_support.check(model.name, model.saved_model, base)
    included = tuple(_without_policy(model) for model in models)
    config = config_inside(replace(spec.config, models=tuple(model.config for model in included)))
    places = model_folders(config.models)
    only = included[0] if len(included) == 1 else None
    title = name or _joined_names([model.name for model in included])
    return ImageSpec(
        tag=tag or f"{_repository(title)}:{only.version if only else 'latest'}",
        base=base,
        models=tuple(model.name for model in included),
        versions={model.name: tuple(sorted(int(folder.name) for folder in model.folders)) for model in included},
        folders={
            f"{MODELS_FOLDER}/{place}/{int(folder.name)}": folder
            for model, place in zip(included, places, strict=True)
            for folder in model.folders
        },
        files={f"{CONFIG_FOLDER}/{name}": text for name, text in config.files().items()},
        flags=tuple(config.option_flags(CONFIG)),
        labels=_labels(title, models, base) | dict(label.split("=", 1) for label in labels),
        platform=spec.container.platform,
    )


def _without_policy(model: ModelOnDisk) -> ModelOnDisk:
    """The model without a version policy if the image holds one version only, which needs none."""
    needs_policy = len(model.folders) > 1 or model.config.labels
    return model if needs_policy else replace(model, config=replace(model.config, policy=VersionPolicy()))


def _labels(name: str, models: Sequence[ModelOnDisk], base: str) -> dict[str, str]:
    """OCI annotations, and for each model its versions, and the fingerprint and source of the highest version."""
    labels = {f"{OCI}.title": name, f"{OCI}.base.name": base}
    if len(models) == 1:
        labels[f"{OCI}.version"] = str(models[0].version)
    for model in models:
        key, newest = f"tfsctl.model.{quote(model.name, safe='')}", model.folders[0]
        labels[f"{key}.version"] = ",".join(str(int(folder.name)) for folder in model.folders)
        labels[f"{key}.fingerprint"] = content_hash(newest)
        source = read_source_sha256(newest)
        if source is not None:
            labels[f"{key}.source"] = f"sha256:{source}"
    return labels


def _joined_names(models: Sequence[str]) -> str:
    """The names of all models joined to one name, unless it is too long."""
    shown = [valid_name(model) for model in models[:MAX_NAMES]]
    rest = len(models) - len(shown)
    return "-".join([*shown, *([f"and-{rest}-more"] if rest else [])])[:MAX_NAME_CHARS]


def _repository(name: str) -> str:
    """The name of a server as the name of an image: lower case, single separators, none at the ends."""
    return re.sub(r"[._-]{2,}", "-", name.lower()).strip("._-")


def _quoted(value: str) -> str:
    """A value in a Dockerfile, in double quotes, without anything that Docker would replace."""
    return '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'
