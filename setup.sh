#!/usr/bin/env bash
# Makes the Python environment of this project: finds Python and the GPU, takes the torch build that fits, installs
# requirements.txt and ends with a table of what is there. Asks nothing; run again, it installs only what is missing.
set -euo pipefail

TORCH_VERSION=2.9.1 # with torchvision and torchaudio of the same release: requirements.txt has all three
FLASH_ATTN_VERSION=2.8.3
CONDA_ENV=qwen_finetune
PYTORCH_WHL=https://download.pytorch.org/whl

usage() {
  cat <<'HELP'
用法: bash setup.sh [选项]        建好环境（默认 .venv），装好 LLaMA-Factory，最后列出检查表；可重复运行。

  --extras 名字,名字…   另装可选组件: flash-attn deepspeed bitsandbytes vllm liger-kernel（逗号或空格分隔）
                        vllm 与本项目共用环境时 transformers 换成 4.57.6（见 requirements-vllm.txt）
  --build-flash-attn    没有合适的预编译 flash-attn 时从源码编译（需要 nvcc，约一小时）；不加则改用 SDPA
  --conda               用 conda 环境 qwen_finetune（没有就建，Python 3.11），不建 .venv
  --dev                 另装测试和代码检查工具（requirements-dev.txt）
  --torch-index URL     torch 从这个索引装；default 表示 pip 自己的软件源
  --dry-run             只说会用哪个 Python、哪个 torch，不安装任何东西
  --print-python        只打印环境里 Python 的路径
  --help                本说明

环境变量: PYTHON=python3.12 指定 Python   TORCH_INDEX_URL 同 --torch-index   SETUP_CONDA=1 同 --conda
          FLASH_ATTN_WHEEL=文件或网址 用自己下载的 flash-attn wheel（GitHub 慢时）
pip 自己的设置（镜像、约束、代理）一律照用，例如: pip config set global.index-url <镜像地址>
退出码: 0 就绪；1 安装失败或检查表有缺；2 参数不对或机器缺东西（有一句话说明）
HELP
}

say() { printf '%s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
# One sentence in Chinese for the user, one in English beside it; status 2: something outside must change first.
stop() {
  printf '错误: %s\n' "$1" >&2
  if [ -n "${2:-}" ]; then printf 'error: %s\n' "$2" >&2; fi
  exit 2
}
fail() {
  printf '失败: %s\n' "$1" >&2
  exit 1
}

# --- 1. what was asked -----------------------------------------------------------------------------------------------
caller_folder=$PWD
cd "$(dirname "$0")"

extras=""
build_flash_attn=""
conda="${SETUP_CONDA:-}"
dev=""
index="${TORCH_INDEX_URL:-}"
dry_run=""
print_python=""

# A value may come as `--extras vllm` or `--extras=vllm`; extras may go on over several words.
while [ $# -gt 0 ]; do
  option=$1
  shift
  case "$option" in
    --extras=* | --torch-index=*)
      set -- "${option#*=}" "$@"
      option=${option%%=*}
      ;;
  esac
  case "$option" in
    --extras)
      if [ $# -eq 0 ]; then stop "--extras 后面要有名字，例如 --extras flash-attn,deepspeed" "--extras needs a name"; fi
      while [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; do
        extras="$extras ${1//,/ }"
        shift
      done
      ;;
    --torch-index)
      if [ $# -eq 0 ]; then stop "--torch-index 后面要有网址，或 default" "--torch-index needs a URL, or default"; fi
      index=$1
      shift
      ;;
    --build-flash-attn) build_flash_attn=1 extras="$extras flash-attn" ;;
    --conda) conda=1 ;;
    --dev) dev=1 ;;
    --dry-run) dry_run=1 ;;
    --print-python) print_python=1 ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) stop "不认识的选项 $option，用 bash setup.sh --help 看全部选项" "unknown option $option" ;;
  esac
done
for extra in $extras; do
  case "$extra" in
    flash-attn | deepspeed | bitsandbytes | vllm | liger-kernel) ;;
    *) stop "不认识的可选组件 $extra，可选: flash-attn deepspeed bitsandbytes vllm liger-kernel" "unknown extra $extra" ;;
  esac
done

# --- 2. a Python that LLaMA-Factory accepts --------------------------------------------------------------------------
good_python='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'

if [ -n "$conda" ]; then
  command -v conda >/dev/null || stop "找不到 conda：请先安装 Miniconda 并重开终端，或去掉 --conda 改用 .venv" \
    "conda not found: install Miniconda, or leave out --conda"
  environment="conda:$CONDA_ENV"
  python=""
  if conda env list | awk '{print $1}' | grep -qx "$CONDA_ENV"; then
    python="$(conda run -n "$CONDA_ENV" python -c 'import sys; print(sys.executable)')"
    "$python" -c "$good_python" || stop \
      "conda 环境 $CONDA_ENV 的 Python 不是 3.11 到 3.13：请运行 conda env remove -n $CONDA_ENV 后重试" \
      "the conda environment $CONDA_ENV has an unfit Python: remove it and run again"
  fi
else
  environment=.venv
  python="$PWD/.venv/bin/python"
fi
if [ -n "$print_python" ]; then
  say "$python"
  exit 0
fi

# 3.11 first: that is what the pins were run with. A pyenv shim may be there and still not run, hence the trial.
base_python=""
if [ -z "$conda" ]; then
  seen=""
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
    command -v "$candidate" >/dev/null || continue
    if "$candidate" -c "$good_python" 2>/dev/null; then
      base_python=$candidate
      break
    fi
    version="$("$candidate" -c 'import platform; print(platform.python_version())' 2>/dev/null || true)"
    if [ -n "$version" ] && [ -z "$seen" ]; then seen=$version; fi
  done
  if [ -z "$base_python" ] && [ -n "$seen" ]; then
    stop "找到的 Python 是 $seen，需要 3.11 到 3.13：请安装 python3.11（Ubuntu: sudo apt install python3.11 python3.11-venv），或用 --conda" \
      "found Python $seen, but LLaMA-Factory needs 3.11 to 3.13: install python3.11, or use --conda"
  elif [ -z "$base_python" ]; then
    stop "找不到 Python：请安装 3.11（Ubuntu: sudo apt install python3.11 python3.11-venv），或用 --conda" \
      "no Python found: install 3.11, or use --conda"
  fi
fi

# --- 3. the GPU, and the torch build for it --------------------------------------------------------------------------
# The header of nvidia-smi names the newest CUDA that the driver can run. `timeout`: a broken driver can hang it.
gpu="" driver_cuda=""
if command -v nvidia-smi >/dev/null; then
  limit="$(command -v timeout >/dev/null && echo 'timeout 30' || true)"
  smi="$($limit nvidia-smi 2>/dev/null || true)"
  driver_cuda="$(sed -n 's/.*CUDA[A-Z ]*Version: *\([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p' <<<"$smi" | head -n 1)"
  gpu="$($limit nvidia-smi --query-gpu=name,memory.total --format=csv,noheader 2>/dev/null | head -n 1 || true)"
fi

# source: "registry" is pip's own index, whose Linux x86_64 build of torch 2.9.1 is for CUDA 12.8 and also runs on a CPU;
# cpu, cu126 and cu128 are folders of PyTorch's index; anything else is a URL the user gave.
machine="$(uname -sm)"
if [ -n "$driver_cuda" ]; then
  major=${driver_cuda%%.*} minor=${driver_cuda#*.}
  if [ "$major" -lt 12 ]; then
    source=cpu
    why="驱动只支持 CUDA ${driver_cuda}，torch $TORCH_VERSION 要 12 以上：请升级 NVIDIA 驱动（525 以上，最好 570 以上）再重跑；现在先按 CPU 安装"
  elif [ "$major" -eq 12 ] && [ "$minor" -lt 8 ]; then
    source=cu126
    why="驱动支持 CUDA ${driver_cuda}，用 CUDA 12.6 版"
  elif [ "$machine" = "Linux x86_64" ]; then
    source=registry
    why="驱动支持 CUDA ${driver_cuda}，用 CUDA 12.8 版（pip 软件源）"
  else
    source=cu128 # the registry has only a CPU build for other processors
    why="驱动支持 CUDA ${driver_cuda}，用 CUDA 12.8 版"
  fi
else
  source=cpu
  why="没有可用的 NVIDIA GPU（nvidia-smi 不存在或没有回应），用 CPU 版"
  if [ "$(uname -s)" != Linux ]; then source=registry; fi # elsewhere the registry's build is the only one
fi
want=$source # what the machine needs, before the user's word on where it comes from
case "$index" in
  "") ;;
  default) source=registry why="$why；按要求从 pip 软件源装" ;;
  *) source=$index why="按要求从 $index 装 torch" ;;
esac

step "环境 $environment"
say "Python: ${base_python:-conda}   GPU: ${gpu:-无}   驱动 CUDA: ${driver_cuda:-无}"
say "torch $TORCH_VERSION（$source）: $why"
if [ -n "$extras" ]; then say "可选组件:$extras"; fi
if [ -n "$dry_run" ]; then exit 0; fi

# --- 4. the environment itself ---------------------------------------------------------------------------------------
if [ -n "$conda" ]; then
  if [ -z "$python" ]; then
    conda create -y -q -n "$CONDA_ENV" python=3.11 pip || fail "conda 没能建好环境 ${CONDA_ENV}，原因见上面的输出"
    python="$(conda run -n "$CONDA_ENV" python -c 'import sys; print(sys.executable)')"
  fi
  done_file="$(dirname "$(dirname "$python")")/.mug-setup"
else
  done_file=.venv/.mug-setup
  # One that does not run is made anew, and so is one that was moved or copied: its scripts name the old folder.
  works=""
  if [ -x "$python" ] && "$python" -c "import pip; $good_python" 2>/dev/null; then works=1; fi
  if [ -f "$done_file" ] && ! grep -qxF "folder $PWD" "$done_file"; then works=""; fi
  if [ -z "$works" ]; then
    if ! "$base_python" -m venv --clear .venv >/dev/null 2>&1; then
      rm -rf .venv
      minor_version="$("$base_python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
      stop "缺少 venv 模块，建不了 .venv：请运行 sudo apt install python${minor_version}-venv 后重试，或用 --conda" \
        "python -m venv failed: install python${minor_version}-venv, or use --conda"
    fi
  fi
fi
if [ ! -f "$done_file" ]; then say "folder $PWD" >"$done_file"; fi

# --- 5. what is not there yet ----------------------------------------------------------------------------------------
# $done_file has one line for each thing that was installed whole. What was asked for once stays asked for: a later
# `setup.sh --dev` keeps the extras and does not pull transformers from under vllm.
is_done() { grep -qxF "$1" "$done_file"; }
mark_done() {
  grep -v "^$2 " "$done_file" >"$done_file.new" || true
  say "$1" >>"$done_file.new"
  mv "$done_file.new" "$done_file"
}
checksum() { cksum | tr '\n' ' '; }

pip() {
  # Off a terminal the progress bars and the list of packages are only noise in a log.
  local quiet=""
  if [ ! -t 1 ]; then quiet=--quiet; fi
  PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip "$1" $quiet "${@:2}"
}

if grep -q '^vllm ' "$done_file"; then extras="$extras vllm"; fi
requirements="$(mktemp)"
constraints="$(mktemp)" # the same pins; pip wants no extras (modelscope[datasets]) in constraints
trap 'rm -f "$requirements" "$constraints"' EXIT
case " $extras " in
  # A package that requirements-vllm.txt names too is taken from there.
  *" vllm "*)
    with_vllm=1
    awk -F== 'FNR == NR { if ($0 !~ /^#/) vllm[$1]; print; next } !($1 in vllm)' requirements-vllm.txt requirements.txt
    ;;
  *)
    with_vllm=""
    cat requirements.txt
    ;;
esac >"$requirements"
sed 's/\[[^]]*\]//' "$requirements" >"$constraints"
base_line="base $(checksum <"$requirements")"
dev_line="dev $(checksum <requirements-dev.txt)"

# A torch that is there is replaced only if the user names another index, or a GPU has come that its CPU build can't use.
torch_from="$(sed -n "s/^torch $TORCH_VERSION //p" "$done_file")"
torch_missing=""
if [ -z "$torch_from" ]; then
  torch_missing=1
elif [ -n "$index" ] && [ "$index" != default ]; then
  if [ "$torch_from" != "$index" ]; then torch_missing=1; fi
elif [ "$want" != cpu ] && [ "$torch_from" = cpu ]; then
  torch_missing=1
fi

free_gb() { df -Pk "$1" | awk 'NR == 2 { print int($4 / 1048576) }'; }
disk_of() { df -Pk "$1" | awk 'NR == 2 { print $1 }'; }
need_space() { # folder, GB
  if [ "$(free_gb "$1")" -lt "$2" ]; then
    stop "磁盘空间不够：$1 所在的磁盘剩 $(free_gb "$1") GB，需要 $2 GB；请腾出空间，或把项目（和 TMPDIR）放到大的磁盘，再重试" \
      "not enough disk at $1: $(free_gb "$1") GB free, $2 GB needed"
  fi
}
# Where the packages end up; and, if /tmp is another disk (often a small one), where pip unpacks its downloads.
need_space_for_packages() {
  local target temporary=${TMPDIR:-/tmp}
  target="$(dirname "$done_file")"
  need_space "$target" "$1"
  if [ "$(disk_of "$target")" != "$(disk_of "$temporary")" ]; then need_space "$temporary" 5; fi
}

need_network() {
  # One small look-up through pip itself, so that mirrors and proxies are used; pip's own retries would take minutes.
  pip install --dry-run --no-deps --ignore-installed --retries 1 --timeout 15 packaging >/dev/null 2>&1 || stop \
    "pip 连不上软件包源：请检查网络或代理，国内可先设镜像（pip config set global.index-url <镜像地址>）再重试" \
    "pip cannot reach its package index: check the network, proxy or mirror"
}

# Measured: 8 GB for everything with a CUDA build of torch, 10.6 GB at the height of the installation with nothing in
# pip's cache to begin with put on top; the rest alone takes 2 GB.
if [ -n "$torch_missing" ] || ! is_done "$base_line"; then
  gb=5
  if [ -n "$torch_missing" ] && [ "$source" != cpu ]; then gb=14; fi
  if [ -n "$with_vllm" ]; then gb=$((gb + 6)); fi
  need_space_for_packages "$gb"
  need_network
fi

if [ -n "$torch_missing" ]; then
  step "安装 torch $TORCH_VERSION"
  case "$source" in
    cpu | cu1*)
      # One short try: where PyTorch's own index is blocked or slow, pip's registry has a build that runs as well.
      url="$PYTORCH_WHL/$source"
      if ! "$python" -c "import urllib.request; urllib.request.urlopen('$url/torch/', timeout=8)" 2>/dev/null; then
        if [ "$source" = cpu ]; then
          say "连不上 ${url}，改从 pip 软件源装 CUDA 12.8 版：CPU 上同样能用，只是下载和占用大得多（约 8 GB）。"
        else
          say "连不上 ${url}，改从 pip 软件源装 CUDA 12.8 版：驱动 525 以上可用，但最好升级驱动到 570 以上。"
        fi
        source=registry
        need_space_for_packages 14
      fi
      ;;
    registry) ;;
    *) url=$source ;;
  esac
  from=""
  if [ "$source" != registry ]; then from="--index-url $url"; fi
  # pip takes any 2.9.1 for ==2.9.1, whatever it was built for, so another build has to go first.
  if [ -n "$torch_from" ]; then pip uninstall -y torch torchvision torchaudio; fi
  # shellcheck disable=SC2046,SC2086  # words are meant to split: three names, an option and its value
  pip install $(sed -n 's/^\(torch[a-z]*==[^ ]*\).*/\1/p' requirements.txt) $from ||
    fail "torch 没有装上，原因见上面 pip 的输出；修好后重跑 bash setup.sh，已下载的不会再下"
  # Off x86_64 the registry's build is for the CPU, and is remembered as such.
  if [ "$source" = registry ] && [ "$machine" != "Linux x86_64" ]; then source=cpu; fi
  mark_done "torch $TORCH_VERSION $source" torch
fi

if ! is_done "$base_line"; then
  step "安装 requirements.txt（LLaMA-Factory 等）${with_vllm:+与 vllm}"
  pip install -r "$requirements" || fail "依赖没有装全，原因见上面 pip 的输出；修好后重跑 bash setup.sh"
  mark_done "$base_line" base
  if [ -n "$with_vllm" ]; then mark_done "vllm in base" vllm; fi
fi

if [ -n "$dev" ] && ! is_done "$dev_line"; then
  step "安装测试和检查工具"
  pip install -r requirements-dev.txt -c "$constraints" || fail "测试工具没有装全，原因见上面 pip 的输出"
  mark_done "$dev_line" dev
fi

# --- 6. extras -------------------------------------------------------------------------------------------------------
install_flash_attn() {
  local wheel=${FLASH_ATTN_WHEEL:-}
  case "$wheel" in
    "") # nothing named: the release's own file for this Python, torch, CUDA and ABI
      wheel="$(PYTHONPATH=scripts "$python" -c '
from mug.flash_attn_wheel import wheel_name_here, wheel_url
try:
    print(wheel_url(wheel_name_here()))
except ValueError as reason:
    print(reason)')"
      ;;
    *://* | /*) ;;
    *) wheel="$caller_folder/$wheel" ;;
  esac
  case "$wheel" in
    *.whl)
      say "试装预编译 wheel: $wheel"
      if pip install --no-deps --retries 1 --timeout 20 "$wheel" 2>/dev/null && "$python" -c 'import flash_attn' 2>/dev/null; then
        return 0
      fi
      say "这个 wheel 下载不到或不能用。"
      pip uninstall -y flash-attn >/dev/null 2>&1 || true
      ;;
    *) say "没有合适的预编译 wheel（$wheel）。" ;;
  esac
  if [ -n "$build_flash_attn" ]; then
    if ! command -v nvcc >/dev/null; then
      say "编译 flash-attn 需要 nvcc：请装 CUDA Toolkit 12 并把它的 bin 放进 PATH 后重试。"
      return 1
    fi
    say "从源码编译 flash-attn，约一小时（MAX_JOBS=${MAX_JOBS:-4}，内存不足时调小）。"
    pip install ninja packaging psutil setuptools wheel &&
      MAX_JOBS="${MAX_JOBS:-4}" pip install --no-build-isolation --no-deps "flash-attn==$FLASH_ATTN_VERSION" && return 0
  fi
  return 1
}

for extra in $extras; do
  case "$extra" in
    flash-attn) pin="flash-attn==$FLASH_ATTN_VERSION" ;;
    deepspeed) pin=deepspeed==0.18.4 ;; # the newest that LLaMA-Factory 0.9.5 allows
    bitsandbytes) pin=bitsandbytes==0.50.2 ;;
    liger-kernel) pin=liger-kernel==0.8.5 ;;
    vllm) continue ;; # came with requirements-vllm.txt
  esac
  if is_done "$extra $pin"; then continue; fi
  step "安装 $pin"
  if [ "$extra" = flash-attn ]; then
    if ! install_flash_attn; then
      say "不装 flash-attn，训练和推理改用 torch 自带的 SDPA（flash_attn: auto），结果相同、稍慢。"
      continue
    fi
  else
    need_network
    pip install "$pin" -c "$constraints" || fail "$extra 没有装上，原因见上面 pip 的输出"
  fi
  mark_done "$extra $pin" "$extra"
done

# --- 7. what is there now --------------------------------------------------------------------------------------------
step "检查表"
status=0
"$python" scripts/check_setup.py || status=$?
if [ "$status" -eq 0 ]; then
  say ""
  if [ -n "$conda" ]; then say "下一步: conda activate $CONDA_ENV"; else say "下一步: source .venv/bin/activate"; fi
  say "然后照 README 往下走，或先看看能不能跑通: bash scripts/demo.sh"
fi
exit "$status"
