# The tool on compressed tables of vectors: training a click model with one, and a finished matrix.
. "$MICA_SOURCE/tests/support/tool.sh"

# Clicks that depend on two of three fields.
awk 'BEGIN {
  print "user,item,place,click"
  for (i = 0; i < 3000; i++) {
    u = (i * 7919) % 97; t = (i * 104729) % 211; p = (i * 31) % 5
    printf "u%d,t%d,p%d,%d\n", u, t, p, (u % 3 == 0) != (t % 2 == 0)
  }
}' >clicks.csv

has() { # the pattern of standard error, then a command
  local pattern=$1; shift
  "$@" >out 2>err || { cat out err; return 1; }
  cat out err
  cat out err | grep -qE "$pattern"
}
train=("$mica" train deepfm:dim=8:hidden=16 --data clicks.csv --label click --epochs 4 --lr 0.01)
check "a share of the bytes is kept" has "table: 319 ids of 8 numbers in [0-9]+ bytes, 0\.[23]" \
  "${train[@]}" --bytes 0.3 -o a.mica --table-out a.table
check "the table is a file of its own" has "quotient +float32" "$mica" info a.table
check "the model opens" above accuracy 0.5 "$mica" eval a.mica --data clicks.csv --json
check "a method with stages" has "table: .* 0\.3" "${train[@]}" --table deeplight --bytes 0.4 -o b.mica
check "its model opens" above auroc 0.6 "$mica" eval b.mica --data clicks.csv --json
check "in the architecture's text" has "table: 319 ids" "$mica" train \
  "dcn:dim=8:layers=1:hidden=16:table=(int:bits=8)" --data clicks.csv --label click --epochs 1 -o c.mica
check "too few bytes" says "is the least here" "${train[@]}" --table int --bytes 0.1 -o d.mica
check "an unknown method" says "did you mean" "${train[@]}" --table hassh -o d.mica
check "--table-out without a table" says "the network has no compressed table" "${train[@]}" --epochs 1 -o d.mica --table-out d.table

python3 - <<'END'
import random, struct
random.seed(1)
values = [random.gauss(0, 1) for _ in range(200 * 4)]
mix = [random.gauss(0, 1) for _ in range(4 * 16)]
rows = [sum(values[4 * i + k] * mix[16 * k + j] for k in range(4)) for i in range(200) for j in range(16)]
head = "{'descr': '<f4', 'fortran_order': False, 'shape': (200, 16), }"
head += " " * (-(len(head) + 11) % 64) + "\n"
open("rows.npy", "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()
                             + struct.pack("<%df" % len(rows), *rows))
END
check "a matrix by the usual methods" has "svd:bytes=0.4 .* 1\.000|svd:bytes=0.4 .* 0\.99" \
  "$mica" fit compress --bytes 0.4 --data rows.npy -o rows.table
check "its best is written" has "projections +float32|codes +uint8" "$mica" info rows.table
check "one method, as JSON" has '"recall":1\.0|"recall":0\.9[5-9]' "$mica" fit compress svd --bytes 0.4 --data rows.npy --json
check "none can be as small" says "no method can be as small" "$mica" fit compress int --bytes 0.1 --data rows.npy
python3 -c '
head = "{\x27descr\x27: \x27<i4\x27, \x27fortran_order\x27: False, \x27shape\x27: (2, 2), }"
head += " " * (-(len(head) + 11) % 64) + "\n"
import struct
open("clicks.npy", "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + bytes(16))'
check "no matrix" says "no matrix of floats" "$mica" fit compress int --data clicks.npy

# ---- the vectors of a click model ----

check "a model with a plain table" "${train[@]}" -o plain.mica
value() { sed -n "s/.*\"$1\": *\([0-9.e-]*\).*/\1/p" "$2" | tail -n 1; }
near() { awk -v a="$1" -v b="$2" -v by="$3" 'BEGIN { d = a - b; exit !(a != "" && b != "" && d <= by && d >= -by) }'; }
check "its vectors compressed, by what its answers are worth" sh -c "'$mica' fit compress int --bytes 0.5 --encoder plain.mica --data clicks.csv --json >int.json"
"$mica" eval plain.mica --data clicks.csv --json >eval.json
check "the whole table's AUROC is that of eval" near "$(value full_auroc int.json)" "$(value auroc eval.json)" 1e-6
check "8 bits cost little" near "$(value auroc int.json)" "$(value full_auroc int.json)" 0.01
check "and tell the log loss" near "$(value log_loss int.json)" "$(value full_log_loss int.json)" 0.02
check "all methods in a table" has "^\(as they are\) +10,208 .* 0 +0\.[0-9]+$" "$mica" fit compress --bytes 0.3 --encoder plain.mica --data clicks.csv -o vectors.table
check "which says what it asked" grep -q '^3000 rows of the log (all)' out
check "the best is written" has "codes +uint8|projections +float32" "$mica" info vectors.table
check "few bytes cost much" sh -c "'$mica' fit compress prune --bytes 0.1 --encoder plain.mica --data clicks.csv --json >prune.json"
check "which is told" sh -c "awk -v a='$(value auroc prune.json)' -v b='$(value full_auroc prune.json)' 'BEGIN { exit !(a < b - 0.05) }'"
check "the model is as it was" sh -c "'$mica' eval plain.mica --data clicks.csv --json | cmp - eval.json"
sed 's/,[01]$//' clicks.csv >nolabel.csv
grep -v ',0$' clicks.csv >one.csv
compress=("$mica" fit compress int --encoder)
check "a log without labels" says "no row with a label" "${compress[@]}" plain.mica --data nolabel.csv
check "a log of clicks alone" says "one label alone" "${compress[@]}" plain.mica --data one.csv
check "no log" says "with --encoder, a log" "${compress[@]}" plain.mica
check "a table that is compressed already" says "plain table of vectors" "${compress[@]}" a.mica --data clicks.csv
check "a model that is not there" says "none.mica" "${compress[@]}" none.mica --data clicks.csv
