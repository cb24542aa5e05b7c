"""Backpropagation with nothing but numpy: a 1-2-1 network learns g(p) = 1 + sin(pi/4 p).

It starts with the weights of examples/textbook_121.py: python backpropagation_in_30_lines.py
"""
# ruff: noqa: T201 names of the textbook; an example prints

import numpy as np

W1, b1 = np.array([[-0.27], [-0.41]]), np.array([[-0.48], [-0.13]])  # 1 input  -> 2 neurons
W2, b2 = np.array([[0.09, -0.17]]), np.array([[0.48]])  # 2 neurons -> 1 output
alpha = 0.1  # the learning rate
points = np.linspace(-2, 2, 21)
rng = np.random.default_rng(0)

for sweep in range(101):
    total = 0.0
    for p in rng.permutation(points):
        t = 1 + np.sin(np.pi / 4 * p)  # the target
        # Forward: through each layer in turn.
        a1 = 1 / (1 + np.exp(-(W1 * p + b1)))  # sigmoid
        a2 = W2 @ a1 + b2  # linear
        e = t - a2
        # Backward: how the loss e² changes with what goes into each neuron, the last layer first.
        s2 = -2 * e
        s1 = a1 * (1 - a1) * (W2.T @ s2)  # the chain rule
        # Step: each weight a little against its gradient.
        W2, b2 = W2 - alpha * s2 @ a1.T, b2 - alpha * s2
        W1, b1 = W1 - alpha * s1 * p, b1 - alpha * s1
        total += e.item() ** 2
    if sweep in (0, 1, 3, 10, 30, 100):
        print(f"sweep {sweep:3}  mean squared error {total / len(points):.6f}")
