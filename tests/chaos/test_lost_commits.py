"""F8: the connection to PostgreSQL breaks during a COMMIT, whose answer never comes."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from sqlalchemy import func, make_url, select
from structlog.testing import capture_logs

from service.actions import keys
from service.app import create_app
from service.settings import Settings
from service.store.database import Database
from service.store.tables import Architecture, IdempotencyKey, Job, JobEvent
from tests.api_testing import Api, NotingBell, parser
from tests.chaos.lost_commits import Desk, cases, spoil
from tests.proxy import CommitProxy

__all__ = ["parser"]

TIMES = 10  # of each fault
OF_ALL = 45  # COMMITs of all operations; ``make lost-commits`` spoils 1,000


@pytest.fixture
def proxy(postgres_url):
    url = make_url(postgres_url)
    proxy = CommitProxy(url.host, url.port or 5432)
    yield proxy
    proxy.close()


@pytest.fixture
def api(proxy, postgres_url, parser, tmp_path):
    url = make_url(postgres_url).set(host="127.0.0.1", port=proxy.port)
    database = Database(url.render_as_string(hide_password=False))
    settings = Settings(data_dir=tmp_path, database_url=database.url)
    app = create_app(settings, database, NotingBell(), parser)
    key = database.transact(lambda uow: keys.create(uow, "test")[1])
    yield Api(app.test_client(), database, app.extensions["chainrule"].bell, settings, key)
    database.dispose()


@pytest.mark.timeout(300)
def test_whatever_is_asked_or_done_while_a_commit_is_spoilt_has_one_effect(
    postgres_url, parser, tmp_path
):
    # Each 503 would be told at length.
    with capture_logs(), closing(Desk(postgres_url, tmp_path, parser)) as desk:
        for case in cases(desk)[:OF_ALL]:
            spoil(desk, *case)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", ["lose", "garble", "drop"])
def test_a_spoilt_commit_leaves_one_effect_and_one_answer(api, proxy, fault):
    request = api.job_request()
    told = {}
    before = _count(api, Job), _count(api, Architecture)
    spoilt = proxy.spoilt
    for number in range(TIMES):
        name = {"Idempotency-Key": f"{fault}-{number}"}
        proxy.spoil(fault)
        answer = api.post("/v1/jobs", json={**request, "name": f"job {number}"}, headers=name)
        assert answer.status_code == 202, answer.text
        told[number] = answer.data
        proxy.spoil(fault)
        # What has no name is safe as well, as long as this very process sends it again.
        assert api.post("/v1/architectures", json={"layers": [_DENSE]}).status_code == 201
        proxy.spoil(fault)
        ended = api.post(f"/v1/jobs/{answer.json['id']}/cancel", headers={**name, **_other(name)})
        assert ended.json["state"] == "cancelled"
    assert proxy.spoilt == spoilt + 3 * TIMES
    after = _count(api, Job), _count(api, Architecture)
    assert after == (before[0] + TIMES, before[1] + TIMES)
    for number, data in told.items():
        name = {"Idempotency-Key": f"{fault}-{number}"}
        again = api.post("/v1/jobs", json={**request, "name": f"job {number}"}, headers=name)
        assert (again.data, again.headers["Idempotent-Replayed"]) == (data, "true")
    with api.database.read() as session:
        mine = JobEvent.job_id.in_([json.loads(data)["id"] for data in told.values()])
        events = select(JobEvent.to_state, func.count()).where(mine).group_by(JobEvent.to_state)
        counted = {row[0]: row[1] for row in session.execute(events)}
        kept = session.scalar(select(func.count()).select_from(IdempotencyKey))
    assert counted == {"queued": TIMES, "cancelled": TIMES}
    assert kept is not None
    assert kept >= 2 * TIMES


_DENSE = {"kind": "dense", "units": 2}


def _other(name):
    return {"Idempotency-Key": f"{name['Idempotency-Key']}-cancel"}


def _count(api, table):
    with api.database.read() as session:
        return session.scalar(select(func.count()).select_from(table))
