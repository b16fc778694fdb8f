"""Values: their stored form keeps type, equality and order, and what cannot be stored is refused."""

from __future__ import annotations

import math
import operator
import sys
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bucketlog import URI, Connection, Keyword, QueryError, TransactionError, edn
from bucketlog.log import value_from_json, value_to_json
from bucketlog.query.comparison import bound
from bucketlog.query.library import LIBRARY
from bucketlog.value import ValueType, decode, encode, encode_as

SHOP = """
[{:db/ident :item/name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one,
  :db/unique :db.unique/identity}
 {:db/ident :item/price, :db/valueType :db.type/bigdec, :db/cardinality :db.cardinality/one}
 {:db/ident :item/discounts, :db/valueType :db.type/bigdec, :db/cardinality :db.cardinality/many}
 {:db/ident :item/weight, :db/valueType :db.type/double, :db/cardinality :db.cardinality/one}
 {:db/ident :item/stock, :db/valueType :db.type/long, :db/cardinality :db.cardinality/one}
 {:db/ident :item/page, :db/valueType :db.type/uri, :db/cardinality :db.cardinality/one,
  :db/unique :db.unique/value}]
"""

_DIGITS = st.integers(-(10**64) + 1, 10**64 - 1)
decimals = st.builds(
    lambda digits, exponent: Decimal(f"{digits}E{exponent}"),
    st.one_of(st.integers(-1000, 1000), _DIGITS),
    st.one_of(st.integers(-4, 4), st.integers(-6200, 6076)),
).filter(lambda value: not value or -6144 <= value.adjusted() < 6144)
_long_decimals = st.builds(
    lambda digits, exponent: Decimal(f"{digits}E{exponent}"), _DIGITS, st.integers(-99, 99)
)
uris = st.from_regex(r"[a-z][a-z0-9+.-]{0,5}:[a-zA-Z0-9/?#%&=~é@:\[\]-]{1,20}", fullmatch=True).map(URI)
KINDS: dict[ValueType, st.SearchStrategy[Any]] = {
    ValueType.STRING: st.text(st.characters(exclude_categories=["Cs"])),
    ValueType.LONG: st.integers(-(1 << 63), (1 << 63) - 1),
    ValueType.DOUBLE: st.floats(allow_nan=False),
    ValueType.BOOLEAN: st.booleans(),
    ValueType.INSTANT: st.datetimes(timezones=st.just(UTC)),
    ValueType.UUID: st.uuids(),
    ValueType.KEYWORD: st.from_regex(r":[a-z]{1,3}(/[a-z]{1,3})?", fullmatch=True).map(Keyword),
    ValueType.BYTES: st.binary(),
    ValueType.BIGDEC: decimals,
    ValueType.URI: uris,
}
columns = st.sampled_from(list(KINDS)).flatmap(lambda kind: st.lists(KINDS[kind], max_size=8))


@given(st.one_of(*KINDS.values()))
def test_a_value_comes_back_from_its_stored_form_and_from_the_log(value: Any) -> None:
    stored = encode(value)
    assert decode(stored) == value
    assert type(decode(stored)) is type(value)
    assert encode(decode(stored)) == stored
    assert value_from_json(value_to_json(stored)) == stored


@given(columns)
def test_stored_forms_sort_as_values_do(values: Sequence[Any]) -> None:
    assert [decode(stored) for stored in sorted(map(encode, values))] == sorted(values)  # type: ignore[type-var]


@given(st.binary(min_size=1, max_size=40))
def test_any_bytes_are_a_value_or_refused(blob: bytes) -> None:
    try:
        value = decode(blob)
    except ValueError as error:
        assert "is no value" in str(error)  # noqa: PT017 -- both ends are right
    else:
        assert decode(encode(value)) == value


@given(decimals, decimals)
def test_decimals_are_one_value_exactly_when_they_are_equal(one: Decimal, other: Decimal) -> None:
    assert (encode(one) == encode(other)) == (one == other)
    assert (encode(one) < encode(other)) == (one < other)  # type: ignore[operator]


@given(decimals)
def test_decimals_read_back_from_edn_digit_by_digit(value: Decimal) -> None:
    found = edn.loads(edn.dumps(value))
    assert isinstance(found, Decimal)
    assert found.as_tuple() == value.as_tuple()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("1.00", "1"),
        ("1.50", "1.5"),
        ("100", "100"),
        ("1E+2", "100"),
        ("-0.00", "0"),
        ("0E+50", "0"),
        ("-0.0120", "-0.012"),
        ("1E+63", "1" + "0" * 63),
        ("1E+64", "1E+64"),
        ("12E-70", "1.2E-69"),
    ],
)
def test_a_decimal_comes_back_without_the_zeros_that_say_nothing(given: str, kept: str) -> None:
    with localcontext() as context:
        context.prec = 3  # which is for computing only
        assert str(decode(encode(Decimal(given)))) == kept


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (ValueType.BIGDEC, Decimal("NaN"), "NaN is no number"),
        (ValueType.BIGDEC, Decimal("-Infinity"), "-Infinity is no number"),
        (ValueType.BIGDEC, Decimal("1" * 65), "at most 64 digits, and this one has 65"),
        (ValueType.BIGDEC, Decimal("1E+6144"), r"to 10\^6144, and this one is 1.000E\+6144"),
        (ValueType.BIGDEC, Decimal("1E-6145"), "this one is 1.000E-6145"),
        (ValueType.BIGDEC, 1.5, "expected Decimal, got float"),
        (ValueType.BIGDEC, True, "expected Decimal, got bool"),
        (ValueType.BIGDEC, "1.5", "expected Decimal, got str"),
        (ValueType.URI, "example.org", "it must look like 'scheme:rest'"),
        (ValueType.URI, "http://a b", "without spaces"),
        (ValueType.URI, "", "is not a URI"),
        (ValueType.URI, "a:\ud800", "is not a URI"),
        (ValueType.URI, 5, "expected URI, got int"),
        (ValueType.LONG, Decimal(1), "expected int, got Decimal"),
        (ValueType.LONG, 1 << 63, "does not fit in 64 bits"),
    ],
)
def test_what_is_no_value_of_a_type_is_refused(kind: ValueType, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_as(kind, value)


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        ("06", "the sign of a decimal is not there"),
        ("0603", "the sign"),
        ("02", "is no value"),
        ("028000", "is no value"),
        ("0a01", "is no value"),
        ("", "is no value"),
        ("0602800165", "digits of a decimal are damaged"),
        ("06028001ff00", "digits of a decimal are damaged"),
        ("0602800100", "digits of a decimal are damaged"),
        ("060101", "bytes follow a decimal"),
        ("0701", "not a URI"),
        ("0361", "not a keyword"),
        ("0401", "16-char"),
        ("03ff", "can't decode"),
        ("0602" + "8001" + "02" * 60, "blob 06028001" + "02" * 36 + "…"),
    ],
)
def test_damaged_blobs_are_refused(blob: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(bytes.fromhex(blob))


@pytest.mark.parametrize(
    "value", [{"bigdec": 1.5}, {"bigdec": "x"}, {"bigdec": "NaN"}, {"bigdec": "1E99999999999999999999"}]
)
def test_decimals_of_the_log_are_digits(value: Any) -> None:
    with pytest.raises(ValueError, match=r"decimal|number|not a kind"):
        value_from_json(value)


def test_a_uri_is_not_its_text() -> None:
    page = URI("https://example.org/ä?q=1#top")
    assert page == "https://example.org/ä?q=1#top"
    assert encode(page) != encode(str(page))
    assert repr(page) == "URI('https://example.org/ä?q=1#top')"
    assert edn.dumps(page) == '#uri "https://example.org/ä?q=1#top"'
    assert type(edn.loads(edn.dumps(page))) is URI


@pytest.fixture
def shop(connect: Callable[..., Connection], location: str) -> Connection:
    """Items with exact prices; some have pages."""
    conn = connect(location)
    conn.transact(SHOP)
    conn.transact(
        """[{:item/name "pen" :item/price 1.50M :item/discounts [0.1M 0.10M 0.2M] :item/weight 1.5
             :item/page #uri "https://shop.example/pen" :item/stock 3}
            {:item/name "cup" :item/price 12M :item/weight 12.5 :item/stock 12}
            {:item/name "bag" :item/price -0.01M :item/weight 0.1 :item/stock 0}]"""
    )
    return conn


def names(conn: Connection, query: str, *inputs: Any) -> list[str]:
    return sorted(conn.db().q(f"[:find [?n ...] {query}]", *inputs))


def test_decimals_and_uris_are_pulled_and_found(shop: Connection) -> None:
    pen = shop.db().pull("[*]", [":item/name", "pen"])
    assert pen[":item/price"] == Decimal("1.5")
    assert pen[":item/discounts"] == [Decimal("0.1"), Decimal("0.2")]
    assert pen[":item/page"] == URI("https://shop.example/pen")
    assert type(pen[":item/page"]) is URI
    where = ":where [?e :item/name ?n]"
    assert names(shop, f"{where} [?e :item/price 1.500M]") == ["pen"]
    assert names(shop, f"{where} [?e :item/price 12]") == ["cup"]
    assert names(shop, f"{where} [_ :item/page ?p] [?e :item/page ?p]") == ["pen"]
    assert names(shop, f'{where} [?e :item/page "https://shop.example/pen"]') == ["pen"]
    assert shop.db().entid([":item/page", "https://shop.example/pen"]) == pen[":db/id"]
    assert names(shop, f":in $ ?p {where} [?e :item/price ?p]", Decimal("1.50")) == ["pen"]
    assert names(shop, f":in $ [?p ...] {where} [?e :item/page ?p]", [pen[":item/page"]]) == ["pen"]
    with pytest.raises(QueryError, match=r"1.5 can be no value of :item/price .*expected Decimal, got float"):
        shop.db().q("[:find ?e :where [?e :item/price 1.5]]")


def test_decimals_are_swapped_and_replaced_by_their_value(shop: Connection) -> None:
    pen = [":item/name", "pen"]
    assert not [
        d
        for d in shop.transact([[":db/add", pen, ":item/price", Decimal("1.5000")]]).tx_data
        if d.e < 1 << 40
    ]
    shop.transact([[":db/cas", pen, ":item/price", Decimal("1.50"), 2]])
    assert shop.db().pull("[:item/price]", pen) == {":item/price": Decimal(2)}
    with pytest.raises(
        TransactionError, match=r"1\.5 is no value for :item/price, which is of type :db.type/b"
    ):
        shop.transact([{":item/name": "pen", ":item/price": 1.5}])


def test_aggregates_of_decimals_are_exact(shop: Connection) -> None:
    def found(aggregate: str) -> Any:
        return shop.db().q(f"[:find ({aggregate} ?p) . :with ?e :where [?e :item/price ?p]]")

    assert str(found("sum")) == "13.49"
    assert str(found("max")) == "12"
    assert str(found("min")) == "-0.01"
    assert str(found("median")) == "1.5"
    assert str(found("avg")) == "4.4" + "96" + "6" * 59 + "7"
    assert found("count-distinct") == 3


@given(st.sampled_from("+-*"), _long_decimals, _long_decimals)
def test_sums_and_products_of_decimals_are_exact(sign: str, one: Decimal, other: Decimal) -> None:
    call, _, _ = LIBRARY[sign]
    exact = {"+": operator.add, "-": operator.sub, "*": operator.mul}[sign]
    assert Fraction(call(one, other)) == exact(Fraction(one), Fraction(other))


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("(quot -7.5M 2)", "-3"),
        ("(rem -7.5M 2)", "-1.5"),
        ("(mod -7.5M 2)", "0.5"),
        ("(quot 1234567890123456789012345678901234567890M 7M)", "176366841446208112716049382700176366841"),
        ("(rem 1234567890123456789012345678901234567890M 7M)", "3"),
        ("(/ 1M 3)", "0." + "3" * 64),
        ("(/ 1M 0)", None),
        ("(+ 1M 0.5)", "1.5"),
        ("(inc 1234567890123456789012345678901234567890M)", "1234567890123456789012345678901234567891"),
        ("(- 0.1M)", "-0.1"),
        ("(abs -1.50M)", "1.5"),
        ("(bigdec 3)", "3"),
    ],
)
def test_functions_compute_with_decimals(shop: Connection, call: str, result: str | None) -> None:
    found = shop.db().q(f"[:find ?x . :where [{call} ?x]]")
    assert found == (None if result is None else Decimal(result))


def test_a_uri_of_a_query_is_text_by_str_only(shop: Connection) -> None:
    db = shop.db()
    assert db.q("[:find ?t . :where [_ :item/page ?p] [(str ?p) ?t]]") == "https://shop.example/pen"
    assert (
        db.q('[:find ?p . :where [_ :item/page ?p] [(uri? ?p)] [(= ?p "https://shop.example/pen")]]') is None
    )
    with pytest.raises(QueryError, match="is not text"):
        db.q("[:find ?t . :where [_ :item/page ?p] [(upper-case ?p) ?t]]")


_numbers = st.one_of(
    st.sampled_from(
        [0, 1, 12, 1.5, -0.01, math.inf, -math.inf, 1e300, -5e-324, Decimal("12.0"), Decimal("1E+99")]
    ),
    st.integers(-2, 14),
    st.floats(-2, 14),
    st.decimals(-2, 14, places=3),
    st.integers(-(1 << 63), (1 << 63) - 1),
)
_operators = st.sampled_from(["<", ">", "<=", ">=", "=", "!="])
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}


@settings(max_examples=150, deadline=None)
@given(
    sign=_operators,
    number=_numbers,
    attribute=st.sampled_from(["price", "weight", "stock"]),
    left=st.booleans(),
)
def test_decimals_compare_with_other_numbers_by_size(
    shop: Connection, sign: str, number: Any, attribute: str, left: bool
) -> None:
    """However the operands get there: as inputs, computed, or read from attributes that nobody names."""
    db = shop.db()
    values = db.q(f"[:find ?n ?v :where [?e :item/name ?n] [?e :item/{attribute} ?v]]")
    test = _TESTS[sign]
    wanted = sorted(n for n, v in values if (test(number, v) if left else test(v, number)))
    order = f"{sign} ?x ?v" if left else f"{sign} ?v ?x"
    item = "[?e :item/name ?n]"
    ways = [
        (f":in $ ?x :where {item} [?e :item/{attribute} ?v] [({order})]", (number,)),
        (f":in $ [?x ...] :where {item} [?e :item/{attribute} ?v] [({order})]", ([number],)),
        (f":in $ ?x :where {item} [?e :item/{attribute} ?w] [(identity ?w) ?v] [({order})]", (number,)),
        (f":in $ ?x ?a :where {item} [?e ?a ?v] [({order})]", (number, f":item/{attribute}")),
        (f":in $ ?x :where {item} [?e :item/{attribute} ?v] [({order}) ?yes] [(true? ?yes)]", (number,)),
    ]
    for query, inputs in ways:
        assert names(shop, query, *inputs) == wanted, query
    if not (isinstance(number, float) and math.isinf(number)):
        constant = edn.dumps(number)
        found = names(shop, f":where {item} [?e :item/{attribute} ?v] [({order.replace('?x', constant)})]")
        assert found == wanted


def test_decimals_of_two_attributes_compare_with_numbers_by_size(shop: Connection) -> None:
    where = ":where [?e :item/name ?n] [?e :item/price ?p] [?e :item/weight ?w] [?e :item/stock ?s]"
    assert names(shop, f"{where} [(< ?p ?w)]") == ["bag", "cup"]
    assert names(shop, f"{where} [(= ?p ?w)]") == ["pen"]
    assert names(shop, f"{where} [(>= ?p ?s)]") == ["cup"]
    assert names(shop, f"{where} [(< -1 ?p 2M)]") == ["bag", "pen"]
    assert names(shop, f"{where} [(< ?p 2 ?s)]") == ["pen"]
    assert names(shop, f"{where} [(* ?p 2) ?d] [(> ?d 2)]") == ["cup", "pen"]
    assert names(shop, f"{where} [(max ?p 1) ?m] [(= ?m 1)]") == ["bag"]
    assert names(shop, f"{where} [(min ?p ?s 5) ?m] [(= ?m 5)]") == ["cup"]


@pytest.mark.parametrize(
    ("stored", "kind", "up", "found"),
    [
        (encode(Decimal("1.5")), ValueType.LONG, True, 2),
        (encode(Decimal("1.5")), ValueType.LONG, False, 1),
        (encode(Decimal("1.5")), ValueType.LONG, None, encode(Decimal("1.5"))),
        (encode(Decimal("1.0")), ValueType.LONG, None, 1),
        (encode(Decimal(1 << 60) + Decimal("0.5")), ValueType.LONG, True, (1 << 60) + 1),
        (encode(Decimal(1 << 63)), ValueType.LONG, False, math.inf),
        (encode(Decimal(-(1 << 63))), ValueType.LONG, False, -(1 << 63)),
        (encode(Decimal("0.1")), ValueType.DOUBLE, True, 0.1),
        (encode(Decimal("0.1")), ValueType.DOUBLE, False, math.nextafter(0.1, 0)),
        (encode(Decimal("0.1")), ValueType.DOUBLE, None, encode(Decimal("0.1"))),
        (encode(Decimal("1E+400")), ValueType.DOUBLE, True, math.inf),
        (encode(Decimal("1E+400")), ValueType.DOUBLE, False, sys.float_info.max),
        (5, ValueType.BIGDEC, None, encode(Decimal(5))),
        (math.inf, ValueType.BIGDEC, True, b"\x06\xff"),
        (-math.inf, ValueType.BIGDEC, True, b"\x06"),
        (math.inf, ValueType.BIGDEC, None, math.inf),
        (5e-324, ValueType.BIGDEC, None, 5e-324),
        ("text", ValueType.BIGDEC, True, "text"),
        (encode(True), ValueType.LONG, True, encode(True)),
        (5, ValueType.LONG, True, 5),
        (None, ValueType.BIGDEC, True, None),
    ],
)
def test_a_number_is_rounded_to_what_compares_as_it_does(
    stored: Any, kind: ValueType, up: bool, found: Any
) -> None:
    assert bound(stored, kind, up=up) == found


def test_every_type_but_references_and_tuples_is_tried_here() -> None:
    assert set(ValueType) - set(KINDS) == {ValueType.REF, ValueType.TUPLE}
    assert uuid.UUID(int=1) == decode(encode(uuid.UUID(int=1)))
    assert decode(encode(datetime(2024, 1, 1, tzinfo=UTC))) == datetime(2024, 1, 1, tzinfo=UTC)
