"""Options of the commands about a front (`serve --front`): `canary`, `rollout`, `shadow` and `ab`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from tfsctl.cli.options.completion import complete_models
from tfsctl.errors import InvalidInput

DEFAULT_ALPHA = 0.01
DEFAULT_SAMPLE = "10%"

OptionalModelArgument = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", autocompletion=complete_models, help="The model; needed if there are several."),
]
FrontOption = Annotated[
    str | None,
    typer.Option("--server", metavar="NAME", help="The name of the front; needed if several serve the model."),
]
AlphaOption = Annotated[
    float,
    typer.Option(
        "--alpha",
        min=1e-9,
        max=0.5,
        metavar="P",
        help="The probability that a good version is rolled back by mistake.",
    ),
]
OnChangeOption = Annotated[
    str | None, typer.Option("--on-change", metavar="URL", help="Post each decision to this URL as JSON.")
]


def only_model(name: str | None, models: Sequence[str], command: str) -> str:
    """The named model, or the only one of a front. Raises InvalidInput if there are several."""
    if name is None and len(models) > 1:
        raise InvalidInput(
            f"the front serves several models: {', '.join(models)}", hint=f"tfsctl {command} {models[0]} …"
        )
    return name or models[0]
