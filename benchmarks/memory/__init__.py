"""Memory and cost over many steps and many rows: ``make bench-memory``."""
