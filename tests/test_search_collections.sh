# Neighbour search in a folder that grows, in two granularities, and in the files of others, as a user runs it.
. "$MICA_SOURCE/tests/support/tool.sh"

cat >make.py <<'END'
import random, zipfile
from npy import npy, write
line = [v for i in range(12) for v in (float(i), 1.0)]
write('line.npy', npy('f4', (12, 2), line))
write('more.npy', npy('f4', (3, 2), [0.5, 1, 20, 1, 4, 1]))
with zipfile.ZipFile('line.npz', 'w') as z:
    z.writestr('features.npy', npy('f4', (12, 2), line))
    z.writestr('labels.npy', npy('i8', (12,), [i // 4 for i in range(12)]))
random.seed(3)
for name, n, d in (('dense.npy', 400, 6), ('sparse.npy', 400, 4), ('q.npy', 20, 6), ('qs.npy', 20, 4)):
    write(name, npy('f4', (n, d), [random.gauss(0, 1) for _ in range(n * d)]))
END
check "makes the features" env PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$MICA_SOURCE/tests/support" python3 make.py

check "begins a collection" "$mica" search add c line.npz --metric l2
check "tells what it holds" grep -qx '12 added; 12 rows of 2 columns in 1 files, exact:metric=l2' log
check "asks it" "$mica" search query c line.npy -k 2
check "names the columns" grep -qx 'query,rank,id,distance,label,name' log
check "finds rows" grep -qx '5,1,5,0,1,' log
check "adds rows" "$mica" search add c more.npy
check "under the next ids" sh -c "'$mica' search query c more.npy -k 1 | grep -q '^1,1,13,0,'"
check "replaces rows" "$mica" search add c more.npy --keep-ids
check "that have the same ids" grep -q '^0 added; 15 rows' log
check "asks for one label" "$mica" search query c line.npy -k 3 --label 2
check "of which answers are" test "$(grep -c '^5,.*,2,$' log)" -eq 3
printf '3\n7\n13\n' >only.txt
check "asks for listed rows" "$mica" search query c line.npy -k 3 --only only.txt
check "that answers are" test "$(grep -c '^5,[123],\(3\|7\|13\),' log)" -eq 3
check "prints JSON" "$mica" search query c line.npy -k 1 --json
check "that is JSON" python3 -c '
import json, sys
r = [json.loads(l) for l in open("log")]
sys.exit(not (len(r) == 12 and r[5]["neighbours"][0]["id"] == 5 and r[5]["neighbours"][0]["distance"] == 0))'
check "writes arrays" "$mica" search query c line.npy -k 3 -o c.npz
check "deletes rows" "$mica" search delete c 5 77
check "that were there" grep -q '^1 deleted; 14 rows' log
check "also listed ones" "$mica" search delete c --only only.txt --json
check "and counts them" grep -q '"deleted":3,"rows":11' log
check "leaves them out" sh -c "! '$mica' search query c line.npy -k 12 | grep -q '^5,[0-9]*,\(5\|3\|7\|13\),'"
check "compacts" "$mica" search compact c
check "into one file" grep -q '^11 rows of 2 columns in 1 files' log
refused "a deletion of nothing" "which rows" "$mica" search delete c
refused "what is no id" "no id" "$mica" search delete c five
refused "rows of another width" "expected" "$mica" search add c sparse.npy
check "measures a collection" "$mica" search eval c line.npz --measures map,cmc@1,recall@3 --json
check "as an index of its rows" sh -c "'$mica' search export c -o c.index >/dev/null && '$mica' search eval c.index line.npz --measures map,cmc@1,recall@3 --json | cmp - log"
printf '0,0\n0,2\n6,6\n6,13\n' >truth.csv
check "by lists" sh -c "for x in c c.index; do '$mica' search eval \$x line.npz --truth truth.csv --measures map,ndcg@5 --no-self --json >\$x.json; done; cmp c.json c.index.json"
check "without rows that were seen" sh -c "printf '0,0\n0,1\n7,8\n' >met.csv; for x in c c.index; do '$mica' search eval \$x line.npz --seen met.csv --no-self --measures map,gap --json >\$x.json; done; cmp c.json c.index.json"
check "its recall and time" "$mica" search curve c line.npy -k 3 -o curve.svg
check "by effort" grep -qx 'effort,recall,microseconds' log
check "in a figure" grep -q '11 rows' curve.svg
check "leaves as a file of FAISS" "$mica" search export c -o c.faiss
check "as lines for PostgreSQL" "$mica" search export c -o c.copy
check "all of it" test "$(wc -l <c.copy)" -eq 11
check "comes back" "$mica" search import c.copy --metric l2 -o back.index
check "with the same answers" sh -c "'$mica' search query c line.npy -k 3 | cut -d, -f1-5 >one && '$mica' search query back.index line.npy -k 3 | cut -d, -f1-5 >two && cmp one two"
refused "measures without labels" "no labels" "$mica" search eval c line.npy
refused "an index of an index" "a collection is exported to an .index" "$mica" search export c.index -o again.index
refused "an export of no folder" "collection.json" "$mica" search export . -o no.index
refused "a grid of a collection" "index file" "$mica" search query c line.npy --grid g.svg
refused "a folder that is none" "collection.json" "$mica" search query . line.npy
refused "a label that is no number" "no number" "$mica" search query c line.npy --label red

check "builds an index with labels" "$mica" search build line.npz --metric l2 -o line.index
check "asks for one label there" "$mica" search query line.index line.npy -k 3 --label 1
check "of which answers are again" test "$(grep -c '^0,.*,1$' log)" -eq 3
refused "a label of no row's class" "no number" "$mica" search query line.index line.npy --label red

check "builds in two granularities" "$mica" search build dense.npy --coarse sparse.npy --spec pq:metric=inner:parts=4:words=16 -o two.index
check "asks with both" "$mica" search query two.index q.npy --coarse qs.npy -k 5 --effort 400 -o both.csv
check "looks at every row" "$mica" search query two.index q.npy -k 5 --exact -o all.csv
check "which all candidates are" cmp both.csv all.csv
refused "a query without the second vector" "another encoder" "$mica" search query two.index q.npy
refused "as many of them" "rows beside" "$mica" search query two.index q.npy --coarse sparse.npy
refused "codes of an index without" "takes no codes" "$mica" search build dense.npy --coarse sparse.npy -o no.index

"$mica" search build line.npz --spec hnsw:links=2:candidates=2 --metric l2 -o g.index >/dev/null
check "measures an approximate index" "$mica" search eval g.index line.npz
check "and says that it is" grep -q 'did not look at count as not found' log
check "at every row" "$mica" search eval g.index line.npz --exact
check "where it is not" sh -c "! grep -q 'did not look' log"
check "in JSON too" sh -c "'$mica' search eval g.index line.npz --json | grep -q '\"approximate\":true'"

for spec in exact ivf:lists=5 hnsw pq:parts=2:words=16:rerank=0 ivf:codes=opq:parts=2:words=16:lists=4:rerank=0; do
  "$mica" search build dense.npy --spec "$spec" --metric l2 -o own.index >/dev/null
  check "exports $spec" "$mica" search export own.index -o own.faiss
  check "says where" grep -qx 'faiss: own.faiss' log
  check "imports it" "$mica" search import own.faiss -o back.index
  check "which answers" sh -c "
    '$mica' search query own.index q.npy -k 3 --effort 400 | cut -d, -f1-3 >one &&
    '$mica' search query back.index q.npy -k 3 --effort 400 | cut -d, -f1-3 >two && cmp one two"
done
check "exports rows for PostgreSQL" "$mica" search export line.index -o line.copy
check "with what it is told" grep -qxF 'CREATE TABLE items (id bigint PRIMARY KEY, embedding vector(2), label bigint);' log
check "a row a line" grep -qx "$(printf '5\t\\[5,1\\]\t1')" line.copy
check "imports them" "$mica" search import line.copy --metric l2 -o line2.index
check "the same rows" sh -c "'$mica' search query line2.index line.npy -k 3 >one && '$mica' search query line.index line.npy -k 3 >two && cmp one two"
check "imports what FAISS wrote" "$mica" search import "$MICA_SOURCE/tests/golden/faiss/ivfpq_4.faiss" -o f.index
check "with its lists and codes" grep -q '80 rows of 8 columns, ivf:.*lists=5.*codes=pq' log
refused "what is not read" "scalar quantiser" "$mica" search import "$MICA_SOURCE/tests/golden/faiss/sq.faiss" -o no.index
refused "a file of something else" "no rows" "$mica" search import make.py -o no.index
refused "an export without a file" "which file" "$mica" search export line.index

# ---- classes by name, pictures, lines ----

rm -f one two
for i in 0 1; do draw_thirds "one/class$i" "$i" 8 "$((i + 1))"; done
for i in 1 2; do draw_thirds "two/class$i" "$i" 8 "$((i + 20))"; done
draw_thirds more 2 3 77
check "trains an encoder" "$mica" train convnet:widths=8 --data one --size 12 --channels 1 --crop 0 --batch-size 8 --epochs 3 --lr 0.01 -j 1 -o net.mica
check "begins a collection of pictures" "$mica" search add p one --encoder net.mica
check "adds others without naming the encoder" "$mica" search add p two
check "asks it with a picture" "$mica" search query p two/class2/03.pgm -k 1
check "names class and picture" grep -qx 'query,rank,id,similarity,label,name,class' log
check "of the new class, too" grep -q '^two/class2/03.pgm,1,27,1[^,]*,2,class2/03.pgm,class2$' log
check "and in JSON" sh -c "'$mica' search query p two/class2/03.pgm -k 1 --json | grep -q '\"name\":\"class2/03.pgm\",\"class\":\"class2\"'"
check "a class that both have is one" test "$("$mica" search query p two/class1/00.pgm -k 16 --label class1 | grep -c ',class1$')" -eq 16
check "its own pictures find their classes" sh -c "'$mica' search eval p two --measures cmc@1 --json | grep -q '\"cmc@1\":1'"
check "as an index" "$mica" search export p -o p.index
check "it has the names" sh -c "'$mica' search query p.index two/class2/03.pgm -k 1 | grep -q ',class2$'"
check "pictures without labels come in" "$mica" search add p more
check "under no class" sh -c "'$mica' search query p more/01.pgm -k 1 | grep -q '^more/01.pgm,1,.*,more/01.pgm,$'"
check "features with names" sh -c "'$mica' embed net.mica --data two -o two.safetensors && '$mica' search add p two.safetensors"
check "are of the same classes" test "$("$mica" search query p two/class1/00.pgm -k 60 --label class2 | grep -c ',class2$')" -eq 16
check "compacts with the names" sh -c "'$mica' search compact p && '$mica' search query p two/class2/03.pgm -k 1 | grep -q ',class2$'"
cat >wide.py <<'END'
import zipfile
from npy import npy
with zipfile.ZipFile('wide.npz', 'w') as z:
    z.writestr('features.npy', npy('f4', (2, 8), [1.0] * 16))
    z.writestr('labels.npy', npy('i8', (2,), [0, 7]))
END
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$MICA_SOURCE/tests/support" python3 wide.py
refused "labels that have no name" "label 7 has no name, and the collection has names for 3" "$mica" search add p wide.npz
refused "names where labels have none" "those of the collection have none" sh -c "'$mica' search add numbers wide.npz >/dev/null && '$mica' search add numbers two.safetensors"
refused "pictures for a collection of features" "--encoder MODEL" "$mica" search add numbers more
refused "pictures for a new one" "--encoder MODEL" "$mica" search add fresh more
check "of which nothing is left" test ! -e fresh
refused "a class that it does not know" "no class of the index" "$mica" search query p more --label class7
refused "an encoder that is gone" "net.mica" sh -c "mv net.mica gone.mica; '$mica' search query p more; s=\$?; mv gone.mica net.mica; exit \$s"
refused "a grid" "index file" "$mica" search query p more --grid g.svg
refused "rows of another width" "expected [rows, 8]" "$mica" search add p line.npy
printf 'id,images,Usage\n03,04,Public\n' >solution.csv
refused "a solution by names" "makes an index of a collection" "$mica" search eval p two --truth solution.csv
refused "whitening of a collection" "--whiten is for an index" "$mica" search add p two --whiten 2
