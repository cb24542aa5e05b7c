"""PyTorch's side: eager training steps on the CPU, images in the layout that is faster there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from benchmarks.engine import torch_models
from benchmarks.engine.cases import ADAM, EngineCase, batches, data, network

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FusedPyTorch", "PyTorch"]

_LOSSES: dict[str, Callable[[], torch.nn.Module]] = {
    "softmax_cross_entropy": torch.nn.CrossEntropyLoss,
    "mean_squared_error": torch.nn.MSELoss,
}
_TRIALS = 6  # steps of each layout, the first two to warm up


class PyTorch:
    """A training of PyTorch's, an epoch at a time."""

    fused: ClassVar[bool] = False  # whether Adam is one kernel, which one has to ask for

    def __init__(self, case: EngineCase, threads: int) -> None:
        torch.set_num_threads(threads)
        fused = self.fused
        self.name = f"PyTorch {torch.__version__}{', fused Adam' * fused}"
        layouts = ["contiguous", "channels_last"] if len(case.shape) == 3 else ["contiguous"]
        trained = {layout: _Training(case, layout, fused=fused) for layout in layouts}
        if len(layouts) > 1:
            trials = {layout: one.trial() for layout, one in trained.items()}
            layouts = [min(trials, key=lambda layout: trials[layout])]
        self._training = _Training(case, layouts[0], fused=fused)
        self.facts: dict[str, Any] = {"threads": threads, "layout": layouts[0]}

    def epoch(self, number: int) -> list[float]:
        """Train an epoch and return the loss of each batch."""
        return self._training.epoch(number)


class FusedPyTorch(PyTorch):
    """PyTorch with the optimizer's kernels fused."""

    fused: ClassVar[bool] = True


class _Training:
    """A net, its optimizer and its data in one layout."""

    def __init__(self, case: EngineCase, layout: str, *, fused: bool) -> None:
        self._case = case
        self._images = len(case.shape) == 3
        self._last = layout == "channels_last"
        self._net = torch_models.build(network(case)).train()
        if self._last:
            self._net = self._net.to(memory_format=torch.channels_last)
        self._loss_of = _LOSSES[case.loss]()
        betas = (ADAM["beta_1"], ADAM["beta_2"])
        learnt = [p for p in self._net.parameters() if p.requires_grad]
        self._adam = torch.optim.Adam(
            learnt, ADAM["learning_rate"], betas, ADAM["epsilon"], fused=fused or None
        )
        x, y = data(case)
        self._x, self._y = (self._placed(torch.from_numpy(values)) for values in (x, y))

    def trial(self) -> float:
        """Return the seconds of the fastest of a few steps."""
        seconds = []
        for rows in torch.from_numpy(batches(self._case, 0)).repeat(_TRIALS, 1)[:_TRIALS]:
            started = time.perf_counter()
            self._step(rows)
            seconds.append(time.perf_counter() - started)
        return min(seconds[2:])

    def epoch(self, number: int) -> list[float]:
        """Train an epoch and return the loss of each batch."""
        return [self._step(rows) for rows in torch.from_numpy(batches(self._case, number))]

    def _step(self, rows: Any) -> float:
        x, y = self._x[rows], self._y[rows]
        if self._last:  # kept channels last, so that a batch is gathered in runs
            x = x.permute(0, 3, 1, 2)
            y = y.permute(0, 3, 1, 2) if y.ndim == 4 else y
        self._adam.zero_grad(set_to_none=True)
        loss = self._loss_of(self._net(x), y)
        loss.backward()
        self._adam.step()
        return float(loss.detach())

    def _placed(self, values: Any) -> Any:
        if values.ndim < 4 or self._last:
            return values
        return values.permute(0, 3, 1, 2).contiguous()
