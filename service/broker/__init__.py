"""The doorbell: Celery tells workers that a job waits.  Nothing of value passes through it."""
