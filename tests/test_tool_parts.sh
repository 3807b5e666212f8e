# `mica train` of a part of a network: what is selected, what stays to the last bit, masks over a killed run, initial
# values by rules, refusals.
. "$MICA_SOURCE/tests/support/tool.sh"

# Grey pictures of 8x8: a light spot in one half or in the other.
for class in left right; do
  mkdir -p "photos/$class"
  for i in $(seq 30); do
    LC_ALL=C awk -v i="$i" -v right=$([ $class = right ] && echo 1 || echo 0) 'BEGIN { printf "P5\n8 8\n127\n"
      for (y = 0; y < 8; y++) for (x = 0; x < 8; x++)
        printf "%c", ((x > 3) == right ? 90 : 33) + (x * 7 + y * 13 + i * 29) % 30 }' >"photos/$class/$i.pgm"
  done
done
train() {
  "$mica" train resnet:depth=8:width=4:shortcut=b --data photos --size 8 --channels 1 --batch-size 16 --crop 0 \
    --optimiser sgd:momentum=0.9:weight_decay=0.01 --lr 0.05 -j 1 "$@"
}
tells() { local want=$1; shift; "$@" 2>&1 | tee said | grep -qF -- "$want"; }

check "how much is trained is told" tells "5006 parameters, 202 trained (4.04%)" \
  train --only bn --also output --dry-run
check "and of what" tells "0 of 4804 in convolutions, 34 of 34 in linear layers, 168 of 168 in normalisations" \
  train --only bn,output --dry-run
check "masks count" tells "168 trained" train --only conv --mask conv=random:count=2 --dry-run
check "freezing takes away" tells "168 trained" train --only bn,output --freeze linear.* --dry-run
check "a word that is none is refused, with the nearest" says "'bm' matches no parameter; is 'bn' meant?" \
  train --only bm --dry-run
check "so is a text that is no selection" says "no selection of parameters" train --freeze bn, --dry-run
check "a mask of what is frozen is refused" says "for no parameter that is trained" \
  train --only bn --mask conv=random:count=2 --dry-run
check "an initialiser that is none is refused" says "did you mean 'binary'" train --init-weights binry --dry-run
check "one for another sort of layer too" says "no gain or shift" train --initialise conv=fixed --dry-run

# Which tensors of two checkpoints of a run differ, and where.
if command -v python3 >/dev/null; then
  cat >tensors.py <<'P'
import json, struct, sys
def read(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    return {k: data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]
            for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}
a, b, want = read(sys.argv[1]), read(sys.argv[2]), sys.argv[3]
if want == "same":
    sys.exit(a != b)
model = {k: v for k, v in a.items() if k.startswith("model.") and not k.endswith("num_batches_tracked")}
changed = sorted(k for k in model if b[k] != a[k])
if want == "bn":
    wrong = [k for k in model if (k in changed) != ("bn" in k or ".shortcut.1." in k)]
else:
    mask = {k[5:]: v for k, v in b.items() if k.startswith("mask.")}
    wrong = [k for k in changed if "running" not in k and k[6:] not in mask]
    for k, m in mask.items():
        x, y = a["model." + k], b["model." + k]
        wrong += [k for i in range(len(m)) if not m[i] and x[4 * i:4 * i + 4] != y[4 * i:4 * i + 4]]
    moved = sum(x != y for k in mask for x, y in zip(a["model." + k], b["model." + k]))
    wrong += [] if moved else ["nothing moved"]
print(wrong)
sys.exit(bool(wrong))
P
  check "a run of batch norm alone" train --only bn --epochs 1 -o bn.mica
  check "goes on" train --only bn --epochs 1 --stage epochs=1 --stage epochs=2 -o bn3.mica
  check "and changes batch norm alone, statistics too" python3 tensors.py bn.mica.run/last.safetensors \
    bn3.mica.run/last.safetensors bn
  masked=(train --only conv --mask conv=random:count=2 --seed 3)
  check "a run under a mask" "${masked[@]}" --stage epochs=1 -o mask1.mica
  check "and a longer one" "${masked[@]}" --stage epochs=1 --stage epochs=2 -o mask3.mica
  check "nothing outside the mask changed by a bit" python3 tensors.py mask1.mica.run/last.safetensors \
    mask3.mica.run/last.safetensors mask
  cp -r mask1.mica.run again.run
  check "resumed without naming the mask" train --only conv --seed 3 --stage epochs=1 --stage epochs=2 --run again.run \
    --resume -o again.mica
  check "it ends with the same bits" python3 tensors.py again.run/last.safetensors mask3.mica.run/last.safetensors same
  check "another mask is another run" says "another mask" train --only conv --mask conv=random:count=3 --seed 3 \
    --stage epochs=1 --stage epochs=2 --run again.run --resume -o again.mica
else
  echo "skip frozen and masked elements: no python3"
fi

check "initial values by rules" train --init-weights orthogonal --init-bn positivenegative --epochs 1 -o init.mica
check "what is in a network" tells "batch norm: 9 layers, 84 channels" "$mica" measure init.mica --data photos
check "its dead rectifiers" grep -q "channels never fire on" said
