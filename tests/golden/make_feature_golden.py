#!/usr/bin/python3
"""Writes feature_golden.h: small results of scikit-learn, SciPy and direct formulas for the tests of
src/numeric and src/feature. Needs Debian's python3-sklearn. Run: ./make_feature_golden.py > feature_golden.h
"""
import numpy as np
import scipy.special
import scipy.stats
import sklearn
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, RidgeCV
from sklearn.metrics import (average_precision_score, balanced_accuracy_score, f1_score, log_loss,
                             r2_score, roc_auc_score, top_k_accuracy_score)
from sklearn.cluster import KMeans
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

print("/* Made by make_feature_golden.py with scikit-learn %s, SciPy %s, NumPy %s. Do not edit. */"
      % (sklearn.__version__, scipy.__version__, np.__version__))
print("#ifndef MICA_TESTS_FEATURE_GOLDEN_H\n#define MICA_TESTS_FEATURE_GOLDEN_H\n\n#include <stdbool.h>\n#include <stdint.h>\n")


def put(name, a):
    a = np.asarray(a)
    kind = {"f": "double", "i": "int64_t", "b": "bool"}[a.dtype.kind]
    flat = a.ravel()
    words = [("%d" % v) if a.dtype.kind in "ib" else repr(float(v)) for v in flat]
    lines, line = [], "   "
    for w in words:
        if len(line) + len(w) + 2 > 100:
            lines.append(line)
            line = "   "
        line += " " + w + ","
    lines.append(line)
    print("static const %s golden_%s[%d] = {\n%s};" % (kind, name, flat.size, "\n".join(lines)))


def one(name, v):
    print("static const double golden_%s = %r;" % (name, float(v)))


rng = np.random.default_rng(20250301)
mix = rng.normal(size=(5, 5))
y = np.repeat([0, 1, 2], [30, 20, 10])
centres = np.array([[0, 0, 0, 0, 0], [1.5, -1, 0.5, 0, 1], [-1, 1.5, 1, 2, 0]])
x = np.round(rng.normal(size=(60, 5)) @ mix + 1.5 * centres[y] + 3, 3)
xt = np.round(rng.normal(size=(12, 5)) @ mix + 1.5 * centres[np.arange(12) % 3] + 3, 3)
order = rng.permutation(60)
x, y = x[order], y[order]
y2 = (y == 1).astype(np.int64)
t = np.round(x @ rng.normal(size=(5, 2)) + rng.normal(size=(60, 2)) + 2, 3)
wide = np.round(rng.normal(size=(9, 20)) + 1, 3)
wide_t = np.round(wide @ rng.normal(size=20) * 0.3 + rng.normal(size=9), 3)
wide_q = np.round(rng.normal(size=(4, 20)) + 1, 3)
for name, v in [("x", x), ("y", y), ("y2", y2), ("xt", xt), ("t", t), ("wide", wide), ("wide_t", wide_t),
                ("wide_q", wide_q)]:
    put(name, v)

tight = dict(tol=1e-12, max_iter=100000)
m = LogisticRegression(C=0.5, solver="newton-cg", multi_class="multinomial", **tight).fit(x, y)
put("logistic_weight", m.coef_)
put("logistic_bias", m.intercept_)
put("logistic_probability", m.predict_proba(xt))
m = LogisticRegression(C=2.0, solver="newton-cg", **tight).fit(x, y2)
put("binary_weight", m.coef_)
put("binary_bias", m.intercept_)
m = LogisticRegression(C=0.5, solver="newton-cg", multi_class="multinomial", class_weight="balanced",
                       **tight).fit(x, y)
put("balanced_probability", m.predict_proba(xt))
m = LogisticRegression(C=0.5, solver="newton-cg", multi_class="multinomial", fit_intercept=False,
                       **tight).fit(x, y)
put("no_intercept_weight", m.coef_)

m = Ridge(alpha=0.7).fit(x, t)
put("ridge_weight", m.coef_)
put("ridge_bias", m.intercept_)
put("ridge_no_intercept", Ridge(alpha=0.7, fit_intercept=False).fit(x, t).coef_)
alphas = np.array([0.01, 0.1, 1.0, 10.0, 100.0])
put("alphas", alphas)


def leave_one_out(x, t, alpha):
    t = t.reshape(len(t), -1)
    e = []
    for i in range(len(x)):
        keep = np.arange(len(x)) != i
        e.append((Ridge(alpha=alpha).fit(x[keep], t[keep]).predict(x[i:i + 1]) - t[i])**2)
    return np.mean(e)


def generalised(x, t, alpha):
    t = t.reshape(len(t), -1)
    c = x - x.mean(0)
    h = c @ np.linalg.solve(c.T @ c + alpha * np.eye(x.shape[1]), c.T) + 1 / len(x)
    e = Ridge(alpha=alpha).fit(x, t).predict(x) - t
    return np.mean(e**2) / (1 - np.trace(h) / len(x))**2


for name, a, b in [("ridge", x, t), ("wide", wide, wide_t)]:
    put(name + "_loo", [leave_one_out(a, b, v) for v in alphas])
    put(name + "_gcv", [generalised(a, b, v) for v in alphas])
m = RidgeCV(alphas=alphas).fit(x, t)
one("ridge_chosen", m.alpha_)
put("ridge_chosen_weight", m.coef_)
m = RidgeCV(alphas=alphas).fit(wide, wide_t)
one("wide_chosen", m.alpha_)
put("wide_chosen_weight", m.coef_)
put("wide_weight", Ridge(alpha=0.7).fit(wide, wide_t).coef_)
one("wide_bias", Ridge(alpha=0.7).fit(wide, wide_t).intercept_)
put("ridge_classifier", RidgeClassifier(alpha=0.7).fit(x, y).decision_function(xt))

for metric in "euclidean", "cosine":
    for weights in "uniform", "distance":
        m = KNeighborsClassifier(4, metric=metric, weights=weights, algorithm="brute").fit(x, y)
        put("knn_%s_%s" % (metric, weights), m.predict_proba(xt))
put("nearest_centroid", NearestCentroid().fit(x, y).predict(xt))

for name, a, q in [("lw", x, xt), ("lw_wide", wide, wide_q)]:
    m = LedoitWolf().fit(a)
    one(name + "_shrinkage", m.shrinkage_)
    put(name + "_covariance", m.covariance_)
    put(name + "_distance", np.sqrt(m.mahalanobis(q)))
    e = []
    for i in range(len(a)):  # shrinkage held fixed
        keep = a[np.arange(len(a)) != i]
        s = np.cov(keep.T, bias=True)
        c = (1 - m.shrinkage_) * s + m.shrinkage_ * np.trace(np.cov(a.T, bias=True)) / a.shape[1] * np.eye(a.shape[1])
        d = a[i] - keep.mean(0)
        e.append(np.sqrt(d @ np.linalg.solve(c, d)))
    put(name + "_leave_one_out", e)
means = np.array([x[y == c].mean(0) for c in range(3)])
m = LedoitWolf(assume_centered=True).fit(x - means[y])
n = np.bincount(y)
d2 = np.array([[(q - means[c]) @ m.precision_ @ (q - means[c]) for c in range(3)] for q in xt])
put("shared_logit", -0.5 * d2 / (1 + 1 / n) - 2.5 * np.log(1 + 1 / n))
put("sed", np.sqrt((((xt - x.mean(0)) / x.std(0, ddof=1))**2).mean(1)))
put("l2", np.sqrt(((xt - x.mean(0))**2).mean(1)))

for name, a in [("pca", x), ("pca_wide", wide)]:
    k = min(len(a) - 1, a.shape[1])
    m = PCA(k, svd_solver="full").fit(a)
    v = m.components_
    v = v * np.sign(v[np.arange(k), np.abs(v).argmax(1)])[:, None]
    put(name + "_components", v)
    put(name + "_variance", m.explained_variance_)

blobs = np.round(np.concatenate([rng.normal(size=(25, 3)) * 0.6 + c for c in
                                 rng.normal(size=(6, 3)) * 4]), 3)
put("blobs", blobs)
one("kmeans_inertia", KMeans(6, n_init=100, random_state=0, tol=0).fit(blobs).inertia_)
unit = blobs / np.linalg.norm(blobs, axis=1, keepdims=True)
best = np.inf  # spherical k-means has no function there
for seed in range(300):
    c = unit[np.random.default_rng(seed).choice(len(unit), 4, replace=False)]
    for _ in range(100):
        a = (unit @ c.T).argmax(1)
        c = np.array([unit[a == j].sum(0) if (a == j).any() else c[j] for j in range(4)])
        c /= np.linalg.norm(c, axis=1, keepdims=True)
    best = min(best, (2 - 2 * (unit @ c.T).max(1)).sum())
one("spherical_inertia", best)

p = np.array([1e-9, 1e-3, 0.025, 0.3, 0.5, 0.9, 0.99, 0.9999, 1 - 1e-9])
k = np.array([0.5, 1, 2, 7, 64, 448, 1792])
put("quantile_p", p)
put("quantile_k", k)
put("chi2_quantile", [[scipy.stats.chi2.ppf(a, b) for a in p] for b in k])
put("normal_quantile", scipy.stats.norm.ppf(p))
abx = np.array([[a, b, v] for a in (0.5, 3, 40) for b in (0.7, 2, 90) for v in (0.01, 0.3, 0.5, 0.97)])
put("beta_arguments", abx)
put("beta", scipy.special.betainc(*abx.T))

hits, trials = np.array([0, 1, 7, 50, 99, 100]), np.array([10, 10, 20, 100, 100, 100])
put("wilson_hits", hits)
put("wilson_trials", trials)
put("wilson", [list(scipy.stats.binomtest(int(a), int(b)).proportion_ci(0.95, "wilson"))
               for a, b in zip(hits, trials)])
pairs = np.array([[0, 0], [1, 0], [5, 1], [12, 30], [40, 41]])
put("mcnemar_pairs", pairs)
put("mcnemar", [scipy.stats.binomtest(int(b), int(b + c)).pvalue if b + c else 1.0 for b, c in pairs])

score = np.round(rng.normal(size=80) + np.repeat([0, 1.0], [50, 30]), 1)  # many ties
positive = np.repeat([False, True], [50, 30])
order = rng.permutation(80)
score, positive = score[order], positive[order]
put("score", score)
put("positive", positive)
one("auroc", roc_auc_score(positive, score))
one("average_precision", average_precision_score(positive, score))
a, b = score[positive], score[~positive]
psi = (a[:, None] > b) + 0.5 * (a[:, None] == b)
one("auroc_variance", np.var(psi.mean(1), ddof=1) / len(a) + np.var(psi.mean(0), ddof=1) / len(b))
best = max((2 * (positive & (score >= v)).sum() / ((score >= v).sum() + 30), v) for v in set(score))
one("best_f1", best[0])

prob = np.round(rng.dirichlet(np.ones(4) * 0.7, size=50), 4)
prob[:, 3] = 1 - prob[:, :3].sum(1)
truth = np.array([rng.choice(4, p=np.clip(q, 0, None) / np.clip(q, 0, None).sum()) for q in prob])
put("prob", prob)
put("truth", truth)
one("log_loss", log_loss(truth, prob, labels=range(4), eps=2**-52))
one("top2", top_k_accuracy_score(truth, prob, k=2, labels=range(4)))
guess = prob.argmax(1)
one("macro_f1", f1_score(truth, guess, average="macro"))
one("balanced_accuracy", balanced_accuracy_score(truth, guess))
one("brier", ((prob - np.eye(4)[truth])**2).sum(1).mean())
top = prob.max(1)
edges = np.ceil(top * 10).astype(int) - 1
one("ece", sum(abs(top[edges == b].sum() - (guess == truth)[edges == b].sum()) for b in range(10)) / 50)
one("r2", r2_score(t, Ridge(alpha=0.7).fit(x, t).predict(x)))
print("\n#endif")
