# An upgrade without a new index, as a user makes it: an old model and its index, new models that answer from it, and
# what the three ways to ask are worth.
. "$MICA_SOURCE/tests/support/tool.sh"
export OMP_NUM_THREADS=1 # networks so small that a second thread only waits

for i in 0 1 2; do
  draw_thirds "photos/train/class$i" "$i" 16 "$((i + 1))"
  draw_thirds "photos/test/class$i" "$i" 8 "$((i + 50))"
done
draw_thirds "colour/other" 4 4 9
common=(--data photos --size 12 --channels 1 --crop 0 --batch-size 16 --lr 0.01 -j 1)
at() { # index, queries' encoder, further flags
  "$mica" search eval "$1" photos --encoder "$2" --part test --measures 'map' --json "${@:3}"
}

check "an old model" "$mica" train convnet:widths=4,8 "${common[@]}" --epochs 3 -o old.mica
check "its index" "$mica" search build photos --encoder old.mica --part train -o old.index
check "a model that is compatible" "$mica" train convnet:widths=8,8 "${common[@]}" --epochs 6 --compatible-with old.mica -o bct.mica
check "one that is not" "$mica" train convnet:widths=8,16 "${common[@]}" --epochs 4 --seed 5 -o independent.mica
check "one with rotations" "$mica" train 'convnet:widths=8,24 | head=bt2:old=8:add=2' "${common[@]}" --epochs 6 \
  --scheme compatible:old=old.mica:new=independent.mica -o new.mica
check "config.json tells of the old model" grep -q 'compatible' new.mica.run/config.json


# reaches BOUND INDEX ENCODER FLAG...: the mean average precision of the test part's queries, by that encoder, there
reaches() {
  "$mica" search eval "$2" photos --encoder "$3" --part test --measures map --json "${@:4}" >log 2>&1 || return 1
  awk -v bound="$1" -v map="$(sed -n 's/.*"map":\([0-9.e-]*\).*/\1/p' log)" 'BEGIN { exit !(map != "" && map >= bound) }'
}
check "old/old" reaches 0.9 old.index old.mica
check "new/old: nothing is made again" reaches 0.9 old.index bct.mica
check "new/old with rotations: the first columns ask" reaches 0.9 old.index new.mica --prefix
check "new/new has more columns" sh -c "'$mica' search build photos --encoder new.mica --part train -o new.index | grep -q 'of 18 columns'"
check "new/new" reaches 0.95 new.index new.mica
misses() { ! reaches "$@"; }
check "what was trained by itself understands little there" misses 0.9 old.index independent.mica --prefix
check "queries" "$mica" search query old.index photos --encoder new.mica --part test --prefix -k 1
check "find their class" test "$(grep -c '^test/\(class[0-2]\)/.*,train/\1/' log)" -ge 22
check "a file of features asks, too" sh -c "'$mica' embed new.mica --data photos -o wide.npz && '$mica' search eval old.index wide.npz --part test --prefix --measures map"

refused "wider queries that were not meant" "--prefix asks with the first" "$mica" search query old.index photos --encoder new.mica
refused "narrower ones" "the index has 18" "$mica" search query new.index photos --encoder old.mica --prefix
compatible() { "$mica" train "$1" "${common[@]}" --epochs 1 --compatible-with "$2" -o no.mica "${@:3}"; }
refused "an old model that is not there" "none.mica: cannot open" compatible convnet:widths=8,8 none.mica
refused "an index in its place" "a file of tensors, not a model" compatible convnet:widths=8,8 old.index
refused "a folder in its place" "is a directory" compatible convnet:widths=8,8 photos
refused "fewer columns than it has" "fewer than the older embedding's 8" compatible convnet:widths=8,4 old.mica
refused "two schemes" "not with --scheme" compatible convnet:widths=8,8 old.mica --scheme distil:teacher=old.mica
refused "pictures of another kind" "the teacher reads pictures of 12x12x1, the network pictures of 16x16x3" \
  "$mica" train convnet --data photos --size 16 --epochs 1 --compatible-with old.mica
refused "a head for another width" "old=6), the older embedding has 8" compatible 'convnet:widths=8,22 | head=bt2:old=6:add=2' old.mica
refused "an independent model of another width" "8 features beside the independent model's 16" \
  "$mica" train 'convnet:widths=8,16 | head=bt2:old=8:add=2' "${common[@]}" --epochs 1 \
  --scheme compatible:old=old.mica:new=independent.mica -o no.mica
refused "no old model" "compatible with what" "$mica" train convnet "${common[@]}" --scheme compatible
if [ -e no.mica ]; then echo "not ok nothing is left behind"; else echo "ok nothing is left behind"; fi
