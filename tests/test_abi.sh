# The names that the shared library exports, against the recorded ones, and that the check can fail.
library=$MICA_BUILD/libmica.so
if [ ! -e "$library" ]; then
  echo "skip names of the shared library: this build has none"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
abi=$MICA_SOURCE/scripts/abi record=$MICA_SOURCE/packaging/abi/names.txt
say() { if [ "$2" = 0 ]; then echo "ok $1"; else sed 's/^/# /' "$work/log"; echo "not ok $1"; fi; }

"$abi" names "$library" >"$work/log" 2>&1
say "no recorded name is gone" $?
{ cat "$record"; echo mica_zz_gone; } >"$work/more"
"$abi" names "$library" "$work/more" >"$work/log" 2>&1
[ $? = 1 ] && grep -qx mica_zz_gone "$work/log"
say "a name that is gone is told" $?
sed 1d "$record" >"$work/fewer"
"$abi" names "$library" "$work/fewer" >"$work/log" 2>&1 && ! grep -q ' 0 are new' "$work/log"
say "a name that is new is counted" $?
! grep -qE '^mica_gaussian_mixture_draw$' "$record"
say "experimental names are not recorded" $?
! nm -D --defined-only "$library" | awk '$2 == "T" && $3 !~ /^mica_/' | grep . >"$work/log"
say "nothing else is exported" $?
"$abi" names "$work/no-such.so" >"$work/log" 2>&1
[ $? = 2 ]
say "a library that is not there is wrong usage" $?
