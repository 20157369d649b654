"""A model's directory on disk: find the versions that a server would serve, and read the newest one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tfsctl.core.model_dir import VersionDir, is_version_dir, list_versions
from tfsctl.core.saved_model import SAVED_MODEL_FILE, SavedModelInfo, read_saved_model
from tfsctl.core.version_files.manifest import with_samples
from tfsctl.engines.model_paths import is_file_error, local_path, require_versions
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy
from tfsctl.serving_config.model_name import check_name


@dataclass(frozen=True, slots=True)
class ModelOnDisk:
    """A model that can be served: its configuration, and what its directory holds now.

    - `folders`: the directories of the versions that will be served now, highest version first
    - `version` and `saved_model`: number and content of the highest of these
    - `pinned`: the user gave the directory of one version, which is then the only one served
    """

    config: ModelConfig
    version: int
    saved_model: SavedModelInfo
    folders: tuple[Path, ...]
    pinned: bool = False

    @property
    def name(self) -> str:
        """The name it is served by."""
        return self.config.name

    @property
    def required_versions(self) -> tuple[int, ...] | None:
        """The versions that must be AVAILABLE before the server is ready.

        None if any version will do: with a "latest" policy a newer version may arrive while the server starts.
        """
        policy = self.config.policy
        return policy.specific or (tuple(int(folder.name) for folder in self.folders) if policy.all_versions else None)


def find_model(path: Path, *, name: str | None = None) -> ModelOnDisk:
    """The model at `path`: a base directory, or a version directory, whose parent is then served pinned to it.

    `name` is the model's name (default: the name of the base directory). Raises NotFound, InvalidInput or
    ModelUnreadable.
    """
    path = local_path(path)
    if path.is_file():
        raise is_file_error(path)
    pinned = is_version_dir(path)
    if pinned:
        served = VersionDir(int(path.resolve().name), path.resolve())
        base, policy = served.path.parent, VersionPolicy(specific=(served.version,))
    else:
        require_versions(path)
        base, policy = path, VersionPolicy()
    return replace(
        find_configured(ModelConfig(check_name(base.name if name is None else name), str(base), policy)), pinned=pinned
    )


def find_configured(config: ModelConfig) -> ModelOnDisk:
    """The model of a configuration. Raises NotFound for missing versions, InvalidInput, ModelUnreadable."""
    base = Path(config.base_path)
    require_versions(base)
    on_disk = {found.version: found.path for found in list_versions(base)}
    wanted = [*(config.policy.specific or ()), *config.labels.values()]
    missing = [version for version in wanted if version not in on_disk]
    if missing:
        there = ", ".join(map(str, on_disk))
        raise NotFound(f"{config.name} has no version {missing[0]}: {base} holds {there}")
    aspired = config.policy.aspired(list(on_disk))
    for label, version in config.labels.items():
        if version not in aspired:
            served = ", ".join(map(str, aspired))
            raise InvalidInput(
                f"the label {label} of {config.name} is for version {version}, which would not be served "
                f"(served: {served})",
                hint=f"versions={','.join(map(str, sorted({version, *aspired})))} serves it as well",
            )
    for version in aspired[1:]:
        if not (on_disk[version] / SAVED_MODEL_FILE).is_file():
            raise NotFound(f"no {SAVED_MODEL_FILE} in {on_disk[version]}")
    newest = aspired[0]
    info = read_saved_model(on_disk[newest])
    info = replace(info, signatures=with_samples(info.signatures, lambda: on_disk[newest]))
    return ModelOnDisk(config, newest, info, tuple(on_disk[version] for version in aspired))
