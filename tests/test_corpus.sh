# Every fuzz target survives its corpus: the files that users have, and those that once broke a reader.
any=0
for source in fuzz/fuzz_*.c; do
  [ -e "$source" ] || continue
  any=1
  name=$(basename "$source" .c) corpus=fuzz/corpus/$(basename "$source" .c | sed s/fuzz_//)
  if ! ls "$corpus"/* >/dev/null 2>&1; then
    echo "# $corpus is empty"
    echo "not ok $name has a corpus"
  elif out=$(timeout 300 $MICA_WRAPPER "$MICA_BUILD/tests/$name" "$corpus" 2>&1); then
    echo "ok $name: $(tail -n 1 <<<"$out")"
  else
    echo "# status $?"
    tail -n 40 <<<"$out" | sed 's/^/# /'
    echo "not ok $name survives its corpus"
  fi
done
[ $any = 1 ] || echo "skip corpora: there is no fuzz target in this tree"
