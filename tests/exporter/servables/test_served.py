"""Servables that are not models, exported, served and queried over REST and gRPC; numpy checks the values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exporting import Export
from model_servers import Served, running_server

from tfsctl.clients.connection import Transport
from tfsctl.clients.factory import open_client
from tfsctl.core.arrays import object_array
from tfsctl.core.model_dir import list_versions
from tfsctl.core.types import ModelRef
from tfsctl.core.version_files.manifest import MANIFEST_FILE

pytestmark = [pytest.mark.tensorflow, pytest.mark.server]

ROWS, SIZE, K = 3000, 16, 4
KEYS = [f"key {number}" for number in range(ROWS)]
TRANSPORTS: tuple[Transport, ...] = ("rest", "grpc")
TRANSFORM = """
    import tensorflow as tf
    columns = {"age": "float32", "city": tf.string}
    def transform(age, city):
        return {"age": (age - 40.0) / 10.0, "city": tf.strings.lower(city), "is_old": age > 65.0}
    def length(features):
        return {"length": tf.strings.length(features["city"])}
"""
SPACE = """
    import keras, numpy as np, tensorflow as tf
    model = keras.utils.FeatureSpace(
        {"age": "float_normalized", "city": keras.utils.FeatureSpace.string_categorical(num_oov_indices=1)},
        output_mode="concat",
    )
    rows = {"age": np.array([20.0, 30.0, 40.0], "float32"), "city": np.array(["Rome", "Oslo", "Oslo"])}
    model.adapt(tf.data.Dataset.from_tensor_slices(rows).batch(1))
    model.save("space.keras")
"""
LAYER = """
    import keras
    model = keras.layers.StringLookup(vocabulary=["a", "b"])
    samples = [["a"], ["z"]]
"""


def table() -> np.ndarray:
    """Vectors of which no two have the same score."""
    return np.random.default_rng(7).standard_normal((ROWS, SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servables")


@pytest.fixture(scope="module")
def server(_exporter: Any, _folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of all servables of these tests."""
    export = Export(_exporter, _folder)
    np.save(_folder / "vectors.npy", table())
    (_folder / "keys.txt").write_text("".join(f"{key}\n" for key in KEYS))
    (_folder / "vocab.txt").write_text("[UNK]\nthe\nGröße\n", encoding="utf-8")
    for metric in ("cosine", "dot", "l2"):
        done = export.source("vectors.npy", "--keys", "keys.txt", "--metric", metric, "--k", K, "--name", metric)
        assert done.code == 0, done.stderr
        assert "3,000 vectors of 16 float32 values: 0.192 MB" in done.stderr
    for name, oov in (("unk", "[UNK]"), ("minus", -1), ("hash", "hash:5"), ("strict", "error")):
        done = export.source("vocab.txt", "--oov", oov, "--name", name)
        assert done.code == 0, done.stderr
    for name, code, file in (
        ("transform", TRANSFORM, "features.py"),
        ("length", TRANSFORM, "features.py:length"),
        ("space", SPACE, "space.py"),
        ("layer", LAYER, "layer.py"),
    ):
        done = export(code, "--name", name, file=file)
        assert done.code == 0, done.stderr
    done = export.source("space.keras", "--name", "saved_space")
    assert done.code == 0, done.stderr
    names = (
        "cosine",
        "dot",
        "l2",
        "unk",
        "minus",
        "hash",
        "strict",
        "transform",
        "length",
        "space",
        "saved_space",
        "layer",
    )
    with running_server({name: _folder / name for name in names}, tmp_path_factory.mktemp("server")) as served:
        yield served


def ask(
    server: Served, transport: Transport, model: str, inputs: dict[str, Any], signature: str = "serving_default"
) -> dict[str, Any]:
    """The outputs of one request. Texts are decoded."""
    port = server.rest_port if transport == "rest" else server.grpc_port
    arrays = {
        name: object_array([value.encode() for value in values]) if isinstance(values[0], str) else np.asarray(values)
        for name, values in inputs.items()
    }
    with open_client(transport, server.host, port, timeout_s=60) as client:
        outputs = client.predict(ModelRef(model), arrays, signature=signature).outputs
    return {
        name: np.vectorize(bytes.decode, otypes=[object])(value).tolist() if value.dtype == object else value
        for name, value in outputs.items()
    }


def expected(metric: str, queries: np.ndarray, *, without: int | None = None) -> tuple[list[list[str]], np.ndarray]:
    """The nearest keys and their scores, with numpy in float64."""
    vectors, queries = table().astype(np.float64), queries.astype(np.float64)
    scores = -np.linalg.norm(queries[:, None] - vectors, axis=2) if metric == "l2" else queries @ vectors.T
    if metric == "cosine":
        scores /= np.linalg.norm(vectors, axis=1) * np.linalg.norm(queries, axis=1, keepdims=True)
    if without is not None:
        scores[:, without] = -np.inf
    best = np.argsort(-scores, axis=1)[:, :K]
    values = np.take_along_axis(scores, best, 1)
    return [[KEYS[number] for number in row] for row in best], -values if metric == "l2" else values


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_lookup_returns_vectors_of_known_keys_and_marks_unknown_ones(server: Served, transport: Transport) -> None:
    """Known keys have their vectors; unknown ones are marked."""
    answer = ask(server, transport, "dot", {"keys": ["key 5", "nobody", "key 2999"]}, "lookup")

    assert answer["found"].tolist() == [True, False, True]
    np.testing.assert_array_equal(answer["vectors"], [table()[5], np.zeros(SIZE), table()[2999]])


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_nearest_keys_and_scores_equal_those_of_numpy(server: Served, transport: Transport, metric: str) -> None:
    """The same keys and scores as numpy's, for vectors that are not in the table, one or many."""
    for rows in (1, 5):
        queries = np.random.default_rng(rows).standard_normal((rows, SIZE)).astype(np.float32)
        answer = ask(server, transport, metric, {"vectors": queries}, "nearest")
        keys, scores = expected(metric, queries)
        assert answer["keys"] == keys
        np.testing.assert_allclose(answer["scores"], scores, rtol=1e-4, atol=1e-5)


def test_large_request_that_reads_the_table_in_parts_has_the_same_answer(server: Served) -> None:
    """A request so large that the table is read in parts has the same answer."""
    queries = np.random.default_rng(9).standard_normal((2500, SIZE)).astype(np.float32)
    answer = ask(server, "grpc", "cosine", {"vectors": queries}, "nearest")
    keys, scores = expected("cosine", queries)

    assert answer["keys"] == keys
    np.testing.assert_allclose(answer["scores"], scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_neighbours_of_a_key_exclude_the_key_itself(server: Served, metric: str) -> None:
    """The neighbours of a key are others than itself; those of an unknown key are empty."""
    answer = ask(server, "rest", metric, {"keys": ["key 5", "nobody"]}, "nearest_to_keys")
    keys, scores = expected(metric, table()[5:6], without=5)

    assert answer["keys"] == [*keys, [""] * K]
    np.testing.assert_allclose(answer["scores"], [scores[0], [0] * K], rtol=1e-4, atol=1e-5)
    assert answer["found"].tolist() == [True, False]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_vocabulary_maps_tokens_to_line_numbers_and_back(server: Served, transport: Transport) -> None:
    """Ids are line numbers, both ways, and unknown tokens follow the rule."""
    tokens = {"tokens": ["Größe", "nobody", "[UNK]"]}
    ids = {name: ask(server, transport, name, tokens, "ids") for name in ("unk", "minus", "hash")}
    back = ask(server, transport, "unk", {"ids": np.array([1, 2, 7, -1], np.int64)}, "tokens")

    assert ids["unk"]["ids"].tolist() == [2, 0, 0]
    assert ids["minus"]["ids"].tolist() == [2, -1, 0]
    assert ids["hash"]["ids"][1] in range(3, 8)
    assert [answer["known"].tolist() for answer in ids.values()] == [[True, False, True]] * 3
    assert back["tokens"] == ["the", "Größe", "[UNK]", "[UNK]"]
    assert back["known"].tolist() == [True, True, False, False]


def test_strict_vocabulary_refuses_unknown_tokens(server: Served) -> None:
    """The request with an unknown token is refused, with the token."""
    from tfsctl.errors import RequestRejected

    assert ask(server, "rest", "strict", {"tokens": ["the"]})["ids"].tolist() == [1]
    for transport in TRANSPORTS:
        with pytest.raises(RequestRejected, match=r"the vocabulary does not have the token.*nobody"):
            ask(server, transport, "strict", {"tokens": ["the", "nobody"]})


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_transformations_are_served(server: Served, transport: Transport) -> None:
    """A function over columns, or over a dict of them; a FeatureSpace; a preprocessing layer."""
    people = {"age": np.array([50.0, 70.0], np.float32), "city": ["ROME", "Oslo"]}
    answer = ask(server, transport, "transform", people)
    np.testing.assert_allclose(answer["age"], [1.0, 3.0])
    assert answer["city"] == ["rome", "oslo"]
    assert answer["is_old"].tolist() == [False, True]

    assert ask(server, transport, "length", people)["length"].tolist() == [4, 4]

    for name in ("space", "saved_space"):
        rows = {"age": np.array([30.0, 40.0], np.float32), "city": ["Oslo", "Paris"]}
        (encoded,) = ask(server, transport, name, rows).values()
        deviation = np.std([20, 30, 40])
        np.testing.assert_allclose(encoded, np.array([[0, 0, 1, 0], [10 / deviation, 1, 0, 0]]), atol=1e-5)

    (found,) = ask(server, transport, "layer", {"inputs": ["b", "x"]}).values()
    assert found.tolist() == [2, 0]


def test_failing_transformation_is_refused_with_its_error(export: Export) -> None:
    """The error of the function, or the column that it lacks, is named."""
    fails = """
        columns = {"age": "float32"}
        def transform(age):
            return {"age": age + "x"}
        def more(age, city):
            return {"age": age}
    """
    broken, lacking = export(fails, file="f.py"), export(fails, file="f.py:more")
    wrong = export('columns = {"age": "years"}\ndef transform(age): return age', file="w.py")

    assert (broken.code, lacking.code, wrong.code) == (1, 2, 2)
    assert "cannot be traced" in broken.stderr
    assert "more() takes city, which `columns` does not have" in lacking.stderr
    assert "`columns` gives 'years' for age, which is not a dtype" in wrong.stderr


def test_samples_of_the_manifest_are_real_keys(server: Served) -> None:
    """The manifest has real keys for every signature, so that `sample` prints them; rows are independent."""
    (version,) = list_versions(server.models["cosine"])
    signatures = json.loads((version.path / MANIFEST_FILE).read_bytes())["signatures"]

    assert {one["row_independent"] for one in signatures.values()} == {True}
    for name in ("serving_default", "lookup", "nearest_to_keys"):
        assert signatures[name]["samples"][0] == {"keys": "key 0"}
    np.testing.assert_allclose(signatures["nearest"]["samples"][0]["vectors"], table()[0], rtol=1e-6)
