# Heads on files of features: predicted, measured by class and band, compared, reported.
. "$MICA_SOURCE/tests/support/tool.sh"

holds() { # name, a condition on m, the JSON object of the last line
  check "$1" python3 -c '
import json, sys
m = json.loads(open("log").read().splitlines()[-1])
sys.exit(not eval(sys.argv[1]))' "$2"
}

# Three classes of points: many, some and few to train with, 60 of each to test with.
python3 - <<'P'
import json, random, struct
random.seed(0)
def write(path, tensors, meta):
    head, data = {"__metadata__": meta}, b""
    for name, (kind, shape, raw) in tensors.items():
        head[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)
def points(path, classes, counts, names=True, labels=True):
    rows, label, part = [], [], []
    for c, n in enumerate(counts):
        for k, m in ((0, n), (2, 60)):
            for _ in range(m):
                rows += [random.gauss(2.0 * (i == c), 1) for i in range(5)]
                label.append(c)
                part.append(k)
    n = len(label)
    tensors = {"features": ("F32", [n, 5], struct.pack("<%df" % len(rows), *rows))}
    if labels:
        tensors["labels"] = ("I64", [n], struct.pack("<%dq" % n, *label))
        tensors["part"] = ("I64", [n], struct.pack("<%dq" % n, *part))
    write(path, tensors, {"classes": json.dumps(classes)} if names else {})
points("three.safetensors", ["bolt", "nut", "washer"], [150, 40, 10])
points("two.safetensors", ["bolt", "nut"], [50, 50])
points("four.safetensors", ["bolt", "nut", "washer", "pin"], [5, 5, 5, 5])
points("bare.safetensors", [], [3, 3, 3], names=False, labels=False)
P
check "fits logistic regression" "$mica" fit logistic --data three.safetensors -o lr.mica
check "fits naive Bayes" "$mica" fit naive_bayes --data three.safetensors -o nb.mica
check "fits an SVM" "$mica" fit linear_svm --data three.safetensors -o svm.mica
check "fits one of two classes" "$mica" fit logistic --data two.safetensors -o two.mica
check "fits Gaussians without labels" "$mica" fit gaussian:reject=0.05 --data bare.safetensors -o normal.mica

check "predicts rows of features" "$mica" predict lr.mica three.safetensors bare.safetensors --top 2
check "a line for each rank" test "$(wc -l <log)" = $((1 + 2 * (380 + 189)))
check "tells file and row" grep -qE '^bare.safetensors,189,2,(bolt|nut|washer),0\.' log
check "without probabilities" "$mica" predict svm.mica bare.safetensors --json
holds "names the class" 'm["row"] == 189 and m["answer"] in ("bolt", "nut", "washer")'
check "scores anomalies" "$mica" predict normal.mica bare.safetensors
check "by row" grep -qE '^bare.safetensors,1,[-0-9.e+]+,(normal|anomalous)$' log
check "as JSON" "$mica" predict normal.mica bare.safetensors --json
holds "with the answer" 'm["row"] == 189 and m["answer"] in ("normal", "anomalous")'

check "measures on features" "$mica" eval lr.mica --data three.safetensors --json --report page
cp log all
head -1 all >log
holds "the test part" 'm["examples"] == 180 and m["accuracy"] > 0.6'
holds "bands by the training part" \
  '[m["bands"][b]["classes"] for b in ("few", "medium", "many")] == [1, 1, 1] and m["bands"]["many"]["accuracy"] == m["recall"]["bolt"]'
holds "few are known worse" 'm["bands"]["few"]["accuracy_high"] < m["bands"]["many"]["accuracy_low"]'
holds "ranking with intervals" \
  '0.9 < m["auroc_low"] < m["auroc"] < m["auroc_high"] < 1 and m["average_precision_low"] < m["average_precision"]'
holds "the mean of the classes" 'abs(m["auroc"] - sum(m["class_auroc"].values()) / 3) < 1e-9'
holds "calibration" '0 < m["ece"] < 0.3 and 0.1 < m["brier"] < 0.6'
cp page/summary.json log
check "the report has the same numbers" python3 -c '
import json
m, s = json.loads(open("all").readline()), json.load(open("page/summary.json"))
assert all(abs(m[k] - s[k]) < 1e-12 for k in ("accuracy", "auroc", "average_precision", "ece", "brier")), s'
check "and figures" bash -c 'test "$(grep -o "<svg" page/report.html | wc -l)" -ge 3'
check "other bands" "$mica" eval lr.mica --data three.safetensors --bands 50,150
check "are told" grep -q 'medium (50 to 150)' log
check "scores without probabilities" "$mica" eval svm.mica --data three.safetensors --json
holds "rank all the same" 'm["auroc"] > 0.9 and m["ece"] is None and m["loss"] is None'
check "of two classes" "$mica" eval two.mica --data two.safetensors --json
holds "the second is positive" 'm["auroc"] == m["class_auroc"]["nut"] and m["auroc_low"] < m["auroc"]'
check "classes that it does not know" "$mica" eval lr.mica --data four.safetensors --unknown --json
holds "are counted apart" 'm["examples"] == 180 and m["unknown_examples"] == 60'
holds "bands by what the model was fitted on" '[m["bands"][b]["classes"] for b in ("few", "medium", "many")] == [1, 1, 1]'

check "compares two models" "$mica" eval lr.mica nb.mica --data three.safetensors --json
holds "with an interval" 'm["difference_low"] <= m["difference"] <= m["difference_high"] and 0 < m["p_value"] <= 1'
check "in words" "$mica" eval lr.mica svm.mica --data three.safetensors
check "tells which" grep -q '^lr.mica is more accurate than svm.mica by' log

refused "models of other classes" "two are compared on the same" "$mica" eval lr.mica two.mica --data three.safetensors
refused "a detector is not compared" "both tell classes" "$mica" eval lr.mica normal.mica --data three.safetensors
refused "features without labels" "no labels" "$mica" eval lr.mica --data bare.safetensors
refused "bands that are none" "expected FEW,MANY" "$mica" eval lr.mica --data three.safetensors --bands 20
refused "bands the wrong way round" "expected FEW,MANY" "$mica" eval lr.mica --data three.safetensors --bands 9,3

check "learning curves" "$mica" fit naive_bayes logistic --data three.safetensors --sizes 6,30,150 --repeats 3 --scale minmax --figure curves.svg
check "are a table" grep -qE '^ +150 +0\.[0-9]+ \(0\.[0-9]+ to 0\.[0-9]+\) ' log
check "tell the crossover" grep -qE '^naive_bayes and logistic (do not )?cross' log
check "are drawn" grep -q '<svg' curves.svg
check "learning curves as JSON" "$mica" fit naive_bayes logistic --data three.safetensors --sizes 6,150 --json
holds "end with the crossover" 'm["first"] == "naive_bayes" and m["second"] == "logistic" and "crossover" in m'
check "one object a point" test "$(grep -c '"errors"' log)" = 4
refused "sizes out of order" "ascending" "$mica" fit logistic --data three.safetensors --sizes 30,6
refused "more than there are" "expected 3 (the classes) to 200" "$mica" fit logistic --data three.safetensors --sizes 6,3000
refused "a model of curves" "leave --out away" "$mica" fit logistic --data three.safetensors --sizes 6 -o x.mica
refused "another scaling" "expected none, minmax" "$mica" fit logistic --data three.safetensors --sizes 6 --scale unit
refused "curves without labels" "no test part" "$mica" fit logistic --data bare.safetensors --sizes 6
