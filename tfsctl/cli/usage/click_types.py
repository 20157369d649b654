"""Classes of the Click that Typer carries, for type checkers only: Typer does not make them public."""

from __future__ import annotations

from typer._click.core import Command, Context, Parameter
from typer._click.formatting import HelpFormatter

__all__ = ["Command", "Context", "HelpFormatter", "Parameter"]
