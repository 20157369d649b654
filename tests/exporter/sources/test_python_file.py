"""Python files: their command line, imports, and the kinds of objects that they define."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exporting import Export
from fork_servers import ForkServer

from tfsctl.exporter.session_process import SessionProcess

DENSE = 'keras.Sequential([keras.Input((3,)), keras.layers.Dense({}, name="y")])'
FUNCTION = """
    import tensorflow as tf
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a", "b"], [1, 2]), -1)
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
    def look_up(word):
        return {"id": table.lookup(word)}
    plain = tf.function(lambda word: {"id": table.lookup(word)})
"""


@pytest.mark.parametrize(
    ("code", "options", "units"),
    [
        (f"def build_model(units: int): return {DENSE.format('units')}", ["--arg", "units=4"], 4),
        (
            "import argparse; p = argparse.ArgumentParser(); p.add_argument('--units', type=int, required=True)\n"
            f"    model = {DENSE.format('p.parse_args().units')}",
            ["--arg", "units=5"],
            5,
        ),
        (f"import sys; model = {DENSE.format('len(sys.argv)')}; sys.exit(0)", ["--arg", "a", "--arg", "b=1"], 3),
        (f"class Size: n = 2\n    import __main__; model = {DENSE.format('__main__.Size().n')}", [], 2),
        (
            "import pathlib; pathlib.Path(__file__).with_name('sizes.py').write_text('UNITS = 6')\n"
            f"    from .sizes import UNITS; model = {DENSE.format('UNITS')}",
            [],
            6,
        ),
        (
            "import dataclasses, pickle\n    @dataclasses.dataclass\n    class Size: n: 'int' = 7\n"
            f"    model = {DENSE.format('pickle.loads(pickle.dumps(Size())).n')}",
            [],
            7,
        ),
    ],
    ids=["argument", "command-line", "sys.exit", "__main__", "relative-import", "dataclass-pickle"],
)
def test_file_runs_as_with_python_and_its_arguments(export: Export, code: str, options: list[str], units: int) -> None:
    """A file runs as with `python FILE`, with arguments of `--arg`."""
    result = export(f"import keras\n{code}".replace("\n    ", "\n"), "--json", *options)

    assert result.document["signatures"]["serving_default"]["outputs"]["y"]["shape"] == [None, units]


@pytest.mark.parametrize(
    ("code", "code_and_error", "hint"),
    [
        (
            "import argparse\np = argparse.ArgumentParser(); p.add_argument('--data', required=True); p.parse_args()",
            (1, "net.py:2: the file exited with SystemExit: 2"),
            "--arg NAME=VALUE passes --NAME=VALUE to the file, and --arg VALUE passes VALUE",
        ),
        (
            "import sys\nif len(sys.argv) < 2: sys.exit('usage: net.py DATA')",
            (1, "net.py:2: the file exited with SystemExit: usage: net.py DATA"),
            "and --arg VALUE passes VALUE",
        ),
        (
            "from absl import flags\nflags.DEFINE_integer('units', 2, 'Size.')\ndef build_model(): flags.FLAGS.units",
            (
                1,
                "net.py:3: build_model() failed: UnparsedFlagAccessError: "
                "Trying to access flag --units before flags were parsed.",
            ),
            "call absl.flags.FLAGS(sys.argv) in the file",
        ),
        ("def build_model(depth): pass", (2, "net.py: build_model() requires arguments: depth"), "--arg depth=VALUE"),
        (
            "def model(x): return x",
            (2, "net.py: model() requires arguments: x"),
            "if model() is the model itself, write @tf.function(input_signature=[...]) above it",
        ),
        (
            "if __name__ == '__main__':\n    model = 1",
            (2, "net.py defines neither `model` nor `build_model()`"),
            "tfsctl does not run the code under `if __name__ == '__main__'`: "
            "move it to a function `build_model` that returns the model",
        ),
        (
            "import sys\nsys.exit(0)",
            (1, "net.py:2: the file exited with SystemExit: 0"),
            "define `model` before the file exits",
        ),
        (
            "import keras\ndef build_model(): return keras.Sequential(), {'loss': 1}",
            (2, "net.py: build_model() returned a tuple (Sequential, dict), and not a model"),
            "give the Sequential alone, without the tuple",
        ),
        (
            "import keras\nmodel = [keras.Sequential(), keras.Sequential()]",
            (2, "net.py: `model` is a list (Sequential, Sequential), and not a model"),
            "give one model, or a dict of models by the names of their signatures",
        ),
    ],
)
def test_hint_for_a_file_without_a_model_says_what_to_change(
    export: Export, code: str, code_and_error: tuple[int, str], hint: str
) -> None:
    """The hint says what to change or to add."""
    result = export(code)

    *_, error, last = result.last_words
    assert (result.code, error.removeprefix(f"error: {export.folder}/")) == code_and_error
    assert hint in last


@pytest.mark.parametrize(
    ("code", "code_and_error"),
    [
        ("import sys\nsys.exit('no data')", (1, "net.py:2: the file exited with SystemExit: no data")),
        ("exit(1)", (1, "net.py:1: the file exited with SystemExit: 1")),
    ],
)
def test_error_that_says_all_has_no_hint(export: Export, code: str, code_and_error: tuple[int, str]) -> None:
    """A file that reads no command line needs no --arg."""
    result = export(code)

    last = result.last_words[-1]
    assert (result.code, last.removeprefix(f"error: {export.folder}/")) == code_and_error


@pytest.mark.parametrize(
    "code",
    [
        "model = look_up",
        "model = look_up.get_concrete_function()",
        "model = plain; samples = {'word': ['a', 'c']}",
        "model = {'serving_default': look_up}",
        "model = keras.layers.StringLookup(vocabulary=['a', 'b'], num_oov_indices=0, name='id'); samples = ['a', 'b']",
        "net = keras.Sequential([keras.Input((1,), dtype='string', name='word'), "
        "keras.layers.StringLookup(vocabulary=['a', 'b'], num_oov_indices=0, name='id')])\n"
        "    model = keras.export.ExportArchive(); model.track(net)\n"
        "    model.add_endpoint('serve', net.call, [keras.InputSpec(shape=(None, 1), dtype='string')])",
    ],
    ids=["tf.function", "concrete", "samples", "dict", "layer", "archive"],
)
def test_functions_layers_and_archives_are_models(export: Export, code: str) -> None:
    """Functions, layers and archives are models too, with the tables that they use."""
    result = export(FUNCTION + f"    import keras\n    {code}\n", "--json")

    signature = result.document["signatures"]["serving_default"]
    ((word, spec),) = signature["inputs"].items()
    with SessionProcess(result.path) as session:
        words = np.array([b"a", b"b"], object).reshape([-1] + [1] * (len(spec["shape"]) - 1))
        (ids,) = session.run("serving_default", {word: words}).values()
    first, second = ids.ravel().tolist()
    assert second == first + 1


def test_each_entry_of_a_dict_is_a_signature(export: Export) -> None:
    """Each entry of a dict is a signature."""
    result = export(
        f"""
        import keras
        model = {{"serving_default": {DENSE.format(1)}, "embed": keras.layers.Embedding(10, 2, name="vector")}}
        model["embed"].build((None, 4))
        """,
        "--json",
    )

    assert list(result.document["signatures"]) == ["embed", "serving_default"]
    assert result.document["signatures"]["embed"]["outputs"]["vector"]["shape"] == [None, 4, 2]


def test_next_export_imports_the_files_own_modules_anew(export: Export) -> None:
    """Only the modules of the file's folder and package are imported anew by the next export."""
    for name, units in (("one", 1), ("two", 2)):
        (export.folder / name / "layers").mkdir(parents=True)
        (export.folder / name / "layers" / "__init__.py").write_text("")
        (export.folder / name / "layers" / "sizes.py").write_text(f"UNITS = {units}")
        code = f"import keras\nfrom .sizes import UNITS\nmodel = {DENSE.format('UNITS')}"
        result = export(code, "--json", "--name", name, file=f"{name}/layers/net.py")
        assert result.document["signatures"]["serving_default"]["outputs"]["y"]["shape"] == [None, units]


def test_arguments_without_samples_keep_their_default(export: Export) -> None:
    """An argument that `samples` do not have keeps its default."""
    exported = export(
        """
        import tensorflow as tf
        @tf.function
        def model(x, by=2.0, *, plus=tf.constant(1.0)):
            return {"y": x * by + plus}
        samples = {"x": [[1.0], [2.0]]}
        """,
        "--json",
    )

    assert exported.names == (["x"], ["y"])
    with SessionProcess(exported.path) as session:
        assert session.run("serving_default", {"x": np.array([[3]], np.float32)})["y"].tolist() == [[7.0]]


def test_fields_of_a_named_tuple_name_the_outputs(export: Export) -> None:
    """The fields of a NamedTuple are the names of outputs."""
    exported = export(
        """
        import tensorflow as tf, typing
        class Moments(typing.NamedTuple):
            mean: tf.Tensor
            deviation: tf.Tensor
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def model(x):
            return Moments(tf.reduce_mean(x, 1), tf.math.reduce_std(x, 1))
        """,
        "--json",
    )

    assert exported.names == (["x"], ["deviation", "mean"])


def test_fields_of_a_named_tuple_within_other_outputs_name_them(export: Export) -> None:
    """As the keys of a dict would."""
    exported = export(
        """
        import tensorflow as tf, typing
        class Range(typing.NamedTuple):
            low: tf.Tensor
            high: tf.Tensor
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def model(x):
            return {"price": Range(x - 1, x + 1), "all": [Range(Range(x, x), x)]}
        """,
        "--json",
    )

    outputs = ["all_1_high", "all_1_low_high", "all_1_low_low", "price_high", "price_low"]
    assert exported.names == (["x"], outputs)
    with SessionProcess(exported.path) as session:
        prediction = session.run("serving_default", {"x": np.array([3], np.float32)})
        assert {name: prediction[name].tolist() for name in outputs[3:]} == {"price_high": [4], "price_low": [2]}


def test_fields_of_a_dataclass_name_the_outputs(export: Export) -> None:
    """As the outputs of a Keras model. A tf.function cannot return a dataclass, and the hint says what it can."""
    code = """
        import dataclasses
        import keras
        import tensorflow as tf
        @dataclasses.dataclass
        class Scores:
            low: object
            high: object
        class Net(keras.Model):
            def call(self, x):
                return Scores(x - 1, x + 1)
        model, samples = Net(), [[1.0], [2.0]]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def score(x):
            return Scores(x - 1, x + 1)
    """
    exported = export(code, "--json")
    refused = export.source("net.py:score")

    assert exported.names == (["x"], ["high", "low"])
    assert refused.code == 1
    assert refused.last_words[1] == "hint: return a tensor, or a dict of tensors whose keys are texts"


def test_data_next_to_a_file_of_another_folder_is_found_there(export: Export) -> None:
    """The working directory is that of the command, as with `python FILE`; the hint says where to run it."""
    (export.folder / "train set").mkdir()
    (export.folder / "train set" / "rows.csv").write_text("1,2")
    result = export("open('rows.csv')", file="train set/net.py")

    assert result.code == 1
    assert result.last_words[0].endswith("net.py:1: FileNotFoundError: [Errno 2] No such file or directory: 'rows.csv'")
    assert result.last_words[1] == (
        f"hint: rows.csv is in the folder of the file: cd '{export.folder}/train set', and run tfsctl export there"
    )


@pytest.mark.parametrize("stream", ["open('net.log', 'w')", "sys.stderr"])
def test_file_may_replace_and_close_the_standard_streams(export: Export, stream: str) -> None:
    """The messages of the export go where they went before."""
    result = export(
        f"""
        import sys
        import keras
        def build_model():
            sys.stdout = sys.stderr = {stream}
            sys.stderr.close()
            return {DENSE.format(4)}
        """,
        "--json",
    )

    assert result.code == 0
    assert result.document["signatures"]["serving_default"]["outputs"]["y"]["shape"] == [None, 4]


@pytest.mark.parametrize(
    "code",
    [
        "sys.stdout, sys.stderr = (io.TextIOWrapper(one.buffer, encoding='utf-8') for one in (sys.stdout, sys.stderr))",
        "sys.stdout, sys.stderr = (codecs.getwriter('utf-8')(one.detach()) for one in (sys.stdout, sys.stderr))",
    ],
    ids=["wrapped", "detached"],
)
def test_file_may_set_the_encoding_of_the_standard_streams(export: Export, code: str) -> None:
    """The wrappers close the streams when they are deleted. The text of the file and of the export are both printed."""
    result = export(f"import codecs, io, sys, keras\n{code}\nprint('hällo')\nmodel = {DENSE.format(4)}")

    assert result.code == 0, result.stderr
    assert "hällo" in result.stderr
    assert result.last_words[-1] == "next: tfsctl serve ./net"


@pytest.mark.parametrize("values", ["x.numpy()", "np.array(x)", "x if tf.reduce_sum(x) > 0 else -x"])
def test_model_that_reads_values_of_tensors_in_python_is_refused_with_a_hint(export: Export, values: str) -> None:
    """Such a model works in Python only."""
    result = export(
        f"""
        import keras, numpy as np, tensorflow as tf
        class Net(keras.Model):
            def call(self, x):
                return {values}
        model, samples = Net(), [[1.0], [2.0]]
        """
    )

    assert result.code == 1
    assert result.last_words[1].startswith("hint: compute with TensorFlow or keras.ops operations only: ")


def test_file_that_turns_off_eager_execution_is_refused(with_tensorflow: ForkServer, tmp_path: Path) -> None:
    """A file that turns off eager execution is refused. The process stays in that state, so it is one of its own."""
    (tmp_path / "net.py").write_text("import tensorflow as tf\ntf.compat.v1.disable_eager_execution()\nmodel = 1\n")
    done = with_tensorflow.run("tfsctl.__main__:main", "export", "net.py", cwd=tmp_path)

    assert done.returncode == 1
    assert "which an export needs\nhint: write the graph with tf.compat.v1.saved_model.simple_save" in done.stderr
