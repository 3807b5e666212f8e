# The test runner counts what happened, and takes nothing on trust.
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/scripts" "$tree/tests" "$tree/build/tests"
cp scripts/run_tests "$tree/scripts/"

program() { # name, body on standard input: stands for a compiled test
  : >"$tree/tests/$1.c"
  { echo '#!/bin/sh'; cat; } >"$tree/build/tests/$1"
  chmod +x "$tree/build/tests/$1"
}
expect() { # what, last line, status, run_tests arguments...
  local what=$1 line=$2 status=$3 out got
  shift 3
  out=$("$tree/scripts/run_tests" "$@" 2>&1)
  got=$?
  if [ "$(tail -n 1 <<<"$out")" = "$line" ] && [ $((got != 0)) = "$status" ]; then
    echo "ok $what"
  else
    sed 's/^/# /' <<<"$out"
    echo "# status $got"
    echo "not ok $what"
  fi
}

program test_good <<'P'
printf '1..3\nok 1 - a\nsome text\nnot ok 2 # SKIP b\nok 3 - c\n'
P
expect "passes and skips" "2 passed, 0 failed, 1 skipped" 0
program test_other_skip <<'P'
printf '1..1\nok 1 - a # SKIP\n'
P
expect "both spellings of a skip" "2 passed, 0 failed, 2 skipped" 0
rm "$tree"/tests/test_other_skip.c

program test_bad <<'P'
printf '1..2\nok 1 - a\nnot ok 2 - b\n# because\n'; exit 1
P
expect "a failed case" "3 passed, 1 failed, 1 skipped" 1
rm "$tree"/tests/test_bad.c
program test_crash <<'P'
printf '1..4\nok 1 - a\n'; kill -SEGV $$
P
expect "cases lost in a crash are failures" "3 passed, 3 failed, 1 skipped" 1
program test_crash <<'P'
printf '1..2\nok 1 - a\n'; exit 0
P
expect "cases lost in a silent exit too" "3 passed, 1 failed, 1 skipped" 1
program test_crash <<'P'
printf '1..1\nok 1 - a\n'; exit 99
P
expect "an exit status beyond the cases is a failure" "3 passed, 1 failed, 1 skipped" 1
program test_crash <<'P'
exit 0
P
expect "a program without cases is a failure" "2 passed, 1 failed, 1 skipped" 1
program test_crash <<'P'
printf '1..1\n'; sleep 30
P
MICA_TEST_TIMEOUT=1 expect "a program that hangs is a failure" "2 passed, 1 failed, 1 skipped" 1
rm "$tree"/tests/test_crash.c
: >"$tree/tests/test_absent.c"
expect "a program that was not built is a failure" "2 passed, 1 failed, 1 skipped" 1
rm "$tree"/tests/test_absent.c

printf 'echo "ok one"; echo "skip two no reason"\n' >"$tree/tests/shell.sh"
expect "scripts count" "3 passed, 0 failed, 2 skipped" 0
expect "scripts only" "1 passed, 0 failed, 1 skipped" 0 -s
expect "programs only" "2 passed, 0 failed, 1 skipped" 0 -p
expect "a pattern" "1 passed, 0 failed, 1 skipped" 0 -k shell
expect "a pattern that nothing matches is no success" "0 passed, 0 failed, 0 skipped" 1 -k nothing
printf 'echo "not ok one"\n' >"$tree/tests/shell.sh"
expect "a failed script" "2 passed, 1 failed, 1 skipped" 1
