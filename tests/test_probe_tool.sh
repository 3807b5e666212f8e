# Probes as a user fits them: linear, hidden, cosine, subspaces and moments of tokens, on pictures and on features;
# their model files; what is refused.
. "$MICA_SOURCE/tests/support/tool.sh"
export OMP_NUM_THREADS=1 # networks so small that a second thread only waits

for i in 0 1 2; do
  draw_thirds "photos/train/class$i" "$i" 16 "$((i + 1))"
  draw_thirds "photos/test/class$i" "$i" 8 "$((i + 50))"
done
draw_thirds more/upright 4 12 99
check "an encoder" "$mica" train convnet:widths=8,16 --data photos --size 12 --channels 1 --crop 0 --batch-size 16 --epochs 3 --lr 0.01 -j 1 -o net.mica
fit() { "$mica" fit "$@" --encoder net.mica --data photos; }
right() { # model, pictures of class1 of 8 that it knows
  "$mica" predict "$1" photos/test/class1 >log 2>&1 && [ "$(grep -c ',class1,' log)" -ge "$2" ]
}

check "a linear probe" fit probe -o linear.mica
check "which answers" right linear.mica 7
check "with a hidden layer" fit 'probe:head=(linear:hidden=8)' -o hidden.mica
check "which answers" right hidden.mica 7
check "directions" fit 'probe:head=(cosine:scale=16)' -o cosine.mica
check "which answer" right cosine.mica 7
check "subspaces, by their own rule" fit 'probe:head=(grassmann:dim=2):optimiser=(adamw | subspace=rsgd)' -o spaces.mica
check "which answer" right spaces.mica 7
check "moments of tokens" fit 'probe:head=(moment:hidden=32):channels=16' --taps pyramid.1:all -o moments.mica
check "which answer" right moments.mica 7
check "and are measured" sh -c "'$mica' eval moments.mica --data photos --json | grep -qE '\"accuracy\":(1|0\.9)'"
check "the file tells of the head" sh -c "'$mica' info moments.mica | grep -q 'head probe: probe:head=(moment:hidden=32):channels=16, 3 classes'"
check "several are compared" fit probe logistic 'probe:steps=5' --folds 3 --json
check "as JSON" test "$(grep -c '"estimator"' aside)" -eq 3
check "features" "$mica" embed net.mica --data photos -o features.npz
check "are probed" "$mica" fit probe --data features.npz -o rows.mica
check "and answered" "$mica" predict rows.mica features.npz
check "row by row" test "$(wc -l <log)" -eq 73
check "the same again" sh -c "'$mica' fit probe --data features.npz -o again.mica >/dev/null && '$mica' predict again.mica features.npz | cmp - log"
check "strangers are refused where that was asked for" fit probe:reject=0.02 --val-split 0.25 -o reject.mica
check "which tells the score" grep -q '"none of these" above an anomaly score' aside

refused "tokens of no width" "channels says how wide they are" fit probe:head=moment -o no.mica
refused "tokens of another width" "are no tokens of 7 channels" fit probe:head=moment:channels=7 --taps pyramid.1:all -o no.mica
refused "a module that is not there" "no module 'pyramid.9:all'" fit probe --taps pyramid.9:all -o no.mica
refused "a head that is none" "did you mean 'moment'" fit probe:head=momnt -o no.mica
refused "an optimiser that is none" "did you mean 'adam'" fit probe:optimiser=adm -o no.mica
refused "no steps" "steps: 0 is outside" fit probe:steps=0 -o no.mica
refused "features that are not there" "none.npz: cannot open" "$mica" fit probe --data none.npz -o no.mica
"$mica" train convnet:widths=4 --data photos --size 12 --channels 1 --epochs 1 -o small.mica >/dev/null 2>&1
refused "features of another width" "the encoder gives 4" "$mica" fit probe --encoder small.mica --data features.npz -o no.mica
refused "to grow by a class" "cannot add a class" "$mica" fit --add-class upright --encoder linear.mica more/upright/00.pgm
refused "pictures for a probe of rows" "reads rows, not pictures" "$mica" predict rows.mica photos/test/class1/00.pgm --strict
if [ -e no.mica ]; then echo "not ok nothing is left behind"; else echo "ok nothing is left behind"; fi
