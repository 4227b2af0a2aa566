"""The `eval` command: any policy, on any tasks, with a table, a record and videos of failures."""
