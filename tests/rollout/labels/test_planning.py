"""Which versions are served after a change of labels."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tfsctl.rollout.labels.planning import steps, with_labels
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy

LATEST, ALL = VersionPolicy(), VersionPolicy(all_versions=True)


def model(policy: VersionPolicy, labels: Mapping[str, int] = {}) -> ModelConfig:
    """A model with this policy and these labels."""
    return ModelConfig("m", "/m", policy, labels)


def pinned(*versions: int) -> VersionPolicy:
    """The policy for exactly these versions."""
    return VersionPolicy(specific=versions)


@pytest.mark.parametrize(
    ("before", "loaded", "assigned", "removed", "policy"),
    [
        pytest.param(model(LATEST), [4], {"canary": 5}, [], pinned(4, 5), id="canary beside the latest"),
        pytest.param(model(LATEST), [4], {"stable": 5}, [], pinned(5), id="the first stable replaces the latest"),
        pytest.param(
            model(pinned(4), {"stable": 4}), [4], {"stable": 5, "previous": 4}, [], pinned(4, 5), id="promote"
        ),
        pytest.param(
            model(pinned(3, 4, 5), {"stable": 4, "previous": 3, "canary": 5}),
            [3, 4, 5],
            {"stable": 5, "previous": 4},
            [],
            pinned(4, 5),
            id="the version before the previous one is released",
        ),
        pytest.param(
            model(pinned(4, 5), {"stable": 5, "previous": 4}),
            [4, 5],
            {"stable": 4},
            ["previous"],
            pinned(4),
            id="rollback",
        ),
        pytest.param(
            model(pinned(1, 4), {"stable": 4}), [1, 4], {"stable": 5}, [], pinned(1, 5), id="chosen versions stay"
        ),
        pytest.param(model(pinned(4), {"stable": 4}), [4], {}, ["stable"], pinned(4), id="the last label"),
        pytest.param(model(ALL), [1, 2, 3], {"stable": 1}, [], ALL, id="all versions"),
    ],
)
def test_versions_that_have_a_label_or_were_not_released_are_served(
    before: ModelConfig, loaded: list[int], assigned: dict[str, int], removed: list[str], policy: VersionPolicy
) -> None:
    """Versions with a label are served, and those that nobody released."""
    after = with_labels(before, loaded, assigned, removed)

    assert after.policy == policy
    assert dict(after.labels) == {k: v for k, v in {**before.labels, **assigned}.items() if k not in removed}


def test_steps_serve_the_versions_of_both_sides() -> None:
    """Labels move while the versions of both sides are served."""
    before = model(pinned(1, 2), {"stable": 2, "previous": 1})
    found = steps(before, with_labels(before, [1, 2], {"stable": 3, "previous": 2}), [1, 2])

    assert (found.prepared.policy, found.moved.policy, found.after.policy) == (pinned(1, 2, 3),) * 2 + (pinned(2, 3),)
    assert (found.prepared.labels, found.moved.labels) == (before.labels, found.after.labels)
    assert (found.new_versions, found.released, found.served) == ({3}, [1], [2, 3])


def test_a_model_that_serves_all_versions_loads_and_unloads_none() -> None:
    """Nothing is loaded or unloaded for it."""
    before = model(ALL)
    found = steps(before, with_labels(before, [1, 2], {"stable": 1}), [1, 2])

    assert (found.prepared, found.moved) == (before, found.after)
    assert (found.new_versions, found.released, found.served) == (set(), [], [1, 2])
