#!/usr/bin/env bash
# Sets up with the test tools, checks the code's quality, then runs every test that needs no GPU.
#
#     bash scripts/test.sh [options of pytest]     e.g. bash scripts/test.sh -m "not slow and not gpu" tests/test_setup.py
#     bash scripts/test.sh --quality               the quality checks alone
set -euo pipefail
cd "$(dirname "$0")/.."

bash setup.sh --dev
PATH="$(dirname "$(bash setup.sh --print-python)"):$PATH"

printf '\n== 代码检查 quality\n'
ruff check .
ruff format --check .
mypy
shellcheck setup.sh scripts/*.sh .ci/run
if [ "${1:-}" = --quality ]; then exit 0; fi

printf '\n== 测试 tests\n'
python -m pytest -m "not gpu" "$@"
