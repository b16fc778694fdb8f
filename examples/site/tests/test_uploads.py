"""Images: only from members, never as they were sent, served as what they are."""

import gzip
import hashlib
import json
import re
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from company_site.uploads.image import UnacceptableImageError, reencode
from company_site.uploads.model import ImageName, parse_name, parse_variant

ADDRESS = re.compile(r"/uploads/[0-9a-f]{40}-\d+x\d+\.webp")
SCRIPT = b"<script>alert(document.domain)</script>"


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*named) for named in chunks)


def encoded(kind: str, **options) -> bytes:
    output = BytesIO()
    Image.new("RGB", (16, 16), "navy").save(output, kind, **options)
    return output.getvalue()


def jpeg_that_claims(width: int, height: int) -> bytes:
    whole = bytearray(encoded("JPEG"))
    place = whole.index(b"\xff\xc0") + 5
    whole[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(whole)


def webp_that_claims(width: int, height: int) -> bytes:
    size = (width - 1) | (height - 1) << 14
    body = b"VP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", size) + b"\0" * 5
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def png_with_text(compressed: bytes) -> bytes:
    """A good PNG but for a compressed text before its picture."""
    whole = encoded("PNG")
    data = b"zTXt" + b"a\0\0" + compressed
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    return whole[:33] + chunk + whole[33:]


REFUSED = {
    "nothing": b"",
    "text": b"Just a text",
    "html": b"<!doctype html>" + SCRIPT,
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg">' + SCRIPT + b"</svg>",
    "svg with an XML head": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="x()"/>',
    "html after the magic of a GIF": b"GIF89a" + SCRIPT,
    "html after the magic of a PNG": b"\x89PNG\r\n\x1a\n" + SCRIPT,
    "html after the magic of a JPEG": b"\xff\xd8\xff\xe0" + SCRIPT,
    "html after the magic of a WebP": b"RIFF\x24\0\0\0WEBPVP8 " + SCRIPT,
    "script in a GIF's header": b"GIF89a/*\x01\x00*/=1;alert(1)//;",
    "a bomb": png_that_claims(60_000, 60_000),
    "one pixel too many": png_that_claims(8_001, 5_000),
    "endless width": png_that_claims(2**31 - 1, 1),
    "no height": png_that_claims(10, 0),
    "few bytes for many pixels": png_that_claims(5_000, 5_000),
    "half a JPEG": encoded("JPEG")[:200],
    "half a PNG": encoded("PNG")[:60],
    "a PDF": b"%PDF-1.7\n1 0 obj\n<< /OpenAction << /S /JavaScript /JS (app.alert(1)) >> >>",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(id) system",
    "TIFF": encoded("TIFF"),
    "BMP": encoded("BMP"),
    "ICO": encoded("ICO"),
    "a ZIP": b"PK\x03\x04" + b"\0" * 60,
    "an ELF program": b"\x7fELF" + b"\0" * 60,
    "zeros": b"\0" * 4096,
    "html that a browser would sniff": b"\n\n  <script>alert(1)</script><html><body>" + b" " * 600,
    "an XHTML page": b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">'
    + SCRIPT
    + b"</html>",
    "an SVG behind a byte order mark": b"\xef\xbb\xbf<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>",
    "a compressed SVG": gzip.compress(b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>"),
    "an SVG that draws in entities": b'<!DOCTYPE svg [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><svg>&c;</svg>',
    "JavaScript": b"alert(document.domain)//",
    "a MHTML page": b"MIME-Version: 1.0\r\nContent-Type: multipart/related\r\n\r\n" + SCRIPT,
    "a Flash film": b"FWS\x09" + b"\0" * 60,
    "a Windows program": b"MZ" + b"\0" * 300,
    "a shell script": b"#!/bin/sh\nrm -rf /\n",
    "PHP after the magic of a GIF": b"GIF89a;<?php system($_GET['c']); ?>",
    "a Phar": b"<?php __HALT_COMPILER(); ?>\r\n" + b"\0" * 60,
    "MVG for ImageMagick": b"push graphic-context\nfill 'url(https://evil.example/x.png\"|id\")'\n",
    "an XBM": b"#define x_width 9\n#define x_height 9\nstatic char x_bits[] = {0x00};",
    "a PPM that claims too much": b"P6 60000 60000 255\n" + b"\0" * 60,
    "a JPEG 2000": encoded("JPEG2000"),
    "a film": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 60,
    "the head of an AVIF": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + SCRIPT,
    "half an AVIF": encoded("AVIF")[:120],
    "half a WebP": encoded("WEBP")[:40],
    "a GIF without a picture": b"GIF89a\x10\0\x10\0\0\0\0;",
    "a GIF that claims too much": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0,",
    "a JPEG that claims too much": jpeg_that_claims(65500, 65500),
    "a WebP that claims too much": webp_that_claims(16384, 16384),
    "a text chunk that inflates to a gigabyte": png_with_text(zlib.compress(b"A" * 80_000_000)),
}


def stored(site) -> list[str]:
    """What is in the bucket but for the versions that are made of an image when they are first asked for."""
    return sorted(path.name for path in site.uploads.iterdir() if parse_variant(path.name) is None)


def test_the_hostile_files_are_as_many_as_promised():
    assert len(REFUSED) >= 40


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_image_is_refused_and_leaves_nothing(site, data):
    before = stored(site)
    page = site.as_user("author").upload("/uploads", data, name="photo.png", kind="image/png")
    assert page.status == 422
    assert 'id="image-problem" role="alert"' in page.text
    assert stored(site) == before


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
def test_an_image_becomes_a_webp_named_by_its_content(site, picture, kind):
    author = site.as_user("author")
    page = author.follow(author.upload("/uploads", picture((120, 90), kind)))
    address = ADDRESS.search(page.text)[0]
    image = author.get(address)
    assert image.headers["Content-Type"] == "image/webp"
    assert hashlib.sha256(image.body).hexdigest()[:40] in address
    with Image.open(BytesIO(image.body)) as stored:
        assert (stored.format, stored.size) == ("WEBP", (120, 90))


def test_images_are_served_to_everybody_as_nothing_else_and_for_good(site, picture):
    author = site.as_user("author")
    address = ADDRESS.search(author.follow(author.upload("/uploads", picture((31, 31)))).text)[0]
    image = site.client().get(address)
    assert image.status == 200
    assert image.headers["Content-Type"] == "image/webp"
    assert image.headers["X-Content-Type-Options"] == "nosniff"
    assert image.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert image.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    assert int(image.headers["Content-Length"]) == len(image.body)
    again = site.client().get(address, If_None_Match=image.headers["ETag"])
    assert (again.status, again.body) == (304, b"")


def test_an_image_is_there_in_several_widths_and_encodings(site, picture):
    author = site.as_user("author")
    answer = author.upload("/uploads", picture((1000, 500)), headers={"Accept": "application/json"})
    assert answer.status == 201
    path = json.loads(answer.text)["path"]
    page = author.post("/drafts/preview", {"body": f"![A pier]({path})"})
    sources = re.findall(r'srcset="([^"]+)"', page.text)
    addresses = [entry.split() for source in sources for entry in source.split(", ")]
    assert [width for _, width in addresses] == ["480w", "960w", "1000w", "480w", "960w", "1000w"]
    for address, width in addresses:
        image = site.client().get(address)
        assert image.status == 200
        assert image.headers["Content-Type"] == f"image/{address.rpartition('.')[2]}"
        assert image.headers["X-Content-Type-Options"] == "nosniff"
        assert image.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        with Image.open(BytesIO(image.body)) as shown:
            assert f"{shown.width}w" == width
            assert shown.height == round(shown.width / 2)
        again = site.client().get(address, If_None_Match=image.headers["ETag"])
        assert (again.status, again.body) == (304, b"")
    assert len({site.client().get(address).headers["ETag"] for address, _ in addresses}) == 6


def test_readers_who_come_at_once_have_a_version_made_once(site, picture):
    author = site.as_user("author")
    answer = author.upload("/uploads", picture((1200, 300)), headers={"Accept": "application/json"})
    address = json.loads(answer.text)["path"].replace(".webp", "-960.avif")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: site.client().get(address), range(8)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1


@pytest.mark.parametrize(
    "end", ["-481.webp", "-1000.webp", "-2000.avif", "-0.avif", "-480.png", "-480.webp.webp"]
)
def test_nobody_has_other_versions_made(site, picture, end):
    author = site.as_user("author")
    answer = author.upload("/uploads", picture((1000, 400)), headers={"Accept": "application/json"})
    path = json.loads(answer.text)["path"].removesuffix(".webp")
    before = len(list(site.uploads.iterdir()))
    assert site.client().get(path + end).status == 404
    assert site.client().get("/uploads/" + "0" * 40 + "-1000x400-480.webp").status == 404
    assert len(list(site.uploads.iterdir())) == before


def test_the_script_is_told_what_is_wrong_with_an_image(site):
    answer = site.as_user("author").upload("/uploads", SCRIPT, headers={"Accept": "application/json"})
    assert answer.status == 422
    assert json.loads(answer.text) == {"problem": "This is not a JPEG, PNG, WebP, AVIF or GIF image."}


@pytest.mark.parametrize(
    ("tail", "kind"),
    [
        (SCRIPT, "JPEG"),
        (SCRIPT, "PNG"),
        (SCRIPT, "GIF"),
        (b"PK\x03\x04" + SCRIPT, "PNG"),
        (b"<?php ?>", "JPEG"),
    ],
)
def test_of_two_files_in_one_only_the_picture_is_left(site, picture, tail, kind):
    author = site.as_user("author")
    page = author.follow(author.upload("/uploads", picture((33, 27), kind) + tail))
    stored = author.get(ADDRESS.search(page.text)[0]).body
    assert tail not in stored
    assert stored.startswith(b"RIFF")


def test_no_metadata_is_left(picture):
    exif = Image.Exif()
    exif[0x010E] = "a secret description"
    exif.get_ifd(0x8825)[2] = (53.0, 32.0, 28.0)
    for data in (
        picture(
            (40, 30), "JPEG", exif=exif, comment=b"a secret comment", icc_profile=b"a secret profile" * 20
        ),
        picture((40, 30), "WEBP", exif=exif, xmp=b"<x:xmpmeta>a secret</x:xmpmeta>"),
        picture((40, 30), "PNG", exif=exif, pnginfo=text_chunk("a secret text")),
    ):
        image = reencode(data).data
        assert b"secret" not in image
        with Image.open(BytesIO(image)) as stored:
            assert not stored.getexif()
            assert not set(stored.info) & {"exif", "xmp", "icc_profile", "comment"}


def text_chunk(text: str) -> PngImagePlugin.PngInfo:
    chunk = PngImagePlugin.PngInfo()
    chunk.add_text("Comment", text)
    return chunk


def test_a_photo_is_turned_upright_before_its_orientation_is_forgotten(picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert reencode(picture((80, 20), exif=exif)).name.width == 20


def test_a_large_photo_is_made_smaller(picture):
    name = reencode(picture((5000, 2500))).name
    assert (name.width, name.height) == (2048, 1024)


def test_transparency_is_kept():
    output = BytesIO()
    Image.new("RGBA", (20, 20), (200, 60, 40, 128)).save(output, "PNG")
    with Image.open(BytesIO(reencode(output.getvalue()).data)) as stored:
        assert stored.mode == "RGBA"


def test_an_extreme_shape_keeps_at_least_a_pixel(picture):
    name = reencode(picture((9000, 1), "PNG")).name
    assert (name.width, name.height) == (2048, 1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_way_to_hold_pixels_is_read(picture, mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert reencode(picture((24, 24), kind, mode)).name.width == 24


def test_the_same_picture_is_kept_once(site, picture):
    author, editor = site.as_user("author"), site.as_user("editor")
    data = picture((77, 55))
    for member in (author, author, editor):
        assert member.upload("/uploads", data).status == 303
    name = str(reencode(data).name)
    assert [path.name for path in site.uploads.iterdir()].count(name) == 1
    assert author.get("/uploads").text.count(f'src="/uploads/{name}"') == 1
    assert name not in editor.get("/uploads").text


@pytest.mark.parametrize("sender", ["nobody", "reader"])
def test_only_members_upload(site, picture, sender):
    client = site.client() if sender == "nobody" else site.as_user(sender)
    before = stored(site)
    assert client.upload("/uploads", picture((91, 92))).status == 403
    assert client.upload("/posts/new", picture((91, 92)), form={"action": "upload"}).status == 403
    assert stored(site) == before


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/cron.d/x",
        "..\\..\\x.html",
        "/etc/passwd",
        "x.html",
        "x.svg",
        "a\x00.png",
        "%2e%2e%2fx",
        "CON",
    ],
)
def test_the_name_that_was_sent_means_nothing(site, picture, name):
    author = site.as_user("author")
    data = picture((57, 19))
    page = author.follow(author.upload("/uploads", data, name=name, kind="text/html"))
    assert f"/uploads/{reencode(data).name}" in page.text
    assert {path.suffix for path in site.uploads.iterdir()} <= {".webp", ".avif"}
    assert all(path.parent == site.uploads for path in site.uploads.rglob("*"))


@pytest.mark.parametrize("path", ["/uploads", "/posts/new"])
def test_too_large_is_a_413_page(site, path):
    author = site.as_user("author")
    page = author.upload(path, b"\xff" * (11 * 1024 * 1024), form={"action": "upload"})
    assert page.status == 413
    assert "That is too large" in page.text


def test_too_large_is_noticed_also_when_it_was_not_announced(site):
    author = site.as_user("author")
    pieces = (b"a" * 65536 for _ in range(64))
    headers = {"Origin": site.url, "Content-Type": "application/x-www-form-urlencoded"}
    assert author.bare("POST", "/login", pieces, headers).status == 413


@pytest.mark.parametrize(
    ("media_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("text/plain", b"title=t", 415),
        ("", b"title=t", 415),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=x", b"no such boundary", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--", 400),
        ("application/x-www-form-urlencoded", b"&".join(b"f%d=1" % n for n in range(500)), 400),
    ],
)
def test_what_is_no_form_is_refused(site, media_type, body, status):
    headers = {"Origin": site.url, "Content-Type": media_type}
    assert site.as_user("author").bare("POST", "/posts/new", body, headers).status == status


def test_a_strange_charset_cannot_bring_in_what_cannot_be_stored(site):
    author = site.as_user("author")
    parts = [b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % part for part in (
        (b"title", rb"Half a \ud800 pair"), (b"body", rb"\ud800\x00\x1b text"),
    )]  # fmt: skip
    headers = {"Origin": site.url, "Content-Type": "multipart/form-data; boundary=x; charset=unicode_escape"}
    answer = author.bare("POST", "/posts/new", b"".join(parts) + b"--x--", headers)
    page = author.follow(answer)
    assert "<h1>Half a ? pair</h1>" in page.text
    assert "\x1b" not in page.text


def test_an_image_in_the_editor_goes_to_the_end_of_the_text(site, picture):
    author = site.as_user("author")
    data = picture((41, 43))
    form = {
        "title": "Kept",
        "body": "Text so far",
        "action": "upload",
        "description": "A [pier]\n at low tide",
    }
    page = author.upload("/posts/new", data, form=form)
    assert page.status == 200
    assert f"Text so far\n\n![A pier at low tide](/uploads/{reencode(data).name})\n</textarea>" in page.text
    assert 'value="Kept"' in page.text


def test_a_bad_image_in_the_editor_loses_no_text(site):
    page = site.as_user("author").upload(
        "/posts/new", SCRIPT, form={"body": "Text so far", "action": "upload"}
    )
    assert page.status == 422
    assert "Text so far</textarea>" in page.text
    assert "This is not a JPEG, PNG, WebP, AVIF or GIF image." in page.text


@given(st.integers(1, 2048), st.integers(1, 2048))
def test_versions_are_read_as_they_are_written(width, height):
    name = ImageName("0" * 40, width, height)
    for variant in name.variants:
        assert parse_variant(str(variant)) == variant
        assert parse_name(str(variant)) is None


@given(st.from_regex(r"[0-9a-f]{40}-[1-9][0-9]{0,3}x[1-9][0-9]{0,3}\.webp", fullmatch=True))
def test_names_are_read_as_they_are_written(text):
    assert str(parse_name(text)) == text


@given(st.text(max_size=70))
def test_nothing_else_is_a_name(text):
    name = parse_name(text)
    assert name is None or str(name) == text
    assert parse_name(str(ImageName.of(b"", 4, 3)) + "\n") is None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_an_image_or_is_refused(picture, data):
    sent = bytearray(picture((30, 20), data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP"]))))
    for _ in range(data.draw(st.integers(1, 6))):
        sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = reencode(bytes(sent))
    except UnacceptableImageError:
        return
    assert image.data.startswith(b"RIFF")
