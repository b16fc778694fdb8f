"""Changelogs: their sections, and what is drafted from commits."""

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagboat.changelog import Entry, draft, released, section_of, unreleased_section, with_section

TODAY = date(2026, 11, 23)
TEXT = """\
# Changelog

All that users should know.

## [Unreleased]

### Added

- Soon.

## [1.5.0] - 2026-11-23

- Now.

```sh
## [1.4.0] is no heading here
```

### Fixed

- This.

## v1.4 (2026-01-01)

- Then.

[Unreleased]: https://git.example/compare/v1.5.0...HEAD
[1.5.0]: https://git.example/releases/v1.5.0
"""


@pytest.mark.parametrize(
    ("version", "body"),
    [
        ("1.5.0", "- Now.\n\n```sh\n## [1.4.0] is no heading here\n```\n\n### Fixed\n\n- This."),
        ("1.4.0", "- Then."),
        ("1.4", "- Then."),
    ],
)
def test_a_section_is_found_by_its_version(version, body):
    assert section_of(TEXT, version).body == body


def test_a_version_without_a_section_has_none():
    assert section_of(TEXT, "1.3.0") is None
    assert unreleased_section("# Changelog\n") is None


@pytest.mark.parametrize(
    "heading",
    ["# 1.0", "## 1.0", "## [1.0]", "## v1.0", "## [v1.0](https://x)", "### 1.0 - today", "## 1.0(x)"],
)
def test_headings_may_be_of_any_usual_form(heading):
    assert section_of(f"# Changes\n\n{heading}\n\n- One.\n", "1.0").body == "- One."


def test_a_section_ends_where_something_else_begins():
    assert section_of("## 1.0\n\n- One.\n\n## Thanks\n\nAll.\n", "1.0").body == "- One."


def test_what_was_not_released_becomes_a_version():
    text = released(TEXT, "1.6.0", TODAY)
    assert section_of(text, "1.6.0").body == "### Added\n\n- Soon."
    assert "## [1.6.0] - 2026-11-23\n" in text
    assert section_of(text, "1.5.0") == section_of(TEXT, "1.5.0")
    assert released("## Unreleased\n\n## 1.0\n\n- x\n", "1.1", TODAY) is None


def test_commits_are_grouped_as_their_subjects_say():
    entries = [
        Entry("a" * 40, "feat(cart): prices", ""),
        Entry("b" * 40, "fix: round them", ""),
        Entry("c" * 40, "Say it better", ""),
        Entry("d" * 40, "chore: tidy up", ""),
        Entry("e" * 40, "refactor!: drop cents", ""),
        Entry("f" * 40, "perf: faster", "BREAKING CHANGE: needs more memory"),
    ]
    assert draft(entries) == (
        "### Breaking\n\n- Drop cents (eeeeeee)\n- Faster (fffffff)\n\n"
        "### Added\n\n- Prices (aaaaaaa)\n\n"
        "### Changed\n\n- Say it better (ccccccc)\n\n"
        "### Fixed\n\n- Round them (bbbbbbb)\n\n"
        "### Other\n\n- Tidy up (ddddddd)"
    )


def test_commits_without_such_subjects_are_one_list():
    assert draft([Entry("a" * 40, "one", ""), Entry("b" * 40, "Two: three", "")]) == (
        "- One (aaaaaaa)\n- Two: three (bbbbbbb)"
    )
    assert draft([]) == ""


_BODIES = st.lists(st.text("ab -*`", min_size=1).map(lambda text: "- " + text.strip()), min_size=1)


@given(_BODIES, st.sampled_from([None, TEXT, "# Changelog\n", "", "words only"]))
def test_a_section_that_is_put_in_is_found_again_and_moves_no_other(lines, text):
    body = "\n".join(line.rstrip() for line in lines)
    changed = with_section(text, "9.0", body, TODAY)
    assert section_of(changed, "9.0").body == body
    if text == TEXT:
        for version in ("1.5.0", "1.4"):
            assert section_of(changed, version).body == section_of(TEXT, version).body


def test_the_draft_holds_what_touches_the_component_since_its_last_tag(checkout):
    assert checkout.tag().returncode == 0
    for path, message in (
        ("shop/code.py", "feat: prices"),
        ("goods/code.py", "fix: weights of goods"),
        ("other/code.py", "feat: nobody here needs it"),
    ):
        checkout.write(path, f"# {message}\n")
        checkout.commit(message)
    done = checkout.tagboat("changelog", "shop")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "## [Unreleased]"
    assert lines[2] == "### Added"
    assert lines[4].startswith("- Prices (")
    assert lines[8].startswith("- Weights of goods (")
    assert "nobody" not in done.stdout
    assert "2 commits since shop-v1.4.0 touch shop" in done.stderr
    draft = json.loads(checkout.tagboat("changelog", "--json", "shop").stdout)
    assert (draft["version"], draft["since"], draft["commits"]) == (None, "shop-v1.4.0", 2)
    assert draft["body"].startswith("### Added\n\n- Prices (")


def test_the_draft_of_a_version_that_is_not_tagged_yet_is_its_section(checkout):
    (checkout.root / "shop" / "CHANGELOG.md").unlink()
    checkout.commit("No changelog")
    done = checkout.tagboat("changelog", "--write", "shop")
    assert done.returncode == 0, done.stderr
    assert checkout.read("shop/CHANGELOG.md").startswith("# Changelog\n\n## [1.4.0] - 20")
    checkout.commit("Changelog")
    assert checkout.tag().returncode == 0


def test_a_draft_is_put_above_the_older_sections(checkout):
    assert checkout.tag().returncode == 0
    checkout.write("shop/code.py", "more = 1\n")
    checkout.commit("More")
    assert checkout.tagboat("changelog", "--write", "shop").returncode == 0
    text = checkout.read("shop/CHANGELOG.md")
    assert text.index("[Unreleased]") < text.index("- More (") < text.index("[1.4.0]")
    checkout.commit("Changelog")
    assert checkout.tag("--bump", "minor").stdout == "shop-v1.5.0\n"


def test_nothing_new_makes_no_draft(checkout):
    assert checkout.tag().returncode == 0
    done = checkout.tagboat("changelog", "shop")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no commit since shop-v1.4.0 touches shop" in done.stderr
    told = checkout.tagboat("changelog", "--json", "shop")
    assert (told.returncode, json.loads(told.stdout)["commits"]) == (1, 0)
