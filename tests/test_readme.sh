# The README's tables, links and code agree with the tree.
check() { # name, complaint on standard input
  local complaint
  complaint=$(cat)
  if [ -z "$complaint" ]; then echo "ok $1"; else sed 's/^/# /' <<<"$complaint"; echo "not ok $1"; fi
}

# Every package of the ordinary tasks is in the table with its reason, and nothing else is.
table=$(sed -n '/^| what | Debian/,/^$/p' README.md | cut -d '|' -f 3 | grep -o '`[^`]*`' | tr -d '`' | sort -u)
known=$(awk '$1 == "build" || $1 == "test" || $1 == "demo" || $1 == "bench" { print $2 }' scripts/packages | sort -u)
comm -3 <(printf '%s\n' "$table" | grep -vx libomp-dev) <(printf '%s\n' "$known") |
  check "the README's packages are those of scripts/packages"

for page in README.md CONTRIBUTING.md CHANGELOG.md docs/*.md; do
  grep -oE '\]\([^)#]+' "$page" | sed 's/^](//' | grep -vE '^https?:' | while read -r link; do
    [ -e "$(dirname "$page")/$link" ] || echo "$page: $link is not there"
  done
done | check "links lead somewhere"

grep -ohE 'make [a-z][a-z0-9-]+' README.md CONTRIBUTING.md docs/building.md | awk '{ print $2 }' | sort -u |
  while read -r target; do
    grep -q "^$target:.*## " Makefile || case $target in it | them | a) ;; *) echo "no target $target" ;; esac
  done | check "the make targets named exist"

# Every command line of the pages is one that the tool takes: its verb and its flags.
if [ -x "$MICA_BUILD/mica" ]; then
  for page in README.md docs/*.md; do
    sed -n '/^```sh/,/^```/p' "$page" | sed 's/#.*//' | grep -oE '^(build/)?mica [a-z]+.*' | while read -r _ verb rest; do
      if ! help=$("$MICA_BUILD/mica" help "$verb" 2>&1); then
        echo "$page: no verb $verb"
        continue
      fi
      grep -oE -- '(^| )--?[a-z][a-z-]*' <<<"$rest" | while read -r flag; do
        grep -qE -- "(^|[ ,])$flag([ ,]|\$)" <<<"$help" || echo "$page: $verb has no flag $flag"
      done
    done
  done | check "the pages' command lines exist"
else
  echo "skip the pages' command lines: this build has no tool"
fi

sed -n '/^| variable/,/^$/p' README.md | grep -oE '^\| `[A-Z_]+`' | grep -oE '[A-Z_]+' | while read -r name; do
  case $name in OMP_NUM_THREADS | MICA_MODELS) continue ;; esac # OpenMP's own
  grep -rqw --exclude=test_readme.sh "$name" src scripts Makefile tests .ci || echo "$name is read nowhere"
done | check "the environment variables are read"

if [ -d examples/teach ]; then
  # The code of the first screen is the example's, line for line.
  sed -n '/^<!-- teach:begin/,/^<!-- teach:end/p' README.md | sed '/^```/d; /^<!--/d; /^$/d' >/tmp/readme.$$
  { [ "$(wc -l </tmp/readme.$$)" -ge 10 ] || echo "no code on the first screen"
    while IFS= read -r line; do
      cat examples/teach/*.c | sed 's/^ *//' | grep -qxF -- "$(sed 's/^ *//' <<<"$line")" || echo "not in the example: $line"
    done </tmp/readme.$$; } | check "the first screen's program is examples/teach"
  rm -f /tmp/readme.$$
else
  echo "skip the first screen's program: examples/teach is not in this tree"
fi
