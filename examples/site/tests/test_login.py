"""Signing in at an issuer: the way there and back, and everything that must not let anybody in."""

import asyncio
import json
import time
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest

import bucketlog
from company_site.accounts import oidc
from company_site.accounts.model import EmailPattern, Gate
from company_site.accounts.oidc import Attempt, Issuer, IssuerUnavailableError, LoginRefusedError
from company_site.accounts.views import issuer_name
from company_site.settings import Login, Settings


@pytest.fixture(scope="module")
def door(tmp_path_factory, start_issuer, make_provider, start):
    """A site and its issuer, which the tests below share."""
    provider = make_provider(start_issuer())
    site = start(tmp_path_factory.mktemp("door"), **provider.environment())
    yield site, provider
    assert site.stop() == 0, site.log.read_text()


@pytest.fixture
def shared(door):
    """The same, with the issuer as it was."""
    site, provider = door
    yield site, provider
    provider.token, provider.reply, provider.careless = {}, None, False
    provider.describe()


def in_process(provider):
    """The client of the issuer alone: one that has asked nothing yet."""
    gate = Gate((EmailPattern.parse("northpier.example"),), frozenset())
    login = Login(provider.issuer.url, provider.client_id, provider.client_secret, gate)
    return Issuer(login, "http://127.0.0.1/login/callback")


def begin(client, provider, account="mira"):
    """To the issuer and as far back as the browser: the callback's path and query."""
    begun = client.get("/login/start?next=/about")
    assert begun.status == 303, begun.text
    return provider.approve(begun.location, account)


def changed(path, **changes):
    """The callback with other fields; None leaves one out."""
    parts = urlsplit(path)
    fields = {**dict(parse_qsl(parts.query)), **changes}
    return f"{parts.path}?{urlencode({name: value for name, value in fields.items() if value is not None})}"


def refuses(client, path, status=403):
    answer = client.get(path, Sec_Fetch_Site="cross-site")
    assert answer.status == status, answer.text
    assert "session" not in client.cookies
    assert "login" not in client.cookies, "the attempt is over"
    assert "Sign out" not in client.get("/").text
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert "Sign in again" in answer.text
    return answer


def test_the_way_there_and_back(shared):
    site, provider = shared
    client = site.client()
    begun = client.get("/login/start?next=/about")
    query = {name: value for name, (value,) in parse_qs(urlsplit(begun.location).query).items()}
    assert query["response_type"] == "code"
    assert query["client_id"] == provider.client_id
    assert query["redirect_uri"] == f"{site.url}/login/callback"
    assert query["scope"] == "openid email profile"
    assert query["code_challenge_method"] == "S256"
    assert len({query["state"], query["nonce"], query["code_challenge"]}) == 3
    cookie = begun.headers["Set-Cookie"]
    for attribute in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=600"):
        assert attribute in cookie
    for secret in (query["state"], query["nonce"]):
        assert secret not in cookie
    back = client.get(provider.approve(begun.location), Sec_Fetch_Site="cross-site")
    assert (back.status, back.location) == (303, "/about")
    assert list(client.cookies) == ["session"]
    assert "Mira Okafor" in client.get("/account").text
    assert client.post("/posts/new", {"title": "From inside", "body": "b", "action": "publish"}).status == 303
    assert client.post("/logout", {}).location == "/"
    assert "Sign out" not in client.get("/").text


def test_the_button_says_who_is_asked():
    stores = {
        "DATABASE_URL": "s3://data",
        "UPLOADS_URL": "s3://uploads",
        "SITE_URL": "https://northpier.example",
    }
    client = {"OIDC_CLIENT_ID": "x", "OIDC_CLIENT_SECRET": "x", "OWNER_EMAILS": "ines@northpier.example"}
    for issuer, name in (({}, "Google"), ({"OIDC_ISSUER": "https://id.example/realms/x"}, "id.example")):
        assert issuer_name(Settings.from_environment(stores | client | issuer)) == name


def test_each_attempt_is_another(shared):
    site, _ = shared
    begun = [site.client().get("/login/start").location for _ in range(5)]
    for name in ("state", "nonce", "code_challenge"):
        assert len({parse_qs(urlsplit(address).query)[name][0] for address in begun}) == 5


def test_what_is_derived_of_an_attempt_gives_nothing_else_away():
    attempt = Attempt.begin("/posts/new")
    assert Attempt.parse(attempt.cookie()) == attempt
    derived = [attempt.state, attempt.nonce, attempt.verifier, attempt.challenge, attempt.digest]
    assert len({attempt.secret, *derived}) == 6
    assert all(len(text) == 43 for text in derived)
    for broken in ("", "x", attempt.secret, f"{attempt.secret}.!", f"{attempt.secret}.gA", "a" * 4000):
        assert Attempt.parse(broken) is None, broken


ANSWERS = {
    "state missing": ({"state": None}, 400),
    "state empty": ({"state": ""}, 400),
    "state of somebody else": ({"state": "x" * 43}, 400),
    "state beyond ASCII": ({"state": "é" * 43}, 400),
    "code missing": ({"code": None}, 400),
    "code unknown": ({"code": "code-of-nobody"}, 403),
    "another issuer's answer": ({"iss": "https://evil.example"}, 400),
    "the user went back": ({"error": "access_denied", "code": None}, 200),
    "an error beside a code": ({"error": "server_error"}, 200),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_is_wrong_lets_nobody_in(shared, case):
    site, provider = shared
    changes, status = ANSWERS[case]
    client = site.client()
    refuses(client, changed(begin(client, provider), **changes), status)


def test_a_field_that_is_there_twice_lets_nobody_in(shared):
    site, provider = shared
    client = site.client()
    refuses(client, begin(client, provider) + "&code=another", 400)


def test_another_browser_cannot_take_the_answer(shared):
    site, provider = shared
    path = begin(site.client(), provider)
    refuses(site.client(), path, 400)  # has no attempt
    other = site.client()
    begin(other, provider)
    refuses(other, path, 400)  # has another one


def test_a_cookie_that_is_no_attempt_lets_nobody_in(shared):
    site, provider = shared
    for forged in ("", "x", "a" * 43, "a" * 43 + ".Lw"):
        client = site.client()
        path = begin(client, provider)
        client.cookies = {"login": forged}
        refuses(client, path, 400)


def test_a_stolen_code_is_worth_nothing_without_its_verifier(shared):
    """PKCE: the thief has an attempt of their own, and puts somebody else's code into its answer."""
    site, provider = shared
    stolen = parse_qs(urlsplit(begin(site.client(), provider, "ines")).query)["code"][0]
    thief = site.client()
    refuses(thief, changed(begin(thief, provider, "eve"), code=stolen))


@pytest.mark.parametrize("careless", [False, True])
def test_an_answer_counts_once(shared, careless):
    """Also for an issuer that takes a code twice: an attempt ends in one session, whoever still has it."""
    site, provider = shared
    provider.careless = careless
    client = site.client()
    path = begin(client, provider)
    attempt = dict(client.cookies)
    assert client.get(path).location == "/about"
    client.post("/logout", {})
    client.cookies = attempt
    refuses(client, path)


NOW = time.time()
CLAIMS = {
    "nonce missing": {"nonce": None},
    "nonce of another attempt": {"nonce": "another"},
    "nonces": {"nonce": ["another"]},
    "aud missing": {"aud": None},
    "aud of another client": {"aud": "another-client"},
    "aud of several": {"aud": ["the-site", "another-client"]},
    "aud empty": {"aud": []},
    "azp of another client": {"azp": "another-client"},
    "iss missing": {"iss": None},
    "iss of another issuer": {"iss": "https://accounts.google.com"},
    "exp missing": {"exp": None},
    "exp over": {"exp": NOW - 3600},
    "exp no number": {"exp": "9999999999"},
    "exp not a number": {"exp": float("nan")},
    "iat missing": {"iat": None},
    "iat to come": {"iat": NOW + 3600},
    "iat long ago": {"iat": NOW - 3600},
    "nbf to come": {"nbf": NOW + 3600},
    "sub missing": {"sub": None},
    "sub empty": {"sub": ""},
    "sub a number": {"sub": 7},
    "sub too long": {"sub": "x" * 256},
    "sub beyond ASCII": {"sub": "sub-of-m\u00edra"},
    "sub of two lines": {"sub": "sub\nof-mira"},
    "address not verified": {"email_verified": False},
    "address not said to be verified": {"email_verified": None},
    "address verified by a word": {"email_verified": "yes"},
    "address missing": {"email": None},
    "address a list": {"email": ["mira@northpier.example"]},
    "address beyond ASCII": {"email": "mira@northp\u0456er.example"},
    "address that lower case makes ASCII": {"email": "\u212aim@northpier.example"},
    "address of another domain": {"email": "mira@evil.example"},
    "address of a domain that ends alike": {"email": "mira@evilnorthpier.example"},
    "address of a domain below": {"email": "mira@mail.northpier.example"},
    "address that only begins alike": {"email": "mira@northpier.example.evil.example"},
    "two addresses in one": {"email": "mira@northpier.example, eve@evil.example"},
}


@pytest.mark.parametrize("case", CLAIMS)
def test_a_claim_that_is_wrong_lets_nobody_in(shared, case):
    site, provider = shared
    provider.token = {"claims": CLAIMS[case]}
    client = site.client()
    refuses(client, begin(client, provider))


def test_a_signature_that_is_wrong_lets_nobody_in(shared, signing_keys):
    site, provider = shared
    public = site_keys(provider)
    cases = {
        "no algorithm": {"header": {"alg": "none"}},
        "no algorithm, by another name": {"header": {"alg": "NoNe"}},
        "the client's secret as the key": {"key": provider.client_secret.encode()},
        "the public key as a secret": {"key": json.dumps(public[0]).encode()},
        "a stranger's key under a known name": {"key": signing_keys["stranger"]},
        "a stranger's key in the token": {"key": signing_keys["stranger"], "header": {"jwk": public[0]}},
        "a stranger's key at an address": {
            "key": signing_keys["stranger"],
            "header": {"jku": "http://127.0.0.1:1/"},
        },
        "a key that nobody knows": {"key": signing_keys["stranger"], "header": {"kid": "unknown"}},
        "no name of a key": {"header": {"kid": None}},
        "an RSA signature called elliptic": {"header": {"alg": "ES256"}},
        "an elliptic one called RSA": {"kid": "ec", "header": {"alg": "RS256"}},
        "an algorithm that the issuer does not use": {"header": {"alg": "RS512"}},
        "an extension that must be understood": {"header": {"crit": ["exp"], "exp": 1}},
    }
    for case, token in cases.items():
        provider.token = token
        client = site.client()
        answer = client.get(begin(client, provider))
        assert answer.status == 403, case
        assert "session" not in client.cookies, case


def site_keys(provider):
    return json.loads(provider.issuer.document("/keys"))["keys"]


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_token_that_was_changed_on_the_way_lets_nobody_in(shared, part):
    site, provider = shared
    client = site.client()
    path = begin(client, provider)
    nonce = provider.asked[-1]["nonce"]
    now = int(time.time())
    claims = {
        "iss": provider.issuer.url,
        "aud": provider.client_id,
        "iat": now,
        "exp": now + 300,
        "nonce": nonce,
    }
    parts = provider.issuer.token(base=claims | provider.accounts["mira"]).split(".")
    other = provider.issuer.token(base=claims | provider.accounts["ines"], kid="ec").split(".")
    parts[part] = other[part]
    provider.reply = 200, json.dumps({"id_token": ".".join(parts)}).encode()
    refuses(client, path)


@pytest.mark.parametrize("token", [None, 7, "", "a.b.c", "a.b.c.d.e", "." * 100, "x" * 200_000])
def test_what_is_no_token_lets_nobody_in(shared, token):
    site, provider = shared
    client = site.client()
    path = begin(client, provider)
    provider.reply = 200, json.dumps({"id_token": token}).encode()
    refuses(client, path)


@pytest.mark.parametrize(
    "reply",
    [(500, b""), (302, b""), (200, b"<html>"), (200, b"[]"), (200, b"{}" + b" " * 300_000), (429, b"{}")],
)
def test_an_issuer_that_is_out_of_order_is_a_page_and_no_login(shared, reply):
    site, provider = shared
    client = site.client()
    path = begin(client, provider)
    provider.reply = reply
    answer = refuses(client, path, 503)
    assert answer.headers["Retry-After"] == "30"
    assert "/elsewhere" not in provider.issuer.asked


def test_an_elliptic_key_is_as_good(shared):
    site, provider = shared
    provider.token = {"kid": "ec"}
    site.client().sign_in_at(provider)


def test_a_clock_that_is_half_a_minute_off_is_borne(shared):
    site, provider = shared
    provider.token = {"claims": {"iat": int(time.time()) + 30, "nbf": int(time.time()) + 30}}
    site.client().sign_in_at(provider)


def test_an_account_is_known_by_issuer_and_subject_alone(shared):
    """Neither a name nor an address leads to somebody else's account."""
    site, provider = shared
    mira = site.client().sign_in_at(provider, "mira")
    path = mira.write("Of the first Mira")
    provider.accounts["double"] = {**provider.accounts["mira"], "sub": "another-sub"}
    double = site.client().sign_in_at(provider, "double")
    assert double.get(f"{path}/edit").status == 403
    provider.accounts["renamed"] = {
        **provider.accounts["mira"],
        "name": "Mira Lind",
        "email": "lind@northpier.example",
    }
    renamed = site.client().sign_in_at(provider, "renamed")
    assert renamed.get(f"{path}/edit").status == 200
    assert "Mira Lind" in renamed.get("/account").text
    assert "lind@northpier.example" in renamed.get("/account").text
    site.client().sign_in_at(provider, "mira")


def test_nobody_becomes_one_of_the_first_authors_by_their_name(shared):
    """The posts that a site begins with are by people who cannot sign in, whoever is called the same."""
    site, provider = shared
    mira = site.client().sign_in_at(provider, "mira")
    assert mira.get("/posts/fridays-are-for-deploying/edit").status == 403


def test_a_name_is_text_and_has_an_end(shared):
    site, provider = shared
    provider.token = {"claims": {"sub": "odd", "name": "<b>Al\u202eice</b>\n" + "x" * 200}}
    client = site.client().sign_in_at(provider)
    assert "&lt;b&gt;Alice&lt;/b&gt; xxx" in client.get("/account").text
    assert "x" * 81 not in client.get("/account").text
    provider.token = {"claims": {"sub": "odd", "name": None}}
    assert ">mira</a>" in site.client().sign_in_at(provider).get("/").text


def test_another_site_cannot_make_somebody_begin(shared):
    site, _ = shared
    for origin in ("cross-site", "same-site"):
        client = site.client()
        assert client.get("/login/start", Sec_Fetch_Site=origin).location == "/login"
        assert not client.cookies


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\n/b", "/" * 900]
)
def test_the_way_back_leads_to_no_other_site(shared, target):
    site, provider = shared
    client = site.client()
    begun = client.get(f"/login/start?{urlencode({'next': target})}")
    assert client.get(provider.approve(begun.location)).location == "/"


def test_signing_in_ends_the_session_that_was_there(shared):
    site, provider = shared
    client = site.client().sign_in_at(provider, "mira")
    old = dict(client.cookies)
    client.sign_in_at(provider, "ines")
    client.cookies = old
    assert "Sign out" not in client.get("/").text


def test_the_database_and_the_log_keep_no_secret_of_a_login(shared):
    site, provider = shared
    client = site.client()
    path = begin(client, provider, "ines")
    secrets = [client.cookies["login"].partition(".")[0], *dict(parse_qsl(urlsplit(path).query)).values()]
    secrets += [provider.asked[-1]["nonce"], provider.client_secret, "ines@", "sub-of-ines"]
    client.get(path)
    site.line_of(client.get("/about"))
    text = site.log.read_text()
    assert '"outcome": "in"' in text
    for secret in secrets:
        assert secret not in text, secret
    with bucketlog.connect(site.database_url) as connection:
        values = {str(datom.v) for datom in connection.db().history().datoms(":eavt")}
    for secret in secrets[:4]:
        assert not any(secret in value for value in values), secret


def test_why_somebody_was_refused_is_logged_without_saying_who(shared):
    site, provider = shared
    client = site.client()
    answer = refuses(client, begin(client, provider, "eve"))
    assert "eve@elsewhere.example" in answer.text, "they are told which account it was"
    site.line_of(answer)
    lines = [json.loads(line) for line in site.log.read_text().splitlines()]
    assert [line["outcome"] for line in lines if line["event"] == "login"][-1] == "not allowed"
    assert "eve" not in site.log.read_text().lower().replace("level", "").replace("event", "")


# Sites of their own: what is configured, and what the issuer says of itself.


def test_a_workspace_domain_is_asked_of_the_issuer_and_not_of_the_address(start_site, provider):
    site = start_site(**provider.environment(OIDC_HOSTED_DOMAIN="northpier.example"))
    begun = site.client().get("/login/start")
    assert parse_qs(urlsplit(begun.location).query)["hd"] == ["northpier.example"]
    for domain in (None, "", "evil.example", "Northpier.example", ["northpier.example"], True):
        provider.token = {"claims": {"hd": domain}}
        client = site.client()
        refuses(client, begin(client, provider))
    provider.token = {"claims": {"hd": "northpier.example"}}
    site.client().sign_in_at(provider)


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://accounts.google.com"},
        {"issuer": None},
        {"token_endpoint": None},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": 7},
        {"id_token_signing_alg_values_supported": ["none", "HS256"]},
        {"code_challenge_methods_supported": ["plain"]},
    ],
)
def test_an_issuer_that_describes_itself_wrongly_is_not_used(door, wrong):
    _, provider = door

    async def ask() -> str:
        issuer = in_process(provider)
        try:
            return await issuer.authorization_url(Attempt.begin("/"))
        finally:
            await issuer.close()

    provider.describe(**wrong)
    try:
        with pytest.raises(IssuerUnavailableError):
            asyncio.run(ask())
    finally:
        provider.describe()
    assert asyncio.run(ask()).startswith(provider.issuer.url)


def test_an_issuer_that_cannot_be_used_is_not_asked_by_everybody_in_turn(provider, monkeypatch):
    asked = []

    def broken(query, headers):
        asked.append(query)
        return 500, {}, b"{}"

    provider.issuer.pages["GET", "/.well-known/openid-configuration"] = broken
    monkeypatch.setattr(oidc, "FAILURE_PAUSE", 600)

    async def ask():
        issuer = in_process(provider)
        try:
            attempts = [issuer.authorization_url(Attempt.begin("/")) for _ in range(8)]
            answers = await asyncio.gather(*attempts, return_exceptions=True)
            assert all(isinstance(answer, IssuerUnavailableError) for answer in answers)
            assert len(asked) == 1
            del provider.issuer.pages["GET", "/.well-known/openid-configuration"]
            monkeypatch.setattr(oidc, "FAILURE_PAUSE", 0)
            assert (await issuer.authorization_url(Attempt.begin("/"))).startswith(provider.issuer.url)
        finally:
            await issuer.close()

    asyncio.run(ask())


def test_an_issuer_that_is_away_is_a_page_and_the_site_goes_on(start_site, provider, free_port):
    away = f"http://127.0.0.1:{free_port()}"
    site = start_site(**provider.environment(OIDC_ISSUER=away))
    client = site.client()
    answer = client.get("/login/start")
    assert answer.status == 503
    assert "does not answer" in answer.text
    assert client.get("/posts").status == 200
    assert client.get("/readyz").status == 200


@pytest.mark.filterwarnings("ignore:Key size should be")  # the library says so of the weak key, too
def test_new_keys_are_fetched_but_not_at_every_turn_and_weak_ones_are_none(
    provider, signing_keys, monkeypatch
):
    asked = provider.issuer.asked
    monkeypatch.setattr(oidc, "KEYS_PAUSE", 600)

    async def identify(issuer, kid):
        provider.token = {"kid": kid}
        attempt = Attempt.begin("/")
        path = provider.approve(await issuer.authorization_url(attempt))
        return await issuer.identify(dict(parse_qsl(urlsplit(path).query)), attempt)

    async def rotate():
        issuer = in_process(provider)
        try:
            provider.issuer.keys = {"weak": signing_keys["small"], "old": signing_keys["rsa"]}
            assert (await identify(issuer, "old")).subject == "sub-of-mira"
            provider.issuer.keys |= {"new": signing_keys["stranger"]}
            for kid in ("weak", "new"):
                with pytest.raises(LoginRefusedError):
                    await identify(issuer, kid)
            assert asked["/keys"] == 1, "it has asked a moment ago"
            monkeypatch.setattr(oidc, "KEYS_PAUSE", 0)
            assert (await identify(issuer, "new")).subject == "sub-of-mira"
            with pytest.raises(LoginRefusedError):
                await identify(issuer, "weak")
        finally:
            await issuer.close()

    asyncio.run(rotate())
    assert asked["/.well-known/openid-configuration"] == 1


def test_nothing_is_asked_of_the_issuer_before_somebody_signs_in(start_site, provider):
    site = start_site(**provider.environment())
    site.client().get("/")
    site.client().get("/login")
    assert not provider.issuer.asked


def test_an_attempt_may_begin_at_one_instance_and_end_at_another(start_site, provider, free_port):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    one = start_site(**provider.environment(SITE_URL=address))
    other = start_site(**provider.environment(SITE_URL=address))
    client = one.client()
    path = begin(client, provider)
    elsewhere = other.client()
    elsewhere.cookies = client.cookies
    assert elsewhere.get(path).location == "/about"
    client.cookies = elsewhere.cookies
    assert "Sign out" in client.get("/").text


def test_over_https_both_cookies_are_of_this_host_alone_and_the_login_is_on_the_known_address(
    start_site, provider
):
    site = start_site(**provider.environment(SITE_URL="https://northpier.example"))
    client = site.client()
    begun = client.get("/login/start")
    assert begun.headers["Set-Cookie"].startswith("__Host-login=")
    answer = client.get(provider.approve(begun.location))
    (session,) = [value for value in answer.headers.get_all("Set-Cookie") if "session" in value]
    assert session.startswith("__Host-session=")
    assert "Secure" in session
    moved = client.get("/login?next=/posts/new")
    assert moved.location == "https://northpier.example/login?next=%2Fposts%2Fnew&moved=yes"
    assert client.get("/login?moved=yes").status == 200, "an edge that changes the host makes no circle"
