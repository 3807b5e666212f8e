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
