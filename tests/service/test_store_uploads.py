"""Uploads in parts, guard by guard: what each keeps out that no other does."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import select

from service.errors import ConflictError, NotFoundError
from service.ids import new_id
from service.store import blobs, transitions
from service.store.tables import Upload, UploadPart

KEPT_S = 3600.0


class Uploads:
    """Begins uploads, and tells what becomes of them."""

    def __init__(self, scene):
        self.scene = scene
        self.transact = scene.database.transact

    def begin(self, tenant="default", used_at=1000.0):
        row = Upload(
            id=new_id("upl"),
            tenant_id=tenant,
            name="file",
            format="csv",
            types="{}",
            bytes=2,
            part_bytes=1,
            created_at=used_at,
            used_at=used_at,
        )
        self.transact(lambda uow: uow.session.add(row))
        return row.id

    def store(self, upload_id, number=1, data=b"a", tenant="default"):
        staged = blobs.stage(self.scene.database, data)
        return self.transact(
            lambda uow: transitions.store_part(uow.session, upload_id, tenant, number, staged)
        )

    def complete(self, upload_id, dataset_id):
        self.transact(lambda uow: transitions.complete_upload(uow.session, upload_id, dataset_id))

    def delete(self, upload_id, tenant="default"):
        return self.transact(lambda uow: transitions.delete_upload(uow.session, upload_id, tenant))

    def row(self, upload_id):
        with self.scene.database.read() as session:
            return session.scalar(select(Upload).where(Upload.id == upload_id))

    def parts(self, upload_id):
        with self.scene.database.read() as session:
            of_upload = select(UploadPart.number).where(UploadPart.upload_id == upload_id)
            return sorted(session.scalars(of_upload))


@pytest.fixture
def uploads(scene):
    return Uploads(scene)


def test_a_part_is_stored_once_in_its_place_of_its_upload(uploads):
    mine, other = uploads.begin(), uploads.begin()
    assert uploads.store(other, 1, b"x")
    used_at = uploads.row(other).used_at
    assert uploads.store(mine, 1, b"a")
    assert uploads.store(mine, 2, b"b")
    assert not uploads.store(mine, 2, b"b"), "the same part again"
    assert (uploads.parts(mine), uploads.parts(other)) == ([1, 2], [1])
    assert uploads.row(mine).used_at > 1000
    assert uploads.row(other).used_at == used_at


def test_other_bytes_in_a_parts_place_are_refused(uploads):
    mine = uploads.begin()
    assert uploads.store(mine, 1, b"a")
    with pytest.raises(ConflictError, match="with other bytes"):
        uploads.store(mine, 1, b"b")


def test_a_part_of_nothing_or_of_another_tenants_upload_is_refused(uploads):
    foreign = uploads.begin("other")
    for upload_id in (foreign, "nothing"):
        with pytest.raises(NotFoundError):
            uploads.store(upload_id)
    assert uploads.parts(foreign) == []


def test_a_complete_upload_takes_no_part_and_stays_the_dataset_that_it_is(uploads, scene):
    mine, other = uploads.begin(), uploads.begin()
    for upload_id in (mine, other):
        uploads.store(upload_id)
    first, second = scene.dataset(b"first").id, scene.dataset(b"second").id
    uploads.complete(mine, first)
    assert (uploads.row(mine).dataset_id, uploads.parts(mine)) == (first, [])
    assert (uploads.row(other).dataset_id, uploads.parts(other)) == (None, [1])
    uploads.complete(mine, second)
    assert uploads.row(mine).dataset_id == first
    with pytest.raises(ConflictError, match="is complete"):
        uploads.store(mine)


def test_a_delete_takes_one_upload_of_ones_own(uploads):
    mine, other, foreign = uploads.begin(), uploads.begin(), uploads.begin("other")
    uploads.store(mine)
    assert not uploads.delete(foreign)
    assert not uploads.delete("nothing")
    assert uploads.delete(mine)
    assert not uploads.delete(mine)
    assert uploads.parts(mine) == []
    assert uploads.row(mine) is None
    assert uploads.row(other) is not None
    assert uploads.row(foreign) is not None


def test_only_what_nobody_goes_on_with_is_purged(uploads):
    now = time.time()
    stale, future = uploads.begin(), uploads.begin(used_at=now + 2 * KEPT_S)
    fresh = uploads.begin(used_at=now - KEPT_S / 2)
    ahead = uploads.begin(used_at=now + KEPT_S / 2)  # the clock was set back
    gone = uploads.transact(lambda uow: transitions.purge_uploads(uow.session, KEPT_S))
    assert gone == 2
    assert [uploads.row(each) is None for each in (stale, future, fresh, ahead)] == [
        True,
        True,
        False,
        False,
    ]
