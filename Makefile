# Aliases for those who have make; each is one command that works without it.
.PHONY: help setup demo test quality format

help:
	@echo "make setup    bash setup.sh"
	@echo "make demo     bash scripts/demo.sh            安装，再用示例数据走一遍（CPU 即可）"
	@echo "make test     bash scripts/test.sh            安装，再跑不需要 GPU 的全部测试"
	@echo "make quality  bash scripts/test.sh --quality  只跑 ruff、mypy、shellcheck"
	@echo "make format   ruff format + ruff check --fix"

setup:
	bash setup.sh

demo:
	bash scripts/demo.sh

test:
	bash scripts/test.sh

quality:
	bash scripts/test.sh --quality

format:
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .
