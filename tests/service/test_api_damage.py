"""Bytes that the disk has changed (F17), as a client of the API meets them."""

import pytest

from tests.api_testing import flowers


@pytest.fixture
def damage(scene):
    """Change the bytes of everything that is stored, behind the store's back."""

    def act():
        scene.sql("UPDATE chunks SET data = :bad, staged_at = 0", bad=b"damaged")

    return act


def test_damaged_bytes_are_never_answered_with(api, damage):
    dataset = api.upload().json
    damage()
    answer = api.get(f"/v1/datasets/{dataset['id']}/content")
    assert answer.status_code == 500
    assert b"damaged" not in answer.data


def test_a_damaged_dataset_that_is_deleted_is_whole_when_its_file_is_uploaded_again(api, damage):
    dataset = api.upload().json
    damage()
    assert api.call("DELETE", f"/v1/datasets/{dataset['id']}").status_code == 204
    again = api.upload()
    assert again.status_code == 201
    answer = api.get(f"/v1/datasets/{again.json['id']}/content")
    assert (answer.status_code, answer.data) == (200, flowers())
