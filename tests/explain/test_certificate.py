"""Certificates: right ones are certified, every wrong number is named, and no file makes the checker stumble."""

import ast
import copy
import decimal
import json
import math
import shutil
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import backlit as bl
from backlit.autodiff.verify import draw, samples_of
from backlit.core.errors import GraphError, NonFiniteError, ShapeError
from backlit.core.op import Op, Reals
from backlit.core.record import record
from backlit.core.value import leaf
from backlit.explain import checker
from backlit.explain.certificate import Certificate, certificate
from backlit.explain.checker import MalformedError, judge
from tests.test_op_table import ALL_OPS

CHECKER = Path(checker.__file__).parent
NO_RULE = {"imag", "nextafter", "cumulative_prod", "recurrence"}


def neuron() -> bl.Value:
    x1, x2, w1, w2, b = bl.values(x1=2.0, x2=0.0, w1=-3.0, w2=1.0, b=6.8813735870195432)
    return (x1 * w1 + x2 * w2 + b).tanh()


def net(rows: int = 4) -> bl.Value:
    rng = np.random.default_rng(0)
    w, b, v = (bl.Value(rng.normal(size=s), name=n) for n, s in (("W", (5, 6)), ("b", (6,)), ("V", (6, 4))))
    h = bl.tanh(bl.asarray(rng.normal(size=(rows, 5))) @ w + b)
    return -bl.log_softmax(h @ v)[np.arange(rows), np.arange(rows) % 4].mean()


# -- right ones ----------------------------------------------------------------------------------------------


def test_the_worked_example_is_certified_exactly():
    a, b, c, d = bl.values(a=2.0, b=-3.0, c=10.0, d=-2.0)
    verdict = certificate((a * b + c) * d).verify()
    assert (verdict.certified, verdict.digits, verdict.exit_code) == (True, None, 0)
    assert str(verdict).splitlines() == [
        "certified exactly: 3 steps forward and 6 terms backward were replayed",
        "  by a: 6.0, exactly",
        "  by b: -4.0, exactly",
        "  by c: -2.0, exactly",
        "  by d: 4.0, exactly",
    ]


def test_a_neuron_is_certified_to_all_digits_that_a_float_has():
    verdict = certificate(neuron()).verify()
    assert verdict.certified
    assert verdict.digits == 15
    tanh = next(each for each in verdict.gradients if each.name == "b")
    assert tanh.right.lo <= tanh.right.hi
    assert abs(Fraction(tanh.right.lo) - Fraction(1, 2)) < Fraction(1, 10**15)  # b was chosen so


def test_the_gradients_in_it_are_those_of_backward():
    out = neuron()
    found = certificate(out).to_dict()
    out.backward()
    recorded = {entry["node"]: float.fromhex(entry["gradient"]) for entry in found["backward"]}
    by_name = {group["name"]: recorded[group["nodes"][0]] for group in found["wrt"]}
    assert by_name == {"x1": -1.4999999999999993, "x2": 0.4999999999999998, "w1": 0.9999999999999996,
                       "w2": 0.0, "b": 0.4999999999999998}  # fmt: skip


def test_nothing_is_left_behind_in_the_graph():
    x = bl.Value(3.0)
    y = x * x
    z = y * x
    certificate(z)
    assert (x.grad, y.grad) == (None, None)


@pytest.mark.parametrize("op", [op for op in ALL_OPS if op.differentiable], ids=str)
def test_every_op_is_certified_or_refused_by_name(op: Op):
    rng = np.random.default_rng(0)
    certified = 0
    for dtype, enough in (("float64", 12), ("float32", 3)):
        for sample in samples_of(op):
            domains = [*(sample.domains or op.domains)]
            domains += domains[-1:] * (len(sample.shapes) - len(domains))
            xs = [
                leaf(draw(domain, shape, np.dtype(dtype), rng), active=isinstance(domain, Reals))
                for domain, shape in zip(domains, sample.shapes, strict=False)
            ]
            if not any(math.prod(x.shape) for x in xs if bl.isdtype(x.dtype, "real floating")):
                continue
            y = record(op, tuple(xs), sample.attrs)
            weights = bl.asarray(rng.normal(size=y.shape).astype(y.dtype))
            loss = (bl.sin(y) * weights + y * y).sum()
            if op.name in NO_RULE:
                with pytest.raises(GraphError, match=f"has no rule for the op '{op.name}'"):
                    certificate(loss)
                continue
            verdict = certificate(loss).verify()
            assert verdict.certified, f"{sample}: {verdict}"
            assert verdict.digits is None or verdict.digits >= enough, f"{sample}: {verdict}"
            certified += 1
    assert certified or op.name in NO_RULE


def test_an_array_net_is_certified_element_by_element():
    told = certificate(net())
    verdict = told.verify()
    assert verdict.certified
    assert verdict.digits is not None
    assert verdict.digits >= 12
    assert [group["shape"] for group in told.to_dict()["wrt"]] == [[5, 6], [6], [6, 4]]
    assert verdict.given == {}


def test_softmax_needs_nothing_to_be_taken_as_given():
    x = bl.Value([1.0, 2.0, 4.0], name="x")
    verdict = certificate(-bl.softmax(x)[2].log()).verify()
    assert verdict.certified
    assert verdict.given == {}


def test_what_was_taken_as_given_is_said():
    x = bl.Value([1.0, 5.0, 4.0], name="x")
    verdict = certificate((x[bl.argmax(x)] * bl.argmax(x)).square()).verify()
    assert verdict.certified
    assert verdict.given == {"argmax": 1}
    assert str(verdict).endswith("Taken as given: 1 number (argmax).")


def test_what_was_not_chosen_is_no_path():
    x = bl.Value(0.0, name="x")
    out = bl.where(x > 0, bl.sqrt(x), x * 3.0)
    told = certificate(out)
    assert told.verify().digits is None
    assert [entry["node"] for entry in told.to_dict()["backward"]] == [6, 5, 0]


def test_a_gradient_that_nothing_flows_to_is_zero_and_certified():
    x = bl.Value(-1.0, name="x")
    verdict = certificate(bl.relu(x)).verify()
    assert (verdict.certified, verdict.digits) == (True, None)


def test_terms_that_cancel_to_zero_count_the_digits_of_the_terms():
    x = bl.Value(0.3, name="x")
    verdict = certificate(bl.log(bl.exp(x)) - x).verify()  # its derivative is 0
    (found,) = verdict.gradients
    assert verdict.certified
    assert found.right.lo <= 0 <= found.right.hi
    assert verdict.digits is None or verdict.digits >= 14


def test_rounding_that_has_eaten_the_digits_is_told_from_a_wrong_step():
    x = bl.Value(1.0e-9, name="x")
    out = ((1.0 + x) - 1.0).square()
    verdict = certificate(out).verify()
    assert verdict.certified
    assert verdict.digits is not None
    assert verdict.digits < 8
    far = bl.Value(1.0e-13, name="x")
    assert "Every step is right; rounding" in str(certificate(((1.0 + far) - 1.0).square()).verify())


def test_chaos_is_told_from_a_wrong_step():
    """Each step of the logistic map doubles the rounding of those before: floats lose their last digit within 60."""
    x = bl.Value(0.3, name="x")
    z = x
    for _ in range(80):
        z = 3.9 * z * (1.0 - z)
    verdict = certificate(z).verify()
    assert (verdict.certified, verdict.digits) == (True, 0)
    assert "Every step is right; rounding" in str(verdict)
    (found,) = verdict.gradients
    with decimal.localcontext(prec=120):
        slope, point, rate = Decimal(1), Decimal.from_float(0.3), Decimal.from_float(3.9)
        for _ in range(80):
            slope, point = slope * rate * (1 - 2 * point), rate * point * (1 - point)
        assert abs(found.right.lo / slope - 1) < Decimal("1e-15")


@pytest.mark.parametrize("x", [0.3, -1.7, 2.25])
def test_the_true_gradient_lies_in_the_range(x: float):
    a, b = bl.values(a=x, b=0.7)
    out = bl.tanh(a * b) + bl.exp(-a) * bl.sin(b) / (1.0 + bl.square(a)) + bl.softplus(a - b)
    verdict = certificate(out).verify()

    def f(a: Any, b: Any) -> Any:
        return mp.tanh(a * b) + mp.exp(-a) * mp.sin(b) / (1 + a * a) + mp.log1p(mp.exp(a - b))

    mp = mpmath.mp.clone()
    mp.dps = 80
    for each, order in zip(verdict.gradients, ((1, 0), (0, 1)), strict=True):
        slope = mp.diff(f, (mp.mpf(x), mp.mpf(0.7)), order)
        low, high = mp.mpf(str(each.right.lo)), mp.mpf(str(each.right.hi))
        assert low - mp.mpf(10) ** -39 <= slope <= high + mp.mpf(10) ** -39
        assert high - low < mp.mpf(10) ** -35


def test_a_kink_that_rounding_hides_is_not_certified():
    x = bl.Value(0.3, name="x")
    verdict = certificate(bl.relu(bl.log(bl.exp(x)) - 0.3 + 0.0 * x)).verify()
    assert not verdict.certified
    assert verdict.exit_code == 3
    assert "kink" in str(verdict)


def test_a_changed_variable_is_certified_with_the_numbers_the_graph_used():
    x = bl.Value(3.0, name="x")
    y = x * x
    x.data = 7.0
    told = certificate(y, x)
    assert told.to_dict()["nodes"][0]["value"] == (3.0).hex()
    assert told.verify().certified


def test_the_gradient_by_a_value_in_between():
    a, b = bl.values(a=2.0, b=5.0)
    c = a * b
    verdict = certificate(c.square() + a, {"c": c}).verify()
    assert [(each.name, float(each.recorded)) for each in verdict.gradients] == [("c", 20.0)]
    assert verdict.digits is None


def test_float32_is_held_to_the_rounding_of_float32():
    x = bl.Value(np.float32(0.3), name="x")
    verdict = certificate(bl.exp(bl.sin(x)) / (x + 2.0)).verify()
    assert verdict.certified
    assert verdict.digits in (6, 7, 8)


def test_variables_of_one_name_are_told_apart():
    x, y = bl.Value(1.0, name="w"), bl.Value(2.0, name="w")
    verdict = certificate(x * y).verify()
    assert [each.name for each in verdict.gradients] == ["w", "w#2"]


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: certificate(bl.Value([1.0, 2.0]) * 2.0), ShapeError, "needs a scalar"),
        (lambda: certificate(bl.Value(1.0) * 2.0, bl.Value(3.0)), GraphError, "is not what it was computed from"),
        (lambda: certificate(bl.Value(1.0) * 2.0, []), GraphError, "`wrt` is empty"),
        (lambda: certificate(bl.log(bl.Value(0.0))), NonFiniteError, "-inf, and only finite"),
        (lambda: certificate(bl.sqrt(bl.Value(0.0))), NonFiniteError, "partial by argument 0 .* is inf"),
        (lambda: certificate(bl.Value(np.ones(200)).sum(), limit=5), GraphError, "the limit is 5"),
        (lambda: certificate((bl.Value(np.ones((90, 90))) @ np.ones((90, 90))).sum()), GraphError, "too many numbers"),
            (lambda: certificate(bl.cumulative_sum(bl.Value(np.ones(700))).sum()), GraphError, "200,000 edges"),
        (lambda: certificate(bl.zeros(()) * 2.0), GraphError, "no variable"),
    ],
)  # fmt: skip
def test_what_cannot_be_certified_is_refused_with_a_reason(make: Any, kind: type[Exception], words: str):
    with pytest.raises(kind, match=words):
        make()


# -- the file ------------------------------------------------------------------------------------------------


def test_it_is_saved_whole_and_read_back(tmp_path: Path):
    told = certificate(net())
    file = told.save(tmp_path / "net.json")
    assert json.loads(file.read_text(encoding="utf-8")) == told.to_dict()
    assert [p.name for p in tmp_path.iterdir()] == ["net.json"]
    assert checker.verify(str(file)).digits == told.verify().digits


def test_a_failed_save_leaves_the_old_file(tmp_path: Path):
    file = tmp_path / "a.json"
    file.write_text("old", encoding="utf-8")
    with pytest.raises(TypeError):
        Certificate({"nodes": [object()], "backward": []}).save(file)
    assert file.read_text(encoding="utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_it_is_told_in_a_sentence():
    assert str(certificate(neuron())).startswith("Certificate of the gradient of ")
    assert "5 steps forward, 9 terms backward" in repr(certificate(neuron()))


# -- the checker stands alone --------------------------------------------------------------------------------


def test_the_checker_imports_the_standard_library_only():
    allowed = {
        "__future__",
        "collections",
        "decimal",
        "fractions",
        "importlib",
        "json",
        "math",
        "pathlib",
        "sys",
        "typing",
    }
    for file in CHECKER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, file
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1 or (node.module or "").split(".")[0] in allowed, file


def test_a_copy_of_the_folder_runs_by_itself(tmp_path: Path):
    copied = shutil.copytree(CHECKER, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("__pycache__"))
    good = certificate(neuron()).save(tmp_path / "good.json")
    bad = tmp_path / "bad.json"
    bad.write_text(good.read_text(encoding="utf-8").replace('"tanh"', '"sin"'), encoding="utf-8")
    command = [sys.executable, "-I", "-S", str(copied)]  # no site-packages: no NumPy, no Backlit
    found = subprocess.run([*command, good], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("certified to 15 digits")
    found = subprocess.run([*command, "--json", bad], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (1, "")
    assert json.loads(found.stdout)["first_wrong_step"]["step"] == "its value"
    found = subprocess.run([*command, tmp_path / "none.json"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (2, "")
    assert "No such file" in found.stderr


# -- wrong ones ----------------------------------------------------------------------------------------------

UNARY = [
    "exp",
    "sin",
    "cos",
    "tanh",
    "sigmoid",
    "softplus",
    "square",
    "negative",
    "atan",
    "sinh",
    "silu",
    "relu",
    "erf",
]
BINARY = ["add", "subtract", "multiply", "maximum", "minimum", "atan2", "hypot"]


@st.composite
def certificates(draw: Any) -> dict[str, Any]:
    """Certificates of random scalar graphs, whose values stay between -3 and 3."""
    numbers = st.floats(0.1, 2.5).map(lambda x: round(x, 3))
    values = [bl.Value(draw(numbers) * draw(st.sampled_from([-1, 1])), name=f"x{i}") for i in range(3)]
    leaves = list(values)
    for _ in range(draw(st.integers(2, 9))):
        a, b = (values[draw(st.integers(0, len(values) - 1))] for _ in "ab")
        name = draw(st.sampled_from(UNARY + BINARY))
        made = getattr(bl, name)(a) if name in UNARY else getattr(bl, name)(a, b)
        if 0.01 < abs(made.data) < 3:
            values.append(made)
    out = values[-1]
    for x in leaves:
        out = out + x * values[len(values) // 2]
    told = certificate(out).to_dict()
    verdict = judge(told)
    assert verdict.fault is None
    assume(verdict.certified)  # two numbers that tie in a maximum, each rounded, cannot be told to tie
    return told


NUMBER = ("value", "gradient", "partial", "product", "sum")


def places(told: dict[str, Any]) -> list[tuple[dict[str, Any], str, set[int]]]:
    """Every recorded number but those of leaves, and the nodes that may be blamed for it."""
    found = [(row, "value", {row["id"]}) for row in told["nodes"] if "inputs" in row]
    for entry in told["backward"]:
        found.append((entry, "gradient", {entry["node"]}))
        for term in entry["terms"]:
            found += [
                (term, key, {entry["node"], term["through"]}) for key in ("partial", "product", "sum") if key in term
            ]
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(told=certificates(), data=st.data())
def test_any_number_that_is_off_is_named(told: dict[str, Any], data: st.DataObject):
    row, key, blamed = data.draw(st.sampled_from(places(told)))
    number = float.fromhex(row[key])
    ulps = data.draw(st.integers(8_000, 1_000_000)) * data.draw(st.sampled_from([-1, 1]))
    row[key] = (number + ulps * math.ulp(number or 1e-9)).hex()
    verdict = judge(told)
    assert not verdict.certified
    assert verdict.fault is not None
    if key in ("value", "gradient"):
        used_by = {x["id"] for x in told["nodes"] if set(x.get("inputs", ())) & blamed}
        assert verdict.fault.node in blamed | (used_by if key == "value" else set())
    else:
        assert verdict.fault.node in blamed


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(told=certificates(), data=st.data())
def test_any_op_that_is_another_is_named(told: dict[str, Any], data: st.DataObject):
    row = data.draw(st.sampled_from([row for row in told["nodes"] if "inputs" in row]))
    other = data.draw(st.sampled_from(UNARY if len(row["inputs"]) == 1 else BINARY))
    same = dict(row, op=other)
    inputs = [leaf(float.fromhex(told["nodes"][i]["value"]), active=True) for i in row["inputs"]]
    assume(abs(getattr(bl, same["op"])(*inputs).data - float.fromhex(row["value"])) > 1e-9)
    row["op"] = other
    verdict = judge(told)
    assert not verdict.certified
    if verdict.fault is not None:  # else the other op is at a jump there, which is said
        assert (verdict.fault.node, verdict.fault.step) == (row["id"], "its value")


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(told=certificates(), data=st.data())
def test_any_edge_that_leads_elsewhere_is_named(told: dict[str, Any], data: st.DataObject):
    row = data.draw(st.sampled_from([row for row in told["nodes"] if "inputs" in row]))
    place = data.draw(st.integers(0, len(row["inputs"]) - 1))
    before = row["inputs"][place]
    assume(row["id"] > 1)
    after = data.draw(st.integers(0, row["id"] - 1).filter(lambda i: i != before))
    chosen = any(
        (t["through"], t["argument"]) == (row["id"], place) for entry in told["backward"] for t in entry["terms"]
    )
    assume(chosen)  # what was not chosen matters to no gradient
    row["inputs"][place] = after
    verdict = judge(told)
    assert verdict.fault is not None
    assert verdict.fault.node in {row["id"], before, after}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(told=certificates(), data=st.data())
def test_a_term_left_out_or_counted_twice_is_named(told: dict[str, Any], data: st.DataObject):
    entry = data.draw(st.sampled_from([entry for entry in told["backward"] if entry["terms"]]))
    place = data.draw(st.integers(0, len(entry["terms"]) - 1))
    for term in entry["terms"]:
        term.pop("sum", None)
    if data.draw(st.booleans()):
        gone = entry["terms"].pop(place)
        lost = float.fromhex(gone["product"])
        entry["gradient"] = (float.fromhex(entry["gradient"]) - lost).hex()  # so that the sum still holds
    else:
        twice = entry["terms"][place]
        entry["terms"].append(twice)
        entry["gradient"] = (float.fromhex(entry["gradient"]) + float.fromhex(twice["product"])).hex()
    verdict = judge(told)
    assert verdict.fault is not None
    assert verdict.fault.node == entry["node"]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(told=certificates(), data=st.data())
def test_other_inputs_are_never_certified_with_digits_they_do_not_have(told: dict[str, Any], data: st.DataObject):
    row = data.draw(st.sampled_from([row for row in told["nodes"] if "inputs" not in row]))
    number = float.fromhex(row["value"])
    row["value"] = (number * (1 + data.draw(st.sampled_from([1e-12, -1e-9, 1e-6, 0.1])))).hex()
    verdict = judge(told)
    for each in verdict.gradients:
        if verdict.certified and each.digits is not None and not each.cancelled:
            error = max(abs(each.recorded - Fraction(each.right.lo)), abs(each.recorded - Fraction(each.right.hi)))
            assert error <= abs(each.recorded) * Fraction(11, 10) / 10**each.digits + Fraction(1, 10**300)


def test_the_first_wrong_step_is_named_with_what_it_must_be():
    told = certificate(neuron()).to_dict()
    row = told["nodes"][-1]
    row["value"] = (float.fromhex(row["value"]) * 1.001).hex()
    label = f"node {row['id']}, `{row['name']}` (tanh), {row['line']}" if "name" in row else f"node {row['id']}"
    text = str(judge(told))
    assert text.startswith(f"NOT certified. The first wrong step:\n  {label}")
    assert "recorded  0.70781" in text
    assert "must be   0.70710678118654" in text


def test_a_rule_that_is_wrong_by_a_thousandth_is_found():
    """The engine's own rule, not the file, is at fault here."""
    from backlit.ops.trigonometry import TANH

    right = TANH.partials
    try:
        TANH.partials = (lambda y, x: (1.0 - y * y) * 1.001,)
        told = certificate(neuron())
    finally:
        TANH.partials = right
    fault = told.verify().fault
    assert fault is not None
    assert fault.step == "its partial by argument 0"
    assert fault.must.startswith("0.49999999999999")


# -- files that are no certificates --------------------------------------------------------------------------


def spoiled(change: Any) -> dict[str, Any]:
    told = copy.deepcopy(certificate(neuron()).to_dict())
    change(told)
    return told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("schema"), "its schema is missing"),
        (lambda t: t.update(schema="backlit.certificate/2"), "its schema is 'backlit.certificate/2'"),
        (lambda t: t.update(nodes={}), "'nodes' is an object of 0, not a list"),
        (lambda t: t.update(nodes=[]), "it has 0 nodes"),
        (lambda t: t.update(output=99), "the output names node 99"),
        (lambda t: t.update(output=True), "the output names node True"),
        (lambda t: t.update(wrt=[]), "names no node"),
        (lambda t: t["wrt"][0].update(nodes=[0.0]), "names node 0.0"),
        (lambda t: t["nodes"].__setitem__(2, 7), "node 2 is 7, not an object"),
        (lambda t: t["nodes"][5].update(inputs=[0, 5]), "its input 5 is not a node before it"),
        (lambda t: t["nodes"][5].update(inputs=[0, 9]), "its input 9 is not a node before it"),
        (lambda t: t["nodes"][5].update(inputs=[0, -1]), "its input -1 is not a node before it"),
        (lambda t: t["nodes"][5].update(inputs=[0]), "multiply cannot have 1 inputs"),
        (lambda t: t["nodes"][5].update(inputs="01"), "its inputs are '01', not a list"),
        (lambda t: t["nodes"][5].update(op="__import__"), "no op '__import__' is known"),
        (lambda t: t["nodes"][5].update(op=["add"]), "no op a list of 1 is known"),
        (lambda t: t["nodes"][0].update(inputs=[0]), "is not a node before it"),
        (lambda t: t["nodes"][0].update(dtype="float8"), "no dtype 'float8' is known"),
        (lambda t: t["nodes"][0].update(value="nan"), "its value is 'nan', not a finite number"),
        (lambda t: t["nodes"][0].update(value="inf"), "its value is 'inf', not a finite number"),
        (lambda t: t["nodes"][0].update(value=2.0), "its value is 2.0, not a finite number"),
        (lambda t: t["nodes"][0].update(value="0x1p+99999"), "not a finite number"),
        (lambda t: t["nodes"][0].update(value="0x" + "1" * 10**6), "not a finite number"),
        (lambda t: t["nodes"][0].update(id=3), "node 0 has the id 3"),
        (lambda t: t["nodes"][0].update(name=3), "its name or line is not text"),
        (lambda t: t["backward"].reverse(), "does not come after"),
        (lambda t: t["backward"][1]["terms"][0].update(through="9"), "names node '9'"),
        (lambda t: t["backward"][1]["terms"][0].update(argument=None), "an argument is missing"),
        (lambda t: t["backward"][1]["terms"][0].pop("partial"), "a partial is missing"),
        (lambda t: t["backward"][1].pop("gradient"), "is missing, not a finite number"),
        (lambda t: t["backward"][1].update(terms=None), "'terms' is missing, not a list"),
    ],
)  # fmt: skip
def test_a_malformed_certificate_is_told_in_a_sentence(change: Any, words: str):
    with pytest.raises(MalformedError) as caught:
        judge(spoiled(change))
    assert words in str(caught.value)


@pytest.mark.parametrize("source", [None, 3, [], "x", {}, {"schema": "backlit.certificate/1"}])
def test_other_json_is_no_certificate(source: Any):
    with pytest.raises(MalformedError):
        judge(source)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON, or only a part of it"),
        (b"\xff\xfe", "not text in UTF-8"),
        (b"[" * 200_000, "too deeply"),
        (b'{"a":' * 200_000, "too deeply"),
        (b'{"schema": NaN}', "NaN is not a number"),
        (b'{"output": 1, "output": 2}', "'output' is written twice"),
        (b'{"output": ' + b"9" * 100_000 + b"}", "too long"),
    ],
    ids=range(7),
)
def test_a_hostile_file_is_told_in_a_sentence(tmp_path: Path, content: bytes, words: str):
    file = tmp_path / "x.json"
    file.write_bytes(content)
    with pytest.raises(MalformedError, match=words):
        checker.verify(str(file))


def test_a_truncated_file_is_told_wherever_it_ends(tmp_path: Path):
    whole = certificate(neuron()).save(tmp_path / "x.json").read_bytes().rstrip()
    file = tmp_path / "part.json"
    for end in range(0, len(whole), 97):
        file.write_bytes(whole[:end])
        with pytest.raises(MalformedError, match="not JSON, or only a part of it"):
            checker.verify(str(file))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("0x1.8p+1") | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["op", "inputs", "nodes", "terms"]), inner)
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), value=json_values)
def test_whatever_stands_in_a_certificate_there_is_a_verdict_or_a_sentence(data: st.DataObject, value: Any):
    told = copy.deepcopy(NEURON)
    spots: list[tuple[Any, Any]] = [(told, key) for key in told]
    for row in [*told["nodes"], *told["backward"], *told["wrt"]]:
        spots += [(row, key) for key in row]
        spots += [(term, key) for term in row.get("terms", ()) for key in term]
    holder, key = data.draw(st.sampled_from(spots))
    holder[key] = value
    try:
        verdict = judge(told)
    except MalformedError:
        return
    assert verdict.exit_code in (0, 1, 3)
    assert str(verdict)


NEURON = certificate(neuron()).to_dict()


@pytest.mark.parametrize("op", ["exp", "square", "reciprocal", "gelu", "tan", "pow"])
def test_numbers_that_grow_without_bound_end_in_a_verdict(op: str):
    """A chain that overflows every interval: the recorded numbers cannot follow, and the checker must not hang."""
    one = (1.0).hex()
    nodes: list[dict[str, Any]] = [{"op": "variable", "value": (40.0).hex()}]
    nodes += [{"op": op, "inputs": [i] if op != "pow" else [i, i], "value": one} for i in range(60)]
    told = {
        "schema": checker.SCHEMA,
        "output": 60,
        "wrt": [{"name": "x", "nodes": [0]}],
        "nodes": nodes,
        "backward": [],
    }
    assert judge(told).exit_code in (1, 3)


@pytest.mark.parametrize("x", [1e308, 1e15])
def test_a_value_that_must_be_beyond_all_floats_is_a_wrong_step(x: float):
    nodes = [{"op": "variable", "value": x.hex()}, {"op": "exp", "inputs": [0], "value": (1.0).hex()}]
    told = {"schema": checker.SCHEMA, "output": 1, "wrt": [{"name": "x", "nodes": [0]}], "nodes": nodes, "backward": []}
    fault = judge(told).fault
    assert fault is not None
    assert fault.step == "its value"


def test_exact_fractions_do_not_grow_without_bound():
    x = bl.Value(1.0 + 2.0**-30, name="x")
    y = x
    for _ in range(30):
        y = y * y  # 2^30 bits, if they were kept
        if y.data > 1e6:
            y = y * 1e-6
    verdict = certificate(y).verify()
    assert verdict.certified
    assert verdict.digits is not None
    assert verdict.digits > 3


def test_a_long_chain_needs_no_recursion():
    x = bl.Value(0.5, name="x")
    y = x
    for _ in range(15_000):
        y = y + x
    assert certificate(y).verify().digits is None


def test_too_many_nodes_are_refused():
    row = {"op": "constant", "value": "0x0.0p+0"}
    told = {"schema": checker.SCHEMA, "output": 0, "wrt": [], "nodes": [row] * 1_000_001, "backward": []}
    with pytest.raises(MalformedError, match="1,000,001 nodes"):
        judge(told)
