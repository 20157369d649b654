"""A program as a user writes it, for type checkers: `mypy --strict` finds no error in it, and infers these types."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pandas as pd
from typing_extensions import assert_type

import tfsctl


def texts() -> Iterator[str]:
    """Some rows."""
    yield "great"
    yield "awful"


def use(client: tfsctl.Client) -> list[float]:
    """Every call, with the forms of inputs that the page of the API lists."""
    answers = client.predict(2.0)
    assert_type(answers, tfsctl.Predictions)
    values: np.ndarray = answers["y"]
    client.predict("great", signature="text", outputs="text")
    client.predict(b"\xff", outputs=["text"])
    client.predict([1.0, 2.0])
    client.predict(np.zeros((2, 3)))
    client.predict({"area": 1.0, "city": ["Bern"]})
    client.predict([{"area": 1.0, "city": "Bern"}])
    client.predict({"instances": [1.0]})
    frame: pd.DataFrame = client.predict(pd.DataFrame({"x": [1.0]}), as_frame=True)
    client.predict(frame)
    client.predict(frame["x"])
    assert_type(client.predict_many(texts(), progress=False), tfsctl.Predictions)
    client.predict_many("rows.csv", columns={"x": "size"}, format="csv", as_frame=True)
    client.predict_many([{"x": 1.0}], progress=print, batch_size=8)
    scores = client.classify([{"age": 42, "city": "Bern"}], top=3)
    assert_type(scores, list[tuple[tfsctl.ScoredClass, ...]])
    client.regress({"x": [1.0]})
    assert_type(client.metadata(), tfsctl.ModelMetadata)
    assert_type(client.status(), tuple[tfsctl.VersionStatus, ...])
    assert_type(client.wait("m", timeout_s=1.0), int | None)
    client.sample(signature="text")
    return [*values.tolist(), *(one.score for row in scores for one in row)]


def start(path: os.PathLike[str]) -> str:
    """A server, and its errors."""
    try:
        with tfsctl.serve(path, engine="embedded", name="m") as server, server.connect() as client:
            assert_type(client, tfsctl.Client)
            return repr(client.predict(1.0)["y"].tolist())
    except (tfsctl.NotFound, tfsctl.EngineError) as error:
        return f"{error.message}: {error.cause}, {error.hint}"


async def use_asyncio(client: tfsctl.AsyncClient) -> None:
    """The same, with coroutines."""
    assert_type(await client.predict([1.0]), tfsctl.Predictions)
    assert_type(await client.metadata(), tfsctl.ModelMetadata)


def clients() -> tuple[tfsctl.Client, tfsctl.AsyncClient]:
    """Made with and without an address."""
    return tfsctl.connect("localhost:8500", headers={"x-tenant": "a"}), tfsctl.connect_async(model="m", timeout_s=5.0)


def write(path: str) -> int:
    """Export."""
    exported = tfsctl.export(path, to="models", version=3)
    assert_type(exported, tfsctl.ExportedModel)
    return exported.version
