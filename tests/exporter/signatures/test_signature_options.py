"""Options that change signatures: names, batch size, tf.Examples and encoded images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exporting import Export

from tfsctl.core import protos
from tfsctl.core.arrays import object_array
from tfsctl.core.saved_model import read_saved_model
from tfsctl.errors import InvalidInput
from tfsctl.exporter.session_process import SessionProcess
from tfsctl.exporter.sources.export_options import parse_batch_size, parse_renames, parse_signatures

NET = """
    import keras
    x, n = keras.Input((2,), name="x"), keras.Input((), name="n", dtype="int64")
    scores = keras.layers.Dense(2, kernel_initializer="ones", name="scores")(x)
    model = keras.Model([x, n], {"scores": scores * keras.ops.array([1.0, 2.0]), "n": n + 1})
    samples = {"x": [[1.0, 2.0], [3.0, 4.0]], "n": [1, 2]}
"""
ONE = """
    import keras
    model = keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(1, kernel_initializer="ones", name="y")])
    samples = [[1.0, 2.0], [3.0, 4.0]]
"""
PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))
FIXED = """
    import keras
    x = keras.Input(batch_shape=(2, 3), name="x")
    model = keras.Model(x, keras.layers.Dense(1, name="y")(x))
"""


def example(**features: object) -> bytes:
    """A serialized tf.Example."""
    message = protos.Example()
    for name, values in features.items():
        one = message.features.feature[name]
        assert isinstance(values, list)
        if isinstance(values[0], bytes):
            one.bytes_list.value.extend(values)
        elif isinstance(values[0], float):
            one.float_list.value.extend(values)
        else:
            one.int64_list.value.extend(values)
    return message.SerializeToString()


def run(path: Path, signature: str = "serving_default", **inputs: np.ndarray) -> dict[str, list[object]]:
    """The outputs of a signature in the server's session."""
    with SessionProcess(path) as session:
        return {name: array.tolist() for name, array in session.run(signature, inputs).items()}


def method_names(path: Path) -> dict[str, str]:
    """The `method_name` of each signature of a SavedModel."""
    return {name: signature.method_name for name, signature in read_saved_model(path).signatures.items()}


def test_signatures_inputs_and_outputs_get_the_names_of_the_options(export: Export) -> None:
    """Signatures, inputs and outputs get the names of the options; samples follow the inputs."""
    options = ("--signature", "serving_default=score", "--input", "x=features", "--input", "1=count")
    result = export(NET, "--json", *options, "--output", "scores=probabilities")

    (signature,) = result.document["signatures"].values()
    assert list(result.document["signatures"]) == ["score"]
    assert sorted(signature["inputs"]) == ["count", "features"]
    assert sorted(signature["outputs"]) == ["n", "probabilities"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--input", "y=z"], "signature serving_default has no input 'y' (it has x, n)"),
        (["--output", "7=z"], "signature serving_default has no output '7' (it has n, scores)"),
        (["--input", "x=class"], "an input cannot be called 'class'"),
        (["--input", "x=n"], "two names would be the same: n, n"),
        (["--input", "x"], "--input x: expected OLD=NEW"),
        (["--signature", "other"], "the model has no signature 'other' (it has serving_default)"),
        (["--batch-size", "0"], "--batch-size 0: expected `none`, or the number of rows (1 or more)"),
        (["--regress"], "the model returns 2 numbers per row, but regress returns one"),
        (["--image-bytes"], "--image-bytes needs one input [batch, height, width, channels] with fixed sizes; "),
        (["--classify", "nowhere.txt"], "no such file: nowhere.txt"),
        (["--classify", "three.txt"], "the scores have the shape (None, 2), but there are 3 labels"),
        (["--classify", "empty.txt"], "empty.txt has no labels: it is a text file with one label per line"),
    ],
)
def test_options_that_do_not_fit_the_model_are_refused_in_one_line(
    export: Export, options: list[str], error: str
) -> None:
    """One line says what is wrong with which option, and nothing is written."""
    (export.folder / "three.txt").write_text("a\nb\nc\n")
    (export.folder / "empty.txt").write_text("\n")
    result = export(NET, *options)

    assert result.code in (2, 4)
    assert next(line for line in result.last_words if line.startswith("error")).startswith(f"error: {error}")
    assert not (export.folder / "net").exists()


def test_samples_follow_an_input_that_is_renamed_with_its_signature(export: Export) -> None:
    """`--input SIGNATURE:NAME=NEW` renames the column of the samples as `--input NAME=NEW` does."""
    result = export(NET, "--json", "--input", "serving_default:x=features")

    assert result.document["checks"]["serving_default"]["inputs"] == "samples"


@pytest.mark.parametrize("options", [[], ["--input", "x=features"], ["--examples"]])
def test_samples_follow_a_signature_that_is_renamed(export: Export, options: list[str]) -> None:
    """`--signature serving_default=NEW` does not lose the samples, and neither do other options with it."""
    result = export(NET, "--json", "--signature", "serving_default=score", *options)

    assert result.document["checks"]["score"]["inputs"] == "samples"


def test_added_signature_whose_name_is_taken_is_refused_with_the_renaming_that_works(export: Export) -> None:
    """The hint keeps the other signatures, and renames the one of the model."""
    code = f"{ONE}    model = {{'serving_default': model, 'regress': model}}\n"
    refused = export(code, "--regress")

    options = ("--signature", "serving_default=serving_default", "--signature", "regress=NEW")
    assert refused.last_words[-2:] == [
        "error: the model already has a signature regress",
        f"hint: {' '.join(options)} renames the signature",
    ]
    assert sorted(export(code, "--json", "--regress", *options).document["signatures"]) == [
        "NEW",
        "regress",
        "serving_default",
    ]


def test_changed_names_are_noted(export: Export) -> None:
    """A name that cannot be kept is noted, with the option that chooses another."""
    code = """
        import tensorflow as tf
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="class"), tf.TensorSpec([None], tf.float32, name="my input")])
        def model(a, b): return {"a b": a + b}
    """
    result = export(code, "--json")

    assert result.names == (["class_", "my_input"], ["a b"])
    assert result.document["notes"] == [
        f"the input '{old}' is renamed to '{new}', because TensorFlow uses it as the name of an argument "
        f"(--input {new}=NEW chooses another name)"
        for old, new in (("class", "class_"), ("my input", "my_input"))
    ]
    assert export(code, "--json", "--name", "renamed", "--input", "class_=kind").names[0] == ["kind", "my_input"]


def test_examples_option_makes_predict_take_tf_examples(export: Export) -> None:
    """With --examples, predict takes tf.Examples with a feature for each input; the samples are converted."""
    result = export(NET, "--json", "--examples")

    assert result.names == (["examples"], ["n", "scores"])
    assert result.document["checks"]["serving_default"]["inputs"] == "samples"
    assert result.document["row_independent"] == {"serving_default": True}
    rows = object_array([example(x=[1.0, 2.0], n=[5]), example(x=[0.0, 1.0], n=[6])])
    assert run(result.path, examples=rows) == {"n": [6, 7], "scores": [[3.0, 6.0], [1.0, 2.0]]}


def test_classify_and_regress_options_add_signatures(export: Export) -> None:
    """Both add signatures that take tf.Examples, beside the model's own."""
    (export.folder / "labels.txt").write_text("cat\ndog\n")
    result = export(NET, "--json", "--classify", "labels.txt")
    rows = object_array([example(x=[1.0, 2.0], n=[5])])
    assert list(result.document["signatures"]) == ["classify", "serving_default"]
    assert run(result.path, "classify", inputs=rows) == {"classes": [[b"cat", b"dog"]], "scores": [[3.0, 6.0]]}

    result = export(ONE, "--json", "--name", "one", "--classify", "labels.txt", "--regress")
    rows = object_array([example(x=[0.25, 0.5]), example(x=[0.0, 0.0])])
    assert run(result.path, "regress", inputs=rows) == {"outputs": [0.75, 0.0]}
    assert run(result.path, "classify", inputs=rows)["scores"] == [[0.25, 0.75], [1.0, 0.0]]
    methods = {"classify": CLASSIFY, "regress": REGRESS, "serving_default": PREDICT}
    assert method_names(result.path) == methods

    again = export.source(
        str(result.path), "--name", "again", "--batch-size", "none", "--signature", "classify", "--json"
    )
    assert method_names(again.path) == {"classify": CLASSIFY}


def test_sequences_in_examples_are_padded_to_the_longest_row(export: Export) -> None:
    """A free dimension is padded to the longest row."""
    code = """
        import keras
        ids = keras.Input((None,), name="ids", dtype="int64")
        model = keras.Model(ids, {"sum": keras.ops.sum(ids, axis=1)})
    """
    result = export(code, "--json", "--examples")

    rows = object_array([example(ids=[1, 2, 3]), example(ids=[4])])
    assert run(result.path, examples=rows) == {"sum": [6, 4]}


@pytest.mark.parametrize("format_", ["png", "jpeg"])
def test_image_bytes_option_makes_an_input_take_image_files(export: Export, format_: str) -> None:
    """With --image-bytes, the image input takes files: decoded, resized, with values from 0 to 255."""
    (export.folder / "labels.txt").write_text("dark\nbright\n")
    code = """
        import keras, numpy as np
        x = keras.Input((4, 4, 3), name="photo")
        mean = keras.ops.mean(x, axis=(1, 2, 3))
        model = keras.Model(x, {"scores": keras.ops.stack([255 - mean, mean], axis=1)})
        samples = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3))
    """
    from io import BytesIO

    from PIL import Image

    result = export(code, "--json", "--image-bytes", "--classify", "labels.txt")
    assert {name: check["inputs"] for name, check in result.document["checks"].items()} == {
        "classify": "synthetic",
        "serving_default": "samples",
    }
    unsampled = export(code.replace("samples =", "rows ="), "--json", "--image-bytes", "--name", "unsampled")
    assert unsampled.document["checks"]["serving_default"]["inputs"] == "synthetic"
    file = BytesIO()
    Image.new("RGB", (32, 16), (200, 200, 200)).save(file, format_)

    assert result.names == (["photo_bytes"], ["scores"])
    assert result.document["checks"]["serving_default"]["max_difference"] < 1e-3
    assert result.document["row_independent"]["serving_default"] is True
    (scores,) = run(result.path, photo_bytes=object_array([file.getvalue()]))["scores"]
    assert scores == pytest.approx([55, 200], abs=1)
    classified = run(result.path, "classify", inputs=object_array([example(photo_bytes=[file.getvalue()])]))
    assert classified["classes"] == [[b"dark", b"bright"]]


@pytest.mark.parametrize(
    ("code", "options", "expected"),
    [
        (FIXED, [], 2),
        (FIXED.replace("batch_shape=(2, 3)", "(3,)"), ["--batch-size", "4"], 4),
        (FIXED, ["--batch-size", "none"], None),
        (FIXED, ["--batch-size", "2"], 2),
        ("import keras\nmodel = keras.Sequential([keras.Input(batch_shape=(2, 3), name='x'), keras.layers.Dense(1)])", [], 2),
        (
            "import keras\nm = keras.layers.LSTM(1, stateful=True)\n"
            "model = keras.Sequential([keras.Input(batch_shape=(2, 4, 3), name='x'), m])",
            [],
            2,
        ),
        ("import keras, numpy as np\nmodel = keras.Sequential([keras.layers.Dense(1)])\nmodel(np.zeros((2, 3)))", [], None),
    ],
)  # fmt: skip
def test_batch_size_is_that_of_the_model_or_the_option(
    export: Export, code: str, options: list[str], expected: int | None
) -> None:
    """A declared batch size stays; data that a model was called on declares none; --batch-size changes it."""
    signature = export(code, "--json", *options).document["signatures"]["serving_default"]

    (spec,) = signature["inputs"].values()
    (output,) = signature["outputs"].values()
    assert (spec["shape"][0], output["shape"][0]) == (expected, expected)


def test_fixed_batch_size_cannot_be_changed(export: Export) -> None:
    """A fixed batch cannot become another one."""
    assert export(FIXED, "--batch-size", "3").last_words == [
        "error: --batch-size 3: signature serving_default has a fixed batch of 2",
        "hint: remove --batch-size, or build the model with another batch size",
    ]


@pytest.mark.parametrize(
    ("code", "note"),
    [
        (
            "import keras\nx = keras.Input((3,), name='x')\n"
            "model = keras.Model(x, keras.layers.Dense(1, name='p', dtype='mixed_float16')(x))",
            "output p is float16, which REST cannot carry: use gRPC (predict --grpc), "
            "or give the last layer dtype='float32'",
        ),
        (
            "import keras\nx = keras.Input((3,), name='x')\n"
            "model = keras.Model(x, keras.layers.Dense(1, name='p', dtype='mixed_bfloat16')(x))",
            "output p is bfloat16, which REST cannot carry: use gRPC (predict --grpc), "
            "or give the last layer dtype='float32'",
        ),
        (
            "import tensorflow as tf\n"
            "model = tf.function(lambda z: {'r': tf.math.real(z)}, input_signature=[tf.TensorSpec([None], tf.complex64)])",
            "input z is complex64, which REST cannot carry: use gRPC (predict --grpc)",
        ),
    ],
    ids=["float16", "bfloat16", "complex64"],
)
def test_types_that_rest_cannot_carry_are_noted(export: Export, code: str, note: str) -> None:
    """A note names the tensor and its type."""
    assert export(code, "--json").document["notes"] == [f"signature serving_default: {note}"]


@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_quantized_models_keep_float_inputs_and_outputs(export: Export, mode: str) -> None:
    """A quantised model is exported with float inputs and outputs, and answers as in Keras."""
    result = export(
        f"""
        import keras, numpy as np
        model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="y")])
        model.quantize("{mode}")
        samples = np.random.default_rng(0).normal(size=(4, 4))
        """,
        "--json",
    )

    assert result.document["signatures"]["serving_default"]["outputs"]["y"]["dtype"] == "float32"
    assert result.document["checks"]["serving_default"]["max_difference"] < 1e-3


def test_signature_options_are_parsed() -> None:
    """The options of the command line."""
    assert parse_renames(["a=b", "main:0=c"], "--output") == {"a": "b", "main:0": "c"}
    assert parse_signatures(["a", "b=c"]) == {"a": "a", "b": "c"}
    with pytest.raises(InvalidInput, match="expected `none`, or the number of rows"):
        parse_batch_size("9" * 5000)
    assert (parse_batch_size(None), parse_batch_size("none"), parse_batch_size("8")) == (None, "none", 8)
    for text in ("-1", "0", "two", ""):
        with pytest.raises(InvalidInput):
            parse_batch_size(text)
