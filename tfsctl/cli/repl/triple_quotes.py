'''Input in triple quotes (`"""…"""`), which may span several lines.'''

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tfsctl.cli.options.input_arguments import is_json_document

QUOTES = '"""'


def is_open(text: str) -> bool:
    """Whether the text begins with triple quotes that are not closed yet."""
    return text.startswith(QUOTES) and not (len(text) >= 2 * len(QUOTES) and text.rstrip().endswith(QUOTES))


def unquote(text: str) -> str | None:
    """Return the text between triple quotes, or None if the text is not quoted so."""
    if not text.startswith(QUOTES):
        return None
    return text.rstrip().removeprefix(QUOTES).removesuffix(QUOTES).removeprefix("\n").removesuffix("\n")


def join_quoted_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield inputs with the number of their first line, from 1. Lines within triple quotes are one input."""
    open_text, first = "", 0
    for number, line in enumerate(lines, start=1):
        if open_text:
            open_text += f"\n{line}"
        else:
            open_text, first = line, number
        if not is_open(open_text):
            yield first, open_text
            open_text = ""
    if open_text:
        yield first, open_text


def split_pasted(text: str) -> list[str]:
    """Split pasted text into inputs: one JSON document is one input, and so is text in triple quotes or a line."""
    if "\n" not in text or is_json_document(text):
        return [text]
    return [line for _, line in join_quoted_lines(text.split("\n"))]
