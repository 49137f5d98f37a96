"""How a network is built: modules, layers, initialisers and losses."""

from backlit.core.lazy import lazily

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
__all__, __getattr__, __dir__ = lazily(__name__, _PLACES)
