# An encoder of questions and texts from the tool: pairs in, texts found by questions, codes trained along, batches
# around an earlier encoder's mistakes, and both in one index.
. "$MICA_SOURCE/tests/support/tool.sh"
export OMP_NUM_THREADS=1 # networks so small that a second thread only waits
command -v python3 >/dev/null || { echo "skip questions and texts: no python3"; exit 0; }

cat >ask.py <<'END'
import csv, random
random.seed(3)
hints = {'apple': 'red fruit tree', 'pear': 'green fruit tree', 'hammer': 'nails tool heavy', 'saw': 'wood tool teeth',
         'violin': 'strings music bow', 'drum': 'sticks music loud', 'tiger': 'stripes animal claws',
         'falcon': 'wings animal fast', 'river': 'water flows fish', 'desert': 'sand dry hot'}
states = ['old', 'new', 'small', 'huge', 'famous', 'broken']
text = {(t, s): f'This is the {s} {t}, of the museum.' for t in hints for s in states}
with open('ask.csv', 'w', newline='') as f:
    w = csv.writer(f)
    w.writerow(['question', 'text'])
    for _ in range(700):
        t, s = random.choice(sorted(text))
        a, b = random.choice(hints[t].split()), random.choice(hints[t].split())
        w.writerow([random.choice([f'which {s} thing is {a} and {b} ?', f'{b} {a} {s}', f'find a {s} one with {a} , {b}']), text[t, s]])
with open('texts.txt', 'w') as f:
    f.write('\n'.join(sorted(text.values())) + '\n')
END
python3 ask.py
train=("$mica" train bert:dim=32:depth=1:heads=2:hidden=64:pool=mean:normalise=true --data ask.csv --batch-size 32 --lr 0.003 --seed 1 -j 1)
tells() { # pattern, then a command that works and prints it
  local text=$1
  shift
  "$@" >said 2>&1 && grep -qE -- "$text" said || { cat said; return 1; }
}
by() { # what by, bound, file of JSON lines: R@1 is above it
  awk -v bound="$2" -v r="$(sed -n "s/.*\"by\": \"$1\".*\"r1\": \\([0-9.]*\\).*/\\1/p" "$3")" 'BEGIN { exit !(r != "" && r > bound) }'
}

check "it says what there is" tells '[0-9]+ training, [0-9]+ validation, 0 test questions on 60 texts of [0-9]+ tokens' "${train[@]}" --dry-run
check "trains vectors and codes" sh -c '"$@" --json >told 2>err || { cat err; exit 1; }' _ "${train[@]}" --epochs 10 -o ask.mica \
  --codes pq:parts=8:words=16 --codes-out ask.codes
check "held-out questions find their texts" by vectors 0.7 told
check "by codes alone, too" by 'codes alone' 0.5 told
check "the file tells what it is" tells 'a vector of each' "$mica" info ask.mica
check "the same again" sh -c '"$@" >/dev/null 2>&1 && mv again.mica first.mica && "$@" >/dev/null 2>&1 && cmp again.mica first.mica' _ "${train[@]}" --epochs 1 -o again.mica
check "an index of the texts" "$mica" search build texts.txt --text --encoder ask.mica -o texts.index
echo 'huge stripes and claws' >question.txt
check "asked in words" tells ',1,[0-9]+,[0-9.]+,"This is the huge tiger' "$mica" search query texts.index question.txt --text -k 1
check "an index of codes" "$mica" search build texts.txt --text --encoder ask.mica --spec pq:parts=8:words=16:metric=inner:rerank=0 \
  --codes ask.codes -o codes.index
check "finds it as well" tells '"This is the huge tiger' "$mica" search query codes.index question.txt --text -k 3
check "a second encoder around its mistakes" sh -c '"$@" --json >told2 2>err || { cat err; exit 1; }' _ "${train[@]}" --epochs 10 -o fine.mica --predictions ask.mica
check "finds them" by vectors 0.7 told2
check "both vectors" sh -c "'$mica' embed ask.mica --text texts.txt -o sparse.npy && '$mica' embed fine.mica --text texts.txt -o dense.npy &&
  '$mica' embed ask.mica --text question.txt -o qs.npy && '$mica' embed fine.mica --text question.txt -o q.npy"
check "in one index" "$mica" search build dense.npy --coarse sparse.npy --codes ask.codes --spec pq:parts=8:words=16:metric=inner -o two.index
row=$(grep -n 'huge tiger' texts.txt | cut -d: -f1)
check "that answers" tells "^0,1,$((row - 1))," "$mica" search query two.index q.npy --coarse qs.npy -k 1 --effort 20

awk '{ sub(/\r$/, ""); print $0 "," (NR == 1 ? "part" : NR % 5 ? "train" : "test") }' ask.csv >parts.csv
check "a list with parts" tells 'test part, [0-9]+ questions on 60 texts, by vectors: R@1' "${train[@]/ask.csv/parts.csv}" --epochs 1 -o parts.mica

put() { printf "$1" >bad.csv; }
refused "codes of no such parts" "5 parts of vectors of 32 numbers" "${train[@]}" --codes pq:parts=5:words=16 -o no.mica
refused "more codewords than texts" "256 codewords for 60 texts" "${train[@]}" --codes pq:parts=8 -o no.mica
refused "an index without codes" "hnsw takes no codes" "${train[@]}" --codes hnsw -o no.mica
refused "what it has no use for" "--resume is not for questions" "${train[@]}" --resume -o no.mica
refused "a model that reads no text" "ask.codes" "${train[@]}" --predictions ask.codes -o no.mica
put 'question,text\n'
refused "a list without pairs" "a header and no pairs" "$mica" train bert --data bad.csv -o no.mica
put 'question,text\na b,\n'
refused "an empty text" "line 2: an empty text" "$mica" train bert --data bad.csv -o no.mica
put 'question,text,part\na b,c d,later\n'
refused "an unknown part" "part 'later', expected train, val or test" "$mica" train bert --data bad.csv -o no.mica
put 'question,text\na b,c d\n'
refused "words that are there once" "nothing to learn" "$mica" train bert --data bad.csv -o no.mica
refused "a text to go on with" "the columns question and text" "$mica" train bert --data texts.txt -o no.mica
refused "codes of another size" "the specification says 4 and 16" "$mica" search build texts.txt --text --encoder ask.mica --spec pq:parts=4:words=16 --codes ask.codes -o no.index
refused "codes in another file" "no codes, as --codes-out writes them" "$mica" search build texts.txt --text --encoder ask.mica --spec pq:parts=8:words=16 --codes dense.npy -o no.index
refused "codes for an index without" "exact takes no codes" "$mica" search build texts.txt --text --encoder ask.mica --codes ask.codes -o no.index
if [ -e no.mica ] || [ -e no.index ]; then echo "not ok nothing is left behind"; else echo "ok nothing is left behind"; fi
printf 'id,label\nabc1,a\n' >ids.csv
refused "codes of something else" "--codes is for questions" "$mica" train mlp --data ids.csv --label label --codes pq
refused "numbers that are no landmarks" "no list of pictures" "$mica" train convnet --data ids.csv
