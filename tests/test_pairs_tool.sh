# Pictures and texts in one space, as a user trains and uses them: captions in, pictures found by words, classes by
# descriptions, reasons told.
. "$MICA_SOURCE/tests/support/tool.sh"
export OMP_NUM_THREADS=1 # networks so small that a second thread only waits
command -v python3 >/dev/null || { echo "skip pictures with texts: no python3"; exit 0; }

# Bars, poles, crosses and frames in four colours; blue crosses and red frames are in no caption.
cat >draw.py <<'END'
import csv, os, random
random.seed(5)
colours = {'red': (220, 40, 40), 'green': (40, 200, 60), 'blue': (50, 60, 220), 'yellow': (220, 210, 40)}
lines = []
def picture(path, colour, shape):
    at, by = random.randrange(3, 10), random.randrange(3, 10)
    rows = bytearray()
    for y in range(16):
        for x in range(16):
            lying, standing = at <= y < at + 3, by <= x < by + 3
            on = {'bar': lying, 'pole': standing, 'cross': lying or standing,
                  'frame': min(x, y) < 3 or max(x, y) > 12}[shape]
            base = colours[colour] if on else (30, 30, 30)
            rows += bytes(max(0, min(255, v + random.randrange(-20, 21))) for v in base)
    with open(path, 'wb') as f:
        f.write(b'P6\n16 16\n255\n' + rows)
for c in colours:
    for s in ('bar', 'pole', 'cross', 'frame'):
        held = (c, s) in (('blue', 'cross'), ('red', 'frame'))
        folder = f'new/{c} {s}' if held else 'photos'
        os.makedirs(folder, exist_ok=True)
        for i in range(16):
            picture(f'{folder}/{c}-{s}-{i}.ppm', c, s)
            if not held:
                lines.append((f'{c}-{s}-{i}.ppm', random.choice([f'a {c} {s}', f'{s}, {c}', f'The {s} is {c}'])))
with open('photos/captions.csv', 'w', newline='') as f:
    w = csv.writer(f)
    w.writerow(['image', 'caption'])
    w.writerows(lines)
END
python3 draw.py
train=("$mica" train dual:widths=8,16:dim=16 --data photos --size 16 --crop 1 --batch-size 32 --lr 0.01 --seed 1 -j 1)

tells() { # text, then a command that works and prints it
  local text=$1
  shift
  "$@" >said 2>&1 && grep -qF -- "$text" said || { cat said; return 1; }
}
check "it says what there is" tells "with 42 texts of 15 tokens" "${train[@]}" --dry-run
check "trains on captions" above to_text_r5 0.9 "${train[@]}" --epochs 20 --json -o net.mica --report report
check "pictures are found by texts" above to_picture_r5 0.7 "$mica" eval net.mica --data photos --json
check "and texts by pictures" above to_text_r1 0.25 "$mica" eval net.mica --data photos --json
check "the eval counts" tells "whole part: 224 pictures, 42 texts" "$mica" eval net.mica --data photos
check "what nobody described is found" above to_text_r1 0.9 "$mica" eval net.mica --data new --json
check "the report has it" grep -q '"to_picture_r1"' report/summary.json
check "the file tells what it is" tells "and texts of 77 tokens of 15 in one space" "$mica" info net.mica
check "and what to do with it" tells "mica fit zero_shot --encoder net.mica" "$mica" info net.mica
check "a killed run goes on" sh -c '"$@" --stage epochs=1 -o a.mica && cp -r a.mica.run b.run &&
  "$@" --stage epochs=1 --stage epochs=2 -o a.mica && "$@" --stage epochs=1 --stage epochs=2 --run b.run --resume -o b.mica &&
  cmp a.mica.run/last.safetensors b.run/last.safetensors' _ "${train[@]}"
check "folders are texts, too" tells "with 2 texts" "$mica" train dual --data new --size 16 --dry-run
check "clip is trained" "$mica" train clip:dim=16:patch=4:vision_dim=16:vision_depth=1:vision_heads=2:text_dim=16:text_depth=1:text_heads=2 \
  --data photos --size 16 --epochs 2 --batch-size 32 -o clip.mica

check "smaller, in bytes" tells "ms a picture, alone" "$mica" export net.mica --fold --quantise int8 -o small.mica
check "it finds as well" above to_text_r5 0.9 "$mica" eval small.mica --data photos --json
check "what is in it" sh -c "'$mica' measure net.mica --data photos >log && grep -q rectifiers log && ! grep -q nan log"
check "an adapter on it" "${train[@]}" --init net.mica --adapter lora:rank=2 --epochs 1 -o adapted.mica
check "one of its towers" "${train[@]}" --init net.mica --only 'text.*' --epochs 1 -o tower.mica

cd photos || exit 1
printf 'file_name\ttext\tsplit\n' >../own.tsv
sed -n '2,$s/\r$//p' captions.csv | sed 's/"//g; s/, /;/; s/,/\t/' | awk -v OFS='\t' '{ print "photos/" $0, NR % 4 ? "train" : "test" }' >>../own.tsv
cd ..
check "a list with a test part" tells "test part: 56 pictures" "$mica" train dual:widths=8:dim=8 --data own.tsv --size 16 --epochs 1 --val-split 0 -o own.mica
check "which eval takes" tells "test part: 56 pictures" "$mica" eval own.mica --data own.tsv

printf 'photos/red-bar-1.ppm,one\nphotos/red-bar-2.ppm,two\n' >none.csv
printf 'image,size\nphotos/red-bar-1.ppm,3\n' >size.csv
refused "captions of one picture each" "no two have a word in common" "$mica" train dual --data none.csv --size 16
refused "a batch of one" "told from none" "${train[@]}" --batch-size 1
refused "a list without captions" "no column" "$mica" train dual --data size.csv
refused "a vocabulary that is not there" "cannot open" "${train[@]}" --tokenizer none.json
refused "a length of nothing" "expected a whole number" "${train[@]}" --length 1
refused "classes where there are none" "tells no classes" "$mica" predict net.mica photos/red-bar-1.ppm

# ---- found by words ----

check "an index of pictures" "$mica" search build new --encoder net.mica -o new.index
printf 'a blue cross\nred frame\n' >asked.txt
check "asked in words" "$mica" search query new.index asked.txt --text -k 3
check "which the answers name" test "$(grep -c '^a blue cross,.*,blue cross/blue-cross' log)$(grep -c '^red frame,.*,red frame/red-frame' log)" = 33
check "drawn" "$mica" search query new.index asked.txt --text -k 2 --grid grid.svg
check "with the words and the pictures" sh -c "grep -q 'a blue cross' grid.svg && [ \$(grep -o '<image' grid.svg | wc -l) -eq 4 ] && ! grep -q 'no picture' log"
check "from standard input" sh -c "echo 'red frame' | '$mica' search query new.index - --text -k 1 --json | grep -q '\"query\":\"red frame\"'"
check "lines become features" tells "2 rows of 16 features" "$mica" embed net.mica --text asked.txt -o asked.npy
check "that ask the same" sh -c "'$mica' search query new.index asked.npy -k 3 | cut -d, -f2- >one; '$mica' search query new.index asked.txt --text -k 3 | cut -d, -f2- >two; cmp one two"
check "an index of lines" "$mica" search build asked.txt --text --encoder net.mica -o lines.index
check "asked with a picture" tells ",1,0,1," sh -c "'$mica' search query lines.index 'new/blue cross/blue-cross-1.ppm' -k 1 | sed 's/,0\\.[0-9]*,/,1,/'"
refused "words for an index of rows" "--encoder MODEL" "$mica" search query asked.npy asked.txt --text
refused "two texts" "takes one text" "$mica" search query new.index asked.txt asked.txt --text
refused "a text that is not there" "nothing.txt" "$mica" search query new.index nothing.txt --text
refused "an empty text" "no line in it" "$mica" search query new.index /dev/null --text
"$mica" train convnet:widths=8 --data new --size 16 --epochs 1 -o plain.mica >/dev/null 2>&1
refused "a model of pictures alone" "reads no text" "$mica" search build asked.txt --text --encoder plain.mica

# ---- classes by what they look like ----

cat >things.json <<'END'
{"blue cross": ["blue", "cross", "a cross is blue"], "red frame": ["red", "frame"]}
END
check "descriptions are classes" "$mica" fit zero_shot:form=none --encoder net.mica --descriptions things.json --data new --control -o things.mica
check "as good as they look" sh -c "awk '/^zero_shot/ { exit !(\$2 >= 90) }' log"
check "beside another class's phrases" grep -q "another class's phrases" log
check "and random words" grep -q "random words" log
check "as JSON" sh -c "'$mica' fit zero_shot --encoder net.mica --descriptions things.json --data new --json | python3 -c '
import json, sys
m = json.loads(sys.stdin.readline())
sys.exit(not (m[\"examples\"] == 32 and m[\"accuracy\"] > 0.9))'"
check "it predicts" "$mica" predict things.mica 'new/blue cross'
check "what nobody trained" test "$(grep -c ',blue cross,' log)" -ge 15
check "it says why" "$mica" predict things.mica 'new/red frame' --explain 2
check "phrase by phrase" test "$(grep -c ',1,red frame,[0-9.]*,\(red\|frame\),[0-9.-]*$' log)" -ge 28
check "under one head" test "$(grep -c '^file,rank,class,score,phrase,similarity$' log)" -eq 1
check "it says what speaks for the second" tells ",2,red frame," "$mica" predict things.mica 'new/blue cross/blue-cross-0.ppm' --explain 1 --top 2
check "as JSON too" sh -c "'$mica' predict things.mica 'new/red frame/red-frame-0.ppm' --explain 5 --top 2 --json | python3 -c '
import json, sys
m = json.loads(sys.stdin.readline())
sys.exit(not (m[\"class\"] == \"red frame\" and [len(c[\"reasons\"]) for c in m[\"classes\"]] == [2, 3]))'"
check "on a page" "$mica" predict things.mica 'new/blue cross/blue-cross-0.ppm' --explain 2 --report why
check "with the picture and the phrases" sh -c "grep -q '<image' why/report.html && grep -q 'a cross is blue' why/report.html"

check "a class anew" tells "red frame: 1 phrases; 2 classes" "$mica" fit --describe 'red frame' --encoder things.mica 'a red frame' -o other.mica
check "keeps the file it came from" tells ",frame," "$mica" predict things.mica 'new/red frame/red-frame-0.ppm' --explain 2
check "tells the new phrase" tells ",a red frame," "$mica" predict other.mica 'new/red frame/red-frame-0.ppm' --explain 1
check "a class more" tells "3 classes" "$mica" fit --describe 'green bar' --encoder other.mica green bar
check "is known" tells ",green bar," "$mica" predict other.mica photos/green-bar-3.ppm
printf '{"red frame": ["red", "frame"]}' >edits.json
check "edits replace phrases" tells "2 classes, 5 phrases" "$mica" fit zero_shot --encoder net.mica --descriptions things.json --edits edits.json
check "names alone" tells "2 classes, 0 phrases" "$mica" fit zero_shot:mode=name --encoder net.mica --classes 'red frame,blue cross' -o names.mica
check "are classes too" tells ",red frame," "$mica" predict names.mica 'new/red frame/red-frame-0.ppm'
mkdir answers && printf 'It has:\n- red\n- a frame\n' >answers/red_frame.txt && printf -- '- blue\n- a cross\n' >answers/blue_cross.txt
check "a folder of answers" tells "2 classes, 4 phrases" "$mica" fit zero_shot --encoder net.mica --descriptions answers --data new -o answers.mica
check "an empty list is told" tells "bar: no phrases" "$mica" fit zero_shot --encoder net.mica --descriptions <(printf '{"bar": [], "pole": ["pole"]}')

real=${MICA_DATA:-/nonexistent}/class-descriptions
if [ -e "$real/descriptors_pets.json" ]; then
  check "published descriptions are read" tells "37 classes, 246 phrases" "$mica" fit zero_shot --encoder net.mica --descriptions "$real/descriptors_pets.json"
  check "a thousand classes of them" tells "1000 classes, 5800 phrases" "$mica" fit zero_shot --encoder net.mica --descriptions "$real/descriptors_imagenet.json"
else
  echo "skip published descriptions: there is no \$MICA_DATA/class-descriptions"
fi

bad() { # name, what it says, JSON
  printf '%s' "$3" >bad.json
  refused "$1" "$2" "$mica" fit zero_shot --encoder net.mica --descriptions bad.json -o no.mica
}
bad "half a file" "bad.json: JSON line 1" '{"a": ["x"'
bad "a text in a list's place" 'class "a" has a string, expected an array of texts' '{"a": "x"}'
bad "no class" "without classes" '{}'
bad "no object" "bad.json" '[1]'
refused "no file" "none.json: cannot be opened" "$mica" fit zero_shot --encoder net.mica --descriptions none.json
refused "edits that are not there" "none.json: cannot be opened" "$mica" fit zero_shot --encoder net.mica --descriptions things.json --edits none.json
refused "no descriptions" "needs --descriptions FILE.json" "$mica" fit zero_shot --encoder net.mica
refused "no encoder" "zero_shot needs --encoder" "$mica" fit zero_shot --descriptions things.json
refused "another estimator" "does not know its classes by texts" "$mica" fit knn --encoder net.mica --descriptions things.json
refused "an encoder of pictures alone" "reads no texts" "$mica" fit zero_shot --encoder plain.mica --descriptions things.json
refused "pictures of other classes" "no picture of a class that the phrases name" "$mica" fit zero_shot --encoder net.mica --descriptions edits.json --data 'new/blue cross'
refused "a class without phrases" "by which phrases" "$mica" fit --describe kite --encoder things.mica
refused "a class for no model" "needs --encoder" "$mica" fit --describe kite 'a tail'
refused "phrases for a model without a head" "no head answers" "$mica" fit --describe kite --encoder net.mica 'a tail'
refused "a class more from no pictures" "from which pictures" "$mica" fit --add-class kite --encoder things.mica
refused "reasons of no number" "expected a whole number" "$mica" predict things.mica photos --explain some
refused "a page of nothing" "--explain K says how many" "$mica" predict things.mica photos --report why
"$mica" fit prototypes --encoder plain.mica --data new -o parts.mica >/dev/null 2>&1
refused "reasons of a head that has none" "was not made from phrases" "$mica" predict parts.mica 'new/red frame' --explain 2
check "and no head of a table" sh -c "! grep -q '^file,rank' log"
if [ -e no.mica ]; then echo "not ok nothing is left behind"; else echo "ok nothing is left behind"; fi
