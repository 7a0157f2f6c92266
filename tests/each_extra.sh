#!/bin/bash
# Builds an sdist and, from it, a wheel; checks what is in both; installs the wheel with each extra
# alone in a new environment outside the repository and runs every command there.
#   tests/each_extra.sh FOLDER [EXTRA ...]   all extras where none is named; plain is no extra
set -euo pipefail
folder=$(realpath -m "${1:?usage: tests/each_extra.sh FOLDER [EXTRA ...]}")
shift
here=$(realpath "$(dirname "$0")/..")
extras=${*:-plain data leaderboard plots train eval lora}
mkdir -p "$folder"

python -m venv "$folder/build"
"$folder/build/bin/pip" install -q build
rm -rf "$folder/dist" "$folder/source"
mkdir "$folder/source"
git -C "$here" archive HEAD | tar x -C "$folder/source" # what is committed, and no build folder
"$folder/build/bin/python" -m build -q --outdir "$folder/dist" "$folder/source"
"$folder/build/bin/python" "$here/tests/distributions.py" "$folder"/dist/*

for extra in $extras; do
  where="$folder/$extra"
  name=${extra#plain}
  rm -rf "$where-work"
  mkdir -p "$where-work"
  [ -x "$where/bin/python" ] || python -m venv "$where"
  "$where/bin/pip" install -q -c "$here/constraints.txt" "$(echo "$folder"/dist/*.whl)${name:+[$name]}"
  (cd "$where-work" && "$where/bin/python" "$here/tests/each_extra.py" "$name")
  [ "$extra" != eval ] || (cd "$where-work" && "$where/bin/growloop" quickstart --fast)
done
