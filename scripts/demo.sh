#!/usr/bin/env bash
# The whole road on the sample corpus, on a CPU and without any hub: set-up, data, evaluation before, training, merge,
# evaluation after. The tiny model has random weights: this checks the wiring, not quality.
#
#     bash scripts/demo.sh [options of setup.sh]
#
# Everything is written under outputs/smoke*, so data/ and a real training's outputs stay as they are.
set -euo pipefail
cd "$(dirname "$0")/.."

bash setup.sh "$@"
PATH="$(dirname "$(bash setup.sh "$@" --print-python)"):$PATH"

export HF_HUB_OFFLINE=1         # nothing below may need a hub
export CUDA_VISIBLE_DEVICES=""  # the tiny model is for the CPU; with several GPUs llamafactory-cli would start torchrun
export PYTHONUNBUFFERED=1

model=outputs/smoke_model
work=outputs/smoke
data="$work/data"

# All six tasks are prepared, the title task alone is trained and scored: that keeps the demo under three minutes.
# Prints a command as one would type it, runs it, and prints how long it took.
run() {
  local began=$SECONDS
  printf '\n\033[1m$ %s\033[0m\n' "$*"
  "$@"
  printf '（用时 %d 秒）\n' $((SECONDS - began))
}

SECONDS=0
printf '\n== 演示: 微型模型在 CPU 上走一遍全流程。它只检查各步能否接通，不代表效果。\n'
printf '   Demo: a tiny random model goes the whole road on a CPU. It checks the wiring, not quality.\n'

# A finished training would be resumed at its last step and do nothing.
rm -rf "$work"

run python scripts/make_smoke_model.py --output "$model"
run python scripts/preprocess_data.py --task all \
  --train_input dataset/sample/train.csv --dev_input dataset/sample/dev.csv --output_dir "$data"
run python scripts/evaluate.py --model_path "$model" \
  --data_path "$data/dev_title_generation.json" --gold dataset/sample/dev.csv \
  --output_path "$work/eval_before.json" --max_new_tokens 32
run llamafactory-cli train configs/train_smoke.yaml "model_name_or_path=$model" "output_dir=$work/lora" \
  "dataset_dir=$data" dataset=mug_title_generation_train eval_dataset=mug_title_generation_dev
run python scripts/export_model.py configs/merge.yaml "model_name_or_path=$model" \
  "adapter_name_or_path=$work/lora" "export_dir=$work/merged"
run python scripts/evaluate.py --model_path "$work/merged" \
  --data_path "$data/dev_title_generation.json" --gold dataset/sample/dev.csv \
  --output_path "$work/eval_after.json" --max_new_tokens 32

printf '\n== 演示完成，安装之外共用 %d 秒（total time of the demo: %d s）\n' "$SECONDS" "$SECONDS"
printf "评测报告: %s（训练前）  %s（训练后）\n" "$work/eval_before.html" "$work/eval_after.html"
# With random weights the scores stay near 0; that training worked shows in the loss alone.
losses="$(python -c '
import json, sys
log = [row["loss"] for row in json.load(open(sys.argv[1]))["log_history"] if "loss" in row]
print(f"{float(log[0]):.2f} → {float(log[-1]):.2f}")' "$work/lora/trainer_state.json")"
printf '训练损失: %s   曲线: %s\n' "$losses" "$work/lora/training_loss.png"
printf '微型模型的权重是随机的，分数低、训练后更低（答案变空）都是正常的，看损失: 演示只说明流程通了。真实训练见 README。\n'
printf 'Low scores, lower ones after training too (empty answers), are expected; look at the loss: the tiny model proves that the steps fit together, nothing more. For real, see README_en.md.\n'
