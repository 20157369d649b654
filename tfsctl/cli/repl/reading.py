"""Lines as they are typed -> inputs: text in triple quotes goes over as many lines as it needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tfsctl.cli.options.arguments import is_document

QUOTES = '"""'


def is_open(text: str) -> bool:
    """Whether the text begins with triple quotes that are not closed yet."""
    return text.startswith(QUOTES) and not (len(text) >= 2 * len(QUOTES) and text.rstrip().endswith(QUOTES))


def quoted(text: str) -> str | None:
    """What stands between triple quotes; None for a text without them."""
    if not text.startswith(QUOTES):
        return None
    return text.rstrip().removeprefix(QUOTES).removesuffix(QUOTES).removeprefix("\n").removesuffix("\n")


def gather(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, from 1; those within triple quotes as one, under the number of the first."""
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


def pasted(text: str) -> list[str]:
    """What was entered at once: one JSON document or text in triple quotes, else an input a line."""
    if "\n" not in text or is_document(text):
        return [text]
    return [line for _, line in gather(text.split("\n"))]
