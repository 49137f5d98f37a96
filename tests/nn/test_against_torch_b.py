"""Losses, recurrent layers, attention and transformers agree with PyTorch's, numbers and gradients, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.nn import losses
from backlit.nn.attention import MultiHeadAttention, scaled_dot_product_attention
from backlit.nn.recurrent import GRU, LSTM, RNN
from backlit.nn.transformer import CharTransformer, TransformerBlock

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.peers


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    """Small matrices on many threads mostly wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


RNG = np.random.default_rng(21)
N, K = 12, 5
P, T = 2 * RNG.normal(size=(N, K)), RNG.normal(size=(N, K))
PROBABILITIES = RNG.uniform(0.01, 0.99, size=(N, K))
BITS = RNG.integers(0, 2, size=(N, K)).astype(float)
LABELS = RNG.integers(0, K, size=N)
LABELS[[2, 7]] = 3
SOFT = RNG.dirichlet(np.ones(K), size=N)
LOG_P = P - np.log(np.exp(P).sum(-1, keepdims=True))
WEIGHT = RNG.uniform(0.5, 2.0, size=K)
HOLES = np.where(np.arange(N) % 3 == 0, -100, LABELS)
SPARSE = np.where(SOFT < 0.1, 0.0, SOFT)

Case = tuple[Callable[..., Any], Callable[..., Any], Any, Any, dict[str, Any]]
CASES: dict[str, Case] = {
    "mse": (losses.mse, F.mse_loss, P, T, {}),
    "mae": (losses.mae, F.l1_loss, P, T, {}),
    "mae at the kink": (losses.mae, F.l1_loss, P, P, {}),
    "huber": (losses.huber, F.huber_loss, P, T, {}),
    "huber 0.3": (losses.huber, F.huber_loss, P, T, {"delta": 0.3}),
    "bce": (losses.binary_cross_entropy, F.binary_cross_entropy, PROBABILITIES, BITS, {}),
    "bce soft": (losses.binary_cross_entropy, F.binary_cross_entropy, PROBABILITIES, SOFT, {}),
    "logits": (losses.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits, P, BITS, {}),
    "logits soft": (losses.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits, P, SOFT, {}),
    "logits extreme": (
        losses.binary_cross_entropy_with_logits,
        F.binary_cross_entropy_with_logits,
        1e4 * P,
        BITS,
        {},
    ),
    "logits pos_weight": (
        losses.binary_cross_entropy_with_logits,
        F.binary_cross_entropy_with_logits,
        P,
        BITS,
        {"pos_weight": WEIGHT},
    ),
    "ce extreme": (losses.cross_entropy, F.cross_entropy, 1e4 * P, LABELS, {}),
    "max margin": (losses.max_margin, F.multi_margin_loss, P, LABELS, {}),
    "max margin squared": (losses.max_margin, F.multi_margin_loss, P, LABELS, {"p": 2, "margin": 0.4}),
    "max margin weighted": (losses.max_margin, F.multi_margin_loss, P, LABELS, {"weight": WEIGHT}),
}
for smoothing in (0.0, 0.1, 1.0):
    for weight in (None, WEIGHT):
        options: dict[str, Any] = {"label_smoothing": smoothing, "weight": weight}
        name = f"ce {smoothing}{'' if weight is None else ' weighted'}"
        CASES[name] = (losses.cross_entropy, F.cross_entropy, P, LABELS, options)
        CASES[f"{name} soft"] = (losses.cross_entropy, F.cross_entropy, P, SOFT, options)
        for skip, labels in ((-100, HOLES), (3, LABELS)):
            CASES[f"{name} ignoring {skip}"] = (
                losses.cross_entropy,
                F.cross_entropy,
                P,
                labels,
                options | {"ignore_index": skip},
            )
for weight in (None, WEIGHT):
    for skip in (None, 3):
        options = {"weight": weight} | ({} if skip is None else {"ignore_index": skip})
        CASES[f"nll {weight is not None} {skip}"] = (losses.nll, F.nll_loss, LOG_P, LABELS, options)


def agree(ours: Any, theirs: Any, rtol: float = 1e-12) -> None:
    """Element by element within rounding, of the largest element of the array."""
    a, b = np.asarray(ours.data if isinstance(ours, bl.Value) else ours), theirs.detach().numpy()
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(1e-300, float(abs(b).max(initial=0.0))))


def of_torch(options: dict[str, Any]) -> dict[str, Any]:
    return {name: torch.tensor(x) if isinstance(x, np.ndarray) else x for name, x in options.items()}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_loss_and_its_gradient_are_pytorchs(case: Case, reduction: str) -> None:
    ours, theirs, prediction, target, options = case
    x, y = bl.Value(prediction), torch.tensor(prediction, requires_grad=True)
    a = ours(x, target, reduction=reduction, **options)
    b = theirs(y, torch.tensor(target), reduction=reduction, **of_torch(options))
    agree(a, b)
    seed = RNG.normal(size=a.shape)
    (a * seed).sum().backward()
    (b * torch.tensor(seed)).sum().backward()
    agree(x.grad, y.grad)


@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("target", [SOFT, SPARSE], ids=["full", "sparse"])
def test_the_divergence_is_pytorchs_summed_over_classes(target: Any, log_target: bool) -> None:
    if log_target:
        target = np.log(np.maximum(target, 1e-30))
    for reduction, theirs in (("mean", "batchmean"), ("sum", "sum"), ("none", "none")):
        x, y = bl.Value(LOG_P), torch.tensor(LOG_P, requires_grad=True)
        a = losses.kl_divergence(x, target, log_target=log_target, reduction=reduction)
        b = F.kl_div(y, torch.tensor(target), log_target=log_target, reduction=theirs)
        b = b.sum(-1) if reduction == "none" else b
        agree(a, b)
        a.sum().backward()
        b.sum().backward()
        agree(x.grad, y.grad)


def test_sequences_of_classes_agree_with_pytorchs_axis_order() -> None:
    logits, labels = RNG.normal(size=(3, 4, K)), RNG.integers(0, K, size=(3, 4))
    a = losses.cross_entropy(logits, labels, weight=WEIGHT, reduction="none")
    b = F.cross_entropy(
        torch.tensor(logits).movedim(-1, 1), torch.tensor(labels), torch.tensor(WEIGHT), reduction="none"
    )
    agree(a, b)


def test_certain_and_wrong_costs_what_it_does_in_pytorch() -> None:
    p, y = np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0])
    a = losses.binary_cross_entropy(p, y, reduction="none")
    agree(a, F.binary_cross_entropy(torch.tensor(p), torch.tensor(y), reduction="none"))


def test_hinge_is_the_clamped_margin() -> None:
    x, y = bl.Value(P), torch.tensor(P, requires_grad=True)
    a, b = losses.hinge(x, 2 * BITS - 1), torch.clamp(1 - torch.tensor(2 * BITS - 1) * y, min=0).mean()
    agree(a, b)
    a.backward()
    b.backward()
    agree(x.grad, y.grad)


# -- recurrent layers --------------------------------------------------------------------------------------------


def numbers(parameter: Any) -> Any:
    return parameter.detach().numpy().copy()


def take_over(layer: Any, theirs: Any) -> list[tuple[Any, Callable[[], Any]]]:
    """PyTorch's numbers into ours. Gives pairs: our parameter, and the gradient that it should get."""
    pairs: list[tuple[Any, Callable[[], Any]]] = []
    for n, cell in enumerate(layer.cells):
        w_in, w_state, b_in, b_state = (
            getattr(theirs, f"{name}_l{n}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        cell.weight.data, cell.state_weight.data = numbers(w_in).T, numbers(w_state).T
        pairs += [(cell.weight, lambda w=w_in: w.grad.T), (cell.state_weight, lambda w=w_state: w.grad.T)]
        bias, h = numbers(b_in) + numbers(b_state), cell.n_hidden
        if isinstance(layer, GRU):
            bias[2 * h :] = numbers(b_in)[2 * h :]
            cell.candidate_bias.data = numbers(b_state)[2 * h :]
            pairs.append((cell.candidate_bias, lambda b=b_state, h=h: b.grad[2 * h :]))
        cell.bias.data = bias
        pairs.append((cell.bias, lambda b=b_in: b.grad))
    return pairs


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", ["tanh", "relu", "gru", "lstm"])
def test_a_recurrent_layer_and_its_gradients_are_pytorchs(kind: str, layers: int) -> None:
    torch.manual_seed(0)
    options = {"batch_first": True, "num_layers": layers, "dtype": torch.float64}
    layer: Any
    if kind == "gru":
        layer, theirs = GRU(3, 6, layers, dtype="float64"), torch.nn.GRU(3, 6, **options)
    elif kind == "lstm":
        layer, theirs = LSTM(3, 6, layers, dtype="float64"), torch.nn.LSTM(3, 6, **options)
    else:
        layer = RNN(3, 6, kind, layers, dtype="float64")
        theirs = torch.nn.RNN(3, 6, nonlinearity=kind, **options)
    pairs = take_over(layer, theirs)
    x, h, c = RNG.normal(size=(2, 7, 3)), RNG.normal(size=(layers, 2, 6)), RNG.normal(size=(layers, 2, 6))
    ours = [bl.Value(a) for a in (x, h, c)]
    others = [torch.tensor(a, requires_grad=True) for a in (x, h, c)]
    outputs, last = layer(ours[0], (ours[1], ours[2]) if kind == "lstm" else ours[1])
    expected, end = theirs(others[0], (others[1], others[2]) if kind == "lstm" else others[1])
    agree(outputs, expected)
    loss, other = bl.square(outputs).sum(), expected.square().sum()
    for a, b in zip(last, end, strict=True) if kind == "lstm" else [(last, end)]:
        agree(a, b)
        loss, other = loss + bl.sin(a).sum(), other + b.sin().sum()
    loss.backward()
    other.backward()
    for parameter, gradient in pairs:
        agree(parameter.grad, gradient(), 1e-11)
    for a, b in list(zip(ours, others, strict=True))[: 3 if kind == "lstm" else 2]:
        agree(a.grad, b.grad, 1e-11)


# -- attention ---------------------------------------------------------------------------------------------------

Q, KEYS, V = RNG.normal(size=(2, 3, 4, 6)), RNG.normal(size=(2, 3, 5, 6)), RNG.normal(size=(2, 3, 5, 8))
ALLOWED = RNG.random(size=(2, 1, 4, 5)) < 0.6
ALLOWED[..., 0] = True
NOWHERE = ALLOWED.copy()
NOWHERE[1, 0, 2] = False


@pytest.mark.parametrize(
    ("mask", "causal", "scale"),
    [
        (None, False, None),
        (None, True, None),
        (None, True, 0.3),
        (ALLOWED, False, None),
        (NOWHERE, False, None),
        (RNG.normal(size=(4, 5)), False, None),
        (np.where(NOWHERE, 0.5, -np.inf), False, None),
    ],
    ids=["all", "causal", "scaled", "mask", "nowhere", "numbers", "infinite"],
)
def test_attention_and_its_gradients_are_pytorchs(mask: Any, causal: bool, scale: float | None) -> None:
    ours = [bl.Value(a) for a in (Q, KEYS, V)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (Q, KEYS, V)]
    a = scaled_dot_product_attention(*ours, mask=mask, causal=causal, scale=scale)
    given = None if mask is None else torch.tensor(mask)
    b = F.scaled_dot_product_attention(*theirs, attn_mask=given, is_causal=causal, scale=scale)
    agree(a, b)
    bl.square(a).sum().backward()
    b.square().sum().backward()
    for x, y in zip(ours, theirs, strict=True):
        agree(x.grad, y.grad, 1e-11)


def attention_from(ours: MultiHeadAttention, theirs: Any) -> list[tuple[Any, Callable[[], Any]]]:
    d = ours.d
    pairs: list[tuple[Any, Callable[[], Any]]] = []
    for i, part in enumerate((ours.query, ours.key, ours.value)):
        rows = slice(i * d, (i + 1) * d)
        part.weight.data = numbers(theirs.in_proj_weight)[rows].T
        pairs.append((part.weight, lambda rows=rows: theirs.in_proj_weight.grad[rows].T))
        if part.bias is not None:
            part.bias.data = numbers(theirs.in_proj_bias)[rows]
            pairs.append((part.bias, lambda rows=rows: theirs.in_proj_bias.grad[rows]))
    return pairs + linear_from(ours.out, theirs.out_proj)


def linear_from(ours: Any, theirs: Any) -> list[tuple[Any, Callable[[], Any]]]:
    ours.weight.data, ours.bias.data = numbers(theirs.weight).T, numbers(theirs.bias)
    return [(ours.weight, lambda: theirs.weight.grad.T), (ours.bias, lambda: theirs.bias.grad)]


def norm_from(ours: Any, theirs: Any) -> list[tuple[Any, Callable[[], Any]]]:
    ours.weight.data, ours.bias.data = numbers(theirs.weight), numbers(theirs.bias)
    return [(ours.weight, lambda: theirs.weight.grad), (ours.bias, lambda: theirs.bias.grad)]


def disturb(module: Any) -> None:
    """Offsets that are not zero and scales that are not one, so that each counts."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p += 0.2 * torch.randn_like(p)


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_heads_and_their_gradients_are_pytorchs(causal: bool, cross: bool) -> None:
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    disturb(theirs)
    attention = MultiHeadAttention(8, 2, causal, dtype="float64")
    pairs = attention_from(attention, theirs)
    x = RNG.normal(size=(3, 5, 8))
    context = RNG.normal(size=(3, 5, 8)) if cross else x
    y, z = torch.tensor(x), torch.tensor(context)
    forbidden = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1) if causal else None
    a, (b, _) = attention(x, context if cross else None), theirs(y, z, z, attn_mask=forbidden)
    agree(a, b)
    bl.square(a).sum().backward()
    b.square().sum().backward()
    for parameter, gradient in pairs:
        agree(parameter.grad, gradient(), 1e-11)


def block_from(ours: TransformerBlock, theirs: Any) -> list[tuple[Any, Callable[[], Any]]]:
    return [
        *norm_from(ours.norm1, theirs.norm1),
        *attention_from(ours.attention, theirs.self_attn),
        *norm_from(ours.norm2, theirs.norm2),
        *linear_from(ours.widen, theirs.linear1),
        *linear_from(ours.narrow, theirs.linear2),
    ]


def torch_block(d: int, heads: int) -> Any:
    return torch.nn.TransformerEncoderLayer(
        d, heads, 4 * d, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )


def forbidden_later(time: int) -> Any:
    return torch.triu(torch.ones(time, time, dtype=torch.bool), 1)


def test_a_block_and_its_gradients_are_pytorchs() -> None:
    theirs = torch_block(8, 2)
    disturb(theirs)
    block = TransformerBlock(8, 2, causal=True, dtype="float64")
    pairs = block_from(block, theirs)
    x = RNG.normal(size=(3, 5, 8))
    a, b = block(x), theirs(torch.tensor(x), src_mask=forbidden_later(5))
    agree(a, b)
    bl.square(a).sum().backward()
    b.square().sum().backward()
    for parameter, gradient in pairs:
        agree(parameter.grad, gradient(), 1e-11)


# -- training ----------------------------------------------------------------------------------------------------


class TorchModel(torch.nn.Module):  # type: ignore[misc]
    """The same model of text, made of PyTorch's parts."""

    def __init__(self, vocabulary: int, context: int, d: int, heads: int, layers: int) -> None:
        super().__init__()
        self.tokens = torch.nn.Embedding(vocabulary, d, dtype=torch.float64)
        self.places = torch.nn.Embedding(context, d, dtype=torch.float64)
        self.blocks = torch.nn.ModuleList([torch_block(d, heads) for _ in range(layers)])
        self.norm = torch.nn.LayerNorm(d, dtype=torch.float64)
        self.out = torch.nn.Linear(d, vocabulary, dtype=torch.float64)

    def forward(self, tokens: Any) -> Any:
        time = tokens.shape[1]
        x = self.tokens(tokens) + self.places(torch.arange(time))
        for block in self.blocks:
            x = block(x, src_mask=forbidden_later(time))
        return self.out(self.norm(x))


def corpus(length: int) -> Any:
    """Text of a small grammar as numbers: sentences of subject, verb and object, which a model can learn."""
    rng = np.random.default_rng(3)
    subjects, verbs, objects = (
        ["the cat", "a dog", "my uncle", "the moon", "nobody"],
        ["sees", "likes", "paints", "forgets"],
        ["the sea", "a tree", "three stones", "the old house"],
    )
    text = ""
    while len(text) < length:
        text += f"{rng.choice(subjects)} {rng.choice(verbs)} {rng.choice(objects)}. "
    letters = sorted(set(text))
    return np.array([letters.index(letter) for letter in text[:length]]), len(letters)


@pytest.mark.parametrize("method", ["sgd", "adamw"])
def test_a_character_transformer_learns_as_pytorchs_does_from_equal_weights(method: str) -> None:
    text, vocabulary = corpus(2000)
    context, batch = 32, 8
    torch.manual_seed(2)
    theirs = TorchModel(vocabulary, context, 64, 4, 2)
    model = CharTransformer(vocabulary, context, d=64, heads=4, layers=2, dtype="float64")
    model.tokens.weight.data, model.places.weight.data = numbers(theirs.tokens.weight), numbers(theirs.places.weight)
    for ours, other in zip(model.blocks, theirs.blocks, strict=True):
        block_from(ours, other)
    norm_from(model.norm, theirs.norm)
    linear_from(model.out, theirs.out)
    optimizer: Any
    if method == "sgd":
        optimizer = bl.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        their_optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
    else:
        if not hasattr(bl.optim, "AdamW"):
            pytest.skip("there is no AdamW")
        optimizer = bl.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
        their_optimizer = torch.optim.AdamW(theirs.parameters(), lr=2e-3, weight_decay=0.01)
    rng = np.random.default_rng(8)
    found, expected = [], []
    for _ in range(20):
        starts = rng.integers(0, len(text) - context - 1, size=batch)
        windows = np.stack([text[s : s + context + 1] for s in starts])
        x, y = windows[:, :-1], windows[:, 1:]
        optimizer.zero_grad()
        loss = losses.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        found.append(loss.data)
        their_optimizer.zero_grad()
        other = F.cross_entropy(theirs(torch.tensor(x)).reshape(-1, vocabulary), torch.tensor(y).reshape(-1))
        other.backward()
        their_optimizer.step()
        expected.append(other.item())
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    assert found[-1] < 0.8 * found[0]
