# Saliency maps, and what is in a network, as a user asks for them.
. "$MICA_SOURCE/tests/support/tool.sh"

for class in 0 1 2; do draw_thirds data/class$class $class 12 $((class + 1)); done
check "a network" "$mica" train convnet:widths=4,6:convolutions=1 --data data --size 12 --channels 1 \
  --epochs 2 --batch-size 6 -o net.mica
check "one map" "$mica" explain net.mica data/class1/00.pgm -o heat.png
check "it is a PNG" grep -q PNG heat.png
check "the layers" "$mica" explain net.mica data/class1/00.pgm --layers
check "are told" grep -q '^stages.1 .*6 x 6, 6 channels' log
check "methods and layers" "$mica" explain net.mica --data data --limit 5 --class true --method grad_cam \
  --method norm_grad:phase1=scaling:phase2=filter_norm --layer stages.0 --layer stages.1 -o sheet
check "give a sheet" test -s sheet/report.html
check "and a picture of each" test "$(find sheet -name '*.png' | wc -l)" = 20
check "and arrays" "$mica" info sheet/maps.safetensors
check "with the size of the pictures" grep -q 'grad_cam stages.0 .*\[5,12,12\]' log
check "a step first" "$mica" explain net.mica data/class2/01.pgm --meta 0.01 --method rise:masks=20 --json -o rise.png
check "as JSON" grep -qx '{"map":"rise.png"}' log
refused "no picture" "give pictures, or --data" "$mica" explain net.mica
refused "a wrong method" "norm_grad" "$mica" explain net.mica data/class0/00.pgm --method norm_grd
refused "a wrong layer" "no layer 'stages.9'" "$mica" explain net.mica data/class0/00.pgm --layer stages.9 -o x.png
refused "a wrong class" "no such class" "$mica" explain net.mica data/class0/00.pgm --class bolt
refused "true without labels" "have no labels" "$mica" explain net.mica data/class0/00.pgm --class true
refused "two maps in a file" "one map of one picture" \
  "$mica" explain net.mica data/class0/00.pgm data/class0/01.pgm -o two.png
check "nothing is left of a refusal" test ! -e two.png
check "what is in the network" "$mica" measure net.mica --data data --report inside
check "gains" grep -q '^batch norm: 2 layers, 10 channels' log
check "rectifiers" grep -q 'of 10 channels never fire on 36 pictures' log
check "a curve" grep -q '90.0 % of the channels' log
check "a page" test -s inside/report.html
refused "a network without batch norm" "batch norm" sh -c "'$mica' train mlp:hidden=4 --data data --size 12 --channels 1 --epochs 1 -o mlp.mica && '$mica' measure mlp.mica"
