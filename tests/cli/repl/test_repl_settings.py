"""The settings of `tfsctl repl`; a server that is started anew is found again."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from echo_models import write_echo_model
from model_servers import running_server
from repl_targets import target_of

from tfsctl.cli.options.target import Target
from tfsctl.cli.repl import settings
from tfsctl.cli.repl.line_handler import handle_line
from tfsctl.cli.repl.line_result import LineResult
from tfsctl.cli.repl.repl_session import ReplSession
from tfsctl.core.types import ModelRef
from tfsctl.errors import NotFound, ServerUnreachable


def test_settings_are_listed_and_changed(session: ReplSession) -> None:
    """:set lists all settings; :set NAME VALUE changes one; :set NAME restores its default."""
    listed = handle_line(session, ":set").answer
    assert [line.split()[0] for line in listed] == list(settings.SETTINGS)
    assert handle_line(session, ":set signature row") == LineResult(notes=("signature: row",))
    assert handle_line(session, "1,2,3").answer == ("[1.0, 2.0, 3.0]",)
    assert "* row" in handle_line(session, ":signature").answer
    assert handle_line(session, ":set signature") == LineResult(notes=("signature: -",))
    assert handle_line(session, "1").answer == ("1.0",)


@pytest.mark.parametrize(
    ("line", "error", "hint"),
    [
        (":set signatur x", "there is no setting 'signatur'", "did you mean signature?"),
        (":verb guess", "'guess' is not a method", "give one of predict, classify, regress"),
        (":version newest", "'newest' is not a version", "give a number or latest"),
        (":set top 0", "'0' is not a number of classes", ""),
        (":set json maybe", "'maybe' is neither on nor off", ""),
        (":set timeout soon", "'soon' is not a time in seconds", ""),
        (":set timeout -1", "'-1' is not a time in seconds", ""),
        (":set timeout 1e9", "'1e9' is not a time in seconds", ""),
        (":set only y", "serving_default has no output 'y', only x", ""),
        (":set labels /nope", "no file /nope", None),
        (":last", "there is no prediction yet", "type an input first"),
        (":curl", "no input was sent yet", "type an input first"),
        ("-i 'x=1", '"-i \'x=1" cannot be split into words: No closing quotation', ""),
    ],
)
def test_invalid_settings_are_explained(session: ReplSession, line: str, error: str, hint: str | None) -> None:
    """The setting keeps its value."""
    before = handle_line(session, ":set").answer
    failed = handle_line(session, line).error
    assert failed is not None
    assert failed.message == error
    assert hint in (None, failed.hint)
    assert handle_line(session, ":set").answer == before


def test_version_and_label_select_a_version(session: ReplSession) -> None:
    """An unknown version or label changes nothing; `latest` or an empty label restores the default."""
    assert handle_line(session, ":version 7") == LineResult(notes=("version: 7",))
    assert session.target.model == ModelRef("echo", version=7)
    assert isinstance(handle_line(session, ":version 8").error, NotFound)
    assert isinstance(handle_line(session, ":label nope").error, NotFound)
    assert handle_line(session, "1").answer == ("1.0",)
    assert handle_line(session, ":version latest") == LineResult(notes=("version: latest",))
    assert session.target.model == ModelRef("echo")


def test_output_settings_reset_with_the_signature(session: ReplSession, tmp_path: Path) -> None:
    """only, top and labels belong to one signature."""
    handle_line(session, ":signature two")
    handle_line(session, ":set only city")
    assert handle_line(session, "area=1 city=x") == LineResult(answer=("x",))
    handle_line(session, ":signature row")
    assert session.only == ()
    (tmp_path / "abc.txt").write_text("a\nb\nc\n")
    handle_line(session, f":set labels {tmp_path}/abc.txt")
    handle_line(session, ":set top 1")
    assert handle_line(session, "1,5,3") == LineResult(answer=("1\tb\t5.0",))
    assert handle_line(session, ":signature").error is None
    handle_line(session, ":set signature")
    assert handle_line(session, "1") == LineResult(answer=("1.0",))


def test_time_setting_shows_latency(session: ReplSession) -> None:
    """:time switches the latency on and off in a pipe."""
    assert handle_line(session, ":time") == LineResult(notes=("durations are shown now",))
    (note,) = handle_line(session, "1").notes
    assert note.endswith(" ms")
    handle_line(session, ":time")
    assert handle_line(session, "1").notes == ()


def test_last_prints_the_complete_answer(session: ReplSession) -> None:
    """:last prints the document of `predict --json`, even if the terminal showed a summary."""
    handle_line(session, ":signature any")
    handle_line(session, json.dumps([list(range(100))]))
    (line,) = handle_line(session, ":last").answer
    assert json.loads(line)["outputs"] == {"x": [[float(n) for n in range(100)]]}


def test_curl_prints_the_last_request(session: ReplSession) -> None:
    """The printed curl command gives the same answer, also after gRPC."""
    handle_line(session, ":grpc")
    handle_line(session, ":signature two")
    handle_line(session, "area=1 city=x")
    handle_line(session, "great")  # refused: not the last that was answered
    (command,) = handle_line(session, ":curl").answer
    done = subprocess.run([*shlex.split(command), "-s"], capture_output=True, check=True, timeout=240)
    assert json.loads(done.stdout) == {"outputs": {"area": [1.0], "city": ["x"]}}


@pytest.mark.server
@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_session_reconnects_to_a_restarted_server(tmp_path: Path, transport: str) -> None:
    """On other ports, with another version: a note says so; until then each line is an error."""
    base = tmp_path / "m"
    write_echo_model(base / "1")
    where: list[Target] = []
    with running_server({"m": base}, tmp_path) as served:
        session = ReplSession(target_of(served, "m"), signature="two", find=lambda _model, _server: where[-1])
        handle_line(session, f":{transport}")
        where.append(session.target)
        assert handle_line(session, "area=1 city=x").error is None
    with session:
        assert isinstance(handle_line(session, "area=1 city=x").error, ServerUnreachable)
        assert isinstance(handle_line(session, ":metadata").error, ServerUnreachable)
        write_echo_model(base / "2")
        with running_server({"m": base}, tmp_path) as served:
            where.append(target_of(served, "m"))
            result = handle_line(session, "area=2 city=y")
            assert result == LineResult(answer=("area 2.0  city y",), notes=(f"now {session.place}",))
            assert (session.served.version, session.client.transport) == (2, transport)
            assert handle_line(session, "area=3 city=z") == LineResult(answer=("area 3.0  city z",))
