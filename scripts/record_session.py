"""Draw docs/session.svg, the picture of a terminal at the top of the README, from a real run of the README's session.

    python scripts/record_session.py            # runs the session: exports a model, serves it, queries it
    python scripts/record_session.py --output FILE

The session is the block below the heading "60 seconds" of README.md. It runs as the tests run it
(tests/support/console_blocks.py). Lines that the README leaves out (`…`) are left out of the picture too. The picture
has no fonts or scripts from elsewhere, and follows the light or dark colours of the reader.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from console_blocks import Command, commands_of, difference, run  # noqa: E402 - found on the path above
from model_servers import clean_environment  # noqa: E402

COLUMNS = 100
CHARACTER, LINE = 8.0, 18  # pixels
STYLE = """\
svg { --back: #ffffff; --text: #24292f; --dim: #6e7781; --good: #1a7f37; --frame: #d0d7de }
@media (prefers-color-scheme: dark) {
  svg { --back: #161b22; --text: #e6edf3; --dim: #8b949e; --good: #3fb950; --frame: #30363d }
}
rect { fill: var(--back); stroke: var(--frame) }
circle { fill: var(--frame) }
text { fill: var(--text); font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre }
.prompt { fill: var(--good); font-weight: bold } .command { font-weight: bold } .dim { fill: var(--dim) }"""


def main() -> None:
    """Run the session and write the picture. Exit with 1 if the session prints something else than the README shows."""
    parser = argparse.ArgumentParser(description="Draw the README's session from a real run.")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "session.svg")
    output = parser.parse_args().output
    commands = session()
    wrong = [text for text in map(difference, commands) if text]
    if wrong:
        sys.exit("\n\n".join(wrong))
    output.write_text(picture(lines_of(commands)), encoding="utf-8")


def session() -> list[Command]:
    """The commands of the README's session, after they ran in an empty folder with the sample models."""
    commands = commands_of(ROOT / "README.md", with_docker=False)
    programs = str(Path(sys.executable).parent)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "work"
        shutil.copytree(ROOT / "sample_models", folder / "sample_models")
        environment = {
            **clean_environment(Path(scratch) / "home"),
            "PATH": os.pathsep.join([programs, os.environ["PATH"]]),
            "TFSCTL_ENGINE": "embedded",
        }
        try:
            run(commands, folder, environment)
        finally:
            subprocess.run([f"{programs}/tfsctl", "stop", "--all"], env=environment, capture_output=True, check=False)
    return commands


def lines_of(commands: list[Command]) -> list[str]:
    """The lines of the picture: each command with the lines of its output that the README shows."""
    lines: list[str] = []
    for command in commands:
        lines.append(f"$ {command.line}")
        count = len(command.shown)
        output = command.output.strip("\n").splitlines()
        if command.shown[-1:] == ["…"]:
            output = [*output[: count - 1], "…"]
        lines += [line[:COLUMNS] if len(line) <= COLUMNS else f"{line[: COLUMNS - 1]}…" for line in output]
        lines.append("")
    return lines[:-1]


def picture(lines: list[str]) -> str:
    """An SVG with these lines in the frame of a terminal."""
    width, height = round(COLUMNS * CHARACTER) + 40, LINE * len(lines) + 62
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' role="img" aria-label="A terminal session: export, serve and query a model with tfsctl">',
        f"<style>{STYLE}</style>",
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        *(f'<circle cx="{20 + 18 * number}" cy="20" r="6"/>' for number in range(3)),
    ]
    for number, line in enumerate(lines):
        if line:
            parts.append(_text(line, 58 + LINE * number))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(line: str, y: int) -> str:
    """One line. Its length is fixed, so that columns stay aligned in any font."""
    length = f'textLength="{CHARACTER * len(line.rstrip()):g}" lengthAdjust="spacingAndGlyphs"'
    place = f'<text x="20" y="{y}" {length} xml:space="preserve"'
    if line.startswith("$ "):
        command, hash_sign, remark = line[2:].partition(" # ")
        rest = f'<tspan class="dim">{escape(hash_sign + remark)}</tspan>' if hash_sign else ""
        return f'{place}><tspan class="prompt">$ </tspan><tspan class="command">{escape(command)}</tspan>{rest}</text>'
    kind = ' class="dim"' if line.startswith(("next:", "…")) else ""
    return f"{place}{kind}>{escape(line.rstrip())}</text>"


if __name__ == "__main__":
    main()
