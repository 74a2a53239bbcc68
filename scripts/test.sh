#!/usr/bin/env bash
# Sets up, builds, and runs every test; closes with the line "N passed, N failed" and fails if any test did.
#
#   1. C++ unit and property tests, as users run them (preset release)
#   2. the parsers and the durable parts again under AddressSanitizer and UndefinedBehaviourSanitizer (preset ci)
#   3. pytest: architecture (the house), evaluation (its documents), oracle (numbers against a float64 forward), system
#      (real processes, kills)
#
# Two lanes share the machine: beside 1, the other build of 2 compiles and its tests run; beside the oracle, the kills of 3.
# The other tests of real processes come last and have it to themselves. Each part leaves JUnit files in
# build/test-results; what should have left one and did not counts as failed.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

results=$PWD/build/test-results
rm -rf "$results"
mkdir -p "$results"

close() {
  python3 scripts/sum_up_tests.py "$results"
  exit
}

# give_up NAME: a step without which the rest is void.
give_up() {
  say "$1 failed"
  touch "$results/$1.xml"  # empty: counted as one failure
  close
}

scripts/setup.sh || give_up setup
scripts/build.sh release all || give_up build

release_tests() {
  touch "$results/ctest-release.xml"
  ctest --test-dir build/release --output-on-failure --timeout 900 --no-tests=error \
    --output-junit "$results/ctest-release.xml" </dev/null
}

sanitized_tests() {
  local programs=(protocol_tests memory_store_tests coordinator_tests coordinator_http_tests worker_tests)
  # Long, and no code is met that others do not meet: a thousand texts in fifteen vocabularies, a thousand bits in tables
  # (those in any file stay).
  local unsanitized='-TokenOracle.GivesTheIdsOfTheOthersForEveryVocabulary:Damage.OfOneBitInAnSstIsFoundNeverServedAndMended'
  touch "$results/sanitized-build.xml"
  build_preset ci "${programs[@]}" || return
  rm "$results/sanitized-build.xml"
  for program in "${programs[@]}"; do
    touch "$results/sanitized-$program.xml"
    "build/ci/bin/$program" --gtest_brief=1 --gtest_filter="$unsanitized" \
      --gtest_output="xml:$results/sanitized-$program.xml" </dev/null
  done
}

# python_tests PATH [OPTION…]
python_tests() {
  local name=pytest-${1//\//-}
  touch "$results/$name.xml"
  .venv/bin/python -m pytest -q --durations=5 --junitxml="$results/$name.xml" "tests/$1" "${@:2}" </dev/null
}

other_lane() {
  sanitized_tests >build/test-sanitized.log 2>&1
  python_tests system/test_nothing_is_lost.py >build/test-kills.log 2>&1
}

other_lane &
say "C++ tests (release)"
release_tests
say "pytest tests/architecture tests/evaluation tests/oracle"
python_tests architecture
python_tests evaluation
python_tests oracle
wait
say "C++ tests (ASan, UBSan)"
grep -v "^\[[0-9]*/[0-9]*\] " build/test-sanitized.log  # but for the steps of the build
say "pytest tests/system"
cat build/test-kills.log
python_tests system --ignore=tests/system/test_nothing_is_lost.py

close
