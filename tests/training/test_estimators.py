"""The estimators keep scikit-learn's manners."""

from __future__ import annotations

import pickle
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.training import estimators


def test_without_scikit_learn_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)  # type: ignore[arg-type]  # as if it were not there
    monkeypatch.delitem(vars(estimators), "BacklitClassifier", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'backlit\[sklearn\]'"):
        estimators.BacklitClassifier
    assert "BacklitClassifier" in dir(estimators)
    with pytest.raises(AttributeError, match="BacklitCluster"):
        estimators.BacklitCluster


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("name", ["BacklitClassifier", "BacklitRegressor"])
def test_scikit_learns_own_checks_pass(name: str) -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = checks.check_estimator(getattr(estimators, name)(), on_fail=None)
    told = [(each["check_name"], repr(each["exception"])) for each in results if each["status"] == "failed"]
    assert told == []
    assert sum(each["status"] == "passed" for each in results) > 40


def moons() -> tuple[Any, Any]:
    data = bl.data.moons(200, seed=1)
    return np.asarray(data.inputs, np.float64), np.asarray(data.targets)


@pytest.fixture
def sklearn() -> Any:
    return pytest.importorskip("sklearn")


@pytest.mark.peers
def test_classes_of_any_kind_are_learned_with_their_probabilities(sklearn: Any) -> None:
    x, y = moons()
    names = np.array(["left", "right"])[y]
    model = estimators.BacklitClassifier(hidden=(16,), epochs=60, random_state=0).fit(x, names)
    assert model.classes_.tolist() == ["left", "right"]
    assert model.score(x, names) > 0.95
    likely = model.predict_proba(x)
    np.testing.assert_allclose(likely.sum(1), 1.0)
    np.testing.assert_array_equal(model.classes_[likely.argmax(1)], model.predict(x))
    np.testing.assert_allclose(np.exp(model.predict_log_proba(x)), likely)
    assert model.n_iter_ == len(model.loss_curve_) == 60
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@pytest.mark.peers
def test_the_network_is_that_of_fit_with_the_same_seed(sklearn: Any) -> None:
    x, y = moons()
    model = estimators.BacklitClassifier(hidden=8, epochs=3, random_state=7).fit(x, y)
    seed = int(np.random.RandomState(7).randint(np.iinfo(np.int32).max))
    net = bl.nn.MLP(2, [8, 2], "relu", key=seed, dtype="float64")
    from backlit.training.fit import fit

    run = fit(net, (x, y), loss="cross_entropy", lr=0.01, epochs=3, seed=seed)
    np.testing.assert_array_equal(net.parameters()[0].data, model.model_.parameters()[0].data)
    np.testing.assert_array_equal(run.history.column("loss"), model.loss_curve_)


@pytest.mark.peers
def test_one_number_and_several_are_predicted_in_the_shape_they_were_given(sklearn: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 3))
    y = np.stack([x[:, 0] * x[:, 1], x[:, 2]], axis=1)
    one = estimators.BacklitRegressor(random_state=0).fit(x, y[:, 1])
    two = estimators.BacklitRegressor(random_state=0).fit(x, y)
    assert one.predict(x).shape == (150,)
    assert two.predict(x).shape == (150, 2)
    assert one.score(x, y[:, 1]) > 0.99
    assert two.score(x, y) > 0.9


@pytest.mark.peers
def test_early_stopping_holds_examples_out(sklearn: Any) -> None:
    x, y = moons()
    model = estimators.BacklitClassifier(epochs=500, lr=0.05, early_stopping=3, random_state=0).fit(x, y)
    assert model.n_iter_ < 500
    assert len(model.validation_curve_) == model.n_iter_
    assert model.n_iter_ - 4 == int(np.argmin(model.validation_curve_))


@pytest.mark.peers
def test_warm_start_goes_on_from_the_network_before(sklearn: Any) -> None:
    x, y = moons()
    model = estimators.BacklitClassifier(epochs=5, warm_start=True, random_state=0).fit(x, y)
    first = model.loss_curve_[-1]
    network = model.model_
    model.fit(x, y)
    assert model.model_ is network
    assert model.loss_curve_[0] < first
    with pytest.raises(ValueError, match="the same classes"):
        model.fit(x, y + 5)
    assert model.set_params(hidden=(4,)).fit(x, y).model_ is not network


@pytest.mark.peers
def test_it_works_in_pipelines_searches_and_copies(sklearn: Any) -> None:
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = moons()
    base = estimators.BacklitClassifier(epochs=15, random_state=0, activation=bl.tanh)
    pipe = make_pipeline(StandardScaler(), clone(base))
    search = GridSearchCV(pipe, {"backlitclassifier__hidden": [(4,), (16, 8)]}, cv=2).fit(x * 100, y)
    assert search.best_score_ > 0.8
    plain = estimators.BacklitClassifier(epochs=2, random_state=0).fit(x, y)
    again = pickle.loads(pickle.dumps(plain))
    np.testing.assert_array_equal(plain.predict_proba(x), again.predict_proba(x))
    assert repr(base) == repr(clone(base))


@pytest.mark.peers
def test_columns_of_a_frame_are_remembered(sklearn: Any) -> None:
    pandas = pytest.importorskip("pandas")
    x, y = moons()
    frame = pandas.DataFrame(x, columns=["width", "height"])
    model = estimators.BacklitClassifier(epochs=2, random_state=0).fit(frame, y)
    assert model.feature_names_in_.tolist() == ["width", "height"]
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"width": "depth"}))
