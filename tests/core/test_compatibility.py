"""Which changes between two versions break clients."""

from __future__ import annotations

import pytest

from tfsctl.core.compatibility import Change, compare_signatures
from tfsctl.core.types import Shape, Signature, TensorSpec

Tensors = dict[str, tuple[str, Shape | None]]
X: Tensors = {"x": ("float32", (None, 3))}
Y: Tensors = {"y": ("float32", (None, 1))}


def signature(inputs: Tensors, outputs: Tensors) -> dict[str, Signature]:
    """One signature of a model, by its name."""
    return {"s": Signature("s", specs(inputs), specs(outputs))}


def specs(tensors: Tensors) -> tuple[TensorSpec, ...]:
    """The inputs or the outputs of a signature."""
    return tuple(TensorSpec(name, dtype, shape) for name, (dtype, shape) in tensors.items())


def test_the_same_signatures_have_no_changes() -> None:
    """Clients do not see the names in the graph."""
    assert compare_signatures(signature(X, Y), signature(X, Y)) == ()


def test_only_removed_signatures_break_clients() -> None:
    """Not new ones."""
    one = signature(X, Y)
    assert compare_signatures(one, {}) == (Change("s", "the signature was removed", breaks=True),)
    assert compare_signatures({}, one) == (Change("s", "the signature was added", breaks=False),)


@pytest.mark.parametrize(
    ("old", "new", "what", "breaks"),
    [
        (X, {}, "input x was removed", True),
        ({}, X, "input x was added, and requests without it fail", True),
        (X, {"x": ("float64", (None, 3))}, "input x was float32, and is float64", True),
        (X, {"x": ("float32", (None, 4))}, "input x was [batch, 3], and is [batch, 4]", True),
        (X, {"x": ("float32", (None, None))}, "input x was [batch, 3], and is [batch, ?]", False),
        (X, {"x": ("float32", (1, 3))}, "input x was [batch, 3], and is [1, 3]", True),
        (X, {"x": ("float32", (3,))}, "input x was [batch, 3], and is [3]", True),
        (X, {"x": ("float32", None)}, "input x was [batch, 3], and is unknown rank", False),
        ({"x": ("float32", None)}, X, "input x was unknown rank, and is [batch, 3]", True),
    ],
)
def test_narrower_or_other_inputs_break_clients(old: Tensors, new: Tensors, what: str, breaks: bool) -> None:
    """Wider ones do not."""
    assert compare_signatures(signature(old, Y), signature(new, Y)) == (Change("s", what, breaks),)


@pytest.mark.parametrize(
    ("old", "new", "what", "breaks"),
    [
        (Y, {}, "output y was removed", True),
        (Y, Y | X, "output x was added: REST responses are now objects, and were bare values", True),
        (Y | {"z": Y["y"]}, Y | {"z": Y["y"]} | X, "output x was added", False),
        (Y, {"y": ("int64", (None, 1))}, "output y was float32, and is int64", True),
        (Y, {"y": ("float32", (None,))}, "output y was [batch, 1], and is [batch]", True),
        (Y, {"y": ("float32", (None, None))}, "output y was [batch, 1], and is [batch, ?]", True),
        ({"y": ("float32", (None, None))}, Y, "output y was [batch, ?], and is [batch, 1]", False),
    ],
)
def test_wider_or_other_outputs_break_clients(old: Tensors, new: Tensors, what: str, breaks: bool) -> None:
    """Narrower ones do not."""
    assert compare_signatures(signature(X, old), signature(X, new)) == (Change("s", what, breaks),)


def test_a_renamed_single_output_breaks_clients() -> None:
    """Over gRPC, where clients use its name."""
    changes = compare_signatures(signature(X, Y), signature(X, {"z": Y["y"]}))
    assert [(change.what, change.breaks) for change in changes] == [
        ("output y was removed", True),
        ("output z was added", False),
    ]
