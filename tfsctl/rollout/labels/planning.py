"""Computes the configurations of a change of labels. Pure functions: nothing is read or sent here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy

STABLE, CANARY, PREVIOUS = "stable", "canary", "previous"


@dataclass(frozen=True, slots=True)
class Steps:
    """The configurations that a model passes through from `before` to `after`.

    - `prepared`: the versions of both, with the labels of `before`; requests see no difference
    - `moved`: the versions of both, with the labels of `after`
    - `loaded`: the versions that were AVAILABLE before
    """

    before: ModelConfig
    prepared: ModelConfig
    moved: ModelConfig
    after: ModelConfig
    loaded: tuple[int, ...]

    @property
    def new_versions(self) -> set[int]:
        """The versions that must be loaded before the labels can move."""
        return {*self.after.labels.values(), *(self.after.policy.specific or ())} - set(self.loaded)

    @property
    def released(self) -> list[int]:
        """The versions that are unloaded in the last step."""
        kept = self.after.policy.specific
        return [] if kept is None else sorted(set(self.loaded) - set(kept))

    @property
    def served(self) -> list[int]:
        """The versions that are loaded after the last step."""
        kept = self.after.policy.specific
        return sorted({*self.loaded, *self.after.labels.values()} if kept is None else kept)


def with_labels(
    current: ModelConfig, loaded: Collection[int], assigned: Mapping[str, int], removed: Collection[str] = ()
) -> ModelConfig:
    """The model after labels were assigned and removed. `loaded` are the versions that are AVAILABLE now.

    - With the policy "all", every version stays loaded.
    - Otherwise exactly the needed versions are served (policy "specific"): those with a label, and those served before
      except versions that lose their last label.
    - If `stable` is set while the server follows the latest versions on disk, versions without a label are unloaded.
    """
    labels = {label: version for label, version in {**current.labels, **assigned}.items() if label not in removed}
    if current.policy.all_versions:
        return replace(current, labels=labels)
    follows_latest = current.policy.specific is None
    served = set(loaded if follows_latest else current.policy.specific or ())
    kept = served - (set(current.labels.values()) - set(labels.values()))
    if follows_latest and STABLE in assigned:
        kept = set()
    versions = kept | set(labels.values()) or served
    return replace(current, labels=labels, policy=VersionPolicy(specific=tuple(sorted(versions))))


def steps(before: ModelConfig, after: ModelConfig, loaded: Collection[int]) -> Steps:
    """The steps from one configuration of a model to another."""
    policy = before.policy
    if not policy.all_versions:
        served = before.policy.specific or loaded
        policy = VersionPolicy(specific=tuple(sorted({*served, *loaded, *(after.policy.specific or ())})))
    prepared = replace(before, policy=policy)
    return Steps(before, prepared, replace(prepared, labels=after.labels), after, tuple(sorted(loaded)))
