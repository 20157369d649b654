"""Reads a config file into its message, and finds what keeps TensorFlow Serving from reading it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tfsctl.errors import InvalidInput
from tfsctl.lint.finding import Finding, Severity
from tfsctl.lint.text_fields import TextField, parse_fields
from tfsctl.serving_config import messages

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

MessageT = TypeVar("MessageT", bound="Message")
BYTE_ORDER_MARK = "\ufeff"


@dataclass(slots=True)
class TextProto(Generic[MessageT]):
    """A config file: its message (None if it cannot be parsed), its fields with their places, and the findings."""

    path: str
    message: MessageT | None = None
    fields: TextField = field(default_factory=lambda: TextField("", 1, 1))
    findings: list[Finding] = field(default_factory=list)

    def add(self, rule: str, severity: Severity, at: TextField | None, message: str, fix: str = "") -> None:
        """Add a finding at a field (None: the start of the file)."""
        at = at or TextField("", 1, 1)
        self.findings.append(Finding(rule, severity, self.path, message, fix, at.line, at.column))


def read_text_proto(path: Path, message: MessageT) -> TextProto[MessageT]:
    """Read a config file. Raises OSError."""
    found: TextProto[MessageT] = TextProto(str(path))
    raw = path.read_bytes()
    if not raw:
        found.add("empty-file", "error", None, f"{path}; Invalid argument", "an empty file is refused: add a field")
        return found
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode()
        place = TextField("", before.count("\n") + 1, len(before) - before.rfind("\n"))
        found.add("not-utf8", "error", place, f"Invalid protobuf file: '{path}': this is not UTF-8", "save it as UTF-8")
        return found
    if text.startswith(BYTE_ORDER_MARK):
        found.add(
            "byte-order-mark",
            "error",
            None,
            f"Invalid protobuf file: '{path}': it begins with a byte order mark (U+FEFF)",
            "save it as UTF-8 without BOM",
        )
        text = text[1:]
    _parse(found, message, text)
    return found


def _parse(found: TextProto[MessageT], message: MessageT, text: str) -> None:
    from google.protobuf import text_format

    fields = parse_fields(text)
    descriptor: Any = message.DESCRIPTOR  # the stubs know two classes of descriptors
    unknown = list(_unknown_fields(fields, descriptor)) if fields is not None else []
    for one, owner in unknown:
        found.add(
            "unknown-field",
            "error",
            one,
            f'Message type "{owner.full_name}" has no field named "{one.name}".',
            _field_fix(one.name, owner),
        )
    try:
        found.message = text_format.Parse(text, message, allow_unknown_field=bool(unknown))
    except text_format.ParseError as error:
        _, _, reason = str(error).partition(" : ")
        place = TextField("", error.GetLine() or 1, error.GetColumn() or 1)
        fix = _json_fix(found.path, message, text) or _value_fix(message, text, place)
        rule, why = ("json", "it is JSON") if text.lstrip().startswith("{") else ("syntax", reason or str(error))
        found.add(rule, "error", place, f"Invalid protobuf file: '{found.path}': {why}", fix)
        return
    found.fields = fields or found.fields


def _unknown_fields(message: TextField, descriptor: Descriptor) -> Iterator[tuple[TextField, Descriptor]]:
    for one in message.fields:
        known = descriptor.fields_by_name.get(one.name)
        if known is None and one.name != "[":
            yield one, descriptor
        elif known is not None and known.message_type is not None:
            yield from _unknown_fields(one, known.message_type)


def _field_fix(name: str, descriptor: Descriptor) -> str:
    names = list(descriptor.fields_by_name)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"remove it; {descriptor.name} has {', '.join(names)}"


def _json_fix(path: str, message: Message, text: str) -> str:
    """The text protobuf with the content of a JSON document."""
    if not text.lstrip().startswith("{"):
        return ""
    try:
        messages.parse_text(type(message)(), text, source=path)
    except InvalidInput as error:
        return error.hint
    return ""


def _value_fix(message: Message, text: str, place: TextField) -> str:
    """How to write a value of a wrapper message, such as max_batch_size."""
    fields = parse_fields(text)
    wrong = next((one for one in fields.fields if one.line == place.line and one.text), None) if fields else None
    known = message.DESCRIPTOR.fields_by_name.get(wrong.name) if wrong else None
    if wrong and known is not None and known.message_type is not None and "value" in known.message_type.fields_by_name:
        return f"{wrong.name} {{ value: {wrong.text} }}"
    return ""
