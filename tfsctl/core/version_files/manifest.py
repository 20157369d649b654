"""Reads the manifest that `tfsctl export` writes into a version; `tfsctl/exporter/manifest.py` documents its format.

A manifest may be missing, damaged or edited by hand: readers skip what they cannot use.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from tfsctl.core.types import Json, Signature

MANIFEST_FILE = Path("assets.extra", "tfsctl_manifest.json")


def read_manifest(directory: Path) -> dict[str, Json]:
    """The manifest of a version as JSON; empty if it is missing or cannot be read."""
    try:
        document = json.loads((directory / MANIFEST_FILE).read_bytes())
    except (OSError, RecursionError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def read_source_sha256(directory: Path) -> str | None:
    """The SHA-256 of the file a version was exported from; None without a readable manifest."""
    source = read_manifest(directory).get("source")
    digest = source.get("sha256") if isinstance(source, dict) else None
    return digest if isinstance(digest, str) else None


def read_row_independence(directory: Path) -> dict[str, bool]:
    """By signature name: whether the export found that the rows of a batch do not affect each other.

    Signatures for which the export could not tell are skipped. Empty without a readable manifest.
    """
    try:
        return {
            name: facts["row_independent"]
            for name, facts in read_manifest(directory)["signatures"].items()
            if isinstance(facts["row_independent"], bool)
        }
    except (KeyError, TypeError, AttributeError):
        return {}


def read_sample_rows(directory: Path) -> dict[str, list[Mapping[str, Json]]]:
    """Up to three rows of the samples of a version's source, by signature: the JSON value of each input.

    Signatures without samples are skipped. Empty without a readable manifest.
    """
    try:
        signatures = read_manifest(directory)["signatures"]
        return {name: list(facts["samples"]) for name, facts in signatures.items() if facts.get("samples")}
    except (KeyError, TypeError, AttributeError):
        return {}


def with_samples(
    signatures: Mapping[str, Signature], find_directory: Callable[[], Path | None]
) -> Mapping[str, Signature]:
    """The signatures with a sample row from the manifest of the version in a directory, if it has samples.

    A signature without samples gets those of a signature with the same inputs. The directory is found and read when a
    sample is first used, because most commands use none.
    """

    @cache
    def samples() -> Mapping[str, Mapping[str, Json] | None]:
        directory = find_directory()
        rows = {} if directory is None else {name: rows[0] for name, rows in read_sample_rows(directory).items()}
        try:
            return {name: _sample_for(signature, signatures, rows) for name, signature in signatures.items()}
        except (TypeError, AttributeError):  # a sample that is not an object
            return {}

    def with_sample(name: str, signature: Signature) -> Signature:
        return replace(signature, find_sample=lambda: samples().get(name))

    return {name: with_sample(name, signature) for name, signature in signatures.items()}


def _sample_for(
    signature: Signature, signatures: Mapping[str, Signature], rows: Mapping[str, Mapping[str, Json]]
) -> Mapping[str, Json] | None:
    """The first sample row of this signature, or of one with the same inputs, if it has exactly these inputs."""
    same_inputs = (name for name in rows if name in signatures and _inputs(signatures[name]) == _inputs(signature))
    row = rows.get(signature.name) or next((rows[name] for name in same_inputs), None)
    return row if row is not None and row.keys() == {spec.name for spec in signature.inputs} else None


def _inputs(signature: Signature) -> list[tuple[str, str, object]]:
    return [(spec.name, spec.dtype, spec.shape) for spec in signature.inputs]
