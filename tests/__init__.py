"""The tests; a package only so that they can import `tests.helpers`."""
