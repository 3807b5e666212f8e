#!/usr/bin/env python3
"""Write the minimax polynomials of the vector functions as C.

    python3 scripts/vector_math_coefficients.py > src/tensor/kernel/loops/vector_math_polynomials.h

Remez exchange in 60 digits (needs python3-mpmath). Each error stated is relative to the function that the
polynomial serves, before the coefficients are rounded.
"""
from mpmath import mp, mpf, exp, expm1, log, sin, cos, erf, erfc, sqrt, pi, lu_solve, matrix

mp.dps = 60


def remez(f, weight, lo, hi, degree, rounds=12):
    """Coefficients of p minimising max weight(x) |p(x) - f(x)| on [lo, hi]."""
    lo, hi, n = mpf(lo), mpf(hi), degree + 2
    nodes = [(lo + hi) / 2 - (hi - lo) / 2 * cos(pi * (2 * i + 1) / (2 * n)) for i in range(n)]
    grid = [(lo + hi) / 2 - (hi - lo) / 2 * cos(pi * i / (40 * n)) for i in range(40 * n + 1)]
    values = [(x, f(x), weight(x)) for x in grid]
    for _ in range(rounds):
        a, b = matrix(n, n), matrix(n, 1)
        for i, x in enumerate(nodes):
            for j in range(degree + 1):
                a[i, j] = x**j
            a[i, degree + 1] = (-1) ** i / weight(x)
            b[i] = f(x)
        s = lu_solve(a, b)
        c = [s[j] for j in range(degree + 1)]

        def error(v):
            p = mpf(0)
            for k in reversed(c):
                p = p * v[0] + k
            return (p - v[1]) * v[2]

        e = [(v[0], error(v)) for v in values]
        peaks = []  # the largest error of each run of equal signs
        for x, y in e:
            if peaks and (peaks[-1][1] > 0) == (y > 0):
                if abs(y) > abs(peaks[-1][1]):
                    peaks[-1] = (x, y)
            else:
                peaks.append((x, y))
        while len(peaks) > n:
            peaks.pop(0 if abs(peaks[0][1]) < abs(peaks[-1][1]) else -1)
        if len(peaks) < n:
            break
        nodes = [p[0] for p in peaks]
        worst = max(abs(p[1]) for p in peaks)
        if worst - min(abs(p[1]) for p in peaks) < worst / 1000:
            break
    return c, max(abs(y) for _, y in e)


def written(what, c, error):
    digits, suffix = (9, "f") if real == "float" else (17, "")
    print(f"\n/* {what}; relative error {mp.nstr(error, 2)} */")
    return ["%s%s" % (mp.nstr(k, digits), suffix) for k in c]


def table(name, what, c, error):
    """The coefficients alone, for code on explicit vectors."""
    text = ", ".join(written(what, c, error))
    print(f"#define {real[0].upper()}_POLY_{name} {{{text}}}")


def show(name, what, c, error):
    text = written(what, c, error)
    print(f"static inline {real} {real[0]}_poly_{name}({real} z) {{")
    horner = text[-1]
    for k in reversed(text[:-1]):
        horner = f"{k} + z * ({horner})"
    print(f"  return {horner};\n}}")


def tail(c):  # u = (c - x) / (c + x)  ->  (c + x) e^(x^2/2) Phi(-x)
    def f(u):
        x = c * (1 - u) / (1 + u)
        return (c + x) * exp(x * x / 2) * erfc(x / sqrt(mpf(2))) / 2
    return f


def relative(f):
    return lambda x: 1 / abs(f(x))


TAYLOR = mpf("1e-12")
print("""/* vector_math_polynomials.h: written by scripts/vector_math_coefficients.py; change that, not this. */
#ifndef MICA_VECTOR_MATH_POLYNOMIALS_H
#define MICA_VECTOR_MATH_POLYNOMIALS_H""")
for real, width, q, two, r, s, c, e, t, centre, far in (("float", 0.46, 5, 5, 3, 2, 2, 6, 9, 3, 15),
                                                       ("double", 0.36, 9, 10, 6, 5, 5, 12, 22, 4, 39)):
    f = lambda x: (expm1(x) - x) / x**2 if abs(x) > TAYLOR else mpf(1) / 2 + x / 6
    fit = remez(f, lambda x: abs(x) + mpf("1e-9"), -width, width, q)
    show("exp", "e^r = 1 + r + r^2 p(r)", *fit)
    table("EXP", "the same", *fit)
    f = lambda x: (2**x - 1) / x if abs(x) > TAYLOR else log(mpf(2)) * (1 + x * log(mpf(2)) / 2)
    table("EXP2", "2^f = 1 + f p(f), |f| <= 1/2", *remez(f, lambda x: abs(x) + mpf("1e-9"), -0.5, 0.5, two))
    f = lambda z: ((log((1 + sqrt(z)) / (1 - sqrt(z))) - 2 * sqrt(z)) / sqrt(z) / z
                   if z > TAYLOR else mpf(2) / 3 + 2 * z / 5)
    show("log", "log((1+s)/(1-s)) = 2s + s z p(z), z = s^2", *remez(f, lambda z: z / 2 + mpf("1e-9"), 0, 0.02944, r))
    f = lambda z: (sin(sqrt(z)) / sqrt(z) - 1) / z if z > TAYLOR else -mpf(1) / 6 + z / 120
    show("sin", "sin r = r + r z p(z), z = r^2", *remez(f, lambda z: z + mpf("1e-9"), 0, 0.62, s))
    f = lambda z: (cos(sqrt(z)) - 1 + z / 2) / z**2 if z > TAYLOR else mpf(1) / 24 - z / 720
    show("cos", "cos r = 1 - z/2 + z^2 p(z)", *remez(f, lambda z: z**2 + mpf("1e-9"), 0, 0.62, c))
    f = lambda z: erf(sqrt(z)) / sqrt(z) if z > TAYLOR else 2 / sqrt(pi) * (1 - z / 3)
    show("erf", "erf x = x p(z), z = x^2, |x| <= 1", *remez(f, relative(f), 0, 1, e))
    f = tail(mpf(centre))
    low = mpf(centre - far) / (centre + far)
    fit = remez(f, relative(f), low, 1, t)
    show("tail", f"Phi(-x) = e^(-x^2/2) p(u) / ({centre} + x), u = ({centre} - x) / ({centre} + x), 0 <= x <= {far}",
         *fit)
    table("TAIL", "the same", *fit)
print("\n#endif")
