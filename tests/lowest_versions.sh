#!/bin/bash
# Tests growloop with the lowest versions that pyproject.toml declares, all installed together in a
# new environment (its Python is the lowest too, where there is a python3.11).
#   tests/lowest_versions.sh FOLDER [arguments of pytest]
# FOLDER is made, or used again; it takes 6 GB where pip finds a torch for CUDA only. TORCH=2.13.0
# before the command takes that version of torch in place of the lowest.
set -euo pipefail
folder=$(realpath -m "${1:?usage: tests/lowest_versions.sh FOLDER [arguments of pytest]}")
shift
cd "$(dirname "$0")/.."
floor=$(sed -n 's/^requires-python = ">=\(.*\)"$/\1/p' pyproject.toml)
python=$(command -v "python$floor" || command -v python3)
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
"$folder/bin/python" tests/floors.py | sed "s/^torch==.*/torch==${TORCH:-&}/; s/torch==torch==/torch==/" \
  > "$folder/floors.txt"
"$folder/bin/python" -m pip install -q 'setuptools>=77'
"$folder/bin/python" -m pip install -q --no-build-isolation -c "$folder/floors.txt" -e '.[test]'
exec "$folder/bin/python" -m pytest -p no:cacheprovider "$@"
