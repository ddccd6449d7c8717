"""Who sees whom, and models whose layers cannot be told so."""

import pytest
import torch
from tiny_models import tiny_model, watch
from transformers import MptConfig, MptForCausalLM

from toolgen.attention import PADDING, PROMPT, check_side_by_side, explicit_mask, segments_seen
from toolgen.beam import beam_search
from toolgen.errors import InputError
from toolgen.trie import TokenTrie


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
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_side_by_side_equals_rows_of_their_own(kind: str, implementation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(kind)
    monkeypatch.setattr(model.config, "_attn_implementation_internal", implementation)
    segments = torch.tensor([[PADDING, PROMPT, PROMPT, 1, 1, 2]])
    with torch.inference_mode():
        together = model(
            input_ids=torch.tensor([[0, 5, 6, 7, 8, 9]]),
            attention_mask=explicit_mask(model, segments_seen(segments)),
            position_ids=torch.tensor([[0, 0, 1, 2, 3, 2]]),
        ).logits[0]
        first, second = (model(input_ids=torch.tensor([ids])).logits[0] for ids in ([5, 6, 7, 8], [5, 6, 9]))
    assert torch.allclose(together[1:5], first, atol=1e-4)
    assert torch.allclose(together[5], second[2], atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"_attn_implementation_internal": "flash_attention_2"}, "flash_attention_2.*sdpa"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layers of another kind"),
        ({"layer_types": ["sliding_attention"], "sliding_window": 3}, "4 tokens.*look 3 back"),
        ({"sliding_window": 3}, "4 tokens.*look 3 back"),
        ({"attention_layers": ["global", "local"], "window_size": 3}, "4 tokens.*look 3 back"),
        ({"alibi": True}, "takes no positions"),
    ],
)
def test_models_that_cannot_hold_them_are_refused_before_any_compute(
    settings: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model()
    for key, value in settings.items():
        monkeypatch.setattr(model.config, key, value, raising=False)
    with pytest.raises(InputError, match=message):
        check_side_by_side(model, 4)
    watch(monkeypatch, model, lambda: pytest.fail("computed before the check"))
    with pytest.raises(InputError):
        beam_search(model, TokenTrie.from_codes([(5, 6)]), torch.tensor([[7, 8, 9]]), torch.ones(1, 3), 1)


@pytest.mark.parametrize("settings", [{"sliding_window": 4}, {"layer_types": ["full_attention"], "sliding_window": 3}])
def test_windows_that_hold_all_or_are_not_used_are_no_obstacle(
    settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model()
    for key, value in settings.items():
        monkeypatch.setattr(model.config, key, value, raising=False)
    check_side_by_side(model, 4)


def test_models_without_positions_are_refused() -> None:
    sizes = {"d_model": 16, "n_heads": 2, "n_layers": 1, "vocab_size": 20, "max_seq_len": 16}
    with pytest.raises(InputError, match="mpt model takes no positions"):
        check_side_by_side(MptForCausalLM(MptConfig(**sizes)).eval(), 4)
