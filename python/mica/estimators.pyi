"""Types of mica.estimators; written by make_stubs.py from the library's option tables."""
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

class Align(Aligner):
    def __init__(
        self,
        *,
        map: Literal["none", "affine", "linear", "procrustes", "relative"] = 'affine',
        reduce: Literal["none", "cca", "pca"] = 'none',
        score_: Literal["cosine", "cka"] = 'cosine',
        k: int = 50,
        ridge: float = 0.0001,
        variance: float = 1.0,
        standardise: bool = False,
        zero_pad: bool = True,
        centre: bool = True,
    ) -> None: ...

class Cca(Aligner):
    def __init__(
        self,
        *,
        k: int = 50,
        ridge: float = 0.0001,
        variance: float = 1.0,
    ) -> None: ...

class Cosine(Classifier):
    def __init__(
        self,
        *,
        scale: float = 10.0,
        reject: float = 0.0,
    ) -> None: ...

class Gaussian(Classifier):
    def __init__(
        self,
        *,
        levels: Union[int, Sequence[int]] = (),
        classes: Literal["auto", "one", "each"] = 'auto',
        distance: Literal["mahalanobis", "standardised", "euclidean"] = 'mahalanobis',
        reducer: Literal["none", "pca", "npca"] = 'none',
        variance: float = 0.99,
        keep_null: bool = False,
        law: Literal["quantile", "chi2"] = 'quantile',
        reject: float = 0.05,
        sigma: float = 0.0,
        combine: Literal["mean", "sum"] = 'mean',
    ) -> None: ...

class GaussianDetector(Detector):
    def __init__(
        self,
        *,
        levels: Union[int, Sequence[int]] = (),
        classes: Literal["auto", "one", "each"] = 'auto',
        distance: Literal["mahalanobis", "standardised", "euclidean"] = 'mahalanobis',
        reducer: Literal["none", "pca", "npca"] = 'none',
        variance: float = 0.99,
        keep_null: bool = False,
        law: Literal["quantile", "chi2"] = 'quantile',
        reject: float = 0.05,
        sigma: float = 0.0,
        combine: Literal["mean", "sum"] = 'mean',
    ) -> None: ...

class Knn(Classifier):
    def __init__(
        self,
        *,
        k: int = 5,
        metric: Literal["cosine", "euclidean"] = 'cosine',
        weights: Literal["uniform", "distance", "softmax", "similarity"] = 'uniform',
        temperature: float = 0.07,
        reject: float = 0.0,
        background: int = -1,
    ) -> None: ...

class LinearSvm(Classifier):
    def __init__(
        self,
        *,
        C: Union[float, Sequence[float]] = (1.0,),
        loss: Literal["hinge", "squared_hinge"] = 'squared_hinge',
        tol: float = 0.001,
        max_iter: int = 1000,
        intercept: float = 1.0,
        bias: Literal["penalised", "free"] = 'penalised',
        scheme: Literal["ova", "ovo"] = 'ova',
        class_weight: Literal["none", "balanced"] = 'none',
        seed: int = 0,
        solver: Literal["dual", "primal"] = 'dual',
        folds: int = 5,
        reject: float = 0.0,
    ) -> None: ...

class Logistic(Classifier):
    def __init__(
        self,
        *,
        C: float = 1.0,
        max_iter: int = 500,
        tol: float = 1e-06,
        intercept: bool = True,
        standardise: bool = False,
        class_weight: Literal["none", "balanced"] = 'none',
        reject: float = 0.0,
    ) -> None: ...

class NaiveBayes(Classifier):
    def __init__(
        self,
        *,
        distribution: Literal["gaussian", "multinomial", "complement", "bernoulli"] = 'gaussian',
        variance: Literal["shared", "class"] = 'shared',
        priors: Literal["counts", "uniform"] = 'counts',
        eps: float = 1e-09,
        smoothing: float = 1.0,
        threshold: float = 0.0,
    ) -> None: ...

class OneClassSvmDetector(Detector):
    def __init__(
        self,
        *,
        levels: Union[int, Sequence[int]] = (),
        nu: float = 0.5,
        gamma: float = 0.0,
        tol: float = 0.001,
        max_iter: int = 10000000,
        boundary: bool = False,
        reject: float = 0.05,
    ) -> None: ...

class Probe(Classifier):
    def __init__(
        self,
        *,
        head: Optional[str] = 'linear',
        optimiser: Optional[str] = 'adamw:lr=3e-3',
        schedule: Optional[str] = 'cosine',
        steps: int = 300,
        batch: int = 64,
        channels: int = 0,
        class_token: bool = False,
        smoothing: float = 0.0,
        average: float = 0.0,
        seed: int = 0,
        reject: float = 0.0,
    ) -> None: ...

class Prototypes(Classifier):
    def __init__(
        self,
        *,
        metric: Literal["cosine", "euclidean"] = 'cosine',
        centre: bool = True,
        debias: bool = True,
        doubt: bool = False,
        prior: float = -1.0,
        reject: float = 0.05,
    ) -> None: ...

class Ridge(Classifier):
    def __init__(
        self,
        *,
        lambda_: Union[float, Sequence[float]] = (1.0,),
        select: Literal["loo", "gcv"] = 'loo',
        intercept: bool = True,
        standardise: bool = False,
    ) -> None: ...

class RidgeRegressor(Regressor):
    def __init__(
        self,
        *,
        lambda_: Union[float, Sequence[float]] = (1.0,),
        select: Literal["loo", "gcv"] = 'loo',
        intercept: bool = True,
        standardise: bool = False,
    ) -> None: ...

class Transformed(Classifier):
    def __init__(
        self,
        *,
        with_: Optional[str] = 'linear_svm:C=10',
        l2: bool = True,
        power: float = 1.0,
        pca: int = 0,
        whiten: bool = True,
        views: int = 1,
        form: Literal["sum", "max"] = 'sum',
    ) -> None: ...

class ZeroShot(Classifier):
    def __init__(
        self,
        *,
        mode: Literal["descriptions", "name", "templates"] = 'descriptions',
        aggregate: Literal["mean", "max", "sum"] = 'mean',
        form: Literal["prepend", "append", "none"] = 'prepend',
        rule: Literal["original", "word"] = 'original',
        modify: bool = True,
        before: Optional[str] = None,
        between: Optional[str] = ', ',
        after: Optional[str] = None,
        scale: float = 100.0,
    ) -> None: ...
