# An installed mica as its users meet it: a fresh prefix, their compilers, pkg-config, CMake.
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
log=$prefix/log

try() { # name command...
  local name=$1
  shift
  if "$@" >"$log" 2>&1; then echo "ok $name"; else sed 's/^/# /' "$log"; echo "not ok $name"; fi
}

# DESTDIR and prefix both count: a package is staged below DESTDIR, and then lives at its prefix.
stage() {
  DESTDIR=$prefix/stage cmake --install "$MICA_BUILD" --prefix /opt/mica &&
    mv "$prefix/stage/opt/mica" "$prefix/mica"
}
try "installs below DESTDIR" stage
root=$prefix/mica
lib=$root/lib include=$root/include
[ -f "$lib/libmica.a" ] || { echo "not ok nothing was installed"; exit 1; }
shared=0
[ -e "$lib/libmica.so" ] && shared=1
export PKG_CONFIG_PATH=$lib/pkgconfig LD_LIBRARY_PATH=$lib

cat >"$prefix/use.c" <<'C'
/* Valid C and valid C++. */
#include <mica/mica.h>
#include <stdio.h>
#include <string.h>

static void count(void *ctx, int64_t begin, int64_t end) { *(int64_t *)ctx += end - begin; }

int main(void) {
  mica_engine_options options = MICA_ENGINE_OPTIONS;
  mica_engine *engine = NULL;
  mica_tensor *tensor = NULL, *none = NULL;
  mica_shape shape;
  int64_t chunks = 0;
  options.threads = 1;
  if (strcmp(mica_version(), MICA_VERSION) != 0) return 1;
  if (mica_engine_create(&options, &engine) != MICA_OK) return 2;
  mica_parallel_for(engine, 7, count, &chunks);
  memset(&shape, 0, sizeof shape);
  shape.rank = 2;
  shape.dim[0] = 2;
  shape.dim[1] = 3;
  if (mica_tensor_create(MICA_F32, shape, &tensor) != MICA_OK) return 3;
  mica_tensor_set(tensor, 4, 2.5);
  if (mica_tensor_get(tensor, 4) != 2.5 || chunks != 7) return 4;
  shape.dim[0] = -1;
  if (mica_tensor_create(MICA_F32, shape, &none) == MICA_OK || !*mica_last_error()) return 5;
  mica_tensor_free(tensor);
  mica_engine_free(engine);
  puts("used");
  return 0;
}
C
cp "$prefix/use.c" "$prefix/use.cc"

# Each header stands alone, in C and in C++, and draws no warning with the strictest settings.
headers_alone() { # compiler standard language
  local status=0
  for header in "$include"/mica/*.h; do
    echo "#include <mica/$(basename "$header")>" >"$prefix/one.$3"
    "$1" "-std=$2" -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -I"$include" -fsyntax-only \
      "$prefix/one.$3" || status=1
  done
  return $status
}
pairs="gcc:c11:c gcc:c17:c gcc:c2x:c g++:c++11:cc g++:c++20:cc clang:c17:c clang++:c++17:cc"
for pair in $pairs; do
  IFS=: read -r compiler standard language <<<"$pair"
  if command -v "$compiler" >/dev/null; then
    try "headers alone: $compiler -std=$standard" headers_alone "$compiler" "$standard" "$language"
  else
    echo "skip headers alone: $compiler -std=$standard: no $compiler here"
  fi
done

through_pkg_config() { # compiler source flags...
  local compiler=$1 source=$2
  shift 2
  # shellcheck disable=SC2046
  "$compiler" -Wall -Wextra -Werror "$source" -o "$prefix/use" $(pkg-config --cflags mica) "$@" &&
    "$prefix/use"
}
libs() { pkg-config --libs "$@" mica; }
# shellcheck disable=SC2046
if [ $shared = 1 ]; then
  try "C through pkg-config, shared" through_pkg_config gcc "$prefix/use.c" $(libs)
  try "C++ through pkg-config, shared" through_pkg_config g++ "$prefix/use.cc" $(libs)
  needs_shared() { through_pkg_config gcc "$prefix/use.c" $(libs) && ldd "$prefix/use" | grep -q "$lib/libmica.so.0 "; }
  try "a program needs libmica.so.0 by its soname" needs_shared
fi
# shellcheck disable=SC2046
static_program() {
  through_pkg_config gcc "$prefix/use.c" $(libs --static | sed 's/-lmica/-l:libmica.a/') &&
    ! ldd "$prefix/use" | grep -q libmica
}
try "C through pkg-config, static" static_program

for example in examples/*/; do
  [ -e "$example" ] || continue
  program=$(basename "$example")
  # shellcheck disable=SC2046
  build_example() { gcc -std=c17 -Wall -Wextra -Werror -O1 "$example"*.c -o "$prefix/$program" $(pkg-config --cflags mica) $(libs) -lm; }
  try "examples/$program builds against the installed library" build_example
  explains() { ! "$prefix/$program" >"$prefix/said" 2>&1 && grep -q "usage: $program" "$prefix/said"; }
  try "examples/$program tells how it is used" explains
done

# The first screen's program, as a reader would copy it.
readme_program() {
  sed -n '/^```c$/,/^```$/p' README.md | sed '/^```/d' >"$prefix/readme.c"
  [ -s "$prefix/readme.c" ] || return 1
  # shellcheck disable=SC2046
  gcc -std=c17 -Wall -Wextra -Werror "$prefix/readme.c" -o "$prefix/readme" $(pkg-config --cflags mica) \
    $([ $shared = 1 ] && libs || libs --static) || return 1
  # Without a model it says so and fails.
  ! (cd "$prefix" && ./readme nothing.png 2>complaint) && grep -q parts.mica "$prefix/complaint"
}
try "the README's program builds, and complains clearly" readme_program

mkdir "$prefix/project"
cat >"$prefix/project/CMakeLists.txt" <<'C'
cmake_minimum_required(VERSION 3.18)
project(use LANGUAGES C CXX)
find_package(mica 0.1 REQUIRED COMPONENTS ${parts})
add_executable(use_c ../use.c)
add_executable(use_cc ../use.cc)
if(parts)
  target_link_libraries(use_c mica::mica_static)
  target_link_libraries(use_cc mica::mica_static)
else()
  target_link_libraries(use_c mica::mica)
  target_link_libraries(use_cc mica::mica)
endif()
C
through_cmake() { # parts
  cmake -S "$prefix/project" -B "$prefix/cmake-$1" -G Ninja -DCMAKE_PREFIX_PATH="$root" -Dparts="$1" &&
    cmake --build "$prefix/cmake-$1" && "$prefix/cmake-$1/use_c" && "$prefix/cmake-$1/use_cc"
}
try "find_package(mica)" through_cmake ""
try "find_package(mica COMPONENTS static)" through_cmake static
other_version() {
  sed -i 's/mica 0.1 /mica 0.2 /' "$prefix/project/CMakeLists.txt"
  ! cmake -S "$prefix/project" -B "$prefix/cmake-other" -G Ninja -DCMAKE_PREFIX_PATH="$root" -Dparts=""
}
try "find_package refuses another minor version" other_version

# What leaves the library.
declared() { # every function that the headers promise
  cat "$include"/mica/*.h | awk '
    { sub(/\/\*.*/, "") }
    /^MICA_API/ { open = 1; text = "" }
    open { text = text " " $0 }
    open && /;/ { open = 0; sub(/\(.*/, "", text); sub(/.*[^a-zA-Z0-9_]/, "", text); print text }' | sort -u
}
if [ $shared = 1 ]; then
  nm -D --defined-only "$lib/libmica.so" | awk '{ print $3 }' | sed 's/@.*//' | sort -u >"$prefix/exported"
  foreign() { ! grep -v '^mica_' "$prefix/exported"; }
  try "only mica_* is visible" foreign
  declared >"$prefix/declared"
  promised() { [ -s "$prefix/declared" ] && ! comm -23 "$prefix/declared" "$prefix/exported" | grep .; }
  try "every declared function is there" promised
  unpromised() { ! comm -13 "$prefix/declared" "$prefix/exported" | grep .; }
  try "nothing undeclared is visible" unpromised
  soname() { readelf -d "$lib/libmica.so" | grep -q 'SONAME.*\[libmica.so.0\]' && [ -L "$lib/libmica.so.0" ]; }
  try "the soname is versioned" soname
  runtime_only() { ! readelf -d "$lib/libmica.so" | grep NEEDED | grep -E 'openblas|lapack|mpi|curl|libstdc'; }
  try "what is optional is no hard dependency" runtime_only
else
  echo "skip symbols of the shared library: this build is static"
  no_libraries() { ! ldd "$MICA_BUILD/mica" | grep -vE 'linux-vdso|lib(c|m|gomp|omp|pthread|dl|rt|gcc_s)\.so|/ld-linux'; }
  [ ! -e "$MICA_BUILD/mica" ] || try "the tool needs no external library" no_libraries
fi
archive_names() { ! nm -g --defined-only "$lib/libmica.a" 2>/dev/null | awk 'NF == 3 { print $3 }' | grep -v '^mica_'; }
try "the static library defines only mica_*" archive_names

# The tool's company.
if [ -x "$root/bin/mica" ]; then
  try "the installed tool runs" "$root/bin/mica" version
  completion() { # words... : what bash offers for the last one
    bash -c '. "$1/share/bash-completion/completions/mica"
      COMP_WORDS=("$1/bin/mica" "${@:2}") COMP_CWORD=$(($# - 1)); _mica; printf "%s\n" "${COMPREPLY[@]}"' - "$root" "$@"
  }
  offers() { # expected words...
    local expected=$1
    shift
    completion "$@" | grep -qx -- "$expected" || { echo "no $expected for: mica $*"; completion "$@"; return 1; }
  }
  completes() {
    [ "$(completion tr)" = train ] && offers --epochs train --ep && offers resnet train re &&
      offers adamw train resnet --optimiser ad && offers get model g && offers resnet18 model get res &&
      offers fashion-mnist data get f && offers optimiser list o && offers sgd list optimiser s &&
      offers predict help p && (cd "$MICA_SOURCE" && offers README.md predict READ)
  }
  try "bash completes verbs, flags, components and catalogue names" completes
  manual() { # every verb and flag of the tool is in the page, which is man's own format
    local page=$root/share/man/man1/mica.1 verb flag
    for verb in $("$root/bin/mica" help --names); do
      grep -qE "^\.SS \"$verb[ \"]" "$page" || { echo "the manual lacks the verb $verb"; return 1; }
      for flag in $("$root/bin/mica" help "$verb" | grep -oE '^  --[a-z0-9-]+'); do
        grep -qF -- "\\fB${flag//-/\\-}\\fR" "$page" || { echo "the manual lacks $verb $flag"; return 1; }
      done
    done
    if command -v groff >/dev/null; then
      ! groff -man -Tutf8 -ww -z "$page" 2>&1 | grep .
    fi
  }
  if [ -e "$root/share/man/man1/mica.1" ]; then
    try "the manual has every verb and flag" manual
  else
    echo "not ok the manual is installed"
  fi
  pages() { [ -e "$root/share/doc/mica/formats.md" ] && [ -e "$root/share/doc/mica/LICENSE" ]; }
  try "the pages are installed" pages
else
  echo "skip the installed tool: this build has none"
fi
