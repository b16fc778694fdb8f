"""Roles by configuration and by owners, sessions that owners end, and the trail of all of it."""

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

import bucketlog
from company_site.accounts.model import Role
from company_site.accounts.oidc import Identity, LoginRefusedError
from company_site.accounts.store import (
    SCHEMA,
    SESSIONS_LIMIT,
    find_session,
    find_user,
    people,
    set_roles,
    sign_in,
    withdraw_owners,
)
from company_site.database import SCHEMA as SITE_SCHEMA
from company_site.database import attributed
from company_site.trail.store import PAGE_SIZE, Kind, entries
from company_site.uploads.store import SCHEMA as UPLOADS

NOW = datetime.now(UTC)
MIRA = Identity("https://id.example", "1", "mira@northpier.example", "Mira")
INES = Identity("https://id.example", "2", "ines@northpier.example", "Ines")


@pytest.fixture
def database():
    with bucketlog.connect(f"memory://{uuid.uuid4()}") as connection:
        connection.transact([*SITE_SCHEMA, *SCHEMA])
        yield connection


def enter(database, identity, owners=(), attempt=None, now=NOW):
    """Sign somebody in; returns them as they are then."""
    number = database.db().basis_t
    token = f"token {number}"
    transaction = sign_in(
        identity,
        token,
        now,
        attempt=attempt or f"attempt {number}",
        new_id=f"user{number}",
        owners=frozenset(owners),
    )
    session = find_session(database.transact([transaction]).db_after, token)
    assert session is not None
    return session.user


def test_the_first_login_makes_a_member_and_later_ones_change_no_role(database):
    user = enter(database, MIRA)
    assert user.roles == {Role.MEMBER}
    owner = enter(database, INES, [INES.email])
    database.transact([set_roles(owner.id, user.id, frozenset())])
    assert enter(database, MIRA).roles == frozenset()
    assert enter(database, MIRA).id == user.id


def test_owners_are_looked_up_in_the_configuration_at_each_login(database):
    assert not enter(database, INES).is_owner
    assert enter(database, INES, [INES.email]).roles == set(Role)


def test_who_is_in_the_configuration_no_longer_loses_what_it_gave(database):
    configured, granted = enter(database, INES, [INES.email]), enter(database, MIRA)
    database.transact([set_roles(configured.id, granted.id, frozenset(Role))])
    database.transact([withdraw_owners(frozenset())])
    assert find_user(database.db(), configured.id).roles == {Role.MEMBER}
    assert find_user(database.db(), granted.id).roles == set(Role), "what an owner gave stays"
    basis = database.db().basis_t
    database.transact([withdraw_owners(frozenset())])
    assert database.db().basis_t == basis


def test_an_attempt_ends_in_one_session_even_when_that_is_over(database):
    enter(database, MIRA, attempt="once")
    (session,) = database.db().q("[:find [?s ...] :where [?s :session/digest]]")
    database.transact([[":db/retractEntity", session]])
    with pytest.raises(LoginRefusedError):
        enter(database, MIRA, attempt="once")


def test_two_accounts_are_two_people_whatever_they_are_called(database):
    ids = {
        enter(database, Identity(issuer, subject, MIRA.email, MIRA.name)).id
        for issuer, subject in [
            ("https://id.example", "1"),
            ("https://id.example", "1 1"),
            ("https://id.example/1", "1"),
            ("https://other.example", "1"),
        ]
    }
    assert len(ids) == 4


def test_an_account_has_no_more_sessions_than_the_limit(database):
    for _ in range(SESSIONS_LIMIT + 3):
        user = enter(database, MIRA)
    (person,) = people(database.db(), NOW)
    assert person.sessions == SESSIONS_LIMIT
    assert person.user.id == user.id


def test_a_first_login_at_two_instances_at_once_makes_one_user(tmp_path):
    with ExitStack() as opened:
        instances = [opened.enter_context(bucketlog.connect(f"file://{tmp_path}/db")) for _ in range(2)]
        instances[0].transact([*SITE_SCHEMA, *SCHEMA])
        instances[1].sync()

        def once_more(turn):
            opening = sign_in(
                MIRA, f"token {turn}", NOW, attempt=f"attempt {turn}", new_id=f"id {turn}", owners=frozenset()
            )
            instances[turn % 2].transact([opening])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(once_more, range(8)))
        (person,) = people(instances[0].sync(), NOW)
        assert person.sessions == 8


def test_a_transaction_says_in_whose_name_it_was_made(database):
    user = enter(database, MIRA)
    report = database.transact(
        [attributed([[":db/add", [":user/id", user.id], ":user/name", "M."]], user.id)]
    )
    assert report.db_after.pull(
        "[{:tx/by [:user/id]}]", report.db_after.q("[:find (max ?t) . :where [?t :tx/by]]")
    ) == {":tx/by": {":user/id": user.id}}
    basis = database.db().basis_t
    database.transact([attributed([lambda _: []], user.id)])
    assert database.db().basis_t == basis, "what writes nothing is not written down either"


# The same through the site.


@pytest.fixture(scope="module")
def town(tmp_path_factory, start_issuer, make_provider, start):
    provider = make_provider(start_issuer())
    site = start(tmp_path_factory.mktemp("town"), **provider.environment())
    yield site, provider
    assert site.stop() == 0, site.log.read_text()


@pytest.fixture
def northpier(town):
    """The site, its owner Ines, and a member whom no other test knows, all signed in; and that one's name."""
    site, provider = town
    name = f"Member-{len(provider.accounts)}"
    account = {"sub": name, "name": name, "email": "member@northpier.example", "email_verified": True}
    provider.accounts[name] = account
    owner = site.client().sign_in_at(provider, "ines")
    return site, provider, owner, site.client().sign_in_at(provider, name), name


def identifier(page, name):
    """The id of the person with an account who is called that."""
    found = re.search(rf'name="user" value="([^"]*)">\s*<fieldset>\s*<legend>{name}', page.text)
    assert found, page.text
    return found[1]


def test_a_role_counts_from_the_next_click_and_the_trail_says_who_gave_it(northpier):
    _, _, owner, member, name = northpier
    path = owner.write("Of the owner")
    assert member.get(f"{path}/edit").status == 403
    user = identifier(owner.get("/people"), name)
    given = {"user": user, "member": "yes", "admin": "yes"}
    assert owner.post("/people", given).location == "/people"
    assert member.get(f"{path}/edit").status == 200
    assert owner.post("/people", {"user": user}).location == "/people"
    assert member.get(f"{path}/edit").status == 403
    assert member.get("/posts/new").status == 403
    trail = owner.get("/trail?kind=roles").text
    gave = trail.index(f"Ines Halvorsen gave the role admin to {name}")
    took = trail.index(f"Ines Halvorsen took the roles member and admin from {name}")
    first = trail.index(f"{name} signed in for the first time")
    assert took < gave < first, "the newest first"
    assert "The site gave the roles member, admin and owner to Ines Halvorsen" in trail
    for client in (member, northpier[0].client()):
        assert client.get("/trail").status in (303, 403)


def test_the_trail_says_who_changed_which_entry(northpier, picture):
    _, _, owner, member, name = northpier
    path = member.write("A tide table", "Low at six.")
    change = {"title": "A tide table, corrected", "body": "Low at seven.", "basis": "1"}
    assert owner.post(f"{path}/edit", {**change, "action": "publish"}).status == 303
    assert member.upload("/uploads", picture()).status == 303
    assert owner.post(f"{path}/delete", {"basis": "2"}).status == 303
    account = re.sub(r"<[^>]+>", "", member.get("/account").text)
    assert "0 entries · 1 revision" in account
    page = owner.get("/trail").text
    text = " ".join(re.sub(r"<[^>]+>", "", page).split())
    for line in (
        f"{name} wrote the entry A tide table ",
        "Ines Halvorsen changed the entry A tide table, corrected: title, text",
        "Ines Halvorsen deleted the entry A tide table, corrected",
        f"{name} uploaded an image",
        f"{name} signed in ",
    ):
        assert line in text, text
    assert "Low at" not in page
    assert "signed in" not in owner.get("/trail?kind=images").text
    assert owner.get("/trail?kind=secrets").status == 404
    assert owner.get("/trail?before=x").status == 404
    first = re.search(r"/trail\?before=(\d+)", page)
    assert first
    assert "Nothing." in owner.get(f"/trail?before={first[1]}").text


def test_the_trail_goes_back_page_by_page_and_leaves_nothing_out(database):
    database.transact(UPLOADS)
    for number in range(PAGE_SIZE + 10):
        database.transact([{":upload/name": f"image {number}"}])
    pages, before = [], None
    while found := entries(database.db(), Kind.IMAGES, before):
        pages.append(len(found))
        before = found[-1].t
    assert pages == [PAGE_SIZE, 10]


def test_an_owner_ends_the_sessions_of_others_and_everybody_their_own(northpier):
    site, provider, owner, member, name = northpier
    elsewhere = site.client().sign_in_at(provider, name)
    assert "Another browser" in member.get("/account").text
    assert member.post("/account/sessions", {}).location == "/account"
    assert "Another browser" not in member.get("/account").text
    assert "Sign out" not in elsewhere.get("/").text
    user = identifier(owner.get("/people"), name)
    assert member.post("/people", {"user": user, "action": "sign-out"}).status == 403
    assert owner.post("/people", {"user": user, "action": "sign-out"}).location == "/people"
    assert "Sign out" not in member.get("/").text
    assert f"Ines Halvorsen ended a session of {name}" in owner.get("/trail?kind=sessions").text
    assert owner.post("/people", {"user": "nobody", "action": "sign-out"}).status == 404
    assert site.client().get("/account").location == "/login?next=/account"


def test_what_the_configuration_no_longer_allows_ends_with_the_next_start(start_site, provider):
    site = start_site(**provider.environment())
    owner, member = (site.client().sign_in_at(provider, who) for who in ("ines", "mira"))
    assert site.stop() == 0
    changes = {"OWNER_EMAILS": "mira@northpier.example", "ALLOWED_EMAILS": "ines@northpier.example"}
    again = start_site(**provider.environment(**changes))
    owner.url = member.url = again.url
    assert owner.get("/people").status == 403, "an owner no longer"
    assert owner.get("/posts/new").status == 200
    assert "Sign out" in member.get("/").text
    assert again.client().sign_in_at(provider, "mira").get("/people").status == 200
    assert again.stop() == 0
    last = start_site(
        **provider.environment(ALLOWED_EMAILS="mira@northpier.example", OWNER_EMAILS="a@b.example")
    )
    owner.url = last.url
    assert "Sign out" not in owner.get("/").text, "not on the list any more"


def test_authors_without_an_account_are_shown_as_such(northpier):
    _, _, owner, *_ = northpier
    assert owner.get("/people").text.count("an author without an account") == 4


def test_a_page_for_one_is_kept_by_nobody(northpier):
    _, _, owner, *_ = northpier
    for path in ("/account", "/people", "/trail"):
        assert owner.get(path).headers["Cache-Control"] == "private, no-store"
