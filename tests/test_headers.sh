# Every public function has a doc comment, and mica/mica.h includes every public header.
if scripts/check_headers | sed 's/^/# /' && [ "${PIPESTATUS[0]}" = 0 ]; then
  echo "ok the public headers are documented"
else
  echo "not ok the public headers are documented"
fi
# The check itself finds what it is for.
bad=$(mktemp -d)
trap 'rm -rf "$bad"' EXIT
printf '/* File. */\n\n/* A. */\nMICA_API int mica_a(int x);\n\nMICA_API int mica_b(\n  int x);\n' >"$bad/bad.h"
if out=$(scripts/check_headers "$bad/bad.h") || [ "$(grep -c 'mica_[ab]' <<<"$out")" != 1 ] ||
  ! grep -q 'bad.h:6: mica_b has no doc comment' <<<"$out"; then
  echo "not ok an undocumented function is found"
else
  echo "ok an undocumented function is found"
fi
