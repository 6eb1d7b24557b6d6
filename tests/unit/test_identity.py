"""State belongs to one place: one worker on the wrong tenant or folder mixes up two worlds of users."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fakes import SETTINGS

from streams.identity import DataFolder, Identity, RefusedError, compare

if TYPE_CHECKING:
    from pathlib import Path

OURS = Identity.of(SETTINGS, "7001/shop", "topic-1")


def test_the_same_place_is_accepted() -> None:
    """Every normal start."""
    compare(OURS, OURS.body(), "the topic")


@pytest.mark.parametrize(
    ("field", "theirs", "word"),
    [
        ("pipeline", "another", "app_id"),
        ("base_url", "https://test.example.org", "cidaas base URL"),
        ("sub_namespace", "id", "sub namespace"),
        ("source", "7002/shop", "source system and database"),
        ("topic", "topic-2", "legacy.identity"),
        ("partitions", 24, "partition count"),
    ],
)
def test_any_other_place_is_refused_with_the_difference_and_the_remedy(field: str, theirs: Any, word: str) -> None:
    """O5: a restored backup, a copied folder, production instead of test: nothing may be sent."""
    with pytest.raises(RefusedError, match=word) as caught:
        compare(OURS, {**OURS.body(), field: theirs}, "the topic")
    assert str(theirs) in str(caught.value) and "APP_DATADIR" in str(caught.value)


def test_a_record_that_lacks_a_field_is_another_place() -> None:
    """O5: what is not known to be the same is not the same."""
    body = OURS.body()
    del body["base_url"]
    with pytest.raises(RefusedError):
        compare(OURS, body, "the topic")


def test_the_topic_epoch_alone_is_no_other_place() -> None:
    """O5: it is raised by the remedy and taken over from the record."""
    compare(OURS, {**OURS.body(), "topic_epoch": 2}, "the topic")


def test_another_way_to_make_subs_is_another_place() -> None:
    """Users would get a second account each."""
    other = replace(SETTINGS, cidaas=replace(SETTINGS.cidaas, sub="id"))
    with pytest.raises(RefusedError, match="sub namespace"):
        compare(Identity.of(other, "7001/shop", "topic-1"), OURS.body(), "the topic")


def test_no_secret_stands_in_the_identity() -> None:
    """It is written into a topic and a file."""
    assert SETTINGS.cidaas.client_secret is not None
    assert SETTINGS.cidaas.client_secret.reveal() not in str(OURS.body().values())


def test_a_folder_is_one_worker_s(tmp_path: Path) -> None:
    """O5: two workers on one folder would write each other's offsets."""
    first = DataFolder(tmp_path / "data")
    first.lock()
    with pytest.raises(RefusedError, match="APP_DATADIR"):
        DataFolder(tmp_path / "data").lock()
    assert (tmp_path / "data" / "lock").read_text() == f"{os.getpid()}\n"


def test_a_folder_is_free_again_when_its_worker_is_gone(tmp_path: Path) -> None:
    """A killed worker must not need a hand to start again."""
    first = DataFolder(tmp_path)
    first.lock()
    assert first._lock is not None
    first._lock.close()
    DataFolder(tmp_path).lock()


def test_a_folder_remembers_whose_it_is(tmp_path: Path) -> None:
    """O5: a folder copied to another pipeline is found out."""
    folder = DataFolder(tmp_path)
    assert folder.identity is None
    folder.remember(OURS)
    assert DataFolder(tmp_path).identity == OURS.body()
    folder.remember(replace(OURS, topic_epoch=2))
    assert folder.identity == {**OURS.body(), "topic_epoch": 2}


def test_a_damaged_identity_file_says_what_to_do(tmp_path: Path) -> None:
    """Half a file after a power loss: the folder can be read again from Kafka, and the message says so."""
    (tmp_path / "identity.json").write_text('{"pipe')
    with pytest.raises(RefusedError, match="empty this folder"):
        _ = DataFolder(tmp_path).identity
