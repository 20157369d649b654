"""Keras files: by their contents, with classes and Lambda layers of the user's, and weights."""

from __future__ import annotations

from importlib.metadata import version as package_version
from importlib.util import find_spec

import numpy as np
import pytest
from exporting import Export

from tfsctl.exporter.session_process import SessionProcess

NET = """
    import keras, os
    def build_model():
        return keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(1, kernel_initializer=FILL, name="y")])
    FILL = "ones"
"""
needs_tf_keras = pytest.mark.skipif(find_spec("tf_keras") is None, reason="needs tf-keras")


def answer(export: Export, source: object, *options: object) -> list[list[float]]:
    """Export something, and ask the server's session for one row."""
    path = export.source(source, "--json", "--name", "net", *options).path
    with SessionProcess(path) as session:
        (values,) = session.run("serving_default", {"x": np.array([[1, 2]], np.float32)}).values()
    return values.tolist()


@pytest.mark.parametrize(("saved", "named"), [("a.h5", "b.keras"), ("a.keras", "b.h5"), ("a.keras", "b.keras")])
def test_contents_decide_whether_a_file_is_a_keras_file(export: Export, saved: str, named: str) -> None:
    """The name of a Keras file does not matter."""
    export(NET + f"    build_model().save('{saved}'); os.rename('{saved}', '{named}')\n")

    assert answer(export, named) == [[3.0]]


@pytest.mark.parametrize("file", ["w.weights.h5", "w.h5", "old.h5"])
def test_weights_file_is_loaded_into_the_model_of_a_python_file(export: Export, file: str) -> None:
    """A file of weights is loaded into the model of a Python file, in today's and in Keras 2's format."""
    (export.folder / "net.py").write_text("")
    export(
        NET
        + f"""
    model = build_model()
    model.layers[0].kernel.assign([[10.0], [1.0]])
    if "{file}" == "old.h5":
        model.save("old.h5")
    else:
        model.save_weights("w.weights.h5")
        os.rename("w.weights.h5", "{file}")
"""
    )

    assert answer(export, "net.py:build_model", "--weights", file) == [[12.0]]


def test_weights_that_do_not_fit_are_refused(export: Export) -> None:
    """Weights of another model, or for something that has none, are refused."""
    code = NET + "    keras.Sequential([keras.Input((2,)), keras.layers.Dense(9)]).save_weights('w.weights.h5')\n"
    result = export(code, "--weights", "w.weights.h5")
    assert result.code == 1
    assert result.last_words[0].startswith("error: the weights in w.weights.h5 do not fit the model: ValueError: ")
    assert export(code, "--weights", "nowhere.h5").last_words == ["error: no such file: nowhere.h5"]
    result = export.source("w.weights.h5", "--weights", "w.weights.h5")
    assert (result.code, result.last_words[0]) == (2, "error: w.weights.h5 is a file of weights without a model")


@pytest.mark.parametrize("module", ["mine.py", "mine"])
def test_custom_objects_come_from_a_module_or_a_python_file(export: Export, module: str) -> None:
    """The classes that a file needs come from a module or a Python file."""
    (export.folder / "mine.py").write_text(
        "import keras\nclass Triple(keras.layers.Layer):\n    def call(self, x): return x * 3\n"
    )
    export(
        "import keras\nfrom mine import Triple\n"
        "keras.Sequential([keras.Input((2,), name='x'), Triple()]).save('saved.keras')\n"
    )

    assert answer(export, "saved.keras", "--custom-objects", module) == [[3.0, 6.0]]


def test_missing_module_of_custom_objects_is_named(export: Export) -> None:
    """A module that is not there is named; a Python file takes no such option."""
    export("import keras\nkeras.Sequential([keras.Input((2,))]).save('saved.keras')")
    result = export.source("saved.keras", "--custom-objects", "nowhere.py")
    assert (result.code, result.last_words) == (4, ["error: --custom-objects: no such file: nowhere.py"])
    result = export.source("saved.keras", "--custom-objects", "no_such_module")
    assert result.last_words[0] == (
        "error: --custom-objects no_such_module: ModuleNotFoundError: No module named 'no_such_module'"
    )
    result = export.source("saved.keras", "--arg", "a=1")
    assert (result.code, result.last_words) == (2, ["error: --arg is for a Python file, but SOURCE is a Keras file"])


@pytest.mark.parametrize("file", ["saved.keras", "saved.h5"])
def test_lambda_layers_need_unsafe(export: Export, file: str) -> None:
    """A Lambda layer is Python code in the file: it takes --unsafe, and the refusal says so."""
    export(
        "import keras\n"
        "m = keras.Sequential([keras.Input((2,), name='x'), keras.layers.Lambda(lambda x: x * 2)])\n"
        f"m.save('{file}')"
    )

    refused = export.source(file)
    assert refused.code == 1
    assert refused.last_words[-1] == (
        "hint: the file contains Python code (a Lambda layer), which runs when it is loaded: "
        "add --unsafe if you trust it"
    )
    assert answer(export, file, "--unsafe") == [[2.0, 4.0]]


@needs_tf_keras
@pytest.mark.parametrize("file", ["old.h5", "old.keras"])
def test_keras_2_files_are_loaded_by_tf_keras(export: Export, file: str) -> None:
    """tf-keras loads what Keras 2 wrote, here an LSTM with `time_major`, under any name."""
    export(
        f"""
        import tf_keras
        model = tf_keras.Sequential([tf_keras.Input((2,), name="x"), tf_keras.layers.Reshape((2, 1)),
            tf_keras.layers.LSTM(1, kernel_initializer="zeros", recurrent_initializer="zeros", bias_initializer="zeros")])
        model.save("old.h5")
        import os
        os.rename("old.h5", "{file}")
        """
    )

    assert answer(export, file) == [[0.0]]


@needs_tf_keras
def test_gru_without_reset_after_is_loaded_as_keras_wrote_it(export: Export) -> None:
    """Keras before 2.1.5 did not write the option `reset_after`, which was False."""
    export(
        """
        import h5py, keras, tf_keras
        x = tf_keras.Input((2, 1), name="x")
        gru = tf_keras.layers.GRU(1, reset_after=False, kernel_initializer="ones", recurrent_initializer="ones")
        tf_keras.Model(x, tf_keras.layers.Bidirectional(gru)(x)).save("old.h5")
        with h5py.File("old.h5", "r+") as file:
            config = file.attrs["model_config"]
            file.attrs["model_config"] = config.replace(', "reset_after": false', "")
            assert "reset_after" in config and "reset_after" not in file.attrs["model_config"]
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        """
    )
    path = export.source("old.h5", "--json", "--name", "old").path
    with SessionProcess(path) as session:
        (values,) = session.run("serving_default", {"x": np.ones((1, 2, 1), np.float32)}).values()

    assert values.shape == (1, 2)


@needs_tf_keras
def test_lambda_activation_comes_from_the_custom_objects(export: Export) -> None:
    """A lambda in the file of custom objects stands for the function `<lambda>` of a Keras file."""
    (export.folder / "leaky.py").write_text("leaky = lambda x: x * 10.0\n")
    export(
        """
        import h5py, keras, tf_keras
        dense = tf_keras.layers.Dense(1, kernel_initializer="ones", activation="relu")
        tf_keras.Sequential([tf_keras.Input((2,), name="x"), dense]).save("old.h5")
        with h5py.File("old.h5", "r+") as file:
            file.attrs["model_config"] = file.attrs["model_config"].replace('"relu"', '"<lambda>"')
        model = keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(1)])
        """
    )
    refused = export.source("old.h5")

    assert "--custom-objects FILE.py, where FILE.py has `f = lambda x: ...`" in refused.last_words[-1]
    assert answer(export, "old.h5", "--custom-objects", "leaky.py") == [[30.0]]


@needs_tf_keras
def test_python_file_may_define_a_tf_keras_model(export: Export) -> None:
    """A Python file may define a model of tf_keras."""
    (export.folder / "net.py").write_text(
        "import tf_keras\nx = tf_keras.Input((2,), name='x')\n"
        "model = tf_keras.Model(x, tf_keras.layers.Dense(1, kernel_initializer='ones')(x))\n"
    )

    assert answer(export, "net.py") == [[3.0]]


@needs_tf_keras
def test_subclassed_tf_keras_model_has_the_inputs_of_its_call(export: Export) -> None:
    """By the names of the arguments."""
    exported = export(
        """
        import numpy as np, tf_keras
        class Net(tf_keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = tf_keras.layers.Dense(1)
            def call(self, user, item):
                return self.dense(user + item)
        model = Net()
        model(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32))
        """,
        "--json",
    )

    assert exported.names == (["item", "user"], ["outputs"])


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (
            ("config.json", b'"units": 1', b'"units": 1, "new": 2'),
            "save the model again with Keras {}: Keras 9.9.9 wrote",
        ),
        (("metadata.json", b"9.9.9", b"[]"), "the file may be incomplete: save the model again with model.save(...)"),
    ],
)
def test_file_that_keras_cannot_load_has_a_hint_that_helps(
    export: Export, change: tuple[str, bytes, bytes], hint: str
) -> None:
    """Loading it in a Python file would fail in the same way."""
    export(
        f"""
        import keras, re, zipfile
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save("whole.keras")
        name, old, new = {change}
        with zipfile.ZipFile("whole.keras") as whole, zipfile.ZipFile("odd.keras", "w") as odd:
            for member in whole.namelist():
                if not member.startswith("model.weights") or name == "config.json":
                    data = re.sub(rb'(keras_version": )"[^"]*"', rb'\\1"9.9.9"', whole.read(member))
                    odd.writestr(member, data.replace(old, new) if member == name else data)
        """
    )
    refused = export.source("odd.keras")

    assert refused.code == 1
    assert refused.last_words[1].startswith(f"hint: {hint.format(package_version('keras'))}")
