"""What tests share: made-up inputs, toy tasks, tiny models, stand-ins of servers."""
