# Heads on a network's features, as a user fits, measures and extends them.
. "$MICA_SOURCE/tests/support/tool.sh"

for i in 0 1 2; do
  draw_thirds "known/train/class$i" "$i" 16 "$((i + 1))"
  draw_thirds "known/test/class$i" "$i" 8 "$((i + 50))"
done
draw_thirds more/upright 4 12 99
mkdir -p all && cp -r known/test/* all/ && cp -r more/* all/

common="--size 12 --channels 1 --crop 0 --batch-size 8 -j 1"
# shellcheck disable=SC2086
check "trains an encoder" "$mica" train convnet:widths=8,16 --data known $common --epochs 4 --lr 0.01 -o net.mica

check "fits prototypes" "$mica" fit prototypes:metric=euclidean --encoder net.mica --data known --reject 0.02 -o parts.mica
check "tells the test accuracy" grep -q '^test accuracy' log
check "predicts" "$mica" predict parts.mica known/test/class1
check "names the class" test "$(grep -c ',class1,' log)" -ge 6
check "predicts a stranger" "$mica" predict parts.mica more/upright
check "answers none of these" test "$(grep -c 'none of these' log)" -ge 9
check "measures unknown classes" "$mica" eval parts.mica --data all --unknown --json
check "prints JSON" python3 -c '
import json, sys
m = json.loads(open("log").read().splitlines()[-1])
sys.exit(not (m["examples"] == 24 and m["unknown_examples"] == 12 and m["unknown_auroc"] > 0.95 and m["accuracy"] > 0.8))'

check "adds a class" "$mica" fit --add-class upright --encoder parts.mica -o more.mica more/upright/0[0-4].pgm
check "knows the added class" "$mica" predict more.mica more/upright
check "names the added class" test "$(grep -c ',upright,' log)" -ge 9
refused "refuses a class twice" "has a class 'upright' already" "$mica" fit --add-class upright --encoder more.mica more/upright/00.pgm
refused "refuses to grow without a head" "no head answers" "$mica" fit --add-class upright --encoder net.mica more/upright/00.pgm

check "compares estimators" "$mica" fit logistic knn prototypes gaussian --encoder net.mica --data known --folds 4 --keep-all -o heads.mica
check "shows intervals" grep -q '95 % interval' log
check "keeps all of them" test "$("$mica" info heads.mica | grep -c 'mica.head.logistic\|mica.head.knn\|mica.head.prototypes\|mica.head.gaussian')" -ge 4
check "compares as JSON" "$mica" fit logistic ridge --encoder net.mica --data known --json
check "prints one object a line" python3 -c '
import json
lines = [json.loads(line) for line in open("log") if line.strip()]
assert [line["estimator"] for line in lines[:2]] == ["logistic", "ridge"], lines
assert sum(line["best"] for line in lines[:2]) == 1, lines'

check "embeds a data set" "$mica" embed net.mica --data known -o features.safetensors
check "fits on features" "$mica" fit logistic --data features.safetensors -o probe.mica
check "finds the test part in them" grep -q '^test accuracy' log
check "embeds as npz" "$mica" embed net.mica --data known -o features.npz
check "fits on npz" "$mica" fit ridge --encoder net.mica --data features.npz -o probe2.mica
check "fits on features for an encoder" "$mica" fit ridge --encoder net.mica --data features.safetensors -o probe2.mica
check "uses that head on pictures" "$mica" eval probe2.mica --data all
check "embeds files" "$mica" embed net.mica known/test/class0
check "writes features.npy" test -s features.npy

# The program of examples/teach, and the script that measures what it learns.
teach=$MICA_BUILD/examples/teach
cp parts.mica taught.mica
check "teach answers" "$teach" taught.mica more/upright/07.pgm
check "teach does not know yet" grep -q '^none of these' aside
check "teach learns" "$teach" taught.mica more/upright/07.pgm upright more/upright/0[0-4].pgm
check "teach knows now" grep -q '^upright ' aside
check "teach has kept it" "$teach" taught.mica more/upright/08.pgm
check "and still knows" grep -q '^upright ' aside
refused "teach names a missing picture" "absent.pgm" "$teach" taught.mica absent.pgm
refused "teach tells its usage" "usage: teach" "$teach"
draw_thirds many/flat0 0 12 21 && draw_thirds many/flat1 1 12 22 && draw_thirds many/tall0 3 12 23 && draw_thirds many/tall1 5 12 24
check "measure runs" env MICA="$mica" TEACH="$teach" "$MICA_SOURCE/examples/teach/measure" net.mica many 1
check "measure tells its figures" grep -qE '^after: +accuracy [0-9.]+ % on all [0-9]+, [0-9.]+ % on the 7 of' aside

refused "needs data" "--data is missing" "$mica" fit logistic
refused "needs an encoder" "--encoder is missing" "$mica" fit logistic --data known
refused "knows its estimators" "logistic" "$mica" fit logistik --data features.npz
refused "wants labels to compare" "needs labels" "$mica" fit logistic knn --data features.npy
refused "names the absent encoder" "absent.mica" "$mica" fit logistic --encoder absent.mica --data known
refused "wants one source to embed" "one of the three" "$mica" embed net.mica
# shellcheck disable=SC2086
check "trains another encoder" "$mica" train convnet:widths=8 --data known $common --epochs 1 -o small.mica
refused "tells of other widths" "the encoder gives 8" "$mica" fit logistic --encoder small.mica --data features.npz
