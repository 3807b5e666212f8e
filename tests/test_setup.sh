# scripts/setup: shows the exact line, asks a person, and touches nothing that is there already.
fake=$(mktemp -d)
trap 'rm -rf "$fake"' EXIT
mkdir "$fake/bin" "$fake/tree" "$fake/tree/scripts"
cp scripts/setup "$fake/tree/scripts/"
cat >"$fake/tree/scripts/packages" <<'P'
# a comment
build  alpha  cmd:alpha-command  does the first thing
build  beta   cmd:beta-command   does the second thing
test   gamma  header:no/such/header.h  tests
P
stub() { # name, body on standard input
  { echo '#!/bin/bash'; cat; } >"$fake/bin/$1"
  chmod +x "$fake/bin/$1"
}
stub dpkg-query <<'P'
for name in $HAVE; do echo "$name installed"; done
P
stub apt-get <<'P'
echo "$*" >>"$CALLS"
[ "$1" != install ] || [ ! -e "$CALLS.stale" ] || { rm "$CALLS.stale"; exit 100; }
P
stub sudo <<'P'
exec "$@"
P
stub id <<'P'
echo "${FAKE_UID:-1000}"
P
export CALLS=$fake/calls
run() { # answer, arguments; leaves $out and $status
  local answer=$1
  shift
  rm -f "$CALLS"
  out=$(printf '%s' "$answer" | env -u CI PATH="$fake/bin:$PATH" ${extra:-} "$fake/tree/scripts/setup" "$@" 2>&1)
  status=$?
}
calls() { cat "$CALLS" 2>/dev/null; }
verdict() { # what, status of a condition
  if [ "$2" = 0 ]; then echo "ok $1"; else printf '# %s\n' "$out" "status $status" "calls: $(calls)"; echo "not ok $1"; fi
}
line="apt-get install -y --no-install-recommends beta"

export HAVE="alpha beta gamma"
run "" build test
[ $status = 0 ] && [ -z "$out" ] && [ -z "$(calls)" ]
verdict "nothing missing: silent, and no apt" $?
export HAVE="alpha gamma"
run "n
" build test
[ $status != 0 ] && grep -qF "sudo $line" <<<"$out" && [ -z "$(calls)" ]
verdict "shows the exact line and takes no for an answer" $?
run "" build
[ $status != 0 ] && [ -z "$(calls)" ]
verdict "no answer is no" $?
run "y
" build test
[ $status = 0 ] && [ "$(calls)" = "${line#apt-get }" ]
verdict "yes installs what is missing and nothing else" $?
extra="CI=1" run "" build
[ $status = 0 ] && [ "$(calls)" = "${line#apt-get }" ] && ! grep -q 'y/N' <<<"$out"
verdict "CI does not ask" $?
extra="FAKE_UID=0" run "" build
[ $status = 0 ] && [ "$(calls)" = "${line#apt-get }" ] && ! grep -q sudo <<<"$out"
verdict "root does not ask" $?
extra="CI=1"
rm -f "$CALLS"
touch "$CALLS.stale"
run "" build
[ $status = 0 ] && [ "$(calls | cut -d ' ' -f 1 | tr '\n' ' ')" = "install update install " ]
verdict "stale package lists are fetched" $?
extra="" run "" --check build
[ $status != 0 ] && [ -z "$(calls)" ] && grep -q beta <<<"$out"
verdict "--check only reports" $?
stub beta-command </dev/null
run "" build
[ $status = 0 ] && [ -z "$out" ]
verdict "what is there in another form need not be a package" $?
run "" nonsense
[ $status = 2 ]
verdict "an unknown group is an error" $?
