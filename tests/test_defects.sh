# Anomalies on pictures as a user finds them: folders with defects, taps, comparison, evaluation.
. "$MICA_SOURCE/tests/support/tool.sh"

# 16x12 pictures with noise: stripes of a category, and of a defect a bright or a dark spot.
draw() { # folder stripes defect count seed
  mkdir -p "$1"
  LC_ALL=C awk -v stripes="$2" -v defect="$3" -v count="$4" -v seed="$5" -v folder="$1" 'BEGIN {
    srand(seed)
    for (n = 0; n < count; n++) {
      file = sprintf("%s/%03d.pgm", folder, n)
      printf "P5\n16 12\n255\n" >file
      x = 2 + int(9 * rand()); y = 2 + int(6 * rand())
      for (p = 0; p < 192; p++) {
        v = 60 + 70 * (int((stripes > 0 ? p % 16 : p / 16) / 3) % 2) + int(40 * rand())
        inside = p % 16 >= x && p % 16 < x + 4 && int(p / 16) >= y && int(p / 16) < y + 4
        if (inside && defect == 1) v = 240
        if (inside && defect == 2) v = 5
        printf "%c", v >file
      }
      close(file)
    }
  }'
}
for k in 0 1; do
  c=$(printf 'across along' | cut -d' ' -f$((k + 1)))
  draw "parts/$c/train/good" $k 0 40 $((k + 1))
  draw "parts/$c/test/good" $k 0 16 $((k + 20))
  draw "parts/$c/test/bright" $k 1 10 $((k + 40))
  draw "parts/$c/test/dark" $k 2 10 $((k + 60))
  mkdir -p "parts/$c/ground_truth/bright"
  cp "parts/$c/test/bright/000.pgm" "parts/$c/ground_truth/bright/000_mask.png"
done
mkdir -p seen && cp -r parts/across/train/good seen/across && cp -r parts/along/train/good seen/along

common="--size 12 --channels 1 --crop 0 --batch-size 8 -j 1"
# shellcheck disable=SC2086
check "trains an encoder" "$mica" train convnet:widths=8,16 --data seen $common --epochs 3 --lr 0.01 -o net.mica

check "fits a Gaussian for each map" "$mica" fit gaussian --encoder net.mica --taps pyramid --resize whole --data parts/along -o along.mica
check "says the levels" grep -q 'gaussian:levels=8,16' log
check "measures by kind" "$mica" eval along.mica --data parts/along
check "tells each kind" test "$(grep -cE '^  (bright|dark) +AUROC' log)" = 2
check "tells n sigma" grep -q '^  3 sigma' log
check "measures as JSON" "$mica" eval along.mica --data parts/along --json
check "finds the spots" python3 -c '
import json, sys
m = json.loads(open("log").read().splitlines()[-1])
sys.exit(not (m["normal"] == 16 and m["anomalous"] == 20 and m["auroc"] > 0.8 and len(m["kinds"]) == 2
              and len(m["beyond_sigma"]) == 5))'
mkdir flat && cp parts/along/test/good/* flat/
check "fits a folder of pictures" "$mica" fit gaussian:sigma=3 --encoder net.mica --taps 'stages.?' --data flat -o flat.mica
cp -r parts/along/test plain
check "takes the normal class by name" "$mica" eval flat.mica --data plain --normal good
mv plain/good plain/fine
refused "asks which are normal" "--normal names their classes" "$mica" eval flat.mica --data plain
check "fits on augmented passes" "$mica" fit one_class_svm --encoder net.mica --taps pyramid --data flat --augment-passes 3 --flip
check "on that many rows" grep -q "fitted on 48 rows of 24 features" log
check "predicts" "$mica" predict along.mica parts/along/test/bright
check "tells a score and an answer" test "$(grep -cE '^parts/along/test/bright/0[0-9]+.pgm,[0-9.]+,anomalous' log)" -ge 8
check "predicts as JSON" "$mica" predict along.mica parts/along/test/good --json
check "calls the good normal" test "$(grep -c '"answer": "normal"' log)" -ge 12

check "compares detectors over folds and categories" "$mica" fit gaussian gaussian:distance=euclidean gaussian:reducer=npca one_class_svm --encoder net.mica --taps pyramid --data parts --control
check "with random weights" test "$(grep -c '^random' log)" = 4
check "compares as JSON" "$mica" fit gaussian gaussian:distance=standardised --encoder net.mica --taps pyramid --data parts --folds 4 --json
check "prints a line a detector" python3 -c '
import json, sys
m = [json.loads(l) for l in open("log")]
sys.exit(not (len(m) == 2 and m[0]["auroc"] > 0.7 and set(m[0]["categories"]) == {"across", "along"}))'
refused "makes no model of several categories" "--out is for one detector" "$mica" fit gaussian --encoder net.mica --data parts -o no.mica

check "writes levels" "$mica" embed net.mica --taps pyramid --data parts/along -o levels.safetensors
check "reads levels" "$mica" fit gaussian:classes=one --data levels.safetensors -o rows.mica
check "uses them" grep -q 'levels=8,16' log
check "embeds files" "$mica" embed net.mica --taps stages.0 -o few.npy flat/000.pgm flat/001.pgm
check "tells the width" grep -q '2 rows of 8 features' log
refused "suggests a module" "did you mean 'stages.1'" "$mica" embed net.mica --taps stage.1 --data flat
refused "knows two ways to resize" "expected whole or cover" "$mica" embed net.mica --resize half --data flat
