"""How a network is built: modules, layers, initialisers and losses."""

from importlib import import_module
from typing import Any

_PLACES = {
    "module": "Module",
    "init": "xavier_uniform xavier_normal kaiming_uniform kaiming_normal lecun_uniform lecun_normal "
    "orthogonal zeros ones constant from_array",
    "linear": "Linear",
    "embedding": "Embedding PositionalEmbedding",
    "norms": "BatchNorm LayerNorm RMSNorm",
    "dropout": "Dropout",
    "activations": "Activation ELU GELU Identity LeakyReLU ReLU SiLU Sigmoid Softmax Softplus Tanh",
    "containers": "Sequential Flatten",
    "mlp": "MLP",
    "scalars": "Neuron Layer",
    "recurrent": "RNN GRU LSTM",
    "attention": "MultiHeadAttention",
    "transformer": "TransformerBlock",
    "summary": "summary",
    "losses": "mse mae huber binary_cross_entropy binary_cross_entropy_with_logits cross_entropy hinge max_margin "
    "kl_divergence nll",
}
_WHERE = {name: module for module, names in _PLACES.items() for name in names.split()}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    """Names are loaded when first used."""
    if name not in _WHERE:
        raise AttributeError(f"module 'backlit.nn' has no attribute {name!r}")
    found = getattr(import_module(f"backlit.nn.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
