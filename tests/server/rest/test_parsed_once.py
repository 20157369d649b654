"""The text of a body is parsed once, also if its values have to be read one by one in a thread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tfsctl.core import dtypes
from tfsctl.core.types import ModelRef
from tfsctl.server.monitoring.recorder import NullRecorder
from tfsctl.server.rest.json import document as json_document
from tfsctl.server.rest.predict import RestPredict
from tfsctl.server.status import ServingError
from tfsctl.server.worker_threads import WorkerThreads

ROWS = [{"b64": "AAE="}] * 200


class EchoService:
    """Answers with its input. Its model takes strings, and no bodies together with others."""

    recorder = NullRecorder()
    core = SimpleNamespace(servable=lambda _ref: SimpleNamespace(codecs={}, accepts_codecs=False))

    def input_dtypes(self, _ref: ModelRef, _signature: str) -> Mapping[str, dtypes.DType]:
        """One input."""
        return {"x_bytes": dtypes.STRING}

    async def predict(
        self, _ref: ModelRef, _signature: str, inputs: Mapping[str, np.ndarray], **_options: Any
    ) -> SimpleNamespace:
        """The inputs."""
        return SimpleNamespace(outputs=inputs)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the parsers that are called."""
    names: list[str] = []
    for name in ("parse_plain", "parse_unusual"):
        parse = getattr(json_document, name)

        def noted(body: bytes, parse: Any = parse, name: str = name) -> Any:
            names.append(name)
            return parse(body)

        monkeypatch.setattr(json_document, name, noted)
    return names


def answer(body: bytes) -> Any:
    """The parsed answer to a body."""
    service: Any = EchoService()
    predict = RestPredict(service, WorkerThreads("json"), timeout_s=None)
    return json.loads(asyncio.run(predict.answer(ModelRef("m"), body)))


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1]])
def test_values_that_are_read_one_by_one(parsed: list[str], rows: list[Any]) -> None:
    """Rows of bytes, many or one."""
    assert answer(json.dumps({"instances": rows}).encode()) == {"predictions": rows}
    assert parsed == ["parse_plain"]


def test_unusual_text_is_left_to_its_parser_at_once(parsed: list[str]) -> None:
    """Here, a key is repeated."""
    text = json.dumps({"instances": ROWS})
    assert answer(f'{text[:-1]}, "instances": 1}}'.encode()) == {"predictions": ROWS}
    assert parsed == ["parse_plain", "parse_unusual"]


def test_an_empty_body_is_refused() -> None:
    with pytest.raises(ServingError, match="JSON Parse error: The document is empty"):
        answer(b"")
