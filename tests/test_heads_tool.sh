# Cosine classifiers through the tool: trained, grown by a class, embedded at several scales; losses of pairs with
# their samplers; tuples around an earlier model's mistakes.
. "$MICA_SOURCE/tests/support/tool.sh"

# Pictures of bars: lying, standing, crossed, and a frame that training does not see.
picture() { # file kind number
  awk -v kind="$2" -v n="$3" 'BEGIN {
    srand(n * 7 + length(kind)); at = 4 + int(rand() * 6); light = 150 + int(rand() * 100)
    printf "P2 16 16 255\n"
    for (y = 0; y < 16; y++) for (x = 0; x < 16; x++) {
      lying = y >= at && y < at + 3; standing = x >= at && x < at + 3
      on = kind == "stand" ? standing : kind == "lie" ? lying : kind == "cross" ? lying || standing : x < 2 || y < 2 || x > 13 || y > 13
      print (on ? light : 30 + int(rand() * 20))
    }
  }' | awk 'NR == 1 { printf "P5 16 16 255\n"; next } { printf "%c", $1 }' >"$1"
}
export LC_ALL=C
for kind in lie stand cross frame; do
  mkdir -p "all/$kind"
  for i in $(seq 24); do picture "all/$kind/$i.pgm" $kind "$i"; done
done
mkdir photos
cp -r all/lie all/stand all/cross photos/
common=(--data photos --size 16 --channels 1 --crop 1 --epochs 8 --batch-size 18 --lr 0.01 --seed 3)

check "a margin is trained" "$mica" train convnet:widths=8,16:convolutions=1 "${common[@]}" \
  --head cosine:kind=arcface:scale=12:margin=0.1:dim=8:norm:pool=gem -o arc.mica
says() { grep -q "$1" "$2"; }
check "the run's lines have the scale" says '"cosine_scale": *12' arc.mica.run/metrics.jsonl
check "config.json has the head" says 'cosine:kind=arcface' arc.mica.run/config.json
check "the file tells of it" says 'head=cosine:kind=arcface' arc.mica
check "it answers" "$mica" eval arc.mica --data photos
check "it grows by a class" "$mica" fit --add-class frame --encoder arc.mica all/frame/[1-6].pgm -o grown.mica
"$mica" predict grown.mica all/frame/7.pgm all/frame/8.pgm all/frame/9.pgm >answers 2>&1
check "the new class is known" says ',frame' answers
"$mica" predict grown.mica photos/lie/7.pgm >answers 2>&1
check "and three old ones are" says 'lie\|stand\|cross\|frame' answers

check "MadaCos is trained" "$mica" train convnet:widths=8,16:convolutions=1 "${common[@]}" \
  --head cosine:kind=madacos:alpha=0.1:top_prob=0.99:floor=8:dim=8 -o mada.mica
check "tuples around its mistakes" "$mica" train convnet:widths=8,16:convolutions=1 "${common[@]}" --init mada.mica \
  --head cosine:kind=madacos:alpha=0.1:top_prob=0.99:floor=8:dim=8 --sampler tuples:tuple=6 --predictions mada.mica \
  --loss ce+0.05*local_triplet:tuple=6 -o fine.mica
check "triplets with several of a class" "$mica" train convnet:widths=8,16:convolutions=1 "${common[@]}" \
  --head linear:dim=8 --sampler classes:examples=6 --loss triplet -o triplet.mica
check "means for all classes" "$mica" fit cosine --encoder triplet.mica --data photos -o means.mica
check "classes by the root of their size" "$mica" train convnet:widths=8 "${common[@]}" --epochs 1 --sampler power -o tail.mica

check "features at three scales" "$mica" embed arc.mica --data photos --scales 0.7071,1,1.4142 -o rows.npz
check "their measures" "$mica" search eval rows.npz rows.npz --measures map,first@5,median-first@5

refused "an unknown kind" "cosine" "$mica" train convnet "${common[@]}" --head cosine:kind=arc -o no.mica
refused "an unknown head" "did you mean" "$mica" train convnet "${common[@]}" --head cosin -o no.mica
refused "an unknown sampler" "did you mean" "$mica" train convnet "${common[@]}" --sampler clases -o no.mica
refused "predictions alone" "sampler" "$mica" train convnet "${common[@]}" --predictions mada.mica -o no.mica
refused "scales that are no numbers" "expected numbers" "$mica" embed arc.mica all/lie/1.pgm --scales 1,x -o no.npy
refused "a scale of nothing" "expected 0.01" "$mica" embed arc.mica all/lie/1.pgm --scales 0 -o no.npy

# Answers in Google Landmarks' files: q1 and q2 right, q3 wrong though surest, q4 shows nothing and is answered, q5
# has no prediction, q6 is ignored. GAP: (1/2 + 2/3) / 4 by scores 9 (wrong), 8 (right), 7 (right), 6 (nothing).
printf 'id,landmarks,Usage\nq1,17 4,Public\nq2,5,Private\nq3,6,Public\nq4,None,Public\nq5,9,Private\nq6,1,Ignored\n' >solution.csv
printf 'id,landmarks\nq3,1 9\nq1,4 8.0\nq2,5 7\nq4,5 6\nq5,\nq6,1 99\n' >predictions.csv
near() { awk -v a="$(sed -n "s/.*\"$1\": *\([0-9.e-]*\).*/\1/p" log)" -v b="$2" 'BEGIN { d = a - b; exit !(d < 1e-9 && d > -1e-9) }'; }
check "recognition is measured" "$mica" measure solution.csv predictions.csv --json
check "its GAP" near gap 0.2916666666667
check "its top-1" near 'cmc@1' 0.5
check "one usage of it" "$mica" measure solution.csv predictions.csv --usage Private --json
check "its GAP too" near gap 0.5
printf 'id,images,Usage\nq1,a b,Public\nq2,None,Public\nq3,c,Private\n' >solution.csv
printf 'id,images\nq1,x a a b\nq2,x\n' >predictions.csv
check "retrieval is measured" "$mica" measure solution.csv predictions.csv --measures map@100,first@100 --json
check "its mAP: an image that comes again is wrong, a missing query 0" near 'map@100' 0.25
check "and first positions" near 'first@100' 51.5
printf 'id,landmarks\nq1,4 high\n' >predictions.csv
refused "images against landmarks" "one file is of landmarks" "$mica" measure solution.csv predictions.csv
printf 'id,landmarks\nq1,4\n' >solution.csv
refused "a score that is no number" "no class and score" "$mica" measure solution.csv predictions.csv
printf 'id,landmarks\nq1,4 1\nq1,5 1\n' >predictions.csv
refused "an id that is there twice" "twice" "$mica" measure solution.csv predictions.csv
printf 'name,class\n' >predictions.csv
refused "another file" "expected a first line" "$mica" measure solution.csv predictions.csv
