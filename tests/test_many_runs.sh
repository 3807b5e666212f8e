# Many runs at once, by the program of examples/widths: killed over and over, it goes on to the files
# of the program that was never stopped, to the last byte.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
widths=$MICA_BUILD/examples/widths
cd "$work" || exit 1

# 16x16 pictures of noise with a bright half.
draw() { # class pattern
  mkdir -p "pictures/$1"
  LC_ALL=C awk -v pattern="$2" -v folder="pictures/$1" 'BEGIN {
    srand(pattern + 1)
    for (n = 0; n < 60; n++) {
      file = sprintf("%s/%02d.pgm", folder, n)
      printf "P5\n16 16\n255\n" >file
      for (p = 0; p < 256; p++) printf "%c", (int(p / 128) == pattern ? 130 : 90) + int(90 * rand()) >file
      close(file)
    }
  }'
}
draw upper 0
draw lower 1

start=${EPOCHREALTIME/[.,]/}
"$widths" pictures 2 whole >table 2>said || { sed 's/^/# /' said; echo "not ok trains"; exit 1; }
took=$((${EPOCHREALTIME/[.,]/} - start))
if [ "$(grep -c '2 runs' table)" = 4 ] && [ "$(wc -l <whole/results.csv)" = 9 ] && [ "$(find whole -type f | wc -l)" = 9 ]; then
  echo "ok trains"
else
  sed 's/^/# /' table said; echo "not ok trains"
fi

seed=${MICA_TEST_SEED:-$RANDOM}
echo "# MICA_TEST_SEED=$seed"
RANDOM=$seed
OMP_NUM_THREADS=1 "$widths" pictures 2 single >single.table 2>said
if diff -r whole single >differ && cmp -s table single.table; then
  echo "ok one worker leaves the same bytes"
else
  sed 's/^/# /' differ; echo "not ok one worker leaves the same bytes"
fi
kills=0 torn=
for try in $(seq 60); do
  "$widths" pictures 2 killed >killed.table 2>said &
  job=$!
  # A part of what the whole took, and more each time, so that slow machines come to the end.
  sleep "$(LC_ALL=C awk -v t="$took" -v r="$RANDOM" -v n="$try" 'BEGIN { printf "%.4f", 0.02 + t / 1e6 * r / 32768 * (1 + n) / 8 }')"
  kill -9 "$job" 2>>aside
  if wait "$job" 2>>aside; then break; fi
  kills=$((kills + 1))
  for file in killed/*.safetensors; do
    [ ! -e "$file" ] || "$MICA_BUILD/mica" info "$file" >found 2>&1 || torn="$torn $(cat found)"
  done
done
rm -f killed/*.tmp
echo "# killed $kills times"
if [ -z "$torn" ]; then echo "ok leaves only whole files"; else echo "# $torn"; echo "not ok leaves only whole files"; fi
if [ $kills -ge 1 ] && diff -r whole killed >differ && cmp -s table killed.table; then
  echo "ok killed, it goes on to the same bytes"
else
  sed 's/^/# /' differ said; echo "not ok killed, it goes on to the same bytes"
fi
# Another number of seeds is another study: run 2 is no longer what it was.
if "$widths" pictures 3 whole >table 2>said; then
  echo "not ok other runs in the folder are refused"
elif grep -q "job-00000[0-9].safetensors: is of another run" said; then
  echo "ok other runs in the folder are refused"
else
  sed 's/^/# /' said; echo "not ok other runs in the folder are refused"
fi
