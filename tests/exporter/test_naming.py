"""Names of inputs and outputs: meaningful, and the same whatever was built before."""

from __future__ import annotations

import pytest
from exporting import Export

from tfsctl.exporter import naming

AUTO = """
    import keras
    first, second = keras.Input((1,)), keras.Input((1,))
    both = keras.layers.Concatenate()([first, second])
    model = keras.Model([first, second], [keras.layers.Dense(1)(both), keras.layers.Dense(2)(both)])
"""


@pytest.mark.parametrize(
    ("candidates", "names"),
    [
        (["text"], ["text"]),
        ([None], ["inputs"]),
        (["keras_tensor_5"], ["inputs"]),
        (["args_0"], ["inputs"]),
        (["input_3"], ["inputs"]),
        (["input_layer_2"], ["inputs"]),
        (["input"], ["input"]),
        (["age", "keras_tensor", "income"], ["age", "input_2", "income"]),
        (["keras_tensor_1", "keras_tensor_2"], ["input_1", "input_2"]),
        (["Sea view"], ["Sea_view"]),
        (["class", "self", "3d", "größe", "_x"], ["class_", "self_", "input_3d", "gr__e", "x"]),
        (["a b", "a/b", "a_b_1"], ["a_b_2", "a_b_3", "a_b_1"]),
        (["?"], ["input_"]),
    ],
)
def test_input_names_are_unique_identifiers(candidates: list[str | None], names: list[str]) -> None:
    """A given name is kept, as an identifier; a generated one is replaced; equal ones are numbered."""
    assert naming.input_names(candidates) == names


@pytest.mark.parametrize(
    ("candidates", "names"),
    [
        (["score"], ["score"]),
        ([None], ["outputs"]),
        ([None, None], ["output_1", "output_2"]),
        (["price", None], ["price", "output_2"]),
        (["encoder", "encoder"], ["encoder_1", "encoder_2"]),
        (["class", "a b"], ["class", "a b"]),
        ([], []),
    ],
)
def test_output_names_keep_any_given_name(candidates: list[str | None], names: list[str]) -> None:
    """An output is a key, not an argument, so it need not be an identifier."""
    assert naming.output_names(candidates) == names


@pytest.mark.parametrize(
    ("path", "name"),
    [(("score",), "score"), (("a", "b"), "a_b"), (("states", 0), "states_1"), ((0,), None), ((), None)],
)
def test_dict_keys_name_the_tensors_below_them(path: naming.KeyPath, name: str | None) -> None:
    """Dict keys name what is below them."""
    assert naming.from_path(path) == name


@pytest.mark.parametrize(
    ("layer", "cls", "generated"),
    [
        ("dense", "Dense", True),
        ("dense_12", "Dense", True),
        ("dense_one", "Dense", False),
        ("score", "Dense", False),
        ("global_average_pooling1d_3", "GlobalAveragePooling1D", True),
        ("lstm_1", "LSTM", True),
        ("functional_4", "Functional", True),
        ("model_1", "Functional", True),
    ],
)
def test_layer_names_that_keras_generated_are_recognized(layer: str, cls: str, generated: bool) -> None:
    """Keras makes a layer's name out of its class and a counter."""
    assert naming.is_generated(layer, cls) is generated


def test_generated_names_do_not_depend_on_earlier_models(export: Export) -> None:
    """Keras counts on from model to model in a process; the names of an export do not."""
    expected = (["input_1", "input_2"], ["output_1", "output_2"])
    assert export(AUTO, "--json").names == expected
    assert export(AUTO, "--json").names == expected
    assert (
        export("import keras\n_ = [keras.Input((1,)) for _ in range(7)]" + AUTO.replace("\n    ", "\n"), "--json").names
        == expected
    )


def test_given_names_are_kept(export: Export) -> None:
    """Dict keys, and names of inputs and of the output layer."""
    exported = export(
        """
        import keras
        age, income = keras.Input((1,), name="age"), keras.Input((1,), name="Yearly income")
        both = keras.layers.Concatenate()([age, income])
        risk = keras.layers.Dense(1, name="risk")(both)
        _, state, _ = keras.layers.LSTM(3, return_state=True, name="memory")(keras.layers.Reshape((2, 1))(both))
        model = keras.Model([age, income], [risk, keras.layers.Dense(2)(both), keras.ops.relu(risk), state])
        """,
        "--json",
    )
    assert exported.names == (["Yearly_income", "age"], ["memory", "output_2", "output_3", "risk"])


def test_layers_with_names_that_graphs_refuse_are_exported(export: Export) -> None:
    """Eagerly, Keras accepts layers with any name; the names of outputs stay."""
    exported = export(
        """
        import keras
        x = keras.Input((3,), name="x")
        block = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="in ner")], name="größe")
        heads = [keras.layers.Dense(2, name="Head 2"), keras.layers.Dense(1, name="_b")]
        model = keras.Model(x, [head(block(x)) for head in heads], name="My Model")
        """,
        "--json",
    )
    assert exported.names == (["x"], ["Head 2", "_b"])


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("dense/kernel", "dense/kernel"),
        ("Sea view", "Sea_view"),
        ("größe", "gr__e"),
        ("_x", "layer_x"),
        ("日", "layer_"),
    ],
)
def test_only_names_that_tensorflow_refuses_as_scopes_are_changed(name: str, scope: str) -> None:
    """A name is changed only if TensorFlow refuses it as a scope."""
    assert naming.scope_name(name) == scope


def test_dict_keys_name_inputs_and_outputs(export: Export) -> None:
    """A functional model of dicts keeps its keys, whatever the layers are called."""
    exported = export(
        """
        import keras
        x, y = keras.Input((1,), name="x"), keras.Input((1,), name="y")
        model = keras.Model({"x": x, "y": y}, {"sum": x + y, "both": [keras.layers.Dense(1)(x), y * 2]})
        """,
        "--json",
    )
    assert exported.names == (["x", "y"], ["both_1", "both_2", "sum"])


SUBCLASS = """
    import keras, numpy as np
    class Risk(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
        {call}
    model = Risk()
"""


@pytest.mark.parametrize(
    ("call", "rest", "names"),
    [
        ("def call(self, rows, training=None): return self.dense(rows)", "model(np.zeros((4, 3)))", ["rows"]),
        ("def call(self, x): return self.dense(x['age']) + x['job']", "model({'age': np.zeros((2, 1)), 'job': np.zeros((2, 1))})", ["age", "job"]),
        ("def call(self, x): return self.dense(x['age'])", "samples = [{'age': [1.0]}, {'age': [2.0]}]", ["age"]),
        ("def call(self, age, job): return self.dense(age) + job", "samples = {'age': [[1.0], [2.0]], 'job': [[0.0], [5.0]]}", ["age", "job"]),
        ("def call(self, *rows): return self.dense(rows[0])", "samples = [[1.0, 2.0], [3.0, 5.0]]", ["inputs"]),
    ],
    ids=["argument", "dict", "dict-of-one", "two-arguments", "no-argument-name"],
)  # fmt: skip
def test_inputs_of_a_subclassed_model_are_named_by_its_call(
    export: Export, call: str, rest: str, names: list[str]
) -> None:
    """A subclassed model's inputs are named by its `call`, or by the keys of the dict that it takes."""
    exported = export(SUBCLASS.format(call=call) + f"    {rest}\n", "--json")
    assert exported.names == (names, ["outputs"])


@pytest.mark.parametrize(
    ("call", "rest", "names"),
    [
        ("def call(self, *rows): return self.dense(rows[0] + rows[1])", "model(ONES, ONES)", ["rows_1", "rows_2"]),
        (
            "def call(self, *rows): return self.dense(rows[0] + rows[1])",
            "samples = {'user': [[1.0, 2.0], [3.0, 5.0]], 'item': [[1.0, 0.0], [0.0, 1.0]]}",
            ["item", "user"],
        ),
        ("def call(self, user, *others): return self.dense(user + others[0])", "model(ONES, ONES)", ["others_1", "user"]),
        ("def call(self, user, **others): return self.dense(user + others['item'])", "model(ONES, item=ONES)", ["item", "user"]),
        ("def call(self, x, **options): return self.dense(x['a'] + x['b'])", "model({'a': ONES, 'b': ONES})", ["a", "b"]),
        ("def call(self, x, **options): return self.dense(x['a'] + x['b'])", "samples = [{'a': [1.0, 0.0], 'b': [0.0, 1.0]}] * 2", ["a", "b"]),
    ],
)  # fmt: skip
def test_call_may_take_any_number_of_arguments(export: Export, call: str, rest: str, names: list[str]) -> None:
    """Arguments without a name of their own are numbered."""
    exported = export(SUBCLASS.format(call=call) + f"    ONES = np.ones((2, 2))\n    {rest}\n", "--json")
    assert exported.names == (names, ["outputs"])
    assert exported.document["checks"]["serving_default"]["max_difference"] < 1e-5


def test_dtypes_of_a_subclassed_model_are_those_of_its_samples(export: Export) -> None:
    """The dtypes are those of the samples, or of the data it was called on; otherwise float32, with a note."""
    code = """
        import keras, numpy as np
        class Ids(keras.Model):
            def __init__(self):
                super().__init__()
                self.table = keras.layers.Embedding(10, 2)
            def call(self, ids):
                return {"vectors": self.table(ids)}
        model = Ids()
    """
    sampled = export(code + "    samples = [[1, 2, 3], [4, 5, 6]]\n", "--json")
    assert sampled.document["signatures"]["serving_default"]["inputs"]["ids"]["dtype"] == "int64"
    assert sampled.document["notes"] == []
    called = export(code + "    model(np.array([[1, 2, 3]]))\n", "--json", "--name", "called")
    assert called.document["signatures"]["serving_default"]["inputs"]["ids"]["dtype"] == "int64"
    built = export(code + "    model.build((None, 3))\n", "--json", "--name", "built")
    assert built.document["signatures"]["serving_default"]["inputs"]["ids"]["dtype"] == "float32"
    assert built.document["notes"] == [
        "the model does not declare the dtype of its inputs: float32 is assumed; define `samples` to set it"
    ]


def test_shapes_of_the_last_call_become_those_of_the_signature(export: Export) -> None:
    """A model that was called on data has the shapes of that call, for every argument; otherwise a hint names them."""
    code = SUBCLASS.format(call="def call(self, user, item): return self.dense(user) + item")
    exported = export(code + "    model(np.zeros((2, 3)), item=np.zeros((2, 1)))\n", "--json")
    inputs = exported.document["signatures"]["serving_default"]["inputs"]
    assert {name: spec["shape"] for name, spec in inputs.items()} == {"item": [None, 1], "user": [None, 3]}

    result = export(code)
    assert result.code == 1
    assert result.last_words[0].endswith("cannot be traced: it was never built")
    assert result.last_words[1].startswith('hint: define `samples = {"user": [...], "item": [...]}` in its file')


def test_batch_dimension_is_free_after_a_call_with_two_rows(export: Export) -> None:
    """A model that was built on a batch of two answers any number of rows."""
    exported = export(
        "import keras, numpy as np\nmodel = keras.Sequential([keras.layers.Dense(1)])\nmodel(np.zeros((2, 3)))",
        "--json",
    )
    signature = exported.document["signatures"]["serving_default"]
    assert signature["inputs"]["inputs"]["shape"] == [None, 3]
    assert signature["outputs"]["outputs"]["shape"] == [None, 1]
