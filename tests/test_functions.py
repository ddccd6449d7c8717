"""Functions that models call: numbers and arguments as texts write them, what is computed, and how a call goes."""

import gzip
import json
import math
import os
import re
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from toolgen.agent.environment import Environment, Status
from toolgen.functions import arithmetic
from toolgen.functions.arithmetic import NoResultError
from toolgen.functions.grammar import MOST_ARGUMENTS, MOST_CHARACTERS, ArgumentsError, read_arguments
from toolgen.functions.hub import HUBS, Entry, FunctionHub, funcqa, gsm8k, virtualhome
from toolgen.functions.numbers import DECIMALS, MOST_DIGITS, NumberError, read_number, show_number
from toolgen.functions.signatures import FUNCTIONS
from toolgen.tools import Tool

FRACTIONS = st.fractions(min_value=-(10**12), max_value=10**12, max_denominator=10**9)
ABOVE_ZERO = st.fractions(min_value=Fraction(1, 10**9), max_value=10**12, max_denominator=10**9)
SHOWN = FRACTIONS.map(show_number)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        ("007", 7),
        ("0.50", Fraction(1, 2)),
        (".8", Fraction(4, 5)),
        ("-.8", Fraction(-4, 5)),
        ("8.", 8),
        ("22,500", 22500),
        ("-1,234,567.25", Fraction(-4938269, 4)),
        ("$8", 8),
        ("-$1,000", -1000),
        ("$.01", Fraction(1, 100)),
        ("15%", Fraction(3, 20)),
        ("33.3%", Fraction(333, 1000)),
        ("3/4", Fraction(3, 4)),
        ("-39/3", -13),
        ("1,000/3", Fraction(1000, 3)),
        ("  5 ", 5),
    ],
)
def test_numbers_are_read_exactly(text: str, expected: Fraction) -> None:
    assert read_number(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "-",
        "$",
        "%",
        "2,25",
        "22,5000",
        "0,500",
        "1234,567",
        ",500",
        "1e5",
        "1_000",
        "0x10",
        "1 2",
        "--1",
        "1/2/3",
    ]
    + ["1/-2", "$3/4", "3/4%", "٣", "½", "inf", "nan", "10-3", "__import__('os')", "(1)", "1.2.3"],
)
def test_what_is_no_number_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(NumberError, match="is no number. Numbers are written like 12, -0.5, 22,500"):
        read_number(text)


def test_other_numbers_that_are_refused() -> None:
    with pytest.raises(NumberError, match="'3/0' divides by zero"):
        read_number("3/0")
    with pytest.raises(NumberError, match="5,000 characters is too long; at most 4,100"):
        read_number("1" * 5000)
    with pytest.raises(NumberError, match=r"'x{37}\.\.\.' is no number"):
        read_number("x" * 1000)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (-3, "-3"),
        (10**30, "1" + "0" * 30),
        (Fraction(1, 2), "0.5"),
        (Fraction(-9, 4), "-2.25"),
        (Fraction(1, 3), "0.3333"),
        (Fraction(2, 3), "0.6667"),
        (Fraction("1.00005"), "1"),
        (Fraction("1.00015"), "1.0002"),
        (Fraction("-1.00025"), "-1.0002"),
        (Fraction("99.99999"), "100"),
        (Fraction("0.1"), "0.1"),
        (Fraction("0.01"), "0.01"),
        (Fraction(1, 60), "0.01667"),
        (Fraction(-1, 10**9), "-0.000000001"),
        (Fraction("0.0000999999"), "0.0001"),
        (Fraction("0.00099995"), "0.001"),
    ],
)
def test_numbers_are_shown_without_exponents_and_idle_zeros(value: Fraction | int, expected: str) -> None:
    assert show_number(Fraction(value)) == expected


@given(FRACTIONS)
def test_what_is_shown_reads_back_as_near_as_it_can(value: Fraction) -> None:
    shown = show_number(value)
    assert re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", shown)
    back = read_number(shown)
    assert show_number(back) == shown
    assert (back > 0) == (value > 0) and (back < 0) == (value < 0), "neither a sign nor a number is lost"
    # Half a unit of the last decimal, or of the last digit of a number below a tenth.
    assert abs(back - value) <= min(Fraction(1), abs(value) * 10) / (2 * 10**DECIMALS)
    if value.denominator in (1, 2, 4, 5, 10, 100, 10**DECIMALS):
        assert back == value


@given(st.integers(min_value=-(10**MOST_DIGITS) + 1, max_value=10**MOST_DIGITS - 1))
def test_whole_numbers_are_shown_in_full(value: int) -> None:
    assert show_number(Fraction(value)) == str(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("  ", ()),
        ("5", ("5",)),
        ("4500, 5", ("4500", "5")),
        (" 1 , 2 ", ("1", "2")),
        ("1/2,3", ("1/2", "3")),
        ("22,500, 20", ("22,500", "20")),
        ("22,500,2000, 3", ("22,500", "2000", "3")),
        ("2,25, 3", ("2", "25", "3")),
        ("17.83,18.99, 23,456.5", ("17.83", "18.99", "23,456.5")),
        ("$22,500.00, 15%", ("$22,500.00", "15%")),
        ("451,762,416", ("451", "762", "416")),
        ("1,234", ("1", "234")),
        ("1, 234", ("1", "234")),
        ("-1,-.5", ("-1", "-.5")),
        ("1,\n2", ("1", "2")),
    ],
)
def test_arguments_are_parsed(text: str, expected: tuple[str, ...]) -> None:
    assert read_arguments(text) == expected


def test_commas_are_read_as_the_function_needs_them() -> None:
    assert read_arguments("1,234", most=1) == ("1,234",)
    assert read_arguments("2,500,3", most=2) == ("2,500", "3")
    assert read_arguments("1,2,3", most=2) == ("1", "2", "3"), "no other reading: the function refuses them"
    hub = funcqa()
    assert hub.read("<sqrt>", "1,234") == ("1,234",) and hub.read("<gcd>", "723,638") == ("723", "638")
    assert virtualhome().read("[WALK]", "") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10,10-3", "Expected a comma or the end at '-3' of the arguments '10,10-3'"),
        ("1 2", "Expected a comma or the end at ' 2'"),
        ("1;2", "Expected a comma or the end at ';2'"),
        ("1,,2", "Expected a number at ',2'"),
        (",1", "Expected a number at ',1'"),
        ("1, 2,", "Expected a number at ''"),
        ("x", "Expected a number at 'x' of the arguments 'x'. Arguments are numbers with commas between them"),
        ("2**9**9", r"at '\*\*9\*\*9'"),
        ("__import__('os').system('true')", "Expected a number"),
        ("1, 3/0", "'3/0' divides by zero"),
        ("1" * 5000, "5,000 characters is too long"),
        ("1, " * 5000, f"at most {MOST_CHARACTERS:,} are read"),
    ],
)
def test_what_are_no_arguments_is_refused(text: str, message: str) -> None:
    with pytest.raises(ArgumentsError, match=message):
        read_arguments(text)


@given(st.lists(SHOWN, max_size=8), st.sampled_from([", ", ",", " ,  "]))
def test_shown_numbers_joined_are_read_back(shown: list[str], separator: str) -> None:
    assert read_arguments(separator.join(shown)) == tuple(shown)


@given(st.lists(st.integers(-(10**12), 10**12).map("{:,}.50".format), min_size=2, max_size=8))
def test_grouped_numbers_joined_with_spaces_are_read_back(written: list[str]) -> None:
    assert read_arguments(", ".join(written)) == tuple(written)


@given(st.text(alphabet="0123456789,. $%/-+x\n", max_size=30), st.integers(min_value=0, max_value=3))
def test_any_text_is_read_as_numbers_or_refused(text: str, most: int) -> None:
    try:
        found = read_arguments(text, most)
    except ArgumentsError:
        return
    assert all(isinstance(read_number(number), Fraction) for number in found)
    assert re.sub(r"[\s,]", "", "".join(found)) == re.sub(r"[\s,]", "", text), "nothing is left out"


@given(st.lists(FRACTIONS, min_size=2, max_size=5))
def test_the_four_operations_go_from_left_to_right_and_are_exact(numbers: list[Fraction]) -> None:
    first, *others = numbers
    assert arithmetic.add(*numbers) == sum(numbers)
    assert arithmetic.subtract(*numbers) == first - sum(others)
    assert arithmetic.multiply(*numbers) == math.prod(numbers)
    if all(others):
        assert arithmetic.divide(*numbers) == first / math.prod(others)


@given(FRACTIONS, FRACTIONS.filter(bool))
def test_a_remainder_and_whole_parts_make_up_the_dividend(dividend: Fraction, divisor: Fraction) -> None:
    left = arithmetic.remainder(dividend, divisor)
    assert ((dividend - left) / divisor).denominator == 1
    assert 0 <= left < divisor or divisor < left <= 0


@given(st.lists(st.integers(min_value=-(10**9), max_value=10**9), min_size=1, max_size=5))
def test_multiples_and_divisors_are_those_of_the_math_module(numbers: list[int]) -> None:
    exact = [Fraction(number) for number in numbers]
    assert arithmetic.lcm(*exact) == math.lcm(*numbers) and arithmetic.gcd(*exact) == math.gcd(*numbers)


@given(st.integers(min_value=0, max_value=400), st.integers(min_value=0, max_value=400))
def test_ways_are_those_of_the_math_module(things: int, chosen: int) -> None:
    assert arithmetic.choose(Fraction(things), Fraction(chosen)) == math.comb(things, chosen)
    assert arithmetic.permutate(Fraction(things), Fraction(chosen)) == math.perm(things, chosen)


@given(FRACTIONS.filter(bool), st.integers(min_value=-8, max_value=8), st.integers(min_value=1, max_value=7))
def test_powers_and_roots_of_rational_numbers_are_exact(base: Fraction, exponent: int, degree: int) -> None:
    assert arithmetic.power(base, Fraction(exponent)) == base**exponent
    size = abs(base)
    assert arithmetic.power(size**degree, Fraction(1, degree)) == size
    assert arithmetic.power(size**degree, Fraction(exponent, degree)) == size**exponent
    assert arithmetic.sqrt(base * base) == size


@given(ABOVE_ZERO, st.fractions(min_value=-20, max_value=20, max_denominator=100))
def test_what_is_irrational_agrees_with_the_math_module_and_has_many_digits(base: Fraction, exponent: Fraction) -> None:
    assert float(arithmetic.power(base, exponent)) == pytest.approx(float(base) ** float(exponent), rel=1e-12)
    assert float(arithmetic.log(base)) == pytest.approx(math.log10(base), rel=1e-12, abs=1e-15)
    assert float(arithmetic.ln(base)) == pytest.approx(math.log(base), rel=1e-12, abs=1e-15)
    root = arithmetic.sqrt(base)
    assert abs(root * root / base - 1) < Fraction(1, 10**49)


def test_logarithms_of_powers_of_ten_are_exact() -> None:
    for exponent in range(-50, 51):
        assert arithmetic.log(Fraction(10) ** exponent) == exponent
    digits = "2.3025850929940456840179914546843642076011014886287729760333279009675726096773524802"
    assert abs(arithmetic.ln(Fraction(10)) - Fraction(digits)) <= Fraction(1, 2 * 10**49)


@pytest.mark.parametrize(
    ("function", "numbers", "message"),
    [
        ("divide", (1, 0), "division by zero"),
        ("divide", (1, 2, 0), "division by zero"),
        ("remainder", (1, 0), "division by zero"),
        ("power", (0, -1), "division by zero"),
        ("power", (0, Fraction(-1, 2)), "division by zero"),
        ("power", (-8, Fraction(1, 3)), "no real power"),
        ("sqrt", (-1,), "no real square root"),
        ("log", (0,), "above zero"),
        ("ln", (-1,), "above zero"),
        ("choose", (-1, 1), "may be negative"),
        ("permutate", (5, -1), "may be negative"),
    ],
)
def test_what_has_no_result_is_refused(function: str, numbers: Sequence[Fraction | int], message: str) -> None:
    with pytest.raises(NoResultError, match=message):
        FUNCTIONS[function].compute(*map(Fraction, numbers))


HUGE = Fraction(10 ** (MOST_DIGITS - 1) + 1)


@pytest.mark.parametrize(
    ("function", "numbers"),
    [
        ("power", (9, 9**9)),
        ("power", (10, 10**3000)),
        ("power", (Fraction(1, 10), 10**3000)),
        ("power", (Fraction(3, 2), HUGE)),
        ("power", (HUGE, Fraction(3, 2))),
        ("power", (2, Fraction(10**7 + 1, 2))),
        ("multiply", (HUGE, HUGE)),
        ("divide", (1, HUGE, HUGE)),
        ("add", (HUGE * 9, HUGE)),
        ("subtract", (-HUGE * 9, HUGE)),
        ("lcm", (HUGE, HUGE + 1)),
        ("choose", (10**6, 5 * 10**5)),
        ("choose", (HUGE, HUGE - 2)),
        ("permutate", (2000, 2000)),
        ("permutate", (HUGE, HUGE)),
    ],
)
def test_what_would_be_too_long_is_refused_at_once(function: str, numbers: Sequence[Fraction | int]) -> None:
    start = time.perf_counter()
    with pytest.raises(NoResultError, match="more than 4,000 digits"):
        FUNCTIONS[function].compute(*map(Fraction, numbers))
    assert time.perf_counter() - start < 2


def test_what_is_long_is_still_computed() -> None:
    longest = Fraction(10**MOST_DIGITS - 1)
    assert arithmetic.add(longest, Fraction(-1), Fraction(1)) == longest
    assert arithmetic.choose(HUGE, HUGE - 1) == HUGE and arithmetic.choose(Fraction(13000), Fraction(6500)) > 10**3900
    assert arithmetic.power(Fraction(-1), HUGE) == -1 and arithmetic.power(Fraction(1), 1 / HUGE) == 1
    assert arithmetic.power(HUGE**3, Fraction(1, 3)) == HUGE
    # Exact numbers of too many digits become near ones, as long as they are not too large or too small themselves.
    root = arithmetic.sqrt(Fraction(2))
    assert abs(arithmetic.power(root, Fraction(200)) / 2**100 - 1) < Fraction(1, 10**46)
    assert arithmetic.power(-root, Fraction(201)) < 0 < arithmetic.power(-root, Fraction(200))
    assert abs(arithmetic.multiply(*[1 + Fraction(1, HUGE - step) for step in range(1, 4)]) - 1) < Fraction(1, 10**49)


def test_a_hub_meets_the_protocol_and_says_what_its_tools_take() -> None:
    for name, build in HUBS.items():
        hub: Environment = build()
        for tool in hub.catalog.values():
            assert tool.source == name and tool.group and tool.description.endswith(".")
            assert tool.parameters and tool.parameters["type"] == "object"
    catalog = funcqa().catalog
    assert catalog.ids[:4] == gsm8k().catalog.ids == ("<add>", "<subtract>", "<multiply>", "<divide>")
    assert len(catalog) == 13 and catalog["<sqrt>"].name == "sqrt"
    assert catalog["<power>"].parameters == {
        "type": "object",
        "properties": {"base": {"type": "number"}, "exponent": {"type": "number"}},
        "required": ["base", "exponent"],
        "additionalProperties": False,
    }
    assert catalog["<gcd>"].parameters["properties"] == {  # type: ignore[index]
        "numbers": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": MOST_ARGUMENTS}
    }


def call(hub: FunctionHub, tool: str, *arguments: str) -> str:
    observation = hub.call(f"<{tool}>", arguments)
    assert observation.status == Status.OK, observation
    return observation.content


def test_nothing_is_rounded_between_hops() -> None:
    hub = gsm8k()
    assert call(hub, "divide", "1", "3") == "0.3333"
    assert call(hub, "multiply", "0.3333", "3") == "1"
    assert call(hub, "multiply", "$.33330", "3") == "1", "the same number, however it is written"
    hub.reset()
    assert call(hub, "multiply", "0.3333", "3") == "0.9999"
    assert call(hub, "divide", "3333", "10000") == "0.3333"
    assert call(hub, "divide", "1", "3") == "0.3333"
    assert call(hub, "multiply", "0.3333", "3") == "1", "the later of two that were shown alike"


def test_functions_of_whole_numbers_take_them_as_written() -> None:
    hub = funcqa()
    assert call(hub, "divide", "299999", "100000") == "3"
    assert call(hub, "choose", "5", "3") == "10"
    assert call(hub, "power", "8", "1/3") == "2" and call(hub, "log", "1,000") == "3" and call(hub, "gcd", "3") == "3"


@given(FRACTIONS, st.integers(min_value=1, max_value=10**6))
def test_dividing_and_multiplying_again_gives_back_the_number(value: Fraction, by: int) -> None:
    hub = gsm8k()
    text = show_number(value)
    quotient = call(hub, "divide", text, str(by))
    # Otherwise the divisor stands for the quotient as well.
    assume(quotient != str(by))
    assert call(hub, "multiply", quotient, str(by)) == text


@pytest.mark.parametrize(
    ("tool", "arguments", "status", "message"),
    [
        ("<mod>", ["1", "2"], Status.UNKNOWN_TOOL, "There is no tool '<mod>'. The tools are <add>, <subtract>"),
        ("add", ["1", "2"], Status.UNKNOWN_TOOL, "There is no tool 'add'"),
        ("<add>", [], Status.BAD_ARGUMENTS, "it takes 2 to 100 argument(s), found 0"),
        ("<add>", ["1"] * 101, Status.BAD_ARGUMENTS, "it takes 2 to 100 argument(s), found 101"),
        ("<sqrt>", ["1", "2"], Status.BAD_ARGUMENTS, "it takes 1 argument(s), found 2"),
        ("<log>", ["8", "2"], Status.BAD_ARGUMENTS, "it takes 1 argument(s), found 2"),
        ("<add>", ["1", "two"], Status.BAD_ARGUMENTS, "'two' is no number"),
        ("<add>", ["1", "9" * 9999], Status.BAD_ARGUMENTS, "too long"),
        ("<choose>", ["5", "2.5"], Status.BAD_ARGUMENTS, "its arguments are whole numbers, found '2.5'"),
        ("<divide>", ["1", "0"], Status.FAILED, "<divide> has no result: division by zero."),
        ("<choose>", ["5", "-2"], Status.FAILED, "neither number may be negative"),
        ("<power>", ["9", "999999999"], Status.FAILED, "more than 4,000 digits"),
        ("<power>", {"base": 2}, Status.BAD_ARGUMENTS, "the names of its arguments are base, exponent, found 'base'"),
        ("<power>", {"base": 2, "exponent": None}, Status.BAD_ARGUMENTS, "its arguments are numbers, found 'None'"),
        ("<power>", {"base": True, "exponent": 1}, Status.BAD_ARGUMENTS, "found 'True'"),
        ("<power>", {"base": math.inf, "exponent": 1}, Status.BAD_ARGUMENTS, "'Infinity' is no number"),
        ("<power>", {"base": 10**6000, "exponent": 1}, Status.BAD_ARGUMENTS, "too long"),
        ("<add>", {"numbers": "12"}, Status.BAD_ARGUMENTS, "'numbers' is a list of numbers, found '12'"),
        ("<add>", {}, Status.BAD_ARGUMENTS, "found 'none'"),
    ],
)
def test_a_bad_call_is_an_observation(tool: str, arguments: Any, status: Status, message: str) -> None:
    observation = funcqa().call(tool, arguments)
    assert observation.status == status and message in observation.content and len(observation.content) < 250


def test_arguments_may_be_given_by_name() -> None:
    hub = funcqa()
    assert hub.call("<power>", {"exponent": "10", "base": 2}).content == "1024"
    assert hub.call("<add>", {"numbers": [0.1, 0.2, "1/2", 1e5, 1e-7]}).content == "100000.8"
    assert hub.call("<remainder>", {"dividend": 7893, "divisor": 777}).content == "123"


def test_a_text_is_read_before_it_is_called_with() -> None:
    with pytest.raises(AssertionError, match="read first"):
        funcqa().call("<add>", "12")


@given(st.sampled_from(funcqa().catalog.ids), st.lists(SHOWN | st.text(max_size=6), max_size=3))
def test_no_call_raises(tool: str, arguments: list[str]) -> None:
    observation = funcqa().call(tool, arguments)
    if observation.status == Status.OK:
        read_number(observation.content)


def test_the_longest_results_are_shown_and_taken_up_again() -> None:
    hub = funcqa()
    for first, second in (("-" + "9" * 3999, ".12345"), ("0." + "0" * 3990 + "1", "0")):
        shown = call(hub, "add", first, second)
        assert call(hub, "multiply", shown, "1") == shown


def test_the_words_of_a_home_result_in_themselves() -> None:
    hub = virtualhome()
    assert [sum(tool.group == group for tool in hub.catalog.values()) for group in ("action", "object")] == [25, 30]
    assert hub.catalog["[SWITCHON]"].name == "switch on" and hub.catalog["<home_office>"].name == "home office"
    plan = [hub.call(word, []).content for word in ("[WALK]", "<home_office>", "[END]")]
    assert plan == ["[WALK]", " <home_office>", "[END]"]
    assert hub.call("<computer>", {}).content == " <computer>"
    bad = hub.call("<computer>", ["1"])
    assert bad.status == Status.BAD_ARGUMENTS and bad.content == "<computer> takes no arguments, found 1."
    assert hub.call("[FLY]", []).status == Status.UNKNOWN_TOOL


def test_a_hub_of_ones_own() -> None:
    hub = FunctionHub([Entry(Tool("sum", "sum"), FUNCTIONS["add"]), Entry(Tool("stop", "stop"), "Done.")])
    assert hub.call("sum", ["1", "2"]).content == "3" and hub.call("stop", []).content == "Done."


def records(name: str) -> list[dict[str, Any]]:
    shared = Path(os.environ.get("TOOLGEN_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (path := shared / "toolken" / f"{name}.jsonl.gz").is_file():
        pytest.skip(f"The data set {name} is absent; set TOOLGEN_SHARED_DATA to the folder that holds toolken/.")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def agrees(shown: str, given: str) -> bool:
    """Whether a result is the one that is given once it is rounded to as many decimals."""
    return round(read_number(shown), len(given.partition(".")[2])) == Fraction(given)


def test_funcqa_calls_give_what_the_data_says() -> None:
    hub = funcqa()
    calls = [one for record in records("funcqa_train") for one in record["calls"] if "arguments" in one]
    refused, wrong = [], []
    for one in calls:
        hub.reset()
        observation = hub.call(one["tool"], one["arguments"])
        if observation.status != Status.OK:
            refused.append(one["arguments"])
        elif not agrees(observation.content, one["result"]):
            wrong.append((one["tool"], observation.content, one["result"]))
    assert len(calls) == 644 and refused == [["10", "10-3"]], "an expression is no number"
    # The data's own faults: quotients that were guessed or taken the wrong way round.
    assert len(wrong) <= 0.01 * len(calls) and {tool for tool, _, _ in wrong} == {"<divide>"}


def test_funcqa_brackets_are_read_as_the_data_says() -> None:
    hub = funcqa()
    read = 0
    for record in records("funcqa_train"):
        for equation, one in zip(record["tar_eq"], record["calls"], strict=True):
            if "arguments" in one and one["arguments"] != ["10", "10-3"]:
                text = equation[equation.index("(") + 1 : equation.rindex(")")]
                assert hub.read(one["tool"], text) == tuple(one["arguments"])
                read += 1
    assert read == 643


def test_funcqa_questions_of_one_hop_are_answered_alike() -> None:
    hub = funcqa()
    wrong, same, questions = [], 0, records("funcqa_onehop_test")
    for record in questions:
        hub.reset()
        parts = re.fullmatch(r"(-?)(<\w+>)\((.*)\)=(.*)", record["func"])
        assert parts
        sign, tool, text, given = parts.groups()
        observation = hub.call(tool, hub.read(tool, text))
        assert observation.status == Status.OK
        value, answer = read_number(observation.content) * (-1 if sign else 1), Fraction(given)
        same += value == answer
        if abs(value - answer) > abs(answer) / 1000:
            wrong.append(text)
    # Of these two the answer is that of the question, and one of the numbers in the brackets is not the question's.
    assert wrong == ["38, 49, 17", "144, 126, 112"]
    # Two of the others are shown with more decimals in the data, and three are not rounded there but cut or mistaken.
    assert same >= 0.85 * len(questions)


def test_gsm8k_calls_give_what_the_data_says() -> None:
    hub = gsm8k()
    calls = 0
    for record in records("gsm8k_train_4op"):
        hub.reset()
        for one in record["calls"]:
            observation = hub.call(one["tool"], one["arguments"])
            assert observation.status == Status.OK
            assert read_number(observation.content) == Fraction(one["result"])
            assert read_number(one["span"]) == Fraction(one["result"])
            assert hub.read(one["tool"], ", ".join(one["arguments"])) == tuple(one["arguments"])
            calls += 1
    assert calls == 19107


def test_virtualhome_names_every_word_of_the_data() -> None:
    hub = virtualhome()
    named: set[str] = set()
    for record in records("virtualhome_train"):
        for one in record["calls"]:
            assert hub.call(one["tool"], []).content == one["span"]
        named.update(re.findall(r"\[[A-Z]+\]|<\w+>", record["text"]))
        for listed in re.findall(r"manipulate are \[(.*?)\]", record["text"]):
            named.update(f"<{word}>" for word in re.findall(r"'(\w+)'", listed))
    assert named == set(hub.catalog) and len(named) == 55
