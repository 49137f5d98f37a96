"""What a module holds, how its state is stored and copied, and that it is a tree of its parameters."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backlit as bl
from backlit import Buffer, Parameter, nn
from backlit.core.errors import DataError, DomainError, GraphError, ShapeError
from backlit.core.trees import flatten, mapped, paths

X = np.linspace(-1.0, 1.0, 12).reshape(4, 3)


def small(key: int = 0) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(3, 4, key=key, dtype="float64"),
        nn.BatchNorm(4, dtype="float64"),
        "tanh",
        nn.Linear(4, 2, key=key + 1, dtype="float64"),
    )


def loss_of(model: Any, x: Any) -> Any:
    return (model(x) ** 2).sum()


class Tied(nn.Module):
    """One matrix used twice, as in an autoencoder with tied weights."""

    def __init__(self) -> None:
        self.first = nn.Linear(3, 3, key=0, dtype="float64")
        self.second = nn.Linear(3, 3, key=1, dtype="float64")
        self.second.weight = self.first.weight

    def forward(self, x: Any) -> Any:
        return self.second(bl.tanh(self.first(x)))


@dataclass
class Pair(nn.Module):
    """A module that is a dataclass."""

    scale: Parameter
    inner: nn.Linear
    extra: dict[str, Any] = field(default_factory=dict)

    def forward(self, x: Any) -> Any:
        return self.inner(x) * self.scale


def test_parameters_are_found_in_attributes_lists_dicts_and_dataclasses() -> None:
    pair = Pair(Parameter(2.0), nn.Linear(3, 2, key=0), {"more": [Parameter(1.0), (Parameter(3.0),)]})
    names = [name for name, _ in pair.named_parameters()]
    assert names == ["scale", "inner.weight", "inner.bias", "extra.more.0", "extra.more.1.0"]
    assert [type(module).__name__ for module in pair.modules()] == ["Pair", "Linear"]


def test_buffers_are_kept_apart_from_parameters() -> None:
    model = small()
    assert [name for name, _ in model.named_buffers()] == [
        "layers.1.running_mean",
        "layers.1.running_var",
        "layers.1.batches",
    ]
    assert not any(isinstance(p, Buffer) for p in model.parameters())
    assert len(model.parameters()) == 6


def test_parameters_are_called_by_where_they_stand() -> None:
    model = small()
    model(X)
    assert [p.name for p in model.parameters()][:2] == ["layers.0.weight", "layers.0.bias"]


def test_a_part_that_was_called_first_gets_its_whole_path_later() -> None:
    model = small()
    model[0](X)  # type: ignore[operator]
    assert model[0].weight.name == "weight"  # type: ignore[attr-defined]
    model[3].bias.name = "offset"  # type: ignore[attr-defined]
    model(X)
    assert model[0].weight.name == "layers.0.weight"  # type: ignore[attr-defined]
    assert model[3].bias.name == "offset"  # type: ignore[attr-defined]


def test_a_module_may_know_the_module_it_stands_in() -> None:
    model = small()
    model[0].whole = model  # type: ignore[attr-defined]
    gradient = bl.grad(loss_of)(model, X)
    assert gradient[0].whole is gradient
    assert len(flatten(model)[0]) == 6
    assert "whole: ..." in repr(model)


def test_a_frozen_dataclass_is_a_module_too() -> None:
    @dataclass(frozen=True)
    class Scale(nn.Module):
        """One factor."""

        factor: Parameter

        def forward(self, x: Any) -> Any:
            return self.factor * x

    scale = Scale(Parameter(3.0))
    assert scale(2.0).data == 6.0
    assert not scale.eval().training
    assert bl.grad(lambda m: m(2.0) ** 2)(scale).factor.data == 24.0


def test_leaves_that_are_one_object_stay_at_their_places() -> None:
    model = nn.scalars.MLP(2, [2, 1], key=0)
    same = 0.5
    flat = mapped(lambda p: same, model)
    assert [p for _, p in flat.named_parameters()] == [0.5] * 9
    counted = iter(range(9))
    assert flatten(mapped(lambda p: float(next(counted)), flat))[0] == [float(i) for i in range(9)]


def test_what_a_module_computes_stands_under_its_name() -> None:
    y = small()(X)
    assert str(y.scope) == "Sequential/layers.3 (Linear)"


def test_the_gradient_of_a_model_is_a_model() -> None:
    model = small()
    gradient = bl.grad(loss_of)(model, X)
    assert type(gradient) is nn.Sequential
    loss_of(model, X).backward()
    for (name, own), (other, one) in zip(model.named_parameters(), gradient.named_parameters(), strict=True):
        assert name == other
        np.testing.assert_array_equal(own.grad, one.data)


def test_the_tree_of_a_model_has_its_parameters_as_leaves() -> None:
    model = small()
    gradient = bl.grad(loss_of)(model, X)
    assert [g.shape for g in flatten(gradient)[0]] == [p.shape for p in model.parameters()]
    moved = mapped(lambda p, g: p.data - 0.1 * g.data, model, gradient)
    assert [type(a).__name__ for a in flatten(moved)[0]] == ["ndarray"] * 6
    assert paths(gradient) == paths(model)
    np.testing.assert_array_equal(moved[0].weight, model[0].weight.data - 0.1 * gradient[0].weight.data)


def test_a_differentiated_function_may_ask_the_model_for_its_parameters() -> None:
    model = small()

    def decayed(model: Any, x: Any) -> Any:
        assert next(name for name, _ in model.named_parameters()) == "layers.0.weight"
        assert len(model[0].parameters()) == 2
        return loss_of(model, x) + 0.5 * sum((p**2).sum() for p in model.parameters())

    plain, more = bl.grad(loss_of)(model, X), bl.grad(decayed)(model, X)
    for p, g, h in zip(model.parameters(), plain.parameters(), more.parameters(), strict=True):
        np.testing.assert_allclose(h.data, g.data + p.data, atol=1e-14)


def test_a_gradient_with_shared_parameters_is_a_tree_again() -> None:
    model = Tied()
    gradient = bl.grad(loss_of)(model, X)
    moved = mapped(lambda p, g: p.data - 0.1 * g.data, model, gradient)
    assert moved.first.weight is moved.second.weight
    assert [name for name, _ in moved.named_parameters()] == ["first.weight", "first.bias", "second.bias"]
    again = mapped(lambda p: p + 1.0, moved)
    assert again.first.weight is again.second.weight


def test_a_gradient_of_a_dataclass_module_is_one() -> None:
    pair = Pair(Parameter(2.0), nn.Linear(3, 2, key=0, dtype="float64"))
    gradient = bl.grad(loss_of)(pair, X)
    assert type(gradient) is Pair
    assert gradient.inner.weight.shape == (3, 2)
    assert bl.check(loss_of, pair, X).ok


def test_a_shared_parameter_is_found_once_and_gets_both_gradients() -> None:
    model = Tied()
    assert [name for name, _ in model.named_parameters()] == ["first.weight", "first.bias", "second.bias"]
    assert bl.check(loss_of, model, X).ok
    twin = copy.deepcopy(model)
    assert twin.first.weight is twin.second.weight
    assert twin.first.weight is not model.first.weight


def test_a_state_goes_there_and_back_bit_by_bit() -> None:
    model, other = small(0), small(5)
    model(X)  # running statistics move
    state = model.state_dict()
    assert not np.array_equal(other(X).data, model(X).data)
    other.load_state_dict(state)
    model.load_state_dict(state)
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(state.values(), other.state_dict().values()))  # noqa: B905
    np.testing.assert_array_equal(other.eval()(X).data, model.eval()(X).data)


class Holder(nn.Module):
    """Holds whatever it is given."""

    def __init__(self, held: Any) -> None:
        self.held = held


CONTAINERS = st.recursive(
    st.sampled_from([lambda: Parameter(1.5), lambda: Buffer([1, 2]), lambda: 0.5, lambda: None, lambda: "text"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: lambda: [p() for p in parts])
        | st.lists(inner, max_size=3).map(lambda parts: lambda: tuple(p() for p in parts))
        | st.dictionaries(st.sampled_from("abc"), inner).map(lambda parts: lambda: {k: p() for k, p in parts.items()})
        | inner.map(lambda part: lambda: Holder(part()))
    ),
    max_leaves=8,
)


@given(CONTAINERS)
def test_whatever_holds_the_parameters_they_are_found_replaced_and_stored(make: Any) -> None:
    model, other = Holder(make()), Holder(make())
    names = [name for name, _ in model.named_parameters()]
    assert len(names) == len(set(names)) == len(flatten(model)[0])
    numbers = iter(range(100))
    moved = mapped(lambda p: next(numbers), model)
    assert [p for _, p in moved.named_parameters()] == list(range(len(names)))
    assert [name for name, _ in moved.named_parameters()] == names
    for p in model.parameters():
        p.data = -7.0
    other.load_state_dict(model.state_dict())
    assert [p.data for p in other.parameters()] == [-7.0] * len(names)
    assert [n for n, _ in copy.deepcopy(moved).named_parameters()] == names


def test_a_state_is_a_copy() -> None:
    model = small()
    state = model.state_dict()
    state["layers.0.weight"][:] = 7.0
    assert not (model[0].weight.data == 7.0).any()  # type: ignore[attr-defined]


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    model = small()
    before = model.state_dict()
    wrong = {**before, "layers.0.weight": np.ones((3, 4)), "layers.3.bias": np.zeros(5)}
    with pytest.raises(DataError, match=r"layers\.3\.bias has shape \(2,\) here, and \(5,\)"):
        model.load_state_dict(wrong)
    del wrong["layers.0.bias"]
    with pytest.raises(DataError, match=r"lacks layers\.0\.bias and also has more"):
        model.load_state_dict({**wrong, "more": np.zeros(1)})
    for bad in (np.array(["a", "b"]), np.ones(2, complex), np.array([None, 1])):
        with pytest.raises(DataError, match=r"layers\.3\.bias has dtype float64 here"):
            model.load_state_dict({**before, "layers.0.weight": np.ones((3, 4)), "layers.3.bias": bad})
    with pytest.raises(DataError, match=r"layers\.1\.batches has dtype int64 here, and float64"):
        model.load_state_dict({**before, "layers.1.batches": np.array(1.5)})
    assert all(np.array_equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    model.load_state_dict({"layers.3.bias": np.ones(2)}, strict=False)
    assert model[3].bias.data.tolist() == [1.0, 1.0]  # type: ignore[attr-defined]


def test_a_deep_copy_is_a_model_of_its_own() -> None:
    model = small()
    twin = copy.deepcopy(model)
    np.testing.assert_array_equal(twin(X).data, model(X).data)
    twin[0].weight.data = twin[0].weight.data + 1.0  # type: ignore[attr-defined]
    assert not np.array_equal(twin[0].weight.data, model[0].weight.data)  # type: ignore[attr-defined]
    assert [type(v).__name__ for v in (*twin.parameters(), *dict(twin.named_buffers()).values())] == [
        *["Parameter"] * 6,
        *["Buffer"] * 3,
    ]
    assert twin[0].made_by == model[0].made_by


def test_train_and_eval_reach_every_module() -> None:
    model = small()
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.train().modules())


def test_zero_grad_forgets_all_gradients() -> None:
    model = small()
    loss_of(model, X).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_a_module_without_forward_says_so() -> None:
    class Empty(nn.Module):
        """Nothing."""

    with pytest.raises(GraphError, match="Empty has no forward"):
        Empty()(1.0)


def test_the_repr_shows_what_was_chosen_and_what_is_inside() -> None:
    assert repr(nn.Linear(64, 128)) == "Linear(64, 128)"
    assert repr(nn.Linear(64, 128, bias=False, key=3)) == "Linear(64, 128, bias=False)"
    assert repr(nn.Linear(64, 128, True)) == "Linear(64, 128)"
    assert repr(nn.BatchNorm(3, momentum=None)) == "BatchNorm(3, momentum=None)"
    assert repr(nn.Dropout(0.2)) == "Dropout(p=0.2)"
    assert repr(nn.LeakyReLU(0.2)) == "LeakyReLU(negative_slope=0.2)"
    assert repr(nn.Sequential(nn.Linear(2, 3), nn.Sequential("relu"))) == (
        "Sequential:\n  layers.0: Linear(2, 3)\n  layers.1: Sequential:\n    layers.0: ReLU()"
    )
    assert repr(nn.Sequential()) == "Sequential()"
    assert repr(Tied()) == "Tied:\n  first: Linear(3, 3)\n  second: Linear(3, 3)"


def test_a_wrong_last_axis_names_layer_input_and_cure() -> None:
    layer = nn.Linear(4, 2, key=0)
    with pytest.raises(ShapeError, match=r"Linear\(4, 2\) takes inputs whose last axis has length 4.*\(4, 3\).*x\.T"):
        layer(np.ones((4, 3)))
    with pytest.raises(ShapeError, match=r"Flatten\(\)"):
        layer(np.ones((5, 2, 2)))
    with pytest.raises(ShapeError, match=r"x\[\.\.\., None\]"):
        nn.Linear(1, 2)(np.ones(5))
    with pytest.raises(DomainError, match="n_out=0"):
        nn.Linear(3, 0)
    with pytest.raises(DomainError, match=r"n_in=2\.5"):
        nn.Linear(2.5, 3)  # type: ignore[arg-type]


def test_every_public_name_of_layers_is_there() -> None:
    for name in (
        *("Linear", "Embedding", "PositionalEmbedding", "BatchNorm", "LayerNorm", "RMSNorm", "Dropout", "reseed"),
        *("seed", "Activation", "activation", "Sequential", "Flatten", "MLP", "Neuron", "Layer", "summary"),
        *("xavier_uniform", "from_array"),
    ):
        assert getattr(nn, name) is not None
        assert name in dir(nn)
    with pytest.raises(AttributeError, match="no attribute 'Linaer'"):
        nn.Linaer
