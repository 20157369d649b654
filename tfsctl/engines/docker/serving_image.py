"""A self-contained serving image: TensorFlow Serving's, with the models, their configuration and a health check inside."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tfsctl.core.version_files import content_hash, read_source_sha256
from tfsctl.engines.docker import operations
from tfsctl.engines.docker.container_spec import CONFIG, GRPC_PORT, MODELS, REST_PORT, ContainerSpec, Port
from tfsctl.engines.docker.health import check_of
from tfsctl.engines.planning.preflight import Found
from tfsctl.engines.planning.serve_plan import Plan
from tfsctl.serving_config.serving_config import VersionPolicy

ENTRYPOINT = "/usr/bin/tf_serving_entrypoint.sh"  # of TensorFlow Serving's image: tools/docker/Dockerfile
USER = "65532:65532"  # nobody in particular, and not root; the models are readable to all
MODELS_FOLDER, CONFIG_FOLDER = "models", "config"  # of the build context
OCI = "org.opencontainers.image"


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What goes into an image: versions of models by their place in the context, config files, flags and labels."""

    tag: str
    base: str
    models: tuple[str, ...]
    folders: Mapping[str, Path]
    files: Mapping[str, str]
    flags: tuple[str, ...]
    labels: Mapping[str, str]
    platform: str | None

    def dockerfile(self) -> str:
        """The Dockerfile, for a context with `folders` and `files` in it."""
        check = check_of(self.models)
        times = f"--interval={check.interval_s}s --timeout={check.timeout_s}s --start-period={check.start_period_s}s"
        lines = [f"FROM {self.base}", f"COPY {MODELS_FOLDER} {MODELS}"]
        if self.files:
            lines.append(f"COPY {CONFIG_FOLDER} {CONFIG}")
        lines.append(f"ENV MODEL_NAME={self.models[0]}")
        lines.append("LABEL " + " \\\n      ".join(f"{key}={_quoted(value)}" for key, value in self.labels.items()))
        lines.append(f"USER {USER}")
        lines.append(f"HEALTHCHECK {times} --retries={check.retries} CMD {json.dumps(check.command)}")
        if self.flags:  # not CMD: what `docker run` adds would take its place
            lines.append(f"ENTRYPOINT {json.dumps([ENTRYPOINT, *self.flags])}")
        return "\n".join(lines) + "\n"

    def run_command(self, *, host: str, rest_port: int, grpc_port: int) -> list[str]:
        """The `docker run` for it, hardened as every container of ours, with nothing mounted."""
        ports = (Port(host, grpc_port, GRPC_PORT), Port(host, rest_port, REST_PORT))
        name = re.split(r"[:/@]", self.tag.rpartition("/")[2])[0]
        return ContainerSpec(name, self.tag, {}, ports, (), {}, (), platform=self.platform).run_command()


def spec_of(plan: Plan, *, base: str, tag: str | None) -> ImageSpec:
    """The image that serves what a plan serves: the versions that are there for it now, and no others.

    Its tag is `NAME:VERSION` unless it is given, `NAME:latest` with several models. Raises EngineError for a model that
    the base certainly cannot run.
    """
    for found in plan.founds:
        operations.check(found.model.name, found.saved_model, base)
    founds = tuple(_alone(found) for found in plan.founds)
    inside = [replace(found.model, base_path=f"{MODELS}/{found.model.name}") for found in founds]
    config = replace(plan.launch.config, models=tuple(inside))
    only = founds[0] if len(founds) == 1 else None
    return ImageSpec(
        tag=tag or f"{_repository(plan.launch.name)}:{only.version if only else 'latest'}",
        base=base,
        models=tuple(model.name for model in inside),
        folders={
            f"{MODELS_FOLDER}/{found.model.name}/{int(folder.name)}": folder
            for found in founds
            for folder in found.folders
        },
        files={f"{CONFIG_FOLDER}/{name}": text for name, text in config.files().items()},
        flags=tuple(config.option_flags(CONFIG)),
        labels=_labels(plan, base),
        platform=plan.launch.container.platform,
    )


def _alone(found: Found) -> Found:
    """The model as it is served from an image: one version needs no policy to be chosen, since no other is there."""
    needs_policy = len(found.folders) > 1 or found.model.labels
    return found if needs_policy else replace(found, model=replace(found.model, policy=VersionPolicy()))


def _labels(plan: Plan, base: str) -> dict[str, str]:
    """OCI's annotations, and for each model its versions, and of the highest what it holds and what it was made of."""
    labels = {f"{OCI}.title": plan.launch.name, f"{OCI}.base.name": base}
    if len(plan.founds) == 1:
        labels[f"{OCI}.version"] = str(plan.found.version)
    for found in plan.founds:
        key, newest = f"tfsctl.model.{found.model.name}", found.folders[0]
        labels[f"{key}.version"] = ",".join(str(int(folder.name)) for folder in found.folders)
        labels[f"{key}.fingerprint"] = content_hash(newest)
        source = read_source_sha256(newest)
        if source is not None:
            labels[f"{key}.source"] = f"sha256:{source}"
    return labels


def _repository(name: str) -> str:
    """A server's name as the name of an image: lower case, single separators, none at an end."""
    return re.sub(r"[._-]{2,}", "-", name.lower()).strip("._-")


def _quoted(value: str) -> str:
    """A value in a Dockerfile: in double quotes, with nothing in it that Docker would replace."""
    return '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'
