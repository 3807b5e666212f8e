# For tests of the tool: $mica, an empty folder of the test's own, how a case is told, and pictures. Source it in
# the first lines.
if [ ! -x "$MICA_BUILD/mica" ]; then echo "skip $(basename "$0" .sh): this build has no tool"; exit 0; fi
mica=$MICA_BUILD/mica
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

told() { # name, exit status, file that says why
  if [ "$2" = 0 ]; then echo "ok $1"; return; fi
  echo "# status $2"
  tail -n 40 "$3" | sed 's/^/# /'
  echo "not ok $1"
}
check() { # name, then a command that must succeed; what mica said last is in `log`, others in `aside`
  local name=$1 to=aside
  shift
  case $1 in "$mica") to=log ;; grep) to=found ;; esac
  "$@" >"$to" 2>&1
  told "$name" $? "$to"
}
refused() { # name, text of the message, then a command that must fail
  local name=$1
  shift
  says "$@" >log 2>&1
  told "$name" $? log
}
says() { # text, then a command that must fail with it
  local text=$1
  shift
  if "$@" >said 2>&1; then echo "it went through: $*"; return 1; fi
  cat said
  grep -qF -- "$text" said
}
above() { compare '>' "$@"; } # key, bound, command: the last JSON line that it prints has the key above that
below() { compare '<' "$@"; }
compare() {
  local sign=$1 key=$2 bound=$3
  shift 3
  "$@" >said 2>said.err || { cat said.err; return 1; }
  cat said
  sed -n "s/.*\"$key\": \([-0-9.e+]*\).*/\1/p" said | tail -n 1 | awk -v bound="$bound" "
    BEGIN { bad = 1 } { bad = !(\$1 $sign bound) } END { exit bad }"
}

# Grey pictures of 12x12 with noise and a bright third: of rows, or for patterns from 3 on of columns.
draw_thirds() { # folder pattern count seed
  mkdir -p "$1"
  LC_ALL=C awk -v pattern="$2" -v count="$3" -v seed="$4" -v folder="$1" 'BEGIN {
    srand(seed)
    for (n = 0; n < count; n++) {
      file = sprintf("%s/%02d.pgm", folder, n)
      printf "P5\n12 12\n255\n" >file
      for (p = 0; p < 144; p++) {
        along = pattern < 3 ? int(p / 12) : p % 12
        printf "%c", (int(along / 4) == pattern % 3 ? 190 : 50) + int(40 * rand()) >file
      }
      close(file)
    }
  }'
}
