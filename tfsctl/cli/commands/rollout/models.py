"""`tfsctl models`: list the model directories below a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfsctl.cli.options.output_options import JsonOption

COLUMNS = ("path", "versions", "latest", "size", "served by")


def models(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="The folder (default: the current one).")] = Path(),
    *,
    as_json: JsonOption = False,
) -> None:
    """List the model directories below a folder.

    A model directory holds versions: directories with a number for a name and a saved_model.pb inside. Hidden folders
    and symbolic links are not searched.

    \b
    Examples:
      tfsctl models
      tfsctl models /srv/models --json
    """
    from tfsctl.cli.output import terminal
    from tfsctl.cli.output.units import size_text
    from tfsctl.rollout.inventory import find_models

    found = list(find_models(folder))
    if as_json:
        documents = [
            {
                "model": model.name,
                "path": str(model.base),
                "versions": [version.version for version in model.versions],
                "size_bytes": sum(version.size_bytes or 0 for version in model.versions),
                "servers": [server.server for server in model.servers],
            }
            for model in found
        ]
        terminal.answer_json({"folder": str(folder), "models": documents})
        return
    if not found:
        terminal.say_note(f"no model directory below {folder}")
        return
    rows = [
        (
            str(model.base),
            str(len(model.versions)),
            str(model.versions[-1].version),
            size_text(sum(version.size_bytes or 0 for version in model.versions)),
            ", ".join(server.server for server in model.servers),
        )
        for model in found
    ]
    terminal.answer_table(COLUMNS, rows)
