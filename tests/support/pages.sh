# For tests that follow a page of the docs: an installed mica, made-up photos, and the page's shell blocks run
# line by line. Source it in the first lines; it leaves the test in an empty folder of its own.
if [ ! -x "$MICA_BUILD/mica" ]; then echo "skip the pages: this build has no tool"; exit 0; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 MICA_MODELS=$work/models PATH=$MICA_BUILD:$PATH
if ! cmake --install "$MICA_BUILD" --prefix "$work/root" >"$work/log" 2>&1; then
  sed 's/^/# /' "$work/log"
  echo "not ok mica is installed"
  exit 1
fi
export PKG_CONFIG_PATH=$work/root/lib/pkgconfig LD_LIBRARY_PATH=$work/root/lib
if [ ! -e "$work/root/lib/libmica.so" ]; then echo "skip the pages: this build is static"; exit 0; fi
cd "$work" || exit 1

# Photos: bars that lie, stand or cross, each at another place and of another grey. mica tells a format by the
# contents, so these are pictures whatever their names say.
picture() { # file kind number
  awk -v kind="$2" -v n="$3" 'BEGIN {
    srand(n * 7 + length(kind)); at = 8 + int(rand() * 16); light = 150 + int(rand() * 100)
    print "P2 32 32 255"
    for (y = 0; y < 32; y++) for (x = 0; x < 32; x++) {
      lying = y >= at && y < at + 4; standing = x >= at && x < at + 4
      on = kind == "bolt" ? standing : kind == "nut" ? lying : lying || standing
      print (on ? light : 30 + int(rand() * 20))
    }
  }' >"$1"
}
to_binary() { # P2 to P5, which is what mica reads
  awk 'NR == 1 { printf "P5 32 32 255\n"; next } { printf "%c", $1 }' "$1" >"$1.new" && mv "$1.new" "$1"
}
export LC_ALL=C
mkdir -p photos/bolt photos/nut washers
for i in $(seq 20); do
  for kind in bolt nut; do picture photos/$kind/$i.jpg $kind "$i"; to_binary photos/$kind/$i.jpg; done
done
for i in 1 2 3 4; do picture washers/$i.jpg washer "$i"; to_binary washers/$i.jpg; done
picture new.jpg bolt 99; to_binary new.jpg

commands=0
follow() { # page: each line of its shell blocks, in order
  local line
  while IFS= read -r line; do
    commands=$((commands + 1))
    if timeout 100 bash -c "$line" >out 2>&1; then echo "ok $1: $line"; else
      tail -n 20 out | sed 's/^/# /'
      echo "not ok $1: $line"
    fi
  done < <(sed -n '/^```sh$/,/^```$/p' "$MICA_SOURCE/$1" | sed '/^```/d; /^$/d; s/ *#.*//' |
    sed -e ':a' -e '/\\$/{N;s/\\\n *//;ba' -e '}' | grep -vE '^(make|mica model get) ')
}
says() { # name pattern: the last command's output
  if grep -q "$2" out; then echo "ok $1"; else
    sed 's/^/# /' out
    echo "not ok $1"
  fi
}
programs() { # page: its C blocks that begin with /* NAME.c: ... */ into files of that name
  sed -n '/^```c$/,/^```$/p' "$MICA_SOURCE/$1" | awk '
    /^```/ { if (file) close(file); file = ""; first = /^```c$/; next }
    first { file = ""; if (match($0, /^\/\* [a-z_]+\.c/)) file = substr($0, 4, RLENGTH - 3); first = 0 }
    file { print > file }'
}
