# Sourced by the other scripts, in the repository's root.

# A line about what is going on. Standard output is kept for results.
say() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
}

# build_preset PRESET [TARGET…]: configures and builds; all targets where none is named.
build_preset() {
  local preset=$1
  shift
  # Paths relative to the root, so that every clone and worktree shares one compiler cache.
  export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
  cmake --preset "$preset" >"$(build_log "$preset")" 2>&1 || { cat "$(build_log "$preset")" >&2; return 1; }
  cmake --build "build/$preset" -j "$(nproc)" ${1:+--target "$@"} </dev/null >&2
}

build_log() {
  mkdir -p "build/$1"
  echo "build/$1/configure.log"
}
