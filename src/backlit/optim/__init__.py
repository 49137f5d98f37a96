"""How a network's numbers are changed: optimizers as pure functions and as objects, their parts, and schedules."""

from backlit.core.lazy import lazily

_PLACES = {
    "rule": "Rule Optimizer",
    "parts": "chain clip_by_value clip_by_norm global_norm add_weight_decay scale_by_schedule ema",
    "moves": "Move",
    "optimizers.adam": "adam Adam",
    "optimizers.adamw": "adamw AdamW",
    "optimizers.nadam": "nadam NAdam",
    "optimizers.adagrad": "adagrad Adagrad",
    "optimizers.rmsprop": "rmsprop RMSprop",
    "optimizers.adadelta": "adadelta Adadelta",
    "optimizers.lion": "lion Lion",
    "optimizers.adafactor": "adafactor Adafactor",
    "optimizers.lbfgs": "lbfgs LBFGS",
    "least_squares": "gauss_newton levenberg_marquardt GaussNewton LevenbergMarquardt Fitted",
    "line_search": "strong_wolfe",
    "schedules": "constant step exponential cosine one_cycle warm_up piecewise ReduceOnPlateau",
    "optimizers.sgd": "sgd SGD",
}
__all__, __getattr__, __dir__ = lazily(__name__, _PLACES)
