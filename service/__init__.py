"""The REST service: HTTP API, and the store and use cases that it shares with the worker."""
