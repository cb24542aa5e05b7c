"""The receipt of a resume, as the history of a job keeps it."""

import pytest

from service.store import transitions
from service.store.transitions import CheckpointRef
from worker import receipts

HERE, ELSEWHERE = "numpy 2; here", "numpy 2; elsewhere"


@pytest.fixture
def begin(scene, monkeypatch):
    """Begin the next attempt of a job on a machine of some fingerprint."""

    def act(job_id, fingerprint=HERE):
        monkeypatch.setattr(receipts, "fingerprint", lambda: fingerprint)
        return scene.database.transact(
            lambda uow: transitions.claim(
                uow.session, job_id, worker="w", now=2e9, fingerprint=fingerprint
            )
        )

    return act


def receipt(scene, claim, kept, damaged=()):
    with scene.database.read() as session:
        return receipts.restored(session, claim, kept, damaged)


def test_a_receipt_names_the_checkpoint_and_whose_it_is(scene, begin):
    first = begin(scene.job())
    scene.commit(first, 0, 4)
    scene.act(transitions.release, first)
    second = begin(first.job_id)
    kept = second.checkpoint
    assert receipt(scene, second, kept) == {
        "step": 4,
        "sha256": kept.blob,
        "committed_by": 1,
        "bit_exact": True,
    }


def test_a_receipt_names_what_was_passed_over_and_up_to_where_it_is_done_again(scene, begin):
    claim = begin(scene.job())
    scene.commit(claim, 0, 4)
    scene.commit(claim, 4, 7)
    scene.act(transitions.release, claim)
    again = begin(claim.job_id)
    newest, older = again.checkpoints
    found = receipt(scene, again, older, [newest])
    assert (found["step"], found["replays_to"]) == (4, 7)
    assert found["passed_over"] == [{"step": 7, "sha256": newest.blob}]
    nothing = receipt(scene, again, None, [newest, older])
    assert (nothing["step"], nothing["sha256"], nothing["committed_by"]) == (0, None, None)


def test_bits_learnt_on_another_machine_are_told_and_an_attempt_without_a_unit_is_not(scene, begin):
    first = begin(scene.job(), ELSEWHERE)
    scene.act(transitions.release, first)
    second = begin(first.job_id, HERE)
    scene.commit(second, 0, 4)
    kept = CheckpointRef("b", 4, 2)
    assert receipt(scene, second, kept)["bit_exact"]
    scene.act(transitions.release, second)
    assert not receipt(scene, begin(first.job_id, ELSEWHERE), kept)["bit_exact"]


def test_bits_of_a_machine_that_nobody_noted_are_not_called_exact(scene, begin):
    first = scene.running()
    scene.commit(first, 0, 4)
    scene.act(transitions.release, first)
    assert not receipt(scene, begin(first.job_id), CheckpointRef("b", 4, 1))["bit_exact"]
