"""One conversation with a model: a line in, a reply out. Nothing here reads or prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from tfsctl.cli import _answers
from tfsctl.cli._repl import bars, commands
from tfsctl.cli._repl.reply import Reply
from tfsctl.cli._target import Target
from tfsctl.clients import Client, Transport
from tfsctl.core.inputs import choose_signature, describe, shape_inputs
from tfsctl.core.types import ModelMetadata, ModelRef, Prediction, Signature
from tfsctl.errors import InvalidInput, NotFound, RequestRejected, TfsctlError

if TYPE_CHECKING:
    from typing_extensions import Self


class Session:
    """A model, how it is reached, and how answers are shown.

    `drawn` adds bars and latencies, for people. The signature is asked for once, and again when a line or an answer
    no longer fits it: a server may load a new version meanwhile. Raises what `Client.metadata` does, and NotFound when
    the model has no such signature.
    """

    def __init__(
        self,
        target: Target,
        *,
        signature: str | None = None,
        as_json: bool = False,
        drawn: bool = False,
        connect: Callable[[Target], Client] = Target.connect,
    ) -> None:
        self.target = target
        self.as_json = as_json
        self._signature_name = signature
        self._drawn = drawn
        self._connect = connect
        self.client, self.served, self.signature = self._open(target, signature)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.client.close()

    @property
    def place(self) -> str:
        """What is talked to: `amazon_review version 3 at localhost:8501 over REST`."""
        transport = "REST" if self.client.transport == "rest" else "gRPC"
        return f"{self.served.name} version {self.served.version} at {self.client.address} over {transport}"

    def handle(self, line: str) -> Reply:
        """Do what a line says: a command of the table, or inputs for the model. Expected failures come in the reply."""
        if not line.strip():
            return Reply()
        try:
            command, argument = commands.find(line)
            return command.run(self, argument) if command else self._predict(line)
        except TfsctlError as error:
            return Reply(error=error)

    def switch(self, *, model: str | None = None, transport: Transport | None = None) -> None:
        """Talk to another model of the server, or over another transport. On failure nothing has changed."""
        target = self.target if transport is None else self.target.over(transport)
        name = self._signature_name
        if model is not None:
            target, name = replace(target, model=ModelRef(model)), None  # a signature was chosen for the model before
        opened = self._open(target, name)
        self.client.close()
        self.target, self._signature_name = target, name
        self.client, self.served, self.signature = opened

    def refresh(self) -> bool:
        """Ask for the signatures again; whether they, or the version, are others now."""
        before = self.served
        self.served = self.client.metadata(self.target.model)
        self.signature = choose_signature(self.served, self._signature_name)
        return self.served != before

    def _open(self, target: Target, signature: str | None) -> tuple[Client, ModelMetadata, Signature]:
        client = self._connect(target)
        try:
            served = client.metadata(target.model)
            return client, served, choose_signature(served, signature)
        except BaseException:
            client.close()
            raise

    def _predict(self, line: str) -> Reply:
        notes: tuple[str, ...] = ()
        try:
            prediction = self._ask(line)
        except (InvalidInput, NotFound, RequestRejected):
            if not self.refresh():
                raise
            notes = (f"now {self.place}: {describe(self.signature)}",)
            prediction = self._ask(line)
        if self._drawn:
            notes += (f"{prediction.latency_s * 1000:.1f} ms",)
        return Reply(answer=tuple(self._shown(prediction)), notes=notes)

    def _ask(self, line: str) -> Prediction:
        arrays = shape_inputs([line], self.signature)
        return self.client.predict(self.target.model, arrays, signature=self.signature.name)

    def _shown(self, prediction: Prediction) -> list[str]:
        if self.as_json:
            return [json.dumps(_answers.document(prediction), ensure_ascii=False)]
        if self._drawn and (drawn := bars.chart(prediction)):
            return drawn
        rows = _answers.rows(prediction)
        if len(prediction.outputs) == 1:
            return [cell for row in rows for cell in row]
        names = _answers.columns(prediction)
        return ["  ".join(f"{name} {cell}" for name, cell in zip(names, row, strict=True)) for row in rows]
