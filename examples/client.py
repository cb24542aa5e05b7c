"""Train over HTTP: start `chainrule up` in another terminal, then run this.

python examples/client.py
"""
# ruff: noqa: T201 an example prints

from __future__ import annotations

import tempfile
from pathlib import Path

import chainrule

TABLE = """height,weight,animal
30,4,cat
25,3.5,cat
28,4.4,cat
60,30,dog
55,25,dog
65,33,dog
"""

with chainrule.Client() as client, tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "animals.csv"
    file.write_text(TABLE, "utf-8")
    dataset = client.upload(file)

    network = {
        "layers": [
            {"kind": "dense", "units": 8, "activation": "tanh"},
            {"kind": "dense", "units": "auto"},
        ]
    }
    job = client.train(
        dataset,
        network,
        {"epochs": 100, "optimizer": {"kind": "adam", "learning_rate": 0.05}},
        data={"target": "animal", "split": {"validation": 0.0, "test": 0.0}},
        name="animals",
    )
    job.wait(lambda job: print(job.state, job.view["progress"]["epoch"]))
    print(job.metrics()[-1]["train"])
    print(job.predict([{"height": 27, "weight": 4}, {"height": 58, "weight": 28}]))
