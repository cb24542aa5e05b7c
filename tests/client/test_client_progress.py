"""How a job is followed where there is no terminal."""

import io

import pytest
from rich.console import Console

from chainrule.cli import progress
from chainrule.cli.shared import Session, best_line
from chainrule.client import Job


class Scripted:
    """A job that shows the given attempts and epochs, one after the other."""

    def __init__(self, *shown):
        self.shown = [self.view_of(*each) for each in shown]
        self.view = self.shown[0]
        self.state, self.done = "running", False

    progress = Job.progress

    @staticmethod
    def view_of(attempt, epoch):
        done = {"epoch": epoch, "epochs": 4, "fraction": epoch / 4}
        metrics = {"train": {"loss": 0.5}, "validation": None}
        return {"attempt": attempt, "progress": done, "metrics": metrics}

    def wait(self, on_progress):
        for view in self.shown:
            self.view = view
            on_progress(self)


@pytest.fixture
def told():
    def told(job):
        text = io.StringIO()
        progress.follow(Session(err=Console(file=text)), job)
        return text.getvalue().splitlines()

    return told


def test_progress_is_a_line_now_and_then(told, monkeypatch):
    assert told(Scripted((0, 0), (1, 1), (1, 2))) == []
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    assert told(Scripted((1, 1))) == ["running  25%  epoch 1/4  train 0.5000"]


def test_a_takeover_is_told_once(told):
    takeover = "attempt 2: goes on from the last checkpoint, epoch 2/4"
    assert told(Scripted((0, 0), (1, 2), (2, 2), (2, 3))) == [takeover]


def test_another_attempt_at_a_file_is_told_as_what_it_is(told):
    job = Scripted((1, 1), (2, 0))
    for view in job.shown:
        view["kind"] = "parsing"
    assert told(job) == ["attempt 2: begins with the file anew"]


def test_an_upload_is_a_line_now_and_then(monkeypatch):
    class Uploading:
        def upload(self, source, on_progress):
            for what, share in (("upload", 0.5), ("upload", 1.0), ("parsing", 0.25)):
                on_progress(what, share)
            return source

    def told():
        text = io.StringIO()
        session = Session(err=Console(file=text))
        vars(session)["client"] = Uploading()
        assert progress.upload(session, "x.csv") == "x.csv"
        return text.getvalue().splitlines()

    assert told() == []
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    assert told() == ["upload  50%", "upload 100%", "parsing  25%"]


@pytest.mark.parametrize(
    ("best", "line"),
    [
        (None, ""),
        ({"epoch": 4, "loss": 1.0}, ""),
        ({"epoch": 1, "loss": 2.31}, "epoch 1, loss 2.3100; the model is the last epoch's"),
    ],
)
def test_the_best_epoch_is_told_when_it_is_not_the_last(best, line):
    job = Scripted((1, 4))
    job.view |= {"best": best, "config": {"training": {"early_stopping": None}}}
    assert best_line(job) == line
    job.view["config"] = {"training": {"early_stopping": {"restore_best": True}}}
    assert best_line(job) == ""
