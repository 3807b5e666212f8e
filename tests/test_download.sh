# mica model get and mica data get against a server of our own on this machine: what works, and every
# way in which a download goes wrong.
if [ ! -x "$MICA_BUILD/mica" ]; then echo "skip downloads: this build has no tool"; exit 0; fi
for program in curl python3 tar; do
  command -v $program >/dev/null || { echo "skip downloads: no $program here"; exit 0; }
done
mica=$MICA_BUILD/mica
work=$(mktemp -d)
server=
cleanup() {
  [ -z "$server" ] || kill "$server" 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT
mkdir "$work/www"
cd "$work" || exit 1
export MICA_MODELS=$work/models MICA_DATA=$work/data MICA_CATALOGUE=$work/catalogue.json
export no_proxy=127.0.0.1 OMP_NUM_THREADS=1
unset http_proxy https_proxy all_proxy HTTPS_PROXY ALL_PROXY

# What is served: a checkpoint that mica itself trained, a folder of pictures in three archives, hostile
# archives, and a file of half a megabyte.
python3 - <<'PY'
import io, os, random, tarfile, zipfile
random.seed(1)
os.makedirs("pictures")
for name, value in (("dark", 20), ("light", 200)):
    for i in range(8):
        data = bytes(value + random.randrange(20) for _ in range(64))
        head = b"P5 8 8 255\n"
        os.makedirs(f"pictures/{name}", exist_ok=True)
        open(f"pictures/{name}/{i}.pgm", "wb").write(head + data)
open("www/big.bin", "wb").write(random.randbytes(500_000))
def tar(name, members):
    with tarfile.open("www/" + name, "w:gz") as t:
        for info, data in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
def link(name, to, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info
with tarfile.open("www/pictures.tar.gz", "w:gz") as t:
    t.add("pictures", "set-1.0")
with zipfile.ZipFile("www/objects.zip", "w", zipfile.ZIP_DEFLATED) as z:
    for name in ("dark", "light"):
        for i in range(8):
            z.write(f"pictures/{name}/{i}.pgm", f"objects/{name}__{i}.pgm")
tar("up.tar.gz", [("ok.txt", b"fine"), ("../escaped", b"bad")])
tar("root.tar.gz", [(os.getcwd() + "/absolute", b"bad"), ("ok.txt", b"fine")])
tar("soft.tar.gz", [(link("out", os.getcwd(), tarfile.SYMTYPE), b""), ("out/through", b"bad")])
tar("hard.tar.gz", [(link("twin", "/etc/passwd", tarfile.LNKTYPE), b"")])
tar("device.tar.gz", [(link("pipe", "", tarfile.FIFOTYPE), b"")])
open("www/broken.tar.gz", "wb").write(open("www/pictures.tar.gz", "rb").read()[:150])
for name, member in (("up.zip", "../escaped"), ("root.zip", os.getcwd() + "/absolute"), ("deep.zip", "a/../../escaped")):
    with zipfile.ZipFile("www/" + name, "w") as z:
        z.writestr(member, b"bad")
PY
MICA_CATALOGUE='' "$mica" train mlp:hidden=4 --data pictures --size 8 --epochs 1 --batch-size 4 -o net.mica >train.log 2>&1 ||
  { sed 's/^/# /' train.log; echo "not ok a network to serve"; exit 1; }
cp net.mica www/net.safetensors
# The README's first screen needs a resnet18; this one is narrow.
MICA_CATALOGUE='' "$mica" train resnet:depth=18:width=8 --data pictures --size 64 --epochs 1 --batch-size 4 -o narrow.mica >train.log 2>&1 ||
  { sed 's/^/# /' train.log; echo "not ok a resnet18 to serve"; exit 1; }
cp narrow.mica www/resnet18-f37072fd.pth
python3 - <<'PY'
import hashlib, json, os
def file(name, archive=False, **more):
    data = open("www/" + name, "rb").read()
    return dict({"name": name, "url": "https://files.example/some/where/" + name, "bytes": len(data),
                 "sha256": hashlib.sha256(data).hexdigest(), "archive": archive}, **more)
net = {"name": "net", "summary": "a test", "licence": "MIT", "architecture": "mlp:hidden=4", "side": 8, "crop": 0.875,
       "channels": 3, "classes": ["dark", "light"], "mean": [0.5, 0.5, 0.5], "deviation": [0.2, 0.2, 0.2],
       "files": [file("net.safetensors")]}
resnet = dict(net, name="resnet18", architecture="resnet:depth=18:width=8", side=64,
              files=[file("resnet18-f37072fd.pth")])
other = dict(net, name="other", architecture="mlp:hidden=5")
short = dict(net, name="short", files=[file("net.safetensors", sha256=file("net.safetensors")["sha256"][:8])])
data = [{"name": "pictures", "files": [file("pictures.tar.gz", True)]},
        {"name": "objects", "class_mark": "__", "files": [file("objects.zip", True)]},
        {"name": "plain", "files": [file("big.bin"), file("net.safetensors")]},
        {"name": "big", "files": [file("big.bin")]},
        {"name": "unknown-size", "files": [file("big.bin", bytes=0)]},
        {"name": "none-published", "files": [dict(file("big.bin", bytes=0), sha256=None)]},
        {"name": "absent", "files": [dict(file("big.bin"), name="x", url="https://files.example/absent")]},
        {"name": "huge", "files": [file("big.bin", bytes=1 << 62)]}]
for name in sorted(os.listdir("www")):
    if name.partition(".")[0] in ("up", "root", "soft", "hard", "device", "broken", "deep"):
        data.append({"name": name.replace(".", "-"), "files": [file(name, True)]})
json.dump({"models": [net, resnet, other, short], "data": data}, open("catalogue.json", "w"))
PY
python3 "$MICA_SOURCE/tests/support/http_server.py" "$work/www" "$work/port" "$work/log" &
server=$!
for _ in $(seq 100); do [ -s port ] && break; sleep 0.05; done
[ -s port ] || { echo "not ok the server starts"; exit 1; }
host=http://127.0.0.1:$(cat port)
via() { export MICA_MIRROR=$host/$1; }

check() { # name status-expected text-expected command...: runs it, looks at status and output
  local name=$1 status=$2 text=$3
  shift 3
  timeout 60 "$@" >out 2>&1
  local got=$?
  if [ $got = "$status" ] && grep -qe "$text" out; then echo "ok $name"; else
    sed 's/^/# /' out
    echo "not ok $name (status $got, expected $status and '$text')"
  fi
}
holds() { # name command...
  local name=$1
  shift
  if "$@" >out 2>&1; then echo "ok $name"; else sed 's/^/# /' out; echo "not ok $name"; fi
}
fresh() { rm -rf models data log; }

# ---- models ----
via ok
check "a model is fetched and becomes a model file" 0 "^model: $work/models/net.mica$" "$mica" model get net
holds "the publisher's file stays beside it" cmp models/net.safetensors www/net.safetensors
holds "no part is left" test ! -e models/net.safetensors.part
check "the model file works" 0 "dark\|light" "$mica" predict models/net.mica pictures/dark/0.pgm
check "it says where it is from" 0 "files.example" "$mica" info models/net.mica
check "what is there is not fetched again" 0 "already here" "$mica" model get net
touch log && before=$(wc -l <log)
check "--force fetches again" 0 "sha256 as published" "$mica" model get net --force
holds "the server was asked" test "$(wc -l <log)" -gt "$before"
rm models/net.mica
before=$(wc -l <log)
check "a file that is there and right is only converted" 0 "^model:" "$mica" model get net
holds "the server was not asked" test "$(wc -l <log)" = "$before"
echo damaged >models/net.safetensors && rm models/net.mica
check "a damaged file is fetched again" 0 "not the published file" "$mica" model get net
check "a prefix of the checksum is said to be one" 0 "first 8 digits are as published" "$mica" model get short --force
check "a checkpoint of another architecture is an error" 1 "net.safetensors" "$mica" model get other
holds "and leaves no model file" test ! -e models/other.mica
check "--json reports progress and the result" 0 '"model": *"' "$mica" model get net --json --force
holds "as JSON, line by line" python3 -c 'import json; [json.loads(l) for l in open("out")]'
cp out json.out
check "an unknown model suggests" 1 "did you mean net" "$mica" model get nett
check "get without a name" 2 "get what" "$mica" model get
check "an unknown action" 2 "neither list, get nor import" "$mica" model fetch net

check "the pictures' crop is in the model file" 0 '"crop":0.875' "$mica" info models/net.mica
check "the first screen of the README: get" 0 "^model: .*resnet18.mica" "$mica" model get resnet18
check "fit" 0 "parts.mica" "$mica" fit prototypes --encoder resnet18 --data pictures/ -o parts.mica
check "predict" 0 "pictures/dark/0.pgm,1,dark" "$mica" predict parts.mica pictures/dark/0.pgm
check "without MICA_MODELS: the cache folder" 0 "^model: $work/xdg/mica/models/net.mica$" \
  env -u MICA_MODELS XDG_CACHE_HOME="$work/xdg" "$mica" model get net
check "or the home folder's" 0 "^data: $work/home/.cache/mica/data/big$" \
  env -u MICA_DATA -u XDG_CACHE_HOME HOME="$work/home" "$mica" data get big

# ---- the network ----
fresh; via cut
check "a cut connection is an error" 1 "the part is kept" "$mica" data get big
holds "the part is there" test "$(stat -c %s data/.big.work/big.bin.part)" = 250000
check "the same command continues" 0 "^data: $work/data/big$" "$mica" data get big
holds "from where it broke off" grep -q "cut files.example/some/where/big.bin bytes=250000-" log
holds "to the right bytes" cmp data/big/big.bin www/big.bin
holds "and tidies up" test ! -e data/.big.work
fresh; via ok; mkdir -p data/.big.work; head -c 1000 /dev/zero >data/.big.work/big.bin.part
check "a part of something else: from the beginning" 0 "from the beginning" "$mica" data get big
holds "the right bytes all the same" cmp data/big/big.bin www/big.bin
fresh; via norange; mkdir -p data/.big.work; head -c 1000 www/big.bin >data/.big.work/big.bin.part
check "a server that cannot continue: from the beginning" 0 "from the beginning" "$mica" data get big
holds "the right bytes there too" cmp data/big/big.bin www/big.bin
fresh; via ok; mkdir -p data/.big.work; cp www/big.bin data/.big.work/big.bin.part
check "a whole part is only checked" 0 "sha256 as published" "$mica" data get big
holds "without the server" test ! -e log
fresh; mkdir -p data/.unknown-size.work; cp www/big.bin data/.unknown-size.work/big.bin.part
check "a whole part of unknown size" 0 "^data:" "$mica" data get unknown-size
fresh; mkdir -p data/.big.work; head -c 600000 /dev/zero >data/.big.work/big.bin.part
check "a part larger than the file" 0 "^data:" "$mica" data get big
fresh; via wrong
check "a wrong checksum" 1 "sha256 is .*, expected .*; not kept" "$mica" data get big
holds "nothing is kept" test ! -e data/big -a ! -e data/.big.work/big.bin.part -a ! -e data/.big.work/big.bin
via missing; check "404" 1 "answers 404, not found" "$mica" data get big
via ok; check "404 for an absent file" 1 "answers 404" "$mica" data get absent
via redirect; check "a redirect is followed" 0 "^data:" "$mica" data get big
fresh; via loop; check "redirects without end" 1 "more than 5 redirects" "$mica" data get big
via file; check "a redirect to a local file is refused" 1 "big.bin" "$mica" data get big
holds "and nothing of it kept" test ! -e data/big
via empty; check "an empty answer" 1 "has 0 bytes, expected 500000" "$mica" data get big
via endless; check "more bytes than promised" 1 "is larger than the 500000 bytes expected" "$mica" data get big
fresh; MICA_MIRROR=http://127.0.0.1:1 check "no server" 1 "no connection" env MICA_MIRROR=http://127.0.0.1:1 "$mica" data get big
check "no such host" 1 "no connection" env MICA_MIRROR=http://host.invalid "$mica" data get big
check "only https without a mirror" 1 "." env -u MICA_MIRROR https_proxy=http://127.0.0.1:1 "$mica" data get big
check "a proxy is used" 0 "^data:" env MICA_MIRROR=http://files.invalid/ok http_proxy="$host" no_proxy= "$mica" data get big
rm -rf data
check "no curl" 1 "'curl' is not installed" env PATH=/nonexistent "$mica" data get big

fresh; via slow
"$mica" data get big >out 2>&1 &
pid=$!
for _ in $(seq 100); do [ -s data/.big.work/big.bin.part ] && break; sleep 0.05; done
check "two at once: the second says so" 1 "another mica is fetching it" "$mica" data get big
"$mica" version >/dev/null
kill -INT $pid
wait $pid
status=$?
# A background job of a shell ignores SIGINT unless it installs a handler, as mica does.
holds "Ctrl-C ends with 130" test $status = 130
holds "and a part" test -s data/.big.work/big.bin.part
via ok
check "that the same command continues" 0 "^data:" "$mica" data get big
holds "by range" grep -q "ok .*big.bin bytes=[1-9]" log

# ---- the disk ----
fresh
check "a file that may not grow" 1 "cannot be written, the disk may be full" \
  bash -c 'ulimit -f 100; exec "$0" data get big' "$mica"
check "too little space is said before" 1 "the disk has" "$mica" data get huge
touch locked
check "a data folder that is a file" 1 "locked" env MICA_DATA="$work/locked" "$mica" data get big

# ---- data sets ----
fresh
check "a tar is unpacked" 0 "^data: $work/data/pictures$" "$mica" data get pictures
holds "without its top folder" cmp data/pictures/dark/0.pgm pictures/dark/0.pgm
holds "with a record of its source" grep -q '"licence"' data/pictures/.mica.json
check "its contents" 0 "16 examples in 2 classes" "$mica" data info pictures
check "again: already here" 0 "already here" "$mica" data get pictures
check "--force replaces it" 0 "^data:" "$mica" data get pictures --force
check "a zip of flat files becomes classes" 0 "^data:" "$mica" data get objects
check "two of them" 0 "16 examples in 2 classes" "$mica" data info "$work/data/objects"
check "a verb takes it by its name" 0 "accuracy" "$mica" eval net.mica --data objects
check "and tells of one that is not there" 1 "not fetched yet" "$mica" train mlp --data huge
check "several files" 0 "^data:" "$mica" data get plain
holds "all there" test -e data/plain/big.bin -a -e data/plain/net.safetensors
check "no checksum published" 0 "none is published" "$mica" data get none-published
mkdir data/big && echo mine >data/big/notes
check "a folder of the user's own is not replaced" 1 "was not made by" "$mica" data get big --force
holds "and its files stay" grep -q mine data/big/notes
check "not fetched yet" 1 "not fetched yet: mica data get huge" "$mica" data info huge

# ---- hostile archives ----
for name in up-tar-gz soft-tar-gz hard-tar-gz device-tar-gz broken-tar-gz up-zip root-zip deep-zip; do
  check "hostile $name is refused" 1 "${name%%-*}\.\(tar\.gz\|zip\): " "$mica" data get "$name"
  holds "nothing of $name is left" test ! -e "data/$name"
done
"$mica" data get root-tar-gz >out 2>&1 # tar drops the leading slash: it may succeed, inside
holds "nothing was written outside" test ! -e data/escaped -a ! -e escaped -a ! -e absolute -a ! -e through

# ---- the catalogue ----
echo '{"models": [{"name": "a/b", "files": []}]}' >bad.json
check "a bad name in a catalogue" 1 "bad.json: entry 1: .*no plain name" env MICA_CATALOGUE=bad.json "$mica" model list
echo '{"data": [{"name": "a", "files": [{"name": "../x", "url": "https://a/b"}]}]}' >bad.json
check "a bad file name in a catalogue" 1 "no plain name" env MICA_CATALOGUE=bad.json "$mica" data list
echo '{' >bad.json
check "a catalogue that is no JSON" 1 "MICA_CATALOGUE: bad.json" env MICA_CATALOGUE=bad.json "$mica" data list
check "an absent catalogue" 1 "absent.json" env MICA_CATALOGUE=absent.json "$mica" data list
sed -n '/^<!-- catalogue:begin/,/^<!-- catalogue:end/p' "$MICA_SOURCE/docs/formats.md" | sed '/^<!--/d; /^```/d' >documented.json
check "the documented catalogue is one: models" 0 "bolts .* 1.1 MB" env MICA_CATALOGUE=documented.json "$mica" model list
check "the documented catalogue is one: data" 0 "line-3" env MICA_CATALOGUE=documented.json "$mica" data list
export MICA_CATALOGUE=
for verb in model data; do
  check "mica $verb list" 0 "MB  " "$mica" $verb list
  "$mica" $verb list --json >lines
  holds "mica $verb list --json: https, a licence, whole checksums" python3 - <<'PY'
import json
lines = [json.loads(l) for l in open("lines")]
assert len(lines) >= 9
for l in lines:
    assert l["licence"] and l["page"].startswith("http") and l["files"], l
    for f in l["files"]:
        assert f["url"].startswith("https://"), f
        assert f["sha256"] is None and l["name"] == "coil-20" or len(f["sha256"]) == 64, f
PY
done
check "all about one" 0 "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec" "$mica" model list resnet18
if [ -n "${MICA_WEIGHTS:-}" ] && [ -d "$MICA_WEIGHTS/resnet-cifar10" ]; then
  via ok
  for depth in 20 32 44 56; do
    file=$(basename "$MICA_WEIGHTS"/resnet-cifar10/resnet$depth-*.th)
    cp "$MICA_WEIGHTS/resnet-cifar10/$file" www/
    check "the published ResNet-$depth becomes a model file" 0 "cifar-resnet$depth.mica" "$mica" model get "cifar-resnet$depth"
  done
  check "that knows its classes" 0 "airplane\|automobile\|bird\|cat\|deer\|dog\|frog\|horse\|ship\|truck" \
    "$mica" predict models/cifar-resnet20.mica pictures/dark/0.pgm
else
  echo "skip the published CIFAR networks: MICA_WEIGHTS is not set"
fi
