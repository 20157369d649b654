"""SavedModel directories: copied, converted from text, written again, or with other signatures."""

from __future__ import annotations

import re

import numpy as np
import pytest
from exporting import Export
from locations import ROOT

from tfsctl.core.saved_model import read_saved_model
from tfsctl.exporter.session_process import SessionProcess

NET = """
    import keras
    net = keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(1, kernel_initializer="ones")])
"""


def test_saved_model_in_text_form_is_converted(export: Export) -> None:
    """A SavedModel in text is converted: few tools besides TensorFlow Serving read it."""
    export(
        NET
        + """
    net.export("text", verbose=False)
    from pathlib import Path
    from google.protobuf import text_format
    from tensorflow.core.protobuf import saved_model_pb2
    file = Path("text/saved_model.pb")
    parsed = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    file.with_suffix(".pbtxt").write_text(text_format.MessageToString(parsed))
    file.unlink()
"""
    )
    path = export.source("text", "--json", "--name", "net").path

    assert sorted(file.name for file in path.iterdir() if file.is_file()) == ["fingerprint.pb", "saved_model.pb"]
    with SessionProcess(path) as session:
        (values,) = session.run("serving_default", {"x": np.array([[1, 2]], np.float32)}).values()
    assert values.tolist() == [[3.0]]

    (export.folder / "text" / "saved_model.pbtxt").write_text("meta_graphs {")
    result = export.source("text", "--name", "net")
    assert (result.code, result.last_words[0][:50]) == (1, "error: text/saved_model.pbtxt is not a SavedModel:")


def test_keras_3_saved_model_is_written_again_so_that_servers_restore_it(export: Export) -> None:
    """What `tf.saved_model.save` writes of a Keras 3 model restores in Python only: it is written again."""
    export(NET + "    import tensorflow as tf\n    tf.saved_model.save(net, 'lost')\n")
    result = export.source("lost", "--json", "--name", "net")

    assert result.document["notes"] == ["lost does not restore all variables in a server, so it was written again"]
    original = read_saved_model(export.folder / "lost").signatures["serving_default"]
    exported = read_saved_model(result.path).signatures["serving_default"]
    assert [spec.name for spec in exported.inputs] == [spec.name for spec in original.inputs]
    assert [spec.name for spec in exported.outputs] == [spec.name for spec in original.outputs]
    with SessionProcess(result.path) as session:
        (values,) = session.run("serving_default", {exported.inputs[0].name: np.array([[1, 2]], np.float32)}).values()
    assert values.tolist() == [[3.0]]


def test_saved_model_is_written_again_with_changed_signatures(export: Export) -> None:
    """A SavedModel is written again with other names, and chosen signatures."""
    export(NET + "    net.export('saved', verbose=False)\n")
    options = ("--signature", "serving_default", "--input", "x=features", "--output", "output_0=score")
    result = export.source("saved", "--json", "--name", "net", *options)

    assert list(result.document["signatures"]) == ["serving_default"]
    assert result.names == (["features"], ["score"])
    with SessionProcess(result.path) as session:
        assert session.run("serving_default", {"features": np.array([[1, 2]], np.float32)})["score"].tolist() == [[3.0]]


TAGGED = """
    import tensorflow as tf
    tv1 = tf.compat.v1
    with tf.Graph().as_default(), tv1.Session() as session:
        x = tv1.placeholder(tf.float32, [None], name="x")
        y = x * tv1.get_variable("factor", initializer=2.0)
        session.run(tv1.global_variables_initializer())
        signature = tv1.saved_model.predict_signature_def({{"x": x}}, {{"y": y}})
        builder = tv1.saved_model.builder.SavedModelBuilder("tagged")
        builder.add_meta_graph_and_variables(session, {tags}, signature_def_map={signatures})
        builder.save()
"""
SIGNATURES = '{"serving_default": signature}'


@pytest.mark.parametrize("options", [[], ["--input", "x=value"]], ids=["copied", "written-again"])
@pytest.mark.parametrize("tags", ["train", "serve, gpu"])
def test_saved_model_with_other_tags_is_exported_as_its_hint_says(
    export: Export, tags: str, options: list[str]
) -> None:
    """Servers load the graph that is tagged `serve` alone."""
    export(TAGGED.format(tags=tags.split(", "), signatures=SIGNATURES))
    refused = export.source("tagged", "--name", "net", *options)

    error, hint = refused.last_words
    assert refused.code in (1, 2)
    assert "has no graph tagged 'serve'" in error
    assert tags in error
    (line,) = re.findall(r"`(model = .*)`, and export that$", hint)
    path = export(f"import tensorflow as tf\n{line}\n", "--json", file="again.py").path
    with SessionProcess(path) as session:
        assert session.run("serving_default", {"x": np.array([1.5], np.float32)})["y"].tolist() == [3.0]


def test_saved_model_without_signatures_is_refused_with_the_way_to_one(export: Export) -> None:
    """The hint says what to write."""
    export(TAGGED.format(tags=["serve"], signatures="{}"))
    refused = export.source("tagged", "--name", "net")

    error, hint = refused.last_words
    assert (refused.code, error) == (
        1,
        "error: the model has no signatures, so a server could not answer requests",
    )
    assert "tf.saved_model.load" in hint


RAGGED = """
    import tensorflow as tf
    class Words(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def split(self, text):
            return {"words": tf.strings.split(text)}
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def count(self, text):
            return {"count": tf.strings.split(text).row_lengths()}
    words = Words()
    tf.saved_model.save(words, "ragged", signatures={"split": words.split})
    tf.saved_model.save(words, "both", signatures={"split": words.split, "count": words.count})
"""


def test_saved_model_that_no_request_can_call_is_refused(export: Export) -> None:
    """One signature with dense tensors is enough for an export. The others get a note."""
    export(RAGGED)
    refused = export.source("ragged", "--name", "net")
    exported = export.source("both", "--name", "net", "--json")

    reason = "words is a ragged tensor, and requests and responses hold dense tensors"
    error, hint = refused.last_words
    assert (refused.code, error) == (1, f"error: no signature can be called with predict: split: {reason}")
    assert "dense tensors" in hint
    assert exported.document["notes"] == [f"signature split: it cannot be called with predict: {reason}"]
    (output,) = read_saved_model(exported.path).signatures["split"].outputs
    assert (output.dtype, output.shape_text) == ("string", "unknown rank (ragged)")


def test_frozen_graph_is_exported_as_in_the_docs(export: Export) -> None:
    """The example of the docs imports a frozen graph."""
    (example,) = re.findall(
        r"```python\n(import tensorflow as tf\n\ngraph.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL
    )
    write = """
import tensorflow as tf
with tf.Graph().as_default() as g:
    tf.multiply(tf.compat.v1.placeholder(tf.float32, [None], name="x"), 2.0, name="y")
    open("frozen.pb", "wb").write(g.as_graph_def().SerializeToString())
"""
    path = export(write + example, "--json").path

    with SessionProcess(path) as session:
        assert session.run("serving_default", {"x": np.array([1, 2], np.float32)})["y"].tolist() == [2.0, 4.0]
