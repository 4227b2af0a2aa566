"""A made-up SmolVLA in LeRobot's layout, written by LeRobot itself, and the files of its language model.

Nothing comes from the hub: the tokenizer knows a few words, and all weights are random.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Sequence, Split

from tgrpo_trainer.policy.smolvla.policy import SmolVlaPolicy
from tgrpo_trainer.policy.smolvla.settings import SmolVlaSettings
from tgrpo_trainer.types import PolicyInput

CHUNK, STEPS, SIDE = 6, 4, 32
SPECIAL = ["<|endoftext|>", "<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>", "<unk>"]
WORDS = ["\n", "reach", "the", "middle", "pick", "up", "bowl", "and", "place", "it", "in", "basket", "ketchup"]
IMAGE, WRIST, STATE = "observation.images.image", "observation.images.image2", "observation.state"
STATISTICS = {
    STATE: {"mean": torch.linspace(-0.2, 0.6, 8), "std": torch.linspace(0.1, 1.2, 8)},
    "action": {"mean": torch.linspace(-0.1, 0.1, 7), "std": torch.linspace(0.2, 0.5, 7)},
}


def write_language_model(folder: Path) -> None:
    """What `AutoConfig` and `AutoProcessor` read of a SmolVLM, tiny."""
    from transformers import LlamaConfig, PreTrainedTokenizerFast, SmolVLMConfig

    folder.mkdir(parents=True)
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Sequence([Split(" ", "removed"), Split("\n", "isolated")])
    names = ("fake_image_token", "image_token", "global_image_token", "end_of_utterance_token")
    named = dict(zip(names, SPECIAL[1:5], strict=True))
    make_tokenizer: Any = PreTrainedTokenizerFast  # the library has no types here
    make_tokenizer(
        tokenizer_object=tokenizer, pad_token=SPECIAL[0], unk_token="<unk>", extra_special_tokens=named
    ).save_pretrained(folder)
    text = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=0,
    )
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": SIDE, "patch_size": 8}
    shapes: dict[str, Any] = {"text_config": text.to_dict(), "vision_config": vision, "scale_factor": 2}
    SmolVLMConfig(**shapes | {"image_token_id": 2, "pad_token_id": 0}).save_pretrained(folder)
    size = {"longest_edge": SIDE}
    pictures = {"size": size, "max_image_size": size}
    sampling = {"video_sampling": {"max_frames": 2, "fps": 1, "video_size": size}}
    files = {
        "preprocessor_config.json": {"image_processor_type": "SmolVLMImageProcessor", **pictures},
        "video_preprocessor_config.json": {"video_processor_type": "SmolVLMVideoProcessor", **pictures, **sampling},
        "processor_config.json": {"processor_class": "SmolVLMProcessor", "image_seq_len": 4},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))


def write_smolvla(folder: Path, seed: int = 0, **changes: Any) -> None:
    """A checkpoint as `lerobot-train` leaves it."""
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
    from lerobot.policies.smolvla.processor_smolvla import make_smolvla_pre_post_processors

    language_model = folder.parent / "smolvlm"
    if not language_model.is_dir():
        write_language_model(language_model)
    picture = PolicyFeature(FeatureType.VISUAL, (3, SIDE, SIDE))
    settings = {
        "input_features": {IMAGE: picture, WRIST: picture, STATE: PolicyFeature(FeatureType.STATE, (8,))},
        "output_features": {"action": PolicyFeature(FeatureType.ACTION, (7,))},
        "chunk_size": CHUNK,
        "n_action_steps": CHUNK,
        "max_state_dim": 10,
        "max_action_dim": 9,
        "resize_imgs_with_padding": (SIDE, SIDE),
        "num_steps": STEPS,
        "num_vlm_layers": 2,
        "vlm_model_name": str(language_model),
        "device": "cpu",
    }
    config = SmolVLAConfig(**{**settings, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        policy = SmolVLAPolicy(config)
        with torch.no_grad():
            for parameter in policy.parameters():  # away from 0, so that everything that is shown matters
                parameter.add_(0.1 * torch.randn_like(parameter))
    policy.save_pretrained(folder)
    for processor in make_smolvla_pre_post_processors(config, STATISTICS):
        processor.save_pretrained(folder)


def tiny_smolvla(folder: Path, **settings: Any) -> SmolVlaPolicy:
    """The policy of such a checkpoint, three control steps a decision."""
    if not (folder / "published").is_dir():
        write_smolvla(folder / "published")
    return SmolVlaPolicy.load(
        folder / "published", SmolVlaSettings(**{"image_size": SIDE, "action_chunk": 3, **settings})
    )


def smolvla_input(policy: SmolVlaPolicy, texts: list[str], seed: int = 0) -> PolicyInput:
    """One row a text, with random pictures and a robot that stands differently in each."""
    generator = torch.Generator().manual_seed(seed)
    side = policy.image_size
    pictures = torch.randint(0, 256, (2, len(texts), side, side, 3), dtype=torch.uint8, generator=generator)
    proprio_NP = torch.zeros(len(texts), 12)
    proprio_NP[:, :3] = torch.rand(len(texts), 3, generator=generator)
    angle_N = torch.rand(len(texts), generator=generator)
    proprio_NP[:, 3:9] = torch.stack(
        [angle_N.cos(), angle_N.sin(), 0 * angle_N, angle_N.sin(), -angle_N.cos(), 0 * angle_N], dim=1
    )  # the hand points down, turned about the vertical
    proprio_NP[:, 9], proprio_NP[:, 10] = 0.03, -0.03
    return PolicyInput(pictures[0], pictures[1], proprio_NP, policy.encode_instructions(texts))
