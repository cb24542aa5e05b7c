"""The triggers on jobs: a final state stays, and neither attempt nor step ever falls."""

from __future__ import annotations

from alembic import op

__all__ = ["create", "drop"]

FINAL = "OLD.state IN ('succeeded', 'failed', 'cancelled') AND NEW.state <> OLD.state"
FALLS = "NEW.attempt < OLD.attempt OR NEW.step < OLD.step"
TRIGGERS = {
    "jobs_final_state_stays": ("state", FINAL, "a final state never changes"),
    "jobs_counts_never_fall": ("attempt, step", FALLS, "attempt and step never fall"),
}
POSTGRES_FUNCTION = """
CREATE OR REPLACE FUNCTION chainrule_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'check_violation';
END $$
"""


def create() -> None:
    """Make the triggers of the engine at hand."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    if not sqlite:
        op.execute(POSTGRES_FUNCTION)
    for name, (columns, condition, message) in TRIGGERS.items():
        if sqlite:
            action = f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        else:
            action = f"EXECUTE FUNCTION chainrule_refuse('{message}')"
        op.execute(
            f"CREATE TRIGGER {name} BEFORE UPDATE OF {columns} ON jobs "
            f"FOR EACH ROW WHEN ({condition}) {action}"
        )


def drop() -> None:
    """Remove them again."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    for name in TRIGGERS:
        op.execute(f"DROP TRIGGER {name}" + ("" if sqlite else " ON jobs"))
    if not sqlite:
        op.execute("DROP FUNCTION chainrule_refuse()")
