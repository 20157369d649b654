"""What lies beside `saved_model.pb` in a version, and what it says: its fingerprint, its warmup requests."""

from __future__ import annotations

from pathlib import Path

from tfsctl.core import protos
from tfsctl.errors import InvalidInput, ModelUnreadable

FINGERPRINT_FILE = "fingerprint.pb"
WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")


def read_fingerprint(directory: Path) -> str | None:
    """What TensorFlow calls the singleprint: the hashes of graph, signatures, objects and weights; None without one.

    Two versions with the same one are the same model. Raises ModelUnreadable for a file that is none.
    """
    from google.protobuf.message import DecodeError

    file = directory / FINGERPRINT_FILE
    try:
        found = protos.FingerprintDef.FromString(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, DecodeError) as error:
        raise ModelUnreadable(f"cannot read {file}: {error}") from error
    hashes = (
        found.graph_def_program_hash,
        found.signature_def_hash,
        found.saved_object_graph_hash,
        found.checkpoint_hash,
    )
    return "/".join(map(str, hashes))


def count_warmup_requests(directory: Path) -> int:
    """How many requests the version is warmed up with. Raises ModelUnreadable for a file a server would stumble over."""
    from tfsctl.core.tfrecord import read_records

    file = directory / WARMUP_FILE
    try:
        return sum(1 for _ in read_records(file))
    except FileNotFoundError:
        return 0
    except (OSError, InvalidInput) as error:
        raise ModelUnreadable(f"the version would not be loaded: {file}: {error}") from error
