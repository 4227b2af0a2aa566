"""Chooses among several specs of one task: the linter's score, agreement with the others, and brevity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tgrpo_envs.reward_tools.author.provenance import CandidateRecord
from tgrpo_envs.reward_tools.author.repair import Sample
from tgrpo_envs.rewards.spec import StageSpec, canonical_json, spec_id

CONSENSUS_WEIGHT = 10.0  # full agreement with all others is worth two of the linter's usual warnings
WORD_PRICE = 0.1  # a stage more, of some five words, costs half a point

Skeleton = tuple[frozenset[str], frozenset[tuple[str, str]]]


def rank_samples(samples: Sequence[Sample]) -> list[tuple[CandidateRecord, Sample]]:
    """All samples with their scores, the best first; those without an accepted spec last, at 0.

    Ties go to fewer stages, then to the smaller spec id, then to the earlier sample: the order is always the same.
    """
    accepted = [sample.review.spec for sample in samples if sample.accepted and sample.review.spec is not None]
    ranked = [(_score(sample, accepted), sample) for sample in samples]
    return sorted(ranked, key=lambda entry: _order(*entry))


def agreement(one: StageSpec, other: StageSpec) -> float:
    """How alike two specs are built, 0 to 1: shared stages and shared edges, whatever their names and numbers."""
    (stages, edges), (other_stages, other_edges) = _skeleton(one), _skeleton(other)
    return (_overlap(stages, other_stages) + _overlap(edges, other_edges)) / 2


def num_words(spec: StageSpec) -> int:
    """Length of a spec: its stages, atoms, ramps and edges."""
    document = json.loads(canonical_json(spec))
    return sum(1 + len(stage["after"]) for stage in document["stages"]) + len(_ops(document))


def _score(sample: Sample, accepted: Sequence[StageSpec]) -> CandidateRecord:
    spec = sample.review.spec
    if spec is None or not sample.accepted:
        kept = spec_id(spec) if spec else None
        return CandidateRecord(sample=sample.number, spec_id=kept, lint_score=0, consensus=0.0, length=0, total=0.0)
    others = [other for other in accepted if other is not spec]
    consensus = sum(agreement(spec, other) for other in others) / len(others) if others else 0.0
    length = num_words(spec)
    total = sample.review.score + CONSENSUS_WEIGHT * consensus - WORD_PRICE * length
    return CandidateRecord(
        sample=sample.number,
        spec_id=spec_id(spec),
        lint_score=sample.review.score,
        consensus=round(consensus, 4),
        length=length,
        total=round(total, 4),
    )


def _order(record: CandidateRecord, sample: Sample) -> tuple[bool, float, int, str, int]:
    spec = sample.review.spec
    stages = len(spec.stages) if spec else 0
    return (not sample.accepted, -record.total, stages, record.spec_id or "", sample.number)


def _skeleton(spec: StageSpec) -> Skeleton:
    """What the stages are done by, and which leads to which; names and numbers left out."""
    document = json.loads(canonical_json(spec))
    done = {stage["id"]: _shape(stage["done"]) for stage in document["stages"]}
    edges = {(done[before], done[stage["id"]]) for stage in document["stages"] for before in stage["after"]}
    return frozenset(done.values()), frozenset(edges)


def _shape(condition: Any) -> str:
    """A condition's words and entities as text, without its numbers."""
    if isinstance(condition, dict):
        kept = {key: _shape(value) for key, value in condition.items() if not isinstance(value, float)}
        return json.dumps(kept, sort_keys=True)
    if isinstance(condition, list):
        return json.dumps(sorted(map(_shape, condition)))
    return str(condition)


def _ops(document: Any) -> list[str]:
    if isinstance(document, dict):
        own = [document["op"]] if "op" in document else []
        return own + [op for value in document.values() for op in _ops(value)]
    return [op for value in document for op in _ops(value)] if isinstance(document, list) else []


def _overlap(one: frozenset[Any], other: frozenset[Any]) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0
