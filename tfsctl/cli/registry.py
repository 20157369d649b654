"""The table of commands. A command's module is imported when the command is used, to keep start-up fast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from typer.core import TyperGroup, TyperOption

if TYPE_CHECKING:
    from tfsctl.cli.usage import click_types


class Command(NamedTuple):
    """A folder below `commands/`, and the first line of the command's help."""

    folder: str
    summary: str


# In the order of `tfsctl --help`. The summaries repeat the first line of each command's help, so that listing the commands
# imports none of them. A command is the function of its name in commands/FOLDER/NAME.py, or that module's Typer `app`.
COMMANDS = {
    "export": Command("export", "Export a model as a verified SavedModel version."),
    "warmup": Command("export", "Add requests that servers run when they load a version."),
    "lint": Command("export", "Check a model or a config file by TensorFlow Serving's rules."),
    "serve": Command("serve", "Serve models over REST and gRPC."),
    "compose": Command("deploy", "Print a Compose file that serves models."),
    "image": Command("deploy", "Build Docker images that contain models."),
    "ps": Command("serve", "List the servers that tfsctl started."),
    "logs": Command("serve", "Print the logs of servers."),
    "restart": Command("serve", "Restart a server."),
    "stop": Command("serve", "Stop servers."),
    "front": Command("serve", "Put the Envoy proxy in front of a running server, for tfsctl canary."),
    "predict": Command("query", "Send inputs to a model and print its predictions."),
    "classify": Command("query", "Send features to a model and print the classes."),
    "regress": Command("query", "Send features to a model and print the values."),
    "metadata": Command("query", "Show the signatures of a model."),
    "sample": Command("query", "Print an example request for a model."),
    "repl": Command("query", "Query a model interactively: type inputs, read predictions."),
    "run": Command("serve", "Serve a model, and query it interactively."),
    "status": Command("query", "Show the state of each version of a model."),
    "wait": Command("query", "Wait until a model is loaded."),
    "compare": Command("rollout", "Compare the predictions of two versions on the same rows."),
    "versions": Command("rollout", "List the versions of models, or remove old ones."),
    "label": Command("rollout", "Assign labels, such as `stable`, to versions."),
    "promote": Command("rollout", "Make a version stable: move the label `stable` to it."),
    "rollback": Command("rollout", "Make the previous version stable again."),
    "history": Command("rollout", "Print who changed the versions and labels of a model."),
    "verify": Command("rollout", "Check that a version's files have not changed since the export."),
    "models": Command("rollout", "List the model directories below a folder."),
    "canary": Command("rollout", "Send a part of the traffic to a new version."),
    "ab": Command("rollout", "Split the traffic between two versions, and compare their results."),
    "shadow": Command("rollout", "Compare a new version with the stable one on live requests."),
    "rollout": Command("rollout", "Show and end the rollout of a version."),
    "record": Command("rollout", "Record the requests of a model."),
    "skew": Command("rollout", "Compare recorded inputs with the training data."),
    "replay": Command("rollout", "Send recorded requests again."),
    "explain": Command("query", "Explain an error or a log of TensorFlow Serving."),
}
GROUPS = {
    "export": "Export",
    "serve": "Serve",
    "query": "Query",
    "rollout": "Roll out",
    "deploy": "Deploy",
}
CONTEXT_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 120,  # columns: longer lines are hard to read, however wide the terminal is
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

    def parse_args(self, ctx: click_types.Context, args: list[str]) -> list[str]:
        """Parse the command line; `help COMMAND` is `COMMAND --help`."""
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click_types.Context, args: list[str]
    ) -> tuple[str | None, click_types.Command | None, list[str]]:
        """Look up the command. Raises InvalidInput, with the command that was probably meant."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from tfsctl.cli.usage.usage_errors import unknown_command

            raise unknown_command(args[0], list(COMMANDS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click_types.Context, formatter: click_types.HelpFormatter) -> None:  # noqa: ARG002 - typer passes it
        """Write the commands by group; unlike Typer, never cut a summary to the terminal's width."""
        width = max(map(len, COMMANDS))
        for folder, title in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), one.summary) for name, one in COMMANDS.items() if one.folder == folder]
                )
        formatter.write_paragraph()
        formatter.write_text("`tfsctl help COMMAND` shows the options of a command.")


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
    from tfsctl.cli.options.value_checks import require_finite  # not needed to list the commands
    from tfsctl.cli.usage.help_format import GroupedCommand

    module = import_module(f"tfsctl.cli.commands.{COMMANDS[name].folder}.{name}")
    app = getattr(module, "app", None)
    if app is None:
        cls = GroupedCommand
        if name in TAKE_NEGATIVE_NUMBERS:
            from tfsctl.cli.options.input_arguments import NegativeNumberCommand

            cls = NegativeNumberCommand
        app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=CONTEXT_SETTINGS)
        app.command(name, cls=cls)(getattr(module, name))
    command = typer.main.get_command(app)
    for one in getattr(command, "commands", {"": command}).values():
        for parameter in one.params:
            require_finite(parameter)
        one.params.append(_verbose_option())
    return command


def options_of(name: str) -> set[str]:
    """The options of a command and of its subcommands, such as `--json`."""
    command: Any = _build_command(name)
    leaves = getattr(command, "commands", {"": command}).values()
    return {option for leaf in leaves for parameter in leaf.params for option in parameter.opts}


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
