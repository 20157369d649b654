"""`tfsctl compare` on many rows: seconds, and the peak memory of the command itself.

    python benchmarks/compare.py [--rows 1000000]

Compares two versions of a model on a CSV file with a target and a slice. Prints rows per second, and the peak memory of
the command, which should not exceed 300 MB for a million rows.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
from scale_models import write_scale_model


def main() -> None:
    """Write two models and a file of rows, and compare them with a target and a slice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for version, factor in ((1, 2.0), (2, 2.001)):
            write_scale_model(folder / "double" / str(version), factor)
        with (folder / "rows.csv").open("w", encoding="utf-8") as file:
            file.write("x,label,country\n")
            file.writelines(f"{row / 1000},{row / 500},{('CH', 'DE')[row % 2]}\n" for row in range(rows))
        seconds, peak_mb = _compare(folder)
    print(f"{rows:,} rows: {seconds:.1f} s ({rows / seconds:,.0f} rows/s), peak {peak_mb:.0f} MB")


def _compare(folder: Path) -> tuple[float, float]:
    """Run the command in a process of its own; its peak is not that of the servers it starts."""
    versions = folder / "double"
    argv = [sys.executable, "-m", "tfsctl", "compare", str(versions / "1"), str(versions / "2")]
    argv += ["--file", str(folder / "rows.csv"), "--target", "label", "--task", "regression", "--slice", "country"]
    environment = {**os.environ, "TFSCTL_STATE_DIR": str(folder / "state")}
    output = os.open(os.devnull, os.O_WRONLY)
    start = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, environment, file_actions=[(os.POSIX_SPAWN_DUP2, output, 1)])
    peak_kb = 0
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        peak_kb = max(peak_kb, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
        time.sleep(0.05)
    return time.perf_counter() - start, peak_kb / 1000


if __name__ == "__main__":
    main()
