"""`ReplSession`: the state of one REPL, and its requests to the model. Nothing here reads input or prints."""

from __future__ import annotations

import difflib
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from tfsctl.cli.inference.example_inputs import parsed_features, read_features
from tfsctl.cli.inference.served_models import with_samples
from tfsctl.cli.options.target import Target
from tfsctl.cli.output.class_scores import NO_CLASS_OPTIONS
from tfsctl.cli.repl import answer_lines
from tfsctl.cli.repl.answer_lines import AnswerStyle, ModelAnswer
from tfsctl.cli.repl.line_result import LineResult
from tfsctl.cli.repl.triple_quotes import unquote
from tfsctl.clients import example_tasks
from tfsctl.clients.captured_request import CapturedRequest, RequestCaptured
from tfsctl.clients.connection import Transport
from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.inference import Examples, Method
from tfsctl.core.types import ModelMetadata, ModelRef, Signature
from tfsctl.errors import InvalidInput, NotFound, RequestRejected
from tfsctl.inputs.features import read_examples
from tfsctl.inputs.predict_inputs import choose_signature, describe_inputs, shape_inputs
from tfsctl.inputs.typed_values import are_features, takes_text, text_notes

if TYPE_CHECKING:
    from typing_extensions import Self

    from tfsctl.engines.server_record import ServerRecord

_NAMED_INPUT = "-i "
MAX_METADATA_AGE_S = 1.0


class ReplSession:
    """One model on one server, and how answers are shown.

    The signature is fetched at the start, and again if a request no longer fits it, because the server may have loaded
    a new version.

    - `with_bars` draws bars and shows latencies
    - `find` locates a model on the server again, or on a server of a name
    - `find_labels` returns the models of the server with their version labels; none if tfsctl did not start it
    - `list_servers` returns the running servers that tfsctl started, by name

    Raises what `ServingClient.metadata` raises, and NotFound if the model has no such signature.
    """

    def __init__(
        self,
        target: Target,
        *,
        signature: str | None = None,
        as_json: bool = False,
        with_bars: bool = False,
        find: Callable[[str, str | None], Target] | None = None,
        find_labels: Callable[[], Mapping[str, Sequence[str]]] = dict,
        list_servers: Callable[[], Mapping[str, ServerRecord]] = dict,
    ) -> None:
        self.target: Target = target
        self.signature_name: str | None = signature
        self.verb: str = "predict"
        self.only: tuple[str, ...] = ()
        self.labels_file: str = ""
        self.style: AnswerStyle = AnswerStyle(as_json=as_json, with_bars=with_bars)
        self.show_latency: bool = with_bars
        self.initial_timeout_s: float = target.timeout_s
        self.last: ModelAnswer | None = None
        self.last_line: str = ""
        self._find_labels = find_labels
        self._find = find
        self.servers = list_servers
        self._server: str | None = None
        self.client: ServingClient
        self.served: ModelMetadata
        self.signature: Signature
        self.client, self.served, self.signature = _open(target, signature)
        self._fetched_at: float = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.client.close()

    @property
    def place(self) -> str:
        """The model and server: `amazon_review version 3 at localhost:8501 over REST`."""
        transport = "REST" if self.client.transport == "rest" else "gRPC"
        return f"{self.served.name} version {self.served.version} at {self.client.address} over {transport}"

    @property
    def exact_model(self) -> ModelRef:
        """The model with the version whose signatures are known, so that every prediction tells its version."""
        if self.served.version is None:
            return self.target.model
        return replace(self.target.model, version=self.served.version, label=None)

    def knows_models(self) -> bool:
        """Whether the models of the server and their labels are known."""
        return self.target.model.name in self._find_labels()

    def known_models(self) -> Sequence[str]:
        """The models of the server; only the current one if the others are not known."""
        return list(self._find_labels()) or [self.target.model.name]

    def version_labels(self) -> Sequence[str]:
        """The version labels of the model, as far as they are known."""
        return self._find_labels().get(self.target.model.name, ())

    def switch(
        self,
        *,
        model: ModelRef | None = None,
        transport: Transport | None = None,
        signature: str | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Switch to another model, version, signature or transport. If that fails, the session stays as it was."""
        target = replace(
            self.target,
            model=model or self.target.model,
            transport=transport or self.target.transport,
            timeout_s=timeout_s or self.target.timeout_s,
        )
        self._adopt(target, signature)

    def _adopt(self, target: Target, signature: str | None) -> None:
        """Connect to a target, and close the connection before. Raises what the constructor raises."""
        opened = _open(target, signature)
        self.client.close()
        if signature != self.signature_name or target.model.name != self.target.model.name:
            self.only, self.labels_file = (), ""  # they belong to one signature
            self.style = replace(self.style, class_options=NO_CLASS_OPTIONS)
        self.target, self.signature_name = target, signature
        self.client, self.served, self.signature = opened
        self._fetched_at = time.monotonic()

    def switch_server(self, name: str) -> None:
        """Switch to a running server that tfsctl started, and to its model of the same name (default: its first).

        Raises NotFound if no server has the name. If switching fails, the session stays as it was.
        """
        server = self.servers().get(name)
        if server is None or self._find is None:
            close = difflib.get_close_matches(name, self.servers(), n=1)
            raise NotFound(
                f"no running server is named {name!r}",
                hint=f"did you mean :server {close[0]}?" if close else ":server lists the servers",
            )
        same = self.target.model.name in server.models
        found = self._find(self.target.model.name if same else server.models[0], name)
        transport = self.target.transport
        target = replace(found, transport=transport, timeout_s=self.target.timeout_s)
        self._adopt(target, self.signature_name if same else None)
        self._server = name

    def refresh(self) -> bool:
        """Fetch the signatures again; returns whether they, or the version, have changed."""
        before, served = self.served, with_samples(self.target, self.client.metadata(self.target.model))
        self.signature = choose_signature(served, self.signature_name)
        self.served, self._fetched_at = served, time.monotonic()
        return served != before

    def answer(self, send: Callable[[], ModelAnswer]) -> LineResult:
        """Send a request and format its answer.

        The metadata are fetched again first if they are older than MAX_METADATA_AGE_S, so that a new version is used.
        The request is sent again if the version or signature has changed since.
        """
        notes: tuple[str, ...] = ()
        if time.monotonic() - self._fetched_at > MAX_METADATA_AGE_S and self.refresh():
            notes = (f"now {self.place}: {describe_inputs(self.signature)}",)
        try:
            answer = send()
        except (InvalidInput, NotFound, RequestRejected):
            if not self.refresh():
                raise
            notes = (f"now {self.place}: {describe_inputs(self.signature)}",)
            answer = send()
        self.last = answer
        if self.show_latency:
            notes += (f"{answer_lines.latency_ms(answer):.1f} ms",)
        return LineResult(answer=tuple(answer_lines.lines(answer, self.style)), notes=notes)

    def query(self, line: str) -> LineResult:
        """Send one line of inputs to the model, and remember it for `last_request`."""
        result = self.answer(lambda: self._send(self.client, line, self.exact_model))
        self.last_line = line
        notes = self._text_notes(line)
        return replace(result, notes=(*notes, *result.notes)) if notes else result

    def _text_notes(self, line: str) -> list[str]:
        if self.verb != "predict" or line.startswith(_NAMED_INPUT) or unquote(line) is not None:
            return []
        notes = text_notes([line], self.signature)
        return [] if notes and self._examples([line], []) is not None else notes

    def last_request(self) -> CapturedRequest:
        """The REST request of the last line that was answered. Raises InvalidInput if there is none."""
        if not self.last_line:
            raise InvalidInput("no input was sent yet", hint="type an input first")
        target = self.target.over("rest")
        with replace(target, connection=replace(target.connection, capture_requests=True)).connect() as client:
            try:
                self._send(client, self.last_line, target.model)
            except RequestCaptured as captured:
                return captured.request
        raise AssertionError("a client that captures requests sent one")

    def _send(self, client: ServingClient, line: str, model: ModelRef) -> ModelAnswer:
        literal = unquote(line)
        pairs = _named_inputs(line) if line.startswith(_NAMED_INPUT) else []
        texts = [] if pairs else [line if literal is None else literal]
        if self.verb == "predict":
            examples = None if literal is not None else self._examples(texts, pairs)
            if examples is not None:
                return example_tasks.predict_examples(client, model, self.signature, examples, self.only)
            as_text = literal is not None and takes_text(self.signature)
            arrays = shape_inputs(texts, self.signature, pairs, as_text=as_text)
            return client.predict(model, arrays, signature=self.signature.name, outputs=self.only)
        method: Method = "classify" if self.verb == "classify" else "regress"
        tasks = example_tasks.choose_tasks(self.served, method, [self.signature_name] if self.signature_name else [])
        return example_tasks.infer(client, model, read_examples(texts, pairs), tasks)

    def _examples(self, texts: list[str], pairs: list[str]) -> Examples | None:
        """The tf.Examples of a line of features, if the signature parses such records; otherwise None."""
        if not are_features(texts, pairs, self.signature):
            return None
        features = parsed_features(self.target, self.served, self.signature, required=False)
        return None if features is None else read_features(texts, pairs, features, self.signature)

    def reconnect(self) -> None:
        """Find the server again, because it may have restarted on other ports. Raises what the constructor raises."""
        found = self.target if self._find is None else self._find(self.target.model.name, self._server)
        target = replace(
            found, model=self.target.model, transport=self.target.transport, timeout_s=self.target.timeout_s
        )
        opened = _open(target, self.signature_name)
        self.client.close()
        self.target = target
        self.client, self.served, self.signature = opened
        self._fetched_at = time.monotonic()


def _named_inputs(line: str) -> list[str]:
    """Split a line of options, `-i x=1 -i 'city=New York'`, into its NAME=VALUE pairs. Raises InvalidInput."""
    try:
        return [word for word in shlex.split(line) if word != _NAMED_INPUT.strip()]
    except ValueError as error:
        raise InvalidInput(f"{line!r} cannot be split into words: {error}") from error


def _open(target: Target, signature: str | None) -> tuple[ServingClient, ModelMetadata, Signature]:
    client = target.connect()
    try:
        served = with_samples(target, client.metadata(target.model))
        return client, served, choose_signature(served, signature)
    except BaseException:
        client.close()
        raise
