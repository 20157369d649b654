"""Builds the TensorFlow object of a servable that is not a model, and reports the time of its lookups."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfsctl.exporter.exported import Verification
from tfsctl.exporter.samples import Samples
from tfsctl.exporter.sources.export_options import ExportOptions
from tfsctl.exporter.sources.servables.embeddings import LOOKUP, NEAREST, embeddings_module
from tfsctl.exporter.sources.servables.text_lines import read_lines
from tfsctl.exporter.sources.servables.vector_files import read_vectors
from tfsctl.exporter.sources.servables.vocabulary import IDS, vocabulary_module


@contextmanager
def build_servable(
    path: Path, options: ExportOptions, kind: str
) -> Iterator[tuple[object, Samples | None, tuple[str, ...]]]:
    """The tf.Module of a file of vectors or a vocabulary, samples for its signatures, and notes.

    The module can be saved during the block. Raises InvalidInput or NotFound for files that do not fit.
    """
    with tempfile.TemporaryDirectory(prefix="tfsctl-") as folder:
        if kind == "vocabulary":
            tokens = read_lines(path)
            module, samples = vocabulary_module(tokens, options.oov or "", Path(folder))
            yield module, samples, (f"{len(tokens):,} tokens",)
            return
        table = read_vectors(path, None if options.keys is None else Path(options.keys))
        module, samples = embeddings_module(table, options.metric or "cosine", options.k or 10, Path(folder))
        count, size = table.vectors.shape
        size_note = f"{count:,} vectors of {size} float32 values: {table.vectors.nbytes / 1e6:,.3g} MB"
        yield module, samples, (*table.notes, size_note)


def notes_on_lookup_times(verified: Verification) -> tuple[str, ...]:
    """Notes on the time that lookups take, from the runs of the verification."""
    times: dict[str, Any] = {check.signature: check for check in verified.checks if check.run_s is not None}
    return tuple(
        f"{name} takes {times[name].run_s * 1000:.2g} ms for {times[name].rows} rows"
        for name in (LOOKUP, NEAREST, IDS)
        if name in times
    )
