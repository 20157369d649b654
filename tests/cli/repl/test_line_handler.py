"""How `tfsctl repl` answers a line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cli_runner import RunCli
from echo_models import write_echo_model
from model_servers import Served, running_server
from repl_targets import target_of
from waiting import PATIENCE_S

from tfsctl.cli.options.target import Target
from tfsctl.cli.repl import commands
from tfsctl.cli.repl.line_handler import handle_line
from tfsctl.cli.repl.line_result import LineResult
from tfsctl.cli.repl.repl_session import ReplSession
from tfsctl.core.types import ModelRef
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import InvalidInput, NotFound, RequestRejected, ServerUnreachable


@pytest.fixture
def session(served: Served) -> Iterator[ReplSession]:
    """A conversation with half_plus_two, as through a pipe."""
    with ReplSession(target_of(served, "half_plus_two")) as opened:
        yield opened


def test_line_is_converted_and_answered(session: ReplSession) -> None:
    """A line has the form of an argument of predict; an empty line does nothing."""
    assert handle_line(session, "2") == LineResult(answer=("3.0",))
    assert handle_line(session, "1, 2") == LineResult(answer=("2.5", "3.0"))
    assert handle_line(session, '{"instances": [4]}') == LineResult(answer=("4.0",))
    assert handle_line(session, "  ") == LineResult()


def test_several_outputs_are_named(served: Served) -> None:
    """One line with the name and value of each output."""
    with ReplSession(target_of(served, "echo"), signature="two") as session:
        assert handle_line(session, "area=120 city=New York") == LineResult(answer=("area 120.0  city New York",))


def test_invalid_input_is_an_error_result(session: ReplSession) -> None:
    """The error is explained, and the next line is answered."""
    result = handle_line(session, "great")
    assert isinstance(result.error, InvalidInput)
    assert (result.answer, result.leave) == ((), False)
    assert handle_line(session, "2").answer == ("3.0",)


def test_rejected_request_is_an_error_result(served: Served) -> None:
    """A request that the server rejects does not make the signature stale."""
    with ReplSession(target_of(served, "echo"), signature="float16") as session:
        result = handle_line(session, "1")
        assert isinstance(result.error, RequestRejected)
        assert handle_line(session, ":grpc").error is None
        assert handle_line(session, "1") == LineResult(answer=("1.0",))


def test_terminal_shows_bars_and_latency(served: Served) -> None:
    """A bar and the latency; a value that is not a score is printed as it is."""
    with ReplSession(target_of(served, "echo"), with_bars=True) as session:
        result = handle_line(session, "0.75")
        assert result.answer == ("0.75  ██████████████████        75%",)
        (latency,) = result.notes
        assert latency.endswith(" ms")
        assert 0 < float(latency.removesuffix(" ms")) < 20_000
        assert handle_line(session, "2.5").answer == ("2.5",)


def test_json_command_prints_documents(session: ReplSession) -> None:
    """:json switches to the documents of `predict --json` and back."""
    assert handle_line(session, ":json") == LineResult(notes=("predictions are printed as JSON now",))
    (line,) = handle_line(session, "2").answer
    document = json.loads(line)
    assert document["outputs"] == {"y": [3.0]}
    assert document["version"] == session.served.version
    assert handle_line(session, ":json") == LineResult(notes=("predictions are printed as text now",))
    assert handle_line(session, "2").answer == ("3.0",)


def test_the_transport_can_be_changed(session: ReplSession, served: Served) -> None:
    """:grpc and :rest query the same model over the other port."""
    (note,) = handle_line(session, ":grpc").notes
    assert note.endswith(f"at 127.0.0.1:{served.grpc_port} over gRPC")
    assert handle_line(session, "2").answer == ("3.0",)
    (note,) = handle_line(session, ":rest").notes
    assert note.endswith(f"at 127.0.0.1:{served.rest_port} over REST")
    assert handle_line(session, "2").answer == ("3.0",)


def test_the_model_can_be_changed(session: ReplSession) -> None:
    """:model NAME switches to another model of the server; an unknown name changes nothing."""
    assert isinstance(handle_line(session, ":model nope").error, NotFound)
    assert handle_line(session, "2").answer == ("3.0",)
    (note,) = handle_line(session, ":model echo").notes
    assert note.startswith("echo version 7 at ")
    assert handle_line(session, "2").answer == ("2.0",)
    assert handle_line(session, ":version").answer == ("* 7 AVAILABLE",)


def test_failed_transport_switch_changes_nothing(served: Served) -> None:
    """Without a gRPC port, the session stays on REST."""
    target = Target(ModelRef("echo"), served.host, served.rest_port, 9, "rest")
    with ReplSession(target) as session:
        assert isinstance(handle_line(session, ":grpc").error, ServerUnreachable)
        assert handle_line(session, "2").answer == ("2.0",)


def test_metadata_shows_place_and_signatures(served: Served) -> None:
    """:metadata prints the model and server, and an aligned line per input and output."""
    with ReplSession(target_of(served, "echo"), signature="two") as session:
        place, *lines = handle_line(session, ":metadata").answer
    assert place == f"echo version 7 at 127.0.0.1:{served.rest_port} over REST"
    assert ["two", "input", "city", "string", "[batch]"] in [line.split() for line in lines]
    assert len({line.index("float32") for line in lines if " float32 " in line}) == 1


def test_help_lists_every_command(session: ReplSession) -> None:
    """:help lists the names and the first docstring line of each command."""
    text = "\n".join(handle_line(session, ":help").answer)
    for command in commands.REPL_COMMANDS.values():
        assert command.help
        assert command.help in text
        assert all(name in text for name in command.names)


@pytest.mark.parametrize("line", [":q", ":quit", ":exit", " :q"[1:] + " "])
def test_quit_commands_leave(session: ReplSession, line: str) -> None:
    """:q and its aliases end the REPL."""
    assert handle_line(session, line) == LineResult(leave=True)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("::)", ":)"),
        ("::D great", ":D great"),
        ("::q is how I feel", ":q is how I feel"),
        ("  ::json on", "  :json on"),
        ("::", ":"),
        (":::x", "::x"),
        (":text :q", ":q"),
        (":text [1", "[1"),
        (":TEXT text=x y", "text=x y"),
        ("great :)", "great :)"),
        ("quit", "quit"),
    ],
)
def test_text_may_begin_with_a_colon(served: Served, line: str, text: str) -> None:
    """`::` escapes a colon, and :text sends text as it is. Words such as quit are input of a pipe."""
    with ReplSession(target_of(served, "echo"), signature="text") as session:
        assert handle_line(session, line) == LineResult(answer=(text,))


@pytest.mark.parametrize(
    ("line", "error", "hint"),
    [
        (":metdata", "there is no command :metdata", "did you mean :metadata? To send the line as input: ::metdata"),
        (":verison 2", "there is no command :verison", "did you mean :version? To send the line as input: ::verison 2"),
        (":)", "there is no command :)", ":help lists the commands. To send the line as input: ::)"),
        (
            " :wow, a film",
            "there is no command :wow,",
            ":help lists the commands. To send the line as input: ::wow, a film",
        ),
        (":", "there is no command :", ":help lists the commands. To send the line as input: ::"),
        (":q now", ":q takes no argument", "type :q alone. To send the line as input: ::q now"),
        (":Grpc on", ":Grpc takes no argument", "type :Grpc alone. To send the line as input: ::Grpc on"),
        (":json :json", "':json' is neither on nor off", ""),
        (":help nope", "there is no command nope", ":help lists the commands"),
        (":help verison", "there is no command verison", "did you mean :help :version?"),
        (":text", "there is no text to send", ":text TEXT"),
        (":file", "the file is missing", ":file PATH"),
    ],
)
def test_a_line_that_begins_with_a_colon_is_never_sent(served: Served, line: str, error: str, hint: str) -> None:
    """It is a command or an error; the hint shows how to send the line."""
    with ReplSession(target_of(served, "echo"), signature="text") as session:
        failed = handle_line(session, line).error
        assert failed is not None
        assert (failed.message, failed.hint) == (error, hint)
        assert session.last is None


def test_commands_ignore_case_and_switches_take_values(session: ReplSession) -> None:
    """:JSON on twice stays on; :time off hides durations; :HELP works."""
    for _ in range(2):
        assert handle_line(session, ":JSON on") == LineResult(notes=("predictions are printed as JSON now",))
    assert handle_line(session, ":json OFF") == LineResult(notes=("predictions are printed as text now",))
    assert handle_line(session, " :time on ") == LineResult(notes=("durations are shown now",))
    assert handle_line(session, ":time off") == LineResult(notes=("durations are hidden now",))
    assert handle_line(session, ":HELP") == handle_line(session, ":h")


def test_help_of_one_command_or_setting(session: ReplSession) -> None:
    """Its usage, help and choices."""
    assert handle_line(session, ":help :json").answer == (
        ":json [on|off]",
        "  Print predictions as JSON, or as text again.",
        "  Choices: on, off",
    )
    assert handle_line(session, ":help q").answer == (":q, :quit, :exit", "  Leave (also Ctrl-D).")
    assert handle_line(session, ":help top").answer == (":set top [VALUE]", "  the number of classes per row")


def test_choices_are_listed(served: Served) -> None:
    """An asterisk marks the current signature, version, model, label and method. A misspelt model has a suggestion."""
    labels = {"echo": ("canary", "stable"), "other": ()}
    with ReplSession(target_of(served, "echo"), signature="two", find_labels=lambda: labels) as session:
        listed = handle_line(session, ":signature").answer
        assert "* two" in listed
        assert "  serving_default" in listed
        assert sum(line.startswith("*") for line in listed) == 1
        assert handle_line(session, ":version").answer == ("* 7 AVAILABLE",)
        assert handle_line(session, ":model").answer == ("* echo", "  other")
        misspelt = handle_line(session, ":model ecoh").error
        assert isinstance(misspelt, NotFound)
        assert misspelt.hint == "did you mean :model echo?"
        assert handle_line(session, ":label").answer == ("  canary", "  stable")
        assert handle_line(session, ":verb").answer == ("* predict", "  classify", "  regress")


def test_unknown_models_and_labels_are_explained(session: ReplSession) -> None:
    """No API of a server lists them."""
    assert handle_line(session, ":model") == LineResult(
        answer=("* half_plus_two",), notes=("other models are unknown: tfsctl did not start this server",)
    )
    assert handle_line(session, ":label").notes == ("the labels are unknown: tfsctl did not start this server",)


def test_another_server_can_be_chosen(registered: ServerRecord, run_cli: RunCli) -> None:
    """:server lists the running servers; a wrong name, or a server that does not answer, changes nothing."""
    other = replace(registered, name="other", rest_port=9, grpc_port=9, models=("half_plus_two",))
    records.register(other, launch={})
    typed = f":server\n:server othre\n:server other\n2\n:server {registered.name}\n2\n"
    try:
        result = run_cli("repl", "--server", registered.name, "--model", "half_plus_two", stdin=typed)
    finally:
        records.unregister(other)
    assert set(result.stdout.splitlines()[:2]) == {f"* {registered.name}", "  other"}
    assert result.stdout.splitlines()[2:] == ["3.0", "3.0"]
    assert "error: line 2: no running server is named 'othre'\nhint: did you mean :server other?\n" in result.stderr
    assert "error: line 3: no answer from 127.0.0.1:9" in result.stderr


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("quit", "leave? :q   (to send it to the model: :text quit)"),
        (" Exit() ", "leave? :q   (to send it to the model: :text Exit())"),
        ("help", "help? :help   (to send it to the model: :text help)"),
        ("quit it", ""),
        ("1", ""),
        ("", ""),
    ],
)
def test_words_that_mean_to_leave_or_ask_for_help_are_explained(typed: str, hint: str) -> None:
    """Words that a person types to leave, or for help."""
    assert commands.escape_hint_for(typed) == hint


@pytest.mark.server
def test_new_signature_of_a_new_version_is_used(tmp_path: Path) -> None:
    """If a line no longer fits, the metadata are fetched again, and a note names the new version."""
    base = tmp_path / "model"
    write_echo_model(base / "1", {"serving_default": {"x": ("float32", (None,))}})
    with running_server({"m": base}, tmp_path) as served, ReplSession(target_of(served, "m")) as session:
        assert handle_line(session, "2") == LineResult(answer=("2.0",))
        write_echo_model(tmp_path / "new", {"serving_default": {"text": ("string", (None,))}})
        (tmp_path / "new").rename(base / "2")
        deadline = time.monotonic() + PATIENCE_S
        while handle_line(session, ":version").answer != ("* 2 AVAILABLE", "  1 END"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert handle_line(session, "great") == LineResult(answer=("great",))
        write_echo_model(tmp_path / "newer", {"serving_default": {"n": ("int32", (None,))}})
        (tmp_path / "newer").rename(base / "3")
        while (result := handle_line(session, "5")).notes == ():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    place = f"m version 3 at 127.0.0.1:{served.rest_port} over REST"
    assert result == LineResult(answer=("5",), notes=(f"now {place}: serving_default takes n int32 [batch]",))
