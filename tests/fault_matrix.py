"""``python -m tests.fault_matrix``: which test injects which fault; docs/reliability.md shows it.

F1 to F24 are what may befall the service on one machine. ``tests`` are functions under tests/, by
name; ``lacking`` says what of a row no test here does, and why.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parent


class Row(NamedTuple):
    """One fault, what is promised of it, and the tests that inject it."""

    fault: str
    promise: str
    tests: tuple[str, ...]
    lacking: str = ""


ROWS = {
    "F1": Row(
        "A trainer is killed in the middle of a batch",
        "Resumed within 2 s from the last unit; the same bits",
        (
            "test_a_killed_trainer_costs_no_bit",
            "test_a_killed_trainer_goes_on_from_its_last_block_with_the_same_bytes",
        ),
    ),
    "F2": Row(
        "A worker, or its whole process group, is killed",
        "Its trainers die with it; another worker has the jobs within 20 s; the same bits",
        (
            "test_a_killed_worker_leaves_no_orphan_and_its_successor_ends_the_job_with_the_same_bits",
            "test_another_worker_takes_over_when_the_lease_is_over",
            "test_a_trainer_dies_with_its_worker_even_when_it_computes",
            "test_nothing_outlives_an_up_that_is_killed",
        ),
    ),
    "F3": Row(
        "A process is killed, or fails, at any fault point (`service/faults.py`)",
        "Nothing is lost or done twice; the same bits",
        (
            "test_nothing_is_lost_and_the_bits_are_the_same",
            "test_every_commit_in_the_code_has_a_scene_that_plays_its_faults",
        ),
    ),
    "F4": Row(
        "The API is killed in an upload, or between a commit and its answer",
        "No half dataset; the request, sent again under its name, has one effect",
        (
            "test_an_api_killed_again_and_again_takes_each_request_once",
            "test_an_api_killed_in_the_middle_of_an_upload_stores_none_of_it",
        ),
    ),
    "F5": Row(
        "The broker is stopped, flushed, killed, or was never there",
        "POST answers within 0.5 s; every job begins within 15 s",
        (
            "test_a_post_is_answered_within_half_a_second_whatever_the_broker_does",
            "test_jobs_run_whatever_befalls_the_broker_and_the_worker_hears_it_again",
            "test_jobs_run_without_redis_from_the_start_and_the_worker_ends_cleanly",
        ),
    ),
    "F6": Row(
        "Messages are lost, come ten times, in another order",
        "Each job runs once",
        (
            "test_each_job_runs_once_though_messages_are_lost_and_come_ten_times_in_any_order",
            "test_no_schedule_breaks_an_invariant_and_every_job_ends",
        ),
    ),
    "F7": Row(
        "PostgreSQL is stopped at once, and comes back",
        "503 with `Retry-After`; jobs go on within 5 s; nothing acknowledged is lost",
        (
            "test_without_its_database_the_api_asks_to_come_again_and_loses_nothing",
            "test_a_job_goes_on_when_the_database_is_back_and_loses_no_unit",
        ),
    ),
    "F8": Row(
        "A connection breaks during a COMMIT",
        "The service looks whether it went through: one effect, one answer",
        (
            "test_a_spoilt_commit_leaves_one_effect_and_one_answer",
            "test_whatever_is_asked_or_done_while_a_commit_is_spoilt_has_one_effect",
        ),
    ),
    "F9": Row(
        "The disk is full: database, WAL, uploads, temporary files, log",
        "507 with `Retry-After` for writes, reads go on; jobs wait, uncounted, and go on",
        (
            "test_on_a_full_disk_the_api_reads_on_and_says_that_there_is_no_room",
            "test_a_disk_that_fills_up_keeps_what_was_taken",
            "test_a_job_waits_while_there_is_no_room_and_ends_with_the_same_bits",
            "test_a_job_without_room_on_the_disk_waits_for_it_and_counts_no_crash",
        ),
    ),
    "F10": Row(
        "The wall clock jumps by an hour, by ten years, forwards and back",
        "No attempt is ended for it, no job is stuck; order is by number",
        (
            "test_no_attempt_is_lost_and_no_job_is_stuck_whatever_the_clock_says",
            "test_a_job_held_back_by_a_clock_since_set_back_becomes_due",
            "test_a_chunk_from_the_future_is_collected_in_the_end",
        ),
    ),
    "F11": Row(
        "A worker sleeps past its lease, and wakes",
        "What it says is refused; it gives up the job, and marks nothing",
        ("test_a_worker_that_slept_past_its_lease_writes_nothing_afterwards",),
    ),
    "F12": Row(
        "A trainer hangs",
        "Killed once it makes no progress, and counted",
        (
            "test_a_trainer_that_hangs_is_killed_and_the_job_goes_on",
            "test_a_job_that_hangs_three_times_has_failed_for_it",
        ),
    ),
    "F13": Row(
        "SIGTERM: a rolling restart",
        "Jobs are given back with their last unit, uncounted; no request fails",
        (
            "test_a_worker_told_to_end_gives_its_job_back_uncounted",
            "test_a_signal_to_the_whole_group_kills_no_trainer",
            "test_every_signal_gives_one_clean_end_with_a_job_under_way",
            "test_no_request_fails_while_processes_are_replaced",
            "test_stopping_waits_for_the_request_in_flight",
        ),
    ),
    "F14": Row(
        "A second SIGTERM, or SIGKILL, while a checkpoint is stored",
        "Ends at once; the old checkpoint or the new one, never half of one",
        (
            "test_a_second_signal_ends_a_worker_at_once",
            "test_nothing_is_lost_and_the_bits_are_the_same",
        ),
    ),
    "F15": Row(
        "A job is the death of its trainers: SIGSEGV, SIGABRT, out of memory",
        "Failed after three crashes in a row, with the reason; other jobs do not notice",
        (
            "test_a_poisonous_job_is_stopped_after_three_crashes_and_its_neighbour_does_not_notice",
            "test_a_trainer_that_the_system_kills_for_its_memory_is_told_as_such",
            "test_a_job_that_kills_every_trainer_fails_after_three_crashes",
            "test_a_network_larger_than_its_memory_is_told_as_such",
            "test_a_file_that_kills_its_parser_three_times_has_failed",
        ),
    ),
    "F16": Row(
        "The loss is no number any more",
        "Failed as `diverged` at that step; the last finite checkpoint is kept; sound JSON",
        (
            "test_a_job_that_diverges_fails_at_once_and_keeps_a_finite_checkpoint",
            "test_epochs_are_kept_and_what_is_not_finite_is_null",
        ),
    ),
    "F17": Row(
        "A byte changes in a checkpoint, a dataset or a cached file",
        "Found when read; an older checkpoint, replayed and compared; a dataset fails its jobs",
        (
            "test_a_damaged_checkpoint_is_passed_over_and_its_steps_are_done_again_with_the_same_bits",
            "test_a_replay_that_gives_other_bits_fails",
            "test_a_damaged_dataset_fails_the_job",
            "test_a_damaged_file_fails_the_job",
            "test_a_damaged_file_is_read_again",
            "test_a_flipped_byte_is_found_when_read",
            "test_damaged_bytes_are_never_answered_with",
            "test_a_damaged_dataset_that_is_deleted_is_whole_when_its_file_is_uploaded_again",
        ),
    ),
    "F18": Row(
        "A worker is cut off from the database, not from the broker; and the reverse",
        "It stops before its lease is over; another takes over; what it says later is refused",
        (
            "test_a_worker_that_hears_no_more_from_the_database_stops_and_another_takes_over",
            "test_an_attempt_that_the_database_does_not_confirm_is_given_up",
            "test_jobs_run_whatever_befalls_the_broker_and_the_worker_hears_it_again",
        ),
    ),
    "F19": Row(
        "Many recoveries at once, or none for ten minutes",
        "Each attempt is ended once; what was left is caught up on",
        (
            "test_many_recoveries_at_the_same_moment_end_an_attempt_once",
            "test_a_recovery_after_ten_minutes_without_one_catches_up",
        ),
    ),
    "F20": Row(
        "Somebody holds SQLite's lock, or reads for long",
        "Reads go on; writes wait, or 503; no unit is lost",
        (
            "test_while_another_process_holds_the_lock_reads_go_on_and_writes_wait_or_are_told_to",
            "test_a_locked_database_and_a_long_reader_cost_no_unit",
            "test_postgres_gives_up_on_locks_and_statements_in_time",
        ),
    ),
    "F21": Row(
        "No file descriptor, thread or process is to be had",
        "503 with `Retry-After`, jobs wait, uncounted; all goes on when there are some",
        (
            "test_an_api_out_of_descriptors_asks_to_come_again_and_recovers",
            "test_a_job_that_the_machine_has_no_process_for_waits_uncounted",
            "test_a_job_whose_data_cannot_be_opened_for_want_of_descriptors_waits_uncounted",
            "test_hundreds_of_idle_connections_keep_nobody_out",
        ),
        "a limit on processes does not bind root, whom tests may run as: "
        "what the system would raise is raised in its place",
    ),
    "F22": Row(
        "Old and new versions side by side",
        "A later schema is worked with; one that is behind is refused, or waited for, in words",
        (
            "test_a_worker_says_that_the_schema_is_behind_and_begins_once_it_is_not",
            "test_a_schema_that_is_behind_is_refused_with_the_way_out",
            "test_a_schema_of_a_later_version_is_taken_and_none_at_all_is_not",
            "test_a_database_of_a_later_version_is_refused",
        ),
        "no earlier version is released: there is no worker of one to run beside ours",
    ),
    "F23": Row(
        "A migration is killed at any of its statements",
        "All of it is there, or none; the next one does it",
        (
            "test_a_migration_killed_at_any_statement_has_done_nothing_and_is_done_by_the_next",
            "test_two_processes_that_migrate_at_once_both_find_it_done",
        ),
    ),
    "F24": Row(
        "The power goes, and writes have reached the disk in another order",
        "What was acknowledged is there, and the database is whole",
        (
            "test_what_was_acknowledged_is_there_after_a_power_cut_at_any_moment",
            "test_sqlite_is_private_durable_and_checks_its_keys",
        ),
        "PostgreSQL's own files: that is its promise; ours is `synchronous_commit=on`",
    ),
}


def functions():
    """Find every test by its name.  Returns: {name: [its definition, one for each place]}."""
    found = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.setdefault(node.name, []).append(node)
    return found


def table():
    """Return the matrix as a table in Markdown."""
    lines = ["| | Fault | Promise | Tests |", "|---|---|---|---|"]
    for number, row in ROWS.items():
        tests = ", ".join(f"`{name}`" for name in row.tests)
        lacking = f"; not here: {row.lacking}" if row.lacking else ""
        lines.append(f"| {number} | {row.fault} | {row.promise} | {tests}{lacking} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
