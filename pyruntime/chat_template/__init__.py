"""Chat templates: a conversation becomes the text, and the ids, that the model was trained on."""

from pyruntime.chat_template.named import ChatTemplates
from pyruntime.chat_template.template import ChatTemplate, Prompt

__all__ = ["ChatTemplate", "ChatTemplates", "Prompt"]
