"""What can be exported, and how everything else is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from exporting import Export

from tfsctl.core.saved_model import read_saved_model
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.exporter.sources.model_source import check_version, parse_source

NET = """
    import keras
    net = keras.Sequential([keras.Input((3,), name="rows"), keras.layers.Dense(2, name="scores")])
"""


def error_of(export: Export, code: str, *options: object, file: str = "net.py") -> tuple[int, str]:
    """The exit code and the `error:` line of an export that must fail and leave nothing."""
    result = export(code, *options, file=file)
    assert result.stdout == ""
    assert not (export.folder / "net").exists()
    (error,) = [line for line in result.last_words if line.startswith("error: ")]
    assert "Traceback" not in result.stderr
    return result.code, error.removeprefix("error: ").replace(f"{export.folder}/", "")


@pytest.mark.parametrize(
    ("code", "file"),
    [
        (NET + "    model = net", "net.py"),
        (NET + "    def build_model(depth=1): return net", "net.py"),
        (NET, "net.py:net"),
        (NET + "    def small(): return net", "net.py:small"),
        (NET + "    model = net\n    def build_model(): raise AssertionError('model is there already')", "net.py"),
    ],
    ids=["model", "build_model", "attribute", "function", "model-first"],
)
def test_python_file_gives_model_or_build_model_or_the_named_attribute(export: Export, code: str, file: str) -> None:
    """`build_model()` is called if there is no `model`; the attribute is named after a colon."""
    exported = export(code, "--json", file=file)
    assert exported.names == (["rows"], ["scores"])
    assert exported.document["model"] == "net"


def test_file_imports_its_siblings_and_reads_its_data(export: Export) -> None:
    """The file's folder is on sys.path while it runs; another folder's module of the same name is another module."""
    for folder, name in (("one", "first"), ("two", "second")):
        (export.folder / folder).mkdir()
        (export.folder / folder / "names.py").write_text(f"NAME = {name!r}")
        (export.folder / folder / "units.txt").write_text("4")
    code = """
        import keras
        from pathlib import Path
        def build_model():
            from names import NAME
            units = int(Path(__file__).with_name("units.txt").read_text())
            return keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, name=NAME)])
    """
    assert export(code, "--json", file="one/net.py").names[1] == ["first"]
    assert export(code, "--json", "--name", "other", file="two/net.py").names[1] == ["second"]


def test_signatures_of_a_tf_module_are_exported_by_their_names(export: Export) -> None:
    """A tf.Module's attribute `signatures` names them; outputs are dict keys, or numbered."""
    exported = export(
        """
        import tensorflow as tf
        class Scale(tf.Module):
            def __init__(self):
                self.by = tf.Variable(2.0)
                self.signatures = {"serving_default": self.scale, "both": self.both.get_concrete_function()}
            @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
            def scale(self, x):
                return {"y": self.by * x}
            @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int64, name="pair"), {"flag": tf.TensorSpec([], tf.bool)}])
            def both(self, a, b):
                return a, b["flag"]
        model = Scale()
        """,
        "--json",
    )
    signatures = read_saved_model(exported.path).signatures
    assert exported.names == (["x"], ["y"])
    assert [(spec.name, spec.dtype, spec.shape) for spec in signatures["both"].inputs] == [
        ("flag", "bool", ()),
        ("pair", "int64", (None, 2)),
    ]
    assert [spec.name for spec in signatures["both"].outputs] == ["output_1", "output_2"]


def test_callable_tf_module_needs_no_signatures(export: Export) -> None:
    """A `__call__` with an input_signature becomes serving_default."""
    exported = export(
        """
        import tensorflow as tf
        class Twice(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
            def __call__(self, x):
                return x * 2
        model = Twice()
        """,
        "--json",
    )
    assert exported.names == (["x"], ["outputs"])


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_keras_file_is_exported_without_generated_names(export: Export, suffix: str) -> None:
    """Keras generates names of layers, which the signature does not have."""
    export(
        f"import keras\nmodel = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])\nmodel.save('saved{suffix}')"
    )
    exported = export.source(f"saved{suffix}", "--json")
    assert exported.document["model"] == "saved"
    assert exported.names == (["inputs"], ["outputs"])


def test_saved_model_is_copied(export: Export) -> None:
    """A SavedModel directory is copied byte for byte, under its model's name, with what was known about its rows."""
    original = export(NET + "    model, samples = net, [[1., 2., 3.], [4., 5., 6.]]", "--json")
    copied = export.source(original.path, "--json", "--to", "elsewhere", "--version", 3)
    assert copied.document["path"] == "elsewhere/net/3"
    for file in ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"):
        assert (copied.path / file).read_bytes() == (original.path / file).read_bytes()
    assert original.document["row_independent"] == copied.document["row_independent"] == {"serving_default": True}
    assert copied.document["keras_version"] is None


def test_saved_model_is_not_copied_into_itself(export: Export, echo_dir: Path) -> None:
    """DIR exported next to itself would get versions inside itself; the error asks for another name."""
    shutil.copytree(echo_dir / "7", export.folder / "echo")
    result = export.source("echo")
    assert result.code == 2
    assert (
        result.stderr.splitlines()[-1] == "hint: choose another model name with --name, or another directory with --to"
    )
    assert not any(path.name.startswith(".") for path in (export.folder / "echo").iterdir())


def test_directory_of_versions_needs_the_choice_of_one(export: Export) -> None:
    """Each version in a base directory is a model."""
    export(NET, "--version", 3, file="net.py:net")
    export(NET, "--version", 12, file="net.py:net")
    result = export.source("net", "--name", "copy")
    assert result.code == 2
    assert result.last_words == [
        "error: net holds the versions 3, 12; export one of them",
        "hint: tfsctl export net/12",
    ]


@pytest.mark.parametrize(
    ("code", "file", "expected"),
    [
        ("x = (1 +", "net.py", (1, "net.py:1: SyntaxError: '(' was never closed")),
        ("a = 1\nb = a / 0", "net.py", (1, "net.py:2: ZeroDivisionError: division by zero")),
        ("def build_model():\n  return [][1]", "net.py", (1, "net.py:2: build_model() failed: IndexError: list index out of range")),
        ("class Odd(BaseException): pass\nraise Odd(1)", "net.py", (1, "net.py:2: Odd: 1")),
        ("class Odd(Exception):\n  def __str__(self): return 1\nraise Odd", "net.py", (1, "net.py:3: Odd")),
        ("import sys\nsys.exit('no data')", "net.py", (1, "net.py:2: the file exited with SystemExit: no data")),
        ("import no_such_module", "net.py", (1, "net.py:1: ModuleNotFoundError: No module named 'no_such_module'")),
        ("x = 1", "net.py", (2, "net.py defines neither `model` nor `build_model()`")),
        (NET, "net.py:other", (2, "net.py does not define `other`")),
        ("def build_model(depth, width): pass", "net.py", (2, "net.py: build_model() requires arguments: depth, width")),
        ("model = {'a': 1}", "net.py", (1, "the model is of type dict, which tfsctl cannot export")),
        ("def build_model(): pass", "net.py", (2, "net.py: build_model() returned None, and not a model")),
        ("import tensorflow as tf\nmodel = tf.Module()", "net.py", (1, "the Module has no signatures")),
        (
            "import tensorflow as tf\nmodel = tf.Module()\nmodel.signatures = {'f': tf.function(lambda x: x)}",
            "net.py",
            (1, "signature 'f' is a Function without an input_signature"),
        ),
        (
            "import keras\nmodel = keras.Sequential([keras.layers.Dense(1)], name='net')",
            "net.py",
            (1, "the model 'net' cannot be traced: it was never built"),
        ),
    ],
)  # fmt: skip
def test_error_in_a_python_file_is_one_line_with_its_place(
    export: Export, code: str, file: str, expected: tuple[int, str]
) -> None:
    """The place is the file, and the line if there is one."""
    assert error_of(export, code, file=file) == expected


def test_error_in_a_sibling_names_the_sibling(export: Export) -> None:
    """The place of an error is the innermost line of the user's own code."""
    (export.folder / "helper.py").write_text("def double(x):\n    return x * undefined\n")
    assert error_of(export, "import helper\nmodel = helper.double(2)") == (
        1,
        "helper.py:2: NameError: name 'undefined' is not defined",
    )


def test_model_under_another_name_is_offered_as_file_and_name(export: Export) -> None:
    """As file.py:name."""
    result = export(NET)
    assert result.last_words[-1] == f"hint: tfsctl export {export.folder}/net.py:net"


def test_verbose_shows_the_traceback(export: Export) -> None:
    """With --verbose the user's own traceback comes before the error."""
    (export.folder / "net.py").write_text("a = 1\nb = a / 0\n")
    result = export.command("--verbose", "export", "net.py")
    assert result.code == 1
    assert 'net.py", line 2, in <module>' in result.stderr


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("saved.keras", "saved.keras is not a Keras file: it is neither a zip archive (.keras) nor HDF5 (.h5)"),
        ("saved.h5", "saved.h5 is not a Keras file: it is neither a zip archive (.keras) nor HDF5 (.h5)"),
    ],
)
def test_damaged_keras_file_is_refused(export: Export, name: str, error: str) -> None:
    """Files that only have the name of a Keras file."""
    (export.folder / name).write_text("not a model")
    result = export.source(name)
    assert (result.code, result.last_words[0]) == (1, f"error: {error}")


def test_unknown_class_of_a_keras_file_is_named_with_the_option_that_gives_it(export: Export) -> None:
    """Keras cannot find a class that the user defined."""
    export(
        """
        import keras
        class Mine(keras.layers.Layer):
            def call(self, x): return x
        model = keras.Sequential([keras.Input((3,)), Mine()])
        model.save("saved.keras")
        """
    )
    result = export.source("saved.keras")
    assert result.code == 1
    assert result.last_words[0].startswith("error: saved.keras: TypeError: Could not locate class 'Mine'.")
    assert result.last_words[1] == (
        "hint: tfsctl export saved.keras --custom-objects FILE.py, with the file or module that defines the class"
    )


def test_damaged_saved_model_is_refused(export: Export, echo_dir: Path) -> None:
    """Before TensorFlow is loaded if the file is cut short, afterwards if its variables are missing."""
    broken = export.folder / "broken"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes((echo_dir / "7" / "saved_model.pb").read_bytes()[:-5])
    result = export.source("broken")
    assert result.code == 1
    assert result.stderr.startswith("error: broken/saved_model.pb is not a SavedModel")
    good = export(NET, "--json", file="net.py:net").path
    (good / "variables" / "variables.index").unlink()
    result = export.source(good, "--name", "copy")
    assert result.code == 1
    assert result.last_words[0].startswith("error: the exported version cannot be loaded: ")
    assert not (export.folder / "copy").exists()


def test_missing_source_is_not_found_and_an_unknown_kind_is_invalid() -> None:
    """The exit codes differ."""
    with pytest.raises(NotFound, match=r"no such file or directory: nowhere\.py"):
        parse_source("nowhere.py:model")
    with pytest.raises(InvalidInput, match="tfsctl cannot export /dev/null"):
        parse_source("/dev/null")


def test_directory_without_a_saved_model_is_refused(tmp_path: Path) -> None:
    """Unless it has versions of one."""
    with pytest.raises(InvalidInput, match="it is not a SavedModel directory"):
        parse_source(str(tmp_path))


def test_unusable_model_name_is_refused_before_anything_is_loaded(export: Export) -> None:
    """The error asks for --name."""
    result = export("raise SystemExit", file="my model.py")
    assert result.code == 2
    assert result.stderr.splitlines()[-1] == "hint: --name my_model"
    assert "…" not in result.stderr


@pytest.mark.parametrize("version", [0, -1, 2**63])
def test_version_outside_of_positive_int64_is_refused(version: int) -> None:
    """A version is a positive 64-bit number."""
    with pytest.raises(InvalidInput, match="cannot be a version"):
        check_version(version)


def test_default_model_name_is_the_stem_or_the_base_directory(tmp_path: Path) -> None:
    """The stem of a file; the base directory of a SavedModel with a version number."""
    version = tmp_path / "reviews" / "00000123"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "net.keras").touch()
    (tmp_path / "net.py").touch()
    assert parse_source(str(version)).default_name == "reviews"
    assert parse_source(str(tmp_path)).default_name == tmp_path.name
    assert parse_source(str(tmp_path / "net.keras")).default_name == "net"
    found = parse_source(f"{tmp_path}/net.py:small")
    assert (found.default_name, found.attribute) == ("net", "small")


def test_source_sha256_is_that_of_the_file(export: Export) -> None:
    """The answer and the manifest name the very source that was exported."""
    exported = export(NET, "--json", file="net.py:net")
    expected = hashlib.sha256((export.folder / "net.py").read_bytes()).hexdigest()
    manifest = json.loads((exported.path / "assets.extra" / "tfsctl_manifest.json").read_text())
    assert exported.document["source_sha256"] == expected
    assert manifest["source"] == {"file": "net.py", "sha256": expected, "git": None}
