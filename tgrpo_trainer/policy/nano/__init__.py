"""nano: policies small enough to learn on a CPU, over one network: action tokens, or a Gaussian."""
