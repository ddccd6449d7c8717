"""The one renderer of prompts, for training and inference alike. Knows a tokenizer; no models, tools or codes.

A prompt is frame + text + frame. The frame is ours and may hold special tokens; the text is a stranger's (a query, a
tool's document) and is encoded so that it can yield neither a special token nor a tool token, whatever it contains.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from toolgen.errors import InputError
from toolgen.tokenizer import encode_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PromptStyle = Literal["plain", "chat"]

CLOSING = "\nTool:"
"""Tells a decoder that the text has ended and a tool is asked for. Words and not a newline alone: after a newline in
ordinary text tools must stay improbable, and the model can only keep apart what it can tell apart."""

_PLACEHOLDER = "toolgenplaceholdertoolgen"


class PromptRenderer:
    """Turns texts into prompt token ids.

    Styles:
        ``plain``: what the tokenizer itself puts around a text (``[CLS] text [SEP]``, ``<bos> text``), closed by
            ``CLOSING`` where the tokenizer closes with nothing.
        ``chat``: the tokenizer's chat template with the text as the user's turn and the assistant's turn opened.

    Example:
        >>> PromptRenderer(tokenizer, "plain").render(["make a bucket"])  # doctest: +SKIP
        [[101, 2191, 1037, 13610, 102]]
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", style: PromptStyle = "plain") -> None:
        """
        Raises:
            InputError: The style is unknown, or ``chat`` is asked of a tokenizer without a chat template.
        """
        if style not in get_args(PromptStyle):
            raise InputError(f"Unknown prompt style {style!r}. Allowed: {', '.join(get_args(PromptStyle))}.")
        self.tokenizer = tokenizer
        self.style = style
        frame = self._chat_frame() if style == "chat" else self._plain_frame()
        self.opening_ids, self.closing_ids = frame

    def render(self, texts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
        """Token ids of one prompt a text.

        Args:
            texts: Untrusted texts.
            max_length: Longest prompt in tokens. A longer text loses its end, never the frame. None keeps all.

        Raises:
            InputError: ``max_length`` leaves no room for any text.
        """
        frame = len(self.opening_ids) + len(self.closing_ids)
        if max_length is not None and max_length <= frame:
            raise InputError(
                f"max_length is {max_length}, but the prompt's frame alone takes {frame} tokens; "
                f"give at least {frame + 1}."
            )
        room = None if max_length is None else max_length - frame
        return [[*self.opening_ids, *ids[:room], *self.closing_ids] for ids in encode_texts(self.tokenizer, texts)]

    def _plain_frame(self) -> tuple[list[int], list[int]]:
        bare = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        framed = self.tokenizer("a")["input_ids"]
        for start in range(len(framed) - len(bare) + 1):
            if framed[start : start + len(bare)] == bare:
                opening, closing = framed[:start], framed[start + len(bare) :]
                return opening, closing or self.tokenizer(CLOSING, add_special_tokens=False)["input_ids"]
        raise InputError(f"The tokenizer {type(self.tokenizer).__name__} changes a text when it adds special tokens.")

    def _chat_frame(self) -> tuple[list[int], list[int]]:
        if not self.tokenizer.chat_template:
            raise InputError("The tokenizer has no chat template. Use prompt: plain, or a chat model's tokenizer.")
        rendered = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": _PLACEHOLDER}], tokenize=False, add_generation_prompt=True
        )
        assert isinstance(rendered, str)
        opening, found, closing = rendered.partition(_PLACEHOLDER)
        if not found:
            raise InputError("The chat template does not show the user's text unchanged; use prompt: plain.")
        # The template writes its own special tokens, BOS included: adding them here would double the BOS.
        return (
            self.tokenizer(opening, add_special_tokens=False)["input_ids"],
            self.tokenizer(closing, add_special_tokens=False)["input_ids"],
        )
