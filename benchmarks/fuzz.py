"""Sends tens of thousands of hostile requests, and reports crashes, hangs, silent failures and growth of the server.

    python benchmarks/fuzz.py [--requests 50000] [--seed 1] [--threads 16]

Starts the server with the models of tests/conformance and sends it recorded requests, mutated, and noise, over REST, gRPC
and bare sockets. Prints how they were answered, the memory of its own before and after, and every problem; the exit status
is 1 if there was one. The same seed sends the same requests.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"
WARM_UP = 2_000  # requests after which caches and pools have their size
GROWTH_MB = 50.0


def main() -> int:
    """Fuzz, and print what came of it."""
    sys.path[:0] = [str(TESTS / "support"), str(TESTS / "conformance")]
    from fuzzing import fuzz, is_well
    from model_servers import own_mb, running_flags
    from recorded_servers import FLAGS, write_configuration

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_configuration(Path(folder))
        flags = [flag.replace("{CONF}", folder) for flag in FLAGS["A"]]
        with running_flags(flags, Path(folder)) as server:
            fuzz(server, WARM_UP, seed=options.seed + 1, threads=options.threads)
            before_mb, start_s = own_mb(server.pid), time.monotonic()
            findings = fuzz(server, options.requests, seed=options.seed, threads=options.threads)
            took_s, after_mb = time.monotonic() - start_s, own_mb(server.pid)
            well = is_well(server)
    for how, count in sorted(findings.answers.items()):
        print(f"{count:8} {how}")
    print(f"{options.requests} requests in {took_s:.0f} s; memory of its own {before_mb:.0f} -> {after_mb:.0f} MB")
    for problem in findings.problems:
        print(f"PROBLEM {problem}")
    if not well:
        print("PROBLEM afterwards a plain predict is not answered as it should be")
    if after_mb > before_mb + GROWTH_MB:
        print(f"PROBLEM memory grew by more than {GROWTH_MB:.0f} MB")
    return 1 if findings.problems or not well or after_mb > before_mb + GROWTH_MB else 0


if __name__ == "__main__":
    raise SystemExit(main())
