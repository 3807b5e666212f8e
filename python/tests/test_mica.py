"""The binding: arrays without copies, errors, models and sessions, estimators, lifetimes.

Run by tests/test_python.sh with the library's own build; prints a line for each test.
"""
import gc
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import numpy as np

import mica
from mica import estimators
from mica._tensor import as_array, lent, tensor_of, view_of

TOOL = os.environ.get("MICA_TOOL")
HERE = os.path.dirname(os.path.abspath(__file__))
MADE = [n for n in estimators.__all__ if n not in
        ("Aligner", "Classifier", "Detector", "Estimator", "Regressor")]


def blobs(n=120, d=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return rng.normal(size=(n, d)) + 4 * np.eye(classes, d)[y], y


class Arrays(unittest.TestCase):
    def test_lent_where_they_lie(self):
        x = np.arange(24, dtype=np.float32).reshape(4, 6)
        for a in (x, x[1:], x[:, :4], x[:, 2:5]):
            self.assertIs(lent(a), a)
            self.assertEqual(view_of(a).data, a.ctypes.data)
        self.assertEqual(view_of(x[:, :4]).row_stride, 6)
        for a in (x.T, x[::-1], x[:, ::2]):
            self.assertIsNot(lent(a), a)

    def test_dlpack_in(self):
        class Speaks:
            def __init__(self, a):
                self.a = a

            def __dlpack__(self, **o):
                return self.a.__dlpack__(**o)

            def __dlpack_device__(self):
                return self.a.__dlpack_device__()

        x = np.arange(6, dtype=np.float32).reshape(2, 3)
        got = as_array(Speaks(x))
        self.assertEqual(got.ctypes.data, x.ctypes.data)
        X, y = blobs()
        a = estimators.Logistic().fit(Speaks(X), y).predict(Speaks(X))
        self.assertTrue((a == estimators.Logistic().fit(X, y).predict(X)).all())

    def test_dlpack_out(self):
        x = np.arange(6, dtype=np.float64).reshape(2, 3)
        t = tensor_of(x)
        a, b = np.asarray(t), np.from_dlpack(t)
        self.assertEqual(a.ctypes.data, b.ctypes.data)
        del t
        gc.collect()
        self.assertTrue((a == x).all() and (b == x).all())

    def test_archive(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "a.npz")
            np.savez(path, x=np.arange(4, dtype=np.int64), y=np.ones((2, 2), np.float32))
            got = mica.read_archive(path)
            self.assertEqual(sorted(got), ["x", "y"])
            self.assertEqual(got["y"].shape, (2, 2))
            self.assertEqual(np.asarray(got["x"]).tolist(), [0, 1, 2, 3])

    def test_of_no_type(self):
        with self.assertRaises(TypeError):
            view_of(np.zeros(3, complex))


class Errors(unittest.TestCase):
    def test_message_and_kind(self):
        with self.assertRaises(ValueError) as e:
            estimators.Logistic(C=-1).fit(*blobs())
        self.assertIsInstance(e.exception, mica.MicaError)
        self.assertIn("C", str(e.exception))
        self.assertEqual(e.exception.status, -1)
        with self.assertRaises(LookupError):
            mica.open("/no/such/file.mica")
        with self.assertRaises(mica.MicaError):
            mica.open(b"not a model")
        with self.assertRaises(mica.MicaError):
            mica.Engine(isa="none")

    def test_arguments(self):
        with self.assertRaises(TypeError):
            estimators.Logistic(D=1)
        with self.assertRaises(AttributeError):
            estimators.Ridge().predict_proba


class Components(unittest.TestCase):
    def test_tables(self):
        rows = {o.name: o for o in mica.components("estimator")["logistic"]}
        self.assertEqual(rows["C"].default, 1.0)
        self.assertIn("clip", mica.components("model"))

    def test_every_estimator(self):
        for name in MADE:
            cls = getattr(estimators, name)
            e = cls()
            self.assertEqual(e.spec, cls._component)
            self.assertIn("Parameters", cls.__doc__)
            self.assertEqual(set(e.get_params()), set(cls._arguments))

    def test_stub_is_of_the_tables(self):
        sys.path.insert(0, os.path.dirname(HERE))
        import make_stubs
        with open(os.path.join(os.path.dirname(HERE), "mica", "estimators.pyi")) as f:
            told = f.read().split("\n\n")
        made = make_stubs.text().split("\n\n")
        known = {part.split("(")[0] for part in told}
        for part in made:
            if part.split("(")[0] in known:
                self.assertIn(part, told, "run python/make_stubs.py")
        self.assertTrue({p.split("(")[0] for p in told} <= {p.split("(")[0] for p in made})
        if len(told) < len(made):
            self.skipTest("there are newer estimators: run python/make_stubs.py")


class Estimators(unittest.TestCase):
    def test_classifiers(self):
        X, y = blobs()
        names = np.array(["a", "b", "c"])[y]
        for name in ("Logistic", "Knn", "Prototypes", "NaiveBayes", "LinearSvm", "Ridge"):
            e = getattr(estimators, name)().fit(X.astype(np.float32), names)
            self.assertGreater(e.score(X.astype(np.float32), names), 0.9, name)
            self.assertEqual(e.decision_function(X[:2]).shape, (2, 3))
            self.assertEqual(e.classes_.tolist(), ["a", "b", "c"])

    def test_regressor(self):
        X, _ = blobs()
        Y = X @ np.arange(12.0).reshape(6, 2) + 3
        e = estimators.RidgeRegressor(lambda_=1e-6).fit(X, Y)
        self.assertGreater(e.score(X, Y), 0.999)
        self.assertEqual(estimators.RidgeRegressor().fit(X, Y[:, 0]).predict(X).shape, (120,))
        self.assertIn("lambda=", e.spec)

    def test_detector(self):
        X, _ = blobs(classes=1)
        e = estimators.GaussianDetector().fit(X)
        self.assertEqual(e.predict(X + 50).tolist(), [-1] * len(X))
        self.assertGreater((e.predict(X) == 1).mean(), 0.8)

    def test_refusal(self):
        X, y = blobs()
        e = estimators.Prototypes(reject=0.05, metric="euclidean").fit(X, y)
        self.assertEqual(e.predict_or_none(np.full((1, 6), 90.0)).tolist(), [None])
        self.assertIn(e.predict(np.full((1, 6), 90.0))[0], e.classes_)

    def test_aligner(self):
        rng = np.random.default_rng(2)
        Z = rng.normal(size=(300, 3))
        X = Z @ rng.normal(size=(3, 8)) + 0.05 * rng.normal(size=(300, 8))
        Y = Z @ rng.normal(size=(3, 5)) + 0.05 * rng.normal(size=(300, 5))
        e = estimators.Align(reduce="cca", k=3, score_="cosine").fit(X[:200], Y[:200])
        self.assertGreater(e.score(X[200:], Y[200:]), 0.7)
        self.assertEqual(e.transform(X[:4]).shape, e.transform_targets(Y[:4]).shape)
        self.assertEqual(e.pair_scores(X[:4], Y[:6]).shape, (4, 6))

    def test_pickle_is_the_same_bits(self):
        X, y = blobs()
        for name in ("Logistic", "Knn", "Prototypes"):
            e = getattr(estimators, name)().fit(X, y)
            again = pickle.loads(pickle.dumps(e))
            self.assertTrue((again.decision_function(X) == e.decision_function(X)).all())

    def test_check_estimator(self):
        if not estimators.HAVE_SKLEARN:
            self.skipTest("scikit-learn is not installed")
        import sklearn
        if tuple(int(v) for v in sklearn.__version__.split(".")[:2]) < (1, 6):
            self.skipTest("scikit-learn is older than 1.6")
        from sklearn.utils.estimator_checks import check_estimator
        # Class weights by name only; zero_shot refuses embeddings of length 0.
        known = {"check_class_weight_classifiers": "names only",
                 "check_estimators_dtypes": "zero_shot"}
        import warnings
        few = ("Knn", "Prototypes", "RidgeRegressor", "GaussianDetector", "Cca")
        for name in MADE if os.environ.get("MICA_CHECK_ALL") else few:
            skips = {k: v for k, v in known.items() if v != "zero_shot" or name == "ZeroShot"}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check_estimator(getattr(estimators, name)(), expected_failed_checks=skips)


class Lifetimes(unittest.TestCase):
    def test_no_leaks(self):
        X, y = blobs()

        def work():
            for _ in range(40):
                estimators.Knn().fit(X, y).predict(X)
                np.asarray(tensor_of(np.ones((64, 1024))))

        def size():
            gc.collect()
            with open("/proc/self/statm") as f:
                return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        work()
        before = size()
        for _ in range(5):
            work()
        self.assertLess(size() - before, 8 << 20)

    def test_lock_is_released(self):
        X, y = blobs(6000, 200, 20)
        ticks, end = [0], threading.Event()

        def tick():
            while not end.is_set():
                ticks[0] += 1
                time.sleep(0.0005)

        t = threading.Thread(target=tick)
        t.start()
        estimators.Logistic(max_iter=60).fit(X, y)
        end.set()
        t.join()
        self.assertGreater(ticks[0], 10)


@unittest.skipUnless(TOOL, "no tool was built")
class Models(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        d = cls.folder.name
        X, y = blobs()
        np.savez(os.path.join(d, "f.npz"), features=X.astype(np.float32), labels=y)
        cls.path = os.path.join(d, "m.mica")
        subprocess.run([TOOL, "fit", "prototypes:reject=0", "--data", os.path.join(d, "f.npz"),
                        "-o", cls.path], check=True, stdout=subprocess.DEVNULL)
        cls.X, cls.y = X.astype(np.float32), y

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_predict(self):
        with mica.open(self.path) as m:
            answers = m.predict(self.X)
            self.assertGreater(np.mean([a.label == k for a, k in zip(answers, self.y)]), 0.9)
            self.assertEqual(m.classes, ["0", "1", "2"])
            self.assertEqual(answers[0].name, m.classes[answers[0].label])
            self.assertEqual(m.embed(self.X).shape, (120, 6))
            self.assertEqual(m.session().scores(self.X, 3).shape, (120, 3))
            with self.assertRaises(ValueError):
                m.predict(self.X[:, :4])
            self.assertEqual(m.predict(self.X[:0]), [])

    def test_learn_and_save(self):
        m = mica.open(self.path)
        m.add_class("far", np.full((3, 6), -9.0) + np.eye(3, 6))
        self.assertEqual(m.predict(np.full((1, 6), -9.0))[0].name, "far")
        path = os.path.join(self.folder.name, "again.mica")
        m.save(path)
        with open(path, "rb") as f:
            again = mica.open(f.read())
        self.assertEqual(again.classes[-1], "far")
        with self.assertRaises(mica.MicaError):
            m.add_class("far", self.X[:1])

    def test_threads(self):
        m, out = mica.open(self.path), {}

        def ask(i):
            s = m.session()
            out[i] = [a.label for _ in range(20) for a in s.predict(self.X)]

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(len({tuple(v) for v in out.values()}), 1)

    def test_session_outlives_the_model_object(self):
        m = mica.open(self.path)
        s = m.session()
        m.predict(self.X)
        del m
        gc.collect()
        self.assertEqual(len(s.predict(self.X)), 120)

    def test_read_no_picture(self):
        with self.assertRaises(mica.MicaError):
            mica.open(self.path).predict("none.jpg")


class Told(unittest.TextTestResult):
    def _say(self, word, test, why=""):
        print(word, test.id().split(".", 1)[-1], why, flush=True)

    def addSuccess(self, test):
        self._say("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._say("not ok", test)

    def addError(self, test, err):
        super().addError(test, err)
        self._say("not ok", test)

    def addSkip(self, test, reason):
        self._say("skip", test, reason)


if __name__ == "__main__":
    unittest.main(testRunner=unittest.TextTestRunner(resultclass=Told, verbosity=0), verbosity=0)
