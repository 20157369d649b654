"""Batches that are split and concatenated keep the facts about their source."""

from __future__ import annotations

import numpy as np

from tfsctl.core.batches import RowBatch, batch_reader


def test_split_batches_keep_the_fraction_read() -> None:
    """Blocks and requests rarely end at the same row."""
    blocks = [
        RowBatch(np.arange(start, start + 100), {"x": np.zeros(100)}, start + 99, fraction_read=(start + 99) / 1000)
        for start in range(1, 1000, 100)
    ]
    take = batch_reader(blocks)

    parts = []
    while (batch := take(130)) is not None:
        parts.append(batch.fraction_read or 0)

    assert parts == [0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.9, 1.0]
