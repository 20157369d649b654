"""A model with signatures that TensorFlow crashes on, each for some requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from graph_models import GraphModel

CRASHES: dict[str, dict[str, Any]] = {
    "fourier": {"signal": np.ones(8, np.float32), "length": np.zeros(1, np.int32)},
    "array": {"count": np.array(2**31 - 1, np.int32)},
    "pool": {"volume": np.ones((1, 2, 2, 2, 1), np.float32)},
    "convolution": {"image": np.ones((1,), np.float32)},
}
"""For each such signature a request on which TensorFlow ends the process: SIGABRT, std::bad_alloc, SIGFPE, Check failed."""

ANSWERED: dict[str, dict[str, Any]] = {
    "fourier": {"signal": np.ones(8, np.float32), "length": np.full(1, 8, np.int32)},
    "array": {"count": np.array(3, np.int32)},
    "pool": {"volume": np.ones((1, 3, 3, 3, 1), np.float32)},
    "convolution": {"image": np.ones((1, 2, 2, 1), np.float32)},
}
"""For each of them a request that is answered."""


def write_crashing_model(version_dir: Path, *, slow: int = 0) -> None:
    """Write a version with these signatures; serving_default answers `x` with `y` = x.

    `slow` multiplies matrices of that size before the operation of `fourier`, so that the model is not quick.
    """
    graph = GraphModel()
    graph.input("signal")
    graph.input("length", "int32")
    signal = graph.slow("slow_signal", "signal", slow) if slow else "signal"
    graph.op("RFFT", "spectrum", signal, "length", Treal="float32", Tcomplex="complex64")
    graph.op("ComplexAbs", "magnitudes", "spectrum", T="complex64", Tout="float32")
    graph.signature({"signal": "signal", "length": "length int32"}, {"y": "magnitudes"}, name="fourier")
    graph.input("count", "int32", shape=())
    graph.op("TensorArrayV3", "array", "count", dtype="float32")
    graph.op("TensorArraySizeV3", "array_size", "array", "array:1")
    graph.signature({"count": "count int32"}, {"y": "array_size int32"}, name="array")
    graph.input("volume", shape=None)
    graph.op(
        "MaxPool3D", "pooled", "volume", T="float32", ksize=[1, 3, 3, 3, 1], strides=[1, 1, 1, 1, 1], padding="=VALID"
    )
    graph.signature({"volume": "volume"}, {"y": "pooled"}, name="pool")
    graph.input("image", shape=None)
    graph.constant("kernel", np.ones((1, 1, 1, 1), np.float32))
    graph.op("Conv2D", "filtered", "image", "kernel", T="float32", padding="=SAME", strides=[1, 1, 1, 1])
    graph.signature({"image": "image"}, {"y": "filtered"}, name="convolution")
    graph.input("x")
    graph.op("Identity", "y", "x", T="float32")
    graph.signature({"x": "x"}, {"y": "y"})
    graph.write(version_dir)
