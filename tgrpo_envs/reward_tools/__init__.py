"""What a person or a language model uses to write, check and explain specs; no environment needs it."""
