"""The same jobs over HTTP, here and in H2O-3: ``make bench-h2o``."""
