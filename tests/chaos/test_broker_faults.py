"""A broker that is flushed, killed and gone (F5), and one that loses, repeats and reorders (F6)."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess

import pytest
import redis

from service.broker.app import make_celery
from service.broker.bell import Bell
from service.settings import Settings
from tests import training_jobs
from tests.waiting import eventually

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]
QUEUE = "chainrule"
FOUND_S = 15.0  # G4


def ring(url, *job_ids):
    settings = dataclasses.replace(Settings.from_env({"HOME": "/tmp"}), redis_url=url)
    bell = Bell(make_celery(settings))
    for job_id in job_ids:
        bell.ring(job_id)
    bell.close(10.0)


def listens(url):
    """Whether a worker waits for messages."""
    try:
        with redis.Redis.from_url(url) as client:
            return any(each["cmd"].lower() == "brpop" for each in client.client_list())
    except redis.ConnectionError:  # it is about to be there again
        return False


def test_each_job_runs_once_though_messages_are_lost_and_come_ten_times_in_any_order(
    new_worker, database, redis_url
):
    dataset = training_jobs.store(database, *training_jobs.digits())
    ids = [training_jobs.submit(database, dataset, epochs=2, seed=n) for n in range(4)]
    ring(redis_url, *ids[1:])  # what would tell of the first is lost
    with redis.Redis.from_url(redis_url) as client:
        messages = 10 * client.lrange(QUEUE, 0, -1)
        assert len(messages) == 30
        random.Random(6).shuffle(messages)
        client.lpush(QUEUE, *messages)
        new_worker(redis_url=redis_url)
        for job_id in ids:
            eventually(lambda job_id=job_id: training_jobs.is_final(database, job_id))
            job = training_jobs.read(database, job_id)
            assert (job.state, job.attempt, job.crashes) == ("succeeded", 1, 0)
            training_jobs.check_units(database, job_id)
        eventually(lambda: not client.llen(QUEUE))
    for job_id in ids:
        history = training_jobs.history(database, job_id)
        assert history == ["queued", "running", "succeeded"], "no late copy began it again"


def test_jobs_run_whatever_befalls_the_broker_and_the_worker_hears_it_again(
    new_worker, database, own_redis
):
    url, broker = own_redis
    dataset = training_jobs.store(database, *training_jobs.digits())
    worker = new_worker(redis_url=url)
    eventually(lambda: listens(url))

    def check_a_job_runs(fault, seed):
        job_id = training_jobs.submit(database, dataset, epochs=1, seed=seed)
        fault()
        eventually(lambda: training_jobs.read(database, job_id).attempt, within_s=FOUND_S)
        eventually(lambda: training_jobs.is_final(database, job_id))
        assert training_jobs.read(database, job_id).state == "succeeded"

    def flush():
        with redis.Redis.from_url(url) as client:
            client.flushall()

    def kill():
        broker.kill()
        broker.wait()

    check_a_job_runs(flush, 1)
    check_a_job_runs(kill, 2)
    with subprocess.Popen(broker.args, stdout=subprocess.DEVNULL) as again:
        try:
            eventually(lambda: listens(url))
            ring(url, training_jobs.submit(database, dataset, epochs=1, seed=3))
            with redis.Redis.from_url(url) as client:
                eventually(lambda: not client.llen(QUEUE))
        finally:
            again.kill()
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.process.wait(60) == 0, worker.log.read_text()
