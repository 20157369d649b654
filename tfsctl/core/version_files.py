"""Facts about one version directory that are not in `saved_model.pb`.

- the fingerprint in TensorFlow's `fingerprint.pb`
- the warmup requests that TensorFlow Serving replays after loading
- the manifest that `tfsctl export` writes; `tfsctl/exporter/manifest.py` documents its format
- the blessings of a version: the comparisons that it passed or failed
- a hash of each file, and one of all files
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from tfsctl.core import protos
from tfsctl.core.types import Json, Signature
from tfsctl.errors import InvalidInput, ModelUnreadable

FINGERPRINT_FILE = "fingerprint.pb"
WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
MANIFEST_FILE = Path("assets.extra", "tfsctl_manifest.json")
BLESSINGS_FILE = Path("assets.extra", "tfsctl_blessings.json")

_CHUNK_BYTES = 1 << 20


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


def read_source_sha256(directory: Path) -> str | None:
    """The SHA-256 of the file a version was exported from; None without a readable manifest."""
    try:
        digest = json.loads((directory / MANIFEST_FILE).read_bytes())["source"]["sha256"]
    except (OSError, RecursionError, ValueError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) else None


def read_row_independence(directory: Path) -> dict[str, bool]:
    """By signature name: whether the export found that the rows of a batch do not affect each other.

    Signatures for which the export could not tell are skipped. Empty without a readable manifest.
    """
    try:
        signatures = json.loads((directory / MANIFEST_FILE).read_bytes())["signatures"]
        return {
            name: facts["row_independent"]
            for name, facts in signatures.items()
            if isinstance(facts["row_independent"], bool)
        }
    except (OSError, RecursionError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def read_sample_rows(directory: Path) -> dict[str, list[Mapping[str, Json]]]:
    """Up to three rows of the samples of a version's source, by signature, from its manifest: the JSON of each input.

    Signatures without samples are skipped. Empty without a readable manifest.
    """
    try:
        signatures = json.loads((directory / MANIFEST_FILE).read_bytes())["signatures"]
        return {name: list(facts["samples"]) for name, facts in signatures.items() if facts.get("samples")}
    except (OSError, RecursionError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def with_samples(signatures: Mapping[str, Signature], directory: Path | None) -> Mapping[str, Signature]:
    """The signatures with a sample row from the manifest of a version; unchanged without a readable manifest.

    A signature without samples gets those of a signature with the same inputs.
    """
    if directory is None:
        return signatures
    try:
        facts = json.loads((directory / MANIFEST_FILE).read_bytes())["signatures"]
        rows = {name: one["samples"][0] for name, one in facts.items() if one.get("samples")}
        return {name: replace(one, sample=_sample(one, signatures, rows)) for name, one in signatures.items()}
    except (OSError, RecursionError, ValueError, KeyError, TypeError, AttributeError):
        return signatures


def _sample(
    signature: Signature, signatures: Mapping[str, Signature], rows: Mapping[str, Mapping[str, Json]]
) -> Mapping[str, Json] | None:
    def inputs(one: Signature) -> list[tuple[str, str, object]]:
        return [(spec.name, spec.dtype, spec.shape) for spec in one.inputs]

    same = [name for name in rows if name in signatures and inputs(signatures[name]) == inputs(signature)]
    row = rows.get(signature.name) or next((rows[name] for name in same), None)
    return row if row is not None and row.keys() == {spec.name for spec in signature.inputs} else None


@dataclass(frozen=True, slots=True)
class Blessing:
    """The result of one comparison of a version.

    - `time`: ISO 8601, UTC (in the file: Unix time); `compared_with`: the other version; `data`: what the rows were; `rows`: how many
    - `gates`: the thresholds; `passed`: whether all of them held
    """

    time: str
    compared_with: Json
    data: Json
    rows: int
    gates: tuple[Json, ...]
    passed: bool


def read_blessings(directory: Path) -> list[Blessing]:
    """The blessings of a version, oldest first: those in BLESSINGS_FILE, and those under `blessings` in the manifest.

    Entries that are not blessings are skipped.
    """
    found: list[Blessing] = []
    for file, key in ((MANIFEST_FILE, "blessings"), (BLESSINGS_FILE, None)):
        try:
            document = json.loads((directory / file).read_bytes())
            entries = document if key is None else document.get(key, [])
        except (OSError, RecursionError, ValueError, AttributeError):
            continue
        if not isinstance(entries, list):
            continue
        found += [blessing for entry in entries if (blessing := _blessing(entry)) is not None]
    return sorted(found, key=lambda blessing: blessing.time)


def _blessing(entry: Json) -> Blessing | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("passed"), bool):
        return None
    rows, gates = entry.get("rows"), entry.get("gates")
    return Blessing(
        time=_time_text(entry.get("time", "")),
        compared_with=entry.get("compared_with"),
        data=entry.get("data"),
        rows=rows if isinstance(rows, int) else 0,
        gates=tuple(gates) if isinstance(gates, list) else (),
        passed=entry["passed"],
    )


def _time_text(value: Json) -> str:
    if not isinstance(value, (int, float)):
        return str(value)
    return datetime.fromtimestamp(value, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class FileDifferences:
    """The files of a version that differ from its manifest, by path relative to the version."""

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.added)


def hash_files(directory: Path) -> dict[str, str]:
    """The SHA-256 of every file of a version except its manifest and blessings, which may be written later.

    By relative POSIX path, sorted. Raises OSError.
    """
    import hashlib

    hashes = {}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        name = path.relative_to(directory)
        if name not in (MANIFEST_FILE, BLESSINGS_FILE):
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
            hashes[name.as_posix()] = digest.hexdigest()
    return hashes


def compare_files(directory: Path) -> FileDifferences | None:
    """Compare the files of a version with the hashes in its manifest.

    Returns None if there is no readable manifest with hashes; tfsctl wrote none before format 2. Raises OSError if a
    file cannot be read.
    """
    try:
        recorded = json.loads((directory / MANIFEST_FILE).read_bytes())["files"]
    except (OSError, RecursionError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(recorded, dict):
        return None
    found = hash_files(directory)
    return FileDifferences(
        changed=tuple(sorted(name for name in found.keys() & recorded.keys() if found[name] != recorded[name])),
        missing=tuple(sorted(recorded.keys() - found.keys())),
        added=tuple(sorted(found.keys() - recorded.keys())),
    )


def content_hash(directory: Path) -> str:
    """`sha256:` and the digest of the paths and contents of all files below a directory. Raises OSError."""
    import hashlib

    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        name = path.relative_to(directory).as_posix().encode("utf-8", "surrogateescape")
        digest.update(b"%d:%s%d:" % (len(name), name, path.stat().st_size))
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"
