"""The metrics of each task are those of scikit-learn, which tests import: a worker without these saves a second."""

from __future__ import annotations

import numpy as np
import pytest

from tfsctl.errors import InvalidInput
from tfsctl.rollout.comparison import quality
from tfsctl.rollout.comparison.quality import Losses, Task

RANDOM = np.random.default_rng(17)
ROWS = 600


def losses(task: Task, target: np.ndarray, output: np.ndarray) -> Losses:
    """The losses of one side, added in batches."""
    side = Losses()
    for start in range(0, len(target), 100):
        side.add(task, target[start : start + 100], output[start : start + 100])
    return side


def values(task: Task, target: np.ndarray, a: np.ndarray, b: np.ndarray) -> dict[str, quality.Metric]:
    """The metrics by name."""
    return {one.name: one for one in quality.metrics(task, losses(task, target, a), losses(task, target, b), target)}


def test_metrics_of_a_binary_classifier() -> None:
    """Accuracy, log loss, Brier score and AUC, of scores [rows, 1]."""
    from sklearn import metrics as sklearn

    target = (RANDOM.random(ROWS) < 0.4).astype(float)
    a = np.clip(0.6 * target + 0.4 * RANDOM.random(ROWS), 0, 1)[:, None].astype(np.float32)
    b = RANDOM.random((ROWS, 1)).astype(np.float32)
    found = values("binary", target, a, b)

    assert found["accuracy"].b == pytest.approx(sklearn.accuracy_score(target, b >= 0.5))
    assert found["log_loss"].b == pytest.approx(sklearn.log_loss(target, b.astype(float)), rel=1e-5)
    assert found["brier"].b == pytest.approx(sklearn.brier_score_loss(target, b.astype(float)[:, 0]), rel=1e-5)
    assert found["auc"].a == pytest.approx(sklearn.roc_auc_score(target, a))
    assert found["accuracy"].delta < 0 < found["accuracy"].harm
    assert found["log_loss"].harm > 0
    for one in found.values():
        assert one.interval.low < one.delta < one.interval.high


def test_the_second_of_two_scores_is_the_probability_of_class_1() -> None:
    """The second of two scores is the probability of class 1."""
    target = np.array([0.0, 1.0, 1.0])
    output = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])

    assert values("binary", target, output, output)["accuracy"].a == pytest.approx(2 / 3)


def test_metrics_of_a_multiclass_classifier() -> None:
    """Accuracy and log loss; the Brier score is the squared distance from the one-hot target."""
    from sklearn import metrics as sklearn

    target = RANDOM.integers(0, 4, ROWS).astype(float)
    raw = RANDOM.random((ROWS, 4))
    output = raw / raw.sum(axis=1, keepdims=True)
    found = values("multiclass", target, output, output)

    assert found["accuracy"].a == pytest.approx(sklearn.accuracy_score(target, output.argmax(axis=1)))
    assert found["log_loss"].a == pytest.approx(sklearn.log_loss(target, output), rel=1e-5)
    one_hot = np.eye(4)[target.astype(int)]
    assert found["brier"].a == pytest.approx(((output - one_hot) ** 2).sum(axis=1).mean(), rel=1e-5)


def test_metrics_of_a_regression() -> None:
    """Mean squared and mean absolute error."""
    from sklearn import metrics as sklearn

    target, output = RANDOM.normal(size=ROWS), RANDOM.normal(size=ROWS)
    found = values("regression", target, output, output)

    assert found["mse"].a == pytest.approx(sklearn.mean_squared_error(target, output), rel=1e-5)
    assert found["mae"].a == pytest.approx(sklearn.mean_absolute_error(target, output), rel=1e-5)


def test_rows_of_a_slice() -> None:
    """Metrics of some rows are those of a comparison of these rows alone."""
    target = (RANDOM.random(ROWS) < 0.5).astype(float)
    a, b = RANDOM.random(ROWS), RANDOM.random(ROWS)
    rows = RANDOM.random(ROWS) < 0.3
    part = quality.metrics("binary", losses("binary", target, a), losses("binary", target, b), target, rows)
    alone = values("binary", target[rows], a[rows], b[rows])

    assert {one.name: (one.a, one.b) for one in part} == {name: (one.a, one.b) for name, one in alone.items()}


def test_flips_are_rows_that_one_side_alone_got_right() -> None:
    """Rows that one side alone got right."""
    target = np.array([1.0, 1.0, 0.0, 0.0])
    a = losses("binary", target, np.array([0.9, 0.1, 0.1, 0.1]))
    b = losses("binary", target, np.array([0.9, 0.9, 0.9, 0.9]))

    assert quality.flips(a, b) == quality.Flips(only_a=2, only_b=1, p_value=1.0)


def test_calibration_compares_scores_with_the_share_of_right_rows() -> None:
    """Scores that say 80 % and are right in 80 % of the rows are calibrated; 60 % right are 20 points off."""
    score = np.full(10, 0.8)
    right = losses("binary", np.array([1.0] * 8 + [0.0] * 2), score)
    wrong = losses("binary", np.array([1.0] * 6 + [0.0] * 4), score)

    assert quality.calibration(right).error == pytest.approx(0.0, abs=1e-6)
    assert quality.calibration(wrong).error == pytest.approx(0.2, abs=1e-6)
    assert quality.calibration(wrong).bins[0] == pytest.approx((10, 0.8, 0.6))


@pytest.mark.parametrize(
    ("task", "target", "output", "words"),
    [
        ("binary", [0.0, 2.0], [0.5, 0.5], "targets 0 and 1"),
        ("binary", [0.0, 1.0], [0.5, 1.5], "between 0 and 1"),
        ("binary", [0.0], [[0.1, 0.2, 0.7]], "one number per row"),
        ("multiclass", [3.0], [[0.1, 0.2, 0.7]], "0 to 2"),
        ("multiclass", [0.5], [[0.1, 0.2, 0.7]], "0 to 2"),
        ("multiclass", [0.0], [0.5], "one score per class"),
        ("regression", [0.0], [[0.1, 0.2]], "one number per row"),
    ],
)
def test_unfit_targets_and_outputs(task: Task, target: list[float], output: object, words: str) -> None:
    """An error names what does not fit the task."""
    with pytest.raises(InvalidInput, match=words):
        Losses().add(task, np.array(target), np.array(output))
