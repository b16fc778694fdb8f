"""Images that nothing uses go, after a time of grace; those that somebody needs never do."""

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from company_site.accounts import store as account_store
from company_site.database import Data
from company_site.drafts import store as draft_store
from company_site.drafts.store import drop_copy, keep_copy
from company_site.posts import store as post_store
from company_site.posts.model import Content, Draft
from company_site.posts.store import create_post, edit_post
from company_site.uploads import store as upload_store
from company_site.uploads.garbage import GRACE, RESPITE, collect
from company_site.uploads.image import UnacceptableImageError
from company_site.uploads.store import ImageStore, note_upload

NOW = datetime.now(UTC)
LATER = NOW + GRACE
LAST = LATER + RESPITE


@contextmanager
def opened(directory):
    schema = [*account_store.SCHEMA, *post_store.SCHEMA, *draft_store.SCHEMA, *upload_store.SCHEMA]
    data = Data.open(
        f"file://{directory}/database", schema, [account_store.add_people], [account_store.grant_demo_roles]
    )
    try:
        yield data, ImageStore.open(f"file://{directory}/uploads")
    finally:
        data.close()


async def upload(data, images, picture, width, *, at=NOW):
    name = await images.put(picture((width, 9)))
    await data.transact([note_upload(name, "author", at)])
    return name


def test_an_image_that_nothing_uses_goes_in_two_steps(tmp_path, picture):
    async def run():
        name = await upload(data, images, picture, 500)
        await images.get_variant(name.variants[0])
        assert len(list((tmp_path / "uploads").iterdir())) == 2
        for at, expected in (
            (LATER - timedelta(hours=1), (0, 0)),
            (LATER, (1, 0)),
            (LATER, (0, 0)),
            (LAST, (0, 1)),
        ):
            collected = await collect(data, images, at)
            assert (collected.marked, collected.deleted) == expected, at
        assert not list((tmp_path / "uploads").iterdir())
        assert not (await data.newest()).q("[:find ?u :where [?u :upload/name]]")
        # It may come again.
        await upload(data, images, picture, 500, at=LAST)
        assert len(await images.list()) == 1

    with opened(tmp_path) as (data, images):
        asyncio.run(run())


def test_what_a_post_ever_showed_or_a_working_copy_shows_stays(tmp_path, picture):
    async def run():
        now_shown, once_shown, being_written, unused = [
            await upload(data, images, picture, width) for width in (11, 12, 13, 14)
        ]
        await data.transact([create_post(Content("Old", f"![a]({once_shown.path})"), "author", NOW)])
        await data.transact([edit_post("old", 1, Content("Old", f"![a]({now_shown.path})"), "author", NOW)])
        await data.transact([keep_copy("k", Draft(body=f"![a]({being_written.path})"), "author", NOW)])
        await collect(data, images, LATER)
        await collect(data, images, LAST)
        assert {name for name, _ in await images.list()} == {now_shown, once_shown, being_written}
        await data.transact([drop_copy("author", key="k")])
        await collect(data, images, LAST)
        assert len(await images.list()) == 3  # it is marked, and still served
        await collect(data, images, LAST + RESPITE)
        assert {name for name, _ in await images.list()} == {now_shown, once_shown}
        assert unused != now_shown

    with opened(tmp_path) as (data, images):
        asyncio.run(run())


@pytest.mark.parametrize("rescue", ["a text", "an upload"])
def test_a_marked_image_that_is_used_again_stays(tmp_path, picture, rescue):
    async def run():
        name = await upload(data, images, picture, 20)
        assert (await collect(data, images, LATER)).marked == 1
        if rescue == "a text":
            await data.transact([create_post(Content("Now", f"![a]({name.path})"), "author", LATER)])
        else:
            await upload(data, images, picture, 20, at=LATER)
        assert (await collect(data, images, LAST)).deleted == 0
        assert [kept for kept, _ in await images.list()] == [name]

    with opened(tmp_path) as (data, images):
        asyncio.run(run())


def test_while_an_image_goes_its_upload_is_refused_and_a_killed_collector_is_followed(tmp_path, picture):
    async def run():
        name = await upload(data, images, picture, 30)
        await collect(data, images, LATER)

        async def killed(_):
            raise KeyboardInterrupt

        delete, images.delete = images.delete, killed
        with pytest.raises(KeyboardInterrupt):
            await collect(data, images, LAST)
        images.delete = delete
        with pytest.raises(UnacceptableImageError, match="try again"):
            await upload(data, images, picture, 30, at=LAST)
        assert (await collect(data, images, LAST)).deleted == 1
        assert await upload(data, images, picture, 30, at=LAST) == name

    with opened(tmp_path) as (data, images):
        asyncio.run(run())


def test_an_object_that_no_upload_is_known_of_goes_too(tmp_path, picture):
    async def run():
        await images.put(picture((40, 9)))
        (tmp_path / "uploads" / "somebody-elses.txt").write_text("kept")
        written = datetime.now(UTC) + timedelta(minutes=5)  # and not when this module was read
        assert (await collect(data, images, written + GRACE)).marked == 1
        assert (await collect(data, images, written + GRACE + RESPITE)).deleted == 1
        assert [path.name for path in (tmp_path / "uploads").iterdir()] == ["somebody-elses.txt"]

    with opened(tmp_path) as (data, images):
        asyncio.run(run())
