"""``python -m chainrule.cli``."""

from __future__ import annotations

from chainrule.cli import main

main()
