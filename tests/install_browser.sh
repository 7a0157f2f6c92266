#!/bin/sh
# Brings the browser that the tests of the page use: Debian's Chromium (another one can be named in
# the variable CHROMIUM). Playwright itself comes with growloop[test] and downloads nothing.
set -eu
command -v chromium || command -v chromium-headless-shell || {
  apt-get update -q
  apt-get install -qy --no-install-recommends chromium-headless-shell
}
