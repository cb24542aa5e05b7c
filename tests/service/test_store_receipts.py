"""Receipts of resumes and fingerprints of machines in the history of a job."""

from service.store import transitions


def test_a_receipt_is_an_event_of_the_latest_attempt_only(scene):
    first = scene.running()
    scene.act(transitions.restored, first, {"step": 0})
    assert scene.history(first.job_id)[-1] == "running>running"
    hb = scene.row(first.job_id).hb
    scene.act(transitions.release, first)
    second = scene.claim(first.job_id)
    assert scene.act(transitions.restored, first, {"step": 9}) is None
    assert scene.row(first.job_id).hb == hb + 1  # that of the claim
    assert scene.act(transitions.restored, second, {"step": 4}) is not None
    details = scene.sql("SELECT detail FROM job_events WHERE from_state = 'running' ORDER BY seq")
    assert "9" not in str(details)


def test_a_receipt_whose_answer_was_lost_is_written_once(scene, lose_the_answer):
    claim = scene.running()
    lost = lose_the_answer()
    assert scene.act(transitions.restored, claim, {"step": 0}) is not None
    assert lost
    assert scene.history(claim.job_id).count("running>running") == 1


def test_a_claim_notes_the_machine_that_makes_the_attempt(scene):
    job_id = scene.job()
    scene.database.transact(
        lambda uow: transitions.claim(
            uow.session, job_id, worker="w", now=2e9, fingerprint="numpy 2; here"
        )
    )
    ((detail,),) = scene.sql("SELECT detail FROM job_events WHERE to_state = 'running'")
    assert "numpy 2; here" in str(detail)
