"""What `export` verifies, a server answers: the version runs in the embedded server's own session code."""

from __future__ import annotations

from importlib.metadata import version as package_version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from exporting import Export

from tfsctl.core import protos
from tfsctl.core.graphs.signature_graph import SignatureGraph, signature_graph
from tfsctl.core.saved_model import read_saved_model
from tfsctl.exporter.error_text import TensorFlowError
from tfsctl.exporter.session_process import SessionProcess

MODULE = """
    import keras
    import tensorflow as tf

    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.signatures = {{"serving_default": self.run}}
            self.net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
            self.net.layers[0].bias.assign([0.5])

        @tf.function(input_signature=[{spec}])
        def run(self, x):
            return {outputs}

    model = Model()
"""
FLOATS = 'tf.TensorSpec([None, 2], tf.float32, name="x")'

# A TF1 graph as in TensorFlow Serving's own test models: a reference variable as output, and inputs without a shape.
REFERENCE_VARIABLES = """
    import tensorflow as tf
    from tensorflow.core.protobuf import meta_graph_pb2 as pb

    tv1 = tf.compat.v1
    with tf.Graph().as_default(), tv1.Session() as session:
        count = tv1.get_variable("count", [], use_resource=False, initializer=tv1.zeros_initializer())
        delta = tv1.placeholder(tf.float32, [], name="delta")
        new = tv1.assign_add(count, delta, name="new")
        session.run(tv1.global_variables_initializer())
        definition = pb.SignatureDef(
            inputs={"delta": pb.TensorInfo(name="delta:0", dtype=tf.float32.as_datatype_enum)},
            outputs={"count": pb.TensorInfo(name="new:0", dtype=new.dtype.as_datatype_enum)},
            method_name="tensorflow/serving/predict",
        )
        reading = pb.SignatureDef(
            outputs={"count": pb.TensorInfo(name="count:0", dtype=new.dtype.as_datatype_enum)},
            method_name="tensorflow/serving/predict",
        )
        for name, tag_sets in {"one": [["serve"]], "several": [["serve", "gpu"], ["serve"]]}.items():
            builder = tv1.saved_model.builder.SavedModelBuilder(name)
            for number, tags in enumerate(tag_sets):
                signatures = {"serving_default": definition, "read": reading}
                if number:
                    builder.add_meta_graph(tags, signature_def_map=signatures)
                else:
                    builder.add_meta_graph_and_variables(session, tags, signature_def_map=signatures)
            builder.save()
    model = 1
"""


def test_variables_of_a_keras_model_inside_a_tf_module_are_restored(export: Export) -> None:
    """All variables that a signature reads are saved."""
    result = export(MODULE.format(spec=FLOATS, outputs='{"y": self.net(x)}'), "--json")

    with SessionProcess(result.path) as session:
        outputs = session.run("serving_default", {"x": np.array([[1, 2], [3, 4]], np.float32)})

    assert outputs["y"].tolist() == [[3.5], [7.5]]
    assert result.document["checks"]["serving_default"]["max_difference"] < 1e-5


@pytest.mark.parametrize("function", ["numpy_function", "py_function"])
def test_signature_that_calls_python_code_is_refused(export: Export, function: str) -> None:
    """Neither the check process nor a server has that code."""
    outputs = f'{{"y": tf.ensure_shape(tf.{function}(lambda a: a * 2, [x], tf.float32), [None, 2])}}'
    result = export(MODULE.format(spec=FLOATS, outputs=outputs))

    operation = {"numpy_function": "PyFunc", "py_function": "EagerPyFunc"}[function]
    assert result.code == 1
    assert result.last_words == [
        f"error: signature serving_default calls Python code ({operation}), and a model server has no Python",
        "hint: replace tf.numpy_function and tf.py_function by TensorFlow operations",
    ]
    assert not (export.folder / "net").exists()


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [("tf.RaggedTensor.from_tensor(x)", "RaggedTensor"), ("tf.sparse.from_dense(x)", "SparseTensor")],
)
def test_ragged_and_sparse_outputs_are_refused_with_their_dense_parts(export: Export, outputs: str, kind: str) -> None:
    """The error is one line."""
    result = export(MODULE.format(spec=FLOATS, outputs=f'{{"y": {outputs}}}'))

    assert result.code == 1
    error, hint = result.last_words
    assert (
        error == f"error: signature serving_default returns a {kind} (output 'y'): a server returns dense tensors only"
    )
    assert hint.startswith("hint: return ")


def test_extension_type_as_output_is_refused(export: Export) -> None:
    """It names the class."""
    code = """
        import tensorflow as tf
        class Scores(tf.experimental.ExtensionType):
            low: tf.Tensor
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def model(x):
            return {"scores": Scores(x)}
    """
    result = export(code)

    assert (result.code, result.last_words) == (
        1,
        [
            "error: signature serving_default returns a Scores (output 'scores'): a server returns dense tensors only",
            "hint: return the tensors that it is made of, as a dict of tensors by name",
        ],
    )


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("None", "returns None as the output 'y'"),
        (
            "tf.raw_ops.TensorListFromTensor(tensor=x, element_shape=tf.constant([2]))",
            "returns a variant (output 'y'): a server returns values only",
        ),
    ],
)
def test_refusal_of_an_output_without_values_names_the_output(export: Export, output: str, error: str) -> None:
    """The refusal names the output."""
    result = export(MODULE.format(spec=FLOATS, outputs=f'{{"x": x, "y": {output}}}'))

    assert (result.code, result.last_words[0]) == (1, f"error: signature serving_default {error}")


def test_export_fails_only_if_no_size_works(export: Export) -> None:
    """A size that works in the model but not in its graph is noted."""
    code = """
        import keras, numpy as np, tensorflow as tf
        class Net(keras.layers.Layer):
            def call(self, x):
                if tf.executing_eagerly():
                    return x
                with tf.control_dependencies([tf.debugging.assert_greater(tf.shape(x)[1], {size})]):
                    return tf.identity(x)
        x = keras.Input((None,), name="x")
        model = keras.Model(x, Net()(x))
    """
    result = export(code.format(size=1), "--json")
    refused = export(code.format(size=64), "--name", "other")

    (note,) = result.document["notes"]
    assert note.startswith("signature serving_default: it fails on x [3, 1], which the model itself accepts: ")
    assert result.document["row_independent"] == {"serving_default": None}
    assert refused.code == 1
    assert "signature serving_default fails on rows that the model itself accepts: " in refused.last_words[0]


def test_signature_names_with_two_underscores_are_refused(export: Export) -> None:
    """TensorFlow reserves them, and would not load the version."""
    code = MODULE.format(spec=FLOATS, outputs='{"y": x}') + "    model = {'__saved_model_init_op': model}\n"
    result = export(code)

    assert (result.code, result.last_words) == (
        1,
        [
            "error: '__saved_model_init_op' cannot be the name of a signature: names with two underscores are "
            "TensorFlow's own",
            "hint: --signature __saved_model_init_op=NEW renames it",
        ],
    )


@pytest.mark.parametrize("outputs", ["None", "{}"])
def test_signature_without_outputs_is_refused_in_one_line(export: Export, outputs: str) -> None:
    """Whatever it returns instead."""
    result = export(MODULE.format(spec=FLOATS, outputs=outputs))

    assert (result.code, result.last_words) == (
        1,
        [
            "error: signature serving_default returns nothing",
            "hint: return a tensor, or a dict of tensors by name",
        ],
    )


def test_saved_model_with_reference_variables_is_exported_with_a_note(export: Export) -> None:
    """Only TensorFlow's Python loader refuses them. The note says that the model keeps state."""
    assert export(REFERENCE_VARIABLES, file="writer.py").code == 1  # it writes SavedModels, and has no model
    for name in ("one", "several"):
        result = export.source(name, "--name", f"{name}_copy", "--json")
        assert result.document["checks"]["serving_default"]["ran"]
        assert result.document["notes"] == [
            "signature serving_default: it keeps state: an answer depends on the requests before it"
        ]
        assert result.document["checks"]["read"]["ran"], "a signature without inputs"
        assert read_saved_model(result.path).signatures["read"].outputs[0].dtype == "float32"

        with SessionProcess(result.path) as session:
            counts = [
                float(session.run("serving_default", {"delta": np.array(2, np.float32)})["count"]) for _ in range(2)
            ]
        assert counts == [2.0, 4.0]


def test_copied_saved_model_without_its_variables_is_refused(export: Export) -> None:
    """Although TensorFlow loads its graph."""
    result = export(MODULE.format(spec=FLOATS, outputs='{"y": self.net(x)}'), "--json")
    for file in (result.path / "variables").iterdir():
        file.unlink()
    (result.path / "variables").rmdir()

    refused = export.source(result.path, "--name", "copy")

    assert refused.code == 1
    assert refused.last_words[0].startswith("error: the exported version cannot be loaded: NotFoundError: ")


def test_graph_pinned_to_a_gpu_is_refused(export: Export) -> None:
    """A server places operations where the graph says."""
    export(
        """
        import tensorflow as tf
        tv1 = tf.compat.v1
        with tf.Graph().as_default(), tv1.Session() as session:
            x = tv1.placeholder(tf.float32, [None], name="x")
            with tf.device("/GPU:0"):
                y = tf.multiply(x, 2.0, name="y")
            signature = tv1.saved_model.predict_signature_def({"x": x}, {"y": y})
            builder = tv1.saved_model.builder.SavedModelBuilder("pinned")
            builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map={"serving_default": signature})
            builder.save()
        """
    )

    result = export.source("pinned", "--name", "copy")

    assert result.code == 1
    expected = (
        "error: the exported version cannot be loaded: InvalidArgumentError: Cannot assign a device for operation y"
    )
    assert result.last_words[0].startswith(expected)


@pytest.mark.skipif(find_spec("tf_keras") is not None, reason="tf_keras loads the file")
def test_keras_2_file_is_refused_with_the_command_that_installs_tf_keras(export: Export) -> None:
    """If Keras 3 cannot load it."""
    export(
        """
        import json
        import h5py
        import keras
        model = keras.Sequential([keras.Input((5, 2)), keras.layers.LSTM(3)])
        model.save("old.h5")
        with h5py.File("old.h5", "r+") as file:
            config = json.loads(file.attrs["model_config"])
            config["config"]["layers"][-1]["config"]["time_major"] = False  # an argument that Keras 3 removed
            file.attrs["model_config"] = json.dumps(config)
            file.attrs["keras_version"] = "2.15.0"
        """
    )

    result = export.source("old.h5")

    release = ".".join(package_version("tensorflow").split(".")[:2])
    assert result.code == 1
    assert result.last_words[0].startswith("error: old.h5 was written by Keras 2.15.0, and Keras 3 cannot load it: ")
    assert result.last_words[1] == f"hint: pip install tf-keras~={release}.0"


@pytest.mark.tensorflow
def test_check_process_imports_no_files_of_the_users_folder(
    echo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of the user's folder are not imported by the process that checks the version."""
    (tmp_path / "numpy.py").write_text("raise ImportError('not this one')")
    monkeypatch.chdir(tmp_path)
    with SessionProcess(echo_dir / "7") as session:
        answer = session.run("serving_default", {"x": np.array([1.5], np.float32)})

    assert answer["x"].tolist() == [1.5]


def test_source_sees_the_command_line_of_python_file(export: Export) -> None:
    """Not the arguments of tfsctl."""
    result = export(
        """
        import argparse
        import keras
        parser = argparse.ArgumentParser()
        parser.add_argument("--units", type=int, default=4)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(parser.parse_args().units, name="y")])
        """,
        "--json",
    )

    (output,) = read_saved_model(result.path).signatures["serving_default"].outputs
    assert (output.name, output.shape) == ("y", (None, 4))


@pytest.mark.tensorflow
def test_unloadable_version_is_an_error_and_its_process_ends(tmp_path: Path) -> None:
    """The error has TensorFlow's status."""
    with pytest.raises(TensorFlowError, match="Could not find SavedModel") as raised:
        SessionProcess(tmp_path)

    assert raised.value.status == "NOT_FOUND"


def test_only_operations_that_a_signature_runs_count() -> None:
    """Through functions and control inputs as well."""
    graph = protos.MetaGraphDef()
    graph.graph_def.node.add(name="x", op="Placeholder")
    graph.graph_def.node.add(name="call", op="StatefulPartitionedCall", input=["x", "^write"])
    graph.graph_def.node[1].attr["f"].func.name = "body"
    graph.graph_def.node.add(name="write", op="AssignAddVariableOp", input=["x"])
    graph.graph_def.node.add(name="other", op="PyFunc", input=["x"])
    body = graph.graph_def.library.function.add()
    body.signature.name = "body"
    body.node_def.add(name="python", op="EagerPyFunc")
    graph.signature_def["called"].outputs["y"].name = "call:0"
    graph.signature_def["plain"].outputs["y"].name = "x:0"

    called, plain = signature_graph(graph, "called"), signature_graph(graph, "plain")

    assert (called.python_ops, called.changes_state) == (["EagerPyFunc"], True)
    assert (plain.python_ops, plain.changes_state) == ([], False)


@pytest.mark.parametrize(
    ("operation", "changes"),
    [
        *((name, True) for name in ("Assign", "AssignSubVariableOp", "CountUpTo", "ScatterNdUpdate", "ApplyAdam")),
        *((name, True) for name in ("ResourceScatterNdAdd", "ResourceSparseApplyFtrlV2", "LookupTableInsertV2")),
        *((name, True) for name in ("RngReadAndSkip", "StatefulUniform", "QueueEnqueueManyV2")),
        *((name, False) for name in ("ScatterNd", "StatefulPartitionedCall", "LookupTableFindV2", "ReadVariableOp")),
    ],
)
def test_operations_that_keep_state_are_known(operation: str, changes: bool) -> None:
    """Variables, tables, queues and random generators keep state from run to run."""
    node = protos.NodeDef(name="node", op=operation)

    assert SignatureGraph([node], {}).changes_state == changes
