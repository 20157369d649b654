"""A version that would break clients of the latest one is not published unless that is allowed."""

from __future__ import annotations

import json

from exporting import Export

from tfsctl.core.model_dir import list_versions
from tfsctl.core.version_files.manifest import MANIFEST_FILE

MODEL = """
    import keras
    x = keras.Input(({inputs},), name="x")
    model = keras.Model(x, {{name: keras.layers.Dense(1)(x) for name in {outputs}}})
"""


def test_breaking_change_is_refused(export: Export) -> None:
    """Exit code 1, every breaking change is named, and nothing is published."""
    assert export(MODEL.format(inputs=2, outputs=["y", "z"]), "--version", 1).code == 0
    result = export(MODEL.format(inputs=3, outputs=["y"]))

    assert result.code == 1
    assert result.last_words == [
        "error: clients of net version 1 would break: serving_default: input x was [batch, 2], and is [batch, 3]; "
        "serving_default: output z was removed",
        "hint: --allow-breaking publishes it anyway; --name publishes it as another model",
    ]
    assert [found.version for found in list_versions(export.folder / "net")] == [1]


def test_allowed_breaking_change_is_noted_and_recorded(export: Export) -> None:
    """The changes are notes, and the manifest lists them."""
    assert export(MODEL.format(inputs=2, outputs=["y", "z"]), "--version", 1).code == 0
    result = export(MODEL.format(inputs=2, outputs=["y"]), "--version", 2, "--allow-breaking", "--json")

    compared = {
        "version": 1,
        "breaks": True,
        "changes": [{"signature": "serving_default", "what": "output z was removed", "breaks": True}],
    }
    assert result.document["compared_with"] == compared
    assert json.loads((result.path / MANIFEST_FILE).read_text())["compared_with"] == compared
    assert result.document["notes"] == ["signature serving_default: output z was removed; clients of version 1 break"]


def test_compatible_change_is_published_with_a_note(export: Export) -> None:
    """It is compared with the latest version, not with the last one exported."""
    assert export(MODEL.format(inputs=2, outputs=["y", "z"]), "--version", 8).code == 0
    assert export(MODEL.format(inputs=2, outputs=["y", "z", "w"]), "--version", 3).code == 0
    result = export(MODEL.format(inputs=2, outputs=["y", "z", "w"]), "--json")

    assert result.document["compared_with"]["version"] == 8
    assert result.document["notes"] == ["signature serving_default: output w was added; clients can use both versions"]


def test_unreadable_latest_version_does_not_block_the_export(export: Export) -> None:
    """No client can use it, so nothing can break."""
    for name, content in ("7", b"not a SavedModel"), ("6", None):
        (export.folder / "net" / name).mkdir(parents=True)
        if content is not None:
            (export.folder / "net" / name / "saved_model.pb").write_bytes(content)

    assert export(MODEL.format(inputs=2, outputs=["y"]), "--json").document["compared_with"] is None
