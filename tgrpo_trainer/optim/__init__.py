"""The update: minibatches, optimiser and its files, the reference policy."""
