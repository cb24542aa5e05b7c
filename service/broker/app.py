"""The Celery application that API and workers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import Celery

if TYPE_CHECKING:
    from service.settings import Settings

__all__ = ["TRAIN_JOB", "make_celery"]

TRAIN_JOB = "chainrule.train_job"
SOCKET_S = 0.3  # to connect and to publish: nobody waits longer for a doorbell


def make_celery(settings: Settings) -> Celery:
    """Return an application that has not connected to anything yet.

    JSON only, no results, acknowledged on arrival, nothing prefetched: the row is the truth, a
    message that is lost or comes twice changes nothing.
    """
    app = Celery("chainrule", broker=settings.redis_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=SOCKET_S,
        broker_transport_options={
            "socket_connect_timeout": SOCKET_S,
            "socket_timeout": SOCKET_S,
            "socket_keepalive": True,
            "max_retries": 0,
        },
        task_acks_late=False,
        task_default_queue="chainrule",
        task_ignore_result=True,
        task_publish_retry=False,
        task_serializer="json",
        task_store_errors_even_if_ignored=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
    )
    return app
