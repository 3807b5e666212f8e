"""Write mica/estimators.pyi from the library's option tables: python3 make_stubs.py"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

HEAD = '''"""Types of mica.estimators; written by make_stubs.py from the library's option tables."""
from typing import Any, List, Literal, Optional, Sequence, Union

import numpy as np

HAVE_SKLEARN: bool

class Estimator:
    n_features_in_: int
    @property
    def spec(self) -> str: ...
    def get_params(self, deep: bool = ...) -> dict[str, Any]: ...
    def set_params(self, **params: Any) -> Any: ...

class Classifier(Estimator):
    classes_: np.ndarray
    def fit(self, X: Any, y: Any) -> "Classifier": ...
    def predict(self, X: Any) -> np.ndarray: ...
    def predict_or_none(self, X: Any) -> np.ndarray: ...
    def predict_proba(self, X: Any) -> np.ndarray: ...
    def decision_function(self, X: Any) -> np.ndarray: ...
    def score(self, X: Any, y: Any) -> float: ...

class Regressor(Estimator):
    def fit(self, X: Any, y: Any) -> "Regressor": ...
    def predict(self, X: Any) -> np.ndarray: ...
    def score(self, X: Any, y: Any) -> float: ...

class Detector(Estimator):
    offset_: float
    def fit(self, X: Any, y: Any = ...) -> "Detector": ...
    def fit_predict(self, X: Any, y: Any = ...) -> np.ndarray: ...
    def predict(self, X: Any) -> np.ndarray: ...
    def score_samples(self, X: Any) -> np.ndarray: ...
    def decision_function(self, X: Any) -> np.ndarray: ...

class Aligner(Estimator):
    def fit(self, X: Any, y: Any) -> "Aligner": ...
    def fit_transform(self, X: Any, y: Any) -> np.ndarray: ...
    def transform(self, X: Any) -> np.ndarray: ...
    def transform_targets(self, y: Any) -> np.ndarray: ...
    def pair_scores(self, X: Any, y: Any) -> np.ndarray: ...
    def score(self, X: Any, y: Any) -> float: ...
'''


def type_of(option):
    plain = {0: "bool", 1: "int", 2: "float", 3: "Optional[str]", 7: "Optional[str]",
             5: "Union[int, Sequence[int]]", 6: "Union[float, Sequence[float]]"}
    return plain.get(option.type) or "Literal[" + ", ".join(
        f'"{c}"' for c in option.choices) + "]"


def text():
    from mica import estimators
    parts = [HEAD]
    for name in sorted(set(estimators.__all__) - {"Aligner", "Classifier", "Detector",
                                                  "Estimator", "Regressor"}):
        cls = getattr(estimators, name)
        lines = [f"class {name}({cls.__mro__[1].__name__}):", "    def __init__(", "        self,"]
        pairs = list(zip(cls._options, cls._arguments))
        if pairs:
            lines.append("        *,")
        lines += [f"        {a}: {type_of(o)} = {o.default!r}," for o, a in pairs]
        parts.append("\n".join(lines + ["    ) -> None: ...", ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    with open(os.path.join(HERE, "mica", "estimators.pyi"), "w", encoding="utf-8") as f:
        f.write(text())
