"""What the shell completes: running servers, models, signatures. Silent, and soon over, where that cannot be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import typer

PATIENCE_S = 1.0


def servers(incomplete: str) -> list[str]:
    """The servers that tfsctl started."""
    from tfsctl.engines.registry import records

    return _fitting(incomplete, lambda: (server.name for server, _ in records.listed()))


def models(incomplete: str) -> list[str]:
    """The models that they serve."""
    from tfsctl.engines.registry import records

    return _fitting(incomplete, lambda: (model for server in records.running() for model in server.models))


def signatures(ctx: typer.Context, incomplete: str) -> list[str]:
    """The signatures of the model that the other options name."""
    return _fitting(incomplete, lambda: _signatures(ctx))


def _signatures(ctx: typer.Context) -> Iterable[str]:
    from tfsctl.cli.inference.model_description import of_server
    from tfsctl.cli.options.connection import read_options

    return of_server(read_options(ctx.params | {"timeout": PATIENCE_S})).signatures


def _fitting(start: str, names: Callable[[], Iterable[str]]) -> list[str]:
    try:
        return [name for name in names() if name.startswith(start)]
    except Exception:  # noqa: BLE001 - whatever it is, the shell in the middle of a line is no place for it
        return []
