"""The library's estimators with scikit-learn's methods, made from their option tables.

A class for each: Logistic, Ridge, Knn, Prototypes, Gaussian, ...; an estimator that does several
things has one for each (RidgeRegressor, OneClassSvmDetector). Options are arguments, by the names
that `mica list estimator NAME` tells ("lambda" is lambda_). Where scikit-learn is installed they are
its estimators (clone, pipelines, grid search, check_estimator); without it they work the same.
"""
from __future__ import annotations

import inspect
import keyword
import weakref
from ctypes import POINTER, byref, c_char_p, c_void_p, cast, pointer, sizeof
from typing import Any, Dict, List, Optional

import numpy as np

from . import _components as components
from ._library import EstimatorFunctions, FitData, FitReport, MatchResult, Prediction, check, created
from ._library import engine, lib
from ._tensor import Tensor, as_array, lent, tensor_of, view_of

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, OutlierMixin, RegressorMixin
    from sklearn.base import TransformerMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
    HAVE_SKLEARN = True
except ImportError:
    HAVE_SKLEARN = False

    class BaseEstimator:  # type: ignore[no-redef]
        """What of scikit-learn's base these classes need."""

        def get_params(self, deep: bool = True) -> Dict[str, Any]:
            return {name: getattr(self, name) for name in self._arguments}

        def set_params(self, **params: Any) -> "BaseEstimator":
            for name, value in params.items():
                if name not in self._arguments:
                    raise ValueError(f"no parameter {name!r} of {type(self).__name__}")
                setattr(self, name, value)
            return self

    class ClassifierMixin:  # type: ignore[no-redef]
        def score(self, X: Any, y: Any) -> float:
            return float(np.mean(self.predict(X) == np.asarray(y)))

    class RegressorMixin:  # type: ignore[no-redef]
        def score(self, X: Any, y: Any) -> float:
            y = np.asarray(y, np.float64)
            rest = ((y - self.predict(X)) ** 2).sum(0)
            return float(np.mean(1 - rest / ((y - y.mean(0)) ** 2).sum(0)))

    class OutlierMixin:  # type: ignore[no-redef]
        def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
            return self.fit(X).predict(X)

    class TransformerMixin:  # type: ignore[no-redef]
        def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
            return self.fit(X, y).transform(X)


CLASSIFIES, REGRESSES, DETECTS, ADDS_CLASSES, NO_LABELS, PROBABILITIES, UPDATES = (
    1 << i for i in range(7))


def _free(at: c_void_p, made_with: Any) -> None:
    lib.mica_estimator_free(at)


def _given(x: Any) -> Any:
    """What speaks DLPack alone as an array; anything else as it is."""
    alone = hasattr(x, "__dlpack__") and not hasattr(x, "__array_interface__")
    return as_array(x) if alone else x


class _Fitted:
    """The library's estimator, freed with the last who holds it; pickled as its record."""

    def __init__(self, at: c_void_p):
        self.pointer = at
        weakref.finalize(self, _free, at, engine())

    @property
    def outputs(self) -> int:
        return lib.mica_estimator_outputs(self.pointer)

    def __getstate__(self) -> Dict[str, Any]:
        record = created(lib.mica_record_create)
        try:
            check(lib.mica_estimator_save(self.pointer, record))
            tensors = {}
            for i in range(lib.mica_record_count(record)):
                name = c_char_p()
                at = lib.mica_record_at(record, i, byref(name))
                view = lib.mica_tensor_view(at)
                copy = Tensor(created(lib.mica_tensor_from_view, byref(view), view.dtype))
                tensors[name.value.decode()] = copy.numpy().copy()
            return {"json": lib.mica_record_json(record), "tensors": tensors}
        finally:
            lib.mica_record_free(record)

    def __setstate__(self, state: Dict[str, Any]) -> None:
        record = created(lib.mica_record_create)
        try:
            for name, array in state["tensors"].items():
                tensor = tensor_of(array)
                check(lib.mica_record_put(record, name.encode(), tensor.pointer))
            check(lib.mica_record_set_json(record, state["json"]))
            self.__init__(created(lib.mica_estimator_load, engine().pointer, record))
        finally:
            lib.mica_record_free(record)


class Estimator(BaseEstimator):
    """What all of them share; `fitted_` is the library's estimator."""

    _component: str
    _options: List[components.Option]
    _arguments: List[str]
    _abilities: int

    @property
    def spec(self) -> str:
        """The specification that the library is given."""
        parts = [self._component]
        for option, name in zip(self._options, self._arguments):
            value = getattr(self, name)
            if value != option.default:
                parts.append(f"{option.name}={components.text_of(option, value)}")
        return ":".join(parts)

    def _rows(self, X: Any, reset: bool) -> np.ndarray:
        """X as the library reads it, which is X itself where it can be."""
        X = _given(X)
        if HAVE_SKLEARN:
            if not reset:
                check_is_fitted(self, "fitted_")
            return lent(validate_data(self, X, reset=reset, dtype=[np.float64, np.float32]))
        X = as_array(X)
        if X.dtype not in (np.float32, np.float64):
            X = X.astype(np.float64)
        if X.ndim != 2:
            raise ValueError(f"Expected 2D array, got {X.ndim}D array instead")
        if reset:
            self.n_features_in_ = X.shape[1]
        elif not hasattr(self, "fitted_"):
            raise ValueError(f"this {type(self).__name__} is not fitted")
        return lent(X)

    def _fit(self, X: np.ndarray, label: Optional[np.ndarray] = None, classes: int = 0,
             target: Optional[np.ndarray] = None) -> None:
        fitted = _Fitted(created(lib.mica_estimator_create, engine().pointer, self.spec.encode()))
        data, keep = self._data(X, label, classes, target)
        report = FitReport(sizeof(FitReport))
        check(lib.mica_estimator_fit(fitted.pointer, byref(data), byref(report)))
        del keep
        self.fitted_ = fitted
        if "max_iter" in self._arguments:
            self.n_iter_ = max(1, report.iterations)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "fitted_")

    @staticmethod
    def _data(X: np.ndarray, label: Any, classes: int, target: Any) -> tuple:
        data = FitData(sizeof(FitData), view_of(X))
        keep = []
        if label is not None:
            data.label, data.classes = label.ctypes.data, classes
        if target is not None:
            keep.append(view_of(target))
            data.target = pointer(keep[0])
        return data, keep

    def _predict(self, X: np.ndarray, **wanted: np.ndarray) -> None:
        p = Prediction(sizeof(Prediction))
        for name, out in wanted.items():
            setattr(p, name, out.ctypes.data)
        view = view_of(X)
        check(lib.mica_estimator_predict(self.fitted_.pointer, byref(view), byref(p)))

    def _scores(self, X: np.ndarray) -> np.ndarray:
        out = np.empty((len(X), self.fitted_.outputs))
        self._predict(X, score=out)
        return out


class Classifier(ClassifierMixin, Estimator):
    """fit(X, y), predict, score; predict_proba where the estimator has probabilities."""

    def _encode(self, X: Any, y: Any) -> tuple:
        if HAVE_SKLEARN:
            X, y = validate_data(self, _given(X), y, dtype=[np.float64, np.float32])
            check_classification_targets(y)
            X = lent(X)
        else:
            X, y = self._rows(X, True), np.asarray(y)
        classes, label = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"{type(self).__name__}: the labels are of 1 class, expected at least 2")
        return X, classes, np.ascontiguousarray(label.reshape(-1), np.int64)

    def fit(self, X: Any, y: Any) -> "Classifier":
        X, classes, label = self._encode(X, y)
        self._fit(X, label, len(classes))
        self.classes_ = classes
        return self

    def _label(self, X: np.ndarray) -> np.ndarray:
        out = np.empty(len(X), np.int64)
        self._predict(X, label=out)
        return out

    def predict(self, X: Any) -> np.ndarray:
        """The class of each row, also of those that predict_or_none refuses."""
        X = self._rows(X, False)
        label = self._label(X)
        refused = label < 0
        if refused.any():
            label[refused] = self._scores(X)[refused].argmax(1)
        return self.classes_[label]

    def predict_or_none(self, X: Any) -> np.ndarray:
        """The same with None for "none of these"."""
        label = self._label(self._rows(X, False))
        out = np.empty(len(label), object)
        for i, k in enumerate(label):
            out[i] = None if k < 0 else self.classes_[k]
        return out

    def decision_function(self, X: Any) -> np.ndarray:
        """The scores of the classes; of two, by how much the second's is larger."""
        scores = self._scores(self._rows(X, False))
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict_proba(self, X: Any) -> np.ndarray:
        X = self._rows(X, False)
        out = np.empty((len(X), len(self.classes_)))
        self._predict(X, probability=out)
        return out


class Regressor(RegressorMixin, Estimator):
    """fit(X, y) with real targets [N] or [N, T], predict, score."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> "Regressor":
        if HAVE_SKLEARN:
            X, y = validate_data(self, _given(X), y, dtype=[np.float64, np.float32], multi_output=True,
                                 y_numeric=True)
            X = lent(X)
        else:
            X = self._rows(X, True)
        y = np.ascontiguousarray(y, np.float64)
        self._fit(X, target=y.reshape(len(y), -1))
        self._single = y.ndim == 1
        return self

    def predict(self, X: Any) -> np.ndarray:
        out = self._scores(self._rows(X, False))
        return out[:, 0] if self._single else out


class Detector(OutlierMixin, Estimator):
    """fit(X) on normal rows; predict gives 1 for normal and -1 for others."""

    def fit(self, X: Any, y: Any = None) -> "Detector":
        X = self._rows(X, True)
        self._fit(X)
        self.offset_ = 0.0
        known = self.score_samples(X)
        # One in ten of the rows that it was fitted on lies outside, as in scikit-learn.
        self.offset_ = float(np.percentile(known, 10))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Larger is more like the rows of the fit."""
        X = self._rows(X, False)
        out = np.empty(len(X))
        self._predict(X, anomaly=out)
        return -out

    def decision_function(self, X: Any) -> np.ndarray:
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        return np.where(self.decision_function(X) < 0, -1, 1)


class Aligner(TransformerMixin, Estimator):
    """fit(X, y) on pairs of rows; transform maps X to where transform_targets maps y."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> "Aligner":
        if HAVE_SKLEARN:
            X, y = validate_data(self, _given(X), y, dtype=[np.float64, np.float32], multi_output=True,
                                 y_numeric=True, ensure_min_samples=2)
            X = lent(X)
        else:
            X = self._rows(X, True)
        y = np.ascontiguousarray(y, np.float64)
        self._fit(X, target=y.reshape(len(y), -1))
        return self

    def transform(self, X: Any) -> np.ndarray:
        return self._scores(self._rows(X, False))

    def _targets(self, y: Any) -> np.ndarray:
        y = np.ascontiguousarray(as_array(y), np.float64)
        return y.reshape(len(y), -1)

    def transform_targets(self, y: Any) -> np.ndarray:
        y = self._targets(y)
        out = np.empty((len(y), self.fitted_.outputs))
        view = view_of(y)
        check(lib.mica_estimator_targets(self.fitted_.pointer, byref(view), out.ctypes.data))
        return out

    def pair_scores(self, X: Any, y: Any) -> np.ndarray:
        """How well each row of X goes with each row of y: [N, M]."""
        X, y = self._rows(X, False), self._targets(y)
        out = np.empty((len(X), len(y)))
        left, right = view_of(X), view_of(y)
        check(lib.mica_estimator_pair_scores(self.fitted_.pointer, byref(left), byref(right),
                                             out.ctypes.data))
        return out

    def score(self, X: Any, y: Any) -> float:
        """The share of pairs that the best one-to-one assignment recovers."""
        scores = self.pair_scores(X, y)
        result = MatchResult()
        check(lib.mica_match_evaluate(len(scores), scores.ctypes.data, None, None, byref(result)))
        return result.matching


# ---- a class for each component and what it does ----

_ALIGNERS = {"align", "cca"}


def _argument(name: str, base: type) -> str:
    """An option's name as an argument: another one for Python's own words and the class's methods."""
    return name + "_" if keyword.iskeyword(name) or hasattr(base, name) else name


def _make(base: type, component: Any, name: str, abilities: int) -> type:
    options = components.options_of(component)
    arguments = [_argument(o.name, base) for o in options]

    def __init__(self: Any, **given: Any) -> None:
        for option, argument in zip(options, arguments):
            setattr(self, argument, given.pop(argument, option.default))
        if given:
            raise TypeError(f"{name}() got an unexpected argument {next(iter(given))!r}")

    self_parameter = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    __init__.__signature__ = inspect.Signature([self_parameter] + [  # type: ignore[attr-defined]
        inspect.Parameter(a, inspect.Parameter.KEYWORD_ONLY, default=o.default)
        for o, a in zip(options, arguments)])
    lines = [component.summary.decode() + ".", "", "Parameters", "----------"]
    for o, a in zip(options, arguments):
        kind = " | ".join(o.choices) if o.choices else ""
        lines += [f"{a} : {kind or type(o.default).__name__}, default {o.default!r}",
                  f"    {o.help}"]
    return type(name, (base,), {
        "__init__": __init__, "__doc__": "\n".join(lines), "__module__": __name__,
        "_component": component.name.decode(), "_options": options, "_arguments": arguments,
        "_abilities": abilities})


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _hide(cls: type, abilities: int) -> type:
    if not abilities & PROBABILITIES:
        def refuse(self: Any) -> Any:
            raise AttributeError(f"{type(self).__name__} has no probabilities")
        cls.predict_proba = property(refuse)  # type: ignore[attr-defined]
    return cls


def _all() -> Dict[str, type]:
    made: Dict[str, type] = {}
    for component in components.all_of("estimator"):
        functions = cast(component.functions, POINTER(EstimatorFunctions)).contents
        able, name = functions.abilities, component.name.decode()
        if name in _ALIGNERS:
            made[_camel(name)] = _make(Aligner, component, _camel(name), able)
            continue
        kinds = [("", Classifier, CLASSIFIES), ("Regressor", Regressor, REGRESSES),
                 ("Detector", Detector, DETECTS | NO_LABELS)]
        does = [(suffix, base) for suffix, base, bits in kinds if able & bits == bits]
        for suffix, base in does:
            full = _camel(name) + (suffix if len(does) > 1 or suffix == "Detector" else "")
            cls = _make(base, component, full, able)
            made[full] = _hide(cls, able) if base is Classifier else cls
    return made


_made = _all()
globals().update(_made)
__all__ = ["Aligner", "Classifier", "Detector", "Estimator", "Regressor", *sorted(_made)]
