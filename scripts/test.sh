#!/usr/bin/env bash
# Sets up, builds, and runs every test; closes with the line "N passed, N failed" and fails if any test did.
#
#   1. C++ unit and property tests, as users run them (preset release)
#   2. the parsers and the durable parts again under AddressSanitizer and UndefinedBehaviourSanitizer (preset dev)
#   3. pytest: architecture (the house), oracle (numbers against a float64 forward), system (real processes, kills)
#
# Each part leaves JUnit files in build/test-results; what should have left one and did not counts as failed.
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

say "C++ tests (release)"
touch "$results/ctest-release.xml"
ctest --test-dir build/release --output-on-failure --timeout 900 --no-tests=error \
  --output-junit "$results/ctest-release.xml" </dev/null

say "C++ tests (dev: ASan, UBSan)"
dev_programs=(protocol_tests client_tests memory_store_tests coordinator_tests coordinator_http_tests worker_tests)
if build_preset dev "${dev_programs[@]}"; then
  for program in "${dev_programs[@]}"; do
    touch "$results/dev-$program.xml"
    "build/dev/bin/$program" --gtest_brief=1 --gtest_output="xml:$results/dev-$program.xml" </dev/null
  done
else
  touch "$results/dev-build.xml"
fi

for part in architecture oracle system; do
  say "pytest tests/$part"
  touch "$results/pytest-$part.xml"
  .venv/bin/python -m pytest -q --durations=5 --junitxml="$results/pytest-$part.xml" "tests/$part" </dev/null
done

close
