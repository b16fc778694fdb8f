"""What changed between two texts, in words."""

from hypothesis import given
from hypothesis import strategies as st

from company_site.posts.diff import Kind, Piece, compare, merge

TEXTS = st.text(st.sampled_from("ab \n.é"), max_size=80)


@given(TEXTS, TEXTS)
def test_both_texts_are_in_the_pieces(before, after):
    pieces = compare(before, after, context=None)
    assert "".join(piece.text for piece in pieces if piece.kind != Kind.ADDED) == before
    assert "".join(piece.text for piece in pieces if piece.kind != Kind.REMOVED) == after


@given(TEXTS, st.integers(0, 3))
def test_what_is_the_same_is_no_change(text, context):
    assert {piece.kind for piece in compare(text, text, context=context)} <= {Kind.SAME, Kind.SKIPPED}


def test_a_change_of_a_word_is_that_word():
    assert compare("The tide was out.", "The tide was in.") == (
        Piece(Kind.SAME, "The tide was "),
        Piece(Kind.REMOVED, "out"),
        Piece(Kind.ADDED, "in"),
        Piece(Kind.SAME, "."),
    )


def test_words_that_changed_side_by_side_are_one_change():
    pieces = [piece.text for piece in compare("The first text.", "What she wrote.")]
    assert pieces == ["The first text", "What she wrote", "."]


def test_what_is_far_from_a_change_is_counted_only():
    lines = [f"{number}\n" for number in range(20)]
    pieces = compare("".join(lines), "".join([*lines[:10], "new\n", *lines[10:]]))
    assert [piece.text for piece in pieces if piece.kind == Kind.SKIPPED] == ["8", "8"]


def test_long_texts_that_repeat_themselves_are_compared_in_bounded_time():
    before, after = "a\n" * 30_000, "a b\n" * 15_000
    assert compare(before, after)
    assert compare("a " * 30_000, "b a " * 15_000)
    assert compare("a " * 1000, "a b " * 500)
    assert merge(before, after, before) == after
    cycle = "".join(chr(200 + number * 37 % 101) + "\n" for number in range(30_000))
    assert compare(cycle, cycle[::-1])


def test_changes_in_different_places_come_together():
    base = "one\n\ntwo\n\nthree"
    assert merge(base, "One\n\ntwo\n\nthree", "one\n\ntwo\n\nthree\n\nfour") == "One\n\ntwo\n\nthree\n\nfour"


def test_changes_in_one_place_do_not():
    assert merge("one\ntwo", "One\ntwo", "uno\ntwo") is None
    assert merge("one\ntwo", "One\ntwo", "one\nTwo") is None


@given(TEXTS, TEXTS)
def test_a_change_of_one_alone_is_the_text(base, text):
    assert merge(base, text, base) == text
    assert merge(base, base, text) == text
    assert merge(base, text, text) == text


@given(TEXTS, TEXTS, TEXTS)
def test_whose_change_is_named_first_is_the_same(base, ours, theirs):
    assert merge(base, ours, theirs) == merge(base, theirs, ours)
