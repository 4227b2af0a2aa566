"""Stage specs from a language model: task cards, prompts, an API client with limits, repair, selection, provenance."""
