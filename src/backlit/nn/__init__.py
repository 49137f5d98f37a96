"""How a network is built: modules, layers, initialisers and losses."""

from importlib import import_module
from typing import Any

_PLACES = {
    "module": "Module",
    "init": "xavier_uniform xavier_normal kaiming_uniform kaiming_normal lecun_uniform lecun_normal "
    "orthogonal zeros ones constant from_array seed",
    "linear": "Linear",
    "embedding": "Embedding PositionalEmbedding",
    "norms": "BatchNorm LayerNorm RMSNorm",
    "dropout": "Dropout reseed",
    "activations": "Activation ELU GELU Identity LeakyReLU ReLU SiLU Sigmoid Softmax Softplus Tanh activation",
    "containers": "Sequential Flatten",
    "mlp": "MLP",
    "scalars": "Neuron Layer",
    "recurrent": "RNN GRU LSTM RNNCell GRUCell LSTMCell",
    "attention": "MultiHeadAttention scaled_dot_product_attention",
    "transformer": "TransformerBlock CharTransformer",
    "summaries": "summary",
    "losses": "mse mae huber binary_cross_entropy binary_cross_entropy_with_logits cross_entropy hinge max_margin "
    "kl_divergence nll",
}
_WHERE = {name: module for module, names in _PLACES.items() for name in names.split()}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    """Names are loaded when first used."""
    if name in _PLACES:  # `nn.init.orthogonal`, `nn.scalars.MLP`
        return import_module(f"backlit.nn.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'backlit.nn' has no attribute {name!r}")
    found = getattr(import_module(f"backlit.nn.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PLACES})
