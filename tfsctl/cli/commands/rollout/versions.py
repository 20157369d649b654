"""`tfsctl versions`: list the versions of models, and remove old ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.completion import complete_models
from tfsctl.cli.options.managed_model_options import MessageOption
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.usage.default_command import DefaultCommandGroup
from tfsctl.cli.usage.help_format import GroupedCommand
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.rollout.removal import Removal


def ls(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[PATH|NAME]",
            autocompletion=complete_models,
            help="A model's directory, or the name of a served model (default: all served models).",
        ),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List the versions on disk and their states on servers.

    For each version: its age, size, signatures, fingerprint, whether it has a manifest, the result of its last
    comparison (blessing), and the state and labels on each server that tfsctl started. Equal fingerprints mean the same
    model. Servers with --metrics also report how many requests they have answered.

    \b
    Examples:
      tfsctl versions
      tfsctl versions ./amazon_review
      tfsctl versions amazon_review --json
    """
    from tfsctl.cli.output import terminal, versions_table
    from tfsctl.rollout.inventory import inventory_of

    found = inventory_of(target)
    if as_json:
        terminal.answer_json({"models": [versions_table.document(model) for model in found]})
        return
    versions_table.print_models(found)


def rm(
    target: Annotated[str, typer.Argument(metavar="PATH|NAME", help="The model's directory, or its name on a server.")],
    versions: Annotated[list[str], typer.Argument(metavar="VERSION...", help="The versions to remove.")],
    *,
    message: MessageOption = "",
    as_json: JsonOption = False,
) -> None:
    """Remove versions of a model from disk.

    A version that a server serves, or that a label of a server names, is never removed. If one of the versions cannot
    be removed, none is.

    \b
    Examples:
      tfsctl versions rm ./amazon_review 1790000000
      tfsctl versions rm amazon_review 1790000000 1790000600 --message "trained on wrong labels"
    """
    from tfsctl.core.model_dir import parse_version
    from tfsctl.rollout.inventory import directory_of
    from tfsctl.rollout.removal import remove

    numbers: list[int] = []
    for text in versions:
        number = parse_version(text)
        if number is None:
            raise InvalidInput(f"{text!r} is not a version number", hint=f"tfsctl versions {target} lists the versions")
        numbers.append(number)
    base = directory_of(target)
    _print_removal(base, remove(base, list(dict.fromkeys(numbers)), message=message), as_json=as_json)


def prune(
    target: Annotated[str, typer.Argument(metavar="PATH|NAME", help="The model's directory, or its name on a server.")],
    *,
    keep: Annotated[int, typer.Option("--keep", min=1, metavar="N", help="How many of the highest versions to keep.")],
    message: MessageOption = "",
    as_json: JsonOption = False,
) -> None:
    """Remove all but the N highest versions from disk.

    Versions that a server serves, or that a label of a server names, stay as well.

    \b
    Examples:
      tfsctl versions prune ./amazon_review --keep 3
      tfsctl versions prune amazon_review --keep 5 --json
    """
    from tfsctl.rollout import removal
    from tfsctl.rollout.inventory import directory_of

    base = directory_of(target)
    _print_removal(base, removal.prune(base, keep, message=message), as_json=as_json)


def _print_removal(base: Path, removal: Removal, *, as_json: bool) -> None:
    from tfsctl.cli.output import terminal
    from tfsctl.core.model_dir import list_versions

    left = [found.version for found in list_versions(base)]
    if as_json:
        document = {"path": str(base), "removed": list(removal.removed), "left": left, "notes": list(removal.notes)}
        terminal.answer_json(document)
        return
    terminal.answer(f"removed: {', '.join(map(str, removal.removed)) or 'none'}")
    terminal.answer(f"left: {', '.join(map(str, left)) or 'none'}")
    for note in removal.notes:
        terminal.say_note(note)


app = typer.Typer(
    cls=DefaultCommandGroup,
    help="""List the versions of models, or remove old ones.

    Without a command, `ls` is run.

    \b
    Examples:
      tfsctl versions ./amazon_review
      tfsctl versions prune ./amazon_review --keep 3
    """,
    add_completion=False,
    rich_markup_mode=None,
)
app.command("ls", cls=GroupedCommand)(ls)
app.command("rm", cls=GroupedCommand)(rm)
app.command("prune", cls=GroupedCommand)(prune)
