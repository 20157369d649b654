"""Options of `export` for servables that are not models: vectors and vocabularies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_PANEL = "Vectors and vocabularies"

SourceKindOption = Annotated[
    str | None,
    typer.Option("--as", metavar="embeddings|vocabulary", help="What SOURCE is, if its suffix does not tell."),
]
KeysOption = Annotated[
    Path | None,
    typer.Option("--keys", metavar="KEYS.txt", help="For vectors: a file with the key of each, one per line."),
]
MetricOption = Annotated[
    str | None,
    typer.Option("--metric", metavar="cosine|dot|l2", help="For vectors: how near two are (default: cosine)."),
]
NeighboursOption = Annotated[
    int | None,
    typer.Option("--k", metavar="N", min=1, help="For vectors: how many nearest keys are returned (default: 10)."),
]
OutOfVocabularyOption = Annotated[
    str | None,
    typer.Option(
        "--oov",
        metavar="TOKEN|ID|hash:N|error",
        help="For a vocabulary: the id of unknown tokens; hash:N gives one of N more ids, error refuses the request.",
    ),
]
