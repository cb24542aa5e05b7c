"""The Celery side: dispatch, supervisors, the trainer process, and ``up``."""
