# Two files of features as pairs, through fit, eval, embed and measure.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mica=$MICA_BUILD/mica
cd "$work" || exit 1

say() { # name, exit status of what was done
  if [ "$2" = 0 ]; then echo "ok $1"; else sed 's/^/# /' log 2>/dev/null; echo "not ok $1"; fi
}

python3 - <<'END'
import random, struct
random.seed(3)
n, p, q = 400, 8, 6
a = [[random.gauss(0, 1) for _ in range(p)] for _ in range(4)]
b = [[random.gauss(0, 1) for _ in range(q)] for _ in range(4)]
def write(name, rows):
    head = "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }" % (len(rows), len(rows[0]))
    head += " " * (64 - (len(head) + 11) % 64) + "\n"
    with open(name, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode())
        for r in rows: f.write(struct.pack("<%df" % len(r), *r))
x, y = [], []
for _ in range(n):
    z = [random.gauss(0, 1) for _ in range(4)]
    x.append([sum(z[c] * a[c][j] for c in range(4)) + 0.05 * random.gauss(0, 1) + j for j in range(p)])
    y.append([sum(z[c] * b[c][j] for c in range(4)) + 0.05 * random.gauss(0, 1) - j for j in range(q)])
write("x.npy", x); write("y.npy", y); write("short.npy", y[:100])
END

"$mica" fit align align:map=none:reduce=pca:k=4 align:reduce=cca:k=4 --data x.npy --targets y.npy \
  --anchors 300 --queries 80 --json -o aligned.mica >fit 2>log
say "estimators are learnt from pairs and compared" $?
python3 - fit >log 2>&1 <<'END'
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1])]
by = {l["head"]: l for l in lines if "head" in l}
assert by["align"]["anchors"] == 300 and by["align"]["queries"] == 80, by
assert by["align"]["top5"] > 0.9 and by["align:reduce=cca:k=4"]["matching"] > 0.7, by
assert by["align:map=none:reduce=pca:k=4"]["top5"] < 0.5, by
assert lines[-1] == {"model": "aligned.mica"}, lines
END
say "a map matches what was not learnt, components alone do not" $?

"$mica" eval aligned.mica --data x.npy --targets y.npy --queries 100 --draws 2 >log 2>&1 &&
  grep -q "100 others to match, 2 draws" log
say "a model file is measured on pairs" $?

"$mica" embed aligned.mica x.npy -o mapped.npy >log 2>&1 &&
  "$mica" embed aligned.mica y.npy --targets -o targets.npy >>log 2>&1 &&
  "$mica" measure mapped.npy targets.npy --measures cka,mutual_knn:k=5,rsa --json >measured 2>>log &&
  python3 -c '
import json; m = json.load(open("measured"))["measures"]
assert m["cka"]["cka"] > 0.9 and m["rsa"]["rsa"] > 0.9, m
assert m["mutual_knn:k=5"]["mutual_neighbours"] > 0.4, m' >>log 2>&1
say "both sides are mapped into one space" $?

! "$mica" fit align --data x.npy --targets short.npy >log 2>&1 && grep -q "are no pairs" log
say "files of other lengths are refused" $?
! "$mica" fit align --data x.npy --targets y.npy --anchors 400 >log 2>&1 && grep -q "no pairs are left" log
say "pairs must be left to match" $?
! "$mica" fit ridge --data x.npy --targets y.npy >log 2>&1 && grep -q "does not align" log
say "an estimator that does not align is refused" $?
says() { # name, message, command that fails with it
  local name=$1 text=$2
  shift 2
  ! "$@" >log 2>&1 && grep -q -- "$text" log
  say "$name" $?
}
says "pairs have two sides" "align learns from pairs: --targets" "$mica" fit align --data x.npy
says "so has what is measured" "two spaces: --targets" "$mica" eval aligned.mica --data x.npy
says "there are no classes to predict" "mica embed maps features" "$mica" predict aligned.mica x.npy
says "a side that is not there" "none.npy: cannot open" "$mica" fit align --data x.npy --targets none.npy
says "pictures are no pairs" "expected files of features" "$mica" fit align --data . --targets y.npy
says "a map that is none" "'foo' is not one of" "$mica" fit align:map=foo --data x.npy --targets y.npy
says "rows of another width" "y.npy: the model reads features" "$mica" embed aligned.mica y.npy -o no.npy
[ ! -e no.npy ]
say "nothing is left behind" $?
