"""Fine-tunes vision-language-action policies with TGRPO on the environments of `tgrpo_envs`."""
