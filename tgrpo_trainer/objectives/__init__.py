"""The objective: advantages of groups, the batch they weigh, the loss."""
