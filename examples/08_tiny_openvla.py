"""Write an OpenVLA of a million random weights in the published layout, and train it on a CPU: clone, then TGRPO.

    python examples/08_tiny_openvla.py --help
    python examples/08_tiny_openvla.py            # writes the folder tiny_openvla and prints the training command
    python examples/08_tiny_openvla.py --train    # and runs it

Further options go to the training command: `--run.seed 1`.

Everything that makes it an OpenVLA is there: two vision towers, projector, Llama, prompt, action tokens at the end of
the vocabulary. Only the sizes are other ones, and nothing is pretrained.
"""

from __future__ import annotations

import argparse
import math
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from tgrpo_trainer.policy.json_files import write_object
from tgrpo_trainer.policy.openvla.architecture import LLAMA_DEFAULTS, Architecture, LlamaShape
from tgrpo_trainer.policy.openvla.model import OpenVlaModel
from tgrpo_trainer.policy.openvla.prompt import TEMPLATE
from tgrpo_trainer.policy.openvla.published import write_published
from tgrpo_trainer.policy.openvla.vision import TowerShape

SUITE = "libero_object"
INSTRUCTION = "pick up the ketchup and place it in the basket"

PATCH, PATCHES = 16, 16  # pictures of 64 pixels
TOWER_DIM, TOWER_DEPTH = 64, 3  # the last block of a tower is stored and never run
WIDTH, LAYERS, HEADS, MLP = 128, 3, 4, 256
ROPE_THETA = 100.0  # of sequences of a hundred places, not thousands
NUM_BINS = 22  # 21 values of an action, 0 among them
VOCAB_END = 64  # words in front, action tokens at the end, as in Llama's 32,000
PADDING = 64

# On top of the quickstart recipe, which has the task: the ketchup of LIBERO-Object.
TRAINING = """
    --policy.kind openvla --policy.openvla.decoding parallel --policy.openvla.no-center-crop
    --sft.num-demos 96 --sft.max-steps 2500 --sft.batch-size 16
    --rollout.temperature 0.7 --evaluation.temperature 0.7 --objective.beta 0
    --update.learning-rate 1.5e-4 --update.final-learning-rate-ratio 0.3
    --update.num-iterations 2 --update.minibatch-size 256
    --run.name tiny_openvla --run.iterations 40 --run.max-minutes 60 --evaluation.every 40
"""


def architecture() -> Architecture:
    """The sizes, in the published proportions where those make sense."""
    tower = {"dim": TOWER_DIM, "depth": TOWER_DEPTH, "mlp_dim": 4 * TOWER_DIM, "patch": PATCH, "num_patches": PATCHES}
    return Architecture(
        towers=(TowerShape("dinov2", **tower, num_registers=4), TowerShape("siglip", **tower)),
        llama=LlamaShape(
            vocab_size=VOCAB_END + PADDING,
            hidden_size=WIDTH,
            intermediate_size=MLP,
            num_hidden_layers=LAYERS,
            num_key_value_heads=HEADS,
            **{**LLAMA_DEFAULTS, "num_attention_heads": HEADS, "rope_theta": ROPE_THETA},
        ),
        projector_dim=4 * 2 * TOWER_DIM,
        num_bins=NUM_BINS,
        tail_padding=PADDING,
    )


def random_weights(model: OpenVlaModel, seed: int) -> dict[str, Tensor]:
    """Linear layers that keep the size of their input, norms and scales of 1, positions as sines."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, parameter in model.named_parameters():
        if name.endswith("pos_embed"):
            weights[name] = sine_positions(*parameter.shape[1:])
        elif parameter.ndim >= 2:
            fan_in = 1 if "embed_tokens" in name or "_token" in name else parameter[0].numel()
            weights[name] = torch.randn(parameter.shape, generator=generator) / math.sqrt(fan_in)
        else:
            weights[name] = torch.full(parameter.shape, 0.0 if name.endswith("bias") else 1.0)
    # All actions are equally probable at first.
    weights["language_model.lm_head.weight"] *= 0.1
    return weights


def sine_positions(num_patches: int, dim: int) -> Tensor:
    """pos_embed_1PD: half of the channels for the row of a patch, half for its column."""
    side = math.isqrt(num_patches)
    angles_SF = torch.arange(side)[:, None] * math.pi / side * (1.0 + torch.arange(dim // 4)) / 2
    waves_SE = torch.cat([angles_SF.sin(), angles_SF.cos()], dim=1)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.cat([waves_SE[rows.flatten()], waves_SE[columns.flatten()]], dim=1)[None]


def tokenizer() -> Tokenizer:
    """One token a word of the prompt, `<s>` in front, where Llama has pieces of words."""
    words = ["<unk>", "<s>", "</s>", "▁"]
    prompt = TEMPLATE.format(instruction=INSTRUCTION)
    words += sorted({"▁" + word for word in prompt.split()})
    assert len(words) + NUM_BINS <= VOCAB_END
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="▁"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "removed"), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def config() -> dict[str, object]:
    """config.json with the published fields."""
    return {
        "architectures": ["OpenVLAForActionPrediction"],
        "arch_specifier": "no-align+fused-gelu-mlp",
        "image_resize_strategy": "resize-naive",
        "image_sizes": [PATCH * math.isqrt(PATCHES)] * 2,
        "model_type": "openvla",
        "n_action_bins": NUM_BINS,
        "pad_to_multiple_of": PADDING,
        "pad_token_id": 0,
        "text_config": {"model_type": "llama", "num_attention_heads": HEADS, "rope_theta": ROPE_THETA},
        "timm_model_ids": ["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
        "use_fused_vision_backbone": True,
        "vision_backbone_id": "dinosiglip-vit-so-224px",
    }


def write_checkpoint(folder: Path, seed: int) -> int:
    """Write config, weights, tokenizer and action statistics; returns the number of weights."""
    with torch.device("meta"):
        model = OpenVlaModel(architecture())
    weights = random_weights(model, seed)
    action = {"q01": [-1.0] * 7, "q99": [1.0] * 7, "mask": [True] * 6 + [False]}
    folder.mkdir(parents=True, exist_ok=True)
    write_published(folder, weights, config(), {"tokenizer.json": tokenizer().to_str().encode()})
    write_object(folder / "dataset_statistics.json", {SUITE: {"action": action}})
    return sum(tensor.numel() for tensor in weights.values())


def main() -> int:
    """Write, print, perhaps train; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tiny_openvla"), help="folder of the checkpoint")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    parser.add_argument("--train", action="store_true", help="run the training command too")
    arguments, more = parser.parse_known_args()
    count = write_checkpoint(arguments.out, arguments.seed)
    print(f"Wrote an OpenVLA of {count / 1e6:.1f} million random weights to {arguments.out}.")
    command = [sys.executable, "-m", "tgrpo_trainer", "train", "--policy.checkpoint", str(arguments.out)]
    command += [*shlex.split(TRAINING), *more]
    print(f"Training: {shlex.join(command)}", flush=True)
    return subprocess.run(command, check=False).returncode if arguments.train else 0


if __name__ == "__main__":
    sys.exit(main())
