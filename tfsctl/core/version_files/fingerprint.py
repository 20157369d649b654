"""Reads `fingerprint.pb`, by which TensorFlow tells models apart."""

from __future__ import annotations

from pathlib import Path

from tfsctl.core import protos
from tfsctl.errors import ModelUnreadable

FINGERPRINT_FILE = "fingerprint.pb"


def read_fingerprint(directory: Path) -> str | None:
    """TensorFlow's fingerprint: the hashes of graph, signatures, objects and weights; None without `fingerprint.pb`.

    Two versions with the same fingerprint hold the same model. Raises ModelUnreadable for an unreadable file.
    Format: tensorflow/core/protobuf/fingerprint.proto.
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
