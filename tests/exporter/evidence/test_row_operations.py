"""Row independence on synthetic rows: which graphs show it, and which do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exporting import Export

from tfsctl.core.version_files.manifest import MANIFEST_FILE

# Each case is a function of x [batch, 4], with a weight w [4, 4].
INDEPENDENT = {
    "matmul": "tf.nn.relu(x @ w + 1.)",
    "softmax": "tf.nn.softmax(x)",
    "layer_norm": "x - tf.reduce_mean(x, axis=-1, keepdims=True)",
    "attention": "tf.reshape(tf.matmul(x[:, :, None], x[:, None, :]), [-1, 16])",
    "dynamic_reshape": "tf.reshape(x, [tf.shape(x)[0], 2, 2])",
    "reshape_and_back": "tf.reshape(tf.reshape(x, [-1, 2]) * 2., [-1, 4])",
    "convolution": "tf.nn.conv1d(x[:, :, None], tf.ones([2, 1, 3]), 1, 'SAME')",
    "einsum": "tf.einsum('bi,ij->bj', x, w)",
    "embedding": "tf.nn.embedding_lookup(w, tf.cast(x[:, 0] > 0, tf.int32))",
    "concat": "tf.concat([x, x * 2.], axis=-1)",
    "transposed_features": "tf.transpose(tf.reshape(x, [-1, 2, 2]), [0, 2, 1])",
}
# Each of these treats the synthetic rows alone, or might: only the graph shows that other rows could affect each other.
UNKNOWN = {
    "rare_maximum": "x / tf.maximum(1e6, tf.reduce_max(tf.abs(x)))",
    "rare_batch_sum": "x + tf.nn.relu(tf.reduce_sum(x, axis=0, keepdims=True) - 1e6)",
    "rare_product": "x + tf.reduce_sum(tf.nn.relu(x @ tf.transpose(x) - 1e6), axis=1, keepdims=True)",
    "rare_first_row": "x + tf.nn.relu(x[:1] - 1e6)",
    "rare_flat": "x + tf.nn.relu(tf.reduce_max(tf.reshape(x, [1, -1]), axis=1, keepdims=True) - 1e6)",
    "rare_einsum": "x + tf.nn.relu(tf.einsum('bi,ci->b', x, x) - 1e6)[:, None]",
    "rare_gather": "x + tf.nn.relu(tf.gather(x, tf.zeros([1], tf.int32)) - 1e6)",
    "rare_cumulative": "x + tf.nn.relu(tf.cumsum(x) - 1e6)",
    "rare_condition": "tf.cond(tf.reduce_max(x) > 1e6, lambda: x * 0., lambda: x)",
    "rare_reverse": "x + tf.nn.relu(x[::-1] - 1e6)",
    "sort": "tf.sort(x, axis=-1)",
}
DEPENDENT = {
    "batch_norm": "x - tf.reduce_mean(x, axis=0)",
    "softmax_over_batch": "tf.nn.softmax(x, axis=0)",
    "batch_size": "x / tf.cast(tf.shape(x)[0], tf.float32)",
    "shifted": "tf.roll(x, 1, axis=0)",
}

MODULE = """
    import tensorflow as tf
    w = tf.reshape(tf.range(16.), [4, 4])
    class Model(tf.Module):
        @property
        def signatures(self):
            return {"serving_default": self.default, **{name: tf.function(
                lambda x, code=code: {"y": eval(code, {"tf": tf, "w": w, "x": x})},
                input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")],
            ) for name, code in CASES.items()}}
        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def default(self, x):
            return {"y": x}
    model = Model()
"""


def signatures(export: Export, cases: dict[str, str]) -> dict[str, Any]:
    """Export one model with a signature for each case; its signatures in the manifest."""
    result = export(f"    CASES = {cases!r}\n{MODULE}", "--json")
    found: dict[str, Any] = json.loads((result.path / MANIFEST_FILE).read_text())["signatures"]
    return {name: found[name] for name in cases}


@pytest.mark.parametrize(("cases", "verdict"), [(INDEPENDENT, True), (UNKNOWN, None), (DEPENDENT, False)])
def test_row_independence_needs_both_the_runs_and_the_graph(
    export: Export, cases: dict[str, str], verdict: bool | None
) -> None:
    """True needs both the runs and the graph; a run that shows dependence is enough for False."""
    found = signatures(export, cases)
    assert {name: signature["row_independent"] for name, signature in found.items()} == dict.fromkeys(cases, verdict)
    if verdict is None:
        for signature in found.values():
            assert signature["check"]["row_tests"]["reason"].startswith(
                "only real rows can show whether rows are independent with "
            )
