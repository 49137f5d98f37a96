"""The elementary functions in LLVM IR: accurate against mpmath, right at the edges, vectorised on every CPU."""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest

from backlit.compiler import vector_math
from backlit.compiler.vmath import polynomials

llvm = pytest.importorskip("llvmlite.binding")
mp: Any = mpmath.mp

TYPES: dict[str, Any] = {"float": np.float32, "double": np.float64}
NAMES = vector_math.NAMES
EVERY = [(name, type) for name in NAMES for type in TYPES]
UNARY = [name for name in NAMES if vector_math.arity(name) == 1]
ULPS = 2.0


# -- compiling a loop ----------------------------------------------------------------------------------------


def loop(name: str, type: str) -> str:
    """A scalar loop over arrays, as the compiler would write it."""
    places = range(vector_math.arity(name))
    loads = "".join(
        f"  %p{k} = getelementptr inbounds {type}, ptr %X{k}, i64 %i\n  %x{k} = load {type}, ptr %p{k}\n"
        for k in places
    )
    return (
        f"define void @over_{name}({''.join(f'ptr noalias %X{k}, ' for k in places)}ptr noalias %Y, i64 %n)"
        ' "prefer-vector-width"="512" {\n'
        "entry:\n  br label %body\nbody:\n  %i = phi i64 [0, %entry], [%next, %body]\n"
        f"{loads}  %y = call {type} {vector_math.symbol(name, type)}({', '.join(f'{type} %x{k}' for k in places)})\n"
        f"  %q = getelementptr inbounds {type}, ptr %Y, i64 %i\n  store {type} %y, ptr %q\n"
        "  %next = add nuw nsw i64 %i, 1\n  %more = icmp ult i64 %next, %n\n"
        "  br i1 %more, label %body, label %done\ndone:\n  ret void\n}\n"
    )


def optimized(text: str, machine: Any, triple: str) -> Any:
    module = llvm.parse_assembly(text)
    module.verify()
    module.triple, module.data_layout = triple, str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


@cache
def compiled(name: str, type: str) -> Callable[..., Any]:
    """The function over arrays, on this machine."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    if not (features.get("fma") or features.get("neon")):
        pytest.skip("this CPU has no fused multiply-add")
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3
    )
    text = vector_math.definitions([(name, type)]).text + loop(name, type)
    engine = llvm.create_mcjit_compiler(optimized(text, machine, llvm.get_process_triple()), machine)
    engine.finalize_object()
    count = vector_math.arity(name) + 1
    entry = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * count, ctypes.c_int64)(
        engine.get_function_address(f"over_{name}")
    )

    def run(*arrays: Any) -> Any:
        contiguous = [np.ascontiguousarray(a, TYPES[type]) for a in arrays]
        result = np.empty_like(contiguous[0])
        entry(*[a.ctypes.data for a in (*contiguous, result)], result.size)
        return result

    run.engine = engine  # type: ignore[attr-defined]  # the code lives as long as it
    return run


# -- what the functions are ----------------------------------------------------------------------------------


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def _logaddexp(x: Any, y: Any) -> Any:
    return max(x, y) + mp.log1p(mp.exp(-abs(x - y)))


EXACT: dict[str, Callable[..., Any]] = {name: getattr(mp, name) for name in NAMES if hasattr(mp, name)} | {
    "exp2": lambda x: mp.power(2, x),
    "log2": lambda x: mp.log(x) / mp.log(2),
    "log10": lambda x: mp.log(x) / mp.log(10),
    "sin_near": mp.sin,
    "cos_near": mp.cos,
    "tan_near": mp.tan,
    "sigmoid": _sigmoid,
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "silu": lambda x: x * _sigmoid(x),
    "gelu": lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2,
    "elu": lambda x: x if x > 0 else mp.expm1(x),
    "pow": mp.power,
    "hypot": lambda x, y: mp.sqrt(x * x + y * y),
    "logaddexp": _logaddexp,
}

# Where most points are drawn, by name: the interval in which the function is neither flat nor a straight line.
RANGE = {
    "exp": 745.0, "expm1": 709.0, "exp2": 1074.0, "sinh": 710.0, "cosh": 710.0, "tanh": 20.0, "sigmoid": 745.0,
    "softplus": 745.0, "silu": 750.0, "gelu": 38.5, "elu": 40.0, "erf": 6.0, "asin": 1.0, "acos": 1.0, "atanh": 1.0,
    "sin": 1e6, "cos": 1e6, "tan": 1e6, "sin_near": 1e4, "cos_near": 1e4, "tan_near": 1e4,
}  # fmt: skip
RANGE_F32 = {
    "exp": 103.0, "expm1": 88.0, "exp2": 149.0, "sinh": 89.0, "cosh": 89.0, "sigmoid": 103.0, "softplus": 103.0,
    "silu": 107.0, "gelu": 14.0,
}  # fmt: skip
FLAT = {"exp", "expm1", "exp2", "sinh", "cosh", "sigmoid", "softplus", "silu", "elu", "gelu", "erf", "tanh"}
DOMAIN: dict[str, Callable[[Any], Any]] = {
    "log": lambda x: x > 0, "log2": lambda x: x > 0, "log10": lambda x: x > 0, "log1p": lambda x: x > -1,
    "asin": lambda x: np.abs(x) <= 1, "acos": lambda x: np.abs(x) <= 1, "atanh": lambda x: np.abs(x) < 1,
    "acosh": lambda x: x >= 1,
}  # fmt: skip


def any_numbers(random: Any, count: int, dtype: Any) -> Any:
    """Finite numbers of every exponent, by random bits."""
    integer = np.uint32 if dtype == np.float32 else np.uint64
    x = random.integers(0, np.iinfo(integer).max, count, dtype=integer, endpoint=True).view(dtype)
    return x[np.isfinite(x)]


def points(name: str, dtype: Any, count: int) -> list[Any]:
    """Arguments: of every exponent, where the function bends, near 0 and 1, and near its critical points."""
    random = np.random.default_rng(7)
    wide = (RANGE_F32 if dtype == np.float32 else {}).get(name, RANGE.get(name, 10.0))
    parts = [
        any_numbers(random, count // 4, dtype),
        random.uniform(-wide, wide, count // 2).astype(dtype),
        (np.exp(random.uniform(-14, 3, count // 2)) * random.choice([-1, 1], count // 2)).astype(dtype),
        (1 + random.normal(size=count // 8) * np.exp(random.uniform(-16, -1, count // 8))).astype(dtype),
        (random.integers(-(10**6), 10**6, count // 8) * (math.pi / 2)).astype(dtype),
    ]
    x = np.concatenate(parts)
    if vector_math.arity(name) == 1:
        near = vector_math.within(name.removesuffix("_near"), "float" if dtype == np.float32 else "double")
        if name.endswith("_near") and near:
            x = x[np.abs(x) <= near[1]]
        if name in FLAT:
            x = x[np.abs(x) <= 2 * wide]
        return [x[DOMAIN[name](x)] if name in DOMAIN else x]
    y = random.permutation(x)
    if name == "pow":
        x = np.abs(x)
        y = np.where(random.random(x.size) < 0.5, y, random.uniform(-1, 1, x.size) * 1000).astype(dtype)
        with np.errstate(all="ignore"):
            power = y * np.log2(x.astype(np.float64))
        usable = (x > 0) & (np.abs(power) < (1080 if dtype == np.float64 else 155))
        return [x[usable], y[usable]]
    return [x, y]


def ulps(result: float, exact: Any, dtype: Any) -> float:
    """The distance of a result in units of the last place of the exact number."""
    info = np.finfo(dtype)
    if exact == 0:
        return 0.0 if result == 0 else math.inf
    exponent = mpmath.frexp(exact)[1] - 1
    if not math.isfinite(result):
        overflows = abs(exact) >= mpmath.mpf(float(info.max)) * (1 - mpmath.mpf(2) ** -info.nmant)
        return 0.0 if overflows and (result > 0) == (exact > 0) else math.inf
    unit = mpmath.ldexp(1, max(exponent, int(info.minexp)) - info.nmant)
    return float(abs(mpmath.mpf(result) - exact) / unit)


def precision(arguments: list[Any]) -> int:
    """Bits enough for 1 + x, or x - n · π/2."""
    return 180 + sum(abs(int(mpmath.frexp(x)[1])) for x in arguments)


def worst(name: str, type: str, arguments: list[Any]) -> tuple[float, Any]:
    """The greatest error in units of the last place, and where it is."""
    found = compiled(name, type)(*arguments)
    most, where = 0.0, None
    for k, result in enumerate(found.tolist()):
        at = [mpmath.mpf(float(a[k])) for a in arguments]
        with mp.workprec(precision(at) if name != "logaddexp" else 2400 if max(map(abs, at)) < 1500 else 200):
            exact = EXACT[name](*at)
            if name == "logaddexp":  # in units of the greater of its two terms
                scale = max(abs(max(at)), abs(exact - max(at)), abs(exact))
                error = ulps(result, exact, TYPES[type]) * min(1.0, float(abs(exact) / scale) if scale else 1.0)
            else:
                error = ulps(result, exact, TYPES[type])
        if not error <= most:
            most, where = error, [float(a[k]) for a in arguments]
    return most, where


@pytest.mark.parametrize(("name", "type"), EVERY)
def test_every_function_is_within_two_units_of_the_last_place(name: str, type: str) -> None:
    error, where = worst(name, type, points(name, TYPES[type], 240))
    assert error <= ULPS, f"{name} of {where} is {error} units off"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "type"), EVERY)
def test_every_function_is_within_two_units_at_many_points(name: str, type: str) -> None:
    error, where = worst(name, type, points(name, TYPES[type], 6_000))
    assert error <= ULPS, f"{name} of {where} is {error} units off"


def off_by(found: Any, exact: Any) -> Any:
    """float32 results against float64 ones, in units of the last place; 0 where both are the same non-number."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        exponent = np.maximum(np.frexp(np.abs(exact))[1] - 1, -126)
        error = np.abs(found.astype(np.float64) - exact) / np.ldexp(1.0, exponent - 23)
    same = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
    return np.where(same, np.where(np.isfinite(rounded), np.nan_to_num(error), 0.0), np.nan_to_num(error, nan=np.inf))


def sampled(name: str, stride: int) -> float:
    """The greatest error of a float32 function on every `stride`-th of all float32 numbers, against our float64."""
    bits = np.arange(stride // 3, 2**32, stride, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    near = vector_math.within(name.removesuffix("_near"), "float")
    if name.endswith("_near") and near:
        x = x[np.abs(x) <= near[1]]
    with np.errstate(invalid="ignore"):  # signalling NaNs
        exact = compiled(name, "double")(x.astype(np.float64))
    return float(off_by(compiled(name, "float")(x), exact).max())


@pytest.mark.parametrize("name", UNARY)
def test_a_sample_of_all_float32_numbers_agrees_with_float64(name: str) -> None:
    assert sampled(name, 1 << 17) <= ULPS


@pytest.mark.slow
@pytest.mark.parametrize("name", UNARY)
def test_one_in_256_of_all_float32_numbers_agrees_with_float64(name: str) -> None:
    assert sampled(name, 1 << 8) <= ULPS


# -- edges ---------------------------------------------------------------------------------------------------

INF, NAN = math.inf, math.nan
PI = math.pi
EDGES: dict[str, list[tuple[float, ...]]] = {  # arguments, result
    "exp": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (710.0, INF), (-746.0, 0.0)],
    "exp2": [(0.0, 1.0), (10.0, 1024.0), (-3.0, 0.125), (INF, INF), (-INF, 0.0), (1024.0, INF), (-1076.0, 0.0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (710.0, INF), (-800.0, -1.0)],
    "elu": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (2.5, 2.5)],
    "log": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (-1.0, NAN), (-INF, NAN), (INF, INF)],
    "log2": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (-1.0, NAN), (INF, INF), (8.0, 3.0), (2.0**-100, -100.0)],
    "log10": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (-1.0, NAN), (INF, INF), (10.0, 1.0), (1e3, 3.0), (1e9, 9.0)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (-1.5, NAN), (-INF, NAN), (INF, INF)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "asin": [(0.0, 0.0), (-0.0, -0.0), (1.0, PI / 2), (-1.0, -PI / 2), (1.5, NAN), (-INF, NAN)],
    "acos": [(1.0, 0.0), (-1.0, PI), (0.0, PI / 2), (1.5, NAN), (INF, NAN)],
    "atan": [(0.0, 0.0), (-0.0, -0.0), (INF, PI / 2), (-INF, -PI / 2), (1.0, PI / 4)],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (711.0, INF), (-711.0, -INF)],
    "cosh": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, INF), (711.0, INF)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (100.0, 1.0)],
    "asinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "acosh": [(1.0, 0.0), (INF, INF), (0.5, NAN), (-INF, NAN)],
    "atanh": [(0.0, 0.0), (-0.0, -0.0), (1.0, INF), (-1.0, -INF), (1.5, NAN), (-INF, NAN)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0)],
    "sigmoid": [(0.0, 0.5), (INF, 1.0), (-INF, 0.0), (800.0, 1.0), (-800.0, 0.0)],
    "softplus": [(INF, INF), (-INF, 0.0), (800.0, 800.0), (-800.0, 0.0)],
    "silu": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -0.0), (800.0, 800.0)],
    "gelu": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -0.0), (800.0, 800.0)],
    "atan2": [
        (0.0, 0.0, 0.0), (0.0, -0.0, PI), (-0.0, 0.0, -0.0), (-0.0, -0.0, -PI), (0.0, -1.0, PI), (-0.0, -1.0, -PI),
        (0.0, 1.0, 0.0), (-0.0, 1.0, -0.0), (1.0, 0.0, PI / 2), (-1.0, -0.0, -PI / 2), (1.0, -INF, PI),
        (1.0, INF, 0.0), (INF, 1.0, PI / 2), (-INF, 1.0, -PI / 2), (INF, INF, PI / 4), (INF, -INF, 3 * PI / 4),
        (NAN, INF, NAN), (INF, NAN, NAN), (-0.0, INF, -0.0),
    ],
    "pow": [
        (2.0, 10.0, 1024.0), (-2.0, 3.0, -8.0), (-2.0, 2.0, 4.0), (-2.0, 0.5, NAN), (0.0, 0.0, 1.0), (NAN, 0.0, 1.0),
        (1.0, NAN, 1.0), (1.0, -INF, 1.0), (-1.0, INF, 1.0), (-1.0, -INF, 1.0), (0.0, -1.0, INF), (-0.0, -1.0, -INF),
        (-0.0, -2.0, INF), (-0.0, 3.0, -0.0), (-0.0, 2.0, 0.0), (-0.0, 0.5, 0.0), (0.5, INF, 0.0), (0.5, -INF, INF),
        (2.0, INF, INF), (2.0, -INF, 0.0), (INF, 0.5, INF), (INF, -2.0, 0.0), (-INF, 3.0, -INF), (-INF, 2.0, INF),
        (-INF, -3.0, -0.0), (-INF, 0.5, INF), (-INF, -0.5, 0.0), (NAN, 1.0, NAN), (2.0, NAN, NAN), (0.0, -INF, INF),
        (2.0, 5000.0, INF), (2.0, -5000.0, 0.0), (-2.0, 5001.0, -INF), (10.0, 2.0, 100.0), (4.0, 0.5, 2.0),
    ],
    "hypot": [
        (3.0, 4.0, 5.0), (INF, NAN, INF), (NAN, -INF, INF), (NAN, 1.0, NAN), (0.0, -0.0, 0.0), (-5.0, 0.0, 5.0),
        (3e-30, 4e-30, 5e-30),
    ],
    "logaddexp": [
        (INF, INF, INF), (-INF, -INF, -INF), (INF, -INF, INF), (-INF, 3.0, 3.0), (NAN, INF, NAN), (-INF, NAN, NAN),
        (1e30, 0.0, 1e30),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "type"), [(name, type) for name in EDGES for type in TYPES])
def test_edges_are_those_of_c99_and_numpy(name: str, type: str) -> None:
    rows = EDGES[name] + ([(NAN, NAN)] if vector_math.arity(name) == 1 else [])
    found = compiled(name, type)(*np.array(rows, TYPES[type]).T[:-1].copy())
    expected = np.array(rows, TYPES[type])[:, -1]
    for row, result, right in zip(rows, found, expected, strict=True):
        exactly = result == right and np.signbit(result) == np.signbit(right)
        close = abs(result) < INF and abs(result - right) <= np.spacing(abs(right)) and right != 0
        assert (np.isnan(result) and np.isnan(right)) or exactly or close, f"{name}{row[:-1]} gave {result}"


@pytest.mark.parametrize("type", TYPES)
def test_subnormal_arguments_and_results_are_right(type: str) -> None:
    info = np.finfo(TYPES[type])
    tiny = np.array([1, 2, 3, 5, 1000, 123457], np.float64) * float(info.smallest_subnormal)
    x = np.concatenate([tiny, -tiny]).astype(TYPES[type])
    for name in ("expm1", "log1p", "sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "elu"):
        assert np.array_equal(compiled(name, type)(x), x), name
    for name in ("log", "log2", "log10"):
        assert worst(name, type, [np.abs(x)])[0] <= ULPS
    lowest = math.log(float(info.smallest_subnormal))
    falling = np.linspace(lowest - 0.7, lowest + 40, 200).astype(TYPES[type])
    for name in ("exp", "sigmoid", "softplus", "silu"):
        assert worst(name, type, [falling])[0] <= ULPS, name
    assert worst("gelu", type, [-np.sqrt(-2 * falling)])[0] <= ULPS
    assert worst("pow", type, [np.full(200, 2.5, TYPES[type]), falling / math.log(2.5)])[0] <= ULPS


@pytest.mark.parametrize("type", TYPES)
def test_results_overflow_where_they_leave_the_range_and_not_before(type: str) -> None:
    highest = math.log(float(np.finfo(TYPES[type]).max))
    x = np.array([highest], TYPES[type])
    steps = [x]
    for towards in (0.0, INF):
        near = x
        for _ in range(20):
            near = np.nextafter(near, TYPES[type](towards))
            steps.append(near)
    x = np.concatenate(steps)
    for name in ("exp", "expm1"):
        assert worst(name, type, [x])[0] <= ULPS
        assert 5 < np.isinf(compiled(name, type)(x)).sum() < 36
    for name in ("sinh", "cosh"):
        assert worst(name, type, [(x.astype(np.float64) + math.log(2)).astype(TYPES[type])])[0] <= ULPS


def test_angles_next_to_multiples_of_half_pi_are_reduced_fully() -> None:
    # the float64 closest to a multiple of π/2 (Kahan), and the greatest one
    x = np.array([6381956970095103.0 * 2.0**797, np.finfo(np.float64).max, 5.0e-324, 2.0**30, 2.0**30 + 2.0**-22])
    for name in ("sin", "cos", "tan"):
        assert worst(name, "double", [x])[0] <= ULPS
    single = np.array([16367173.0 * 2.0**72, np.finfo(np.float32).max, 2.0**15, 33215.0], np.float32)
    for name in ("sin", "cos", "tan"):
        assert worst(name, "float", [single])[0] <= ULPS


@pytest.mark.parametrize("type", TYPES)
def test_the_near_functions_give_the_bits_of_the_whole_ones_up_to_their_bound(type: str) -> None:
    for name in ("sin", "cos", "tan"):
        near = vector_math.within(name, type)
        assert near is not None
        random = np.random.default_rng(3)
        x = np.concatenate([random.uniform(-near[1], near[1], 20_000), random.normal(size=1000)]).astype(TYPES[type])
        assert np.array_equal(compiled(name, type)(x), compiled(near[0], type)(x))
    assert vector_math.within("exp", type) is None


def test_log2_and_log10_are_exact_at_powers() -> None:
    for type, most in (("float", 10), ("double", 22)):
        tens = np.array([10.0**k for k in range(most + 1)], TYPES[type])
        assert np.array_equal(compiled("log10", type)(tens), np.arange(most + 1))
        info = np.finfo(TYPES[type])
        twos = np.arange(info.minexp - info.nmant, info.maxexp)
        powers = np.ldexp(1.0, twos).astype(TYPES[type])
        assert np.array_equal(compiled("log2", type)(powers), twos)
        assert np.array_equal(compiled("exp2", type)(twos.astype(TYPES[type])), powers)


# -- the text ------------------------------------------------------------------------------------------------


def test_definitions_hold_each_function_once_and_say_what_they_declare() -> None:
    made = vector_math.definitions([("exp", "float"), ("exp", "float"), ("sin", "double")])
    assert made.functions.count("define internal") == 2
    assert "declare" not in made.functions
    assert all(made.text.count(line) == 1 for line in made.declares)
    with pytest.raises(KeyError, match="'cbrt'"):
        vector_math.definitions([("cbrt", "float")])
    with pytest.raises(KeyError, match="'half'"):
        vector_math.definitions([("exp", "half")])


@pytest.mark.parametrize(("name", "type"), EVERY)
def test_every_function_is_one_block_without_branches_or_conversions_to_integers(name: str, type: str) -> None:
    text = vector_math.definitions([(name, type)]).functions
    assert not re.search(r"^\w+:|\bbr\b|\bphi\b|fptosi|fptoui|sitofp", text, re.MULTILINE)
    called = set(re.findall(r"@llvm\.(\w+)\.", text))
    assert called <= {"fma", "rint", "sqrt", "fabs", "copysign"}


def assembly(names: list[str], type: str, triple: str, cpu: str) -> str:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple(triple)
    except RuntimeError:
        pytest.skip(f"this LLVM has no {triple}")
    machine = target.create_target_machine(cpu=cpu, opt=3)
    text = vector_math.definitions([(name, type) for name in names]).text + "".join(loop(n, type) for n in names)
    return str(machine.emit_assembly(optimized(text, machine, triple)))


TARGETS = [
    ("x86_64-linux-gnu", "skylake-avx512", r"\bzmm\d"),
    ("x86_64-linux-gnu", "haswell", r"\bymm\d"),
    ("aarch64-linux-gnu", "cortex-a76", r"\bv\d+\.(?:2d|4s)"),
    ("aarch64-linux-gnu", "apple-m1", r"\bv\d+\.(?:2d|4s)"),
]


def is_vectorised(names: list[str], type: str, triple: str, cpu: str, register: str) -> None:
    text = assembly(names, type, triple, cpu)
    calls = re.findall(r"^\s+(?:call\w*|bl|blr|jmp)\s+[a-z*]\S*", text, re.MULTILINE)
    assert not calls, f"{names}: {calls[:3]}"
    for name in names:
        start = text.index(f"\nover_{name}:")
        end = text.index(f".size\tover_{name}", start)
        fused = [line for line in text[start:end].splitlines() if re.search(r"fn?m(?:add|sub|la|ls)|sqrt", line)]
        assert any(re.search(register, line) for line in fused), f"{name} of {type} is not vectorised for {cpu}"


@pytest.mark.parametrize(("triple", "cpu", "register"), TARGETS)
def test_loops_are_vectorised_for_each_kind_of_cpu(triple: str, cpu: str, register: str) -> None:
    is_vectorised(["exp", "log", "tanh", "sin"], "double", triple, cpu, register)
    is_vectorised(["exp", "tanh", "sin_near", "pow"], "float", triple, cpu, register)


@pytest.mark.slow
@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize(("triple", "cpu", "register"), TARGETS)
def test_the_loop_of_every_function_is_vectorised(triple: str, cpu: str, register: str, type: str) -> None:
    is_vectorised(list(NAMES), type, triple, cpu, register)


# -- the coefficients ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_coefficients_are_those_that_the_documented_script_derives() -> None:
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[2] / "docs" / "make_polynomials.py"
    if not path.exists():
        pytest.skip("the documentation is not beside the tests")
    spec = importlib.util.spec_from_file_location("make_polynomials", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for fit in script.FITS:
        for single in (False, True):
            name = f"{fit.name}_F{32 if single else 64}"
            if getattr(polynomials, name, None) is None:
                continue
            derived = script.coefficients(fit, single)
            written = getattr(polynomials, name)
            assert [np.float32(c) if single and not fit.wide else c for c in written] == list(derived)
            assert script.error(fit, single, derived) < (2.0**-24 if single else 2.0**-53) / 2, name
