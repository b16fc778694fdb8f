"""Who a container runs as, by the image's own files and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.container import User, find_user
from homeport.errors import ImageError
from homeport.seccomp import profile

PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv/web:/bin/false\nbroken\n"
GROUP = "root:x:0:\nstaff:x:50:web,other\nlogs:x:60:other\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("65532:65532", User(65532, 65532)),
        ("65532", User(65532, 0)),
        ("web", User(33, 34, (50,), "/srv/web")),
        ("33", User(33, 34, (50,), "/srv/web")),
        ("web:logs", User(33, 60, (50,), "/srv/web")),
        ("web:1234", User(33, 1234, (50,), "/srv/web")),
        ("", User(0, 0, (), "/root")),
    ],
)
def test_names_and_numbers_are_looked_up_in_the_image(root: Path, text: str, user: User) -> None:
    assert find_user(root, text) == user


@pytest.mark.parametrize("text", ["nobody", "web:nogroup"])
def test_a_name_that_the_image_lacks_is_refused(root: Path, text: str) -> None:
    with pytest.raises(ImageError, match=r"its /etc/(passwd|group) does not have"):
        find_user(root, text)


def test_a_link_in_the_image_never_leads_to_the_hosts_files(tmp_path: Path) -> None:
    image = tmp_path / "image"
    host = tmp_path / "host"
    host.mkdir()
    (host / "passwd").write_text("web:x:1:1::/:\n")
    image.mkdir()
    (image / "etc").symlink_to(host)
    with pytest.raises(ImageError):
        find_user(image, "web")
    (image / "etc").unlink()
    (image / "etc").mkdir()
    (image / "etc/passwd").symlink_to(host / "passwd")
    with pytest.raises(ImageError):
        find_user(image, "web")


@given(text=st.text(max_size=10))
def test_whatever_the_image_says_the_answer_is_a_user_or_an_image_error(text: str) -> None:
    try:
        user = find_user(Path("/nonexistent"), text)
    except ImageError:
        return
    assert user.uid >= 0


def test_the_system_calls_that_break_out_are_not_on_the_list() -> None:
    allowed = {name for rule in profile("x86_64")["syscalls"] for name in rule["names"] if "args" not in rule}
    refused = (
        "mount umount2 unshare setns ptrace bpf init_module kexec_load keyctl io_uring_setup userfaultfd"
    )
    assert not allowed & set(refused.split())
