"""scikit-learn's side: its MLP can do the first cases, with its own weights to begin with."""

from __future__ import annotations

from typing import Any

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier

from benchmarks.engine.cases import ADAM, EngineCase, data

__all__ = ["ScikitLearn"]


class ScikitLearn:
    """A training of scikit-learn's, an epoch at a time."""

    def __init__(self, case: EngineCase, threads: int) -> None:
        self.name = f"scikit-learn {sklearn.__version__}"
        self.facts: dict[str, Any] = {"threads": threads}
        self._x, self._y = data(case)
        self._classes = np.unique(self._y)
        self._net = MLPClassifier(
            [layer["units"] for layer in case.layers[:-1]],
            alpha=0.0,
            batch_size=case.batch,
            learning_rate_init=ADAM["learning_rate"],
            beta_1=ADAM["beta_1"],
            beta_2=ADAM["beta_2"],
            epsilon=ADAM["epsilon"],
        )

    def epoch(self, number: int) -> list[float]:
        """Train an epoch and return its mean loss: others it does not tell."""
        self._net.partial_fit(self._x, self._y, classes=self._classes)
        return [float(self._net.loss_)]
