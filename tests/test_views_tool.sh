# Views and regions of pictures through the tool: features of each part side by side, heads that read them, and
# models that make the views themselves when they are asked.
. "$MICA_SOURCE/tests/support/tool.sh"

for k in 0 1 2 3; do draw_thirds "photos/p$k" $k 16 "$k"; done
check "an encoder" "$mica" train convnet:widths=8,16:convolutions=1 --data photos --size 12 --channels 1 --crop 1 \
  --epochs 2 --batch-size 16 --lr 0.01 --seed 3 -o net.mica

width() { # of an .npy file: rows, columns
  head -c 128 "$1" | tr -d '\0' | grep -aqF "($2, $3)"
}
right() { # nearly all pictures of the data set
  "$mica" eval "$1" --data photos --json >said && grep -qE '"accuracy":(1\.0|0\.9)' said
}
check "features of whole pictures" "$mica" embed net.mica photos/p0 -o whole.npy
check "have a row each" width whole.npy 16 16
check "features of 16 views" "$mica" embed net.mica photos/p0 --views 16 -o views.npy
check "are side by side" width views.npy 16 256
check "features of 8 views" "$mica" embed net.mica photos/p0 --views 8 -o eight.npy
check "are half of them" width eight.npy 16 128
check "another angle" "$mica" embed net.mica photos/p0 --views 16 --angle 30 -o turned.npy
differs() { ! cmp -s "$1" "$2"; }
check "gives others" differs views.npy turned.npy
check "features of regions" "$mica" embed net.mica photos/p0 --regions 3 -o regions.npy
check "are 14 side by side" width regions.npy 16 224
check "of a data set" "$mica" embed net.mica --data photos --views 16 -o views.safetensors
check "a machine on these" "$mica" fit transformed:views=16:power=2 --data views.safetensors -o rows.mica

check "a machine that makes views" "$mica" fit transformed:power=2:with=linear_svm --views 16 --encoder net.mica \
  --data photos -o views.mica
check "it is right" right views.mica
"$mica" predict views.mica photos/p0 >answers 2>&1
named() { [ "$(grep -c ",1,$2" "$1")" -ge 15 ] || { cat "$1"; return 1; }; }
check "pictures are named" named answers p0
"$mica" info views.mica >told.txt
check "the file tells of them" grep -q "describes 16 parts of a picture" told.txt
check "any classifier, wrapped" "$mica" fit logistic --views 8 --encoder net.mica --data photos -o wrapped.mica
check "it is right too" right wrapped.mica
check "several on the same folds" "$mica" fit linear_svm:C=1 linear_svm:C=10 knn --views 16 --encoder net.mica \
  --data photos -o best.mica
check "machines on regions" "$mica" fit linear_svm --regions 2 --encoder net.mica --data photos -o regions.mica
check "are right" right regions.mica
check "the largest of the views" "$mica" fit transformed:form=max --views 16 --encoder net.mica --data photos -o max.mica

"$mica" embed net.mica photos/p0 -o /dev/stdout 2>/dev/null | head -c 1152 >piped.npy
check "features through a pipe" cmp piped.npy whole.npy
check "nothing is left beside them" test -z "$(ls -A | grep rows$)"

refused "seven views" "expected 8 or 16" "$mica" embed net.mica photos/p0 --views 9 -o no.npy
refused "views and regions" "one of the two" "$mica" embed net.mica photos/p0 --views 8 --regions 2 -o no.npy
refused "passes and views" "one of the two" "$mica" fit logistic --views 8 --augment-passes 2 --encoder net.mica \
  --data photos -o no.mica
refused "maps of a model of views" "parts of pictures" "$mica" explain views.mica photos/p0/00.pgm -o no
refused "features of other views" "rows of" "$mica" fit transformed:views=8 --data views.safetensors --encoder net.mica -o no.mica
