"""A textbook's 1-2-1 network: one step of backpropagation, each number beside the page's.

Hagan, Demuth, Beale and De Jesús, Neural Network Design, chapter 11: the function
g(p) = 1 + sin(pi/4 p), two sigmoid neurons, a linear one, the step at p = 1 with rate 0.1. Then the
same network learns g over [-2, 2] over HTTP: start `chainrule up` in another terminal, then

python examples/textbook_121.py
"""
# ruff: noqa: T201 an example prints

from __future__ import annotations

import sys

import numpy as np

import chainrule

ALPHA = 0.1
PAGE = {  # name here and in the book: what the book has
    "first layer's output a1": ["0.321", "0.368"],
    "network's output a2": ["0.446"],
    "error e = t - a2": ["1.261"],
    "sensitivity s2": ["-2.522"],
    "sensitivity s1": ["-0.0495", "0.0997"],
    "W2 after the step": ["0.171", "-0.0772"],
    "b2 after the step": ["0.732"],
    "W1 after the step": ["-0.265", "-0.420"],
    "b1 after the step": ["-0.475", "-0.140"],
}


def g(p: np.ndarray) -> np.ndarray:
    """Return the function to approximate."""
    return 1 + np.sin(np.pi / 4 * p)


network = {
    "name": "1-2-1",
    "input": {"shape": [1]},
    "layers": [
        {"kind": "dense", "units": 2, "activation": "sigmoid", "name": "first"},
        {"kind": "dense", "units": 1, "name": "second"},
    ],
}
net = chainrule.Network(network, dtype="float64")
net.parameters["first.kernel"][:] = [[-0.27, -0.41]]
net.parameters["first.bias"][:] = [-0.48, -0.13]
net.parameters["second.kernel"][:] = [[0.09], [-0.17]]
net.parameters["second.bias"][:] = [0.48]
p, t = np.array([[1.0]]), g(np.array([[1.0]]))

# Forward: the same network and weights, with the first layer's output as an output too.
watched = chainrule.Network({**network, "outputs": ["first", "second"]}, dtype="float64")
watched.flat[:] = net.flat
a = watched.predict(p)
# Backward: the loss is e squared, so its gradient in a bias is the book's sensitivity, -2 f'(n) e …
_, gradients = net.gradients(p, t, loss="mean_squared_error")
s1, s2 = gradients["first.bias"].copy(), gradients["second.bias"].copy()
# … and one step of gradient descent with rate alpha.
step = {"optimizer": {"kind": "sgd", "learning_rate": ALPHA}, "loss": "mean_squared_error"}
list(chainrule.fit(net, (p, t), {**step, "epochs": 1}))

after = net.parameters
found = [
    *(a["first"], a["second"], t - a["second"], s2, s1),
    *(after["second.kernel"], after["second.bias"], after["first.kernel"], after["first.bias"]),
]
print(f"{'':26}{'the page':>18}{'chainrule':>18}")
same = True
for (name, page), values in zip(PAGE.items(), found, strict=True):
    # As many decimals as the page has.
    ours = [f"{v:.{len(text.split('.')[1])}f}" for v, text in zip(values.flat, page, strict=True)]
    print(f"{name:26}{' '.join(page):>18}{' '.join(ours):>18}")
    same = same and ours == page
print("every number is the page's" if same else "NOT the page's numbers")

points = np.linspace(-2, 2, 201)[:, None]
training = {
    "optimizer": {"kind": "nesterov", "learning_rate": 0.1},
    "schedule": "cosine",
    "epochs": 200,
    "batch_size": 8,
    "precision": "float64",
    "seed": 0,
}
with chainrule.Client() as client:
    dataset = client.upload((points, g(points)), name="g")
    job = client.train(dataset, network, training, name="1-2-1").wait()
    if job.state != "succeeded":
        sys.exit(job.summary())
    test = job.view["metrics"]["test"]
    told = job.predict(inputs=[[-2.0], [-1.0], [0.0], [1.0], [2.0]])["predictions"]

print(f"over HTTP: test mse {test['mse']:.6f}, r2 {test['r2']:.5f}")
for p_value, value in zip([-2.0, -1.0, 0.0, 1.0, 2.0], np.ravel(told), strict=True):
    print(f"g({p_value:4}) = {g(np.array(p_value)):.3f}, the network says {value:.3f}")
