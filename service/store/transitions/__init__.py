"""The state machine of a job: T1 to T14 of reliability.md, each one guarded statement.

A guard that matches no row refuses: the caller's attempt is over, or somebody was faster. Each
change of state appends to ``job_events`` in the same transaction. When the answer to a COMMIT was
lost, the unit of work runs again: its ``nonce`` in ``job_events`` (or its row in ``steps``) says
that it had happened. No guard rests on a clock but "not before" and "published", which only delay.
"""

from service.store.transitions.attempts import (
    MAX_CRASHES,
    backoff_s,
    cancel,
    fail,
    heartbeat,
    peek,
    reap,
    release,
    restored,
    retry,
)
from service.store.transitions.deletes import (
    delete_architecture,
    delete_dataset,
    delete_job,
    delete_model,
)
from service.store.transitions.guards import Signals, finite, record
from service.store.transitions.parsing import enqueue_parsing, note_parsed, parsed
from service.store.transitions.pausing import pause, resume
from service.store.transitions.progress import NewModel, certify, commit_unit, succeed
from service.store.transitions.queue import (
    CheckpointRef,
    Claim,
    WarmStartRef,
    claim,
    due_for_ring,
    next_queued,
)
from service.store.transitions.results import (
    NewDataset,
    canonical,
    commit_part,
    deliver,
    find_dataset,
    store_dataset,
)
from service.store.transitions.uploads import (
    complete_upload,
    delete_upload,
    purge_uploads,
    store_part,
)

__all__ = [
    "MAX_CRASHES",
    "CheckpointRef",
    "Claim",
    "NewDataset",
    "NewModel",
    "Signals",
    "WarmStartRef",
    "backoff_s",
    "cancel",
    "canonical",
    "certify",
    "claim",
    "commit_part",
    "commit_unit",
    "complete_upload",
    "delete_architecture",
    "delete_dataset",
    "delete_job",
    "delete_model",
    "delete_upload",
    "deliver",
    "due_for_ring",
    "enqueue_parsing",
    "fail",
    "find_dataset",
    "finite",
    "heartbeat",
    "next_queued",
    "note_parsed",
    "parsed",
    "pause",
    "peek",
    "purge_uploads",
    "reap",
    "record",
    "release",
    "restored",
    "resume",
    "retry",
    "store_dataset",
    "store_part",
    "succeed",
]
