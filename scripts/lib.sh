# Sourced by the other scripts, in the repository's root.

# A line about what is going on. Standard output is kept for results.
say() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
}

# configure_preset PRESET: quiet unless it fails.
configure_preset() {
  local log=build/$1/configure.log
  mkdir -p "build/$1"
  # Paths relative to the root, so that every clone and worktree shares one compiler cache.
  export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
  cmake --preset "$1" >"$log" 2>&1 </dev/null || { cat "$log" >&2; return 1; }
}

# build_preset PRESET [TARGET…]: configures and builds; all targets where none is named.
build_preset() {
  local preset=$1
  shift
  configure_preset "$preset" && cmake --build "build/$preset" -j "$(nproc)" ${1:+--target "$@"} </dev/null >&2
}
