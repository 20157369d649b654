"""One conversation with a model: a line in, a reply out. Nothing here reads or prints."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from tfsctl.cli.inference import examples as inference_examples
from tfsctl.cli.options.target import Target
from tfsctl.cli.output import predictions
from tfsctl.cli.repl import commands, reading, transcript
from tfsctl.cli.repl.reply import Reply
from tfsctl.cli.repl.transcript import Answer, Style
from tfsctl.clients.captured_request import CapturedRequest, RequestCaptured
from tfsctl.clients.connection import Transport
from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.inference import Method
from tfsctl.core.types import ModelMetadata, ModelRef, Signature
from tfsctl.errors import InvalidInput, NotFound, RequestRejected, ServerUnreachable, TfsctlError
from tfsctl.inputs.features import read_examples
from tfsctl.inputs.predict_inputs import choose_signature, describe, shape_inputs

if TYPE_CHECKING:
    from typing_extensions import Self

_NAMED = "-i "


class Session:
    """A model, how it is reached, and how answers are shown.

    `drawn` adds bars and latencies, for people. The signature is asked for once, and again when a line or an answer
    no longer fits it: a server may load a new version meanwhile. When nobody answers, `find` tells where the model is
    now, and it is asked there once more. `known` tells the models of a server that tfsctl started, with their version
    labels. Raises what `ServingClient.metadata` does, and NotFound when the model has no such signature.
    """

    def __init__(
        self,
        target: Target,
        *,
        signature: str | None = None,
        as_json: bool = False,
        drawn: bool = False,
        find: Callable[[str], Target] | None = None,
        known: Callable[[], Mapping[str, Sequence[str]]] = dict,
    ) -> None:
        self.target: Target = target
        self.signature_name: str | None = signature
        self.verb: str = "predict"
        self.only: tuple[str, ...] = ()
        self.labels_file: str = ""
        self.style: Style = Style(as_json=as_json, drawn=drawn)
        self.timed: bool = drawn
        self.first_timeout_s: float = target.timeout_s
        self.last: Answer | None = None
        self.last_line: str = ""
        self._known = known
        self._find = find
        self.client: ServingClient
        self.served: ModelMetadata
        self.signature: Signature
        self.client, self.served, self.signature = _open(target, signature)

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

    def known_models(self) -> Sequence[str]:
        """The models the server is known to have."""
        return list(self._known()) or [self.target.model.name]

    def version_labels(self) -> Sequence[str]:
        """The labels that versions of the model are known to have."""
        return self._known().get(self.target.model.name, ())

    def handle(self, line: str) -> Reply:
        """Do what a line says: a command of the table, or inputs for the model. Expected failures come in the reply."""
        if not line.strip():
            return Reply()
        try:
            try:
                return self._do(line)
            except ServerUnreachable:
                before = self.place
                self._reconnect()
            reply = self._do(line)
        except TfsctlError as error:
            return Reply(error=error)
        return reply if self.place == before else replace(reply, notes=(f"now {self.place}", *reply.notes))

    def switch(
        self,
        *,
        model: ModelRef | None = None,
        transport: Transport | None = None,
        signature: str | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Talk to another model or version, by another signature or transport. On failure nothing has changed."""
        target = replace(
            self.target,
            model=model or self.target.model,
            transport=transport or self.target.transport,
            timeout_s=timeout_s or self.target.timeout_s,
        )
        opened = _open(target, signature)
        self.client.close()
        if signature != self.signature_name or target.model.name != self.target.model.name:
            self.only, self.labels_file = (), ""  # they are of one signature
            self.style = replace(self.style, view=predictions.PLAIN)
        self.target, self.signature_name = target, signature
        self.client, self.served, self.signature = opened

    def refresh(self) -> bool:
        """Ask for the signatures again; whether they, or the version, are others now."""
        before = self.served
        self.served = self.client.metadata(self.target.model)
        self.signature = choose_signature(self.served, self.signature_name)
        return self.served != before

    def answer(self, ask: Callable[[], Answer]) -> Reply:
        """The reply for what `ask` answers; asked again if the signature turns out to be another by now."""
        notes: tuple[str, ...] = ()
        try:
            answer = ask()
        except (InvalidInput, NotFound, RequestRejected):
            if not self.refresh():
                raise
            notes = (f"now {self.place}: {describe(self.signature)}",)
            answer = ask()
        self.last = answer
        if self.timed:
            notes += (f"{transcript.latency_ms(answer):.1f} ms",)
        return Reply(answer=tuple(transcript.lines(answer, self.style)), notes=notes)

    def _do(self, line: str) -> Reply:
        if reading.quoted(line) is None:
            command, argument = commands.find(line)
            if command:
                return command.run(self, argument)
        reply = self.answer(lambda: self._ask(self.client, line))
        self.last_line = line
        return reply

    def call_of_last(self) -> CapturedRequest:
        """The REST request of the last line that was answered. Raises InvalidInput when there is none."""
        if not self.last_line:
            raise InvalidInput("nothing was asked yet")
        target = self.target.over("rest")
        with replace(target, connection=replace(target.connection, capture_requests=True)).connect() as client:
            try:
                self._ask(client, self.last_line)
            except RequestCaptured as captured:
                return captured.request
        raise AssertionError("a client that withholds what it is asked has asked")

    def _ask(self, client: ServingClient, line: str) -> Answer:
        literal = reading.quoted(line)
        pairs = _pairs(line) if line.startswith(_NAMED) else []
        texts = [] if pairs else [line if literal is None else self._as_typed(literal)]
        if self.verb == "predict":
            arrays = shape_inputs(texts, self.signature, pairs)
            return client.predict(self.target.model, arrays, signature=self.signature.name, outputs=self.only)
        method: Method = "classify" if self.verb == "classify" else "regress"
        tasks = inference_examples.choose_tasks(
            self.served, method, [self.signature_name] if self.signature_name else []
        )
        return inference_examples.ask(client, self.target.model, read_examples(texts, pairs), tasks)

    def _as_typed(self, literal: str) -> str:
        """What stood in triple quotes: nothing but text, where the model wants text."""
        takes_text = [spec.dtype for spec in self.signature.inputs] == ["string"] and self.verb == "predict"
        return json.dumps(literal) if takes_text else literal

    def _reconnect(self) -> None:
        """Look for the server again: it may have been started anew, on other ports. Raises what `_open` does."""
        found = self.target if self._find is None else self._find(self.target.model.name)
        target = replace(
            found, model=self.target.model, transport=self.target.transport, timeout_s=self.target.timeout_s
        )
        opened = _open(target, self.signature_name)
        self.client.close()
        self.target = target
        self.client, self.served, self.signature = opened


def _pairs(line: str) -> list[str]:
    """The values by name of a line like the options of a command: `-i x=1 -i 'city=New York'`. Raises InvalidInput."""
    try:
        return [word for word in shlex.split(line) if word != _NAMED.strip()]
    except ValueError as error:
        raise InvalidInput(f"{line!r} cannot be split into words: {error}") from error


def _open(target: Target, signature: str | None) -> tuple[ServingClient, ModelMetadata, Signature]:
    client = target.connect()
    try:
        served = client.metadata(target.model)
        return client, served, choose_signature(served, signature)
    except BaseException:
        client.close()
        raise
