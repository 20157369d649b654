"""Writes the JSON bodies of classify and regress answers, and of errors."""

from __future__ import annotations

from tfsctl.server.process.loop_yield import yield_to_loop, yielding
from tfsctl.server.rest.json.text import INDENT, float_text, quote
from tfsctl.server.signatures.examples import Classes, ClassRows, Results, ValueRows

_PIECE_ROWS = 512  # written by one call, during which no other Python thread runs


def answer(results: Results) -> bytes:
    """The body of a classify answer (for each example a list of [label, score]) or a regress answer (a value for each)."""
    return _classifications(results) if isinstance(results, ClassRows) else _regressions(results)


def _classifications(results: ClassRows) -> bytes:
    pieces = []
    for start in range(0, len(results), _PIECE_ROWS):
        rows = ", ".join([_classes(row) for row in results[start : start + _PIECE_ROWS]])
        pieces.append(rows.encode("utf-8", "surrogateescape"))
        yield_to_loop()
    return b'{\n%b"results": [%b\n%b]\n}' % (INDENT.encode(), b", ".join(pieces), INDENT.encode())


def _classes(row: Classes) -> str:
    pairs = zip(row.labels, row.scores, strict=True)
    texts = [f"[{quote(label.decode('utf-8', 'surrogateescape'))}, {float_text(score)}]" for label, score in pairs]
    return f"[{', '.join(texts)}]"


def _regressions(results: ValueRows) -> bytes:
    pieces = (results[start : start + _PIECE_ROWS] for start in range(0, len(results), _PIECE_ROWS))
    texts = [", ".join(map(float_text, values)).encode() for values in yielding(pieces)]
    return b'{\n%b"results": [%b]\n}' % (INDENT.encode(), b", ".join(texts))


def error(message: str) -> bytes:
    """The body of a REST error."""
    return f'{{\n{INDENT}"error": {quote(message)}\n}}'.encode("utf-8", "surrogateescape")
