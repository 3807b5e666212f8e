# A run that is killed and taken up again leaves the files of the run that was never stopped, to
# the last byte: checkpoints, curves, model file. A run that cannot write leaves what was there.
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
mica=$MICA_BUILD/mica
cd "$work" || exit 1

# 12x12 pictures of noise with a bright third.
draw() { # folder class pattern count seed
  mkdir -p "$1/$2"
  LC_ALL=C awk -v pattern="$3" -v count="$4" -v seed="$5" -v folder="$1/$2" 'BEGIN {
    srand(seed)
    for (n = 0; n < count; n++) {
      file = sprintf("%s/%02d.pgm", folder, n)
      printf "P5\n12 12\n255\n" >file
      for (p = 0; p < 144; p++)
        printf "%c", (int(p / 48) == pattern ? 150 : 80) + int(90 * rand()) >file
      close(file)
    }
  }'
}
for i in 0 1 2; do draw data "class$i" "$i" 60 "$((i + 1))"; done

# Dropout, shifts and mirroring draw random numbers; every kind of state there is.
# The same words for each folder, since the model file keeps them. Becomes the tool: a signal to the
# shell that calls this is a signal to it.
run() { # folder
  mkdir -p "$1" && cd "$1" && exec "$mica" train convnet:widths=6,8:dropout=0.2 \
    --data ../data --size 12 --channels 1 --flip --batch-size 16 --val-split 0.2 -j 2 \
    --stage epochs=5 --stage "epochs=4:freeze=*.bias:rewind=*:rewind_epoch=2:lr=0.005" \
    --stage "epochs=5:unfreeze=*:rewind=*.weight:retrain=head.*:optimiser=(adagrad:lr=0.05 | *.bias=sgd:lr=0.1:momentum=0.9)" \
    --average 0.9 --clip 1 --optimiser 'adamw:lr=0.01 | *.bias=lamb:lr=0.01:adapted=all' --seed 3 --resume --json -o net.mica >>log 2>&1
}
same() { # name, two folders: every file of a run but its log and its clock
  local name=$1 a=$2 b=$3 file bad=
  for file in net.mica net.mica.run/last.safetensors net.mica.run/best.safetensors; do
    cmp "$a/$file" "$b/$file" >>compared 2>&1 || bad="$bad $file"
  done
  if [ -e "$a/net.mica.run/metrics.jsonl" ]; then
    for file in "$a" "$b"; do sed -E 's/"seconds": ?[0-9.e+-]+/"seconds": 0/g' "$file/net.mica.run/metrics.jsonl" >"$file/curves"; done
    cmp "$a/curves" "$b/curves" >>compared 2>&1 || bad="$bad metrics.jsonl"
  fi
  if [ -z "$bad" ]; then echo "ok $name"; else echo "# differ:$bad"; sed 's/^/# /' compared; echo "not ok $name"; fi
}

(run whole) || { sed 's/^/# /' whole/log; echo "not ok trains"; exit 1; }
(run again) || exit 1
same "two runs are the same bytes" whole again

# Killed at random moments, over and over, until the run comes to its end; then the same again.
seed=${MICA_TEST_SEED:-$RANDOM}
echo "# MICA_TEST_SEED=$seed"
RANDOM=$seed
seconds=$(grep -o '"seconds": [0-9.]*' whole/log | tail -1 | cut -d' ' -f2)
kills=0 patience=1 runs=0 torn=
for _ in $(seq 60); do
  run killed &
  job=$!
  # A part of what the whole run took, and more each time, so that slow machines come to the end.
  sleep "$(LC_ALL=C awk -v s="$seconds" -v r="$RANDOM" -v p=$patience 'BEGIN { printf "%.4f", 0.02 + s * r / 32768 * (1 + p) / 8 }')"
  kill -9 "$job" 2>>aside
  if wait "$job" 2>>aside; then
    echo "# killed $kills times so far"
    same "a killed run is resumed to the same bytes" whole killed
    rm -rf killed
    runs=$((runs + 1)) patience=1
    [ $kills -lt 6 ] || break
  else
    kills=$((kills + 1)) patience=$((patience + 1))
    # Whatever the moment: a file that is there is whole.
    for file in killed/net.mica.run/*.safetensors killed/net.mica; do
      [ ! -e "$file" ] || "$mica" info "$file" >found 2>&1 || torn="$torn $(cat found)"
    done
  fi
done
if [ $kills -ge 6 ] && [ $runs -ge 1 ]; then echo "ok was killed and came to its end"; else echo "# $kills times, $runs"; echo "not ok was killed and came to its end"; fi
if [ -z "$torn" ]; then echo "ok leaves only whole files"; else echo "# $torn"; echo "not ok leaves only whole files"; fi

# Interrupted: a checkpoint, a word on how to go on, a status of its own.
for signal in INT TERM; do
  name=$(echo $signal | tr '[:upper:]' '[:lower:]')
  (mkdir -p "$name" && cd "$name" && exec setsid bash -c 'trap - INT; exec "$@"' _ "$mica" train convnet:widths=6,8:dropout=0.2 \
    --data ../data --size 12 --channels 1 --batch-size 4 --epochs 100000 -j 2 --json -o net.mica >log 2>err) &
  job=$!
  for _ in $(seq 600); do [ -e "$name"/net.mica.run/last.safetensors ] && break; sleep 0.1; done
  kill -s $signal "$job" 2>>aside
  wait "$job" 2>>aside
  status=$?
  if grep -q 'resume. continues from net.mica.run' "$name"/err && [ $status = 130 ] && [ ! -e "$name"/net.mica ]; then
    echo "ok SIG$signal stops cleanly"
  else
    echo "# status $status"; sed 's/^/# /' "$name"/err; echo "not ok SIG$signal stops cleanly"
  fi
done

# Where nothing can be written.
refused() { # name, text of the message, then a command that must fail with status 1
  local name=$1 text=$2
  shift 2
  "$@" >log 2>&1
  if [ $? = 1 ] && grep -qF -- "$text" log; then echo "ok $name"; else sed 's/^/# /' log; echo "not ok $name"; fi
}
short="train mlp:hidden=64 --data data --size 12 --channels 1 --epochs 1 -j 1"
# shellcheck disable=SC2086
"$mica" $short -o old.mica >log 2>&1 || echo "not ok makes an old file"
cp old.mica before && mkdir small && cp old.mica small/
# shellcheck disable=SC2086
full() { (ulimit -f 8 && exec "$mica" $short --seed 1 -o "$@"); }
refused "a file that may not grow is told" "best.safetensors: cannot be written: File too large" full new.mica
if [ -z "$(find . -name '*.tmp' )" ] && [ ! -e new.mica ]; then echo "ok leaves no part of a file"; else find . -name '*.tmp' | sed 's/^/# /'; echo "not ok leaves no part of a file"; fi
# shellcheck disable=SC2086
refused "a full device is told" "No space left on device" "$mica" $short -o /dev/full --run full.run
# Root may write anywhere, so somebody else tries.
as=
if [ "$(id -u)" = 0 ]; then as="setpriv --reuid 65534 --regid 65534 --clear-groups"; fi
chmod 755 . && mkdir -m 777 open && chmod a-w small
if $as test -x "$mica" -a -r data 2>>aside; then
  # shellcheck disable=SC2086
  refused "a folder that is closed to writing is told" "small/old.mica: cannot be created: Permission denied" $as "$mica" $short -o small/old.mica --run open/run
  if cmp -s small/old.mica before; then echo "ok the old file is kept"; else echo "not ok the old file is kept"; fi
else
  echo "skip a folder that is closed to writing is told nobody else may run the tool here"
fi
# shellcheck disable=SC2086
refused "a folder that is no folder is told" "log/x.mica" "$mica" $short -o log/x.mica --run other.run
# A checkpoint of another run is not taken up.
# shellcheck disable=SC2086
refused "other batches are told" "resume with the data, batch size and accumulation it was started with" \
  "$mica" $short -o old.mica --resume --batch-size 7
