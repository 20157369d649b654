"""Tab completion in the REPL: commands, their arguments, inputs of the model, files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tfsctl.cli.repl import commands, settings

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer, Completion
    from prompt_toolkit.document import Document

    from tfsctl.cli.repl.repl_session import ReplSession


def completer(session: ReplSession) -> Completer:
    """The completer for prompt_toolkit."""
    from prompt_toolkit.completion import Completer, Completion

    class _ReplCompleter(Completer):
        def get_completions(self, document: Document, complete_event: object) -> Iterator[Completion]:  # noqa: ARG002
            """The completions of the text before the cursor."""
            for word, length in complete(session, document.text_before_cursor):
                yield Completion(word, start_position=-length)

    return _ReplCompleter()


def complete(session: ReplSession, text: str) -> list[tuple[str, int]]:
    """Completions of the last word of `text`, each with the number of characters it replaces."""
    if text.startswith(":"):
        return _command_completions(session, text)
    word = text.rpartition(" ")[2]
    name, at, path = word.partition("=@")
    if at and text.startswith("-i "):
        return _matching(path, _paths(path))
    if session.verb != "predict" or "=" in word:
        return []
    return _matching(word, [f"{spec.name}=" for spec in session.signature.inputs]) if word or name == text else []


def _command_completions(session: ReplSession, text: str) -> list[tuple[str, int]]:
    head, space, argument = text.partition(" ")
    if not space:
        return _matching(text, commands.REPL_COMMANDS)
    found = commands.REPL_COMMANDS.get(head)
    if found is None:
        return []
    if head == ":set" and " " in argument:
        name, _, value = argument.partition(" ")
        setting = settings.SETTINGS.get(name)
        if name == "labels":
            return _matching(value, _paths(value))
        return _matching(value, setting.choices(session)) if setting else []
    choices = found.choices(session)
    return _matching(argument, _paths(argument) if choices is commands.COMPLETE_PATHS else choices)


def _matching(start: str, words: Iterable[str]) -> list[tuple[str, int]]:
    return [(word, len(start)) for word in words if word.startswith(start)]


def _paths(start: str) -> list[str]:
    """The files and directories whose path begins so; directories end with a slash."""
    home, is_home = os.path.expanduser("~"), start.startswith("~")
    found = sorted(glob.glob(glob.escape(os.path.expanduser(start)) + "*"))
    return [
        (f"~{path.removeprefix(home)}" if is_home else path) + ("/" if os.path.isdir(path) else "") for path in found
    ]
