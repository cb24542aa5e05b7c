"""Our training steps beside PyTorch's eager ones, on one thread, in turns: ``make bench-engine``.

Same data, batches, optimizer and epsilon; an epoch of each in turn, so that a busy machine hits
both. The figure is the median epoch, divided by its steps.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

import chainrule
from benchmarks.report import Case, write

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = [((64, 32, 10), 32), ((64, 128, 64, 10), 64), ((784, 256, 128, 10), 128)]
STEPS = 40  # in an epoch
TURNS = 30
WARM_UP = 3
LEARNING_RATE, EPSILON = 0.001, 1e-7
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main() -> None:
    """Run all cases."""
    try:
        import torch  # noqa: PLC0415 a peer that need not be there
    except ModuleNotFoundError:
        print("nothing to compare with: pip install torch==2.13.0 into .venv first")
        return
    torch.set_num_threads(1)
    cases = []
    for widths, batch_size in CASES:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((STEPS * batch_size, widths[0])).astype(np.float32)
        y = rng.integers(0, widths[-1], len(x))
        ours, theirs = (
            median(times)
            for times in _in_turns(
                _our_epochs(widths, batch_size, x, y),
                _their_epochs(torch, widths, batch_size, x, y),
            )
        )
        name = f"MLP {'-'.join(map(str, widths))}, batch {batch_size}"
        us = [1e6 * seconds / STEPS for seconds in (ours, theirs)]
        cases.append(Case(name, 1, *us, f"PyTorch {torch.__version__}", "us/step", us[1] / us[0]))
    write("engine", cases)


def _in_turns(*runs: Iterator[None]) -> list[list[float]]:
    """Return each run's epoch times (seconds), taken in turns."""
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(WARM_UP + TURNS):
        for run, taken in zip(runs, times, strict=True):
            started = time.perf_counter()
            next(run)
            if turn >= WARM_UP:
                taken.append(time.perf_counter() - started)
    return times


def _our_epochs(widths: tuple[int, ...], batch_size: int, x: Any, y: Any) -> Iterator[None]:
    hidden = [{"kind": "dense", "units": n, "activation": "relu"} for n in widths[1:-1]]
    last = {"kind": "dense", "units": widths[-1]}
    spec = {"input": {"shape": [widths[0]]}, "layers": [*hidden, last]}
    net = chainrule.Network(spec, seed=0)
    adam = {"kind": "adam", "learning_rate": LEARNING_RATE, "epsilon": EPSILON}
    training = {
        "loss": "softmax_cross_entropy",
        "optimizer": adam,
        "epochs": WARM_UP + TURNS,
        "batch_size": batch_size,
    }
    for _ in chainrule.fit(net, (x, y), training):
        yield


def _their_epochs(
    torch: Any, widths: tuple[int, ...], batch_size: int, x: Any, y: Any
) -> Iterator[None]:
    layers: list[Any] = []
    for n_in, n_out in pairwise(widths):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, eps=EPSILON)
    loss_of = torch.nn.CrossEntropyLoss()
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    while True:
        order = torch.randperm(len(inputs))
        total = 0.0
        for start in range(0, len(inputs), batch_size):
            rows = order[start : start + batch_size]
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(net(inputs[rows]), targets[rows])
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        yield


if __name__ == "__main__":
    if not os.environ.items() >= ONE_THREAD.items():  # libraries read it when they are loaded
        os.execve(sys.executable, [*sys.orig_argv], os.environ | ONE_THREAD)
    main()
