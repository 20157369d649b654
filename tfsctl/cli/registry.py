"""The table of commands. A command's module is imported when the command is used, to keep start-up fast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup, TyperOption

from tfsctl.cli.options.input_arguments import NegativeNumberCommand


class Command(NamedTuple):
    """A folder below `commands/`, and the first line of the command's help."""

    folder: str
    summary: str


# In the order of `tfsctl --help`. The summaries repeat the first line of each command's help, so that listing the commands
# imports none of them. A command is the function of its name in commands/FOLDER/NAME.py, or that module's Typer `app`.
COMMANDS = {
    "export": Command("export", "Make a verified SavedModel version out of a model."),
    "warmup": Command("export", "Write the warmup requests of a version, which servers run after loading."),
    "lint": Command("export", "Check a model or a config file by TensorFlow Serving's rules."),
    "serve": Command("serve", "Serve models over REST and gRPC."),
    "compose": Command("deploy", "Print a Compose file that serves models."),
    "image": Command("deploy", "Images with models inside."),
    "ps": Command("serve", "List the servers that tfsctl started."),
    "logs": Command("serve", "Print the logs of servers that tfsctl started."),
    "restart": Command("serve", "Restart a server that tfsctl started."),
    "stop": Command("serve", "Stop servers that tfsctl started."),
    "predict": Command("query", "Ask a model for its answer to what you type."),
    "classify": Command("query", "Ask a model for the classes of examples."),
    "regress": Command("query", "Ask a model for the value of examples."),
    "metadata": Command("query", "Show a model's signatures, and what else is known of it."),
    "sample": Command("query", "Make up an example request that fits a model's signature."),
    "repl": Command("query", "Query a model interactively: type inputs, read predictions."),
    "run": Command("serve", "Serve a model and talk to it, in one go."),
    "status": Command("query", "Show where each version of a model is in its life."),
    "wait": Command("query", "Wait until a model, or one version of it, is AVAILABLE."),
    "compare": Command("rollout", "Compare the predictions of two versions on the same rows."),
    "explain": Command("query", "Explain an error: its cause, and the next command."),
}
TAKE_NEGATIVE_NUMBERS = ("predict", "classify", "regress", "explain")


class LazyCommandGroup(TyperGroup):
    """A Typer group that imports a command when it is looked up, and none to list their names."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - typer's own
        super().__init__(**settings)
        self.commands = _LazyCommands()  # type: ignore[assignment] # a mapping in place of a dict

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002 - typer passes it
        """The names of the commands, without importing them."""
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - typer's own, not public
        """Write the list of commands; unlike Typer, never cut a summary to the terminal's width."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])


class _LazyCommands(Mapping[str, object]):
    """Name -> Click command, built on first access."""

    def __getitem__(self, name: str) -> object:
        if name not in COMMANDS:
            raise KeyError(name)
        return _build_command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@cache
def _build_command(name: str) -> object:
    module = import_module(f"tfsctl.cli.commands.{COMMANDS[name].folder}.{name}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        cls = NegativeNumberCommand if name in TAKE_NEGATIVE_NUMBERS else None
        app.command(name, cls=cls)(getattr(module, name))
    command = typer.main.get_command(app)
    for one in getattr(command, "commands", {"": command}).values():
        one.params.append(_verbose_option())
    return command


def _verbose_option() -> TyperOption:
    """`--verbose`, which every command takes as `tfsctl` itself does: before and after the command's name."""

    def show_tracebacks(_context: object, _parameter: object, is_given: bool) -> None:
        from tfsctl.cli.output import terminal

        terminal.verbose = terminal.verbose or is_given

    return TyperOption(
        param_decls=["--verbose", "-v"],
        is_flag=True,
        expose_value=False,
        callback=show_tracebacks,
        help="Show the traceback of a failure.",
    )
