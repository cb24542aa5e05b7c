"""How soon all is well again after each fault, and what that costs: ``make bench-recovery``."""
