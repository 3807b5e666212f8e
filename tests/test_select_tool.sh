# Training examples scored, kept and trained on, as a user does it: pictures and tables, architectures, models and runs.
. "$MICA_SOURCE/tests/support/tool.sh"

said() { grep -qE -- "$1" log; } # a pattern of the last command's words
rows() { grep -vc '^#' "$1"; }   # of a list, with its head

# 8x8 pictures: a bright half at the top or at the bottom. Six of "top" are called "bottom": files w*.
draw() { # folder pattern count prefix
  mkdir -p "$1"
  LC_ALL=C awk -v pattern="$2" -v count="$3" -v prefix="$1/$4" 'BEGIN {
    srand(pattern * 100 + count)
    for (n = 0; n < count; n++) {
      file = sprintf("%s%03d.pgm", prefix, n)
      printf "P5\n8 8\n255\n" >file
      for (p = 0; p < 64; p++) printf "%c", (int(p / 32) == pattern ? 140 : 60) + int(80 * rand()) >file
      close(file)
    }
  }'
}
draw photos/top 0 94 p
draw photos/bottom 1 100 p
draw photos/bottom 0 6 w
for i in 0 1 2 3 4 5; do echo "bottom/w00$i.pgm"; done | { echo name; cat; } >wrong.csv
common="--data photos --size 8 --channels 1 --val-split 0 --crop 0 --batch-size 20 --lr 0.01"

# shellcheck disable=SC2086
check "scores and keeps half" "$mica" select mlp:hidden=16 $common --seeds 3 --keep 0.5 --wrong wrong.csv -o half.csv \
  --scores scores.csv --report report
check "counts the classes" said '^all +200 +100 +50\.0 %'
check "finds the wrong labels" said 'wrong labels: 6; AUROC (1\.0|0\.9)'
check "tells how much the networks agree" said 'rank correlation 0\.'
check "the list has half of them" test "$(rows half.csv)" = 101
check "the list tells where it is from" grep -q '^# score: el2n, mean of 3 networks (mlp:hidden=16, 3 epochs)' half.csv
check "the hardest are wrong ones" test "$(sed -n '2,7p' scores.csv | grep -c '/w00.*,1,1$')" = 6
check "all are scored" test "$(wc -l <scores.csv)" = 201
for f in report.html summary.json scores.svg wrong.svg roc.svg precision.svg; do
  check "the report has $f" test -s "report/$f"
done
check "the report shows the hardest" grep -q 'Hardest examples' report/report.html
check "the report counts them" grep -q '"kept": 100' report/summary.json
# shellcheck disable=SC2086
check "the same seeds and one thread give the same list" "$mica" select mlp:hidden=16 $common --seeds 3 --keep 0.5 -o again.csv -j 1
check "bit for bit" diff <(grep -v '^# command' half.csv) <(grep -v '^# command' again.csv)
check "a list of scores is a list" "$mica" train mlp:hidden=16 --data photos --size 8 --channels 1 --val-split 0 --crop 0 \
  --subset scores.csv --epochs 1 -o all.mica

keep() { # name, lines of the list, flags...
  local name=$1 lines=$2
  shift 2
  # shellcheck disable=SC2086
  check "$name" "$mica" select mlp:hidden=16 $common --seeds 1 --epochs 1 -o kept.csv "$@"
  check "$name: so many" test "$(rows kept.csv)" = "$lines"
}
keep "the easiest" 61 --order easiest --keep 0.3
check "the easiest are right" test "$(grep -c /w kept.csv)" = 0
keep "a window" 61 --offset 0.05 --keep 0.3
keep "at random" 41 --order random --keep 0.2
keep "by absolute value" 21 --order absolute --keep 0.1 --score max_margin
keep "balanced" 41 --keep 0.2 --balanced
check "balanced by class" test "$(grep -c bottom/ kept.csv)" = 21
for s in el1n grand grand_last max_margin sum_margin; do keep "score $s" 101 --score $s --steps 4; done
keep "forgetting" 101 --score forgetting --steps 30
keep "networks as they begin" 101 --score grand --steps 0
# shellcheck disable=SC2086
check "arrays" "$mica" select mlp $common --seeds 2 --epochs 1 --scores scores.npz -o kept.csv --json
check "prints JSON" python3 -c '
import json
m = json.loads(open("log").read().splitlines()[-1])
assert m["kept"] == 100 and m["examples"] == 200 and m["scores"] == "scores.npz" and -1 <= m["agreement"] <= 1'
check "the arrays are there" python3 -c '
import zipfile
names = zipfile.ZipFile("scores.npz").namelist()
assert sorted(names) == sorted(n + ".npy" for n in "ids labels scores ranks kept scores_by_source".split()), names'

# ---- labels flipped on purpose ----

# shellcheck disable=SC2086
check "flips labels" "$mica" select mlp:hidden=16 $common --seeds 2 --label-noise 0.1 -o kept.csv --report noise
check "finds the flipped" said 'wrong labels: 20; AUROC 0\.9[0-9]'
# shellcheck disable=SC2086
check "flips them in training too" "$mica" train mlp:hidden=16 $common --label-noise 0.1 --noise-kind next --epochs 1 -o noisy.mica
check "the run's record has it" grep -q '"label_noise": "0.1"' noisy.mica.run/config.json
# shellcheck disable=SC2086
refused "no such noise" "expected uniform, next or permute" "$mica" train mlp $common --label-noise 0.1 --noise-kind odd -o x.mica

# ---- training on a subset ----

# shellcheck disable=SC2086
check "trains on the half" "$mica" train mlp:hidden=16 $common --subset half.csv --epochs 4 -o half.mica
check "on half of them" said '^half.csv: 100 of 200 training examples'
check "in half the steps" grep -q '"step":20,' half.mica.run/metrics.jsonl
# shellcheck disable=SC2086
check "trains as many steps as on all" "$mica" train mlp:hidden=16 $common --subset half.csv --steps full --epochs 4 -o half.mica
check "as many steps" grep -q '"step":40,' half.mica.run/metrics.jsonl
check "the record has the list's checksum" grep -q "\"subset_sha256\": \"$(sha256sum half.csv | cut -c1-64)\"" half.mica.run/config.json
# shellcheck disable=SC2086
check "trains a number of steps" "$mica" train mlp:hidden=16 $common --subset half.csv --steps 35 --epochs 4 -o half.mica
check "exactly so many" test "$(tail -n 1 half.mica.run/metrics.jsonl | sed 's/.*"step":\([0-9]*\).*/\1/')" = 35
check "in no more epochs than asked for" test "$(grep -c epoch_loss half.mica.run/metrics.jsonl)" = 1
# shellcheck disable=SC2086
refused "steps or stages" "--steps N is for a run without stages" "$mica" train mlp $common --steps 10 --stage epochs=1 -o x.mica
draw photos/top 0 20 a
check "new pictures do not disturb it" "$mica" train mlp:hidden=16 --data photos --size 8 --channels 1 --val-split 0 --crop 0 \
  --subset half.csv --epochs 1 -o half.mica
check "but are told" said 'half.csv: was made of other data'
mv photos/bottom/w000.pgm w000.pgm
# shellcheck disable=SC2086
refused "a picture that is gone" "'bottom/w000.pgm', is not in that part of the data" "$mica" train mlp $common --subset half.csv -o x.mica
mv w000.pgm photos/bottom/ && rm photos/top/a*.pgm
# shellcheck disable=SC2086
refused "no such list" "none.csv" "$mica" train mlp $common --subset none.csv -o x.mica

# ---- models and runs ----

check "scores by a model, on the data it was trained on" "$mica" select half.mica --val-split 0 --keep 0.1 -o kept.csv
check "by its score" grep -q '^# score: el2n, of 1 network (half.mica)' kept.csv
check "scores by a run" "$mica" select half.mica.run noisy.mica.run --size 8 --channels 1 --val-split 0 --keep 0.1 -o kept.csv
check "tells of other labels" said 'noisy.mica.run: was trained with --label-noise 0.1'
check "by both" grep -q '^# score: el2n, mean of 2 networks (half.mica.run, ...)' kept.csv
refused "no forgetting afterwards" "name an architecture" "$mica" select half.mica --score forgetting --val-split 0
refused "not both" "expected runs, or models, not both" "$mica" select half.mica half.mica.run --val-split 0
refused "no such model" "nothing.mica" "$mica" select nothing.mica --data photos
refused "no such score" "el2" "$mica" select half.mica --val-split 0 --score el2
refused "no data" "--data is missing" "$mica" select mlp
refused "no such order" "--order best" "$mica" select mlp --data photos --order best
refused "a share of nothing" "--keep is '0'" "$mica" select mlp --data photos --keep 0

# ---- tables ----

awk 'BEGIN { print "x,y,class"; for (i = 0; i < 400; i++) { a = (i * 7919) % 997; b = (i * 104729) % 983
  print a "," b "," (a > b ? "over" : "under") } }' >rows.csv
check "scores rows" "$mica" select mlp:hidden=16 --data rows.csv --label class --val-split 0 --seeds 2 --keep 0.25 -o rows.list
check "keeps a quarter" test "$(rows rows.list)" = 101
check "trains on rows" "$mica" train mlp:hidden=16 --data rows.csv --label class --val-split 0 --subset rows.list --epochs 1 -o rows.mica
{ head -n 1 rows.csv; tail -n +2 rows.csv | sort -r; } >sorted.csv
check "finds rows in another order" "$mica" train mlp:hidden=16 --data sorted.csv --label class --val-split 0 --subset rows.list \
  --epochs 1 -o rows.mica
refused "a label that is a number" "scores need classes" "$mica" select mlp --data rows.csv --label x --val-split 0
refused "no noise in tables" "--label-noise is for pictures" "$mica" select mlp --data rows.csv --label class --label-noise 0.1
refused "no texts" "examples of texts are not scored" "$mica" select gpt --data rows.csv
