# The runner of golden vectors: on files made here, on those of the tree, on all where they are.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
golden=$MICA_BUILD/tests/golden
cd "$work" || exit 1

say() { # name, exit status of what was done
  if [ "$2" = 0 ]; then echo "ok $1"; else sed 's/^/# /' log 2>/dev/null; echo "not ok $1"; fi
}

mkdir -p v/self-test v/nobody-knows v/empty
cat >make.py <<'END'
import json, struct

def save(path, tensors, metadata={}):
    header, data = {"__metadata__": metadata}, b""
    for name, (kind, shape, values) in tensors.items():
        code = {"F32": "f", "F64": "d", "I64": "q"}[kind]
        raw = struct.pack("<%d%s" % (len(values), code), *values)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)

x, w, b = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.5, -1.0, 2.0], [0.25]
y = [4.75, 9.25]
given = {"in.x": ("F32", [2, 3], x), "param.weight": ("F32", [1, 3], w), "param.bias": ("F32", [1], b)}
out = {"out.y": ("F32", [2, 1], y)}
grad = {"grad.weight": ("F32", [1, 3], [5.0, 7.0, 9.0])}
save("v/self-test/right.safetensors", {**given, **out, **grad})
save("v/self-test/scaled.safetensors", {**given, "out.y": ("F32", [2, 1], [9.5, 18.5])}, {"scale": "2"})
save("v/self-test/within.safetensors", {**given, "out.y": ("F32", [2], [4.75005, 9.25])})
save("v/self-test/other_shape.safetensors", {"in.x": ("F64", [1, 1], [3.0]), "param.weight": ("F64", [1, 1], [0.0]),
     "out.y": ("F64", [1, 1], [0.0])}, {"double": "true"})
save("v/self-test/wrong.safetensors", {**given, "out.y": ("F32", [2, 1], [4.75, 9.35])})
save("v/self-test/not_a_number.safetensors", {**given, "out.y": ("F32", [2, 1], [float("nan"), 9.25])})
save("v/self-test/shape.safetensors", {**given, "out.y": ("F32", [1, 2, 1, 1], y), "out.z": ("F32", [1], [0.0])})
save("v/self-test/missing.safetensors", {"in.x": given["in.x"], **out})
save("v/self-test/nothing.safetensors", given)
save("v/self-test/option.safetensors", {**given, **out}, {"scale": "two"})
save("v/self-test/crash.safetensors", {**given, **out}, {"crash": "1"})
save("v/self-test/count.safetensors", {**given, **out, "out.rows": ("I64", [1], [3])})
save("v/nobody-knows/a.safetensors", given)
save("v/nobody-knows/b.safetensors", given)
open("v/self-test/cut.safetensors", "wb").write(open("v/self-test/right.safetensors", "rb").read()[:200])
open("v/self-test/notes.txt", "w").write("no case")
END
python3 make.py
"$golden" v >log 2>&1
[ $? = 1 ]
say "a failed case is told in the exit status" $?

line() { # name of the case, how its line must begin, and what must stand below it
  grep -A 1 "^$2 self-test/$1 " log >found && { [ -z "${3-}" ] || grep -qF -- "$3" found; }
  say "$1: $2 ${3-}" $?
}
line right pass
line scaled pass
line within pass
line other_shape pass
line wrong fail "out.y differs by 0.0107, at most 1e-05 is allowed"
line not_a_number fail "out.y differs by inf"
line shape fail "out.z was compared with nothing"
line missing fail "the file has no param.weight"
line nothing fail "the file expects nothing"
line option fail "option scale is 'two', expected a number"
line crash fail "it ended by signal 6"
line count fail "out.rows differs"
line cut fail "cut.safetensors"
grep -qx 'an answer of zeros would pass: self-test/other_shape' log
say "a case that zeros pass is listed" $?
grep -qx 'skipped, no adapter: nobody-knows' log
say "a slug without an adapter is listed" $?
[ "$(tail -n 1 log)" = "4 passed, 9 failed, 2 skipped" ]
say "the last line counts" $?
"$golden" v nobody-knows >log 2>&1
say "a slug may be named" $?
"$golden" v no-such-slug >log 2>&1
[ $? = 2 ] && "$golden" no-such-folder >log 2>&1
[ $? = 2 ]
say "what is not there is wrong usage" $?

# The vectors of the tree, and all of them where they are.
for dir in "$MICA_SOURCE/tests/golden" "${MICA_DATA:+$(dirname "$MICA_DATA")/golden}"; do
  [ -n "$dir" ] && [ -d "$dir" ] || { echo "skip all vectors: no folder golden beside MICA_DATA"; continue; }
  "$golden" "$dir" >log 2>&1
  code=$?
  say "$(basename "$(dirname "$dir")"): $(tail -n 1 log)" $code
done
