# The tool on texts: train a decoder of tokens, stop, go on, and what it says of the result.
. "$MICA_SOURCE/tests/support/tool.sh"

# tells TEXT COMMAND...: it works and prints that text
tells() {
  local text=$1
  shift
  "$@" >said 2>&1 && grep -q -- "$text" said || { cat said; return 1; }
}

awk 'BEGIN { for (i = 0; i < 900; i++) print (i % 3 ? "the cat sat on the mat" : "and the dog ran") }' >text.txt
: >empty.txt
small=gpt:dim=32:depth=1:heads=2

check "a text that is not there" says "none.txt: cannot open" "$mica" train $small --data none.txt
check "an empty text" says "empty.txt: there is no text in it" "$mica" train $small --data empty.txt
check "a text shorter than a window" says "too few for windows of 999999" \
  "$mica" train $small --data text.txt --length 999999
check "an unknown tokenizer" says "cannot open" "$mica" train $small --data text.txt --tokenizer none.json
check "a dry run" tells "windows of 32" "$mica" train $small --data text.txt --length 32 --dry-run
check "train" below val_loss 1 "$mica" train $small --data text.txt --length 32 --epochs 6 --seed 1 --lr 0.01 \
  --batch-size 16 --json -o text.mica --report report
check "the report tells bits a byte" grep -q '"validation_bits_per_byte"' report/summary.json
check "the model has its tokenizer" tells 'mica.tokenizer: {"kind":"bytes"}' "$mica" info text.mica
mkdir parts
head -c 12000 text.txt >parts/train.txt
tail -c 2000 text.txt >parts/val.txt
tail -c 1000 text.txt >parts/test.txt
check "a folder of parts" tells "test loss .* bits a byte" "$mica" train $small --data parts --length 32 \
  --epochs 1 -o parts.mica
check "the same run again" "$mica" train $small --data text.txt --length 32 --epochs 6 --seed 1 --lr 0.01 \
  --batch-size 16 --json -o again.mica --run again.run
same_weights() {
  cmp text.mica.run/last.safetensors again.run/last.safetensors
}
check "gives the same bits" same_weights

# ---- what the model is good for ----

check "eval" below bits_per_byte 1.5 "$mica" eval text.mica --data text.txt --json
check "eval of a folder takes its test part" tells "^1000 tokens of 1000 bytes: loss" "$mica" eval text.mica \
  --data parts
printf 'the cat' >brief.txt
check "eval of a text shorter than a window" tells "^7 tokens" "$mica" eval text.mica --data brief.txt
printf 't' >one.txt
check "eval of one token" says "none that could be foretold" "$mica" eval text.mica --data one.txt
check "info tells what it reads" tells "texts of 32 tokens of 257, the token that follows" "$mica" info text.mica
check "info tells how to use it" tells "mica generate text.mica --prompt" "$mica" info text.mica
continues() { "$mica" generate text.mica --prompt 'the cat' --temperature 0 -n 200 >said && grep -q 'sat on the mat' said; }
check "generate goes on as the text did" continues
