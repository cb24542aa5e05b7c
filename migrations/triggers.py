"""The triggers: a final row stays, attempt and step never fall, history is not rewritten."""

from __future__ import annotations

from alembic import op

__all__ = ["FIRST", "KEPT", "TRIGGERS", "create", "drop"]

FIRST = ("jobs_final_state_stays", "jobs_counts_never_fall")  # of revision 0001
KEPT = ("jobs_final_row_stays", "job_events_stay", "steps_stay")  # of revision 0005

FINAL = "OLD.state IN ('succeeded', 'failed', 'cancelled')"
# Not what a deleted dataset or architecture sets to null; the state has a trigger of its own.
FINAL_COLUMNS = (
    "id, tenant_id, kind, name, attempt, crashes, hb, step, steps, cancel, pause, owner,"
    " not_before, published, epoch, epochs, memory_bytes, config, recipe, metrics, best, error,"
    " certificate, model_id, result, created_at, started_at, ended_at"
)
# By name: the table, the columns whose update it looks at (none: any), when it refuses, and how.
TRIGGERS = {
    "jobs_final_state_stays": (
        "jobs",
        "state",
        f"{FINAL} AND NEW.state <> OLD.state",
        "a final state never changes",
    ),
    "jobs_counts_never_fall": (
        "jobs",
        "attempt, step",
        "NEW.attempt < OLD.attempt OR NEW.step < OLD.step",
        "attempt and step never fall",
    ),
    "jobs_final_row_stays": ("jobs", FINAL_COLUMNS, FINAL, "a final row never changes"),
    "job_events_stay": ("job_events", "", "1 = 1", "history is never rewritten"),
    "steps_stay": ("steps", "", "1 = 1", "a committed step never changes"),
}
POSTGRES_FUNCTION = """
CREATE OR REPLACE FUNCTION chainrule_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'check_violation';
END $$
"""


def create(*names: str, also: str = "") -> None:
    """Make triggers of the engine at hand; ``also``: a later revision's columns to look at."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    if not sqlite:
        op.execute(POSTGRES_FUNCTION)
    for name in names:
        table, columns, condition, message = TRIGGERS[name]
        if sqlite:
            action = f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        else:
            action = f"EXECUTE FUNCTION chainrule_refuse('{message}')"
        columns += f", {also}" if also else ""
        update = f"UPDATE OF {columns}" if columns else "UPDATE"
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {update} ON {table} "
            f"FOR EACH ROW WHEN ({condition}) {action}"
        )


def drop(*names: str) -> None:
    """Remove them again; what they call goes with the last."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    for name in names:
        op.execute(f"DROP TRIGGER {name}" + ("" if sqlite else f" ON {TRIGGERS[name][0]}"))
    if not sqlite and names == FIRST:
        op.execute("DROP FUNCTION chainrule_refuse()")
