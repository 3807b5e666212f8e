# The tool's manners: exit codes, suggestions, odd operands, closed outputs, JSON that parses, help that
# is complete.
if [ ! -x "$MICA_BUILD/mica" ]; then echo "skip the tool: this build has none"; exit 0; fi
mica=$MICA_BUILD/mica
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export OMP_NUM_THREADS=1 MICA_MODELS=$work/models MICA_CATALOGUE=

check() { # name status-expected text-expected command...
  local name=$1 status=$2 text=$3
  shift 3
  timeout 60 "$@" >out 2>&1
  local got=$?
  if [ $got = "$status" ] && grep -qe "$text" out; then echo "ok $name"; else
    head -n 20 out | sed 's/^/# /'
    echo "not ok $name (status $got, expected $status and '$text')"
  fi
}
holds() {
  local name=$1
  shift
  if "$@" >out 2>&1; then echo "ok $name"; else head -n 20 out | sed 's/^/# /'; echo "not ok $name"; fi
}
json() { # name command...: standard output is JSON lines, at least one
  local name=$1
  shift
  timeout 60 "$@" >out.json 2>err || { sed 's/^/# /' err; echo "not ok $name"; return; }
  if command -v python3 >/dev/null; then
    holds "$name" python3 -c 'import json; assert [json.loads(l) for l in open("out.json")]'
  else
    echo "skip $name: no python3 here"
  fi
}

# Two kinds of picture, eight of each.
for kind in dark light; do
  mkdir -p "photos/$kind"
  for i in 1 2 3 4 5 6 7 8; do
    { printf 'P5 8 8 255\n'; for j in $(seq 64); do
      if [ $kind = dark ]; then printf "\\$(printf %o $((i + j % 9)))"; else printf "\\$(printf %o $((200 + i + j % 9)))"; fi
    done; } >"photos/$kind/$i.pgm"
  done
done

# ---- verbs and flags ----
check "no arguments: the help" 0 "^usage: mica VERB" "$mica"
check "--help" 0 "^usage: mica VERB" "$mica" --help
check "-h behind a verb" 0 "^usage: mica train" "$mica" train -h
check "--version" 0 "^mica [0-9]*\.[0-9]*\.[0-9]*$" "$mica" --version
check "an unknown verb suggests" 2 "did you mean train?" "$mica" trian x
check "an unknown verb, nothing near" 2 "no verb 'xylophone'$" "$mica" xylophone
check "an empty verb" 2 "no verb ''" "$mica" ""
check "help for an unknown verb suggests" 2 "did you mean predict?" "$mica" help predct
check "an unknown flag suggests" 2 "did you mean --epochs?" "$mica" train resnet --epoch 3
check "a flag without its value" 2 "epochs needs a value: --epochs N" "$mica" train resnet --epochs
check "a value for a switch" 2 "json takes no value" "$mica" list --json=yes
check "a number that is none" 2 "epochs is 'ten', expected" "$mica" train resnet --data photos --epochs ten
check "a number out of range" 2 "epochs is '0', expected a whole number from 1" "$mica" train resnet --data photos --epochs 0
check "a number with a tail" 2 "expected a whole number" "$mica" train resnet --data photos --epochs 3x
check "too few operands" 2 "expected MODEL" "$mica" predict
check "too many operands" 2 "expected" "$mica" info a b c
check "-- ends the flags" 1 "^mica info: --json: " "$mica" info -- --json
holds "an operand too many to count is refused" bash -c 'set -- $(seq 6000); ! "'"$mica"'" predict m "$@" 2>err && grep -q "give a folder" err'
check "a long command line" 1 "." "$mica" info "$(printf 'x%.0s' $(seq 5000))"
check "an unknown kind suggests" 2 "did you mean optimiser" "$mica" list optimizer
check "an unknown component suggests" 1 "did you mean 'resnet'" "$mica" list model resnett
check "one component" 0 "6 n + 2" "$mica" list model resnet
holds "names alone" test "$("$mica" list schedule --names | grep -c '^[a-z_-]*$')" -ge 4

# ---- help is complete ----
for verb in $("$mica" help --names); do
  check "help $verb" 0 "^usage: mica $verb" "$mica" help "$verb"
  holds "the overview has $verb" bash -c '"$0" help | grep -qE "^  $1 "' "$mica" "$verb"
  check "$verb refuses an unknown flag" 2 "unknown flag --no-such" "$mica" "$verb" --no-such
done
for name in $(grep -oE '^\| `MICA_[A-Z_]+`' "$MICA_SOURCE/README.md" | grep -oE 'MICA_[A-Z_]+'); do
  case $name in MICA_WEIGHTS | MICA_TEST_TIMEOUT) continue ;; esac # of the tests, not of the tool
  holds "help tells of $name" grep -q "$name" <("$mica" help)
done
for code in 0 1 2 130; do holds "help tells of exit code $code" grep -qE "^  $code  *[a-z]" <("$mica" help); done

# ---- odd operands ----
: >empty
mkfifo pipe
mkdir folder
head -c 100000 /dev/urandom >noise
truncate -s 1T huge
printf '\x93NUMPY' >short.npy
for operand in absent empty pipe folder noise huge short.npy /dev/null ""; do
  for verb in info "predict:photos/dark/1.pgm" "eval:--data:photos" "embed:photos"; do
    IFS=: read -ra words <<<"$verb"
    name="mica ${words[0]} '$operand'"
    timeout 20 "$mica" "${words[0]}" "$operand" "${words[@]:1}" >out 2>&1
    status=$?
    if [ $status = 1 ] && grep -q "^mica ${words[0]}: " out; then echo "ok $name"; else
      sed 's/^/# /' out
      echo "not ok $name (status $status)"
    fi
  done
  timeout 20 "$mica" data info "$operand" >out 2>&1
  status=$?
  if [ $status = 1 ] && grep -q "^mica data: " out; then echo "ok mica data info '$operand'"; else
    sed 's/^/# /' out
    echo "not ok mica data info '$operand' (status $status)"
  fi
done

# ---- a model, and what the verbs make of it ----
check "a model is trained" 0 "^model: net.mica" "$mica" train convnet:widths=4 --data photos --epochs 1 --batch-size 4 --size 8 -o net.mica
printf 'not a picture' >photos/dark/broken.png
check "data info counts" 0 "pictures, 16 examples in 2 classes" "$mica" data info photos
check "and lists what cannot be read" 0 "broken.png" "$mica" data info photos
check "sizes are those of the files" 0 "sizes: 8x8 to 8x8" "$mica" data info photos
check "info of a model file" 0 "a model file: convnet:widths=4.*8x8x3, 2 classes" "$mica" info net.mica
check "info tells what loads" 0 "100.0% of the parameters; 0 missing" "$mica" info net.mica
check "info --stats" 0 "min .* max .* mean" "$mica" info net.mica --stats
json "train --json" "$mica" train convnet:widths=4 --data photos --epochs 1 --batch-size 4 --size 8 -o net2.mica --json
json "fit --json" "$mica" fit prototypes knn --encoder net.mica --data photos -o fit.mica --json
json "fit --json that adds a class" "$mica" fit --add-class grey --encoder fit.mica -o fit.mica photos/dark/1.pgm --json
check "info tells the heads" 0 "head .*which answers" "$mica" info fit.mica
json "info --json tells them too" "$mica" info fit.mica --json
json "eval --json of what is not known" "$mica" eval fit.mica --data photos --unknown --json
json "embed --json" "$mica" embed net.mica photos/dark/1.pgm -o e.npy --json
json "train --json with an odd name" "$mica" train convnet:widths=4 --data photos --epochs 1 --batch-size 4 --size 8 -o "$(printf 'a "quoted" \\ name\t')" --json
json "predict --json" "$mica" predict net.mica photos/dark/1.pgm photos/light/1.pgm --top 2 --json
json "eval --json" "$mica" eval net.mica --data photos --json
holds "embed" "$mica" embed net.mica photos/dark/1.pgm -o f.npy
json "info --json" "$mica" info net.mica --json
json "info --json --stats" "$mica" info f.npy --json --stats
json "list --json" "$mica" list --json
json "list --json of one" "$mica" list loss ce --json
json "model list --json" "$mica" model list --json
json "data list --json" "$mica" data list --json
printf 'size,colour,kind\n1,red,bolt\n2,blue,nut\n3,red,bolt\n4,?,nut\n' >table.csv
check "data info of a table" 0 "column colour .*categorical" "$mica" data info table.csv --label kind
check "its classes" 0 "table, 4 examples in 2 classes" "$mica" data info table.csv --label kind
check "a table whose label is not told" 0 "table, 4 examples" "$mica" data info table.csv
check "a label that is not there" 1 "weight" "$mica" data info table.csv --label weight
json "data info --json of a table" "$mica" data info table.csv --label kind --json
holds "features with labels" "$mica" embed net.mica --data photos -o f.safetensors
check "data info of features" 0 "features, 16 examples in 2 classes" "$mica" data info f.safetensors
json "data info --json of features" "$mica" data info f.safetensors --json
printf 'photos/dark/1.pgm,d\nphotos/light/1.pgm,l\n' >list.csv
check "data info of a list" 0 "pictures, 2 examples in 2 classes" "$mica" data info list.csv
check "with the files' own sizes" 0 "sizes: 8x8 to 8x8 (height x width, of 2" "$mica" data info list.csv
from_input() { tr , '\t' <list.csv | "$mica" "$@"; }
export -f from_input && export mica
check "data info of a list on standard input" 0 "pictures, 2 examples in 2 classes" bash -c 'from_input data info -'
check "train on a list on standard input" 0 "model: from-input.mica" \
  bash -c 'from_input train convnet --data - --epochs 1 --size 8 --val-split 0 -o from-input.mica'
printf 'a\0b,\1\n' >binary.csv
check "a file that is nothing of these" 1 "neither pictures (.*) nor a table (" "$mica" data info binary.csv
json "data info --json" "$mica" data info photos --json
json "version --json" "$mica" version --json
quote=$(printf 'photos/a "quoted" \\ name\t\001')
mkdir -p "$quote" && cp photos/dark/1.pgm "$quote/"
json "JSON with an odd name" "$mica" predict net.mica "$quote/1.pgm" --json
json "JSON with an odd class" "$mica" data info photos --json
rm -r "$quote"

# ---- checkpoints of others ----
if command -v python3 >/dev/null; then
  python3 - <<'PY'
import json, struct
def write(path, tensors, metadata=None, nan=()):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, shape in tensors:
        n = 1
        for s in shape:
            n *= s
        values = [0.5] * n
        if name in nan:
            values[0] = float("nan")
        block = struct.pack(f"<{n}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(block)]}
        data += block
    text = json.dumps(header).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)
def bn(name, c):
    return [(f"{name}.{p}", [c]) for p in ("weight", "bias", "running_mean", "running_var")]
def basic(width, blocks, classes, bottleneck=False, prefix=""):
    t = [("conv1.weight", [width, 3, 7, 7])] + bn("bn1", width)
    inside = width
    for s, n in enumerate(blocks):
        w = width << s
        out = w * (4 if bottleneck else 1)
        for b in range(n):
            at = f"layer{s + 1}.{b}"
            shapes = [(w, inside, 1), (w, w, 3), (out, w, 1)] if bottleneck else [(w, inside, 3), (w, w, 3)]
            for i, (o, k, size) in enumerate(shapes):
                t += [(f"{at}.conv{i + 1}.weight", [o, k, size, size])] + bn(f"{at}.bn{i + 1}", o)
            if inside != out or (s and not b):
                t += [(f"{at}.downsample.0.weight", [out, inside, 1, 1])] + bn(f"{at}.downsample.1", out)
            inside = out
    t += [("fc.weight", [classes, inside]), ("fc.bias", [classes])]
    return [(prefix + n, s) for n, s in t]
def vit(d, depth, patch, side, classes):
    t = [("cls_token", [1, 1, d]), ("pos_embed", [1, (side // patch) ** 2 + 1, d]),
         ("patch_embed.proj.weight", [d, 3, patch, patch]), ("patch_embed.proj.bias", [d])]
    for i in range(depth):
        b = f"blocks.{i}."
        for n, shape in (("norm1.weight", [d]), ("norm1.bias", [d]), ("attn.qkv.weight", [3 * d, d]),
                         ("attn.qkv.bias", [3 * d]), ("attn.proj.weight", [d, d]), ("attn.proj.bias", [d]),
                         ("norm2.weight", [d]), ("norm2.bias", [d]), ("mlp.fc1.weight", [4 * d, d]),
                         ("mlp.fc1.bias", [4 * d]), ("mlp.fc2.weight", [d, 4 * d]), ("mlp.fc2.bias", [d])):
            t.append((b + n, shape))
    return t + [("norm.weight", [d]), ("norm.bias", [d]), ("head.weight", [classes, d]), ("head.bias", [classes])]
def efficient(classes):  # B0
    def norm(name, n): return [(name + "." + k, [n]) for k in ("weight", "bias", "running_mean", "running_var")]
    t, inside, n = [("_conv_stem.weight", [32, 3, 3, 3])] + norm("_bn0", 32), 32, 0
    for repeats, k, wide, out in ((1, 3, 1, 16), (2, 3, 6, 24), (2, 5, 6, 40), (3, 3, 6, 80), (3, 5, 6, 112),
                                  (4, 5, 6, 192), (1, 3, 6, 320)):
        for _ in range(repeats):
            b, w, s = f"_blocks.{n}.", inside * wide, inside // 4
            if wide > 1:
                t += [(b + "_expand_conv.weight", [w, inside, 1, 1])] + norm(b + "_bn0", w)
            t += [(b + "_depthwise_conv.weight", [w, 1, k, k])] + norm(b + "_bn1", w)
            t += [(b + "_se_reduce.weight", [s, w, 1, 1]), (b + "_se_reduce.bias", [s]),
                  (b + "_se_expand.weight", [w, s, 1, 1]), (b + "_se_expand.bias", [w]),
                  (b + "_project_conv.weight", [out, w, 1, 1])] + norm(b + "_bn2", out)
            inside, n = out, n + 1
    return t + [("_conv_head.weight", [1280, 320, 1, 1])] + norm("_bn1", 1280) + [
        ("_fc.weight", [classes, 1280]), ("_fc.bias", [classes])]
write("r18.safetensors", basic(8, [2, 2, 2, 2], 7))
write("b0.safetensors", efficient(3))
write("r50.safetensors", basic(4, [3, 4, 6, 3], 5, True, "module."))
write("r152.safetensors", basic(2, [3, 8, 36, 3], 5, True))
write("vit.safetensors", vit(64, 3, 8, 32, 10))
write("part.safetensors", [t for t in basic(8, [2, 2, 2, 2], 7) if "fc" not in t[0]] + [("extra", [3])],
      {"note": "red \u001b[31m and a\nline"}, nan=("extra",))
write("cut.safetensors", [t for t in vit(64, 3, 8, 32, 10) if "blocks.1" not in t[0]])
write("plain.safetensors", [("weights", [2, 3])])
PY
  check "torchvision's resnet18" 0 "looks like resnet:depth=18:width=8 in torchvision's names, .*224x224x3, 7 classes" "$mica" info r18.safetensors
  check "and all of it loads" 0 "100.0% of the parameters; 0 missing, 0 unexpected, 0 of another shape" "$mica" info r18.safetensors
  check "the line to train with" 0 "mica train resnet:depth=18:width=8 --init r18.safetensors" "$mica" info r18.safetensors
  check "resnet50 behind a prefix" 0 "looks like resnet:depth=50.* 5 classes" "$mica" info r50.safetensors
  check "and all of that loads" 0 "100.0% of the parameters; 0 missing" "$mica" info r50.safetensors
  check "efficientnet" 0 "looks like efficientnet in names of efficientnet_pytorch, .*224x224x3, 3 classes" "$mica" info b0.safetensors
  check "and all of it loads as well" 0 "100.0% of the parameters; 0 missing" "$mica" info b0.safetensors
  check "resnet152 is not claimed" 0 "resnet152, which this version does not have" "$mica" info r152.safetensors
  check "timm's vit" 0 "looks like vit:patch=8:dim=64:depth=3:heads=1 in timm's names, pictures of 32x32x3, 10 classes" "$mica" info vit.safetensors
  check "all of it loads too" 0 "100.0% of the parameters; 0 missing" "$mica" info vit.safetensors
  check "into another architecture: the account" 0 "taken as resnet:depth=34" "$mica" info r18.safetensors --as resnet:depth=34
  check "what is missing is named" 0 "missing     layer1.2.conv1.weight" "$mica" info r18.safetensors --as resnet:depth=34:width=8
  check "into one that does not exist" 0 "does not load: .*resnet" "$mica" info r18.safetensors --as resnett
  check "a file without a known form" 0 "taken as vit" "$mica" info plain.safetensors --as vit:patch=16
  json "JSON of that" "$mica" info r18.safetensors --as resnet:depth=34 --json
  check "without a head" 0 "no head" "$mica" info part.safetensors
  check "what is unexpected is named" 0 "unexpected  extra" "$mica" info part.safetensors
  check "NaN are counted" 0 "extra .* NaN 1" "$mica" info part.safetensors --stats
  holds "no escape reaches the terminal" bash -c '! "$0" info part.safetensors | grep -q "$(printf "\033")"' "$mica"
  check "a hole in the blocks: what is whole" 0 "depth=1" "$mica" info cut.safetensors
  check "nothing recognised" 0 "no architecture of mica's is recognised" "$mica" info plain.safetensors
  json "JSON with control characters" "$mica" info part.safetensors --json --stats
else
  echo "skip checkpoints of others: no python3 here"
fi

# ---- outputs that close or are full ----
holds "a reader that goes away" bash -c 'set -o pipefail; "$0" list 2>err | head -n 1 >/dev/null; [ ! -s err ]' "$mica"
holds "the same where the signal is ignored" bash -c 'trap "" PIPE; "$0" list 2>err | head -n 1 >/dev/null; [ ! -s err ]' "$mica"
check "a full disk" 1 "standard output: No space left" bash -c '"$0" list >/dev/full' "$mica"
check "a closed standard output" 1 "standard output: " bash -c '"$0" list >&-' "$mica"
check "all three closed" 0 "^$" bash -c '"$0" embed net.mica photos/dark/1.pgm -o closed.npy >&- 2>&- <&-; echo' "$mica"
check "and the file is whole" 0 "npy, 1 tensors" "$mica" info closed.npy
