"""Values do what frozen data classes do."""

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, is_dataclass, replace

import pytest

from ocikit.value import value


@value
class Point:
    x: int
    y: int = 0
    names: tuple[str, ...] = field(default_factory=tuple)
    note: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    x: int
    y: int = 0
    names: tuple[str, ...] = field(default_factory=tuple)
    note: str = field(default="", compare=False, repr=False)


CASES = [
    ((1,), {}),
    ((1, 2), {}),
    ((1,), {"names": ("a",)}),
    ((), {"x": 3, "note": "n"}),
    ((1, 2, (), "n"), {}),
]


@pytest.mark.parametrize(("given", "named"), CASES)
def test_it_is_as_a_frozen_data_class(given, named):
    made, wanted = Point(*given, **named), Wanted(*given, **named)
    assert is_dataclass(made)
    assert asdict(made) == asdict(wanted)
    assert repr(made) == repr(wanted).replace("Wanted", "Point")
    assert hash(made) == hash(wanted)
    for other_given, other_named in CASES:
        same = made == Point(*other_given, **other_named)
        assert same is (wanted == Wanted(*other_given, **other_named))
    assert made != wanted
    assert asdict(replace(made, y=7)) == asdict(replace(wanted, y=7))
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == copy.copy(made) == made  # noqa: S301
    for change in (lambda: setattr(made, "x", 2), lambda: delattr(made, "x"), lambda: setattr(made, "z", 2)):
        with pytest.raises(FrozenInstanceError):
            change()


@pytest.mark.parametrize(
    ("given", "named", "message"),
    [
        ((), {}, "lacks a value for 'x'"),
        ((1, 2, (), "n", 5), {}, "takes 4 values, and 5 were given"),
        ((1,), {"x": 1}, "has no room for x"),
        ((1,), {"z": 1}, "has no room for z"),
    ],
)
def test_what_does_not_fit_is_told(given, named, message):
    with pytest.raises(TypeError, match=message):
        Point(*given, **named)


def test_what_is_to_happen_afterwards_does():
    @value
    class Even:
        number: int

        def __post_init__(self):
            if self.number % 2:
                raise ValueError(self.number)

    assert Even(2).number == 2
    with pytest.raises(ValueError, match="3"):
        Even(3)
