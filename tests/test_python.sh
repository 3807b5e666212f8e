# The Python binding on this build's library, and the wheel that `pip install` makes of it.
library=$MICA_BUILD/libmica.so.0
if [ ! -e "$library" ]; then
  echo "skip the Python binding: this build has no shared library"
  exit 0
fi
python=
for p in python3 /usr/bin/python3; do
  if command -v "$p" >/dev/null 2>&1 && "$p" -c 'import numpy' 2>/dev/null; then
    python=$p
    break
  fi
done
if [ -z "$python" ]; then
  echo "skip the Python binding: no python3 has numpy (python3-numpy)"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MICA_LIBRARY=$library PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=2

MICA_TOOL=$MICA_BUILD/mica PYTHONPATH=$MICA_SOURCE/python "$python" "$MICA_SOURCE/python/tests/test_mica.py" 2>"$work/log"
status=$?
grep -E '^(FAIL|ERROR|[A-Za-z.]*Error)' "$work/log" | sed 's/^/# /'
[ $status = 0 ] || sed 's/^/# /' "$work/log"

# The wheel, by the same function that pip calls: whole, and working where it is unpacked.
say() { if [ "$2" = 0 ]; then echo "ok $1"; else sed 's/^/# /' "$work/log"; echo "not ok $1"; fi; }
cd "$MICA_SOURCE/python" && "$python" -c 'import backend, sys; print(backend.build_wheel(sys.argv[1]))' "$work" >"$work/name" 2>"$work/log"
say "a wheel is made" $?
mkdir "$work/there" && "$python" -m zipfile -e "$work/$(tail -1 "$work/name")" "$work/there" 2>"$work/log"
say "it can be unpacked" $?
cd "$work" && env -u MICA_LIBRARY PYTHONPATH=$work/there "$python" -c '
import mica, numpy, os
assert mica.library_path().startswith(os.environ["PYTHONPATH"]), mica.library_path()
from mica.estimators import Knn
x = numpy.eye(4)
assert Knn(k=1).fit(x, [0, 1, 2, 3]).predict(x).tolist() == [0, 1, 2, 3]
assert os.path.exists(os.path.join(os.path.dirname(mica.__file__), "py.typed"))
' 2>"$work/log"
say "it works by itself" $?
