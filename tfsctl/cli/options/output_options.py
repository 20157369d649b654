"""Options about how an answer is printed: --json, --labels and --top."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", envvar="TFSCTL_JSON", help="Print the answer as one JSON document.")
]
ClassLabelsOption = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="Class names: a text file with one per line, or JSON."),
]
TopOption = Annotated[
    int | None, typer.Option("--top", min=1, metavar="N", help="Print the N highest classes of each row.")
]
