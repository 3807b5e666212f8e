# The README's tables and code, and all pages' links and command lines, agree with the tree.
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

pages=(README.md CONTRIBUTING.md CHANGELOG.md docs/*.md docs/papers/*.md docs/results/*.md)
# The anchors of a page's headings, as they are made where Markdown is shown.
anchors() { grep -E '^#+ ' "$1" | sed -E 's/^#+ //; s/`//g' | tr '[:upper:]' '[:lower:]' | sed -E 's/[^a-z0-9 _-]//g; s/ /-/g'; }
broken() { # pages: their links that lead nowhere
  local page link file
  for page; do
    grep -oE '\]\([^)]+' "$page" | sed 's/^](//; s/ ".*//' | grep -vE '^https?:' | while read -r link; do
      file=${link%%#*}
      file=${file:+$(dirname "$page")/$file}
      if [ ! -e "${file:-$page}" ]; then
        echo "$page: $link is not there"
      elif [ "$link" != "${link%%#*}" ] && ! anchors "${file:-$page}" | grep -qxF -- "${link#*#}"; then
        echo "$page: $link is no heading there"
      fi
    done
  done
}
broken "${pages[@]}" | check "links lead somewhere"
for page in docs/results/*.md; do
  paper=docs/papers/$(basename "$page")
  case $page in */about.md) continue ;; esac
  if [ ! -e "$paper" ]; then echo "$page: there is no $paper"; elif ! grep -q "](../results/$(basename "$page"))" "$paper"; then
    echo "$paper does not lead to $page"
  fi
done | check "papers lead to their results"
for figure in docs/results/*.svg; do
  grep -qF "($(basename "$figure"))" docs/results/*.md || grep -qF "results/$(basename "$figure"))" docs/papers/*.md ||
    echo "$figure is shown nowhere"
done | check "figures are shown"
wrong=$(mktemp -d)
printf '# A page\n[a](#a-page) [b](#b-page) [c](page.md) [d](page.md#a-page) [e](none.md) ![f](none.svg)\n' >"$wrong/page.md"
broken "$wrong/page.md" | sed 's/.*: //' | diff - <(printf '%s\n' '#b-page is no heading there' 'none.md is not there' \
  'none.svg is not there') | check "a link that leads nowhere is found"
rm -r "$wrong"

grep -ohE 'make [a-z][a-z0-9-]+' README.md CONTRIBUTING.md docs/building.md | awk '{ print $2 }' | sort -u |
  while read -r target; do
    grep -q "^$target:.*## " Makefile || case $target in it | them | a) ;; *) echo "no target $target" ;; esac
  done | check "the make targets named exist"

# Every command line of the pages is one that the tool takes: its verb and its flags.
if [ -x "$MICA_BUILD/mica" ]; then
  for page in README.md docs/*.md docs/papers/*.md; do
    sed -nE '/^```(sh.*)?$/,/^```$/p' "$page" | sed -e ':a' -e '/\\$/{N;s/\\\n//;ba' -e '}' -e 's/ #.*//' |
      grep -oE '^(build/)?mica [a-z]+.*' | while read -r _ verb rest; do
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
