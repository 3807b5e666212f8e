# mica generate: the published checkpoint's text, seeds, whole characters, clear refusals.
mica=$MICA_BUILD/mica
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

check() { # NAME COMMAND...
  local name=$1
  shift
  if "$@" >out 2>err; then echo "ok $name"; else
    sed 's/^/# /' err
    echo "not ok $name"
  fi
}
refused() { # NAME TEXT COMMAND...
  local name=$1 text=$2
  shift 2
  if "$@" >out 2>err; then
    echo "not ok $name: it went through"
  elif grep -qF -- "$text" err; then
    echo "ok $name"
  else
    sed 's/^/# /' err
    echo "not ok $name"
  fi
}

# A network whose weights are all 0, so that every byte is as likely as any other: 1 layer of 2
# channels, 257 tokens, 64 positions.
word() { printf "\\x$(printf %02x $(($1 & 255)))\\x$(printf %02x $(($1 >> 8 & 255)))\\0\\0"; }
{
  for n in 2 1 1 1 1 257 64; do word "$n"; done
  head -c 2680 /dev/zero
} >even.bin

check "bytes at random" "$mica" generate even.bin --tokenizer bytes --prompt Hello -n 3000 --seed 3
if [ "$(head -c 5 out)" = Hello ] && [ "$(wc -c <out)" -gt 50 ]; then
  echo "ok the prompt comes first"
else
  echo "not ok the prompt comes first"
fi
if iconv -f utf-8 -t utf-8 out >/dev/null 2>&1; then echo "ok only whole characters"; else
  echo "not ok only whole characters"
fi
cp out first
check "the same seed" "$mica" generate even.bin --tokenizer bytes --prompt Hello -n 3000 --seed 3
if cmp -s first out; then echo "ok gives the same text"; else echo "not ok gives the same text"; fi
check "another seed" "$mica" generate even.bin --tokenizer bytes --prompt Hello -n 3000 --seed 4
if cmp -s first out; then echo "not ok gives another text"; else echo "ok gives another text"; fi
check "JSON" "$mica" generate even.bin --tokenizer bytes -n 40 --json --top-k 5 --top-p 0.9
if grep -q '^{"prompt": "", "text": ".*", "tokens": \[[0-9, ]*\], "prompt_tokens": 1, "seconds": ' out; then
  echo "ok one line of JSON"
else
  sed 's/^/# /' out
  echo "not ok one line of JSON"
fi
check "no tokens" "$mica" generate even.bin --tokenizer bytes --prompt Hi -n 0
if [ "$(cat out)" = Hi ]; then echo "ok leave the prompt"; else echo "not ok leave the prompt"; fi

refused "no tokenizer" "no tokenizer; --tokenizer FILE" "$mica" generate even.bin
cp "$root/fuzz/corpus/llama2c/own_classifier" small.bin
refused "a vocabulary that is too small" "and the tokenizer has 257" \
  "$mica" generate small.bin --tokenizer bytes
echo "these bytes are a text, and no checkpoint at all" >nan.bin
refused "a file that is none" "header" "$mica" generate nan.bin --tokenizer bytes
head -c 2000 even.bin >cut.bin
refused "a file that is cut" "header's sizes make" "$mica" generate cut.bin --tokenizer bytes
refused "no such file" "none.mica" "$mica" generate none.mica
refused "a temperature below 0" "--temperature" "$mica" generate even.bin --temperature -1
refused "top-p above 1" "--top-p" "$mica" generate even.bin --top-p 1.5

folder=${MICA_WEIGHTS:-}/llama2c-tinystories
if [ -z "${MICA_WEIGHTS:-}" ] || [ ! -r "$folder/stories260K.bin" ]; then
  echo "skip the published checkpoint: MICA_WEIGHTS names no folder with it"
else
  check "the published checkpoint" "$mica" generate "$folder/stories260K.bin" \
    --tokenizer "$folder/tok512.bin" --temperature 0 -n 200
  if cmp -s out "$folder/expected-greedy-200.txt"; then echo "ok continues byte for byte"; else
    echo "not ok continues byte for byte"
  fi
fi
