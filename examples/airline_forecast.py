"""Airline passengers, one month ahead: an LSTM by truncated backpropagation through time.

Start `chainrule up` in another terminal, then: python examples/airline_forecast.py
"""
# ruff: noqa: T201 an example prints

from __future__ import annotations

import sys
import time

import numpy as np

import chainrule

try:
    from sktime.datasets import load_airline
except ModuleNotFoundError:
    sys.exit("the passengers come with a package: pip install sktime")

STEPS = 60  # months that a forecast looks back
HELD_OUT = 36  # the last three years: neither the network nor its scaling sees them

# Thousands of passengers in each month from January 1949 to December 1960.
passengers = load_airline().to_numpy().astype(np.float64)
growth = np.diff(np.log(passengers))  # growth[i]: from month i to month i + 1
known = len(growth) - HELD_OUT
mean, deviation = growth[:known].mean(), growth[:known].std()
scaled = ((growth - mean) / deviation).astype(np.float32)[:, None]


def sequences(ends: np.ndarray) -> np.ndarray:
    """Return the STEPS values up to each end, that one included.  Shapes: (ends, STEPS, 1)."""
    return np.stack([scaled[end - STEPS + 1 : end + 1] for end in ends])


# The target of each step is the growth at the next; the last one learnt is growth[known - 1].
learnt = np.arange(STEPS - 1, known - 1)
asked = np.arange(known - 1, len(growth) - 1)

network = {
    "name": "airline",
    "layers": [
        {"kind": "lstm", "units": 32, "return_sequences": True},
        {"kind": "dropout", "rate": 0.2},
        {"kind": "dense", "units": "auto"},
    ],
}
training = {
    "bptt_steps": 20,  # gradients go back over 20 months, the state is carried over all 60
    "optimizer": {"kind": "adam", "learning_rate": 0.01},
    "schedule": "one_cycle",
    "clip": {"global_norm": 1.0},
    "epochs": 100,
    "batch_size": 16,
    "seed": 0,
}
data = {"task": "forecast", "split": {"validation": 0.0, "test": 0.0}}

with chainrule.Client() as client:
    pair = sequences(learnt), sequences(learnt + 1)
    dataset = client.upload(pair, name="airline passengers")
    began = time.monotonic()
    job = client.train(dataset, network, training, data=data, name="airline").wait()
    if job.state != "succeeded":
        sys.exit(job.summary())
    print(f"trained in {time.monotonic() - began:.0f} s")
    told = np.array(job.predict(inputs=sequences(asked))["predictions"])[:, -1, 0]

now, truth = passengers[-HELD_OUT - 1 : -1], passengers[-HELD_OUT:]
year_ago = passengers[-HELD_OUT - 12 : -12]
forecast = now * np.exp(told * deviation + mean)


def error(guess: np.ndarray) -> float:
    """Return the mean absolute error over the months held out, in thousands of passengers."""
    return float(np.abs(guess - truth).mean())


print(f"mean absolute error of {HELD_OUT} months held out, in thousands of passengers:")
print(f"last value {error(now):.2f}")
print(f"the month of the year before {error(year_ago):.2f}")
better = 1 - error(forecast) / error(now)
print(f"forecast {error(forecast):.2f}, {better:.1%} below the last value")
