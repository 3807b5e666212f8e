# Adapting, distilling and shrinking with the tool: trained parts are told, files hold what they should, and
# what is written answers as what it was made from.
. "$MICA_SOURCE/tests/support/tool.sh"

for c in 0 1 2; do draw_thirds train/c$c $c 24 $c; draw_thirds test/c$c $c 10 1$c; done
mkdir photos && mv train test photos/
train() { "$mica" train "$@" --data photos --size 12 --channels 1 --batch-size 12 --crop 0 --threads 1; }
told_in() { grep -q -- "$2" "$1"; }
told_by() { # text, command
  local text=$1
  shift
  "$@" >told 2>&1 && cat told && grep -q -- "$text" told
}

check "a teacher" train mlp:hidden=48,32 --epochs 12 --lr 0.003 -o big.mica
check "a student with its losses on the command line" train mlp:hidden=12,8 --epochs 8 --lr 0.01 -o student.mica \
  --scheme distil:teacher=big.mica --loss 'ce+kd:T=4:warmup=2+2*nd'
check "the losses' own parameters are not in the file" sh -c "! '$mica' info student.mica | grep -q 'loss\\.'"
check "the student answers" told_by 'accuracy *\(9\|100\)' "$mica" eval student.mica --data photos
refused "a scheme without a teacher" "which teacher" train mlp --scheme distil
refused "a scheme that is not there" "no scheme is named" train mlp --scheme nothing

# Adapters.
adapt() { train mlp:hidden=48,32 --init big.mica --epochs 2 --lr 0.03 "$@"; }
check "an adapter of singular values, and what is trained" told_by \
  "adapter default: svfit.* on 2 modules, .* trained, .* stored" adapt --adapter svfit -o apart.mica \
  --adapter-out one.safetensors
check "and the memory" told_in told "MiB of values"
check "the file tells of it" "$mica" info apart.mica
check "by name" told_in log "adapter default: svfit"
check "by pattern, under a name" adapt --adapter 'layers.0=lora:rank=2' --adapter 'layers.1=pissa:rank=2' \
  --adapter-name two -o two.mica --adapter-out two.safetensors
check "merged" adapt --adapter svfit --merge -o merged.mica
same_answers() { # two models
  "$mica" predict "$1" photos/test/c0/00.pgm photos/test/c2/01.pgm --json | sed 's/\(0\.[0-9]\{4\}\)[0-9]*/\1/g' >a
  "$mica" predict "$2" photos/test/c0/00.pgm photos/test/c2/01.pgm --json | sed 's/\(0\.[0-9]\{4\}\)[0-9]*/\1/g' >b
  [ -s a ] && diff a b
}
check "merged is unmerged" same_answers apart.mica merged.mica
check "biases alone" adapt --adapter bitfit -o bitfit.mica
check "scale and shift" adapt --adapter ssf -o ssf.mica
check "scale and shift in the weights" adapt --adapter ssf --merge -o ssf_merged.mica
check "are the same" same_answers ssf.mica ssf_merged.mica
check "thin layers behind frozen ones" adapt --adapter bottleneck:rank=4 -o bottleneck.mica
check "are used again" "$mica" eval bottleneck.mica --data photos
refused "and stay beside them" "cannot be merged" adapt --adapter bottleneck:rank=4 --merge -o no.mica
refused "a rank above the sizes" "rank 99" adapt --adapter lora:rank=99 -o no.mica
refused "a pattern that matches nothing" "matches 'nothing'" adapt --adapter 'nothing=svf' -o no.mica
check "two adapters in one file" "$mica" export big.mica --adapter one.safetensors --adapter two.safetensors \
  --off two -o both.mica
refused "an adapter of another network" "is not the weight that the adapter was trained on" "$mica" export student.mica \
  --adapter one.safetensors -o no.mica
check "adapters on and off" "$mica" export both.mica --on two --remove default -o second.mica

# Smaller files.
check "two factors" "$mica" export big.mica --low-rank keep=0.5 --data photos -o low.mica
check "its cost is told" told_in log "accuracy.*%.*%.*pictures"
check "layers are told" told_in log "layers in two factors"
check "it is opened" "$mica" eval low.mica --data photos
check "it is trained on" train mlp:hidden=48,32 --init low.mica --epochs 1 --lr 0.001 -o tuned.mica \
  --scheme distil:teacher=big.mica:taps=0,1 --loss 'ce+0.1*feature_mse+perturbation'
check "pruned" "$mica" export big.mica --prune 'linear&!output=magnitude:share=0.4' --data photos -o pruned.mica
check "what is left is told" told_in log 'pruned: [0-9]* of [0-9]* weights are left (40'
check "it is trained on" train mlp:hidden=48,32 --init pruned.mica --epochs 1 --mask 'linear&!output&!bias=nonzero' -o kept.mica
check "and pruned again it is as it was" "$mica" export kept.mica --prune 'linear&!output=nonzero' -o again.mica
check "for nothing was added" told_in log 'pruned: [0-9]* of [0-9]* weights are left (\(39\|40\)'
refused "pruned by what?" "no mask" "$mica" export big.mica --prune 'linear=size' -o no.mica
refused "pruning of nothing" "for no matrix" "$mica" export big.mica --prune 'bias=magnitude' -o no.mica
check "int8" "$mica" export big.mica --quantise int8 --data photos -o int8.mica --json
check "as JSON" told_in log '"after": {"bytes": [0-9]*, "parameters": [0-9]*, "ms": .*"accuracy"'
smaller() { [ "$(wc -c <"$2")" -lt "$(($(wc -c <"$1") * 45 / 100))" ]; }
check "a quarter of the weights' bytes" smaller big.mica int8.mica
check "a network of kernels" train convnet:widths=6,8:convolutions=1 --epochs 2 -o conv.mica
check "folded" "$mica" export conv.mica --fold -o folded.mica
check "folded gives the same answers" same_answers conv.mica folded.mica
check "no norm is left" sh -c "! '$mica' info folded.mica | grep -q running_mean"
refused "nothing to do" "what is to be done" "$mica" export big.mica
refused "another type" "expected int8" "$mica" export big.mica --quantise int4
refused "no share" "is to be given" "$mica" export big.mica --low-rank keep=0
refused "an unknown key" "--low-rank" "$mica" export big.mica --low-rank kep=0.5
