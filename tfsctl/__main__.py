"""The entry point: `python -m tfsctl` and the `tfsctl` console script call `main`."""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers assume True
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Ctrl-C during the imports is handled as quietly as later."""
    try:
        from tfsctl.cli import main as run_command_line
    except KeyboardInterrupt:
        return 130
    return run_command_line(argv)


if __name__ == "__main__":
    raise SystemExit(main())
