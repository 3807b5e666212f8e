# Measures of features as a user runs them: one file, two files, reports, and what is refused.
. "$MICA_SOURCE/tests/support/tool.sh"
refused_with() { # name, exit code, text of the message, then a command that must fail
  local name=$1 code=$2 text=$3
  shift 3
  "$@" >log 2>&1
  [ $? = "$code" ] && grep -qF -- "$text" log
  told "$name" $? log
}

cat >make.py <<'END'
import zipfile
from npy import npy, write
# Sixty rows in three clusters; the same turned by a right angle and doubled; twelve of them.
rows = [((i * 37 % 20) / 10 + 8 * (i % 3 == 1), (i * 53 % 20) / 10 + 8 * (i % 3 == 2)) for i in range(60)]
flat = [v for r in rows for v in r]
turned = [v for r in rows for v in (-2 * r[1], 2 * r[0])]
label = [i % 3 for i in range(60)]
part = [2 if i % 5 == 4 else 0 for i in range(60)]
write('f.npy', npy('f4', (60, 2), flat))
write('turned.npy', npy('f8', (60, 2), turned))
write('short.npy', npy('f4', (12, 2), flat[:24]))
write('nan.npy', npy('f4', (2, 2), [1, 2, float('nan'), 4]))
write('labels.npy', npy('i8', (60,), label))
write('cut.npy', npy('f4', (60, 2), flat)[:200])
with zipfile.ZipFile('f.npz', 'w') as z:
    z.writestr('features.npy', npy('f4', (60, 2), flat))
    z.writestr('labels.npy', npy('i8', (60,), label))
    z.writestr('part.npy', npy('i8', (60,), part))
END
check "makes the features" env PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$MICA_SOURCE/tests/support" python3 make.py

check "measures a file" "$mica" measure f.npz
check "tells rows, columns and classes" grep -q '^60 rows of 2 columns; 3 classes$' log
check "finds the classes apart" grep -Eq 'nearest_mean_accuracy +1 ' log
check "says what it compared" grep -Eq 'rows_compared +60 ' log
check "measures a part" "$mica" measure f.npz --part test
check "of as many rows" grep -q '^12 rows of 2 columns' log
check "measures without labels" "$mica" measure f.npy
check "leaves out what needs them" test "$(grep -c silhouette log)" = 0
check "takes labels from a file" "$mica" measure f.npy --labels labels.npy --measures separation
check "for that measure alone" test "$(grep -c norm_mean log)" = 0
check "compares two files" "$mica" measure f.npy turned.npy --json \
  --measures cka,cka:kernel=rbf:rows=40,cka:debiased,procrustes,cca:variance=1
check "that are the same up to a rotation" python3 -c '
import json, sys
m = json.load(open("log"))["measures"]
ones = [m[k]["cka"] for k in ("cka", "cka:kernel=rbf:rows=40", "cka:debiased")] + [m["cca:variance=1"]["cca_mean"]]
sys.exit(not (all(abs(v - 1) < 1e-6 for v in ones) and abs(m["procrustes"]["procrustes"]) < 1e-6
              and m["cka:kernel=rbf:rows=40"]["rows_compared"] == 40))'
check "says the same on three threads" "$mica" measure f.npz turned.npy --json -j 3
cp log three
check "as on one" "$mica" measure f.npz turned.npy --json -j 1
check "bit for bit" cmp log three
check "writes a report" "$mica" measure f.npz turned.npy --report page
check "tells where" grep -qx 'report: page/report.html' log
for figure in spectrum_2 norms class_norms class_mean_cosines_7 map map_other; do
  check "with the figure $figure" grep -q '<svg' page/$figure.svg
done
check "and numbers for programs" python3 -c '
import json, sys
s = json.load(open("page/summary.json"))
sys.exit(not (s["rows"] == 60 and any(k.endswith(".effective_rank") for k in s)))'
check "is among the components" "$mica" list measure
check "with their options" grep -q 'bandwidth' log

refused_with "other rows" 1 "f.npy has 60 rows and short.npy 12" "$mica" measure f.npy short.npy
refused_with "a measure that is not there" 1 "did you mean 'rank'" "$mica" measure f.npy --measures ranks
refused_with "an option out of range" 1 "rows" "$mica" measure f.npy --measures uniformity:rows=1
refused_with "an empty specification" 1 "measure" "$mica" measure f.npy --measures rank,
refused_with "a comparison of one" 1 "compares two sets" "$mica" measure f.npy --measures cka
refused_with "classes without labels" 1 "no labels" "$mica" measure f.npy --measures separation
refused_with "labels of other rows" 1 "labels" "$mica" measure short.npy --labels labels.npy
refused_with "a number that is none" 1 "row 1" "$mica" measure nan.npy
refused_with "a file cut short" 1 "cut.npy" "$mica" measure cut.npy
refused_with "a file that is not there" 1 "gone.npy" "$mica" measure gone.npy
refused_with "a part that is not told" 1 "tells no parts" "$mica" measure f.npy --part test
refused_with "a picture" 2 "expected a file of features" "$mica" measure x.jpg
refused_with "a picture beside features" 2 "expected a file of features" "$mica" measure f.npy x.jpg
refused_with "a seed that is none" 2 "--seed" "$mica" measure f.npy --seed x
