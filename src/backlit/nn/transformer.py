"""The transformer: attention and a small network in turn, each added to what went in; and a model of text made so."""

from __future__ import annotations

from typing import Any

from backlit.core.errors import DtypeError, ShapeError
from backlit.core.value import Value, describe
from backlit.nn.attention import MultiHeadAttention
from backlit.nn.dropout import Dropout
from backlit.nn.embedding import Embedding, PositionalEmbedding
from backlit.nn.init import as_key
from backlit.nn.linear import Linear
from backlit.nn.module import Module, as_input, check_last_axis, count_of
from backlit.nn.norms import LayerNorm
from backlit.ops import random
from backlit.ops.activations import gelu
from backlit.ops.creation import asarray


class TransformerBlock(Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).  x: (..., time, d) -> (..., time, d).

    mlp: Linear to mlp_ratio · d units, gelu, Linear back. The norms stand before ("pre-norm", Xiong et al. 2020,
    arXiv:2002.04745): training needs no warm-up, but what comes out of the last block wants a norm of its own.
    causal, mask, key, dtype: as for `MultiHeadAttention`. dropout: the part dropped in training of the attention
    weights and of what each half adds.

    The same as PyTorch's `TransformerEncoderLayer` with norm_first=True, activation="gelu" and batch_first=True, which
    besides drops units inside its mlp. Source: Vaswani et al. 2017, arXiv:1706.03762.

    >>> block = TransformerBlock(8, heads=2, causal=True, key=0)
    >>> block([[[1.0] * 8] * 5]).shape
    (1, 5, 8)
    """

    def __init__(
        self,
        d: int,
        heads: int,
        mlp_ratio: float = 4,
        dropout: float = 0.0,
        causal: bool = False,
        *,
        key: Any = None,
        dtype: Any = "float32",
    ) -> None:
        self.d = count_of(d, "TransformerBlock: d")
        inner = count_of(round(mlp_ratio * d), "TransformerBlock: mlp_ratio · d")
        first, second, third, *of_dropout = random.split(as_key(key), 5)
        self.norm1 = LayerNorm(d, dtype=dtype)
        self.attention = MultiHeadAttention(d, heads, causal, dropout, key=first, dtype=dtype)
        self.norm2 = LayerNorm(d, dtype=dtype)
        self.widen = Linear(d, inner, key=second, dtype=dtype)
        self.narrow = Linear(inner, d, key=third, dtype=dtype)
        self.dropout1, self.dropout2 = (Dropout(dropout, key=each) if dropout else None for each in of_dropout)

    def forward(self, x: Any, mask: Any = None) -> Value:
        """x: (..., time, d) -> (..., time, d)."""
        start = as_input(x, self.widen.weight.dtype)
        check_last_axis(start, self.d, self)
        x = start + _dropped(self.dropout1, self.attention(self.norm1(start), mask=mask))
        result: Value = x + _dropped(self.dropout2, self.narrow(gelu(self.widen(self.norm2(x)))))
        return result


def _dropped(dropout: Dropout | None, x: Value) -> Value:
    if dropout is None:
        return x
    result: Value = dropout(x)
    return result


class CharTransformer(Module):
    """What character comes next, from those before it: for each place the logits of all characters.

    `model(tokens)`: tokens (batch, time) whole numbers below `vocabulary`, time up to `context` -> logits (batch, time,
    vocabulary), to be compared with the tokens one place later by `cross_entropy`. Embeddings of the character and
    of its place are added up, and go through `layers` causal transformer blocks, a layer norm and a linear layer.
    key: a random key or a seed. Raises DomainError if `heads` does not divide d, ShapeError for a longer text.
    Source: Radford et al. 2019 (GPT-2), without its special initialisation.

    >>> model = CharTransformer(vocabulary=27, context=8, d=16, heads=2, key=0)
    >>> model([[0, 5, 12, 3]]).shape
    (1, 4, 27)
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        d: int = 64,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.0,
        *,
        mlp_ratio: float = 4,
        key: Any = None,
        dtype: Any = "float32",
    ) -> None:
        self.vocabulary = count_of(vocabulary, "CharTransformer: vocabulary")
        self.context = count_of(context, "CharTransformer: context")
        of_tokens, of_places, of_blocks, of_out, of_dropout = random.split(as_key(key), 5)
        self.tokens = Embedding(vocabulary, d, key=of_tokens, dtype=dtype)
        self.places = PositionalEmbedding(context, d, key=of_places, dtype=dtype)
        self.blocks = [
            TransformerBlock(d, heads, mlp_ratio, dropout, True, key=random.fold_in(of_blocks, i), dtype=dtype)
            for i in range(count_of(layers, "CharTransformer: layers"))
        ]
        self.norm = LayerNorm(d, dtype=dtype)
        self.out = Linear(d, vocabulary, key=of_out, dtype=dtype)
        self.dropout = Dropout(dropout, key=of_dropout) if dropout else None

    def forward(self, tokens: Any) -> Value:
        """tokens: (..., time) -> logits (..., time, vocabulary)."""
        tokens = asarray(tokens)
        if tokens.dtype.kind not in "iu":
            raise DtypeError(
                f"CharTransformer takes whole numbers below {self.vocabulary}, one for each character, and was given "
                f"{describe(tokens)}, of dtype {tokens.dtype.name}."
            )
        if not tokens.ndim or tokens.shape[-1] > self.context:
            raise ShapeError(
                f"CharTransformer reads (..., time) with up to {self.context} places, and was given "
                f"{describe(tokens)}, of shape {tokens.shape}. Give it the last ones, tokens[..., -{self.context}:], "
                "or make it with a larger context."
            )
        x = _dropped(self.dropout, self.places(self.tokens(tokens)))
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))  # type: ignore[no-any-return]
