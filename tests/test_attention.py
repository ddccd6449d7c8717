"""Who sees whom, and models whose layers cannot be told so."""

import pytest
import torch
from tiny_models import tiny_model

from toolgen.attention import PADDING, PROMPT, explicit_mask, segments_seen
from toolgen.errors import InputError


def test_a_token_sees_the_prompt_and_its_own_segment_so_far() -> None:
    seen = segments_seen(torch.tensor([[PADDING, PROMPT, PROMPT, 1, 1, 2]]))[0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 1, 1, 0, 0, 1],
    ]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_eager_and_sdpa_take_the_same_mask(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(kind)
    ids, segments = torch.tensor([[0, 5, 6, 7, 8, 9]]), torch.tensor([[PADDING, PROMPT, PROMPT, 1, 1, 2]])
    logits = []
    for implementation in ("sdpa", "eager"):
        monkeypatch.setattr(model.config, "_attn_implementation_internal", implementation)
        mask = explicit_mask(model, segments_seen(segments), 4)
        positions = torch.tensor([[0, 0, 1, 2, 3, 2]])
        with torch.inference_mode():
            logits.append(model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, 1:])
    assert torch.allclose(*logits, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"_attn_implementation_internal": "flash_attention_2"}, "flash_attention_2.*sdpa"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layers of another kind"),
        ({"layer_types": ["sliding_attention"], "sliding_window": 3}, "4 tokens.*see 3 back"),
    ],
)
def test_models_that_cannot_be_told_are_refused(
    settings: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model()
    for key, value in settings.items():
        monkeypatch.setattr(model.config, key, value, raising=False)
    with pytest.raises(InputError, match=message):
        explicit_mask(model, torch.ones(1, 1, 4, dtype=torch.bool), 4)
