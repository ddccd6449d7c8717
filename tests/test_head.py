"""The head taken apart gives the logits of the whole, in every architecture."""

import pytest
import torch
from tiny_models import MODELS, VOCABULARY, tiny_model

import toolgen.head
from toolgen.beam import rank_atomic
from toolgen.errors import InputError
from toolgen.head import Head
from toolgen.trie import TokenTrie


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_parts_equal_the_whole(kind: str, tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(kind, tied)
    ids_BT = torch.randint(3, VOCABULARY, (2, 5), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = model(input_ids=ids_BT, logits_to_keep=3).logits.flatten(0, 1)
        head = Head(model)
        states = head.states(input_ids=ids_BT, logits_to_keep=3).flatten(0, 1)
        tokens = torch.tensor([70, 3, 89, 4, 5, 6])
        assert torch.allclose(head.logits(states, tokens), whole[:, tokens], atol=1e-5)
        assert torch.allclose(head.logits(states, slice(10, 30)), whole[:, 10:30], atol=1e-5)
        assert torch.allclose(head.own_logits(states, tokens), whole[torch.arange(6), tokens], atol=1e-5)
        for chunk in (1 << 20, 6 * 7, 1):
            monkeypatch.setitem(toolgen.head._CHUNK, "cpu", chunk)
            assert torch.allclose(head.normalizers(states), whole.logsumexp(-1), atol=1e-5), chunk
        rows, places = torch.tensor([0, 1, 1, 0]), torch.tensor([2, 0, 0, 1])
        some = head.logits_at(model, rows, places, input_ids=ids_BT, logits_to_keep=3)
        assert torch.allclose(some, whole.view(2, 3, -1)[rows, places], atol=1e-5)
        again = model(input_ids=ids_BT, logits_to_keep=3).logits.flatten(0, 1)
    assert torch.equal(again, whole), "the model is as it was"


def test_logits_that_are_bent_afterwards_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    monkeypatch.setattr(model.config, "final_logit_softcapping", 30.0, raising=False)
    with pytest.raises(InputError, match="final_logit_softcapping"):
        Head(model).check_linear()
    with pytest.raises(InputError, match="final_logit_softcapping"):
        rank_atomic(model, TokenTrie.from_codes([(7,), (8,)]), torch.tensor([[5]]), torch.tensor([[1]]), 1)
