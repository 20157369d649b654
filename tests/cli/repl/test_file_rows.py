"""Files, and text over several lines, in `tfsctl repl`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tfsctl.cli.repl import triple_quotes
from tfsctl.cli.repl.line_handler import handle_line
from tfsctl.cli.repl.line_result import LineResult
from tfsctl.cli.repl.repl_session import ReplSession
from tfsctl.errors import NotFound


def test_file_command_predicts_each_row(session: ReplSession, tmp_path: Path) -> None:
    """:file takes the formats of `predict --file`; a missing file is an ordinary error."""
    handle_line(session, ":signature two")
    (tmp_path / "rows.csv").write_text("area,city\n1,a\n2,b\n")
    assert handle_line(session, f":file {tmp_path}/rows.csv") == LineResult(
        answer=("area 1.0  city a", "area 2.0  city b")
    )
    assert isinstance(handle_line(session, ":file /nope.csv").error, NotFound)
    handle_line(session, ":set signature")
    (tmp_path / "many.csv").write_text("x\n" + "1\n" * 1500)
    result = handle_line(session, f":file {tmp_path}/many.csv")
    assert (len(result.answer), len(result.notes)) == (1000, 1)
    assert result.notes[0].startswith("the first 1000 rows; tfsctl predict --file ")


def test_named_inputs_work_as_on_the_command_line(session: ReplSession, tmp_path: Path) -> None:
    """A line of -i options takes quoted values and files."""
    handle_line(session, ":signature two")
    (tmp_path / "city.txt").write_text("New York\n")
    assert handle_line(session, "-i area=1 -i 'city=a b'").answer == ("area 1.0  city a b",)
    assert handle_line(session, f"-i area=1 -i city=@{tmp_path}/city.txt").answer == ("area 1.0  city New York",)


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ('"""a\nb"""', "a\nb"),
        ('"""\n:q\n"""', ":q"),
        ('"""[1] text=x {"""', "[1] text=x {"),
        ('""""""', ""),
    ],
)
def test_triple_quoted_text_is_not_parsed(session: ReplSession, typed: str, text: str) -> None:
    """For a text input, it is never a command, a pair or JSON."""
    handle_line(session, ":signature text")
    handle_line(session, ":json")
    (line,) = handle_line(session, typed).answer
    assert json.loads(line)["outputs"] == {"text": [text]}


def test_triple_quoted_json_may_span_lines(session: ReplSession) -> None:
    """For other inputs, triple quotes only join lines."""
    assert handle_line(session, '"""\n{"instances":\n [1, 2]}\n"""').answer == ("1.0", "2.0")


def test_quoted_lines_are_joined() -> None:
    """Each input has the number of its first line; unclosed quotes take all remaining lines."""
    lines = ["a", '"""b', 'c"""', '"""d"""', '"""', "e"]
    assert list(triple_quotes.join_quoted_lines(lines)) == [(1, "a"), (2, '"""b\nc"""'), (4, '"""d"""'), (5, '"""\ne')]
    assert triple_quotes.unquote('"""\ne') == "e"
