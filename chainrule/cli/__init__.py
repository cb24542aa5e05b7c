"""The command line: ``chainrule``, or ``python -m chainrule.cli``."""

from __future__ import annotations

import sys

__all__ = ["main"]

EXTRA = {"click", "rich", "httpx2"}
PIP_LINE = "the command line needs its extra: pip install 'chainrule[cli]'"


def main() -> None:
    """Run the command line and exit with its code (see ``chainrule --help``)."""
    try:
        from chainrule.cli.app import run  # noqa: PLC0415 so that a missing extra can be explained
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        sys.exit(f"{package} is not installed; {PIP_LINE}")
    sys.exit(run(sys.argv[1:]))
