"""The warmup requests of a version, which TensorFlow Serving runs after loading it."""

from __future__ import annotations

from pathlib import Path

from tfsctl.errors import InvalidInput, ModelUnreadable

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")


def count_warmup_requests(directory: Path) -> int:
    """The number of warmup requests of a version. Raises ModelUnreadable for a file that a server fails on."""
    from tfsctl.core.tfrecord import read_records

    file = directory / WARMUP_FILE
    try:
        return sum(1 for _ in read_records(file))
    except FileNotFoundError:
        return 0
    except (OSError, InvalidInput) as error:
        raise ModelUnreadable(f"the version would not be loaded: {file}: {error}") from error
