# Every paper of the tool: its entry, and its claim in the small setting, as a user runs it.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mica=$MICA_BUILD/mica
cd "$work" || exit 1

say() { # name, exit status of what was done
  if [ "$2" = 0 ]; then echo "ok $1"; else sed 's/^/# /' log 2>/dev/null; echo "not ok $1"; fi
}

"$mica" paper list --json >list.json 2>log
say "the list is JSON with the promised names" $?
python3 - list.json >slugs 2>log <<'END'
import json, sys
papers = json.load(open(sys.argv[1]))
for p in papers:
    for name in ("slug", "title", "components", "arxiv", "verdict"):
        assert name in p, (p, name)
    assert isinstance(p["components"], list), p
    assert p["verdict"] in ("not run", "not shown", "mechanism shown", "reproduced"), p
    print(p["slug"], p["verdict"].replace(" ", "_"), *p["components"])
END
say "each entry is whole" $?

# Components that a paper names are there.
bad=0
while read -r slug verdict components; do
  for c in $components; do
    "$mica" list "${c%%:*}" "${c#*:}" >log 2>&1 || { echo "# $slug names $c"; bad=1; }
  done
  record=$MICA_SOURCE/docs/results/$slug.md
  if [ "$verdict" = not_run ]; then
    [ ! -e "$record" ] || { echo "# $record is there, but $slug says it was not run"; bad=1; }
  else
    grep -qF "**Verdict: ${verdict//_/ }**" "$record" || { echo "# $record has another verdict than $verdict"; bad=1; }
  fi
  [ -e "$MICA_SOURCE/docs/papers/$slug.md" ] || { echo "# no docs/papers/$slug.md"; bad=1; }
done <slugs
say "components, records and pages agree with the list" $bad

# Budgets are counted by the driver alone: a paper's file trains and fits through it.
! grep -nE '\bmica_(train|train_many|estimator_fit)\(' "$MICA_SOURCE"/src/paper/claims/*.c >log 2>/dev/null
say "no paper trains or fits behind the driver's back" $?

while read -r slug _; do
  "$mica" paper run "$slug" --smoke --json --out "out/$slug" --cache cache -j 1 >result.json 2>log
  code=$?
  if [ "$code" = 1 ] && grep -q 'the data set .* is not there' log; then
    echo "skip $slug: its data is not on this machine ($(head -c 80 log))"
    continue
  fi
  python3 - "$slug" "$code" >>log 2>&1 <<'END'
import json, sys
r = json.loads(open("result.json").read().strip().splitlines()[-1])
for name in ("slug", "holds", "verdict", "metric", "baseline", "method", "trivial", "margin", "interval",
             "threshold", "seeds", "seconds"):
    assert name in r, name
assert r["slug"] == sys.argv[1] and isinstance(r["holds"], bool), r
assert sys.argv[2] == ("0" if r["holds"] else "3"), (sys.argv[2], r["holds"])
assert isinstance(r["margin"], float) and isinstance(r["method"], float), r
import os
for f in r["figures"]:
    assert os.path.exists(f), f
assert r["figures"] and os.path.exists(f"out/{r['slug']}/report.html")
END
  say "$slug runs in the small setting (exit status $code)" $?
done <slugs

"$mica" paper show no-such-paper >log 2>&1
[ $? = 1 ]
say "an unknown paper is refused" $?
"$mica" paper rum >log 2>&1
[ $? = 2 ] && grep -q 'did you mean run' log
say "a wrong word is refused with the nearest" $?
