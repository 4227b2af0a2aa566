"""OpenVLA, natively: its published checkpoints load without remote code, timm or torchvision (docs/openvla.md).

pictures ┐
         ├─► model (vision, projector, Llama) ─► decoding ─► logits of action tokens ─► actions
prompt ──┘   sizes: architecture   files: weights
"""
