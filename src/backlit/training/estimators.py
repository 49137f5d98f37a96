"""Networks with the manners of scikit-learn: they can stand in its pipelines, searches and cross-validations.

They need scikit-learn (the extra `sklearn`), which is imported when one of them is first asked for: the classes are
made then, of its base classes and of the methods below.
"""

from __future__ import annotations

import copy
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backlit.core.errors import BacklitError
from backlit.nn.losses import cross_entropy, mse
from backlit.nn.mlp import MLP
from backlit.ops.statistics import softmax
from backlit.training.fit import fit as train
from backlit.training.run import predict as answers

Array = npt.NDArray[Any]

_MADE = ("BacklitClassifier", "BacklitRegressor")
__all__ = list(_MADE)

_ABOUT = """

    hidden: how many units each hidden layer has; () for a linear model. activation: between the layers. optimizer, lr,
    epochs, batch_size, clip, early_stopping: as for `backlit.fit`; lr=None takes the optimizer's own. early_stopping:
    a number of epochs, for which validation_fraction of the examples is held out; None goes through all epochs.
    random_state: a seed, a RandomState or None, of the first weights, the order of examples and what is held out.
    warm_start: `fit` goes on from the network of the fit before. Inputs are taken as they are: a StandardScaler before
    it in a pipeline nearly always helps.

    After `fit`: model_ (the network), loss_curve_ (mean loss of each epoch), validation_curve_ (of each epoch, with
    early stopping), n_iter_ (epochs made), n_features_in_, feature_names_in_ (of a data frame), n_outputs_{more}.

    >>> import numpy as np
    >>> from backlit.training.estimators import {name}
    >>> {example}
    1.0
    """


def _sklearn(name: str) -> Any:
    return import_module(f"sklearn.{name}")


class _Network:
    """What both kinds share: the settings, and a network that is trained with `fit`."""

    if TYPE_CHECKING:

        def __sklearn_tags__(self) -> Any: ...

    def __init__(
        self,
        hidden: Any = (32,),
        *,
        activation: Any = "relu",
        optimizer: Any = "adam",
        lr: Any = 0.01,
        epochs: int = 100,
        batch_size: int | None = 32,
        clip: Any = None,
        early_stopping: int | None = None,
        validation_fraction: float = 0.1,
        random_state: Any = None,
        warm_start: bool = False,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.optimizer = optimizer
        self.lr = lr
        self.epochs = epochs
        self.batch_size = batch_size
        self.clip = clip
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.warm_start = warm_start

    model_: MLP
    n_features_in_: int

    def _train(self, x: Array, y: Array, outputs: int, loss: Any) -> None:
        """Make the network, unless it is to go on from the last, and train it."""
        seed = int(_sklearn("utils").check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        sizes = [self.hidden] if isinstance(self.hidden, (int, np.integer)) else list(self.hidden)
        made = (self.n_features_in_, [*map(int, sizes), outputs])
        if not (self.warm_start and hasattr(self, "model_") and self.model_.made_by[0][:2] == made):
            self.model_ = MLP(*made, self.activation, key=seed, dtype="float64")
        run = train(
            self.model_,
            (x, y),
            loss=loss,
            optimizer=copy.deepcopy(self.optimizer),
            lr=self.lr,
            epochs=self.epochs,
            batch_size=self.batch_size,
            validation=None if self.early_stopping is None else self.validation_fraction,
            seed=seed,
            clip=self.clip,
            early_stopping=self.early_stopping,
            progress=False,
        )
        self.n_outputs_ = outputs
        self.n_iter_ = len(run.history.epochs)
        self.loss_curve_ = [row["loss"] for row in run.history.epochs]
        if self.early_stopping is not None:
            self.validation_curve_ = [row["validation loss"] for row in run.history.epochs]

    def _answers(self, X: Any) -> Array:
        """What the network gives for inputs, checked."""
        validation = _sklearn("utils.validation")
        validation.check_is_fitted(self)
        x = validation.validate_data(self, X, reset=False, dtype=np.float64)
        found: Array = answers(self.model_, x)
        return found

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copies: in place of the network, how it was made, and its numbers."""
        state: dict[str, Any] = dict(super().__getstate__())  # type: ignore[call-overload]
        if "model_" in state:
            state["model_"] = self.model_.made_by, self.model_.state_dict()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "model_" in state:
            (args, kwargs), numbers = state["model_"]
            state["model_"] = MLP(*args, **kwargs)
            state["model_"].load_state_dict(numbers)
        super().__setstate__(state)  # type: ignore[misc]


class _Classifier(_Network):
    """A multi-layer perceptron that tells classes apart, by cross entropy; `backlit.fit` in scikit-learn's manners."""

    classes_: Array

    def fit(self, X: Any, y: Any) -> Any:
        """Learn which class each row is of.  X: (n, features) numbers; y: (n,) labels of any kind. Returns itself."""
        validation = _sklearn("utils.validation")
        x, y = validation.validate_data(self, X, y, dtype=np.float64, multi_output=True)
        y = validation.column_or_1d(y, warn=True)
        _sklearn("utils.multiclass").check_classification_targets(y)
        classes, places = np.unique(y, return_inverse=True)
        if self.warm_start and hasattr(self, "classes_") and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"fit: warm_start=True goes on with the classes {self.classes_}, and y has {classes}. Give the same "
                "classes, or warm_start=False."
            )
        self.classes_ = classes
        self._train(x, places.reshape(-1).astype(np.int64), len(classes), cross_entropy)
        return self

    def predict(self, X: Any) -> Array:
        """The class of each row, (n,); of two that are equally likely, the first."""
        places = self._answers(X).argmax(axis=1)
        found: Array = self.classes_[places]
        return found

    def predict_proba(self, X: Any) -> Array:
        """How likely each class is, (n, classes), in the order of `classes_`; rows sum to 1."""
        found: Array = np.array(softmax(self._answers(X), axis=1).data)
        return found

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))


class _Regressor(_Network):
    """A multi-layer perceptron that predicts numbers, by squared error; `backlit.fit` in scikit-learn's manners."""

    def fit(self, X: Any, y: Any) -> Any:
        """Learn the numbers of each row.  X: (n, features); y: (n,) or (n, outputs) real numbers. Returns itself."""
        x, y = _sklearn("utils.validation").validate_data(
            self, X, y, dtype=np.float64, multi_output=True, y_numeric=True
        )
        self._single = y.ndim == 1
        y = np.asarray(y, np.float64).reshape(len(y), -1)
        self._train(x, y, y.shape[1], mse)
        return self

    def predict(self, X: Any) -> Array:
        """The numbers of each row: (n,), or (n, outputs) if they were given so."""
        found = self._answers(X)
        return found.reshape(-1) if self._single else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _made(name: str) -> type:
    """One of the two classes, of scikit-learn's base classes and our methods."""
    try:
        base = _sklearn("base")
        if not hasattr(_sklearn("utils.validation"), "validate_data"):
            raise ImportError("this scikit-learn is older than 1.6")
    except ImportError as error:
        raise MissingScikitLearnError(
            f"{name} needs scikit-learn 1.6 or newer. Install it with: pip install 'backlit[sklearn]'. "
            "Without it, backlit.fit trains any network."
        ) from error
    methods, manners = {
        "BacklitClassifier": (_Classifier, base.ClassifierMixin),
        "BacklitRegressor": (_Regressor, base.RegressorMixin),
    }[name]
    more, example = {
        "BacklitClassifier": (
            ", classes_",
            "BacklitClassifier(random_state=0).fit(x := np.eye(3), y := ['a', 'b', 'c']).score(x, y)",
        ),
        "BacklitRegressor": (
            "",
            "round(BacklitRegressor(random_state=0).fit(x := np.eye(3), y := [1.0, 2.0, 3.0]).score(x, y), 1)",
        ),
    }[name]
    doc = (methods.__doc__ or "") + _ABOUT.format(name=name, more=more, example=example)
    return type(
        name, (methods, manners, base.BaseEstimator), {"__module__": __name__, "__qualname__": name, "__doc__": doc}
    )


class MissingScikitLearnError(BacklitError, ImportError):
    """An estimator was asked for, and scikit-learn is not installed."""


def __getattr__(name: str) -> Any:
    """The two classes are made when one is first used."""
    if name not in _MADE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = _made(name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
