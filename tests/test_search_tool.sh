# Neighbour search as a user runs it: an index of features and of pictures, built and asked.
. "$MICA_SOURCE/tests/support/tool.sh"

cat >make.py <<'END'
import sys, zipfile
from npy import npy, write
# Twelve points on a line, in three classes of four.
line = [(float(i), 1.0) for i in range(12)]
flat = [v for p in line for v in p]
label = [i // 4 for i in range(12)]
part = [2 if i % 4 == 3 else 0 for i in range(12)]
write('line.npy', npy('f4', (12, 2), flat))
write('wide.npy', npy('f4', (4, 3), flat[:12]))
write('nan.npy', npy('f4', (2, 2), [1, 2, float('nan'), 4]))
for name, how in (('line.npz', zipfile.ZIP_STORED), ('packed.npz', zipfile.ZIP_DEFLATED)):
    with zipfile.ZipFile(name, 'w', how) as z:
        z.writestr('features.npy', npy('f8', (12, 2), flat))
        z.writestr('labels.npy', npy('i8', (12,), label))
        z.writestr('part.npy', npy('i8', (12,), part))
END
check "makes the features" env PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$MICA_SOURCE/tests/support" python3 make.py

check "builds an index" "$mica" search build line.npy --metric l2 -o line.index
check "tells rows and columns" grep -q '^12 rows of 2 columns, exact:metric=l2$' log
check "asks it" "$mica" search query line.index line.npy -k 3
check "names the columns" grep -qx 'query,rank,id,distance' log
check "finds a row itself" grep -qx '5,1,5,0' log
check "lets the lower id come first" grep -qx '5,2,4,1' log
check "asks without an index file" "$mica" search query line.npy line.npy -k 2 --no-self --metric l2
check "leaves the row itself out" grep -qx '5,1,4,1' log
check "gives as many as there are" "$mica" search query line.index line.npy -k 50
check "and no more" test "$(wc -l <log)" -eq 145
printf 'query,id\n5,4\n5,6\n' >seen.csv
check "leaves seen rows out" "$mica" search query line.index line.npy -k 1 --no-self --seen seen.csv
check "where they are listed" grep -qx '5,1,3,2' log
check "and only there" grep -qx '4,1,3,1' log
check "prints JSON" "$mica" search query line.index line.npy -k 2 --json
check "that is JSON" python3 -c '
import json, sys
lines = [json.loads(l) for l in open("log")]
sys.exit(not (len(lines) == 12 and lines[5]["neighbours"] == [{"id": 5, "distance": 0}, {"id": 4, "distance": 1}]))'

check "takes labels and parts" "$mica" search build line.npz --part train --spec exact:metric=l2:storage=f16 -o train.index
check "of that part alone" grep -q '^9 rows' log
check "asks with the other part" "$mica" search query train.index packed.npz --part test -k 2
check "numbers rows as their file does" grep -qx '3,1,2,1,0' log
check "writes CSV" "$mica" search query train.index line.npz --part test -k 2 -o n.csv
check "with the same lines" grep -qx '3,1,2,1,0' n.csv
check "writes npz" "$mica" search query train.index line.npz --part test -k 20 -o n.npz
check "with all of them" sh -c "'$mica' info n.npz | grep -q 'ids .*\[3,20\]'"
check "writes safetensors" "$mica" search query train.index line.npz -o n.safetensors
check "the same for any number of threads" sh -c "
  '$mica' search query train.index line.npz -j 1 >one && '$mica' search query train.index line.npz -j 2 >two && cmp one two"
check "lists the indices" "$mica" list index
check "by name" grep -q exact log

printf 'id\n7\n2\n' >only.txt
check "answers with listed rows only" "$mica" search query line.index line.npy -k 3 --only only.txt
check "the nearest of them" grep -qx '5,1,7,2' log
check "and no others" test "$(grep -c '^5,' log)" -eq 2
check "builds inverted lists" "$mica" search build line.npy --spec ivf:lists=3:metric=l2 -o lists.index
check "that look everywhere when told to" "$mica" search query lists.index line.npy -k 12 --effort 3 -o all.csv
check "which finds every row" test "$(wc -l <all.csv)" -eq 145
check "builds a graph" "$mica" search build line.npy --spec hnsw:metric=l2 -o graph.index
check "asks it" "$mica" search query graph.index line.npy -k 2 --no-self
check "for the same answer" grep -qx '5,1,4,1' log
check "measures recall and time" "$mica" search curve graph.index line.npy -k 3 -o curve.svg
check "by effort" grep -qx 'effort,recall,microseconds' log
check "up to all" sh -c "tail -n 1 log | grep -q ',1,' || grep -q ',1,' log"
check "and draws it" grep -q 'share of the true neighbours' curve.svg

refused "another width" "rows of 3 columns, the index has 2" "$mica" search query line.index wide.npy
refused "a NaN" "row 1 holds a number that is not finite" "$mica" search build nan.npy -o nan.index
check "and leaves no file" test ! -e nan.index
refused "an unknown metric" "metric" "$mica" search build line.npy --metric manhattan
refused "a part where there is none" "tells no parts" "$mica" search build line.npy --part test
refused "an unknown part" "expected train, val, test or all" "$mica" search build line.npz --part tset
refused "a file of another kind" "not a tensor file" "$mica" search query seen.csv line.npy
head -c 3000 line.index >cut.index
refused "half an index" "truncated" "$mica" search query cut.index line.npy
refused "a bad effort" "expected a whole number" "$mica" search query line.index line.npy --effort x
check "as a mistake in the command" sh -c "'$mica' search query line.index line.npy --effort x; test \$? -eq 2"
refused "a bad list of ids" "line 2: expected one number" "$mica" search query line.index line.npy --only <(printf '3\n4 x\n')
refused "codes of too few rows" "256 words need as many rows" "$mica" search build line.npy --spec ivf:codes=pq -o few.index
refused "a bad list" "line 2" "$mica" search query line.index line.npy --seen <(printf 'query,id\n3,x\n')
refused "an unknown ending" ".csv, .npz or .safetensors" "$mica" search query line.index line.npy -o n.txt
refused "a missing operand" "expected query INDEX QUERIES" "$mica" search query line.index
check "measures by labels" "$mica" search eval line.npz line.npz --no-self --metric l2 --measures map,cmc@1,gap --json
check "as counted by hand" python3 -c '
import json, sys
m = json.loads(open("log").read())
def ap(i):
    order = sorted((j for j in range(12) if j != i), key=lambda j: (abs(i - j), j))
    right = [j // 4 == i // 4 for j in order]
    return sum(sum(right[:k + 1]) / (k + 1) for k in range(11) if right[k]) / 3
def first(i):
    return sorted((j for j in range(12) if j != i), key=lambda j: (abs(i - j), j))[0] // 4 == i // 4
maps = sum(ap(i) for i in range(12)) / 12
cmc = sum(first(i) for i in range(12)) / 12
sys.exit(not (m["queries"] == 12 and abs(m["map"] - maps) < 1e-12 and abs(m["cmc@1"] - cmc) < 1e-12
              and m["map_low"] < m["map"] < m["map_high"]))'
check "prints a table" "$mica" search eval train.index line.npz --part test
check "with every measure" test "$(grep -c ' to ' log)" -eq 11
printf 'query,id,grade\n0,1,easy\n0,2,hard\n0,3,junk\n5,4,hard\n' >revisited.csv
check "measures by the revisited protocols" "$mica" search eval line.index line.npy --truth revisited.csv --json
check "easy, medium and hard" python3 -c '
import json, sys
m = json.loads(open("log").read())
# Query 0 ranks 0 1 2 3 ...: easy: 1 at rank 2; hard: 2 at rank 2, for 1 is junk then. Query 5 ranks 5 4 6.
near = lambda a, b: abs(a - b) < 1e-12
sys.exit(not (near(m["easy"]["map-trapezoid"], 0.25) and near(m["hard"]["map-trapezoid"], 0.25)
              and near(m["medium"]["map-trapezoid"], ((0 + 1 / 2) / 2 + (1 / 2 + 2 / 3) / 2) / 2 / 2 + 0.25 / 2)
              and m["easy"]["unanswerable"] == 11))'
printf '0,1,3\n0,2,1\n0,7,0\n' >graded.csv
check "measures by grades" "$mica" search eval line.index line.npy --truth graded.csv --measures ndcg@3,recall@2 --depth 3 -o values.csv
check "of each query" grep -q '^0,0.6590' values.csv
check "puts ties against" "$mica" search eval line.npz line.npz --no-self --ties against --measures map
refused "an unknown measure" "did you mean" "$mica" search eval line.index line.npz --measures mpa --truth graded.csv
refused "queries without labels" "have no labels" "$mica" search eval train.index line.npy
refused "mixed grades" "beside easy and hard" "$mica" search eval line.index line.npy --truth <(printf '0,1,easy\n0,2,3\n')
refused "a pair twice" "twice" "$mica" search eval line.index line.npy --truth <(printf '0,1\n0,1\n')
refused "another order of ties" "expected id or against" "$mica" search eval line.npz line.npz --ties random
refused "an unknown action" "none of build" "$mica" search find line.index
refused "pictures without an encoder" "--encoder MODEL" "$mica" search query line.index picture.png

for i in 0 1 2; do draw_thirds "photos/class$i" "$i" 8 "$((i + 1))"; done
draw_thirds new 1 3 77
check "trains an encoder" "$mica" train convnet:widths=8 --data photos --size 12 --channels 1 --crop 0 --batch-size 8 -j 1 --epochs 3 --lr 0.01 -o net.mica
check "builds an index of pictures" "$mica" search build photos --encoder net.mica -o photos.index
check "asks with pictures" "$mica" search query photos.index new/00.pgm new/01.pgm -k 2
check "that it names" grep -q '^new/00.pgm,1,.*,1,class1/0[0-9].pgm,class1$' log
check "and its class in JSON" sh -c "'$mica' search query photos.index new/00.pgm -k 1 --json | grep -q '\"class\":\"class1\"'"
check "asks with a folder of pictures" "$mica" search query photos.index new -k 1
check "all of it" test "$(wc -l <log)" -eq 4
check "asks with the data set itself" "$mica" search query photos.index photos --no-self -k 1
check "embeds the same" "$mica" embed net.mica --data photos -o photos.safetensors
check "asks with features of pictures" "$mica" search query photos.index photos.safetensors -k 1
check "draws a grid" "$mica" search query photos.index new -k 2 --grid grid.svg
check "of queries and neighbours" test "$(grep -o '<image' grid.svg | wc -l)" -eq 9
check "draws classes that are right or wrong" "$mica" search query photos.index photos --no-self -k 3 --grid grid.html --show 4
check "on a page" grep -q 'class0' grid.html
check "with the pictures asked for" test "$(grep -o '<image' grid.html | wc -l)" -eq 16
check "draws rows of features" "$mica" search query photos.safetensors photos.safetensors --no-self -k 2 --data photos --grid features.svg -o grid.csv
check "with their pictures" test "$(grep -o '<image' features.svg | wc -l)" -eq 36
check "and says where" grep -qx 'grid: features.svg' log
check "embeds files" "$mica" embed net.mica new -o new.npy
check "builds an index of files" "$mica" search build new --encoder net.mica -o new.index
check "draws files" "$mica" search query new.index new --grid new.svg -k 3
check "each of them" test "$(grep -o '<image' new.svg | wc -l)" -eq 12
mkdir -p moved && cp -r photos/class1 photos/class2 moved/
refused "pictures of something else" "are not those of the index" "$mica" search query photos.index photos --data moved --grid no.svg
refused "a grid without pictures" "--grid needs pictures" "$mica" search query line.index line.npy --grid no.svg
refused "a grid of features beside files" "--query-data" "$mica" search query new.index new.npy --grid no.svg
refused "a grid of an unknown kind" ".svg or .html" "$mica" search query photos.index photos --grid no.jpg
check "and draws nothing then" test ! -e no.svg
: >new/broken.png
check "passes over what it cannot read" "$mica" search query photos.index new -k 1
check "with a line about it" grep -q '^skipped: new/broken.png' log
