"""A prediction from the command line stays easy to follow: it enters few files, and none of an option not given."""

from __future__ import annotations

import walk
from model_servers import Served

MAX_FILES = 31  # a number is parsed by one file more than a text


def test_a_prediction_enters_few_files(served: Served) -> None:
    """See benchmarks/walk.py."""
    target = ["--rest", "--host", served.host, "--port", str(served.rest_port), "--model", "half_plus_two"]
    files = set(walk.child("command", "predict", "2", *target))

    assert len(files) <= MAX_FILES, sorted(files)
    assert not files & {
        "cli/options/connection_options.py",
        "cli/options/file_options.py",
        "cli/output/classes.py",
        "cli/snippets/show_options.py",
        "inputs/tf_examples.py",
    }
